//! Octets as what a client sends after its upgrade. Without compression a whole server connection is held against a naive
//! reading of RFC 6455, which looks at all octets at once; with it, the same must come of them for every cut.

use std::{sync::Arc, time::Instant};

use wslab::proto::{Connection, Event, INFLATED_BYTES_MAX, Limits, Opcode, Settings, Turn, WireHeader, Workspace};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Octets of a message or a frame.
const PAYLOAD_MAX: u64 = 1 << 16;

/// What an application and the peer see.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Messages, Pongs and the end, as the application is told.
    events: Vec<String>,
    /// Frames to the peer but Pongs, whose place depends on what had left already.
    data: Vec<(u8, Vec<u8>)>,
    pongs: Vec<Vec<u8>>,
}

fn turn(turn: &mut Turn<'_>, seen: &mut Seen, wire: &mut Vec<u8>) {
    while let Some(mut received) = turn.receive() {
        match received.event {
            Event::Message(message) => {
                seen.events.push(format!("{:?} {:?}", message.kind(), message.payload()));
                let _ = received.sender.reply(message);
            }
            Event::Open(_) => {}
            Event::Pong(payload) => seen.events.push(format!("Pong {payload:?}")),
            Event::Close(closure) => seen.events.push(format!("{closure}")),
        }
    }
    while turn.has_output() {
        let mut len = 0;
        for slice in turn.transmit().iter() {
            wire.extend_from_slice(slice);
            len += slice.len();
        }
        assert!(len > 0);
        turn.advance(len);
    }
}

