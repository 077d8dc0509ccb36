//! Servers that go wrong while they are measured: every run ends in bounded time, with its errors by kind and in words.

use std::{
    collections::BTreeMap,
    net::TcpStream,
    time::{Duration, Instant},
};

use tungstenite::{Bytes, Message as Frame, WebSocket};
use wslab::bench::{
    ErrorKind, Measured, Plan,
    plan::{Arrivals, Load, Pace, Scenario, Span},
    sweep,
};

use super::{Onlooker, Peer, echo, endpoint, measure, number, plan, stranger};

fn serving(act: impl Fn(&mut WebSocket<TcpStream>) + Clone + Send + 'static) -> String {
    let addr = stranger(move |socket| {
        if let Ok(mut server) = tungstenite::accept(socket) {
            act(&mut server);
        }
    });
    format!("ws://{addr}/")
}

/// Echoes so many.
fn echo_some(server: &mut WebSocket<TcpStream>, messages: usize) {
    for _ in 0..messages {
        let Ok(message) = server.read() else { return };
        if server.send(message).is_err() {
            return;
        }
    }
}

fn check(measured: &Measured, kind: ErrorKind, count: u64, said: &str) {
    let errors = &measured.errors;
    let (counted, words) = errors.get(&kind).unwrap_or_else(|| panic!("no {kind:?}: {errors:?}"));
    assert_eq!((*counted, errors.len()), (count, 1), "{errors:?}");
    assert!(words.contains(said) && !words.contains('\n'), "{words}");
}

#[test]
fn a_server_that_closes_in_mid_run_ends_the_run() {
    let url = serving(|server| {
        echo_some(server, 10);
        let _ = server.close(None);
        while server.read().is_ok() {}
    });
    let measured = measure(&plan(), &url);
    assert_eq!((measured.sent, measured.completed), (11, 10));
    check(&measured, ErrorKind::Closed, 1, "closed by the peer");

    // In an open loop too: nobody is left to send to.
    let load = Load::Open { rate: 1000.0, arrivals: Arrivals::Constant, pace: Pace::Timer };
    let begun = Instant::now();
    let measured = measure(&Plan { load, span: Span::Time(Duration::from_secs(60)), ..plan() }, &url);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(measured.completed, 10);
    assert!(measured.errors.contains_key(&ErrorKind::Closed) && measured.wall < Duration::from_secs(20));
}

#[test]
fn a_server_that_disappears_is_told_from_one_that_closes() {
    let url = serving(|server| {
        echo_some(server, 10);
        // Unread input and a socket that is dropped: a reset, or an end without a Close.
    });
    let measured = measure(&plan(), &url);
    assert_eq!(measured.completed, 10);
    let kinds: Vec<_> = measured.errors.keys().copied().collect();
    assert!(kinds == [ErrorKind::Io] || kinds == [ErrorKind::Closed], "{:?}", measured.errors);
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let url = serving(|server| {
        echo_some(server, 10);
        let _ = server.get_ref().set_read_timeout(Some(Duration::from_secs(60)));
        while server.read().is_ok() {}
    });
    // All that a stalled connection owes counts.
    let load = Load::Closed { pipeline: number(4) };
    let timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let plan = Plan { load, timeout, span: Span::Time(Duration::from_secs(60)), ..plan() };
    let measured = measure(&plan, &url);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((measured.sent, measured.completed), (14, 10));
    check(&measured, ErrorKind::Timeout, 4, "no answer within 300 ms");
}

#[test]
fn wrong_answers_are_counted_and_said() {
    let wrong = |change: fn(Vec<u8>) -> Vec<u8>| {
        serving(move |server| {
            while let Ok(Frame::Binary(octets)) = server.read() {
                if server.send(Frame::Binary(Bytes::from(change(octets.to_vec())))).is_err() {
                    return;
                }
            }
        })
    };
    let flipped = wrong(|mut octets| {
        octets[20] ^= 1;
        octets
    });
    let short = wrong(|octets| octets[1..].to_vec());
    let plan = Plan { span: Span::Messages(50), ..plan() };
    for (url, said) in [(flipped, "differs from octet 20 on"), (short, "an answer of 63 octets to a message of 64")] {
        let measured = measure(&plan, &url);
        assert_eq!((measured.sent, measured.completed), (50, 0));
        assert!(measured.service.is_empty(), "what is wrong has no latency");
        check(&measured, ErrorKind::WrongEcho, 50, said);
        // Asked not to look, nobody looks.
        let unchecked = measure(&Plan { check: false, ..plan.clone() }, &url);
        assert_eq!((unchecked.completed, unchecked.errors.len()), (50, 0));
    }
    // Two echoes swapped: each is somebody's, and neither where it belongs.
    let swapped = serving(|server| {
        while let (Ok(first), Ok(second)) = (server.read(), server.read()) {
            if server.send(second).is_err() || server.send(first).is_err() {
                return;
            }
        }
    });
    let measured = measure(&Plan { load: Load::Closed { pipeline: number(2) }, ..plan.clone() }, &swapped);
    check(&measured, ErrorKind::WrongEcho, 50, "another message's echo");
    let greeting = serving(|server| {
        let _ = server.send(Frame::Text("welcome".into()));
        echo_some(server, 50);
        while server.read().is_ok() {}
    });
    let measured = measure(&plan, &greeting);
    assert!(measured.errors[&ErrorKind::WrongEcho].0 > 0, "{:?}", measured.errors);
}

