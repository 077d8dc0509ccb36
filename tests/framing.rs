//! Frames, masking, fragmentation, control frames (RFC 6455 §5).

use crate::support::{
    process::Serve,
    table::{Row, hold_all},
    wire::{PEER, SERVER, shortest_len},
};

/// What a breach is answered with, behind these echoes.
fn fails(echoes: &[u8]) -> Vec<u8> {
    [echoes, &SERVER.close(1002)].concat()
}

/// An echo, and the end that the client asks for.
fn echoed(input: Vec<u8>, output: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    ([input, PEER.close(1000)].concat(), [output, SERVER.close(1000)].concat())
}

fn row(name: &'static str, (input, output): (Vec<u8>, Vec<u8>)) -> Row {
    (name, input, output)
}

#[test]
fn messages_come_back_as_what_they_were() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut rows = vec![
        row("§5.6 text", echoed(PEER.text("Hello"), SERVER.text("Hello"))),
        row("§5.6 empty text", echoed(PEER.text(""), SERVER.text(""))),
        row("§5.6 empty binary", echoed(PEER.binary(b""), SERVER.binary(b""))),
        row("§5.6 binary of every octet", echoed(PEER.binary(&bytes), SERVER.binary(&bytes))),
        row(
            "§5.6 text and binary in turn",
            echoed(
                [PEER.text("a"), PEER.binary(b"b"), PEER.text("c")].concat(),
                [SERVER.text("a"), SERVER.binary(b"b"), SERVER.text("c")].concat(),
            ),
        ),
    ];
    // §5.2: where the length changes its form.
    for len in [124, 125, 126, 127, 128, 255, 256] {
        let payload = vec![b'*'; len];
        rows.push(row("§5.2 a length of 7 or 16 bits", echoed(PEER.binary(&payload), SERVER.binary(&payload))));
    }
    hold_all(&rows);
}

#[test]
fn lengths_around_64_kib_come_back_in_their_shortest_form() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        for len in [65_534, 65_535, 65_536, 65_537, 131_072] {
            let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            client.send(&PEER.binary(&payload));
            let frame = client.frame();
            assert_eq!((frame.first, frame.masked), (0x82, false), "{len} octets over {}", door.name());
            assert!(frame.payload == payload, "{len} octets over {} came back changed", door.name());
        }
        // The same once more with the header's own octets in view.
        client.send(&PEER.binary(&vec![7; 65_536]));
        client.send(&PEER.close(1000));
        let (octets, _) = client.rest();
        assert_eq!(octets[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], "over {}", door.name());
    }
}

#[test]
fn every_masking_key_is_undone() {
    let server = Serve::start_plain(&[]);
    let mut client = server.ws().open();
    for key in [[0, 0, 0, 0], [255, 255, 255, 255], [1, 0, 0, 0], [0, 0, 0, 1], [0x81, 0x80, 0x88, 0x89]] {
        let masked: Vec<u8> = b"maskable".iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key).collect();
        client.send(&[&[0x82, 0x88][..], &key, &masked].concat());
        assert_eq!(client.frame().payload, b"maskable", "{key:?}");
    }
}

#[test]
fn fragments_become_one_message() {
    let hello = || SERVER.text("Hello");
    let parts = |parts: &[(u8, &str)]| -> Vec<u8> {
        parts.iter().flat_map(|(first, text)| PEER.frame(*first, text.as_bytes())).collect()
    };
    hold_all(&[
        row("§5.4 two fragments", echoed(parts(&[(0x01, "Hel"), (0x80, "lo")]), hello())),
        row("§5.4 an empty first fragment", echoed(parts(&[(0x01, ""), (0x80, "Hello")]), hello())),
        row("§5.4 an empty last fragment", echoed(parts(&[(0x01, "Hello"), (0x80, "")]), hello())),
        row(
            "§5.4 empty fragments only",
            echoed(parts(&[(0x02, ""), (0x00, ""), (0x00, ""), (0x80, "")]), SERVER.binary(b"")),
        ),
        row("§5.4 octet by octet", echoed(parts(&[(0x01, "H"), (0, "e"), (0, "l"), (0, "l"), (0x80, "o")]), hello())),
        row(
            "§5.4 two fragmented messages",
            echoed(
                parts(&[(0x01, "Hel"), (0x80, "lo"), (0x02, "H"), (0x80, "i")]),
                [hello(), SERVER.binary(b"Hi")].concat(),
            ),
        ),
        row(
            "§5.4 the pong leaves before the message is complete",
            echoed(
                [PEER.frame(0x01, b"Hel"), PEER.ping(b"1"), PEER.frame(0x80, b"lo")].concat(),
                [SERVER.pong(b"1"), hello()].concat(),
            ),
        ),
        row(
            "§5.4 pings and a pong between all fragments",
            echoed(
                [
                    PEER.frame(0x01, b"He"),
                    PEER.ping(b"1"),
                    PEER.frame(0x00, b"l"),
                    PEER.pong(b"nobody asked"),
                    PEER.ping(b"2"),
                    PEER.frame(0x80, b"lo"),
                ]
                .concat(),
                [SERVER.pong(b"1"), SERVER.pong(b"2"), hello()].concat(),
            ),
        ),
        row(
            "§5.4 a close inside a fragmented message is an ordinary close",
            ([PEER.frame(0x01, b"Hel"), PEER.close(1000)].concat(), SERVER.close(1000)),
        ),
    ]);
}

