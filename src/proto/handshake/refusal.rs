//! Every answer to a request that is not 101: what was wrong, its HTTP status, and the response that says so.
//! The causes stand in the order in which a request meets them.

use std::io::Write as _;
use std::time::Duration;

use super::token::is_field_value;

/// Why an upgrade is not granted. `Display` is for our log; [`write`](Refusal::write) makes the answer for the peer.
///
/// Offsets (`at`) count octets from the start of the head. Text that came from the peer is visible ASCII, and never
/// returns to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    // While the head arrives.
    /// A TLS ClientHello where HTTP is spoken.
    #[error("a TLS ClientHello: this is the plain port, TLS is spoken on another")]
    TlsOnPlainPort,
    /// A CR that no LF follows (RFC 9112 §2.2).
    #[error("a CR without LF at octet {at} of the head")]
    BareCr {
        /// Where the CR is.
        at: usize,
    },
    /// A LF that no CR precedes (RFC 9112 §2.2; tolerating it is allowed, not asked for).
    #[error("a LF without CR at octet {at} of the head")]
    BareLf {
        /// Where the LF is.
        at: usize,
    },
    /// NUL or another control octet (RFC 9110 §5.5).
    #[error("a control octet {octet:#04x} at octet {at} of the head")]
    ControlOctet {
        /// The octet.
        octet: u8,
        /// Where it is.
        at: usize,
    },
    /// An octet that a start line does not hold at that place (RFC 9112 §3).
    #[error("an octet {octet:#04x} in the start line, at octet {at} of the head")]
    StartLineOctet {
        /// The octet.
        octet: u8,
        /// Where it is.
        at: usize,
    },
    /// A header line that continues the one before it (RFC 9112 §5.2).
    #[error("a folded header line at octet {at} of the head")]
    FoldedLine {
        /// Where the line begins.
        at: usize,
    },
    /// Whitespace in a header's name, or between it and the colon (RFC 9112 §5.1).
    #[error("whitespace before the colon of a header, at octet {at} of the head")]
    SpaceInName {
        /// Where the space is.
        at: usize,
    },
    /// A header line that ends before its colon (RFC 9112 §5).
    #[error("a header line without colon, which ends at octet {at} of the head")]
    NoColon {
        /// Where the line ends.
        at: usize,
    },
    /// An octet that no header name holds (RFC 9110 §5.1); a colon if the name is empty.
    #[error("an octet {octet:#04x} in a header's name, at octet {at} of the head")]
    NameOctet {
        /// The octet.
        octet: u8,
        /// Where it is.
        at: usize,
    },
    /// The request line alone fills the bound (RFC 9112 §3).
    #[error("the request line is longer than {head_bytes_max} octets")]
    TargetTooLong {
        /// The bound, in octets.
        head_bytes_max: usize,
    },
    /// The head fills the bound and has no end (RFC 6585 §5).
    #[error("the head is longer than {head_bytes_max} octets")]
    HeadTooLong {
        /// The bound, in octets.
        head_bytes_max: usize,
    },
    /// More header lines than the bound (RFC 6585 §5).
    #[error("the head has more than {head_lines_max} header lines")]
    TooManyLines {
        /// The bound, in lines.
        head_lines_max: usize,
    },
    /// The head was not complete in time (RFC 9110 §15.5.9).
    #[error("no complete request within {timeout:?}")]
    HandshakeTimeout {
        /// How long the peer had.
        timeout: Duration,
    },
    /// As many connections as there may be (RFC 9110 §15.6.4).
    #[error("all {connections_max} connections are taken")]
    TooManyConnections {
        /// The bound, in connections.
        connections_max: usize,
        /// When another attempt makes sense; sent in whole seconds, rounded up.
        retry_after: Duration,
    },
    /// As many connections of one client address as there may be (RFC 9110 §15.6.4).
    #[error("all {connections_per_address} connections of this address are taken")]
    TooManyFromAddress {
        /// The bound, in connections.
        connections_per_address: usize,
        /// When another attempt makes sense; sent in whole seconds, rounded up.
        retry_after: Duration,
    },
    /// As many opening handshakes are under way as there may be, and this is the oldest (RFC 9110 §15.5.9).
    #[error("the oldest of more than {handshakes_max} opening handshakes")]
    TooManyHandshakes {
        /// The bound, in handshakes.
        handshakes_max: usize,
    },
    /// As much memory is taken as there may be, or nearly (RFC 9110 §15.6.4).
    #[error("memory is running out")]
    OutOfMemory,
    /// The server is about to end (RFC 9110 §15.6.4).
    #[error("the server is shutting down")]
    ShuttingDown,

    // The request line.
    /// Not `method SP target SP HTTP-version` (RFC 9112 §3).
    #[error("the request line is not \"method target version\"")]
    StartLine,
    /// Octets that are no head, or more than one: it never passed a [`HeadScanner`](super::HeadScanner).
    #[error("not one complete head")]
    NotAHead,
    /// Neither HTTP/1.1 nor a later 1.x (RFC 6455 §4.2.1, 1).
    #[error("HTTP/{major}.{minor} instead of HTTP/1.1")]
    HttpVersion {
        /// Before the dot.
        major: u8,
        /// Behind the dot.
        minor: u8,
    },
    /// A method that is not GET (RFC 6455 §4.2.1, 1).
    #[error("method {method} instead of GET")]
    Method {
        /// The method, at most its first 32 octets.
        method: Box<str>,
    },
    /// A target that is neither a path nor an http URL, or holds an octet that no target holds (RFC 9112 §3.2).
    #[error("the request target is not a path and not an absolute http or ws URL")]
    Target,

    // Header lines.
    /// A header that must be there is not.
    #[error("header {header} is missing")]
    Missing {
        /// The header's name.
        header: &'static str,
    },
    /// A header that may be there once is there again.
    #[error("header {header} is repeated")]
    Repeated {
        /// The header's name.
        header: &'static str,
    },
    /// A header whose value breaks its grammar.
    #[error("header {header} has a malformed value")]
    Invalid {
        /// The header's name.
        header: &'static str,
    },
    /// A request with content; an upgrade has none (RFC 6455 §4.1 knows GET only), and it would be read as frames.
    #[error("header {header} announces content, which an upgrade cannot have")]
    Content {
        /// The header that announces it.
        header: &'static str,
    },
    /// No upgrade at all: a browser or a health check. Answered with 200 and a page of text; no error.
    #[error("a plain request without upgrade")]
    Page {
        /// The WebSocket URLs that the page names.
        urls: Box<[String]>,
    },
    /// `Sec-WebSocket-…` headers without `Upgrade: websocket`: an intermediary has dropped the hop-by-hop headers (RFC 9110 §7.6.1).
    #[error("a WebSocket handshake without \"Upgrade: websocket\"")]
    UpgradeDropped,
    /// `Upgrade` without `Connection: Upgrade` (RFC 6455 §4.2.1, 4).
    #[error("header Connection does not list \"Upgrade\"")]
    ConnectionWithoutUpgrade,
    /// Not exactly one `Sec-WebSocket-Version` of 13 (RFC 6455 §4.2.1, 6; §4.4).
    #[error("header Sec-WebSocket-Version is not 13")]
    WebSocketVersion {
        /// The version that was asked for, if it was one number up to 255.
        offered: Option<u8>,
    },
    /// A subprotocol that is offered twice (RFC 6455 §4.1, 10).
    #[error("a subprotocol is offered twice")]
    SubprotocolRepeated,

    // What the server's owner allows.
    /// An origin that may not connect (RFC 6455 §4.2.2, `/origin/`).
    #[error("origin {origin} is not allowed")]
    Origin {
        /// The origin; visible ASCII.
        origin: Box<str>,
    },
    /// A path that does not exist (RFC 6455 §4.2.2, `/resource name/`).
    #[error("path {path} does not exist")]
    Path {
        /// The path, without query; visible ASCII.
        path: Box<str>,
    },
}

