#![allow(clippy::unwrap_used)]

use super::*;
use crate::proto::handshake::Policy;
use crate::proto::limits::Limits;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

const HOST: &str = "Host: lab:8888";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";

fn settings(policy: Policy) -> Settings {
    Settings { policy, ..Settings::default() }
}

fn judged(head: &str, settings: &Settings) -> (Result<Opened, Refusal>, String) {
    let mut out = Vec::new();
    let outcome = answer(head.as_bytes(), settings, DATE, &mut out);
    assert_eq!(outcome.is_err(), out.is_empty(), "an answer is written if and only if it is 101");
    (outcome, String::from_utf8(out).unwrap())
}

/// A valid request with other lines in place of those that begin with the same name, and further ones at its end.
fn request(start_line: &str, without: &[&str], with: &[&str]) -> String {
    let valid = [HOST, UPGRADE, CONNECTION, KEY, VERSION];
    let kept = valid.iter().filter(|line| !without.contains(line)).chain(with);
    kept.fold(format!("{start_line}\r\n"), |head, line| head + line + "\r\n") + "\r\n"
}

fn with(lines: &[&str]) -> String {
    request("GET /ws HTTP/1.1", &[], lines)
}

fn instead_of(line: &str, lines: &[&str]) -> String {
    request("GET /ws HTTP/1.1", &[line], lines)
}

#[test]
fn the_rfc_example_is_answered_as_the_rfc_says() {
    // §1.2, with the default policy.
    let head = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (opened, out) = judged(head, &Settings::default());
    assert_eq!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    );
    let expected = Opened {
        path: "/chat".into(),
        host: Some("server.example.com".into()),
        origin: Some("http://example.com".into()),
        subprotocol: Some("chat".into()),
        extensions: None,
        deflate: None,
    };
    assert_eq!(opened, Ok(expected));
}

