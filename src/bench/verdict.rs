//! Whether a run can be believed. What makes it INVALID, each judged for one target in one phase over all its rounds, on each
//! generating machine by itself:
//!
//! | reason | when |
//! | --- | --- |
//! | rate missed | open loop: fewer than 99 % of the wanted messages were written (with random arrivals 3 standard deviations fewer) |
//! | generator late | open loop: at the median or p99 half of the response time or more is the generator's own lateness, and it had used 90 % of its core or waited 10 % of the time for one |
//! | generator saturated | closed loop: it used 95 % of its core, and the target's process is not known to have used more |
//! | generator starved | it was runnable and had no core for 25 % of the time |
//! | generator exhausted | it ran out of descriptors, ports or memory: connections or messages that were wanted were not made |
//! | target lost | in a round as many connections ended as there were, by close, reset or breach: what was measured is a part of it |
//! | too few samples | fewer than 100 (no p90 could be shown) in a scenario that has latencies |
//!
//! Warnings spoil nothing by themselves: the target is hardly slower than the machine's floor, errors, samples too few for
//! p99, a lateness that shows, and what the machine's fingerprint says.

use super::{
    figures::{Cell, Percentile, SAMPLES_BEYOND, at_once},
    measured::{ErrorKind, Measured},
    run::{Floor, Piece, Run},
};

/// So much of the wanted rate has to be written.
pub const RATE_ACHIEVED_MIN: f64 = 0.99;
/// From here on the generator's lateness is what was measured.
pub const LATENESS_SHARE_MAX: f64 = 0.5;
/// From here on it is told.
pub const LATENESS_SHARE_TOLD: f64 = 0.25;
/// A generator that used so much of its core may be late for want of it.
pub const BUSY_SHARE: f64 = 0.90;
/// A generator that was without a core for so long may be late for want of it.
pub const WAITING_SHARE: f64 = 0.10;
/// A closed loop whose generator used so much of its core measured the generator.
pub const SATURATED_SHARE: f64 = 0.95;
/// A generator that was without a core for so long measured the scheduler.
pub const STARVED_SHARE: f64 = 0.25;
/// Samples that it takes at least.
pub const SAMPLES_MIN: u64 = 100;
/// A target whose median is within this factor of the floor's can not be told from the machine.
pub const FLOOR_FACTOR: f64 = 1.25;
/// So many failed messages, of all, are told.
pub const ERROR_SHARE_TOLD: f64 = 0.001;

/// Why a run can not be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Fewer messages were written than wanted.
    RateMissed,
    /// The generator's lateness is what was measured.
    GeneratorLate,
    /// The generator was slower than the target.
    GeneratorSaturated,
    /// The generator had no core to run on.
    GeneratorStarved,
    /// The generator ran out of descriptors, ports or room for messages.
    GeneratorExhausted,
    /// The target ended all connections before the round was over.
    TargetLost,
    /// There is nothing to take percentiles of.
    TooFewSamples,
}

impl Reason {
    /// As documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::RateMissed => "rate_missed",
            Reason::GeneratorLate => "generator_late",
            Reason::GeneratorSaturated => "generator_saturated",
            Reason::GeneratorStarved => "generator_starved",
            Reason::GeneratorExhausted => "generator_exhausted",
            Reason::TargetLost => "target_lost",
            Reason::TooFewSamples => "too_few_samples",
        }
    }
}

/// One reason, with its numbers and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which.
    pub reason: Reason,
    /// An index of [`Run::targets`].
    pub target: usize,
    /// An index of [`Run::phases`].
    pub phase: usize,
    /// In words: the numbers, then what to do.
    pub words: String,
}

/// What a run is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Why it is INVALID. Empty: it is valid.
    pub invalid: Vec<Finding>,
    /// What else to know, in words.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// Judges a run.
    pub fn of(run: &Run) -> Verdict {
        let mut verdict = Verdict::default();
        if run.interrupted {
            verdict.warnings.push("the run was interrupted: this is what there was".to_owned());
        }
        for cell in Cell::all(run) {
            let place = Place { run, target: cell.target, phase: cell.phase };
            for machine in 0..run.machines.len() {
                place.judge_generator(machine, &mut verdict);
            }
            place.judge_connections(&mut verdict);
            place.judge_samples(&cell.merged, &mut verdict);
            place.judge_target(&cell.merged, &mut verdict);
        }
        for machine in &run.machines {
            let name = machine.host.as_deref().filter(|_| run.machines.len() > 1);
            verdict.warnings.extend(machine.warnings().into_iter().map(|warning| match name {
                Some(name) => format!("{name}: {warning}"),
                None => warning,
            }));
        }
        verdict
    }

    /// Whether the run can be believed.
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }
}

/// Where in a run something is judged.
struct Place<'a> {
    run: &'a Run,
    target: usize,
    phase: usize,
}

