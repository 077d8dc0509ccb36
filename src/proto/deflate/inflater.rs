//! Compressed payload in, message out, in steps that the receiver bounds (RFC 7692 §7.2.2).

use zlib_rs::{Inflate, InflateFlush, Status};

use super::TAIL;

/// The compressed payload is not what DEFLATE produces (RFC 1951), or ends in the middle of it.
///
/// Neither RFC names a close code for it. 1007 fits best: the frames are legal, but their payload is not consistent with
/// what they announce (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compressed payload that is not DEFLATE (RFC 7692 §7.2.2)")]
pub struct InvalidDeflate;

/// Where inflating stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Inflation {
    /// All of the input was taken, and all that was in it passed on.
    Done,
    /// The sink gave no room any more. What is behind `taken` octets of the input is to come again once it does: there may be nothing of
    /// it, and still something to pass on.
    Paused {
        /// Octets of the input.
        taken: usize,
    },
}

/// Where inflated octets go, and who says when it is enough: limits and UTF-8 are judged between steps, so that a
/// message of a few octets that would fill the memory ends at the limit.
pub trait Sink {
    /// What ends the message early.
    type Error: From<InvalidDeflate>;

    /// Room for the next step; none where it is enough for now. To find the octet too many, it reaches at least one octet past a limit.
    fn room(&mut self) -> &mut [u8];

    /// The first `len` octets of the room are payload now; may be none.
    ///
    /// # Errors
    /// The message is too long, or no text. The codec is not to be used any more.
    fn filled(&mut self, len: usize) -> Result<(), Self::Error>;
}

/// What a window of 2^15 octets costs beside itself: tables and state (zlib-rs 0.6).
const STATE_BYTES: usize = 14_784;

/// Inflates one message after the other.
pub(super) struct Inflater {
    raw: Inflate,
    place: Place,
    /// The room was filled: there may be more to pass on.
    is_full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No octet of the message was seen.
    Start,
    /// Within it.
    Inside,
    /// Behind a block with BFINAL set. What follows, if anything, is a new DEFLATE stream.
    Final,
}

impl Inflater {
    /// The window is the largest there is, whatever was agreed: zlib-rs allocates no less, and a peer that looks back
    /// farther than it promised does no harm.
    pub(super) fn new() -> Self {
        Inflater { raw: Inflate::new(false, 15), place: Place::Start, is_full: false }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.raw.reset(false);
        (self.place, self.is_full) = (Place::Start, false);
    }

    /// Heap held.
    pub(super) const fn memory_bytes() -> usize {
        (32 << 10) + STATE_BYTES
    }

    /// Takes the next octets of a message, cut anywhere.
    pub(super) fn push<S: Sink>(&mut self, input: &[u8], sink: &mut S) -> Result<Inflation, S::Error> {
        let mut taken = 0;
        while taken < input.len() || self.is_full {
            let room = sink.room();
            let size = room.len();
            if size == 0 {
                return Ok(Inflation::Paused { taken });
            }
            if self.place == Place::Final {
                // §7.2.3.4: a block with BFINAL ends a DEFLATE stream, not the message. Like zlib, we keep no window
                // beyond it: RFC 1951 knows of no reference from one stream into another.
                self.raw.reset(false);
            }
            self.place = Place::Inside;
            let rest = input.get(taken..).unwrap_or_default();
            let (read, written) = (self.raw.total_in(), self.raw.total_out());
            let status = self.raw.decompress(rest, room, InflateFlush::NoFlush);
            let (read, written) = ((self.raw.total_in() - read) as usize, (self.raw.total_out() - written) as usize);
            // What came before a breach counts: it may be the earlier one.
            sink.filled(written)?;
            taken += read;
            self.is_full = written == size;
            match status {
                Ok(Status::StreamEnd) => (self.place, self.is_full) = (Place::Final, false),
                // Input and room, but nothing moves.
                Ok(_) if read == 0 && written == 0 && taken < input.len() => return Err(InvalidDeflate.into()),
                Ok(_) => {}
                Err(_) => return Err(InvalidDeflate.into()),
            }
        }
        Ok(Inflation::Done)
    }

    /// The message's last octet was pushed, and all of it passed on. The next push begins another one, with this one in the window.
    ///
    /// # Errors
    /// What was cut off (§7.2.1) does not fit behind it: the message ended inside a block.
    pub(super) fn finish(&mut self) -> Result<(), InvalidDeflate> {
        match std::mem::replace(&mut self.place, Place::Start) {
            // A payload of no octets. §7.2.3.6 wants 0x00, but a compressor that is flushed twice writes nothing
            // the second time, and there is but one way to read it.
            Place::Start => Ok(()),
            // §7.2.3.4 wants a 0x00 behind it. Without, the message is no less complete.
            Place::Final => {
                self.raw.reset(false);
                Ok(())
            }
            Place::Inside => {
                // One octet more than the tail, and an order to stop between blocks: of a message that was whole,
                // exactly the tail is read, and gives nothing.
                let [a, b, c, d] = TAIL;
                let (read, written) = (self.raw.total_in(), self.raw.total_out());
                let status = self.raw.decompress(&[a, b, c, d, 0], &mut [0; 8], InflateFlush::Block);
                let (read, written) = (self.raw.total_in() - read, self.raw.total_out() - written);
                match status {
                    Ok(status) if read == TAIL.len() as u64 && written == 0 => {
                        if status == Status::StreamEnd {
                            self.raw.reset(false);
                        }
                        Ok(())
                    }
                    _ => Err(InvalidDeflate),
                }
            }
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("total_out", &self.raw.total_out()).finish_non_exhaustive()
    }
}
