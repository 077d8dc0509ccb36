//! The server's half of the opening handshake (RFC 6455 §4.2): a request head in; the 101 that opens the connection,
//! or the [`Refusal`] that ends it, out. Finds no head's end (that is [`HeadScanner`](super::HeadScanner)) and sends nothing.

use super::head::{Head, http_version, with_head};
use super::target::{Target, is_authority};
use super::{Opened, Refusal, Subprotocols, accept, accept_key, extensions, token};
use crate::proto::{
    deflate::{Agreed, negotiation},
    limits::{Role, Settings},
};

/// Octets of a method that a refusal keeps.
const METHOD_SHOWN_LEN: usize = 32;

/// Judges a complete request head and appends the 101 to `out`.
///
/// `head` is what [`HeadScanner`](super::HeadScanner) delimited, its empty line included. `date` is the value of `Date`
/// (RFC 9110 §5.6.7). The caller sends `out`; the octets behind the head are the first frame.
///
/// # Errors
///
/// The first [`Refusal`] that applies; then nothing is appended. [`Refusal::write`] makes the answer.
///
/// ```
/// use wslab::proto::{Settings, handshake::server};
///
/// let head = b"GET /chat HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// let mut out = Vec::new();
/// let opened = server::answer(head, &Settings::default(), "Sun, 06 Nov 1994 08:49:37 GMT", &mut out)?;
/// assert_eq!(&*opened.path, "/chat");
/// assert!(out.starts_with(b"HTTP/1.1 101 "));
/// # Ok::<(), wslab::proto::handshake::Refusal>(())
/// ```
pub fn answer(head: &[u8], settings: &Settings, date: &str, out: &mut Vec<u8>) -> Result<Opened, Refusal> {
    with_head(head, Role::Server, &settings.limits, |head| {
        let upgrade = judge(&head, settings)?;
        upgrade.write(settings.policy.server_name.as_deref(), date, out);
        Ok(upgrade.into_opened())
    })
}

/// A request that will be granted.
struct Upgrade<'a> {
    target: Target<'a>,
    host: &'a str,
    key: &'a [u8],
    origin: Option<&'a str>,
    subprotocol: Option<&'a str>,
    deflate: Option<(Agreed, String)>,
}

/// §4.2.1, in the order of a request; then §4.2.2, what the server's owner allows.
fn judge<'a>(head: &Head<'a>, settings: &Settings) -> Result<Upgrade<'a>, Refusal> {
    let policy = &settings.policy;
    let target = judge_request_line(head.start_line())?;
    let host = judge_host(head, target)?;
    refuse_content(head)?;

    // §4.2.1, 3: any list of protocols may be offered, ours among them.
    if !head.lists_protocol("Upgrade", "websocket")? {
        return Err(if head.has("Sec-WebSocket-Key") || head.has("Sec-WebSocket-Version") {
            Refusal::UpgradeDropped
        } else {
            Refusal::Page { urls: policy.urls.clone().into() }
        });
    }
    // §4.2.1, 4.
    if !head.lists_token("Connection", "Upgrade")? {
        return Err(Refusal::ConnectionWithoutUpgrade);
    }
    judge_version(head)?;
    let key = head.exactly_one("Sec-WebSocket-Key")?;
    if !accept::is_key(key) {
        return Err(Refusal::Invalid { header: "Sec-WebSocket-Key" });
    }
    let origin = judge_origin(head, policy.origins.as_deref())?;
    if let Some(paths) = &policy.paths {
        let path = target.path();
        if !paths.iter().any(|known| known == path) {
            return Err(Refusal::Path { path: path.into() });
        }
    }
    let subprotocol = choose_subprotocol(head, &policy.subprotocols)?;
    // §9.1: what breaks the grammar fails the handshake. Extensions that we do not speak are declined by silence.
    let offers = extensions::offers(head.all("Sec-WebSocket-Extensions"))
        .map_err(|_| Refusal::Invalid { header: "Sec-WebSocket-Extensions" })?;
    let deflate = negotiation::accept(&offers, &settings.deflate);

    Ok(Upgrade { target, host, key, origin, subprotocol, deflate })
}

/// RFC 9112 §3: method, target and version, one space between. A method that is not GET is told only to who speaks our version.
fn judge_request_line(line: &[u8]) -> Result<Target<'_>, Refusal> {
    let mut parts = line.split(|&octet| octet == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::StartLine);
    };
    let Some(method) = token::as_token(method) else {
        return Err(Refusal::StartLine);
    };
    // RFC 9112 §2.3, RFC 9110 §2.5: a later minor version is understood as the highest we know.
    match http_version(version) {
        Some((1, 1..)) => {}
        Some((major, minor)) => return Err(Refusal::HttpVersion { major, minor }),
        None => return Err(Refusal::StartLine),
    }
    // RFC 9110 §9.1: methods are case-sensitive.
    if method != "GET" {
        return Err(Refusal::Method { method: method.get(..METHOD_SHOWN_LEN).unwrap_or(method).into() });
    }
    Target::parse(target).ok_or(Refusal::Target)
}

