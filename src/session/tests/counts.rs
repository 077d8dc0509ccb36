//! What `Sessions` count: every number grows for its own reason, and gauges come back to zero.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{App, REQUEST, masked, shared};
use crate::{
    net::{Transport, sim::SimSocket},
    proto::{Connection, Flow, Limits, Settings, Timeouts},
    session::{CloseCause, ConnId, Counts, HandshakeEnd, Readiness, Session, Sessions},
};

/// A loop with one peer.
struct Scene {
    sessions: Sessions<SimSocket>,
    app: App,
    id: ConnId,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut sessions = Sessions::new(shared(now), None);
        let session = Session::new(Transport::Plain(SimSocket::new()), Connection::server(Arc::new(settings), now));
        let id = sessions.insert(session, |_, _| Ok(())).unwrap();
        Scene { sessions, app: App::echo(), id }
    }

    fn open(settings: Settings) -> Self {
        let mut scene = Self::new(settings);
        scene.send(REQUEST.as_bytes());
        assert_eq!((scene.counts().opening, scene.counts().open), (0, 1));
        scene
    }

    fn counts(&self) -> Counts {
        self.sessions.shared.counts.clone()
    }

    fn socket(&mut self) -> &mut SimSocket {
        self.sessions.get_mut(self.id).unwrap().socket_mut()
    }

    fn wake(&mut self) {
        let Some(edges) = self.socket().take_edges(false) else { return };
        let readiness = Readiness { readable: edges.readable, writable: edges.writable, ended: edges.ended };
        self.sessions.on_ready(self.id, readiness, &mut self.app);
        self.sessions.reap();
    }

    fn send(&mut self, octets: &[u8]) {
        self.socket().arrive(octets);
        self.wake();
    }

    fn end(&mut self) {
        self.socket().arrive_fin();
        self.wake();
    }

    fn pass(&mut self, time: Duration) {
        self.sessions.shared.now += time;
        self.sessions.on_deadlines(&mut self.app);
        self.sessions.reap();
    }
}

/// What somebody does.
type Act = fn(&mut Scene);

#[test]
fn a_connections_stages_are_counted_where_it_is() {
    let mut scene = Scene::new(Settings::default());
    let stages = |scene: &Scene| {
        let counts = scene.counts();
        [counts.opening, counts.open, counts.closing]
    };
    assert_eq!(stages(&scene), [1, 0, 0]);
    scene.send(&REQUEST.as_bytes()[..20]);
    assert_eq!(stages(&scene), [1, 0, 0]);
    scene.send(&REQUEST.as_bytes()[20..]);
    assert_eq!(stages(&scene), [0, 1, 0]);
    scene.sessions.go_away(scene.id, &mut scene.app);
    assert_eq!(stages(&scene), [0, 0, 1]);
    scene.send(&masked(0x88, b"\x03\xe9"));
    assert_eq!((stages(&scene), scene.counts().closes(CloseCause::Local)), ([0, 0, 1], 1), "it lingers");
    scene.end();
    assert_eq!(stages(&scene), [0, 0, 0]);
}

#[test]
fn messages_and_octets_are_counted_both_ways() {
    let mut scene = Scene::open(Settings::default());
    let before = scene.sessions.shared.workspace.flow();
    let sent_bytes = scene.socket().outbound.len() as u64;
    assert_eq!(before, Flow { received_bytes: REQUEST.len() as u64, sent_bytes, ..Flow::default() });
    let input = [masked(0x81, b"one"), masked(0x02, b"t"), masked(0x89, b"ping"), masked(0x80, b"wo")].concat();
    scene.send(&input);
    let after = scene.sessions.shared.workspace.flow();
    assert_eq!((after.messages_received, after.messages_sent), (2, 2), "a fragment is none, a Ping neither");
    assert_eq!(after.received_bytes - before.received_bytes, input.len() as u64);
    assert_eq!(after.sent_bytes - before.sent_bytes, 3 + 3 * 2 + 3 + 4);
}