#[test]
fn every_legal_way_of_asking_is_granted() {
    let many: Vec<String> = (0..90).map(|index| format!("X-{index}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    #[rustfmt::skip]
    let rows = [
        with(&[]),
        format!("\r\n{}", with(&[])), // RFC 9112 §2.2
        with(&[]).replace(": ", ":"),
        with(&[]).replace(": ", ":  \t"),
        with(&[]).replace("\r\n", " \t\r\n").replacen(" \t\r\n", "\r\n", 1).replace("\r\n \t\r\n", "\r\n\r\n"),
        with(&[]).replace("Host", "HOST").replace("Sec-WebSocket", "sec-websocket").replace("Upgrade:", "uPGRADE:"),
        with(&[]).replace("websocket\r\n", "WebSocket\r\n"), // §4.2.1, 3: without case
        instead_of(CONNECTION, &["Connection: keep-alive, Upgrade"]),
        instead_of(CONNECTION, &["Connection: upgrade"]),
        instead_of(CONNECTION, &["Connection: keep-alive", "Connection: ,UPGRADE,"]),
        instead_of(UPGRADE, &["Upgrade: h2c, websocket"]),
        instead_of(UPGRADE, &["Upgrade: h2c", "Upgrade: foo/2, Websocket"]),
        instead_of(UPGRADE, &["Upgrade: websocket, websocket"]),
        with(&["Content-Length: 0"]),
        with(&["Content-Length: 0", "Content-Length: 00"]),
        with(&["Origin: null"]),
        with(&["Origin: https://page.example:8443"]),
        with(&["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]),
        with(&["Sec-WebSocket-Extensions: x; a=\"b\"", "Sec-WebSocket-Extensions: y, z"]),
        with(&["Cookie: a=caf\u{e9}; b"]),
        with(&["X-Empty:"]),
        with(&many),
        instead_of(KEY, &["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="]),
        instead_of(HOST, &["Host: [::1]:8888"]),
        request("GET /ws?x=%20 HTTP/1.2", &[], &[]),
        request("GET /ws HTTP/1.9", &[], &[]),
        request("GET http://elsewhere:1/ws HTTP/1.1", &[], &[]),
    ];
    for head in rows {
        let (outcome, out) = judged(&head, &Settings::default());
        assert!(outcome.is_ok(), "{outcome:?} for {head}");
        assert!(out.starts_with("HTTP/1.1 101 ") && out.ends_with("\r\n\r\n"), "{out}");
        assert_eq!(out.contains("Sec-WebSocket-Extensions"), head.contains("permessage-deflate"), "{head}{out}");
    }
}

#[test]
fn an_absolute_target_names_path_and_host() {
    let (opened, _) = judged(&request("GET ws://other:9/a?b HTTP/1.1", &[], &[]), &Settings::default());
    let opened = opened.unwrap();
    assert_eq!((&*opened.path, opened.host.as_deref()), ("/a?b", Some("other:9")));
    let (opened, _) = judged(&request("GET http://other HTTP/1.1", &[], &[]), &Settings::default());
    assert_eq!(&*opened.unwrap().path, "/");
}

#[test]
fn the_request_line_is_judged_before_all_else() {
    let method = |method: &str| Refusal::Method { method: method.into() };
    #[rustfmt::skip]
    let rows: &[(&str, Refusal, u16)] = &[
        ("POST / HTTP/1.1", method("POST"), 405),
        ("HEAD / HTTP/1.1", method("HEAD"), 405),
        ("OPTIONS * HTTP/1.1", method("OPTIONS"), 405),
        ("CONNECT lab:80 HTTP/1.1", method("CONNECT"), 405),
        ("get / HTTP/1.1", method("get"), 405), // RFC 9110 §9.1
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1", method("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 405),
        ("GET / HTTP/1.0", Refusal::HttpVersion { major: 1, minor: 0 }, 400),
        ("GET / HTTP/0.9", Refusal::HttpVersion { major: 0, minor: 9 }, 400),
        ("GET / HTTP/2.0", Refusal::HttpVersion { major: 2, minor: 0 }, 400),
        ("PRI * HTTP/2.0", Refusal::HttpVersion { major: 2, minor: 0 }, 400),
        ("GET / http/1.1", Refusal::StartLine, 400),
        ("GET / HTTP/1.10", Refusal::StartLine, 400),
        ("GET / HTTP/1", Refusal::StartLine, 400),
        ("GET / HTTP/11", Refusal::StartLine, 400),
        ("GET / HTTP/a.b", Refusal::StartLine, 400),
        ("GET / HTTPS/1.1", Refusal::StartLine, 400),
        ("GET / HTTP/1.1 ", Refusal::StartLine, 400),
        ("GET  / HTTP/1.1", Refusal::StartLine, 400),
        ("GET /  HTTP/1.1", Refusal::StartLine, 400),
        ("GET / a HTTP/1.1", Refusal::StartLine, 400),
        ("GET /", Refusal::StartLine, 400),
        ("GET ", Refusal::StartLine, 400),
        ("GET", Refusal::StartLine, 400),
        ("GET * HTTP/1.1", Refusal::Target, 400),
        ("GET lab:8888 HTTP/1.1", Refusal::Target, 400),
        ("GET ws HTTP/1.1", Refusal::Target, 400),
        ("GET /#a HTTP/1.1", Refusal::Target, 400),
        ("GET /%zz HTTP/1.1", Refusal::Target, 400),
        ("GET ftp://lab/ HTTP/1.1", Refusal::Target, 400),
        ("GET http://a@lab/ HTTP/1.1", Refusal::Target, 400),
        ("GET /caf\u{e9} HTTP/1.1", Refusal::StartLineOctet { octet: 0xc3, at: 8 }, 400),
    ];
    for (line, refusal, status) in rows {
        let (outcome, _) = judged(&request(line, &[], &[]), &Settings::default());
        assert_eq!(outcome.as_ref(), Err(refusal), "{line}");
        assert_eq!(refusal.status(), *status, "{line}");
    }
}

#[test]
fn header_lines_are_judged_one_by_one() {
    let missing = |header| (Refusal::Missing { header }, 400);
    let repeated = |header| (Refusal::Repeated { header }, 400);
    let invalid = |header| (Refusal::Invalid { header }, 400);
    let content = |header| (Refusal::Content { header }, 400);
    let version = |offered| (Refusal::WebSocketVersion { offered }, 426);
    let (key, protocol, exts) = ("Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions");
    #[rustfmt::skip]
    let rows = [
        // RFC 9112 §3.2
        (instead_of(HOST, &[]), missing("Host")),
        (with(&[HOST]), repeated("Host")),
        (with(&["host: other"]), repeated("Host")),
        (instead_of(HOST, &["Host:"]), invalid("Host")),
        (instead_of(HOST, &["Host: a b"]), invalid("Host")),
        (instead_of(HOST, &["Host: a@b"]), invalid("Host")),
        (instead_of(HOST, &["Host: http://lab"]), invalid("Host")),
        (instead_of(HOST, &["Host: lab:port"]), invalid("Host")),
        (instead_of(HOST, &["Host: caf\u{e9}"]), invalid("Host")),
        (request("GET http://lab/ HTTP/1.1", &[HOST], &[]), missing("Host")),
        (request("GET http://lab/ HTTP/1.1", &[HOST], &["Host: a/b"]), invalid("Host")),
        // content
        (with(&["Content-Length: 1"]), content("Content-Length")),
        (with(&["Content-Length: 0", "Content-Length: 5"]), content("Content-Length")),
        (with(&["Content-Length: 18446744073709551616"]), content("Content-Length")),
        (with(&["Content-Length: -0"]), invalid("Content-Length")),
        (with(&["Content-Length: +0"]), invalid("Content-Length")),
        (with(&["Content-Length: 0, 0"]), invalid("Content-Length")),
        (with(&["Content-Length:"]), invalid("Content-Length")),
        (with(&["Transfer-Encoding: chunked"]), content("Transfer-Encoding")),
        (with(&["transfer-encoding:"]), content("Transfer-Encoding")),
        // §4.2.1, 3 and 4
        (instead_of(UPGRADE, &[]), (Refusal::UpgradeDropped, 400)),
        (instead_of(UPGRADE, &["Upgrade: h2c"]), (Refusal::UpgradeDropped, 400)),
        (instead_of(UPGRADE, &["Upgrade: websocket/13"]), (Refusal::UpgradeDropped, 400)),
        (instead_of(UPGRADE, &["Upgrade: websockets"]), (Refusal::UpgradeDropped, 400)),
        (instead_of(UPGRADE, &["Upgrade: web socket"]), invalid("Upgrade")),
        (instead_of(UPGRADE, &["Upgrade: websocket; a"]), invalid("Upgrade")),
        (instead_of(UPGRADE, &["Upgrade: a/b/c, websocket"]), invalid("Upgrade")),
        (instead_of(CONNECTION, &[]), (Refusal::ConnectionWithoutUpgrade, 400)),
        (instead_of(CONNECTION, &["Connection: keep-alive"]), (Refusal::ConnectionWithoutUpgrade, 400)),
        (instead_of(CONNECTION, &["Connection: close"]), (Refusal::ConnectionWithoutUpgrade, 400)),
        (instead_of(CONNECTION, &["Connection: keep-alive Upgrade"]), invalid("Connection")),
        (instead_of(CONNECTION, &["Connection: Upgrade, a/b"]), invalid("Connection")),
        // 6
        (instead_of(VERSION, &[]), version(None)),
        (with(&[VERSION]), version(None)),
        (with(&["Sec-WebSocket-Version: 8"]), version(None)),
        (instead_of(VERSION, &["Sec-WebSocket-Version: 8"]), version(Some(8))),
        (instead_of(VERSION, &["Sec-WebSocket-Version: 0"]), version(Some(0))),
        (instead_of(VERSION, &["Sec-WebSocket-Version: 14"]), version(Some(14))),
        (instead_of(VERSION, &["Sec-WebSocket-Version: 013"]), version(Some(13))),
        (instead_of(VERSION, &["Sec-WebSocket-Version: 256"]), version(None)),
        (instead_of(VERSION, &["Sec-WebSocket-Version: 13, 8"]), version(None)),
        (instead_of(VERSION, &["Sec-WebSocket-Version: thirteen"]), version(None)),
        (instead_of(VERSION, &["Sec-WebSocket-Version:"]), version(None)),
        // 5
        (instead_of(KEY, &[]), missing(key)),
        (with(&[KEY]), repeated(key)),
        (instead_of(KEY, &["Sec-WebSocket-Key:"]), invalid(key)),
        (instead_of(KEY, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"]), invalid(key)),
        (instead_of(KEY, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"]), invalid(key)),
        (instead_of(KEY, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU="]), invalid(key)),
        (instead_of(KEY, &["Sec-WebSocket-Key: not base64, not at all!!"]), invalid(key)),
        // origin
        (with(&["Origin:"]), invalid("Origin")),
        (with(&["Origin: http://a http://b"]), invalid("Origin")),
        (with(&["Origin: http://caf\u{e9}"]), invalid("Origin")),
        (with(&["Origin: http://a", "Origin: http://a"]), repeated("Origin")),
        // subprotocols
        (with(&["Sec-WebSocket-Protocol:"]), invalid(protocol)),
        (with(&["Sec-WebSocket-Protocol: ,"]), invalid(protocol)),
        (with(&["Sec-WebSocket-Protocol: a, b, a"]), (Refusal::SubprotocolRepeated, 400)),
        (with(&["Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: b"]), (Refusal::SubprotocolRepeated, 400)),
        // extensions
        (with(&["Sec-WebSocket-Extensions:"]), invalid(exts)),
        (with(&["Sec-WebSocket-Extensions: a;"]), invalid(exts)),
        (with(&["Sec-WebSocket-Extensions: a; b=\"c"]), invalid(exts)),
        (with(&["Sec-WebSocket-Extensions: a", "Sec-WebSocket-Extensions: b c"]), invalid(exts)),
    ];
    for (head, (refusal, status)) in rows {
        let (outcome, _) = judged(&head, &Settings::default());
        assert_eq!(outcome, Err(refusal.clone()), "{head}");
        assert_eq!(refusal.status(), status, "{head}");
    }
}

#[test]
fn octets_that_are_no_head_are_refused_without_a_scanner_too() {
    let bare_lf = with(&[]).replacen("\r\n", "\n", 2);
    let tight = Settings {
        limits: Limits { head_bytes_max: 64, head_lines_max: 100, ..Limits::DEFAULT },
        ..Settings::default()
    };
    let few = Settings { limits: Limits { head_lines_max: 4, ..Limits::DEFAULT }, ..Settings::default() };
    #[rustfmt::skip]
    let rows = [
        (String::new(), Settings::default(), Refusal::NotAHead),
        ("GET / HTTP/1.1\r\n".to_owned(), Settings::default(), Refusal::NotAHead),
        (with(&[]) + "\r\n", Settings::default(), Refusal::NotAHead),
        (with(&[]) + "A: b\r\n\r\n", Settings::default(), Refusal::NotAHead),
        (bare_lf, Settings::default(), Refusal::BareLf { at: 16 }),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n".to_owned(), Settings::default(), Refusal::FoldedLine { at: 22 }),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n".to_owned(), Settings::default(), Refusal::SpaceInName { at: 17 }),
        ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n".to_owned(), Settings::default(), Refusal::BareCr { at: 20 }),
        ("GET / HTTP/1.1\r\nA: \0\r\n\r\n".to_owned(), Settings::default(), Refusal::ControlOctet { octet: 0, at: 19 }),
        (with(&[]), tight, Refusal::HeadTooLong { head_bytes_max: 64 }),
        (with(&[]), few, Refusal::TooManyLines { head_lines_max: 4 }),
    ];
    for (head, settings, refusal) in rows {
        assert_eq!(judged(&head, &settings).0, Err(refusal), "{head}");
    }
}

#[test]
fn a_request_without_upgrade_gets_the_page_on_any_path() {
    let policy =
        Policy { urls: vec!["ws://lab/ws".to_owned()], paths: Some(vec!["/ws".to_owned()]), ..Policy::default() };
    let page = Refusal::Page { urls: Box::new(["ws://lab/ws".to_owned()]) };
    for head in [
        "GET / HTTP/1.1\r\nHost: lab\r\n\r\n",
        "GET /favicon.ico HTTP/1.1\r\nHost: lab\r\nConnection: keep-alive\r\nOrigin: http://lab\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    ] {
        assert_eq!(judged(head, &settings(policy.clone())).0, Err(page.clone()), "{head}");
    }
    assert!(judged("GET / HTTP/1.1\r\n\r\n", &settings(policy)).0.is_err_and(|refusal| refusal.status() == 400));
}

#[test]
fn origins_and_paths_are_those_of_the_policy() {
    let policy = Policy {
        origins: Some(vec!["https://page.example".to_owned(), "null".to_owned()]),
        paths: Some(vec!["/ws".to_owned(), "/".to_owned()]),
        ..Policy::default()
    };
    #[rustfmt::skip]
    let rows = [
        (with(&[]), 101), // no browser
        (with(&["Origin: https://page.example"]), 101),
        (with(&["Origin: HTTPS://Page.Example"]), 101),
        (with(&["Origin: null"]), 101),
        (with(&["Origin: https://page.example.evil.example"]), 403),
        (with(&["Origin: http://page.example"]), 403),
        (with(&["Origin: https://page.example:8443"]), 403),
        (request("GET / HTTP/1.1", &[], &[]), 101),
        (request("GET /ws?room=1 HTTP/1.1", &[], &[]), 101),
        (request("GET http://lab HTTP/1.1", &[], &[]), 101),
        (request("GET http://lab?a HTTP/1.1", &[], &[]), 101),
        (request("GET /WS HTTP/1.1", &[], &[]), 404),
        (request("GET /ws/ HTTP/1.1", &[], &[]), 404),
        (request("GET //ws HTTP/1.1", &[], &[]), 404),
        (request("GET /%77s HTTP/1.1", &[], &[]), 404),
        (request("GET /w HTTP/1.1", &[], &[]), 404),
    ];
    for (head, status) in rows {
        let (outcome, _) = judged(&head, &settings(policy.clone()));
        assert_eq!(outcome.map_or_else(|refusal| refusal.status(), |_| 101), status, "{head}");
    }
    let nobody = settings(Policy { origins: Some(Vec::new()), ..Policy::default() });
    assert!(judged(&with(&["Origin: null"]), &nobody).0.is_err_and(|refusal| refusal.status() == 403));
}

#[test]
fn the_subprotocol_is_chosen_by_the_policy() {
    let list = |names: &[&str]| Subprotocols::List(names.iter().map(|&name| name.to_owned()).collect());
    #[rustfmt::skip]
    let rows: &[(Subprotocols, &[&str], Option<&str>)] = &[
        (Subprotocols::First, &[], None),
        (Subprotocols::First, &["Sec-WebSocket-Protocol: b, a"], Some("b")),
        (Subprotocols::First, &["sec-websocket-protocol: ,b", "Sec-WebSocket-Protocol: a"], Some("b")),
        (Subprotocols::First, &["Sec-WebSocket-Protocol: \"x\", a/b, caf\u{e9}, c d, e"], Some("e")), // no tokens before
        (Subprotocols::First, &["Sec-WebSocket-Protocol: a b"], None),
        (Subprotocols::First, &["Sec-WebSocket-Protocol: A, a"], Some("A")), // names are case-sensitive
        (Subprotocols::None, &["Sec-WebSocket-Protocol: a"], None),
        (list(&["a", "b"]), &["Sec-WebSocket-Protocol: c, b, a"], Some("b")), // the client's order
        (list(&["a"]), &["Sec-WebSocket-Protocol: b", "Sec-WebSocket-Protocol: a"], Some("a")),
        (list(&["a"]), &["Sec-WebSocket-Protocol: A"], None),
        (list(&[]), &["Sec-WebSocket-Protocol: a"], None),
    ];
    for (subprotocols, lines, expected) in rows {
        let policy = Policy { subprotocols: subprotocols.clone(), ..Policy::default() };
        let (opened, out) = judged(&with(lines), &settings(policy));
        assert_eq!(opened.unwrap().subprotocol.as_deref(), *expected, "{lines:?}");
        let line = out.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(line, *expected, "{out}");
    }
}

#[test]
fn the_server_header_is_sent_if_the_policy_names_one() {
    let named = |name: &str| settings(Policy { server_name: Some(name.to_owned()), ..Policy::default() });
    assert!(judged(&with(&[]), &named("wslab/0.1")).1.contains("\r\nServer: wslab/0.1\r\n"));
    assert!(!judged(&with(&[]), &named("a\r\nSet-Cookie: b")).1.contains("Set-Cookie"));
    assert!(!judged(&with(&[]), &Settings::default()).1.contains("Server"));
}
