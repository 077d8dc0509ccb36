//! One loop: poll, accept, pump, reap. Everything of a connection happens here, on one thread; nothing blocks.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant, SystemTime},
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};

use super::{
    config::Config,
    control::{Command, Handle},
    frame_log::{CurrentConnection, FrameLog},
};
use crate::{
    net::{
        Listener, TlsScratch, TlsStream, Transport,
        listener::{is_out_of_descriptors, is_transient},
    },
    proto::{Connection, Settings, Workspace, handshake::Refusal},
    session::{ConnId, Counts, Handler, Readiness, Session, Sessions, Shared, TurnHook},
};

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;
/// Connections accepted from one listener before the others get their turn.
const ACCEPTS_MAX: usize = 256;
/// How long accepting rests when descriptors have run out and none comes back.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Between two warnings of the same thing.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);
/// Connections beyond the limit that are being told so at once; more are closed without a word.
const TURNED_AWAY_MAX: usize = 256;
/// How often the `Date` header is looked after; it counts seconds.
const DATE_REFRESH: Duration = Duration::from_millis(250);

const WAKER: Token = Token(usize::MAX);
/// Listeners have the tokens below the waker's.
const LISTENERS_MAX: usize = 1 << 16;

/// An address that can not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct BindError {
    /// Which.
    pub addr: SocketAddr,
    /// Whether it was meant for wss.
    pub tls: bool,
    /// Why.
    #[source]
    pub source: io::Error,
}

struct Door {
    listener: Listener,
    /// With the real port.
    addr: SocketAddr,
    tls: bool,
    /// There may be connections to accept: edges are not repeated.
    knocking: bool,
}

/// One event loop with its listeners, not yet running.
pub struct Server<H> {
    poll: Poll,
    doors: Vec<Door>,
    sessions: Sessions<TcpStream>,
    handler: H,
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ServerConfig>>,
    keep: Keep,
    handle: Handle,
    commands: Receiver<Command>,
    state: State,
    /// Accepting rests until then, or until a descriptor comes back.
    accept_rest: Option<Instant>,
    accept_warned: Option<Instant>,
    full_warned: Option<Instant>,
    date_due: Instant,
}

/// What of the configuration the running loop needs.
struct Keep {
    connections_max: usize,
    grace: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    /// Ends when the last session is gone, or then.
    Draining(Instant),
    Stopped,
}

