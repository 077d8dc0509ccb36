//! The event loop: a slab of sessions and one poll.

mod config;

pub use config::Config;
