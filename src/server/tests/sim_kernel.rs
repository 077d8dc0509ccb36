//! A machine for one loop and its peers: listeners, sockets, a poll and a clock that moves only when nothing else can.
//!
//! Harsh where a kernel may be: events come late, in any order and in small numbers, some for no reason and some for sockets
//! closed long ago; calls are cut; descriptors run out and come back; closing over unread input resets. Exact where it matters:
//! **an edge is told once** (see [`SimSocket::take_edges`]). And it watches the loop: one that polls and polls without getting
//! anything done, reads without end in a turn, or sleeps while somebody waits at its door, is stopped with a panic.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    net::SocketAddr,
    rc::Rc,
    sync::mpsc::Sender,
    time::{Duration, Instant, SystemTime},
};

use super::{
    super::{
        accept::ACCEPTS_MAX,
        control::Command,
        event_loop::{WAKER, door_token},
        kernel::Kernel,
    },
    peer::Peer,
};
use crate::{
    net::{
        Socket,
        sim::{Cut, Edges, SimSocket},
    },
    session::{Readiness, tests::Random},
};

/// Polls in a row that found nothing to do and brought nothing, before we call it spinning.
const IDLE_POLLS_MAX: usize = 4;
/// Steps of the peers within one poll.
const STEPS_MAX: usize = 20_000;
/// Reads of one socket in one turn: by an event, the ready list, a deadline and a drain, four each.
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
}

/// How it ends, unless by itself: all peers are gone, and the loop is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finale {
    WhenQuiet,
    /// At that poll.
    Drain(u64),
    Stop(u64),
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
    /// How often it was read in the turn of which poll, while the peer might go on sending.
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
    woken: bool,
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
    /// No new peers.
    pub(super) is_ending: bool,
}

/// The machine with whoever is on the other ends.
pub(super) struct Machine {
    pub(super) net: Net,
    pub(super) peers: Vec<Peer>,
    finale: Finale,
    commands: Sender<Command>,
}

/// The loop's view of it.
pub(super) struct SimKernel(pub(super) Rc<RefCell<Machine>>);

/// A listener; dropping it resets whoever waits.
pub(super) struct SimListener {
    machine: Rc<RefCell<Machine>>,
    door: usize,
}

