//! Masking (RFC 6455 §5.3): XOR with a 4-octet key, resumable at any octet. In place or with a move, in safe Rust that the
//! compiler vectorises, long payload with the widest vectors the CPU has; a few per cent of an echo's cost at any size
//! (`cargo bench --bench core mask`).

use std::cell::Cell;

#[cfg(target_arch = "x86_64")]
use fearless_simd::{Level, Simd, dispatch, prelude::*};

/// A masking key as it stands on the wire.
pub type MaskKey = [u8; 4];

/// Masks or unmasks `payload` in place and returns the key turned so that it fits the next octet of the same frame.
///
/// ```
/// let key = [1, 2, 3, 4];
/// let mut whole = *b"Hello";
/// wslab::proto::mask(key, &mut whole);
/// let mut parts = *b"Hello";
/// let (head, tail) = parts.split_at_mut(3);
/// let next = wslab::proto::mask(key, head);
/// wslab::proto::mask(next, tail);
/// assert_eq!(whole, parts);
/// ```
#[inline]
pub fn mask(key: MaskKey, payload: &mut [u8]) -> MaskKey {
    if payload.len() < LONG_BYTES_MIN { mask_short(key, payload) } else { mask_long(key, payload) }
}

/// From how many octets on the CPU's widest vectors are worth a call and a look at which these are: 1 KiB takes 6.6 ns instead of
/// 11 (`core`, `mask`).
const LONG_BYTES_MIN: usize = 512;

#[inline]
fn mask_short(key: MaskKey, payload: &mut [u8]) -> MaskKey {
    let narrow = u32::from_ne_bytes(key);
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    let len = payload.len();
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        block.as_chunks_mut().0.iter_mut().for_each(|word| xor(word, wide));
    }
    if !rest.is_empty() {
        mask_rest(narrow, wide, rest);
    }
    turned(key, len)
}

#[inline(never)]
fn mask_long(key: MaskKey, payload: &mut [u8]) -> MaskKey {
    let len = payload.len();
    #[cfg(target_arch = "x86_64")]
    let payload = dispatch!(Level::new(), simd => mask_steps(simd, key, payload));
    mask_short(key, payload);
    turned(key, len)
}

/// As many whole steps of four vectors as there are; returns what is left, for which the key is as it was.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask_steps<S: Simd>(simd: S, [a, b, c, d]: MaskKey, payload: &mut [u8]) -> &mut [u8] {
    let key = [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d];
    let key = S::u8s::block_splat(<S::u8s as SimdBase<S>>::Block::from_slice(simd, &key));
    let mut steps = payload.chunks_exact_mut(4 * S::u8s::LEN);
    for step in &mut steps {
        for octets in step.chunks_exact_mut(S::u8s::LEN) {
            (S::u8s::from_slice(simd, octets) ^ key).store_slice(octets);
        }
    }
    steps.into_remainder()
}

/// Masks what lies behind the first `by` octets and moves it to their front, in one pass; returns it where it is then.
#[inline(always)]
pub(super) fn mask_to_front(key: MaskKey, octets: &mut [u8], by: usize) -> &mut [u8] {
    let narrow = u32::from_ne_bytes(key);
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    // Forwards, and each piece is read before it is written: what is still to be read lies behind.
    let cells = Cell::from_mut(&mut *octets).as_slice_of_cells();
    let from = cells.get(by..).unwrap_or_default();
    let len = from.len();
    let rest = move_masked::<32>(from, cells.get(..len).unwrap_or_default(), wide);
    if !rest.0.is_empty() {
        let rest = move_masked::<16>(rest.0, rest.1, wide);
        let (from, to) = move_masked::<8>(rest.0, rest.1, wide);
        for ((from, to), key) in from.iter().zip(to).zip(wide.to_ne_bytes()) {
            to.set(from.get() ^ key);
        }
    }
    octets.get_mut(..len).unwrap_or_default()
}

/// As many whole pieces as there are of two slices of one length; returns what is left of both.
#[inline(always)]
fn move_masked<'a, const OCTETS: usize>(
    from: &'a [Cell<u8>],
    to: &'a [Cell<u8>],
    wide: u64,
) -> (&'a [Cell<u8>], &'a [Cell<u8>]) {
    let (pieces, from) = from.as_chunks::<OCTETS>();
    let (places, to) = to.as_chunks::<OCTETS>();
    for (piece, place) in pieces.iter().zip(places) {
        let mut moved = piece.each_ref().map(Cell::get);
        moved.as_chunks_mut().0.iter_mut().for_each(|word| xor(word, wide));
        place.iter().zip(moved).for_each(|(place, octet)| place.set(octet));
    }
    (from, to)
}

