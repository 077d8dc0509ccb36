use super::*;
use crate::bench::{
    run::Run,
    synthetic::{SharedMachine, closed_loop, run_of},
};

const ROUNDS: usize = 10;

/// Two targets, the second dearer by `factor`.
fn simulated(seed: u64, samples: u64, factor: f64, prepare: impl Fn(&mut SharedMachine)) -> Run {
    let mut machine = SharedMachine::new(seed);
    prepare(&mut machine);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(machine.round(samples, 1.0));
        other.push(machine.round(samples, factor));
    }
    run_of(vec![one, other])
}

/// In how many of 100 simulated runs any figure differs.
fn runs_with_a_difference(factor: f64, prepare: impl Fn(&mut SharedMachine)) -> usize {
    (0..100)
        .filter(|seed| {
            let compared = compare(&simulated(1000 + seed, 1_000, factor, &prepare));
            // p50, p90 and p99.
            assert!(compared.len() >= 3, "{compared:?}");
            compared.iter().any(|one| one.ratio.difference() != Difference::NoneSeen)
        })
        .count()
}

#[test]
fn a_against_a_shows_no_difference_in_95_of_100_runs_on_a_machine_of_two_modes() {
    let alarms = runs_with_a_difference(1.0, |_| {});
    assert!(alarms <= 5, "{alarms} false alarms");
}

#[test]
fn a_against_a_shows_no_difference_in_95_of_100_runs_on_a_steadier_machine() {
    let alarms = runs_with_a_difference(1.0, |machine| (machine.slow_rounds, machine.jitter) = (0.1, 0.01));
    assert!(alarms <= 5, "{alarms} false alarms");
    let alarms = runs_with_a_difference(1.0, |machine| machine.slow_rounds = 0.0);
    assert!(alarms <= 5, "{alarms} false alarms");
}

#[test]
fn a_against_a_and_a_tenth_is_found() {
    let found = runs_with_a_difference(1.1, |machine| machine.slow_rounds = 0.0);
    assert!(found >= 95, "{found}");
    // Where one round in twenty is 37 % slower, 10 rounds show it half of the time: no more can be known from them.
    let found = runs_with_a_difference(1.1, |machine| machine.slow_rounds = 0.05);
    assert!(found >= 40, "{found}");
}

#[test]
fn the_interval_lies_around_the_true_ratio() {
    let run = simulated(7, 2_000, 1.5, |machine| machine.slow_rounds = 0.0);
    let compared = compare(&run);
    let p50 = compared.iter().find(|one| one.metric == Metric::Latency(Percentile::P50)).unwrap();
    let bounds = p50.ratio.interval.unwrap();
    assert!(bounds.low < 1.5 && 1.5 < bounds.high && bounds.high - bounds.low < 0.2, "{p50:?}");
    assert_eq!((p50.ratio.difference(), p50.words()), (Difference::More, "worse"));
}

#[test]
fn rates_are_compared_in_a_closed_loop_only() {
    let rounds = |factor: u32| -> Vec<_> {
        (0..10)
            .map(|_| {
                let mut measured = closed_loop(1_000, || 5_000);
                measured.wall /= factor;
                measured
            })
            .collect()
    };
    let compared = compare(&run_of(vec![rounds(1), rounds(2)]));
    let rate = compared.iter().find(|one| one.metric == Metric::Rate).unwrap();
    assert!((rate.ratio.estimate - 2.0).abs() < 1e-6);
    assert_eq!(rate.words(), "better");
    let open = compare(&simulated(1, 100, 1.0, |_| {}));
    assert!(open.iter().all(|one| one.metric != Metric::Rate), "{open:?}");
}

#[test]
fn rounds_are_paired_by_number_and_a_missing_one_is_left_out() {
    let mut run = simulated(3, 200, 1.0, |_| {});
    run.pieces.retain(|piece| !(piece.target == 1 && piece.round == 4));
    let compared = compare(&run);
    assert!(compared.iter().all(|one| one.ratio.rounds == 9), "{compared:?}");
    run.pieces.retain(|piece| piece.target == 0);
    assert_eq!(compare(&run), []);
}
