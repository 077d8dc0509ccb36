//! Made-up runs for tests of everything that is derived from one.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    fingerprint::Fingerprint,
    measured::{Interval, Measured, Served, Usage, histogram},
    run::{Phase, Piece, Run, Target, Workload},
};

/// A machine that nothing is to be said against.
pub(crate) fn quiet_machine() -> Fingerprint {
    Fingerprint {
        host: Some("quiet".to_owned()),
        cpu: Some("Some CPU".to_owned()),
        cores: 8,
        kernel: Some("Linux 6.1".to_owned()),
        architecture: "x86_64".to_owned(),
        wslab_version: "0.1.0".to_owned(),
        ..Fingerprint::default()
    }
}

/// An open loop that went well: `samples` messages at 10,000 a second, latencies from `latency`.
pub(crate) fn open_loop(samples: u64, mut latency: impl FnMut() -> u64) -> Measured {
    let wall = Duration::from_nanos(samples * 100_000);
    let mut measured = nothing();
    measured.wall = wall;
    measured.wanted_rate = Some(10_000.0);
    measured.connections = 4;
    (measured.sent, measured.completed) = (samples, samples);
    (measured.payload_bytes_sent, measured.payload_bytes_received) = (samples * 64, samples * 64);
    let mut series = histogram();
    for _ in 0..samples {
        let nanos = latency();
        measured.response.saturating_record(nanos);
        measured.service.saturating_record(nanos - nanos / 10);
        measured.lateness.saturating_record(nanos / 10);
        series.saturating_record(nanos);
    }
    for _ in 0..4 {
        measured.handshake.saturating_record(250_000);
    }
    measured.series = vec![Interval {
        begins: Duration::ZERO,
        length: wall,
        sent: samples,
        completed: samples,
        errors: 0,
        latency: series,
    }];
    measured.generator = Usage { cpu: wall / 4, wall, run_queue: wall / 1000 };
    measured.served = Some(Served {
        cpu: wall / 5,
        answers: samples,
        rss_before: 4 << 20,
        rss_connected: (4 << 20) + 4 * 512,
        rss_peak: 5 << 20,
    });
    measured
}

/// Nothing was measured.
pub(crate) fn nothing() -> Measured {
    Measured { started: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456), ..Measured::default() }
}

/// A closed loop of the same.
pub(crate) fn closed_loop(samples: u64, latency: impl FnMut() -> u64) -> Measured {
    let mut measured = open_loop(samples, latency);
    measured.wanted_rate = None;
    measured.response.reset();
    measured.lateness.reset();
    measured
}

/// One phase; the pieces of each target in order of rounds.
pub(crate) fn run_of(targets: Vec<Vec<Measured>>) -> Run {
    let rounds = targets.iter().map(Vec::len).max().unwrap_or_default();
    let pieces = (0..rounds).flat_map(|round| {
        targets.iter().enumerate().filter_map(move |(target, pieces)| {
            let measured = pieces.get(round)?.clone();
            Some(Piece { target, phase: 0, round: round as u32, machine: 0, measured })
        })
    });
    let name = |target| format!("ws://127.0.0.1:900{target}/");
    Run {
        began: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000),
        elapsed: Duration::from_secs(20),
        workload: Workload { rounds: rounds as u32, ..Workload::default() },
        machines: vec![quiet_machine()],
        targets: (0..targets.len()).map(|target| Target { name: name(target), url: name(target), pid: None }).collect(),
        interleaved: true,
        phases: vec![Phase {
            name: "64B".to_owned(),
            scenario: "echo".to_owned(),
            payload_bytes: Some(64),
            connections: 4,
        }],
        pieces: pieces.collect(),
        ..Run::default()
    }
}

/// A machine as those that are shared: the base is one of two for a whole round now and then, samples are skewed, and one in
/// a thousand hits a stall.
pub(crate) struct SharedMachine {
    random: StdRng,
    /// How often a round is in the slow mode.
    pub(crate) slow_rounds: f64,
    /// Spread of a round's base around its mode.
    pub(crate) jitter: f64,
}

impl SharedMachine {
    pub(crate) fn new(seed: u64) -> SharedMachine {
        SharedMachine { random: StdRng::seed_from_u64(seed), slow_rounds: 0.5, jitter: 0.03 }
    }

    /// Latencies of one round; `factor` is what the target costs more than another.
    pub(crate) fn round(&mut self, samples: u64, factor: f64) -> Measured {
        let mode = if self.random.random::<f64>() < self.slow_rounds { 7_100.0 } else { 5_200.0 };
        let base = mode * factor * (1.0 + self.jitter * (self.random.random::<f64>() - 0.5) * 3.46);
        let stalls = self.random.random::<f64>() * 0.004;
        // Only what is compared, since there are thousands of these.
        let mut measured = open_loop(0, || 0);
        for unused in [&mut measured.service, &mut measured.lateness, &mut measured.handshake, &mut measured.turns] {
            *unused = Histogram::new_with_bounds(1, 2, 1).unwrap();
        }
        measured.series.clear();
        measured.response = Histogram::new_with_bounds(1, 10_000_000, 3).unwrap();
        measured.wall = Duration::from_nanos(samples * 100_000);
        (measured.sent, measured.completed) = (samples, samples);
        measured.generator = Usage { cpu: measured.wall / 4, wall: measured.wall, run_queue: Duration::ZERO };
        for _ in 0..samples {
            let skewed = base * (1.0 - 0.15 * (1.0 - self.random.random::<f64>()).ln());
            let stall = if self.random.random::<f64>() < stalls { 2.5e6 * self.random.random::<f64>() } else { 0.0 };
            measured.response.saturating_record((skewed + stall) as u64);
        }
        measured
    }
}
