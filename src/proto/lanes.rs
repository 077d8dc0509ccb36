//! What one turn of one connection queues, in the loop's memory, but for large messages that are sent from where they lie. Which of
//! it leaves first is [`outbox`](super::outbox)'s to say. And what all turns have had pass through.

use std::ops::Range;

/// Room for copied answers that a loop keeps.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// One turn's output, in the loop's memory.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Whole Ping and Pong frames.
    pub(super) control: Vec<u8>,
    /// Answers made in place, as a range of the loop's window.
    pub(super) run: Range<usize>,
    /// Everything else, behind the run.
    pub(super) spill: Vec<u8>,
    /// Octets of `spill` that are sent.
    pub(super) spill_start: usize,
    /// Octets in the outboxes of connections whose turn it is not.
    pub(super) stashed_bytes: usize,
    /// Over all turns.
    pub(super) flow: Flow,
}

/// What has passed through a workspace so far, on all connections. Counted where the turn's hand is anyway: an add each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Messages that were reported.
    pub messages_received: u64,
    /// Messages that were queued for sending.
    pub messages_sent: u64,
    /// Octets that were read, of handshakes and frames alike.
    pub received_bytes: u64,
    /// Octets that sockets took, of handshakes and frames alike.
    pub sent_bytes: u64,
}

impl Lanes {
    pub(super) fn spill_left(&self) -> &[u8] {
        self.spill.get(self.spill_start..).unwrap_or_default()
    }

    /// Octets queued.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // A range's own `len` would look first whether it is one.
        self.control.len() + (self.run.end - self.run.start) + (self.spill.len() - self.spill_start)
    }

    /// Octets of memory that they take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.control.capacity() + self.spill.capacity()
    }

    /// Gives memory back that an unusual turn took.
    #[inline]
    pub(super) fn trim(&mut self) {
        debug_assert!(self.len() == 0);
        if self.spill.capacity() > KEPT_BYTES_MAX {
            self.spill = Vec::new();
        }
    }

    /// Whether a run may still grow: nothing was queued behind it.
    #[inline]
    pub(super) fn run_is_last(&self) -> bool {
        self.spill.len() == self.spill_start
    }
}