#[test]
fn errors_of_the_warm_up_are_told_apart_from_those_that_count() {
    let url = serving(|server| {
        for number in 0.. {
            let Ok(Frame::Binary(octets)) = server.read() else { return };
            let answer = if number < 5 { Bytes::from_static(b"not warm yet") } else { octets };
            if server.send(Frame::Binary(answer)).is_err() {
                return;
            }
        }
    });
    let open = Load::Open { rate: 100.0, arrivals: Arrivals::Constant, pace: Pace::Timer };
    for load in [plan().load, open] {
        // The fifth answer comes within the warm-up, unless the machine stands still for most of it.
        let warm = Plan { load, warmup: Duration::from_secs(1), span: Span::Messages(50), ..plan() };
        let measured = measure(&warm, &url);
        assert_eq!((measured.sent, measured.completed, &measured.errors), (50, 50, &BTreeMap::new()), "{load:?}");
        let (count, said) = &measured.warmup_errors[&ErrorKind::WrongEcho];
        assert_eq!((*count, said.as_str()), (5, "an answer of 12 octets to a message of 64"), "{load:?}");
        let cold = measure(&Plan { warmup: Duration::ZERO, ..warm }, &url);
        check(&cold, ErrorKind::WrongEcho, 5, "an answer of 12 octets");
        assert!((cold.completed, cold.warmup_errors.is_empty()) == (45, true), "{load:?}: {cold:?}");
    }
    // Handshakes are what this scenario counts.
    let refused = format!("ws://{}/", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let knocking = Plan { scenario: Scenario::Connect, warmup: Duration::from_secs(60), ..plan() };
    let measured = measure(&knocking, &refused);
    assert!(measured.errors.is_empty() && measured.warmup_errors.contains_key(&ErrorKind::Connect), "{measured:?}");
    // A connection that is lost is missing in what counts, whenever it was lost.
    let closing = serving(|server| {
        let _ = server.close(None);
        while server.read().is_ok() {}
    });
    let measured = measure(&Plan { warmup: Duration::from_secs(60), ..plan() }, &closing);
    assert_eq!((measured.errors[&ErrorKind::Closed].0, measured.warmup_errors.len()), (1, 0), "{measured:?}");
}

#[test]
fn handshakes_that_fail_say_how() {
    use std::io::{Read as _, Write as _};
    let answering = |answer: &'static [u8]| {
        let addr = stranger(move |mut socket| {
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(answer);
        });
        format!("ws://{addr}/")
    };
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("ws://{}/", listener.local_addr().unwrap())
    };
    let silent =
        format!("ws://{}/", stranger(|mut socket| while socket.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}));
    let plan = Plan { timeout: Duration::from_millis(500), ..plan() };
    for (url, kind, said) in [
        (refused, ErrorKind::Connect, "Connection refused"),
        (answering(b"HTTP/1.1 404 Not Found\r\n\r\n"), ErrorKind::Handshake, "404 Not Found"),
        (answering(b"SSH-2.0-x\r\n\r\n"), ErrorKind::Handshake, "does not speak HTTP"),
        (answering(b""), ErrorKind::Handshake, "closed the connection in the opening handshake"),
        (silent, ErrorKind::Timeout, "no answer to the opening handshake"),
    ] {
        let measured = measure(&Plan { connections: vec![number(2)], ..plan.clone() }, &url);
        assert_eq!((measured.sent, measured.connections, measured.wall), (0, 0, Duration::ZERO));
        check(&measured, kind, 2, said);
        let knocking = measure(&Plan { scenario: Scenario::Connect, span: Span::Messages(3), ..plan.clone() }, &url);
        assert_eq!((knocking.sent, knocking.completed), (3, 0));
        check(&knocking, kind, 3, said);
    }
}

#[test]
fn an_interrupted_run_keeps_what_it_has() {
    let peer = Peer::start(echo());
    for load in [
        Load::Closed { pipeline: number(1) },
        Load::Open { rate: 2000.0, arrivals: Arrivals::Poisson, pace: Pace::Timer },
    ] {
        let begun = Instant::now();
        let plan = Plan { load, span: Span::Time(Duration::from_secs(60)), ..plan() };
        let mut onlooker = Onlooker(|| begun.elapsed() > Duration::from_millis(400));
        let parts = sweep(&plan, &[endpoint(&peer.url())], ToString::to_string, &mut onlooker, &mut |_| false).unwrap();
        let measured = &parts[0].measured;
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(measured.completed > 10 && measured.errors.is_empty(), "{} {:?}", measured.completed, measured.errors);
        assert!(
            measured.wall < Duration::from_secs(15) && measured.wall > Duration::from_millis(50),
            "{:?}",
            measured.wall
        );
    }
}
