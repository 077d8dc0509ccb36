//! Every bound of the core: its name, unit and default; relations between them are checked here.

use std::time::Duration;

use super::{deflate::DeflateConfig, handshake::Policy};

/// Which end of the connection we are (RFC 6455 §5.1: a client masks, a server must not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts the upgrade; sends unmasked, demands masked.
    Server,
    /// Asks for the upgrade; sends masked, demands unmasked.
    Client,
}

/// What one connection may make us hold, in octets and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a request (or response) head, final empty line included. Beyond it: 431 (414 for the request line).
    pub head_bytes_max: usize,
    /// Header lines of a head. Beyond it: 431.
    pub head_lines_max: usize,
    /// Payload octets of one frame. Judged at the header, before anything is stored. Beyond it: Close 1009.
    pub frame_bytes_max: u64,
    /// Payload octets of one message over all its fragments. Beyond it: Close 1009.
    pub message_bytes_max: u64,
    /// Queued output, in octets, at which decoding (and so reading) stops.
    pub queue_high_bytes: usize,
    /// Queued output, in octets, at which decoding resumes.
    pub queue_low_bytes: usize,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Limits = Limits {
        head_bytes_max: 16 << 10,
        head_lines_max: 100,
        frame_bytes_max: 16 << 20,
        message_bytes_max: 16 << 20,
        queue_high_bytes: 1 << 20,
        queue_low_bytes: 256 << 10,
    };
}

const _: () = assert!(Limits::DEFAULT.queue_low_bytes < Limits::DEFAULT.queue_high_bytes);
const _: () = assert!(Limits::DEFAULT.frame_bytes_max <= Limits::DEFAULT.message_bytes_max);

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

/// How long a peer may take. Every wait has an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to 101, TLS included; absolute: trickling octets do not extend it.
    pub handshake: Duration,
    /// From our Close to the peer's; then the connection is dropped.
    pub close: Duration,
    /// Without one octet of queued output taken by the socket; then the connection is dropped.
    pub write_stall: Duration,
    /// Without one octet from the peer; then Close 1001. `None`: for ever.
    pub idle: Option<Duration>,
    /// Silence after which a Ping is sent. `None`: never.
    pub ping: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            handshake: Duration::from_secs(10),
            close: Duration::from_secs(3),
            write_stall: Duration::from_secs(30),
            idle: None,
            ping: None,
        }
    }
}

/// What all connections of one kind share: bounds, timeouts, and what the opening handshake accepts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bounds in octets and counts.
    pub limits: Limits,
    /// Bounds in time.
    pub timeouts: Timeouts,
    /// What an upgrade request must look like (server role).
    pub policy: Policy,
    /// Compression (RFC 7692): what is agreed to as a server, and offered as a client.
    pub deflate: DeflateConfig,
}
