//! The simulated kernel's state: doors, wires, descriptors, the clock; what is told of them, and what is watched for.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use super::super::{
    accept::ACCEPTS_MAX,
    event_loop::{WAKER, door_token},
};
use crate::{
    net::sim::{Cut, Edges, SimSocket},
    session::{Readiness, tests::Random},
};

/// Polls in a row that found nothing to do and brought nothing, before we call it spinning.
const IDLE_POLLS_MAX: usize = 4;
/// Reads of one socket in one turn: by an event, a list, a deadline and a drain, four each.
const READS_MAX: usize = 16;
/// How long a peer may stand at the door though there are descriptors: the longest rest of accepting, and a little.
const UNHEARD_MAX: Duration = Duration::from_millis(1_100);

/// What the machine does to the loop.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Events a poll brings at most.
    pub(super) events_max: usize,
    /// Descriptors for connections.
    pub(super) descriptors_max: usize,
    /// When others hold all descriptors: from, until; since the beginning.
    pub(super) scarce: Vec<(Duration, Duration)>,
    /// One of so many calls of `accept` finds that its peer has gone.
    pub(super) aborted_one_in: usize,
    /// One of so many fails for no known reason.
    pub(super) odd_one_in: usize,
    /// What passes from one clock reading of the loop to the next: long, where the machine is slow.
    pub(super) pace: Duration,
}

#[derive(Debug)]
struct Door {
    queue: VecDeque<usize>,
    knocked: bool,
    is_open: bool,
    /// When the queue was last empty, or somebody was accepted.
    moved: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// In a listener's queue.
    Queued,
    /// The loop has it.
    Held,
    Closed,
}

/// One TCP connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: SimSocket,
    pub(super) hold: Hold,
    token: Option<usize>,
    /// Our end reset it: what the peer has not read is lost.
    pub(super) is_reset: bool,
    /// The peer's end is closed: what we send is answered with a reset.
    pub(super) is_unheard: bool,
    /// The last poll that told of it.
    pub(super) told_at: u64,
    /// In the turn of which poll it was read, and how often.
    reads: (u64, usize),
}

/// Everything but the peers.
#[derive(Debug)]
pub(super) struct Net {
    start: Instant,
    pub(super) now: Instant,
    pub(super) random: Random,
    faults: Faults,
    doors: Vec<Door>,
    pub(super) wires: Vec<Wire>,
    pub(super) descriptors: usize,
    /// Since when there are descriptors.
    free_since: Instant,
    pub(super) woken: bool,
    /// Wires in the poll.
    watched: Vec<usize>,
    /// Tokens of sockets that were closed.
    stale: Vec<usize>,
    /// Counts what the loop gets done.
    pub(super) progress: u64,
    pub(super) polls: u64,
    accepts: usize,
    pub(super) accepted: usize,
    /// `progress` at the last poll, and how many polls it has not moved.
    idle: (u64, usize),
    /// Since when the loop is to end.
    pub(super) ending: Option<Instant>,
}

impl Net {
    pub(super) fn new(random: Random, faults: Faults) -> Self {
        let now = Instant::now();
        Net {
            start: now,
            now,
            random,
            faults,
            doors: Vec::new(),
            wires: Vec::new(),
            descriptors: 0,
            free_since: now,
            woken: false,
            watched: Vec::new(),
            stale: Vec::new(),
            progress: 0,
            polls: 0,
            accepts: 0,
            accepted: 0,
            idle: (0, 0),
            ending: None,
        }
    }

    /// Opens a door.
    pub(super) fn listen(&mut self) -> usize {
        self.doors.push(Door { queue: VecDeque::new(), knocked: false, is_open: true, moved: self.now });
        self.doors.len() - 1
    }

    /// Whoever waits at it is reset.
    pub(super) fn close_door(&mut self, door: usize) {
        let door = &mut self.doors[door];
        door.is_open = false;
        for wire in door.queue.drain(..) {
            self.wires[wire].hold = Hold::Closed;
            self.wires[wire].is_reset = true;
        }
    }