impl Refusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Page { .. } => 200,
            Refusal::Origin { .. } => 403,
            Refusal::Path { .. } => 404,
            Refusal::Method { .. } => 405,
            Refusal::HandshakeTimeout { .. } | Refusal::TooManyHandshakes { .. } => 408,
            Refusal::TargetTooLong { .. } => 414,
            Refusal::WebSocketVersion { .. } => 426,
            Refusal::HeadTooLong { .. } | Refusal::TooManyLines { .. } => 431,
            Refusal::TooManyConnections { .. }
            | Refusal::TooManyFromAddress { .. }
            | Refusal::OutOfMemory
            | Refusal::ShuttingDown => 503,
            _ => 400,
        }
    }

    /// Appends the whole HTTP/1.1 response to `out`. `date` is the value of `Date` (RFC 9110 §5.6.7).
    ///
    /// The response says `Connection: close`: send it, then end the connection.
    pub fn write(&self, date: &str, out: &mut Vec<u8>) {
        let body = self.body();
        let (status, reason) = (self.status(), self.reason());
        // Writing to a Vec cannot fail.
        let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
        if is_field_value(date.as_bytes()) {
            let _ = write!(out, "Date: {date}\r\n");
        }
        let _ = match self {
            // RFC 9110 §15.5.6: a 405 lists what is allowed.
            Refusal::Method { .. } => out.write_all(b"Allow: GET\r\n"),
            // RFC 6455 §4.4: the versions we speak. RFC 9110 §15.5.22: a 426 names the protocol; §7.8: and Connection lists it.
            Refusal::WebSocketVersion { .. } => out.write_all(b"Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"),
            Refusal::TooManyConnections { retry_after, .. } | Refusal::TooManyFromAddress { retry_after, .. } => {
                let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
                write!(out, "Retry-After: {seconds}\r\n")
            }
            _ => Ok(()),
        };
        let connection = if matches!(self, Refusal::WebSocketVersion { .. }) { "close, Upgrade" } else { "close" };
        let _ = write!(
            out,
            "Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n",
            body.len(),
        );
        // RFC 9110 §9.3.2: the answer to HEAD ends with its head.
        if !matches!(self, Refusal::Method { method } if &**method == "HEAD") {
            out.extend_from_slice(body.as_bytes());
        }
    }

    /// RFC 9110 §15, RFC 6585 §5.
    fn reason(&self) -> &'static str {
        match self.status() {
            200 => "OK",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            414 => "URI Too Long",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Bad Request",
        }
    }

    /// What, and what to do; nothing of it is text that the peer sent.
    fn body(&self) -> String {
        let what = match self {
            Refusal::Page { urls } => return page(urls),
            Refusal::Method { .. } => "the method is not GET".to_owned(),
            Refusal::Origin { .. } => "pages of this origin may not connect".to_owned(),
            Refusal::Path { .. } => "no such path".to_owned(),
            // What the bounds are is nobody else's business.
            Refusal::TooManyConnections { .. } => "all connections are taken".to_owned(),
            Refusal::TooManyFromAddress { .. } => "too many connections from your address".to_owned(),
            Refusal::TooManyHandshakes { .. } => "too many others are connecting".to_owned(),
            other => other.to_string(),
        };
        format!("{} {}: {what}\n{}\n", self.status(), self.reason(), self.advice())
    }

    fn advice(&self) -> &'static str {
        match self {
            Refusal::TlsOnPlainPort => "connect to the TLS port with wss://, or to this one with ws://",
            Refusal::TargetTooLong { .. } => "shorten the URL",
            Refusal::HeadTooLong { .. } | Refusal::TooManyLines { .. } => {
                "send fewer or shorter headers (cookies are often the cause)"
            }
            Refusal::HandshakeTimeout { .. } => "send the whole request at once",
            Refusal::TooManyFromAddress { .. } => "close some of them, or try again later",
            Refusal::TooManyHandshakes { .. } => "send the whole request at once, and try again",
            Refusal::TooManyConnections { .. } | Refusal::OutOfMemory | Refusal::ShuttingDown => "try again later",
            Refusal::HttpVersion { .. } => "use HTTP/1.1; a proxy in front must speak it to this server",
            Refusal::Method { .. } => "open a WebSocket with GET",
            Refusal::Content { .. } => "send no content with the request",
            Refusal::UpgradeDropped | Refusal::ConnectionWithoutUpgrade => {
                "send \"Connection: Upgrade\" and \"Upgrade: websocket\"; a proxy in between must pass both on"
            }
            Refusal::WebSocketVersion { .. } => "send \"Sec-WebSocket-Version: 13\" once",
            Refusal::Origin { .. } => "ask the server's owner to allow the origin",
            Refusal::Path { .. } => "check the path of the URL",
            _ => "correct the request",
        }
    }
}

fn page(urls: &[String]) -> String {
    let mut page =
        String::from("This is a WebSocket server (RFC 6455). It serves no pages; connect with a WebSocket client");
    page.push_str(if urls.is_empty() { ".\n" } else { " to:\n" });
    for url in urls {
        page.push_str("  ");
        page.push_str(url);
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests;
