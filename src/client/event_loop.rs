//! One loop: connect, poll, pump, reap. Its owner calls it a turn at a time and does its own work between.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker, event::Event, net::TcpStream};
use rand::rngs::StdRng;

use super::{config::Config, random, target::Target};
use crate::{
    net::{
        TlsScratch, TlsStream, Transport,
        dialer::{self, Origin},
    },
    proto::{
        Connection, Sender, Settings, Workspace,
        handshake::{Request, RequestError},
    },
    session::{ConnId, Counts, Handler, List, Readiness, Session, Sessions, Shared, TURN_BYTES_MAX},
};

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

const WAKER: Token = Token(usize::MAX);
/// Sources of the owner's: they end the wait, and nothing else.
const FOREIGN: Token = Token(usize::MAX - 1);
const _: () = assert!(ConnId::TOKENS_END < FOREIGN.0);

/// When a connection had come how far. Opening itself is the handler's to see, in the turn of [`Client::now`].
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// The address that is being or was connected to.
    pub addr: SocketAddr,
    /// Just before the first address was connected to.
    pub begun: Instant,
    /// TCP was found connected: the reading of that turn.
    pub connected: Option<Instant>,
    /// The TLS handshake was done, our last flight and the request written. Never with ws.
    pub secured: Option<Instant>,
}

/// Why a connection was not even begun.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The request can not be written.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A wss URL, and [`Config::tls`] is `None`.
    #[error("wss needs a TLS configuration")]
    NoTls,
    /// No socket, no free port, no route, or rustls refuses its configuration.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the loop remembers of a connection beside its session.
#[derive(Debug)]
struct Dial {
    generation: u32,
    addrs: Arc<[SocketAddr]>,
    /// Index of the address in use.
    at: usize,
    origin: Origin,
    tls: bool,
    timeline: Timeline,
}

/// One event loop for connections of the client role.
///
/// ```no_run
/// use std::time::{Duration, Instant};
/// use wslab::{client::{Client, Config, Target}, server::Echo};
///
/// let target = Target::resolve(&"ws://127.0.0.1:8888/ws".parse()?, Duration::from_secs(5))?;
/// let mut client = Client::new(&Config::default(), Echo)?;
/// for _ in 0..1000 {
///     client.open(&target)?;
/// }
/// client.run_until(Instant::now() + Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client<H> {
    poll: Poll,
    events: Option<Events>,
    waker: Arc<Waker>,
    sessions: Sessions<TcpStream>,
    /// By slab key; an entry outlives its connection until the key is used again.
    dials: Vec<Dial>,
    handler: H,
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Addresses, headers and subprotocols of every connection to come.
    config: Config,
    /// Connections begun, which decides about the next one's source.
    begun: usize,
    random: StdRng,
}

impl<H> std::fmt::Debug for Client<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl<H: Handler> Client<H> {
    /// A loop without connections.
    ///
    /// # Errors
    /// `InvalidInput` for settings that can not work ([`SettingsError`]); or the system has no poll or no randomness to give.
    ///
    /// [`SettingsError`]: crate::proto::SettingsError
    pub fn new(config: &Config, handler: H) -> io::Result<Self> {
        config.settings.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let shared = Shared {
            workspace: Workspace::with_mask_keys(random::mask_keys(random::generator()?)),
            tls: TlsScratch::default(),
            now: Instant::now(),
            linger: config.linger,
            linger_bytes_max: config.linger_bytes_max,
            turn_bytes: TURN_BYTES_MAX,
            counts: Counts::default(),
        };
        Ok(Client {
            poll,
            events: Some(Events::with_capacity(EVENTS_MAX)),
            waker,
            sessions: Sessions::new(shared, None),
            dials: Vec::new(),
            handler,
            settings: Arc::new(config.settings.clone()),
            tls: config.tls.clone(),
            config: config.clone(),
            begun: 0,
            random: random::generator()?,
        })
    }

