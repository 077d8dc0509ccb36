//! The run over time as CSV (RFC 4180): a line for each interval of each piece, in order of time. Percentiles that have
//! too few samples behind them are empty.

use crate::bench::{
    figures::{Percentile, Summary, quotient},
    run::Run,
};

/// The first line. Seconds count from the beginning of the run; latency is response time in an open loop, service time in a closed one.
pub const HEADER: &str = "target,phase,round,machine,begins_s,length_s,sent,completed,errors,completed_per_s,\
    latency_kind,min_ns,p50_ns,p90_ns,p99_ns,p99.9_ns,max_ns";

/// Percentiles of an interval; one in 10,000 is not to be had of so few.
const PERCENTILES: [Percentile; 4] = [Percentile::P50, Percentile::P90, Percentile::P99, Percentile::P99_9];

/// The whole table.
pub fn render(run: &Run) -> String {
    let mut rows = Vec::new();
    for piece in &run.pieces {
        let measured = &piece.measured;
        let began = measured.started.duration_since(run.began).unwrap_or_default();
        let target = run.targets.get(piece.target).map_or("", |target| target.name.as_str());
        let phase = run.phases.get(piece.phase).map_or("", |phase| phase.name.as_str());
        let kind = if measured.wanted_rate.is_some() { "response" } else { "service" };
        for interval in &measured.series {
            let begins = began.saturating_add(interval.begins);
            let summary = Summary::of(&interval.latency);
            let mut row = vec![
                quoted(target),
                quoted(phase),
                piece.round.to_string(),
                piece.machine.to_string(),
                format!("{:.6}", begins.as_secs_f64()),
                format!("{:.6}", interval.length.as_secs_f64()),
                interval.sent.to_string(),
                interval.completed.to_string(),
                interval.errors.to_string(),
                shown(
                    quotient(interval.completed as f64, interval.length.as_secs_f64()).map(|rate| format!("{rate:.1}")),
                ),
                kind.to_owned(),
                shown(summary.map(|summary| summary.min)),
            ];
            row.extend(PERCENTILES.map(|percentile| shown(percentile.of(&interval.latency))));
            row.push(shown(summary.map(|summary| summary.max)));
            rows.push((begins, row.join(",")));
        }
    }
    rows.sort_by_key(|(begins, _)| *begins);
    let mut text = format!("{HEADER}\r\n");
    for (_, row) in rows {
        text += &row;
        text += "\r\n";
    }
    text
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::synthetic::{nothing, open_loop, run_of};

    #[test]
    fn each_interval_is_a_line_in_order_of_time() {
        let mut run = run_of(vec![vec![open_loop(2_000, || 50_000)], vec![open_loop(10, || 70_000)]]);
        run.targets[1].name = "a \"b\", c".to_owned();
        run.pieces[0].measured.started += std::time::Duration::from_secs(5);
        let text = render(&run);
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].split(',').count(), 17);
        assert!(lines[1].starts_with("\"a \"\"b\"\", c\",64B,0,0,0.123456,"), "{}", lines[1]);
        assert!(lines[1].contains(",response,69952,,,,,70015"), "too few samples: {}", lines[1]);
        assert!(lines[2].contains(",5.123456,0.200000,2000,2000,0,10000.0,response,"), "{}", lines[2]);
        assert_eq!(lines[2].split(',').count(), 17);
        assert_eq!(render(&run_of(vec![vec![nothing()]])).lines().count(), 1);
    }
}
