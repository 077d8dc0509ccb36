//! permessage-deflate (RFC 7692): the offer and its answer ([`negotiation`]), and the codec of one connection ([`Codec`])
//! with what all connections of a loop share ([`Codecs`]). Sees no frame: whoever calls sets RSV1 and cuts frames.
//!
//! What is held is chosen for many connections: without context takeover (the default) a connection owns nothing
//! between messages, and the loop owns one compressor and a few inflaters.

mod codec;
mod config;
mod deflater;
mod inflater;
pub mod negotiation;
mod pool;
mod quick;

pub use codec::Codec;
pub use config::{DeflateConfig, DeflateMode};
pub use inflater::{Inflation, InvalidDeflate, Sink};
pub use negotiation::Agreed;
pub use pool::Codecs;

/// What ends a message before it is cut off for the wire: LEN and NLEN of an empty stored block (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
