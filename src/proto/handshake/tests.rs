//! The two halves against each other, against somebody else's client, and against noise.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::proto::limits::{Limits, Role, Settings};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A head as the scanner delimits it when it comes octet by octet.
fn delimited(role: Role, octets: &[u8]) -> &[u8] {
    let mut scanner = HeadScanner::new(role);
    for (index, octet) in octets.iter().enumerate() {
        if scanner.push(std::slice::from_ref(octet), &Limits::DEFAULT).unwrap().is_some() {
            return &octets[..=index];
        }
    }
    unreachable!("no end in {}", octets.escape_ascii())
}

/// Request, answer and check; what the server and what the client hold to be agreed.
fn round_trip(request: &Request<'_>, settings: &Settings) -> (Opened, Opened) {
    let mut wire = Vec::new();
    request.write(&mut wire).unwrap();
    wire.extend_from_slice(b"\x81\x80mask");
    let mut answer = Vec::new();
    let by_server = server::answer(delimited(Role::Server, &wire), settings, DATE, &mut answer).unwrap();
    answer.extend_from_slice(b"\x81\x00");
    let by_client = client::check(delimited(Role::Client, &answer), request, &Limits::DEFAULT).unwrap();
    (by_server, by_client)
}

#[test]
fn both_halves_agree() {
    let requests = [
        Request::default(),
        Request { host: "[::1]:8889", path: "/wss?a=%20&b", ..Request::default() },
        Request { origin: Some("null"), subprotocols: &["b", "a"], ..Request::default() },
        Request {
            extensions: Some("permessage-deflate; client_max_window_bits"),
            key: [0xff; 16],
            ..Request::default()
        },
        Request { headers: &[("Cookie", "a=b"), ("Authorization", "Basic Og==")], ..Request::default() },
    ];
    let policies = [
        Policy::default(),
        Policy { subprotocols: Subprotocols::None, server_name: Some("wslab".to_owned()), ..Policy::default() },
        Policy { subprotocols: Subprotocols::List(vec!["a".to_owned()]), ..Policy::default() },
    ];
    for request in &requests {
        for policy in &policies {
            let settings = Settings { policy: policy.clone(), ..Settings::default() };
            let (mut by_server, by_client) = round_trip(request, &settings);
            // What the parameters mean is judged above the head, by the connection.
            by_server.deflate = None;
            assert_eq!(by_server, by_client, "{request:?}");
        }
    }
}

#[test]
fn a_client_understands_every_status_of_a_refusal() {
    for (refusal, status) in [
        (Refusal::Target, 400),
        (Refusal::Path { path: "/".into() }, 404),
        (Refusal::WebSocketVersion { offered: None }, 426),
        (Refusal::TooManyConnections { connections_max: 1, retry_after: std::time::Duration::from_secs(1) }, 503),
    ] {
        let mut answer = Vec::new();
        refusal.write(DATE, &mut answer);
        let outcome = client::check(delimited(Role::Client, &answer), &Request::default(), &Limits::DEFAULT);
        assert!(matches!(outcome, Err(HandshakeError::Status { status: told, .. }) if told == status), "{outcome:?}");
    }
}

#[test]
fn the_request_of_another_client_is_granted() {
    use tungstenite::client::IntoClientRequest as _;
    let request = "ws://127.0.0.1:8888/ws?a".into_client_request().unwrap();
    let (wire, key) = tungstenite::handshake::client::generate_request(request).unwrap();
    let mut answer = Vec::new();
    let opened = server::answer(delimited(Role::Server, &wire), &Settings::default(), DATE, &mut answer).unwrap();
    assert_eq!((&*opened.path, opened.host.as_deref()), ("/ws?a", Some("127.0.0.1:8888")));
    let expected = tungstenite::handshake::derive_accept_key(key.as_bytes());
    assert!(answer.windows(28).any(|window| window == expected.as_bytes()));
}

/// One octet of a valid head replaced, one removed or some repeated: the near misses that noise never finds.
fn mutated(head: &[u8], at: usize, octet: u8, kind: u8) -> Vec<u8> {
    let mut head = head.to_vec();
    let at = at % head.len();
    match kind {
        0 => head[at] = octet,
        1 => drop(head.remove(at)),
        2 => head.insert(at, octet),
        _ => head.extend_from_within(at..),
    }
    head
}

proptest! {
    #[test]
    fn random_octets_are_refused_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        prop_assert!(server::answer(&octets, &Settings::default(), DATE, &mut out).is_err());
        prop_assert!(client::check(&octets, &Request::default(), &Limits::DEFAULT).is_err());
        let _ = extensions::offers([&octets[..]]);
    }

    /// Also: the judges let nothing pass that the scanner refuses, so it does not matter who looks first.
    #[test]
    fn a_mutated_head_never_panics_and_never_passes_a_scanner_that_refuses(at in any::<usize>(), octet in any::<u8>(), kind in 0..4_u8) {
        let request = Request { origin: Some("http://page"), subprotocols: &["a", "b"], extensions: Some("x; y=\"1\""), ..Request::default() };
        let mut wire = Vec::new();
        request.write(&mut wire).unwrap();
        let wire = mutated(&wire, at, octet, kind);
        let mut answer = Vec::new();
        let judged = server::answer(&wire, &Settings::default(), DATE, &mut answer);
        let scanned = HeadScanner::new(Role::Server).push(&wire, &Limits::DEFAULT);
        prop_assert!(judged.is_err() || scanned == Ok(Some(wire.len())), "{}", wire.escape_ascii());
        if let Err(refusal) = scanned {
            prop_assert!(judged.is_err(), "{refusal}");
        }

        let mut answer = Vec::new();
        let mut valid = Vec::new();
        request.write(&mut valid).unwrap();
        server::answer(&valid, &Settings::default(), DATE, &mut answer).unwrap();
        let answer = mutated(&answer, at, octet, kind);
        let judged = client::check(&answer, &request, &Limits::DEFAULT);
        prop_assert!(judged.is_err() || HeadScanner::new(Role::Client).push(&answer, &Limits::DEFAULT) == Ok(Some(answer.len())));
    }

    #[test]
    fn a_refused_octet_string_still_gets_a_whole_answer(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Err(refusal) = server::answer(&octets, &Settings::default(), DATE, &mut Vec::new()) {
            let mut out = Vec::new();
            refusal.write(DATE, &mut out);
            prop_assert!(matches!(HeadScanner::new(Role::Client).push(&out, &Limits::DEFAULT), Ok(Some(_))));
        }
    }
}
