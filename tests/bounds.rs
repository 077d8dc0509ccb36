//! Bounds of a server as a whole: connections of an address, handshakes under way, memory; and readers that are slow.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE, at_once,
    client::{Client, Door, End},
    http::UPGRADE,
    process::Serve,
    raise_open_files,
    scrape::Admin,
    wire::{Frame, PEER, SERVER},
};

/// Asks for an upgrade until it is granted.
fn open_once_there_is_room(door: &Door, from: impl Fn() -> TcpStream) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = door.over(from());
        let _ = client.try_send(UPGRADE.as_bytes());
        let response = client.response();
        if response.status == 101 {
            return client;
        }
        assert_eq!(response.status, 503);
        assert!(Instant::now() < deadline, "no place becomes free");
    }
}

fn expect_turned_away(door: &Door, from: impl Fn() -> TcpStream, why: &str) {
    let response = door.over(from()).response();
    assert_eq!(response.status, 503, "{response:?}");
    assert!(response.body.contains(why), "{response:?}");
}

/// Over TLS nothing is said: the connection ends.
fn expect_closed(mut tcp: TcpStream) {
    match tcp.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?} instead of an end"),
    }
}

#[test]
fn one_address_has_its_share_and_others_have_theirs() {
    let server = Serve::start(&["--connections-per-address", "2"]);
    let [ws, wss] = server.doors();
    let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
    let mut first = ws.over(ws.tcp_from(one));
    first.upgrade();
    let mut second = wss.over(wss.tcp_from(one));
    second.upgrade();
    for _ in 0..3 {
        expect_turned_away(&ws, || ws.tcp_from(one), "too many connections from your address");
        expect_closed(wss.tcp_from(one));
    }
    let mut others = [ws.over(ws.tcp_from(other)), ws.over(ws.tcp_from(other))];
    for client in &mut others {
        client.upgrade();
        client.expect_echo("another address");
    }
    expect_turned_away(&ws, || ws.tcp_from(other), "too many connections from your address");
    // A place that is left is given again, however the connection ended.
    second.reset();
    let third = open_once_there_is_room(&ws, || ws.tcp_from(one));
    first.send(&PEER.close(1000));
    assert_eq!(first.rest().1, End::Clean);
    drop(first);
    let fourth = open_once_there_is_room(&ws, || ws.tcp_from(one));
    for mut client in others.into_iter().chain([third, fourth]) {
        client.expect_echo("undisturbed");
    }
}

#[test]
fn an_address_whose_share_is_used_up_takes_no_places_of_others_while_it_is_told() {
    let server = Serve::start_plain(&["--connections-per-address", "1", "--connections-max", "2"]);
    let door = server.ws();
    let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
    let mut first = door.over(door.tcp_from(one));
    first.upgrade();
    // They linger, since they do not end their side.
    let told: Vec<_> = (0..50).map(|_| door.over(door.tcp_from(one))).collect();
    let mut second = door.over(door.tcp_from(other));
    second.upgrade();
    second.expect_echo("let in");
    for mut client in told {
        assert_eq!(client.response().status, 503);
    }
    first.expect_echo("undisturbed");
}

#[test]
#[cfg(target_os = "linux")]
fn who_connects_and_says_nothing_is_the_kernels_for_a_second() {
    let flags = ["--defer-accept", "1s", "--handshake-timeout", "200ms", "--admin", "127.0.0.1:0"];
    let server = Serve::start_plain(&flags);
    let mut silent = server.ws().tcp();
    server.ws().open().expect_echo("came later, spoke first");
    let accepted = Admin::of(&server).samples().get("wslab_connections_accepted_total{listener=\"ws\"}");
    assert_eq!(accepted, 1.0, "the silent one is not there yet");
    // Then it is a peer like others, whose time begins.
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
}

