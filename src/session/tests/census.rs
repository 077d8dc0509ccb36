//! What sessions have together: the running sums are what a recount gives, shedding frees what they hold, and no poll sleeps past
//! a deadline of any.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{App, REQUEST, Random, compressed, frames, masked, shared};
use crate::{
    net::{
        Transport,
        sim::{Cut, SimSocket},
    },
    proto::{
        Connection, Limits, Settings,
        deflate::{DeflateConfig, DeflateMode},
        handshake::Refusal,
    },
    session::{ConnId, List, Readiness, Session, Sessions},
};

struct Crowd {
    sessions: Sessions<SimSocket>,
    app: App,
    settings: Arc<Settings>,
    ids: Vec<ConnId>,
    random: Random,
}

impl Crowd {
    fn new(settings: Settings, seed: u64) -> Self {
        Crowd {
            sessions: Sessions::new(shared(Instant::now()), None),
            app: App::echo(),
            settings: Arc::new(settings),
            ids: Vec::new(),
            random: Random(seed),
        }
    }

    fn join(&mut self) -> ConnId {
        let connection = Connection::server(self.settings.clone(), self.sessions.shared.now);
        let socket = SimSocket::cut(Cut::Whole, Cut::Random(self.random.next() | 1));
        let session = Session::new(Transport::Plain(socket), connection);
        let id = self.sessions.insert(session, |_, _| Ok(())).unwrap();
        self.ids.push(id);
        id
    }

    fn send(&mut self, id: ConnId, octets: &[u8]) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.socket_mut().arrive(octets);
        }
        self.wake(id);
    }

    fn wake(&mut self, id: ConnId) {
        let edges = self.sessions.get_mut(id).and_then(|session| session.socket_mut().take_edges(true));
        let Some(edges) = edges else { return };
        let readiness = Readiness { readable: edges.readable, writable: edges.writable, ended: edges.ended };
        self.sessions.on_ready(id, readiness, &mut self.app);
    }

    /// The end of a turn; the sums must hold, and a poll would sleep until the earliest deadline at most.
    fn end_turn(&mut self) {
        self.sessions.pump_listed(List::Heavy, &mut self.app, || true);
        self.sessions.on_deadlines(&mut self.app);
        assert_eq!(self.sessions.counted(), self.sessions.recount(), "running sums and a recount");
        self.sessions.reap();
        assert_eq!(self.sessions.counted(), self.sessions.recount(), "the same after the dead have gone");
        let Crowd { sessions, ids, .. } = self;
        ids.retain(|id| sessions.get(*id).is_some());
        let now = sessions.shared.now;
        let next = ids.iter().filter_map(|id| sessions.get(*id)?.next_deadline()).min();
        let sleeps = sessions.poll_timeout(now);
        assert!(
            next.is_none_or(|at| sleeps.is_some_and(|sleep| sleep <= at - now)),
            "asleep for {sleeps:?} past a deadline"
        );
    }
}

