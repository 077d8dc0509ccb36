//! The law of this room: whatever a peer sends, however the socket cuts it, whenever events come, and however slowly the peer
//! reads, everything is answered in order and once, and nothing is left behind. Epoll's edges are told once (see
//! [`SimSocket::take_edges`]), so a wake-up that is forgotten shows as a conversation that stops.
//!
//! `WSLAB_SEEDS=100000` plays more conversations, `WSLAB_SEED=7` one of them.

use std::{ops::Range, sync::Arc, time::Instant};

use super::{Answer, App, Frame, ID, REQUEST, Random, frames, script::Ending, script::Script, shared};
use crate::{
    net::{
        Transport,
        sim::{Cut, SimSocket},
    },
    proto::{Connection, Limits, Opcode, Settings},
    session::{Pumped, Session, Shared},
};

/// The other end of the simulated wire.
pub(crate) trait Peer {
    /// Sends a prefix of `octets` and returns its length.
    fn send(&mut self, octets: &[u8], socket: &mut SimSocket) -> usize;
    /// Ends its side of TCP.
    fn end(&mut self, socket: &mut SimSocket);
    /// Makes of what it read what it was told.
    fn read(&mut self, wire: &[u8], told: &mut Vec<u8>, socket: &mut SimSocket);
}

/// Octets as they are.
pub(crate) struct PlainPeer;

impl Peer for PlainPeer {
    fn send(&mut self, octets: &[u8], socket: &mut SimSocket) -> usize {
        socket.arrive(octets);
        octets.len()
    }

    fn end(&mut self, socket: &mut SimSocket) {
        socket.arrive_fin();
    }

    fn read(&mut self, wire: &[u8], told: &mut Vec<u8>, _: &mut SimSocket) {
        told.extend_from_slice(wire);
    }
}

/// A session between its application and its peer, moved by hand; the clock stands still.
struct World {
    session: Session<SimSocket>,
    shared: Shared,
    app: App,
    peer: Box<dyn Peer>,
    random: Random,
    /// What the peer was told.
    told: Vec<u8>,
    /// How much the peer leaves room for at once.
    room_max: usize,
    /// How the session was left.
    pumped: Pumped,
}

impl World {
    fn pump(&mut self, pump: impl FnOnce(&mut Session<SimSocket>, &mut Shared, &mut App) -> Pumped) {
        self.pumped = pump(&mut self.session, &mut self.shared, &mut self.app);
    }

    fn is_gone(&self) -> bool {
        self.pumped == Pumped::Gone
    }

    /// What the loop does: pumps on an event, or because work was left. Returns whether there was a reason.
    fn wake(&mut self, anyway: bool) -> bool {
        if self.is_gone() {
            return false;
        }
        let edges = self.session.socket_mut().take_edges(anyway);
        if let Some(edges) = edges {
            self.session.note_ready(edges.readable, edges.writable, edges.ended);
        } else if self.pumped == Pumped::Blocked {
            return false;
        }
        self.pump(|session, shared, app| session.pump(ID, shared, app));
        true
    }

    /// The peer takes what there is and leaves other room. Returns whether there was anything.
    fn peer_reads(&mut self, room: usize) -> bool {
        let socket = self.session.socket_mut();
        let wire = std::mem::take(&mut socket.outbound);
        socket.outbound_max = room;
        self.peer.read(&wire, &mut self.told, socket);
        !wire.is_empty()
    }

