//! As much of HTTP as an opening handshake takes.

/// An upgrade request that every server takes. The key is the example of RFC 6455 §1.3.
pub(crate) const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What answers that key (RFC 6455 §1.3).
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// [`UPGRADE`] with this part of it replaced by that.
pub(crate) fn upgrade_with(part: &str, by: &str) -> String {
    assert_eq!(UPGRADE.matches(part).count(), 1, "{part:?} stands in the request once");
    UPGRADE.replace(part, by)
}

/// [`UPGRADE`] with more header lines (each with its line end).
pub(crate) fn upgrade_and(lines: &str) -> String {
    let head = UPGRADE.strip_suffix("\r\n").unwrap();
    format!("{head}{lines}\r\n")
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) status_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The value of a header that stands there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands there once: {self:?}");
        value
    }
}

/// Takes a response from the front of `octets`; `None`: it is not all there yet.
pub(crate) fn parse(octets: &[u8]) -> Option<(Response, usize)> {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&octets[..end]).expect("a head is ASCII").trim_end();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default().to_owned();
    let status = status_line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect::<Option<_>>()
        .unwrap_or_else(|| panic!("every header line has a colon: {head}"));
    let mut response = Response {
        status: status.unwrap_or_else(|| panic!("a status line: {status_line}")),
        status_line,
        headers,
        body: String::new(),
    };
    let len = response.header("Content-Length").map_or(0, |len| len.parse().expect("a length"));
    response.body = String::from_utf8(octets.get(end..end + len)?.to_vec()).expect("a body in UTF-8");
    Some((response, end + len))
}
