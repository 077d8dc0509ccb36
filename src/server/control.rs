//! Commands to running loops from other threads: a channel and a waker each.

use std::{
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use mio::{Token, Waker};

use super::{
    board::{Board, ServerState},
    metrics::Metrics,
};

/// How long a loop has to report; one that is busy for longer is late.
const REPORT_WAIT: Duration = Duration::from_millis(250);

/// What a loop can be told.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Drain,
    Stop,
    /// To be answered.
    Probe(Sender<()>),
    ReloadTls(Arc<rustls::ServerConfig>),
    /// Send a copy of the numbers there.
    Report(Sender<Metrics>),
}

/// Speaks to one or several running loops. Cheap to clone; a loop that has ended hears nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    loops: Vec<Line>,
}

/// The line to one loop.
#[derive(Clone, Debug)]
struct Line {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    board: Arc<Board>,
}

impl Handle {
    /// A handle to one loop, which gets what is sent, and is woken by that token.
    pub(super) fn new(sender: Sender<Command>, registry: &mio::Registry, token: usize) -> std::io::Result<Self> {
        let waker = Arc::new(Waker::new(registry, Token(token))?);
        Ok(Handle { loops: vec![Line { commands: sender, waker, board: Arc::default() }] })
    }

    pub(super) fn join(handles: impl IntoIterator<Item = Handle>) -> Self {
        Handle { loops: handles.into_iter().flat_map(|handle| handle.loops).collect() }
    }

    /// Ends in order: no new connections, Close 1001 to all, at most `Config::grace` until the last is gone.
    pub fn drain(&self) {
        self.reach(ServerState::Draining);
        self.send(&Command::Drain);
    }

    /// Ends now: sockets are closed as they are.
    pub fn stop(&self) {
        self.reach(ServerState::Draining);
        self.send(&Command::Stop);
    }

    /// New connections get this certificate; those there are keep theirs.
    pub fn reload_tls(&self, config: Arc<rustls::ServerConfig>) {
        self.send(&Command::ReloadTls(config));
    }

    /// Whether every loop that has not ended turns within this time. Waits for the answers.
    pub fn turns_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (answers, answered) = channel();
        self.send(&Command::Probe(answers));
        // The channel's last sender is gone when every loop has answered, or ended.
        loop {
            match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// How far the server is. Of several loops, that of the first to end, but until all of them serve, that of the last to start.
    pub fn state(&self) -> ServerState {
        let states = || self.loops.iter().map(|line| line.board.state());
        let first = states().max().unwrap_or(ServerState::Ended);
        if first == ServerState::Serving { states().min().unwrap_or(first) } else { first }
    }

    /// What all loops have counted so far: at least everything that happened before the call. Waits for loops that are busy,
    /// 250 ms at most; then [`Metrics::loops_late`] tells. A loop that has ended keeps its last numbers.
    pub fn metrics(&self) -> Metrics {
        let deadline = Instant::now() + REPORT_WAIT;
        for line in &self.loops {
            line.board.ask(|reports| line.send(Command::Report(reports)));
        }
        let mut sum = Metrics::default();
        for line in &self.loops {
            sum.merge(&line.board.collect(deadline));
        }
        sum
    }

    pub(super) fn reach(&self, state: ServerState) {
        self.loops.iter().for_each(|line| line.board.reach(state));
    }

    /// The loop has ended with these numbers.
    pub(super) fn end(&self, metrics: &Metrics) {
        self.loops.iter().for_each(|line| line.board.end(metrics.clone()));
    }

    fn send(&self, command: &Command) {
        self.loops.iter().for_each(|line| line.send(command.clone()));
    }
}

impl Line {
    fn send(&self, command: Command) {
        // Either fails only when the loop has ended.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}
