//! One loop: poll, accept, pump, reap. Everything of a connection happens here, on one thread; nothing blocks.
//! It knows the operating system as a [`Kernel`] only.

use std::{
    io,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use super::{
    accept::{ACCEPTS_MAX, Reception, WARNING_INTERVAL},
    config::Config,
    control::Command,
    frame_log::{CurrentConnection, FrameLog},
    kernel::Kernel,
    lobby::{LOBBY_END, Lobby},
    metrics::{Limit, Metrics, Tally},
};
use crate::{
    net::TlsScratch,
    proto::Workspace,
    session::{ConnId, Counts, Handler, List, Readiness, Sessions, Shared, TURN_BYTES_MAX, TurnHook},
};

/// Octets that all sessions of a turn read together, while each has its least share.
const CROWD_BYTES: usize = 1 << 20;
/// The least share: some 700 Pings, which take 30 µs.
const TURN_BYTES_MIN: usize = 4 << 10;
/// How long events are acted on at once. As many echoes as one poll brings take less; peers that turn to bombs all at once take more.
const EVENTS_SLICE: Duration = Duration::from_millis(8);
/// How long each list is pumped before the poll is asked again.
const LIST_SLICES: [(List, Duration); 4] = [
    (List::Late, Duration::from_millis(2)),
    (List::Unknown, Duration::from_millis(2)),
    (List::Heavy, Duration::from_millis(1)),
    (List::Handshakes, Duration::from_millis(1)),
];
/// The clock is read for so many events once. (The simulated machine has few peers.)
const EVENTS_A_LOOK: usize = if cfg!(test) { 2 } else { 16 };

/// How often the `Date` header is looked after; it counts seconds.
const DATE_REFRESH: Duration = Duration::from_millis(250);

/// The token of commands from other threads. Listeners have those below it.
pub(super) const WAKER: usize = usize::MAX;
pub(super) const LISTENERS_MAX: usize = 1 << 16;

const _: () = assert!(ConnId::TOKENS_END < WAKER - LISTENERS_MAX, "no connection is taken for a listener");

/// The token of the listener of that index.
pub(super) fn door_token(door: usize) -> usize {
    WAKER - 1 - door
}

/// A loop over some kernel.
pub(super) struct Loop<K: Kernel, H> {
    pub(super) kernel: K,
    pub(super) reception: Reception<K::Listener>,
    /// Before the sessions.
    pub(super) lobby: Lobby<K::Socket>,
    pub(super) sessions: Sessions<K::Socket>,
    pub(super) handler: H,
    /// What is counted beside the sessions.
    pub(super) tally: Tally,
    /// Turns are timed.
    timed: bool,
    /// A turn has begun, at the clock reading of the sessions, whose time is not taken yet.
    turned: bool,
    commands: Receiver<Command>,
    grace: Duration,
    memory_bytes_max: usize,
    shed_warned: Option<Instant>,
    state: State,
    date_due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Serving,
    /// Ends when the last session is gone, or then.
    Draining(Instant),
    Stopped,
}

impl<K: Kernel, H> std::fmt::Debug for Loop<K, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loop")
            .field("sessions", &self.sessions.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<K: Kernel, H: Handler> Loop<K, H> {
    /// Without a door yet.
    pub(super) fn new(kernel: K, config: &Config, handler: H, commands: Receiver<Command>) -> Self {
        let mut workspace = Workspace::new();
        let mut hook: Option<TurnHook> = None;
        if config.log_frames {
            let current = CurrentConnection::default();
            workspace.watch(Box::new(FrameLog(current.clone())));
            hook = Some(Box::new(move |id| current.set(id)));
        }
        let now = kernel.now();
        let shared = Shared {
            workspace,
            tls: TlsScratch::default(),
            now,
            linger: config.linger,
            linger_bytes_max: config.linger_bytes_max,
            turn_bytes: TURN_BYTES_MAX,
            counts: Counts::default(),
        };
        Loop {
            kernel,
            reception: Reception::new(config),
            lobby: Lobby::new(config),
            sessions: Sessions::new(shared, hook),
            handler,
            tally: Tally::default(),
            timed: config.time_turns,
            turned: false,
            commands,
            grace: config.grace,
            memory_bytes_max: config.memory_bytes_max,
            shed_warned: None,
            state: State::Serving,
            date_due: now,
        }
    }

    /// Serves until a command ends it.
    ///
    /// # Errors
    /// A failure of the poll itself; sockets' failures end their connections only.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = self.kernel.events();
        while !self.is_over() {
            self.round(&mut events)?;
        }
        self.abandon();
        Ok(())
    }

    /// Whoever is left hears nothing any more, but the handler hears of each.
    pub(super) fn abandon(&mut self) {
        for id in self.sessions.ids() {
            self.sessions.abort(id, &mut self.handler);
        }
    }

    /// One poll and, unless a signal came between, one turn.
    ///
    /// # Errors
    /// A failure of the poll itself.
    #[inline]
    pub(super) fn round(&mut self, events: &mut K::Events) -> io::Result<()> {
        // No clock reading of its own: the timeout counts from the beginning of the last turn, so a deadline is seen late by that turn.
        let mut now = self.sessions.shared.now;
        if self.turned {
            self.turned = false;
            now = self.kernel.now();
            self.tally.turns.record(now.saturating_duration_since(self.sessions.shared.now));
        }
        let timeout = self.timeout(now);
        match self.kernel.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.sessions.shared.now = self.kernel.now();
                return Ok(());
            }
            polled => polled?,
        }
        self.turn(events);
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        match self.state {
            State::Serving => false,
            State::Draining(until) => self.sessions.is_empty() || self.sessions.shared.now >= until,
            State::Stopped => true,
        }
    }

    /// How long the poll may sleep.
    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        let drained = if let State::Draining(until) = self.state { Some(until) } else { None };
        let own = [self.reception.next_accept(now), self.lobby.next_deadline(), drained].into_iter().flatten();
        own.map(|at| at.saturating_duration_since(now)).chain(self.sessions.poll_timeout(now)).min()
    }

    /// One turn: everything that became ready, then everything that had been, then what is due, then the dead.
    fn turn(&mut self, events: &K::Events) {
        let now = self.kernel.now();
        self.sessions.shared.now = now;
        self.turned = self.timed;
        if now >= self.date_due {
            self.date_due = now + DATE_REFRESH;
            self.sessions.shared.workspace.set_date(self.kernel.date());
        }
        let crowd = K::ready(events).count() + self.sessions.listed();
        self.share_among(crowd);
        let mut is_in_time = true;
        for (at, (token, readiness)) in K::ready(events).enumerate() {
            if at % EVENTS_A_LOOK == EVENTS_A_LOOK - 1 && is_in_time {
                is_in_time = self.kernel.now() < now + EVENTS_SLICE;
            }
            self.dispatch(token, readiness, crowd > 1, is_in_time);
        }
        self.pump_listed();
        self.on_lobby_deadline();
        self.sessions.on_deadlines(&mut self.handler);
        self.reap();
        self.keep_memory_bounded();
        // Whoever is turned away has a turn at once, and comes in company.
        self.share_among(crowd.max(ACCEPTS_MAX));
        if !self.has_newcomers_enough() {
            self.accept();
        }
    }

    /// What a turn of each may cost, where there are so many.
    #[inline]
    fn share_among(&mut self, crowd: usize) {
        let share = (CROWD_BYTES / crowd.max(1)).clamp(TURN_BYTES_MIN, TURN_BYTES_MAX);
        let Shared { turn_bytes, workspace, .. } = &mut self.sessions.shared;
        *turn_bytes = share;
        // The share is measured in what is read; inflating an octet costs about a quarter of handling one.
        workspace.share_inflating(4 * share);
    }

    /// Those who came late, those of whom nothing is known, those who had their share and want more, and newcomers, get a slice of
    /// the turn each. With a thousand of them the lists take several turns, between which whoever asks for little is answered at once.
    #[inline]
    fn pump_listed(&mut self) {
        if self.sessions.listed() == 0 {
            return;
        }
        let Loop { sessions, kernel, handler, .. } = self;
        for (list, slice) in LIST_SLICES {
            if sessions.listed_on(list) > 0 {
                let end = kernel.now() + slice;
                sessions.pump_listed(list, handler, || kernel.now() < end);
            }
        }
    }

    fn reap(&mut self) {
        let Loop { sessions, reception, .. } = self;
        sessions.reap_with(|id| reception.leave(id));
    }

    /// Where connections hold more than they may together, the one that holds most goes, until they do not.
    #[inline]
    fn keep_memory_bounded(&mut self) {
        if self.sessions.held_bytes() > 0 && self.sessions.memory_bytes() > self.memory_bytes_max {
            self.shed();
        }
    }

    #[cold]
    fn shed(&mut self) {
        // What nobody uses goes first.
        self.sessions.shared.workspace.trim();
        while self.sessions.memory_bytes() > self.memory_bytes_max {
            // The rest is the loop's own.
            let Some(id) = self.sessions.largest() else { return };
            let now = self.sessions.shared.now;
            if self.shed_warned.is_none_or(|at| now >= at + WARNING_INTERVAL) {
                self.shed_warned = Some(now);
                tracing::warn!(memory_max = self.memory_bytes_max, "memory has run out: closing who holds most");
            }
            self.tally.refused(Limit::Memory);
            self.sessions.shed(id, &mut self.handler);
            self.reap();
            self.sessions.shared.workspace.trim();
        }
    }

    #[inline]
    fn dispatch(&mut self, token: usize, readiness: Readiness, in_crowd: bool, is_in_time: bool) {
        if token < ConnId::TOKENS_END && in_crowd {
            self.sessions.on_ready_in_crowd(ConnId::from_token(token), readiness, is_in_time, &mut self.handler);
        } else if token < ConnId::TOKENS_END {
            self.sessions.on_ready(ConnId::from_token(token), readiness, &mut self.handler);
        } else if token < LOBBY_END {
            self.look(token, readiness);
        } else if token == WAKER {
            self.obey();
        } else {
            self.reception.knock(WAKER - 1 - token);
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::ReloadTls(config) => self.reception.tls = Some(config),
                Command::Stop => self.state = State::Stopped,
                // Whoever asked may have gone.
                Command::Probe(answer) => drop(answer.send(())),
                Command::Drain if self.state == State::Serving => self.drain(),
                Command::Drain => {}
                // Whoever asked may have gone.
                Command::Report(reports) => {
                    let _ = reports.send(self.metrics());
                }
            }
        }
    }

    fn drain(&mut self) {
        tracing::info!(connections = self.sessions.len(), "draining");
        self.state = State::Draining(self.sessions.shared.now + self.grace);
        // Who waits at a door hears that it closes.
        self.accept_all();
        self.reception.close();
        self.lobby.clear();
        for id in self.sessions.ids() {
            self.sessions.go_away(id, &mut self.handler);
        }
    }
}

impl<K: Kernel, H> Loop<K, H> {
    /// The loop's numbers as they are.
    pub(super) fn metrics(&self) -> Metrics {
        let Shared { counts, workspace, .. } = &self.sessions.shared;
        let memory_bytes = self.sessions.memory_bytes() as u64;
        let awaiting_proxy_header = self.lobby.len() as u64;
        Metrics {
            memory_bytes,
            awaiting_proxy_header,
            ..self.tally.report(counts, workspace.flow(), workspace.queued_bytes())
        }
    }

    /// What the plain page says where to connect.
    pub(super) fn name_urls(&mut self, urls: &[String]) {
        Arc::make_mut(&mut self.reception.settings).policy.urls = urls.to_vec();
    }
}
