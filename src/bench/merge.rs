//! Several results as one. Histograms are added, never averaged: a load that was spread over machines comes out exactly.
//!
//! [`merge`] takes results of the *same* targets and phases. Runs that overlap in time were one load from several machines:
//! their rounds of one number are taken together, so counts and rates are added. Runs that do not overlap are further
//! rounds: counts are added, rates averaged. [`beside`] puts results next to each other, as different targets.

use std::time::Duration;

use super::run::{Phase, Piece, Run, Target};

/// Adds up. `None`: there is nothing.
pub fn merge(mut runs: Vec<Run>) -> Option<Run> {
    runs.sort_by_key(|run| run.began);
    let mut runs = runs.into_iter();
    let mut all = runs.next()?;
    // Rounds before the load under way, and where that ends.
    let (mut offset, mut end) = (0, all.began.checked_add(all.elapsed));
    for run in runs {
        let their_end = run.began.checked_add(run.elapsed);
        if end.is_none_or(|end| run.began < end) {
            end = end.max(their_end);
        } else {
            offset = rounds_of(&all);
            end = their_end;
        }
        let targets: Vec<usize> = run.targets.iter().map(|target| target_of(&mut all, target)).collect();
        take_in(&mut all, run, offset, &targets);
    }
    all.elapsed = end
        .and_then(|end| end.duration_since(all.began).ok())
        .map_or(all.elapsed, |elapsed: Duration| elapsed.max(all.elapsed));
    Some(all)
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
        let merged = merge(vec![run(50_000), run(90_000), run(70_000)]).unwrap();
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
        let merged = merge(vec![later, run(50_000)]).unwrap();
        let cell = &Cell::all(&merged)[0];
        assert_eq!((cell.rounds, cell.merged.sent, cell.merged.connections), (6, 12_000, 4));
        assert!((cell.merged.achieved_rate().unwrap() - 10_000.0).abs() < 1e-6);
        assert_eq!(merged.elapsed, Duration::from_secs(120));
        assert!(merge(vec![]).is_none());
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
