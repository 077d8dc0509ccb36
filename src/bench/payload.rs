//! What is sent, and whether what comes back is the same. Every message of a connection differs from the others by a number at its
//! front, so that echoes that were swapped, repeated or left out are noticed; the rest is the same, so that checking is one comparison.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::proto::MessageKind;

/// Octets of a message that tell it from others, at most.
const STAMP_BYTES: usize = 8;
/// Digits of a stamp in text: 6 bits each, all of them one octet of UTF-8.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// The octets of a message, and what of them changes from one to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    kind: MessageKind,
    octets: Vec<u8>,
    /// As many octets at the front carry the message's number.
    stamp_len: usize,
}

impl Payload {
    /// Random octets, or random letters and digits for a text. They do not compress.
    pub fn random(len: usize, text: bool, seed: u64) -> Payload {
        let mut octets = vec![0; len];
        StdRng::seed_from_u64(seed).fill_bytes(&mut octets);
        if text {
            octets.iter_mut().for_each(|octet| *octet = DIGITS[usize::from(*octet & 63)]);
        }
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        Payload { kind, octets, stamp_len: len.min(STAMP_BYTES) }
    }

    /// These octets, as they are, in every message: that echoes belong to their messages can not be seen then. `None`: they were to
    /// be a text and are none.
    pub fn fixed(octets: Vec<u8>, text: bool) -> Option<Payload> {
        if text && simdutf8::basic::from_utf8(&octets).is_err() {
            return None;
        }
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        Some(Payload { kind, octets, stamp_len: 0 })
    }

    /// Octets of a message.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether messages have none.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Message `number` of connection `lane`.
    #[inline]
    pub fn message(&mut self, lane: u32, number: u64) -> &[u8] {
        let stamp = self.stamp(lane, number);
        if let (Some(front), Some(stamp)) = (self.octets.get_mut(..self.stamp_len), stamp.get(..self.stamp_len)) {
            front.copy_from_slice(stamp);
        }
        &self.octets
    }

    /// Whether an answer is message `number` of connection `lane`.
    #[inline]
    pub fn is(&self, lane: u32, number: u64, answer: &[u8]) -> bool {
        let stamp = self.stamp(lane, number);
        answer.len() == self.octets.len()
            && answer.get(..self.stamp_len) == stamp.get(..self.stamp_len)
            && answer.get(self.stamp_len..) == self.octets.get(self.stamp_len..)
    }

    /// What an answer that is not the expected one looks like, in words.
    pub fn difference(&self, lane: u32, number: u64, answer: &[u8]) -> String {
        if answer.len() != self.octets.len() {
            return format!("an answer of {} octets to a message of {}", answer.len(), self.octets.len());
        }
        let stamp = self.stamp(lane, number);
        let expected = stamp.iter().take(self.stamp_len).chain(self.octets.iter().skip(self.stamp_len));
        let at = expected.zip(answer).position(|(ours, theirs)| ours != theirs).unwrap_or(0);
        if at < self.stamp_len {
            format!("an answer that differs from octet {at} on: another message's echo, or a greeting")
        } else {
            format!("an answer that differs from octet {at} on")
        }
    }

    /// The low octets count messages, so that even short ones differ from their neighbours; the high ones name the connection.
    #[inline]
    fn stamp(&self, lane: u32, number: u64) -> [u8; STAMP_BYTES] {
        let mark = number & 0xff_ffff_ffff | u64::from(lane) << 40;
        if self.kind == MessageKind::Binary {
            return mark.to_le_bytes();
        }
        let mark = number & 0xfff_ffff | u64::from(lane) << 28;
        std::array::from_fn(|digit| DIGITS[(mark >> (6 * digit)) as usize & 63])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_itself_and_none_of_its_neighbours() {
        for text in [false, true] {
            for len in [1, 2, 7, 8, 9, 64, 1000] {
                let mut payload = Payload::random(len, text, 7);
                let sent = payload.message(3, 1000).to_vec();
                assert_eq!(sent.len(), len);
                assert!(!text || sent.is_ascii());
                payload.message(3, 1001);
                assert!(payload.is(3, 1000, &sent), "{len} {text}");
                assert!(!payload.is(3, 1001, &sent), "{len} {text}");
                assert!(len < 8 || !payload.is(4, 1000, &sent), "{len} {text}: another connection's");
                for at in [0, len / 2, len - 1] {
                    let mut wrong = sent.clone();
                    wrong[at] ^= 1;
                    assert!(!payload.is(3, 1000, &wrong), "{len} {text} octet {at}");
                    assert!(payload.difference(3, 1000, &wrong).contains(&format!("octet {at} on")));
                }
                assert!(!payload.is(3, 1000, &sent[1..]) && payload.difference(3, 1000, &[]).contains("of 0 octets"));
            }
        }
    }

    #[test]
    fn octets_of_a_file_are_sent_as_they_are() {
        let mut payload = Payload::fixed(b"{\"a\":1}".to_vec(), true).unwrap();
        assert_eq!(payload.message(1, 2), b"{\"a\":1}");
        assert!(payload.is(9, 9, b"{\"a\":1}") && !payload.is(9, 9, b"{\"a\":2}"));
        assert_eq!(Payload::fixed(vec![0xff], true), None);
        let mut empty = Payload::random(0, true, 1);
        assert!(empty.message(0, 5).is_empty() && empty.is(0, 5, b"") && empty.is_empty());
    }
}
