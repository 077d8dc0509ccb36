//! wslab: a WebSocket laboratory.
//!
//! Rooms, and arrows that point one way only: `cli → server, client → session → proto, net`.
//!
//! * [`proto`] is RFC 6455 without a socket, a clock or randomness: bytes in, events out, bytes to send.
//! * [`net`] is sockets, TLS and readiness. It knows no WebSocket word.
//! * [`session`] joins the two for one peer; [`server`] accepts peers in one poll loop, [`client`] connects to them in one.
//! * `cli` (feature `cli`) is everything a human sees: the `wslab` binary.
//!
//! Start with [`proto::Connection`] to build on the protocol core alone, or with [`server::Server`] and a
//! [`session::Handler`] for a whole server; [`server::Echo`] is a complete handler in thirty lines.
//! [`client::Client`] takes the same handlers to the other end.

#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod net;
pub mod proto;
pub mod server;
pub mod session;
