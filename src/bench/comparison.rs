//! Every target beside the reference, phase by phase and figure by figure: ratios over rounds, and which of them mean something.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    figures::{Percentile, at_once},
    measured::Measured,
    run::{Piece, Run},
    stats::{Difference, Ratio, ratio},
};

/// Random subsets are drawn the same way every time: the same document says the same.
const SEED: u64 = 0x5753_4c41_4221;

/// A figure that targets are compared by. Memory is none: a process that grew for the first round does not grow again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// A percentile of latency. Less is better.
    Latency(Percentile),
    /// Answers a second; compared in a closed loop only, as an open one achieves what was asked. More is better.
    Rate,
    /// The server's CPU time a message. Less is better.
    ServerCpu,
}

impl Metric {
    /// All of them, as tables list them.
    pub const ALL: [Metric; 7] = [
        Metric::Latency(Percentile::P50),
        Metric::Latency(Percentile::P90),
        Metric::Latency(Percentile::P99),
        Metric::Latency(Percentile::P99_9),
        Metric::Latency(Percentile::P99_99),
        Metric::Rate,
        Metric::ServerCpu,
    ];

    /// As documents and tables write it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Latency(percentile) => percentile.name(),
            Metric::Rate => "rate",
            Metric::ServerCpu => "cpu/message",
        }
    }

    /// Whether more of it is better.
    pub fn is_more_better(self) -> bool {
        self == Metric::Rate
    }

    /// What a round says of it. `None`: nothing.
    pub fn of(self, measured: &Measured) -> Option<f64> {
        match self {
            Metric::Latency(percentile) => percentile.of(measured.latency()).map(|nanos| nanos as f64),
            Metric::Rate => measured.achieved_rate().filter(|_| measured.wanted_rate.is_none()),
            Metric::ServerCpu => measured.served_cpu_nanos(),
        }
    }
}

/// One target beside the reference in one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// An index of [`Run::targets`].
    pub target: usize,
    /// An index of [`Run::phases`].
    pub phase: usize,
    /// What is compared.
    pub metric: Metric,
    /// The target's by the reference's.
    pub ratio: Ratio,
}

impl Comparison {
    /// What is to be said of it in a table.
    pub fn words(&self) -> &'static str {
        match (self.ratio.difference(), self.metric.is_more_better()) {
            (Difference::NoneSeen, _) => "no difference seen",
            (Difference::Unknown, _) => "too few rounds to tell",
            (Difference::Less, false) | (Difference::More, true) => "better",
            (Difference::More, false) | (Difference::Less, true) => "worse",
        }
    }
}

/// Compares all targets of a run to its reference.
pub fn compare(run: &Run) -> Vec<Comparison> {
    let mut all = Vec::new();
    for phase in 0..run.phases.len() {
        let reference = rounds_of(run, run.reference, phase);
        for target in (0..run.targets.len()).filter(|target| *target != run.reference) {
            let rounds = rounds_of(run, target, phase);
            all.extend(ratios(&rounds, &reference).into_iter().map(|(metric, ratio)| Comparison {
                target,
                phase,
                metric,
                ratio,
            }));
        }
    }
    all
}

/// Rounds by number.
pub type Rounds<'a> = BTreeMap<u32, Cow<'a, Measured>>;

/// A target's rounds in one phase, with the machines of a round taken together.
pub fn rounds_of(run: &Run, target: usize, phase: usize) -> Rounds<'_> {
    let mut rounds: BTreeMap<u32, Vec<&Piece>> = BTreeMap::new();
    for piece in run.pieces_of(target, phase) {
        rounds.entry(piece.round).or_default().push(piece);
    }
    rounds.into_iter().filter_map(|(round, pieces)| Some((round, at_once(&pieces)?))).collect()
}

/// The ratios of one target's rounds to the same rounds of another, in every figure that both have. The response time of an
/// open loop and the service time of a closed one are not the same figure.
pub fn ratios(rounds: &Rounds<'_>, reference: &Rounds<'_>) -> Vec<(Metric, Ratio)> {
    let pairs: Vec<(Metric, Vec<(f64, f64)>)> = Metric::ALL
        .into_iter()
        .map(|metric| {
            let pairs = rounds
                .iter()
                .filter_map(|(round, measured)| Some((measured, reference.get(round)?)))
                .filter(|(one, other)| {
                    let is_latency = matches!(metric, Metric::Latency(_));
                    !is_latency || one.wanted_rate.is_some() == other.wanted_rate.is_some()
                })
                .filter_map(|(one, other)| metric.of(one).zip(metric.of(other)))
                .filter(|(one, other)| *one > 0.0 && *other > 0.0)
                .collect();
            (metric, pairs)
        })
        .filter(|(_, pairs): &(_, Vec<_>)| !pairs.is_empty())
        .collect();
    let figures = pairs.len();
    pairs.into_iter().filter_map(|(metric, pairs)| Some((metric, ratio(&pairs, figures, SEED)?))).collect()
}

#[cfg(test)]
mod tests;
