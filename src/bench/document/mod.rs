//! A run as a JSON document, `"schema": "wslab.bench/1"` (`src/bench/schema/wslab.bench-1.json`, [`SCHEMA`]).
//!
//! It holds every piece with its histograms, losslessly (base64 of the HdrHistogram V2 format, compressed), so that a reader
//! can add them exactly. What is derived from the pieces – `results`, `comparison`, `verdict` – is written for readers, and made anew,
//! not believed, when a document is read. Times are whole nanoseconds, but moments whole microseconds since 1970, which fit
//! the 53 bits of a JSON number. What is not known is `null`.

mod codec;
mod parts;
mod read;
mod write;

use serde::{Deserialize, Serialize};

use super::{
    fingerprint::Fingerprint,
    run::{Phase, Run, Target, Until, Workload},
};
pub use read::DocumentError;

/// What a document says it is.
pub const SCHEMA_NAME: &str = "wslab.bench/1";
/// The JSON Schema of documents.
pub const SCHEMA: &str = include_str!("../schema/wslab.bench-1.json");
/// Larger documents are not read.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// The document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    schema: String,
    began_unix_us: u64,
    elapsed_ns: u64,
    interrupted: bool,
    workload: Workload,
    machines: Vec<Fingerprint>,
    floor: Option<parts::Floor>,
    targets: Vec<Target>,
    reference: usize,
    interleaved: bool,
    phases: Vec<Phase>,
    until: Option<Until>,
    #[serde(skip_deserializing)]
    results: Vec<parts::Result>,
    #[serde(skip_deserializing)]
    comparison: Vec<parts::Comparison>,
    #[serde(skip_deserializing)]
    verdict: parts::Verdict,
    pieces: Vec<parts::Piece>,
}

impl Document {
    /// Of a run.
    pub fn of(run: &Run) -> Document {
        write::document(run)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// It is no JSON, of another schema, or does not hang together.
    pub fn parse(text: &[u8]) -> Result<Run, DocumentError> {
        read::parse(text)
    }

    /// The document as text, on one line.
    pub fn to_json(&self) -> String {
        // Maps have string keys and nothing in here can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
