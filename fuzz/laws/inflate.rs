//! Octets as a compressed message, cut at the place that the first octet names, and again with a pause behind every step: no panic, no
//! octet beyond the limit and a step, and the same outcome as uncut.

use wslab::proto::deflate::{Agreed, Codec, Codecs, DeflateConfig, Inflation, InvalidDeflate, Sink};

const LIMIT: usize = 1 << 20;
const STEP: usize = 4 << 10;

#[derive(Debug, PartialEq)]
enum Stop {
    Invalid,
    Limit,
}

impl From<InvalidDeflate> for Stop {
    fn from(_: InvalidDeflate) -> Self {
        Stop::Invalid
    }
}

struct Message {
    octets: Vec<u8>,
    room: [u8; STEP],
    /// Each second time there is no room.
    pauses: bool,
    gave_room: bool,
}

impl Sink for Message {
    type Error = Stop;

    fn room(&mut self) -> &mut [u8] {
        let pauses = self.pauses && self.gave_room;
        self.gave_room = !pauses;
        if pauses { &mut [] } else { &mut self.room }
    }

    fn filled(&mut self, len: usize) -> Result<(), Stop> {
        self.octets.extend_from_slice(&self.room[..len]);
        if self.octets.len() > LIMIT { Err(Stop::Limit) } else { Ok(()) }
    }
}

fn inflate(parts: &[&[u8]], pauses: bool) -> (Result<(), Stop>, Vec<u8>) {
    let agreed = Agreed { send_takeover: false, send_window_bits: 15, receive_takeover: true };
    let (mut codec, mut codecs) = (Codec::new(agreed, &DeflateConfig::DEFAULT), Codecs::default());
    let mut message = Message { octets: Vec::new(), room: [0; STEP], pauses, gave_room: false };
    for (at, part) in parts.iter().enumerate() {
        let mut part = *part;
        loop {
            match codec.inflate(&mut codecs, part, at + 1 == parts.len(), &mut message) {
                Ok(Inflation::Done) => break,
                Ok(Inflation::Paused { taken }) => part = &part[taken..],
                Err(stop) => return (Err(stop), message.octets),
            }
        }
    }
    (Ok(()), message.octets)
}

/// Panics where the law is broken.
pub(crate) fn check(input: &[u8]) {
    let Some((&cut, payload)) = input.split_first() else { return };
    let (whole, octets) = inflate(&[payload], false);
    assert!(octets.len() <= LIMIT + STEP);
    let (head, tail) = payload.split_at(usize::from(cut).min(payload.len()));
    for pauses in [false, true] {
        let (parts, by_parts) = inflate(&[head, tail], pauses);
        assert_eq!(whole, parts);
        if whole.is_ok() {
            assert_eq!(octets, by_parts);
        }
    }
}
