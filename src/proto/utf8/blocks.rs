//! Whether octets are UTF-8, and unmasking them on the way, for text of some length, where the CPU has AVX2 or AVX-512 (as of
//! Ice Lake; fearless_simd has no less of it). What is ASCII and what is not is asked of all blocks first, then only the others
//! are looked at: one block after the other, each with a branch of its own, costs a misprediction wherever the two alternate, as
//! they do in Latin script with accents or emoji (`cargo bench --bench core utf8`).
//!
//! The check of a block looks up what three halves of two neighbouring octets allow (J. Keiser, D. Lemire: Validating UTF-8 In Less
//! Than One Instruction Per Byte, 2021), without a table that is written down: it follows from [`BREACHES`].

use fearless_simd::{
    Level, Simd,
    prelude::*,
    x86::{Avx2, Avx512},
};

use super::unfinished;
use crate::proto::mask::{MaskKey, mask};

/// From how many octets on this is the faster way, or as fast: in 1 KiB of Cyrillic it takes 75 ns where simdutf8 takes 52 (`core`, `utf8`).
const TEXT_BYTES_MIN: usize = 4 << 10;

const BLOCK: usize = 64;
/// As many blocks as have their bits in a word.
const GROUP: usize = BLOCK * u64::BITS as usize;
/// A code point's octets before its last: what a block's first octets may depend on.
const BEFORE: usize = 3;

/// A block behind the octets before it.
type Window = [u8; BEFORE + BLOCK];

/// The means to check long text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Long {
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Long {
    /// `None`: so few octets are checked faster otherwise, or this CPU has not what it takes.
    #[inline]
    pub(super) fn new(octets: usize) -> Option<Self> {
        if octets < TEXT_BYTES_MIN {
            return None;
        }
        match Level::new() {
            Level::Avx512(simd) => Some(Long::Avx512(simd)),
            level => level.as_avx2().map(Long::Avx2),
        }
    }

    /// Each that this CPU has.
    #[cfg(test)]
    fn all() -> impl Iterator<Item = Self> {
        let level = Level::new();
        [level.as_avx2().map(Long::Avx2), level.as_avx512().map(Long::Avx512)].into_iter().flatten()
    }

    /// Whether all octets together are UTF-8 (RFC 3629).
    #[inline]
    pub(super) fn is_utf8(self, octets: &[u8]) -> bool {
        match self {
            Long::Avx2(simd) => simd.vectorize(
                #[inline(always)]
                || check(simd, octets),
            ),
            Long::Avx512(simd) => simd.vectorize(
                #[inline(always)]
                || check(simd, octets),
            ),
        }
    }

    /// Unmasks all octets, and says whether they are UTF-8 as far as their last whole code point; what is behind need not be right,
    /// and may be found wrong. One pass takes the mask off and asks what is ASCII, 4 KiB at a time, so that the check finds
    /// these in the nearest cache: with AVX2 10 of 89 µs an echoed MiB (`core`, `echo/text`).
    #[inline]
    pub(super) fn unmask(self, key: MaskKey, octets: &mut [u8]) -> bool {
        match self {
            Long::Avx2(simd) => simd.vectorize(
                #[inline(always)]
                || unmask_and_check(simd, key, octets),
            ),
            Long::Avx512(simd) => simd.vectorize(
                #[inline(always)]
                || unmask_and_check(simd, key, octets),
            ),
        }
    }
}

#[inline(always)]
fn check<S: Simd>(simd: S, octets: &[u8]) -> bool {
    let mut check = Check::new(simd);
    let mut begins = 0;
    for group in octets.as_chunks::<BLOCK>().0.chunks(GROUP / BLOCK) {
        let others = others(group.iter().map(|block| is_ascii(simd, block)));
        check.group(octets, begins, group.len(), others);
        begins += group.len() * BLOCK;
    }
    check.rest(octets, begins);
    check.is_utf8()
}

