//! How a session lives and ends: what its application hears of it, and what is counted. Reads, writes and decides nothing.

use std::{io, time::Instant};

use super::{
    counts::{Counts, Ended, Fault},
    handler::{ConnId, Handler},
};
use crate::proto::{Closure, Event, Received, Stage, Turn};

/// How far a session has come in its life, as its application and the counts know it.
#[derive(Debug)]
pub(super) struct Life {
    /// `on_open` was called, so `on_close` will be.
    pub(super) opened: bool,
    /// Where it is counted.
    pub(super) stage: Stage,
    /// It has ended, which is not counted yet.
    pub(super) ended: Option<Ended>,
}

/// How far the end of TCP has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Neither side has ended.
    Open,
    /// The peer's FIN or close_notify was read.
    PeerEnded,
    /// Our side has ended; input is discarded until the peer's does, or until then, or that much.
    Lingering(Box<Lingering>),
    /// TLS or the socket is broken.
    Broken(Fault),
}

/// What bounds the end of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lingering {
    pub(super) until: Instant,
    pub(super) octets_left: usize,
}

impl Life {
    /// Something has happened that is counted.
    #[cold]
    pub(super) fn count(&mut self, stage: Stage, counts: &mut Counts) {
        if stage != self.stage {
            counts.moved(self.stage, stage, self.opened);
            self.stage = stage;
        }
        if let Some(ended) = self.ended.take() {
            counts.ended(ended);
        }
    }
}

/// The socket, or TLS, can not go on.
#[cold]
pub(super) fn broken<H: Handler>(id: ConnId, error: &io::Error, handler: &mut H) -> End {
    tracing::debug!(target: "wslab::conn", %id, %error, "socket");
    handler.on_error(id, error);
    End::Broken(Fault::of(error))
}

/// Hands every event that is due to the application.
#[inline]
pub(super) fn deliver<H: Handler>(turn: &mut Turn<'_>, id: ConnId, life: &mut Life, end: &End, handler: &mut H) {
    loop {
        while let Some((message, sender)) = turn.receive_whole() {
            handler.on_message(id, message, sender);
        }
        let Some(Received { event, sender }) = turn.receive_other() else { return };
        match event {
            Event::Message(message) => handler.on_message(id, message, sender),
            Event::Pong(payload) => handler.on_pong(id, payload, sender),
            Event::Open(opened) => {
                life.opened = true;
                tracing::debug!(target: "wslab::conn", %id, path = opened.path.escape_default().to_string(), "open");
                handler.on_open(id, &opened, sender);
            }
            Event::Close(closure) => {
                log_close(id, &closure);
                let fault = if let End::Broken(fault) = end { Some(*fault) } else { None };
                life.ended = Some(Ended::of(&closure, fault, life.opened));
                if life.opened {
                    handler.on_close(id, &closure);
                } else {
                    handler.on_failed(id, &closure);
                }
            }
        }
    }
}

fn log_close(id: ConnId, closure: &Closure) {
    tracing::debug!(target: "wslab::conn", %id, "closed: {closure}");
}
