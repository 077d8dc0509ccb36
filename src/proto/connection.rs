//! One WebSocket connection, either role, without its socket (RFC 6455). It holds its state and what it must remember;
//! octets pass through it in a [`Turn`].
//!
//! `receive` returns no `Result`: a breach queues the Close, becomes an event, and later input is swallowed. The loop can
//! not forget to answer.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    assembler::Assembly,
    close::{CONTROL_BYTES_MAX, CloseCode},
    decoder::FrameDecoder,
    deflate::{Codec, negotiation},
    error::ProtocolError,
    handshake::{HandshakeError, HeadScanner, Opened, Refusal, Request, RequestError, client, extensions},
    limits::{Role, Settings},
    outbox::Outbox,
    turn::Turn,
    workspace::Workspace,
};

/// One connection's protocol state. An idle one holds no buffer.
#[derive(Debug)]
pub struct Connection {
    pub(super) settings: Arc<Settings>,
    pub(super) role: Role,
    pub(super) phase: Phase,
    /// What the phase of that name needs; `None` in every other.
    pub(super) opening: Option<Box<Opening>>,
    pub(super) decoder: FrameDecoder,
    /// A message that came in parts, so far.
    pub(super) message: Option<Box<Assembly>>,
    /// A control frame's payload that came in parts, so far.
    pub(super) control: Option<Box<Held>>,
    /// Compression, where it was agreed on.
    pub(super) codec: Option<Box<Codec>>,
    pub(super) outbox: Outbox,
    /// Input that is left when a turn ends: an unfinished header, all of it under backpressure, or, once the turn had inflated
    /// its share, the payload that waits for the next ([`Rest`](super::assembler::Rest)) and what is behind it.
    pub(super) carry: Box<[u8]>,
    /// Decoding stopped at `queue_high_bytes` and has not resumed yet.
    pub(super) paused: bool,
    /// How the connection ended, until that was reported.
    pub(super) ended: Option<Box<Closure>>,
    /// When the phase began, as far as a deadline counts from there; while it is open, when a keep-alive Ping was sent last
    /// (before `heard`: it was answered, or there was none).
    pub(super) since: Instant,
    /// When the peer was last heard.
    pub(super) heard: Instant,
}

/// Where a connection is in its life (RFC 6455 §4, §7).
#[derive(Debug)]
pub(super) enum Phase {
    /// The opening handshake is under way.
    Opening,
    /// Messages flow both ways.
    Open,
    /// Our Close is queued or sent, the peer's has not come.
    Closing,
    /// Nothing more is received.
    Done(Shutdown),
}

/// An opening handshake that has not got its whole head.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) scanner: HeadScanner,
    pub(super) head: Vec<u8>,
    /// What a client asked for, to judge the answer by.
    pub(super) asked: Option<Box<Asked>>,
}

/// A request of ours, as far as its answer is judged by it.
#[derive(Debug)]
pub(super) struct Asked {
    host: String,
    path: String,
    key: [u8; 16],
    origin: Option<String>,
    subprotocols: Vec<String>,
    extensions: Option<String>,
}

impl Asked {
    fn new(request: &Request<'_>) -> Self {
        Asked {
            host: request.host.to_owned(),
            path: request.path.to_owned(),
            key: request.key,
            origin: request.origin.map(str::to_owned),
            subprotocols: request.subprotocols.iter().map(|name| (*name).to_owned()).collect(),
            extensions: request.extensions.map(str::to_owned),
        }
    }

    pub(super) fn check(&self, head: &[u8], settings: &Settings) -> Result<Opened, HandshakeError> {
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let request = Request {
            host: &self.host,
            path: &self.path,
            key: self.key,
            origin: self.origin.as_deref(),
            subprotocols: &subprotocols,
            extensions: self.extensions.as_deref(),
            headers: &[],
        };
        let mut opened = client::check(head, &request, &settings.limits)?;
        // Its grammar was judged with the head.
        let answers = extensions::offers(opened.extensions.as_deref().map(str::as_bytes)).unwrap_or_default();
        opened.deflate = negotiation::check(&answers, &settings.deflate)?;
        Ok(opened)
    }
}

/// A control frame's payload in the making.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) octets: [u8; CONTROL_BYTES_MAX],
    pub(super) len: usize,
}

