//! The run as one page that needs nothing else: no script, no font, no picture from anywhere; a policy in its head forbids
//! even the attempt. Plots are SVG, every word of a peer or user is escaped.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::{
    growth,
    plot::{self, COLOURS, Line, Plot},
    scale::{Scale, Unit, step},
};
use crate::bench::{
    comparison::{Comparison, compare},
    figures::{Cell, Percentile, SAMPLES_BEYOND, Summary},
    fingerprint::Fingerprint,
    measured::Measured,
    run::Run,
    stats::Difference,
    verdict::{Verdict, percent, show},
};

const STYLE: &str = include_str!("page.css");
/// Points of a percentile curve in each decade of "one in so many is slower".
const POINTS_A_DECADE: u32 = 20;
/// Of a line over time, at most so many points are drawn: more would not be seen.
const POINTS_MAX: usize = 2_000;

/// The page.
pub fn render(run: &Run) -> String {
    let cells = Cell::all(run);
    let compared = compare(run);
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>wslab bench</title><style>",
    );
    page += plot::STYLE;
    page += STYLE;
    page += "</style></head><body>";
    head(run, &mut page);
    verdict(run, &Verdict::of(run), &mut page);
    page += &growth::section(run, &cells);
    for phase in 0..run.phases.len() {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.phase == phase).collect();
        if !cells.is_empty() {
            self::phase(run, phase, &cells, &compared, &mut page);
        }
    }
    machines(run, &mut page);
    page + "</body></html>\n"
}

/// Text as HTML and as the value of an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() && c != '\n' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

