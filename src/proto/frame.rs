//! A frame header that is legal here and now (RFC 6455 §5.2, §5.4, §5.5): who holds a `FrameHeader` need not check again.
//! Judged octet by octet: an illegal first octet fails before the second arrives.

use super::{
    error::ProtocolError,
    limits::{Limits, Role},
    mask::MaskKey,
    wire::WireHeader,
};

/// Opcodes (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the message under way.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Octets.
    Binary = 2,
    /// The end of what this side sends.
    Close = 8,
    /// To be answered with a Pong.
    Ping = 9,
    /// The answer to a Ping, or a heartbeat.
    Pong = 10,
}

impl Opcode {
    /// The opcode with this number, where it has one.
    #[inline]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Control frames (§5.5) have the opcode's most significant bit set.
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// A header that may stand where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Last fragment of its message.
    pub fin: bool,
    /// RSV1 on the first frame of a message: it is compressed (RFC 7692 §6).
    pub compressed: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// Payload octets; within the limits.
    pub len: u64,
    /// The masking key; `Some` exactly where the sender is a client.
    pub mask: Option<MaskKey>,
}

/// What a header is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Who we are; the peer is the other.
    pub role: Role,
    /// Payload octets so far of the message under way; `None`: none is.
    pub message: Option<u64>,
    /// Whether permessage-deflate was agreed, so that RSV1 has a meaning.
    pub deflate: bool,
    /// Bounds of frames and messages.
    pub limits: &'a Limits,
}

impl FrameHeader {
    /// Judges as much of a header as is in `octets`; with all of it there, returns it and the octets it took.
    /// `Ok(None)`: nothing wrong so far, more octets are needed.
    ///
    /// # Errors
    /// At the first octet from which no legal header can come.
    #[inline]
    pub fn judge(octets: &[u8], place: &Place<'_>) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = octets.first() else { return Ok(None) };
        let (fin, compressed, opcode) = judge_first(first, place)?;
        let Some(&second) = octets.get(1) else { return Ok(None) };
        judge_second(second, opcode, place.role)?;
        let Some((len, len_octets)) = WireHeader::read_len(octets) else {
            return match octets.get(2) {
                Some(top) if second & 0x7f == 127 && top & 0x80 != 0 => Err(ProtocolError::LengthTopBit),
                _ => Ok(None),
            };
        };
        judge_len(len, len_octets, opcode, place)?;
        let Some((wire, size)) = WireHeader::parse(octets) else { return Ok(None) };
        Ok(Some((FrameHeader { fin, compressed, opcode, len, mask: wire.mask }, size)))
    }
}

#[inline]
fn judge_first(octet: u8, place: &Place<'_>) -> Result<(bool, bool, Opcode), ProtocolError> {
    let (fin, rsv, number) = WireHeader::split_first(octet);
    // RFC 7692 §6: RSV1 stands on the first frame of a data message only.
    let rsv_legal = if place.deflate && matches!(number, 1 | 2) { 0b100 } else { 0 };
    if rsv & !rsv_legal != 0 {
        return Err(ProtocolError::ReservedBits(rsv));
    }
    let Some(opcode) = Opcode::from_wire(number) else { return Err(ProtocolError::ReservedOpcode(number)) };
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(ProtocolError::FragmentedControl(number)),
        Opcode::Continuation if place.message.is_none() => Err(ProtocolError::NothingToContinue),
        Opcode::Text | Opcode::Binary if place.message.is_some() => Err(ProtocolError::MessageInsideMessage),
        _ => Ok((fin, rsv != 0, opcode)),
    }
}

#[inline]
fn judge_second(octet: u8, opcode: Opcode, role: Role) -> Result<(), ProtocolError> {
    match (role, octet & 0x80 != 0) {
        (Role::Server, false) => return Err(ProtocolError::Unmasked),
        (Role::Client, true) => return Err(ProtocolError::Masked),
        _ => {}
    }
    // §5.5: control payloads end at 125 octets, so the 7-bit length is the only legal form.
    if opcode.is_control() && octet & 0x7f > 125 {
        return Err(ProtocolError::ControlTooLong);
    }
    Ok(())
}

