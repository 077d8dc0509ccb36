//! What a request is for: its target (RFC 9112 §3.2) and the authority in `Host` (RFC 9110 §7.2, RFC 3986 §3.2).

use core::net::Ipv6Addr;

/// A request target, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The authority of the absolute form; `None` for a mere path.
    pub(super) authority: Option<&'a str>,
    /// Path and query as sent. Empty, or beginning with `?`, only in the absolute form.
    resource: &'a str,
}

impl<'a> Target<'a> {
    /// Judges a target. `None` for the asterisk and authority forms, which belong to OPTIONS and CONNECT, and for octets that no target holds.
    pub(super) fn parse(target: &'a [u8]) -> Option<Self> {
        if !is_resource(target) {
            return None;
        }
        let target = std::str::from_utf8(target).ok()?;
        if target.starts_with('/') {
            return Some(Target { authority: None, resource: target });
        }
        // RFC 9112 §3.2.2: a server accepts the absolute form. RFC 6455 §4.1, 2 knows http and https; ws and wss is what some clients send.
        let (scheme, rest) = target.split_once("://")?;
        if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let (authority, resource) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
        is_authority(authority.as_bytes()).then_some(Target { authority: Some(authority), resource })
    }

    /// Path and query; the path is never empty (RFC 6455 §3: an empty one means `/`).
    pub(super) fn resource(&self) -> Box<str> {
        if self.resource.starts_with('/') { self.resource.into() } else { format!("/{}", self.resource).into() }
    }

    /// The path without query.
    pub(super) fn path(&self) -> &'a str {
        let (path, _query) = self.resource.split_once('?').unwrap_or((self.resource, ""));
        if path.is_empty() { "/" } else { path }
    }
}

/// Whether every octet may stand in a path or query, and every `%` begins an escape (RFC 3986 §3.3, §3.4).
///
/// Looser than RFC 3986 in one thing: ``[]\^`{|}`` pass, since browsers send them as they are (WHATWG URL §1.3).
/// A fragment never travels (RFC 6455 §3).
pub(super) fn is_resource(text: &[u8]) -> bool {
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        let legal = match octet {
            b'%' => (0..2).all(|_| octets.next().is_some_and(u8::is_ascii_hexdigit)),
            b'"' | b'#' | b'<' | b'>' => false,
            _ => octet.is_ascii_graphic(),
        };
        if !legal {
            return false;
        }
    }
    true
}

/// Whether `text` is `host` or `host:port`, with a host that is not empty (RFC 9110 §4.2.1) and no user name (§4.2.4).
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host_is_valid, port) = if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else {
            return false;
        };
        (rest.get(..end).is_some_and(is_ip_literal), rest.get(end + 1..).unwrap_or_default())
    } else {
        let (host, port) = text.split_at(memchr::memchr(b':', text).unwrap_or(text.len()));
        (is_registered_name(host), port)
    };
    host_is_valid && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// RFC 3986 §3.2.3: `*DIGIT`, so it may be empty. Stricter: a TCP port.
fn is_port(digits: &[u8]) -> bool {
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        Some(value.saturating_mul(10).saturating_add(digit))
    });
    value.is_some_and(|port| port <= u32::from(u16::MAX))
}

/// RFC 3986 §3.2.2, `reg-name` (and `IPv4address`, which looks like one). Stricter: not empty.
fn is_registered_name(host: &[u8]) -> bool {
    let mut octets = host.iter();
    while let Some(&octet) = octets.next() {
        let legal = match octet {
            b'%' => (0..2).all(|_| octets.next().is_some_and(u8::is_ascii_hexdigit)),
            _ => is_unreserved_or_sub_delim(octet),
        };
        if !legal {
            return false;
        }
    }
    !host.is_empty()
}

