//! Several results as one. Histograms are added, never averaged: a load that was spread over machines comes out exactly.
//!
//! [`merge`] takes results of the *same* targets and phases. Runs that overlap in time were one load from several machines:
//! their rounds of one number are taken together, so counts and rates are added. Runs that do not overlap are further
//! rounds of the same load: counts are added, and so is time. What is another load – a closed loop among open ones, messages
//! of another kind, later rounds at another rate – is refused: its percentiles would be a mixture that nobody met.
//! [`beside`] puts results next to each other, as different targets.

use std::{collections::BTreeMap, time::Duration};

use super::{
    figures::at_once,
    run::{Phase, Piece, Run, Target},
    verdict::show_rate,
};

/// Settings that make another load of what has another value. Rates are compared as they were measured.
const SAME: [&str; 6] = ["arrivals", "pipeline", "kind", "fragment", "deflate", "check"];
/// Rates that differ by so much of them are not the same.
const RATE_TOLERANCE: f64 = 0.001;

/// Why results are no parts of one load. Indices are of what was given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unlike {
    /// Response times and service times.
    #[error("an open loop and a closed one do not add up")]
    Loop {
        /// The one that differs.
        run: usize,
    },
    /// Messages or arrivals of another kind.
    #[error("{name} is {ours:?} in one and {theirs:?} in the other")]
    Setting {
        /// The one that differs.
        run: usize,
        /// From this.
        from: usize,
        /// In what.
        name: &'static str,
        /// Its value.
        ours: String,
        /// The other's.
        theirs: String,
    },
    /// Further rounds, and not of the same rate.
    #[error("it is a later round at {}/s, and those before were at {}/s", show_rate(*.ours), show_rate(*.theirs))]
    Rate {
        /// The first of the later rounds.
        run: usize,
        /// Messages a second.
        ours: f64,
        /// Messages a second.
        theirs: f64,
    },
}

impl Unlike {
    /// The result that differs from those before.
    pub fn run(&self) -> usize {
        match self {
            Unlike::Loop { run } | Unlike::Setting { run, .. } | Unlike::Rate { run, .. } => *run,
        }
    }
}

/// Adds up. `None`: there is nothing.
///
/// # Errors
/// [`Unlike`]: they are not parts of one load.
pub fn merge(runs: Vec<Run>) -> Result<Option<Run>, Unlike> {
    judge_kinds(&runs)?;
    let mut runs: Vec<(usize, Run)> = runs.into_iter().enumerate().collect();
    runs.sort_by_key(|(_, run)| run.began);
    let mut runs = runs.into_iter();
    let Some((_, mut all)) = runs.next() else { return Ok(None) };
    // Rounds before the load under way, and where that ends.
    let (mut offset, mut end) = (0, all.began.checked_add(all.elapsed));
    // Where further rounds begin, and whose they are.
    let mut later = Vec::new();
    for (index, run) in runs {
        let their_end = run.began.checked_add(run.elapsed);
        if end.is_none_or(|end| run.began < end) {
            end = end.max(their_end);
        } else {
            offset = rounds_of(&all);
            end = their_end;
            later.push((offset, index));
        }
        let targets: Vec<usize> = run.targets.iter().map(|target| target_of(&mut all, target)).collect();
        take_in(&mut all, run, offset, &targets);
    }
    judge_rates(&all, &later)?;
    all.elapsed = end
        .and_then(|end| end.duration_since(all.began).ok())
        .map_or(all.elapsed, |elapsed: Duration| elapsed.max(all.elapsed));
    Ok(Some(all))
}

/// Whether all are of one loop, and of messages of one kind.
fn judge_kinds(runs: &[Run]) -> Result<(), Unlike> {
    let mut is_open = None;
    for (index, run) in runs.iter().enumerate() {
        for open in run.pieces.iter().map(|piece| piece.measured.wanted_rate.is_some()) {
            if *is_open.get_or_insert(open) != open {
                return Err(Unlike::Loop { run: index });
            }
        }
    }
    // A result that was not made by the command line may have none.
    let set: Vec<_> =
        runs.iter().map(|run| &run.workload.settings).enumerate().filter(|(_, set)| !set.is_empty()).collect();
    let Some((&(from, first), others)) = set.split_first() else { return Ok(()) };
    let value = |set: &BTreeMap<String, String>, name: &str| set.get(name).map_or("none", String::as_str).to_owned();
    for &(run, other) in others {
        for name in SAME {
            let (ours, theirs) = (value(other, name), value(first, name));
            if ours != theirs {
                return Err(Unlike::Setting { run, from, name, ours, theirs });
            }
        }
    }
    Ok(())
}

