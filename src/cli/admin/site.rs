//! What the admin address has to tell, and how often it asks the event loops for it.

use std::time::{Duration, Instant};

use super::exposition::Scrape;
use crate::{
    cli::logging::DroppedLines,
    server::{Handle, ServerState},
};

/// Between two questions to the loops. Whoever scrapes faster waits, and all who wait get the same numbers.
const REPORT_INTERVAL: Duration = Duration::from_millis(20);

/// Where the answers come from.
#[derive(Debug)]
pub(in crate::cli) struct Site {
    handle: Handle,
    dropped: DroppedLines,
    reported: Option<Instant>,
}

impl Site {
    pub(in crate::cli) fn new(handle: Handle, dropped: DroppedLines) -> Site {
        Site { handle, dropped, reported: None }
    }

    /// Why nobody should be sent here; `None`: new connections are served.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        match self.handle.state() {
            // Every listener is bound before this is asked: whoever comes before the loops waits in the system's queue.
            ServerState::Starting | ServerState::Serving => None,
            ServerState::Draining | ServerState::Ended => Some("draining\n"),
        }
    }

    /// From when on the loops may be asked again.
    pub(super) fn report_due(&self) -> Option<Instant> {
        self.reported.map(|at| at + REPORT_INTERVAL)
    }

    /// The numbers now; takes as long as a busy loop does, a quarter of a second at most.
    pub(super) fn report(&mut self) -> Scrape {
        let metrics = self.handle.metrics();
        self.reported = Some(Instant::now());
        Scrape { metrics, log_lines_dropped: self.dropped.count() }
    }
}
