//! Records, bounds, closing, failing: what a TLS stream promises beside carrying octets.

use rustls::{Error, ProtocolVersion};

use super::*;

#[test]
fn records_left_for_a_later_read_wait_for_no_event_and_do_not_disturb_a_write() {
    for version in [&TLS12, &TLS13] {
        for into_len in [1, 3, 9, 10] {
            let mut pair = Pair::connected(version);
            pair.into.truncate(into_len);
            for word in ["one ", "two ", "three ", "four"] {
                pair.peer.writer().write_all(word.as_bytes()).unwrap();
            }
            pair.peer_to_wire();
            let mut drained_at = None;
            while drained_at.is_none() {
                let Read::Data { n, drained } = pair.ours.read(&mut pair.scratch, &mut pair.into).unwrap() else {
                    panic!("no end was sent");
                };
                pair.read.extend_from_slice(&pair.into[..n]);
                drained_at = drained.then_some(pair.read.len());
                assert_eq!(pair.write(b"!").unwrap(), 1);
            }
            assert_eq!(drained_at, Some(18), "buffer of {into_len}: {:?}", pair.read);
            assert_eq!(pair.read, b"one two three four");
            pair.wire_to_peer();
            assert!(pair.peer_read.len() > 1 && pair.peer_read.iter().all(|octet| *octet == b'!'));
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
fn what_the_handshake_has_to_say_shares_a_segment_with_the_answer_to_what_came_behind_it() {
    let mut pair = Pair::server(SimSocket::new(), &TLS13, BIG);
    pair.peer.writer().write_all(b"request").unwrap(); // leaves behind the client's Finished
    pair.turn().unwrap();
    let sends = pair.ours.socket().sends;
    pair.peer_to_wire();
    pair.read_all().unwrap();
    assert_eq!(pair.read, b"request");
    assert!(pair.ours.wants_write(), "the ticket waits");
    assert_eq!(pair.ours.socket().sends, sends);
    assert_eq!(pair.write(b"answer").unwrap(), 6);
    assert!(!pair.ours.wants_write());
    assert_eq!(pair.ours.socket().sends, sends + 1);
    pair.wire_to_peer();
    assert_eq!(pair.peer_read, b"answer");
}

#[test]
fn the_last_octets_take_the_close_notify_along() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        let sends = pair.ours.socket().sends;
        assert_eq!(pair.ours.write_last(&mut pair.scratch, b"goodbye").unwrap(), 7);
        assert!(pair.ours.close_write(&mut pair.scratch).unwrap());
        assert_eq!(pair.ours.socket().sends, sends + 1);
        assert!(pair.ours.socket().outbound_fin);
        pair.ends_with(b"goodbye");
    }
}

#[test]
fn last_octets_that_the_socket_takes_in_part_are_followed_by_one_close_notify() {
    let mut pair = Pair::connected(&TLS13);
    let before = pair.ours.socket().outbound.len();
    pair.ours.socket_mut().outbound_max = before + 3;
    assert_eq!(pair.ours.write_last(&mut pair.scratch, b"goodbye").unwrap(), 7);
    assert!(pair.ours.wants_write());
    assert!(!pair.ours.close_write(&mut pair.scratch).unwrap(), "blocked");
    assert!(!pair.ours.socket().outbound_fin);
    pair.ours.socket_mut().outbound_max = usize::MAX;
    assert!(pair.ours.close_write(&mut pair.scratch).unwrap());
    assert!(pair.ours.socket().outbound_fin);
    assert_eq!(pair.ours.socket().outbound.len() - before, (5 + 7 + 17) + (5 + 2 + 17), "a record and an alert");
    pair.ends_with(b"goodbye");
}

#[test]
fn last_octets_that_are_too_many_are_not_the_last() {
    let mut pair = Pair::connected(&TLS13);
    let message = pattern(BURST_OCTETS_MAX + 10);
    assert_eq!(pair.ours.write_last(&mut pair.scratch, &message).unwrap(), BURST_OCTETS_MAX);
    assert_eq!(pair.ours.write_last(&mut pair.scratch, &message[BURST_OCTETS_MAX..]).unwrap(), 10);
    assert_eq!(pair.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(pair.ours.close_write(&mut pair.scratch).unwrap());
    pair.wire_to_peer();
    assert!(pair.peer_read == message);
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

        pair.ends_with(b"last words");

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
        let got = outcome.map(|()| pair.peer.alpn_protocol().map(<[u8]>::to_vec));
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
            assert_eq!(pair.peer.protocol_version(), Some(ProtocolVersion::TLSv1_3));
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