#[test]
fn pings_are_answered_with_their_payload_and_pongs_are_not() {
    let most: Vec<u8> = (0..125).collect();
    hold_all(&[
        row("§5.5.2 empty ping", echoed(PEER.ping(b""), SERVER.pong(b""))),
        row("§5.5.2 ping with a payload", echoed(PEER.ping(b"payload"), SERVER.pong(b"payload"))),
        row("§5.5.2 ping with no UTF-8", echoed(PEER.ping(b"\x00\xff\xfe"), SERVER.pong(b"\x00\xff\xfe"))),
        row("§5.5.2 ping of 125 octets", echoed(PEER.ping(&most), SERVER.pong(&most))),
        row("§5.5.3 unsolicited pong", echoed(PEER.pong(b"nobody asked"), Vec::new())),
        row(
            "§5.5.3 unsolicited pong, then ping",
            echoed([PEER.pong(b"a"), PEER.ping(b"b")].concat(), SERVER.pong(b"b")),
        ),
        row(
            "§5.5.2 ten pings",
            echoed(
                (b'0'..=b'9').flat_map(|n| PEER.ping(&[n])).collect(),
                (b'0'..=b'9').flat_map(|n| SERVER.pong(&[n])).collect(),
            ),
        ),
    ]);
}

#[test]
fn what_section_5_forbids_fails_the_connection_behind_earlier_echoes() {
    let mut rows: Vec<Row> = vec![
        ("§5.1 unmasked text", SERVER.text("Hello"), fails(b"")),
        ("§5.1 unmasked ping", SERVER.ping(b""), fails(b"")),
        ("§5.1 unmasked close", SERVER.close(1000), fails(b"")),
        ("§5.5 ping without FIN", PEER.frame(0x09, b""), fails(b"")),
        ("§5.5 pong without FIN", PEER.frame(0x0a, b""), fails(b"")),
        ("§5.5 close without FIN", PEER.frame(0x08, b""), fails(b"")),
        ("§5.5 ping of 126 octets", PEER.ping(&[b'*'; 126]), fails(b"")),
        ("§5.5 pong of 126 octets", PEER.pong(&[b'*'; 126]), fails(b"")),
        ("§5.5 close of 126 octets", PEER.close_because(1000, &[b'*'; 124]), fails(b"")),
        ("§5.4 continuation of nothing", PEER.frame(0x80, b"lost"), fails(b"")),
        ("§5.4 unfinished continuation of nothing", PEER.frame(0x00, b"lost"), fails(b"")),
        (
            "§5.4 continuation behind a message",
            [PEER.text("a"), PEER.frame(0x80, b"b")].concat(),
            fails(&SERVER.text("a")),
        ),
        ("§5.4 text inside a message", [PEER.frame(0x01, b"a"), PEER.text("b")].concat(), fails(b"")),
        ("§5.4 binary inside a message", [PEER.frame(0x01, b"a"), PEER.frame(0x02, b"b")].concat(), fails(b"")),
        ("§5.2 125 in 16 bits", PEER.frame_of_len(0x82, &[126, 0, 125], &[0; 125]), fails(b"")),
        ("§5.2 0 in 64 bits", PEER.frame_of_len(0x82, &[127, 0, 0, 0, 0, 0, 0, 0, 0], b""), fails(b"")),
        ("§5.2 65535 in 64 bits", PEER.frame_of_len(0x82, &[127, 0, 0, 0, 0, 0, 0, 255, 255], b""), fails(b"")),
        ("§5.2 top bit of 64", PEER.frame_of_len(0x82, &[127, 128, 0, 0, 0, 0, 0, 0, 0], b""), fails(b"")),
        (
            "§5.2 64 bits of ones",
            PEER.frame_of_len(0x82, &[127, 255, 255, 255, 255, 255, 255, 255, 255], b""),
            fails(b""),
        ),
        (
            "§5.2 an echo leaves before what follows fails; no pong for what comes behind",
            [PEER.text("kept"), PEER.frame(0x8f, b""), PEER.ping(b"unheard")].concat(),
            fails(&SERVER.text("kept")),
        ),
        (
            "§5.2 reserved bit in the second fragment",
            [PEER.frame(0x01, b"a"), PEER.frame(0xc0, b"b")].concat(),
            fails(b""),
        ),
        (
            "§5.2 reserved bit in a ping",
            [PEER.text("kept"), PEER.frame(0xc9, b"")].concat(),
            fails(&SERVER.text("kept")),
        ),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        rows.push(("§5.2 a reserved opcode", PEER.frame(0x80 | opcode, b"?"), fails(b"")));
    }
    for rsv in 1..=7 {
        rows.push(("§5.2 a reserved bit", PEER.frame(0x81 | rsv << 4, b"?"), fails(b"")));
    }
    hold_all(&rows);
}

