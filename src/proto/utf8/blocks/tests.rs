use proptest::prelude::*;

use super::*;
use crate::proto::utf8::may_become_utf8;

/// Where this CPU has no AVX2 there is nothing to test.
fn check(octets: &[u8]) {
    let expected = std::str::from_utf8(octets);
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let begun = &octets[octets.len() - unfinished(octets)..];
    let may_go_on = expected.map_or_else(|error| error.error_len().is_none(), |_| true);
    for long in Long::all() {
        assert_eq!(long.is_utf8(octets), expected.is_ok(), "{long:?}, {} octets, {expected:?}", octets.len());
        let mut unmasked = octets.to_vec();
        mask(key, &mut unmasked);
        let is_legal = long.unmask(key, &mut unmasked);
        assert!(unmasked == octets, "{long:?}");
        let is_legal = is_legal && may_become_utf8(begun);
        assert_eq!(is_legal, may_go_on, "{long:?}, {} octets, {expected:?}", octets.len());
    }
}

/// Places for a few octets: at both ends, at borders of vectors, blocks and groups of blocks, and cut off by the text's end.
const PLACES: [usize; 13] = [
    0,
    1,
    30,
    61,
    62,
    63,
    64 * 64 - 3,
    64 * 64 - 2,
    64 * 64 - 1,
    64 * 65 - 1,
    TEXT_LEN - 3,
    TEXT_LEN - 2,
    TEXT_LEN - 1,
];
const TEXT_LEN: usize = 64 * 65 + 3;

/// Octets that differ in what they allow behind them, and all high halves that the later ones may have.
const FIRST: [u8; 19] =
    [0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff];
const LATER: [u8; 6] = [0x41, 0x80, 0x90, 0xa0, 0xb0, 0xc3];

#[test]
fn every_pair_of_octets_is_judged_as_by_the_standard_library() {
    // Zeros, or an octet's neighbours would hide that it alone is not ASCII.
    let mut text = vec![0; 64 * 2];
    for first in 0..=255 {
        for second in 0..=255 {
            // Across a border of blocks, and within one.
            for at in [63, 80] {
                text[at] = first;
                text[at + 1] = second;
                check(&text);
                text[at..at + 2].fill(0);
            }
        }
    }
}

#[test]
fn what_stands_at_a_border_is_judged_as_by_the_standard_library() {
    // A text may also end with a block, or behind it.
    let ends = (TEXT_LEN - 3..TEXT_LEN).flat_map(|len| (len - 3..len).map(move |at| (len, at)));
    for (len, at) in PLACES.into_iter().map(|at| (TEXT_LEN, at)).chain(ends) {
        let mut text = vec![b'a'; len];
        for first in FIRST {
            for rest in 0..LATER.len().pow(3) {
                let later = |n: u32| LATER[rest / LATER.len().pow(n) % LATER.len()];
                let octets = [first, later(0), later(1), later(2)];
                let there = &mut text[at..];
                let len = octets.len().min(there.len());
                there[..len].copy_from_slice(&octets[..len]);
                check(&text);
                text[at..][..len].fill(b'a');
            }
        }
    }
}

#[test]
fn a_text_may_end_anywhere_but_inside_a_code_point() {
    let text = "a€𝄞é".repeat(20 * 64);
    for len in (0..=260).chain(64 * 64 - 9..=64 * 64 + 80) {
        check(&text.as_bytes()[..len]);
    }
}

proptest! {
    #[test]
    fn any_text_with_any_octet_exchanged_is_judged_as_by_the_standard_library(
        words in prop::collection::vec(prop_oneof![5 => "[ -~]{1,40}", 1 => ".{1,9}"], 0..200),
        exchanged in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut text = words.concat().into_bytes();
        check(&text);
        for (at, octet) in exchanged {
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = octet;
            }
        }
        check(&text);
    }

    #[test]
    fn any_octets_are_judged_as_by_the_standard_library(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&octets);
    }
}
