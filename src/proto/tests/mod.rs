//! Whole conversations without a socket, and the core's law: for every input, events and output are equal for every way
//! of cutting the stream.

mod deflate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{connection::Phase, *};

/// What a connection reported and sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Played {
    events: Vec<String>,
    wire: Vec<u8>,
}

/// A connection past its opening handshake.
fn opened(role: Role, settings: Settings, now: Instant) -> Connection {
    let mut connection = Connection::server(Arc::new(settings), now);
    connection.role = role;
    (connection.phase, connection.opening) = (Phase::Open, None);
    connection
}

/// Answers every message with itself and takes note of every event.
fn receive_all(turn: &mut Turn<'_>, played: &mut Played) {
    while let Some(mut received) = turn.receive() {
        played.events.push(match received.event {
            Event::Open(opened) => format!("open {}", opened.path),
            Event::Message(message) => {
                let head: Vec<u8> = message.payload().iter().copied().take(40).collect();
                let event =
                    format!("{:?} {} {:?}", message.kind(), message.payload().len(), String::from_utf8_lossy(&head));
                let _ = received.sender.reply(message);
                event
            }
            Event::Pong(payload) => format!("pong {:?}", String::from_utf8_lossy(payload)),
            Event::Close(closure) => format!("close {closure:?}"),
        });
    }
}

/// Feeds pieces of these sizes (the last one repeats), a turn each; everything queued is sent at the end of each turn, or,
/// with `slow`, only after the last one.
fn play(connection: &mut Connection, workspace: &mut Workspace, input: &[u8], cuts: &[usize], slow: bool) -> Played {
    let now = Instant::now();
    let mut played = Played::default();
    let (mut rest, mut cuts, mut cut) = (input, cuts.iter(), input.len());
    while !rest.is_empty() {
        cut = cuts.next().copied().unwrap_or(cut).max(1);
        let mut turn = connection.turn(workspace, now);
        // Straight into the message where that is offered, as the loop does.
        if let Some(room) = turn.spare_payload() {
            let len = room.len().min(cut).min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            turn.filled_payload(len);
        } else {
            let room = turn.spare();
            let len = room.len().min(cut).min(rest.len());
            assert!(len > 0 || slow, "no room to read into");
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            turn.filled(len);
        }
        receive_all(&mut turn, &mut played);
        if !slow {
            drain(&mut turn, &mut played);
        }
    }
    let mut turn = connection.turn(workspace, now);
    loop {
        drain(&mut turn, &mut played);
        receive_all(&mut turn, &mut played);
        if !turn.has_output() {
            break;
        }
    }
    drop(turn);
    assert_eq!(connection.queued_bytes(), 0);
    played
}

fn drain(turn: &mut Turn<'_>, played: &mut Played) {
    while turn.has_output() {
        let octets: Vec<u8> = turn.transmit().iter().flat_map(|slice| slice.to_vec()).collect();
        played.wire.extend_from_slice(&octets);
        turn.advance(octets.len());
    }
}

/// A client's frame; `first` holds FIN, RSV and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let header = WireHeader::new(first & 0x80 != 0, first >> 4 & 7, first & 15, Some(key), payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    mask(key, &mut octets[header.size()..]);
    octets
}

/// A server's frame.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = WireHeader::new(first & 0x80 != 0, first >> 4 & 7, first & 15, None, payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    [octets, payload.to_vec()].concat()
}

fn check(name: &str, input: &[u8], cuts: &[usize], wire: &[u8], last_event: &str) {
    let mut workspace = Workspace::new();
    let mut connection = opened(Role::Server, Settings::default(), Instant::now());
    let played = play(&mut connection, &mut workspace, input, cuts, false);
    assert_eq!(
        (hex(&played.wire), played.events.last().cloned().unwrap_or_default()),
        (hex(wire), last_event.to_owned()),
        "{name}, cuts {cuts:?}"
    );
}