#[inline(always)]
fn unmask_and_check<S: Simd>(simd: S, key: MaskKey, octets: &mut [u8]) -> bool {
    let mut check = Check::new(simd);
    let mut begins = 0;
    loop {
        let group = octets.get_mut(begins..).unwrap_or_default();
        let len = group.len().min(GROUP);
        let (blocks, rest) = group.get_mut(..len).unwrap_or_default().as_chunks_mut::<BLOCK>();
        let others = others(blocks.iter_mut().map(|block| is_ascii_unmasked(simd, key, block)));
        let blocks = blocks.len();
        mask(key, rest);
        check.group(octets, begins, blocks, others);
        begins += blocks * BLOCK;
        if len < GROUP {
            break;
        }
    }
    let whole = octets.len() - unfinished(octets);
    // Else an unfinished code point begins in the last block, which may be left open, and there is no rest to check.
    if whole >= begins {
        check.rest(octets.get(..whole).unwrap_or_default(), begins);
    }
    check.is_utf8()
}

/// A bit for each block that is not ASCII.
#[inline(always)]
fn others(are_ascii: impl Iterator<Item = bool>) -> u64 {
    are_ascii.enumerate().fold(0, |others, (at, is_ascii)| others | u64::from(!is_ascii) << at)
}

/// What is known of the text so far.
struct Check<S: Simd> {
    simd: S,
    /// Zero where nothing was wrong.
    found: S::u8s,
    /// The last block ends inside a code point.
    was_open: u64,
    /// Blocks that do not go on with what the one before left open.
    cut_off: u64,
}

impl<S: Simd> Check<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        Check { simd, found: S::u8s::splat(simd, 0), was_open: 0, cut_off: 0 }
    }

    /// The next blocks, up to 64, of which `others` are not ASCII.
    #[inline(always)]
    fn group(&mut self, octets: &[u8], begins: usize, blocks: usize, others: u64) {
        let Some(last) = blocks.checked_sub(1) else { return };
        let mut edge = [0; BEFORE + BLOCK];
        let (mut left, mut open) = (others, 0);
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let window = window(octets, begins + at as usize * BLOCK, &mut edge);
            self.found |= breaches(self.simd, window);
            open |= u64::from(is_open(window)) << at;
        }
        // What a block leaves open, the next must go on with; one that is not ASCII was visited, and has looked back.
        self.cut_off |= (open << 1 | self.was_open) & !others & (u64::MAX >> (63 - last));
        self.was_open = open >> last & 1;
    }

    /// The rest, less than a block, perhaps nothing, with zeros behind it: these end whatever is open.
    #[inline(always)]
    fn rest(&mut self, octets: &[u8], begins: usize) {
        self.found |= breaches(self.simd, window(octets, begins, &mut [0; BEFORE + BLOCK]));
    }

    #[inline(always)]
    fn is_utf8(&self) -> bool {
        self.cut_off == 0 && !self.found.simd_gt(0).any_true()
    }
}

/// The block that begins there, or, where the text does not reach far enough on both sides, a copy in `edge` with zeros.
#[inline(always)]
fn window<'a>(octets: &'a [u8], begins: usize, edge: &'a mut Window) -> &'a Window {
    if let Some(whole) = begins.checked_sub(BEFORE).and_then(|from| octets.get(from..)?.first_chunk()) {
        return whole;
    }
    let before = begins.min(BEFORE);
    let there = octets.get(begins - before..).unwrap_or_default();
    let there = there.get(..before + BLOCK).unwrap_or(there);
    *edge = [0; BEFORE + BLOCK];
    if let Some(place) = edge.get_mut(BEFORE - before..BEFORE - before + there.len()) {
        place.copy_from_slice(there);
    }
    edge
}

#[inline(always)]
fn is_ascii<S: Simd>(simd: S, block: &[u8; BLOCK]) -> bool {
    let vectors = block.chunks_exact(S::u8s::LEN).map(|octets| S::u8s::from_slice(simd, octets));
    let all = vectors.fold(S::u8s::splat(simd, 0), |all, octets| all | octets);
    !all.simd_ge(0x80).any_true()
}

