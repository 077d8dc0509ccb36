//! What a run comes to: is it valid, do the assertions hold, is it worse than a baseline; an exit code and a line for each.

use super::{
    assertion::{Assertion, NoAssertion},
    comparison::{Metric, ratios, rounds_of},
    figures::Cell,
    run::Run,
    stats::{Difference, Ratio},
    verdict::Verdict,
};

/// What a run is held to.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// What is asserted of it.
    pub assertions: Vec<Assertion>,
    /// An earlier run to be beside.
    pub baseline: Option<Run>,
    /// Worse than the baseline by more than this share is a failure. `None`: it is only shown.
    pub regression_margin: Option<f64>,
    /// An INVALID run is none the less taken.
    pub allow_invalid: bool,
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok,
    /// An assertion does not hold, or something became worse.
    CheckFailed,
    /// The run can not be believed, so nothing was checked by it.
    Invalid,
}

/// What it comes to.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// How the program ends.
    pub exit: Exit,
    /// Why, a line for each failure.
    pub failures: Vec<String>,
    /// What the run is worth.
    pub verdict: Verdict,
    /// Beside the baseline.
    pub changes: Vec<Change>,
}

/// A figure beside the baseline's.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// An index of [`Run::targets`].
    pub target: usize,
    /// An index of [`Run::phases`].
    pub phase: usize,
    /// Which figure.
    pub metric: Metric,
    /// This run's by the baseline's.
    pub ratio: Ratio,
}

impl Change {
    /// By which share it became worse; negative: better.
    pub fn worse_by(&self) -> f64 {
        if self.metric.is_more_better() { 1.0 / self.ratio.estimate - 1.0 } else { self.ratio.estimate - 1.0 }
    }

    /// Worse by more than the margin, and not by chance. With too few rounds for an interval the margin alone decides.
    pub fn is_regression(&self, margin: f64) -> bool {
        let is_worse = match self.ratio.difference() {
            Difference::NoneSeen => false,
            Difference::Unknown => true,
            Difference::More => !self.metric.is_more_better(),
            Difference::Less => self.metric.is_more_better(),
        };
        is_worse && self.worse_by() > margin
    }
}

/// Holds a run to its checks.
///
/// # Errors
///
/// A check does not fit the run: it names a target that is not there, or the baseline has nothing in common with it.
pub fn conclude(run: &Run, checks: &Checks) -> Result<Conclusion, NoAssertion> {
    let mut verdict = Verdict::of(run);
    verdict.warnings.extend(checks.baseline.as_ref().and_then(|baseline| unlike(run, baseline)));
    let cells = Cell::all(run);
    let mut failures = Vec::new();
    for assertion in &checks.assertions {
        failures.extend(assertion.failures(run, &cells)?.into_iter().map(|why| format!("assertion failed: {why}")));
    }
    let changes = checks.baseline.as_ref().map_or_else(Vec::new, |baseline| changes(run, baseline));
    if let Some(margin) = checks.regression_margin {
        if changes.is_empty() && checks.baseline.is_some() {
            failures.push("regression: the baseline has no target and phase in common with this run".to_owned());
        }
        failures.extend(
            changes.iter().filter(|change| change.is_regression(margin)).map(|change| told(run, change, margin)),
        );
    }
    let exit = match (verdict.is_valid() || checks.allow_invalid, failures.is_empty()) {
        (false, _) => Exit::Invalid,
        (true, false) => Exit::CheckFailed,
        (true, true) => Exit::Ok,
    };
    Ok(Conclusion { exit, failures, verdict, changes })
}

/// What the load was made of, where the phases do not say it.
const LOAD: [&str; 8] = ["rate", "arrivals", "pace", "pipeline", "kind", "fragment", "deflate", "check"];

/// In what the baseline's load was another.
fn unlike(run: &Run, baseline: &Run) -> Option<String> {
    let value = |run: &Run, name: &str| run.workload.settings.get(name).cloned().unwrap_or_else(|| "none".to_owned());
    let differ = LOAD.iter().map(|name| (name, value(run, name), value(baseline, name)));
    let differ = differ.filter(|(_, ours, theirs)| ours != theirs);
    let words: Vec<_> = differ.map(|(name, ours, theirs)| format!("{name} {theirs}, now {ours}")).collect();
    (!words.is_empty()).then(|| format!("the baseline had another load: {}", words.join("; ")))
}

/// Every figure that both have. Targets are matched by name; where names differ (a port that the system chose), by place
/// if both runs have as many.
fn changes(run: &Run, baseline: &Run) -> Vec<Change> {
    let mut all = Vec::new();
    for (phase, done) in run.phases.iter().enumerate() {
        let Some(their_phase) = baseline.phases.iter().position(|theirs| theirs == done) else { continue };
        for (target, measured) in run.targets.iter().enumerate() {
            let by_name = baseline.targets.iter().position(|theirs| theirs.name == measured.name);
            let by_place = (baseline.targets.len() == run.targets.len()).then_some(target);
            let Some(theirs) = by_name.or(by_place) else { continue };
            let found = ratios(&rounds_of(run, target, phase), &rounds_of(baseline, theirs, their_phase));
            all.extend(found.into_iter().map(|(metric, ratio)| Change { target, phase, metric, ratio }));
        }
    }
    all
}

