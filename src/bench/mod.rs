//! The load generator and what it measured: plans, pacing, histograms, statistics, results as documents.
//!
//! It drives any WebSocket server over the client role, and doubts itself first: latency counts from the time a message was
//! *meant* to be sent, how late the generator was is recorded beside it, and a run in which the generator was the bottleneck
//! says so. Prints nothing; the command line does.

pub mod assertion;
pub mod comparison;
pub mod document;
pub mod export;
pub mod figures;
pub mod fingerprint;
pub mod measured;
pub mod merge;
pub mod outcome;
pub mod run;
pub mod stats;
#[cfg(test)]
pub(crate) mod synthetic;
pub mod verdict;

pub use fingerprint::Fingerprint;
pub use measured::{ErrorKind, Interval, Measured, Served, Usage, histogram};
