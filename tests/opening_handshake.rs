//! The opening handshake (RFC 6455 §4): what is answered with 101, and with what everything else is.

use std::time::{Duration, SystemTime};

use crate::support::{
    client::{Door, End},
    http::{ACCEPT, Response, UPGRADE, upgrade_and, upgrade_with},
    process::Serve,
    wire::{PEER, SERVER, show},
};

/// How a request is cut.
const CHOPS: [usize; 3] = [usize::MAX, 1, 7];

/// Sends a head in every way and checks each answer.
fn ask_in_every_way(server: &Serve, name: &str, head: &[u8], check: impl Fn(&Response, &str)) {
    for door in server.doors() {
        for chop in CHOPS {
            let what = format!("{name}, over {}, in pieces of {chop}: {}", door.name(), head.escape_ascii());
            check(&ask(&door, head, chop, &what), &what);
        }
    }
}

fn ask(door: &Door, head: &[u8], chop: usize, what: &str) -> Response {
    let mut client = door.connect();
    client.send_in_pieces(head, chop);
    let response = client.response();
    if response.status == 101 {
        client.expect_echo("open");
    } else {
        let (rest, end) = client.rest();
        assert_eq!((show(&rest), end), (String::new(), End::Clean), "the end behind the answer, {what}");
    }
    response
}

#[test]
fn the_101_holds_what_section_4_2_2_asks_for_and_nothing_that_was_not_asked_for() {
    let server = Serve::start(&[]);
    ask_in_every_way(&server, "the plainest upgrade", UPGRADE.as_bytes(), |response, what| {
        assert_eq!(response.status_line, "HTTP/1.1 101 Switching Protocols", "{what}");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some(ACCEPT), "{what}");
        assert_eq!(response.header("Upgrade").map(str::to_lowercase).as_deref(), Some("websocket"), "{what}");
        assert_eq!(response.header("Connection").map(str::to_lowercase).as_deref(), Some("upgrade"), "{what}");
        for absent in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length", "Server"] {
            assert_eq!(response.header(absent), None, "{what}");
        }
        let date = httpdate::parse_http_date(response.header("Date").expect("a Date")).expect("a date");
        let age = SystemTime::now().duration_since(date).expect("a date that has been");
        assert!(age < Duration::from_secs(3), "a Date that is {age:?} old, {what}");
    });
}

#[test]
fn every_legal_form_of_an_upgrade_is_granted() {
    let server = Serve::start(&[]);
    #[rustfmt::skip]
    let rows: &[(&str, String)] = &[
        ("RFC 6455 §4.2.1 header names without case", UPGRADE.replace("Sec-WebSocket-", "sec-WEBSOCKET-").replace("Host", "hOST")),
        ("RFC 6455 §4.2.1 values without case", upgrade_with("Connection: Upgrade\r\n", "Connection: uPGRADE\r\n").replace(": websocket", ": WebSocket")),
        ("RFC 6455 §4.2.1 Connection is a list", upgrade_with("Connection: Upgrade\r\n", "Connection: keep-alive, Upgrade\r\n")),
        ("RFC 9110 §5.3 Connection over two lines", upgrade_with("Connection: Upgrade\r\n", "Connection: keep-alive\r\nConnection: Upgrade\r\n")),
        ("RFC 9110 §5.6.1 empty list elements", upgrade_with("Connection: Upgrade\r\n", "Connection: , keep-alive,, Upgrade ,\r\n")),
        ("RFC 9110 §7.8 websocket behind another protocol", upgrade_with(": websocket", ": h2c, websocket")),
        ("RFC 9110 §5.6.3 no space and much of it", upgrade_with("Upgrade: websocket\r\n", "Upgrade:websocket\r\n").replace("Host: localhost", "Host: \t localhost \t")),
        ("RFC 9112 §2.2 one empty line ahead", format!("\r\n{UPGRADE}")),
        ("RFC 9112 §2.3 a later 1.x", upgrade_with("HTTP/1.1", "HTTP/1.9")),
        ("RFC 9112 §3.2.2 the absolute form", upgrade_with("GET /ws", "GET http://localhost/ws")),
        ("RFC 9112 §3.2.2 the absolute form without a path", upgrade_with("GET /ws", "GET ws://localhost:1")),
        ("RFC 9112 §3.2 a host with its port", upgrade_with("Host: localhost", "Host: [::1]:8888")),
        ("RFC 6455 §10.2 any origin", upgrade_and("Origin: https://example.com\r\n")),
        ("RFC 6454 §7 the null origin", upgrade_and("Origin: null\r\n")),
        ("RFC 9110 §8.6 a length of nothing", upgrade_and("Content-Length: 0\r\n")),
        ("RFC 6455 §4.1 unknown headers", upgrade_and("Cookie: a=b; c=d\r\nX-Odd!#$: \x09value \u{e9}\r\n")),
        ("RFC 6455 §3 a query", upgrade_with("GET /ws", "GET /ws?a=1&b=%20%C3%BC")),
    ];
    for (name, head) in rows {
        ask_in_every_way(&server, name, head.as_bytes(), |response, what| {
            assert_eq!((response.status, response.header("Sec-WebSocket-Accept")), (101, Some(ACCEPT)), "{what}");
        });
    }
}

