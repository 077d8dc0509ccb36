//! TLS against rustls' own buffered connection as the peer, over a simulated socket; and both transports over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustls::{
    ClientConnection, Connection, ProtocolVersion, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    version::{TLS12, TLS13},
};

use super::*;
use crate::net::{
    Discard, Listener, Transport,
    sim::{Cut, SimSocket},
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
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity().0.remove(0)).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    ClientConnection::new(Arc::new(config), localhost()).unwrap().into()
}

fn peer_server(version: &'static SupportedProtocolVersion) -> Connection {
    let (chain, key) = identity();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap().into()
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

    /// A pair after the handshake.
    fn connected(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::server(SimSocket::new(), version, BIG);
        for _ in 0..4 {
            pair.turn().unwrap();
        }
        assert!(!pair.ours.is_handshaking() && !pair.peer.is_handshaking());
        pair
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

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.ours.write(&mut self.scratch, &[IoSlice::new(octets)])
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The peer sends a mebibyte, we echo it; it must arrive equal and in order, whatever the cuts.
fn check_echo(mut pair: Pair, len: usize, case: &str) {
    let message = pattern(len);
    let (mut given, mut echoed) = (0, 0);
    for _ in 0..10_000_000 {
        if !pair.peer.is_handshaking() && given < len {
            given += pair.peer.writer().write(&message[given..]).unwrap();
        }
        pair.turn().unwrap_or_else(|e| panic!("{case}: {e}"));
        if echoed < pair.read.len() {
            let rest = pair.read.split_off(echoed);
            let (a, b) = rest.split_at(rest.len() / 3);
            echoed += pair.ours.write(&mut pair.scratch, &[IoSlice::new(a), IoSlice::new(b)]).unwrap();
            pair.read.extend_from_slice(&rest);
        }
        if pair.peer_read.len() == len {
            break;
        }
    }
    assert!(pair.read == message, "{case}: read {} octets, not the message", pair.read.len());
    assert!(pair.peer_read == message, "{case}: echoed {} octets, not the message", pair.peer_read.len());
    let stream = pair.ours.tls().unwrap();
    assert_eq!(stream.octets_kept(), 0, "{case}: something is kept after the last octet");
}

#[test]
fn a_mebibyte_is_echoed_whatever_the_cuts_the_version_and_the_side() {
    let cuts = [
        (Cut::Whole, Cut::Whole),
        (Cut::Octets(1), Cut::Whole),
        (Cut::Whole, Cut::Octets(1)),
        (Cut::Octets(1), Cut::Octets(1)),
        (Cut::Octets(1447), Cut::Octets(1447)),
        (Cut::Random(7), Cut::Random(99)),
        (Cut::Random(0xdead_beef), Cut::Whole),
    ];
    for version in [&TLS12, &TLS13] {
        for (read, write) in cuts {
            let case = format!("{:?}, reads {read:?}, writes {write:?}", version.version);
            check_echo(Pair::server(SimSocket::cut(read, write), version, BIG), 1 << 20, &case);
            let client = TlsStream::client(SimSocket::cut(read, write), our_client(), localhost()).unwrap();
            check_echo(Pair::new(client, peer_server(version), BIG), 1 << 18, &format!("as client, {case}"));
        }
    }
}

#[test]
fn a_reader_with_a_tiny_buffer_gets_every_octet() {
    for version in [&TLS12, &TLS13] {
        for into_len in [1, 5, 1000, 16_384, 16_385, 20_000] {
            for read in [Cut::Whole, Cut::Octets(1), Cut::Random(3)] {
                let case = format!("{:?}, buffer of {into_len}, reads {read:?}", version.version);
                check_echo(Pair::server(SimSocket::cut(read, Cut::Whole), version, into_len), 100_000, &case);
            }
        }
    }
}

#[test]
fn several_records_in_one_read_come_out_together() {
    let mut pair = Pair::connected(&TLS13);
    for word in ["one ", "two ", "three"] {
        pair.peer.writer().write_all(word.as_bytes()).unwrap();
    }
    pair.peer_to_wire();
    let read = pair.ours.read(&mut pair.scratch, &mut pair.into).unwrap();
    assert_eq!(read, Read::Data { n: 13, drained: true });
    assert_eq!(&pair.into[..13], b"one two three");
}

#[test]
fn a_write_of_many_slices_is_one_record_and_one_send() {
    let mut pair = Pair::connected(&TLS13);
    let sends = pair.ours.socket().sends;
    let slices = [&b"a"[..], b"", b"bc", b"def"].map(IoSlice::new);
    assert_eq!(pair.ours.write(&mut pair.scratch, &slices).unwrap(), 6);
    assert_eq!(pair.ours.socket().sends, sends + 1);
    assert_eq!(pair.ours.socket().outbound.len(), 5 + 6 + 17, "header, plaintext, type and tag: one record");
    pair.wire_to_peer();
    assert_eq!(pair.peer_read, b"abcdef");
}

#[test]
fn a_burst_is_bounded_and_a_blocked_socket_gets_one_record_at_a_time() {
    let mut pair = Pair::connected(&TLS13);
    let message = pattern(300_000);
    assert_eq!(pair.write(&message).unwrap(), BURST_OCTETS_MAX, "the socket is free");
    assert!(!pair.ours.wants_write());

    pair.ours.socket_mut().outbound_max = pair.ours.socket().outbound.len() + 1000;
    assert_eq!(pair.write(&message[BURST_OCTETS_MAX..]).unwrap(), BURST_OCTETS_MAX, "taken, though most is kept");
    assert!(pair.ours.wants_write());
    assert_eq!(pair.write(&message[2 * BURST_OCTETS_MAX..]).unwrap(), 0, "blocked");
    assert!(!pair.ours.flush(&mut pair.scratch).unwrap());

    pair.ours.socket_mut().outbound_max = usize::MAX;
    assert_eq!(pair.write(&message[2 * BURST_OCTETS_MAX..]).unwrap(), RECORD_OCTETS_MAX, "free again, but slow");
    assert!(pair.ours.flush(&mut pair.scratch).unwrap());
    assert_eq!(pair.ours.tls().unwrap().octets_kept(), 0);
    pair.wire_to_peer();
    assert!(pair.peer_read == message[..2 * BURST_OCTETS_MAX + RECORD_OCTETS_MAX]);
}

#[test]
fn echoing_grows_no_buffer() {
    let mut pair = Pair::connected(&TLS13);
    let sizes = |scratch: &TlsScratch| (scratch.incoming.capacity(), scratch.staging.capacity());
    let before = sizes(&pair.scratch);
    for _ in 0..1000 {
        pair.peer.writer().write_all(&[7; 64]).unwrap();
        pair.turn().unwrap();
        let message = std::mem::take(&mut pair.read);
        assert_eq!(pair.write(&message).unwrap(), 64);
        assert_eq!(pair.ours.tls().unwrap().octets_kept(), 0);
    }
    pair.turn().unwrap();
    assert_eq!(pair.peer_read.len(), 64_000);
    assert_eq!(sizes(&pair.scratch), before);
    assert_eq!(pair.scratch.outgoing.filled().len(), 0);
}

#[test]
fn keys_are_updated_while_data_flows() {
    let mut pair = Pair::connected(&TLS13);
    for round in 1..=5 {
        pair.peer.refresh_traffic_keys().unwrap();
        pair.peer.writer().write_all(b"after the update").unwrap();
        pair.turn().unwrap();
        let message = std::mem::take(&mut pair.read);
        assert_eq!(message, b"after the update");
        assert_eq!(pair.write(&message).unwrap(), 16);
        pair.wire_to_peer();
        assert_eq!(pair.peer_read.len(), 16 * round);
    }
}

#[test]
fn close_write_says_close_notify_once_and_then_fin() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.write(b"last words").unwrap();
        pair.ours.socket_mut().outbound_max = pair.ours.socket().outbound.len() + 3;
        assert!(!pair.ours.close_write(&mut pair.scratch).unwrap(), "blocked");
        assert!(!pair.ours.socket().outbound_fin, "the FIN waits for the close_notify");
        pair.ours.socket_mut().outbound_max = usize::MAX;
        assert!(pair.ours.close_write(&mut pair.scratch).unwrap());
        assert!(pair.ours.socket().outbound_fin);
        let sent = pair.ours.socket().outbound.len();
        assert!(pair.ours.close_write(&mut pair.scratch).unwrap(), "harmless to repeat");
        assert_eq!(pair.ours.socket().outbound.len(), sent);
        assert_eq!(pair.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        pair.wire_to_peer();
        assert_eq!(pair.peer_read, b"last words");
        assert_eq!(pair.peer.reader().read(&mut [0; 8]).unwrap(), 0, "a clean end for the peer");

        // Our direction is closed, the peer's is not.
        pair.peer.writer().write_all(b"still here").unwrap();
        pair.peer_to_wire();
        pair.read_all().unwrap();
        assert_eq!(pair.read, b"still here");
    }
}

#[test]
fn a_close_notify_from_the_peer_ends_the_stream_cleanly_and_a_bare_fin_does_not() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.peer.writer().write_all(b"bye").unwrap();
        pair.peer.send_close_notify();
        pair.turn().unwrap();
        assert_eq!(pair.end, Some(Read::Eof { n: 3 }));
        assert_eq!(pair.read, b"bye");
        assert!(pair.ours.ended_cleanly());
        let again = pair.ours.read(&mut pair.scratch, &mut pair.into).unwrap();
        assert_eq!(again, Read::Eof { n: 0 });
        assert_eq!(pair.write(b"echo").unwrap(), 4, "our direction is still open");
        pair.wire_to_peer();
        assert_eq!(pair.peer_read, b"echo");
        assert!(pair.ours.close_write(&mut pair.scratch).unwrap());

        let mut pair = Pair::connected(version);
        pair.peer.writer().write_all(b"cut").unwrap();
        pair.peer_to_wire();
        pair.ours.socket_mut().inbound_fin = true;
        pair.read_all().unwrap();
        assert_eq!(pair.read, b"cut");
        pair.read_all().unwrap();
        assert_eq!(pair.end, Some(Read::Eof { n: 0 }));
        assert!(!pair.ours.ended_cleanly());
    }
}