/// What the owner of the socket must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing: the connection goes on.
    None,
    /// Send what is queued, then end our side of TCP, let the peer's input run dry for a bounded time, and close.
    Flush,
    /// Send what is queued, then wait for the peer to end TCP: a client leaves that to the server (RFC 6455 §7.1.1).
    AwaitEof,
    /// Close at once: the peer takes no octets, or is gone.
    Abort,
}

/// How far a connection has come in its life (RFC 6455 §4, §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The opening handshake is under way.
    Opening,
    /// Messages flow.
    Open,
    /// A Close is queued or sent, or nothing more is received.
    Closing,
}

/// Which wait came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For the opening handshake.
    Handshake,
    /// For the socket to take queued output.
    WriteStall,
    /// For any octet.
    Idle,
    /// For the peer's Close.
    Close,
}

/// How a connection ended. Reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// The peer closed; a Close frame without payload has no code.
    Peer {
        /// Its code.
        code: Option<CloseCode>,
        /// Its reason, possibly empty.
        reason: String,
    },
    /// We closed and the peer answered.
    Local {
        /// The peer's code.
        code: Option<CloseCode>,
    },
    /// The peer broke the protocol or a limit.
    Failed(ProtocolError),
    /// No WebSocket connection came about: the request was answered with an HTTP status.
    Refused(Refusal),
    /// As a client: the server's answer was none.
    HandshakeFailed(HandshakeError),
    /// TCP ended without a Close frame.
    Eof,
    /// A deadline passed.
    TimedOut(Wait),
    /// Memory has run out, and this connection held the most: its queue was dropped (Close 1013).
    Shed {
        /// What it held, in octets.
        held_bytes: usize,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wait::Handshake => "opening handshake",
            Wait::WriteStall => "peer to take output",
            Wait::Idle => "idle peer",
            Wait::Close => "peer's close",
        })
    }
}

impl fmt::Display for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |code: &Option<CloseCode>| code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        match self {
            // Peer's octets are escaped.
            Closure::Peer { code, reason } if !reason.is_empty() => write!(f, "by the peer, {} {reason:?}", show(code)),
            Closure::Peer { code, .. } => write!(f, "by the peer, {}", show(code)),
            Closure::Local { code } => write!(f, "by us, answered with {}", show(code)),
            Closure::Failed(error) => write!(f, "failed with {}: {error}", error.close_code()),
            Closure::Refused(refusal) => write!(f, "answered with {}: {refusal}", refusal.status()),
            Closure::HandshakeFailed(error) => write!(f, "not opened: {error}"),
            Closure::Eof => f.write_str("TCP ended without a Close frame"),
            Closure::TimedOut(wait) => write!(f, "waited too long: {wait}"),
            Closure::Shed { held_bytes } => {
                write!(f, "dropped with {}: memory has run out, it held {held_bytes} octets", CloseCode::TRY_AGAIN)
            }
        }
    }
}

impl Connection {
    /// The server's end of a socket that was just accepted.
    pub fn server(settings: Arc<Settings>, now: Instant) -> Self {
        let scanner = HeadScanner::new(Role::Server);
        Self::new(settings, Role::Server, Opening { scanner, head: Vec::new(), asked: None }, now)
    }

    /// The client's end of a socket that was just connected: the request is queued. Its turns need a workspace that can
    /// mask ([`Workspace::with_mask_keys`]). A request that names no extensions offers what `Settings::deflate` says.
    ///
    /// # Errors
    /// A request that can not be written as it was meant.
    pub fn client(settings: Arc<Settings>, request: &Request<'_>, now: Instant) -> Result<Self, RequestError> {
        let mut head = Vec::new();
        let offer = negotiation::offer(&settings.deflate);
        let request = &Request { extensions: request.extensions.or(offer), ..*request };
        request.write(&mut head)?;
        let opening = Opening {
            scanner: HeadScanner::new(Role::Client),
            head: Vec::new(),
            asked: Some(Box::new(Asked::new(request))),
        };
        let mut connection = Self::new(settings, Role::Client, opening, now);
        connection.outbox.push_head(head);
        Ok(connection)
    }

