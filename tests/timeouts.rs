//! Every wait for a peer has an end.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use crate::support::{
    at_once,
    client::End,
    http::UPGRADE,
    process::Serve,
    wire::{PEER, SERVER, show},
};

/// Longer than the timeouts in these tests, shorter than any default.
const SOON: Duration = Duration::from_millis(2500);

fn expect_soon(begin: Instant, at_least: Duration, what: &str) {
    let took = begin.elapsed();
    assert!(took >= at_least.mul_f32(0.95) && took < SOON, "{what}: {took:?}");
}

#[test]
fn a_peer_that_never_asks_is_told_408_at_the_handshake_timeout() {
    let timeout = Duration::from_millis(300);
    let server = Serve::start(&["--handshake-timeout", "300ms"]);
    at_once(server.doors(), |door| {
        for begun in ["", "GET /ws HTTP/1.1\r\n", &UPGRADE[..UPGRADE.len() - 1]] {
            let begin = Instant::now();
            let mut client = door.connect();
            client.send(begun.as_bytes());
            let response = client.response();
            expect_soon(begin, timeout, &format!("{begun:?} over {}", door.name()));
            assert_eq!(response.status, 408, "{response:?}");
            client.expect_end();
            expect_soon(begin, timeout, &format!("the end, {begun:?} over {}", door.name()));
        }
    });
}

#[test]
fn the_handshake_timeout_includes_tls() {
    let timeout = Duration::from_millis(300);
    let server = Serve::start(&["--handshake-timeout", "300ms"]);
    let door = server.wss();
    at_once([&b""[..], b"\x16\x03\x01"], |begun| {
        let begin = Instant::now();
        let mut tcp = door.tcp();
        std::io::Write::write_all(&mut tcp, begun).unwrap();
        // Nothing can be told to a peer with whom nothing was agreed; it is let go.
        let ended = tcp.read_to_end(&mut Vec::new());
        assert!(ended.is_ok(), "{ended:?}");
        expect_soon(begin, timeout, &format!("the end for a peer that sent {begun:02x?}"));
    });
}

#[test]
fn an_open_connection_outlives_the_handshake_timeout() {
    let server = Serve::start(&["--handshake-timeout", "100ms"]);
    at_once(server.doors(), |door| {
        let mut client = door.open();
        client.expect_silence(Duration::from_millis(300));
        client.expect_echo("still here");
    });
}

#[test]
fn a_silent_peer_is_closed_with_1001_at_the_idle_timeout() {
    let timeout = Duration::from_millis(300);
    let server = Serve::start(&["--idle-timeout", "300ms"]);
    at_once(server.doors(), |door| {
        let begin = Instant::now();
        let mut client = door.open();
        let close = client.frame();
        expect_soon(begin, timeout, door.name());
        assert_eq!(close.close_code(), Some(1001), "over {}", door.name());
        client.send(&PEER.close(1001));
        client.expect_end();
    });
}

#[test]
fn octets_of_any_kind_put_the_idle_timeout_off() {
    let server = Serve::start(&["--idle-timeout", "300ms"]);
    at_once(server.doors(), |door| {
        let begin = Instant::now();
        let mut client = door.open();
        for octet in PEER.pong(b"unasked").into_iter().chain(PEER.text("x")) {
            client.expect_silence(Duration::from_millis(50));
            client.send(&[octet]);
        }
        assert!(begin.elapsed() > Duration::from_millis(600), "the test is as long as it means to be");
        assert_eq!(client.frame().payload, b"x", "over {}", door.name());
    });
}

#[test]
fn a_peer_that_answers_no_close_is_dropped_at_the_close_timeout() {
    let server = Serve::start(&["--idle-timeout", "100ms", "--close-timeout", "300ms"]);
    at_once(server.doors(), |door| {
        // From before the server can have read its last octet: its clock may be well ahead of what we notice.
        let begin = Instant::now();
        let mut client = door.open();
        assert_eq!(client.frame().close_code(), Some(1001), "over {}", door.name());
        let (rest, _) = client.rest();
        assert_eq!(show(&rest), "", "nothing behind a Close");
        expect_soon(begin, Duration::from_millis(400), door.name());
    });
}