#[test]
fn queued_octets_are_those_that_the_socket_did_not_take() {
    let mut scene = Scene::open(Settings::default());
    scene.socket().outbound.clear();
    scene.socket().outbound_max = 10;
    scene.send(&masked(0x82, &[7; 100]));
    assert_eq!(scene.sessions.shared.workspace.queued_bytes(), 102 - 10);
    scene.send(&masked(0x89, b"ping"));
    assert_eq!(scene.sessions.shared.workspace.queued_bytes(), 102 - 10 + 6, "a Pong waits too");
    scene.socket().outbound_max = 60;
    scene.wake();
    assert_eq!(scene.sessions.shared.workspace.queued_bytes(), 102 - 60 + 6);
    // Whoever goes takes it along.
    scene.sessions.abort(scene.id, &mut scene.app);
    scene.sessions.reap();
    assert_eq!(scene.sessions.shared.workspace.queued_bytes(), 0);
    assert_eq!(scene.counts().closes(CloseCause::Eof), 1);
}

#[test]
fn every_end_of_an_open_connection_has_its_cause() {
    #[rustfmt::skip]
    let rows: &[(CloseCause, Act)] = &[
        (CloseCause::Peer, |scene| scene.send(&masked(0x88, b"\x03\xe8"))),
        (CloseCause::ProtocolError, |scene| scene.send(b"\xf0")),
        (CloseCause::InvalidPayload, |scene| scene.send(&masked(0x81, b"\xff"))),
        (CloseCause::TooBig, |scene| scene.send(&masked(0x82, &[0; 65]))),
        (CloseCause::Eof, Scene::end),
        (CloseCause::Idle, |scene| { scene.pass(Duration::from_secs(60)); scene.send(&masked(0x88, b"")) }),
        (CloseCause::CloseTimeout, |scene| {
            scene.sessions.go_away(scene.id, &mut scene.app);
            scene.pass(Duration::from_secs(3));
        }),
        (CloseCause::WriteStall, |scene| {
            scene.socket().outbound_max = 0;
            scene.send(&masked(0x82, b"x"));
            scene.pass(Duration::from_secs(30));
        }),
        (CloseCause::Local, |scene| {
            scene.sessions.go_away(scene.id, &mut scene.app);
            scene.send(&masked(0x88, b"\x03\xe9"));
        }),
    ];
    for (cause, act) in rows {
        let limits = Limits { message_bytes_max: 64, frame_bytes_max: 64, ..Limits::default() };
        let timeouts = Timeouts { idle: Some(Duration::from_secs(60)), ..Timeouts::default() };
        let mut scene = Scene::open(Settings { limits, timeouts, ..Settings::default() });
        act(&mut scene);
        for other in CloseCause::ALL {
            assert_eq!(scene.counts().closes(*other), u64::from(other == cause), "{cause:?} counts as {other:?}");
        }
    }
}

#[test]
fn every_end_of_an_opening_handshake_has_its_cause() {
    #[rustfmt::skip]
    let rows: &[(HandshakeEnd, Act)] = &[
        (HandshakeEnd::Opened, |scene| scene.send(REQUEST.as_bytes())),
        (HandshakeEnd::Page, |scene| scene.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
        (HandshakeEnd::BadRequest, |scene| scene.send(b"\x16\x03\x01")),
        (HandshakeEnd::Origin, |scene| scene.send(REQUEST.replace("Sec-WebSocket-Version", "Origin: http://b\r\nSec-WebSocket-Version").as_bytes())),
        (HandshakeEnd::Path, |scene| scene.send(REQUEST.replace("GET /", "GET /b").as_bytes())),
        (HandshakeEnd::Method, |scene| scene.send(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n")),
        (HandshakeEnd::Timeout, |scene| scene.pass(Duration::from_secs(10))),
        (HandshakeEnd::TargetTooLong, |scene| scene.send(format!("GET /{}", "a".repeat(1 << 14)).as_bytes())),
        (HandshakeEnd::Version, |scene| scene.send(REQUEST.replace("Version: 13", "Version: 8").as_bytes())),
        (HandshakeEnd::HeadTooLarge, |scene| scene.send(format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(101)).as_bytes())),
        (HandshakeEnd::Draining, |scene| scene.sessions.go_away(scene.id, &mut scene.app)),
        (HandshakeEnd::Eof, Scene::end),
    ];
    for (end, act) in rows {
        let mut settings = Settings::default();
        settings.policy.origins = Some(vec!["http://a".to_owned()]);
        settings.policy.paths = Some(vec!["/".to_owned()]);
        let mut scene = Scene::new(settings);
        act(&mut scene);
        for other in HandshakeEnd::ALL {
            assert_eq!(scene.counts().handshakes(*other), u64::from(other == end), "{end:?} counts as {other:?}");
        }
    }
}
