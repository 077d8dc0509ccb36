//! The client's event loop: one poll, one thread, connections from one to thousands over the same
//! [`Session`](crate::session::Session) as the server's.
//!
//! A [`Url`] becomes a [`Target`] by a name look-up, the only thing here that blocks; [`Client::open`] connects to it.
//! [`Client::turn`] is one turn of the loop: whoever paces messages calls it between them.

mod config;
mod event_loop;
mod random;
mod target;
#[cfg(test)]
mod tests;
mod url;

pub use config::Config;
pub use event_loop::{Client, OpenError, Timeline};
pub use target::{Target, TargetError};
pub use url::{Url, UrlError};
