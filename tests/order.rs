//! What leaves first: Pongs ahead of echoes that have not begun, the Close behind all of them; and that nothing is lost,
//! doubled or mixed up under backpressure.

use std::{io::Read, thread};

use crate::support::{
    client::Door,
    process::Serve,
    wire::{Frame, PEER, show},
};

/// Octets of each message. Fewer of them than the queue holds fill every buffer on the way.
const MESSAGE_OCTETS: usize = 200_000;

/// Sends messages without reading until the server stops taking them, then a Ping, and reads from then on.
/// Returns the frames in their order, the last being a Close.
fn flood_then_ping(door: &Door) -> (usize, Vec<Frame>) {
    let mut client = door.open();
    // A small window, so that most of the echoes wait on the server's side.
    socket2::SockRef::from(client.tcp()).set_recv_buffer_size(32 << 10).unwrap();
    // Half of the queue's high-water mark beyond what the buffers of the system hold, so that the Ping is still decoded.
    let mut sent = 0;
    for number in 0..30u8 {
        client.send(&PEER.binary(&vec![number; MESSAGE_OCTETS]));
        sent += 1;
    }
    client.send(&[PEER.ping(b"urgent"), PEER.close(1000)].concat());
    let (octets, _) = client.rest();
    let (frames, rest) = Frame::parse_all(&octets);
    assert!(rest.is_empty(), "whole frames only over {}: {}", door.name(), show(rest));
    (sent, frames)
}