/// A turn a piece of so many octets, and as many more as inflating by so small shares takes.
fn play(input: &[u8], cut: usize, deflate: bool, share: usize) -> Seen {
    let limits = Limits { message_bytes_max: PAYLOAD_MAX, frame_bytes_max: PAYLOAD_MAX, ..Limits::DEFAULT };
    let settings = Settings { limits, ..Settings::default() };
    let now = Instant::now();
    let (mut workspace, mut seen, mut wire) = (Workspace::new(), Seen::default(), Vec::new());
    workspace.share_inflating(share);
    let mut connection = Connection::server(Arc::new(settings), now);
    let offer: &[u8] = if deflate { b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" } else { b"\r\n" };
    for part in [UPGRADE, offer].into_iter().chain(input.chunks(cut.max(1))) {
        let mut lent = connection.turn(&mut workspace, now);
        lent.spare()[..part.len()].copy_from_slice(part);
        lent.filled(part.len());
        turn(&mut lent, &mut seen, &mut wire);
        while lent.is_spent() {
            drop(lent);
            lent = connection.turn(&mut workspace, now);
            turn(&mut lent, &mut seen, &mut wire);
        }
    }
    let head = wire.windows(4).position(|end| end == b"\r\n\r\n").expect("a 101") + 4;
    let mut frames = &wire[head..];
    while let Some((header, size)) = WireHeader::parse(frames) {
        assert!(header.fin && header.mask.is_none() && (header.rsv == 0 || deflate));
        let (frame, rest) = frames.split_at(size + header.len as usize);
        let payload = frame[size..].to_vec();
        if header.opcode == Opcode::Pong as u8 {
            seen.pongs.push(payload);
        } else {
            seen.data.push((header.opcode, payload));
        }
        frames = rest;
    }
    assert!(frames.is_empty());
    seen
}

/// Why the naive reading stops: the close code to answer with.
type Breach = u16;

/// All octets read at once, frame by frame, as RFC 6455 says; knows nothing of buffers, turns or cuts.
#[derive(Default)]
struct Reference {
    seen: Seen,
    message: Option<(u8, Vec<u8>)>,
}

impl Reference {
    fn read(input: &[u8]) -> Seen {
        let mut reference = Reference::default();
        if let Err(code) = reference.frames(input) {
            reference.seen.events.push(format!("failed {code}"));
            reference.seen.data.push((8, code.to_be_bytes().to_vec()));
        }
        reference.seen
    }

    fn frames(&mut self, mut input: &[u8]) -> Result<(), Breach> {
        // §5.2, octet by octet: who could have known must have said so.
        while let Some(&first) = input.first() {
            let (fin, opcode) = (first & 0x80 != 0, first & 15);
            let is_control = opcode >= 8;
            let is_legal = first & 0x70 == 0
                && matches!(opcode, 0..=2 | 8..=10)
                && (!is_control || fin)
                && (is_control || (opcode == 0) == self.message.is_some());
            if !is_legal {
                return Err(1002);
            }
            let Some(&second) = input.get(1) else { return Ok(()) };
            let short = u64::from(second & 0x7f);
            if second & 0x80 == 0 || (is_control && short > 125) {
                return Err(1002);
            }
            if short == 127 && input.get(2).is_some_and(|top| *top >= 0x80) {
                return Err(1002);
            }
            let extended = match short {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let Some(octets) = input.get(2..2 + extended) else { return Ok(()) };
            let len =
                if extended == 0 { short } else { octets.iter().fold(0, |len, octet| len << 8 | u64::from(*octet)) };
            if (extended == 2 && len < 126) || (extended == 8 && len < 1 << 16) {
                return Err(1002);
            }
            let before = self.message.as_ref().map_or(0, |(_, payload)| payload.len() as u64);
            if !is_control && (len > PAYLOAD_MAX || before + len > PAYLOAD_MAX) {
                return Err(1009);
            }
            let Some(key) = input.get(2 + extended..6 + extended) else { return Ok(()) };
            let masked = &input[6 + extended..];
            let masked = &masked[..masked.len().min(len as usize)];
            let payload: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key).collect();
            let is_whole = payload.len() as u64 == len;
            input = &input[6 + extended + payload.len()..];
            if is_control {
                if is_whole && self.control(opcode, payload)? {
                    return Ok(());
                }
            } else {
                self.data(opcode, payload, fin && is_whole)?;
            }
            if !is_whole {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether it was the end.
    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<bool, Breach> {
        match (opcode, payload.split_first_chunk::<2>()) {
            (9, _) => self.seen.pongs.push(payload),
            (10, _) => self.seen.events.push(format!("Pong {payload:?}")),
            (_, None) if !payload.is_empty() => return Err(1002),
            (_, None) => {
                self.seen.events.push("closed".to_owned());
                self.seen.data.push((8, Vec::new()));
                return Ok(true);
            }
            (_, Some((code, reason))) => {
                // §7.4, with the codes registered since.
                if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(1002);
                }
                if std::str::from_utf8(reason).is_err() {
                    return Err(1007);
                }
                self.seen.events.push("closed".to_owned());
                self.seen.data.push((8, code.to_vec()));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn data(&mut self, opcode: u8, payload: Vec<u8>, is_last: bool) -> Result<(), Breach> {
        let (kind, message) = self.message.get_or_insert((opcode, Vec::new()));
        message.extend(payload);
        // §8.1: fails where no more octets could mend it.
        if *kind == 1
            && let Err(error) = std::str::from_utf8(message)
            && (is_last || error.error_len().is_some())
        {
            return Err(1007);
        }
        if is_last && let Some((kind, message)) = self.message.take() {
            let name = if kind == 1 { "Text" } else { "Binary" };
            self.seen.events.push(format!("{name} {message:?}"));
            self.seen.data.push((kind, message));
        }
        Ok(())
    }
}

/// The words for an end differ, the facts may not.
fn without_words(mut seen: Seen) -> Seen {
    for event in &mut seen.events {
        if event.starts_with("by the peer") {
            *event = "closed".to_owned();
        } else if let Some(failed) = event.strip_prefix("failed with ") {
            let code: String = failed.chars().take_while(char::is_ascii_digit).collect();
            *event = format!("failed {code}");
        }
    }
    seen
}

/// Panics where the law is broken. The first octet is the cut.
pub(crate) fn check(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let input = &input[..input.len().min(60_000)];
    let cut = usize::from(cut);
    let compressed = play(input, input.len(), true, INFLATED_BYTES_MAX);
    for share in [INFLATED_BYTES_MAX, 1 + 9 * cut] {
        let again = play(input, cut, true, share);
        let same = (&compressed.events, &compressed.data) == (&again.events, &again.data);
        assert!(same, "compressed, cut by {cut}, {share} octets inflated a turn: {again:?} instead of {compressed:?}");
    }
    let expected = Reference::read(input);
    for cut in [input.len(), cut] {
        let seen = without_words(play(input, cut, false, INFLATED_BYTES_MAX));
        assert_eq!((&seen.events, &seen.data), (&expected.events, &expected.data), "cut by {cut}");
        // §5.5.3: the newest Pong may stand for those before it.
        let mut pings = expected.pongs.iter();
        assert!(seen.pongs.iter().all(|pong| pings.any(|ping| ping == pong)), "a Pong to no Ping");
        assert_eq!(seen.pongs.last(), expected.pongs.last(), "the last Ping is answered");
    }
}
