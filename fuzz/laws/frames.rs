//! Octets as frames of either role's peer (RFC 6455 §5.2): the same headers, payload and breach for every way of cutting
//! them, and the breach at the same octet.

use wslab::proto::{FrameDecoder, FrameHeader, Limits, Place, ProtocolError, Role};

/// What a stream of frames comes to.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// The header as it was judged, less its key, and the payload so far.
    frames: Vec<(FrameHeader, Vec<u8>)>,
    breach: Option<ProtocolError>,
    /// Octets used up.
    used: usize,
}

/// Decodes pieces of these lengths by turns.
fn play(input: &[u8], cuts: &[usize], role: Role, deflate: bool) -> Seen {
    let limits = Limits { message_bytes_max: 3_000, frame_bytes_max: 2_000, ..Limits::DEFAULT };
    let (mut decoder, mut seen, mut message) = (FrameDecoder::default(), Seen::default(), None);
    let (mut carry, mut arrived, mut cuts) = (Vec::new(), 0, cuts.iter().cycle());
    while arrived < input.len() {
        let end = (arrived + (*cuts.next().unwrap_or(&1)).max(1)).min(input.len());
        carry.extend_from_slice(&input[arrived..end]);
        arrived = end;
        loop {
            let place = Place { role, message, deflate, limits: &limits };
            let chunk = match decoder.decode(&mut carry, &place) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    seen.breach = Some(error);
                    return seen;
                }
            };
            let header = FrameHeader { mask: chunk.header.mask.map(|_| [0; 4]), ..chunk.header };
            if chunk.begins {
                seen.frames.push((header, Vec::new()));
                if !header.opcode.is_control() {
                    message = Some(message.unwrap_or(0) + header.len);
                }
            }
            let (begun, payload) = seen.frames.last_mut().expect("a frame begins before it goes on");
            assert_eq!(*begun, header, "another header in the middle of a frame");
            payload.extend_from_slice(&carry[chunk.at.clone()]);
            assert_eq!(chunk.ends, payload.len() as u64 == header.len);
            if chunk.ends && header.fin && !header.opcode.is_control() {
                message = None;
            }
            seen.used += chunk.at.end;
            carry.drain(..chunk.at.end);
        }
        assert!(carry.len() < 14, "more than a header is kept");
    }
    seen
}

/// Panics where the law is broken. The first two octets choose role, extension and cuts.
pub(crate) fn check(input: &[u8]) {
    let Some((&[how, cut], input)) = input.split_first_chunk() else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let deflate = how & 2 != 0;
    let whole = play(input, &[input.len()], role, deflate);
    for cuts in [&[1][..], &[usize::from(cut)], &[1, usize::from(cut), usize::from(how)]] {
        assert_eq!(whole, play(input, cuts, role, deflate), "cut by {cuts:?}");
    }
    assert!(whole.frames.iter().all(|(header, payload)| header.len <= 2_000 && payload.len() as u64 <= header.len));
}
