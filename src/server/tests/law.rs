//! The law: plays a scenario against the loop, watches its bounds turn by turn, and judges what everybody was told.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc, sync::mpsc::channel, time::Duration};

use super::{
    super::event_loop::Loop,
    counting::{ends_add_up, gauges_are_true},
    net::{Hold, Net},
    peer::{Peer, head_len},
    scenario::Scenario,
    sim_kernel::{Finale, Machine, SimKernel},
};
use crate::{
    proto::{Closure, HEADER_BYTES_MAX, Message, Sender, WireHeader, handshake::Opened},
    server::{Config, ProxyProtocol},
    session::{
        ConnId, Handler,
        tests::{App, Frame, Random, law::judge, script::Ending},
    },
};

/// Rounds of the loop before we say that there is no end of it.
const ROUNDS_MAX: usize = 100_000;

/// Readings of the clock between two steps of a peer, some.
const PEER_READINGS: u32 = 10;

/// An application for every peer, and what was told of whom.
struct Apps {
    machine: Rc<RefCell<Machine>>,
    apps: Vec<Option<App>>,
    answers: Vec<(&'static [crate::session::tests::Answer], u64)>,
    names: HashMap<ConnId, usize>,
    open: usize,
    failed: usize,
    /// The doors are closed: nobody is let in any more.
    is_draining: bool,
}

impl Apps {
    fn app(&mut self, id: ConnId) -> &mut App {
        self.machine.borrow_mut().net.progress += 1;
        self.apps[self.names[&id]].as_mut().expect("it was opened")
    }
}

impl Handler for Apps {
    fn on_open(&mut self, id: ConnId, opened: &Opened, sender: Sender<'_>) {
        let peer: usize = opened.path[1..].parse().expect("a peer's own path");
        let (answers, seed) = self.answers[peer];
        assert!(!self.is_draining, "peer {peer} is opened while the server drains");
        assert!(self.apps[peer].is_none(), "peer {peer} is opened twice");
        assert!(self.names.insert(id, peer).is_none(), "{id} is a name used before");
        self.apps[peer] = Some(App::new(answers, Random(seed)));
        self.open += 1;
        self.app(id).on_open(id, opened, sender);
    }

    fn on_message(&mut self, id: ConnId, message: Message<'_>, sender: Sender<'_>) {
        self.app(id).on_message(id, message, sender);
    }

    fn on_pong(&mut self, id: ConnId, payload: &[u8], sender: Sender<'_>) {
        self.app(id).on_pong(id, payload, sender);
    }

    fn on_close(&mut self, id: ConnId, closure: &Closure) {
        self.open -= 1;
        self.app(id).on_close(id, closure);
    }

    fn on_failed(&mut self, id: ConnId, _: &Closure) {
        assert!(!self.names.contains_key(&id), "{id} was opened");
        self.failed += 1;
    }

    fn on_error(&mut self, id: ConnId, error: &io::Error) {
        if self.names.contains_key(&id) {
            self.app(id).on_error(id, error);
        }
    }
}

/// Plays the scenario of one seed. The same seed is the same scenario for ever, as long as nothing of it is changed.
pub(super) fn check(seed: u64, tls: Option<&Rc<super::TlsKit>>, pace: Duration) {
    let mut random = Random(seed);
    let mut scenario = Scenario::random(&mut random, tls);
    scenario.faults.pace = pace;
    // A peer moves once a poll at most. One that says 3 KiB by 54 octets each (seed 93) needs 240 polls after our Close, and where turns
    // take time nothing is wrong with that. Whether anybody starves, probes tell.
    scenario.config.settings.timeouts.close += 300 * PEER_READINGS * pace;
    let net = Net::new(Random(random.next()), scenario.faults.clone());
    let peers: Vec<Peer> = scenario.plans.iter().map(|plan| Peer::new(plan.clone(), net.now)).collect();
    let (sender, commands) = channel();
    let machine = Rc::new(RefCell::new(Machine::new(net, peers, scenario.finale, sender)));
    let apps = Apps {
        machine: machine.clone(),
        apps: scenario.plans.iter().map(|_| None).collect(),
        answers: scenario.answers.iter().map(|answers| (*answers, random.next())).collect(),
        names: HashMap::new(),
        open: 0,
        failed: 0,
        is_draining: false,
    };
    let mut config = scenario.config.clone();
    config.tls = tls.map(|kit| kit.server.clone());
    let mut server = Loop::new(SimKernel(machine.clone()), &config, apps, commands);
    for door in 0..scenario.doors * 2 {
        let listener = Machine::listen(&machine);
        server.reception.open(listener, SocketAddr::from(([127, 0, 0, 1], 80)), door >= scenario.doors);
    }

    let mut events = Vec::new();
    let mut rounds = 0;
    while !server.is_over() {
        server.round(&mut events).expect("the poll does not fail");
        server.handler.is_draining = server.reception.doors().is_empty();
        keep_bounds(&server, &scenario);
        gauges_are_true(&server);
        rounds += 1;
        assert!(
            rounds < ROUNDS_MAX,
            "no end of it: {:?} {server:?} {:#?}",
            machine.borrow().net.elapsed(),
            machine.borrow().peers
        );
    }
    if scenario.finale == Finale::WhenQuiet {
        assert_eq!((server.sessions.len(), server.sessions.waiting()), (0, (0, 0)), "sessions, deadlines, lists");
        assert_eq!((server.lobby.len(), server.lobby.next_deadline()), (0, None), "the lobby");
    }
    server.abandon();
    server.sessions.reap();
    assert_eq!(server.sessions.len(), 0);
    assert_eq!(server.handler.open, 0, "opened, and never closed");
    let apps = std::mem::take(&mut server.handler.apps);
    let failed = server.handler.failed;
    ends_add_up(&server, apps.iter().flatten().count(), failed, machine.borrow().net.accepted);
    drop(server);

    let mut machine = machine.borrow_mut();
    if let Some(since) = machine.net.ending {
        let took = machine.net.now - since;
        // Its last turn, too, takes its time, by some clock readings.
        let turn = Duration::from_millis(10) + 100 * scenario.faults.pace;
        assert!(took <= config.grace + turn, "{took:?} for the end");
    }
    while machine.step(false) {}
    assert!(machine.net.wires.iter().all(|wire| wire.hold == Hold::Closed));
    let opened = apps.iter().flatten().count();
    let most = machine.net.accepted;
    assert!(opened + failed <= most, "{opened} opened and {failed} failed of {most}");
    // Who left the lobby by its back door was no connection yet.
    let is_lobby_used = config.proxy_protocol != ProxyProtocol::Off;
    if most < config.connections_max && tls.is_none() && !is_lobby_used {
        assert_eq!(opened + failed, most, "every connection is reported");
    }
    for (at, (peer, app)) in machine.peers.iter().zip(&apps).enumerate() {
        let judged =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge_peer(peer, app.as_ref(), scenario.finale)));
        if let Err(panic) = judged {
            eprintln!("peer {at}: {peer:?}");
            let app = app.as_ref().map(|app| (&app.closures, app.messages.len(), app.errors));
            eprintln!("its application: {app:?}; {:?}, {:?}", scenario.finale, scenario.config.settings);
            std::panic::resume_unwind(panic);
        }
    }
}

