//! `Sec-WebSocket-Extensions` (RFC 6455 §9.1): the grammar of offers and answers. Which extension is agreed on,
//! and what its parameters mean, is decided elsewhere.

use std::borrow::Cow;

use super::token::{Cursor, Malformed};

/// One extension that is offered (or, in a response, agreed on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The extension's name, as sent; a token.
    pub name: &'a str,
    /// Its parameters in the order sent. A name may repeat: whether that is an error is the extension's own affair.
    pub params: Vec<Param<'a>>,
}

/// A parameter of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The parameter's name, as sent; a token.
    pub name: &'a str,
    /// Its value without quotes and escapes, a token; `None` for a bare parameter.
    pub value: Option<Cow<'a, str>>,
}

/// Reads the offers of all `Sec-WebSocket-Extensions` lines of one head, in order of preference.
///
/// Several lines mean the same as one with their values joined by commas (RFC 6455 §9.1). No line at all is an
/// empty list; so it is not an error to pass the lines of a head that has none.
///
/// # Errors
///
/// [`Malformed`] where the value leaves the grammar: an offer without name, a parameter without name or with an empty
/// value, a quoted string that is not closed or does not stand for a token, lines that hold no offer.
///
/// ```
/// use wslab::proto::handshake::extensions::offers;
///
/// let offers = offers([&b"permessage-deflate; client_max_window_bits, x-bzip; level=\"9\""[..]])?;
/// assert_eq!(offers[0].name, "permessage-deflate");
/// assert_eq!(offers[0].params[0].value, None);
/// assert_eq!(offers[1].params[0].value.as_deref(), Some("9"));
/// # Ok::<(), wslab::proto::handshake::token::Malformed>(())
/// ```
pub fn offers<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Offer<'a>>, Malformed> {
    let mut offers = Vec::new();
    let mut last = None;
    for (line, value) in lines.into_iter().enumerate() {
        let mut cursor = Cursor::new(value);
        if read_line(&mut cursor, &mut offers).is_none() {
            return Err(Malformed { line, at: cursor.at() });
        }
        last = Some(Malformed { line, at: cursor.at() });
    }
    match last {
        // §9.1: extension-list = 1#extension; a header that lists nothing is not one.
        Some(end) if offers.is_empty() => Err(end),
        _ => Ok(offers),
    }
}

/// `None` leaves the cursor where the grammar was left.
fn read_line<'a>(cursor: &mut Cursor<'a>, offers: &mut Vec<Offer<'a>>) -> Option<()> {
    loop {
        cursor.skip_whitespace();
        if cursor.at_end() {
            return Some(());
        }
        // RFC 9110 §5.6.1.2: an empty element is passed over.
        if cursor.eat(b',') {
            continue;
        }
        let name = cursor.token()?;
        let params = read_params(cursor)?;
        offers.push(Offer { name, params });
        if !cursor.at_end() && !cursor.eat(b',') {
            return None;
        }
    }
}

/// RFC 6455 inherits RFC 2616's implied whitespace (§2.1 there), so it may stand around `;` and `=`.
fn read_params<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<Param<'a>>> {
    let mut params = Vec::new();
    cursor.skip_whitespace();
    while cursor.eat(b';') {
        cursor.skip_whitespace();
        let name = cursor.token()?;
        cursor.skip_whitespace();
        let mut value = None;
        if cursor.eat(b'=') {
            cursor.skip_whitespace();
            value = Some(match cursor.token() {
                Some(token) => Cow::Borrowed(token),
                None => cursor.quoted_token()?,
            });
            cursor.skip_whitespace();
        }
        params.push(Param { name, value });
    }
    Some(params)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// `name;param=value;bare` a line of output per offer.
    fn render(offers: &[Offer<'_>]) -> Vec<String> {
        let render_param = |param: &Param<'_>| match &param.value {
            Some(value) => format!(";{}={value}", param.name),
            None => format!(";{}", param.name),
        };
        offers
            .iter()
            .map(|offer| offer.params.iter().map(render_param).fold(offer.name.to_owned(), |all, one| all + &one))
            .collect()
    }

    #[test]
    fn offers_keep_order_parameters_and_values() {
        #[rustfmt::skip]
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["permessage-deflate"], &["permessage-deflate"]),
            (&["foo, bar; baz=2"], &["foo", "bar;baz=2"]),         // §9.1's example
            (&["foo", "bar; baz=2"], &["foo", "bar;baz=2"]),       // the same over two lines
            (&["foo;a", "", "bar"], &["foo;a", "bar"]),
            (&["deflate-stream"], &["deflate-stream"]),            // §9.1
            (&["mux; max-channels=4; flow-control, deflate-stream"], &["mux;max-channels=4;flow-control", "deflate-stream"]),
            (&["private-extension"], &["private-extension"]),
            (&["permessage-deflate; client_max_window_bits; server_max_window_bits=10"], &["permessage-deflate;client_max_window_bits;server_max_window_bits=10"]),
            (&["permessage-deflate; server_max_window_bits=\"10\""], &["permessage-deflate;server_max_window_bits=10"]), // RFC 7692 §7.1
            (&["a;b=\"\\1\\5\""], &["a;b=15"]),
            (&["a;b;b"], &["a;b;b"]),
            (&["a;b=1;b=2"], &["a;b=1;b=2"]),
            (&["a,a"], &["a", "a"]),
            (&[" a\t;\tb = 1 , c "], &["a;b=1", "c"]),
            (&[",a,,b,"], &["a", "b"]),
            (&["A;B=C"], &["A;B=C"]),
            (&["a;b='1"], &["a;b='1"]), // an apostrophe is a token character
        ];
        for &(lines, expected) in rows {
            let read = offers(lines.iter().map(|line| line.as_bytes())).unwrap();
            assert_eq!(render(&read), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_offer_outside_the_grammar_is_told_by_line_and_octet() {
        #[rustfmt::skip]
        let rows: &[(&[&str], usize, usize)] = &[
            (&[""], 0, 0),
            (&[" , "], 0, 3),
            (&["", ","], 1, 1),
            (&[";a"], 0, 0),
            (&["a;"], 0, 2),
            (&["a; ;b"], 0, 3),
            (&["a b"], 0, 2),
            (&["a;b="], 0, 4),
            (&["a;b=,c"], 0, 4),
            (&["a;=1"], 0, 2),
            (&["a=1"], 0, 1),
            (&["a;b=1 2"], 0, 6),
            (&["a;b=\"1"], 0, 4),
            (&["a;b=\"\""], 0, 4),
            (&["a;b=\"1 2\""], 0, 4),
            (&["a;b=\"1\"2"], 0, 7),
            (&["a;b=(1)"], 0, 4),
            (&["a", "b/c"], 1, 1),
            (&["a;\"b\""], 0, 2),
            (&["\"a\""], 0, 0),
            (&["a;b=1;c=d=e"], 0, 9),
            (&["caf\u{e9}"], 0, 3),
        ];
        for &(lines, line, at) in rows {
            let read = offers(lines.iter().map(|line| line.as_bytes()));
            assert_eq!(read, Err(Malformed { line, at }), "{lines:?}");
        }
    }
}
