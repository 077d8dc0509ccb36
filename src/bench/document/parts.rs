//! The members of a document that are written in another form than a run holds them. Documented in the JSON Schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Floor {
    pub payload_bytes: u64,
    pub wanted_rate: Option<f64>,
    pub latency: Latency,
    pub lateness: Latency,
    pub cpu_per_message_ns: Option<u64>,
}

/// A histogram, and for those who do not read that what is in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Latency {
    #[serde(skip_deserializing)]
    pub count: u64,
    #[serde(skip_deserializing)]
    pub min_ns: Option<u64>,
    #[serde(skip_deserializing)]
    pub mean_ns: Option<f64>,
    #[serde(skip_deserializing)]
    pub max_ns: Option<u64>,
    #[serde(skip_deserializing)]
    pub percentiles: BTreeMap<&'static str, Option<PercentileValue>>,
    pub histogram: String,
}

#[derive(Debug, Serialize)]
pub(super) struct PercentileValue {
    pub ns: u64,
    pub samples_beyond: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counted {
    pub kind: String,
    pub count: u64,
    pub first: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Generator {
    pub cpu_ns: u64,
    pub wall_ns: u64,
    pub run_queue_ns: u64,
    #[serde(skip_deserializing)]
    pub cpu_share: Option<f64>,
    #[serde(skip_deserializing)]
    pub cpu_per_message_ns: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Served {
    pub cpu_ns: u64,
    pub answers: u64,
    pub rss_before_bytes: u64,
    pub rss_connected_bytes: u64,
    pub rss_peak_bytes: u64,
    #[serde(skip_deserializing)]
    pub cpu_per_message_ns: Option<f64>,
    #[serde(skip_deserializing)]
    pub bytes_per_connection: Option<f64>,
}

/// What was measured, of a piece or of all pieces of a target in a phase.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub started_unix_us: u64,
    pub wall_ns: u64,
    pub connections: u64,
    pub sent: u64,
    pub completed: u64,
    pub payload_bytes_sent: u64,
    pub payload_bytes_received: u64,
    pub wanted_rate: Option<f64>,
    #[serde(skip_deserializing)]
    pub sent_rate: Option<f64>,
    #[serde(skip_deserializing)]
    pub achieved_rate: Option<f64>,
    pub response: Latency,
    pub service: Latency,
    pub lateness: Latency,
    pub handshake: Latency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<Latency>,
    pub errors: Vec<Counted>,
    #[serde(default)]
    pub warmup_errors: Vec<Counted>,
    pub generator: Generator,
    pub served: Option<Served>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Interval {
    pub begins_ns: u64,
    pub length_ns: u64,
    pub sent: u64,
    pub completed: u64,
    pub errors: u64,
    pub latency: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub target: usize,
    pub phase: usize,
    pub round: u32,
    pub machine: usize,
    #[serde(flatten)]
    pub measured: Measured,
    pub series: Vec<Interval>,
}

#[derive(Debug, Serialize)]
pub(super) struct Result {
    pub target: usize,
    pub phase: usize,
    pub rounds: u32,
    #[serde(flatten)]
    pub measured: Measured,
}

#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub target: usize,
    pub phase: usize,
    pub metric: &'static str,
    pub rounds: usize,
    pub ratio: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub level: Option<f64>,
    pub difference: &'static str,
    pub words: &'static str,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub valid: bool,
    pub invalid: Vec<Finding>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub reason: &'static str,
    pub target: usize,
    pub phase: usize,
    pub words: String,
}
