//! What is to be sent, and in which order (RFC 6455 §5.4, §5.5): rest of the frame already begun · control lane ·
//! other data · close. A Pong passes every echo not yet begun and never cuts a frame; a Close passes nothing.
//!
//! What a turn queues is in the loop's [`Lanes`], usually sent before the turn ends. An [`Outbox`] belongs to one connection: it
//! holds large messages on their way out, and what the socket did not take within the turn.

use std::{collections::VecDeque, io::IoSlice, time::Instant};

use super::{
    frame::Opcode,
    lanes::Lanes,
    pool::{Buffer, Pool},
    wire::WireHeader,
};

/// I/O slices offered at once.
const SLICES_MAX: usize = 16;

/// One connection's output that the socket has not taken.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Octets left of the frame that the wire has begun; they are the front of the data lane.
    begun: usize,
    queue: Option<Box<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    control: Vec<u8>,
    /// Each holds whole frames, but for the first, which may begin inside one.
    data: VecDeque<Buffer>,
    data_bytes: usize,
    /// Since when the socket has taken none of it.
    stalled: Option<Instant>,
    /// What the buffers of `data` take of memory, which is more than is left of them to send.
    data_allocated: usize,
}

impl Outbox {
    /// Whether anything may be queued here.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.queue.is_some()
    }

    /// Since when the socket has taken none of what is queued; `None`: nothing is queued, or it took some in this turn.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.queue.as_ref().and_then(|queue| queue.stalled)
    }

    /// The socket took some of it.
    pub(super) fn progressed(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.stalled = None;
        }
    }

    /// The turn is over, at that time: what is still queued waits from now on, unless it has waited before.
    #[inline]
    pub(super) fn note_stall(&mut self, now: Instant) {
        let Some(queue) = &mut self.queue else { return };
        if queue.data_bytes > 0 || !queue.control.is_empty() {
            queue.stalled.get_or_insert(now);
        } else {
            self.queue = None;
        }
    }

    /// Octets queued here.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.control.len() + queue.data_bytes)
    }

    /// Heap octets that the queue takes.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.held_bytes())
    }

    /// Drops all that the wire has not begun, the turn's included; the rest of the frame begun stays, or the peer would take
    /// what follows for its payload.
    pub(super) fn drop_not_begun(&mut self, lanes: &mut Lanes, window: &[u8]) {
        self.adopt(lanes, window);
        lanes.control.clear();
        let first = self.queue.take().and_then(|mut queue| queue.data.pop_front());
        debug_assert!(self.begun <= first.as_ref().map_or(0, Buffer::len), "a buffer holds whole frames");
        let Some(rest) = first.filter(|_| self.begun > 0) else { return };
        self.queue.insert(Box::default()).push(rest.into_front(self.begun));
    }

    /// Puts a buffer of whole frames behind all data queued so far, the turn's included.
    pub(super) fn push(&mut self, buffer: Buffer, lanes: &mut Lanes, window: &[u8]) {
        self.adopt(lanes, window);
        self.queue.get_or_insert_default().push(buffer);
    }

    /// Nothing passes these octets (an HTTP head) or splits them: they count as a frame that was begun.
    pub(super) fn begin_head(&mut self, len: usize, lanes: &Lanes) {
        debug_assert!(self.len() == 0 && lanes.control.is_empty(), "a head comes first");
        self.begun = len;
    }

    /// Queues an HTTP head before anything else.
    pub(super) fn push_head(&mut self, head: Vec<u8>) {
        debug_assert!(self.len() == 0, "a head comes first");
        self.begun = head.len();
        self.queue.get_or_insert_default().push(Buffer::from_vec(head));
    }

    /// The octets to send, where they are a run and nothing else.
    #[inline]
    pub(super) fn one_slice<'a>(&self, lanes: &Lanes, window: &'a [u8]) -> Option<&'a [u8]> {
        if self.queue.is_some() || !lanes.control.is_empty() || !lanes.run_is_last() {
            return None;
        }
        window.get(lanes.run.start..lanes.run.end).filter(|run| !run.is_empty())
    }

    /// The octets to send, in order. At most as many slices as a system call takes at once: after they are sent there may be more.
    pub(super) fn slices<'a>(&'a self, lanes: &'a Lanes, window: &'a [u8]) -> Slices<'a> {
        let mut slices = Slices::default();
        // The control lane's place: behind the frame begun.
        let mut before = Some(self.begun);
        let mut add = |octets: &'a [u8]| {
            if let Some(begun) = before.take_if(|begun| *begun < octets.len()) {
                let (rest, others) = octets.split_at(begun);
                slices.add(rest);
                slices.add(&lanes.control);
                slices.add(others);
            } else {
                before = before.map(|begun| begun - octets.len());
                slices.add(octets);
            }
        };
        if let Some(queue) = &self.queue {
            // A slice each and two for the control lane's place must fit, or the lane would be left out of order.
            queue.data.iter().take(SLICES_MAX - 5).for_each(|buffer| add(buffer.filled()));
            if queue.data.len() > SLICES_MAX - 5 {
                return slices;
            }
        }
        add(window.get(lanes.run.clone()).unwrap_or_default());
        add(lanes.spill_left());
        if before.is_some() {
            slices.add(&lanes.control);
        }
        slices
    }

    /// The socket took `taken` octets of [`Outbox::slices`]. Whether they were all there was, and of the turn's own.
    #[inline]
    pub(super) fn advance(&mut self, taken: usize, lanes: &mut Lanes, window: &[u8], pool: &mut Pool) -> bool {
        let is_all = taken == lanes.run.len() && self.one_slice(lanes, window).is_some();
        if is_all {
            // So it nearly always is.
            (lanes.run, self.begun) = (0..0, 0);
        } else {
            self.advance_lanes(taken, lanes, window, pool);
        }
        is_all
    }

    fn advance_lanes(&mut self, mut taken: usize, lanes: &mut Lanes, window: &[u8], pool: &mut Pool) {
        if taken > 0 {
            self.progressed();
        }
        if lanes.control.is_empty() {
            return self.advance_data(taken, lanes, window, pool);
        }
        let rest = taken.min(self.begun);
        if rest > 0 {
            self.advance_data(rest, lanes, window, pool);
            taken -= rest;
        }
        if self.begun > 0 {
            return;
        }
        let control = taken.min(lanes.control.len());
        taken -= control;
        let cut = rest_of_cut_frame(&lanes.control, 0, control);
        if cut > 0 {
            // A control frame was begun: its rest goes first, and counts as begun data.
            let rest = lanes.control.get(control..control + cut).unwrap_or_default().to_vec();
            let queue = self.queue.get_or_insert_default();
            queue.push_front(Buffer::from_vec(rest));
            self.begun = cut;
        }
        lanes.control.drain(..control + cut);
        if taken > 0 {
            self.advance_data(taken, lanes, window, pool);
        }
    }

    #[inline(never)]
    fn advance_data(&mut self, mut taken: usize, lanes: &mut Lanes, window: &[u8], pool: &mut Pool) {
        while let Some(queue) = &mut self.queue {
            let Some(first) = queue.data.front_mut() else { break };
            let len = first.len();
            if taken < len {
                self.begun = rest_of_cut_frame(first.filled(), self.begun, taken);
                first.consume(taken);
                queue.data_bytes -= taken;
                return;
            }
            (taken, self.begun) = (taken - len, 0);
            queue.data_bytes -= len;
            if let Some(sent) = queue.data.pop_front() {
                queue.data_allocated -= sent.allocated();
                pool.give(sent);
            }
        }
        if self.queue.as_ref().is_some_and(|queue| queue.control.is_empty()) {
            self.queue = None;
        }
        let run = lanes.run.len();
        if taken < run {
            let octets = window.get(lanes.run.clone()).unwrap_or_default();
            self.begun = rest_of_cut_frame(octets, self.begun, taken);
            lanes.run.start += taken;
            return;
        }
        if run > 0 {
            (taken, self.begun) = (taken - run, 0);
            lanes.run = 0..0;
        }
        let spill = lanes.spill_left();
        if taken < spill.len() {
            self.begun = rest_of_cut_frame(spill, self.begun, taken);
            lanes.spill_start += taken;
            return;
        }
        debug_assert_eq!(taken, spill.len(), "the socket took what it was given");
        if !spill.is_empty() {
            self.begun = 0;
        }
        lanes.spill.clear();
        lanes.spill_start = 0;
    }

    /// Begins a turn: the control frames that waited may still be joined, or replaced, by the turn's. A queue that is empty now
    /// stays until the turn's end: it knows since when they have waited.
    #[inline]
    pub(super) fn load(&mut self, lanes: &mut Lanes) {
        if let Some(queue) = &mut self.queue {
            // A connection that was not announced (`Workspace::adopt`) may bring more than was counted.
            let stashed = queue.control.len() + queue.data_bytes;
            lanes.stashed_bytes = lanes.stashed_bytes.saturating_sub(stashed);
            lanes.control.append(&mut queue.control);
        }
    }

    /// Ends a turn: what was not sent moves from the loop's memory to the connection's.
    #[inline]
    pub(super) fn stash(&mut self, lanes: &mut Lanes, window: &[u8]) {
        if lanes.len() > 0 {
            self.stash_blocked(lanes, window);
        }
    }

    fn stash_blocked(&mut self, lanes: &mut Lanes, window: &[u8]) {
        self.adopt(lanes, window);
        if !lanes.control.is_empty() {
            let queue = self.queue.get_or_insert_default();
            keep_newest_pong(&lanes.control, &mut queue.control);
            lanes.control.clear();
        }
    }

    /// Takes the turn's data over, behind what is queued.
    pub(super) fn adopt(&mut self, lanes: &mut Lanes, window: &[u8]) {
        if lanes.run.is_empty() && lanes.run_is_last() {
            return;
        }
        let queue = self.queue.get_or_insert_default();
        queue.append(window.get(lanes.run.clone()).unwrap_or_default());
        queue.append(lanes.spill_left());
        lanes.run = 0..0;
        lanes.spill.clear();
        lanes.spill_start = 0;
    }
}