#[inline(always)]
fn is_ascii_unmasked<S: Simd>(simd: S, key: MaskKey, block: &mut [u8; BLOCK]) -> bool {
    let [a, b, c, d] = key;
    let key = <S::u8s as SimdBase<S>>::Block::from_slice(simd, &[a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
    let key = S::u8s::block_splat(key);
    let mut all = S::u8s::splat(simd, 0);
    for octets in block.chunks_exact_mut(S::u8s::LEN) {
        let unmasked = S::u8s::from_slice(simd, octets) ^ key;
        unmasked.store_slice(octets);
        all |= unmasked;
    }
    !all.simd_ge(0x80).any_true()
}

/// Whether the block ends inside a code point.
#[inline(always)]
fn is_open(window: &Window) -> bool {
    let [.., third, second, last] = *window;
    // No branches: who knows how text ends.
    (third >= 0xf0) | (second >= 0xe0) | (last >= 0xc0)
}

/// A vector that is zero where nothing in the block is wrong.
#[inline(always)]
fn breaches<S: Simd>(simd: S, window: &Window) -> S::u8s {
    let table = |halves: [u8; 16]| S::u8s::block_splat(<S::u8s as SimdBase<S>>::Block::from_slice(simd, &halves));
    let tables = const { [table_of(0), table_of(1), table_of(2)] }.map(table);
    let mut found = S::u8s::splat(simd, 0);
    for at in (0..BLOCK).step_by(S::u8s::LEN) {
        let back = |octets: usize| S::u8s::from_slice(simd, &window[at + BEFORE - octets..][..S::u8s::LEN]);
        let (octet, before) = (back(0), back(1));
        let [high, low, next] = tables;
        let pairs = high.swizzle_dyn_within_blocks(before >> 4)
            & low.swizzle_dyn_within_blocks(before & 0x0f)
            & next.swizzle_dyn_within_blocks(octet >> 4);
        // The third octet of three, the third and fourth of four follow a continuation rightly: the highest bit is theirs.
        let may_go_on = back(2).saturating_sub(S::u8s::splat(simd, 0xe0 - 0x80))
            | back(3).saturating_sub(S::u8s::splat(simd, 0xf0 - 0x80));
        found |= pairs ^ (may_go_on & 0x80);
    }
    found
}

/// What two neighbours may not be, as sets of halves: of the first octet's high half, of its low half, of the second's high half.
/// The last is no breach where a code point has more octets than two.
const BREACHES: [[u16; 3]; 8] = [
    [halves(0x0, 0x7), halves(0x0, 0xf), CONTINUATION], // nothing to continue
    [halves(0xc, 0xf), halves(0x0, 0xf), !CONTINUATION], // nothing continues
    [halves(0xc, 0xc), halves(0x0, 0x1), CONTINUATION], // two octets for one
    [halves(0xe, 0xe), halves(0x0, 0x0), halves(0x8, 0x9)], // three for two
    [halves(0xe, 0xe), halves(0xd, 0xd), halves(0xa, 0xb)], // surrogates
    [halves(0xf, 0xf), halves(0x0, 0x0) | halves(0x5, 0xf), halves(0x8, 0x8)], // four for three; beyond U+10FFFF
    [halves(0xf, 0xf), halves(0x4, 0xf), halves(0x9, 0xb)], // beyond U+10FFFF
    [CONTINUATION, halves(0x0, 0xf), CONTINUATION],     // two continuations
];

const CONTINUATION: u16 = halves(0x8, 0xb);

const fn halves(first: u32, last: u32) -> u16 {
    (u16::MAX << first) & (u16::MAX >> (15 - last))
}

/// For each value of one of the three halves the breaches that it may be part of, a bit each.
const fn table_of(half: usize) -> [u8; 16] {
    let mut table = [0; 16];
    let mut at = 0;
    while at < 16 * BREACHES.len() {
        let (value, breach) = (at / BREACHES.len(), at % BREACHES.len());
        table[value] |= ((BREACHES[breach][half] >> value & 1) as u8) << breach;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests;