    /// Goes on until nothing moves any more, though the peer reads.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let room = 1 + self.random.below(self.room_max);
            if !(self.peer_reads(room) | self.wake(false)) {
                return;
            }
        }
        panic!("no end of it");
    }

    /// The opening handshake; the peer reads the answer.
    fn open(&mut self) {
        let sent = self.peer.send(REQUEST.as_bytes(), self.session.socket_mut());
        assert_eq!(sent, REQUEST.len());
        self.settle();
        assert_eq!(self.app.opens, 1);
        assert!(self.told.starts_with(b"HTTP/1.1 101 ") && self.told.ends_with(b"\r\n\r\n"));
        self.told.clear();
    }

    /// The peer sends these octets in pieces, while it reads now and then, and while events come late. Before the octet
    /// `leave_at` we close. Returns whether that came first.
    fn talk(&mut self, octets: &[u8], piece_max: usize, leave_at: Option<usize>) -> bool {
        let (mut sent, mut left) = (0, false);
        while sent < octets.len() && !self.is_gone() {
            if self.random.one_in(2) {
                let end = (sent + 1 + self.random.below(piece_max)).min(octets.len());
                sent += self.peer.send(&octets[sent..end], self.session.socket_mut());
            }
            if self.random.one_in(2) {
                let room = self.random.below(self.room_max + 1);
                self.peer_reads(room);
            }
            if !left && leave_at.is_some_and(|at| at < sent) && self.session.connection().is_open() {
                self.pump(|session, shared, app| session.go_away(ID, shared, app));
                left = true;
            }
            if self.random.one_in(2) {
                let anyway = self.random.one_in(4);
                self.wake(anyway);
            }
        }
        left
    }

    /// Octets that the connection, or TLS beneath it, holds.
    fn held_bytes(&self) -> usize {
        let tls = self.session.transport().tls().map_or(0, |tls| tls.octets_kept());
        self.session.connection().held_bytes() + tls
    }

    /// The end of a session that outlived the conversation: the peer ends too, or we have waited for that long enough.
    fn finish(&mut self) {
        if !self.is_gone() && self.random.one_in(2) {
            self.peer.end(self.session.socket_mut());
            self.settle();
        } else if !self.is_gone() {
            self.shared.now = self.session.next_deadline().expect("every wait has an end");
            self.pump(|session, shared, app| session.on_deadline(ID, shared, app));
            self.settle();
        }
        assert!(self.is_gone(), "the session is left over: {:?}", self.session);
        assert_eq!(self.held_bytes(), 0, "held by a session that is gone");
    }
}

pub(crate) const QUEUES: &[(usize, usize)] = &[(1 << 20, 256 << 10), (50_000, 10_000), (1000, 100), (300, 299), (1, 0)];

pub(crate) const ANSWERS: &[&[Answer]] = &[
    &[Answer::Reply],
    &[Answer::Nothing, Answer::Reply, Answer::SendOnly],
    &[Answer::SendThenReply, Answer::ReplyThenSend, Answer::Twice],
    &[Answer::PingThenReply, Answer::Reply],
    &[Answer::Nothing, Answer::Reply, Answer::SendThenReply, Answer::Twice, Answer::PingThenReply, Answer::SendOnly],
];

pub(crate) fn cut(random: &mut Random, octets: usize) -> Cut {
    match random.below(3) {
        0 => Cut::Whole,
        1 => Cut::Octets(1 + random.below(5_000) + octets / 500),
        _ => Cut::Random(random.next() | 1),
    }
}

/// Plays the conversation of one seed and judges it.
fn check(seed: u64, connect: impl FnOnce(SimSocket) -> (Transport<SimSocket>, Box<dyn Peer>)) {
    let mut random = Random(seed);
    let script = Script::random(&mut random);
    let octets = script.octets.len();
    let socket = SimSocket::cut(cut(&mut random, octets), cut(&mut random, octets));
    let (transport, peer) = connect(socket);
    let (queue_high_bytes, queue_low_bytes) = random.pick(QUEUES);
    let limits = Limits { queue_high_bytes, queue_low_bytes, ..Limits::DEFAULT };
    let now = Instant::now();
    let connection = Connection::server(Arc::new(Settings { limits, ..Settings::default() }), now);
    let mut world = World {
        session: Session::new(transport, connection),
        shared: shared(now),
        app: App::new(random.pick(ANSWERS), Random(random.next())),
        peer,
        told: Vec::new(),
        // Not in so small bites that a long conversation takes for ever.
        room_max: random.pick(&[1, 9, 1000, 60_000, 2_000_000]).max(octets / 200),
        pumped: Pumped::Blocked,
        random,
    };
    world.open();

    let piece_max = world.random.pick(&[1, 7, 100, 3000, 200_000]).max(octets / 200);
    let leave_at = if world.random.one_in(4) { Some(world.random.below(octets + 1)) } else { None };
    let (messages, ending) = script.octets.split_at(script.ending_at);
    let mut left = world.talk(messages, piece_max, leave_at);
    if world.random.one_in(2) {
        world.settle();
        assert_eq!(world.held_bytes(), 0, "held by an idle connection");
    }
    let leave_at = leave_at.filter(|_| !left).and_then(|at| at.checked_sub(messages.len()));
    left |= world.talk(ending, piece_max, leave_at);
    if matches!(script.ending, Ending::Fin) {
        world.peer.end(world.session.socket_mut());
        world.settle();
        assert!(world.is_gone(), "the peer has ended: {:?}", world.session);
    }
    world.settle();
    world.finish();
    judge(&script, &world.app, &frames(&world.told), left);
}

