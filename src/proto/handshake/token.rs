//! Tokens, comma lists and quoted strings of header fields (RFC 9110 §5.5, §5.6). Knows no header by name.

use std::borrow::Cow;

/// `tchar` (RFC 9110 §5.6.2).
pub(super) const TCHAR: u8 = 1;
/// What a field value may hold: visible ASCII, space, tab, and octets from 0x80 on (RFC 9110 §5.5).
pub(super) const FIELD: u8 = 2;
/// Visible ASCII and space: what a request line may hold.
pub(super) const LINE: u8 = 4;

/// Classes of every octet, one bit a class.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let byte = octet as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        {
            class |= TCHAR;
        }
        if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
            class |= FIELD;
        }
        if matches!(byte, b' '..=b'~') {
            class |= LINE;
        }
        classes[octet] = class;
        octet += 1;
    }
    classes
};

/// Whether `octet` is in one of `classes`.
#[inline]
pub(super) fn is_in(octet: u8, classes: u8) -> bool {
    CLASSES[usize::from(octet)] & classes != 0
}

/// How many octets at the front of `octets` are in one of `classes`.
#[inline]
pub(super) fn run(octets: &[u8], classes: u8) -> usize {
    octets.iter().position(|&octet| !is_in(octet, classes)).unwrap_or(octets.len())
}

/// Whether `value` is a token (RFC 9110 §5.6.2): one or more of letters, digits and ``!#$%&'*+-.^_`|~``.
pub fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && run(value, TCHAR) == value.len()
}

/// `value` as text if it is a token.
pub fn as_token(value: &[u8]) -> Option<&str> {
    // A token is ASCII, so the conversion cannot fail.
    if is_token(value) { std::str::from_utf8(value).ok() } else { None }
}

/// Whether `value` may be sent as a field value: printable ASCII inside, nothing at the edges to be trimmed.
/// Stricter than RFC 9110 §5.5, which tolerates tabs and octets from 0x80 on.
pub fn is_field_value(value: &[u8]) -> bool {
    run(value, LINE) == value.len() && trim(value).len() == value.len()
}

/// `value` without whitespace (space, tab) at its edges (RFC 9110 §5.6.3).
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a comma list that may be spread over several header lines (RFC 9110 §5.3, §5.6.1), trimmed, in order.
/// Empty elements are passed over, as §5.6.1.2 asks. Elements are not judged, and quoted commas are not understood.
pub fn list<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines
        .into_iter()
        .flat_map(|line| line.split(|&octet| octet == b','))
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// A field value that breaks its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed at octet {at} of header line {line}")]
pub struct Malformed {
    /// Which of the header's lines, from 0.
    pub line: usize,
    /// The offset in that line's value.
    pub at: usize,
}

