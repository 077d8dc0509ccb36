//! UTF-8 (RFC 3629, RFC 6455 §8.1) as it comes in, failing at the first octet that no continuation can mend. Holds nothing:
//! the up to three octets of an unfinished code point are presented again with what follows.

#[cfg(target_arch = "x86_64")]
mod blocks;

#[cfg(target_arch = "x86_64")]
use super::mask::turned_back;
use super::mask::{MaskKey, mask};

/// Text that breaks UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// How many octets at the front of the text are whole code points. Behind them lie at most three, of one that is unfinished: present
/// these again, with what comes behind them.
///
/// ```
/// use wslab::proto::whole_code_points;
/// assert_eq!(whole_code_points("aß".as_bytes()), Ok(3));
/// assert_eq!(whole_code_points(&[b'a', 0xf0, 0x9f]), Ok(1)); // half a code point: fine so far
/// assert!(whole_code_points(&[0xf0, 0x9f, 0x20]).is_err()); // which a space can not continue
/// ```
///
/// # Errors
/// At the first octet that makes the text invalid, not at the end of its code point.
pub fn whole_code_points(text: &[u8]) -> Result<usize, InvalidUtf8> {
    let (whole, begun) = text.split_at(text.len() - unfinished(text));
    // Up to a border between code points whatever is wrong is wrong for good: no need to know where.
    if is_utf8(whole) && may_become_utf8(begun) { Ok(whole.len()) } else { Err(InvalidUtf8) }
}

/// Unmasks text where it lies but for its first `unmasked` octets, at most three of an unfinished code point; then as
/// [`whole_code_points`] does. Long text is unmasked and looked at in one pass.
pub(super) fn unmask_text(key: MaskKey, text: &mut [u8], unmasked: usize) -> Result<usize, InvalidUtf8> {
    #[cfg(target_arch = "x86_64")]
    if let Some(long) = blocks::Long::new(text.len()) {
        // The others are masked again, so that all of it is.
        let key = turned_back(key, unmasked);
        mask(key, text.get_mut(..unmasked).unwrap_or_default());
        let is_legal = long.unmask(key, text);
        let whole = text.len() - unfinished(text);
        let is_legal = is_legal && may_become_utf8(text.get(whole..).unwrap_or_default());
        return if is_legal { Ok(whole) } else { Err(InvalidUtf8) };
    }
    mask(key, text.get_mut(unmasked..).unwrap_or_default());
    whole_code_points(text)
}

/// Whether all octets together are UTF-8, no code point unfinished at the end.
#[inline]
pub(super) fn is_utf8(octets: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(long) = blocks::Long::new(octets.len()) {
        return long.is_utf8(octets);
    }
    simdutf8::basic::from_utf8(octets).is_ok()
}

/// Whether up to three octets that begin a code point and do not end it can be continued.
fn may_become_utf8(begun: &[u8]) -> bool {
    std::str::from_utf8(begun).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// How many octets at the end, up to three, begin a code point and do not end it.
fn unfinished(octets: &[u8]) -> usize {
    let last = octets.iter().rev().take(3).position(|octet| octet & 0xc0 != 0x80);
    let Some(behind) = last else { return 0 };
    let needed = match octets.get(octets.len() - 1 - behind) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    if needed > behind + 1 { behind + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::mask::turned;

    /// Index of the octet at which the text fails; `None`: valid so far.
    fn fails_at(octets: &[u8]) -> Option<usize> {
        (0..octets.len()).find(|&at| whole_code_points(&octets[..=at]).is_err())
    }

    #[test]
    fn the_first_bad_octet_fails_not_the_last_of_its_code_point() {
        for (octets, at) in [
            (&b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90"[..], 12), // above U+10FFFF
            (b"\xed\xa0", 1),                                                   // surrogate
            (b"\xe0\x80", 1),                                                   // overlong
            (b"\xf0\x8f", 1),                                                   // overlong
            (b"\xc0", 0),
            (b"\xf5", 0),
            (b"\xff", 0),
            (b"a\x80", 1),
            (b"\xe2\x82\x20", 2),
        ] {
            assert_eq!(fails_at(octets), Some(at), "{octets:x?}");
        }
    }

    #[test]
    fn edges_of_the_code_space_are_valid() {
        for octets in [&b"\xf4\x8f\xbf\xbf"[..], b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbe", b"\xc2\x80", b"\0"]
        {
            assert_eq!(fails_at(octets), None, "{octets:x?}");
        }
    }

    #[test]
    fn a_bad_octet_is_found_in_a_text_of_any_length() {
        for len in [1, 100, 4095, 4096, 4097, 9000] {
            let mut text = vec![b'a'; len];
            assert!(is_utf8(&text), "{len} octets");
            for at in [0, len / 2, len - 1] {
                text[at] = 0xff;
                assert!(!is_utf8(&text) && whole_code_points(&text).is_err(), "{len} octets, at {at}");
                text[at] = b'a';
            }
        }
    }

    proptest! {
        #[test]
        fn any_cut_agrees_with_the_whole(
            octets in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                ".{0,60}".prop_map(String::into_bytes),
                (".{0,30}", any::<u8>(), ".{0,30}").prop_map(|(a, bad, b)| [a.as_bytes(), &[bad], b.as_bytes()].concat()),
            ],
            cut in 0usize..200,
        ) {
            let cut = cut.min(octets.len());
            let so_far = whole_code_points(&octets[..cut]);
            let result = so_far.and_then(|from| whole_code_points(&octets[from..]).map(|more| from + more));
            let whole = std::str::from_utf8(&octets);
            prop_assert_eq!(result == Ok(octets.len()), whole.is_ok());
            // Fail-fast: an error exactly when std knows of one that more octets can not mend.
            prop_assert_eq!(result.is_err(), whole.is_err_and(|error| error.error_len().is_some()));
        }

        #[test]
        fn text_unmasked_in_cuts_is_the_text_and_fails_where_it_fails_whole(
            words in prop::collection::vec(prop_oneof!["[ -~]{1,90}", ".{1,9}"], 1..400),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            exchanged in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            key: MaskKey,
        ) {
            let mut text = words.concat().into_bytes();
            if let Some((at, octet)) = exchanged {
                let at = at.index(text.len());
                text[at] = octet;
            }
            let mut masked = text.clone();
            mask(key, &mut masked);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let (mut from, mut whole) = (0, Ok(0));
            for cut in cuts {
                let Ok(checked) = whole else { break };
                let behind = &mut masked[checked..cut];
                whole = unmask_text(turned(key, from), behind, from - checked).map(|more| checked + more);
                prop_assert_eq!(&masked[..cut], &text[..cut]);
                from = cut;
            }
            prop_assert_eq!(whole, whole_code_points(&text));
        }
    }
}
