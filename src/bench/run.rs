//! A whole run: what was asked, on which machine, against whom, and every piece that was measured. All figures, comparisons
//! and verdicts are derived from this, and it can be written to a document and read back without loss: where a document has the
//! same members, by serde.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{fingerprint::Fingerprint, measured::Measured, verdict::show};

/// What a run measured, or several that were merged.
#[derive(Clone, Debug)]
pub struct Run {
    /// When it began.
    pub began: SystemTime,
    /// From there to its end, calibration and warm-up included.
    pub elapsed: Duration,
    /// It was ended early: what is here is what there was.
    pub interrupted: bool,
    /// What was asked.
    pub workload: Workload,
    /// The machines that generated the load: one, or several in a merged run.
    pub machines: Vec<Fingerprint>,
    /// What an echo costs where nothing is served, on this machine.
    pub floor: Option<Floor>,
    /// Who was measured.
    pub targets: Vec<Target>,
    /// The target that others are compared to, an index of `targets`.
    pub reference: usize,
    /// Rounds took the targets in turn, so that a round of one may be compared with the same round of another.
    pub interleaved: bool,
    /// What was done to each target.
    pub phases: Vec<Phase>,
    /// What was to end its ramp, if anything was. Of several runs put together: `None`.
    pub until: Option<Until>,
    /// What came of it.
    pub pieces: Vec<Piece>,
}

/// What was asked, in words for people; nothing is computed from its `settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Rounds that were planned.
    pub rounds: u32,
    /// Arrivals of an open loop are random (Poisson): their number is known but for its square root.
    pub random_arrivals: bool,
    /// Everything else that was asked, name and value, such as `duration` and `10s`.
    pub settings: BTreeMap<String, String>,
}

/// Who was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// How it is called in tables: its URL, unless that is ambiguous.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Its process, if it runs on this machine and is known.
    pub pid: Option<u32>,
}

/// What was done to each target, and is comparable only with the same done to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Short, and unique within a run: `64B`, `echo 1KiB x100`.
    pub name: String,
    /// `echo`, `connect`, `ping`, `idle`, `slow-reader`.
    pub scenario: String,
    /// Octets of a message, where they are all of one size.
    pub payload_bytes: Option<u64>,
    /// Connections that were wanted.
    pub connections: u64,
}

/// A condition that ends a ramp, and where it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    /// Such as `p99>15ms`.
    pub condition: String,
    /// Where it was so first. `None`: nowhere.
    pub reached: Option<Reached>,
}

/// Where a condition was so first, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// An index of [`Run::targets`].
    pub target: usize,
    /// An index of [`Run::phases`].
    pub phase: usize,
    /// The target's latency there, nanoseconds.
    pub latency_ns: u64,
}

/// One target, one phase, one round, from one machine.
#[derive(Clone, Debug)]
pub struct Piece {
    /// An index of [`Run::targets`].
    pub target: usize,
    /// An index of [`Run::phases`].
    pub phase: usize,
    /// From 0.
    pub round: u32,
    /// An index of [`Run::machines`].
    pub machine: usize,
    /// What it measured.
    pub measured: Measured,
}

/// Echoes of an in-process server that does nothing else: what the machine itself costs.
#[derive(Clone, Debug)]
pub struct Floor {
    /// Octets of a message.
    pub payload_bytes: u64,
    /// Messages a second that were wanted. `None`: closed loop.
    pub wanted_rate: Option<f64>,
    /// Response time in an open loop, service time in a closed one.
    pub latency: Histogram<u64>,
    /// From the intended send time to the actual write. Empty in a closed loop.
    pub lateness: Histogram<u64>,
    /// CPU time of the generator, a message.
    pub cpu_per_message: Option<Duration>,
}

impl Default for Run {
    /// Nobody was asked anything.
    fn default() -> Run {
        Run {
            began: SystemTime::UNIX_EPOCH,
            elapsed: Duration::ZERO,
            interrupted: false,
            workload: Workload::default(),
            machines: Vec::new(),
            floor: None,
            targets: Vec::new(),
            reference: 0,
            interleaved: false,
            phases: Vec::new(),
            until: None,
            pieces: Vec::new(),
        }
    }
}

impl Run {
    /// The pieces of one target in one phase, in order of rounds.
    pub fn pieces_of(&self, target: usize, phase: usize) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |piece| piece.target == target && piece.phase == phase)
    }

    /// Every pair of target and phase of which there is a piece, by phase and then target.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.phases.len())
            .flat_map(|phase| (0..self.targets.len()).map(move |target| (target, phase)))
            .filter(|&(target, phase)| self.pieces_of(target, phase).next().is_some())
    }

    /// Whether every index points at something. What the generator builds does; a file may not.
    pub fn is_coherent(&self) -> bool {
        self.reference < self.targets.len().max(1)
            && self.pieces.iter().all(|piece| {
                piece.target < self.targets.len()
                    && piece.phase < self.phases.len()
                    && piece.machine < self.machines.len()
            })
            && self
                .until
                .iter()
                .filter_map(|until| until.reached)
                .all(|reached| reached.target < self.targets.len() && reached.phase < self.phases.len())
    }

    /// How its ramp ended, in words. `None`: nothing was to end it.
    pub fn ramp_end(&self) -> Option<String> {
        let Until { condition, reached } = self.until.as_ref()?;
        let name = |phase: usize| self.phases.get(phase).map_or("", |phase| phase.name.as_str());
        let Some(Reached { target, phase, latency_ns }) = *reached else {
            let last = self.pieces.iter().map(|piece| piece.phase).max()?;
            let how = if self.interrupted { "was interrupted in" } else { "went to its end," };
            return Some(format!("the ramp {how} {}: nowhere was it seen that {condition}", name(last)));
        };
        let before = match phase.checked_sub(1) {
            Some(before) => format!("and {} was the last before it", name(before)),
            None => "its first phase".to_owned(),
        };
        let target = self.targets.get(target).map_or("", |target| target.name.as_str());
        let latency = show(latency_ns as f64);
        Some(format!("the ramp ended at {}, {before}: {condition}: it was {latency} with {target}", name(phase)))
    }
}

impl Measured {
    /// What its percentiles are taken of: response time in an open loop, service time in a closed one.
    pub fn latency(&self) -> &Histogram<u64> {
        if self.wanted_rate.is_some() { &self.response } else { &self.service }
    }
}
