//! What a server counts: each loop for itself, in plain integers that nobody else looks into; a [`Handle`](super::Handle) asks
//! all loops for copies and adds them up.

use std::time::Duration;

use crate::{
    proto::{Flow, handshake::Refusal},
    session::{Counts, causes},
};

causes! {
    /// A limit of the whole server that somebody came up against. Its name is the option's, where it has one. What one
    /// connection is held to shows in [`Counts::handshakes`] and [`Counts::closes`].
    Limit {
        /// All connections were taken: 503, or closed without a word.
        Connections = "connections_max",
        /// All connections of the client's address were taken: the same.
        ConnectionsPerAddress = "connections_per_address",
        /// Too many opening handshakes were under way: the oldest was dropped.
        Handshakes = "handshakes_max",
        /// Memory ran out: newcomers were turned away, or who held most was closed.
        Memory = "memory_max",
        /// The process had no descriptor to accept with: the peer waits in the system's queue.
        OpenFiles = "open_files",
    }
}

impl Limit {
    /// The limit behind a refusal by the whole server.
    pub(super) fn of(refusal: &Refusal) -> Limit {
        match refusal {
            Refusal::TooManyFromAddress { .. } => Limit::ConnectionsPerAddress,
            Refusal::TooManyHandshakes { .. } => Limit::Handshakes,
            Refusal::OutOfMemory => Limit::Memory,
            _ => Limit::Connections,
        }
    }
}

/// Upper bounds of the histogram's buckets but the last, which has none, in nanoseconds.
const TURN_BOUNDS_NANOS: [u64; 15] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
];

/// How long turns took, from the poll's return until it is called again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnTimes {
    buckets: [u64; TURN_BOUNDS_NANOS.len() + 1],
    nanos: u64,
}

impl TurnTimes {
    pub(super) fn record(&mut self, turn: Duration) {
        let nanos = turn.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(turn.subsec_nanos()));
        // Most turns are in the first buckets.
        let at = TURN_BOUNDS_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(TURN_BOUNDS_NANOS.len());
        self.buckets[at] += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }

    /// Turns in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their time in all.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Turns by length: each bucket's upper bound, inclusive, and how many were longer than the bound before and not longer
    /// than this. The last bucket has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = TURN_BOUNDS_NANOS.iter().map(|bound| Some(Duration::from_nanos(*bound)));
        bounds.chain([None]).zip(self.buckets.iter().copied())
    }
}

/// What a server has counted; over several loops, the sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Loops that these are the numbers of.
    pub loops: u64,
    /// Those of them that did not answer in time: their numbers are from an earlier report.
    pub loops_late: u64,
    /// What has happened to the sessions.
    pub sessions: Counts,
    /// What has passed through them; octets are counted inside of TLS.
    pub flow: Flow,
    /// Octets that wait for sockets, before TLS.
    pub queued_bytes: u64,
    /// Octets of memory that all sessions and loops hold in buffers and compressors.
    pub memory_bytes: u64,
    /// Connections accepted for ws, those turned away included.
    pub accepted: u64,
    /// The same for wss.
    pub accepted_tls: u64,
    /// Who came up against which [`Limit`].
    pub refused: [u64; Limit::COUNT],
    /// Connections whose proxy has yet to say whom it speaks for; they are no sessions yet.
    pub awaiting_proxy_header: u64,
    /// Connections dropped because no PROXY header came that can be believed.
    pub proxy_headers_refused: u64,
    /// How long turns took; empty unless [`Config::time_turns`](super::Config::time_turns).
    pub turns: TurnTimes,
}

impl Metrics {
    /// How often somebody came up against this limit.
    pub fn refused(&self, limit: Limit) -> u64 {
        self.refused[limit as usize]
    }

