//! The application of the measured connections: queues what is due, takes the time of writes and answers, checks these.
//!
//! How time is taken: an answer has arrived when the read that brought it returned, one clock reading a read, so that what the
//! generator takes to decode a batch is not the target's. A message was sent just before the write that took it. Neither is ever earlier
//! than the truth for an answer, nor later than it for a message: what is measured is at least what was.

use std::io;

use super::{
    clock::Clock,
    errors::{self, Explain},
    lane::{Lane, State},
    measured::ErrorKind,
    payload::Payload,
    recorder::Recorder,
};
use crate::{
    proto::{CONTROL_BYTES_MAX, Closure, Message, MessageKind, SendError, Sender, handshake::Opened},
    session::{ConnId, Handler},
};

/// Octets of a connection's own queue at which no further message is queued: it stays due.
const QUEUE_BYTES: usize = 1 << 20;

/// What the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Data messages, in frames of at most so many octets.
    Message { kind: MessageKind, frame_bytes: Option<usize> },
    /// Pings.
    Ping,
}

/// All measured connections.
#[derive(Debug)]
pub(super) struct Loader {
    clock: Clock,
    /// By slab key.
    lanes: Vec<Lane>,
    payload: Payload,
    means: Means,
    check: bool,
    /// An answer is late beyond it, nanoseconds.
    timeout: u64,
    /// A closed loop: messages that may still be sent. An open loop: none, the schedule decides.
    pub(super) quota: u64,
    /// When the quota ended.
    pub(super) quota_ended: Option<u64>,
    /// The reading of the last read.
    now: u64,
    pub(super) opened: usize,
    pub(super) failed: usize,
    pub(super) lost: usize,
    /// Messages that are due and have no answer.
    pub(super) outstanding: u64,
    /// Opened since the driver looked, and when.
    pub(super) news: Vec<(ConnId, u64)>,
    /// We close: what ends now ends as it should.
    pub(super) closing: bool,
    pub(super) recorder: Recorder,
    explain: Explain,
    /// Why the connection that ends next does.
    trouble: Option<(ErrorKind, String)>,
}

impl Loader {
    pub(super) fn new(
        clock: Clock,
        payload: Payload,
        means: Means,
        check: bool,
        timeout: u64,
        recorder: Recorder,
        explain: Explain,
    ) -> Loader {
        Loader {
            clock,
            lanes: Vec::new(),
            payload,
            means,
            check,
            timeout,
            quota: 0,
            quota_ended: None,
            now: 0,
            opened: 0,
            failed: 0,
            lost: 0,
            outstanding: 0,
            news: Vec::new(),
            closing: false,
            recorder,
            explain,
            trouble: None,
        }
    }

    /// A connection was begun.
    pub(super) fn begun(&mut self, id: ConnId) {
        let at = id.key as usize;
        while self.lanes.len() <= at {
            self.lanes.push(Lane::new(0, State::Gone));
        }
        self.lanes[at] = Lane::new(id.generation, State::Opening);
    }