/// The naive model: all that was said is answered, in order, the Close last. Once we have closed (`left`) the rest is not.
pub(crate) fn judge(script: &Script, app: &App, told: &[Frame], left: bool) {
    expect_same(
        "message",
        &app.messages,
        &script.messages[..if left { app.messages.len() } else { script.messages.len() }],
    );
    assert_eq!(app.pongs, script.pongs, "pongs to the application");
    assert_eq!(app.errors, 0);
    assert!(
        matches!(&app.closures[..], [closure] if script.ending.is_told_as(closure, left)),
        "{:?} was told as {:?}",
        script.ending,
        app.closures
    );

    let of = |opcode: Opcode| told.iter().filter(move |frame| frame.opcode == opcode as u8);
    assert_eq!(of(Opcode::Ping).count(), app.pings, "pings to the peer");
    let pongs: Vec<&[u8]> = of(Opcode::Pong).map(|pong| &pong.payload[..]).collect();
    // §5.5.3: a Pong for the newest Ping may stand for those before it.
    let mut pings = script.pings.iter().map(|ping| &ping[..]);
    assert!(pongs.iter().all(|pong| pings.any(|ping| ping == *pong)), "a pong answers a ping, once, in order");
    assert!(left || pongs.last().copied() == script.pings.last().map(|ping| &ping[..]), "the last ping is answered");

    let data: Vec<Frame> = told.iter().filter(|frame| frame.opcode < 9).cloned().collect();
    let close = if left { Some(1001u16.to_be_bytes().to_vec()) } else { script.ending.close_answer() };
    let mut expected = app.queued.clone();
    if let Some(payload) = close {
        expected.push(Frame::new(Opcode::Close, &payload));
        assert_eq!(told.last().map(|frame| frame.opcode), Some(Opcode::Close as u8), "the Close is last of all");
    }
    expect_same("frame to the peer", &data, &expected);
}

/// `assert_eq` for lists that are too long to print.
fn expect_same<T: PartialEq + std::fmt::Debug>(what: &str, got: &[T], expected: &[T]) {
    let at = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let Some(at) = at.or_else(|| (got.len() != expected.len()).then(|| got.len().min(expected.len()))) else { return };
    let show = |of: &[T]| format!("{:.200?}", of.get(at).map(|it| format!("{it:.200?}")));
    let (got, expected, of) = (show(got), show(expected), (got.len(), expected.len()));
    panic!("{what} {at} of {of:?}: {got} instead of {expected}");
}

/// Says how to play a failed seed again.
pub(crate) struct Replay(pub(crate) &'static str, pub(crate) u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {1}: replay with WSLAB_SEED={1} cargo test --lib {0}", self.0, self.1);
        }
    }
}

/// The seeds to play: so many from 1 on, unless the environment says otherwise.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().map(|value: String| value.parse().expect(name));
    let (first, count) = match (number("WSLAB_SEED"), number("WSLAB_SEEDS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, given) => (1, given.unwrap_or(count)),
    };
    first..first + count
}

/// Plays all seeds, each over what `connect` makes of its socket.
pub(crate) fn check_all(
    test: &'static str,
    count: u64,
    connect: impl Fn(SimSocket) -> (Transport<SimSocket>, Box<dyn Peer>),
) {
    for seed in seeds(count) {
        let _replay = Replay(test, seed);
        check(seed, &connect);
    }
}

#[test]
fn a_random_conversation_is_answered_in_order_and_leaves_nothing_behind() {
    check_all("a_random_conversation_is_answered", 40, |socket| (Transport::Plain(socket), Box::new(PlainPeer)));
}
