//! Between a turn and a socket: what is queued goes out in as few system calls as there can be, what has come in goes to where
//! it is decoded.
//!
//! What every echo passes once, here and where a turn begins and ends, is inlined by order: 967 instructions of the server's
//! process a lone echo instead of 1,166 (callgrind).

use std::io::{self, IoSlice};

use crate::{
    net::{Read, Socket, TlsScratch, Transport},
    proto::{Shutdown, Turn},
};

/// Sends what is queued; returns whether all of it went.
#[inline(always)]
pub(super) fn send<S: Socket>(
    transport: &mut Transport<S>,
    turn: &mut Turn<'_>,
    tls: &mut TlsScratch,
) -> io::Result<bool> {
    loop {
        let (offered, taken) = match turn.transmit_one() {
            Some(octets) => (octets.len(), transport.write(tls, &[IoSlice::new(octets)])?),
            None => {
                let slices = turn.transmit();
                let taken = match *slices {
                    [] => return transport.flush(tls),
                    // An answer to a Close, or a refusal: the FIN behind it can share its segment.
                    [ref one] if turn.connection().shutdown() == Shutdown::Flush => transport.write_last(tls, one)?,
                    ref several => transport.write(tls, several)?,
                };
                (slices.iter().map(|slice| slice.len()).sum(), taken)
            }
        };
        if taken == 0 && transport.is_handshaking() {
            // It is not the socket that is full: a read will end the handshake, and no edge will tell.
            return transport.flush(tls);
        }
        turn.advance(taken);
        if taken == offered && !turn.has_output() && !transport.wants_write() {
            return Ok(true);
        }
        // A plain socket that takes less than it is offered is full; asking it again would only tell so.
        if taken == 0 || (taken < offered && matches!(transport, Transport::Plain(_))) {
            return Ok(false);
        }
    }
}

/// One read: octets, whether the socket is drained, whether the peer has ended.
#[inline(always)]
pub(super) fn read<S: Socket>(
    transport: &mut Transport<S>,
    turn: &mut Turn<'_>,
    tls: &mut TlsScratch,
    octets_max: usize,
) -> io::Result<(usize, bool, bool)> {
    // Plaintext of a TLS record has to pass through the window; other payload goes straight to its place.
    let direct = matches!(transport, Transport::Plain(_)).then(|| turn.spare_payload()).flatten();
    let into_message = direct.is_some();
    let room = match direct {
        // Payload costs little an octet.
        Some(room) => room,
        // It may be thousands of frames.
        None => {
            let room = turn.spare();
            let len = room.len().min(octets_max);
            room.get_mut(..len).unwrap_or_default()
        }
    };
    if room.is_empty() {
        debug_assert!(false, "a session that wants to read has room");
        return Ok((0, true, false));
    }
    let (octets, drained, eof) = match transport.read(tls, room)? {
        Read::Data { n, drained } => (n, drained, false),
        Read::Eof { n } => (n, true, true),
    };
    if into_message {
        turn.filled_payload(octets)
    } else {
        turn.filled(octets)
    }
    Ok((octets, drained, eof))
}
