//! The other ends: peers with a plan of what they say, in which pieces, how they read, and how they leave.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::net::{Hold, Net};
use crate::{
    net::sim::Cut,
    session::tests::{law::Peer as Line, script::Script},
};

/// How often a peer that was turned away comes again.
const TRIES_MAX: usize = 1_000;

/// How a peer ends when it has said all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It waits for us to end.
    Stay,
    /// Its side only: it goes on reading.
    Fin,
    /// Without a word.
    Reset,
    /// Both sides, whatever was not read.
    Vanish,
}

/// What a peer is going to do.
#[derive(Clone)]
pub(super) struct Plan {
    /// What it is, for people.
    pub(super) kind: &'static str,
    pub(super) door: usize,
    /// When it comes, after the beginning.
    pub(super) at: Duration,
    pub(super) request: Vec<u8>,
    /// What it says behind it.
    pub(super) script: Script,
    /// Octets of both that it says at all.
    pub(super) said_max: usize,
    /// It waits for the 101 before it goes on.
    pub(super) is_patient: bool,
    pub(super) piece_max: usize,
    /// Between two pieces.
    pub(super) pause: Duration,
    /// Octets it reads at once; 0: it never reads.
    pub(super) bite: usize,
    pub(super) end: End,
    /// How long it stays at most, unless it plays by the rules.
    pub(super) patience: Duration,
    /// Messages that it sends one by one, each when the one before is answered.
    pub(super) probes: usize,
    /// It plays by the rules, so what it is told is judged octet by octet.
    pub(super) is_judged: bool,
    pub(super) is_compressed: bool,
    pub(super) read_cut: Cut,
    pub(super) write_cut: Cut,
    /// The send buffer of our end.
    pub(super) room: usize,
    /// Octets in its receive buffer at most.
    pub(super) inbound_max: usize,
    /// Makes of octets what travels: plain or TLS.
    pub(super) line: Rc<dyn Fn() -> Box<dyn Line>>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Plan { kind, door, at, said_max, piece_max, pause, bite, end, probes, .. } = self;
        write!(
            f,
            "{kind} at door {door} after {at:?}: {said_max} octets by {piece_max} every {pause:?}, reads {bite}, {end:?}, {probes} probes"
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away(Instant),
    On(usize),
    Done,
}

pub(super) struct Peer {
    pub(super) plan: Plan,
    stage: Stage,
    line: Box<dyn Line>,
    sent: usize,
    /// Its side has ended.
    has_ended: bool,
    /// Everything it read.
    pub(super) told: Vec<u8>,
    /// It saw our end, rather than a reset.
    pub(super) heard_end: bool,
    next_piece: Instant,
    /// When it has had enough; a peer that plays by the rules waits for ever.
    leaves_at: Option<Instant>,
    tries: usize,
    /// What the answers to all probes come to, and the poll at which the last was sent.
    answers_len: usize,
    asked_at: Option<u64>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = self.told.get(..60).unwrap_or(&self.told).escape_ascii();
        write!(f, "{:?}; {:?}, {} sent, told {} \"{told}\"", self.plan, self.stage, self.sent, self.told.len())
    }
}

/// The end of a response head.
pub(super) fn head_len(told: &[u8]) -> Option<usize> {
    memchr::memmem::find(told, b"\r\n\r\n").map(|at| at + 4)
}

