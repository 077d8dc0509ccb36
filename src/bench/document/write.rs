//! From a run to its document.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use hdrhistogram::Histogram;

use super::{Document, SCHEMA_NAME, codec, parts};
use crate::bench::{
    comparison::compare,
    figures::{Cell, Percentile, Summary, nanos},
    measured::{ErrorKind, Interval, Measured},
    run::{Floor, Run},
    stats::Difference,
    verdict::Verdict,
};

pub(super) fn document(run: &Run) -> Document {
    Document {
        schema: SCHEMA_NAME.to_owned(),
        began_unix_us: unix_us(run.began),
        elapsed_ns: nanos(run.elapsed),
        interrupted: run.interrupted,
        workload: run.workload.clone(),
        machines: run.machines.clone(),
        floor: run.floor.as_ref().map(floor),
        targets: run.targets.clone(),
        reference: run.reference,
        interleaved: run.interleaved,
        phases: run.phases.clone(),
        until: run.until.clone(),
        results: Cell::all(run)
            .iter()
            .map(|cell| parts::Result {
                target: cell.target,
                phase: cell.phase,
                rounds: cell.rounds,
                measured: measured(&cell.merged),
            })
            .collect(),
        comparison: compare(run)
            .iter()
            .map(|one| parts::Comparison {
                target: one.target,
                phase: one.phase,
                metric: one.metric.name(),
                rounds: one.ratio.rounds,
                ratio: one.ratio.estimate,
                low: one.ratio.interval.map(|bounds| bounds.low),
                high: one.ratio.interval.map(|bounds| bounds.high),
                level: one.ratio.interval.map(|bounds| bounds.level),
                difference: match one.ratio.difference() {
                    Difference::NoneSeen => "none_seen",
                    Difference::Less => "less",
                    Difference::More => "more",
                    Difference::Unknown => "unknown",
                },
                words: one.words(),
            })
            .collect(),
        verdict: verdict(&Verdict::of(run)),
        pieces: run
            .pieces
            .iter()
            .map(|piece| parts::Piece {
                target: piece.target,
                phase: piece.phase,
                round: piece.round,
                machine: piece.machine,
                measured: measured(&piece.measured),
                series: piece.measured.series.iter().map(interval).collect(),
            })
            .collect(),
    }
}

fn floor(floor: &Floor) -> parts::Floor {
    parts::Floor {
        payload_bytes: floor.payload_bytes,
        wanted_rate: finite(floor.wanted_rate),
        latency: latency(&floor.latency),
        lateness: latency(&floor.lateness),
        cpu_per_message_ns: floor.cpu_per_message.map(nanos),
    }
}

fn verdict(verdict: &Verdict) -> parts::Verdict {
    parts::Verdict {
        valid: verdict.is_valid(),
        invalid: verdict
            .invalid
            .iter()
            .map(|finding| parts::Finding {
                reason: finding.reason.name(),
                target: finding.target,
                phase: finding.phase,
                words: finding.words.clone(),
            })
            .collect(),
        warnings: verdict.warnings.clone(),
    }
}

fn measured(measured: &Measured) -> parts::Measured {
    parts::Measured {
        started_unix_us: unix_us(measured.started),
        wall_ns: nanos(measured.wall),
        connections: measured.connections,
        sent: measured.sent,
        completed: measured.completed,
        payload_bytes_sent: measured.payload_bytes_sent,
        payload_bytes_received: measured.payload_bytes_received,
        wanted_rate: finite(measured.wanted_rate),
        sent_rate: measured.sent_rate(),
        achieved_rate: measured.achieved_rate(),
        response: latency(&measured.response),
        service: latency(&measured.service),
        lateness: latency(&measured.lateness),
        handshake: latency(&measured.handshake),
        turns: (!measured.turns.is_empty()).then(|| latency(&measured.turns)),
        errors: counted(&measured.errors),
        warmup_errors: counted(&measured.warmup_errors),
        generator: parts::Generator {
            cpu_ns: nanos(measured.generator.cpu),
            wall_ns: nanos(measured.generator.wall),
            run_queue_ns: nanos(measured.generator.run_queue),
            cpu_share: measured.generator_share(),
            cpu_per_message_ns: measured.generator_cpu_nanos(),
        },
        served: measured.served.map(|served| parts::Served {
            cpu_ns: nanos(served.cpu),
            answers: served.answers,
            rss_before_bytes: served.rss_before,
            rss_connected_bytes: served.rss_connected,
            rss_peak_bytes: served.rss_peak,
            cpu_per_message_ns: measured.served_cpu_nanos(),
            bytes_per_connection: measured.bytes_per_connection(),
        }),
    }
}

fn counted(errors: &BTreeMap<ErrorKind, (u64, String)>) -> Vec<parts::Counted> {
    let all = errors.iter();
    all.map(|(kind, (count, first))| parts::Counted {
        kind: kind.name().to_owned(),
        count: *count,
        first: first.clone(),
    })
    .collect()
}

fn interval(interval: &Interval) -> parts::Interval {
    parts::Interval {
        begins_ns: nanos(interval.begins),
        length_ns: nanos(interval.length),
        sent: interval.sent,
        completed: interval.completed,
        errors: interval.errors,
        latency: codec::encode(&interval.latency),
    }
}

fn latency(histogram: &Histogram<u64>) -> parts::Latency {
    let summary = Summary::of(histogram);
    let percentile = |percentile: Percentile| {
        percentile
            .of(histogram)
            .map(|ns| parts::PercentileValue { ns, samples_beyond: percentile.samples_beyond(histogram.len()) })
    };
    parts::Latency {
        count: histogram.len(),
        min_ns: summary.map(|summary| summary.min),
        mean_ns: summary.map(|summary| summary.mean),
        max_ns: summary.map(|summary| summary.max),
        percentiles: Percentile::ALL.map(|one| (one.name(), percentile(one))).into(),
        histogram: codec::encode(histogram),
    }
}

/// NaN and infinity have no JSON.
fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

fn unix_us(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
