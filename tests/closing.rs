//! Closing: which codes and reasons may travel, the closing handshake, the end of TCP (RFC 6455 §5.5.1, §7).

use crate::support::{
    client::End,
    process::Serve,
    table::{Row, hold_all},
    wire::{PEER, SERVER, show},
};

#[test]
fn a_close_is_answered_with_its_code_and_ends_the_connection() {
    let mut rows: Vec<Row> = vec![
        ("§5.5.1 without a payload", PEER.close_empty(), SERVER.close_empty()),
        ("§5.5.1 with a reason", PEER.close_because(1000, "Tschüß".as_bytes()), SERVER.close(1000)),
        ("§5.5.1 with a reason of 123 octets", PEER.close_because(1000, &[b'*'; 123]), SERVER.close(1000)),
        (
            "§5.5.1 behind a message",
            [PEER.text("a"), PEER.close(1000)].concat(),
            [SERVER.text("a"), SERVER.close(1000)].concat(),
        ),
        (
            "§5.5.1 what comes behind a close is not heard",
            [PEER.close(1000), PEER.text("late"), PEER.ping(b"late")].concat(),
            SERVER.close(1000),
        ),
        ("§5.5.1 two closes", [PEER.close(1001), PEER.close(1000)].concat(), SERVER.close(1001)),
        ("§5.5.1 a breach behind a close", [PEER.close(1000), SERVER.text("unmasked")].concat(), SERVER.close(1000)),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        rows.push(("§7.4 a code that may travel", PEER.close(code), SERVER.close(code)));
    }
    hold_all(&rows);
}

#[test]
fn a_close_that_may_not_be_sent_is_a_breach() {
    let mut rows: Vec<Row> = vec![
        ("§5.5.1 a payload of one octet", PEER.frame(0x88, b"\x03"), SERVER.close(1002)),
        ("§5.5.1 a reason that is not UTF-8", PEER.close_because(1000, b"\xce\xba\xed\xa0\x80"), SERVER.close(1007)),
        ("§5.5.1 a reason that ends inside a character", PEER.close_because(1000, b"\xe2\x82"), SERVER.close(1007)),
    ];
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        rows.push(("§7.4 a code that may not travel", PEER.close(code), SERVER.close(1002)));
    }
    hold_all(&rows);
}

#[test]
fn the_server_ends_tcp_first_and_the_client_need_not() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        client.send(&PEER.close(1000));
        // Our side stays open all the while.
        let (octets, end) = client.rest();
        assert_eq!((show(&octets), end), (show(&SERVER.close(1000)), End::Clean), "over {}", door.name());
    }
}

#[test]
fn tcp_that_ends_without_a_close_is_ended_in_return() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        client.expect_echo("hello");
        client.half_close();
        client.expect_end();
    }
}

#[test]
fn a_breach_ends_the_connection_while_the_peer_goes_on_sending() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        // The Close must not be lost to a reset for the octets that nobody reads any more.
        client.send(&PEER.frame(0x83, b""));
        client.send(&PEER.binary(&[0; 40_000]));
        let (octets, end) = client.rest();
        assert_eq!((show(&octets), end), (show(&SERVER.close(1002)), End::Clean), "over {}", door.name());
    }
}

#[test]
fn the_server_serves_on_after_every_kind_of_end() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut steady = door.open();
        for end in [PEER.close(1000), PEER.close_empty(), PEER.frame(0x8f, b""), PEER.frame(0x81, b"\xff")] {
            let mut other = door.open();
            other.send(&end);
            other.rest();
        }
        drop(door.open());
        door.open().reset();
        steady.expect_echo("still here");
    }
}
