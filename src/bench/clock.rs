//! The clock of one piece: nanoseconds from its begin.

use std::time::{Duration, Instant};

/// Counts from its making. Readings are monotonic and cost some 25 ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    base: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { base: Instant::now() }
    }

    /// Now.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Another reading of the same clock; what was before its begin counts as the begin.
    #[inline]
    pub(super) fn at(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.base))
    }
}

/// A duration in nanoseconds; 584 years is the most.
#[inline]
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