impl<H> std::fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.sessions.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<H> Server<H> {
    /// The ws addresses, with real ports.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter(|door| !door.tls).map(|door| door.addr).collect()
    }

    /// The wss addresses, with real ports.
    pub fn local_addrs_tls(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter(|door| door.tls).map(|door| door.addr).collect()
    }

    /// See [`Workers::name_urls`](super::Workers::name_urls).
    pub fn name_urls(&mut self, urls: &[String]) {
        Arc::make_mut(&mut self.settings).policy.urls = urls.to_vec();
    }

    /// To end the loop from another thread, or to give it a new certificate.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<H: Handler> Server<H> {
    /// Binds every address. From here on the kernel queues connections; [`Server::run`] serves them.
    ///
    /// # Errors
    /// The first address that can not be listened on.
    pub fn bind(config: &Config, handler: H) -> Result<Self, BindError> {
        const { assert!(ConnId::TOKENS_END < WAKER.0 - LISTENERS_MAX) };
        let poll = Poll::new().map_err(|error| on_poll(config, error))?;
        let (handle, commands) = Handle::new(poll.registry(), WAKER).map_err(|error| on_poll(config, error))?;
        let plain = config.listen.iter().map(|addr| (*addr, false));
        let tls = config.listen_tls.iter().map(|addr| (*addr, true));
        let mut doors: Vec<Door> = Vec::new();
        for (addr, tls) in plain.chain(tls).take(LISTENERS_MAX) {
            let on_error = |source| BindError { addr, tls, source };
            let mut listener =
                Listener::bind(addr, config.backlog, config.reuse_port, config.keep_alive).map_err(on_error)?;
            let token = Token(WAKER.0 - 1 - doors.len());
            poll.registry().register(&mut listener, token, Interest::READABLE).map_err(on_error)?;
            let addr = listener.local_addr().map_err(on_error)?;
            doors.push(Door { listener, addr, tls, knocking: false });
        }
        let mut workspace = Workspace::new();
        let mut hook: Option<TurnHook> = None;
        if config.log_frames {
            let current = CurrentConnection::default();
            workspace.watch(Box::new(FrameLog(current.clone())));
            hook = Some(Box::new(move |id| current.set(id)));
        }
        let now = Instant::now();
        Ok(Server {
            poll,
            doors,
            sessions: Sessions::new(
                Shared {
                    workspace,
                    tls: TlsScratch::default(),
                    now,
                    linger: config.linger,
                    linger_bytes_max: config.linger_bytes_max,
                    counts: Counts::default(),
                },
                hook,
            ),
            handler,
            settings: Arc::new(config.settings.clone()),
            tls: config.tls.clone(),
            keep: Keep { connections_max: config.connections_max, grace: config.grace },
            handle,
            commands,
            state: State::Serving,
            accept_rest: None,
            accept_warned: None,
            full_warned: None,
            date_due: now,
        })
    }

    /// Serves until a [`Handle`] ends it.
    ///
    /// # Errors
    /// A failure of the poll itself; sockets' failures end their connections only.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over() {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            self.turn(&events);
        }
        // Whoever is left hears nothing any more, but the handler hears of each.
        for id in self.sessions.ids() {
            self.sessions.abort(id, &mut self.handler);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        match self.state {
            State::Serving => false,
            State::Draining(until) => self.sessions.is_empty() || self.sessions.shared.now >= until,
            State::Stopped => true,
        }
    }

    /// How long the poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        if self.accept_rest.is_none() && self.doors.iter().any(|door| door.knocking) {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let drained = if let State::Draining(until) = self.state { Some(until) } else { None };
        let own = [self.accept_rest, drained].into_iter().flatten().map(|at| at.saturating_duration_since(now));
        own.chain(self.sessions.poll_timeout(now)).min()
    }

    /// One turn: everything that became ready, then everything that had been, then what is due, then the dead.
    fn turn(&mut self, events: &Events) {
        let now = Instant::now();
        self.sessions.shared.now = now;
        if now >= self.date_due {
            self.date_due = now + DATE_REFRESH;
            self.sessions.shared.workspace.set_date(SystemTime::now());
        }
        let mut listed = self.sessions.take_listed();
        for event in events {
            self.dispatch(event);
        }
        self.sessions.pump_listed(&mut listed, &mut self.handler);
        self.sessions.on_deadlines(&mut self.handler);
        if self.sessions.reap() > 0 {
            self.accept_rest = None;
        }
        self.accept();
    }

    #[inline]
    fn dispatch(&mut self, event: &Event) {
        let token = event.token();
        if token.0 < ConnId::TOKENS_END {
            let readiness = Readiness {
                readable: event.is_readable(),
                writable: event.is_writable(),
                ended: event.is_read_closed() || event.is_error(),
            };
            self.sessions.on_ready(ConnId::from_token(token.0), readiness, &mut self.handler);
        } else if token == WAKER {
            self.obey();
        } else if let Some(door) = self.doors.get_mut(WAKER.0 - 1 - token.0) {
            door.knocking = true;
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::ReloadTls(config) => self.tls = Some(config),
                Command::Stop => self.state = State::Stopped,
                Command::Drain if self.state == State::Serving => self.drain(),
                Command::Drain => {}
            }
        }
    }

    fn drain(&mut self) {
        tracing::info!(connections = self.sessions.len(), "draining");
        self.state = State::Draining(self.sessions.shared.now + self.keep.grace);
        self.doors.clear();
        for id in self.sessions.ids() {
            self.sessions.go_away(id, &mut self.handler);
        }
    }

    fn accept(&mut self) {
        if let Some(until) = self.accept_rest {
            if self.sessions.shared.now < until {
                return;
            }
            self.accept_rest = None;
        }
        for at in 0..self.doors.len() {
            for _ in 0..ACCEPTS_MAX {
                let Some(door) = self.doors.get_mut(at).filter(|door| door.knocking) else { break };
                let tls = door.tls;
                match door.listener.accept() {
                    Ok(Some((socket, peer))) => self.welcome(socket, peer, tls),
                    Ok(None) => door.knocking = false,
                    Err(error) if is_out_of_descriptors(&error) => {
                        // The listener stays marked: nobody repeats its edge.
                        let now = self.sessions.shared.now;
                        if self.accept_warned.is_none_or(|at| now >= at + WARNING_INTERVAL) {
                            self.accept_warned = Some(now);
                            tracing::warn!(%error, "cannot accept: raise the open-file limit or lower connections_max");
                        }
                        self.accept_rest = Some(self.sessions.shared.now + ACCEPT_REST);
                        return;
                    }
                    Err(error) if is_transient(&error) => {}
                    Err(error) => {
                        // It may last: then looking again at once would only spin.
                        tracing::warn!(%error, "cannot accept");
                        self.accept_rest = Some(self.sessions.shared.now + WARNING_INTERVAL);
                        return;
                    }
                }
            }
        }
    }

    fn welcome(&mut self, socket: TcpStream, peer: SocketAddr, tls: bool) {
        if self.sessions.len() >= self.keep.connections_max {
            return self.turn_away(socket, tls);
        }
        let transport = match (&self.tls, tls) {
            (Some(config), true) => match TlsStream::server(socket, config.clone()) {
                Ok(stream) => Transport::Tls(Box::new(stream)),
                Err(error) => return tracing::warn!(%error, "cannot begin TLS"),
            },
            (None, true) => return,
            (_, false) => Transport::Plain(socket),
        };
        if let Some(id) = self.take_in(transport) {
            tracing::debug!(target: "wslab::conn", %id, %peer, tls, "accepted");
        }
    }

    /// Too many: a plain peer gets told and lingers like any other, a TLS one would cost a handshake.
    fn turn_away(&mut self, socket: TcpStream, tls: bool) {
        let now = self.sessions.shared.now;
        if self.full_warned.is_none_or(|at| now >= at + WARNING_INTERVAL) {
            self.full_warned = Some(now);
            tracing::warn!(
                connections_max = self.keep.connections_max,
                "all connections are taken: turning peers away"
            );
        }
        if tls || self.sessions.len() >= self.keep.connections_max + TURNED_AWAY_MAX {
            return;
        }
        let refusal = Refusal::TooManyConnections {
            connections_max: self.keep.connections_max,
            retry_after: Duration::from_secs(1),
        };
        if let Some(id) = self.take_in(Transport::Plain(socket)) {
            self.sessions.turn_away(id, refusal, &mut self.handler);
        }
    }

    fn take_in(&mut self, transport: Transport<TcpStream>) -> Option<ConnId> {
        let connection = Connection::server(self.settings.clone(), self.sessions.shared.now);
        let registry = self.poll.registry();
        let registered = self.sessions.insert(Session::new(transport, connection), |socket, id| {
            registry.register(socket, Token(id.token()), Interest::READABLE | Interest::WRITABLE)
        });
        registered.inspect_err(|error| tracing::warn!(%error, "cannot watch a connection")).ok()
    }
}

fn on_poll(config: &Config, source: io::Error) -> BindError {
    let first = config
        .listen
        .iter()
        .map(|addr| (*addr, false))
        .chain(config.listen_tls.iter().map(|addr| (*addr, true)))
        .next();
    let (addr, tls) = first.unwrap_or((SocketAddr::from(([127, 0, 0, 1], 0)), false));
    BindError { addr, tls, source }
}