    /// Adds the numbers of other loops.
    pub fn merge(&mut self, other: &Metrics) {
        let Metrics {
            loops,
            loops_late,
            sessions,
            flow: Flow { messages_received, messages_sent, received_bytes, sent_bytes },
            queued_bytes,
            memory_bytes,
            accepted,
            accepted_tls,
            refused,
            awaiting_proxy_header,
            proxy_headers_refused,
            turns: TurnTimes { buckets, nanos },
        } = other;
        self.loops += loops;
        self.loops_late += loops_late;
        self.sessions.merge(sessions);
        self.flow.messages_received += messages_received;
        self.flow.messages_sent += messages_sent;
        self.flow.received_bytes += received_bytes;
        self.flow.sent_bytes += sent_bytes;
        self.queued_bytes += queued_bytes;
        self.memory_bytes += memory_bytes;
        self.accepted += accepted;
        self.accepted_tls += accepted_tls;
        self.refused.iter_mut().zip(refused).for_each(|(sum, more)| *sum += more);
        self.awaiting_proxy_header += awaiting_proxy_header;
        self.proxy_headers_refused += proxy_headers_refused;
        self.turns.buckets.iter_mut().zip(buckets).for_each(|(sum, more)| *sum += more);
        self.turns.nanos = self.turns.nanos.saturating_add(*nanos);
    }
}

/// What a loop counts beside its sessions.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) accepted_tls: u64,
    refused: [u64; Limit::COUNT],
    pub(super) proxy_headers_refused: u64,
    pub(super) turns: TurnTimes,
}

impl Tally {
    pub(super) fn accepted(&mut self, tls: bool) {
        *(if tls { &mut self.accepted_tls } else { &mut self.accepted }) += 1;
    }

    /// Somebody came up against a limit.
    pub(super) fn refused(&mut self, limit: Limit) {
        self.refused[limit as usize] += 1;
    }

    /// The loop's numbers as they are.
    pub(super) fn report(&self, sessions: &Counts, flow: Flow, queued_bytes: usize) -> Metrics {
        Metrics {
            loops: 1,
            loops_late: 0,
            sessions: sessions.clone(),
            flow,
            queued_bytes: queued_bytes as u64,
            memory_bytes: 0,
            accepted: self.accepted,
            accepted_tls: self.accepted_tls,
            refused: self.refused,
            awaiting_proxy_header: 0,
            proxy_headers_refused: self.proxy_headers_refused,
            turns: self.turns.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_lands_in_the_first_bucket_that_holds_it() {
        let micros = Duration::from_micros;
        for (turn, bound) in [
            (Duration::ZERO, Some(micros(10))),
            (micros(10), Some(micros(10))),
            (micros(11), Some(micros(25))),
            (Duration::from_millis(1), Some(Duration::from_millis(1))),
            (Duration::from_secs(1), Some(Duration::from_secs(1))),
            (Duration::from_secs(2), None),
            (Duration::MAX, None),
        ] {
            let mut turns = TurnTimes::default();
            turns.record(turn);
            let found: Vec<_> = turns.buckets().filter(|(_, count)| *count > 0).collect();
            assert_eq!(found, [(bound, 1)], "{turn:?}");
        }
        assert!(TURN_BOUNDS_NANOS.is_sorted());
    }

    #[test]
    fn the_sum_of_two_loops_is_the_sum_of_every_number() {
        let mut tally = Tally::default();
        tally.accepted(false);
        tally.accepted(true);
        tally.accepted(true);
        Limit::ALL.iter().for_each(|limit| tally.refused(*limit));
        tally.proxy_headers_refused = 6;
        tally.turns.record(Duration::from_micros(30));
        tally.turns.record(Duration::from_secs(3));
        let sessions = Counts { opening: 1, open: 2, ..Counts::default() };
        let flow = Flow { messages_received: 1, messages_sent: 2, received_bytes: 3, sent_bytes: 4 };
        let one =
            Metrics { loops_late: 1, memory_bytes: 5, awaiting_proxy_header: 8, ..tally.report(&sessions, flow, 7) };
        let mut sum = one.clone();
        sum.merge(&one);
        assert_eq!((sum.loops, sum.loops_late, sum.queued_bytes, sum.sessions.open), (2, 2, 14, 4));
        assert_eq!(sum.flow, Flow { messages_received: 2, messages_sent: 4, received_bytes: 6, sent_bytes: 8 });
        assert_eq!((sum.accepted, sum.accepted_tls, sum.memory_bytes), (2, 4, 10));
        assert_eq!((sum.awaiting_proxy_header, sum.proxy_headers_refused), (16, 12));
        assert!(Limit::ALL.iter().all(|limit| sum.refused(*limit) == 2));
        assert_eq!((sum.turns.count(), sum.turns.sum()), (4, Duration::from_micros(6_000_060)));
    }
}
