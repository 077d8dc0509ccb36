//! Peers that are no WebSocket clients, or bad ones: none of them holds the server, and each gets a clean end.

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    client::{Door, End, tls_over},
    http::{UPGRADE, upgrade_and, upgrade_with},
    process::Serve,
    wire::{PEER, SERVER, show},
};

#[test]
fn a_plain_get_gets_a_page_that_names_the_urls() {
    // Ports of the test's own choice, on a loopback address that no other test uses.
    let host = format!("127.77.{}.{}", std::process::id() >> 8 & 255, std::process::id() & 255);
    let (ws, wss) = (format!("{host}:18888"), format!("{host}:18889"));
    let server = Serve::launch(&["--listen", &ws, "--listen-tls", &wss], &[], |_| {}, Serve::folder_of_its_own());
    expect_page(&server, &[server.ws()]);
}

#[test]
fn the_page_names_the_urls_also_where_the_system_chose_the_port() {
    let server = Serve::start(&[]);
    expect_page(&server, &server.doors());
}

/// Asks every door for the page, which names the URLs of the ready line.
fn expect_page(server: &Serve, doors: &[Door]) {
    for door in doors {
        let mut client = door.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.body.contains("WebSocket server"), "{response:?}");
        for url in [&server.ready["ws"][0], &server.ready["wss"][0]] {
            let url = url.as_str().unwrap();
            assert!(response.body.contains(url), "{url} is on the page over {}: {}", door.name(), response.body);
        }
        client.expect_end();
    }
}

#[test]
fn head_requests_get_no_body() {
    let server = Serve::start_plain(&[]);
    let mut client = server.ws().connect();
    client.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (octets, end) = client.rest();
    let text = String::from_utf8(octets).unwrap();
    assert!(text.starts_with("HTTP/1.1 ") && text.ends_with("\r\n\r\n"), "{text}");
    assert_eq!((text.matches("\r\n\r\n").count(), end), (1, End::Clean), "{text}");
}

#[test]
fn tls_on_the_plain_port_gets_a_400_that_says_so() {
    let server = Serve::start(&[]);
    // A whole ClientHello, and what of it may come first.
    let config = crate::support::client::client_config(&server.ca());
    let mut hello = Vec::new();
    let mut tls = rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    tls.write_tls(&mut hello).unwrap();
    for octets in [&hello[..], &hello[..1]] {
        let mut client = server.ws().connect();
        client.send(octets);
        let response = client.response();
        assert_eq!(response.status, 400, "{response:?}");
        assert!(response.body.contains("TLS") && response.body.contains("plain port"), "{response:?}");
        client.expect_end();
    }
}

#[test]
fn plain_octets_on_the_tls_port_get_a_clean_end() {
    let server = Serve::start(&[]);
    for octets in [UPGRADE.as_bytes(), b"GET / HTTP/1.0\r\n\r\n", b"\x00\x00\x00\x00\x00\x00", &[0xff; 4096]] {
        let mut tcp = server.wss().tcp();
        tcp.write_all(octets).unwrap();
        let mut answer = Vec::new();
        let ended = tcp.read_to_end(&mut answer);
        assert!(ended.is_ok(), "{ended:?} instead of an end, behind {:?}", octets.escape_ascii().to_string());
        // RFC 8446 §6: an alert is a record of type 21; nothing else is said.
        assert!(answer.is_empty() || (answer[0] == 21 && answer.len() == 7), "{answer:02x?}");
    }
    server.wss().open().expect_echo("others are served");
}

#[test]
fn a_head_cut_at_every_octet_is_the_same_head() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        for cut in 1..UPGRADE.len() {
            let mut client = door.connect();
            client.send(&UPGRADE.as_bytes()[..cut]);
            client.send(&UPGRADE.as_bytes()[cut..]);
            assert_eq!(client.response().status, 101, "cut at {cut} over {}", door.name());
        }
    }
}

#[test]
fn a_head_that_ends_early_is_ended_in_return() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        for cut in [0, 1, 20, UPGRADE.len() - 1] {
            let mut client = door.connect();
            client.send(&UPGRADE.as_bytes()[..cut]);
            client.half_close();
            client.expect_end();
        }
    }
}

#[test]
fn a_head_beyond_its_bounds_gets_431_and_a_request_line_414() {
    let server = Serve::start(&[]);
    let lines = |count: usize| "X: y\r\n".repeat(count);
    // Ours has 5 header lines.
    let filler =
        |octets: usize| format!("X-Filler: {}\r\n", "x".repeat(octets - UPGRADE.len() - "X-Filler: \r\n".len()));
    let path = |octets: usize| format!("GET /{}", "p".repeat(octets - (UPGRADE.len() - "ws".len())));
    const KIB_16: usize = 16 * 1024;
    #[rustfmt::skip]
    let rows: &[(&str, String, u16)] = &[
        ("100 header lines", upgrade_and(&lines(95)), 101),
        ("101 header lines", upgrade_and(&lines(96)), 431),
        ("a head of 16 KiB", upgrade_and(&filler(KIB_16)), 101),
        ("a head of 16 KiB and one octet", upgrade_and(&filler(KIB_16 + 1)), 431),
        ("a head of 60 KiB", upgrade_and(&filler(60 * 1024)), 431),
        ("a long path", upgrade_with("GET /ws", &path(KIB_16)), 101),
        ("a request line of 16 KiB", format!("GET /{}", "p".repeat(KIB_16)), 414),
        ("a request line of 40 KiB", format!("GET /{} HTTP/1.1\r\n", "p".repeat(40 * 1024)), 414),
        ("a method of 16 KiB", "M".repeat(KIB_16), 414),
    ];
    for door in server.doors() {
        for (name, head, status) in rows {
            for chop in [usize::MAX, 1000] {
                let mut client = door.connect();
                client.send_in_pieces(head.as_bytes(), chop);
                let response = client.response();
                assert_eq!(response.status, *status, "{name} over {}, in pieces of {chop}", door.name());
                if *status != 101 {
                    client.expect_end();
                }
            }
        }
    }
}

