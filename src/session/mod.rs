//! One peer: a transport joined to a protocol connection, and what an application makes of it.
//!
//! A session is pumped: it decodes, answers, sends and reads in budgets until the socket blocks or its share of the
//! loop's turn is used up. It owns no buffer; see [`Shared`]. [`Sessions`] are all peers of one loop, whoever polls for them.

mod census;
mod counts;
mod ending;
mod handler;
mod life;
mod lists;
mod pump;
mod sessions;
mod surplus;
mod transfer;

pub(crate) use counts::causes;
pub use counts::{CloseCause, Counts, HandshakeEnd};
pub use handler::{ConnId, Handler};
pub use lists::List;
pub use pump::{Pumped, Session, Shared, TURN_BYTES_MAX, Weight};
pub use sessions::{Readiness, Sessions, TurnHook};

#[cfg(test)]
pub(crate) mod tests;
