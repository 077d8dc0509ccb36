//! A run for a terminal: at most 100 columns, figures below each other, what it is worth at the end.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::bench::{
    comparison::{Comparison, Metric, compare},
    export::html::kinds,
    figures::{Cell, Errors, Percentile, Summary},
    measured::Measured,
    outcome::{Change, Conclusion},
    run::Run,
    stats::{Difference, Ratio, rounds_needed},
    verdict::{percent, show, show_rate},
};

/// No line is longer, unless a word is.
const WIDTH: usize = 100;
/// Columns of a histogram.
const BARS: usize = 60;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is drawn with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub color: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }
}

/// The whole report.
pub(super) fn render(run: &Run, conclusion: &Conclusion, style: Style) -> String {
    let mut text = String::new();
    let cells = Cell::all(run);
    let compared = compare(run);
    for phase in 0..run.phases.len() {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.phase == phase).collect();
        if cells.is_empty() {
            continue;
        }
        heading(run, phase, &cells, style, &mut text);
        for cell in &cells {
            target(run, cell, style, &mut text);
        }
        let compared: Vec<&Comparison> = compared.iter().filter(|one| one.phase == phase).collect();
        comparison(run, &compared, style, &mut text);
        let changes: Vec<&Change> = conclusion.changes.iter().filter(|change| change.phase == phase).collect();
        baseline(run, &changes, style, &mut text);
    }
    if let Some(end) = run.ramp_end() {
        text.push_str(&wrapped(&plain(&end), 0));
        text.push('\n');
    }
    if let Some(floor) = &run.floor {
        let of =
            |percentile: Percentile| percentile.of(&floor.latency).map_or("–".to_owned(), |nanos| show(nanos as f64));
        let _ = writeln!(
            text,
            "floor of this machine, an echo of {} B inside this process: p50 {}, p99 {}\n",
            floor.payload_bytes,
            of(Percentile::P50),
            of(Percentile::P99)
        );
    }
    verdict(run, conclusion, style, &mut text);
    text
}

