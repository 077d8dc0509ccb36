//! Conversations with permessage-deflate (RFC 7692): both roles of the core against each other, and against octets of the RFC.

use proptest::prelude::*;

use super::*;
use crate::proto::{
    deflate::{Agreed, Codec, Codecs, DeflateConfig, DeflateMode},
    handshake::Request,
};

fn settings(mode: DeflateMode) -> Settings {
    Settings { deflate: DeflateConfig { mode, ..DeflateConfig::DEFAULT }, ..Settings::default() }
}

/// A server's connection on which the extension was agreed on, in these directions with takeover.
fn compressing(takeover: bool, settings: Settings) -> Connection {
    let agreed = Agreed { send_takeover: takeover, send_window_bits: 15, receive_takeover: takeover };
    let mut connection = opened(Role::Server, settings.clone(), Instant::now());
    connection.codec = Some(Box::new(Codec::new(agreed, &settings.deflate)));
    connection
}

/// Compressed payloads of these messages, each alone.
fn compressed(messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let config = DeflateConfig { message_bytes_min: 0, ..DeflateConfig::DEFAULT };
    let agreed = Agreed { send_takeover: true, send_window_bits: 15, receive_takeover: true };
    let (mut codec, mut codecs) = (Codec::new(agreed, &config), Codecs::default());
    messages.iter().map(|message| codec.deflate(&mut codecs, message).unwrap().to_vec()).collect()
}

