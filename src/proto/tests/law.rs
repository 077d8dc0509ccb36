//! The core's law: for every input, events and output are equal for every way of cutting the stream.

use proptest::prelude::*;

use super::*;

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

/// A text in one to four frames, each with a key of its own and large enough to be read straight into the message; an octet may be wrong.
fn long_text_in_frames() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(prop_oneof![3 => "[ -~]{1,60}", 1 => ".{1,9}"], 400..1200);
    let wrong = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let borders = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (words, wrong, borders, any::<[u8; 4]>()).prop_map(|(words, wrong, borders, key)| {
        let mut text = words.concat().into_bytes();
        if let Some((at, octet)) = wrong {
            let at = at.index(text.len());
            text[at] = octet;
        }
        let mut borders: Vec<usize> = borders.into_iter().map(|at| at.index(text.len())).collect();
        borders.sort_unstable();
        in_fragments(1, &text, &borders, key)
    })
}

/// Messages in up to nine frames each, which have keys of their own; an octet of all that may be wrong, a header's too.
fn messages_in_fragments() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![6 => ".{0,40}", 1 => Just("ж€x".repeat(9_000))].prop_map(String::into_bytes);
    let borders = prop::collection::vec(any::<prop::sample::Index>(), 0..9);
    let message = (payload, borders, any::<bool>(), any::<MaskKey>());
    let wrong = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (prop::collection::vec(message, 1..6), wrong).prop_map(|(messages, wrong)| {
        let mut octets = Vec::new();
        for (payload, borders, is_text, key) in messages {
            let mut borders: Vec<usize> = borders.into_iter().map(|at| at.index(payload.len() + 1)).collect();
            borders.sort_unstable();
            octets.extend(in_fragments(if is_text { 1 } else { 2 }, &payload, &borders, key));
        }
        if let Some((at, octet)) = wrong {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        octets
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn chop_independence(
        input in prop_oneof![
            5 => frames(),
            1 => prop::collection::vec(any::<u8>(), 0..200),
            1 => long_text_in_frames(),
            2 => messages_in_fragments(),
        ],
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
