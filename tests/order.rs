//! What leaves first: Pongs ahead of echoes that have not begun, the Close behind all of them; and that nothing is lost,
//! doubled or mixed up under backpressure.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    client::{Client, End},
    process::Serve,
    wire::{Frame, PEER, show},
};

/// More than all buffers of the system between the two ends hold.
const MESSAGES: u8 = 50;
const MESSAGE_OCTETS: usize = 200_000;
/// The same where the buffers on the way to the server count too.
const BACKED_UP: u8 = 60;

/// A server that decodes on however much output waits, and tells of every frame on stderr.
fn patient_server() -> Serve {
    Serve::start(&["--queue-high", "64MiB", "-vv"])
}

/// Messages that nobody reads the echoes of, each filled with its number.
fn flood(client: &mut Client) {
    // A small window, so that most of the echoes wait on the server's side.
    socket2::SockRef::from(client.tcp()).set_recv_buffer_size(16 << 10).unwrap();
    for number in 0..MESSAGES {
        client.send(&PEER.binary(&vec![number; MESSAGE_OCTETS]));
    }
}

/// Waits until the server has decoded (and answered) a Ping with this payload.
fn await_pong_in_log(server: &mut Serve, payload: &str) {
    loop {
        let line = server.process.stderr_line_with("Pong");
        if line.contains("->") && line.contains(&format!("\"{payload}\"")) {
            return;
        }
    }
}

/// All frames up to the end, which must be a clean one.
fn frames_to_end(client: &mut Client) -> Vec<Frame> {
    // Now for speed.
    socket2::SockRef::from(client.tcp()).set_recv_buffer_size(4 << 20).unwrap();
    let (octets, end) = client.rest();
    let (frames, rest) = Frame::parse_all(&octets);
    assert_eq!((show(rest), end), (String::new(), End::Clean), "whole frames up to the end");
    frames
}

/// The echoes' numbers in their order.
fn numbers(frames: &[Frame]) -> Vec<u8> {
    let echoes = frames.iter().filter(|frame| !frame.is_control());
    echoes
        .map(|frame| {
            let number = frame.payload[0];
            assert!(frame.first == 0x82 && frame.payload == vec![number; MESSAGE_OCTETS], "echo {number} is whole");
            number
        })
        .collect()
}

#[test]
fn a_pong_passes_every_echo_that_has_not_begun_and_a_close_passes_none() {
    let mut server = patient_server();
    for door in server.doors() {
        let mut client = door.open();
        flood(&mut client);
        client.send(&[PEER.ping(b"urgent"), PEER.close(4000)].concat());
        await_pong_in_log(&mut server, "urgent");
        let frames = frames_to_end(&mut client);
        assert_eq!(numbers(&frames), (0..MESSAGES).collect::<Vec<_>>(), "all echoes, in order, over {}", door.name());
        assert_eq!(frames.last().unwrap().close_code(), Some(4000), "the Close comes last over {}", door.name());
        // What the system had taken already could not be passed, and that is not nearly all of it.
        let place = frames.iter().position(|frame| frame.payload == b"urgent").expect("a Pong");
        assert!(place < usize::from(MESSAGES) - 10, "the Pong came behind {place} echoes over {}", door.name());
    }
}

#[test]
fn under_pressure_pongs_keep_their_order_and_the_newest_is_kept() {
    let mut server = patient_server();
    for door in server.doors() {
        let mut client = door.open();
        flood(&mut client);
        for number in 0..100 {
            client.send(&PEER.ping(format!("p{number:02}").as_bytes()));
        }
        client.send(&PEER.close(1000));
        await_pong_in_log(&mut server, "p99");
        let frames = frames_to_end(&mut client);
        // §5.5.3: a Pong may answer the newest Ping only.
        let pongs: Vec<&[u8]> =
            frames.iter().filter(|frame| frame.first == 0x8a).map(|frame| &frame.payload[..]).collect();
        assert!(pongs.is_sorted() && pongs.last() == Some(&&b"p99"[..]), "{pongs:?} over {}", door.name());
        assert_eq!(numbers(&frames), (0..MESSAGES).collect::<Vec<_>>(), "over {}", door.name());
    }
}

