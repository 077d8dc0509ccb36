//! The client's half of the opening handshake (RFC 6455 §4.1): a request out, a response head judged. Finds no
//! head's end (that is [`HeadScanner`](super::HeadScanner)), follows no redirect, and draws no nonce.

use super::head::{Head, http_version, with_head};
use super::target::{is_authority, is_resource};
use super::{Opened, Refusal, accept, accept_key, extensions, token};
use crate::proto::deflate::negotiation;
use crate::proto::limits::{Limits, Role};

/// What a client asks for. [`write`](Request::write) makes the head; [`check`] needs the same value to judge the answer.
///
/// ```
/// use wslab::proto::handshake::Request;
///
/// let mut out = Vec::new();
/// Request { host: "127.0.0.1:8888", path: "/ws", key: *b"the sample nonce", ..Request::default() }.write(&mut out)?;
/// assert!(out.starts_with(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8888\r\n"));
/// # Ok::<(), wslab::proto::handshake::RequestError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The authority: `host`, or `host:port` where the port is not the scheme's own (§4.1, 4).
    pub host: &'a str,
    /// Path and query; begins with `/` (§4.1, 2).
    pub path: &'a str,
    /// The nonce: 16 octets, drawn at random for every connection (§4.1, 7).
    pub key: [u8; 16],
    /// Value of `Origin`; browsers must send it, others may (§4.1, 8).
    pub origin: Option<&'a str>,
    /// Subprotocols in order of preference (§4.1, 10).
    pub subprotocols: &'a [&'a str],
    /// Value of `Sec-WebSocket-Extensions` (§4.1, 11).
    pub extensions: Option<&'a str>,
    /// Further headers, as name and value: cookies, credentials and the like (§4.1, 12).
    pub headers: &'a [(&'a str, &'a str)],
}

/// Why a request cannot be written: it would not be the request that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The host is no authority.
    #[error("the host is not \"host\" or \"host:port\"")]
    Host,
    /// The path does not begin with `/`, or holds an octet that no path and query hold.
    #[error("the path does not begin with / or holds an octet that must be escaped")]
    Path,
    /// The origin is empty or not visible ASCII.
    #[error("the origin is not a serialised origin")]
    Origin,
    /// A subprotocol is no token, or stands twice in the list.
    #[error("subprotocol {index} is not a token or is repeated")]
    Subprotocol {
        /// Its index in the list.
        index: usize,
    },
    /// The extensions break their grammar.
    #[error("the extensions are {0}")]
    Extensions(#[source] token::Malformed),
    /// A further header has a name that is no token, a value that is not printable ASCII, or is one that the handshake writes itself.
    #[error("header {index} has an illegal name or value, or belongs to the handshake")]
    Header {
        /// Its index in the list.
        index: usize,
    },
}

/// Why a response does not open a connection (RFC 6455 §4.1, end). Text from the peer is kept escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The response head is no legal head, or repeats a header that may stand once.
    #[error("the response is malformed: {0}")]
    Malformed(#[from] Refusal),
    /// The first line is no HTTP status line.
    #[error("the server does not speak HTTP")]
    StatusLine,
    /// Neither HTTP/1.1 nor a later 1.x.
    #[error("the server answered with HTTP/{major}.{minor} instead of HTTP/1.1")]
    HttpVersion {
        /// Before the dot.
        major: u8,
        /// Behind the dot.
        minor: u8,
    },
    /// Another status than 101.
    #[error("the server answered {status} {reason} instead of 101")]
    Status {
        /// The status code.
        status: u16,
        /// The reason phrase, escaped; may be empty.
        reason: Box<str>,
    },
    /// `Upgrade` is not `websocket`.
    #[error("header Upgrade of the response is not \"websocket\"")]
    Upgrade,
    /// `Connection` does not list `Upgrade`.
    #[error("header Connection of the response does not list \"Upgrade\"")]
    Connection,
    /// `Sec-WebSocket-Accept` is absent, or not the one that belongs to our key: an answer to somebody else, or from a cache.
    #[error("header Sec-WebSocket-Accept of the response does not belong to our key")]
    Accept,
    /// An extension that we did not offer.
    #[error("the server uses extension {name}, which was not offered")]
    Extension {
        /// The extension's name.
        name: Box<str>,
    },
    /// permessage-deflate in a way that was not offered.
    #[error("{0}")]
    Deflate(#[from] negotiation::BadAnswer),
    /// A subprotocol that we did not offer.
    #[error("the server uses subprotocol {name}, which was not offered")]
    Subprotocol {
        /// The subprotocol, escaped.
        name: Box<str>,
    },
}

impl Default for Request<'_> {
    /// `GET /` of `localhost` with a nonce of zeros: a start for `..Request::default()`.
    fn default() -> Self {
        Request {
            host: "localhost",
            path: "/",
            key: [0; 16],
            origin: None,
            subprotocols: &[],
            extensions: None,
            headers: &[],
        }
    }
}