#[test]
fn a_plain_text_client_is_told_from_a_broken_one() {
    for cut in [Cut::Whole, Cut::Octets(1)] {
        let mut pair = Pair::server(SimSocket::cut(cut, Cut::Whole), &TLS13, BIG);
        pair.ours.socket_mut().inbound.extend(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let error = pair.read_all().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "the peer does not speak TLS (a plain-text client on a TLS port?)");
        assert_eq!(pair.ours.socket().outbound[0], 21, "an alert was sent");
        let alerted = pair.ours.socket().outbound.len();
        assert_eq!(pair.read_all().unwrap_err().kind(), io::ErrorKind::InvalidData, "and it stays an error");
        assert_eq!(pair.write(b"x").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(pair.ours.close_write(&mut pair.scratch).unwrap());
        assert_eq!(pair.ours.socket().outbound.len(), alerted, "no close_notify after a fatal alert");
        assert!(pair.ours.socket().outbound_fin);
    }
}

#[test]
fn what_came_before_a_forged_record_is_delivered_before_the_error() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.peer.writer().write_all(b"good").unwrap();
        pair.peer_to_wire();
        pair.peer.writer().write_all(b"forged").unwrap();
        pair.peer_to_wire();
        *pair.ours.socket_mut().inbound.back_mut().unwrap() ^= 1;
        let error = pair.read_all().unwrap_err();
        assert_eq!(pair.read, b"good");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("tls: "), "{error}");
        let wire = std::mem::take(&mut pair.ours.socket_mut().outbound);
        pair.peer.read_tls(&mut &wire[..]).unwrap();
        let alert = pair.peer.process_new_packets().unwrap_err();
        assert_eq!(alert, Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}

