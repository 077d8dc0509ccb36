//! Before the door of a session: connections whose proxy has yet to say whom it speaks for (PROXY protocol,
//! [`net::proxy_protocol`](crate::net::proxy_protocol)).
//!
//! Nothing is read here but a header: it is looked at in the kernel's buffer and taken from there to the octet, so that TLS or
//! the request behind it finds its first octet first. A connection that leaves the lobby is welcomed as any other, by its
//! client's address; none pays for it afterwards. The wait counts towards the opening handshake's, from accept on.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    accept::Arrival,
    config::{Config, ProxyProtocol},
    event_loop::{Loop, WAKER},
    kernel::Kernel,
    metrics::Limit,
};
use crate::{
    net::{
        Network, Socket,
        proxy_protocol::{HEADER_BYTES_MAX, Parsed, parse},
    },
    session::{ConnId, Handler, Readiness},
};

/// Every token of a connection in the lobby lies between [`ConnId::TOKENS_END`] and this.
pub(super) const LOBBY_END: usize = ConnId::TOKENS_END | 1 << 62;

const _: () = assert!(LOBBY_END < WAKER - super::event_loop::LISTENERS_MAX, "nor for a listener");

/// A connection that has not said who it is.
#[derive(Debug)]
struct Waiting<S> {
    socket: S,
    /// Whom we see: the proxy.
    peer: SocketAddr,
    tls: bool,
    since: Instant,
    generation: usize,
}

/// Who waits, and whom to ask.
#[derive(Debug)]
pub(super) struct Lobby<S> {
    mode: ProxyProtocol,
    trusted: Vec<Network>,
    patience: Duration,
    waiting: Slab<Waiting<S>>,
    generation: usize,
    /// Tokens in the order of accepting, since all may wait equally long. Some of connections that have left, but not the first.
    order: VecDeque<usize>,
    /// A copy of what the kernel holds for us: a header's worth, for all of them in turn.
    sight: Vec<u8>,
}

impl<S> Lobby<S> {
    pub(super) fn new(config: &Config) -> Self {
        let is_off = config.proxy_protocol == ProxyProtocol::Off;
        Lobby {
            mode: config.proxy_protocol,
            trusted: config.proxy_from.clone(),
            patience: config.settings.timeouts.handshake,
            waiting: Slab::new(),
            generation: 0,
            order: VecDeque::new(),
            sight: vec![0; if is_off { 0 } else { HEADER_BYTES_MAX }],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the one that has waited longest has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = self.order.front().map(|&token| self.waiting.get(key_of(token)))?;
        first.map(|waiting| waiting.since + self.patience)
    }

    fn trusts(&self, addr: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(addr))
    }

    /// The token of the next to come; [`Lobby::enter`] must follow.
    fn next_token(&mut self) -> usize {
        self.generation = (self.generation + 1) & (usize::MAX >> 34);
        ConnId::TOKENS_END | self.generation << 32 | self.waiting.vacant_key()
    }

    fn enter(&mut self, token: usize, socket: S, peer: SocketAddr, tls: bool, since: Instant) {
        let key = self.waiting.insert(Waiting { socket, peer, tls, since, generation: self.generation });
        debug_assert_eq!(key, key_of(token));
        self.order.push_back(token);
        if self.order.len() > 64 + 2 * self.waiting.len() {
            let waiting = &self.waiting;
            self.order.retain(|&token| is_of(waiting, token));
        }
    }

    fn get_mut(&mut self, token: usize) -> Option<(&mut Waiting<S>, &mut [u8])> {
        let waiting =
            self.waiting.get_mut(key_of(token)).filter(|waiting| waiting.generation == generation_of(token))?;
        Some((waiting, &mut self.sight))
    }

    fn leave(&mut self, token: usize) -> Option<Waiting<S>> {
        let left = is_of(&self.waiting, token).then(|| self.waiting.remove(key_of(token)));
        while self.order.front().is_some_and(|&token| !is_of(&self.waiting, token)) {
            self.order.pop_front();
        }
        left
    }

    /// Everybody out: sockets are closed as they are.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.order.clear();
    }
}

fn key_of(token: usize) -> usize {
    token & (usize::MAX >> 32)
}

fn generation_of(token: usize) -> usize {
    (token & !ConnId::TOKENS_END) >> 32
}

fn is_of<S>(waiting: &Slab<Waiting<S>>, token: usize) -> bool {
    waiting.get(key_of(token)).is_some_and(|waiting| waiting.generation == generation_of(token))
}

/// What a look at a connection showed.
enum Seen {
    /// Wait for more.
    Nothing,
    /// It may go on: as this client, or without a header as itself.
    Client(Option<SocketAddr>),
    /// It may not, and why.
    Refused(String),
}