    /// Begins to connect to the first of the target's addresses; where one refuses, the next is tried. The handler hears how it went:
    /// `on_open`, or `on_failed`.
    ///
    /// # Errors
    /// Nothing was begun, and the handler hears nothing.
    pub fn open(&mut self, target: &Target) -> Result<ConnId, OpenError> {
        let url = target.url();
        let subprotocols: Vec<&str> = self.config.subprotocols.iter().map(String::as_str).collect();
        let headers: Vec<_> = self.config.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = Request {
            host: &url.authority(),
            path: url.resource(),
            key: random::nonce(&mut self.random),
            subprotocols: &subprotocols,
            headers: &headers,
            ..Request::default()
        };
        let connection = Connection::client(self.settings.clone(), &request, Instant::now())?;
        let addrs = target.shared_addrs();
        let origin = self.next_origin();
        let (at, socket) = socket_from(&addrs, 0, origin)?;
        let transport = match (url.is_tls(), &self.tls) {
            (false, _) => Transport::Plain(socket),
            (true, Some(config)) => {
                Transport::Tls(Box::new(TlsStream::client(socket, config.clone(), target.server_name())?))
            }
            (true, None) => return Err(OpenError::NoTls),
        };
        let registry = self.poll.registry();
        let (mut at, mut begun) = (at, Instant::now());
        let id = self.sessions.insert(Session::connecting(transport, connection), |socket, id| {
            begun = Instant::now();
            at = begin_from(socket, &addrs, at, origin)?;
            registry.register(socket, Token(id.token()), Interest::READABLE | Interest::WRITABLE)
        })?;
        let Some(&addr) = addrs.get(at) else { return Err(OpenError::Io(io::ErrorKind::AddrNotAvailable.into())) };
        let timeline = Timeline { addr, begun, connected: None, secured: None };
        let dial = Dial { generation: id.generation, addrs, at, origin, tls: url.is_tls(), timeline };
        match self.dials.get_mut(id.key as usize) {
            Some(entry) => *entry = dial,
            // A slab's new key is its length.
            None => self.dials.push(dial),
        }
        tracing::debug!(target: "wslab::conn", %id, %addr, tls = url.is_tls(), "connecting");
        Ok(id)
    }

    /// Lets a source of the owner's, a timer for example, end the wait of [`Client::turn`] as well, by edges. Its readiness is not
    /// reported: the owner looks for itself. Dropping the source ends it.
    ///
    /// # Errors
    /// The poll does not take it.
    pub fn watch(&self, source: &mut impl mio::event::Source) -> io::Result<()> {
        self.poll.registry().register(source, FOREIGN, Interest::READABLE)
    }

    fn next_origin(&mut self) -> Origin {
        let sources = &self.config.sources;
        let source = (!sources.is_empty()).then(|| sources[self.begun % sources.len()]);
        self.begun = self.begun.wrapping_add(1);
        Origin { source, receive_buffer: self.config.receive_buffer }
    }