#[test]
fn a_header_fails_at_its_first_illegal_octet() {
    let server = Serve::start(&[]);
    #[rustfmt::skip]
    let rows: &[(&str, &[u8])] = &[
        ("§5.2 opcode 15", &[0x8f]),
        ("§5.2 RSV2", &[0xa1]),
        ("§5.4 nothing to continue", &[0x80]),
        ("§5.5 close without FIN", &[0x08]),
        ("§5.1 no mask", &[0x81, 0x05]),
        ("§5.5 ping of 126 octets", &[0x89, 0xfe]),
        ("§5.2 top bit", &[0x82, 0xff, 0x80]),
        ("§5.2 125 in 16 bits", &[0x82, 0xfe, 0, 125]),
    ];
    for door in server.doors() {
        for (name, octets) in rows {
            // Not one octet follows, so an answer can only come from these.
            let mut client = door.open();
            client.send(octets);
            let frame = client.frame();
            assert_eq!(frame.close_code(), Some(1002), "{name} over {}", door.name());
            client.expect_end();
        }
    }
}

#[test]
fn a_pong_leaves_while_the_message_around_the_ping_is_unfinished() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        client.send(&[PEER.frame(0x01, b"fragment1"), PEER.ping(b"ping1")].concat());
        let pong = client.frame();
        assert_eq!((pong.first, pong.payload.as_slice()), (0x8a, &b"ping1"[..]), "over {}", door.name());
        // In the midst of a frame's payload no control frame can stand, but behind any fragment one can.
        client.send(&[PEER.frame(0x00, b"fragment2"), PEER.ping(b"ping2"), PEER.frame(0x80, b"!")].concat());
        assert_eq!(client.frame().payload, b"ping2", "over {}", door.name());
        assert_eq!(client.frame().payload, b"fragment1fragment2!", "over {}", door.name());
    }
}

#[test]
fn a_message_of_65537_fragments_comes_back_whole() {
    let server = Serve::start_plain(&[]);
    let mut client = server.ws().open();
    let mut octets = PEER.frame(0x02, b"<");
    for _ in 0..65_535 {
        octets.extend_from_slice(&PEER.frame(0x00, b"-"));
    }
    octets.extend_from_slice(&PEER.frame(0x80, b">"));
    client.send(&octets);
    let frame = client.frame();
    assert_eq!((frame.first, frame.payload.len()), (0x82, 65_537));
    assert!(frame.payload.starts_with(b"<-") && frame.payload.ends_with(b"->"));
}

#[test]
fn an_echo_of_every_size_of_chop_is_the_same() {
    let server = Serve::start(&[]);
    let input = [PEER.text("Hello"), PEER.binary(&[7; 300]), PEER.frame(0x01, b"a"), PEER.frame(0x80, b"b")].concat();
    let expected = [SERVER.text("Hello"), SERVER.binary(&[7; 300]), SERVER.text("ab"), SERVER.close(1000)].concat();
    let input = [input, PEER.close(1000)].concat();
    assert_eq!(shortest_len(300), [126, 1, 44]);
    for door in server.doors() {
        for chop in [2, 3, 5, 7, 11, 64, 127] {
            let mut client = door.open();
            client.send_in_pieces(&input, chop);
            let (output, _) = client.rest();
            assert_eq!(output, expected, "in pieces of {chop} over {}", door.name());
        }
    }
}
