//! Large messages, a queue at its high-water mark, and the deadlines of each phase.

use super::*;

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
fn a_message_in_fragments_is_answered_where_it_lies_if_it_lies_there_whole() {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let short = masked(0x82, b"before");
    let (hello, large) = ("Grüße, 世界", vec![7; 65_536]);
    let wrong = [&b"\xc3"[..], &[b'('; 20_000]].concat();
    // What came, what it is answered with, and whether it was copied out of the window.
    let table: &[(Vec<u8>, Vec<u8>, bool)] = &[
        (in_fragments(1, hello.as_bytes(), &[0, 3, 3, 4, 12], key), plain(0x81, hello.as_bytes()), false),
        (in_fragments(2, b"", &[0, 0], key), plain(0x82, b""), false),
        (in_fragments(2, &large, &[1024, 65_535], key), plain(0x82, &large), false),
        // Its answer's header takes ten octets; its first frame's has eight, behind an answer.
        (
            [short.clone(), in_fragments(2, &large, &[1024, 65_535], key)].concat(),
            [plain(0x82, b"before"), plain(0x82, &large)].concat(),
            true,
        ),
        // A frame's last octet, a control frame between, a length with 64 bits.
        (in_fragments(2, b"not whole", &[3], key)[..15].to_vec(), vec![], true),
        (
            [masked(0x02, b"a"), masked(0x89, b"?"), masked(0x80, b"b")].concat(),
            [plain(0x8a, b"?"), plain(0x82, b"ab")].concat(),
            true,
        ),
        (in_fragments(2, &large, &[0], key), plain(0x82, &large), true),
        // Text that is not, and more than a message may have.
        (in_fragments(1, &wrong, &[1], key), plain(0x88, &1007u16.to_be_bytes()), false),
        (in_fragments(2, &vec![7; 70_001], &[30_000], key), plain(0x88, &1009u16.to_be_bytes()), true),
    ];
    for (at, (input, expected, is_copied)) in table.iter().enumerate() {
        let limits = Limits { frame_bytes_max: 70_000, message_bytes_max: 70_000, ..Limits::DEFAULT };
        let settings = Settings { limits, ..Settings::default() };
        let (mut workspace, now) = (Workspace::new(), Instant::now());
        let mut connection = opened(Role::Server, settings, now);
        let mut turn = connection.turn(&mut workspace, now);
        turn.spare()[..input.len()].copy_from_slice(input);
        turn.filled(input.len());
        let mut played = Played::default();
        receive_all(&mut turn, &mut played);
        let (connection, workspace) = (&turn.connection, &turn.workspace);
        let has_message = connection.message.is_some() || workspace.message.is_some();
        assert_eq!(has_message || workspace.pool.memory_bytes() > 0, *is_copied, "{at}");
        drain(&mut turn, &mut played);
        assert!(played.wire == *expected, "{at}: {:?}, {} octets", played.events, played.wire.len());
    }
}

#[test]
fn behind_a_message_that_came_in_parts_one_that_is_there_is_answered_where_it_lies() {
    let message = in_fragments(2, &[7; 20_000], &[5_000, 10_000], [0x37, 0xfa, 0x21, 0x3d]);
    let (mut workspace, now) = (Workspace::new(), Instant::now());
    let mut connection = opened(Role::Server, Settings::default(), now);
    let (mut played, input) = (Played::default(), message.repeat(3));
    for input in [&input[..10_000], &input[10_000..]] {
        let mut turn = connection.turn(&mut workspace, now);
        turn.spare()[..input.len()].copy_from_slice(input);
        turn.filled(input.len());
        receive_all(&mut turn, &mut played);
        drain(&mut turn, &mut played);
        // One of them was assembled; a second would take its buffer, and leave it here.
        assert!(turn.workspace.message.is_none());
    }
    assert!(played.wire == plain(0x82, &[7; 20_000]).repeat(3), "{} octets", played.wire.len());
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
fn a_message_can_be_sent_on_by_another_connection() {
    let now = Instant::now();
    let (mut here, mut there) = (Workspace::new(), Workspace::new());
    let mut from = opened(Role::Server, Settings::default(), now);
    let mut to = opened(Role::Server, Settings::default(), now);
    let mut received = from.turn(&mut here, now);
    let input = [masked(0x82, b"stays"), masked(0x81, b"goes on"), masked(0x82, b"stays too")].concat();
    received.spare()[..input.len()].copy_from_slice(&input);
    received.filled(input.len());
    let mut others = to.turn(&mut there, now);
    others.sender().binary(b"before").unwrap();
    let (mut at_home, mut abroad) = (Played::default(), Played::default());
    while let Some((message, mut sender)) = received.receive_whole() {
        if message.kind() == MessageKind::Text {
            others.sender().reply(message).unwrap();
        } else {
            sender.reply(message).unwrap();
        }
    }
    drain(&mut received, &mut at_home);
    drain(&mut others, &mut abroad);
    assert_eq!(hex(&at_home.wire), hex(&[plain(0x82, b"stays"), plain(0x82, b"stays too")].concat()));
    assert_eq!(hex(&abroad.wire), hex(&[plain(0x82, b"before"), plain(0x81, b"goes on")].concat()));
}
