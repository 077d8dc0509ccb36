//! The pump: readiness in, system calls out. One gathering write a turn, one read, and none of either just to see
//! `WouldBlock`.

use std::time::{Duration, Instant};

use super::{
    counts::Counts,
    handler::{ConnId, Handler},
    life::{End, Life, Lingering, broken, deliver},
    transfer::{read, send},
};
use crate::{
    net::{Discard, Socket, TlsScratch, TlsStream, Transport},
    proto::{Connection, Shutdown, Stage, Turn, Wait, Workspace, handshake::Refusal},
};

/// One session's share of a turn at most: octets read before the others get theirs. A large payload's last read may bring more.
pub const TURN_BYTES_MAX: usize = 256 << 10;

/// What a read costs at least, in octets of the budget: a TLS record of one octet is work like any other.
const READ_COST_MIN: usize = 64 << 10;

/// A turn that read so much, or inflated it, is no small question: some 700 Pings, or one message that is not short.
const HEAVY_BYTES: usize = 4 << 10;

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
    /// One session's share of the turn: octets read before the others get theirs. Less where there are many.
    pub turn_bytes: usize,
    /// What they count.
    pub counts: Counts,
}

impl Shared {
    /// Heap octets held.
    pub fn memory_bytes(&self) -> usize {
        self.workspace.memory_bytes() + self.tls.memory_bytes()
    }
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

/// What a session's next turn may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Little.
    Light,
    /// Its share.
    Heavy,
    /// Nobody knows: the peer has opened, and nothing was read since.
    Unknown,
    /// An opening handshake, TLS's before it included.
    Handshake,
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
    /// Since when the socket has taken none of the ciphertext that waits: the protocol's own deadlines do not see it.
    unsent: Option<Box<Instant>>,
    life: Life,
    /// What its last turn says of the next.
    weight: Weight,
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
            life: Life { opened: false, stage: Stage::Opening, ended: None },
            weight: Weight::Handshake,
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
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.end {
            End::Lingering(lingering) => Some(lingering.until),
            _ => {
                let unsent = self.unsent.as_ref().map(|since| **since + self.connection.write_stall());
                [self.connection.next_deadline().map(|(at, _)| at), unsent].into_iter().flatten().min()
            }
        }
    }

    /// Acts on every deadline that has passed, then pumps.
    pub fn on_deadline<H: Handler>(&mut self, id: ConnId, shared: &mut Shared, handler: &mut H) -> Pumped {
        match &self.end {
            End::Lingering(lingering) if shared.now >= lingering.until => Pumped::Gone,
            _ => {
                if !self.writable && (self.connection.queued_bytes() > 0 || self.transport.wants_write()) {
                    // A poll tells of room only once a third of the send buffer is free: of 4 MiB, that is minutes for a slow
                    // reader. The socket itself takes octets as soon as a segment has left. So it is asked, once.
                    self.writable = true;
                    let pumped = self.pump(id, shared, handler);
                    if pumped == Pumped::Gone || self.next_deadline().is_none_or(|at| at > shared.now) {
                        return pumped;
                    }
                }
                let stall = self.connection.write_stall();
                let is_stuck = self.unsent.as_ref().is_some_and(|since| shared.now >= **since + stall);
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

    /// Refuses the opening handshake in favour of others, and does not wait for the peer to hear it.
    pub fn crowd_out<H: Handler>(
        &mut self,
        id: ConnId,
        refusal: Refusal,
        shared: &mut Shared,
        handler: &mut H,
    ) -> Pumped {
        let pumped = self.pump_with(id, shared, handler, |turn, _| turn.turn_away(refusal)).1;
        if matches!(self.end, End::Lingering { .. }) { Pumped::Gone } else { pumped }
    }

    /// Decodes, answers, sends and reads until the socket blocks, the budget is spent, or the session is over.
    #[inline]
    pub fn pump<H: Handler>(&mut self, id: ConnId, shared: &mut Shared, handler: &mut H) -> Pumped {
        if !self.writable && self.connection.is_paused() && !matches!(self.end, End::Broken(_)) {
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
        if matches!(self.end, End::Lingering(_)) {
            return (None, self.linger(shared));
        }
        let (result, budget_left) = self.talk(id, shared, handler, first);
        let stage = self.connection.stage();
        if stage != self.life.stage || self.life.ended.is_some() {
            self.life.count(stage, &mut shared.counts);
        }
        if self.transport.wants_write() {
            self.unsent.get_or_insert_with(|| Box::new(shared.now));
        } else if self.unsent.is_some() {
            self.unsent = None;
        }
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
        let Session { transport, connection, end, readable, writable, peer_ended, unsent, life, weight } = self;
        let mut turn = connection.turn(&mut shared.workspace, shared.now);
        let result = first(&mut turn, handler);
        let mut budget = shared.turn_bytes;
        let mut in_budget = true;
        let mut octets_read = 0;
        loop {
            if turn.has_undecoded() {
                deliver(&mut turn, id, life, end, handler);
            }
            if *writable && (turn.has_output() || transport.wants_write()) {
                let sent = transport.ciphertext_sent();
                handler.on_write(id);
                match send(transport, &mut turn, &mut shared.tls) {
                    Ok(all) => *writable = all,
                    Err(error) => *end = broken(id, &error, handler),
                }
                if transport.ciphertext_sent() != sent {
                    // The socket took some, though perhaps not enough for another record.
                    turn.progressed();
                    *unsent = None;
                }
                // Backpressure is over: what waits undecoded comes before what the socket still holds. (It is not over where a
                // free socket took nothing, because TLS has not got so far.)
                if *writable && turn.is_paused() && !turn.has_output() && !matches!(end, End::Broken(_)) {
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
            match read(transport, &mut turn, &mut shared.tls, budget) {
                Ok((octets, drained, eof)) => {
                    handler.on_read(id);
                    budget = budget.saturating_sub(octets.max(READ_COST_MIN));
                    octets_read += octets;
                    if octets_read > 0 && *weight != Weight::Handshake {
                        *weight = if octets_read >= HEAVY_BYTES { Weight::Heavy } else { Weight::Light };
                    }
                    *readable = !eof && (!drained || *peer_ended);
                    if eof {
                        *end = End::PeerEnded;
                    }
                }
                Err(error) => *end = broken(id, &error, handler),
            }
        }
        // A bomb is a few octets on the wire.
        if turn.inflated_bytes() >= HEAVY_BYTES {
            *weight = Weight::Heavy;
        }
        if *weight == Weight::Handshake && !turn.connection().is_opening() {
            *weight = match octets_read {
                HEAVY_BYTES.. => Weight::Heavy,
                _ if turn.connection().is_open() => Weight::Unknown,
                // Refused.
                _ => Weight::Light,
            };
        }
        match end {
            End::Broken(_) => turn.abort(),
            // What was decoded last may have stopped on backpressure: then the end waits behind it.
            End::PeerEnded if !turn.is_paused() && !turn.is_spent() => turn.receive_eof(),
            _ => return (result, in_budget),
        }
        deliver(&mut turn, id, life, end, handler);
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
        self.end = End::Lingering(Box::new(Lingering { until, octets_left: shared.linger_bytes_max }));
        self.linger(shared)
    }

    fn linger(&mut self, shared: &mut Shared) -> Pumped {
        let End::Lingering(lingering) = &mut self.end else { return Pumped::Gone };
        let mut budget = shared.turn_bytes;
        while self.readable && budget > 0 {
            match self.transport.discard(&mut shared.tls) {
                Ok(Discard::Data { n, drained }) if n < lingering.octets_left => {
                    lingering.octets_left -= n;
                    budget = budget.saturating_sub(n);
                    self.readable = !drained || self.peer_ended;
                }
                _ => return Pumped::Gone,
            }
        }
        if self.readable { Pumped::Ready } else { Pumped::Blocked }
    }

    /// How far the session was when it was last counted: after each pump.
    pub(super) fn stage(&self) -> Stage {
        self.life.stage
    }

    /// Whether its next turn may be a long one, and so comes behind others': it reads much, or the peer is a newcomer. A TLS handshake
    /// costs as much as a thousand short messages, and what comes first behind it nobody knows.
    #[inline]
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// Heap octets held: the connection's, and TLS's beneath it as far as they are buffers.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.connection.held_bytes() + self.transport.tls().map_or(0, TlsStream::octets_kept)
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
