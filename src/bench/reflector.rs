//! A server that does nothing but what WebSocket demands of an echo: one thread, blocking calls, one connection after the other. It
//! unmasks in place, writes the shorter header before the payload, and sends all whole frames of a read in one write. It checks nothing.
//!
//! What an echo takes here, it takes anywhere on this machine: two passes of each octet through loopback TCP, one wake-up of a sleeping
//! thread on each side, and the generator's own work.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use socket2::SockRef;

use crate::proto::{WireHeader, handshake::accept_key, mask};

/// Octets read at once.
const READ_BYTES: usize = 256 << 10;
/// Octets of a request head, or of a frame, that are waited for at most.
const BYTES_MAX: usize = 17 << 20;
/// How long it waits for a connection, and for octets.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts one that serves so many connections, one after the other, and ends when each is gone or none comes.
///
/// # Errors
/// No socket or thread.
pub(super) fn start(connections: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    // The least that loopback can take, where the system's own would pace.
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&listener).set_tcp_congestion(b"reno") {
        tracing::debug!(target: "wslab::bench", %error, "the null echo has the system's congestion control");
    }
    // Bounds accept(2) too.
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    thread::Builder::new().name("wslab-floor".to_owned()).spawn(move || {
        for _ in 0..connections {
            let Ok((socket, _)) = listener.accept() else { return };
            if let Err(error) = serve(socket) {
                tracing::debug!(target: "wslab::bench", %error, "null echo");
            }
        }
    })?;
    Ok(addr)
}

fn serve(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut octets = vec![0; READ_BYTES];
    let mut filled = shake_hands(&mut socket, &mut octets)?;
    loop {
        let Reflected { answer, used, needed, over } = reflect(octets.get_mut(..filled).unwrap_or_default());
        socket.write_all(octets.get(..answer).unwrap_or_default())?;
        if over {
            return Ok(());
        }
        octets.copy_within(used..filled, 0);
        filled -= used;
        if needed > octets.len() {
            if needed > BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            octets.resize(needed, 0);
        }
        match socket.read(octets.get_mut(filled..).unwrap_or_default())? {
            0 => return Ok(()),
            read => filled += read,
        }
    }
}

/// Answers the request; returns how many octets behind it have been read, which lie at the front then.
fn shake_hands(socket: &mut TcpStream, octets: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    let end = loop {
        let read = socket.read(octets.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some(end) = memchr::memmem::find(octets.get(..filled).unwrap_or_default(), b"\r\n\r\n") {
            break end + 4;
        }
    };
    let key = String::from_utf8_lossy(octets.get(..end).unwrap_or_default()).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("Sec-WebSocket-Key").then(|| accept_key(value.trim().as_bytes()))
    });
    let accept = key.ok_or(io::ErrorKind::InvalidData)?;
    let mut answer =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            .to_vec();
    answer.extend_from_slice(&accept);
    answer.extend_from_slice(b"\r\n\r\n");
    socket.write_all(&answer)?;
    octets.copy_within(end..filled, 0);
    Ok(filled - end)
}

/// What came of octets read.
#[derive(Debug, PartialEq, Eq)]
struct Reflected {
    /// The answer's octets, at the front.
    answer: usize,
    /// Octets that it was made of.
    used: usize,
    /// Octets that the frame behind these takes, as far as that is known.
    needed: usize,
    /// A Close was among them.
    over: bool,
}

/// Makes every whole frame its own echo, in place: our header is four octets shorter, so that the answer never overtakes the question.
fn reflect(octets: &mut [u8]) -> Reflected {
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    const PONG: u8 = 10;
    let (mut answer, mut used) = (0, 0);
    loop {
        let rest = octets.get(used..).unwrap_or_default();
        let Some((header, size)) = WireHeader::parse(rest) else {
            return Reflected { answer, used, needed: 0, over: false };
        };
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let needed = size.saturating_add(len);
        if needed > rest.len() {
            return Reflected { answer, used, needed, over: false };
        }
        let payload = used + size..used + needed;
        if let (Some(key), Some(payload)) = (header.mask, octets.get_mut(payload.clone())) {
            mask(key, payload);
        }
        let opcode = if header.opcode == PING { PONG } else { header.opcode };
        let ours = WireHeader::new(header.fin, header.rsv, opcode, None, header.len);
        let behind = answer + ours.size();
        octets.copy_within(payload, behind);
        ours.emit(octets.get_mut(answer..).unwrap_or_default());
        answer = behind + len;
        used += needed;
        if opcode == CLOSE {
            return Reflected { answer, used, needed: 0, over: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let key = [1, 2, 3, 4];
        let header = WireHeader::new(true, 0, opcode, Some(key), payload.len() as u64);
        let mut octets = vec![0; header.size()];
        header.emit(&mut octets);
        let at = octets.len();
        octets.extend_from_slice(payload);
        mask(key, &mut octets[at..]);
        octets
    }

    fn plain(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let header = WireHeader::new(true, 0, opcode, None, payload.len() as u64);
        let mut octets = vec![0; header.size()];
        header.emit(&mut octets);
        octets.extend_from_slice(payload);
        octets
    }

    #[test]
    fn whole_frames_come_back_however_the_octets_are_cut() {
        let sent =
            [masked(1, b"hello"), masked(2, &[7; 300]), masked(9, b"ping"), masked(2, b""), masked(8, &[3, 0xe8])]
                .concat();
        let expected =
            [plain(1, b"hello"), plain(2, &[7; 300]), plain(10, b"ping"), plain(2, b""), plain(8, &[3, 0xe8])].concat();
        for step in [1, 2, 3, 7, 100, 1000] {
            let (mut held, mut answers, mut ended) = (Vec::new(), Vec::new(), false);
            for part in sent.chunks(step) {
                held.extend_from_slice(part);
                let Reflected { answer, used, needed, over } = reflect(&mut held);
                assert!(needed == 0 || needed > held.len() - used);
                answers.extend_from_slice(&held[..answer]);
                held.drain(..used);
                ended |= over;
            }
            assert_eq!((answers, ended), (expected.clone(), true), "in steps of {step}");
        }
    }
}
