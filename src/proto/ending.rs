//! How a connection ends (RFC 6455 §7): by a breach, by time, by the socket, by the server's wish; what is still said then, and what is
//! let go of. The closing handshake itself is [`receive`](super::receive)'s and [`Sender::close`](super::Sender::close)'s.

use super::{
    close::{CloseCode, CloseFrame},
    connection::{Closure, Phase, Shutdown, Wait},
    error::ProtocolError,
    handshake::Refusal,
    limits::Role,
    turn::Turn,
    workspace::Workspace,
};

impl Turn<'_> {
    /// The peer ended its side of TCP: nothing more will come. To be called when everything received is decoded.
    pub fn receive_eof(&mut self) {
        // Queued answers may still reach a peer that only stopped sending.
        self.end(Closure::Eof, Shutdown::Flush);
    }

    /// The socket broke: nothing can be sent or received any more.
    pub fn abort(&mut self) {
        self.end(Closure::Eof, Shutdown::Abort);
    }

    /// The socket has taken nothing for too long, by the reckoning of its owner.
    pub fn give_up(&mut self, wait: Wait) {
        self.end(Closure::TimedOut(wait), Shutdown::Abort);
    }

    /// Acts on the first wait that is over at the turn's time; there may be others.
    pub fn handle_timeout(&mut self) {
        let Some((at, wait)) = self.connection.next_deadline() else { return };
        if self.now < at {
            return;
        }
        match wait {
            Wait::Handshake if self.connection.role == Role::Server => {
                let timeout = self.connection.settings.timeouts.handshake;
                self.refuse(Refusal::HandshakeTimeout { timeout });
            }
            Wait::Handshake | Wait::WriteStall | Wait::Close => self.give_up(wait),
            Wait::Idle => {
                let idle = self.connection.settings.timeouts.idle;
                if idle.is_some_and(|idle| self.now >= self.connection.heard + idle) {
                    self.connection.ended = Some(Box::new(Closure::TimedOut(wait)));
                    let _ = self.sender().close(CloseCode::GOING_AWAY, "idle");
                } else {
                    self.connection.since = self.now;
                    let _ = self.sender().ping(b"");
                }
            }
        }
    }

    /// The server ends: Close 1001 to an open peer, 503 to one whose handshake is under way.
    pub fn go_away(&mut self) {
        if self.connection.is_opening() && self.connection.role == Role::Server {
            self.refuse(Refusal::ShuttingDown);
        } else {
            // Closing already: then it is under way without us.
            let _ = self.sender().close(CloseCode::GOING_AWAY, "");
        }
    }

    /// Memory has run out: drops what this connection holds but for the rest of the frame that the wire has begun, and ends it
    /// with Close 1013, or 503 before it has opened. For one that has ended already this is the end of waiting.
    pub fn shed(&mut self) {
        let held_bytes = self.connection.held_bytes();
        match self.connection.phase {
            Phase::Done(_) => return self.done(Shutdown::Abort),
            Phase::Opening if self.connection.role == Role::Server => return self.refuse(Refusal::OutOfMemory),
            _ => {}
        }
        let Workspace { window, lanes, .. } = &mut *self.workspace;
        // A Close of ours that waits there is dropped with the rest: the new one says more.
        self.connection.outbox.drop_not_begun(lanes, window);
        self.sender().seal(Some(CloseFrame { code: CloseCode::TRY_AGAIN, reason: "" }));
        self.end(Closure::Shed { held_bytes }, Shutdown::Flush);
    }

    /// Answers the opening handshake with an HTTP status of the caller's choice instead of judging it. Nothing happens to a
    /// connection that has opened.
    pub fn turn_away(&mut self, refusal: Refusal) {
        if self.connection.is_opening() && self.connection.role == Role::Server {
            self.refuse(refusal);
        }
    }

    /// Fails the connection (RFC 6455 §7.1.7): a Close behind what is queued already, and deaf from now on.
    #[cold]
    pub(super) fn fail(&mut self, error: ProtocolError) {
        let Workspace { means, window, input, .. } = &mut *self.workspace;
        if let Some(tap) = &mut means.tap {
            tap.breach(&error, window.get(input.start..input.end).unwrap_or_default());
        }
        if matches!(self.connection.phase, Phase::Open) {
            self.sender().seal(Some(CloseFrame { code: error.close_code(), reason: "" }));
        }
        self.end(Closure::Failed(error), Shutdown::Flush);
    }

    /// Answers the opening handshake with something else than 101.
    #[cold]
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if self.connection.role == Role::Client {
            // It is a server's answer that is wrong, and nothing is answered to that.
            return self.end(Closure::HandshakeFailed(refusal.into()), Shutdown::Flush);
        }
        let Workspace { lanes, date, .. } = &mut *self.workspace;
        let start = lanes.spill.len();
        refusal.write(date, &mut lanes.spill);
        self.connection.outbox.begin_head(lanes.spill.len() - start, lanes);
        self.end(Closure::Refused(refusal), Shutdown::Flush);
    }

    pub(super) fn end(&mut self, closure: Closure, shutdown: Shutdown) {
        // What was begun for another reason (idle, …) keeps it; what was over and reported is not reported again.
        if !matches!(self.connection.phase, Phase::Done(_)) {
            self.connection.ended.get_or_insert_with(|| Box::new(closure));
        }
        self.done(shutdown);
    }

    pub(super) fn done(&mut self, shutdown: Shutdown) {
        let connection = &mut *self.connection;
        if !matches!(connection.phase, Phase::Done(_)) {
            connection.since = self.now;
        }
        if !matches!(connection.phase, Phase::Done(Shutdown::Abort)) {
            connection.phase = Phase::Done(shutdown);
        }
        if let Some(message) = connection.message.take() {
            self.workspace.pool.give(message.buffer);
        }
        connection.control = None;
        connection.opening = None;
        connection.codec = None;
        connection.carry = Box::default();
    }
}