/// Whether later rounds were at the rate of the first. `later`: the first number of each further lot, and its first run.
fn judge_rates(all: &Run, later: &[(u32, usize)]) -> Result<(), Unlike> {
    for (target, phase) in all.cells() {
        let mut rounds: BTreeMap<u32, Vec<&Piece>> = BTreeMap::new();
        for piece in all.pieces_of(target, phase) {
            rounds.entry(piece.round).or_default().push(piece);
        }
        // A machine may have had fewer rounds than another: the most that was asked for at once is the lot's rate.
        let mut lots: BTreeMap<usize, f64> = BTreeMap::new();
        for (round, pieces) in rounds {
            let Some(rate) = at_once(&pieces).and_then(|all| all.wanted_rate) else { continue };
            let lot = later.partition_point(|(first, _)| *first <= round);
            lots.entry(lot).and_modify(|most| *most = most.max(rate)).or_insert(rate);
        }
        let Some((_, theirs)) = lots.pop_first() else { continue };
        let other = lots.into_iter().find(|(_, rate)| (rate - theirs).abs() > theirs * RATE_TOLERANCE);
        if let Some((lot, ours)) = other {
            let run = lot.checked_sub(1).and_then(|at| later.get(at)).map_or(0, |(_, index)| *index);
            return Err(Unlike::Rate { run, ours, theirs });
        }
    }
    Ok(())
}

/// Puts them side by side; `names` tell the results apart where they have targets of one name. Their rounds were not taken in
/// turn, so a drift of the machine between them is part of every ratio.
pub fn beside(runs: Vec<(String, Run)>) -> Option<Run> {
    let several = runs.len() > 1;
    let mut runs = runs.into_iter();
    let (name, mut all) = runs.next()?;
    let mut labels = vec![name; all.targets.len()];
    for (name, run) in runs {
        labels.extend(vec![name; run.targets.len()]);
        let before = all.targets.len();
        all.targets.extend(run.targets.clone());
        let targets: Vec<usize> = (before..all.targets.len()).collect();
        take_in(&mut all, run, 0, &targets);
    }
    if several {
        all.interleaved = false;
        let names: Vec<String> = all.targets.iter().map(|target| target.name.clone()).collect();
        for (target, label) in all.targets.iter_mut().zip(labels) {
            if names.iter().filter(|name| **name == target.name).count() > 1 {
                target.name = format!("{} ({label})", target.name);
            }
        }
    }
    Some(all)
}

fn rounds_of(run: &Run) -> u32 {
    run.pieces.iter().map(|piece| piece.round.saturating_add(1)).max().unwrap_or_default()
}

/// Takes the pieces of another run in. `targets` are the places of its targets, rounds count from `offset`.
fn take_in(all: &mut Run, run: Run, offset: u32, targets: &[usize]) {
    let phases: Vec<usize> = run.phases.into_iter().map(|phase| phase_of(all, phase)).collect();
    let machines = all.machines.len();
    all.machines.extend(run.machines);
    // Where a ramp ended is one run's own matter.
    all.until = None;
    all.interrupted |= run.interrupted;
    all.interleaved &= run.interleaved;
    all.workload.random_arrivals |= run.workload.random_arrivals;
    all.workload.rounds = all.workload.rounds.max(run.workload.rounds.saturating_add(offset));
    all.floor = all.floor.take().or(run.floor);
    all.pieces.extend(run.pieces.into_iter().filter_map(|piece| {
        Some(Piece {
            target: *targets.get(piece.target)?,
            phase: *phases.get(piece.phase)?,
            round: piece.round.saturating_add(offset),
            machine: piece.machine + machines,
            measured: piece.measured,
        })
    }));
}

/// Where a target is, by name; a new one is added.
fn target_of(all: &mut Run, target: &Target) -> usize {
    all.targets.iter().position(|known| known.name == target.name).unwrap_or_else(|| {
        all.targets.push(target.clone());
        all.targets.len() - 1
    })
}

