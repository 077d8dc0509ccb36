//! What grows with connections, and what does not, of a run over several numbers of them: CPU time a message, memory a
//! connection, latency and the turns of the target's event loops, each as a plot.

use std::collections::BTreeMap;

use super::{
    plot::{Line, Plot},
    scale::{Scale, Unit},
};
use crate::bench::{
    figures::{Cell, Percentile, at_once},
    measured::Measured,
    run::{Piece, Run},
};

/// What is drawn over connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The target's CPU time a message.
    Cpu,
    /// The target's memory a connection.
    Memory,
    /// The latency of messages.
    Latency,
    /// How long the turns of its event loops took.
    Turns,
}

/// Numbers below the axis are so far from each other, of its length, at least.
const TICKS_APART: f64 = 0.04;

impl Growth {
    /// All of them, in the order of a page.
    pub const ALL: [Growth; 4] = [Growth::Cpu, Growth::Memory, Growth::Latency, Growth::Turns];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Growth::Cpu => "cpu",
            Growth::Memory => "memory",
            Growth::Latency => "latency",
            Growth::Turns => "turns",
        }
    }

    /// What the plot shows.
    pub fn title(self) -> &'static str {
        match self {
            Growth::Cpu => "Server CPU a message",
            Growth::Memory => "Server memory a connection",
            Growth::Latency => "Latency",
            Growth::Turns => "Loop turn time of the server",
        }
    }

    /// What a run needs for it to be drawn.
    pub fn needs(self) -> &'static str {
        match self {
            Growth::Cpu => "several numbers of connections (-c 10,100,1k) and --pid",
            Growth::Memory => "several numbers of connections (-c 10,100,1k), --pid, and memory that has grown",
            Growth::Latency => "several numbers of connections (-c 10,100,1k), with answers enough at each",
            Growth::Turns => "several numbers of connections (-c 10,100,1k) and --metrics",
        }
    }

    /// A picture of its own. `None`: see [`Self::needs`].
    pub fn svg(self, run: &Run) -> Option<String> {
        self.plot(run, &Cell::all(run))?.file()
    }

    /// `None`: there are not two numbers of connections with a figure.
    pub(super) fn plot(self, run: &Run, cells: &[Cell]) -> Option<Plot> {
        let lines = self.lines(run, cells);
        let points = || lines.iter().flat_map(|line| line.stretches.iter().flatten());
        let counts: Vec<f64> = points().map(|(x, _)| *x).collect();
        let low = counts.iter().copied().fold(f64::MAX, f64::min);
        let high = counts.iter().copied().fold(f64::MIN, f64::max);
        if low >= high {
            return None;
        }
        let scale = Scale::fitting(points().map(|(_, value)| *value));
        Some(Plot {
            title: format!("{} over connections", self.title()),
            y_name: self.title().to_owned(),
            unit: if self == Growth::Memory { Unit::Octets } else { Unit::Nanoseconds },
            scale,
            x_name: "connections".to_owned(),
            x_range: (low, high),
            x_ticks: ticks(counts, high - low),
            lines,
            has_legend: true,
        })
    }

    /// A line for each target and kind of phase, or two where there are percentiles.
    fn lines(self, run: &Run, cells: &[Cell]) -> Vec<Line> {
        let kinds: Vec<(&str, Option<u64>)> = run.phases.iter().fold(Vec::new(), |mut kinds, phase| {
            let kind = (phase.scenario.as_str(), phase.payload_bytes);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            kinds
        });
        let mut lines = Vec::new();
        for (at, target) in run.targets.iter().enumerate() {
            for (nth, kind) in kinds.iter().enumerate() {
                let of_kind = |cell: &&Cell| {
                    let phase = run.phases.get(cell.phase);
                    cell.target == at
                        && phase.is_some_and(|phase| (phase.scenario.as_str(), phase.payload_bytes) == *kind)
                };
                let cells: Vec<&Cell> = cells.iter().filter(of_kind).collect();
                let mut name = target.name.clone();
                if kinds.len() > 1 {
                    name += &format!(", {}", kind.0);
                    name += &kind.1.map_or_else(String::new, |octets| format!(" {octets} B"));
                }
                let colour = at * kinds.len() + nth;
                for (what, is_minor, figure) in self.figures() {
                    let mut points: Vec<(f64, f64)> = cells
                        .iter()
                        .filter_map(|cell| {
                            let connections = run.phases.get(cell.phase)?.connections;
                            Some(((connections.max(1) as f64).log10(), figure(run, cell)?))
                        })
                        .collect();
                    points.sort_by(|one, other| one.0.total_cmp(&other.0));
                    if !points.is_empty() {
                        lines.push(Line { name: format!("{name}{what}"), colour, is_minor, stretches: vec![points] });
                    }
                }
            }
        }
        lines
    }

    /// What is drawn of a cell: how it is called, whether it is dotted, and its value.
    fn figures(self) -> Vec<(&'static str, bool, Figure)> {
        match self {
            Growth::Cpu => vec![("", false, |run, cell| median(run, cell, Measured::served_cpu_nanos))],
            Growth::Memory => vec![("", false, |run, cell| median(run, cell, Measured::bytes_per_connection))],
            Growth::Latency => vec![
                (", p50", false, |_, cell| Percentile::P50.of(cell.merged.latency()).map(|nanos| nanos as f64)),
                (", p99", true, |_, cell| Percentile::P99.of(cell.merged.latency()).map(|nanos| nanos as f64)),
            ],
            Growth::Turns => vec![
                (", p50", false, |_, cell| Percentile::P50.of(&cell.merged.turns).map(|nanos| nanos as f64)),
                (", p99", true, |_, cell| Percentile::P99.of(&cell.merged.turns).map(|nanos| nanos as f64)),
            ],
        }
    }
}

