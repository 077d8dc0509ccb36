//! What a random peer says, and what a naive reading of RFC 6455 makes of it.

use super::{Random, masked};
use crate::proto::{CloseCode, Closure, MessageKind};

/// RFC 7692 §7.2.1, each message alone.
pub(crate) type Compress = fn(&[u8]) -> Vec<u8>;

/// A peer's whole input behind its request, and what it must come to.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) octets: Vec<u8>,
    /// Where the ending begins.
    pub(crate) ending_at: usize,
    pub(crate) ending: Ending,
    pub(crate) messages: Vec<(MessageKind, Vec<u8>)>,
    /// Payloads, in order.
    pub(crate) pings: Vec<Vec<u8>>,
    pub(crate) pongs: usize,
    /// What was whole at which octet, in order.
    wholes: Vec<(usize, Whole)>,
    /// RFC 7692: what makes of a message's payload its compressed form.
    compress: Option<Compress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Message,
    Ping,
    Pong,
}

/// How the peer ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// With a Close frame, of this code.
    Close(Option<u16>),
    /// With a breach, which is answered with this code.
    Breach(CloseCode),
    /// With a FIN: between frames, or inside one.
    Fin,
}

impl Ending {
    /// The payload of the Close frame that answers it; `None`: there is none.
    pub(crate) fn close_answer(self) -> Option<Vec<u8>> {
        match self {
            Ending::Close(code) => Some(code.map_or_else(Vec::new, |code| code.to_be_bytes().to_vec())),
            Ending::Breach(code) => Some(code.0.to_be_bytes().to_vec()),
            Ending::Fin => None,
        }
    }

    /// Whether this is what the application is to be told, when we had not (`left`) closed before.
    pub(crate) fn is_told_as(self, closure: &Closure, left: bool) -> bool {
        match (self, closure) {
            (Ending::Close(sent), Closure::Peer { code, .. }) if !left => sent == code.map(|code| code.0),
            (Ending::Close(sent), Closure::Local { code }) if left => sent == code.map(|code| code.0),
            (Ending::Breach(code), Closure::Failed(error)) => error.close_code() == code,
            (Ending::Fin, Closure::Eof) => true,
            _ => false,
        }
    }
}

/// Breaches, each from its first octet on, and the code that answers it.
const BREACHES: &[(&str, &[u8], CloseCode)] = &[
    ("§5.1 a frame that is not masked", b"\x81\x02hi", CloseCode::PROTOCOL_ERROR),
    ("§5.2 a reserved bit", b"\xa1\x80abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.2 a reserved data opcode", b"\x83\x80abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.2 a reserved control opcode", b"\x8f\x80abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.2 a length not in its shortest form", b"\x82\xfe\0\x01abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.4 nothing to continue", b"\x80\x80abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.4 a message inside a message", b"\x01\x80abcd\x81\x80abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.5 a fragmented ping", b"\x09\x80abcd", CloseCode::PROTOCOL_ERROR),
    ("§5.5 a ping of 126 octets", b"\x89\xfe\0\x7eabcd", CloseCode::PROTOCOL_ERROR),
    ("§5.5.1 a close of one octet", b"\x88\x81\0\0\0\0\x03", CloseCode::PROTOCOL_ERROR),
    ("§7.4 a close code that may not travel", b"\x88\x82\0\0\0\0\x03\xed", CloseCode::PROTOCOL_ERROR),
    ("§8.1 text that is not UTF-8", b"\x81\x81\0\0\0\0\xff", CloseCode::INVALID_PAYLOAD),
    ("§8.1 text that ends inside a character", b"\x01\x81\0\0\0\0\xc3\x80\x80abcd", CloseCode::INVALID_PAYLOAD),
    ("a frame beyond the limit", b"\x82\xff\0\0\x01\0\0\0\0\0abcd", CloseCode::TOO_BIG),
];

impl Script {
    pub(crate) fn random(random: &mut Random) -> Self {
        let payload_max = random.pick(&[0, 10, 130, 5_000, 20_000, 70_000, 300_000]);
        let steps = random.below(30);
        Self::of(random, steps, payload_max, None)
    }

    /// Says nothing.
    pub(crate) fn empty() -> Self {
        Script {
            octets: Vec::new(),
            ending_at: 0,
            ending: Ending::Fin,
            messages: Vec::new(),
            pings: Vec::new(),
            pongs: 0,
            wholes: Vec::new(),
            compress: None,
        }
    }

    /// So many messages and control frames, and an ending.
    pub(crate) fn of(random: &mut Random, steps: usize, payload_max: usize, compress: Option<Compress>) -> Self {
        let mut script = Script { compress, ..Script::empty() };
        for _ in 0..steps {
            match random.below(10) {
                0 | 1 => script.ping(random),
                2 => script.pong(random),
                3..6 => script.message(random, payload_max, 1),
                _ => {
                    let fragments = 1 + random.below(5);
                    script.message(random, payload_max, fragments);
                }
            }
        }
        script.ending_at = script.octets.len();
        script.end(random, payload_max.clamp(200, 20_000));
        script
    }

