//! The event loop: a slab of sessions, one poll, one thread.
//!
//! [`Server`] is one loop; [`Workers`] are several with SO_REUSEPORT that share nothing. A [`Handle`] ends them or gives
//! them a new certificate from any thread.

mod accept;
mod admission;
mod bind;
mod board;
mod config;
mod control;
mod echo;
mod event_loop;
mod frame_log;
mod kernel;
mod lobby;
mod metrics;
mod workers;

pub use bind::{BindError, Inherited, Server};
pub use board::ServerState;
pub use config::{Config, ConfigError, Congestion, ProxyProtocol};
pub use control::Handle;
pub use echo::Echo;
pub use metrics::{Limit, Metrics, TurnTimes};
pub use workers::Workers;

#[cfg(test)]
mod tests;