/// The loop's end of a wire; dropping it closes it.
pub(super) struct SimEnd {
    machine: Rc<RefCell<Machine>>,
    wire: usize,
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
            is_ending: false,
        }
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

    fn begin_turn(&mut self, timeout: Option<Duration>) {
        self.polls += 1;
        self.accepts = 0;
        let (before, idle) = self.idle;
        let is_idle = timeout == Some(Duration::ZERO) && before == self.progress;
        self.idle = (self.progress, if is_idle { idle + 1 } else { 0 });
        assert!(self.idle.1 <= IDLE_POLLS_MAX, "the loop spins: it polls without waiting, and gets nothing done");
        self.now += Duration::from_micros(self.random.next() % 20);
    }

    /// Takes edges, not all and not in order where that is left to `lot`.
    fn collect(&mut self, events: &mut Vec<(usize, Readiness)>, lot: bool) {
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
    fn sleep(&mut self, until: Instant) {
        for door in self.doors.iter().filter(|door| door.is_open && !door.queue.is_empty() && !self.is_scarce()) {
            let ends = self.faults.scarce.iter().map(|(_, end)| self.start + *end).filter(|end| *end <= self.now);
            let since = ends.chain([door.moved, self.free_since]).max().unwrap_or(self.now);
            assert!(self.now - since <= UNHEARD_MAX, "the listener is deaf: a peer waits since {:?}", self.now - since);
        }
        self.now = self.now.max(until);
    }

    fn accept(&mut self, door: usize) -> io::Result<Option<usize>> {
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
    fn count<R>(&mut self, wire: usize, call: impl FnOnce(&mut SimSocket) -> io::Result<R>) -> io::Result<R> {
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

    fn close(&mut self, wire: usize) {
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

impl Machine {
    pub(super) fn new(net: Net, peers: Vec<Peer>, finale: Finale, commands: Sender<Command>) -> Self {
        Machine { net, peers, finale, commands }
    }

    /// Opens a door.
    pub(super) fn listen(machine: &Rc<RefCell<Machine>>) -> SimListener {
        let net = &mut machine.borrow_mut().net;
        net.doors.push(Door { queue: VecDeque::new(), knocked: false, is_open: true, moved: net.now });
        SimListener { machine: machine.clone(), door: net.doors.len() - 1 }
    }

    /// Whoever can do something does it, or perhaps does not where that is left to `lot`.
    pub(super) fn step(&mut self, lot: bool) -> bool {
        let mut moved = false;
        for peer in &mut self.peers {
            if !(lot && self.net.random.one_in(2)) {
                moved |= peer.act(&mut self.net);
            }
        }
        moved
    }

    fn tell(&mut self, command: Command) {
        self.finale = Finale::WhenQuiet;
        self.net.is_ending = true;
        self.commands.send(command).expect("the loop runs");
        self.net.woken = true;
    }

    /// Nothing moves before this. If it is for ever, everybody must be gone, and the loop is stopped.
    fn next_instant(&mut self, until: Option<Instant>) -> Option<Instant> {
        let peers = self.peers.iter().filter_map(|peer| peer.next_instant(&self.net));
        let next = peers.chain(until).min();
        if next.is_none() {
            if let Some((at, peer)) = self.peers.iter().enumerate().find(|(_, peer)| !peer.is_done()) {
                panic!("the loop is deaf: it sleeps for ever, and peer {at} waits for it: {peer:?}");
            }
            assert!(!self.net.is_ending, "the loop sleeps for ever though it was told to end");
            assert_eq!(self.net.descriptors, 0, "all peers are gone, and the loop sleeps for ever over open sockets");
            self.tell(Command::Stop);
        }
        next
    }
}

impl Kernel for SimKernel {
    type Socket = SimEnd;
    type Listener = SimListener;
    type Events = Vec<(usize, Readiness)>;

    fn events(&self) -> Self::Events {
        Vec::new()
    }

    fn poll(&mut self, events: &mut Self::Events, timeout: Option<Duration>) -> io::Result<()> {
        let machine = &mut *self.0.borrow_mut();
        events.clear();
        machine.net.begin_turn(timeout);
        match machine.finale {
            Finale::Drain(at) if at <= machine.net.polls => machine.tell(Command::Drain),
            Finale::Stop(at) if at <= machine.net.polls => machine.tell(Command::Stop),
            _ => {}
        }
        if machine.net.random.one_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // Whole milliseconds, as mio's.
        let round_up = |timeout: Duration| Duration::from_millis(timeout.as_nanos().div_ceil(1_000_000) as u64);
        let until = timeout.map(|timeout| machine.net.now + round_up(timeout));
        for _ in 0..STEPS_MAX {
            let moved = machine.step(true);
            machine.net.collect(events, true);
            if !events.is_empty() || until.is_some_and(|until| until <= machine.net.now) {
                return Ok(());
            }
            if moved {
                continue;
            }
            let moved = machine.step(false);
            machine.net.collect(events, false);
            if !events.is_empty() {
                return Ok(());
            }
            if !moved && let Some(next) = machine.next_instant(until) {
                machine.net.sleep(next);
            }
        }
        panic!("the peers never come to an end: {:#?}", machine.peers);
    }

    fn ready(events: &Self::Events) -> impl Iterator<Item = (usize, Readiness)> {
        events.iter().copied()
    }

    fn accept(&mut self, listener: &SimListener) -> io::Result<Option<(SimEnd, SocketAddr)>> {
        let accepted = self.0.borrow_mut().net.accept(listener.door)?;
        let end = |wire| SimEnd { machine: self.0.clone(), wire };
        Ok(accepted.map(|wire| (end(wire), SocketAddr::from(([127, 0, 0, 1], wire as u16)))))
    }

    fn register(&mut self, socket: &mut SimEnd, token: usize) -> io::Result<()> {
        let net = &mut self.0.borrow_mut().net;
        net.wires[socket.wire].token = Some(token);
        net.watched.push(socket.wire);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.0.borrow().net.now
    }

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

impl Socket for SimEnd {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let net = &mut self.machine.borrow_mut().net;
        let wire = &mut net.wires[self.wire];
        if wire.reads.0 != net.polls {
            wire.reads = (net.polls, 0);
        }
        // Once the peer has ended the rest is bounded, however often it is cut.
        wire.reads.1 += usize::from(!wire.socket.inbound_fin && !wire.socket.inbound_rst);
        assert!(wire.reads.1 <= READS_MAX, "one socket is read {READS_MAX} times in a turn, and the others wait");
        net.count(self.wire, |socket| socket.recv(buf))
    }

    fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.machine.borrow_mut().net.count(self.wire, |socket| socket.send(buf))
    }

    fn send_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.machine.borrow_mut().net.count(self.wire, |socket| socket.send_vectored(bufs))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.machine.borrow_mut().net.count(self.wire, Socket::shutdown_write)
    }
}

// Not again where a test has failed with the machine in hand.
impl Drop for SimEnd {
    fn drop(&mut self) {
        if let Ok(mut machine) = self.machine.try_borrow_mut() {
            machine.net.close(self.wire);
        }
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let Ok(mut machine) = self.machine.try_borrow_mut() else { return };
        let net = &mut machine.net;
        let door = &mut net.doors[self.door];
        door.is_open = false;
        for wire in door.queue.drain(..) {
            net.wires[wire].hold = Hold::Closed;
            net.wires[wire].is_reset = true;
        }
    }
}
