//! Figures out of pieces: percentiles that have enough samples behind them, and what a target did in a phase over all rounds
//! and machines. Histograms are added, never averaged.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use super::{
    measured::{ErrorKind, Measured, Served, Usage, histogram},
    run::{Piece, Run},
};

/// A percentile is shown when so many samples lie beyond it.
pub const SAMPLES_BEYOND: u64 = 10;

/// The percentiles that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Percentile {
    /// The median.
    P50,
    /// One in 10 is slower.
    P90,
    /// One in 100 is slower.
    P99,
    /// One in 1,000 is slower.
    P99_9,
    /// One in 10,000 is slower.
    P99_99,
}

impl Percentile {
    /// All of them, ascending.
    pub const ALL: [Percentile; 5] =
        [Percentile::P50, Percentile::P90, Percentile::P99, Percentile::P99_9, Percentile::P99_99];

    /// As it is written: `p99.9`.
    pub fn name(self) -> &'static str {
        match self {
            Percentile::P50 => "p50",
            Percentile::P90 => "p90",
            Percentile::P99 => "p99",
            Percentile::P99_9 => "p99.9",
            Percentile::P99_99 => "p99.99",
        }
    }

    /// Of 10,000 samples, so many are slower. Whole numbers, since 1,000 × 1 % is a little below 10 in binary.
    fn beyond_of_10_000(self) -> u64 {
        match self {
            Percentile::P50 => 5_000,
            Percentile::P90 => 1_000,
            Percentile::P99 => 100,
            Percentile::P99_9 => 10,
            Percentile::P99_99 => 1,
        }
    }

    /// How many of `count` samples lie beyond it.
    pub fn samples_beyond(self, count: u64) -> u64 {
        // Wider than the product, whatever the count.
        u64::try_from(u128::from(count) * u128::from(self.beyond_of_10_000()) / 10_000).unwrap_or(u64::MAX)
    }

    /// How many samples it takes before it is shown.
    pub fn samples_needed(self) -> u64 {
        (SAMPLES_BEYOND * 10_000).div_ceil(self.beyond_of_10_000())
    }

    /// Its value in nanoseconds. `None`: fewer than [`SAMPLES_BEYOND`] samples lie beyond it. Never above the maximum.
    pub fn of(self, histogram: &Histogram<u64>) -> Option<u64> {
        let beyond = self.samples_beyond(histogram.len());
        // The histogram rounds the rank up, and the value up within its three digits: half a sample less meets the rank exactly.
        let quantile = (histogram.len().saturating_sub(beyond) as f64 - 0.5) / histogram.len() as f64;
        (beyond >= SAMPLES_BEYOND).then(|| histogram.value_at_quantile(quantile).min(histogram.max()))
    }
}

/// What there is to say of a histogram without drawing it. Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The sum by the count.
    pub mean: f64,
    /// The longest.
    pub max: u64,
    /// In the order of [`Percentile::ALL`].
    pub percentiles: [Option<u64>; 5],
}

impl Summary {
    /// `None`: there are no samples.
    pub fn of(histogram: &Histogram<u64>) -> Option<Summary> {
        (!histogram.is_empty()).then(|| Summary {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            max: histogram.max(),
            percentiles: Percentile::ALL.map(|percentile| percentile.of(histogram)),
        })
    }
}

/// What one target did in one phase.
#[derive(Clone, Debug)]
pub struct Cell {
    /// An index of [`Run::targets`].
    pub target: usize,
    /// An index of [`Run::phases`].
    pub phase: usize,
    /// Rounds of which there is something.
    pub rounds: u32,
    /// All of its pieces as one: counts, errors, CPU times and histograms are added. Rates and connections of machines
    /// that worked at the same time are added, and averaged over the rounds. Walls of rounds are added, of a round the longest
    /// machine counts. The series is left out, as it belongs to a round.
    pub merged: Measured,
}

impl Cell {
    /// Adds up. `None`: there is no such piece.
    pub fn of(run: &Run, target: usize, phase: usize) -> Option<Cell> {
        let mut rounds: BTreeMap<u32, Vec<&Piece>> = BTreeMap::new();
        for piece in run.pieces_of(target, phase) {
            rounds.entry(piece.round).or_default().push(piece);
        }
        let pieces: Vec<Cow<'_, Measured>> = rounds.values().filter_map(|pieces| at_once(pieces)).collect();
        let merged = in_turn(&pieces)?;
        Some(Cell { target, phase, rounds: u32::try_from(rounds.len()).unwrap_or(u32::MAX), merged })
    }

    /// All of a run's, by phase and then target.
    pub fn all(run: &Run) -> Vec<Cell> {
        run.cells().filter_map(|(target, phase)| Cell::of(run, target, phase)).collect()
    }
}

