//! The pump: readiness in, system calls out. One gathering write a turn, one read, and none of either just to see
//! `WouldBlock` (rules 1–5 of the loop in ARCHITECTURE.md).

use std::{
    io::{self, IoSlice},
    time::{Duration, Instant},
};

use super::handler::{ConnId, Handler};
use crate::{
    net::{Discard, Read, Socket, TlsScratch, Transport},
    proto::{Closure, Connection, Event, Received, Shutdown, Turn, Wait, Workspace},
};

/// One session's share of a turn: octets read before the others get theirs.
const TURN_BYTES: usize = 256 << 10;

/// What a read costs at least, in octets of the budget: a TLS record of one octet is work like any other.
const READ_COST_MIN: usize = 64 << 10;

/// What the sessions of one loop share.
#[derive(Debug)]
pub struct Shared {
    /// The protocol's window, lanes and buffers.
    pub workspace: Workspace,
    /// Ciphertext on its way in and out.
    pub tls: TlsScratch,
    /// The turn's one clock reading.
    pub now: Instant,
    /// How long, after our last octet, input is read and discarded before the socket is closed.
    pub linger: Duration,
    /// How much of it.
    pub linger_bytes_max: usize,
}

/// How a pump left a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Blocked: nothing to do until the next readiness event or deadline.
    Blocked,
    /// Stopped on its budget with work left: to be pumped again after the others, without waiting for an event.
    Ready,
    /// Over: to be dropped, which closes the socket.
    Gone,
}

/// One peer.
#[derive(Debug)]
pub struct Session<S> {
    transport: Transport<S>,
    connection: Connection,
    end: End,
    /// The socket may have input: set by an edge, cleared when it was drained.
    readable: bool,
    /// The socket may take output: cleared when it did not.
    writable: bool,
    /// An edge told of the peer's FIN: a drained socket is then worth one more read, since no edge will come for it.
    peer_ended: bool,
    /// Since when ciphertext has waited for the socket, where nothing else does: the protocol's own deadlines do not see it.
    unsent: Option<Instant>,
    /// `on_open` was called, so `on_close` will be.
    opened: bool,
}

/// How far the end of TCP has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Neither side has ended.
    Open,
    /// The peer's FIN or close_notify was read.
    PeerEnded,
    /// Our side has ended; input is discarded until the peer's does, or until then, or that much.
    Lingering { until: Instant, octets_left: usize },
    /// The socket is broken.
    Broken,
}

impl<S: Socket> Session<S> {
    /// A peer whose socket is still connecting: nothing is written before it is said to be writable.
    pub fn connecting(transport: Transport<S>, connection: Connection) -> Self {
        Session { writable: false, ..Session::new(transport, connection) }
    }

    /// A peer whose socket was just accepted (or connected).
    pub fn new(transport: Transport<S>, connection: Connection) -> Self {
        Session {
            transport,
            connection,
            end: End::Open,
            readable: false,
            writable: true,
            peer_ended: false,
            unsent: None,
            opened: false,
        }
    }

    /// Notes readiness. `pump` acts on it.
    #[inline]
    pub fn note_ready(&mut self, readable: bool, writable: bool, peer_ended: bool) {
        self.readable |= readable || peer_ended;
        self.writable |= writable;
        self.peer_ended |= peer_ended;
    }

