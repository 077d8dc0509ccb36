#![allow(clippy::unwrap_used)]

use super::*;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn every_refusal() -> Vec<(Refusal, u16)> {
    let at = 7;
    let header = "Host";
    #[rustfmt::skip]
    let all = vec![
        (Refusal::TlsOnPlainPort, 400),
        (Refusal::BareCr { at }, 400),
        (Refusal::BareLf { at }, 400),
        (Refusal::ControlOctet { octet: 0, at }, 400),
        (Refusal::StartLineOctet { octet: 0x80, at }, 400),
        (Refusal::FoldedLine { at }, 400),
        (Refusal::SpaceInName { at }, 400),
        (Refusal::NoColon { at }, 400),
        (Refusal::NameOctet { octet: b'@', at }, 400),
        (Refusal::TargetTooLong { head_bytes_max: 16384 }, 414),
        (Refusal::HeadTooLong { head_bytes_max: 16384 }, 431),
        (Refusal::TooManyLines { head_lines_max: 100 }, 431),
        (Refusal::HandshakeTimeout { timeout: Duration::from_secs(10) }, 408),
        (Refusal::TooManyConnections { connections_max: 1000, retry_after: Duration::from_millis(1500) }, 503),
        (Refusal::TooManyFromAddress { connections_per_address: 256, retry_after: Duration::from_secs(1) }, 503),
        (Refusal::TooManyHandshakes { handshakes_max: 1000 }, 408),
        (Refusal::OutOfMemory, 503),
        (Refusal::ShuttingDown, 503),
        (Refusal::StartLine, 400),
        (Refusal::NotAHead, 400),
        (Refusal::HttpVersion { major: 1, minor: 0 }, 400),
        (Refusal::Method { method: "POST".into() }, 405),
        (Refusal::Target, 400),
        (Refusal::Missing { header }, 400),
        (Refusal::Repeated { header }, 400),
        (Refusal::Invalid { header }, 400),
        (Refusal::Content { header: "Content-Length" }, 400),
        (Refusal::Page { urls: Box::new(["ws://127.0.0.1:8888/ws".to_owned()]) }, 200),
        (Refusal::UpgradeDropped, 400),
        (Refusal::ConnectionWithoutUpgrade, 400),
        (Refusal::WebSocketVersion { offered: Some(8) }, 426),
        (Refusal::SubprotocolRepeated, 400),
        (Refusal::Origin { origin: "https://peer.invalid".into() }, 403),
        (Refusal::Path { path: "/peer".into() }, 404),
    ];
    all
}

/// The response as status line, header lines and body.
fn written(refusal: &Refusal) -> (String, Vec<String>, String) {
    let mut out = b"kept".to_vec();
    refusal.write(DATE, &mut out);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.strip_prefix("kept").unwrap().split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    (lines.next().unwrap(), lines.collect(), body.to_owned())
}

#[test]
fn every_refusal_is_a_whole_http_response_that_closes() {
    for (refusal, status) in every_refusal() {
        let (status_line, headers, body) = written(&refusal);
        assert_eq!(refusal.status(), status, "{refusal:?}");
        assert!(status_line.starts_with(&format!("HTTP/1.1 {status} ")), "{status_line}");
        let connection = if status == 426 { "Connection: close, Upgrade" } else { "Connection: close" };
        for expected in [
            &format!("Date: {DATE}"),
            connection,
            "Content-Type: text/plain; charset=utf-8",
            &format!("Content-Length: {}", body.len()),
        ] {
            assert_eq!(headers.iter().filter(|line| *line == expected).count(), 1, "{expected} in {headers:?}");
        }
        assert!(body.ends_with('\n') && body.lines().count() >= 2, "{body}");
    }
}

#[test]
fn a_message_is_lower_case_and_no_debug_dump() {
    for (refusal, _) in every_refusal() {
        let message = refusal.to_string();
        let exempt = matches!(refusal, Refusal::HttpVersion { .. });
        assert!(exempt || message.starts_with(|first: char| first.is_ascii_lowercase()), "{message}");
        assert!(!message.contains(['{', '}', '\n']), "{message}");
    }
}

#[test]
fn text_of_the_peer_is_not_sent_back() {
    for (refusal, _) in every_refusal() {
        let (_, headers, body) = written(&refusal);
        for text in ["peer.invalid", "/peer", "POST"] {
            assert!(!body.contains(text) && !headers.concat().contains(text), "{refusal:?}: {body}");
        }
    }
}

#[test]
fn a_status_that_needs_a_header_has_it() {
    #[rustfmt::skip]
    let rows: [(Refusal, &[&str]); 5] = [
        (Refusal::Method { method: "PUT".into() }, &["Allow: GET"]), // RFC 9110 §15.5.6
        (Refusal::WebSocketVersion { offered: None }, &["Sec-WebSocket-Version: 13", "Upgrade: websocket"]), // RFC 6455 §4.4
        (Refusal::TooManyConnections { connections_max: 1, retry_after: Duration::from_millis(1500) }, &["Retry-After: 2"]),
        (Refusal::TooManyConnections { connections_max: 1, retry_after: Duration::from_secs(5) }, &["Retry-After: 5"]),
        (Refusal::TooManyFromAddress { connections_per_address: 1, retry_after: Duration::from_secs(1) }, &["Retry-After: 1"]),
    ];
    for (refusal, expected) in rows {
        let (_, headers, _) = written(&refusal);
        for line in expected {
            assert!(headers.iter().any(|header| header == line), "{line} in {headers:?}");
        }
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let (_, headers, body) = written(&Refusal::Method { method: "HEAD".into() });
    assert_eq!(body, "");
    assert!(headers.iter().any(|line| line.starts_with("Content-Length: ")));
}

#[test]
fn the_page_names_the_urls_and_tls_is_told_its_port() {
    let urls = Box::new(["ws://lab:8888/ws".to_owned(), "wss://lab:8889/wss".to_owned()]);
    let (_, _, page) = written(&Refusal::Page { urls });
    assert!(page.contains("  ws://lab:8888/ws\n  wss://lab:8889/wss\n"), "{page}");
    assert!(!written(&Refusal::Page { urls: Box::new([]) }).2.contains(':'));
    assert!(written(&Refusal::TlsOnPlainPort).2.contains("this is the plain port, TLS is spoken on another"));
}

#[test]
fn a_date_with_a_line_break_is_left_out() {
    let mut out = Vec::new();
    Refusal::Target.write("now\r\nSet-Cookie: a", &mut out);
    assert!(!out.windows(10).any(|window| window == b"Set-Cookie"));
}
