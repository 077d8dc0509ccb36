//! The PROXY protocol before ws and wss: who is believed, what of a header, and how long one is waited for.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{
    PATIENCE, at_once,
    client::{Client, Door, End},
    http::UPGRADE,
    process::Serve,
    wire::PEER,
};

const REQUIRE: [&str; 3] = ["--proxy-protocol", "require", "-v"];
const ON: [&str; 3] = ["--proxy-protocol", "on", "-v"];
/// Not among 127.0.0.1, which the tests that use it trust alone.
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));

const CLIENT: &str = "203.0.113.7:56324";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

/// A header of version 2: this command, family and transport, and block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &len, block].concat()
}

/// [`CLIENT`] to 192.0.2.1:443, and a TLV.
fn v2_inet() -> Vec<u8> {
    v2(1, 0x11, b"\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb\x02\0\x04host")
}

fn v2_inet6() -> Vec<u8> {
    let addrs = [b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07".as_slice(), &[0; 15], b"\x01\xdc\x04\x01\xbb"];
    v2(1, 0x21, &addrs.concat())
}

/// Sends a header before TLS begins or the request.
fn connect_behind(door: &Door, header: &[u8]) -> Client {
    let mut tcp = door.tcp();
    tcp.write_all(header).unwrap();
    door.over(tcp)
}

fn open_behind(door: &Door, header: &[u8]) -> Client {
    let mut client = connect_behind(door, header);
    client.upgrade();
    client
}

/// The server drops the connection without a word, by FIN or RST.
fn expect_dropped(mut tcp: TcpStream, what: &str) {
    let mut said = Vec::new();
    let ended = tcp.read_to_end(&mut said);
    let timed_out = ended.is_err_and(|error| error.kind() != std::io::ErrorKind::ConnectionReset);
    assert!(!timed_out && said.is_empty(), "{what}: dropped without a word, not {:?}", said.escape_ascii().to_string());
}

/// The lines of the log that tell of accepted connections, each from `peer=` on.
fn accepted(server: Serve) -> Vec<String> {
    let ended = server.end_by(Signal::TERM);
    let lines = ended.stderr.lines().filter(|line| line.contains(" accepted "));
    lines.map(|line| line[line.find("peer=").expect("a peer")..].to_owned()).collect()
}

#[test]
fn a_header_tells_the_client_however_it_is_cut() {
    let six = "[2001:db8::7]:56324";
    for (header, client) in [(V1.to_vec(), CLIENT), (v2_inet(), CLIENT), (v2_inet6(), six)] {
        let server = Serve::start(&REQUIRE);
        for door in server.doors() {
            // Alone.
            open_behind(&door, &header).expect_echo("alone");
            // In one segment with what comes behind it, or as near as a corked socket gets.
            let mut tcp = door.tcp();
            SockRef::from(&tcp).set_tcp_cork(true).unwrap();
            tcp.write_all(&header).unwrap();
            let mut together = door.over(tcp);
            together.send(UPGRADE.as_bytes());
            SockRef::from(together.tcp()).set_tcp_cork(false).unwrap();
            assert_eq!(together.response().status, 101);
            together.expect_echo("together");
            // Octet by octet, each a segment.
            let mut tcp = door.tcp();
            for octet in &header {
                tcp.write_all(&[*octet]).unwrap();
            }
            let mut trickled = door.over(tcp);
            trickled.upgrade();
            trickled.expect_echo("trickled");
        }
        let accepted = accepted(server);
        assert_eq!(accepted.len(), 6, "{accepted:?}");
        for line in accepted {
            assert!(line.starts_with(&format!("peer={client} via=127.0.0.1:")), "{line}");
        }
    }
}

#[test]
fn header_request_and_first_frame_may_come_in_one_segment() {
    let server = Serve::start_plain(&REQUIRE);
    let mut client = server.ws().connect();
    client.send(&[&v2_inet()[..], UPGRADE.as_bytes(), &PEER.text("at once")].concat());
    assert_eq!(client.response().status, 101);
    assert_eq!(client.frame().payload, b"at once");
}

#[test]
fn a_header_without_a_client_means_the_connection_itself() {
    let unix = v2(1, 0x31, &[b'/'; 216]);
    let headers = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 x\x1b[31m 1 2\r\n".to_vec(),
        v2(0, 0, b""),
        v2(0, 0x11, &v2_inet()[16..28]),
        v2(1, 0, b""),
        unix,
    ];
    let server = Serve::start_plain(&REQUIRE);
    for header in &headers {
        open_behind(&server.ws(), header).expect_echo("local");
    }
    let accepted = accepted(server);
    assert_eq!(accepted.len(), headers.len());
    for line in accepted {
        assert!(line.starts_with("peer=127.0.0.1:") && !line.contains("via="), "{line}");
    }
}

#[test]
fn who_must_send_a_header_and_sends_none_or_a_wrong_one_is_dropped_at_once() {
    let mut server = Serve::start(&REQUIRE);
    let rows: &[(&[u8], &str)] = &[
        (b"GET /ws HTTP/1.1\r\n", "no header"),
        (b"\x16\x03\x01", "no header"),
        (b"PROXY TCP5", "neither TCP4, TCP6 nor UNKNOWN"),
        (b"PROXY TCP4 203.0.113.\x1b[31m 192.0.2.1 1 2\r\n", "not two addresses and two ports"),
        (b"PROXY UNKNOWN", ""),
        (b"\r\n\r\n\0\r\nQUIT\n\x31", "version 3: only 1 and 2 exist"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "65535 octets behind the first 16"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b", "11 octets can not hold"),
    ];
    for (octets, word) in rows {
        for door in server.doors() {
            let mut tcp = door.tcp();
            tcp.write_all(octets).unwrap();
            if word.is_empty() {
                // No end of the line, and it ends.
                tcp.shutdown(std::net::Shutdown::Write).unwrap();
            }
            expect_dropped(tcp, &octets.escape_ascii().to_string());
            let line = server.process.stderr_line_with("no PROXY header to be believed");
            assert!(line.contains("peer=127.0.0.1:") && line.contains(word), "{line}");
        }
    }
    // A line that does not end: the 107th octet decides.
    let mut tcp = server.ws().tcp();
    tcp.write_all(&[&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat()).unwrap();
    expect_dropped(tcp, "a long line");
    assert!(server.process.stderr_line_with("to be believed").contains("no CRLF within 107"));
    let ended = server.end_by(Signal::TERM);
    assert!(!ended.stderr.contains('\x1b'), "{:?}", ended.stderr);
    let warnings = ended.stderr.lines().filter(|line| line.contains(" WARN ")).count();
    assert!((1..10).contains(&warnings), "the operator is told, once a second at most: {}", ended.stderr);
}

#[test]
fn from_an_address_that_is_not_trusted_no_header_is_believed() {
    let server = Serve::start(&[&REQUIRE[..], &["--proxy-from", "127.0.0.1"]].concat());
    for door in server.doors() {
        let mut tcp = door.tcp_from(STRANGER);
        let _ = tcp.write_all(V1);
        expect_dropped(tcp, "a stranger where a header is required");
        open_behind(&door, V1).expect_echo("the proxy");
    }
    assert_eq!(accepted(server).len(), 2);

    let server = Serve::start(&[&ON[..], &["--proxy-from", "127.0.0.1"]].concat());
    let mut stranger = server.ws().over(server.ws().tcp_from(STRANGER));
    stranger.send(&[V1, UPGRADE.as_bytes()].concat());
    assert_eq!(stranger.response().status, 400, "a header is a bad request then");
    let mut tcp = server.wss().tcp_from(STRANGER);
    tcp.write_all(V1).unwrap();
    let mut said = Vec::new();
    let _ = tcp.read_to_end(&mut said);
    assert_eq!(said.first(), Some(&0x15), "and to TLS an alert: {}", said.escape_ascii());
    for door in server.doors() {
        let mut client = door.over(door.tcp_from(STRANGER));
        client.upgrade();
        client.expect_echo("a stranger without a header");
    }
    for line in accepted(server) {
        assert!(line.starts_with("peer=127.0.0.9:") && !line.contains("via="), "{line}");
    }
}

#[test]
fn where_headers_may_come_the_first_octets_tell() {
    let server = Serve::start(&ON);
    for door in server.doors() {
        open_behind(&door, V1).expect_echo("a header");
        door.open().expect_echo("none");
    }
    // A header that began right is judged, not passed on.
    let mut tcp = server.ws().tcp();
    tcp.write_all(b"PROXY GET / HTTP/1.1\r\n").unwrap();
    expect_dropped(tcp, "half a header");
    // A request that begins as one might: every prefix waits for the octet that decides.
    let mut client = server.ws().connect();
    client.send_in_pieces(b"PROPFIND /ws HTTP/1.1\r\nHost: x\r\n\r\n", 1);
    assert_eq!(client.response().status, 405);
    let accepted = accepted(server);
    let with_header = accepted.iter().filter(|line| line.starts_with(&format!("peer={CLIENT} via=127.0.0.1:")));
    assert_eq!((with_header.count(), accepted.len()), (2, 5), "{accepted:?}");
}

#[test]
fn by_default_a_header_is_a_bad_request() {
    let server = Serve::start_plain(&[]);
    for header in [V1, &v2_inet()] {
        let mut client = server.ws().connect();
        client.send(&[header, UPGRADE.as_bytes()].concat());
        assert_eq!(client.response().status, 400);
    }
}

#[test]
fn the_wait_for_a_header_is_a_part_of_the_opening_handshake() {
    let timeout = Duration::from_millis(600);
    let flags = ["--handshake-timeout", "600ms"];
    let required = Serve::start(&[&REQUIRE[..], &flags].concat());
    let may_come = Serve::start(&[&ON[..], &flags].concat());
    let took = |begin: Instant, what: &str| {
        let took = begin.elapsed();
        assert!(took >= timeout.mul_f32(0.95) && took < Duration::from_secs(5), "{what}: {took:?}");
    };
    // Octets that trickle do not extend it.
    let trickle = |tcp: &mut TcpStream, octets: &[u8]| {
        for octet in octets {
            let _ = tcp.write_all(&[*octet]);
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let ([ws, wss], [open_ws, open_wss]) = (required.doors(), may_come.doors());
    at_once([0, 1, 2, 3, 4], |row| {
        let begin = Instant::now();
        match row {
            0 => {
                expect_dropped(wss.tcp(), "silent");
                took(begin, "silent where a header is required");
            }
            1 => {
                let mut tcp = ws.tcp();
                trickle(&mut tcp, &V1[..8]);
                expect_dropped(tcp, "trickling");
                took(begin, "half a header");
            }
            2 => {
                // The header came in time; the request has what is left.
                let mut tcp = ws.tcp();
                trickle(&mut tcp, &V1[..4]);
                tcp.write_all(&V1[4..]).unwrap();
                let mut client = ws.over(tcp);
                assert_eq!(client.response().status, 408);
                took(begin, "a header and no request");
            }
            3 => {
                assert_eq!(open_ws.connect().response().status, 408);
                took(begin, "silent where a header may come");
            }
            _ => {
                let mut tcp = open_wss.tcp();
                let ended = tcp.read_to_end(&mut Vec::new());
                assert!(ended.is_ok_and(|octets| octets == 0));
                took(begin, "silent before TLS where a header may come");
            }
        }
    });
    // The opening handshake's time is over for nobody who has opened.
    let mut client = open_behind(&required.ws(), V1);
    std::thread::sleep(timeout);
    client.expect_echo("still here");
}

#[test]
fn the_limit_of_an_address_counts_clients_and_not_their_proxy() {
    let server = Serve::start_plain(&[&REQUIRE[..], &["--connections-per-address", "2"]].concat());
    let door = server.ws();
    let other = b"PROXY TCP4 203.0.113.8 192.0.2.1 1 2\r\n";
    let (mut first, mut second) = (open_behind(&door, V1), open_behind(&door, &v2_inet()));
    let mut third = connect_behind(&door, V1);
    third.send(UPGRADE.as_bytes());
    assert_eq!(third.response().status, 503);
    third.expect_end();
    let mut others = [open_behind(&door, other), open_behind(&door, other)];
    for client in [&mut first, &mut second].into_iter().chain(&mut others) {
        client.expect_echo("in");
    }
    first.send(&PEER.close(1000));
    first.rest();
    drop(first);
    // Its place is free again, once the server has seen the end of its socket.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut next = connect_behind(&door, V1);
        next.send(UPGRADE.as_bytes());
        match next.response().status {
            101 => break,
            status => assert!(status == 503 && Instant::now() < deadline, "{status}"),
        }
    }
}

#[test]
fn whoever_waits_with_a_header_counts_among_the_handshakes() {
    let server = Serve::start_plain(&[&REQUIRE[..], &["--handshakes-max", "2"]].concat());
    let door = server.ws();
    let mut silent: Vec<TcpStream> = (0..3).map(|_| door.tcp()).collect();
    expect_dropped(silent.remove(0), "the oldest");
    // Those who came later may go on, and one who opens is no handshake any more.
    for mut tcp in silent {
        tcp.write_all(V1).unwrap();
        let mut client = door.over(tcp);
        client.upgrade();
        client.expect_echo("in");
    }
}

#[test]
fn a_drain_does_not_wait_for_headers() {
    let mut server = Serve::start(&[&REQUIRE[..], &["--grace", "8s"]].concat());
    let silent = server.doors().map(|door| door.tcp());
    let mut client = open_behind(&server.ws(), V1);
    let begin = Instant::now();
    server.process.signal(Signal::TERM);
    server.process.stderr_line_with("draining connections=1");
    for tcp in silent {
        expect_dropped(tcp, "silent");
    }
    assert_eq!(client.frame().close_code(), Some(1001));
    client.send(&PEER.close(1001));
    assert_eq!(client.rest().1, End::Clean);
    drop(client);
    assert_eq!(server.process.wait().code, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_crowd_of_headers_is_served_and_leaves_nothing_behind() {
    let server = Serve::start_plain(&[&REQUIRE[..2], &["--workers", "2"]].concat());
    let door = server.ws();
    at_once(0..4, |_| {
        for round in 0..100 {
            let (header, other) =
                if round % 2 == 0 { (V1, &b"PROXY"[..]) } else { (&v2_inet()[..], &b"\r\n\r\n\0"[..]) };
            open_behind(&door, header).expect_echo("in");
            // And somebody who leaves in the middle of one.
            let mut tcp = door.tcp();
            tcp.write_all(other).unwrap();
        }
    });
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.process.pid())).unwrap().count();
    let deadline = Instant::now() + Duration::from_secs(10);
    let idle = Serve::start_plain(&["--workers", "2"]);
    let idle_descriptors = std::fs::read_dir(format!("/proc/{}/fd", idle.process.pid())).unwrap().count();
    while descriptors() > idle_descriptors {
        assert!(Instant::now() < deadline, "{} descriptors, {idle_descriptors} without connections", descriptors());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn proxies_that_are_not_networks_are_told_in_one_line() {
    let _: SocketAddr = CLIENT.parse().unwrap();
    for (flags, words) in [
        (["--proxy-from", "10.0.0.1/8"], ["--proxy-from", "did you mean \"10.0.0.0/8\"?"]),
        (["--proxy-from", "proxy.example"], ["--proxy-from", "expected networks such as"]),
        (["--proxy-protocol", "yes"], ["--proxy-protocol", "\"off\", \"on\" or \"require\""]),
    ] {
        let folder = Serve::folder_of_its_own();
        let mut command = crate::support::process::wslab(folder.path());
        let ended = crate::support::process::Process::start(command.arg("serve").args(flags)).wait();
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:?}");
        assert!(words.iter().all(|word| ended.stderr.contains(word)), "{words:?} in {}", ended.stderr);
    }
}
