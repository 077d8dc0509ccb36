use std::time::Duration;

use super::*;
use crate::bench::{
    figures::sum_of,
    measured::{ErrorKind, histogram},
    run::Run,
    synthetic::{closed_loop, nothing, open_loop, run_of},
};

fn reasons(run: &Run) -> Vec<Reason> {
    Verdict::of(run).invalid.iter().map(|finding| finding.reason).collect()
}

/// One round, doctored.
fn with(measured: Measured, doctor: impl FnOnce(&mut Measured)) -> Run {
    let mut measured = measured;
    doctor(&mut measured);
    run_of(vec![vec![measured]])
}

#[test]
fn a_run_that_went_well_is_valid_and_silent() {
    for measured in [open_loop(2_000, || 50_000), closed_loop(2_000, || 50_000)] {
        assert_eq!(Verdict::of(&run_of(vec![vec![measured]])), Verdict::default());
    }
}

#[test]
fn each_reason_is_found_and_says_its_numbers_and_what_to_do() {
    let open = || open_loop(2_000, || 50_000);
    let closed = || closed_loop(2_000, || 50_000);
    let wall = open().wall;
    #[rustfmt::skip]
    let rows: Vec<(Run, Reason, &[&str])> = vec![
        (with(open(), |m| m.sent = 1_970), Reason::RateMissed, &["10000 messages/s", "9850", "98.5 %", "--rate"]),
        (with(open(), |m| { m.generator.cpu = wall; m.lateness = m.response.clone(); }), Reason::GeneratorLate, &["p50", "50.0 µs", "100.0 %", "--rate"]),
        (with(open(), |m| { m.generator.run_queue = wall / 5; m.lateness = m.response.clone(); }), Reason::GeneratorLate, &["20.0 %", "core"]),
        (with(open(), |m| m.generator.run_queue = wall / 2), Reason::GeneratorStarved, &["50.0 %", "taskset"]),
        (with(closed(), |m| m.generator.cpu = wall), Reason::GeneratorSaturated, &["100.0 %", "20.0 % of one", "--pipeline"]),
        (with(closed(), |m| { m.generator.cpu = wall; m.served = None; }), Reason::GeneratorSaturated, &["--pid"]),
        (with(open(), |m| { let all = m.connections; m.errors.insert(ErrorKind::Closed, (all, "closed by the peer".to_owned())); }), Reason::TargetLost, &["round 1", "closed by the peer"]),
        (with(open(), |m| { m.errors.insert(ErrorKind::Resources, (413, "too many open files: raise the limit".to_owned())); }), Reason::GeneratorExhausted, &["413", "raise the limit"]),
        (with(open_loop(99, || 50_000), |_| {}), Reason::TooFewSamples, &["99 samples", "100", "-d"]),
        (with(nothing(), |_| {}), Reason::TooFewSamples, &["0 samples"]),
    ];
    for (run, reason, words) in rows {
        let verdict = Verdict::of(&run);
        let found: Vec<_> = verdict.invalid.iter().map(|finding| finding.reason).collect();
        assert_eq!(found, [reason]);
        for word in words {
            assert!(verdict.invalid[0].words.contains(word), "{word} in {}", verdict.invalid[0].words);
        }
    }
}

#[test]
fn what_is_no_reason_is_not_taken_for_one() {
    let wall = open_loop(2_000, || 50_000).wall;
    // A spinning generator uses all of its core, and is in time.
    assert_eq!(reasons(&with(open_loop(2_000, || 50_000), |m| m.generator.cpu = wall)), []);
    // A server that used more than the generator was the bottleneck.
    let run = with(closed_loop(2_000, || 50_000), |m| {
        m.generator.cpu = wall * 96 / 100;
        if let Some(served) = &mut m.served {
            served.cpu = wall;
        }
    });
    assert_eq!(reasons(&run), []);
    // Late now and then on a core of its own: told, no more.
    let run = with(open_loop(2_000, || 50_000), |m| m.lateness = m.response.clone());
    assert_eq!(reasons(&run), []);
    assert!(Verdict::of(&run).warnings[0].contains("--pace spin"), "{:?}", Verdict::of(&run));
    // Random arrivals are 2,000 but for 3 × 45.
    let mut run = with(open_loop(2_000, || 50_000), |m| m.sent = 1_900);
    assert_eq!(reasons(&run), [Reason::RateMissed]);
    run.workload.random_arrivals = true;
    assert_eq!(reasons(&run), []);
    // Nobody waits for answers on idle connections.
    let mut run = run_of(vec![vec![nothing()]]);
    run.phases[0].scenario = "idle".to_owned();
    assert_eq!(reasons(&run), []);
}