    /// A watched socket gets another token. Nothing is told again: a loop must not count on it.
    pub(super) fn rename(&mut self, wire: usize, token: usize) {
        let before = self.wires[wire].token.replace(token).expect("a socket that is watched");
        self.stale.push(before);
    }

    /// Takes a wire into the poll.
    pub(super) fn watch(&mut self, wire: usize, token: usize) {
        self.wires[wire].token = Some(token);
        self.watched.push(wire);
    }

    /// The loop is about to read.
    pub(super) fn count_read(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        if wire.reads.0 != self.polls {
            wire.reads = (self.polls, 0);
        }
        // What is only discarded is counted in octets, not in reads; and a reset comes before our end can.
        wire.reads.1 += usize::from(!wire.socket.outbound_fin && !wire.socket.inbound_rst);
        assert!(wire.reads.1 <= READS_MAX, "one socket is read {READS_MAX} times in a turn, and the others wait");
    }

    /// A peer's `connect`; `None`: refused.
    pub(super) fn connect(&mut self, door: usize, read_cut: Cut, write_cut: Cut, room: usize) -> Option<usize> {
        let door = &mut self.doors[door];
        if !door.is_open {
            return None;
        }
        let mut socket = SimSocket::cut(read_cut, write_cut);
        socket.outbound_max = room;
        if door.queue.is_empty() {
            door.moved = self.now;
        }
        door.queue.push_back(self.wires.len());
        door.knocked = true;
        self.wires.push(Wire {
            socket,
            hold: Hold::Queued,
            token: None,
            is_reset: false,
            is_unheard: false,
            told_at: 0,
            reads: (0, 0),
        });
        Some(self.wires.len() - 1)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn is_scarce(&self) -> bool {
        let after = self.elapsed();
        self.descriptors >= self.faults.descriptors_max
            || self.faults.scarce.iter().any(|(from, until)| (*from..*until).contains(&after))
    }

    /// The loop reads the clock.
    pub(super) fn read_clock(&mut self) -> Instant {
        self.now += self.faults.pace;
        self.now
    }

    /// Polls that may pass until somebody is answered of whom the loop was told: none, unless it has not the time. A list serves one
    /// a turn at least.
    pub(super) fn polls_to_answer(&self) -> u64 {
        if self.faults.pace.is_zero() { 1 } else { 1 + 2 * self.wires.len() as u64 }
    }

    pub(super) fn begin_turn(&mut self, timeout: Option<Duration>) {
        self.polls += 1;
        self.accepts = 0;
        let (before, idle) = self.idle;
        let is_idle = timeout == Some(Duration::ZERO) && before == self.progress;
        self.idle = (self.progress, if is_idle { idle + 1 } else { 0 });
        // Where the clock runs by itself, one deadline after the other of somebody long gone may come due.
        let idle_max = if self.faults.pace.is_zero() { IDLE_POLLS_MAX } else { 100 * IDLE_POLLS_MAX };
        assert!(self.idle.1 <= idle_max, "the loop spins: it polls without waiting, and gets nothing done");
        self.now += Duration::from_micros(self.random.next() % 20);
    }

    /// Takes edges, not all and not in order where that is left to `lot`.
    pub(super) fn collect(&mut self, events: &mut Vec<(usize, Readiness)>, lot: bool) {
        let Net { random, wires, doors, watched, .. } = self;
        let any = Readiness { readable: true, writable: true, ended: true };
        if std::mem::take(&mut self.woken) {
            events.push((WAKER, any));
        }
        for (at, door) in doors.iter_mut().enumerate() {
            if door.knocked && !(lot && random.one_in(3)) {
                door.knocked = false;
                events.push((door_token(at), Readiness { writable: false, ended: false, ..any }));
            }
        }
        // Round robin from a place by lot: nobody is forgotten for long.
        let from = random.below(watched.len().max(1));
        for at in 0..watched.len() {
            let wire = &mut wires[watched[(from + at) % watched.len()]];
            let Some(token) = wire.token else { continue };
            let unasked = lot && random.one_in(60);
            if events.len() >= self.faults.events_max
                || !(wire.socket.has_edges() || unasked)
                || (lot && random.one_in(4))
            {
                continue;
            }
            let anyway = unasked || random.one_in(2);
            if let Some(edges) = wire.socket.take_edges(anyway) {
                wire.told_at = self.polls;
                let Edges { readable, writable, ended } = edges;
                events.push((token, Readiness { readable, writable, ended }));
            }
        }
        if lot && !self.stale.is_empty() && random.one_in(8) {
            events.push((random.pick(&self.stale), any));
        }
        for at in (1..events.len()).rev() {
            events.swap(at, random.below(at + 1));
        }
        self.progress += events.len() as u64;
    }

    /// Time goes on; nobody has anything to do before.
    pub(super) fn sleep(&mut self, until: Instant) {
        for door in self.doors.iter().filter(|door| door.is_open && !door.queue.is_empty() && !self.is_scarce()) {
            let ends = self.faults.scarce.iter().map(|(_, end)| self.start + *end).filter(|end| *end <= self.now);
            let since = ends.chain([door.moved, self.free_since]).max().unwrap_or(self.now);
            assert!(self.now - since <= UNHEARD_MAX, "the listener is deaf: a peer waits since {:?}", self.now - since);
        }
        self.now = self.now.max(until);
    }

    pub(super) fn accept(&mut self, door: usize) -> io::Result<Option<usize>> {
        self.accepts += 1;
        assert!(self.accepts <= ACCEPTS_MAX * self.doors.len(), "the loop accepts without end");
        // As Linux does: the descriptor comes first, whoever waits.
        if self.is_scarce() {
            return Err(io::Error::from_raw_os_error(self.random.pick(&[24, 23, 105, 12])));
        }
        if self.random.one_in(self.faults.odd_one_in) {
            // It is no news to the loop that somebody waits, but it has a reason to rest.
            self.free_since = self.now;
            return Err(io::Error::from_raw_os_error(22));
        }
        let door = &mut self.doors[door];
        let Some(wire) = door.queue.pop_front() else { return Ok(None) };
        door.moved = self.now;
        self.progress += 1;
        if self.random.one_in(self.faults.aborted_one_in) {
            self.wires[wire].is_reset = true;
            self.wires[wire].hold = Hold::Closed;
            return Err(io::Error::from_raw_os_error(self.random.pick(&[103, 71, 113])));
        }
        self.wires[wire].hold = Hold::Held;
        self.descriptors += 1;
        self.accepted += 1;
        Ok(Some(wire))
    }

    /// A system call of the loop: whether it got something done.
    pub(super) fn count<R>(
        &mut self,
        wire: usize,
        call: impl FnOnce(&mut SimSocket) -> io::Result<R>,
    ) -> io::Result<R> {
        let wire = &mut self.wires[wire];
        let result = call(&mut wire.socket);
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.progress += 1;
        }
        if wire.is_unheard && !wire.socket.outbound.is_empty() {
            wire.socket.arrive_rst();
        }
        result
    }

    pub(super) fn close(&mut self, wire: usize) {
        if self.is_scarce() {
            self.free_since = self.now;
        }
        self.descriptors -= 1;
        self.progress += 1;
        self.watched.retain(|watched| *watched != wire);
        let wire = &mut self.wires[wire];
        wire.hold = Hold::Closed;
        self.stale.extend(wire.token.take());
        if !wire.socket.inbound.is_empty() || wire.socket.inbound_rst {
            // Unread input: a reset instead of a FIN, and what the peer has not read goes with it.
            wire.is_reset = true;
            wire.socket.outbound.clear();
        }
        wire.socket.outbound_fin = true;
    }
}
