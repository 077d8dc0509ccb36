//! RFC 6455: no socket, no clock, no randomness, no printing.

pub mod handshake;
mod limits;

pub use limits::{Limits, Role, Settings, Timeouts};
