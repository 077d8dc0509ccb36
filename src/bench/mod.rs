//! The load generator and what it measured: plans, pacing, histograms, statistics, results as documents.
//!
//! It drives any WebSocket server over the client role, and doubts itself first: latency counts from the time a message was
//! *meant* to be sent, how late the generator was is recorded beside it, and a run in which the generator was the bottleneck
//! says so. Prints nothing; the command line does.

pub mod assertion;
mod clock;
pub mod comparison;
mod connect;
pub mod document;
mod errors;
pub mod export;
pub mod figures;
pub mod fingerprint;
pub mod floor;
mod lane;
mod loader;
mod loops;
pub mod measured;
pub mod merge;
pub mod outcome;
mod pacer;
mod payload;
mod piece;
pub mod plan;
mod recorder;
mod reflector;
pub mod run;
mod schedule;
mod series;
mod slow;
pub mod stats;
mod sweep;
#[cfg(test)]
pub(crate) mod synthetic;
mod turns;
mod usage;
pub mod verdict;

pub use errors::Explain;
pub use fingerprint::Fingerprint;
pub use measured::{ErrorKind, Interval, Measured, Served, Usage, histogram};
pub use payload::Payload;
pub use piece::{Endpoint, Observer, Progress};
pub use plan::Plan;
pub use sweep::{Part, sweep};
pub use turns::MetricsPage;
pub use usage::Process;
