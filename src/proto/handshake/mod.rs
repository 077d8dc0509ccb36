//! The opening handshake (RFC 6455 §4), both roles: octets of a head in, octets of an answer out.
//!
//! The way of a connection: [`HeadScanner`] finds where the head ends and refuses at the octet that is illegal;
//! then [`server::answer`] judges a request, or [`client::check`] a response. Whatever is not answered with 101
//! is a [`Refusal`], which knows its HTTP status and writes itself. No socket, clock or randomness: the date of
//! an answer and the nonce of a request are arguments.

mod accept;
pub mod client;
pub mod extensions;
mod head;
mod refusal;
mod scanner;
pub mod server;
mod target;
pub mod token;

#[cfg(test)]
mod tests;

use super::deflate;

pub use accept::accept_key;
pub use client::{HandshakeError, Request, RequestError};
pub use refusal::Refusal;
pub use scanner::HeadScanner;

/// Which of the subprotocols that a client offers the server answers with (RFC 6455 §4.2.2, `/subprotocol/`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subprotocols {
    /// The first offered one that is a valid token: several clients fail a server that answers none.
    #[default]
    First,
    /// Never one.
    None,
    /// The first offered one that is in this list.
    List(Vec<String>),
}

/// What an upgrade request must look like to be answered with 101.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Origins that may connect (RFC 6455 §10.2), compared case-insensitively; `None` admits all, and a request without `Origin` (no browser) is always admitted.
    pub origins: Option<Vec<String>>,
    /// Paths that exist, without query; `None`: every path. Others get 404.
    pub paths: Option<Vec<String>>,
    /// The subprotocol that is answered.
    pub subprotocols: Subprotocols,
    /// Value of the `Server` header; `None`: no such header.
    pub server_name: Option<String>,
    /// WebSocket URLs for the plain page that a GET without upgrade gets.
    pub urls: Vec<String>,
}

/// What the two ends agreed on when the connection opened. All of it is ASCII and free of control octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The target's path and query as sent (RFC 6455 §3, the resource name): it begins with `/`.
    pub path: Box<str>,
    /// The authority that was asked for (`host[:port]`): `Host`, or the target's when that was in absolute form.
    pub host: Option<Box<str>>,
    /// Where the page that opened the connection came from; other clients than browsers send none.
    pub origin: Option<Box<str>>,
    /// The subprotocol in use.
    pub subprotocol: Option<Box<str>>,
    /// The extensions in use, as the 101's `Sec-WebSocket-Extensions` names them.
    pub extensions: Option<Box<str>>,
    /// permessage-deflate as it was agreed on.
    pub deflate: Option<deflate::Agreed>,
}