fn heading(run: &Run, phase: usize, cells: &[&Cell], style: Style, text: &mut String) {
    let Some(done) = run.phases.get(phase) else { return };
    let rounds = cells.iter().map(|cell| cell.rounds).max().unwrap_or_default();
    let is_open = cells.iter().all(|cell| cell.merged.wanted_rate.is_some());
    let kind = if is_open { "" } else { ", closed loop: service time only" };
    let _ = writeln!(
        text,
        "{}: {}, {} connection{}, {rounds} round{}{kind}",
        style.bold(&plain(&done.name)),
        plain(&done.scenario),
        done.connections,
        plural(done.connections),
        plural(rounds.into()),
    );
    let mut header = format!("{:14}", "");
    for name in Percentile::ALL.iter().map(|percentile| percentile.name()).chain(["max", "samples"]) {
        let _ = write!(header, "{name:>11}");
    }
    let _ = writeln!(text, "{}", style.dim(&header));
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn target(run: &Run, cell: &Cell, style: Style, text: &mut String) {
    let all = &cell.merged;
    let _ = writeln!(text, "{} {}", style.bold(&format!("{}", cell.target + 1)), style.bold(&name(run, cell.target)));
    for (what, histogram) in kinds(all) {
        let Some(summary) = Summary::of(histogram) else { continue };
        let _ = write!(text, "  {what:12}");
        for value in summary.percentiles.into_iter().chain([Some(summary.max)]) {
            let shown = value.map_or_else(|| "–".to_owned(), |nanos| show(nanos as f64));
            let _ = write!(text, "{shown:>11}");
        }
        let _ = writeln!(text, "{:>11}", summary.count);
    }
    if let Some((bars, low, high)) = bars(all.latency()) {
        let _ = writeln!(text, "  {:12} {bars}  {} … {}", "", show(low), show(high));
    }
    for line in costs(all) {
        text.push_str(&wrapped(&line, 2));
    }
    for Errors { warmup, kind, count, first } in all.errors_by_kind() {
        let place = if warmup { "in the warm-up, not counted: " } else { "" };
        let line = format!("{place}{count} × {}: {}", kind.name(), plain(first));
        text.push_str(&style.bad(&wrapped(&line, 2)));
    }
    text.push('\n');
}

/// How often which latency, from the shortest to the longest on a logarithmic scale; heights are logarithmic too, so that the
/// few slow ones are seen beside the many.
fn bars(histogram: &Histogram<u64>) -> Option<(String, f64, f64)> {
    let low = (histogram.min().max(1) as f64).ln();
    let high = (histogram.max().max(1) as f64).ln();
    if histogram.len() < 20 || high - low < 1e-9 {
        return None;
    }
    let mut counts = [0u64; BARS];
    for value in histogram.iter_recorded() {
        let at = ((value.value_iterated_to().max(1) as f64).ln() - low) / (high - low);
        let bar = ((at * BARS as f64) as usize).min(BARS - 1);
        counts[bar] = counts[bar].saturating_add(value.count_at_value());
    }
    let most = counts.iter().copied().max().unwrap_or_default();
    let height = |count: u64| match count {
        0 => 0,
        count => 1 + ((count as f64).ln_1p() / (most as f64).ln_1p() * 7.0).round() as usize,
    };
    let drawn = counts.iter().map(|count| BLOCKS[height(*count).min(8)]).collect();
    Some((drawn, low.exp(), high.exp()))
}

fn costs(all: &Measured) -> Vec<String> {
    let mut rates = Vec::new();
    if let Some(wanted) = all.wanted_rate {
        rates.push(format!("{}/s wanted", show_rate(wanted)));
    }
    rates.extend(all.sent_rate().map(|rate| format!("{}/s sent", show_rate(rate))));
    rates.extend(all.achieved_rate().map(|rate| format!("{}/s answered", show_rate(rate))));
    rates.push(match all.error_count() {
        0 => "no errors".to_owned(),
        count => format!("{count} error{}", plural(count)),
    });
    let mut lines = vec![rates.join(", ")];
    let mut generator = Vec::new();
    generator.extend(all.generator_share().map(|share| format!("{} of a core", percent(share))));
    generator.extend(all.generator_cpu_nanos().map(|nanos| format!("{} a message", show(nanos))));
    generator.extend(all.run_queue_share().map(|share| format!("{} waiting for one", percent(share))));
    if !generator.is_empty() {
        lines.push(format!("generator: {}", generator.join(", ")));
    }
    if let Some(served) = all.served {
        let mut server = Vec::new();
        server.extend(all.served_cpu_nanos().map(|nanos| format!("{} CPU a message", show(nanos))));
        server.push(format!("peak memory {:.1} MiB", served.rss_peak as f64 / 1_048_576.0));
        server.extend(all.bytes_per_connection().map(|octets| format!("{octets:.0} B a connection")));
        lines.push(format!("server: {}", server.join(", ")));
    }
    lines
}

fn comparison(run: &Run, compared: &[&Comparison], style: Style, text: &mut String) {
    if compared.is_empty() {
        return;
    }
    let _ =
        writeln!(text, "compared with {} (ratio, and its interval over rounds)", style.bold(&name(run, run.reference)));
    if !run.interleaved {
        text.push_str(
            &style.dim("  the rounds were not taken in turn: a drift of the machine is part of every ratio\n"),
        );
    }
    for target in 0..run.targets.len() {
        let of_target: Vec<_> = compared.iter().filter(|one| one.target == target).collect();
        if of_target.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{} {}", style.bold(&format!("{}", target + 1)), style.bold(&name(run, target)));
        for one in &of_target {
            ratio(one.metric, &one.ratio, one.words(), style, text);
        }
        too_few(of_target.iter().map(|one| &one.ratio), style, text);
    }
    text.push('\n');
}

fn baseline(run: &Run, changes: &[&Change], style: Style, text: &mut String) {
    if changes.is_empty() {
        return;
    }
    let _ = writeln!(text, "beside the baseline (ratio to it, and its interval over rounds)");
    for target in 0..run.targets.len() {
        let of_target: Vec<_> = changes.iter().filter(|change| change.target == target).collect();
        if of_target.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{} {}", style.bold(&format!("{}", target + 1)), style.bold(&name(run, target)));
        for change in &of_target {
            let comparison = Comparison { target, phase: change.phase, metric: change.metric, ratio: change.ratio };
            ratio(change.metric, &change.ratio, comparison.words(), style, text);
        }
        too_few(of_target.iter().map(|change| &change.ratio), style, text);
    }
    text.push('\n');
}

fn ratio(metric: Metric, ratio: &Ratio, words: &str, style: Style, text: &mut String) {
    let interval = ratio.interval.map_or_else(String::new, |bounds| format!("{:.3} … {:.3}", bounds.low, bounds.high));
    let words = match words {
        "better" => style.good(words),
        "worse" => style.bad(words),
        _ => style.dim(words),
    };
    let _ = writeln!(text, "  {:18} {:>7.3}  {interval:17}  {words}", metric.name(), ratio.estimate);
}

fn too_few<'a>(ratios: impl Iterator<Item = &'a Ratio>, style: Style, text: &mut String) {
    let ratios: Vec<_> = ratios.collect();
    if ratios.iter().any(|ratio| ratio.difference() == Difference::Unknown) {
        let needed = rounds_needed(ratios.len());
        let most = ratios.iter().map(|ratio| ratio.rounds).max().unwrap_or_default();
        let line = if most < needed {
            format!("for an interval of {} figures it takes {needed} rounds (--rounds)", ratios.len())
        } else {
            format!(
                "a figure without an interval had samples enough in fewer than {needed} of {most} rounds: more or longer \
                 rounds (--rounds, -d)"
            )
        };
        text.push_str(&style.dim(&wrapped(&line, 2)));
    }
}

