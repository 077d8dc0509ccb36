//! The core without a socket: how a connection is played with, and a file for each of what is held against it.

mod conversations;
mod deflate;
mod flow;
mod law;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{connection::Phase, *};

/// What a connection reported and sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Played {
    events: Vec<String>,
    wire: Vec<u8>,
}

/// A connection past its opening handshake.
fn opened(role: Role, settings: Settings, now: Instant) -> Connection {
    let mut connection = Connection::server(Arc::new(settings), now);
    connection.role = role;
    (connection.phase, connection.opening) = (Phase::Open, None);
    connection
}

/// Answers every message with itself and takes note of every event.
fn receive_all(turn: &mut Turn<'_>, played: &mut Played) {
    while let Some(mut received) = turn.receive() {
        played.events.push(match received.event {
            Event::Open(opened) => format!("open {}", opened.path),
            Event::Message(message) => {
                let head: Vec<u8> = message.payload().iter().copied().take(40).collect();
                let event =
                    format!("{:?} {} {:?}", message.kind(), message.payload().len(), String::from_utf8_lossy(&head));
                let _ = received.sender.reply(message);
                event
            }
            Event::Pong(payload) => format!("pong {:?}", String::from_utf8_lossy(payload)),
            Event::Close(closure) => format!("close {closure:?}"),
        });
    }
}

/// Feeds pieces of these sizes (the last one repeats), a turn each, and as many more as inflating takes; everything queued is sent at the
/// end of each turn, or, with `slow`, only after the last one.
fn play(connection: &mut Connection, workspace: &mut Workspace, input: &[u8], cuts: &[usize], slow: bool) -> Played {
    let now = Instant::now();
    let mut played = Played::default();
    let (mut rest, mut cuts, mut cut) = (input, cuts.iter(), input.len());
    while !rest.is_empty() {
        cut = cuts.next().copied().unwrap_or(cut).max(1);
        let mut turn = connection.turn(workspace, now);
        // Straight into the message where that is offered, as the loop does.
        if let Some(room) = turn.spare_payload() {
            let len = room.len().min(cut).min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            turn.filled_payload(len);
        } else {
            let room = turn.spare();
            let len = room.len().min(cut).min(rest.len());
            assert!(len > 0 || slow, "no room to read into");
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            turn.filled(len);
        }
        receive_all(&mut turn, &mut played);
        loop {
            if !slow {
                drain(&mut turn, &mut played);
            }
            if !turn.is_spent() {
                break;
            }
            drop(turn);
            turn = connection.turn(workspace, now);
            receive_all(&mut turn, &mut played);
        }
    }
    let mut turn = connection.turn(workspace, now);
    loop {
        drain(&mut turn, &mut played);
        receive_all(&mut turn, &mut played);
        if !turn.has_output() {
            break;
        }
    }
    drop(turn);
    assert_eq!(connection.queued_bytes(), 0);
    played
}

fn drain(turn: &mut Turn<'_>, played: &mut Played) {
    while turn.has_output() {
        let octets: Vec<u8> = turn.transmit().iter().flat_map(|slice| slice.to_vec()).collect();
        played.wire.extend_from_slice(&octets);
        turn.advance(octets.len());
    }
}

/// A client's frame; `first` holds FIN, RSV and opcode.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_with([0x37, 0xfa, 0x21, 0x3d], first, payload)
}

fn masked_with(key: MaskKey, first: u8, payload: &[u8]) -> Vec<u8> {
    let header = WireHeader::new(first & 0x80 != 0, first >> 4 & 7, first & 15, Some(key), payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    mask(key, &mut octets[header.size()..]);
    octets
}

/// A message of a client in fragments that end at these borders, each with a key of its own.
fn in_fragments(opcode: u8, payload: &[u8], borders: &[usize], key: MaskKey) -> Vec<u8> {
    let mut from = 0;
    let mut octets = Vec::new();
    for (frame, to) in borders.iter().copied().chain([payload.len()]).enumerate() {
        let fin = if frame == borders.len() { 0x80 } else { 0 };
        let opcode = if frame == 0 { opcode } else { 0 };
        let key = key.map(|octet| octet.wrapping_add(frame as u8));
        octets.extend(masked_with(key, fin | opcode, &payload[from..to]));
        from = to;
    }
    octets
}

/// A server's frame.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = WireHeader::new(first & 0x80 != 0, first >> 4 & 7, first & 15, None, payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    [octets, payload.to_vec()].concat()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().take(400).map(|octet| format!("{octet:02x}")).collect()
}

/// A wire without its Pongs.
fn data_frames(mut wire: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some((header, size)) = WireHeader::parse(wire) {
        let (frame, rest) = wire.split_at(size + header.len as usize);
        if header.opcode != Opcode::Pong as u8 {
            data.extend_from_slice(frame);
        }
        wire = rest;
    }
    assert!(wire.is_empty(), "whole frames only");
    data
}

#[test]
fn an_idle_connection_is_small() {
    // Measured with its socket and its place in the slab in ARCHITECTURE.md.
    assert!(size_of::<Connection>() <= 232, "{} octets", size_of::<Connection>());
}