fn head(run: &Run, page: &mut String) {
    let targets = run.targets.len();
    let settings: Vec<String> =
        run.workload.settings.iter().map(|(name, value)| format!("{} {}", escape(name), escape(value))).collect();
    let _ = write!(
        page,
        "<h1>wslab bench</h1><p class=\"soft\">{} · {targets} target{} · {} round{}{} · took {}</p><p class=\"soft\">{}</p>",
        date(run),
        plural(targets as u64),
        run.workload.rounds,
        plural(run.workload.rounds.into()),
        if run.interleaved && targets > 1 { " in turn" } else { "" },
        show(run.elapsed.as_nanos() as f64),
        settings.join(" · ")
    );
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// `Sat, 21 Nov 2026 07:05:19 GMT`; a moment before 1970 or after 9999 has none.
fn date(run: &Run) -> String {
    let since = run.began.duration_since(std::time::UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs());
    if since < 253_402_300_800 { httpdate::fmt_http_date(run.began) } else { "at an unknown time".to_owned() }
}

fn verdict(run: &Run, verdict: &Verdict, page: &mut String) {
    let (class, word) = if verdict.is_valid() { ("verdict", "VALID") } else { ("verdict bad", "INVALID") };
    let _ = write!(page, "<div class=\"{class}\"><b>{word}</b>");
    if verdict.is_valid() {
        *page += ": the generator was not the bottleneck, the rate was met, the samples are enough.";
    }
    *page += "<ul>";
    for finding in &verdict.invalid {
        let target = run.targets.get(finding.target).map_or("", |target| target.name.as_str());
        let phase = run.phases.get(finding.phase).map_or("", |phase| phase.name.as_str());
        let _ =
            write!(page, "<li class=\"worse\">{} {}: {}</li>", escape(target), escape(phase), escape(&finding.words));
    }
    for warning in &verdict.warnings {
        let _ = write!(page, "<li>{}</li>", escape(warning));
    }
    *page += "</ul></div>";
}

fn phase(run: &Run, phase: usize, cells: &[&Cell], compared: &[Comparison], page: &mut String) {
    let Some(done) = run.phases.get(phase) else { return };
    let is_open = cells.iter().all(|cell| cell.merged.wanted_rate.is_some());
    let kind = if is_open { "response time" } else { "closed loop: service time only" };
    let _ = write!(
        page,
        "<h2>{}</h2><p class=\"soft\">{}, {} connection{}, {kind}</p>",
        escape(&done.name),
        escape(&done.scenario),
        done.connections,
        plural(done.connections)
    );
    legend(run, cells, page);
    *page += "<h3>Latency by percentile</h3>";
    *page += &curve(run, cells, kind).render();
    *page += "<h3>Latency over time</h3><p class=\"soft\">Medians of each interval; dotted: its longest. A target's rounds are put end to end.</p>";
    *page += &over_time(run, phase, cells).render();
    latencies(run, cells, page);
    costs(run, cells, page);
    comparison(run, phase, compared, page);
}

fn key(run: &Run, target: usize) -> String {
    let name = run.targets.get(target).map_or("", |target| target.name.as_str());
    format!("<span class=\"key c{}\"></span>{}", target % COLOURS, escape(name))
}

fn legend(run: &Run, cells: &[&Cell], page: &mut String) {
    *page += "<div class=\"legend\">";
    for cell in cells {
        let _ = write!(page, "<span>{}</span>", key(run, cell.target));
    }
    *page += "</div>";
}

fn curve(run: &Run, cells: &[&Cell], kind: &str) -> Plot {
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

fn over_time(run: &Run, phase: usize, cells: &[&Cell]) -> Plot {
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

fn latencies(run: &Run, cells: &[&Cell], page: &mut String) {
    *page += "<h3>Times</h3><div class=\"wide\"><table><tr><th>target</th><th class=\"left\">what</th>";
    for percentile in Percentile::ALL {
        let _ = write!(page, "<th>{}</th>", percentile.name());
    }
    *page += "<th>max</th><th>samples</th></tr>";
    for cell in cells {
        let mut name = key(run, cell.target);
        for (what, histogram) in kinds(&cell.merged) {
            let Some(summary) = Summary::of(histogram) else { continue };
            let _ =
                write!(page, "<tr><td class=\"url\">{}</td><td class=\"left\">{what}</td>", std::mem::take(&mut name));
            for value in summary.percentiles {
                match value {
                    Some(nanos) => {
                        let _ = write!(page, "<td>{}</td>", show(nanos as f64));
                    }
                    None => *page += "<td class=\"soft\" title=\"fewer than 10 samples beyond it\">–</td>",
                }
            }
            let _ = write!(page, "<td>{}</td><td>{}</td></tr>", show(summary.max as f64), summary.count);
        }
    }
    *page += "</table></div>";
}

/// Every distribution of a piece with the word for it.
pub fn kinds(measured: &Measured) -> [(&'static str, &Histogram<u64>); 5] {
    [
        ("response", &measured.response),
        ("service", &measured.service),
        ("late", &measured.lateness),
        ("handshake", &measured.handshake),
        ("loop turns", &measured.turns),
    ]
}

fn costs(run: &Run, cells: &[&Cell], page: &mut String) {
    *page += "<h3>Rates and costs</h3><div class=\"wide\"><table><tr><th>target</th><th>wanted/s</th><th>sent/s</th><th>answered/s</th><th>errors</th>\
              <th>generator CPU</th><th>a message</th><th>without core</th><th>server CPU a message</th><th>peak memory</th><th>a connection</th></tr>";
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let mut errors = String::new();
    for cell in cells {
        let all = &cell.merged;
        let _ = write!(page, "<tr><td class=\"url\">{}</td>", key(run, cell.target));
        for value in [
            all.wanted_rate.map(|rate| format!("{rate:.0}")),
            all.sent_rate().map(|rate| format!("{rate:.0}")),
            all.achieved_rate().map(|rate| format!("{rate:.0}")),
            Some(all.error_count().to_string()),
            all.generator_share().map(percent),
            all.generator_cpu_nanos().map(show),
            all.run_queue_share().map(percent),
            all.served_cpu_nanos().map(show),
            all.served.map(|served| format!("{:.1} MiB", served.rss_peak as f64 / 1_048_576.0)),
            all.bytes_per_connection().map(|octets| format!("{octets:.0} B")),
        ] {
            let _ = write!(page, "<td>{}</td>", or_none(value));
        }
        *page += "</tr>";
        for (kind, count, first) in all.errors_by_kind() {
            let _ = write!(
                errors,
                "<tr><td class=\"url\">{}</td><td>{}</td><td>{count}</td><td class=\"say\">{}</td></tr>",
                key(run, cell.target),
                kind.name(),
                escape(first)
            );
        }
    }
    *page += "</table></div>";
    if !errors.is_empty() {
        let _ = write!(
            page,
            "<h3>Errors</h3><div class=\"wide\"><table><tr><th>target</th><th>kind</th><th>count</th><th class=\"left\">the first</th></tr>{errors}</table></div>"
        );
    }
}

fn comparison(run: &Run, phase: usize, compared: &[Comparison], page: &mut String) {
    let of_phase = || compared.iter().filter(|one| one.phase == phase);
    if of_phase().next().is_none() {
        return;
    }
    let _ = write!(
        page,
        "<h3>Beside {}</h3><p class=\"soft\">Ratios over rounds with confidence intervals; all figures of a target hold together with 97 %.{}</p>\
         <div class=\"wide\"><table><tr><th>target</th><th class=\"left\">figure</th><th>ratio</th><th>interval</th><th>rounds</th><th class=\"left\"></th></tr>",
        escape(run.targets.get(run.reference).map_or("", |target| target.name.as_str())),
        if run.interleaved {
            ""
        } else {
            " The rounds were not taken in turn: a drift of the machine is part of them."
        }
    );
    for one in of_phase() {
        let class = match one.words() {
            words @ ("better" | "worse") => words,
            _ => "soft",
        };
        let interval = one.ratio.interval.map(|bounds| format!("{:.3} … {:.3}", bounds.low, bounds.high));
        let _ = write!(
            page,
            "<tr><td class=\"url\">{}</td><td class=\"left\">{}</td><td>{:.3}</td><td>{}</td><td>{}</td><td class=\"left {class}\">{}</td></tr>",
            key(run, one.target),
            one.metric.name(),
            one.ratio.estimate,
            interval.unwrap_or_else(|| "–".to_owned()),
            one.ratio.rounds,
            if one.ratio.difference() == Difference::Unknown { "too few rounds to tell" } else { one.words() }
        );
    }
    *page += "</table></div>";
}

fn machines(run: &Run, page: &mut String) {
    *page += "<h2>Machine</h2>";
    if let Some(floor) = &run.floor {
        let p50 = Percentile::P50.of(&floor.latency).map(|nanos| show(nanos as f64));
        let p99 = Percentile::P99.of(&floor.latency).map(|nanos| show(nanos as f64));
        let _ = write!(
            page,
            "<p>Floor, an echo of {} octets by nobody but this process: p50 {}, p99 {}.</p>",
            floor.payload_bytes,
            p50.unwrap_or_else(|| "–".to_owned()),
            p99.unwrap_or_else(|| "–".to_owned())
        );
    }
    for machine in &run.machines {
        *page += "<div class=\"wide\"><table>";
        for (name, value) in facts(machine) {
            let _ = write!(page, "<tr><td>{name}</td><td class=\"say\">{}</td></tr>", escape(&value));
        }
        *page += "</table></div>";
    }
}

/// What is known of a machine, in words.
pub fn facts(machine: &Fingerprint) -> Vec<(&'static str, String)> {
    let commit = machine.wslab_commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let debug = if machine.debug_build { ", without optimisation" } else { "" };
    [
        ("host", machine.host.clone()),
        ("CPU", machine.cpu.as_ref().map(|cpu| format!("{cpu}, {} cores, {}", machine.cores, machine.architecture))),
        ("memory", machine.memory_bytes.map(|octets| format!("{:.1} GiB", octets as f64 / 1_073_741_824.0))),
        ("kernel", machine.kernel.clone()),
        ("virtualised by", machine.virtualisation.clone()),
        ("load before", machine.load.map(|load| format!("{load:.2}"))),
        ("governor", machine.governor.clone()),
        ("clock source", machine.clock_source.clone()),
        ("open files", machine.open_files_max.map(|files| files.to_string())),
        ("ports", machine.port_range.map(|(first, last)| format!("{first} to {last}"))),
        ("somaxconn", machine.somaxconn.map(|count| count.to_string())),
        ("wslab", Some(format!("{}{commit}{debug}", machine.wslab_version))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        measured::ErrorKind,
        synthetic::{nothing, open_loop, run_of},
    };

    const EVIL: &str = "</style></title><script>alert('1')</script><img src=x onerror=\"x\">&";

    #[test]
    fn a_page_needs_nothing_from_outside_and_runs_nothing() {
        let mut broken = open_loop(2_000, || 50_000);
        broken.errors.insert(ErrorKind::Protocol, (3, EVIL.to_owned()));
        let mut run = run_of(vec![vec![broken; 10], vec![open_loop(2_000, || 90_000); 10]]);
        run.targets[1].name = EVIL.to_owned();
        run.phases[0].name = EVIL.to_owned();
        run.machines[0].cpu = Some(EVIL.to_owned());
        run.workload.settings.insert(EVIL.to_owned(), EVIL.to_owned());
        let page = render(&run);
        for word in ["<script", "<img", " href=", "@import", "url(", "onerror=\"", "NaN", "inf "] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"));
        assert!(page.contains("default-src 'none'"));
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.contains(">worse<"), "a comparison");
    }

    #[test]
    fn what_measured_nothing_is_a_page_too() {
        for run in [run_of(vec![]), run_of(vec![vec![nothing()]]), run_of(vec![vec![open_loop(5, || 1)]])] {
            let page = render(&run);
            assert!(page.contains("INVALID") || run.targets.is_empty());
            assert!(page.ends_with("</html>\n") && !page.contains("NaN"), "{page}");
        }
    }

    #[test]
    fn the_curve_ends_where_ten_samples_are_beyond() {
        let measured = open_loop(10_000, || 50_000);
        let points = points(measured.latency());
        assert!((points.last().unwrap().0 - 3.0).abs() < 1e-9, "{points:?}");
        assert!(super::points(open_loop(9, || 1).latency()).is_empty());
    }
}
