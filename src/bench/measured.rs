//! What one piece of a run measured: one target, one phase, one round. Everything a result says is derived from these, so
//! that results of several rounds or machines can be added without loss. All times are nanoseconds.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones: an hour, in nanoseconds.
pub const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// A histogram of nanoseconds, 1 ns to an hour, with 3 significant digits. What is longer counts as an hour.
pub fn histogram() -> Histogram<u64> {
    // These bounds are valid, see the test: the fallback is never built.
    Histogram::new_with_bounds(1, LONGEST_NANOS, 3)
        .unwrap_or_else(|_| Histogram::new(3).unwrap_or_else(|_| unreachable!()))
}

/// One target, one phase (size, connections, scenario), one round.
#[derive(Clone, Debug)]
pub struct Measured {
    /// When the first message that counts was due.
    pub started: SystemTime,
    /// From there until the next message would have been due, or the last was sent if that was later: n messages take n gaps.
    /// What is still under way is waited for beyond it.
    pub wall: Duration,
    /// Connections open when it began.
    pub connections: u64,
    /// Messages (handshakes in the scenario `connect`, Pings in `ping`) that were sent.
    pub sent: u64,
    /// Those whose answer came in time and was right.
    pub completed: u64,
    /// Payload octets sent.
    pub payload_bytes_sent: u64,
    /// Payload octets received.
    pub payload_bytes_received: u64,
    /// Messages a second that were asked for. `None`: closed loop.
    pub wanted_rate: Option<f64>,
    /// From the intended send time to the answer. Empty in a closed loop, which has no intended times.
    pub response: Histogram<u64>,
    /// From the actual write to the answer.
    pub service: Histogram<u64>,
    /// From the intended send time to the actual write. Empty in a closed loop.
    pub lateness: Histogram<u64>,
    /// From connect(2) to the 101, for the connections of this piece.
    pub handshake: Histogram<u64>,
    /// How long the turns of the target's event loops took meanwhile, as its metrics tell it: evenly spread within each of their
    /// buckets. Empty where nothing is known of them.
    pub turns: Histogram<u64>,
    /// Latency over time, in intervals of equal length from `started` on.
    pub series: Vec<Interval>,
    /// What went wrong, by kind: how often, and the first one in words. Of the messages that count, and of connections
    /// whenever they were lost or could not be opened: the load that counts went without them.
    pub errors: BTreeMap<ErrorKind, (u64, String)>,
    /// What went wrong with messages of the warm-up, which are in no other number here.
    pub warmup_errors: BTreeMap<ErrorKind, (u64, String)>,
    /// The generator itself.
    pub generator: Usage,
    /// The target's process, where it runs here and is known.
    pub served: Option<Served>,
}

impl Default for Measured {
    /// Nothing was measured.
    fn default() -> Measured {
        Measured {
            started: SystemTime::UNIX_EPOCH,
            wall: Duration::ZERO,
            connections: 0,
            sent: 0,
            completed: 0,
            payload_bytes_sent: 0,
            payload_bytes_received: 0,
            wanted_rate: None,
            response: histogram(),
            service: histogram(),
            lateness: histogram(),
            handshake: histogram(),
            turns: histogram(),
            series: Vec::new(),
            errors: BTreeMap::new(),
            warmup_errors: BTreeMap::new(),
            generator: Usage::default(),
            served: None,
        }
    }
}

/// A stretch of a run, for plots over time.
#[derive(Clone, Debug)]
pub struct Interval {
    /// From the piece's `started`.
    pub begins: Duration,
    /// How long it is.
    pub length: Duration,
    /// Messages sent within it.
    pub sent: u64,
    /// Answers received within it.
    pub completed: u64,
    /// Errors within it.
    pub errors: u64,
    /// Latency of the answers received within it: response time in an open loop, service time in a closed one.
    pub latency: Histogram<u64>,
}

/// What can go wrong with a message or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// TCP could not be connected.
    Connect,
    /// TLS failed: certificate, version, alert.
    Tls,
    /// The opening handshake was refused or broken.
    Handshake,
    /// The peer closed, with a Close frame or without.
    Closed,
    /// The connection was reset or failed in mid-run.
    Io,
    /// The peer broke the protocol.
    Protocol,
    /// An answer differs from what was sent, or nobody asked for it.
    WrongEcho,
    /// No answer in time.
    Timeout,
    /// This machine ran out of ports or descriptors.
    Resources,
}

/// What the generator's threads used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time, user and system, while the piece ran.
    pub cpu: Duration,
    /// Of that time, how long it ran.
    pub wall: Duration,
    /// How long a runnable generator waited for a core (`/proc/thread-self/schedstat`).
    pub run_queue: Duration,
}

/// What the target's process used, from `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Served {
    /// CPU time of all its threads while the piece ran, until as few messages were under way as in the beginning.
    pub cpu: Duration,
    /// Answers that came meanwhile, those to messages of the warm-up included: what the CPU time went into.
    pub answers: u64,
    /// Resident memory before the connections were opened, octets.
    pub rss_before: u64,
    /// The same with all of them open, before load.
    pub rss_connected: u64,
    /// The most there was (`VmHWM`).
    pub rss_peak: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_tells_nanoseconds_from_an_hour_with_three_digits() {
        let mut histogram = histogram();
        for value in [1, 999, 1_000_000, LONGEST_NANOS] {
            histogram.saturating_record(value);
            let back = histogram.highest_equivalent(value);
            assert!(back >= value && back - value <= value / 1000, "{value} came back as {back}");
        }
        histogram.saturating_record(u64::MAX);
        assert_eq!(histogram.len(), 5);
    }
}