#[test]
fn the_examples_of_rfc_7692_are_understood_however_they_are_cut() {
    let hello = "Text 5 \"Hello\"".to_owned();
    let rows: Vec<(&str, Vec<u8>, Vec<String>)> = vec![
        ("§7.2.3.1", masked(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"), vec![hello.clone()]),
        (
            "§7.2.3.1 in fragments, a Ping between",
            [masked(0x41, b"\xf2\x48\xcd"), masked(0x89, b"?"), masked(0x80, b"\xc9\xc9\x07\x00")].concat(),
            vec![hello.clone()],
        ),
        (
            "§7.2.3.2 with the first message in the window",
            [masked(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"), masked(0xc1, b"\xf2\x00\x11\x00\x00")].concat(),
            vec![hello.clone(), hello.clone()],
        ),
        ("§7.2.3.3 stored block", masked(0xc1, b"\x00\x05\x00\xfa\xffHello\x00"), vec![hello.clone()]),
        ("§7.2.3.4 BFINAL", masked(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), vec![hello.clone()]),
        (
            "§7.2.3.5 two blocks",
            masked(0xc1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
            vec![hello.clone()],
        ),
        ("§7.2.3.6 empty message", masked(0xc2, b"\x00"), vec!["Binary 0 \"\"".to_owned()]),
        ("uncompressed is as legal as ever", masked(0x81, b"Hello"), vec![hello]),
        (
            "RSV1 on a continuation",
            [masked(0x41, b"\xf2\x48"), masked(0xc0, b"\xcd\xc9\xc9\x07\x00")].concat(),
            vec![format!("close {:?}", Closure::Failed(ProtocolError::ReservedBits(4)))],
        ),
        (
            "garbage",
            masked(0xc1, b"\xff\xff\xff\xff"),
            vec![format!("close {:?}", Closure::Failed(ProtocolError::InvalidDeflate))],
        ),
        (
            "inflated text that is not UTF-8",
            masked(0xc1, &compressed(&[b"caf\xe9 au lait"])[0]),
            vec![format!("close {:?}", Closure::Failed(ProtocolError::InvalidUtf8))],
        ),
    ];
    for (name, input, events) in rows {
        for cuts in [&[1 << 20][..], &[1], &[2], &[3, 1], &[8, 5]] {
            let mut workspace = Workspace::new();
            let mut connection = compressing(true, settings(DeflateMode::Takeover));
            let played = play(&mut connection, &mut workspace, &input, cuts, false);
            assert_eq!(played.events, events, "{name}, cuts {cuts:?}");
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit_and_a_step() {
    // 64 MiB of zeros in some 64 KiB, against a limit of 1 MiB.
    let zeros = vec![0; 1 << 20];
    let messages = vec![&zeros[..]; 64];
    let bomb: Vec<u8> =
        compressed(&messages).iter().flat_map(|part| [part, &[0, 0, 0xff, 0xff][..]].concat()).collect();
    let limits = Limits { message_bytes_max: 1 << 20, frame_bytes_max: 1 << 20, ..Limits::DEFAULT };
    let mut workspace = Workspace::new();
    let mut connection = compressing(false, Settings { limits, ..settings(DeflateMode::On) });
    let played = play(&mut connection, &mut workspace, &masked(0xc2, &bomb), &[], false);
    let error = ProtocolError::MessageTooBig { len: (1 << 20) + 1, max: 1 << 20 };
    assert_eq!(played.events, [format!("close {:?}", Closure::Failed(error))]);
    assert_eq!(hex(&played.wire), hex(&plain(0x88, &1009u16.to_be_bytes())));
}

#[test]
fn a_message_as_large_as_the_limit_passes() {
    let message: Vec<u8> = (0..1u32 << 20).map(|at| (at % 251 * (at % 13)) as u8).collect();
    let limits = Limits { message_bytes_max: 1 << 20, frame_bytes_max: 1 << 20, ..Limits::DEFAULT };
    let mut workspace = Workspace::new();
    let mut connection = compressing(false, Settings { limits, ..settings(DeflateMode::On) });
    let input = masked(0xc2, &compressed(&[&message])[0]);
    let played = play(&mut connection, &mut workspace, &input, &[10_000], false);
    assert!(played.events[0].starts_with("Binary 1048576 "), "{:?}", played.events);
}

/// The whole of a conversation between both roles of the core, by way of their octets.
fn converse(
    mode: DeflateMode,
    client_mode: DeflateMode,
    messages: &[Vec<u8>],
    cut: usize,
) -> (Vec<String>, Vec<String>) {
    let now = Instant::now();
    let mut workspace = Workspace::with_mask_keys(Box::new(|| [9, 8, 7, 6]));
    let mut server = Connection::server(Arc::new(settings(mode)), now);
    let mut client = Connection::client(Arc::new(settings(client_mode)), &Request::default(), now).unwrap();
    let (mut by_server, mut by_client) = (Played::default(), Vec::new());
    let mut unsent = messages.iter();
    loop {
        let mut turn = client.turn(&mut workspace, now);
        let mut to_server = Played::default();
        let before = by_client.len();
        while let Some(received) = turn.receive() {
            by_client.push(match received.event {
                Event::Message(message) => format!("{:?} {}", message.kind(), hex(message.payload())),
                Event::Open(opened) => format!("open {:?}", opened.extensions.is_some()),
                other => format!("{other:?}"),
            });
        }
        // The next message when the last one has come back.
        if turn.connection().is_open() && (before == 0 || by_client.len() > before) {
            match unsent.next() {
                Some(message) => turn.sender().binary(message).unwrap(),
                None => turn.sender().close(CloseCode::NORMAL, "").unwrap(),
            }
        }
        drain(&mut turn, &mut to_server);
        drop(turn);
        let answered = play(&mut server, &mut workspace, &to_server.wire, &[cut], false);
        by_server.events.extend(answered.events);
        let mut rest = &answered.wire[..];
        while !rest.is_empty() {
            let mut turn = client.turn(&mut workspace, now);
            let len = rest.len().min(turn.spare().len());
            turn.spare()[..len].copy_from_slice(&rest[..len]);
            turn.filled(len);
            rest = &rest[len..];
            while let Some(received) = turn.receive() {
                by_client.push(match received.event {
                    Event::Message(message) => format!("{:?} {}", message.kind(), hex(message.payload())),
                    Event::Open(opened) => format!("open {:?}", opened.extensions.is_some()),
                    Event::Close(_) => "close".to_owned(),
                    Event::Pong(_) => "pong".to_owned(),
                });
            }
            if turn.connection().is_open() {
                match unsent.next() {
                    Some(message) => turn.sender().binary(message).unwrap(),
                    None => turn.sender().close(CloseCode::NORMAL, "").unwrap(),
                }
            }
        }
        if client.shutdown() != Shutdown::None {
            return (by_server.events, by_client);
        }
    }
}

#[test]
fn both_roles_understand_each_other_in_every_mode() {
    use DeflateMode::{Off, On, Takeover};
    let messages: Vec<Vec<u8>> = [0usize, 1, 63, 64, 1000, 40_000]
        .iter()
        .map(|&len| b"abcabcabd".iter().copied().cycle().take(len).collect())
        .collect();
    for server in [Off, On, Takeover] {
        for client in [Off, On, Takeover] {
            let (_, by_client) = converse(server, client, &messages, 1000);
            let agreed = server != Off && client != Off;
            let mut expected = vec![format!("open {agreed:?}")];
            expected.extend(messages.iter().map(|message| format!("Binary {}", hex(message))));
            expected.push("close".to_owned());
            assert_eq!(by_client, expected, "server {server:?}, client {client:?}");
        }
    }
}

#[test]
fn an_idle_compressing_connection_holds_no_stream_without_takeover() {
    let message = vec![b'a'; 5000];
    let input = masked(0xc1, &compressed(&[&message])[0]);
    for (takeover, most, least) in [(false, 100, 0), (true, 500_000, 300_000)] {
        let mode = if takeover { DeflateMode::Takeover } else { DeflateMode::On };
        let mut workspace = Workspace::new();
        let mut connection = compressing(takeover, settings(mode));
        let played = play(&mut connection, &mut workspace, &input, &[], false);
        assert_eq!(played.events.len(), 1);
        assert!(played.wire[0] == 0xc1 && played.wire.len() < 100, "the echo is compressed");
        let held = connection.held_bytes();
        assert!((least..=most).contains(&held), "{held} octets with takeover {takeover}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn chop_independence_holds_for_compressed_messages(
        messages in prop::collection::vec((".{0,3}", 0usize..3000), 1..6), cut in 1usize..4000, flip in 0usize..20_000, damage: bool,
        share in 7usize..3000,
    ) {
        let texts: Vec<Vec<u8>> = messages.iter().map(|(unit, times)| unit.repeat(*times).into_bytes()).collect();
        let mut input: Vec<u8> = compressed(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>())
            .iter()
            .flat_map(|payload| {
                let middle = payload.len() / 2;
                [masked(0x41, &payload[..middle]), masked(0x89, b"!"), masked(0x80, &payload[middle..])].concat()
            })
            .collect();
        if damage {
            let at = flip % input.len();
            input[at] ^= 1 << (flip % 8);
        }
        let run = |cuts: &[usize], share: usize| {
            let mut workspace = Workspace::new();
            workspace.share_inflating(share);
            let mut connection = compressing(true, settings(DeflateMode::Takeover));
            play(&mut connection, &mut workspace, &input, cuts, false)
        };
        let whole = run(&[], INFLATED_BYTES_MAX);
        for (cuts, share) in [(&[cut][..], INFLATED_BYTES_MAX), (&[1], INFLATED_BYTES_MAX), (&[], share), (&[cut], share)] {
            let played = run(cuts, share);
            prop_assert_eq!(&played.events, &whole.events);
            prop_assert_eq!(hex(&data_frames(&played.wire)), hex(&data_frames(&whole.wire)));
        }
    }
}