/// The part of a page about it; empty where connections were not ramped.
pub(super) fn section(run: &Run, cells: &[Cell]) -> String {
    let plots: Vec<String> = Growth::ALL
        .into_iter()
        .filter_map(|growth| Some(format!("<h3>{}</h3>{}", growth.title(), growth.plot(run, cells)?.render())))
        .collect();
    if plots.is_empty() {
        return String::new();
    }
    let told = "Over connections. CPU time and memory: medians of the rounds; times: all rounds together.";
    format!("<h2>Growth</h2><p class=\"soft\">{told}</p>{}", plots.concat())
}

/// A value of a cell, where it has one.
type Figure = fn(&Run, &Cell) -> Option<f64>;

/// The median over rounds: one that was disturbed does not count.
fn median(run: &Run, cell: &Cell, figure: fn(&Measured) -> Option<f64>) -> Option<f64> {
    let mut rounds: BTreeMap<u32, Vec<&Piece>> = BTreeMap::new();
    for piece in run.pieces_of(cell.target, cell.phase) {
        rounds.entry(piece.round).or_default().push(piece);
    }
    let mut values: Vec<f64> = rounds.values().filter_map(|pieces| figure(at_once(pieces)?.as_ref())).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { *values.get(middle.checked_sub(1)?)? } else { upper };
    Some((lower + upper) / 2.0)
}

/// The numbers of connections themselves, as far as there is room for them.
fn ticks(mut counts: Vec<f64>, length: f64) -> Vec<(f64, String)> {
    counts.sort_by(f64::total_cmp);
    let mut ticks: Vec<(f64, String)> = Vec::new();
    for at in counts {
        if ticks.last().is_none_or(|(before, _)| at - before >= TICKS_APART * length) {
            ticks.push((at, grouped(10f64.powf(at).round() as u64)));
        }
    }
    ticks
}

/// `10,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::{
        run::Phase,
        synthetic::{closed_loop, run_of},
    };

    /// Two targets at these numbers of connections, three rounds each; the second takes twice the CPU time of the first.
    fn ramp(counts: &[u64]) -> Run {
        let mut run = run_of(vec![vec![], vec![]]);
        run.phases = counts
            .iter()
            .map(|&connections| Phase {
                name: format!("64B x{connections}"),
                scenario: "echo".to_owned(),
                payload_bytes: Some(64),
                connections,
            })
            .collect();
        for (phase, &connections) in counts.iter().enumerate() {
            for (target, round) in (0..2).flat_map(|target| (0..3).map(move |round| (target, round))) {
                let mut measured = closed_loop(1_000, || 50_000);
                measured.connections = connections;
                let served = measured.served.as_mut().unwrap();
                // The last round was disturbed.
                let disturbed = if round == 2 { 50 } else { 1 };
                served.cpu = Duration::from_micros(5 * 1_000 * (target as u64 + 1) * disturbed);
                served.rss_connected = served.rss_before + 254 * connections;
                measured.turns.record_n(30_000, 2_000).unwrap();
                run.pieces.push(Piece { target, phase, round, machine: 0, measured });
            }
        }
        run
    }

    #[test]
    fn each_target_is_a_line_of_medians_over_connections() {
        let run = ramp(&[10, 100, 10_000]);
        let cells = Cell::all(&run);
        let plot = Growth::Cpu.plot(&run, &cells).unwrap();
        let values: Vec<Vec<(f64, f64)>> = plot.lines.iter().map(|line| line.stretches.concat()).collect();
        assert_eq!(
            values,
            [[1.0, 2.0, 4.0].map(|x| (x, 5_000.0)).to_vec(), [1.0, 2.0, 4.0].map(|x| (x, 10_000.0)).to_vec()]
        );
        let labels: Vec<&str> = plot.x_ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["10", "100", "10,000"]);
        let memory = Growth::Memory.plot(&run, &cells).unwrap();
        assert!(memory.lines.iter().flat_map(|line| line.stretches.concat()).all(|(_, octets)| octets == 254.0));
        let turns = Growth::Turns.plot(&run, &cells).unwrap();
        let names: Vec<&str> = turns.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names[..2], ["ws://127.0.0.1:9000/, p50", "ws://127.0.0.1:9000/, p99"]);
        for growth in Growth::ALL {
            let svg = growth.svg(&run).unwrap();
            assert!(svg.contains(growth.title()) && !svg.contains("NaN") && svg.len() < 30_000, "{svg}");
        }
    }

    #[test]
    fn one_number_of_connections_has_no_growth_and_what_is_not_known_no_line() {
        let one = ramp(&[10]);
        assert_eq!(section(&one, &Cell::all(&one)), "");
        let several = ramp(&[10, 100]);
        assert_eq!(section(&several, &Cell::all(&several)).matches("<svg").count(), 4);
        assert!(Growth::ALL.iter().all(|growth| growth.svg(&one).is_none()));
        let mut blind = ramp(&[10, 100]);
        for piece in &mut blind.pieces {
            piece.measured.served = None;
            piece.measured.turns.reset();
        }
        let drawn: Vec<_> = Growth::ALL.into_iter().filter(|growth| growth.svg(&blind).is_some()).collect();
        assert_eq!(drawn, [Growth::Latency]);
    }

    #[test]
    fn numbers_below_the_axis_keep_apart() {
        let run = ramp(&(1..=60).collect::<Vec<_>>());
        let ticks = Growth::Cpu.plot(&run, &Cell::all(&run)).unwrap().x_ticks;
        assert!((5..30).contains(&ticks.len()), "{ticks:?}");
        assert_eq!([grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }
}
