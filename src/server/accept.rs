//! At the door: who is accepted, who is turned away, and when accepting rests.
//!
//! A listener's edge is told once, so a door stays marked until nobody waits there, whatever stopped us before. Descriptors that
//! run out are waited for: until one comes back, or for a while.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    admission::{Admission, RETRY_AFTER, Ticket},
    config::Config,
    event_loop::Loop,
    kernel::Kernel,
    metrics::Limit,
};
use crate::{
    net::{
        TlsStream, Transport,
        listener::{is_out_of_descriptors, is_transient},
    },
    proto::{Connection, Settings, handshake::Refusal},
    session::{ConnId, Handler, List, Session},
};

/// Connections accepted from one listener before the others get their turn.
pub(super) const ACCEPTS_MAX: usize = 64;
/// How long that may take: whoever is turned away is answered at once.
const ACCEPT_SLICE: Duration = Duration::from_millis(2);
/// Opening handshakes that wait for us, not for their peers, from which on no more are begun: the kernel's queue holds the others.
const LISTED_HANDSHAKES_MAX: usize = 64;
/// Connections of a listener's queue that are let in when a drain begins.
const QUEUE_MAX: usize = 4096;
/// How long accepting rests when descriptors have run out and none comes back.
pub(super) const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Between two warnings of the same thing.
pub(super) const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// One address that is listened on.
#[derive(Debug)]
pub(super) struct Door<L> {
    listener: L,
    /// With the real port.
    pub(super) addr: SocketAddr,
    pub(super) tls: bool,
    /// There may be connections to accept: edges are not repeated.
    knocking: bool,
}

/// Who comes in, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The peer of the connection, or whom a proxy speaks for.
    pub(super) client: SocketAddr,
    /// The proxy.
    pub(super) via: Option<SocketAddr>,
    pub(super) tls: bool,
    /// When it was accepted.
    pub(super) since: Instant,
    /// Its socket has a token already.
    pub(super) watched: bool,
}

/// All doors of a loop, and what a newcomer gets.
#[derive(Debug)]
pub(super) struct Reception<L> {
    doors: Vec<Door<L>>,
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    connections_max: usize,
    turned_away_max: usize,
    handshakes_max: usize,
    /// From here on newcomers are turned away.
    memory_bytes_high: usize,
    admission: Admission,
    /// Connections that are being told so. They take no other's place.
    turned_away: HashSet<ConnId>,
    /// Whose turn it is to be asked first.
    first: usize,
    /// Accepting rests until then, or until a descriptor comes back.
    rest_until: Option<Instant>,
    accept_warned: Option<Instant>,
    full_warned: Option<Instant>,
    crowd_warned: Option<Instant>,
    header_warned: Option<Instant>,
}

impl<L> Reception<L> {
    /// Without a door yet.
    pub(super) fn new(config: &Config) -> Self {
        Reception {
            doors: Vec::new(),
            settings: Arc::new(config.settings.clone()),
            tls: config.tls.clone(),
            connections_max: config.connections_max,
            turned_away_max: config.turned_away_max,
            handshakes_max: config.handshakes_max,
            memory_bytes_high: config.memory_bytes_max / 10 * 9,
            admission: Admission::new(config.connections_per_address),
            turned_away: HashSet::new(),
            first: 0,
            rest_until: None,
            accept_warned: None,
            full_warned: None,
            crowd_warned: None,
            header_warned: None,
        }
    }

    /// Opens a door; its index is the order of opening.
    pub(super) fn open(&mut self, listener: L, addr: SocketAddr, tls: bool) {
        self.doors.push(Door { listener, addr, tls, knocking: false });
    }

    pub(super) fn doors(&self) -> &[Door<L>] {
        &self.doors
    }

    /// Nobody is accepted any more: those in the kernel's queue are reset.
    pub(super) fn close(&mut self) {
        self.doors.clear();
    }

    /// There is an event at that door.
    pub(super) fn knock(&mut self, door: usize) {
        if let Some(door) = self.doors.get_mut(door) {
            door.knocking = true;
        }
    }

