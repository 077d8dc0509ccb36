//! The raw TCP echo that `wslab bench` can talk to: an epoll loop that does the opening handshake and then only what turns
//! a client's frame into a server's. It takes the mask off and shortens the header, in one pass from what one read gave to
//! what one write takes. No message is ever put together, no text checked, no limit held: what is left is what the kernel
//! costs, and every server's cost is told as a ratio to it.

use base64::Engine;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use sha1::Digest;
use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    process::ExitCode,
};

const LISTENER: Token = Token(usize::MAX);
/// What one read takes. A read that came back short says that there is no more.
const READ_BYTES: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// RFC 6455 §5.2: two octets, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;

fn main() -> ExitCode {
    peers::finish(serve())
}

fn serve() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let listener = std::net::TcpListener::bind(peers::address()?)?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    peers::announce(listener.local_addr()?)?;
    // By token; who is gone leaves a place for a newcomer.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut input = vec![0; READ_BYTES];
    // A frame's header only gets shorter, but one octet may complete a header that was held back from an earlier read.
    let mut output = Vec::with_capacity(READ_BYTES + HEADER_BYTES_MAX);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Some(mut stream) = accepted(&listener)? {
                    stream.set_nodelay(true)?;
                    let key = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poll.registry().register(&mut stream, Token(key), Interest::READABLE | Interest::WRITABLE)?;
                    connections[key] = Some(Connection::new(stream));
                }
                continue;
            }
            let Token(key) = event.token();
            let Some(connection) = &mut connections[key] else { continue };
            if !matches!(connection.turn(&mut input, &mut output), Ok(true)) {
                // Dropping it closes the socket, which takes it off the poll.
                connections[key] = None;
                free.push(key);
            }
        }
    }
}

fn accepted(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Connection {
    stream: TcpStream,
    phase: Phase,
    /// What the socket would not take; nothing is read meanwhile.
    unsent: Vec<u8>,
}

enum Phase {
    /// The request head so far.
    Opening(Vec<u8>),
    Frames(Translator),
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, phase: Phase::Opening(Vec::new()), unsent: Vec::new() }
    }

    /// Answers what has arrived; whether the connection goes on.
    fn turn(&mut self, input: &mut [u8], output: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            if !self.unsent.is_empty() {
                let sent = written(&mut self.stream, &self.unsent)?;
                self.unsent.drain(..sent);
                if !self.unsent.is_empty() {
                    return Ok(true);
                }
            }
            if let Phase::Frames(Translator { closed: true, .. }) = self.phase {
                self.stream.shutdown(Shutdown::Write)?;
                return Ok(false);
            }
            let read = match self.stream.read(input) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            output.clear();
            self.answer(&input[..read], output)?;
            let sent = if output.is_empty() { 0 } else { written(&mut self.stream, output)? };
            self.unsent.extend_from_slice(&output[sent..]);
            let closed = matches!(self.phase, Phase::Frames(Translator { closed: true, .. }));
            // epoll(7): a read that came back short has taken all there was, also with edges.
            if read < input.len() && self.unsent.is_empty() && !closed {
                return Ok(true);
            }
        }
    }

    fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.phase {
            Phase::Frames(translator) => translator.translate(input, output),
            Phase::Opening(head) => {
                head.extend_from_slice(input);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    let fits = head.len() <= HEAD_BYTES_MAX;
                    return if fits { Ok(()) } else { Err(io::Error::other("the request head is too long")) };
                };
                output.extend_from_slice(response(&head[..end])?.as_bytes());
                let mut translator = Translator::default();
                translator.translate(&head[end + 4..], output);
                self.phase = Phase::Frames(translator);
            }
        }
        Ok(())
    }
}

fn written(stream: &mut TcpStream, octets: &[u8]) -> io::Result<usize> {
    match stream.write(octets) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        outcome => outcome,
    }
}

/// The answer to an opening handshake (RFC 6455 §4.2.2), with as little looked at as makes a client accept it.
fn response(head: &[u8]) -> io::Result<String> {
    let head = std::str::from_utf8(head).map_err(io::Error::other)?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value.trim())
    });
    let key = key.ok_or_else(|| io::Error::other("no Sec-WebSocket-Key"))?;
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// A client's frames into a server's, wherever the stream is cut.
#[derive(Default)]
struct Translator {
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    payload_left: u64,
    /// Turned so that it begins with the octet for the payload's next one.
    mask: [u8; 4],
    opcode: u8,
    closed: bool,
}

