//! The whole loop over a simulated kernel: thousands of seeds, each a scenario of peers, faults and an end.
//!
//! `WSLAB_SEEDS=100000` plays more of them, `WSLAB_SEED=7` one.

mod counting;
mod law;
mod peer;
mod scenario;
mod sim_kernel;

use std::rc::Rc;

use crate::session::tests::law::{Peer as Line, Replay, seeds};

/// What a wss server and its peers need.
struct TlsKit {
    server: std::sync::Arc<rustls::ServerConfig>,
    #[cfg(feature = "cli")] // certificates are made there
    client: std::sync::Arc<rustls::ClientConfig>,
}

#[cfg(feature = "cli")]
impl TlsKit {
    fn new() -> Self {
        let (client, server) = crate::session::tests::tls::kit();
        TlsKit { server, client }
    }

    fn line(&self, may_fail: bool) -> Box<dyn Line> {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let peer = rustls::ClientConnection::new(self.client.clone(), name).unwrap();
        Box::new(crate::session::tests::tls::TlsPeer { tls: peer, may_fail })
    }
}

#[cfg(not(feature = "cli"))]
impl TlsKit {
    fn line(&self, _: bool) -> Box<dyn Line> {
        Box::new(crate::session::tests::law::PlainPeer)
    }
}

/// RFC 7692 §7.2.1, each message alone.
fn compress(payload: &[u8]) -> Vec<u8> {
    if payload.is_empty() {
        return vec![0];
    }
    let mut deflate = zlib_rs::Deflate::new(1, false, 12);
    let mut octets = vec![0; payload.len() + payload.len() / 100 + 1_000];
    deflate.compress(payload, &mut octets, zlib_rs::DeflateFlush::SyncFlush).unwrap();
    octets.truncate(deflate.total_out() as usize - 4);
    octets
}

/// RFC 7692 §7.2.2, each message alone.
fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut inflate = zlib_rs::Inflate::new(false, 15);
    let mut octets = vec![0; 64 << 10];
    let whole = [payload, &[0, 0, 0xff, 0xff]].concat();
    inflate.decompress(&whole, &mut octets, zlib_rs::InflateFlush::SyncFlush).unwrap();
    octets.truncate(inflate.total_out() as usize);
    octets
}

#[test]
fn whatever_the_kernel_does_everybody_is_answered_in_order_and_nothing_is_left_behind() {
    for seed in seeds(2_000) {
        let _replay = Replay("whatever_the_kernel_does", seed);
        law::check(seed, None);
    }
}

#[test]
#[cfg(feature = "cli")]
fn over_tls_it_is_the_same() {
    let kit = Rc::new(TlsKit::new());
    for seed in seeds(60) {
        let _replay = Replay("over_tls_it_is_the_same", seed);
        law::check(seed, Some(&kit));
    }
}