impl<K: Kernel, H: Handler> Loop<K, H> {
    /// Somebody was accepted: by the door itself, or first into the lobby.
    pub(super) fn receive(&mut self, socket: K::Socket, peer: SocketAddr, tls: bool) {
        let since = self.sessions.shared.now;
        match (self.lobby.mode, self.lobby.mode != ProxyProtocol::Off && self.lobby.trusts(peer.ip())) {
            (ProxyProtocol::Off, _) | (ProxyProtocol::On, false) => {
                // What a stranger says of itself in a header is not looked at: the request's parser will refuse it.
                self.welcome(socket, Arrival { client: peer, via: None, tls, since, watched: false });
            }
            (ProxyProtocol::Require, false) => self.refuse(peer, "its address is not one of proxy_from"),
            (ProxyProtocol::On | ProxyProtocol::Require, true) => self.wait_for_header(socket, peer, tls, since),
        }
    }

    fn wait_for_header(&mut self, mut socket: K::Socket, peer: SocketAddr, tls: bool, since: Instant) {
        if self.sessions.len() + self.lobby.len() >= self.reception.sockets_max() {
            return self.tally.refused(Limit::Connections);
        }
        let token = self.lobby.next_token();
        if let Err(error) = self.kernel.register(&mut socket, token) {
            return tracing::warn!(%error, "cannot watch a connection");
        }
        self.lobby.enter(token, socket, peer, tls, since);
        self.crowd_out();
    }

    /// There is an event of a connection in the lobby; a stale one is harmless.
    #[cold]
    pub(super) fn look(&mut self, token: usize, readiness: Readiness) {
        let is_required = self.lobby.mode == ProxyProtocol::Require;
        let Some((waiting, sight)) = self.lobby.get_mut(token) else { return };
        match see(&mut waiting.socket, sight, readiness.ended, is_required) {
            Seen::Nothing => {}
            Seen::Client(client) => self.let_in(token, client, readiness.ended),
            Seen::Refused(why) => {
                let peer = waiting.peer;
                self.turn_out(token);
                self.refuse(peer, &why);
            }
        }
    }

    /// Whoever has said nothing for too long goes; or gets in as itself, to be told so, if it need not have said anything.
    pub(super) fn on_lobby_deadline(&mut self) {
        let now = self.sessions.shared.now;
        while self.lobby.next_deadline().is_some_and(|at| at <= now) {
            let Some(&token) = self.lobby.order.front() else { return };
            match (self.lobby.mode, self.lobby.get_mut(token)) {
                (_, None) => drop(self.lobby.leave(token)),
                (ProxyProtocol::Require, Some((waiting, _))) => {
                    let peer = waiting.peer;
                    self.turn_out(token);
                    self.refuse(peer, "no header within the opening handshake's time");
                }
                (_, Some(_)) => self.let_in(token, None, false),
            }
        }
    }

    /// The one that has waited longest makes room. A proxy that means to speak has sent its header at once.
    pub(super) fn crowd_out_of_lobby(&mut self) -> bool {
        let Some(&token) = self.lobby.order.front() else { return false };
        self.turn_out(token)
    }

    fn let_in(&mut self, token: usize, client: Option<SocketAddr>, ended: bool) {
        let Some(Waiting { socket, peer, tls, since, .. }) = self.lobby.leave(token) else { return };
        let arrival = Arrival { client: client.unwrap_or(peer), via: client.map(|_| peer), tls, since, watched: true };
        if let Some(id) = self.welcome(socket, arrival) {
            // The edge that told of its octets was told to the lobby.
            let readiness = Readiness { readable: true, writable: false, ended };
            self.sessions.on_ready_in_crowd(id, readiness, true, &mut self.handler);
        }
    }

    fn turn_out(&mut self, token: usize) -> bool {
        let left = self.lobby.leave(token).is_some();
        if left {
            self.reception.wake();
        }
        left
    }

    fn refuse(&mut self, peer: SocketAddr, why: &str) {
        self.tally.proxy_headers_refused += 1;
        tracing::debug!(target: "wslab::conn", %peer, why, "no PROXY header to be believed: dropped");
        if self.reception.is_header_warning_due(self.sessions.shared.now) {
            tracing::warn!(%peer, why, "dropping connections without a PROXY header that can be believed");
        }
    }
}

/// Looks at what the kernel holds, and takes a header from it.
fn see<S: Socket>(socket: &mut S, sight: &mut [u8], ended: bool, is_required: bool) -> Seen {
    let octets = match socket.peek(sight) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(error) => return Seen::Refused(error.to_string()),
        Ok(0) => return Seen::Refused("ended without a header".to_owned()),
        Ok(octets) => octets,
    };
    match parse(&sight[..octets]) {
        Ok(Parsed::Incomplete) if ended => Seen::Refused("ended within a header".to_owned()),
        Ok(Parsed::Incomplete) => Seen::Nothing,
        Ok(Parsed::Absent) if is_required => Seen::Refused("no header".to_owned()),
        Ok(Parsed::Absent) => Seen::Client(None),
        Ok(Parsed::Header(header)) => {
            let mut left = header.len;
            while left > 0 {
                // It is all there: a socket that gives less, or nothing, is broken.
                match socket.recv(&mut sight[..left]) {
                    Ok(taken @ 1..) => left = left.saturating_sub(taken),
                    Ok(0) => return Seen::Refused("ended within a header".to_owned()),
                    Err(error) => return Seen::Refused(error.to_string()),
                }
            }
            Seen::Client(header.client)
        }
        Err(error) => Seen::Refused(error.to_string()),
    }
}
