//! Bounds that a peer runs into: frames, messages, connections.

use std::io::Read;

use crate::support::{
    at_once,
    client::End,
    http::upgrade_and,
    process::Serve,
    table::{Row, hold_all_on},
    wire::{PEER, SERVER, bomb},
};

#[test]
fn frames_and_messages_up_to_their_limits_pass_and_beyond_them_get_1009() {
    let server = Serve::start(&["--frame-max", "512B", "--message-max", "1KiB"]);
    let payload = [b'*'; 1025];
    let fails = |echo: &[u8]| [echo, &SERVER.close(1009)].concat();
    let announced = |len: &[u8]| PEER.frame_of_len(0x82, len, b"");
    let rows: Vec<Row> = vec![
        (
            "§10.4 a frame at its limit",
            [PEER.binary(&payload[..512]), PEER.close(1000)].concat(),
            [SERVER.binary(&payload[..512]), SERVER.close(1000)].concat(),
        ),
        ("§10.4 a frame beyond its limit", PEER.binary(&payload[..513]), fails(b"")),
        (
            "§10.4 a message at its limit",
            [PEER.frame(0x02, &payload[..512]), PEER.frame(0x80, &payload[..512]), PEER.close(1000)].concat(),
            [SERVER.binary(&payload[..1024]), SERVER.close(1000)].concat(),
        ),
        (
            "§10.4 a message beyond its limit, behind an echo",
            [
                PEER.text("kept"),
                PEER.frame(0x02, &payload[..512]),
                PEER.frame(0x00, &payload[..512]),
                PEER.frame(0x80, b"*"),
            ]
            .concat(),
            fails(&SERVER.text("kept")),
        ),
        // No octet of the payload follows: the header alone is judged.
        ("§10.4 a header that announces too much", announced(&[126, 2, 1]), fails(b"")),
        ("§10.4 a header that announces 64 KiB", announced(&[127, 0, 0, 0, 0, 0, 1, 0, 0]), fails(b"")),
        (
            "§5.2 the largest length there is does not overflow",
            [
                PEER.frame(0x02, &payload[..512]),
                PEER.frame_of_len(0x00, &[127, 127, 255, 255, 255, 255, 255, 255, 255], b""),
            ]
            .concat(),
            fails(b""),
        ),
        (
            "§5.5 control frames do not count",
            [
                PEER.frame(0x02, &payload[..512]),
                PEER.ping(&payload[..125]),
                PEER.frame(0x80, &payload[..512]),
                PEER.close(1000),
            ]
            .concat(),
            [SERVER.pong(&payload[..125]), SERVER.binary(&payload[..1024]), SERVER.close(1000)].concat(),
        ),
    ];
    hold_all_on(&server, &rows);
}

#[test]
fn by_default_a_message_may_have_16_mib_and_not_one_octet_more() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        client.send(&PEER.frame_of_len(0x82, &[127, 0, 0, 0, 0, 1, 0, 0, 1], b""));
        assert_eq!(client.frame().close_code(), Some(1009), "over {}", door.name());
        client.expect_end();
    }
    let mut client = server.ws().open();
    client.send(&PEER.frame(0x02, &vec![7; 16 << 20]));
    client.send(&PEER.frame(0x80, b"!"));
    assert_eq!(client.frame().close_code(), Some(1009));
    client.expect_end();
}

#[test]
fn a_compressed_message_is_judged_by_what_it_inflates_to_and_a_bomb_is_not_stored() {
    let server = Serve::start(&[]);
    let request = upgrade_and("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    at_once(server.doors(), |door| {
        let open = || {
            let mut client = door.connect();
            client.send(request.as_bytes());
            let response = client.response();
            assert_eq!((response.status, response.header("Sec-WebSocket-Extensions").is_some()), (101, true));
            client
        };
        // Up to the limit it is a message like any other.
        let mut client = open();
        client.send(&bomb(4 << 20, 4));
        let echo = client.frame();
        assert_eq!((echo.first, echo.payload.len()), (0x81, 16 << 20), "sent uncompressed over {}", door.name());
        // One octet more, and a GiB in a frame of a MiB.
        for (octets, count) in [((16 << 20) + 1, 1), (16 << 20, 64)] {
            let mut client = open();
            client.send(&bomb(octets, count));
            assert_eq!(client.frame().close_code(), Some(1009), "{count} × {octets} over {}", door.name());
            client.expect_end();
        }
    });
    // Two messages of 16 MiB at once, of which each may have taken twice as much while it grew.
    let peak = server.process.peak_resident_bytes();
    assert!(peak < 160 << 20, "{peak} octets");
}

#[test]
fn beyond_connections_max_a_plain_peer_gets_503_and_a_place_that_is_left_is_given_again() {
    let server = Serve::start(&["--connections-max", "2"]);
    let mut first = server.ws().open();
    let mut second = server.wss().open();
    for _ in 0..3 {
        let mut turned_away = server.ws().connect();
        let response = turned_away.response();
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")), "{response:?}");
        // Over TLS saying so would cost a handshake.
        let ended = server.wss().tcp().read(&mut [0; 16]);
        let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(ended.as_ref().map_or_else(is_reset, |octets| *octets == 0), "{ended:?}");
    }
    first.expect_echo("first");
    second.expect_echo("second");
    second.send(&PEER.close(1000));
    assert_eq!(second.rest().1, End::Clean);
    drop(second);
    // The place is free once the server has seen the end: a moment later.
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let mut third = loop {
        let mut client = server.ws().connect();
        let _ = client.try_send(crate::support::http::UPGRADE.as_bytes());
        let response = client.response();
        if response.status == 101 {
            break client;
        }
        assert_eq!(response.status, 503);
        assert!(std::time::Instant::now() < deadline, "no place becomes free");
    };
    third.expect_echo("third");
}

#[test]
fn limits_of_the_head_are_options() {
    let server = Serve::start_plain(&["--head-max", "1KiB", "--head-lines-max", "8"]);
    let ask = |head: String| {
        let mut client = server.ws().connect();
        client.send(head.as_bytes());
        client.response().status
    };
    use crate::support::http::{upgrade_and, upgrade_with};
    assert_eq!(ask(upgrade_and("X: y\r\nX: y\r\nX: y\r\n")), 101);
    assert_eq!(ask(upgrade_and("X: y\r\nX: y\r\nX: y\r\nX: y\r\n")), 431);
    assert_eq!(ask(upgrade_and(&format!("X: {}\r\n", "y".repeat(1024)))), 431);
    assert_eq!(ask(upgrade_with("/ws", &format!("/{}", "y".repeat(1024)))), 414);
}
