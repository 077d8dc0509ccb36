//! Fragment reassembly (RFC 6455 §5.4, §8.1): payload chunks in, whole messages out. Sees no header's wire form, no socket; a mask
//! only of payload that was read straight to where its message lies. Holds at most `message_bytes_max`, and O(1) a fragment.
//! A message that arrived whole never comes here.

use super::{
    deflate::{Codec, Codecs, Inflation, Sink},
    error::ProtocolError,
    frame::{FrameHeader, Opcode},
    mask::{MaskKey, mask},
    pool::{Buffer, Pool},
    utf8::{unmask_text, whole_code_points},
};

/// The two types of message (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Octets.
    Binary,
}

impl MessageKind {
    /// The opcode of its first frame.
    pub const fn opcode(self) -> Opcode {
        match self {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }
}

/// What a compressed payload is expected to inflate to, for the first allocation only.
const INFLATES_TO: usize = 4;
/// Inflated octets between two judgements, at least and at most.
const INFLATE_STEP_BYTES_MIN: usize = 256;
const INFLATE_STEP_BYTES_MAX: usize = 64 << 10;

/// A message whose end has not been seen yet.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) kind: MessageKind,
    /// RSV1 stood on its first frame: what is held is inflated.
    pub(super) compressed: bool,
    pub(super) buffer: Buffer,
    /// Octets of text that are known to be whole code points; up to three of an unfinished one may lie behind.
    checked: usize,
    /// Payload octets before the frame under way.
    frame_start: usize,
    /// Where inflating stopped because the turn had done its share.
    pub(super) rest: Option<Rest>,
}

/// Payload that was decoded, and is not inflated yet: the next octets of the input, before any that are not decoded.
#[derive(Debug)]
pub(super) struct Rest {
    /// Of its frame.
    pub(super) header: FrameHeader,
    /// They are the frame's last.
    pub(super) ends: bool,
    /// There may be none, and still something to come of those before.
    pub(super) len: usize,
}

impl Assembly {
    pub(super) fn begin(kind: MessageKind, header: &FrameHeader, pool: &mut Pool) -> Self {
        let len = usize_of(header.len);
        let expected = if header.compressed { len.saturating_mul(INFLATES_TO) } else { len };
        Assembly {
            kind,
            compressed: header.compressed,
            buffer: pool.take(expected),
            checked: 0,
            frame_start: 0,
            rest: None,
        }
    }

    /// A further frame's header.
    pub(super) fn begin_frame(&mut self, header: &FrameHeader, pool: &mut Pool) {
        self.frame_start = self.buffer.len();
        if !self.compressed {
            pool.grow(&mut self.buffer, usize_of(header.len));
        }
    }

    /// Unmasked payload from elsewhere.
    ///
    /// # Errors
    /// Text that can not be UTF-8 any more, at the chunk that makes it so.
    pub(super) fn append(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        self.buffer.push(chunk);
        self.check()
    }

    /// Payload octets that count against `message_bytes_max` when a further frame's header is judged. Compressed frames
    /// count while they are inflated.
    pub(super) fn judged_len(&self) -> u64 {
        if self.compressed { 0 } else { self.buffer.len() as u64 }
    }

    /// Unmasked payload of a compressed message. `is_end`: its last octets. Pauses once that has come to `share` octets.
    ///
    /// # Errors
    /// As [`Assembly::append`]; payload that is not DEFLATE; a message that inflates beyond `message_bytes_max`.
    pub(super) fn inflate(
        &mut self,
        codec: &mut Codec,
        codecs: &mut Codecs,
        chunk: &[u8],
        is_end: bool,
        message_bytes_max: u64,
        share: usize,
    ) -> Result<Inflation, ProtocolError> {
        codec.inflate(codecs, chunk, is_end, &mut Inflated { message: self, max: message_bytes_max, share })
    }

    /// Room to read payload into directly: at most `max` octets. The caller counts them with [`Assembly::commit_masked`].
    pub(super) fn spare(&mut self, max: usize, pool: &mut Pool) -> &mut [u8] {
        pool.grow(&mut self.buffer, max);
        self.buffer.spare(max)
    }

    /// Counts `len` octets of the spare room as payload, and takes their mask off.
    ///
    /// # Errors
    /// As [`Assembly::append`].
    pub(super) fn commit_masked(&mut self, len: usize, key: Option<MaskKey>) -> Result<(), ProtocolError> {
        let Some(key) = key else { return self.commit(len) };
        let from = self.buffer.len();
        self.buffer.commit(len);
        let octets = self.buffer.filled_mut();
        match self.kind {
            MessageKind::Binary => {
                mask(key, octets.get_mut(from..).unwrap_or_default());
            }
            MessageKind::Text => {
                let behind = octets.get_mut(self.checked..).unwrap_or_default();
                self.checked +=
                    unmask_text(key, behind, from - self.checked).map_err(|_| ProtocolError::InvalidUtf8)?;
            }
        }
        Ok(())
    }

    /// Counts `len` unmasked octets of the spare room as payload.
    fn commit(&mut self, len: usize) -> Result<(), ProtocolError> {
        self.buffer.commit(len);
        self.check()
    }

    /// The message's last octet is here.
    ///
    /// # Errors
    /// Text that ends inside a code point.
    pub(super) fn finish(&self) -> Result<(), ProtocolError> {
        let is_whole = self.kind == MessageKind::Binary || self.checked == self.buffer.len();
        if is_whole { Ok(()) } else { Err(ProtocolError::InvalidUtf8) }
    }

    /// Payload of the frame under way, or of the last one.
    pub(super) fn frame(&self) -> &[u8] {
        self.buffer.filled().get(self.frame_start..).unwrap_or_default()
    }

    fn check(&mut self) -> Result<(), ProtocolError> {
        if self.kind == MessageKind::Text {
            let behind = self.buffer.filled().get(self.checked..).unwrap_or_default();
            self.checked += whole_code_points(behind).map_err(|_| ProtocolError::InvalidUtf8)?;
        }
        Ok(())
    }
}

/// Inflated octets on their way into a message: judged step by step, so that a bomb ends at the limit.
struct Inflated<'a> {
    message: &'a mut Assembly,
    max: u64,
    /// Octets of it that the turn may still make.
    share: usize,
}

impl Sink for Inflated<'_> {
    type Error = ProtocolError;

    fn room(&mut self) -> &mut [u8] {
        // One octet more than is allowed, to see that it comes.
        let most = usize_of(self.max).saturating_sub(self.message.buffer.len()).saturating_add(1);
        let step = most.min(self.share);
        self.message.buffer.room(INFLATE_STEP_BYTES_MIN.min(step), INFLATE_STEP_BYTES_MAX.min(step), most)
    }

    fn filled(&mut self, len: usize) -> Result<(), ProtocolError> {
        self.share = self.share.saturating_sub(len);
        self.message.commit(len)?;
        let len = self.message.buffer.len() as u64;
        if len > self.max { Err(ProtocolError::MessageTooBig { len, max: self.max }) } else { Ok(()) }
    }
}

/// Lengths were judged against `message_bytes_max`; on a machine whose memory is smaller than that, room is made as octets arrive.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
