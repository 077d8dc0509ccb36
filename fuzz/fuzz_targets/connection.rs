//! Octets as what a client sends after its upgrade, with and without compression: no panic, the same messages for every
//! cut, and output of whole frames.
#![no_main]

use std::{sync::Arc, time::Instant};

use libfuzzer_sys::fuzz_target;
use wslab::proto::{Connection, Event, Limits, Opcode, Settings, Turn, WireHeader, Workspace};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: Vec<String>,
    /// What was sent, without the Pongs: their place depends on what had left already.
    data: Vec<u8>,
}

fn turn(turn: &mut Turn<'_>, seen: &mut Seen, wire: &mut Vec<u8>) {
    while let Some(mut received) = turn.receive() {
        match received.event {
            Event::Message(message) => {
                seen.events.push(format!("{:?} {:?}", message.kind(), message.payload()));
                let _ = received.sender.reply(message);
            }
            Event::Open(_) => {}
            other => seen.events.push(format!("{other:?}")),
        }
    }
    while turn.has_output() {
        let len = turn.transmit().iter().map(|slice| wire.extend_from_slice(slice)).count();
        assert!(len > 0);
        let len = turn.transmit().iter().map(|slice| slice.len()).sum();
        turn.advance(len);
    }
}

fn play(input: &[u8], cut: usize, deflate: bool) -> Seen {
    let settings = Settings {
        limits: Limits { message_bytes_max: 1 << 16, frame_bytes_max: 1 << 16, ..Limits::DEFAULT },
        ..Settings::default()
    };
    let now = Instant::now();
    let (mut workspace, mut seen, mut wire) = (Workspace::new(), Seen::default(), Vec::new());
    let mut connection = Connection::server(Arc::new(settings), now);
    let offer: &[u8] = if deflate { b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" } else { b"\r\n" };
    for part in [UPGRADE, offer].into_iter().chain(input.chunks(cut.max(1))) {
        let mut lent = connection.turn(&mut workspace, now);
        lent.spare()[..part.len()].copy_from_slice(part);
        lent.filled(part.len());
        turn(&mut lent, &mut seen, &mut wire);
    }
    let head = wire.windows(4).position(|end| end == b"\r\n\r\n").expect("a 101") + 4;
    let mut frames = &wire[head..];
    while let Some((header, size)) = WireHeader::parse(frames) {
        let (frame, rest) = frames.split_at(size + header.len as usize);
        if header.opcode != Opcode::Pong as u8 {
            seen.data.extend_from_slice(frame);
        }
        frames = rest;
    }
    assert!(frames.is_empty());
    seen
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, input)) = input.split_first() else { return };
    let input = &input[..input.len().min(60_000)];
    for deflate in [false, true] {
        assert_eq!(play(input, input.len(), deflate), play(input, usize::from(cut), deflate));
    }
});