impl Request<'_> {
    /// Appends the request head to `out` (§4.1).
    ///
    /// # Errors
    ///
    /// [`RequestError`] for a part that is not what its place demands, such as a value with a line break; then nothing is appended.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), RequestError> {
        self.judge()?;
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        let key = accept::encode_key(&self.key);
        put(&[
            "GET ",
            self.path,
            " HTTP/1.1\r\nHost: ",
            self.host,
            "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ",
        ]);
        // Base64 is ASCII.
        put(&[std::str::from_utf8(&key).unwrap_or_default(), "\r\nSec-WebSocket-Version: 13\r\n"]);
        if let Some(origin) = self.origin {
            put(&["Origin: ", origin, "\r\n"]);
        }
        if let [first, others @ ..] = self.subprotocols {
            put(&["Sec-WebSocket-Protocol: ", first]);
            others.iter().for_each(|other| put(&[", ", other]));
            put(&["\r\n"]);
        }
        if let Some(extensions) = self.extensions {
            put(&["Sec-WebSocket-Extensions: ", extensions, "\r\n"]);
        }
        for (name, value) in self.headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        put(&["\r\n"]);
        Ok(())
    }

    fn judge(&self) -> Result<(), RequestError> {
        if !is_authority(self.host.as_bytes()) {
            return Err(RequestError::Host);
        }
        if !self.path.starts_with('/') || !is_resource(self.path.as_bytes()) {
            return Err(RequestError::Path);
        }
        if self.origin.is_some_and(|origin| origin.is_empty() || !origin.bytes().all(|octet| octet.is_ascii_graphic()))
        {
            return Err(RequestError::Origin);
        }
        for (index, name) in self.subprotocols.iter().enumerate() {
            if !token::is_token(name.as_bytes()) || self.subprotocols.iter().take(index).any(|earlier| earlier == name)
            {
                return Err(RequestError::Subprotocol { index });
            }
        }
        if let Some(value) = self.extensions {
            extensions::offers([value.as_bytes()]).map_err(RequestError::Extensions)?;
        }
        match self
            .headers
            .iter()
            .position(|(name, value)| !is_free_header(name) || !token::is_field_value(value.as_bytes()))
        {
            Some(index) => Err(RequestError::Header { index }),
            None => Ok(()),
        }
    }
}

/// Whether a caller may add a header of that name: not one that [`Request`] writes, nor one that announces content.
fn is_free_header(name: &str) -> bool {
    const TAKEN: [&str; 6] = ["Host", "Upgrade", "Connection", "Origin", "Content-Length", "Transfer-Encoding"];
    let is_ours = name.get(..14).is_some_and(|prefix| prefix.eq_ignore_ascii_case("Sec-WebSocket-"));
    token::is_token(name.as_bytes()) && !is_ours && !TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken))
}

