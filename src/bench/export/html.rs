//! The run as one page that needs nothing else: no script, no font, no picture from anywhere; a policy in its head forbids
//! even the attempt. Plots are SVG (`html/plots.rs`), figures are in tables (`html/tables.rs`), every word of a peer or user is escaped.

mod plots;
mod tables;

use std::fmt::Write as _;

use super::{
    growth,
    plot::{self, COLOURS},
};
use crate::bench::{
    comparison::{Comparison, compare},
    figures::Cell,
    run::Run,
    verdict::{Verdict, show},
};
pub use tables::{facts, kinds};

const STYLE: &str = include_str!("page.css");

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
    if let Some(end) = run.ramp_end() {
        let _ = write!(page, "<p>{}</p>", escape(&end));
    }
    page += &growth::section(run, &cells);
    for phase in 0..run.phases.len() {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.phase == phase).collect();
        if !cells.is_empty() {
            self::phase(run, phase, &cells, &compared, &mut page);
        }
    }
    tables::machines(run, &mut page);
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
    *page += &plots::curve(run, cells, kind).render();
    *page += "<h3>Latency over time</h3><p class=\"soft\">Medians of each interval; dotted: its longest. A target's rounds are put end to end.</p>";
    *page += &plots::over_time(run, phase, cells).render();
    tables::latencies(run, cells, page);
    tables::costs(run, cells, page);
    tables::comparison(run, phase, compared, page);
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
        broken.warmup_errors.insert(ErrorKind::WrongEcho, (2, EVIL.to_owned()));
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
        assert!(page.contains("wrong_echo (warm-up, not counted)</td><td>20<"));
    }

    #[test]
    fn what_measured_nothing_is_a_page_too() {
        for run in [run_of(vec![]), run_of(vec![vec![nothing()]]), run_of(vec![vec![open_loop(5, || 1)]])] {
            let page = render(&run);
            assert!(page.contains("INVALID") || run.targets.is_empty());
            assert!(page.ends_with("</html>\n") && !page.contains("NaN"), "{page}");
        }
    }
}
