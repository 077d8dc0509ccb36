//! From a document back to its run. What a file says is checked before it is used; what it derived is made anew.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::Deserialize;

use super::{Document, SCHEMA_NAME, codec, parts};
use crate::bench::{
    measured::{ErrorKind, Interval, Measured, Served, Usage},
    run::{Floor, Piece, Run},
};

/// Why a document is none.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not even JSON, or it ends too early.
    #[error("it is no JSON, or ends too early ({0})")]
    Json(String),
    /// JSON of something else.
    #[error("it is no result of wslab bench: it has no \"schema\"")]
    NoSchema,
    /// A result, but not of a kind that is known.
    #[error("it has the schema {0:?}, and this wslab reads \"wslab.bench/1\"")]
    OtherSchema(String),
    /// Of the right schema, and yet not as that demands.
    #[error("it does not keep to the schema wslab.bench/1 ({0})")]
    Shape(String),
    /// A histogram can not be read.
    #[error("{0}")]
    Histogram(&'static str),
    /// An index points at nothing, or a kind of error is not known.
    #[error("it does not hang together: {0}")]
    Incoherent(&'static str),
}

/// What is looked at first, whatever the rest is.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

pub(super) fn parse(text: &[u8]) -> Result<Run, DocumentError> {
    let head: Head = serde_json::from_slice(text).map_err(|error| {
        if error.is_data() { DocumentError::NoSchema } else { DocumentError::Json(error.to_string()) }
    })?;
    match head.schema {
        None => return Err(DocumentError::NoSchema),
        Some(name) if name == SCHEMA_NAME => {}
        Some(other) => return Err(DocumentError::OtherSchema(other.chars().take(64).collect())),
    }
    let document: Document = serde_json::from_slice(text).map_err(|error| DocumentError::Shape(error.to_string()))?;
    let run = run(document)?;
    if !run.is_coherent() {
        return Err(DocumentError::Incoherent("an index of a target, phase or machine points at nothing"));
    }
    Ok(run)
}

fn run(document: Document) -> Result<Run, DocumentError> {
    let floor = match document.floor {
        Some(floor) => Some(Floor {
            payload_bytes: floor.payload_bytes,
            wanted_rate: floor.wanted_rate,
            latency: histogram(&floor.latency.histogram)?,
            lateness: histogram(&floor.lateness.histogram)?,
            cpu_per_message: floor.cpu_per_message_ns.map(Duration::from_nanos),
        }),
        None => None,
    };
    Ok(Run {
        began: moment(document.began_unix_us),
        elapsed: Duration::from_nanos(document.elapsed_ns),
        interrupted: document.interrupted,
        workload: document.workload,
        machines: document.machines,
        floor,
        targets: document.targets,
        reference: document.reference,
        interleaved: document.interleaved,
        phases: document.phases,
        until: document.until,
        pieces: document.pieces.into_iter().map(piece).collect::<Result<_, _>>()?,
    })
}

fn piece(piece: parts::Piece) -> Result<Piece, DocumentError> {
    let measured = piece.measured;
    let mut series = Vec::with_capacity(piece.series.len());
    for one in piece.series {
        series.push(Interval {
            begins: Duration::from_nanos(one.begins_ns),
            length: Duration::from_nanos(one.length_ns),
            sent: one.sent,
            completed: one.completed,
            errors: one.errors,
            latency: histogram(&one.latency)?,
        });
    }
    Ok(Piece {
        target: piece.target,
        phase: piece.phase,
        round: piece.round,
        machine: piece.machine,
        measured: Measured {
            started: moment(measured.started_unix_us),
            wall: Duration::from_nanos(measured.wall_ns),
            connections: measured.connections,
            sent: measured.sent,
            completed: measured.completed,
            payload_bytes_sent: measured.payload_bytes_sent,
            payload_bytes_received: measured.payload_bytes_received,
            wanted_rate: measured.wanted_rate,
            response: histogram(&measured.response.histogram)?,
            service: histogram(&measured.service.histogram)?,
            lateness: histogram(&measured.lateness.histogram)?,
            handshake: histogram(&measured.handshake.histogram)?,
            turns: match measured.turns {
                Some(turns) => histogram(&turns.histogram)?,
                None => crate::bench::histogram(),
            },
            series,
            errors: counted(measured.errors)?,
            warmup_errors: counted(measured.warmup_errors)?,
            generator: Usage {
                cpu: Duration::from_nanos(measured.generator.cpu_ns),
                wall: Duration::from_nanos(measured.generator.wall_ns),
                run_queue: Duration::from_nanos(measured.generator.run_queue_ns),
            },
            served: measured.served.map(|served| Served {
                cpu: Duration::from_nanos(served.cpu_ns),
                answers: served.answers,
                rss_before: served.rss_before_bytes,
                rss_connected: served.rss_connected_bytes,
                rss_peak: served.rss_peak_bytes,
            }),
        },
    })
}

fn counted(errors: Vec<parts::Counted>) -> Result<BTreeMap<ErrorKind, (u64, String)>, DocumentError> {
    let of_kind = |one: parts::Counted| {
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.name() == one.kind);
        Ok((kind.ok_or(DocumentError::Incoherent("an error is of an unknown kind"))?, (one.count, one.first)))
    };
    errors.into_iter().map(of_kind).collect()
}

fn histogram(text: &str) -> Result<hdrhistogram::Histogram<u64>, DocumentError> {
    codec::decode(text).map_err(DocumentError::Histogram)
}

/// What lies beyond the clock's range is its beginning.
fn moment(unix_us: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(unix_us)).unwrap_or(SystemTime::UNIX_EPOCH)
}
