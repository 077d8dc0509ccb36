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
    App, ID,
    law::{Peer, check_all},
    shared,
};
use crate::{
    net::{TlsStream, Transport, Trust, client_config, server_config, sim::SimSocket},
    proto::{Connection, Limits, Settings},
    session::{Pumped, Session},
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
