//! A machine for one loop and its peers: listeners, sockets, a poll and a clock that moves when nothing else can, or from
//! one reading to the next too, so that turns run out of time.
//!
//! Harsh where a kernel may be: events come late, in any order and in small numbers, some for no reason and some for sockets
//! closed long ago; calls are cut; descriptors run out and come back; closing over unread input resets. Exact where it matters:
//! **an edge is told once** (see [`SimSocket::take_edges`]). And it watches the loop: one that polls and polls without getting
//! anything done, reads without end in a turn, or sleeps while somebody waits at its door, is stopped with a panic.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::SocketAddr,
    rc::Rc,
    sync::mpsc::Sender,
    time::{Duration, Instant, SystemTime},
};

use super::{
    super::{control::Command, kernel::Kernel},
    net::Net,
    peer::Peer,
};
use crate::{net::Socket, session::Readiness};

/// Steps of the peers within one poll.
const STEPS_MAX: usize = 20_000;

/// How it ends, unless by itself: all peers are gone, and the loop is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finale {
    WhenQuiet,
    /// At that poll.
    Drain(u64),
    Stop(u64),
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

impl Machine {
    pub(super) fn new(net: Net, peers: Vec<Peer>, finale: Finale, commands: Sender<Command>) -> Self {
        Machine { net, peers, finale, commands }
    }

    /// Opens a door.
    pub(super) fn listen(machine: &Rc<RefCell<Machine>>) -> SimListener {
        let door = machine.borrow_mut().net.listen();
        SimListener { machine: machine.clone(), door }
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
        self.net.ending = Some(self.net.now);
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
            assert!(self.net.ending.is_none(), "the loop sleeps for ever though it was told to end");
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
        self.0.borrow_mut().net.watch(socket.wire, token);
        Ok(())
    }

    fn rename(&mut self, socket: &mut SimEnd, token: usize) -> io::Result<()> {
        self.0.borrow_mut().net.rename(socket.wire, token);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.0.borrow_mut().net.read_clock()
    }

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

impl Socket for SimEnd {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let net = &mut self.machine.borrow_mut().net;
        net.count_read(self.wire);
        net.count(self.wire, |socket| socket.recv(buf))
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.machine.borrow_mut().net.count(self.wire, |socket| socket.peek(buf))
    }

    fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.machine.borrow_mut().net.count(self.wire, |socket| socket.send(buf))
    }

    fn send_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.machine.borrow_mut().net.count(self.wire, |socket| socket.send_last(buf))
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
        if let Ok(mut machine) = self.machine.try_borrow_mut() {
            machine.net.close_door(self.door);
        }
    }
}
