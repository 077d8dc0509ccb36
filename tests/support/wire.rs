//! Frames as octets (RFC 6455 §5.2), built and read apart from the code under test; and octets as frames, for people.

use std::fmt::Write as _;

/// Who sends a frame: only clients mask.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    mask: Option<[u8; 4]>,
}

/// The client, which is the test.
pub(crate) const PEER: Side = Side { mask: Some([0x37, 0xfa, 0x21, 0x3d]) };

/// The server, which is under test.
pub(crate) const SERVER: Side = Side { mask: None };

impl Side {
    /// A frame with this first octet (FIN, RSV, opcode), whatever it means.
    pub(crate) fn frame(self, first: u8, payload: &[u8]) -> Vec<u8> {
        self.frame_of_len(first, &shortest_len(payload.len()), payload)
    }

    /// A frame that announces its length by these octets, the first of them without the mask bit.
    pub(crate) fn frame_of_len(self, first: u8, len: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![first];
        octets.extend_from_slice(len);
        let Some(key) = self.mask else {
            octets.extend_from_slice(payload);
            return octets;
        };
        octets[1] |= 0x80;
        octets.extend_from_slice(&key);
        octets.extend_from_slice(&masked(payload, key));
        octets
    }

    pub(crate) fn text(self, text: &str) -> Vec<u8> {
        self.frame(0x81, text.as_bytes())
    }

    pub(crate) fn binary(self, payload: &[u8]) -> Vec<u8> {
        self.frame(0x82, payload)
    }

    pub(crate) fn ping(self, payload: &[u8]) -> Vec<u8> {
        self.frame(0x89, payload)
    }

    pub(crate) fn pong(self, payload: &[u8]) -> Vec<u8> {
        self.frame(0x8a, payload)
    }

    pub(crate) fn close(self, code: u16) -> Vec<u8> {
        self.close_because(code, b"")
    }

    pub(crate) fn close_because(self, code: u16, reason: &[u8]) -> Vec<u8> {
        self.frame(0x88, &[&code.to_be_bytes(), reason].concat())
    }

    pub(crate) fn close_empty(self) -> Vec<u8> {
        self.frame(0x88, b"")
    }
}

/// Masks or unmasks (RFC 6455 §5.3), eight octets at a time, for the sake of unoptimised builds.
fn masked(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let key = [key, key].concat();
    let wide = u64::from_ne_bytes(*key.first_chunk().unwrap());
    let mut octets = payload.to_vec();
    let (chunks, rest) = octets.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip(key) {
        *octet ^= key;
    }
    octets
}

/// A text message of `count` times so many octets, compressed as well as DEFLATE can (RFC 7692 §7.2.1): a thousandth of it.
pub(crate) fn bomb(octets: usize, count: usize) -> Vec<u8> {
    let mut deflate = zlib_rs::Deflate::new(9, false, 15);
    let mut payload = vec![0; octets / 512 + 64];
    deflate.compress(&vec![b'a'; octets], &mut payload, zlib_rs::DeflateFlush::SyncFlush).unwrap();
    let len = usize::try_from(deflate.total_out()).unwrap();
    // What ends in a flush looks back at nothing but itself, so it can stand there again.
    let payload = payload[..len].repeat(count);
    PEER.frame(0xc1, payload.strip_suffix(&[0, 0, 0xff, 0xff]).expect("the end of a flush"))
}

/// A payload length in its shortest form, without the mask bit.
pub(crate) fn shortest_len(len: usize) -> Vec<u8> {
    match len {
        0..=125 => vec![len as u8],
        126..=0xffff => [&[126][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

/// A frame that was received: its first octet, and its payload unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) masked: bool,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Takes a frame from the front; `None`: it is not all there.
    pub(crate) fn parse(octets: &[u8]) -> Option<(Frame, usize)> {
        let [first, second, rest @ ..] = octets else { return None };
        let (len, at) = match second & 0x7f {
            126 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let key = if second & 0x80 != 0 { Some(*octets.get(at..)?.first_chunk()?) } else { None };
        let start = at + key.map_or(0, |key| key.len());
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        let payload = octets.get(start..end)?;
        let payload = key.map_or_else(|| payload.to_vec(), |key| masked(payload, key));
        Some((Frame { first: *first, masked: key.is_some(), payload }, end))
    }

    /// All frames, and the octets behind them that are none.
    pub(crate) fn parse_all(mut octets: &[u8]) -> (Vec<Frame>, &[u8]) {
        let mut frames = Vec::new();
        while let Some((frame, size)) = Frame::parse(octets) {
            frames.push(frame);
            octets = &octets[size..];
        }
        (frames, octets)
    }

    pub(crate) fn is_control(&self) -> bool {
        self.first & 8 != 0
    }

    /// The code of a Close frame, if it has one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.first, 0x88, "a Close frame: {self:?}");
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// Octets as frames, one after the other, long payloads abbreviated.
pub(crate) fn show(octets: &[u8]) -> String {
    const SHOWN: usize = 40;
    let abbreviated = |octets: &[u8]| {
        let more = if octets.len() > SHOWN { "…" } else { "" };
        format!("\"{}{more}\"", octets[..octets.len().min(SHOWN)].escape_ascii())
    };
    let (frames, rest) = Frame::parse_all(octets);
    let mut text = String::new();
    for frame in frames {
        let name = match frame.first & 15 {
            0 => "continuation".to_owned(),
            1 => "text".to_owned(),
            2 => "binary".to_owned(),
            8 => "close".to_owned(),
            9 => "ping".to_owned(),
            10 => "pong".to_owned(),
            other => format!("opcode {other}"),
        };
        let fin = if frame.first & 0x80 != 0 { "" } else { " unfinished" };
        let rsv = frame.first >> 4 & 7;
        let rsv = if rsv != 0 { format!(" rsv {rsv:03b}") } else { String::new() };
        let masked = if frame.masked { " masked" } else { "" };
        let shown = match frame.payload.as_slice() {
            [high, low, reason @ ..] if frame.first & 15 == 8 => {
                format!("{} {}", u16::from_be_bytes([*high, *low]), abbreviated(reason))
            }
            payload => abbreviated(payload),
        };
        let _ = write!(text, "[{name}{fin}{rsv}{masked} {}: {shown}] ", frame.payload.len());
    }
    if !rest.is_empty() {
        let _ = write!(text, "{} octets that are no frame: {}", rest.len(), abbreviated(rest));
    }
    text.trim_end().to_owned()
}