#[test]
fn random_octets_are_an_error_and_never_a_panic() {
    for seed in 1..300u64 {
        let mut pair = Pair::connected(if seed % 2 == 0 { &TLS12 } else { &TLS13 });
        let octets = (0..200u64).map(|n| (seed.wrapping_mul(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
        pair.ours.socket_mut().inbound.extend([22 + (seed % 2) as u8, 3, 3, 0, 40]);
        pair.ours.socket_mut().inbound.extend(octets);
        assert_eq!(pair.read_all().unwrap_err().kind(), io::ErrorKind::InvalidData, "seed {seed}");
    }
}

#[test]
fn alpn_is_agreed_when_offered_and_refused_when_it_is_something_else() {
    for (offered, agreed) in [(&["http/1.1"][..], Ok(Some("http/1.1"))), (&[], Ok(None)), (&["h2"], Err(()))] {
        let server = TlsStream::server(SimSocket::new(), our_server()).unwrap();
        let mut pair = Pair::new(server, peer_client(&TLS13, offered), BIG);
        let outcome = pair.turn().and_then(|()| pair.turn());
        let got = outcome.map(|()| pair.ours.tls().unwrap().session().alpn_protocol().map(<[u8]>::to_vec));
        let agreed = agreed.map(|name| name.map(|name: &str| name.as_bytes().to_vec()));
        assert_eq!(got.map_err(|_| ()), agreed, "offered {offered:?}");
    }
}

#[test]
fn a_client_that_trusts_anyone_accepts_what_a_client_with_other_roots_refuses() {
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().clone();
    for (trust, accepts) in [(Trust::Anyone, true), (Trust::Roots(vec![stranger]), false)] {
        let stream = TlsStream::client(SimSocket::new(), client_config(trust).unwrap(), localhost()).unwrap();
        let mut pair = Pair::new(stream, peer_server(&TLS13), BIG);
        assert!(pair.ours.wants_write(), "the ClientHello");
        let outcome = pair.turn().and_then(|()| pair.turn()).and_then(|()| pair.turn());
        assert_eq!(outcome.is_ok(), accepts, "{outcome:?}");
        if accepts {
            assert!(!pair.ours.is_handshaking());
            assert_eq!(pair.ours.tls().unwrap().session().protocol_version(), Some(ProtocolVersion::TLSv1_3));
        }
    }
}

#[test]
fn nothing_can_be_written_before_the_handshake_and_closing_then_is_a_bare_fin() {
    let mut pair = Pair::server(SimSocket::new(), &TLS13, BIG);
    assert_eq!(pair.write(b"early").unwrap(), 0);
    assert!(!pair.ours.wants_write());
    assert!(pair.ours.is_handshaking());
    assert!(pair.ours.close_write(&mut pair.scratch).unwrap());
    assert!(pair.ours.socket().outbound.is_empty() && pair.ours.socket().outbound_fin);
}

#[test]
fn a_lingering_connection_discards_until_the_fin() {
    let mut pair = Pair::connected(&TLS13);
    pair.peer.writer().write_all(&[1; 1000]).unwrap();
    pair.peer_to_wire();
    pair.ours.socket_mut().inbound_fin = true;
    let discarded = pair.ours.discard(&mut pair.scratch).unwrap();
    assert_eq!(discarded, Discard::Data { n: 1000 + 5 + 17, drained: true });
    assert_eq!(pair.ours.discard(&mut pair.scratch).unwrap(), Discard::Eof);
}

/// Accepts one loopback connection and echoes until the peer ends, as a loop would: registered once, edge-triggered.
fn serve_one(listener: Listener, wrap: impl FnOnce(TcpStream) -> Transport<TcpStream>) {
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    let mut listener = listener;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE).unwrap();
    poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    let (stream, _) = listener.accept().unwrap().expect("a client waits");
    let mut transport = wrap(stream);
    poll.registry().register(transport.socket_mut(), Token(1), Interest::READABLE | Interest::WRITABLE).unwrap();

    let (mut scratch, mut into, mut backlog) = (TlsScratch::new(), vec![0; BIG], Vec::new());
    let (mut readable, mut ended) = (true, false);
    while !(ended && backlog.is_empty()) {
        if readable && !ended {
            let read = transport.read(&mut scratch, &mut into).unwrap();
            let (Read::Data { n, .. } | Read::Eof { n }) = read;
            backlog.extend_from_slice(&into[..n]);
            ended = matches!(read, Read::Eof { .. });
            readable = matches!(read, Read::Data { drained: false, .. });
        }
        let taken = transport.write(&mut scratch, &[IoSlice::new(&backlog)]).unwrap();
        backlog.drain(..taken);
        let progress = taken > 0 && !backlog.is_empty();
        if !(progress || readable || ended && backlog.is_empty()) {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "stuck for ten seconds");
            readable = true;
        }
    }
    assert!(transport.ended_cleanly());
    while !transport.close_write(&mut scratch).unwrap() {
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    }
    while transport.discard(&mut scratch).unwrap() != Discard::Eof {
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    }
}

/// Sends three mebibytes in pieces of 100,000 octets and expects each back.
fn expect_echo(stream: &mut (impl io::Read + io::Write)) {
    for piece in pattern(3 << 20).chunks(100_000) {
        stream.write_all(piece).unwrap();
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == piece);
    }
}

#[test]
fn plain_octets_are_echoed_over_loopback() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || serve_one(listener, Transport::Plain));
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    expect_echo(&mut client);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop(client);
    server.join().unwrap();
}

#[test]
fn tls_is_echoed_over_loopback() {
    for version in [&TLS12, &TLS13] {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            serve_one(listener, |stream| Transport::Tls(Box::new(TlsStream::server(stream, our_server()).unwrap())));
        });
        let Connection::Client(client) = peer_client(version, &["http/1.1"]) else { unreachable!() };
        let mut client = StreamOwned::new(client, std::net::TcpStream::connect(addr).unwrap());
        expect_echo(&mut client);
        client.conn.send_close_notify();
        client.flush().unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "close_notify, not just a FIN");
        drop(client);
        server.join().unwrap();
    }
}
