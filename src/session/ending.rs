//! How the loop ends sessions before their peers do. Who is over is dropped later, by [`Sessions::reap`].

use super::{
    handler::{ConnId, Handler},
    pump::{Pumped, Session},
    sessions::Sessions,
};
use crate::{
    net::Socket,
    proto::{Turn, handshake::Refusal},
};

impl<S: Socket> Sessions<S> {
    /// Ends a session in order, see [`Session::go_away`].
    pub fn go_away<H: Handler>(&mut self, id: ConnId, handler: &mut H) {
        self.pump(id, handler, Session::go_away);
    }

    /// Ends a session for what it holds, see [`Turn::shed`](crate::proto::Turn::shed). Whom this is not the first time for is
    /// dropped.
    pub fn shed<H: Handler>(&mut self, id: ConnId, handler: &mut H) {
        self.end_now(id, handler, |turn| turn.shed());
    }

    /// Refuses a session its opening handshake in favour of others: as [`Sessions::turn_away`], but nobody lingers.
    pub fn crowd_out<H: Handler>(&mut self, id: ConnId, refusal: Refusal, handler: &mut H) {
        self.pump(id, handler, |session, id, shared, handler| session.crowd_out(id, refusal, shared, handler));
    }

    /// Refuses a session its opening handshake, see [`Turn::turn_away`](crate::proto::Turn::turn_away).
    pub fn turn_away<H: Handler>(&mut self, id: ConnId, refusal: Refusal, handler: &mut H) {
        self.pump(id, handler, |session, id, shared, handler| {
            session.pump_with(id, shared, handler, |turn, _| turn.turn_away(refusal)).1
        });
    }

    /// Ends a session as it is, without a Close.
    pub fn abort<H: Handler>(&mut self, id: ConnId, handler: &mut H) {
        self.end_now(id, handler, |turn| turn.abort());
    }

    fn end_now<H: Handler>(&mut self, id: ConnId, handler: &mut H, end: impl FnOnce(&mut Turn<'_>)) {
        self.pump(id, handler, |session, id, shared, handler| {
            match session.pump_with(id, shared, handler, |turn, _| end(turn)) {
                // It waited for the end of TCP only.
                (None, _) => Pumped::Gone,
                (Some(()), pumped) => pumped,
            }
        });
    }
}