#[test]
fn messages_behind_the_servers_close_are_read_and_not_answered() {
    let server = Serve::start(&["--idle-timeout", "100ms", "--close-timeout", "5s"]);
    at_once(server.doors(), |door| {
        let mut client = door.open();
        assert_eq!(client.frame().close_code(), Some(1001), "over {}", door.name());
        // §5.5.1: sent before the Close was seen; §1.4: dropped, and the Close is still waited for.
        client.send(&[PEER.text("crossed"), PEER.binary(&[7; 1000]), PEER.close(1001)].concat());
        client.expect_end();
    });
}

#[test]
fn a_silent_peer_is_pinged_and_its_pong_keeps_it() {
    let server = Serve::start(&["--ping-interval", "150ms", "--idle-timeout", "600ms"]);
    at_once(server.doors(), |door| {
        let begin = Instant::now();
        let mut client = door.open();
        for _ in 0..6 {
            let ping = client.frame();
            assert_eq!((ping.first, ping.payload.len()), (0x89, 0), "over {}", door.name());
            client.send(&PEER.pong(&ping.payload));
        }
        assert!(begin.elapsed() > Duration::from_millis(750), "{:?}", begin.elapsed());
        // One that leaves the pings unanswered gets three, and then the end.
        for _ in 0..3 {
            assert_eq!(client.frame().first, 0x89, "over {}", door.name());
        }
        assert_eq!(client.frame().close_code(), Some(1001), "over {}", door.name());
    });
}

#[test]
fn by_default_nothing_is_sent_unasked() {
    let server = Serve::start(&[]);
    at_once(server.doors(), |door| {
        let mut client = door.open();
        client.expect_silence(Duration::from_millis(400));
        client.expect_echo("asked");
    });
}

#[test]
fn a_peer_that_never_reads_is_dropped_at_the_write_stall_timeout_and_holds_nobody() {
    let server = Serve::start(&["--write-stall-timeout", "400ms"]);
    let doors = server.doors();
    at_once(server.doors(), |door| {
        let mut others = doors.clone().map(|door| door.open());
        let mut client = door.open();
        client.tcp().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let message = PEER.binary(&vec![7; 1 << 20]);
        let begin = Instant::now();
        // Until no more is taken, and then until the socket is broken. With TLS nothing taken is said in two ways: rustls'
        // buffer, once full, takes 0 octets without an error as long as the socket took any of what it held.
        let mut rest = &message[..];
        let dropped = loop {
            match client.send_some(rest) {
                Ok(n) if n == rest.len() => rest = &message,
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => break error,
            }
            assert!(begin.elapsed() < Duration::from_secs(8), "a peer that never reads is held over {}", door.name());
            for other in &mut others {
                other.expect_echo("meanwhile");
            }
        };
        assert!(
            matches!(dropped.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
            "{dropped} over {}",
            door.name()
        );
    });
}

#[test]
fn a_peer_that_reads_slowly_is_not_dropped() {
    let server = Serve::start_plain(&["--write-stall-timeout", "600ms"]);
    let mut client = server.ws().open();
    let payload = vec![7; 16 << 20];
    let message = PEER.binary(&payload);
    let mut writer = client.tcp().try_clone().unwrap();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &message).unwrap());
    // Pauses are shorter than the timeout, all of them together are longer.
    let begin = Instant::now();
    let mut received = Vec::new();
    let mut reader = client.tcp().try_clone().unwrap();
    while received.len() < SERVER.binary(&payload).len() {
        let mut buffer = vec![0; 1 << 20];
        let octets = reader.read(&mut buffer).unwrap();
        assert!(octets > 0, "dropped after {:?}, {} octets", begin.elapsed(), received.len());
        received.extend_from_slice(&buffer[..octets]);
        if begin.elapsed() < Duration::from_millis(1200) {
            // Reading slowly is what is tested: there is nothing to wait for.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(received == SERVER.binary(&payload), "the echo of 16 MiB");
    sender.join().unwrap();
    client.expect_echo("still here");
}

#[test]
fn a_peer_that_neither_reads_nor_ends_is_let_go_after_its_close() {
    let server = Serve::start(&["--linger", "200ms"]);
    at_once(server.doors(), |door| {
        let mut client = door.open();
        client.send(&PEER.close(1000));
        let (_, end) = client.rest();
        assert_eq!(end, End::Clean, "over {}", door.name());
        // The server has closed the socket once an octet of ours is answered with a reset.
        let begin = Instant::now();
        while client.tcp().peek(&mut [0]).is_ok() && std::io::Write::write_all(&mut client.tcp(), b"x").is_ok() {
            assert!(begin.elapsed() < SOON, "the socket lingers over {}", door.name());
            std::thread::yield_now();
        }
    });
}