#[inline]
fn judge_len(len: u64, len_octets: u8, opcode: Opcode, place: &Place<'_>) -> Result<(), ProtocolError> {
    if len >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    match len_octets {
        2 if len < 126 => return Err(ProtocolError::LengthNotMinimal(len)),
        8 if len < 65_536 => return Err(ProtocolError::LengthNotMinimal(len)),
        _ => {}
    }
    if opcode.is_control() {
        return Ok(());
    }
    if len > place.limits.frame_bytes_max {
        return Err(ProtocolError::FrameTooBig { len, max: place.limits.frame_bytes_max });
    }
    // Neither term has its top bit set, so the sum does not overflow.
    let len = len + place.message.unwrap_or(0);
    if len > place.limits.message_bytes_max {
        return Err(ProtocolError::MessageTooBig { len, max: place.limits.message_bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { frame_bytes_max: 1000, message_bytes_max: 1500, ..Limits::DEFAULT };

    fn place(role: Role, message: Option<u64>) -> Place<'static> {
        Place { role, message, deflate: false, limits: &LIMITS }
    }

    #[test]
    fn an_illegal_header_fails_at_the_octet_that_makes_it_so() {
        use ProtocolError::*;
        let open = place(Role::Server, None);
        let inside = place(Role::Server, Some(600));
        let client = place(Role::Client, None);
        let rows: &[(&str, &Place<'_>, &[u8], usize, ProtocolError)] = &[
            ("§5.2 RSV1", &open, &[0xc1], 1, ReservedBits(4)),
            ("§5.2 RSV2", &open, &[0xa1], 1, ReservedBits(2)),
            ("§5.2 RSV3", &open, &[0x91], 1, ReservedBits(1)),
            ("§5.2 opcode 3", &open, &[0x83], 1, ReservedOpcode(3)),
            ("§5.2 opcode 15", &open, &[0x8f], 1, ReservedOpcode(15)),
            ("§5.5 ping without FIN", &open, &[0x09], 1, FragmentedControl(9)),
            ("§5.4 continuation of nothing", &open, &[0x80], 1, NothingToContinue),
            ("§5.4 text inside a message", &inside, &[0x81], 1, MessageInsideMessage),
            ("§5.4 binary inside a message", &inside, &[0x02], 1, MessageInsideMessage),
            ("§5.1 unmasked client", &open, &[0x81, 0x05], 2, Unmasked),
            ("§5.1 masked server", &client, &[0x81, 0x85], 2, Masked),
            ("§5.5 ping of 126", &open, &[0x89, 0xfe], 2, ControlTooLong),
            ("§5.5 close of 64 bits", &open, &[0x88, 0xff], 2, ControlTooLong),
            ("§5.2 top bit", &open, &[0x82, 0xff, 0x80], 3, LengthTopBit),
            ("§5.2 top bit, all ones", &open, &[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255], 3, LengthTopBit),
            ("§5.2 125 in 16 bits", &open, &[0x82, 0xfe, 0, 125], 4, LengthNotMinimal(125)),
            ("§5.2 65535 in 64 bits", &open, &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], 10, LengthNotMinimal(65_535)),
            ("frame limit", &open, &[0x82, 0xfe, 0x03, 0xe9], 4, FrameTooBig { len: 1001, max: 1000 }),
            ("message limit", &inside, &[0x80, 0xfe, 0x03, 0x85], 4, MessageTooBig { len: 1501, max: 1500 }),
            (
                "a length near 2^63 does not overflow",
                &inside,
                &[0x80, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255],
                10,
                FrameTooBig { len: i64::MAX as u64, max: 1000 },
            ),
        ];
        for (name, place, octets, fails_at, error) in rows {
            for len in 0..*fails_at {
                assert_eq!(FrameHeader::judge(&octets[..len], place), Ok(None), "{name}: {len} octets");
            }
            for len in *fails_at..=octets.len() {
                assert_eq!(FrameHeader::judge(&octets[..len], place), Err(*error), "{name}: {len} octets");
            }
        }
    }

    #[test]
    fn a_legal_header_is_whole_at_its_last_octet() {
        for (place, octets, opcode, len) in [
            (place(Role::Server, None), &[0x81, 0x80, 1, 2, 3, 4][..], Opcode::Text, 0),
            (place(Role::Server, Some(500)), &[0x80, 0xfe, 0x03, 0xe8, 1, 2, 3, 4], Opcode::Continuation, 1000),
            (place(Role::Server, Some(500)), &[0x8a, 0xfd, 1, 2, 3, 4], Opcode::Pong, 125),
            (place(Role::Client, None), &[0x82, 0x7e, 0x00, 0x7e], Opcode::Binary, 126),
        ] {
            for short in 0..octets.len() {
                assert_eq!(FrameHeader::judge(&octets[..short], &place), Ok(None));
            }
            let (header, size) = FrameHeader::judge(octets, &place).unwrap().unwrap();
            assert_eq!((header.opcode, header.len, size), (opcode, len, octets.len()));
        }
    }

    #[test]
    fn rsv1_is_legal_on_the_first_frame_of_a_message_when_deflate_was_agreed() {
        let judge = |first, message| {
            let place = Place { deflate: true, ..place(Role::Server, message) };
            FrameHeader::judge(&[first, 0x80, 0, 0, 0, 0], &place)
        };
        assert!(judge(0xc1, None).unwrap().unwrap().0.compressed);
        assert!(judge(0x42, None).unwrap().unwrap().0.compressed);
        assert!(!judge(0x81, None).unwrap().unwrap().0.compressed);
        assert_eq!(judge(0xc0, Some(1)), Err(ProtocolError::ReservedBits(4)));
        assert_eq!(judge(0xc9, None), Err(ProtocolError::ReservedBits(4)));
        assert_eq!(judge(0xe1, None), Err(ProtocolError::ReservedBits(6)));
    }
}
