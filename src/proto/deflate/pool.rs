//! What all connections of one loop share: compressors and inflaters for messages that stand alone, and room for output.

use super::{
    deflater::{Deflater, Output, Shape},
    inflater::Inflater,
    quick::Quick,
};

/// Idle inflaters kept. More are in use only while as many compressed messages are under way.
const INFLATERS_MAX: usize = 4;

/// Compressors, inflaters and output room of one loop; made as they are needed.
///
/// Holds a small compressor for short messages (16 KiB), at most one of zlib for each window size that peers ask for (15
/// unless they ask), four idle inflaters, and output room: up to a MiB, or, until the next message, twice what the last
/// large one was compressed to.
#[derive(Debug, Default)]
pub struct Codecs {
    quick: Option<Quick>,
    deflaters: Vec<Deflater>,
    inflaters: Vec<Inflater>,
    output: Output,
}

impl Codecs {
    /// Heap held by compressors and idle inflaters.
    pub fn memory_bytes(&self) -> usize {
        let deflaters: usize = self.deflaters.iter().map(|deflater| deflater.shape().memory_bytes()).sum();
        let quick = self.quick.as_ref().map_or(0, |_| Quick::memory_bytes());
        quick + deflaters + self.inflaters.len() * Inflater::memory_bytes()
    }

    /// The compressor of that shape, with nothing in its window, and room for what it writes.
    pub(super) fn fresh_deflater(&mut self, shape: Shape) -> (Option<&mut Deflater>, &mut Output) {
        let at = self.deflaters.iter().position(|deflater| deflater.shape() == shape).unwrap_or_else(|| {
            self.deflaters.push(Deflater::new(shape));
            self.deflaters.len() - 1
        });
        let deflater = self.deflaters.get_mut(at);
        (deflater.map(|deflater| (deflater.reset(), deflater).1), &mut self.output)
    }

    /// The compressor for short messages at level 1, and room for what it writes.
    pub(super) fn quick(&mut self) -> (&mut Quick, &mut Output) {
        (self.quick.get_or_insert_with(Quick::new), &mut self.output)
    }

    pub(super) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// An inflater with nothing in its window.
    pub(super) fn take_inflater(&mut self) -> Inflater {
        self.inflaters.pop().unwrap_or_else(Inflater::new)
    }

    /// Takes an inflater back.
    pub(super) fn give_inflater(&mut self, mut inflater: Inflater) {
        if self.inflaters.len() < INFLATERS_MAX {
            inflater.reset();
            self.inflaters.push(inflater);
        }
    }
}
