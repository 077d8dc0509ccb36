#![allow(clippy::unwrap_used)]

use super::*;

const REQUEST: Request<'_> = Request {
    host: "lab:8888",
    path: "/ws?a",
    key: *b"the sample nonce",
    origin: Some("http://page"),
    subprotocols: &["chat", "superchat"],
    extensions: Some("permessage-deflate; client_max_window_bits, x-other"),
    headers: &[("Cookie", "a=b; c=d"), ("User-Agent", "wslab")],
};

const STATUS: &str = "HTTP/1.1 101 Switching Protocols";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn response(status_line: &str, without: &[&str], with: &[&str]) -> String {
    let valid = [UPGRADE, CONNECTION, ACCEPT];
    let kept = valid.iter().filter(|line| !without.contains(line)).chain(with);
    kept.fold(format!("{status_line}\r\n"), |head, line| head + line + "\r\n") + "\r\n"
}

fn checked(head: &str) -> Result<Opened, HandshakeError> {
    check(head.as_bytes(), &REQUEST, &Limits::DEFAULT)
}

#[test]
fn a_request_is_written_as_the_rfc_asks() {
    let mut out = Vec::new();
    REQUEST.write(&mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "GET /ws?a HTTP/1.1\r\nHost: lab:8888\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://page\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n\
         Cookie: a=b; c=d\r\nUser-Agent: wslab\r\n\r\n"
    );
    let mut out = Vec::new();
    Request::default().write(&mut out).unwrap();
    assert_eq!(out.split(|&octet| octet == b'\n').count(), 8, "{}", out.escape_ascii());
}

