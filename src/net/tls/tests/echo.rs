//! The law of this room: what arrives does not depend on how the stream is cut, on the version, or on the side.

use super::*;

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
fn handshake_messages_in_pieces_are_put_together_whatever_the_cuts() {
    for version in [&TLS12, &TLS13] {
        for read in [Cut::Whole, Cut::Octets(1), Cut::Octets(37), Cut::Random(5)] {
            let case = format!("{:?}, records of 48 octets, reads {read:?}", version.version);
            let mut config = peer_client_config(version, &[]);
            config.max_fragment_size = Some(48);
            let peer = ClientConnection::new(Arc::new(config), localhost()).unwrap();
            let ours = TlsStream::server(SimSocket::cut(read, Cut::Whole), our_server()).unwrap();
            check_echo(Pair::new(ours, peer.into(), BIG), 50_000, &format!("as server, {case}"));

            // The server's tickets come in pieces too, after the handshake, between our own writes.
            let mut config = peer_server_config(version);
            config.max_fragment_size = Some(48);
            config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
            let peer = ServerConnection::new(Arc::new(config)).unwrap();
            let ours = TlsStream::client(SimSocket::cut(read, Cut::Whole), our_client(), localhost()).unwrap();
            let mut pair = Pair::new(ours, peer.into(), BIG);
            for _ in 0..20_000 {
                pair.peer_to_wire();
                // One read a turn, and a write after each: also while a ticket lies here in part.
                pair.ours.read(&mut pair.scratch, &mut pair.into).unwrap();
                pair.write(b"x").unwrap();
                pair.ours.flush(&mut pair.scratch).unwrap();
                pair.wire_to_peer();
            }
            assert!(pair.peer_read.len() > 1000, "{case}: {}", pair.peer_read.len());
            assert_eq!(pair.ours.tls().unwrap().octets_kept(), 0, "{case}");
        }
    }
}

#[test]
fn a_returning_client_resumes_its_session() {
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(peer_client_config(version, &[]));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let peer = ClientConnection::new(config.clone(), localhost()).unwrap();
            let ours = TlsStream::server(SimSocket::new(), our_server()).unwrap();
            let mut pair = Pair::new(ours, peer.into(), BIG);
            for _ in 0..4 {
                pair.turn().unwrap();
            }
            kinds.push(pair.peer.handshake_kind().unwrap());
        }
        assert_eq!(kinds[1], rustls::HandshakeKind::Resumed, "{:?}: {kinds:?}", version.version);
    }
}
