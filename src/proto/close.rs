//! Close codes and the Close frame's payload (RFC 6455 §5.5.1, §7.4).

use std::fmt;

use super::error::ProtocolError;

/// A close code (RFC 6455 §7.4). Any `u16` can be held; [`CloseCode::may_travel`] tells which ones a frame may carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose was fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The endpoint goes away: a server shuts down, an idle peer is let go.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// Something that RFC 6455 does not allow.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// Never sent: "the Close frame had no code".
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// Never sent: "TCP ended without a Close frame".
    pub const ABNORMAL: CloseCode = CloseCode(1006);
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// A frame or message beyond the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The server met something that it did not expect.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// The server is overloaded.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);

    /// Whether the code may stand in a Close frame: assigned and not reserved for local use (RFC 6455 §7.4.1 and the
    /// IANA registry), or of the ranges for libraries (3000) and applications (4000) (§7.4.2).
    pub const fn may_travel(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The payload of a Close frame: a code and a reason of at most 123 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why the connection ends.
    pub code: CloseCode,
    /// The same in words, possibly empty.
    pub reason: &'a str,
}

/// Octets of a control frame's payload (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Octets of a Close frame's reason: a control payload less the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

impl<'a> CloseFrame<'a> {
    /// Reads a Close frame's (unmasked) payload. `None`: it was empty, which is legal.
    ///
    /// # Errors
    /// A payload of one octet, a code that may not travel, a reason that is not UTF-8 (RFC 6455 §5.5.1, §7.4).
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return if payload.is_empty() { Ok(None) } else { Err(ProtocolError::CloseOneOctet) };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.may_travel() {
            return Err(ProtocolError::CloseCode(code));
        }
        // §5.5.1: the reason is UTF-8; what is not gets 1007 like any other text (§8.1).
        let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::CloseReason)?;
        Ok(Some(CloseFrame { code, reason }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_travel_are_those_of_section_7_4_and_the_registry() {
        let parses =
            |code: u16| matches!(CloseFrame::parse(&code.to_be_bytes()), Ok(Some(frame)) if frame.code.0 == code);
        let travel: Vec<u16> = (0..=u16::MAX).filter(|&code| CloseCode(code).may_travel()).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(travel, expected);
        assert_eq!((0..=u16::MAX).filter(|&code| parses(code)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn close_payloads_parse_as_section_5_5_1_says() {
        let frame = |code, reason| Ok(Some(CloseFrame { code: CloseCode(code), reason }));
        for (payload, expected) in [
            (&b""[..], Ok(None)),
            (b"\x03", Err(ProtocolError::CloseOneOctet)),
            (b"\x03\xe8", frame(1000, "")),
            (b"\x03\xe8bye", frame(1000, "bye")),
            (b"\x0f\xa0", frame(4000, "")),
            (b"\x03\xed", Err(ProtocolError::CloseCode(CloseCode(1005)))),
            (b"\x03\xee", Err(ProtocolError::CloseCode(CloseCode(1006)))),
            (b"\x00\x00", Err(ProtocolError::CloseCode(CloseCode(0)))),
            (b"\x13\x88", Err(ProtocolError::CloseCode(CloseCode(5000)))),
            (b"\x03\xe8\xce\xba\xed\xa0", Err(ProtocolError::CloseReason)),
        ] {
            assert_eq!(CloseFrame::parse(payload), expected, "{payload:x?}");
        }
    }
}
