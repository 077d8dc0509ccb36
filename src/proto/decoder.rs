//! Frames out of a stream cut anywhere (RFC 6455 §5.2): octets in, payload chunks out, unmasked where they lie.
//! Knows no message: which frames belong together is the assembler's. Stores no payload.

use std::ops::Range;

use super::{
    error::ProtocolError,
    frame::{FrameHeader, Place},
    mask::{mask, turned},
};

/// A stretch of one frame's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The frame it belongs to. `header.mask` is spent: the chunk is unmasked already.
    pub header: FrameHeader,
    /// Where in the input the chunk lies; possibly empty. What is before it (a header) is consumed with it.
    pub at: Range<usize>,
    /// First chunk of its frame.
    pub begins: bool,
    /// Last chunk of its frame. A frame that arrived whole is one chunk that begins and ends.
    pub ends: bool,
}

/// Splits a stream into frames. Between calls it holds a header and a count, never payload.
///
/// ```
/// use wslab::proto::{FrameDecoder, Limits, Opcode, Place, Role};
/// let place = Place { role: Role::Server, message: None, deflate: false, limits: &Limits::DEFAULT };
/// let mut decoder = FrameDecoder::default();
/// let mut input = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
/// let chunk = decoder.decode(&mut input, &place).unwrap().unwrap();
/// assert_eq!(chunk.header.opcode, Opcode::Text);
/// assert!(chunk.begins && chunk.ends);
/// assert_eq!(&input[chunk.at], b"Hello");
/// ```
#[derive(Clone, Debug, Default)]
pub struct FrameDecoder {
    /// The frame under way and its payload octets still to come; its mask is turned to fit the next one.
    body: Option<(FrameHeader, u64)>,
}

impl FrameDecoder {
    /// Takes the next chunk from the front of `input`, which begins where the last chunk ended; the caller drops
    /// `input[..chunk.at.end]` and calls again. `None`: more octets are needed, and `input` (at most an unfinished
    /// header) must be presented again with them.
    ///
    /// # Errors
    /// At the first octet that breaks the protocol or a limit. The stream is then beyond recovery.
    #[inline]
    pub fn decode(&mut self, input: &mut [u8], place: &Place<'_>) -> Result<Option<Chunk>, ProtocolError> {
        let (mut header, left, start, begins) = match self.body {
            Some((header, left)) if !input.is_empty() => (header, left, 0, false),
            Some(_) => return Ok(None),
            None => match FrameHeader::judge(input, place)? {
                Some((header, size)) => (header, header.len, size, true),
                None => return Ok(None),
            },
        };
        let Some(payload) = input.get_mut(start..) else { return Ok(None) };
        let len = left.min(payload.len() as u64) as usize;
        if let (Some(key), Some(payload)) = (&mut header.mask, payload.get_mut(..len)) {
            *key = mask(*key, payload);
        }
        let left = left - len as u64;
        self.body = (left > 0).then_some((header, left));
        Ok(Some(Chunk { header, at: start..start + len, begins, ends: left == 0 }))
    }

    /// Counts payload of the frame under way that the caller unmasks elsewhere: the header, with the key for the first of these
    /// octets, and whether they are the frame's last. `None`: so much payload is not under way.
    ///
    /// ```
    /// # use wslab::proto::{FrameDecoder, Limits, Place, Role};
    /// # let place = Place { role: Role::Server, message: None, deflate: false, limits: &Limits::DEFAULT };
    /// let mut decoder = FrameDecoder::default();
    /// let mut input = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f];
    /// decoder.decode(&mut input, &place).unwrap().unwrap();
    /// assert_eq!(decoder.pass(5), None); // four are left
    /// let (header, ends) = decoder.pass(3).unwrap();
    /// assert_eq!((header.mask, ends), (Some([0xfa, 0x21, 0x3d, 0x37]), false));
    /// let (header, ends) = decoder.pass(1).unwrap();
    /// assert_eq!((header.mask, ends), (Some([0x37, 0xfa, 0x21, 0x3d]), true));
    /// assert_eq!((decoder.left(), decoder.pass(1)), (0, None));
    /// ```
    #[inline]
    pub fn pass(&mut self, len: usize) -> Option<(FrameHeader, bool)> {
        let (header, left) = self.body?;
        let left = left.checked_sub(len as u64)?;
        let next = FrameHeader { mask: header.mask.map(|key| turned(key, len)), ..header };
        self.body = (left > 0).then_some((next, left));
        Some((header, left == 0))
    }

    /// Payload octets still to come of the frame under way; 0 between frames.
    #[inline]
    pub fn left(&self) -> u64 {
        self.body.map_or(0, |(_, left)| left)
    }

    /// The frame under way.
    #[inline]
    pub fn header(&self) -> Option<&FrameHeader> {
        self.body.as_ref().map(|(header, _)| header)
    }
}