    /// One turn: waits for events, for `timeout` at most (`None`: until there is one, or a deadline), and acts on all there are.
    /// The poll counts in whole milliseconds, rounded up. Returns early when woken or interrupted by a signal.
    ///
    /// # Errors
    /// A failure of the poll itself; sockets' failures end their connections only.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let due = self.sessions.poll_timeout(Instant::now());
        let timeout = [timeout, due].into_iter().flatten().min();
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS_MAX));
        let polled = self.poll.poll(&mut events, timeout);
        self.sessions.shared.now = Instant::now();
        match polled {
            Ok(()) => events.iter().for_each(|event| self.dispatch(event)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.events = Some(events);
        self.sessions.pump_listed(List::Heavy, &mut self.handler, || true);
        self.sessions.on_deadlines(&mut self.handler);
        self.sessions.reap();
        Ok(())
    }

    /// Turns until every connection is gone (`true`) or the time has come (`false`).
    ///
    /// # Errors
    /// As for [`Client::turn`].
    pub fn run_until(&mut self, deadline: Instant) -> io::Result<bool> {
        while !self.sessions.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.turn(Some(left))?;
        }
        Ok(true)
    }

    /// Sends without having received: what `send` queues leaves in the same call as far as the socket takes it. `None`: there is no such
    /// connection any more. The sender refuses while the connection is not open.
    #[inline]
    pub fn with_sender<R>(&mut self, id: ConnId, send: impl FnOnce(Sender<'_>) -> R) -> Option<R> {
        self.with_handler(id, |_, sender| send(sender))
    }

    /// The same where what is sent depends on the application, or changes it.
    #[inline]
    pub fn with_handler<R>(&mut self, id: ConnId, send: impl FnOnce(&mut H, Sender<'_>) -> R) -> Option<R> {
        self.sessions.shared.now = Instant::now();
        self.sessions.with_sender(id, &mut self.handler, send)
    }

    /// Ends a connection as it is, without a Close; the handler hears of it now.
    pub fn abort(&mut self, id: ConnId) {
        self.sessions.abort(id, &mut self.handler);
        self.sessions.reap();
    }

    /// The clock reading of the last turn, taken right behind the poll, or of the last [`Client::with_sender`], taken before its write.
    pub fn now(&self) -> Instant {
        self.sessions.shared.now
    }

    /// How far a connection has come and when; also of one that is gone, until another takes its place.
    pub fn timeline(&self, id: ConnId) -> Option<&Timeline> {
        self.dials.get(id.key as usize).filter(|dial| dial.generation == id.generation).map(|dial| &dial.timeline)
    }

    /// The socket of a connection.
    pub fn socket(&self, id: ConnId) -> Option<&TcpStream> {
        self.sessions.get(id).map(crate::session::Session::socket)
    }

    /// Connections there are, those that are opening or closing included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Ends the wait of [`Client::turn`], from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// The application.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Drops all connections and gives the application back. Nothing is told of them.
    pub fn into_handler(self) -> H {
        self.handler
    }

    /// The application, between turns.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    #[inline]
    fn dispatch(&mut self, event: &Event) {
        let token = event.token();
        if token.0 >= ConnId::TOKENS_END {
            return; // The waker and foreign sources only end the wait.
        }
        let id = ConnId::from_token(token.0);
        let readiness = Readiness {
            readable: event.is_readable(),
            writable: event.is_writable(),
            ended: event.is_read_closed() || event.is_error(),
        };
        if self.is_under_way(id) && !self.on_connecting(id) {
            return;
        }
        self.sessions.on_ready(id, readiness, &mut self.handler);
        self.note_secured(id);
    }

    #[inline]
    fn is_under_way(&self, id: ConnId) -> bool {
        self.timeline(id).is_some_and(|timeline| timeline.connected.is_none())
    }

    /// Returns whether the socket is connected.
    fn on_connecting(&mut self, id: ConnId) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        match dialer::outcome(session.socket()) {
            Ok(false) => false,
            Ok(true) => {
                let now = self.now();
                if let Some(dial) = self.dials.get_mut(id.key as usize) {
                    dial.timeline.connected = Some(now);
                }
                true
            }
            Err(error) => {
                self.try_next_address(id, error);
                false
            }
        }
    }

    /// The socket is exchanged beneath the session, of which nothing has left yet.
    fn try_next_address(&mut self, id: ConnId, error: io::Error) {
        let (Some(dial), Some(session)) = (self.dials.get_mut(id.key as usize), self.sessions.get_mut(id)) else {
            return;
        };
        let registry = self.poll.registry();
        let next = socket_from(&dial.addrs, dial.at + 1, dial.origin).and_then(|(at, mut socket)| {
            let at = begin_from(&mut socket, &dial.addrs, at, dial.origin)?;
            registry.register(&mut socket, Token(id.token()), Interest::READABLE | Interest::WRITABLE)?;
            Ok((at, socket))
        });
        match next {
            Ok((at, socket)) => {
                tracing::debug!(target: "wslab::conn", %id, %error, "connecting to the next address");
                *session.socket_mut() = socket;
                dial.at = at;
                dial.timeline.addr = dial.addrs.get(at).copied().unwrap_or(dial.timeline.addr);
            }
            Err(_) => {
                self.handler.on_error(id, &error);
                self.sessions.abort(id, &mut self.handler);
            }
        }
    }

    /// A clock reading of its own: verifying certificates is the TLS handshake's time, not the upgrade's.
    #[inline]
    fn note_secured(&mut self, id: ConnId) {
        let Some(dial) = self.dials.get_mut(id.key as usize) else { return };
        if !dial.tls || dial.timeline.secured.is_some() || dial.generation != id.generation {
            return;
        }
        if self.sessions.get(id).is_some_and(|session| !session.transport().is_handshaking()) {
            dial.timeline.secured = Some(Instant::now());
        }
    }
}

/// A socket for the first address, from the index on, that there can be one for.
fn socket_from(addrs: &[SocketAddr], at: usize, origin: Origin) -> io::Result<(usize, TcpStream)> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for (at, &addr) in addrs.iter().enumerate().skip(at) {
        match dialer::socket(addr, origin) {
            Ok(socket) => return Ok((at, socket)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Begins to connect to the address of that index, for which the socket is; where that fails at once, to the next, with a new socket.
fn begin_from(socket: &mut TcpStream, addrs: &[SocketAddr], at: usize, origin: Origin) -> io::Result<usize> {
    let mut at = at;
    loop {
        let Some(&addr) = addrs.get(at) else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
        let Err(failure) = dialer::begin(socket, addr) else { return Ok(at) };
        let Ok((next, another)) = socket_from(addrs, at + 1, origin) else { return Err(failure) };
        (at, *socket) = (next, another);
    }
}
