//! A wire log: one line a frame, in the manner of Autobahn's (`wslab serve -vv`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    proto::{Direction, FrameHeader, FrameTap, ProtocolError},
    session::ConnId,
};

/// Payload octets shown of a frame.
const SHOWN_BYTES_MAX: usize = 64;

/// Whose turn it is, for a tap that sees frames only.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentConnection(Arc<AtomicU64>);

impl CurrentConnection {
    pub(super) fn set(&self, id: ConnId) {
        self.0.store(u64::from(id.generation) << 32 | u64::from(id.key), Ordering::Relaxed);
    }

    fn id(&self) -> ConnId {
        let id = self.0.load(Ordering::Relaxed);
        ConnId { key: id as u32, generation: (id >> 32) as u32 }
    }
}

/// Logs frames to the target `wslab::frame` at level TRACE.
#[derive(Debug)]
pub(super) struct FrameLog(pub(super) CurrentConnection);

impl FrameTap for FrameLog {
    fn frame(&mut self, direction: Direction, header: &FrameHeader, payload: &[u8]) {
        let arrow = match direction {
            Direction::In => "<-",
            Direction::Out => "->",
        };
        let shown = payload.get(..SHOWN_BYTES_MAX).unwrap_or(payload).escape_ascii();
        let more = if payload.len() > SHOWN_BYTES_MAX { " …" } else { "" };
        tracing::trace!(
            target: "wslab::frame",
            "{} {arrow} {:?} fin={} rsv={} len={} masked={} payload=\"{shown}\"{more}",
            self.0.id(),
            header.opcode,
            u8::from(header.fin),
            u8::from(header.compressed) << 2,
            header.len,
            u8::from(header.mask.is_some()),
        );
    }

    fn breach(&mut self, error: &ProtocolError, octets: &[u8]) {
        let shown = octets.get(..SHOWN_BYTES_MAX).unwrap_or(octets).escape_ascii();
        tracing::trace!(target: "wslab::frame", "{} <- {error}: \"{shown}\"", self.0.id());
    }
}