#[test]
fn every_path_echoes() {
    let server = Serve::start(&[]);
    for path in ["/", "/ws", "/wss", "/any/other?path=1", "/%2e%2e", "//"] {
        let head = upgrade_with("GET /ws", &format!("GET {path}"));
        for door in server.doors() {
            assert_eq!(ask(&door, head.as_bytes(), usize::MAX, path).status, 101, "{path}");
        }
    }
}

#[test]
fn a_request_that_is_no_upgrade_of_ours_gets_its_status() {
    let server = Serve::start(&[]);
    let without = |line: &str| upgrade_with(line, "");
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    #[rustfmt::skip]
    let rows: &[(&str, String, u16)] = &[
        ("RFC 6455 §4.2.1, 1 POST", upgrade_with("GET ", "POST "), 405),
        ("RFC 6455 §4.2.1, 1 a method that nobody knows", upgrade_with("GET ", "BREW "), 405),
        ("RFC 9110 §9.1 a method in lower case", upgrade_with("GET ", "get "), 405),
        ("RFC 6455 §4.2.1, 1 HTTP/1.0", upgrade_with("HTTP/1.1", "HTTP/1.0"), 400),
        ("RFC 6455 §4.2.1, 1 HTTP/2.0", upgrade_with("HTTP/1.1", "HTTP/2.0"), 400),
        ("RFC 9112 §3 no version", upgrade_with(" HTTP/1.1", ""), 400),
        ("RFC 9112 §2.3 a version without its minor", upgrade_with("HTTP/1.1", "HTTP/1"), 400),
        ("RFC 9112 §3 two spaces", upgrade_with("GET /ws", "GET  /ws"), 400),
        ("RFC 9112 §3.2 a target without a slash", upgrade_with("GET /ws", "GET ws"), 400),
        ("RFC 9112 §3.2 another scheme", upgrade_with("GET /ws", "GET ftp://localhost/ws"), 400),
        ("RFC 6455 §3 a fragment", upgrade_with("GET /ws", "GET /ws#here"), 400),
        ("RFC 9112 §3.2 no Host", without("Host: localhost\r\n"), 400),
        ("RFC 9112 §3.2 two Hosts", upgrade_and("Host: localhost\r\n"), 400),
        ("RFC 9112 §3.2 an empty Host", upgrade_with("Host: localhost", "Host:"), 400),
        ("RFC 9112 §3.2 a Host that is none", upgrade_with("Host: localhost", "Host: local host"), 400),
        ("RFC 9110 §4.2.4 a Host with a user", upgrade_with("Host: localhost", "Host: user@localhost"), 400),
        ("RFC 6455 §4.2.1, 3 a handshake whose Upgrade was lost", without("Upgrade: websocket\r\n"), 400),
        ("RFC 6455 §4.2.1, 3 another protocol", upgrade_with(": websocket", ": h2c"), 400),
        ("RFC 6455 §4.2.1, 4 no Connection", without("Connection: Upgrade\r\n"), 400),
        ("RFC 6455 §4.2.1, 4 a Connection without Upgrade", upgrade_with("Connection: Upgrade", "Connection: keep-alive"), 400),
        ("RFC 6455 §4.2.1, 5 no key", without(KEY), 400),
        ("RFC 6455 §4.2.1, 5 two keys", upgrade_and(KEY), 400),
        ("RFC 6455 §4.2.1, 5 a key of 15 octets", upgrade_with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), 400),
        ("RFC 6455 §4.2.1, 5 a key of 17 octets", upgrade_with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWE="), 400),
        ("RFC 6455 §4.2.1, 5 a key without padding", upgrade_with("ZQ==", "ZQ"), 400),
        ("RFC 6455 §4.2.1, 5 a key that is no base64", upgrade_with("dGhl", "d*hl"), 400),
        ("RFC 6455 §4.2.1, 6 no version", without(VERSION), 426),
        ("RFC 6455 §4.4 version 8", upgrade_with("Version: 13", "Version: 8"), 426),
        ("RFC 6455 §4.4 version 14", upgrade_with("Version: 13", "Version: 14"), 426),
        ("RFC 6455 §4.4 no number", upgrade_with("Version: 13", "Version: thirteen"), 426),
        ("RFC 6455 §4.4 two versions in a line", upgrade_with("Version: 13", "Version: 13, 8"), 426),
        ("RFC 6455 §11.3.5 two lines of versions", upgrade_and(VERSION), 426),
        ("RFC 6455 §11.3.4 no subprotocols", upgrade_and("Sec-WebSocket-Protocol: ,\r\n"), 400),
        ("RFC 6455 §4.1, 10 a subprotocol twice", upgrade_and("Sec-WebSocket-Protocol: a, b, a\r\n"), 400),
        ("RFC 6455 §9.1 extensions outside the grammar", upgrade_and("Sec-WebSocket-Extensions: a; =\r\n"), 400),
        ("RFC 6455 §4.1 a body", upgrade_and("Content-Length: 5\r\n"), 400),
        ("RFC 6455 §4.1 a chunked body", upgrade_and("Transfer-Encoding: chunked\r\n"), 400),
        ("RFC 9110 §8.6 a length that is no number", upgrade_and("Content-Length: +0\r\n"), 400),
        ("RFC 9112 §2.2 a LF alone", upgrade_with("Host: localhost\r\n", "Host: localhost\n"), 400),
        ("RFC 9112 §2.2 a CR alone", upgrade_with("Host: localhost\r\n", "Host: local\rhost\r\n"), 400),
        ("RFC 9112 §5.1 a space ahead of the colon", upgrade_with("Host:", "Host :"), 400),
        ("RFC 9112 §5.2 a folded line", upgrade_with("Connection: Upgrade\r\n", "Connection:\r\n Upgrade\r\n"), 400),
        ("RFC 9112 §2.2 a space ahead of the first header", upgrade_with("\r\nHost", "\r\n Host"), 400),
        ("RFC 9110 §5.1 a header without a name", upgrade_and(": value\r\n"), 400),
        ("RFC 9112 §5 a line without a colon", upgrade_and("nothing\r\n"), 400),
        ("RFC 9110 §5.5 a NUL", upgrade_and("X: a\0b\r\n"), 400),
        ("RFC 9112 §2.2 two empty lines ahead", format!("\r\n\r\n{UPGRADE}"), 400),
        ("no HTTP at all", "SSH-2.0-client\r\n\r\n".to_owned(), 400),
    ];
    for (name, head, status) in rows {
        ask_in_every_way(&server, name, head.as_bytes(), |response, what| {
            assert_eq!(response.status, *status, "{what}: {response:?}");
            assert!(response.header("Date").is_some(), "{what}");
            assert!(response.header("Content-Type").is_some_and(|value| value.starts_with("text/plain")), "{what}");
            assert!(response.body.len() < 512 && response.body.ends_with('\n'), "a short text for people, {what}");
            let connection = response.header("Connection").unwrap_or_default();
            assert!(connection.starts_with("close"), "{connection}, {what}");
            match status {
                405 => assert_eq!(response.header("Allow"), Some("GET"), "{what}"),
                426 => {
                    assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"), "{what}");
                    assert!(response.header("Upgrade").is_some() && connection.contains("Upgrade"), "{what}");
                }
                _ => {}
            }
        });
    }
}