/// Up to 31 octets, by halves: a short message is mostly such a rest.
#[inline]
fn mask_rest(narrow: u32, wide: u64, rest: &mut [u8]) {
    debug_assert!(rest.len() < 32, "at most one of each");
    let (halves, rest) = rest.as_chunks_mut::<16>();
    if let Some(half) = halves.first_mut() {
        half.as_chunks_mut().0.iter_mut().for_each(|word| xor(word, wide));
    }
    let (words, rest) = rest.as_chunks_mut();
    if let Some(word) = words.first_mut() {
        xor(word, wide);
    }
    let (words, rest) = rest.as_chunks_mut();
    if let Some(word) = words.first_mut() {
        *word = (u32::from_ne_bytes(*word) ^ narrow).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip(narrow.to_ne_bytes()) {
        *octet ^= key;
    }
}

#[inline(always)]
fn xor(word: &mut [u8; 8], wide: u64) {
    *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
}

/// The key for what lies so many octets further on in the frame.
#[inline]
pub(super) fn turned(key: MaskKey, octets: usize) -> MaskKey {
    u32::from_le_bytes(key).rotate_right(8 * (octets as u32 & 3)).to_le_bytes()
}

/// The key for what lies so many octets before.
#[cfg(target_arch = "x86_64")]
pub(super) fn turned_back(key: MaskKey, octets: usize) -> MaskKey {
    turned(key, octets.wrapping_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[cfg(target_arch = "x86_64")]
    fn vector_len<S: Simd>(_: S) -> usize {
        S::u8s::LEN
    }

    fn naive(key: MaskKey, payload: &mut [u8]) {
        for (at, octet) in payload.iter_mut().enumerate() {
            *octet ^= key[at % 4];
        }
    }

    #[test]
    fn rfc_6455_section_5_7_masked_hello() {
        let mut payload = *b"Hello";
        mask([0x37, 0xfa, 0x21, 0x3d], &mut payload);
        assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    proptest! {
        #[test]
        fn what_is_moved_to_the_front_is_masked_as_where_it_lay(
            key: MaskKey, payload in prop::collection::vec(any::<u8>(), 0..1500), by in 0usize..300,
        ) {
            let mut expected = payload.clone();
            naive(key, &mut expected);
            let mut octets = [&vec![0xaa; by], &payload[..]].concat();
            prop_assert_eq!(mask_to_front(key, &mut octets, by), &expected[..]);
        }

        #[test]
        #[cfg(target_arch = "x86_64")]
        fn long_payload_is_masked_alike_by_all_vectors(key: MaskKey, payload in prop::collection::vec(any::<u8>(), 0..1500)) {
            let mut expected = payload.clone();
            naive(key, &mut expected);
            let here = Level::new();
            let levels = [
                here.as_sse2().map(Level::Sse2),
                here.as_sse4_2().map(Level::Sse4_2),
                here.as_avx2().map(Level::Avx2),
                Some(here),
            ];
            for level in levels.into_iter().flatten() {
                let mut got = payload.clone();
                let left = dispatch!(level, simd => mask_steps(simd, key, &mut got)).len();
                let done = payload.len() - left;
                prop_assert!(left < dispatch!(level, simd => 4 * vector_len(simd)), "{level:?}");
                prop_assert!(got[..done] == expected[..done] && got[done..] == payload[done..], "{level:?}");
            }
        }

        #[test]
        fn any_cut_equals_the_octet_by_octet_definition(
            key: MaskKey, payload in prop::collection::vec(any::<u8>(), 0..1500), cuts in prop::collection::vec(0usize..1500, 0..6),
        ) {
            let mut expected = payload.clone();
            naive(key, &mut expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(payload.len())).collect();
            cuts.push(payload.len());
            cuts.sort_unstable();
            let (mut got, mut turned, mut from) = (payload, key, 0);
            for cut in cuts {
                turned = mask(turned, &mut got[from..cut]);
                from = cut;
            }
            prop_assert_eq!(got, expected);
        }
    }
}