#[test]
fn a_thousand_stalled_handshakes_do_not_keep_an_honest_peer_out() {
    if raise_open_files() < 2400 {
        return eprintln!("skipped: it takes 2,400 open files");
    }
    at_once([0, 1], |door| {
        // A handshake timeout that does not help.
        let server = Serve::start(&["--handshake-timeout", "60s"]);
        let door = &server.doors()[door];
        let mut stalled: VecDeque<TcpStream> = (0..1000).map(|_| door.tcp()).collect();
        for _ in 0..3 {
            let mut honest = door.open();
            honest.expect_echo("let in");
            // It took the place of the oldest, who was told so where it could be.
            let mut answer = Vec::new();
            let ended = stalled.pop_front().unwrap().read_to_end(&mut answer);
            assert!(ended.is_ok(), "{ended:?} over {}", door.name());
            let expected: &[u8] = if door.name() == "ws" { b"HTTP/1.1 408 " } else { b"" };
            assert!(answer.starts_with(expected) && answer.is_empty() == expected.is_empty(), "over {}", door.name());
            // The others are waited for, the next oldest too: the honest one is no handshake any more.
            let next = stalled.front().unwrap();
            next.set_nonblocking(true).unwrap();
            assert_eq!(next.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            next.set_nonblocking(false).unwrap();
            stalled.push_back(door.tcp());
        }
    });
}

/// A message of so many octets, but for its end.
fn begun(len: u64, sent: usize) -> Vec<u8> {
    let len = [&[127][..], &len.to_be_bytes()].concat();
    PEER.frame_of_len(0x82, &len, &vec![7; sent])
}

#[test]
fn when_memory_runs_short_newcomers_are_turned_away_and_then_the_largest_is_closed_with_1013() {
    let server = Serve::start(&["--memory-max", "8MiB", "--deflate", "off"]);
    let [ws, wss] = server.doors();
    let mut bystander = ws.open();
    let mut peers: Vec<Client> = (0..6).map(|_| ws.open()).collect();
    // A loop has about 0.4 MiB for itself; 2 + 5 × 1 MiB on top of it are nine tenths of 8 MiB, and not all of it.
    peers[0].send(&begun(2 << 20, 1200 << 10));
    for peer in &mut peers[1..] {
        peer.send(&begun(1 << 20, 200_000));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = ws.connect();
        let _ = client.try_send(UPGRADE.as_bytes());
        let response = client.response();
        if response.status == 503 {
            assert!(response.body.contains("memory"), "{response:?}");
            break;
        }
        assert!(Instant::now() < deadline, "everybody is let in");
    }
    expect_closed(wss.tcp());
    peers[0].expect_silence(Duration::from_millis(10));
    bystander.expect_echo("served");
    // One more MiB, of a peer that is there already.
    bystander.send(&begun(1 << 20, 200_000));
    let (rest, end) = peers[0].rest();
    assert_eq!((rest, end), (SERVER.close(1013), End::Clean), "whoever holds most");
    // Everybody else ends the message and gets it back.
    bystander.send(&rest_of(&begun(1 << 20, 1 << 20), 200_000));
    assert_eq!(bystander.frame().payload.len(), 1 << 20);
    for peer in &mut peers[1..] {
        peer.send(&rest_of(&begun(1 << 20, 1 << 20), 200_000));
        assert_eq!(peer.frame().payload.len(), 1 << 20);
    }
    open_once_there_is_room(&ws, || ws.tcp()).expect_echo("welcome again");
}

#[test]
fn buffers_that_are_kept_for_messages_to_come_keep_nobody_out() {
    let server = Serve::start(&["--memory-max", "8MiB", "--deflate", "off"]);
    let [ws, _] = server.doors();
    // With the loop's own 0.4 MiB, 7 × 1 MiB are more than nine tenths of 8 MiB.
    let mut peers: Vec<Client> = (0..7).map(|_| ws.open()).collect();
    for peer in &mut peers {
        peer.send(&begun(1 << 20, 200_000));
    }
    for peer in &mut peers {
        peer.expect_silence(Duration::from_millis(10));
    }
    for peer in &mut peers {
        peer.send(&rest_of(&begun(1 << 20, 1 << 20), 200_000));
        assert_eq!(peer.frame().payload.len(), 1 << 20);
    }
    ws.open().expect_echo("welcome at once");
}

/// What comes behind `sent` octets of payload.
fn rest_of(frame: &[u8], sent: usize) -> Vec<u8> {
    frame[14 + sent..].to_vec()
}

/// What is sent and not read when a socket is closed resets the connection, and a reset can destroy the Close on its way.
#[test]
fn a_peer_that_goes_on_sending_when_it_is_closed_with_1013_reads_it_behind_all_it_has_sent() {
    // More than the sockets' buffers hold, less than is discarded.
    const SENT_BYTES: usize = 24 << 20;
    let server =
        Serve::start(&["--memory-max", "8MiB", "--message-max", "64MiB", "--frame-max", "64MiB", "--linger", "10s"]);
    at_once(server.doors(), |door| {
        let mut client = door.open();
        // It does not look before it has sent all.
        client.send(&begun(60 << 20, SENT_BYTES));
        let (rest, end) = client.rest();
        assert_eq!((rest, end), (SERVER.close(1013), End::Clean), "over {}", door.name());
    });
}

#[test]
fn a_queue_that_takes_all_memory_is_closed_with_1013_behind_whole_frames() {
    let flags = ["--memory-max", "8MiB", "--queue-high", "64MiB", "--deflate", "off", "--linger", "10s"];
    let server = Serve::start_plain(&flags);
    let mut steady = server.ws().open();
    let mut client = server.ws().open();
    client.tcp().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let message = PEER.binary(&vec![7; 100_000]);
    let begin = Instant::now();
    // Until the server has closed its side, whatever the kernel's buffers take.
    let mut sent = 0;
    let mut process = server.process;
    loop {
        for _ in 0..20 {
            sent += message.len();
            if client.try_send(&message).is_err() {
                break;
            }
        }
        if process.stderr_so_far().contains("memory has run out") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{sent} octets are taken from a peer that reads none");
    }
    let line = process.stderr_line_with("memory has run out");
    assert!(line.contains("closing who holds most"), "{line}");
    steady.expect_echo("undisturbed");
    let (output, end) = client.rest();
    assert_eq!(end, End::Clean, "behind all that it has sent");
    let (frames, rest) = Frame::parse_all(&output);
    assert!(rest.is_empty(), "{} octets that are no frame", rest.len());
    let (close, echoes) = frames.split_last().unwrap();
    assert_eq!(close.close_code(), Some(1013));
    assert!(echoes.iter().all(|echo| echo.payload.len() == 100_000), "{} echoes", echoes.len());
    open_once_there_is_room(&Door::ws(client.tcp().peer_addr().unwrap()), || {
        Door::ws(client.tcp().peer_addr().unwrap()).tcp()
    });
}

#[test]
fn a_slow_but_steady_reader_outlives_the_write_stall_timeout() {
    let server = Serve::start(&["--write-stall-timeout", "500ms"]);
    at_once(server.doors(), |door| {
        let mut client = door.open();
        let payload = vec![7; 16 << 20];
        let message = PEER.binary(&payload);
        client.send(&message[..14]);
        client.send(&message[14..]);
        // 1 MB/s: a send buffer of some MiB does not become "writable" for seconds.
        let begin = Instant::now();
        let mut received = 0;
        while begin.elapsed() < Duration::from_millis(2200) {
            let mut buffer = vec![0; 50_000];
            let octets = client.read(&mut buffer).unwrap();
            assert!(octets > 0, "dropped after {:?} over {}", begin.elapsed(), door.name());
            received += octets;
            // Reading slowly is what is tested: there is nothing to wait for.
            std::thread::sleep(Duration::from_millis(50));
        }
        let expected = SERVER.binary(&payload).len();
        let mut buffer = vec![0; 1 << 20];
        while received < expected {
            let octets = client.read(&mut buffer).unwrap();
            assert!(octets > 0, "dropped after {received} octets over {}", door.name());
            received += octets;
        }
        assert_eq!(received, expected);
        client.expect_echo("still here");
    });
}

#[test]
fn a_message_may_have_any_number_of_fragments() {
    let server = Serve::start_plain(&[]);
    let mut client = server.ws().open();
    let before = server.process.resident_bytes();
    let mut message = PEER.frame(0x02, b"");
    for _ in 0..200_000 {
        message.extend_from_slice(&PEER.frame(0x00, b"x"));
    }
    client.send(&message);
    client.expect_silence(Duration::from_millis(10));
    let grown = server.process.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} octets for 200,000 fragments of one");
    client.send(&PEER.frame(0x80, b"!"));
    assert_eq!(client.frame().payload.len(), 200_001);
}