#[test]
fn a_head_of_16_kib_sent_octet_by_octet_is_read_in_linear_time() {
    let server = Serve::start_plain(&[]);
    let head = upgrade_and(&format!("X-Filler: {}\r\n", "x".repeat(15 * 1024)));
    let begin = Instant::now();
    let mut client = server.ws().connect();
    client.send_in_pieces(head.as_bytes(), 1);
    assert_eq!(client.response().status, 101);
    // A reader that began anew at every octet would look at 10^8 of them.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_trickled_handshake_is_cut_at_the_handshake_timeout() {
    let server = Serve::start(&["--handshake-timeout", "300ms"]);
    for door in server.doors() {
        let begin = Instant::now();
        let mut client = door.connect();
        client.tcp().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // One octet every 20 ms, which would take six seconds for a whole request.
        let mut octets = UPGRADE.bytes().cycle();
        let (output, end) = loop {
            assert!(begin.elapsed() < PATIENCE, "a trickle goes on for ever over {}", door.name());
            let _ = client.try_send(&[octets.next().unwrap()]);
            if let Some(ended) = client.try_rest() {
                break ended;
            }
        };
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?} over {}", door.name());
        assert!(output.starts_with(b"HTTP/1.1 408 "), "{} over {}", show(&output), door.name());
        assert_eq!(end, End::Clean, "over {}", door.name());
    }
}

#[test]
fn what_was_sent_before_a_half_close_is_still_answered() {
    let server = Serve::start(&[]);
    let large = vec![7; 3 << 20];
    for door in server.doors() {
        let mut client = door.connect();
        client.send(&[UPGRADE.as_bytes(), &PEER.text("last words"), &PEER.binary(&large)].concat());
        client.half_close();
        assert_eq!(client.response().status, 101);
        assert_eq!(client.frame().payload, b"last words", "over {}", door.name());
        assert!(client.frame().payload == large, "3 MiB over {}", door.name());
        client.expect_end();
    }
}

#[test]
fn a_close_behind_a_half_close_is_answered() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        client.send(&[PEER.text("bye"), PEER.close(1001)].concat());
        client.half_close();
        let (output, end) = client.rest();
        let expected = [SERVER.text("bye"), SERVER.close(1001)].concat();
        assert_eq!((show(&output), end), (show(&expected), End::Clean), "over {}", door.name());
    }
}

#[test]
fn a_reset_or_a_fin_in_the_midst_of_anything_harms_nobody_else() {
    let server = Serve::start(&[]);
    let frame = PEER.binary(&[7; 1000]);
    for door in server.doors() {
        let mut steady = door.open();
        for cut in [1, 2, 3, 8, 500] {
            let mut client = door.open();
            client.send(&frame[..cut]);
            client.reset();
            let mut client = door.open();
            client.send(&frame[..cut]);
            client.half_close();
            client.expect_end();
            steady.expect_echo("steady");
        }
        // In the midst of a fragmented message, of a head, and before a word.
        let mut client = door.open();
        client.send(&PEER.frame(0x01, b"begun"));
        client.reset();
        let mut client = door.connect();
        client.send(&UPGRADE.as_bytes()[..30]);
        client.reset();
        door.connect().reset();
        drop(door.tcp());
        steady.expect_echo("steady");
    }
}

#[test]
fn a_peer_that_leaves_with_echoes_on_their_way_harms_nobody_else() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut steady = door.open();
        for _ in 0..5 {
            let mut client = door.open();
            for _ in 0..16 {
                client.send(&PEER.binary(&[7; 60_000]));
            }
            client.reset();
        }
        steady.expect_echo("steady");
    }
}

#[test]
fn a_tls_handshake_that_breaks_off_harms_nobody_else() {
    let server = Serve::start(&[]);
    let config = std::sync::Arc::new(crate::support::client::client_config(&server.ca()));
    let mut hello = Vec::new();
    let mut tls = rustls::ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    tls.write_tls(&mut hello).unwrap();
    for cut in [1, 5, hello.len() / 2, hello.len()] {
        let mut tcp = server.wss().tcp();
        tcp.write_all(&hello[..cut]).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        // Whatever of the handshake was said, then the end.
        assert!(tcp.read_to_end(&mut Vec::new()).is_ok(), "an end behind {cut} octets");
    }
    // Garbage behind a good handshake.
    let mut stream = tls_over(server.wss().tcp(), config, "localhost").unwrap();
    stream.sock.write_all(&[0x17, 0x03, 0x03, 0x00, 0x20]).unwrap();
    stream.sock.write_all(&[0x55; 32]).unwrap();
    let ended = stream.read(&mut [0; 16]).unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::InvalidData, "an alert for a record that is not ours: {ended}");
    server.wss().open().expect_echo("steady");
}