    fn new(settings: Arc<Settings>, role: Role, opening: Opening, now: Instant) -> Self {
        Connection {
            settings,
            role,
            phase: Phase::Opening,
            opening: Some(Box::new(opening)),
            decoder: FrameDecoder::default(),
            message: None,
            control: None,
            codec: None,
            outbox: Outbox::default(),
            carry: Box::default(),
            paused: false,
            ended: None,
            since: now,
            heard: now,
        }
    }

    /// Borrows the loop's workspace for this connection. Whatever is neither decoded nor sent when the turn is dropped
    /// moves into the connection's own memory.
    #[inline(always)]
    pub fn turn<'t>(&'t mut self, workspace: &'t mut Workspace, now: Instant) -> Turn<'t> {
        Turn::begin(self, workspace, now)
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the opening handshake is over and the closing one has not begun.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the opening handshake is under way.
    pub fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening)
    }

    /// How far it has come.
    #[inline]
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Opening => Stage::Opening,
            Phase::Open => Stage::Open,
            Phase::Closing | Phase::Done(_) => Stage::Closing,
        }
    }

    /// What the owner of the socket must do.
    #[inline]
    pub fn shutdown(&self) -> Shutdown {
        match self.phase {
            Phase::Done(shutdown) => shutdown,
            _ => Shutdown::None,
        }
    }

    /// Whether reading from the socket makes sense: not while output is backed up, not after the end.
    #[inline]
    pub fn wants_read(&self) -> bool {
        !self.paused && !matches!(self.phase, Phase::Done(Shutdown::Flush | Shutdown::Abort))
    }

    /// How long a socket may take none of what is queued for it.
    pub fn write_stall(&self) -> Duration {
        self.settings.timeouts.write_stall
    }

    /// Whether decoding has stopped because too much output is queued.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.paused && !matches!(self.phase, Phase::Done(_))
    }

    /// Output that waits for the socket, in octets.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Heap octets held beyond `size_of::<Connection>()`: what this connection's buffers and compressors cost.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        let opening = self.opening.as_ref().map_or(0, |opening| opening.head.capacity() + size_of::<Opening>());
        let message = self.message.as_ref().map_or(0, |message| message.buffer.allocated() + size_of::<Assembly>());
        let codec = self.codec.as_ref().map_or(0, |codec| size_of::<Codec>() + codec.memory_bytes());
        opening
            + codec
            + message
            + self.control.as_ref().map_or(0, |_| size_of::<Held>())
            + self.outbox.held_bytes()
            + self.carry.len()
    }

    /// When [`Turn::handle_timeout`] must be called at the latest, and for which wait.
    #[inline]
    pub fn next_deadline(&self) -> Option<(Instant, Wait)> {
        let timeouts = &self.settings.timeouts;
        if matches!(self.phase, Phase::Open)
            && !self.outbox.is_waiting()
            && timeouts.idle.is_none()
            && timeouts.ping.is_none()
        {
            // The most of them, most of the time.
            return None;
        }
        self.next_of_deadlines()
    }

    #[inline(never)]
    fn next_of_deadlines(&self) -> Option<(Instant, Wait)> {
        let timeouts = &self.settings.timeouts;
        let stall = |limit: Duration| self.outbox.stalled().map(|since| (since + limit, Wait::WriteStall));
        match self.phase {
            Phase::Opening => Some((self.since + timeouts.handshake, Wait::Handshake)),
            Phase::Open => {
                // Whom we do not listen to, because our output is backed up, is not silent: the write stall counts then.
                let listening = !self.paused;
                let idle = timeouts.idle.filter(|_| listening).map(|limit| (self.heard + limit, Wait::Idle));
                let ping = timeouts.ping.filter(|_| listening);
                let ping = ping.map(|limit| (self.heard.max(self.since) + limit, Wait::Idle));
                [stall(timeouts.write_stall), idle, ping].into_iter().flatten().min_by_key(|(at, _)| *at)
            }
            Phase::Done(Shutdown::Abort) => None,
            // While queued output moves, the Close behind it has time; a peer that takes none of it is not waited for longer.
            Phase::Closing | Phase::Done(_) => {
                let stall = stall(timeouts.close.min(timeouts.write_stall));
                let most = if stall.is_some() { timeouts.close + timeouts.write_stall } else { timeouts.close };
                // However slowly the queue drains, it does so for a bounded time.
                stall.into_iter().chain([(self.since + most, Wait::Close)]).min_by_key(|(at, _)| *at)
            }
        }
    }
}
