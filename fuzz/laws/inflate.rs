//! Octets as a compressed message, cut at the place that the first octet names: no panic, no octet beyond the limit and a
//! step, and the same outcome as uncut.

use wslab::proto::deflate::{Agreed, Codec, Codecs, DeflateConfig, InvalidDeflate, Sink};

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
}

impl Sink for Message {
    type Error = Stop;

    fn room(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn filled(&mut self, len: usize) -> Result<(), Stop> {
        self.octets.extend_from_slice(&self.room[..len]);
        if self.octets.len() > LIMIT { Err(Stop::Limit) } else { Ok(()) }
    }
}

fn inflate(parts: &[&[u8]]) -> (Result<(), Stop>, Vec<u8>) {
    let agreed = Agreed { send_takeover: false, send_window_bits: 15, receive_takeover: true };
    let (mut codec, mut codecs) = (Codec::new(agreed, &DeflateConfig::DEFAULT), Codecs::default());
    let mut message = Message { octets: Vec::new(), room: [0; STEP] };
    let mut outcome = Ok(());
    for (at, part) in parts.iter().enumerate() {
        outcome = codec.inflate(&mut codecs, part, at + 1 == parts.len(), &mut message);
        if outcome.is_err() {
            break;
        }
    }
    (outcome, message.octets)
}

/// Panics where the law is broken.
pub(crate) fn check(input: &[u8]) {
    let Some((&cut, payload)) = input.split_first() else { return };
    let (whole, octets) = inflate(&[payload]);
    assert!(octets.len() <= LIMIT + STEP);
    let (head, tail) = payload.split_at(usize::from(cut).min(payload.len()));
    let (parts, by_parts) = inflate(&[head, tail]);
    assert_eq!(whole, parts);
    if whole.is_ok() {
        assert_eq!(octets, by_parts);
    }
}