#[test]
fn one_starved_machine_of_several_is_found() {
    let mut run = run_of(vec![vec![open_loop(2_000, || 50_000)]]);
    run.machines.push(run.machines[0].clone());
    let mut other = run.pieces[0].clone();
    other.machine = 1;
    other.measured.generator.run_queue = other.measured.wall / 3;
    run.pieces.push(other);
    assert_eq!(reasons(&run), [Reason::GeneratorStarved]);
}

#[test]
fn a_target_as_fast_as_the_machine_is_told() {
    let mut run = run_of(vec![vec![open_loop(2_000, || 50_000)]]);
    let floor = |nanos| Floor {
        payload_bytes: 64,
        wanted_rate: Some(10_000.0),
        latency: open_loop(2_000, || nanos).response,
        lateness: histogram(),
        cpu_per_message: Some(Duration::from_micros(2)),
    };
    run.floor = Some(floor(45_000));
    let warnings = Verdict::of(&run).warnings;
    assert!(warnings[0].contains("you are measuring the machine") && warnings[0].contains("50.0 µs"), "{warnings:?}");
    run.floor = Some(floor(20_000));
    assert_eq!(Verdict::of(&run).warnings, Vec::<String>::new());
    run.floor = Some(Floor { wanted_rate: None, ..floor(45_000) });
    assert_eq!(Verdict::of(&run).warnings, Vec::<String>::new());
}

#[test]
fn errors_and_missing_samples_are_told() {
    let run = with(open_loop(200, || 50_000), |m| {
        m.errors.insert(ErrorKind::Timeout, (3, "no answer within 10s".to_owned()));
    });
    let warnings = Verdict::of(&run).warnings;
    assert!(warnings[0].contains("p99 needs 1000"), "{warnings:?}");
    assert!(warnings[1].contains("3 errors on 200 messages"), "{warnings:?}");
}

#[test]
fn times_are_shown_in_the_unit_that_suits_them() {
    for (nanos, shown) in [
        (0.0, "0 ns"),
        (999.0, "999 ns"),
        (999.6, "1.00 µs"),
        (21_400.0, "21.4 µs"),
        (999_600.0, "1.00 ms"),
        (2_500_000.0, "2.50 ms"),
        (99_960_000.0, "100 ms"),
        (1_200_000_000.0, "1.20 s"),
        (3.6e12, "3600 s"),
    ] {
        assert_eq!(show(nanos), shown);
    }
    assert_eq!(sum_of([]).len(), 0);
}

#[test]
fn rates_are_shown_with_three_digits_and_never_as_none() {
    for (rate, expected) in [
        (0.0, "0"),
        (0.001, "0.001"),
        (0.5, "0.5"),
        (1.0, "1"),
        (2.345, "2.35"),
        (9.999, "10"),
        (99.96, "100"),
        (150.2, "150"),
        (10_000.4, "10000"),
        (1e-9, "0.000000001"),
    ] {
        assert_eq!(show_rate(rate), expected, "{rate}");
    }
}

#[test]
fn a_process_that_did_nothing_is_hardly_the_server() {
    let run = with(open_loop(2_000, || 50_000), |m| m.served.as_mut().unwrap().cpu = Duration::ZERO);
    let verdict = Verdict::of(&run);
    assert!(verdict.is_valid() && verdict.warnings[0].contains("used no CPU time"), "{:?}", verdict.warnings);
}