#[test]
fn nothing_that_the_client_wrote_is_reflected() {
    let server = Serve::start_plain(&[]);
    let marked = "canary-7f3a";
    #[rustfmt::skip]
    let heads = [
        upgrade_with("GET /ws", &format!("GET /{marked}?{marked}")),
        upgrade_with("Host: localhost", &format!("Host: {marked}")),
        upgrade_with("GET /ws", &format!("{marked} /ws")),
        upgrade_and(&format!("Origin: https://{marked}\r\nX-{marked}: {marked}\r\n")),
        upgrade_with("Version: 13", &format!("Version: {marked}")),
        upgrade_with("Connection: Upgrade", &format!("Connection: {marked}")),
        format!("GET /{marked} HTTP/1.1\r\nHost: {marked}\r\n\r\n"),
    ];
    for head in heads {
        let response = ask(&server.ws(), head.as_bytes(), usize::MAX, &head);
        assert!(!format!("{response:?}").contains(marked), "{head}: {response:?}");
    }
}

#[test]
fn octets_behind_the_head_are_the_first_frame() {
    let server = Serve::start(&[]);
    let frames = [PEER.text("eager"), PEER.ping(b"too"), PEER.close(1000)].concat();
    let octets = [UPGRADE.as_bytes(), &frames].concat();
    for door in server.doors() {
        // Whole, and cut behind every octet from the head's last line on.
        for cut in std::iter::once(0).chain(UPGRADE.len() - 3..octets.len()) {
            let mut client = door.connect();
            client.send(&octets[..cut]);
            client.send(&octets[cut..]);
            assert_eq!(client.response().status, 101);
            let (output, end) = client.rest();
            // The Pong may pass the echo.
            let (echo, pong, close) = (SERVER.text("eager"), SERVER.pong(b"too"), SERVER.close(1000));
            let expected = [[&echo[..], &pong, &close].concat(), [&pong[..], &echo, &close].concat()];
            assert!(
                expected.contains(&output) && end == End::Clean,
                "cut at {cut} over {}: {} {end:?}",
                door.name(),
                show(&output)
            );
        }
    }
}

