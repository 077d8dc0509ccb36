//! RFC 6455 without I/O: no socket, no clock, no randomness, no printing. Octets in, events out, octets to send.
//!
//! From the wire up: `wire` (any header) → `frame` (a legal one) → `decoder` (frames from a stream) → `assembler`
//! (messages from fragments) → [`Connection`] and its [`Turn`]. Down again: [`Sender`] → `outbox` (what leaves, and in
//! which order). Beside them the opening [`handshake`].

mod assembler;
mod close;
mod connection;
mod decoder;
pub mod deflate;
mod ending;
mod error;
mod frame;
pub mod handshake;
mod lanes;
mod limits;
mod mask;
mod outbox;
mod pool;
mod receive;
mod sender;
mod turn;
mod utf8;
mod whole;
mod wire;
mod workspace;

pub use assembler::MessageKind;
pub use close::{CONTROL_BYTES_MAX, CloseCode, CloseFrame, REASON_BYTES_MAX};
pub use connection::{Closure, Connection, Shutdown, Stage, Wait};
pub use decoder::{Chunk, FrameDecoder};
pub use error::ProtocolError;
pub use frame::{FrameHeader, Opcode, Place};
pub use lanes::Flow;
pub use limits::{Limits, Role, Settings, SettingsError, Timeouts};
pub use mask::{MaskKey, mask};
pub use outbox::Slices;
pub use sender::{Message, SendError, Sender};
pub use turn::{Event, Received, Turn};
pub use utf8::{InvalidUtf8, whole_code_points};
pub use wire::{HEADER_BYTES_MAX, WireHeader};
pub use workspace::{Direction, FrameTap, INFLATED_BYTES_MAX, MaskKeys, WINDOW_BYTES, Workspace};

#[cfg(test)]
mod tests;