/// What holds after every turn.
fn keep_bounds(server: &Loop<SimKernel, Apps>, scenario: &Scenario) {
    let Config { connections_max, turned_away_max, .. } = scenario.config;
    assert!(server.sessions.len() <= connections_max + turned_away_max, "{} sessions", server.sessions.len());
    assert!(server.handler.open <= connections_max, "{} connections", server.handler.open);
    let lobby = server.lobby.len();
    assert!(server.sessions.len() + lobby <= connections_max + 2 * turned_away_max, "{lobby} in the lobby");
    let limits = &scenario.config.settings.limits;
    // The mark, and what may cross it at once: a message twice over, or a Pong or a Ping beside it.
    let frame = limits.message_bytes_max as usize + HEADER_BYTES_MAX;
    let queued_max = limits.queue_high_bytes + 2 * frame + 1_000;
    for id in server.sessions.ids() {
        let connection = server.sessions.get(id).expect("a session of that name").connection();
        assert!(connection.queued_bytes() <= queued_max, "{} octets queued", connection.queued_bytes());
    }
}

fn judge_peer(peer: &Peer, app: Option<&App>, finale: Finale) {
    let Some(app) = app else {
        let may_be_refused = finale != Finale::WhenQuiet || !peer.plan.is_judged;
        assert!(may_be_refused && !peer.was_opened(), "never served");
        return;
    };
    assert_eq!(app.closures.len(), 1, "closed once: {:?}", app.closures);
    let script = &peer.plan.script;
    if !peer.plan.is_judged || matches!(finale, Finale::Stop(_)) {
        let spoken = script.messages.iter().zip(&app.messages).take_while(|(said, heard)| said == heard).count();
        assert!(script.messages.is_empty() || spoken == app.messages.len(), "message {spoken} is not what was said");
        return;
    }
    assert!(peer.heard_end, "reset");
    let head = head_len(&peer.told).expect("a 101");
    let frames = frames(&peer.told[head..], peer.plan.is_compressed);
    let was_closed_before = frames.iter().any(|frame| frame.opcode == 8 && frame.payload == 1001u16.to_be_bytes());
    let left = match (&app.closures[0], script.ending) {
        (Closure::Peer { .. }, _) => false,
        (Closure::Local { .. }, _) => true,
        (_, Ending::Close(Some(1001))) => false,
        _ => was_closed_before,
    };
    assert!(!left || finale != Finale::WhenQuiet, "we closed without a reason");
    judge(script, app, &frames, left);
}

/// Splits what a peer was told into frames, inflating what is compressed.
fn frames(mut wire: &[u8], is_compressed: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let (header, size) = WireHeader::parse(wire).expect("a whole header");
        assert!(header.fin && header.mask.is_none(), "no frame of a server's: {header:?}");
        assert!(header.rsv == 0 || (header.rsv == 4 && is_compressed && header.opcode < 8), "{header:?}");
        let payload = wire.get(size..size + header.len as usize).expect("a whole frame");
        let inflated = if header.rsv == 4 { super::inflate(payload) } else { payload.to_vec() };
        frames.push(Frame { opcode: header.opcode, payload: inflated });
        wire = &wire[size + payload.len()..];
    }
    frames
}