impl Peer {
    pub(super) fn new(plan: Plan, start: Instant) -> Self {
        Peer {
            stage: Stage::Away(start + plan.at),
            line: (plan.line)(),
            sent: 0,
            has_ended: false,
            told: Vec::new(),
            heard_end: false,
            next_piece: start,
            leaves_at: (!plan.is_judged).then_some(start + plan.at + plan.patience),
            tries: 0,
            answers_len: 0,
            asked_at: None,
            plan,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    pub(super) fn was_opened(&self) -> bool {
        self.told.starts_with(b"HTTP/1.1 101 ")
    }

    /// When it acts by itself next.
    pub(super) fn next_instant(&self, net: &Net) -> Option<Instant> {
        match self.stage {
            Stage::Away(at) => Some(at),
            Stage::On(_) => {
                let piece = Some(self.next_piece).filter(|at| self.sent < self.plan.said_max && *at > net.now);
                piece.into_iter().chain(self.leaves_at).min()
            }
            Stage::Done => None,
        }
    }

    /// Tires of waiting.
    fn leave(&mut self, wire: usize, net: &mut Net) {
        match net.random.below(3) {
            0 => net.wires[wire].socket.arrive_fin(),
            1 => net.wires[wire].socket.arrive_rst(),
            _ => self.vanish(wire, net),
        }
        self.stage = Stage::Done;
    }

    /// Does what it can. Returns whether there was anything.
    pub(super) fn act(&mut self, net: &mut Net) -> bool {
        match self.stage {
            Stage::Done => false,
            Stage::Away(at) if at > net.now => false,
            Stage::Away(_) => {
                let plan = &self.plan;
                let wire = net.connect(plan.door, plan.read_cut, plan.write_cut, plan.room);
                self.stage = wire.map_or(Stage::Done, Stage::On);
                true
            }
            Stage::On(wire) if self.leaves_at.is_some_and(|at| at <= net.now) => {
                self.leave(wire, net);
                true
            }
            Stage::On(wire) => {
                let heard = self.hear(wire, net);
                if self.stage != Stage::On(wire) {
                    return true;
                }
                self.ask(wire, net);
                let spoke = self.speak(wire, net);
                heard | spoke | self.end(wire, net)
            }
        }
    }

    fn hear(&mut self, at: usize, net: &mut Net) -> bool {
        let wire = &mut net.wires[at];
        if wire.is_reset {
            self.come_again_or(Stage::Done, net);
            return true;
        }
        let bite = self.plan.bite.min(wire.socket.outbound.len());
        if bite > 0 {
            let octets: Vec<u8> = wire.socket.outbound.drain(..bite).collect();
            self.line.read(&octets, &mut self.told, &mut wire.socket);
        }
        let is_over = wire.socket.outbound.is_empty() && wire.socket.outbound_fin;
        if is_over {
            self.heard_end = true;
            // Most end their side too; with the others the loop's patience has to end.
            if !self.has_ended && !net.random.one_in(4) {
                net.wires[at].socket.arrive_fin();
            }
            self.come_again_or(Stage::Done, net);
        }
        bite > 0 || is_over
    }

    /// A peer that means well and was not served tries again.
    fn come_again_or(&mut self, stage: Stage, net: &mut Net) {
        let was_refused = self.told.is_empty() || self.told.starts_with(b"HTTP/1.1 503 ");
        if !self.plan.is_judged || !was_refused || net.ending.is_some() {
            self.stage = stage;
            return;
        }
        self.tries += 1;
        assert!(self.tries < TRIES_MAX, "never served: {self:?}");
        self.told.clear();
        (self.sent, self.has_ended, self.heard_end) = (0, false, false);
        self.line = (self.plan.line)();
        self.stage = Stage::Away(net.now + Duration::from_millis(50 + net.random.next() % 450));
    }

    /// The next probe, once the last is answered; a Close when there is none left.
    fn ask(&mut self, wire: usize, net: &Net) {
        if self.plan.probes == 0 || !self.was_opened() {
            return;
        }
        let Some(head) = head_len(&self.told) else { return };
        let Plan { probes, script, request, said_max, .. } = &mut self.plan;
        let wire = &net.wires[wire];
        if self.told.len() < head + self.answers_len && net.ending.is_none() {
            // Nobody starves: what the loop was told of, it answers in that turn, if the turn has the time.
            let late = net.polls > wire.told_at + net.polls_to_answer();
            let asked = late && self.asked_at.is_some_and(|asked| wire.told_at >= asked);
            assert!(!asked || wire.hold != Hold::Held, "a message starves: {:?}", self.stage);
            return;
        }
        if self.sent < *said_max {
            return;
        }
        *probes -= 1;
        if *probes == 0 || net.ending.is_some() {
            *probes = 0;
            script.close(1000);
        } else {
            let payload: Vec<u8> = (0..*probes as u8 % 100).collect();
            script.ask(&payload);
            self.answers_len += 2 + payload.len();
        }
        self.asked_at = None;
        *said_max = request.len() + script.octets.len();
    }

    fn speak(&mut self, at: usize, net: &mut Net) -> bool {
        let plan = &self.plan;
        let is_waiting = plan.is_patient && self.sent == plan.request.len() && head_len(&self.told).is_none();
        if self.sent == plan.said_max || is_waiting || self.next_piece > net.now || self.has_ended {
            return false;
        }
        let socket = &mut net.wires[at].socket;
        let piece = 1 + net.random.below(plan.piece_max);
        let room = plan.inbound_max.saturating_sub(socket.inbound.len());
        let (octets, until) = match self.sent.checked_sub(plan.request.len()) {
            Some(from) => (&plan.script.octets[from..], plan.said_max - self.sent),
            None if plan.is_patient => (&plan.request[self.sent..], plan.said_max - self.sent),
            None => {
                // In one segment with what follows.
                let both: Vec<u8> = plan.request[self.sent..].iter().chain(&plan.script.octets).copied().collect();
                let piece = piece.min(room).min(plan.said_max - self.sent);
                let sent = self.line.send(&both[..piece.min(both.len())], socket);
                self.sent += sent;
                self.next_piece = net.now + plan.pause;
                self.asked_at = Some(net.polls);
                return sent > 0;
            }
        };
        let piece = piece.min(room).min(until).min(octets.len());
        if piece == 0 {
            return false;
        }
        let sent = self.line.send(&octets[..piece], socket);
        self.sent += sent;
        self.next_piece = net.now + plan.pause;
        self.asked_at = Some(net.polls);
        sent > 0
    }

    fn end(&mut self, at: usize, net: &mut Net) -> bool {
        let waits = self.plan.is_patient && self.plan.is_judged && head_len(&self.told).is_none();
        if self.sent < self.plan.said_max || self.has_ended || self.plan.probes > 0 || waits {
            return false;
        }
        match self.plan.end {
            End::Stay => return false,
            End::Fin => self.line.end(&mut net.wires[at].socket),
            End::Reset => {
                net.wires[at].socket.arrive_rst();
                self.stage = Stage::Done;
            }
            End::Vanish => {
                self.vanish(at, net);
                self.stage = Stage::Done;
            }
        }
        self.has_ended = true;
        true
    }

    fn vanish(&self, at: usize, net: &mut Net) {
        let wire = &mut net.wires[at];
        wire.is_unheard = true;
        if wire.socket.outbound.is_empty() {
            wire.socket.arrive_fin();
        } else {
            wire.socket.arrive_rst();
        }
    }
}