/// Pieces of one round by several machines, which worked at the same time.
pub fn at_once<'a>(pieces: &[&'a Piece]) -> Option<Cow<'a, Measured>> {
    let (first, rest) = pieces.split_first()?;
    // Histograms are large: one machine's part is lent.
    if rest.is_empty() {
        return Some(Cow::Borrowed(&first.measured));
    }
    let mut all = first.measured.clone();
    for piece in rest.iter().map(|piece| &piece.measured) {
        all.started = all.started.min(piece.started);
        all.wall = all.wall.max(piece.wall);
        all.connections = all.connections.saturating_add(piece.connections);
        all.wanted_rate = all.wanted_rate.zip(piece.wanted_rate).map(|(one, other)| one + other);
        add(&mut all, piece);
    }
    Some(Cow::Owned(all))
}

/// Rounds, which came one after the other.
fn in_turn(pieces: &[Cow<'_, Measured>]) -> Option<Measured> {
    let (first, rest) = pieces.split_first()?;
    let mut all = first.as_ref().clone();
    all.series.clear();
    // By the time that they ran, so that wanted and achieved are comparable.
    let mut wanted = all.wanted_rate.map(|rate| rate * all.wall.as_secs_f64());
    for piece in rest {
        all.started = all.started.min(piece.started);
        all.wall = all.wall.saturating_add(piece.wall);
        all.connections = all.connections.max(piece.connections);
        wanted = wanted.zip(piece.wanted_rate).map(|(sum, rate)| sum + rate * piece.wall.as_secs_f64());
        add(&mut all, piece);
    }
    // A round whose server was not watched would make the others' look cheap.
    if pieces.iter().any(|piece| piece.served.is_none()) {
        all.served = None;
    }
    let seconds = all.wall.as_secs_f64();
    all.wanted_rate =
        wanted.and_then(|messages| if seconds > 0.0 { Some(messages / seconds) } else { first.wanted_rate });
    Some(all)
}

/// What is added in either case.
fn add(all: &mut Measured, piece: &Measured) {
    for (sum, one) in [
        (&mut all.sent, piece.sent),
        (&mut all.completed, piece.completed),
        (&mut all.payload_bytes_sent, piece.payload_bytes_sent),
        (&mut all.payload_bytes_received, piece.payload_bytes_received),
    ] {
        *sum = sum.saturating_add(one);
    }
    for (sum, one) in [
        (&mut all.response, &piece.response),
        (&mut all.service, &piece.service),
        (&mut all.lateness, &piece.lateness),
        (&mut all.handshake, &piece.handshake),
        (&mut all.turns, &piece.turns),
    ] {
        add_histogram(sum, one);
    }
    for (sum, one) in [(&mut all.errors, &piece.errors), (&mut all.warmup_errors, &piece.warmup_errors)] {
        for (kind, (count, first)) in one {
            let entry = sum.entry(*kind).or_insert_with(|| (0, first.clone()));
            entry.0 = entry.0.saturating_add(*count);
        }
    }
    all.generator = Usage {
        cpu: all.generator.cpu.saturating_add(piece.generator.cpu),
        wall: all.generator.wall.saturating_add(piece.generator.wall),
        run_queue: all.generator.run_queue.saturating_add(piece.generator.run_queue),
    };
    all.served = match (all.served, piece.served) {
        (Some(sum), Some(one)) => Some(Served {
            cpu: sum.cpu.saturating_add(one.cpu),
            answers: sum.answers.saturating_add(one.answers),
            rss_before: sum.rss_before.min(one.rss_before),
            rss_connected: sum.rss_connected.max(one.rss_connected),
            rss_peak: sum.rss_peak.max(one.rss_peak),
        }),
        (one, other) => one.or(other),
    };
}

/// Adds one to another. All have the bounds of [`histogram`], so it never fails for those of ours; what lies beyond counts as
/// the longest.
pub fn add_histogram(sum: &mut Histogram<u64>, one: &Histogram<u64>) {
    if sum.add(one).is_err() {
        for value in one.iter_recorded() {
            sum.saturating_record_n(value.value_iterated_to(), value.count_since_last_iteration());
        }
    }
}

/// All of these in one.
pub fn sum_of<'a>(histograms: impl IntoIterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut sum = histogram();
    histograms.into_iter().for_each(|one| add_histogram(&mut sum, one));
    sum
}

/// Errors of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errors<'a> {
    /// With messages of the warm-up: they count nowhere.
    pub warmup: bool,
    /// What went wrong.
    pub kind: ErrorKind,
    /// How often.
    pub count: u64,
    /// The first one, in words.
    pub first: &'a str,
}

/// Figures that are quotients: `None` where there is nothing to divide by, so that none is ever NaN or infinite.
impl Measured {
    /// Answers a second.
    pub fn achieved_rate(&self) -> Option<f64> {
        quotient(self.completed as f64, self.wall.as_secs_f64())
    }

    /// Messages written a second: what the generator achieved, whatever came back.
    pub fn sent_rate(&self) -> Option<f64> {
        quotient(self.sent as f64, self.wall.as_secs_f64())
    }

