//! The real binary over real sockets, ws and wss, grouped by the topics of RFC 6455; and the arrows between the rooms.
//!
//! Every test starts servers of its own on ports that the system chooses, so all of them run side by side. Whatever waits
//! has a deadline, and nothing sleeps to let something happen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod admin;
mod behind_proxies;
mod bounds;
mod busy_poll;
mod closing;
mod faults;
mod foreign_client;
mod framing;
mod half_open;
mod hostile;
mod hostile_thousands;
mod library;
mod limits;
mod logging;
mod metrics;
mod opening_handshake;
mod order;
mod promises;
mod proxy_protocol;
mod report_command;
mod rooms;
mod serve_command;
mod soak;
mod supervisor;
mod timeouts;
mod tls;
mod utf8;