/// Connections of one phase may differ between machines; what was sent may not.
fn phase_of(all: &mut Run, phase: Phase) -> usize {
    let is_same = |known: &Phase| {
        known.name == phase.name && known.scenario == phase.scenario && known.payload_bytes == phase.payload_bytes
    };
    all.phases.iter().position(is_same).unwrap_or_else(|| {
        all.phases.push(phase);
        all.phases.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        figures::Cell,
        synthetic::{open_loop, run_of},
    };

    fn run(latency: u64) -> Run {
        run_of(vec![(0..3).map(|_| open_loop(2_000, || latency)).collect()])
    }

    #[test]
    fn machines_that_worked_at_the_same_time_add_their_rates() {
        let merged = merge(vec![run(50_000), run(90_000), run(70_000)]).unwrap().unwrap();
        assert_eq!((merged.targets.len(), merged.phases.len(), merged.machines.len()), (1, 1, 3));
        let cell = &Cell::all(&merged)[0];
        assert_eq!((cell.rounds, cell.merged.sent, cell.merged.connections), (3, 18_000, 12));
        assert_eq!(cell.merged.response.len(), 18_000);
        assert!((cell.merged.wanted_rate.unwrap() - 30_000.0).abs() < 1e-6);
        assert!((cell.merged.achieved_rate().unwrap() - 30_000.0).abs() < 1e-6);
        // Exact: a third of all samples is at most 50 µs, which no average of percentiles would say.
        assert_eq!(cell.merged.response.count_between(1, 50_200), 6_000);
        assert!(merged.is_coherent());
    }

    #[test]
    fn later_runs_are_further_rounds() {
        let mut later = run(50_000);
        later.began += Duration::from_secs(100);
        let merged = merge(vec![later, run(50_000)]).unwrap().unwrap();
        let cell = &Cell::all(&merged)[0];
        assert_eq!((cell.rounds, cell.merged.sent, cell.merged.connections), (6, 12_000, 4));
        assert!((cell.merged.achieved_rate().unwrap() - 10_000.0).abs() < 1e-6);
        assert_eq!(merged.elapsed, Duration::from_secs(120));
        assert!(merge(vec![]).unwrap().is_none());
    }

    #[test]
    fn what_is_another_load_is_not_added() {
        let doctored = |doctor: &dyn Fn(&mut Run)| {
            let mut run = run(60_000);
            doctor(&mut run);
            run
        };
        let at = |rate: f64, seconds: u64| {
            doctored(&|run| {
                run.began += Duration::from_secs(seconds);
                run.pieces.iter_mut().for_each(|piece| piece.measured.wanted_rate = Some(rate));
            })
        };
        let closed = || doctored(&|run| run.pieces[2].measured.wanted_rate = None);
        let set = |name: &str, value: &str| {
            doctored(&|run| drop(run.workload.settings.insert(name.to_owned(), value.to_owned())))
        };
        let setting = |run, from, name, ours: &str, theirs: &str| {
            Some(Unlike::Setting { run, from, name, ours: ours.to_owned(), theirs: theirs.to_owned() })
        };
        for (runs, expected) in [
            (vec![run(50_000), closed()], Some(Unlike::Loop { run: 1 })),
            (vec![Run { pieces: vec![], ..closed() }, run(50_000), closed()], Some(Unlike::Loop { run: 2 })),
            // From another machine at the same time: another part of the same load.
            (vec![run(50_000), at(20_000.0, 0)], None),
            (vec![at(10_000.0, 100), run(50_000)], None),
            (vec![at(20_000.0, 100), run(50_000)], Some(Unlike::Rate { run: 0, ours: 20_000.0, theirs: 10_000.0 })),
            // Two machines at once make as much as one did before.
            (vec![at(20_000.0, 0), at(10_000.0, 100), at(10_000.0, 100)], None),
            (vec![set("pipeline", "4"), set("pipeline", "4")], None),
            (vec![run(50_000), set("pipeline", "4"), set("pipeline", "1")], setting(2, 1, "pipeline", "1", "4")),
            (vec![set("kind", "text"), set("pace", "spin")], setting(1, 0, "kind", "none", "text")),
            (
                vec![set("arrivals", "poisson"), set("arrivals", "constant")],
                setting(1, 0, "arrivals", "constant", "poisson"),
            ),
        ] {
            assert_eq!(merge(runs).err(), expected);
        }
    }

    #[test]
    fn side_by_side_they_are_different_targets() {
        let all = beside(vec![("a.json".to_owned(), run(50_000)), ("b.json".to_owned(), run(90_000))]).unwrap();
        let names: Vec<&str> = all.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["ws://127.0.0.1:9000/ (a.json)", "ws://127.0.0.1:9000/ (b.json)"]);
        let cells = Cell::all(&all);
        assert_eq!((cells.len(), cells[1].target, cells[1].merged.response.max() > 80_000), (2, 1, true));
        assert!(!all.interleaved && all.is_coherent());
        let alone = beside(vec![("a.json".to_owned(), run(50_000))]).unwrap();
        assert_eq!(alone.targets[0].name, "ws://127.0.0.1:9000/");
    }
}