    /// The names of all open connections.
    pub(super) fn open_ids(&self) -> Vec<ConnId> {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| lane.state == State::Open);
        lanes.map(|(key, lane)| ConnId { key: key as u32, generation: lane.generation }).collect()
    }

    /// What is due from now on, which is this time, counts.
    pub(super) fn count_from(&mut self, now: u64) {
        self.lanes.iter_mut().for_each(Lane::count_from_here);
        self.recorder.begin(now);
    }

    /// A message is due on this connection: in an open loop, at this time.
    #[inline]
    pub(super) fn is_due(&mut self, id: ConnId, intended: Option<u64>) {
        if let Some(lane) = self.lanes.get_mut(id.key as usize) {
            lane.is_due(intended);
            self.outstanding += 1;
        }
    }

    /// The first messages of a closed loop: as many as shall be under way.
    pub(super) fn start(&mut self, id: ConnId, pipeline: usize, now: u64) {
        for _ in 0..pipeline {
            if !self.take_quota(now) {
                break;
            }
            self.is_due(id, None);
        }
    }

    #[inline]
    fn take_quota(&mut self, now: u64) -> bool {
        if self.quota == 0 {
            return false;
        }
        self.quota -= 1;
        if self.quota == 0 {
            self.quota_ended = Some(now);
        }
        true
    }

    /// Queues what is due, as far as there is room.
    #[inline]
    pub(super) fn fill(&mut self, id: ConnId, sender: &mut Sender<'_>, now: u64) {
        let Some(lane) = self.lanes.get_mut(id.key as usize) else { return };
        let mut counted = 0;
        while let Some(number) = lane.to_queue() {
            if sender.queued_bytes() >= QUEUE_BYTES {
                break;
            }
            let octets = self.payload.message(id.key, number);
            if send(sender, self.means, octets).is_err() {
                // Closing: its end will be told. Full: tried again with the next answer.
                break;
            }
            counted += u64::from(lane.has_queued());
        }
        if counted > 0 {
            self.recorder.sent(now, counted, self.payload.len() as u64);
        }
    }

    /// Connections that have left a message unanswered for longer than the timeout.
    pub(super) fn stuck(&self, now: u64) -> Vec<ConnId> {
        let is_stuck = |lane: &Lane| {
            lane.state == State::Open && lane.waiting_since().is_some_and(|since| since + self.timeout < now)
        };
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| is_stuck(lane));
        lanes.map(|(key, lane)| ConnId { key: key as u32, generation: lane.generation }).collect()
    }

    /// The next connection to end does so because it left a message unanswered.
    pub(super) fn blame_timeout(&mut self) {
        self.trouble = Some((ErrorKind::Timeout, unanswered(self.timeout)));
    }

    /// What has no answer will have none. `in_time`: they had their time, so it is an error.
    pub(super) fn give_up(&mut self, now: u64, in_time: bool) {
        let missing = self.lanes.iter().filter(|lane| lane.state == State::Open).map(|lane| lane.outstanding().1).sum();
        if in_time {
            let timeout = self.timeout;
            self.recorder.error(now, ErrorKind::Timeout, missing, || unanswered(timeout));
        }
    }

    /// The next message in order has its answer.
    #[inline]
    fn settle(&mut self, id: ConnId, octets: usize, right: bool) {
        let Some(answered) = self.lanes.get_mut(id.key as usize).and_then(Lane::is_answered) else { return };
        self.outstanding -= 1;
        if !right {
            return;
        }
        let service = self.now.saturating_sub(answered.written);
        let response = answered.intended.map(|intended| self.now.saturating_sub(intended));
        if service > self.timeout {
            let timeout = self.timeout;
            self.recorder.message_error(answered.counts, self.now, ErrorKind::Timeout, 1, || unanswered(timeout));
        } else if answered.counts {
            self.recorder.answered(self.now, response, service, octets as u64);
        } else {
            self.recorder.carried();
        }
    }

    #[inline]
    fn expected(&self, id: ConnId) -> Option<u64> {
        let lane = self.lanes.get(id.key as usize)?;
        if lane.state == State::Open { lane.expected() } else { None }
    }

    /// The next one of a closed loop.
    #[inline]
    fn go_on(&mut self, id: ConnId, mut sender: Sender<'_>) {
        if self.take_quota(self.now) {
            self.is_due(id, None);
        }
        self.fill(id, &mut sender, self.now);
    }

    #[cold]
    fn is_wrong(&mut self, counts: bool, words: impl FnOnce(&Payload) -> String) {
        let Loader { recorder, payload, now, .. } = self;
        recorder.message_error(counts, *now, ErrorKind::WrongEcho, 1, || words(payload));
    }

    fn lose(&mut self, id: ConnId, kind: ErrorKind, words: String) {
        let Some(lane) = self.lanes.get_mut(id.key as usize) else { return };
        let (all, counted) = lane.outstanding();
        lane.state = State::Gone;
        self.lost += 1;
        self.outstanding -= all;
        let now = self.clock.now();
        // The loss of an idle connection is an error too.
        self.recorder.error(now, kind, counted.max(1), || words);
    }
}

fn unanswered(timeout: u64) -> String {
    format!("no answer within {} ms", timeout / 1_000_000)
}