    /// A connection's socket was closed: its place is free, and whoever waits for a descriptor may have one.
    pub(super) fn leave(&mut self, id: ConnId) {
        self.admission.leave(id.key);
        if !self.turned_away.is_empty() {
            self.turned_away.remove(&id);
        }
        self.wake();
    }

    /// A descriptor has come back.
    pub(super) fn wake(&mut self) {
        self.rest_until = None;
    }

    /// Connections held at once: served, or told that they are not.
    pub(super) fn sockets_max(&self) -> usize {
        self.connections_max.saturating_add(self.turned_away_max)
    }

    pub(super) fn is_header_warning_due(&mut self, now: Instant) -> bool {
        is_due(&mut self.header_warned, now)
    }

    /// When accepting goes on without an event; `now` or earlier: at once.
    pub(super) fn next_accept(&self, now: Instant) -> Option<Instant> {
        self.rest_until.or_else(|| self.doors.iter().any(|door| door.knocking).then_some(now))
    }

    /// Whether accepting rests still.
    fn is_resting(&mut self, now: Instant) -> bool {
        self.rest_until = self.rest_until.filter(|until| now < *until);
        self.rest_until.is_some()
    }
}

/// Whether it is time to warn again.
fn is_due(warned: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = warned.is_none_or(|at| now >= at + WARNING_INTERVAL);
    if is_due {
        *warned = Some(now);
    }
    is_due
}

impl<K: Kernel, H: Handler> Loop<K, H> {
    /// Whether newcomers enough wait for us already: more would only be dropped for newer ones before we get to them.
    #[inline]
    pub(super) fn has_newcomers_enough(&self) -> bool {
        self.sessions.listed_on(List::Handshakes) >= LISTED_HANDSHAKES_MAX
    }

    /// Lets in all who wait, as many as a kernel's queue may hold: closing a listener resets whom nobody has accepted.
    pub(super) fn accept_all(&mut self) {
        self.reception.doors.iter_mut().for_each(|door| door.knocking = true);
        for _ in 0..QUEUE_MAX / ACCEPTS_MAX {
            if !self.reception.doors.iter().any(|door| door.knocking) || self.reception.rest_until.is_some() {
                return;
            }
            self.accept();
        }
    }

    /// Lets in whoever waits, unless accepting rests.
    pub(super) fn accept(&mut self) {
        let now = self.sessions.shared.now;
        if self.reception.is_resting(now) {
            return;
        }
        // Each door in its turn: the first might fill that list alone, time after time.
        let doors = self.reception.doors.len();
        self.reception.first = self.reception.first.wrapping_add(1);
        for step in 0..doors {
            let at = self.reception.first.wrapping_add(step) % doors;
            let end = self.kernel.now() + ACCEPT_SLICE;
            for _ in 0..ACCEPTS_MAX {
                let Some(door) = self.reception.doors.get_mut(at).filter(|door| door.knocking) else { break };
                let tls = door.tls;
                match self.kernel.accept(&door.listener) {
                    Ok(Some((socket, peer))) => {
                        self.tally.accepted(tls);
                        self.receive(socket, peer, tls);
                        if self.kernel.now() >= end {
                            // The door is still marked.
                            break;
                        }
                    }
                    Ok(None) => door.knocking = false,
                    Err(error) if is_out_of_descriptors(&error) => {
                        // The listener stays marked: nobody repeats its edge.
                        if is_due(&mut self.reception.accept_warned, now) {
                            tracing::warn!(%error, "cannot accept: raise the open-file limit or lower connections_max");
                        }
                        self.tally.refused(Limit::OpenFiles);
                        self.reception.rest_until = Some(now + ACCEPT_REST);
                        return;
                    }
                    Err(error) if is_transient(&error) => {}
                    Err(error) => {
                        // It may last: then looking again at once would only spin.
                        tracing::warn!(%error, "cannot accept");
                        self.reception.rest_until = Some(now + WARNING_INTERVAL);
                        return;
                    }
                }
            }
        }
    }