#[test]
fn the_running_sums_are_a_recount_whatever_peers_do() {
    let request = REQUEST.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    for seed in 0..40 {
        let limits = Limits { queue_high_bytes: 40_000, queue_low_bytes: 10_000, ..Limits::DEFAULT };
        let deflate = DeflateConfig { mode: DeflateMode::Takeover, ..DeflateConfig::default() };
        let mut crowd = Crowd::new(Settings { limits, deflate, ..Settings::default() }, seed);
        for _ in 0..300 {
            crowd.sessions.shared.now += Duration::from_millis(crowd.random.below(150) as u64);
            if crowd.ids.len() < 2 || crowd.random.one_in(20) {
                crowd.join();
            }
            let id = crowd.ids[crowd.random.below(crowd.ids.len())];
            match crowd.random.below(13) {
                0 => crowd.send(id, request.as_bytes()),
                1 => crowd.send(id, &request.as_bytes()[..100]),
                2 => crowd.send(id, &REQUEST.as_bytes()[100..]),
                3 => crowd.send(id, &masked(0x82, &vec![7; 30_000])),
                4 => crowd.send(id, &masked(0x02, &[7; 100])[..50]),
                5 => crowd.send(id, &masked(0x01, b"begun")),
                6 => crowd.send(id, &masked(0xc2, &compressed(5000))),
                7 => crowd.send(id, &masked(0x89, b"ping").repeat(20)),
                8 => crowd.send(id, &masked(0x88, b"")),
                9 => {
                    let room = crowd.random.below(200_000);
                    if let Some(session) = crowd.sessions.get_mut(id) {
                        session.socket_mut().outbound.clear();
                        session.socket_mut().outbound_max = room;
                    }
                    crowd.wake(id);
                }
                10 if crowd.random.one_in(3) => crowd.sessions.shed(id, &mut crowd.app),
                11 if crowd.random.one_in(3) => {
                    if let Some(oldest) = crowd.sessions.oldest_opening() {
                        let refusal = Refusal::TooManyHandshakes { handshakes_max: 1 };
                        crowd.sessions.crowd_out(oldest, refusal, &mut crowd.app);
                    }
                }
                12 if crowd.random.one_in(5) => crowd.sessions.abort(id, &mut crowd.app),
                _ => {}
            }
            crowd.end_turn();
        }
        for id in crowd.ids.clone() {
            crowd.sessions.abort(id, &mut crowd.app);
        }
        crowd.end_turn();
        assert_eq!(crowd.sessions.counted(), (0, 0), "seed {seed}: all are gone");
    }
}

#[test]
fn a_poll_sleeps_without_a_timer_once_everybody_has_opened_or_gone() {
    let mut crowd = Crowd::new(Settings::default(), 1);
    let ids: Vec<ConnId> = (0..3).map(|_| crowd.join()).collect();
    let now = crowd.sessions.shared.now;
    assert_eq!(crowd.sessions.poll_timeout(now), Some(Settings::default().timeouts.handshake));
    for id in &ids {
        crowd.sessions.get_mut(*id).unwrap().socket_mut().write_cut = Cut::Whole;
    }
    crowd.send(ids[0], REQUEST.as_bytes());
    crowd.send(ids[2], REQUEST.as_bytes());
    crowd.end_turn();
    assert!(crowd.sessions.poll_timeout(now).is_some(), "one is still opening");
    crowd.sessions.abort(ids[1], &mut crowd.app);
    crowd.end_turn();
    assert_eq!((crowd.sessions.poll_timeout(now), crowd.sessions.waiting()), (None, (0, 0)));
    // Who gets a deadline again is slept for.
    crowd.sessions.get_mut(ids[0]).unwrap().socket_mut().outbound_max = 0;
    crowd.send(ids[0], &masked(0x82, &[7; 1000]));
    crowd.end_turn();
    assert_eq!(crowd.sessions.poll_timeout(now), Some(Settings::default().timeouts.write_stall));
}

#[test]
fn buffers_that_nobody_uses_are_given_back_and_then_no_poll_wakes_for_them() {
    let mut crowd = Crowd::new(Settings::default(), 1);
    let ids: Vec<ConnId> = (0..12).map(|_| crowd.join()).collect();
    let message = masked(0x82, &vec![7; 1 << 20]);
    for id in &ids {
        crowd.sessions.get_mut(*id).unwrap().socket_mut().write_cut = Cut::Whole;
        crowd.send(*id, REQUEST.as_bytes());
        crowd.send(*id, &message[..1 << 19]);
    }
    for id in &ids {
        crowd.send(*id, &message[1 << 19..]);
    }
    for _ in 0..20 {
        crowd.end_turn();
    }
    let answered = |id: &ConnId| crowd.sessions.get(*id).unwrap().socket().outbound.len() > 1 << 20;
    assert!(ids.iter().all(answered), "all have their echo");
    assert!(crowd.sessions.shared.workspace.has_surplus(), "twelve of 1 MiB");
    for _ in 0..3 {
        let sleep = crowd.sessions.poll_timeout(crowd.sessions.shared.now);
        let Some(sleep) = sleep else { break };
        assert!(sleep <= Duration::from_millis(250), "{sleep:?}");
        crowd.sessions.shared.now += sleep;
        crowd.end_turn();
    }
    assert!(!crowd.sessions.shared.workspace.has_surplus());
    assert_eq!(crowd.sessions.poll_timeout(crowd.sessions.shared.now), None);
}