fn verdict(run: &Run, conclusion: &Conclusion, style: Style, text: &mut String) {
    for warning in &conclusion.verdict.warnings {
        text.push_str(&wrapped(&format!("note: {}", plain(warning)), 0));
    }
    if conclusion.verdict.is_valid() {
        let _ = writeln!(text, "{}", style.good("VALID"));
        return;
    }
    for finding in &conclusion.verdict.invalid {
        let phase = run.phases.get(finding.phase).map_or("", |phase| phase.name.as_str());
        let line = format!("INVALID: {} {}: {}", name(run, finding.target), plain(phase), finding.words);
        text.push_str(&style.bad(&wrapped(&line, 0)));
    }
}

/// A target's name, short enough for a line.
fn name(run: &Run, target: usize) -> String {
    let name = plain(run.targets.get(target).map_or("", |target| target.name.as_str()));
    if name.chars().count() <= WIDTH - 20 {
        return name;
    }
    let begin: String = name.chars().take(WIDTH - 21).collect();
    format!("{begin}…")
}

/// Words of a peer or a file, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// In lines of at most [`WIDTH`], the first set in by `indent`, the others by two more.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(indent + 2);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::{
        measured::ErrorKind,
        outcome::{Checks, conclude},
        run::Floor,
        synthetic::{closed_loop, nothing, open_loop, run_of},
    };

    fn text_of(run: &Run) -> String {
        render(run, &conclude(run, &Checks::default()).unwrap(), Style { color: false })
    }

    #[test]
    fn a_report_says_everything_within_a_hundred_columns() {
        let mut values = (1u64..).map(|n| 40_000 + n * 7_919 % 90_000);
        let mut broken = open_loop(2_000, || values.next().unwrap());
        broken.warmup_errors.insert(ErrorKind::WrongEcho, (2, "differs".to_owned()));
        broken.errors.insert(ErrorKind::Closed, (3, format!("the peer closed {}", "with many words ".repeat(12))));
        let mut run = run_of(vec![vec![broken; 10], vec![open_loop(2_000, || 50_000); 10]]);
        run.targets[1].name = format!("ws://127.0.0.1/{}", "long/".repeat(40));
        run.floor = Some(Floor {
            payload_bytes: 64,
            wanted_rate: None,
            latency: closed_loop(2_000, || 20_000).service,
            lateness: crate::bench::histogram(),
            cpu_per_message: Some(Duration::from_micros(1)),
        });
        let text = text_of(&run);
        for word in [
            "64B: echo, 4 connections, 10 rounds",
            "p99.99",
            "response",
            "█",
            "10000/s wanted, 10000/s sent, 10000/s answered",
            "30 × closed: the peer closed",
            "in the warm-up, not counted: 20 × wrong_echo: differs",
            ": 20 errors in the warm-up",
            "25.0 % of a core",
            "20.0 µs CPU a message",
            "peak memory 5.0 MiB, 512 B a connection",
            "compared with ws://127.0.0.1:9000/",
            "floor of this machine",
            "no difference seen",
            "better",
            "VALID",
        ] {
            assert!(text.contains(word), "{word} in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\x1b') && !text.contains("NaN"), "{text}");
        assert!(text.trim_end().ends_with("VALID"), "the verdict is last");
    }

    #[test]
    fn a_closed_loop_says_what_it_is_and_an_invalid_run_why() {
        let text = text_of(&run_of(vec![vec![closed_loop(50, || 50_000)]]));
        assert!(text.contains("closed loop: service time only"), "{text}");
        assert!(text.contains("INVALID: ws://127.0.0.1:9000/ 64B: 50 samples"), "{text}");
        let text = text_of(&run_of(vec![vec![nothing()], vec![nothing()]]));
        assert!(text.contains("INVALID") && !text.contains("NaN"), "{text}");
        assert_eq!(text_of(&run_of(vec![])), "VALID\n");
    }

    #[test]
    fn a_slow_rate_is_not_shown_as_none() {
        let mut slow = open_loop(2_000, || 50_000);
        slow.wall = Duration::from_secs(4_000);
        slow.wanted_rate = Some(0.5);
        let text = text_of(&run_of(vec![vec![slow]]));
        assert!(text.contains("0.5/s wanted, 0.5/s sent, 0.5/s answered"), "{text}");
    }

    #[test]
    fn colours_come_when_asked_for_and_control_characters_never() {
        let mut run = run_of(vec![vec![open_loop(2_000, || 50_000)]]);
        run.targets[0].name = "a\x1b[31mb\n".to_owned();
        assert!(!text_of(&run).contains('\x1b'));
        let painted = render(&run, &conclude(&run, &Checks::default()).unwrap(), Style { color: true });
        assert!(painted.contains("\x1b[1m"));
    }
}
