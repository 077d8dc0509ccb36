//! The whole loop over a simulated kernel: thousands of seeds, each a scenario of peers, faults and an end.
//!
//! `WSLAB_SEEDS=100000` plays more of them, `WSLAB_SEED=7` one. [`sim_kernel`] says what the kernel does and what it watches
//! for, [`scenario`] who comes, [`law`] what must hold.
//!
//! It has been seen red, by seeds up to the one given, for each of these, one at a time:
//!
//! | what was done to the loop | seed | what was seen |
//! | --- | --- | --- |
//! | EMFILE unmarks the door | 3 | the listener is deaf |
//! | the rest of accepting never ends | 3 | the loop spins |
//! | the poll does not wake for the end of the rest | 3 | the listener is deaf |
//! | accepting does not rest | 3 | the loop spins |
//! | a transient error of `accept` unmarks the door | 7 | the listener is deaf |
//! | one `accept` an edge | 3 | the listener is deaf |
//! | no bound on those turned away | 954 | 292 sessions |
//! | `connections_max` ignored | 9 | too many connections |
//! | a stop on the budget does not list the session | 64 | a conversation stops until the idle timeout |
//! | no budget at all | 87 | one socket is read 16 times in a turn |
//! | no decoding after backpressure ends | 5 | the loop is deaf |
//! | the generation is not compared | 2 | one socket is read 16 times in a turn, by a stale event |
//! | `listed` is not reset | 87 | a conversation stops |
//! | `peer_ended` ignored | 15 | a FIN is not seen |
//! | `peer_ended` ignored while lingering | 838 | a peer is never served: the socket is kept |
//! | a deadline that moved is not armed anew | 1303 | the loop sleeps for ever over open sockets |
//! | an earlier deadline is not armed | 30 | no end |
//! | the writable edge ignored | 2 | never served |
//! | no lingering | 12 | reset, and a Close lost |
//! | lingering never ends | 1 | no end |
//! | a spent turn (compression) does not list the session | 329 | a conversation stops until a keep-alive Ping |
//! | a drain forgets those opening | 6 | opened while the server drains |
//! | the poll does not wake for the end of the drain | 11 | 2 s for an end within 1 s |
//! | the dead are not dropped | 1 | open sockets for ever |
//! | the handler does not hear of those abandoned | 8 | opened, and never closed |
//! | the end overtakes what is undecoded | 40 (TLS) | messages lost |
//!
//! With a clock that runs within turns, which the table does without:
//!
//! | what was done to the loop | seed | what was seen |
//! | --- | --- | --- |
//! | who comes late is never served | 37 | reset, and never answered |
//! | who has opened is never served | 4 | reset, and never answered |
//! | a slice may be over before anybody is served | 13 | no end |
//!
//! And by a fault that was there: with `queue_high` below the length of a refusal (408, 503), a peer that had not finished its
//! TLS handshake when the refusal came made [`Session::pump`](crate::session::Session::pump) run for ever (seed 17 over TLS):
//! the free socket took nothing, since TLS had not got so far, and that passed for the end of backpressure.

mod counting;
mod law;
mod net;
mod peer;
mod scenario;
mod sim_kernel;

use std::time::Duration;

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
        law::check(seed, None, Duration::ZERO);
    }
}

#[test]
fn where_turns_run_out_of_time_nobody_starves() {
    for seed in seeds(400) {
        let _replay = Replay("where_turns_run_out_of_time", seed);
        law::check(seed, None, Duration::from_micros([300, 3_000][seed as usize % 2]));
    }
}

#[test]
#[cfg(feature = "cli")]
fn over_tls_it_is_the_same() {
    let kit = std::rc::Rc::new(TlsKit::new());
    for seed in seeds(60) {
        let _replay = Replay("over_tls_it_is_the_same", seed);
        law::check(seed, Some(&kit), Duration::ZERO);
    }
}
