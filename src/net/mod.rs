//! Sockets, TLS, listeners, deadlines: what one event loop needs from the operating system.
//!
//! This room moves octets. It knows no WebSocket word, imports nothing of the other rooms, reads no clock, prints nothing
//! and never blocks. The loop that owns the poll, the connections and the time lives above it.
//!
//! * [`transport`]: [`Transport`], a stream that is either plain or TLS, over anything that is a [`Socket`].
//! * [`tls`]: [`TlsStream`] on rustls' unbuffered API and records of our own behind a server's handshake, the loop-owned
//!   [`TlsScratch`], configurations, PEM files.
//! * [`listener`]: [`Listener`], and which accept errors are worth a retry.
//! * [`dialer`]: connecting without blocking, in two steps.
//! * [`deadlines`]: [`Deadlines`], a heap of instants with lazy deletion.
//! * [`network`]: [`Network`], who belongs to a range of addresses.
//! * [`proxy_protocol`]: what a proxy in front says of the client it speaks for.
//!
//! Two habits hold throughout. Readiness is edge-triggered, so each call says whether the socket was left *drained* (reading) or
//! *blocked* (writing); everything else means "call again, no event will come". And buffers belong to the loop: a connection
//! keeps only what is incomplete on the way in and what the socket refused on the way out, and frees both when they are gone.

pub mod deadlines;
pub mod dialer;
pub mod listener;
pub mod network;
pub mod proxy_protocol;
pub mod tls;
pub mod transport;

#[cfg(test)]
#[cfg_attr(not(feature = "cli"), allow(dead_code))] // the TLS tests need certificates, which feature `cli` makes
pub(crate) mod sim;

pub use deadlines::{Deadlines, Mark};
pub use listener::Listener;
pub use network::Network;
pub use tls::{TlsError, TlsScratch, TlsStream, Trust, client_config, server_config};
pub use transport::{Discard, Read, Socket, Transport};
