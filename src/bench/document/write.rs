//! From a run to its document.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::{Document, SCHEMA_NAME, codec, parts};
use crate::bench::{
    comparison::compare,
    figures::{Cell, Percentile, Summary, nanos},
    fingerprint::Fingerprint,
    measured::{Interval, Measured},
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
        workload: parts::Workload {
            rounds: run.workload.rounds,
            random_arrivals: run.workload.random_arrivals,
            settings: run.workload.settings.clone(),
        },
        machines: run.machines.iter().map(machine).collect(),
        floor: run.floor.as_ref().map(floor),
        targets: run
            .targets
            .iter()
            .map(|target| parts::Target { name: target.name.clone(), url: target.url.clone(), pid: target.pid })
            .collect(),
        reference: run.reference,
        interleaved: run.interleaved,
        phases: run
            .phases
            .iter()
            .map(|phase| parts::Phase {
                name: phase.name.clone(),
                scenario: phase.scenario.clone(),
                payload_bytes: phase.payload_bytes,
                connections: phase.connections,
            })
            .collect(),
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

fn machine(machine: &Fingerprint) -> parts::Machine {
    parts::Machine {
        host: machine.host.clone(),
        cpu: machine.cpu.clone(),
        cores: machine.cores,
        memory_bytes: machine.memory_bytes,
        kernel: machine.kernel.clone(),
        architecture: machine.architecture.clone(),
        load: machine.load.filter(|load| load.is_finite()),
        governor: machine.governor.clone(),
        clock_source: machine.clock_source.clone(),
        virtualisation: machine.virtualisation.clone(),
        open_files_max: machine.open_files_max,
        port_range: machine.port_range,
        somaxconn: machine.somaxconn,
        wslab_version: machine.wslab_version.clone(),
        wslab_commit: machine.wslab_commit.clone(),
        debug_build: machine.debug_build,
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
        errors: measured
            .errors_by_kind()
            .map(|(kind, count, first)| parts::Counted { kind: kind.name().to_owned(), count, first: first.to_owned() })
            .collect(),
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