    /// When [`Session::on_deadline`] must be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.end {
            End::Lingering { until, .. } => Some(until),
            _ => {
                let unsent = self.unsent.map(|since| since + self.connection.write_stall());
                [self.connection.next_deadline().map(|(at, _)| at), unsent].into_iter().flatten().min()
            }
        }
    }

    /// Acts on every deadline that has passed, then pumps.
    pub fn on_deadline<H: Handler>(&mut self, id: ConnId, shared: &mut Shared, handler: &mut H) -> Pumped {
        match self.end {
            End::Lingering { until, .. } if shared.now >= until => Pumped::Gone,
            _ => {
                let stall = self.connection.write_stall();
                let is_stuck = self.unsent.is_some_and(|since| shared.now >= since + stall);
                let act = |turn: &mut Turn<'_>, _: &mut H| {
                    if is_stuck { turn.give_up(Wait::WriteStall) } else { turn.handle_timeout() }
                };
                self.pump_with(id, shared, handler, act).1
            }
        }
    }

    /// The server ends: Close 1001, or 503 to a peer that has not opened; then pumps.
    pub fn go_away<H: Handler>(&mut self, id: ConnId, shared: &mut Shared, handler: &mut H) -> Pumped {
        self.pump_with(id, shared, handler, |turn, _| turn.go_away()).1
    }

    /// Decodes, answers, sends and reads until the socket blocks, the budget is spent, or the session is over.
    #[inline]
    pub fn pump<H: Handler>(&mut self, id: ConnId, shared: &mut Shared, handler: &mut H) -> Pumped {
        if !self.writable && self.connection.is_paused() && self.end != End::Broken {
            // Our output is stuck, so nothing is read or decoded: a peer that goes on sending costs a flag, not a copy.
            return Pumped::Blocked;
        }
        self.pump_with(id, shared, handler, |_, _| ()).1
    }

    /// The same after `first`, in one turn with it. `None`: the session only waits for the end of TCP, so `first` was not called.
    #[inline]
    pub fn pump_with<H: Handler, R>(
        &mut self,
        id: ConnId,
        shared: &mut Shared,
        handler: &mut H,
        first: impl FnOnce(&mut Turn<'_>, &mut H) -> R,
    ) -> (Option<R>, Pumped) {
        if let End::Lingering { until, octets_left } = self.end {
            return (None, self.linger(until, octets_left, shared));
        }
        let (result, budget_left) = self.talk(id, shared, handler, first);
        self.unsent = if self.transport.wants_write() { self.unsent.or(Some(shared.now)) } else { None };
        let pumped = match self.connection.shutdown() {
            Shutdown::None if budget_left => Pumped::Blocked,
            Shutdown::None => Pumped::Ready,
            Shutdown::Abort => Pumped::Gone,
            shutdown => self.finish(shutdown, shared),
        };
        (Some(result), pumped)
    }

    /// Returns whether the session is blocked rather than out of budget.
    #[inline]
    fn talk<H: Handler, R>(
        &mut self,
        id: ConnId,
        shared: &mut Shared,
        handler: &mut H,
        first: impl FnOnce(&mut Turn<'_>, &mut H) -> R,
    ) -> (R, bool) {
        let Session { transport, connection, end, readable, writable, peer_ended, opened, .. } = self;
        let mut turn = connection.turn(&mut shared.workspace, shared.now);
        let result = first(&mut turn, handler);
        let mut budget = TURN_BYTES;
        let mut in_budget = true;
        loop {
            deliver(&mut turn, id, opened, handler);
            if *writable && (turn.has_output() || transport.wants_write()) {
                handler.on_write(id);
                match send(transport, &mut turn, &mut shared.tls) {
                    Ok(all) => *writable = all,
                    Err(error) => *end = broken(id, &error, handler),
                }
                // Backpressure is over: what waits undecoded comes before what the socket still holds.
                if *writable && turn.is_paused() && *end != End::Broken {
                    continue;
                }
            }
            if turn.is_spent() {
                // Compressed messages have had their share; what waits undecoded needs no event.
                in_budget = false;
                break;
            }
            if *end != End::Open || !*readable || !turn.connection().wants_read() {
                break;
            }
            if budget == 0 {
                in_budget = false;
                break;
            }
            match read(transport, &mut turn, &mut shared.tls) {
                Ok((octets, drained, eof)) => {
                    handler.on_read(id);
                    budget = budget.saturating_sub(octets.max(READ_COST_MIN));
                    *readable = !eof && (!drained || *peer_ended);
                    if eof {
                        *end = End::PeerEnded;
                    }
                }
                Err(error) => *end = broken(id, &error, handler),
            }
        }
        match end {
            End::Broken => turn.abort(),
            // What was decoded last may have stopped on backpressure: then the end waits behind it.
            End::PeerEnded if !turn.is_paused() && !turn.is_spent() => turn.receive_eof(),
            _ => return (result, in_budget),
        }
        deliver(&mut turn, id, opened, handler);
        (result, in_budget)
    }

    /// Nothing more is received: flush, end our side, let the input run dry.
    fn finish(&mut self, shutdown: Shutdown, shared: &mut Shared) -> Pumped {
        if self.transport.is_handshaking() {
            // Nothing can be said to a peer that has not finished its TLS handshake.
            return Pumped::Gone;
        }
        if self.connection.queued_bytes() > 0 {
            return Pumped::Blocked;
        }
        if shutdown == Shutdown::AwaitEof && self.end == End::Open {
            return if self.readable { Pumped::Ready } else { Pumped::Blocked };
        }
        match self.transport.close_write(&mut shared.tls) {
            Err(_) => return Pumped::Gone,
            Ok(false) => {
                self.writable = false;
                return Pumped::Blocked;
            }
            Ok(true) => {}
        }
        if self.end == End::PeerEnded {
            return Pumped::Gone;
        }
        // Closing a socket with unread input resets it, and a reset can destroy what the peer has not read yet.
        let until = shared.now + shared.linger;
        self.end = End::Lingering { until, octets_left: shared.linger_bytes_max };
        self.linger(until, shared.linger_bytes_max, shared)
    }

    fn linger(&mut self, until: Instant, octets_left: usize, shared: &mut Shared) -> Pumped {
        let (mut octets_left, mut budget) = (octets_left, TURN_BYTES);
        while self.readable && budget > 0 {
            match self.transport.discard(&mut shared.tls) {
                Ok(Discard::Data { n, drained }) if n < octets_left => {
                    octets_left -= n;
                    budget = budget.saturating_sub(n);
                    self.readable = !drained || self.peer_ended;
                }
                _ => return Pumped::Gone,
            }
        }
        self.end = End::Lingering { until, octets_left };
        if self.readable { Pumped::Ready } else { Pumped::Blocked }
    }

    /// The socket underneath.
    pub fn socket(&self) -> &S {
        self.transport.socket()
    }

    /// The same, to register it.
    pub fn socket_mut(&mut self) -> &mut S {
        self.transport.socket_mut()
    }

    /// The stream: plain or TLS.
    pub fn transport(&self) -> &Transport<S> {
        &self.transport
    }

    /// The protocol's state.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// The socket, or TLS, can not go on.
#[cold]
fn broken<H: Handler>(id: ConnId, error: &io::Error, handler: &mut H) -> End {
    tracing::debug!(target: "wslab::conn", %id, %error, "socket");
    handler.on_error(id, error);
    End::Broken
}

/// Hands every event that is due to the application.
#[inline]
fn deliver<H: Handler>(turn: &mut Turn<'_>, id: ConnId, is_open: &mut bool, handler: &mut H) {
    while let Some(Received { event, sender }) = turn.receive() {
        match event {
            Event::Message(message) => handler.on_message(id, message, sender),
            Event::Pong(payload) => handler.on_pong(id, payload, sender),
            Event::Open(opened) => {
                *is_open = true;
                tracing::debug!(target: "wslab::conn", %id, path = opened.path.escape_default().to_string(), "open");
                handler.on_open(id, &opened, sender);
            }
            Event::Close(closure) => {
                log_close(id, &closure);
                if *is_open {
                    handler.on_close(id, &closure);
                } else {
                    handler.on_failed(id, &closure);
                }
            }
        }
    }
}

fn log_close(id: ConnId, closure: &Closure) {
    tracing::debug!(target: "wslab::conn", %id, "closed: {closure}");
}

/// Sends what is queued; returns whether all of it went.
#[inline]
fn send<S: Socket>(transport: &mut Transport<S>, turn: &mut Turn<'_>, tls: &mut TlsScratch) -> io::Result<bool> {
    loop {
        let (offered, taken) = match turn.transmit_one() {
            Some(octets) => (octets.len(), transport.write(tls, &[IoSlice::new(octets)])?),
            None => {
                let slices = turn.transmit();
                if slices.is_empty() {
                    return transport.flush(tls);
                }
                (slices.iter().map(|slice| slice.len()).sum(), transport.write(tls, &slices)?)
            }
        };
        if taken == 0 && transport.is_handshaking() {
            // It is not the socket that is full: a read will end the handshake, and no edge will tell.
            return transport.flush(tls);
        }
        turn.advance(taken);
        if taken == offered && !turn.has_output() && !transport.wants_write() {
            return Ok(true);
        }
        // A plain socket that takes less than it is offered is full; asking it again would only tell so.
        if taken == 0 || (taken < offered && matches!(transport, Transport::Plain(_))) {
            return Ok(false);
        }
    }
}

/// One read: octets, whether the socket is drained, whether the peer has ended.
#[inline]
fn read<S: Socket>(
    transport: &mut Transport<S>,
    turn: &mut Turn<'_>,
    tls: &mut TlsScratch,
) -> io::Result<(usize, bool, bool)> {
    // Plaintext of a TLS record has to pass through the window; other payload goes straight to its place.
    let direct = matches!(transport, Transport::Plain(_)).then(|| turn.spare_payload()).flatten();
    let into_message = direct.is_some();
    let room = match direct {
        Some(room) => room,
        None => turn.spare(),
    };
    if room.is_empty() {
        debug_assert!(false, "a session that wants to read has room");
        return Ok((0, true, false));
    }
    let (octets, drained, eof) = match transport.read(tls, room)? {
        Read::Data { n, drained } => (n, drained, false),
        Read::Eof { n } => (n, true, true),
    };
    if into_message {
        turn.filled_payload(octets)
    } else {
        turn.filled(octets)
    }
    Ok((octets, drained, eof))
}