impl Place<'_> {
    fn name(&self) -> String {
        let target = self.run.targets.get(self.target).map_or("", |target| target.name.as_str());
        match self.run.phases.get(self.phase) {
            Some(phase) if self.run.phases.len() > 1 => format!("{target} {}", phase.name),
            _ => target.to_owned(),
        }
    }

    fn find(&self, verdict: &mut Verdict, reason: Reason, words: String) {
        verdict.invalid.push(Finding { reason, target: self.target, phase: self.phase, words });
    }

    /// One machine's part over all rounds.
    fn judge_generator(&self, machine: usize, verdict: &mut Verdict) {
        let pieces: Vec<&Piece> =
            self.run.pieces_of(self.target, self.phase).filter(|piece| piece.machine == machine).collect();
        let wanted = pieces
            .iter()
            .map(|piece| Some(piece.measured.wanted_rate? * piece.measured.wall.as_secs_f64()))
            .sum::<Option<f64>>();
        let walls: f64 = pieces.iter().map(|piece| piece.measured.wall.as_secs_f64()).sum();
        // Everything but walls, rates and connections is a sum here, and those are not looked at.
        let Some(all) = at_once(&pieces) else { return };
        let share = all.generator_share().unwrap_or_default();
        let waiting = all.run_queue_share().unwrap_or_default();
        if let Some(wanted) = wanted {
            self.judge_rate(&all, wanted, walls, verdict);
            self.judge_lateness(&all, share, waiting, verdict);
        } else if share >= SATURATED_SHARE {
            let served = all.served.map(|served| served.cpu.as_secs_f64() / walls);
            if served.is_none_or(|served| served < share) {
                let of_target = served.map_or("which is not known of the target (--pid tells)".to_owned(), |served| {
                    format!("the target used {} of one", percent(served))
                });
                self.find(
                    verdict,
                    Reason::GeneratorSaturated,
                    format!(
                        "the generator used {} of its core, {of_target}: the rate is the generator's own; use fewer \
                         connections, less --pipeline, or several machines and `wslab report --merge`",
                        percent(share)
                    ),
                );
            }
        }
        if waiting >= STARVED_SHARE {
            self.find(
                verdict,
                Reason::GeneratorStarved,
                format!(
                    "the generator was ready and had no core for {} of the time: end what else runs, or give it a core \
                     of its own (taskset)",
                    percent(waiting)
                ),
            );
        } else if waiting >= WAITING_SHARE {
            verdict.warnings.push(format!(
                "{}: the generator was ready and had no core for {} of the time",
                self.name(),
                percent(waiting)
            ));
        }
    }

    fn judge_rate(&self, all: &Measured, wanted: f64, seconds: f64, verdict: &mut Verdict) {
        // The number of random arrivals is known but for its standard deviation, which is its square root.
        let chance = if self.run.workload.random_arrivals { 3.0 * wanted.sqrt() } else { 0.0 };
        // One message may be due right at the end.
        if (all.sent as f64) < wanted * RATE_ACHIEVED_MIN - chance - 1.0 && seconds > 0.0 {
            self.find(
                verdict,
                Reason::RateMissed,
                format!(
                    "{} messages/s were wanted, {} were sent ({}): lower --rate to what target and generator can do",
                    show_rate(wanted / seconds),
                    show_rate(all.sent as f64 / seconds),
                    percent(all.sent as f64 / wanted)
                ),
            );
        }
    }

    fn judge_lateness(&self, all: &Measured, share: f64, waiting: f64, verdict: &mut Verdict) {
        let late = [Percentile::P50, Percentile::P99].into_iter().find_map(|percentile| {
            let lateness = percentile.of(&all.lateness)? as f64;
            let response = percentile.of(&all.response)? as f64;
            (lateness > 0.0 && lateness >= response * LATENESS_SHARE_TOLD).then_some((percentile, lateness, response))
        });
        let Some((percentile, lateness, response)) = late else { return };
        let name = percentile.name();
        let numbers = format!("at {name} {} of the {} are the generator's lateness", show(lateness), show(response));
        let is_short_of_cpu = share >= BUSY_SHARE || waiting >= WAITING_SHARE;
        let is_late = |percentile: Percentile| {
            percentile
                .of(&all.lateness)
                .zip(percentile.of(&all.response))
                .is_some_and(|(lateness, response)| lateness as f64 >= response as f64 * LATENESS_SHARE_MAX)
        };
        if is_short_of_cpu && (is_late(Percentile::P50) || is_late(Percentile::P99)) {
            self.find(
                verdict,
                Reason::GeneratorLate,
                format!(
                    "{numbers}; it used {} of its core and had none for {} of the time: lower --rate, or give it a core \
                     of its own",
                    percent(share),
                    percent(waiting)
                ),
            );
        } else {
            verdict.warnings.push(format!(
                "{}: {numbers}: look at the service time, or use --pace spin with a free core",
                self.name()
            ));
        }
    }

    /// Whether there was anybody to send to until the end. A round of handshakes ends each connection by itself.
    fn judge_connections(&self, verdict: &mut Verdict) {
        if self.run.phases.get(self.phase).is_some_and(|phase| phase.scenario == "connect") {
            return;
        }
        let lost = self.run.pieces_of(self.target, self.phase).find_map(|piece| {
            let kinds = [ErrorKind::Closed, ErrorKind::Io, ErrorKind::Protocol];
            let ends = kinds.iter().filter_map(|kind| piece.measured.errors.get(kind));
            let (count, first) = ends.fold((0, None), |(sum, first), (count, said)| {
                (u64::saturating_add(sum, *count), first.or(Some(said)))
            });
            first.filter(|_| count >= piece.measured.connections).map(|said| (piece.round + 1, count, said))
        });
        if let Some((round, count, said)) = lost {
            self.find(
                verdict,
                Reason::TargetLost,
                format!(
                    "in round {round} all connections ended before the round did ({count}: {said}): what is shown is what \
                     there was until then; find out why the target ends them"
                ),
            );
        }
    }

    fn judge_samples(&self, all: &Measured, verdict: &mut Verdict) {
        let samples = all.latency().len();
        let has_latencies = self.run.phases.get(self.phase).is_none_or(|phase| phase.scenario != "idle");
        if has_latencies && samples < SAMPLES_MIN {
            self.find(
                verdict,
                Reason::TooFewSamples,
                format!(
                    "{samples} samples, of which no p90 can be said: {SAMPLES_MIN} are needed, run longer (-d, -n)"
                ),
            );
        } else if has_latencies && samples < Percentile::P99.samples_needed() {
            verdict.warnings.push(format!(
                "{}: {samples} samples: p99 needs {} so that {SAMPLES_BEYOND} lie beyond it",
                self.name(),
                Percentile::P99.samples_needed()
            ));
        }
    }

    /// What is the target's matter.
    fn judge_target(&self, all: &Measured, verdict: &mut Verdict) {
        if let Some((count, first)) = all.errors.get(&ErrorKind::Resources) {
            let words = format!(
                "{count} connections or messages were not made, for want of resources of this machine: {first}"
            );
            self.find(verdict, Reason::GeneratorExhausted, words);
        }
        let errors = all.error_count();
        if errors > 0 && errors as f64 >= all.sent as f64 * ERROR_SHARE_TOLD {
            verdict.warnings.push(format!(
                "{}: {errors} errors on {} messages: those without an answer are in no percentile",
                self.name(),
                all.sent
            ));
        }
        if let Some((first, warmup)) = all.warmup_errors.values().next().zip(Some(all.warmup_error_count())) {
            verdict.warnings.push(format!(
                "{}: {warmup} errors in the warm-up, counted nowhere ({}): what is warm by then may not be what you meant to measure",
                self.name(),
                first.1
            ));
        }
        if all.served.is_some_and(|served| served.cpu.is_zero()) && all.completed > 0 {
            verdict.warnings.push(format!(
                "{}: its process used no CPU time: is it the one that answers? (--pid, --spawn)",
                self.name()
            ));
        }
        if let Some(floor) = &self.run.floor {
            verdict.warnings.extend(self.beside(floor, all));
        }
    }

    /// The floor is comparable only with what was measured in the same way.
    fn beside(&self, floor: &Floor, all: &Measured) -> Option<String> {
        let phase = self.run.phases.get(self.phase)?;
        let is_alike = floor.wanted_rate.is_some() == all.wanted_rate.is_some()
            && phase.scenario == "echo"
            && phase.payload_bytes == Some(floor.payload_bytes);
        let p50 = Percentile::P50.of(all.latency()).filter(|_| is_alike)? as f64;
        let machine = Percentile::P50.of(&floor.latency)? as f64;
        (p50 < machine * FLOOR_FACTOR).then(|| {
            format!(
                "{}: you are measuring the machine: its p50 of {} is close to the floor of {}; compare CPU time a message",
                self.name(),
                show(p50),
                show(machine)
            )
        })
    }
}

/// `97.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Nanoseconds in the unit that suits them, with three digits or so: `850 ns`, `21.4 µs`, `2.50 ms`, `1.20 s`.
pub fn show(nanos: f64) -> String {
    let (value, unit) = match nanos {
        nanos if nanos < 999.5 => return format!("{nanos:.0} ns"),
        nanos if nanos < 999_500.0 => (nanos / 1e3, "µs"),
        nanos if nanos < 999_500_000.0 => (nanos / 1e6, "ms"),
        nanos => (nanos / 1e9, "s"),
    };
    match value {
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// A rate by the second with at least three digits, and none that says nothing: `10000`, `12.5`, `0.5`.
pub fn show_rate(rate: f64) -> String {
    if !rate.is_finite() || rate <= 0.0 {
        return "0".to_owned();
    }
    let digits = (2.0 - rate.log10().floor()).max(0.0) as usize;
    let shown = format!("{rate:.digits$}");
    if shown.contains('.') { shown.trim_end_matches('0').trim_end_matches('.').to_owned() } else { shown }
}

#[cfg(test)]
mod tests;