impl Queue {
    fn push(&mut self, buffer: Buffer) {
        self.data_bytes += buffer.len();
        self.data_allocated += buffer.allocated();
        self.data.push_back(buffer);
    }

    fn push_front(&mut self, buffer: Buffer) {
        self.data_bytes += buffer.len();
        self.data_allocated += buffer.allocated();
        self.data.push_front(buffer);
    }

    fn held_bytes(&self) -> usize {
        debug_assert_eq!(self.data_allocated, self.data.iter().map(Buffer::allocated).sum::<usize>());
        size_of::<Queue>() + self.control.capacity() + self.data.capacity() * size_of::<Buffer>() + self.data_allocated
    }

    /// Small pieces are joined, so that a queue of tiny frames costs little more than their octets.
    fn append(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        match self.data.back_mut() {
            Some(last) if last.takes(octets.len()) => {
                let before = last.allocated();
                last.push(octets);
                self.data_allocated += last.allocated() - before;
                self.data_bytes += octets.len();
            }
            _ => self.push(Buffer::from_vec(octets.to_vec())),
        }
    }
}

/// The slices of one gathering write, in wire order; empty where there is nothing to send.
#[derive(Clone, Copy, Debug)]
pub struct Slices<'a> {
    slices: [IoSlice<'a>; SLICES_MAX],
    count: usize,
}

