//! What the sessions of one loop come to together: octets held, and opening handshakes under way by age. Kept as running sums,
//! corrected by what a turn has changed; nothing is ever counted anew but in tests.

use std::collections::VecDeque;

use super::handler::ConnId;
use crate::{net::Socket, session::Session};

/// Names of handshakes that are over and may stay in the queue beside those under way.
const STALE_MAX: usize = 64;

/// The running sums.
#[derive(Debug, Default)]
pub(super) struct Census {
    held_bytes: usize,
    opening: usize,
    /// Sessions in the order of their coming, those among them that have opened or gone not yet removed.
    by_age: VecDeque<ConnId>,
}

/// One session's part of the sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) held_bytes: usize,
    pub(super) is_opening: bool,
}

impl Part {
    #[inline]
    pub(super) fn of<S: Socket>(session: &Session<S>) -> Part {
        Part { held_bytes: session.held_bytes(), is_opening: session.connection().is_opening() }
    }
}

impl Census {
    /// A session has come. `is_opening` tells of one that came before whether its handshake is still under way.
    pub(super) fn add(&mut self, id: ConnId, part: Part, is_opening: impl Fn(ConnId) -> bool) {
        self.held_bytes += part.held_bytes;
        if !part.is_opening {
            return;
        }
        self.opening += 1;
        self.by_age.push_back(id);
        // At most every other newcomer is followed by a look at all: O(1) each.
        if self.by_age.len() > 2 * self.opening + STALE_MAX {
            self.by_age.retain(|&other| other == id || is_opening(other));
        }
    }

    /// A turn may have changed what a session comes to.
    #[inline]
    pub(super) fn update(&mut self, part: &mut Part, now: Part) {
        self.held_bytes = self.held_bytes - part.held_bytes + now.held_bytes;
        self.opening -= usize::from(part.is_opening && !now.is_opening);
        debug_assert!(part.is_opening || !now.is_opening, "nobody opens again");
        *part = now;
    }

    /// A session is gone.
    pub(super) fn remove(&mut self, mut part: Part) {
        self.update(&mut part, Part::default());
    }

    /// Octets that all sessions hold.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Opening handshakes under way.
    #[inline]
    pub(super) fn opening(&self) -> usize {
        self.opening
    }

    /// The oldest opening handshake under way.
    pub(super) fn oldest_opening(&mut self, is_opening: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        while let Some(&id) = self.by_age.front() {
            if is_opening(id) {
                return Some(id);
            }
            self.by_age.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: u32) -> ConnId {
        ConnId { key, generation: 1 }
    }

    const OPENING: Part = Part { held_bytes: 10, is_opening: true };
    const OPEN: Part = Part { held_bytes: 0, is_opening: false };

    #[test]
    fn the_oldest_handshake_is_the_one_that_came_first_and_is_still_under_way() {
        let mut census = Census::default();
        let mut parts = [OPENING; 5];
        for key in 0..5 {
            census.add(id(key), OPENING, |_| true);
        }
        assert_eq!((census.opening(), census.held_bytes()), (5, 50));
        for (over, oldest) in [(2, Some(0)), (0, Some(1)), (1, Some(3)), (3, Some(4)), (4, None)] {
            census.update(&mut parts[over], OPEN);
            let found = census.oldest_opening(|id| parts[id.key as usize].is_opening);
            assert_eq!(found, oldest.map(id), "once {over} is over");
        }
        assert_eq!((census.opening(), census.held_bytes()), (0, 0));
    }

    #[test]
    fn names_of_handshakes_that_are_over_do_not_pile_up() {
        let mut census = Census::default();
        // One that never ends keeps the front; a hundred thousand come and open behind it.
        census.add(id(0), OPENING, |_| true);
        for key in 1..100_000 {
            census.add(id(key), OPENING, |other| other == id(0));
            census.update(&mut OPENING.clone(), OPEN);
            assert!(census.by_age.len() <= 2 * 2 + STALE_MAX + 1);
        }
        assert_eq!(census.oldest_opening(|other| other == id(0)), Some(id(0)));
    }
}
