//! Who is to be pumped without an event, the longest waiting first. One list a reason, so that none waits for all of another. Whether
//! somebody is on one already, [`sessions`](super::sessions) knows.

use std::collections::VecDeque;

use super::handler::ConnId;

/// Why a session waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The turn had no time for it when its event came; nothing says that it asks for much.
    Late,
    /// It asks for much: it stopped on its budget, or brought much in its last turn.
    Heavy,
    /// It has opened, nothing was read since, and what it sends first may be anything.
    Unknown,
    /// Its opening handshake is under way.
    Handshakes,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Lists {
    late: VecDeque<ConnId>,
    heavy: VecDeque<ConnId>,
    unknown: VecDeque<ConnId>,
    handshakes: VecDeque<ConnId>,
}

impl Lists {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.late.len() + self.heavy.len() + self.unknown.len() + self.handshakes.len()
    }

    pub(super) fn of(&self, list: List) -> &VecDeque<ConnId> {
        match list {
            List::Late => &self.late,
            List::Heavy => &self.heavy,
            List::Unknown => &self.unknown,
            List::Handshakes => &self.handshakes,
        }
    }

    pub(super) fn of_mut(&mut self, list: List) -> &mut VecDeque<ConnId> {
        match list {
            List::Late => &mut self.late,
            List::Heavy => &mut self.heavy,
            List::Unknown => &mut self.unknown,
            List::Handshakes => &mut self.handshakes,
        }
    }
}
