//! Where other threads see how a loop is doing: how far it is in its life, and its numbers as it last reported them.
//!
//! A loop counts for itself and reports when asked, through a channel: it never waits for whoever asks, and whoever asks waits
//! for a loop that is busy no longer than they choose, and then makes do with the report before.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    time::Instant,
};

use super::metrics::Metrics;

/// How far a server is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerState {
    /// Bound: the system queues connections, nobody serves them yet.
    Starting,
    /// Serves.
    Serving,
    /// Was told to end: accepts nobody any more.
    Draining,
    /// Has ended.
    Ended,
}

/// One loop's board.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: AtomicU8,
    /// Locked by those who ask, and by the loop once it has ended.
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    metrics: Metrics,
    /// A report that was asked for and has not come. There is one at most, however long a loop is busy.
    asked: Option<Receiver<Metrics>>,
}

impl Board {
    pub(super) fn state(&self) -> ServerState {
        match self.state.load(Ordering::Relaxed) {
            0 => ServerState::Starting,
            1 => ServerState::Serving,
            2 => ServerState::Draining,
            _ => ServerState::Ended,
        }
    }

    /// The loop has come so far.
    pub(super) fn reach(&self, state: ServerState) {
        self.state.fetch_max(state as u8, Ordering::Relaxed);
    }

    /// The loop has ended with these numbers.
    pub(super) fn end(&self, metrics: Metrics) {
        self.reach(ServerState::Ended);
        *self.last() = Last { metrics, asked: None };
    }

    /// Asks for a report by `send`, unless the loop still owes one.
    pub(super) fn ask(&self, send: impl FnOnce(Sender<Metrics>)) {
        let mut last = self.last();
        match last.asked.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            // It came after whoever asked had gone.
            Some(Ok(metrics)) => last.metrics = metrics,
            Some(Err(TryRecvError::Disconnected)) | None => {}
        }
        let (sender, receiver) = channel();
        last.asked = Some(receiver);
        send(sender);
    }

    /// The report that was asked for, or, after the deadline, the one before.
    pub(super) fn collect(&self, deadline: Instant) -> Metrics {
        let mut last = self.last();
        let waited =
            last.asked.as_ref().map(|asked| asked.recv_timeout(deadline.saturating_duration_since(Instant::now())));
        match waited {
            Some(Err(RecvTimeoutError::Timeout)) => {
                return Metrics { loops: 1, loops_late: 1, ..last.metrics.clone() };
            }
            Some(Ok(metrics)) => last.metrics = metrics,
            // The loop has ended; or another asked, and has it already.
            Some(Err(RecvTimeoutError::Disconnected)) | None => {}
        }
        last.asked = None;
        last.metrics.clone()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn metrics(accepted: u64) -> Metrics {
        Metrics { loops: 1, accepted, ..Metrics::default() }
    }

    #[test]
    fn a_busy_loop_is_asked_once_and_its_late_report_is_not_lost() {
        let board = Board::default();
        let (mut senders, at_once) = (Vec::new(), Instant::now());
        board.ask(|sender| senders.push(sender));
        assert_eq!(board.collect(at_once), Metrics { loops_late: 1, ..metrics(0) });
        board.ask(|_| panic!("it still owes a report"));
        senders.pop().unwrap().send(metrics(5)).unwrap();
        board.ask(|sender| senders.push(sender));
        assert_eq!(board.collect(at_once), Metrics { loops_late: 1, ..metrics(5) }, "as of the late one");
        senders.pop().unwrap().send(metrics(6)).unwrap();
        assert_eq!(board.collect(at_once + Duration::from_secs(60)), metrics(6));
    }

    #[test]
    fn a_loop_that_has_ended_keeps_its_last_numbers() {
        let board = Board::default();
        board.ask(drop);
        board.end(metrics(7));
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(board.collect(later), metrics(7));
        board.ask(drop);
        assert_eq!(board.collect(later), metrics(7));
        assert_eq!(board.state(), ServerState::Ended);
    }

    #[test]
    fn a_state_only_goes_forward() {
        let board = Board::default();
        let mut seen = vec![board.state()];
        for state in [ServerState::Serving, ServerState::Draining, ServerState::Serving, ServerState::Ended] {
            board.reach(state);
            seen.push(board.state());
        }
        assert_eq!(
            seen,
            [
                ServerState::Starting,
                ServerState::Serving,
                ServerState::Draining,
                ServerState::Draining,
                ServerState::Ended
            ]
        );
    }
}
