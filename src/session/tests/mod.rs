//! A session over a simulated socket: what an application and the peer see of it, however calls are cut and events come.

mod census;
mod counts;
mod fairness;
pub(crate) mod law;
mod pressure;
pub(crate) mod script;
#[cfg(feature = "cli")] // certificates are made there
pub(crate) mod tls;

use std::time::{Duration, Instant};

use super::{ConnId, Counts, Handler, Shared};
use crate::{
    net::TlsScratch,
    proto::{Closure, Message, MessageKind, Opcode, SendError, Sender, WireHeader, Workspace, handshake::Opened, mask},
};

const ID: ConnId = ConnId { key: 0, generation: 0 };

pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn shared(now: Instant) -> Shared {
    Shared {
        workspace: Workspace::new(),
        tls: TlsScratch::new(),
        now,
        linger: Duration::from_secs(1),
        linger_bytes_max: 64 << 10,
        turn_bytes: super::TURN_BYTES_MAX,
        counts: Counts::default(),
    }
}

/// A client's frame; `first` holds FIN, RSV and opcode.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let header = WireHeader::new(first & 0x80 != 0, first >> 4 & 7, first & 15, Some(key), payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    mask(key, &mut octets[header.size()..]);
    octets
}

/// A message of one letter, repeated (RFC 7692 §7.2.1).
fn compressed(len: usize) -> Vec<u8> {
    let mut deflate = zlib_rs::Deflate::new(9, false, 15);
    let mut octets = vec![0; 64 << 10];
    deflate.compress(&vec![b'a'; len], &mut octets, zlib_rs::DeflateFlush::SyncFlush).unwrap();
    octets.truncate(deflate.total_out() as usize - 4);
    octets
}

/// A server's frame as the peer reads it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(opcode: Opcode, payload: &[u8]) -> Self {
        Frame { opcode: opcode as u8, payload: payload.to_vec() }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: Vec<u8> = self.payload.iter().copied().take(24).collect();
        write!(f, "opcode {}, {} octets \"{}\"", self.opcode, self.payload.len(), head.escape_ascii())
    }
}

/// Splits what a server sent into frames, which it must have: none masked, none fragmented, no bit reserved, nothing left.
pub(crate) fn frames(mut wire: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let (header, size) = WireHeader::parse(wire).expect("a whole header");
        assert!(header.fin && header.rsv == 0 && header.mask.is_none(), "no frame of a server's: {header:?}");
        let payload = wire.get(size..size + header.len as usize).expect("a whole frame");
        frames.push(Frame { opcode: header.opcode, payload: payload.to_vec() });
        wire = &wire[size + payload.len()..];
    }
    frames
}

/// splitmix64: the same numbers for a seed for ever.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn octets(&mut self, len: usize) -> Vec<u8> {
        let mut octets: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        octets.truncate(len);
        octets
    }
}

/// What an application does with a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Nothing,
    Reply,
    SendThenReply,
    ReplyThenSend,
    /// The message sent as a new one behind its own echo.
    Twice,
    PingThenReply,
    SendOnly,
}

/// An application that remembers what it was told, and what was queued for it.
#[derive(Debug)]
pub(crate) struct App {
    /// What it does, by lot.
    answers: &'static [Answer],
    random: Random,
    pub(crate) opens: usize,
    pub(crate) messages: Vec<(MessageKind, Vec<u8>)>,
    pub(crate) pongs: usize,
    pub(crate) closures: Vec<Closure>,
    pub(crate) errors: usize,
    /// Data frames that were taken for sending.
    pub(crate) queued: Vec<Frame>,
    pub(crate) pings: usize,
}

impl App {
    pub(crate) fn new(answers: &'static [Answer], random: Random) -> Self {
        App {
            answers,
            random,
            opens: 0,
            messages: Vec::new(),
            pongs: 0,
            closures: Vec::new(),
            errors: 0,
            queued: Vec::new(),
            pings: 0,
        }
    }

    fn echo() -> Self {
        App::new(&[Answer::Reply], Random(0))
    }

    fn reply(&mut self, message: Message<'_>, sender: &mut Sender<'_>) {
        self.queued.push(Frame::new(message.kind().opcode(), message.payload()));
        sender.reply(message).expect("a message is only reported where it can be answered");
    }

    fn send(&mut self, payload: &[u8], sender: &mut Sender<'_>) {
        match sender.binary(payload) {
            Ok(()) => self.queued.push(Frame::new(Opcode::Binary, payload)),
            Err(error) => assert_eq!(error, SendError::Full),
        }
    }

    fn ping(&mut self, sender: &mut Sender<'_>) {
        match sender.ping(b"there?") {
            Ok(()) => self.pings += 1,
            Err(error) => assert_eq!(error, SendError::Full),
        }
    }
}

impl Handler for App {
    fn on_open(&mut self, _: ConnId, _: &Opened, _: Sender<'_>) {
        self.opens += 1;
    }

    fn on_message(&mut self, _: ConnId, message: Message<'_>, mut sender: Sender<'_>) {
        self.messages.push((message.kind(), message.payload().to_vec()));
        let sender = &mut sender;
        match self.random.pick(self.answers) {
            Answer::Nothing => {}
            Answer::Reply => self.reply(message, sender),
            Answer::SendThenReply => {
                let queued = self.queued.len();
                self.send(b"before", sender);
                assert_eq!(self.queued.len(), queued + 1, "decoding stops before the queue is full");
                self.reply(message, sender);
            }
            Answer::ReplyThenSend => {
                self.reply(message, sender);
                self.send(b"after", sender);
            }
            Answer::Twice => {
                let payload = message.payload().to_vec();
                self.reply(message, sender);
                self.send(&payload, sender);
            }
            Answer::PingThenReply => {
                self.ping(sender);
                self.reply(message, sender);
            }
            Answer::SendOnly => self.send(b"instead", sender),
        }
    }

    fn on_pong(&mut self, _: ConnId, _: &[u8], _: Sender<'_>) {
        self.pongs += 1;
    }

    fn on_close(&mut self, _: ConnId, closure: &Closure) {
        self.closures.push(closure.clone());
    }

    fn on_error(&mut self, _: ConnId, _: &std::io::Error) {
        self.errors += 1;
    }
}