/// RFC 3986 §3.2.2: `IPv6address` or `IPvFuture`, without the brackets.
fn is_ip_literal(inner: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = inner {
        let (version, address) = rest.split_at(memchr::memchr(b'.', rest).unwrap_or(rest.len()));
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && address.len() > 1
            && address.iter().all(|&octet| octet == b':' || is_unreserved_or_sub_delim(octet));
    }
    std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// RFC 3986 §2.2, §2.3.
fn is_unreserved_or_sub_delim(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_or_absolute_urls() {
        // target, authority, resource, path
        #[rustfmt::skip]
        let rows: &[(&str, Option<&str>, &str, &str)] = &[
            ("/", None, "/", "/"),
            ("/ws", None, "/ws", "/ws"),
            ("/ws?a=1&b=2", None, "/ws?a=1&b=2", "/ws"),
            ("/?", None, "/?", "/"),
            ("/a?b?c/d", None, "/a?b?c/d", "/a"),
            ("//a//b", None, "//a//b", "//a//b"),
            ("/caf%C3%A9", None, "/caf%C3%A9", "/caf%C3%A9"),
            ("/a?b={[|]}", None, "/a?b={[|]}", "/a"),
            ("/x|y[0]\\^`{}", None, "/x|y[0]\\^`{}", "/x|y[0]\\^`{}"),
            ("/a;b=c,d:e@f!$&'()*+~-._", None, "/a;b=c,d:e@f!$&'()*+~-._", "/a;b=c,d:e@f!$&'()*+~-._"),
            ("/http://lab/", None, "/http://lab/", "/http://lab/"),
            ("http://lab", Some("lab"), "/", "/"),
            ("http://lab/", Some("lab"), "/", "/"),
            ("http://lab:8888/ws?x", Some("lab:8888"), "/ws?x", "/ws"),
            ("http://lab?x=1", Some("lab"), "/?x=1", "/"),
            ("HTTPS://LAB/ws", Some("LAB"), "/ws", "/ws"),
            ("ws://127.0.0.1:8888/ws", Some("127.0.0.1:8888"), "/ws", "/ws"),
            ("wss://[::1]:8889/wss", Some("[::1]:8889"), "/wss", "/wss"),
            ("http://lab/a://b", Some("lab"), "/a://b", "/a://b"),
        ];
        for &(text, authority, resource, path) in rows {
            let target = Target::parse(text.as_bytes());
            let read = target.map(|target| (target.authority, target.resource(), target.path()));
            assert_eq!(read, Some((authority, resource.into(), path)), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        #[rustfmt::skip]
        let rows: &[&[u8]] = &[
            b"",
            b"*",               // RFC 9112 §3.2.4: OPTIONS only
            b"lab:80",          // §3.2.3: CONNECT only
            b"lab",
            b"ws",
            b"?a",
            b"#",
            b"/#a",             // a fragment
            b"/a#",
            b"/a b",
            b"/a\tb",
            b"/\0",
            b"/\x7f",
            b"/caf\xc3\xa9",
            b"/\"",
            b"/<a>",
            b"/%",
            b"/%4",
            b"/%4g",
            b"/%%41",
            b"ftp://lab/",
            b"http:/lab/",
            b"http:///ws",
            b"http://",
            b"http://?a",
            b"http://:80/",
            b"http://user@lab/", // RFC 9110 §4.2.4
            b"http://lab:port/",
            b"http://lab:65536/",
            b"http://[::1/",
            b"://lab/",
        ];
        for target in rows {
            assert_eq!(Target::parse(target), None, "{}", target.escape_ascii());
        }
    }

    #[test]
    fn authorities_are_a_host_and_perhaps_a_port() {
        #[rustfmt::skip]
        let rows: &[(&str, bool)] = &[
            ("lab", true),
            ("LAB.example.", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8888", true),
            ("localhost:0", true),
            ("localhost:65535", true),
            ("localhost:00080", true),
            ("localhost:", true), // RFC 3986 §3.2.3
            ("a_b-c~d", true),
            ("xn--bcher-kva.example", true),
            ("caf%C3%A9", true),
            ("[::1]", true),
            ("[::1]:8889", true),
            ("[2001:db8::ff00:42:8329]", true),
            ("[::ffff:192.0.2.1]", true),
            ("[v1.fe80::a]", true),
            ("", false),
            (":80", false),
            ("lab:65536", false),
            ("lab:99999999999999999999", false),
            ("lab:8o", false),
            ("lab:+80", false),
            ("lab:80:80", false),
            ("::1", false),
            ("[]", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[::1]8889", false),
            ("[::g]", false),
            ("[127.0.0.1]", false),
            ("[1:2:3:4:5:6:7:8:9]", false),
            ("[v1]", false),
            ("[v.a]", false),
            ("[v1.]", false),
            ("lab/", false),
            ("lab?", false),
            ("a b", false),
            ("a,b", true), // a sub-delim, so the grammar allows it
            ("user@lab", false),
            ("lab%", false),
            ("lab%zz", false),
            ("http://lab", false),
            ("caf\u{e9}", false),
            ("lab\\", false),
        ];
        for &(text, valid) in rows {
            assert_eq!(is_authority(text.as_bytes()), valid, "{text:?}");
        }
    }
}