impl Translator {
    fn translate(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while !self.closed && !input.is_empty() {
            if self.payload_left > 0 {
                let len = input.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                let (payload, rest) = input.split_at(len);
                unmask(payload, self.mask, output);
                self.mask.rotate_left(len % 4);
                self.payload_left -= len as u64;
                self.closed = self.payload_left == 0 && self.opcode == OPCODE_CLOSE;
                input = rest;
            } else if self.header_len == 0 && input.len() >= HEADER_BYTES_MAX {
                // Any header is whole in so many octets: no copy.
                let header_len = header_len(input[1]);
                self.begin_frame(&input[..header_len], output);
                input = &input[header_len..];
            } else {
                self.header[self.header_len] = input[0];
                self.header_len += 1;
                input = &input[1..];
                if self.header_len >= 2 && self.header_len == header_len(self.header[1]) {
                    let header = self.header;
                    self.begin_frame(&header[..self.header_len], output);
                    self.header_len = 0;
                }
            }
        }
    }

    /// Writes a whole header out without its mask (RFC 6455 §5.2).
    fn begin_frame(&mut self, header: &[u8], output: &mut Vec<u8>) {
        let (unmasked, mask) = header.split_at(header.len() - 4);
        self.mask.copy_from_slice(mask);
        self.payload_left = match unmasked {
            [_, len] => u64::from(len & 0x7F),
            extended => extended[2..].iter().fold(0, |len, &octet| len << 8 | u64::from(octet)),
        };
        self.opcode = unmasked[0] & 0x0F;
        // §5.5.2: a Ping is answered by a Pong with its payload; all else goes back under its own opcode.
        output.push(if self.opcode == OPCODE_PING { unmasked[0] & 0xF0 | OPCODE_PONG } else { unmasked[0] });
        output.push(unmasked[1] & 0x7F);
        output.extend_from_slice(&unmasked[2..]);
        self.closed = self.opcode == OPCODE_CLOSE && self.payload_left == 0;
    }
}

/// What a client's header takes, by its second octet (§5.2): two octets, those of an extended length, four of mask.
fn header_len(second: u8) -> usize {
    match second & 0x7F {
        126 => 2 + 2 + 4,
        127 => 2 + 8 + 4,
        _ => 2 + 4,
    }
}

/// §5.3, eight octets at a time.
fn unmask(payload: &[u8], mask: [u8; 4], output: &mut Vec<u8>) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let begin = output.len();
    output.extend_from_slice(payload);
    let mut words = output[begin..].chunks_exact_mut(8);
    for word in &mut words {
        let mut octets = [0; 8];
        octets.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(octets) ^ wide).to_ne_bytes());
    }
    for (octet, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *octet ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, with a mask that no octet of the payload survives.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = server(first, payload);
        let header_len = frame.len() - payload.len();
        frame[1] |= 0x80;
        let mask = [0x11, 0x22, 0x44, 0x88];
        for (octet, key) in frame[header_len..].iter_mut().zip(mask.iter().cycle()) {
            *octet ^= key;
        }
        frame.splice(header_len..header_len, mask);
        frame
    }

    fn server(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(len as u8),
            len @ 126..0x1_0000 => frame.extend([&[126][..], &(len as u16).to_be_bytes()].concat()),
            len => frame.extend([&[127][..], &(len as u64).to_be_bytes()].concat()),
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_come_back_unmasked_however_the_stream_is_cut() {
        let (mut input, mut expected) = (Vec::new(), Vec::new());
        for len in [0, 1, 7, 8, 125, 126, 300, 70_000] {
            let payload: Vec<u8> = (0..len).map(|index| index as u8).collect();
            input.extend(masked(0x82, &payload));
            expected.extend(server(0x82, &payload));
        }
        input.extend(masked(0x89, b"ping"));
        expected.extend(server(0x8A, b"ping"));
        input.extend(masked(0x88, &[3, 232]));
        expected.extend(server(0x88, &[3, 232]));
        for step in [1, 2, 3, 13, 4096, input.len()] {
            let (mut translator, mut output) = (Translator::default(), Vec::new());
            for piece in input.chunks(step) {
                translator.translate(piece, &mut output);
            }
            let same = output.iter().zip(&expected).take_while(|(octet, other)| octet == other).count();
            assert_eq!(
                (output.len(), same),
                (expected.len(), expected.len()),
                "in pieces of {step}: octets, and how many are right"
            );
            assert!(translator.closed, "in pieces of {step}");
        }
    }
}