#[test]
fn a_request_with_an_illegal_part_is_not_written() {
    let extensions = |at| RequestError::Extensions(token::Malformed { line: 0, at });
    #[rustfmt::skip]
    let rows: &[(Request<'_>, RequestError)] = &[
        (Request { host: "", ..REQUEST }, RequestError::Host),
        (Request { host: "lab\r\nA: b", ..REQUEST }, RequestError::Host),
        (Request { host: "a@b", ..REQUEST }, RequestError::Host),
        (Request { host: "ws://lab", ..REQUEST }, RequestError::Host),
        (Request { path: "", ..REQUEST }, RequestError::Path),
        (Request { path: "ws", ..REQUEST }, RequestError::Path),
        (Request { path: "*", ..REQUEST }, RequestError::Path),
        (Request { path: "http://lab/", ..REQUEST }, RequestError::Path),
        (Request { path: "/a b", ..REQUEST }, RequestError::Path),
        (Request { path: "/a#b", ..REQUEST }, RequestError::Path),
        (Request { path: "/ HTTP/1.1\r\nA: b", ..REQUEST }, RequestError::Path),
        (Request { origin: Some(""), ..REQUEST }, RequestError::Origin),
        (Request { origin: Some("http://a\r\nA: b"), ..REQUEST }, RequestError::Origin),
        (Request { subprotocols: &["a", "b c"], ..REQUEST }, RequestError::Subprotocol { index: 1 }),
        (Request { subprotocols: &["a", "b", "a"], ..REQUEST }, RequestError::Subprotocol { index: 2 }),
        (Request { subprotocols: &[""], ..REQUEST }, RequestError::Subprotocol { index: 0 }),
        (Request { subprotocols: &["a\r\nA: b"], ..REQUEST }, RequestError::Subprotocol { index: 0 }),
        (Request { extensions: Some(""), ..REQUEST }, extensions(0)),
        (Request { extensions: Some("a;"), ..REQUEST }, extensions(2)),
        (Request { extensions: Some("a\r\nA: b"), ..REQUEST }, extensions(1)),
        (Request { headers: &[("A", "b"), ("A", "b\r\nC: d")], ..REQUEST }, RequestError::Header { index: 1 }),
        (Request { headers: &[("A", "b\n")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("A", " b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("A ", "b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("", "b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("A:", "b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("host", "b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("UPGRADE", "b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("sec-websocket-key", "b")], ..REQUEST }, RequestError::Header { index: 0 }),
        (Request { headers: &[("Content-Length", "1")], ..REQUEST }, RequestError::Header { index: 0 }),
    ];
    for (request, error) in rows {
        let mut out = Vec::new();
        assert_eq!(request.write(&mut out), Err(*error), "{request:?}");
        assert!(out.is_empty(), "{request:?}");
    }
}

#[test]
fn every_legal_answer_opens() {
    #[rustfmt::skip]
    let rows: [(String, Option<&str>, Option<&str>); 12] = [
        (response(STATUS, &[], &[]), None, None),
        (response("HTTP/1.1 101", &[], &[]), None, None),
        (response("HTTP/1.1 101 ", &[], &[]), None, None),
        (response("HTTP/1.2 101 caf\u{e9}", &[], &[]), None, None),
        (response(STATUS, &[UPGRADE], &["uPgRaDe: WebSocket"]), None, None),
        (response(STATUS, &[CONNECTION], &["Connection: keep-alive", "connection: upgrade"]), None, None),
        (response(STATUS, &[], &["Server: x", "Date: y", "Set-Cookie: z"]), None, None),
        (response(STATUS, &[], &["Sec-WebSocket-Protocol: superchat"]), Some("superchat"), None),
        (response(STATUS, &[], &["Sec-WebSocket-Protocol:  chat "]), Some("chat"), None),
        (response(STATUS, &[], &["Sec-WebSocket-Extensions: x-other"]), None, Some("x-other")),
        (
            response(STATUS, &[], &["Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"]),
            None,
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        (
            response(STATUS, &[], &["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: x-other; a=\"1\""]),
            None,
            Some("permessage-deflate, x-other; a=\"1\""),
        ),
    ];
    for (head, subprotocol, extensions) in rows {
        let opened = checked(&head).unwrap();
        assert_eq!((opened.subprotocol.as_deref(), opened.extensions.as_deref()), (subprotocol, extensions), "{head}");
        assert_eq!(
            (&*opened.path, opened.host.as_deref(), opened.origin.as_deref()),
            ("/ws?a", Some("lab:8888"), Some("http://page"))
        );
    }
}

#[test]
fn every_breach_of_the_answer_fails_the_handshake() {
    let status = |status, reason: &str| HandshakeError::Status { status, reason: reason.into() };
    let repeated = |header| HandshakeError::Malformed(Refusal::Repeated { header });
    let invalid = |header| HandshakeError::Malformed(Refusal::Invalid { header });
    let alien = |name: &str| HandshakeError::Extension { name: name.into() };
    let subprotocol = |name: &str| HandshakeError::Subprotocol { name: name.into() };
    let accept = |value: &str| response(STATUS, &[ACCEPT], &[&format!("Sec-WebSocket-Accept: {value}")]);
    let with = |line: &str| response(STATUS, &[], &[line]);
    #[rustfmt::skip]
    let rows = [
        (response("HTTP/1.1 200 OK", &[], &[]), status(200, "OK")),
        (response("HTTP/1.1 404 Not Found", &[], &[]), status(404, "Not Found")),
        (response("HTTP/1.0 503", &[], &[]), status(503, "")),
        (response("HTTP/1.1 302 \u{e9}", &[], &[]), status(302, "\\xc3\\xa9")),
        (response("HTTP/1.1 100 Continue", &[], &[]), status(100, "Continue")),
        (response("HTTP/1.0 101 x", &[], &[]), HandshakeError::HttpVersion { major: 1, minor: 0 }),
        (response("HTTP/2.0 101 x", &[], &[]), HandshakeError::HttpVersion { major: 2, minor: 0 }),
        (response("HTTP/1.1 1O1 x", &[], &[]), HandshakeError::StatusLine),
        (response("HTTP/1.1 1010 x", &[], &[]), HandshakeError::StatusLine),
        (response("HTTP/1.1 001 x", &[], &[]), HandshakeError::StatusLine),
        (response("HTTP/1.1  101 x", &[], &[]), HandshakeError::StatusLine),
        (response("HTTP/1.1", &[], &[]), HandshakeError::StatusLine),
        (response("http/1.1 101 x", &[], &[]), HandshakeError::StatusLine),
        (response("ICY 101 x", &[], &[]), HandshakeError::StatusLine),
        (response("SSH-2.0-OpenSSH_9", &[], &[]), HandshakeError::StatusLine),
        (response(STATUS, &[UPGRADE], &[]), HandshakeError::Upgrade),
        (response(STATUS, &[UPGRADE], &["Upgrade: h2c"]), HandshakeError::Upgrade),
        (response(STATUS, &[UPGRADE], &["Upgrade: websocket, h2c"]), HandshakeError::Upgrade),
        (with(UPGRADE), repeated("Upgrade")),
        (response(STATUS, &[CONNECTION], &[]), HandshakeError::Connection),
        (response(STATUS, &[CONNECTION], &["Connection: close"]), HandshakeError::Connection),
        (response(STATUS, &[CONNECTION], &["Connection: a b"]), invalid("Connection")),
        (response(STATUS, &[ACCEPT], &[]), HandshakeError::Accept),
        (with(ACCEPT), repeated("Sec-WebSocket-Accept")),
        (accept(""), HandshakeError::Accept),
        (accept("S3PPLMBITXAQ9KYGZZHZRBK+XOO="), HandshakeError::Accept), // base64 has case
        (accept("s3pPLMBiTxaQ9kYGzzhZRbK+xOo"), HandshakeError::Accept),
        (accept("dGhlIHNhbXBsZSBub25jZQ=="), HandshakeError::Accept),
        (with("Sec-WebSocket-Protocol: other"), subprotocol("other")),
        (with("Sec-WebSocket-Protocol: CHAT"), subprotocol("CHAT")),
        (with("Sec-WebSocket-Protocol: chat, superchat"), subprotocol("chat, superchat")),
        (with("Sec-WebSocket-Protocol:"), subprotocol("")),
        (response(STATUS, &[], &["Sec-WebSocket-Protocol: chat"; 2]), repeated("Sec-WebSocket-Protocol")),
        (with("Sec-WebSocket-Extensions: alien"), alien("alien")),
        (with("Sec-WebSocket-Extensions: x-other, alien; a"), alien("alien")),
        (with("Sec-WebSocket-Extensions:"), invalid("Sec-WebSocket-Extensions")),
        (with("Sec-WebSocket-Extensions: x-other; a="), invalid("Sec-WebSocket-Extensions")),
        (response("HTTP/1.1 101 \0", &[], &[]), HandshakeError::Malformed(Refusal::ControlOctet { octet: 0, at: 13 })),
        (response("HTTP/1.1 101 x", &[UPGRADE, CONNECTION, ACCEPT], &["A : b"]), HandshakeError::Malformed(Refusal::SpaceInName { at: 17 })),
    ];
    for (head, expected) in rows {
        assert_eq!(checked(&head), Err(expected), "{head}");
    }
}

#[test]
fn nothing_may_be_answered_that_was_not_offered() {
    let bare = Request { subprotocols: &[], extensions: None, ..REQUEST };
    for line in ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"] {
        let outcome = check(response(STATUS, &[], &[line]).as_bytes(), &bare, &Limits::DEFAULT);
        assert!(
            matches!(outcome, Err(HandshakeError::Subprotocol { .. } | HandshakeError::Extension { .. })),
            "{line}: {outcome:?}"
        );
    }
}

#[test]
fn an_answer_to_another_key_is_not_ours() {
    let other = Request { key: [1; 16], ..REQUEST };
    assert_eq!(check(response(STATUS, &[], &[]).as_bytes(), &other, &Limits::DEFAULT), Err(HandshakeError::Accept));
}
