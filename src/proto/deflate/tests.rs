//! The codec against the RFC's examples, against zlib, and against peers that mean no good.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{
    inflater::Inflater,
    oracle::{self, Foreign},
    *,
};

const BOTH: Agreed = Agreed { send_takeover: true, send_window_bits: 15, receive_takeover: true };
const NEITHER: Agreed = Agreed { send_takeover: false, send_window_bits: 15, receive_takeover: false };
/// Level 6, every message compressed.
const CONFIG: DeflateConfig = DeflateConfig { level: 6, message_bytes_min: 0, ..DeflateConfig::DEFAULT };

/// Collects a message up to `max` octets.
struct Collect {
    message: Vec<u8>,
    room: Vec<u8>,
    max: usize,
    /// The most octets that were ever passed on.
    seen: usize,
    /// There was room the last time; now there is none, if the room is of an even size.
    gave_room: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Invalid,
    TooBig,
}

impl From<InvalidDeflate> for Stop {
    fn from(InvalidDeflate: InvalidDeflate) -> Self {
        Stop::Invalid
    }
}

impl Collect {
    fn new(step: usize, max: usize) -> Self {
        Collect { message: Vec::new(), room: vec![0; step], max, seen: 0, gave_room: false }
    }
}

impl Sink for Collect {
    type Error = Stop;

    fn room(&mut self) -> &mut [u8] {
        let pauses = self.gave_room && self.room.len().is_multiple_of(2);
        self.gave_room = !pauses;
        if pauses { &mut [] } else { &mut self.room }
    }

    fn filled(&mut self, len: usize) -> Result<(), Stop> {
        self.seen += len;
        if self.seen > self.max {
            return Err(Stop::TooBig);
        }
        self.message.extend_from_slice(&self.room[..len]);
        Ok(())
    }
}

/// Goes on wherever the sink pauses.
fn inflate_all(
    codec: &mut Codec,
    codecs: &mut Codecs,
    mut input: &[u8],
    is_end: bool,
    sink: &mut Collect,
) -> Result<(), Stop> {
    while let Inflation::Paused { taken } = codec.inflate(codecs, input, is_end, sink)? {
        input = &input[taken..];
    }
    Ok(())
}

/// Inflates `payload` in pieces of `chop` octets into room for `step`.
fn inflate(
    codec: &mut Codec,
    codecs: &mut Codecs,
    payload: &[u8],
    chop: usize,
    step: usize,
    max: usize,
) -> Result<Vec<u8>, Stop> {
    let mut sink = Collect::new(step, max);
    let mut pieces = payload.chunks(chop).peekable();
    while let Some(piece) = pieces.next() {
        let is_end = pieces.peek().is_none() && chop.is_multiple_of(2);
        inflate_all(codec, codecs, piece, is_end, &mut sink)?;
        if is_end {
            return Ok(sink.message);
        }
    }
    // The last fragment may be empty.
    inflate_all(codec, codecs, &[], true, &mut sink)?;
    Ok(sink.message)
}

/// Inflates these messages of one connection, for several ways of cutting them; all must agree.
fn check(agreed: Agreed, payloads: &[&[u8]], expected: &[Result<&[u8], Stop>]) {
    for chop in [1, 2, 3, 7, 64, 1 << 20] {
        for step in [1, 2, 5, 100, 16 << 10] {
            let (mut codec, mut codecs) = (Codec::new(agreed, &CONFIG), Codecs::default());
            for (payload, expected) in payloads.iter().zip(expected) {
                let message = inflate(&mut codec, &mut codecs, payload, chop, step, 1 << 20);
                assert_eq!(
                    message.as_deref().map_err(|stop| *stop),
                    *expected,
                    "{payload:02x?} chop {chop} step {step}"
                );
                if message.is_err() {
                    break;
                }
            }
        }
    }
}

