//! The plots of a phase: latency by percentile, and over time.

use hdrhistogram::Histogram;

use super::super::{
    plot::{Line, Plot},
    scale::{Scale, Unit, step},
};
use crate::bench::{
    figures::{Cell, SAMPLES_BEYOND},
    run::Run,
};

/// Points of a percentile curve in each decade of "one in so many is slower".
const POINTS_A_DECADE: u32 = 20;
/// Of a line over time, at most so many points are drawn: more would not be seen.
const POINTS_MAX: usize = 2_000;

pub(super) fn curve(run: &Run, cells: &[&Cell], kind: &str) -> Plot {
    let lines: Vec<Line> = cells
        .iter()
        .map(|cell| Line {
            name: run.targets.get(cell.target).map_or_else(String::new, |target| target.name.clone()),
            colour: cell.target,
            is_minor: false,
            stretches: vec![points(cell.merged.latency())],
        })
        .collect();
    let right =
        lines.iter().flat_map(|line| line.stretches.iter().flatten()).fold(1.0f64, |right, (x, _)| right.max(*x));
    let decades = ["90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    let mut ticks = vec![(0.0, "0 %".to_owned()), (2f64.log10(), "50 %".to_owned())];
    ticks.extend(decades.iter().zip(1u32..).map(|(name, at)| (f64::from(at), (*name).to_owned())));
    ticks.retain(|(at, _)| *at <= right + 1e-9);
    Plot {
        title: format!("{kind} by percentile"),
        y_name: "latency".to_owned(),
        unit: Unit::Nanoseconds,
        scale: Scale::decades(values(&lines)),
        has_legend: false,
        x_name: "percentile (each step to the right: ten times rarer)".to_owned(),
        x_range: (0.0, right),
        x_ticks: ticks,
        lines,
    }
}

/// Over log10 of "one in so many is slower", as far as samples reach.
fn points(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples_of_ten = histogram.len() / SAMPLES_BEYOND;
    if samples_of_ten == 0 {
        return Vec::new();
    }
    let end = (samples_of_ten as f64).log10();
    let steps = (end * f64::from(POINTS_A_DECADE)).floor() as u32;
    (0..=steps)
        .map(|step| f64::from(step) / f64::from(POINTS_A_DECADE))
        .chain([end])
        .map(|x| {
            let nanos = histogram.value_at_quantile(1.0 - 10f64.powf(-x)).min(histogram.max());
            (x, nanos as f64)
        })
        .collect()
}

pub(super) fn over_time(run: &Run, phase: usize, cells: &[&Cell]) -> Plot {
    let mut lines = Vec::new();
    let mut right = 0.0f64;
    for cell in cells {
        let (medians, longest, end) = series(run, cell.target, phase);
        right = right.max(end);
        let name = run.targets.get(cell.target).map_or("", |target| target.name.as_str());
        for (stretches, is_minor, what) in [(longest, true, "longest"), (medians, false, "median")] {
            lines.push(Line { name: format!("{name}, {what}"), colour: cell.target, is_minor, stretches });
        }
    }
    let step = step(right);
    Plot {
        title: "latency over time".to_owned(),
        y_name: "latency".to_owned(),
        unit: Unit::Nanoseconds,
        scale: Scale::decades(values(&lines)),
        has_legend: false,
        x_name: "seconds of load".to_owned(),
        x_range: (0.0, right),
        x_ticks: (0..=10)
            .map(|tick| f64::from(tick) * step)
            .filter(|at| *at <= right * 1.0001)
            .map(|at| (at, format!("{}", (at * 1e6).round() / 1e6)))
            .collect(),
        lines,
    }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.stretches.iter().flatten()).map(|(_, value)| *value)
}

type Stretches = Vec<Vec<(f64, f64)>>;

/// Medians and maxima of each round, and where the last one ends.
fn series(run: &Run, target: usize, phase: usize) -> (Stretches, Stretches, f64) {
    let (mut medians, mut longest) = (Vec::new(), Vec::new());
    let intervals: usize = run.pieces_of(target, phase).map(|piece| piece.measured.series.len()).sum();
    let every = intervals.div_ceil(POINTS_MAX).max(1);
    // Where each round begins: behind the longest piece of the one before.
    let mut rounds: Vec<(u32, f64)> = Vec::new();
    for piece in run.pieces_of(target, phase) {
        let wall = piece.measured.wall.as_secs_f64();
        match rounds.iter_mut().find(|(round, _)| *round == piece.round) {
            Some((_, longest)) => *longest = longest.max(wall),
            None => rounds.push((piece.round, wall)),
        }
    }
    rounds.sort_by_key(|(round, _)| *round);
    for piece in run.pieces_of(target, phase) {
        let offset: f64 = rounds.iter().take_while(|(round, _)| *round < piece.round).map(|(_, wall)| wall).sum();
        let mut stretch = (Vec::new(), Vec::new());
        for interval in piece.measured.series.iter().step_by(every).filter(|interval| !interval.latency.is_empty()) {
            let middle = offset + (interval.begins + interval.length / 2).as_secs_f64();
            // The last answers of a round come after its end: their median says nothing of an interval.
            if interval.begins < piece.measured.wall {
                let median = interval.latency.value_at_quantile(0.5).min(interval.latency.max());
                stretch.0.push((middle, median as f64));
            }
            stretch.1.push((middle, interval.latency.max() as f64));
        }
        medians.push(stretch.0);
        longest.push(stretch.1);
    }
    (medians, longest, rounds.iter().map(|(_, wall)| wall).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::synthetic::open_loop;

    #[test]
    fn the_curve_ends_where_ten_samples_are_beyond() {
        let measured = open_loop(10_000, || 50_000);
        let points = points(measured.latency());
        assert!((points.last().unwrap().0 - 3.0).abs() < 1e-9, "{points:?}");
        assert!(super::points(open_loop(9, || 1).latency()).is_empty());
    }
}
