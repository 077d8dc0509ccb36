//! Message in, compressed payload out (RFC 7692 §7.2.1).

use zlib_rs::{Deflate, DeflateFlush, Method, Strategy};

use super::TAIL;

/// zlib writes its flush marker twice when it is called again for the rest of it with six octets of room or fewer.
const ROOM_BYTES_MIN: usize = 64;
/// The first room for output; it grows from there.
const OUTPUT_BYTES_MIN: usize = 4 << 10;
/// Output room beyond this is given back at the next message.
const OUTPUT_BYTES_KEPT_MAX: usize = 1 << 20;

/// What a compressor is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) window_bits: u8,
    pub(super) level: u8,
    pub(super) memory_level: u8,
}

impl Shape {
    /// Heap that a compressor of this shape holds (zlib-rs 0.6): twice the window, its chains, a hash table of 65,536
    /// entries, blocks under way, and 3,200 octets of trees and state.
    pub(super) const fn memory_bytes(self) -> usize {
        (4 << self.window_bits) + (128 << 10) + (7 << (self.memory_level + 6)) + 3200
    }
}

/// Output room, initialised once and kept.
#[derive(Debug, Default)]
pub(super) struct Output {
    octets: Vec<u8>,
}

impl Output {
    /// Room for `len` octets, with whatever in it.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        self.trim();
        if self.octets.len() < len {
            self.octets.resize(len.max(OUTPUT_BYTES_MIN), 0);
        }
        &mut self.octets
    }

    fn trim(&mut self) {
        if self.octets.len() > OUTPUT_BYTES_KEPT_MAX {
            self.octets = Vec::new();
        }
    }

    /// The first `len` octets of the room.
    pub(super) fn written(&self, len: usize) -> Option<&[u8]> {
        self.octets.get(..len)
    }
}

/// Compresses one message after the other.
pub(super) struct Deflater {
    raw: Deflate,
    shape: Shape,
    /// Nothing was compressed since it was made or reset.
    is_fresh: bool,
}

impl Deflater {
    pub(super) fn new(shape: Shape) -> Self {
        // zlib-rs asserts on what it does not know: a raw stream of window 8 among it. A 9-bit compressor looks back
        // 2^9 − 262 = 250 octets at most, so it serves a window of 8 as well.
        let config = zlib_rs::DeflateConfig {
            level: i32::from(shape.level.clamp(1, 9)),
            method: Method::Deflated,
            window_bits: -i32::from(shape.window_bits.clamp(9, 15)),
            mem_level: i32::from(shape.memory_level.clamp(1, 9)),
            strategy: Strategy::Default,
        };
        Deflater { raw: Deflate::new_with_config(config), shape, is_fresh: true }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Forgets earlier messages.
    pub(super) fn reset(&mut self) {
        if !self.is_fresh {
            self.raw.reset();
            self.is_fresh = true;
        }
    }

    /// Compresses a message; the result is to be sent, since later messages may refer to it.
    ///
    /// `None`: it was not to be had (there is no such case known); earlier messages are forgotten, so that this one may be
    /// sent as it is.
    pub(super) fn compress<'o>(&mut self, payload: &[u8], output: &'o mut Output) -> Option<&'o [u8]> {
        // §7.2.3.6. A second flush without input in between would write nothing.
        if payload.is_empty() {
            return Some(&[0]);
        }
        self.is_fresh = false;
        output.trim();
        match self.flush(payload, &mut output.octets) {
            Some(len) => output.octets.get(..len),
            None => {
                self.reset();
                None
            }
        }
    }

    /// Octets written, without the tail.
    fn flush(&mut self, mut payload: &[u8], output: &mut Vec<u8>) -> Option<usize> {
        let mut len = 0;
        loop {
            if output.len() - len < ROOM_BYTES_MIN {
                output.resize((output.len() * 2).max(OUTPUT_BYTES_MIN), 0);
            }
            let room = output.get_mut(len..)?;
            let size = room.len();
            let (read, written) = (self.raw.total_in(), self.raw.total_out());
            self.raw.compress(payload, room, DeflateFlush::SyncFlush).ok()?;
            let (read, written) = ((self.raw.total_in() - read) as usize, (self.raw.total_out() - written) as usize);
            len += written;
            payload = payload.get(read..)?;
            // Room left: nothing waits for it. Nothing moved: nothing waits either.
            if written < size && (payload.is_empty() || read + written == 0) {
                break;
            }
        }
        if payload.is_empty() { output.get(..len)?.strip_suffix(&TAIL).map(<[u8]>::len) } else { None }
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("shape", &self.shape).finish_non_exhaustive()
    }
}