/// RFC 9112 §3.2: exactly one valid `Host`. §3.2.2: the authority of an absolute target takes its place.
fn judge_host<'a>(head: &Head<'a>, target: Target<'a>) -> Result<&'a str, Refusal> {
    let invalid = Refusal::Invalid { header: "Host" };
    let value = head.exactly_one("Host")?;
    if !is_authority(value) {
        return Err(invalid);
    }
    let host = std::str::from_utf8(value).map_err(|_| invalid)?;
    Ok(target.authority.unwrap_or(host))
}

/// An upgrade has no content: octets behind the head are frames, and must be nothing else to any intermediary.
fn refuse_content(head: &Head<'_>) -> Result<(), Refusal> {
    if head.has("Transfer-Encoding") {
        return Err(Refusal::Content { header: "Transfer-Encoding" });
    }
    for value in head.all("Content-Length") {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::Invalid { header: "Content-Length" });
        }
        if value.iter().any(|&digit| digit != b'0') {
            return Err(Refusal::Content { header: "Content-Length" });
        }
    }
    Ok(())
}

/// §4.2.1, 6 and §4.4. Absent or repeated (§11.3.5) is answered like another version: the 426 says which one to send.
fn judge_version(head: &Head<'_>) -> Result<(), Refusal> {
    match head.at_most_one("Sec-WebSocket-Version") {
        Ok(Some(b"13")) => Ok(()),
        Ok(Some(value)) => {
            let offered = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            Err(Refusal::WebSocketVersion { offered })
        }
        Ok(None) | Err(_) => Err(Refusal::WebSocketVersion { offered: None }),
    }
}

/// §10.2. A request without `Origin` is no browser's.
fn judge_origin<'a>(head: &Head<'a>, origins: Option<&[String]>) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = head.at_most_one("Origin")? else {
        return Ok(None);
    };
    // RFC 6454 §7: one serialised origin, or `null`. Looser: any visible ASCII passes where no list is kept.
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic()));
    let Some(origin) = text else {
        return Err(Refusal::Invalid { header: "Origin" });
    };
    match origins {
        Some(allowed) if !allowed.iter().any(|known| known.eq_ignore_ascii_case(origin)) => {
            Err(Refusal::Origin { origin: origin.into() })
        }
        _ => Ok(Some(origin)),
    }
}

/// §4.2.2, `/subprotocol/`.
fn choose_subprotocol<'a>(head: &Head<'a>, wanted: &Subprotocols) -> Result<Option<&'a str>, Refusal> {
    const HEADER: &str = "Sec-WebSocket-Protocol";
    if !head.has(HEADER) {
        return Ok(None);
    }
    // §11.3.4: 1#token; a header that lists nothing is malformed.
    if token::list(head.all(HEADER)).next().is_none() {
        return Err(Refusal::Invalid { header: HEADER });
    }
    // §4.1, 10: elements are tokens. Looser: others are passed over, since clients offer URLs, and none is ever reflected.
    let mut offered: Vec<&str> = token::list(head.all(HEADER)).filter_map(token::as_token).collect();
    let chosen = match wanted {
        Subprotocols::First => offered.first().copied(),
        Subprotocols::None => None,
        Subprotocols::List(known) => offered.iter().copied().find(|&offer| known.iter().any(|name| name == offer)),
    };
    // §4.1, 10: they are unique. Sorted, because a head has room for thousands and pairs would cost the square of it.
    offered.sort_unstable();
    if offered.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        return Err(Refusal::SubprotocolRepeated);
    }
    Ok(chosen)
}

impl Upgrade<'_> {
    /// §4.2.2, 5.
    fn write(&self, server_name: Option<&str>, date: &str, out: &mut Vec<u8>) {
        out.reserve(256);
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&accept_key(self.key));
        out.extend_from_slice(b"\r\n");
        let varying = [
            ("Sec-WebSocket-Protocol: ", self.subprotocol),
            ("Sec-WebSocket-Extensions: ", self.deflate.as_ref().map(|(_, answer)| answer.as_str())),
            ("Date: ", Some(date)),
            ("Server: ", server_name),
        ];
        for (name, value) in varying {
            // Date and server name are our owner's; a line break in one must not become a header.
            let Some(value) = value.filter(|value| token::is_field_value(value.as_bytes())) else {
                continue;
            };
            for part in [name, value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    fn into_opened(self) -> Opened {
        let (deflate, extensions) = self.deflate.unzip();
        Opened {
            path: self.target.resource(),
            host: Some(self.host.into()),
            origin: self.origin.map(Into::into),
            subprotocol: self.subprotocol.map(Into::into),
            extensions: extensions.map(Into::into),
            deflate,
        }
    }
}

#[cfg(test)]
mod tests;