fn hex(octets: &[u8]) -> String {
    octets.iter().take(400).map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn conversations_end_as_the_rfc_says_however_they_are_cut() {
    let text = masked(0x81, b"Hello, world!");
    let echo = plain(0x81, b"Hello, world!");
    let close = |code: u16| plain(0x88, &code.to_be_bytes());
    let failed = |error: ProtocolError| format!("close {:?}", Closure::Failed(error));
    let peer = |code: Option<u16>, reason: &str| {
        format!("close {:?}", Closure::Peer { code: code.map(super::CloseCode), reason: reason.to_owned() })
    };
    let mut bad_utf8 = "κόσμε".as_bytes().to_vec();
    bad_utf8.extend_from_slice(b"\xed\xa0\x80edited");
    use ProtocolError::*;
    type Row = (&'static str, Vec<u8>, Vec<u8>, String);
    let rows: Vec<Row> = vec![
        ("1.1 echo", text.clone(), echo.clone(), "Text 13 \"Hello, world!\"".into()),
        ("1.2 empty binary", masked(0x82, b""), plain(0x82, b""), "Binary 0 \"\"".into()),
        ("2.4 ping of 125", masked(0x89, &[0xfe; 125]), plain(0x8a, &[0xfe; 125]), String::new()),
        ("2.7 unsolicited pong", masked(0x8a, b"beat"), vec![], "pong \"beat\"".into()),
        (
            "3.2 earlier echoes leave before the Close, and no Pong after it",
            [text.clone(), masked(0xa1, b"x"), masked(0x89, b"")].concat(),
            [echo.clone(), close(1002)].concat(),
            failed(ReservedBits(2)),
        ),
        (
            "4.2.5 reserved opcode",
            [text.clone(), masked(0x8f, b"x")].concat(),
            [echo.clone(), close(1002)].concat(),
            failed(ReservedOpcode(15)),
        ),
        (
            "5.6 the Pong leaves before the echo",
            [masked(0x01, b"fragment1"), masked(0x89, b"p"), masked(0x80, b"fragment2")].concat(),
            [plain(0x8a, b"p"), plain(0x81, b"fragment1fragment2")].concat(),
            "Text 18 \"fragment1fragment2\"".into(),
        ),
        ("5.9 nothing to continue", masked(0x80, b"x"), close(1002), failed(NothingToContinue)),
        (
            "5.18 message inside message",
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            close(1002),
            failed(MessageInsideMessage),
        ),
        (
            "6.1.3 empty fragments",
            [masked(0x01, b""), masked(0x00, b"mid"), masked(0x80, b"")].concat(),
            plain(0x81, b"mid"),
            "Text 3 \"mid\"".into(),
        ),
        ("6.3.1 bad UTF-8", masked(0x81, &bad_utf8), close(1007), failed(InvalidUtf8)),
        (
            "6.3.2 bad UTF-8 in fragments",
            [masked(0x01, &bad_utf8[..12]), masked(0x80, &bad_utf8[12..])].concat(),
            close(1007),
            failed(InvalidUtf8),
        ),
        ("text that ends inside a code point", masked(0x81, b"\xe2\x82"), close(1007), failed(InvalidUtf8)),
        (
            "the same in fragments",
            [masked(0x01, b"\xe2"), masked(0x80, b"\x82")].concat(),
            close(1007),
            failed(InvalidUtf8),
        ),
        (
            "a code point over frames",
            [masked(0x01, b"\xe2"), masked(0x80, b"\x82\xac")].concat(),
            plain(0x81, b"\xe2\x82\xac"),
            "Text 3 \"€\"".into(),
        ),
        (
            "7.1.2 nothing after the Close",
            [masked(0x88, b"\x03\xe8"), text.clone()].concat(),
            close(1000),
            peer(Some(1000), ""),
        ),
        (
            "7.1.5 Close inside a message",
            [masked(0x01, b"a"), masked(0x88, b"\x03\xe8"), masked(0x80, b"b")].concat(),
            close(1000),
            peer(Some(1000), ""),
        ),
        ("7.3.1 empty Close", masked(0x88, b""), plain(0x88, b""), peer(None, "")),
        ("7.3.2 Close of one octet", masked(0x88, b"a"), close(1002), failed(CloseOneOctet)),
        ("7.3.4 reason", masked(0x88, b"\x0b\xb8bye"), close(3000), peer(Some(3000), "bye")),
        ("7.9 bad code", masked(0x88, b"\x03\xed"), close(1002), failed(CloseCode(super::CloseCode(1005)))),
        ("§5.1 unmasked", plain(0x81, b"x"), close(1002), failed(Unmasked)),
        ("§5.5 long ping", masked(0x89, &[0; 126]), close(1002), failed(ControlTooLong)),
        (
            "9.x frame beyond the limit",
            masked(0x82, b"")[..1].iter().copied().chain([0xff, 0, 0, 0, 0, 1, 0, 0, 1]).collect(),
            close(1009),
            failed(FrameTooBig { len: (16 << 20) + 1, max: 16 << 20 }),
        ),
    ];
    for (name, input, wire, last_event) in &rows {
        check(name, input, &[], wire, last_event);
        for at in 1..input.len() {
            check(name, input, &[at, input.len()], wire, last_event);
        }
        for size in [1, 2, 3, 5, 7] {
            check(name, input, &[size], wire, last_event);
        }
    }
}

#[test]
fn bad_text_fails_in_the_middle_of_a_frame_that_has_not_arrived() {
    // Autobahn 6.4.3: one frame of 21 octets; the octet that can not be mended is number 13.
    let frame = masked(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited");
    let (mut workspace, now) = (Workspace::new(), Instant::now());
    for (octets, wire) in [(6 + 12, &b""[..]), (6 + 13, b"\x88\x02\x03\xef")] {
        let mut connection = opened(Role::Server, Settings::default(), now);
        let played = play(&mut connection, &mut workspace, &frame[..octets], &[], false);
        assert_eq!(played.wire, wire, "{octets} octets");
    }
}

#[test]
fn a_large_message_is_assembled_and_echoed_whichever_way_it_comes() {
    let text: Vec<u8> = "Grüße, мир, 世界! ".bytes().cycle().take(3_000_000).collect();
    let text = match std::str::from_utf8(&text) {
        Ok(_) => text,
        Err(error) => text[..error.valid_up_to()].to_vec(),
    };
    let whole = masked(0x81, &text);
    let fragments: Vec<u8> =
        [masked(0x01, &text[..1_000_001]), masked(0x89, b"?"), masked(0x80, &text[1_000_001..])].concat();
    let echo = plain(0x81, &text);
    for cuts in [&[1 << 30][..], &[100_000], &[20, 70_000, 1, 5], &[131_072], &[7_777]] {
        let mut workspace = Workspace::new();
        for (input, expected) in [(&whole, echo.clone()), (&fragments, [plain(0x8a, b"?"), echo.clone()].concat())] {
            let mut connection = opened(Role::Server, Settings::default(), Instant::now());
            let played = play(&mut connection, &mut workspace, input, cuts, false);
            assert!(played.wire == expected, "cuts {cuts:?}: {} octets of {}", played.wire.len(), expected.len());
            assert_eq!(connection.held_bytes(), 0);
        }
    }
}

#[test]
fn decoding_stops_at_the_high_water_mark_and_nothing_is_lost() {
    let settings = Settings {
        limits: Limits { queue_high_bytes: 1000, queue_low_bytes: 100, ..Limits::DEFAULT },
        ..Settings::default()
    };
    let (mut workspace, now) = (Workspace::new(), Instant::now());
    let mut connection = opened(Role::Server, settings, now);
    let input: Vec<u8> = (0..100).flat_map(|at| masked(0x82, &[at; 50])).collect();
    let mut turn = connection.turn(&mut workspace, now);
    turn.spare()[..input.len()].copy_from_slice(&input);
    turn.filled(input.len());
    let mut played = Played::default();
    receive_all(&mut turn, &mut played);
    assert!(!turn.connection().wants_read());
    assert_eq!(played.events.len(), 20, "20 answers of 52 octets are the first beyond 1000");
    drop(turn);
    assert_eq!(connection.queued_bytes(), 20 * 52);
    // A socket that takes 300 octets at a time.
    for _ in 0..1000 {
        let mut turn = connection.turn(&mut workspace, now);
        let octets: Vec<u8> = turn.transmit().iter().flat_map(|slice| slice.to_vec()).take(300).collect();
        played.wire.extend_from_slice(&octets);
        turn.advance(octets.len());
        receive_all(&mut turn, &mut played);
    }
    let expected: Vec<u8> = (0..100).flat_map(|at| plain(0x82, &[at; 50])).collect();
    assert_eq!(hex(&played.wire), hex(&expected));
    assert_eq!((played.events.len(), connection.held_bytes()), (100, 0));
}

#[test]
fn deadlines_follow_the_phase() {
    let secs = Duration::from_secs;
    let timeouts = Timeouts { idle: Some(secs(60)), ping: Some(secs(20)), ..Timeouts::default() };
    let settings = Settings { timeouts, ..Settings::default() };
    let (mut workspace, start) = (Workspace::new(), Instant::now());
    let mut played = Played::default();

    let mut connection = Connection::server(Arc::new(settings.clone()), start);
    assert_eq!(connection.next_deadline(), Some((start + secs(10), Wait::Handshake)));
    let mut turn = connection.turn(&mut workspace, start + secs(10));
    turn.handle_timeout();
    receive_all(&mut turn, &mut played);
    drain(&mut turn, &mut played);
    drop(turn);
    assert!(played.wire.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&played.wire));
    assert_eq!(connection.shutdown(), Shutdown::Flush);

    let mut connection = opened(Role::Server, settings, start);
    played = Played::default();
    assert_eq!(connection.next_deadline(), Some((start + secs(20), Wait::Idle)));
    for (at, wire, next) in [
        (secs(19), &b""[..], Some((secs(20), Wait::Idle))),
        (secs(20), b"\x89\0", Some((secs(40), Wait::Idle))),
        (secs(40), b"\x89\0", Some((secs(60), Wait::Idle))),
        (secs(60), b"\x88\x06\x03\xe9idle", Some((secs(63), Wait::Close))),
        (secs(63), b"", None),
    ] {
        let mut turn = connection.turn(&mut workspace, start + at);
        turn.handle_timeout();
        receive_all(&mut turn, &mut played);
        drain(&mut turn, &mut played);
        drop(turn);
        assert_eq!(std::mem::take(&mut played.wire), wire, "{at:?}");
        assert_eq!(connection.next_deadline(), next.map(|(at, wait)| (start + at, wait)), "{at:?}");
    }
    assert_eq!(connection.shutdown(), Shutdown::Abort);
    assert_eq!(played.events, ["close TimedOut(Handshake)", "close TimedOut(Idle)"][1..]);
}

#[test]
fn a_message_can_be_sent_in_frames_of_a_size() {
    for (payload, frame_bytes, expected) in [
        ("Hello", 2, vec![plain(0x01, b"He"), plain(0x00, b"ll"), plain(0x80, b"o")]),
        ("Hell", 2, vec![plain(0x01, b"He"), plain(0x80, b"ll")]),
        ("Hello", 5, vec![plain(0x81, b"Hello")]),
        ("Hello", usize::MAX, vec![plain(0x81, b"Hello")]),
        ("Hi", 0, vec![plain(0x01, b"H"), plain(0x80, b"i")]),
        ("", 7, vec![plain(0x81, b"")]),
    ] {
        let mut workspace = Workspace::new();
        let mut connection = opened(Role::Server, Settings::default(), Instant::now());
        let mut turn = connection.turn(&mut workspace, Instant::now());
        turn.sender().fragmented(MessageKind::Text, payload.as_bytes(), frame_bytes).unwrap();
        let mut played = Played::default();
        drain(&mut turn, &mut played);
        assert_eq!(hex(&played.wire), hex(&expected.concat()), "{payload:?} in frames of {frame_bytes}");
        turn.sender().close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(turn.sender().fragmented(MessageKind::Text, b"", 1), Err(SendError::Closing));
    }
}

#[test]
fn a_client_masks_leaves_tcp_to_the_server_and_refuses_masked_frames() {
    let now = Instant::now();
    let mut workspace = Workspace::with_mask_keys(Box::new(|| [1, 2, 3, 4]));
    let mut connection = opened(Role::Client, Settings::default(), now);
    let played =
        play(&mut connection, &mut workspace, &[plain(0x81, b"hi"), plain(0x88, b"\x03\xe8")].concat(), &[], false);
    let expected =
        [&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2][..], &[0x88, 0x82, 1, 2, 3, 4, 3 ^ 1, 0xe8 ^ 2]].concat();
    assert_eq!(hex(&played.wire), hex(&expected));
    assert_eq!(connection.shutdown(), Shutdown::AwaitEof);

    let mut connection = opened(Role::Client, Settings::default(), now);
    let played = play(&mut connection, &mut workspace, &masked(0x81, b"hi"), &[], false);
    assert_eq!(played.events, [format!("close {:?}", Closure::Failed(ProtocolError::Masked))]);
}

#[test]
fn a_keep_alive_ping_that_crosses_the_high_water_mark_loses_no_message_end() {
    let second = Duration::from_secs(1);
    let settings = Settings {
        limits: Limits { queue_high_bytes: 100, queue_low_bytes: 10, ..Limits::DEFAULT },
        timeouts: Timeouts { ping: Some(second), ..Timeouts::default() },
        ..Settings::default()
    };
    let (mut workspace, start) = (Workspace::new(), Instant::now());
    let mut connection = opened(Role::Server, settings, start);
    let frame = masked(0x82, &[7; 20_000]);
    let mut turn = connection.turn(&mut workspace, start);
    turn.sender().binary(&[0; 96]).unwrap();
    turn.spare()[..4000].copy_from_slice(&frame[..4000]);
    turn.filled(4000);
    assert!(turn.receive().is_none());
    drop(turn);

    let mut turn = connection.turn(&mut workspace, start + second);
    turn.handle_timeout();
    let rest = &frame[4000..];
    turn.spare_payload().unwrap()[..rest.len()].copy_from_slice(rest);
    turn.filled_payload(rest.len());
    let received = turn.receive().unwrap();
    assert!(matches!(received.event, Event::Message(message) if message.payload() == [7; 20_000]));
}

#[test]
fn an_idle_connection_is_small() {
    // Measured with its socket and its place in the slab in ARCHITECTURE.md.
    assert!(size_of::<Connection>() <= 232, "{} octets", size_of::<Connection>());
}

/// Frames that a peer may send, most of them legal.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        8 => ".{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..140),
        1 => prop::collection::vec(any::<u8>(), 30_000..70_000),
        1 => Just("ж".repeat(20_000).into_bytes()),
    ];
    let first = prop_oneof![
        6 => Just(0x81u8), 4 => Just(0x82), 3 => Just(0x01), 2 => Just(0x02), 4 => Just(0x00), 5 => Just(0x80),
        3 => Just(0x89), 2 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>(),
    ];
    prop::collection::vec((first, payload), 0..12)
        .prop_map(|frames| frames.into_iter().flat_map(|(first, payload)| masked(first, &payload)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn chop_independence(
        input in prop_oneof![5 => frames(), 1 => prop::collection::vec(any::<u8>(), 0..200)],
        cuts in prop::collection::vec(1usize..40_000, 1..6), small in 1usize..50,
    ) {
        let run = |cuts: &[usize], slow| {
            let mut workspace = Workspace::new();
            let settings = Settings {
                limits: Limits { queue_high_bytes: 1 << 30, queue_low_bytes: 1 << 29, ..Limits::DEFAULT },
                ..Settings::default()
            };
            let mut connection = opened(Role::Server, settings, Instant::now());
            play(&mut connection, &mut workspace, &input, cuts, slow)
        };
        let whole = run(&[], false);
        let control_free = |played: &Played| -> Vec<u8> { data_frames(&played.wire) };
        for cuts in [&cuts[..], &[small], &[6, 1, 3, 20_000]] {
            let cut = run(cuts, false);
            prop_assert_eq!(&cut.events, &whole.events);
            // Pongs pass queued echoes, so their place depends on what was sent when; data and Close do not.
            prop_assert_eq!(hex(&control_free(&cut)), hex(&control_free(&whole)));
            let slow = run(cuts, true);
            prop_assert_eq!(&slow.events, &whole.events);
            prop_assert_eq!(hex(&control_free(&slow)), hex(&control_free(&whole)));
        }
        if input.len() < 2000 {
            prop_assert_eq!(&run(&[1], false).events, &whole.events);
        }
    }
}

/// A wire without its Pongs.
fn data_frames(mut wire: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some((header, size)) = WireHeader::parse(wire) {
        let (frame, rest) = wire.split_at(size + header.len as usize);
        if header.opcode != Opcode::Pong as u8 {
            data.extend_from_slice(frame);
        }
        wire = rest;
    }
    assert!(wire.is_empty(), "whole frames only");
    data
}