    /// The server's CPU time a message that was answered while it was taken, nanoseconds.
    pub fn served_cpu_nanos(&self) -> Option<f64> {
        let served = self.served.as_ref()?;
        quotient(served.cpu.as_nanos() as f64, served.answers as f64)
    }

    /// The generator's CPU time a message that was sent, nanoseconds.
    pub fn generator_cpu_nanos(&self) -> Option<f64> {
        quotient(self.generator.cpu.as_nanos() as f64, self.sent as f64)
    }

    /// Of the time that the generator ran, the part in which it used its core: 1 is all of it.
    pub fn generator_share(&self) -> Option<f64> {
        quotient(self.generator.cpu.as_secs_f64(), self.generator.wall.as_secs_f64())
    }

    /// Of that time, the part in which it could have run and had no core.
    pub fn run_queue_share(&self) -> Option<f64> {
        quotient(self.generator.run_queue.as_secs_f64(), self.generator.wall.as_secs_f64())
    }

    /// The server's memory a connection, octets.
    pub fn bytes_per_connection(&self) -> Option<f64> {
        let served = self.served.as_ref()?;
        let grown = served.rss_connected.checked_sub(served.rss_before)?;
        quotient(grown as f64, self.connections as f64)
    }

    /// All errors, of whatever kind.
    pub fn error_count(&self) -> u64 {
        self.errors.values().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }

    /// Errors in the order of their kinds, those of the warm-up last and marked so.
    pub fn errors_by_kind(&self) -> impl Iterator<Item = Errors<'_>> {
        let all = self.errors.iter().map(|one| (false, one)).chain(self.warmup_errors.iter().map(|one| (true, one)));
        all.map(|(warmup, (kind, (count, first)))| Errors { warmup, kind: *kind, count: *count, first })
    }

    /// Of the warm-up, in which nothing counts.
    pub fn warmup_error_count(&self) -> u64 {
        self.warmup_errors.values().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }
}

/// `None` instead of NaN or infinity.
pub fn quotient(dividend: f64, divisor: f64) -> Option<f64> {
    let quotient = dividend / divisor;
    (divisor > 0.0 && quotient.is_finite()).then_some(quotient)
}

/// A duration in nanoseconds; 584 years are enough.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [ErrorKind; 9] = [
        ErrorKind::Connect,
        ErrorKind::Tls,
        ErrorKind::Handshake,
        ErrorKind::Closed,
        ErrorKind::Io,
        ErrorKind::Protocol,
        ErrorKind::WrongEcho,
        ErrorKind::Timeout,
        ErrorKind::Resources,
    ];

    /// As documents and tables write it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Connect => "connect",
            ErrorKind::Tls => "tls",
            ErrorKind::Handshake => "handshake",
            ErrorKind::Closed => "closed",
            ErrorKind::Io => "io",
            ErrorKind::Protocol => "protocol",
            ErrorKind::WrongEcho => "wrong_echo",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Resources => "resources",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = histogram();
        values.into_iter().for_each(|value| histogram.saturating_record(value));
        histogram
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it_and_never_exceeds_the_maximum() {
        for (percentile, needed) in Percentile::ALL.into_iter().zip([20, 100, 1_000, 10_000, 100_000]) {
            assert_eq!(percentile.samples_needed(), needed, "{percentile:?}");
            assert_eq!(percentile.of(&of(1..needed)), None, "{percentile:?}");
            assert!(percentile.of(&of(1..=needed)).is_some(), "{percentile:?}");
            let same = of([1_234_567; 1000]);
            assert!(percentile.of(&same).is_none_or(|value| value <= same.max()), "{percentile:?}");
        }
        assert_eq!(Percentile::P50.of(&of(1..=20)), Some(10));
        assert_eq!(Percentile::P99.of(&of(1..=1000)), Some(990));
    }

    #[test]
    fn cpu_time_is_shared_by_all_messages_that_it_went_into() {
        let mut measured = crate::bench::synthetic::closed_loop(1_000, || 50_000);
        measured.served = measured.served.map(|served| Served { cpu: Duration::from_micros(10_000), ..served });
        assert_eq!(measured.served_cpu_nanos(), Some(10_000.0));
        // A round trip of 10,000 connections is a good part of a short round.
        measured.served = measured.served.map(|served| Served { answers: 2_000, ..served });
        assert_eq!(measured.served_cpu_nanos(), Some(5_000.0));
    }

    #[test]
    fn nothing_divided_by_nothing_is_nothing() {
        assert_eq!(quotient(0.0, 0.0), None);
        assert_eq!(quotient(1.0, 0.0), None);
        assert_eq!(quotient(f64::MAX, f64::MIN_POSITIVE), None);
        assert_eq!(quotient(1.0, 4.0), Some(0.25));
        assert_eq!(Summary::of(&histogram()), None);
    }
}