/// Reads one field value from its front.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Cursor { value, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.value.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.value.get(self.at..).unwrap_or_default()
    }

    /// Passes over spaces and tabs.
    pub(super) fn skip_whitespace(&mut self) {
        self.at += self.rest().iter().take_while(|&&octet| matches!(octet, b' ' | b'\t')).count();
    }

    /// Passes over `octet` if it is next.
    pub(super) fn eat(&mut self, octet: u8) -> bool {
        let next = self.rest().first() == Some(&octet);
        self.at += usize::from(next);
        next
    }

    /// Takes the token that is next.
    pub(super) fn token(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let token = as_token(rest.get(..run(rest, TCHAR))?)?;
        self.at += token.len();
        Some(token)
    }

    /// Takes the quoted string that is next, if what it stands for is a token (RFC 6455 §9.1 asks for no less).
    pub(super) fn quoted_token(&mut self) -> Option<Cow<'a, str>> {
        let body = self.rest().strip_prefix(b"\"")?;
        let plain_len = run(body, TCHAR);
        if body.get(plain_len) == Some(&b'"') {
            let token = as_token(body.get(..plain_len)?)?;
            self.at += plain_len + 2;
            return Some(Cow::Borrowed(token));
        }
        let mut unescaped = String::new();
        let mut octets = body.iter().enumerate();
        while let Some((offset, &octet)) = octets.next() {
            let meant = match octet {
                b'"' if unescaped.is_empty() => return None,
                b'"' => {
                    self.at += offset + 2;
                    return Some(Cow::Owned(unescaped));
                }
                b'\\' => *octets.next()?.1,
                _ => octet,
            };
            if !is_in(meant, TCHAR) {
                return None;
            }
            unescaped.push(char::from(meant));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::type_complexity)]

    use super::*;

    #[test]
    fn token_characters_are_those_of_the_rfc() {
        for octet in 0..=255_u8 {
            let listed = octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
            assert_eq!(is_token(&[octet]), listed, "octet {octet:#04x}");
        }
        assert!(!is_token(b""));
        assert!(!is_token(b"a b"));
        assert_eq!(as_token(b"graphql-ws"), Some("graphql-ws"));
        assert_eq!(as_token(b"caf\xc3\xa9"), None);
    }

    #[test]
    fn a_value_to_send_holds_no_control_octet_and_no_edge_space() {
        #[rustfmt::skip]
        let rows: &[(&[u8], bool)] = &[
            (b"", true),
            (b"a b", true),
            (b"wslab/0.1 (lab)", true),
            (b" a", false),
            (b"a ", false),
            (b"a\tb", false),
            (b"a\r\nSet-Cookie: b", false),
            (b"a\nb", false),
            (b"a\0b", false),
            (b"\x7f", false),
            (b"\xc3\xa9", false),
        ];
        for &(value, fits) in rows {
            assert_eq!(is_field_value(value), fits, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn lists_span_lines_and_pass_over_empty_elements() {
        #[rustfmt::skip]
        let rows: &[(&[&[u8]], &[&[u8]])] = &[
            (&[], &[]),
            (&[b""], &[]),
            (&[b" , \t,"], &[]),
            (&[b"a"], &[b"a"]),
            (&[b"a,b"], &[b"a", b"b"]),
            (&[b" a ,\tb\t"], &[b"a", b"b"]),
            (&[b"a,,b,"], &[b"a", b"b"]),
            (&[b"a, b", b"c"], &[b"a", b"b", b"c"]),
            (&[b"a", b"", b"a"], &[b"a", b"a"]),
            (&[b"a b, c"], &[b"a b", b"c"]),
        ];
        for &(lines, expected) in rows {
            assert_eq!(list(lines.iter().copied()).collect::<Vec<_>>(), expected, "{lines:?}");
        }
    }

    #[test]
    fn trim_takes_spaces_and_tabs_from_both_edges_only() {
        let rows: [(&[u8], &[u8]); 7] =
            [(b"", b""), (b" ", b""), (b" \t ", b""), (b"a", b"a"), (b" a", b"a"), (b"a\t", b"a"), (b"  a b ", b"a b")];
        for (value, expected) in rows {
            assert_eq!(trim(value), expected);
        }
    }

    #[test]
    fn a_quoted_string_must_stand_for_a_token() {
        #[rustfmt::skip]
        let rows: &[(&[u8], Option<(&str, usize)>)] = &[
            (br#""a""#, Some(("a", 3))),
            (br#""10"; b"#, Some(("10", 4))),
            (br#""\1\0""#, Some(("10", 6))),
            (br#""a\b""#, Some(("ab", 5))),
            (br#""""#, None),
            (br#"""#, None),
            (br#""a"#, None),
            (br#""a\"#, None),
            (br#""a b""#, None),
            (br#""a\ b""#, None),
            (br#""a\"b""#, None),
            (br#""a,b""#, None),
            (b"\"\xc3\xa9\"", None),
            (b"a", None),
            (b"", None),
        ];
        for &(value, expected) in rows {
            let mut cursor = Cursor::new(value);
            let read = cursor.quoted_token();
            assert_eq!(read.as_deref(), expected.map(|(token, _)| token), "{}", value.escape_ascii());
            assert_eq!(cursor.at(), expected.map_or(0, |(_, len)| len), "{}", value.escape_ascii());
        }
    }
}
