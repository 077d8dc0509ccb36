//! The same law over TLS, with rustls' buffered connection as the peer.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::Instant,
};

use rustls::{
    ClientConnection, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};

use super::{
    App, ID, REQUEST,
    law::{Peer, check_all},
    masked, shared,
};
use crate::{
    net::{TlsStream, Transport, Trust, client_config, server_config, sim::SimSocket},
    proto::{Closure, Connection, Limits, Settings, Timeouts, Wait},
    session::{Pumped, Session, Shared},
};

pub(crate) struct TlsPeer {
    pub(crate) tls: ClientConnection,
    /// A peer that breaks the rules may be told so by TLS.
    pub(crate) may_fail: bool,
}

impl TlsPeer {
    fn flush(&mut self, socket: &mut SimSocket) {
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        socket.arrive(&wire);
    }
}

impl Peer for TlsPeer {
    fn send(&mut self, octets: &[u8], socket: &mut SimSocket) -> usize {
        let sent = self.tls.writer().write(octets).unwrap();
        self.flush(socket);
        sent
    }

    fn end(&mut self, socket: &mut SimSocket) {
        self.tls.send_close_notify();
        self.flush(socket);
        socket.arrive_fin();
    }

    fn read(&mut self, mut wire: &[u8], told: &mut Vec<u8>, socket: &mut SimSocket) {
        while !wire.is_empty() {
            self.tls.read_tls(&mut wire).unwrap();
            let processed = self.tls.process_new_packets();
            assert!(self.may_fail || processed.is_ok(), "{processed:?}");
            let mut plaintext = [0; 16 << 10];
            while let Ok(n @ 1..) = self.tls.reader().read(&mut plaintext) {
                told.extend_from_slice(&plaintext[..n]);
            }
        }
        self.flush(socket);
    }
}

pub(crate) fn kit() -> (Arc<rustls::ClientConfig>, Arc<ServerConfig>) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![pair.cert.der().clone()];
    let client = client_config(Trust::Roots(chain.clone())).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    (client, server_config(chain, key).unwrap())
}

#[test]
fn a_refusal_beyond_the_queue_does_not_spin_while_tls_has_not_begun() {
    let limits = Limits { queue_high_bytes: 64, queue_low_bytes: 16, ..Limits::DEFAULT };
    let now = Instant::now();
    let connection = Connection::server(Arc::new(Settings { limits, ..Settings::default() }), now);
    let transport = Transport::Tls(Box::new(TlsStream::server(SimSocket::new(), kit().1).unwrap()));
    let (mut session, mut shared, mut app) = (Session::new(transport, connection), shared(now), App::echo());
    shared.now = session.next_deadline().expect("every wait has an end");
    assert_eq!(session.on_deadline(ID, &mut shared, &mut app), Pumped::Gone);
}

#[test]
fn a_random_conversation_over_tls_is_answered_in_order_and_leaves_nothing_behind() {
    let (client, server) = kit();
    check_all("a_random_conversation_over_tls", 15, |socket| {
        let peer = ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        let ours = TlsStream::server(socket, server.clone()).unwrap();
        (Transport::Tls(Box::new(ours)), Box::new(TlsPeer { tls: peer, may_fail: false }))
    });
}

/// A session past both handshakes, its peer, and what a loop gives it.
fn opened() -> (Session<SimSocket>, TlsPeer, Shared, App) {
    let (session, peer, shared, app) = begun(REQUEST.as_bytes());
    assert_eq!(app.opens, 1);
    (session, peer, shared, app)
}

/// A session past TLS's handshake, which was sent these octets right behind it.
fn begun(request: &[u8]) -> (Session<SimSocket>, TlsPeer, Shared, App) {
    let (client, server) = kit();
    let tls = ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut peer = TlsPeer { tls, may_fail: false };
    let transport = Transport::Tls(Box::new(TlsStream::server(SimSocket::new(), server).unwrap()));
    let now = Instant::now();
    let mut session = Session::new(transport, Connection::server(Arc::new(Settings::default()), now));
    let (mut shared, mut app) = (shared(now), App::echo());
    peer.send(request, session.socket_mut());
    for _ in 0..10 {
        session.note_ready(true, true, false);
        session.pump(ID, &mut shared, &mut app);
        assert!(!session.transport().wants_write(), "the socket is free: nothing waits for another turn");
        let wire = std::mem::take(&mut session.socket_mut().outbound);
        peer.read(&wire, &mut Vec::new(), session.socket_mut());
    }
    assert!(!session.transport().is_handshaking());
    (session, peer, shared, app)
}

#[test]
fn a_ticket_that_no_answer_takes_along_leaves_in_the_same_turn() {
    let (_, peer, _, app) = begun(b"GET / HT");
    assert_eq!(app.opens, 0);
    assert!(peer.tls.tls13_tickets_received() > 0);
}

#[test]
fn records_of_one_octet_get_four_reads_a_turn_like_any_others() {
    let (mut session, mut peer, mut shared, mut app) = opened();
    // 1 MiB of ciphertext that holds a twentieth of it.
    for octet in masked(0x82, &[7; 50_000]) {
        peer.send(&[octet], session.socket_mut());
    }
    assert!(session.socket().inbound.len() > 1 << 20);
    session.note_ready(true, false, false);
    let mut turns = 0;
    loop {
        let before = session.socket().calls;
        let pumped = session.pump(ID, &mut shared, &mut app);
        turns += 1;
        let calls = session.socket().calls - before;
        assert!(calls <= 4 + usize::from(pumped == Pumped::Blocked), "{calls} system calls in turn {turns}");
        if pumped == Pumped::Blocked {
            break;
        }
    }
    assert_eq!(app.messages.len(), 1);
    assert!(turns >= 2, "{turns} turns");
}

#[test]
fn ciphertext_that_waits_behind_an_empty_queue_has_the_write_stall_timeout() {
    let (mut session, mut peer, mut shared, mut app) = opened();
    session.socket_mut().outbound_max = 1000;
    // 30,000 octets fit into a burst: TLS takes them all, the socket a thousand.
    peer.send(&masked(0x82, &[7; 30_000]), session.socket_mut());
    session.note_ready(true, true, false);
    session.pump(ID, &mut shared, &mut app);
    assert_eq!(app.messages.len(), 1);
    assert_eq!(session.connection().queued_bytes(), 0, "nothing is queued above TLS");
    assert!(session.transport().wants_write(), "ciphertext waits");

    let stall = Timeouts::default().write_stall;
    for _ in 0..3 {
        // The peer takes a little, and no event tells.
        session.socket_mut().outbound.clear();
        let at = session.next_deadline().unwrap();
        assert!(at <= shared.now + stall);
        shared.now = at;
        assert_eq!(session.on_deadline(ID, &mut shared, &mut app), Pumped::Blocked, "a slow reader is kept");
    }
    shared.now = session.next_deadline().unwrap();
    assert_eq!(session.on_deadline(ID, &mut shared, &mut app), Pumped::Gone);
    assert_eq!(app.closures, [Closure::TimedOut(Wait::WriteStall)]);
}
