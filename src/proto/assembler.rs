//! Fragment reassembly (RFC 6455 §5.4, §8.1): payload chunks in, whole messages out. Sees no header's wire form, no mask,
//! no socket. Holds at most `message_bytes_max`, and O(1) a fragment. A message that arrived whole never comes here.

use super::{
    error::ProtocolError,
    frame::{FrameHeader, Opcode},
    pool::{Buffer, Pool},
    utf8::Utf8,
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

/// A message whose end has not been seen yet.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) kind: MessageKind,
    pub(super) buffer: Buffer,
    utf8: Utf8,
    /// Payload octets before the frame under way.
    frame_start: usize,
}

impl Assembly {
    pub(super) fn begin(kind: MessageKind, header: &FrameHeader, pool: &mut Pool) -> Self {
        Assembly { kind, buffer: pool.take(usize_of(header.len)), utf8: Utf8::default(), frame_start: 0 }
    }

    /// A further frame's header.
    pub(super) fn begin_frame(&mut self, header: &FrameHeader) {
        self.frame_start = self.buffer.len();
        self.buffer.reserve(usize_of(header.len));
    }

    /// Unmasked payload from elsewhere.
    ///
    /// # Errors
    /// Text that can not be UTF-8 any more, at the chunk that makes it so.
    pub(super) fn append(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        self.buffer.push(chunk);
        self.check(chunk)
    }

    /// Room to read payload into directly: at most `max` octets; the caller unmasks it, then calls [`Assembly::commit`].
    pub(super) fn spare(&mut self, max: usize) -> &mut [u8] {
        self.buffer.reserve(max);
        self.buffer.spare(max)
    }

    /// Counts `len` unmasked octets of the spare room as payload.
    ///
    /// # Errors
    /// As [`Assembly::append`].
    pub(super) fn commit(&mut self, len: usize) -> Result<(), ProtocolError> {
        let start = self.buffer.len();
        self.buffer.commit(len);
        match self.kind {
            MessageKind::Binary => Ok(()),
            MessageKind::Text => {
                let chunk = self.buffer.filled().get(start..).unwrap_or_default();
                self.utf8.push(chunk).map_err(|_| ProtocolError::InvalidUtf8)
            }
        }
    }

    /// The message's last octet is here.
    ///
    /// # Errors
    /// Text that ends inside a code point.
    pub(super) fn finish(&self) -> Result<(), ProtocolError> {
        if self.utf8.is_complete() { Ok(()) } else { Err(ProtocolError::InvalidUtf8) }
    }

    /// Payload of the frame under way, or of the last one.
    pub(super) fn frame(&self) -> &[u8] {
        self.buffer.filled().get(self.frame_start..).unwrap_or_default()
    }

    fn check(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        match self.kind {
            MessageKind::Binary => Ok(()),
            MessageKind::Text => self.utf8.push(chunk).map_err(|_| ProtocolError::InvalidUtf8),
        }
    }
}

/// Lengths were judged against `message_bytes_max`; on a machine whose memory is smaller than that, room is made as octets arrive.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