#[inline]
fn send(sender: &mut Sender<'_>, means: Means, octets: &[u8]) -> Result<(), SendError> {
    match means {
        Means::Message { frame_bytes: None, kind: MessageKind::Binary } => sender.binary(octets),
        Means::Message { frame_bytes: None, kind: MessageKind::Text } => {
            // Made of one octet a character, or judged when the file was read.
            simdutf8::basic::from_utf8(octets).map_err(|_| SendError::Illegal).and_then(|text| sender.text(text))
        }
        Means::Message { frame_bytes: Some(frame_bytes), kind } => sender.fragmented(kind, octets, frame_bytes),
        Means::Ping => sender.ping(octets.get(..CONTROL_BYTES_MAX).unwrap_or(octets)),
    }
}

impl Handler for Loader {
    #[inline]
    fn on_read(&mut self, _: ConnId) {
        self.now = self.clock.now();
    }

    #[inline]
    fn on_write(&mut self, id: ConnId) {
        let Some(lane) = self.lanes.get_mut(id.key as usize) else { return };
        if lane.has_unwritten() {
            let now = self.clock.now();
            for intended in lane.is_written(now) {
                self.recorder.late(now.saturating_sub(intended));
            }
        }
    }

    fn on_open(&mut self, id: ConnId, _: &Opened, _: Sender<'_>) {
        if let Some(lane) = self.lanes.get_mut(id.key as usize) {
            lane.state = State::Open;
            self.opened += 1;
            self.news.push((id, self.now));
        }
    }

    #[inline]
    fn on_message(&mut self, id: ConnId, message: Message<'_>, sender: Sender<'_>) {
        if self.means == Means::Ping {
            return;
        }
        let octets = message.payload();
        let Some(number) = self.expected(id) else {
            let len = octets.len();
            // Of no message, so it counts whenever it comes.
            return self.is_wrong(true, |_| format!("a message of {len} octets that nobody had asked for"));
        };
        let right = !self.check || (message.kind() == self.payload.kind() && self.payload.is(id.key, number, octets));
        if !right {
            let counts = self.lanes.get(id.key as usize).is_some_and(Lane::expects_counted);
            self.is_wrong(counts, |payload| {
                if message.kind() == payload.kind() {
                    payload.difference(id.key, number, octets)
                } else {
                    "an answer of the other kind: text to binary, or binary to text".to_owned()
                }
            });
        }
        self.settle(id, octets.len(), right);
        self.go_on(id, sender);
    }

    fn on_pong(&mut self, id: ConnId, payload: &[u8], sender: Sender<'_>) {
        if self.means != Means::Ping {
            return;
        }
        let Some(lane) = self.lanes.get(id.key as usize) else { return };
        // §5.5.3: a Pong may answer several Pings, and one that answers none is no error.
        let answered = lane.answerable().find(|&number| !self.check || self.payload.is(id.key, number, payload));
        let Some(number) = answered else { return };
        while self.expected(id).is_some_and(|expected| expected <= number) {
            self.settle(id, payload.len(), true);
        }
        self.go_on(id, sender);
    }

    fn on_error(&mut self, id: ConnId, error: &io::Error) {
        let state = self.lanes.get(id.key as usize).map_or(State::Gone, |lane| lane.state);
        if state == State::Gone {
            // Its end was told before: a reset after a Close, say. Kept, it would be blamed for the next one's end.
            return;
        }
        let open = state == State::Open;
        self.trouble = Some((errors::kind_of(error, open), (self.explain)(error)));
    }

    fn on_close(&mut self, id: ConnId, closure: &Closure) {
        let trouble = self.trouble.take();
        if self.closing {
            if let Some(lane) = self.lanes.get_mut(id.key as usize) {
                lane.state = State::Gone;
            }
            return;
        }
        let (kind, words) = trouble.unwrap_or_else(|| errors::ending(closure));
        self.lose(id, kind, words);
    }

    fn on_failed(&mut self, id: ConnId, closure: &Closure) {
        let (kind, words) = self.trouble.take().unwrap_or_else(|| errors::failure(closure));
        if let Some(lane) = self.lanes.get_mut(id.key as usize) {
            lane.state = State::Gone;
        }
        self.failed += 1;
        let now = self.clock.now();
        if !self.closing {
            self.recorder.error(now, kind, 1, || words);
        }
    }
}

#[cfg(test)]
mod tests;
