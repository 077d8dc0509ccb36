//! The tables of the page: times, rates and costs, errors, ratios, and what is known of the machines.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::{escape, key};
use crate::bench::{
    comparison::Comparison,
    figures::{Cell, Errors, Percentile, Summary},
    fingerprint::Fingerprint,
    measured::Measured,
    run::Run,
    stats::Difference,
    verdict::{percent, show, show_rate},
};

pub(super) fn latencies(run: &Run, cells: &[&Cell], page: &mut String) {
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

pub(super) fn costs(run: &Run, cells: &[&Cell], page: &mut String) {
    *page += "<h3>Rates and costs</h3><div class=\"wide\"><table><tr><th>target</th><th>wanted/s</th><th>sent/s</th><th>answered/s</th><th>errors</th>\
              <th>generator CPU</th><th>a message</th><th>without core</th><th>server CPU a message</th><th>peak memory</th><th>a connection</th></tr>";
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let mut errors = String::new();
    for cell in cells {
        let all = &cell.merged;
        let _ = write!(page, "<tr><td class=\"url\">{}</td>", key(run, cell.target));
        for value in [
            all.wanted_rate.map(show_rate),
            all.sent_rate().map(show_rate),
            all.achieved_rate().map(show_rate),
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
        for Errors { warmup, kind, count, first } in all.errors_by_kind() {
            let _ = write!(
                errors,
                "<tr><td class=\"url\">{}</td><td>{}{}</td><td>{count}</td><td class=\"say\">{}</td></tr>",
                key(run, cell.target),
                kind.name(),
                if warmup { " (warm-up, not counted)" } else { "" },
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

pub(super) fn comparison(run: &Run, phase: usize, compared: &[Comparison], page: &mut String) {
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

pub(super) fn machines(run: &Run, page: &mut String) {
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
        ("congestion control", machine.congestion.clone()),
        ("wslab", Some(format!("{}{commit}{debug}", machine.wslab_version))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}