/// Judges a complete response head against the request it answers.
///
/// `head` is what [`HeadScanner`](super::HeadScanner) delimited, its empty line included; the octets behind it are
/// the first frame. The result's path, host and origin are the request's. Parameters of extensions are not judged here.
///
/// # Errors
///
/// The first [`HandshakeError`] that applies: the connection must not be used (RFC 6455 §4.1, end).
pub fn check(head: &[u8], request: &Request<'_>, limits: &Limits) -> Result<Opened, HandshakeError> {
    with_head(head, Role::Client, limits, |head| {
        judge_status_line(head.start_line())?;
        // 2: the value is "websocket", not a list that holds it.
        if !head.at_most_one("Upgrade")?.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
            return Err(HandshakeError::Upgrade);
        }
        // 3.
        if !head.lists_token("Connection", "Upgrade")? {
            return Err(HandshakeError::Connection);
        }
        // 4.
        let expected = accept_key(&accept::encode_key(&request.key));
        if head.at_most_one("Sec-WebSocket-Accept")? != Some(&expected) {
            return Err(HandshakeError::Accept);
        }
        Ok(Opened {
            path: request.path.into(),
            host: Some(request.host.into()),
            origin: request.origin.map(Into::into),
            subprotocol: judge_subprotocol(&head, request)?,
            extensions: judge_extensions(&head, request)?,
            deflate: None,
        })
    })
}

/// RFC 9112 §4: `HTTP-version SP status-code SP [reason]`. The last space is often forgotten, and harmless to miss.
fn judge_status_line(line: &[u8]) -> Result<(), HandshakeError> {
    let mut parts = line.splitn(3, |&octet| octet == b' ');
    let version = parts.next().and_then(http_version).ok_or(HandshakeError::StatusLine)?;
    let status = match parts.next() {
        Some(&[hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => {
            u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0')
        }
        _ => return Err(HandshakeError::StatusLine),
    };
    // 1: the status first, since a refusal tells more than its version.
    if status != 101 {
        let reason = parts.next().unwrap_or_default().escape_ascii().to_string();
        return Err(HandshakeError::Status { status, reason: reason.into() });
    }
    match version {
        (1, 1..) => Ok(()),
        (major, minor) => Err(HandshakeError::HttpVersion { major, minor }),
    }
}

/// 6: only one that was offered; none at all is the server's right (§4.2.2).
fn judge_subprotocol(head: &Head<'_>, request: &Request<'_>) -> Result<Option<Box<str>>, HandshakeError> {
    let Some(value) = head.at_most_one("Sec-WebSocket-Protocol")? else {
        return Ok(None);
    };
    match request.subprotocols.iter().find(|offered| offered.as_bytes() == value) {
        Some(&offered) => Ok(Some(offered.into())),
        None => Err(HandshakeError::Subprotocol { name: value.escape_ascii().to_string().into() }),
    }
}

/// 5: only those that were offered. Whether the parameters answer what was offered, the extension itself judges (§9.1).
fn judge_extensions(head: &Head<'_>, request: &Request<'_>) -> Result<Option<Box<str>>, HandshakeError> {
    const HEADER: &str = "Sec-WebSocket-Extensions";
    if !head.has(HEADER) {
        return Ok(None);
    }
    let agreed = extensions::offers(head.all(HEADER)).map_err(|_| Refusal::Invalid { header: HEADER })?;
    let offered = extensions::offers(request.extensions.map(str::as_bytes)).unwrap_or_default();
    if let Some(alien) = agreed.iter().find(|one| !offered.iter().any(|offer| offer.name == one.name)) {
        return Err(HandshakeError::Extension { name: alien.name.into() });
    }
    // The grammar holds printable ASCII and tabs only, so this loses nothing.
    let values: Vec<_> = head.all(HEADER).map(String::from_utf8_lossy).collect();
    Ok(Some(values.join(", ").into()))
}

#[cfg(test)]
mod tests;
