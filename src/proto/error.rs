//! What a peer can do wrong once the connection is open, and the close code that answers it (RFC 6455 §7.1.7, §7.4.1).

use super::{close::CloseCode, deflate::InvalidDeflate};

/// A breach of RFC 6455 by the peer, or of a limit of ours. The connection is failed (§7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// §5.2: a reserved bit without an extension that defines it, or where that extension does not allow it.
    #[error("reserved bits {0:03b} set (RFC 6455 §5.2)")]
    ReservedBits(u8),
    /// §5.2: opcodes 3–7 and 11–15 have no meaning yet.
    #[error("reserved opcode {0} (RFC 6455 §5.2)")]
    ReservedOpcode(u8),
    /// §5.5: control frames are never fragmented.
    #[error("fragmented control frame, opcode {0} (RFC 6455 §5.5)")]
    FragmentedControl(u8),
    /// §5.5: control frames carry at most 125 octets.
    #[error("control frame with more than 125 octets (RFC 6455 §5.5)")]
    ControlTooLong,
    /// §5.1: a client masks every frame.
    #[error("unmasked frame from a client (RFC 6455 §5.1)")]
    Unmasked,
    /// §5.1: a server masks no frame.
    #[error("masked frame from a server (RFC 6455 §5.1)")]
    Masked,
    /// §5.2: the shortest form of the length is the only legal one.
    #[error("payload length {0} not in its shortest form (RFC 6455 §5.2)")]
    LengthNotMinimal(u64),
    /// §5.2: the 64-bit length's most significant bit is 0.
    #[error("payload length with the top bit set (RFC 6455 §5.2)")]
    LengthTopBit,
    /// §5.4: a continuation continues something.
    #[error("continuation frame with no message to continue (RFC 6455 §5.4)")]
    NothingToContinue,
    /// §5.4: a message's fragments are not interleaved with another message.
    #[error("new message inside a fragmented one (RFC 6455 §5.4)")]
    MessageInsideMessage,
    /// A frame beyond `frame_bytes_max`, judged at its header.
    #[error("frame of {len} octets, limit {max}")]
    FrameTooBig {
        /// What the header announced.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A message beyond `message_bytes_max`, judged at the header of the frame that would take it there.
    #[error("message of at least {len} octets, limit {max}")]
    MessageTooBig {
        /// Octets so far with those that the header announced.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// §8.1: text is UTF-8.
    #[error("text that is not UTF-8 (RFC 6455 §8.1)")]
    InvalidUtf8,
    /// RFC 7692 §7.2.2: a compressed payload is DEFLATE.
    #[error("compressed payload that is not DEFLATE (RFC 7692 §7.2.2)")]
    InvalidDeflate,
    /// §5.5.1: a Close payload is empty or at least two octets.
    #[error("close frame with a payload of one octet (RFC 6455 §5.5.1)")]
    CloseOneOctet,
    /// §7.4: codes that may not travel.
    #[error("close code {0} may not be sent (RFC 6455 §7.4)")]
    CloseCode(CloseCode),
    /// §5.5.1: the reason is UTF-8.
    #[error("close reason that is not UTF-8 (RFC 6455 §5.5.1)")]
    CloseReason,
}

impl ProtocolError {
    /// The code of the Close frame that answers the breach.
    pub const fn close_code(self) -> CloseCode {
        match self {
            ProtocolError::FrameTooBig { .. } | ProtocolError::MessageTooBig { .. } => CloseCode::TOO_BIG,
            // The frames are legal, their payload is not what they announce (RFC 6455 §7.4.1, 1007).
            ProtocolError::InvalidUtf8 | ProtocolError::CloseReason | ProtocolError::InvalidDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl From<InvalidDeflate> for ProtocolError {
    fn from(_: InvalidDeflate) -> Self {
        ProtocolError::InvalidDeflate
    }
}
