//! What the admin address has to tell, and how often it asks the event loops for it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::exposition::{Exposition, Scrape};
use crate::{
    cli::logging::DroppedLines,
    server::{Handle, Metrics, ServerState},
};

/// The loops are asked no more often than this; whoever scrapes faster gets the same numbers again.
const REPORT_INTERVAL: Duration = Duration::from_millis(20);

/// Where the answers come from.
#[derive(Debug)]
pub(in crate::cli) struct Site {
    handle: Handle,
    dropped: DroppedLines,
    last: Option<(Instant, Metrics)>,
}

impl Site {
    pub(in crate::cli) fn new(handle: Handle, dropped: DroppedLines) -> Site {
        Site { handle, dropped, last: None }
    }

    /// Why nobody should be sent here; `None`: new connections are served.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        match self.handle.state() {
            // Every listener is bound before this is asked: whoever comes before the loops waits in the system's queue.
            ServerState::Starting | ServerState::Serving => None,
            ServerState::Draining | ServerState::Ended => Some("draining\n"),
        }
    }

    /// The numbers in the format that this `Accept` header prefers, and its content type.
    pub(super) fn metrics(&mut self, accept: &str) -> Result<(&'static str, String), fmt::Error> {
        let metrics = match &self.last {
            Some((at, metrics)) if at.elapsed() < REPORT_INTERVAL => metrics.clone(),
            _ => {
                let metrics = self.handle.metrics();
                self.last = Some((Instant::now(), metrics.clone()));
                metrics
            }
        };
        let exposition = Exposition::by_accept(accept);
        let scrape = Scrape { metrics, log_lines_dropped: self.dropped.count() };
        exposition.render(scrape).map(|page| (exposition.content_type(), page))
    }
}
