//! Whole conversations, octet by octet as RFC 6455 has them, however they are cut.

use super::*;

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
