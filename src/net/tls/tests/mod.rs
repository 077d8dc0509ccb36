//! TLS against rustls' own buffered connection as the peer, over a simulated socket; then both transports over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod echo;
mod forger;
mod loopback;
mod records;
mod stream;
mod taking_over;

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

use super::{
    super::{
        Discard, Listener, Read, Transport,
        sim::{Cut, SimSocket},
    },
    engine::{Engine, WRITES_BY_RUSTLS},
    *,
};

const BIG: usize = 128 * 1024;

fn identity() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    static PAIR: OnceLock<(CertificateDer<'static>, Vec<u8>)> = OnceLock::new();
    let (cert, key) = PAIR.get_or_init(|| {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (pair.cert.der().clone(), pair.signing_key.serialize_der())
    });
    (vec![cert.clone()], PrivateKeyDer::try_from(key.clone()).unwrap())
}

fn our_server() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| server_config(identity().0, identity().1).unwrap()).clone()
}

fn our_client() -> Arc<ClientConfig> {
    client_config(Trust::Roots(identity().0)).unwrap()
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// A peer on rustls' buffered API that speaks one version only.
fn peer_client(version: &'static SupportedProtocolVersion, alpn: &[&str]) -> Connection {
    ClientConnection::new(Arc::new(peer_client_config(version, alpn)), localhost()).unwrap().into()
}

fn peer_client_config(version: &'static SupportedProtocolVersion, alpn: &[&str]) -> ClientConfig {
    peer_client_config_with(aws_lc_rs::default_provider(), version, alpn)
}

fn peer_client_config_with(
    provider: CryptoProvider,
    version: &'static SupportedProtocolVersion,
    alpn: &[&str],
) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity().0.remove(0)).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn peer_server(version: &'static SupportedProtocolVersion) -> Connection {
    ServerConnection::new(Arc::new(peer_server_config(version))).unwrap().into()
}

fn peer_server_config(version: &'static SupportedProtocolVersion) -> ServerConfig {
    let (chain, key) = identity();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// Our transport and its peer, wired together by hand.
struct Pair {
    ours: Transport<SimSocket>,
    scratch: TlsScratch,
    into: Vec<u8>,
    peer: Connection,
    /// What we read.
    read: Vec<u8>,
    /// What the peer read.
    peer_read: Vec<u8>,
    end: Option<Read>,
}

impl Pair {
    fn new(ours: TlsStream<SimSocket>, peer: Connection, into_len: usize) -> Self {
        Self {
            ours: Transport::Tls(Box::new(ours)),
            scratch: TlsScratch::new(),
            into: vec![0; into_len],
            peer,
            read: Vec::new(),
            peer_read: Vec::new(),
            end: None,
        }
    }

    fn server(socket: SimSocket, version: &'static SupportedProtocolVersion, into_len: usize) -> Self {
        Self::new(TlsStream::server(socket, our_server()).unwrap(), peer_client(version, &[]), into_len)
    }

    /// A pair after the handshake and a few words of ours, since when TLS 1.3 is no longer rustls' at our side.
    fn connected(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::server(SimSocket::new(), version, BIG);
        for _ in 0..4 {
            pair.turn().unwrap();
        }
        assert!(!pair.ours.is_handshaking() && !pair.peer.is_handshaking());
        for _ in 0..WRITES_BY_RUSTLS {
            assert!(!pair.is_without_rustls());
            assert_eq!(pair.write(b"welcome").unwrap(), 7);
        }
        pair.wire_to_peer();
        assert_eq!(std::mem::take(&mut pair.peer_read), b"welcome".repeat(WRITES_BY_RUSTLS.into()));
        assert_eq!(pair.is_without_rustls(), version.version == TLS13.version);
        pair
    }

    fn is_without_rustls(&mut self) -> bool {
        let Transport::Tls(stream) = &mut self.ours else { unreachable!() };
        matches!(stream.engine_mut(), Engine::Records(_))
    }

    /// Carries everything both ways once.
    fn turn(&mut self) -> io::Result<()> {
        self.peer_to_wire();
        self.read_all()?;
        self.ours.flush(&mut self.scratch)?;
        self.wire_to_peer();
        Ok(())
    }

    fn peer_to_wire(&mut self) {
        while self.peer.wants_write() {
            self.peer.write_tls(&mut self.ours.socket_mut().inbound).unwrap();
        }
    }

    fn read_all(&mut self) -> io::Result<()> {
        loop {
            let read = self.ours.read(&mut self.scratch, &mut self.into)?;
            let (Read::Data { n, .. } | Read::Eof { n }) = read;
            self.read.extend_from_slice(&self.into[..n]);
            match read {
                Read::Data { drained: false, .. } => {}
                Read::Data { drained: true, .. } => return Ok(()),
                Read::Eof { .. } => {
                    self.end = Some(read);
                    return Ok(());
                }
            }
        }
    }

    fn wire_to_peer(&mut self) {
        let wire = std::mem::take(&mut self.ours.socket_mut().outbound);
        let mut wire = &wire[..];
        while !wire.is_empty() {
            self.peer.read_tls(&mut wire).unwrap();
            self.peer.process_new_packets().unwrap();
            let mut buf = [0; 16 * 1024];
            while let Ok(n @ 1..) = self.peer.reader().read(&mut buf) {
                self.peer_read.extend_from_slice(&buf[..n]);
            }
        }
    }

    /// Our end, as the peer sees it: these words, then a close_notify.
    fn ends_with(&mut self, words: &[u8]) {
        self.wire_to_peer();
        assert_eq!(self.peer_read, words);
        assert_eq!(self.peer.reader().read(&mut [0; 8]).unwrap(), 0, "a clean end for the peer");
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.ours.write(&mut self.scratch, &[IoSlice::new(octets)])
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
