//! The same law over TLS, with rustls' buffered connection as the peer.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use rustls::{
    ClientConnection, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};

use super::law::{Peer, check_all};
use crate::net::{TlsStream, Transport, Trust, client_config, server_config, sim::SimSocket};

pub(crate) struct TlsPeer(pub(crate) ClientConnection);

impl TlsPeer {
    fn flush(&mut self, socket: &mut SimSocket) {
        let mut wire = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut wire).unwrap();
        }
        socket.arrive(&wire);
    }
}

impl Peer for TlsPeer {
    fn send(&mut self, octets: &[u8], socket: &mut SimSocket) -> usize {
        let sent = self.0.writer().write(octets).unwrap();
        self.flush(socket);
        sent
    }

    fn end(&mut self, socket: &mut SimSocket) {
        self.0.send_close_notify();
        self.flush(socket);
        socket.arrive_fin();
    }

    fn read(&mut self, mut wire: &[u8], told: &mut Vec<u8>, socket: &mut SimSocket) {
        while !wire.is_empty() {
            self.0.read_tls(&mut wire).unwrap();
            self.0.process_new_packets().unwrap();
            let mut plaintext = [0; 16 << 10];
            while let Ok(n @ 1..) = self.0.reader().read(&mut plaintext) {
                told.extend_from_slice(&plaintext[..n]);
            }
        }
        self.flush(socket);
    }
}

#[test]
fn a_random_conversation_over_tls_is_answered_in_order_and_leaves_nothing_behind() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![pair.cert.der().clone()];
    let client = client_config(Trust::Roots(chain.clone())).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let server: Arc<ServerConfig> = server_config(chain, key).unwrap();
    check_all("a_random_conversation_over_tls", 15, |socket| {
        let peer = ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        let ours = TlsStream::server(socket, server.clone()).unwrap();
        (Transport::Tls(Box::new(ours)), Box::new(TlsPeer(peer)))
    });
}
