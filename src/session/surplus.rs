//! Buffers of large messages that nobody uses any more are given back from time to time, whether a loop is busy or asleep.

use std::time::{Duration, Instant};

use crate::proto::Workspace;

/// How often they are looked for, where more are kept than for good. What was not used between two looks goes.
const INTERVAL: Duration = Duration::from_millis(250);

/// When they are looked for next.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    due: Option<Instant>,
}

impl Surplus {
    /// How long a poll may sleep; `None`: for ever, since there is no surplus.
    #[inline]
    pub(super) fn poll_timeout(&self, workspace: &Workspace, now: Instant) -> Option<Duration> {
        workspace.has_surplus().then(|| self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now)))
    }

    /// Gives back what is due.
    #[inline]
    pub(super) fn give_back(&mut self, workspace: &mut Workspace, now: Instant) {
        if workspace.has_surplus() && self.due.is_none_or(|due| now >= due) {
            self.due = Some(now + INTERVAL);
            workspace.give_back();
        }
    }
}