    /// The same, but the peer ends TCP behind that octet, which comes before the ending.
    pub(crate) fn cut_short(mut self, at: usize) -> Self {
        let is_whole = |what| self.wholes.iter().filter(|(end, whole)| *end <= at && *whole == what).count();
        let (messages, pings, pongs) = (is_whole(Whole::Message), is_whole(Whole::Ping), is_whole(Whole::Pong));
        self.messages.truncate(messages);
        self.pings.truncate(pings);
        self.pongs = pongs;
        self.octets.truncate(at);
        self.ending_at = at.min(self.ending_at);
        self.ending = Ending::Fin;
        self
    }

    /// Appends a message in one frame.
    pub(crate) fn ask(&mut self, payload: &[u8]) {
        self.ask_as(payload, &masked(0x82, payload));
    }

    /// The same, with its frame as it travels.
    pub(crate) fn ask_as(&mut self, payload: &[u8], frame: &[u8]) {
        self.octets.extend(frame);
        self.messages.push((MessageKind::Binary, payload.to_vec()));
        self.wholes.push((self.octets.len(), Whole::Message));
        self.ending_at = self.octets.len();
    }

    /// Appends a Close.
    pub(crate) fn close(&mut self, code: u16) {
        self.octets.extend(masked(0x88, &code.to_be_bytes()));
        self.ending = Ending::Close(Some(code));
    }

    fn ping(&mut self, random: &mut Random) {
        // The number makes payloads differ, so that a Pong tells which Ping it answers.
        let number = (self.pings.len() as u16).to_be_bytes();
        let len = random.below(124);
        let payload = [&number[..], &random.octets(len)].concat();
        self.octets.extend(masked(0x89, &payload));
        self.pings.push(payload);
        self.wholes.push((self.octets.len(), Whole::Ping));
    }

    fn pong(&mut self, random: &mut Random) {
        let len = random.below(126);
        self.octets.extend(masked(0x8a, &random.octets(len)));
        self.pongs += 1;
        self.wholes.push((self.octets.len(), Whole::Pong));
    }

    /// A message in so many frames, with control frames between them now and then (§5.4).
    fn message(&mut self, random: &mut Random, payload_max: usize, fragments: usize) {
        let len = random.below(payload_max + 1);
        let (kind, payload) = match random.one_in(2) {
            true => (MessageKind::Text, text(random, len).into_bytes()),
            false => (MessageKind::Binary, random.octets(len)),
        };
        let compressed = self.compress.map(|compress| compress(&payload));
        let sent = compressed.as_ref().unwrap_or(&payload);
        let mut cuts: Vec<usize> = (1..fragments).map(|_| random.below(sent.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(sent.len());
        // RFC 7692 §6: RSV1 on the first frame.
        let (mut from, mut opcode) = (0, kind.opcode() as u8 | if compressed.is_some() { 0x40 } else { 0 });
        for (index, &to) in cuts.iter().enumerate() {
            let fin = if index + 1 == fragments { 0x80 } else { 0 };
            self.octets.extend(masked(fin | opcode, &sent[from..to]));
            (from, opcode) = (to, 0);
            if fin == 0 && random.one_in(3) {
                self.ping(random);
            }
        }
        self.messages.push((kind, payload));
        self.wholes.push((self.octets.len(), Whole::Message));
    }

    fn end(&mut self, random: &mut Random, octets_max: usize) {
        match random.below(4) {
            0 => {
                let code = random.pick(&[None, Some(1000), Some(1001), Some(3999)]);
                let reason = if code.is_some() && random.one_in(2) { "bye".as_bytes() } else { b"" };
                let payload = [&code.map_or_else(Vec::new, |code: u16| code.to_be_bytes().to_vec()), reason].concat();
                self.octets.extend(masked(0x88, &payload));
                self.ending = Ending::Close(code);
            }
            1 => {
                let (_, octets, code) = random.pick(BREACHES);
                self.octets.extend(octets);
                self.ending = Ending::Breach(code);
            }
            2 => {
                let frame = masked(0x82, &random.octets(octets_max));
                let len = 1 + random.below(frame.len() - 1);
                self.octets.extend(&frame[..len]);
            }
            _ => {}
        }
        // To what comes after a Close or a breach we are deaf (§5.5.1, §7.1.7).
        if !matches!(self.ending, Ending::Fin) && random.one_in(3) {
            let len = random.below(octets_max / 4);
            self.octets.extend(masked(0x82, &random.octets(len)));
            self.octets.extend(masked(0x89, b"too late"));
        }
    }
}

/// Characters of one to four octets, so that frames and reads cut through them.
fn text(random: &mut Random, octets_about: usize) -> String {
    let mut text = String::with_capacity(octets_about + 4);
    while text.len() < octets_about {
        // Mostly runs, which are quick to make.
        let run = 1 + random.below(64);
        let char = random.pick(&['a', 'Z', '7', ' ', 'é', '中', '😀']);
        text.extend(std::iter::repeat_n(char, run));
    }
    text
}