fn told(run: &Run, change: &Change, margin: f64) -> String {
    let target = run.targets.get(change.target).map_or("", |target| target.name.as_str());
    let phase = run.phases.get(change.phase).map_or("", |phase| phase.name.as_str());
    let sure = match change.ratio.interval {
        Some(bounds) => format!("{:.3} to {:.3} with {} rounds", bounds.low, bounds.high, change.ratio.rounds),
        None => format!("judged by the margin alone: {} rounds are too few to tell chance", change.ratio.rounds),
    };
    format!(
        "regression: {target} {phase}: {} is {:.3} times the baseline's ({sure}), more than the margin of {:.0} %",
        change.metric.name(),
        change.ratio.estimate,
        margin * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::synthetic::{SharedMachine, closed_loop, nothing, open_loop, run_of};

    fn rounds(seed: u64, factor: f64) -> Run {
        let mut machine = SharedMachine::new(seed);
        machine.slow_rounds = 0.0;
        run_of(vec![(0..10).map(|_| machine.round(1_000, factor)).collect()])
    }

    fn checks(baseline: Run, margin: f64) -> Checks {
        Checks { baseline: Some(baseline), regression_margin: Some(margin), ..Checks::default() }
    }

    #[test]
    fn a_regression_beyond_margin_and_chance_fails_with_the_value() {
        let conclusion = conclude(&rounds(1, 1.3), &checks(rounds(2, 1.0), 0.05)).unwrap();
        assert_eq!(conclusion.exit, Exit::CheckFailed);
        let line = &conclusion.failures[0];
        assert!(
            line.starts_with("regression: ws://127.0.0.1:9000/ 64B: p50 is 1.") && line.contains("10 rounds"),
            "{line}"
        );
    }

    #[test]
    fn the_same_or_better_or_within_the_margin_is_none() {
        for (factor, margin) in [(1.0, 0.05), (0.7, 0.05), (1.3, 0.5)] {
            let conclusion = conclude(&rounds(1, factor), &checks(rounds(2, 1.0), margin)).unwrap();
            assert_eq!((conclusion.exit, &conclusion.failures), (Exit::Ok, &vec![]), "{factor}");
            assert!(!conclusion.changes.is_empty());
        }
        // Without a margin it is only shown.
        let shown = Checks { baseline: Some(rounds(2, 1.0)), ..Checks::default() };
        assert_eq!(conclude(&rounds(1, 1.3), &shown).unwrap().exit, Exit::Ok);
    }

    #[test]
    fn a_rate_that_fell_is_a_regression_and_one_that_rose_is_none() {
        let run = |factor: u32| {
            let mut measured = closed_loop(2_000, || 50_000);
            measured.wall /= factor;
            run_of(vec![vec![measured]])
        };
        let fell = conclude(&run(1), &checks(run(2), 0.05)).unwrap();
        assert!(
            fell.failures[0].contains("rate is 0.500 times") && fell.failures[0].contains("margin alone"),
            "{fell:?}"
        );
        let rose = conclude(&run(2), &checks(run(1), 0.05)).unwrap();
        assert!(rose.failures.iter().all(|line| !line.contains(" rate ")), "{:?}", rose.failures);
    }

    #[test]
    fn targets_meet_by_name_else_by_place_and_none_in_common_fails() {
        let mut baseline = rounds(2, 1.0);
        baseline.targets[0].name = "ws://127.0.0.1:1234/".to_owned();
        assert!(!conclude(&rounds(1, 1.0), &checks(baseline.clone(), 0.05)).unwrap().changes.is_empty());
        baseline.phases[0].payload_bytes = Some(1024);
        let conclusion = conclude(&rounds(1, 1.0), &checks(baseline, 0.05)).unwrap();
        assert!(conclusion.failures[0].contains("in common"), "{conclusion:?}");
        assert_eq!(conclusion.exit, Exit::CheckFailed);
    }

    #[test]
    fn invalid_comes_before_failed_unless_it_is_allowed() {
        let run = run_of(vec![vec![nothing()]]);
        let mut checks = Checks { assertions: vec!["p50<1s".parse().unwrap()], ..Checks::default() };
        assert_eq!(conclude(&run, &checks).unwrap().exit, Exit::Invalid);
        checks.allow_invalid = true;
        assert_eq!(conclude(&run, &checks).unwrap().exit, Exit::CheckFailed);
        let good = run_of(vec![vec![open_loop(2_000, || 50_000)]]);
        assert_eq!(conclude(&good, &checks).unwrap().exit, Exit::Ok);
    }

    #[test]
    fn a_baseline_of_another_load_is_told_and_its_latencies_are_not_compared() {
        let ours = run_of(vec![(0..10).map(|_| closed_loop(1_000, || 50_000)).collect()]);
        let mut baseline = run_of(vec![(0..10).map(|_| open_loop(1_000, || 90_000)).collect()]);
        baseline.workload.settings.insert("rate".to_owned(), "1000/s".to_owned());
        let checks = Checks { baseline: Some(baseline), ..Checks::default() };
        let conclusion = conclude(&ours, &checks).unwrap();
        assert!(conclusion.changes.iter().all(|change| !matches!(change.metric, Metric::Latency(_))));
        let told = "the baseline had another load: rate 1000/s, now none";
        assert!(conclusion.verdict.warnings.iter().any(|warning| warning == told), "{:?}", conclusion.verdict.warnings);
        let checks = Checks { baseline: Some(ours.clone()), ..checks };
        assert!(conclude(&ours, &checks).unwrap().changes.iter().any(|one| matches!(one.metric, Metric::Latency(_))));
    }
}
