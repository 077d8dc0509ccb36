//! Incremental UTF-8 validation (RFC 3629, RFC 6455 §8.1): text in chunks of any size, failing at the first octet
//! that no valid continuation can follow. Holds at most three octets of an unfinished code point.

#[cfg(target_arch = "x86_64")]
mod blocks;

/// Whether all octets together are UTF-8, no code point unfinished at the end.
#[inline]
pub(super) fn is_utf8(octets: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if octets.len() >= blocks::TEXT_BYTES_MIN
        && let Some(is_utf8) = blocks::are_utf8(octets)
    {
        return is_utf8;
    }
    simdutf8::basic::from_utf8(octets).is_ok()
}

/// The octets are not UTF-8, whatever may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// Validates a stream of octets.
///
/// ```
/// let mut text = wslab::proto::Utf8::default();
/// assert!(text.push(&[0xf0, 0x9f]).is_ok()); // half a code point: fine so far
/// assert!(!text.is_complete());
/// assert!(text.push(&[0x20]).is_err()); // which a space can not continue
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    carry: [u8; 3],
    carried: u8,
}

impl Utf8 {
    /// Takes the next octets.
    ///
    /// # Errors
    /// At the first octet that makes the stream invalid (not at the end of its code point).
    pub fn push(&mut self, mut octets: &[u8]) -> Result<(), InvalidUtf8> {
        while self.carried > 0 {
            let Some((&next, rest)) = octets.split_first() else { return Ok(()) };
            octets = rest;
            self.resume(next)?;
        }
        // Up to a border between code points, whatever is wrong is wrong for good: no need to know where.
        let (whole, tail) = octets.split_at(octets.len() - unfinished(octets));
        if !is_utf8(whole) {
            return Err(InvalidUtf8);
        }
        tail.iter().try_for_each(|&next| self.resume(next))
    }

    /// Whether the stream may end here: no code point is unfinished.
    pub fn is_complete(&self) -> bool {
        self.carried == 0
    }

    /// One octet behind an unfinished code point of at most three octets, or the first of one.
    fn resume(&mut self, next: u8) -> Result<(), InvalidUtf8> {
        let held = usize::from(self.carried);
        let mut point = [0; 4];
        point[..3].copy_from_slice(&self.carry);
        point[held] = next;
        match std::str::from_utf8(&point[..=held]) {
            Ok(_) => self.carried = 0,
            Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
            // Three octets that are still a prefix are the most there can be, so the index is in bounds.
            Err(_) => {
                self.carry[held] = next;
                self.carried += 1;
            }
        }
        Ok(())
    }
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

    /// Index of the octet at which the stream fails, fed in these pieces; `None`: valid so far.
    fn fails_at(octets: &[u8]) -> Option<usize> {
        let mut text = Utf8::default();
        (0..octets.len()).find(|&at| text.push(&octets[at..=at]).is_err())
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
                assert!(!is_utf8(&text) && Utf8::default().push(&text).is_err(), "{len} octets, at {at}");
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
            let mut text = Utf8::default();
            let cut_result = text.push(&octets[..cut]).and_then(|()| text.push(&octets[cut..]));
            let whole = std::str::from_utf8(&octets);
            prop_assert_eq!(cut_result.is_ok() && text.is_complete(), whole.is_ok());
            // Fail-fast: an error exactly when std knows of one that more octets can not mend.
            prop_assert_eq!(cut_result.is_err(), whole.is_err_and(|error| error.error_len().is_some()));
        }
    }
}
