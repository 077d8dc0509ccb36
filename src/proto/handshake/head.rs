//! A complete head as start line and header lines (RFC 9112 §2.1), for both roles. Knows no rule of the handshake.

use super::refusal::Refusal;
use super::scanner::HeadScanner;
use super::token;
use crate::proto::limits::{Limits, Role};

/// Header lines that find room on the stack. Browsers send about 15 with an upgrade.
const LINES_INLINE: usize = 32;

/// A head whose lines are told apart.
#[derive(Debug)]
pub(super) struct Head<'a> {
    start_line: &'a [u8],
    headers: &'a [httparse::Header<'a>],
}

/// Takes `octets` apart and hands the parts to `judge`, which sees them only while they are on the stack.
///
/// Stands on its own: it is as strict as [`HeadScanner`] also for octets that passed none.
pub(super) fn with_head<T, E: From<Refusal>>(
    octets: &[u8],
    role: Role,
    limits: &Limits,
    judge: impl FnOnce(Head<'_>) -> Result<T, E>,
) -> Result<T, E> {
    if octets.len() > limits.head_bytes_max {
        return Err(explain(octets, role, limits).into());
    }
    // RFC 9112 §2.2: one empty line may come before a request.
    let lines = if role == Role::Server { octets.strip_prefix(b"\r\n").unwrap_or(octets) } else { octets };
    let Some(line_count) = count_lines(lines) else {
        return Err(explain(octets, role, limits).into());
    };
    let Some((start_line, fields)) = split_line(lines) else {
        return Err(explain(octets, role, limits).into());
    };
    // RFC 9112 §3, §4: a reason phrase may hold tabs and octets from 0x80 on, a request line none of them.
    let start_class = if role == Role::Server { token::LINE } else { token::FIELD };
    if token::run(start_line, start_class) != start_line.len() {
        return Err(explain(octets, role, limits).into());
    }
    // Neither the start line nor the empty line at the end is a header line.
    let header_count = line_count.saturating_sub(2);
    if header_count > limits.head_lines_max {
        return Err(explain(octets, role, limits).into());
    }

    let mut inline = [httparse::EMPTY_HEADER; LINES_INLINE];
    let mut spilled;
    let slots = match inline.get_mut(..header_count) {
        Some(slots) => slots,
        None => {
            spilled = vec![httparse::EMPTY_HEADER; header_count];
            &mut spilled[..]
        }
    };
    match httparse::parse_headers(fields, slots) {
        Ok(httparse::Status::Complete((len, headers))) if len == fields.len() => judge(Head { start_line, headers }),
        _ => Err(explain(octets, role, limits).into()),
    }
}

impl<'a> Head<'a> {
    /// The first line, without its end.
    pub(super) fn start_line(&self) -> &'a [u8] {
        self.start_line
    }

    /// The values of all lines of one header, trimmed, in order. Names are compared without case (RFC 9110 §5.1).
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| token::trim(header.value))
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a header that may have one line.
    pub(super) fn at_most_one(&self, name: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() { Err(Refusal::Repeated { header: name }) } else { Ok(value) }
    }

    /// The value of a header that must have one line.
    pub(super) fn exactly_one(&self, name: &'static str) -> Result<&'a [u8], Refusal> {
        self.at_most_one(name)?.ok_or(Refusal::Missing { header: name })
    }

    /// Whether a list of tokens holds `word`, without case. A list that holds anything else than tokens is refused.
    pub(super) fn lists_token(&self, name: &'static str, word: &str) -> Result<bool, Refusal> {
        self.lists(name, word, token::is_token)
    }

    /// The same for a list of protocols, each `name` or `name/version` (RFC 9110 §7.8).
    pub(super) fn lists_protocol(&self, name: &'static str, word: &str) -> Result<bool, Refusal> {
        self.lists(name, word, |element| element.splitn(2, |&octet| octet == b'/').all(token::is_token))
    }

    fn lists(&self, name: &'static str, word: &str, is_element: impl Fn(&[u8]) -> bool) -> Result<bool, Refusal> {
        let mut found = false;
        for element in token::list(self.all(name)) {
            if !is_element(element) {
                return Err(Refusal::Invalid { header: name });
            }
            found |= element.eq_ignore_ascii_case(word.as_bytes());
        }
        Ok(found)
    }
}

/// `HTTP/1.1` and the like (RFC 9112 §2.3): one digit, a dot, one digit. The name is case-sensitive.
pub(super) fn http_version(text: &[u8]) -> Option<(u8, u8)> {
    match text.strip_prefix(b"HTTP/")? {
        &[major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => Some((major - b'0', minor - b'0')),
        _ => None,
    }
}

/// How many lines there are, if each ends in CRLF: httparse would take a lone LF too.
fn count_lines(octets: &[u8]) -> Option<usize> {
    let mut count = 0;
    for lf in memchr::memchr_iter(b'\n', octets) {
        if octets.get(lf.checked_sub(1)?) != Some(&b'\r') {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// The first line without its CRLF, and what follows.
fn split_line(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = octets.split_at_checked(memchr::memchr(b'\n', octets)? + 1)?;
    Some((line.strip_suffix(b"\r\n")?, rest))
}

/// The precise reason, in the scanner's words, for octets that are no head.
#[cold]
fn explain(octets: &[u8], role: Role, limits: &Limits) -> Refusal {
    HeadScanner::new(role).push(octets, limits).err().unwrap_or(Refusal::NotAHead)
}