impl Default for Slices<'_> {
    fn default() -> Self {
        Slices { slices: [IoSlice::new(&[]); SLICES_MAX], count: 0 }
    }
}

impl<'a> Slices<'a> {
    fn add(&mut self, octets: &'a [u8]) {
        if octets.is_empty() {
            return;
        }
        debug_assert!(self.count < SLICES_MAX);
        if let Some(slot) = self.slices.get_mut(self.count) {
            *slot = IoSlice::new(octets);
            self.count += 1;
        }
    }
}

impl<'a> std::ops::Deref for Slices<'a> {
    type Target = [IoSlice<'a>];

    fn deref(&self) -> &[IoSlice<'a>] {
        self.slices.get(..self.count).unwrap_or_default()
    }
}

/// Octets left of the frame that a border at `taken` cuts; 0 where it cuts none. The first `begun` octets end a frame, and
/// then whole frames follow: our own, so their headers tell.
fn rest_of_cut_frame(octets: &[u8], begun: usize, taken: usize) -> usize {
    let mut at = begun;
    while at < taken {
        let Some((header, size)) = octets.get(at..).and_then(WireHeader::parse) else {
            debug_assert!(false, "queued octets are whole frames");
            return 0;
        };
        at += size + header.len as usize;
    }
    at - taken
}

/// Copies a control lane that could not be sent, of its Pongs only the last: §5.5.3 allows to answer the newest Ping alone.
fn keep_newest_pong(from: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    let mut pong = 0..0;
    while let Some((header, size)) = from.get(at..).and_then(WireHeader::parse) {
        let frame = at..at + size + header.len as usize;
        at = frame.end;
        if header.opcode == Opcode::Pong as u8 {
            pong = frame;
        } else {
            to.extend_from_slice(from.get(frame).unwrap_or_default());
        }
    }
    to.extend_from_slice(from.get(pong).unwrap_or_default());
}

#[cfg(test)]
mod tests;
