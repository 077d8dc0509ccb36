//! Somebody else's client: tungstenite, over ws and over wss.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use tungstenite::{
    Error, Message, WebSocket,
    client::client_with_config,
    protocol::{
        CloseFrame, WebSocketConfig,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use crate::support::{
    client::{client_config, tls_over, with_deadlines},
    process::Serve,
};

/// A stream of either kind.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

type Socket = WebSocket<Box<dyn Stream>>;

/// Opens both URLs of the ready line, as a user would.
fn open_both(server: &Serve) -> Vec<(&'static str, Socket)> {
    ["ws", "wss"]
        .map(|scheme| {
            let url = server.ready[scheme][0].as_str().unwrap();
            let tcp = TcpStream::connect(crate::support::process::address_of(url)).expect("the server accepts");
            let tcp = with_deadlines(tcp);
            let stream: Box<dyn Stream> = match scheme {
                "ws" => Box::new(tcp),
                _ => Box::new(tls_over(tcp, client_config(&server.ca()).into(), "localhost").unwrap()),
            };
            let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
            let (socket, response) = client_with_config(url, stream, Some(config)).expect("a handshake");
            assert_eq!(response.status(), 101);
            (scheme, socket)
        })
        .into()
}

#[test]
fn messages_of_every_kind_and_size_come_back() {
    let server = Serve::start(&[]);
    for (scheme, mut socket) in open_both(&server) {
        for message in [
            Message::text("Hello"),
            Message::text(""),
            Message::text("Käsestraße \u{1f980}".repeat(10_000)),
            Message::binary(vec![]),
            Message::binary((0..=255).collect::<Vec<u8>>()),
            Message::binary(vec![7; 16 << 20]),
        ] {
            socket.send(message.clone()).unwrap();
            let echo = socket.read().unwrap();
            assert!(echo == message, "a message of {} octets over {scheme}", message.len());
        }
    }
}

#[test]
fn pings_are_answered_in_order() {
    let server = Serve::start(&[]);
    for (scheme, mut socket) in open_both(&server) {
        for number in 0..20u8 {
            socket.send(Message::Ping(vec![number].into())).unwrap();
            assert_eq!(socket.read().unwrap(), Message::Pong(vec![number].into()), "over {scheme}");
        }
    }
}

#[test]
fn fragments_with_a_ping_between_come_back_as_one_message() {
    let server = Serve::start(&[]);
    let frame = |payload: &[u8], opcode, is_final| {
        Message::Frame(Frame::message(payload.to_vec(), OpCode::Data(opcode), is_final))
    };
    for (scheme, mut socket) in open_both(&server) {
        socket.send(frame(b"Hel", Data::Text, false)).unwrap();
        socket.send(Message::Ping(b"between".to_vec().into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(b"between".to_vec().into()), "over {scheme}");
        socket.send(frame(b"lo", Data::Continue, true)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("Hello"), "over {scheme}");
        let part = vec![7; 1 << 20];
        socket.send(frame(&part, Data::Binary, false)).unwrap();
        for last in [false, false, true] {
            socket.send(frame(&part, Data::Continue, last)).unwrap();
        }
        assert!(socket.read().unwrap() == Message::binary(vec![7; 4 << 20]), "4 fragments of 1 MiB over {scheme}");
    }
}

#[test]
fn a_close_is_answered_and_the_connection_ends() {
    let server = Serve::start(&[]);
    for (scheme, mut socket) in open_both(&server) {
        let frame = CloseFrame { code: CloseCode::Away, reason: "enough".into() };
        socket.close(Some(frame)).unwrap();
        let Message::Close(Some(answer)) = socket.read().unwrap() else { panic!("a Close over {scheme}") };
        assert_eq!(answer.code, CloseCode::Away, "over {scheme}");
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "a clean end over {scheme}");
    }
}

#[test]
fn two_hundred_messages_in_flight_come_back_in_order() {
    let server = Serve::start(&[]);
    for (scheme, mut socket) in open_both(&server) {
        for number in 0..200 {
            socket.write(Message::text(format!("message {number}"))).unwrap();
        }
        socket.flush().unwrap();
        for number in 0..200 {
            assert_eq!(socket.read().unwrap(), Message::text(format!("message {number}")), "over {scheme}");
        }
    }
}
