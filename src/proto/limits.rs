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

/// The longest wait that makes sense; far beyond it clocks overflow.
const WAIT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Settings that can not work, or not as they were meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A bound that lets nothing through, or a wait that is over at once.
    #[error("{name} is 0: it must be above")]
    Zero {
        /// The field.
        name: &'static str,
    },
    /// A wait of more than a century.
    #[error("{name} is {wait:?}: the longest is {WAIT_MAX:?}, None is for ever where there may be no end")]
    TooLong {
        /// The field.
        name: &'static str,
        /// Its value.
        wait: Duration,
    },
    /// A frame could be larger than any message it is part of.
    #[error(
        "frame_bytes_max {frame} exceeds message_bytes_max {message}: such a frame could never be part of a message"
    )]
    FrameAboveMessage {
        /// `frame_bytes_max`.
        frame: u64,
        /// `message_bytes_max`.
        message: u64,
    },
    /// Decoding stops at one and resumes at the other.
    #[error(
        "queue_low_bytes {low} is not below queue_high_bytes {high}: decoding stops at the one, resumes at the other"
    )]
    QueueMarks {
        /// `queue_low_bytes`.
        low: usize,
        /// `queue_high_bytes`.
        high: usize,
    },
    /// A Ping is to keep a silent peer from being taken for a dead one.
    #[error("ping {ping:?} is not below idle {idle:?}: a silent peer would be closed before it is asked")]
    PingAboveIdle {
        /// `Timeouts::ping`.
        ping: Duration,
        /// `Timeouts::idle`.
        idle: Duration,
    },
    /// Compression that zlib has not got.
    #[error("deflate {name} is {value}: expected {min} to {max}")]
    Deflate {
        /// The field.
        name: &'static str,
        /// Its value.
        value: u8,
        /// The smallest there is.
        min: u8,
        /// The largest.
        max: u8,
    },
}

impl Settings {
    /// Whether they can work together. Servers and clients ask when they are made.
    ///
    /// # Errors
    /// The first thing that can not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Settings { limits, timeouts, deflate, .. } = self;
        let bounds = [
            ("head_bytes_max", limits.head_bytes_max as u64),
            ("head_lines_max", limits.head_lines_max as u64),
            ("frame_bytes_max", limits.frame_bytes_max),
            ("message_bytes_max", limits.message_bytes_max),
            ("queue_high_bytes", limits.queue_high_bytes as u64),
        ];
        if let Some((name, _)) = bounds.into_iter().find(|(_, bound)| *bound == 0) {
            return Err(SettingsError::Zero { name });
        }
        let (frame, message) = (limits.frame_bytes_max, limits.message_bytes_max);
        if frame > message {
            return Err(SettingsError::FrameAboveMessage { frame, message });
        }
        let (low, high) = (limits.queue_low_bytes, limits.queue_high_bytes);
        if low >= high {
            return Err(SettingsError::QueueMarks { low, high });
        }
        timeouts.check()?;
        for (name, value, min, max) in [
            ("level", deflate.level, 1, 9),
            ("memory_level", deflate.memory_level, 1, 9),
            ("window_bits", deflate.window_bits, 9, 15),
        ] {
            if !(min..=max).contains(&value) {
                return Err(SettingsError::Deflate { name, value, min, max });
            }
        }
        Ok(())
    }
}

impl Timeouts {
    fn check(&self) -> Result<(), SettingsError> {
        let waits = [
            ("handshake", Some(self.handshake)),
            ("close", Some(self.close)),
            ("write_stall", Some(self.write_stall)),
            ("idle", self.idle),
            ("ping", self.ping),
        ];
        for (name, wait) in waits.into_iter().filter_map(|(name, wait)| Some((name, wait?))) {
            if wait.is_zero() {
                return Err(SettingsError::Zero { name });
            }
            if wait > WAIT_MAX {
                return Err(SettingsError::TooLong { name, wait });
            }
        }
        match (self.ping, self.idle) {
            (Some(ping), Some(idle)) if ping >= idle => Err(SettingsError::PingAboveIdle { ping, idle }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_work_are_told_apart_and_named() {
        let second = Duration::from_secs(1);
        assert_eq!(Settings::default().check(), Ok(()));
        type Row = (fn(&mut Settings), &'static str);
        let rows: &[Row] = &[
            (|s| s.limits.head_bytes_max = 0, "head_bytes_max is 0"),
            (|s| s.limits.head_lines_max = 0, "head_lines_max is 0"),
            (|s| s.limits.message_bytes_max = 0, "message_bytes_max is 0"),
            (|s| s.limits.frame_bytes_max = 0, "frame_bytes_max is 0"),
            (|s| s.limits.message_bytes_max -= 1, "frame_bytes_max 16777216 exceeds message_bytes_max 16777215"),
            (|s| s.limits.queue_low_bytes = 1 << 20, "queue_low_bytes 1048576 is not below queue_high_bytes 1048576"),
            (|s| s.timeouts.handshake = Duration::ZERO, "handshake is 0"),
            (|s| s.timeouts.idle = Some(Duration::ZERO), "idle is 0"),
            (|s| s.timeouts.close = Duration::MAX, "close is 18446744073709551615.999999999s: the longest"),
            (|s| s.deflate.window_bits = 8, "deflate window_bits is 8: expected 9 to 15"),
            (|s| s.deflate.level = 0, "deflate level is 0: expected 1 to 9"),
        ];
        for (spoil, expected) in rows {
            let mut settings = Settings::default();
            spoil(&mut settings);
            let error = settings.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let timeouts = Timeouts { ping: Some(second), idle: Some(second), ..Timeouts::default() };
        let error = Settings { timeouts, ..Settings::default() }.check().unwrap_err();
        assert_eq!(error, SettingsError::PingAboveIdle { ping: second, idle: second });
    }
}