#[test]
fn payloads_of_the_rfc_inflate() {
    const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    type Read = Result<&'static [u8], Stop>;
    type Row = (&'static str, Agreed, &'static [&'static [u8]], &'static [Read]);
    const OK: Read = Ok(b"Hello");
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("§7.2.3.1 fixed block", BOTH, &[HELLO], &[OK]),
        ("§7.2.3.2 window shared", BOTH, &[HELLO, b"\xf2\x00\x11\x00\x00"], &[OK, OK]),
        ("§7.2.3.2 window not shared", BOTH, &[HELLO, HELLO, HELLO], &[OK, OK, OK]),
        ("§7.2.3.2 without takeover", NEITHER, &[HELLO, HELLO], &[OK, OK]),
        ("§7.2.3.2 a reference to what is forgotten", NEITHER, &[HELLO, b"\xf2\x00\x11\x00\x00"], &[OK, Err(Stop::Invalid)]),
        ("§7.2.3.3 stored block", BOTH, &[b"\x00\x05\x00\xfa\xffHello\x00"], &[OK]),
        ("§7.2.3.4 BFINAL", BOTH, &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"], &[OK]),
        ("§7.2.3.5 two blocks", BOTH, &[b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"], &[OK]),
        ("§7.2.3.6 empty", BOTH, &[b"\x00", HELLO, b"\x00", b"\xf2\x00\x11\x00\x00"], &[Ok(b""), OK, Ok(b""), OK]),
        // Beyond the examples.
        ("no octet at all", BOTH, &[b"", HELLO, b"", b"\xf2\x00\x11\x00\x00"], &[Ok(b""), OK, Ok(b""), OK]),
        ("empty fixed block", BOTH, &[b"\x02\x00"], &[Ok(b"")]),
        ("many empty blocks", BOTH, &[b"\x00\x00\x00\xff\xff\x00\x00\x00\xff\xff\x00"], &[Ok(b"")]),
        ("BFINAL on a stored block", BOTH, &[b"\x01\x05\x00\xfa\xffHello\x00", HELLO], &[OK, OK]),
        ("BFINAL and nothing behind it", BOTH, &[b"\xf3\x48\xcd\xc9\xc9\x07\x00", HELLO], &[OK, OK]),
        ("BFINAL in the header that is cut off", BOTH, &[b"\x01", HELLO], &[Ok(b""), OK]),
        ("BFINAL, then more", BOTH, &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00"], &[Ok(b"HelloHello")]),
        ("BFINAL ends the window", BOTH, &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"\xf2\x00\x11\x00\x00"], &[OK, Err(Stop::Invalid)]),
        ("BFINAL, twice, without takeover", NEITHER, &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"], &[OK, OK]),
        ("BFINAL, then no block", BOTH, &[b"\xf3\x48\xcd\xc9\xc9\x07\x00\xff\xff"], &[Err(Stop::Invalid)]),
        ("block type 3", BOTH, &[b"\x06"], &[Err(Stop::Invalid)]),
        ("LEN is not NLEN", BOTH, &[b"\x00\x05\x00\xfa\xfeHello\x00"], &[Err(Stop::Invalid)]),
        ("a reference before the beginning", BOTH, &[b"\xf2\x00\x11\x00\x00"], &[Err(Stop::Invalid)]),
        ("ends in a stored block", BOTH, &[b"\x00\x05\x00\xfa\xffHel"], &[Err(Stop::Invalid)]),
        ("ends before the empty block", BOTH, &[b"\x00\x05\x00\xfa\xffHello"], &[Err(Stop::Invalid)]),
        ("ends inside a fixed block", BOTH, &[b"\xf2\x48\xcd"], &[Err(Stop::Invalid)]),
        ("ends with the tail not cut off", BOTH, &[b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff"], &[Err(Stop::Invalid)]),
    ];
    for &(case, agreed, payloads, expected) in rows {
        println!("{case}");
        check(agreed, payloads, expected);
    }
}

#[test]
fn hello_is_compressed_as_in_the_rfc() {
    let (mut codec, mut codecs) = (Codec::new(BOTH, &CONFIG), Codecs::default());
    // §7.2.3.1, .2, .6.
    assert_eq!(codec.deflate(&mut codecs, b"Hello").unwrap(), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    assert_eq!(codec.deflate(&mut codecs, b"").unwrap(), b"\x00");
    assert_eq!(codec.deflate(&mut codecs, b"Hello").unwrap(), b"\xf2\x00\x11\x00\x00");
}

#[test]
fn what_is_short_or_does_not_shrink_is_sent_as_it_is() {
    let mut codecs = Codecs::default();
    let mut codec = Codec::new(NEITHER, &DeflateConfig { message_bytes_min: 64, ..CONFIG });
    assert_eq!(codec.deflate(&mut codecs, &[0; 63]), None);
    assert!(codec.deflate(&mut codecs, &[0; 64]).is_some());
    let noise = noise(1000);
    assert_eq!(codec.deflate(&mut codecs, &noise), None);
    // With takeover it is in our window, and so it must travel.
    assert!(Codec::new(BOTH, &CONFIG).deflate(&mut codecs, &noise).is_some());
}

/// Octets that do not shrink.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(len)
    .collect()
}

#[test]
fn output_that_just_fills_its_room_is_whole() {
    for len in (4000..4110).chain(8180..8200).chain([20_000, 3 << 20]) {
        // New room every time, since it grows and stays.
        let (mut codec, mut codecs) = (Codec::new(BOTH, &CONFIG), Codecs::default());
        let mut peer = Codec::new(BOTH, &CONFIG);
        for message in [noise(len), b"Hello".to_vec(), vec![0; len]] {
            let payload = codec.deflate(&mut codecs, &message).unwrap().to_vec();
            assert!(payload.len() <= message.len() + 32 + message.len() / 1000, "{} of {len}", payload.len());
            assert_eq!(inflate(&mut peer, &mut codecs, &payload, 1 << 20, 64 << 10, 4 << 20), Ok(message), "{len}");
        }
    }
}

#[test]
fn a_connection_holds_nothing_before_or_between_messages_without_takeover() {
    let mut codecs = Codecs::default();
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let mut codec = Codec::new(NEITHER, &CONFIG);
    let mut sink = Collect::new(100, 100);
    inflate_all(&mut codec, &mut codecs, &hello[..3], false, &mut sink).unwrap();
    assert_eq!(codec.memory_bytes(), Inflater::memory_bytes());
    inflate_all(&mut codec, &mut codecs, &hello[3..], true, &mut sink).unwrap();
    codec.deflate(&mut codecs, &[0; 100]).unwrap();
    assert_eq!(codec.memory_bytes(), 0);
    let shared = codecs.memory_bytes();
    assert!((300 << 10..500 << 10).contains(&shared), "{shared}");
    // Many connections later nothing more is held, except for other windows.
    for _ in 0..20 {
        let mut codec = Codec::new(NEITHER, &CONFIG);
        codec.deflate(&mut codecs, &[0; 100]).unwrap();
        inflate_all(&mut codec, &mut codecs, hello, true, &mut Collect::new(100, 100)).unwrap();
    }
    assert_eq!(codecs.memory_bytes(), shared);

    let mut codec = Codec::new(BOTH, &CONFIG);
    assert_eq!(codec.memory_bytes(), 0);
    inflate_all(&mut codec, &mut codecs, hello, true, &mut Collect::new(100, 100)).unwrap();
    assert_eq!(codec.memory_bytes(), Inflater::memory_bytes());
    codec.deflate(&mut codecs, hello).unwrap();
    assert!(codec.memory_bytes() > 300 << 10);
}

#[test]
fn idle_inflaters_are_kept_up_to_a_handful() {
    let mut codecs = Codecs::default();
    let mut many: Vec<Codec> = (0..20).map(|_| Codec::new(NEITHER, &CONFIG)).collect();
    for codec in &mut many {
        inflate_all(codec, &mut codecs, b"\xf2\x48", false, &mut Collect::new(10, 10)).unwrap();
    }
    for codec in &mut many {
        inflate_all(codec, &mut codecs, b"\xcd\xc9\xc9\x07\x00", true, &mut Collect::new(10, 10)).unwrap();
    }
    assert_eq!(codecs.memory_bytes(), 4 * Inflater::memory_bytes());
}

/// A GiB of zeros: blocks that repeat the zeros before them can be repeated.
fn bomb() -> (Vec<u8>, Vec<u8>) {
    let (mut codec, mut codecs) = (Codec::new(BOTH, &CONFIG), Codecs::default());
    let zeros = vec![0; 1 << 20];
    let mut piece = || [codec.deflate(&mut codecs, &zeros).unwrap(), &TAIL].concat();
    (piece(), piece().repeat(1023))
}

#[test]
fn a_bomb_ends_at_the_limit_and_one_buffer() {
    let (first, rest) = bomb();
    println!("{} octets", first.len() + rest.len());
    for (max, step) in [(0, 16 << 10), (1000, 1), (100_000, 16 << 10), ((1 << 20) + 5, 64 << 10)] {
        let (mut codec, mut codecs) = (Codec::new(NEITHER, &CONFIG), Codecs::default());
        let mut sink = Collect::new(step, max);
        let outcome = inflate_all(&mut codec, &mut codecs, &first, false, &mut sink)
            .and_then(|()| inflate_all(&mut codec, &mut codecs, &rest, true, &mut sink));
        assert_eq!(outcome, Err(Stop::TooBig));
        assert!((max + 1..=max + step).contains(&sink.seen), "{} {max} {step}", sink.seen);
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_none_too_many() {
    let (mut codec, mut codecs) = (Codec::new(NEITHER, &CONFIG), Codecs::default());
    let payload = codec.deflate(&mut codecs, &[7; 1000]).unwrap().to_vec();
    for step in [1, 8, 999, 1000, 1001] {
        assert_eq!(inflate(&mut codec, &mut codecs, &payload, 5, step, 1000), Ok(vec![7; 1000]));
        let mut short = Codec::new(NEITHER, &CONFIG);
        assert_eq!(inflate(&mut short, &mut codecs, &payload, 5, step, 999), Err(Stop::TooBig));
    }
}

#[test]
fn the_foreign_inflater_sees_a_reference_that_is_too_long() {
    // Noise of 300 octets, twice: the second half is a reference 300 octets back, which no 8-bit window holds.
    let noise: Vec<u8> = (0..300_u32).map(|at| (at * at * 31 / 7) as u8).collect();
    let twice = noise.repeat(2);
    let (mut codec, mut codecs) = (Codec::new(BOTH, &CONFIG), Codecs::default());
    let payloads = [codec.deflate(&mut codecs, &twice).unwrap().to_vec()];
    assert!(oracle::inflate(8, false, 1, &payloads)[0].is_err());
    assert_eq!(oracle::inflate(9, false, 1, &payloads), [Ok(twice)]);
}

/// Like what travels: words that come again, runs, noise.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["\"name\":", "\"value\":", "true,", "{\"id\":17,", "}", "wslab ", "βγδ"])
            .prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 0usize..3000).prop_map(|(octet, len)| vec![octet; len]),
        1 => (1usize..400, 1usize..40).prop_map(|(period, times)| {
            (0..period).map(|at| (at * at * 31 / 7) as u8).collect::<Vec<u8>>().repeat(times)
        }),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop_oneof![6 => message(), 1 => Just(Vec::new())], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 1000 }))]

    #[test]
    fn zlib_reads_what_we_write(
        messages in messages(), level in 0u8..=10, memory_level in 0u8..=10, window_bits in 9u8..=15, takeover: bool,
    ) {
        let agreed = Agreed { send_takeover: takeover, send_window_bits: window_bits, receive_takeover: false };
        let (mut codec, mut codecs) =
            (Codec::new(agreed, &DeflateConfig { level, memory_level, ..CONFIG }), Codecs::default());
        // Without takeover, what does not shrink is sent as it is.
        let sent: Vec<(Vec<u8>, Vec<u8>)> = messages
            .iter()
            .filter_map(|message| Some((message.clone(), codec.deflate(&mut codecs, message)?.to_vec())))
            .collect();
        prop_assert!(!takeover || sent.len() == messages.len());
        let payloads: Vec<Vec<u8>> = sent.iter().map(|(_, payload)| payload.clone()).collect();
        // One octet at a time: then zlib has its window, and nothing else, to look back into.
        let read = oracle::inflate(window_bits, takeover, 1, &payloads);
        for ((message, payload), read) in sent.iter().zip(read) {
            prop_assert_eq!(read.as_ref(), Ok(message), "{:02x?}", payload);
        }
    }

    #[test]
    fn a_window_of_8_bits_reads_what_we_write_with_9(messages in messages(), level in 1u8..=9, takeover: bool) {
        let offer = crate::proto::handshake::extensions::offers([&b"permessage-deflate; server_max_window_bits=8"[..]]);
        let mode = if takeover { DeflateMode::Takeover } else { DeflateMode::On };
        let config = DeflateConfig { level, mode, ..CONFIG };
        let (agreed, answer) = negotiation::accept(&offer.unwrap(), &config).unwrap();
        prop_assert!(answer.ends_with("server_max_window_bits=8"));
        let (mut codec, mut codecs) = (Codec::new(agreed, &config), Codecs::default());
        let sent: Vec<(Vec<u8>, Vec<u8>)> = messages
            .iter()
            .filter_map(|message| Some((message.clone(), codec.deflate(&mut codecs, message)?.to_vec())))
            .collect();
        let payloads: Vec<Vec<u8>> = sent.iter().map(|(_, payload)| payload.clone()).collect();
        let read = oracle::inflate(8, takeover, 1, &payloads);
        for ((message, _), read) in sent.iter().zip(read) {
            prop_assert_eq!(read.as_ref(), Ok(message));
        }
    }

    #[test]
    fn we_read_what_zlib_writes_however_it_is_cut(
        messages in messages(), level in 0u8..=9, memory_level in 1u8..=9, window_bits in 9u8..=15, takeover: bool,
        chop in 1usize..3000, step in prop_oneof![1usize..50, Just(16 << 10)],
    ) {
        let payloads = oracle::deflate(Foreign { level, memory_level, window_bits, takeover }, &messages);
        let agreed = Agreed { receive_takeover: takeover, ..BOTH };
        let (mut codec, mut codecs) = (Codec::new(agreed, &CONFIG), Codecs::default());
        for (message, payload) in messages.iter().zip(payloads) {
            let read = inflate(&mut codec, &mut codecs, &payload, chop, step, 1 << 20);
            prop_assert_eq!(read.as_ref(), Ok(message), "{:02x?}", payload);
        }
    }

    #[test]
    fn a_message_that_lacks_its_end_is_told(message in message(), level in 1u8..=9, cut in any::<prop::sample::Index>()) {
        let foreign = Foreign { level, memory_level: 8, window_bits: 15, takeover: false };
        let payload = &oracle::deflate(foreign, &[message])[0];
        let cut = cut.index(payload.len());
        let (mut codec, mut codecs) = (Codec::new(BOTH, &CONFIG), Codecs::default());
        let read = inflate(&mut codec, &mut codecs, &payload[..cut], 100, 100, 1 << 20);
        // Nothing at all reads as an empty message, and so does the header of a stored block (RFC 7692 §7.2.3.6).
        let is_empty = payload[..cut].is_empty() || payload[..cut] == [0];
        prop_assert!(is_empty || read == Err(Stop::Invalid), "{} of {:02x?}", cut, payload);
    }

    #[test]
    fn damage_is_an_error_or_another_message_and_never_a_panic(
        messages in messages(), level in 1u8..=9, takeover: bool, chop in 1usize..500,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let foreign = Foreign { level, memory_level: 8, window_bits: 15, takeover };
        let mut payloads = oracle::deflate(foreign, &messages);
        for (at, octet) in &damage {
            let payload = at.get_mut(&mut payloads);
            let at = at.index(payload.len());
            payload[at] ^= octet;
        }
        let (mut codec, mut codecs) =
            (Codec::new(Agreed { receive_takeover: takeover, ..BOTH }, &CONFIG), Codecs::default());
        for payload in &payloads {
            if inflate(&mut codec, &mut codecs, payload, chop, 100, 100_000).is_err() {
                break;
            }
        }
    }

    #[test]
    fn noise_is_an_error_or_a_message_whichever_way_it_is_cut(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = |chop, step| {
            inflate(&mut Codec::new(BOTH, &CONFIG), &mut Codecs::default(), &noise, chop, step, 1 << 20)
        };
        let whole = read(1 << 20, 16 << 10);
        for (chop, step) in [(1, 1), (2, 3), (3, 100), (64, 16 << 10)] {
            prop_assert_eq!(&read(chop, step), &whole, "chop {} step {}", chop, step);
        }
    }
}