    /// A newcomer, its client's address known: gets a session, or is turned away. `None`: it is gone.
    pub(super) fn welcome(&mut self, socket: K::Socket, arrival: Arrival) -> Option<ConnId> {
        let Arrival { client, via, tls, .. } = arrival;
        let ticket = match self.admit(client) {
            Ok(ticket) => ticket,
            Err(refusal) => return self.turn_away(socket, arrival, refusal),
        };
        let begun = self.begin(socket, arrival);
        match begun {
            Some(id) => {
                let via = via.map(tracing::field::display);
                tracing::debug!(target: "wslab::conn", %id, peer = %client, via, tls, "accepted");
                self.reception.admission.hold(id.key, ticket);
                self.crowd_out();
            }
            None => self.reception.admission.release(ticket),
        }
        begun
    }

    /// Whether there is room for one more, and what to say if not.
    fn admit(&mut self, peer: SocketAddr) -> Result<Ticket, Refusal> {
        let Reception { connections_max, turned_away, memory_bytes_high, admission, .. } = &mut self.reception;
        if self.sessions.len() - turned_away.len() >= *connections_max {
            return Err(Refusal::TooManyConnections { connections_max: *connections_max, retry_after: RETRY_AFTER });
        }
        if self.sessions.memory_bytes() >= *memory_bytes_high {
            // What nobody uses turns nobody away.
            self.sessions.shared.workspace.trim();
            if self.sessions.memory_bytes() >= *memory_bytes_high {
                return Err(Refusal::OutOfMemory);
            }
        }
        admission.admit(peer.ip())
    }

    fn begin(&mut self, socket: K::Socket, arrival: Arrival) -> Option<ConnId> {
        let transport = match (&self.reception.tls, arrival.tls) {
            (Some(config), true) => match TlsStream::server(socket, config.clone()) {
                Ok(stream) => Transport::Tls(Box::new(stream)),
                Err(error) => {
                    tracing::warn!(%error, "cannot begin TLS");
                    return None;
                }
            },
            (None, true) => return None,
            (_, false) => Transport::Plain(socket),
        };
        self.take_in(transport, arrival)
    }

    /// A plain peer gets told and lingers like any other, a TLS one would cost a handshake.
    fn turn_away(&mut self, socket: K::Socket, arrival: Arrival, refusal: Refusal) -> Option<ConnId> {
        self.tally.refused(Limit::of(&refusal));
        if is_due(&mut self.reception.full_warned, self.sessions.shared.now) {
            tracing::warn!("turning peers away: {refusal}");
        }
        if arrival.tls || self.reception.turned_away.len() >= self.reception.turned_away_max {
            return None;
        }
        let id = self.take_in(Transport::Plain(socket), arrival)?;
        self.reception.turned_away.insert(id);
        self.sessions.turn_away(id, refusal, &mut self.handler);
        Some(id)
    }

    /// One handshake too many: the oldest makes room. Whoever means to open a connection has sent its request long since.
    pub(super) fn crowd_out(&mut self) {
        let handshakes_max = self.reception.handshakes_max;
        while self.sessions.openings() + self.lobby.len() > handshakes_max {
            if is_due(&mut self.reception.crowd_warned, self.sessions.shared.now) {
                tracing::warn!(handshakes_max, "too many opening handshakes are under way: dropping the oldest");
            }
            let oldest = self.sessions.oldest_opening();
            let since = oldest.and_then(|id| self.sessions.get(id)?.next_deadline());
            if self.lobby.next_deadline().is_some_and(|at| since.is_none_or(|since| at <= since))
                && self.crowd_out_of_lobby()
            {
                self.tally.refused(Limit::Handshakes);
                continue;
            }
            let Some(oldest) = oldest else { return };
            self.tally.refused(Limit::Handshakes);
            self.sessions.crowd_out(oldest, Refusal::TooManyHandshakes { handshakes_max }, &mut self.handler);
        }
    }

    fn take_in(&mut self, transport: Transport<K::Socket>, arrival: Arrival) -> Option<ConnId> {
        let connection = Connection::server(self.reception.settings.clone(), arrival.since);
        let kernel = &mut self.kernel;
        let registered = self.sessions.insert(Session::new(transport, connection), |socket, id| {
            if arrival.watched { kernel.rename(socket, id.token()) } else { kernel.register(socket, id.token()) }
        });
        registered.inspect_err(|error| tracing::warn!(%error, "cannot watch a connection")).ok()
    }
}