#[test]
fn the_largest_is_shed_with_a_close_behind_the_frame_begun_and_the_second_time_dropped() {
    let mut crowd = Crowd::new(Settings::default(), 1);
    let [small, large] = [crowd.join(), crowd.join()];
    for (id, messages) in [(small, 1), (large, 5)] {
        crowd.sessions.get_mut(id).unwrap().socket_mut().write_cut = Cut::Whole;
        crowd.send(id, REQUEST.as_bytes());
        let socket = crowd.sessions.get_mut(id).unwrap().socket_mut();
        socket.outbound.clear();
        socket.outbound_max = 1000;
        crowd.send(id, &masked(0x82, &[7; 50_000]).repeat(messages));
        crowd.end_turn();
    }
    assert_eq!(crowd.sessions.largest(), Some(large));
    let before = crowd.sessions.memory_bytes();
    crowd.sessions.shed(large, &mut crowd.app);
    crowd.end_turn();
    assert!(crowd.sessions.memory_bytes() + 190_000 < before, "{before} before, {}", crowd.sessions.memory_bytes());
    assert_eq!(crowd.app.closures.len(), 1, "the application is told");
    // The peer reads on: the echo that the wire had begun, and the Close.
    crowd.sessions.get_mut(large).unwrap().socket_mut().outbound_max = usize::MAX;
    crowd.wake(large);
    let wire = crowd.sessions.get(large).unwrap().socket().outbound.clone();
    let told: Vec<_> = frames(&wire).into_iter().map(|frame| (frame.opcode, frame.payload.len())).collect();
    assert_eq!(told, [(2, 50_000), (8, 2)]);
    assert!(wire.ends_with(b"\x88\x02\x03\xf5"), "Close 1013");
    // One whose frame begun is still the largest: there is nothing left to say.
    crowd.sessions.shed(small, &mut crowd.app);
    crowd.end_turn();
    assert_eq!(crowd.sessions.largest(), Some(small));
    crowd.sessions.shed(small, &mut crowd.app);
    crowd.end_turn();
    assert!(crowd.sessions.get(small).is_none(), "dropped");
    assert_eq!(crowd.app.closures.len(), 2, "each is told of once");
}

#[test]
fn a_handshake_that_is_crowded_out_is_told_408_and_not_lingered_with() {
    let mut crowd = Crowd::new(Settings::default(), 1);
    let ids: Vec<ConnId> = (0..3).map(|_| crowd.join()).collect();
    for id in &ids {
        crowd.sessions.get_mut(*id).unwrap().socket_mut().write_cut = Cut::Whole;
    }
    crowd.send(ids[0], REQUEST.as_bytes());
    crowd.send(ids[1], &REQUEST.as_bytes()[..20]);
    crowd.end_turn();
    assert_eq!(crowd.sessions.openings(), 2);
    assert_eq!(crowd.sessions.oldest_opening(), Some(ids[1]));
    crowd.sessions.crowd_out(ids[1], Refusal::TooManyHandshakes { handshakes_max: 1 }, &mut crowd.app);
    let socket = crowd.sessions.get(ids[1]).unwrap().socket();
    assert!(socket.outbound.starts_with(b"HTTP/1.1 408 ") && socket.outbound_fin);
    crowd.end_turn();
    assert!(crowd.sessions.get(ids[1]).is_none(), "gone at once");
    assert_eq!(crowd.sessions.oldest_opening(), Some(ids[2]));
}