#[test]
fn the_subprotocol_is_the_one_that_was_configured() {
    let offers = upgrade_and("Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: mqtt\r\n");
    #[rustfmt::skip]
    let rows: &[(&[&str], Option<&str>)] = &[
        (&[], Some("chat")),
        (&["--subprotocol", "first"], Some("chat")),
        (&["--subprotocol", "none"], None),
        (&["--subprotocol", "mqtt"], Some("mqtt")),
        (&["--subprotocol", "mqtt,superchat"], Some("superchat")),
        (&["--subprotocol", "other"], None),
    ];
    for (flags, expected) in rows {
        let server = Serve::start_plain(flags);
        let response = ask(&server.ws(), offers.as_bytes(), usize::MAX, "offers");
        assert_eq!((response.status, response.header("Sec-WebSocket-Protocol")), (101, *expected), "{flags:?}");
        let response = ask(&server.ws(), UPGRADE.as_bytes(), usize::MAX, "no offer");
        assert_eq!(response.header("Sec-WebSocket-Protocol"), None, "{flags:?}");
    }
}

#[test]
fn origins_and_paths_outside_the_lists_are_refused() {
    let server = Serve::start(&[
        "--origin",
        "https://good.example",
        "--origin",
        "https://also.example:8443",
        "--path",
        "/chat",
        "--server-name",
        "lab/1",
    ]);
    let from = |origin: &str| upgrade_and(&format!("Origin: {origin}\r\n")).replace("GET /ws", "GET /chat?x=1");
    #[rustfmt::skip]
    let rows: &[(&str, String, u16)] = &[
        ("the origin", from("https://good.example"), 101),
        ("the other origin", from("https://also.example:8443"), 101),
        ("RFC 6455 §10.2 the origin without case", from("HTTPS://Good.Example"), 101),
        ("RFC 6455 §10.2 no origin: no browser", upgrade_with("GET /ws", "GET /chat"), 101),
        ("another origin", from("https://evil.example"), 403),
        ("the origin with another scheme", from("http://good.example"), 403),
        ("a longer origin", from("https://good.example.evil.example"), 403),
        ("the null origin", from("null"), 403),
        ("two origins", from("https://good.example").replace("\r\n\r\n", "\r\nOrigin: https://good.example\r\n\r\n"), 400),
        ("another path", UPGRADE.to_owned(), 404),
        ("a path below", upgrade_with("GET /ws", "GET /chat/room"), 404),
    ];
    for (name, head, status) in rows {
        ask_in_every_way(&server, name, head.as_bytes(), |response, what| {
            assert_eq!(response.status, *status, "{what}: {response:?}");
            if *status == 101 {
                assert_eq!(response.header("Server"), Some("lab/1"), "{what}");
            }
        });
    }
}