#[test]
fn a_breach_behind_a_flood_does_not_destroy_the_echoes() {
    let server = Serve::start(&["--queue-high", "64MiB"]);
    for door in server.doors() {
        let mut client = door.open();
        flood(&mut client);
        client.send(&PEER.frame(0x8f, b""));
        let frames = frames_to_end(&mut client);
        assert_eq!(numbers(&frames), (0..MESSAGES).collect::<Vec<_>>(), "over {}", door.name());
        assert_eq!(frames.last().unwrap().close_code(), Some(1002), "over {}", door.name());
    }
}

#[test]
fn under_backpressure_nothing_is_lost_doubled_or_mixed_up() {
    let server = Serve::start(&[]);
    let mut input = Vec::new();
    for number in 0..BACKED_UP {
        input.extend(PEER.binary(&vec![number; MESSAGE_OCTETS]));
        input.extend(PEER.frame(0x01, &[b'a'; 100]));
        input.extend(PEER.ping(&[number]));
        input.extend(PEER.frame(0x80, &[b'b'; 100]));
    }
    input.extend(PEER.close(1000));
    for door in server.doors() {
        let mut client = door.open();
        let tcp = client.tcp().try_clone().unwrap();
        let socket = socket2::SockRef::from(&tcp);
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.set_send_buffer_size(64 << 10).unwrap();
        // Until the server takes no more, which it does not for as long as nobody reads.
        client.tcp().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut sent = 0;
        while let Some(octets) = send_some(&mut client, &input[sent..]) {
            sent += octets;
        }
        assert!(sent < input.len(), "{sent} octets were taken with no end over {}", door.name());

        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.set_send_buffer_size(1 << 20).unwrap();
        let patience = Instant::now() + PATIENCE;
        client.tcp().set_nonblocking(true).unwrap();
        let (octets, end) = loop {
            assert!(Instant::now() < patience, "no end over {}", door.name());
            while let Some(octets) = send_some(&mut client, &input[sent..]) {
                sent += octets;
            }
            if let Some(ended) = client.try_rest() {
                break ended;
            }
            std::thread::yield_now();
        };
        let (frames, rest) = Frame::parse_all(&octets);
        assert_eq!((show(rest), end), (String::new(), End::Clean), "over {}", door.name());
        let large: Vec<Frame> = frames.iter().filter(|frame| frame.first == 0x82).cloned().collect();
        assert_eq!(numbers(&large), (0..BACKED_UP).collect::<Vec<_>>(), "over {}", door.name());
        let small = [[b'a'; 100], [b'b'; 100]].concat();
        let texts = frames.iter().filter(|frame| frame.first == 0x81 && frame.payload == small).count();
        assert_eq!(texts, usize::from(BACKED_UP), "over {}", door.name());
        let pongs: Vec<&[u8]> =
            frames.iter().filter(|frame| frame.first == 0x8a).map(|frame| &frame.payload[..]).collect();
        assert!(pongs.is_sorted() && pongs.last() == Some(&&[BACKED_UP - 1][..]), "{pongs:?} over {}", door.name());
        assert_eq!(frames.last().unwrap().close_code(), Some(1000), "over {}", door.name());
    }
}

/// Sends what the socket takes; `None`: nothing.
fn send_some(client: &mut Client, octets: &[u8]) -> Option<usize> {
    if octets.is_empty() {
        return None;
    }
    match client.send_some(octets) {
        Ok(sent) => Some(sent),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_large_echo_does_not_hold_up_other_connections() {
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut busy = door.open();
        let mut other = door.open();
        busy.tcp().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let message = PEER.binary(&vec![7; 6 << 20]);
        let mut sent = 0;
        while sent < message.len() {
            let Some(octets) = send_some(&mut busy, &message[sent..message.len().min(sent + (1 << 20))]) else { break };
            sent += octets;
            other.expect_echo("meanwhile");
        }
        assert_eq!(sent, message.len(), "a message is read however large its echo, over {}", door.name());
        other.expect_echo("afterwards");
        assert_eq!(busy.frame().payload.len(), 6 << 20, "over {}", door.name());
    }
}
