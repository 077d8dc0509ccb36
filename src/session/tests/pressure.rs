//! A peer that takes nothing, little, or makes much of little; and what that may cost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Answer, App, ID, REQUEST, Random, compressed, masked, shared};
use crate::{
    net::{Transport, sim::SimSocket},
    proto::{Connection, INFLATED_BYTES_MAX, Limits, Settings, Timeouts},
    session::{Pumped, Session, Shared},
};

/// A plain connection past its opening handshake.
struct Peer {
    session: Session<SimSocket>,
    shared: Shared,
    app: App,
    opened: Instant,
}

impl Peer {
    fn new(settings: Settings) -> Self {
        Self::asking(REQUEST, settings, App::echo())
    }

    fn asking(request: &str, settings: Settings, app: App) -> Self {
        let opened = Instant::now();
        let connection = Connection::server(Arc::new(settings), opened);
        let session = Session::new(Transport::Plain(SimSocket::new()), connection);
        let mut peer = Peer { session, shared: shared(opened), app, opened };
        assert_eq!(peer.send(request.as_bytes()), Pumped::Blocked);
        assert_eq!(peer.app.opens, 1);
        peer
    }

    /// A peer that from now on takes nothing.
    fn stalled(settings: Settings) -> Self {
        let mut peer = Self::new(settings);
        peer.take(0);
        peer
    }

    fn pump(&mut self) -> Pumped {
        self.session.pump(ID, &mut self.shared, &mut self.app)
    }

    /// One segment, one event.
    fn send(&mut self, octets: &[u8]) -> Pumped {
        self.session.socket_mut().arrive(octets);
        self.wake()
    }

    fn wake(&mut self) -> Pumped {
        if let Some(edges) = self.session.socket_mut().take_edges(false) {
            self.session.note_ready(edges.readable, edges.writable, edges.ended);
        }
        self.pump()
    }

    /// The peer takes all, and leaves room for so many octets.
    fn take(&mut self, room: usize) -> Pumped {
        let socket = self.session.socket_mut();
        socket.outbound.clear();
        socket.outbound_max = room;
        self.wake()
    }

    fn pump_while_ready(&mut self) {
        while self.pump() == Pumped::Ready {}
    }

    /// The peer takes so many octets, and no event tells: a poll is silent until a third of the send buffer is free.
    fn take_silently(&mut self, octets: usize) {
        self.session.socket_mut().outbound.drain(..octets);
    }

    /// Time goes on to the next deadline, which is acted on.
    fn reach_deadline(&mut self) -> Pumped {
        self.shared.now = self.session.next_deadline().expect("every wait has an end");
        self.session.on_deadline(ID, &mut self.shared, &mut self.app)
    }

    fn is_paused(&self) -> bool {
        !self.session.connection().wants_read()
    }
}

#[test]
fn on_close_comes_once_when_the_peer_ends_and_takes_nothing() {
    for (name, ending, fin) in [
        ("a close", masked(0x88, b"\x03\xe8"), false),
        ("a close, and a FIN behind it", masked(0x88, b"\x03\xe8"), true),
        ("a breach", masked(0x83, b""), false),
        ("a FIN", Vec::new(), true),
    ] {
        let mut peer = Peer::stalled(Settings::default());
        if fin {
            peer.session.socket_mut().arrive_fin();
        }
        let octets = [masked(0x81, b"hello"), ending].concat();
        assert_eq!(peer.send(&octets), Pumped::Blocked, "{name}: the echo waits");
        assert_eq!(peer.app.closures.len(), 1, "{name}");
        peer.shared.now = peer.session.next_deadline().expect("every wait has an end");
        assert_eq!(peer.session.on_deadline(ID, &mut peer.shared, &mut peer.app), Pumped::Gone, "{name}");
        assert_eq!(peer.app.closures.len(), 1, "{name}: {:?}", peer.app.closures);
    }
}

#[test]
fn a_pong_that_crosses_the_high_water_mark_does_not_deafen() {
    // Echoes and Pongs fill the queue by turns; at some of these marks it is the Pong that crosses.
    for queue_high_bytes in 1..700 {
        let limits = Limits { queue_high_bytes, queue_low_bytes: queue_high_bytes / 4, ..Limits::DEFAULT };
        let mut peer = Peer::stalled(Settings { limits, ..Settings::default() });
        while !peer.is_paused() {
            peer.send(&masked(0x82, &[7; 100]));
            peer.send(&masked(0x89, &[1; 100]));
        }
        peer.take(usize::MAX);
        assert_eq!(peer.session.connection().queued_bytes(), 0, "mark {queue_high_bytes}: the peer takes all");
        let answered = peer.app.messages.len();
        peer.send(&masked(0x82, b"anybody there?"));
        assert_eq!(peer.app.messages.len(), answered + 1, "mark {queue_high_bytes}: deaf");
        assert_eq!(peer.session.socket().inbound.len(), 0, "mark {queue_high_bytes}");
    }
}

#[test]
fn an_idle_timeout_does_not_count_while_we_do_not_listen() {
    let idle = Duration::from_secs(20);
    let timeouts = Timeouts { idle: Some(idle), ..Timeouts::default() };
    let mut peer = Peer::stalled(Settings { timeouts, ..Settings::default() });
    let octets: Vec<u8> = (0..40).flat_map(|_| masked(0x82, &[7; 60_000])).collect();
    peer.send(&octets);
    peer.pump_while_ready();
    assert!(peer.is_paused());
    // A slow but steady reader; what it sent lies unread in our socket.
    while peer.is_paused() {
        peer.shared.now += Duration::from_secs(1);
        peer.take(10_000);
        if peer.session.next_deadline().is_some_and(|at| at <= peer.shared.now) {
            peer.session.on_deadline(ID, &mut peer.shared, &mut peer.app);
        }
        let after = peer.shared.now - peer.opened;
        assert!(peer.session.connection().is_open(), "closed as idle after {after:?}");
    }
    assert!(peer.shared.now - peer.opened > 2 * idle, "long enough to tell");
    // Once we listen its silence counts again.
    peer.take(usize::MAX);
    peer.pump_while_ready();
    peer.shared.now += idle;
    peer.session.on_deadline(ID, &mut peer.shared, &mut peer.app);
    assert!(!peer.session.connection().is_open());
}

#[test]
fn an_idle_timeout_does_not_count_while_a_message_is_inflated() {
    let idle = Duration::from_secs(20);
    let timeouts = Timeouts { idle: Some(idle), ..Timeouts::default() };
    let settings = Settings { timeouts, ..Settings::default() };
    let request = REQUEST.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    let mut peer = Peer::asking(&request, settings, App::echo());
    peer.shared.workspace.share_inflating(16 << 10);
    peer.send(&masked(0xc2, &compressed(1 << 20)));
    let mut turns = 0;
    while peer.wake() == Pumped::Ready {
        // Others have their turns.
        peer.shared.now += Duration::from_secs(1);
        if peer.session.next_deadline().is_some_and(|at| at <= peer.shared.now) {
            peer.session.on_deadline(ID, &mut peer.shared, &mut peer.app);
        }
        turns += 1;
    }
    assert!(turns > 2 * idle.as_secs() && peer.session.connection().is_open(), "{turns} turns");
    assert_eq!(peer.app.messages.len(), 1);
}

#[test]
fn compressed_bombs_are_inflated_a_share_a_turn() {
    for share in [INFLATED_BYTES_MAX, 16 << 10, 999] {
        bombs_are_inflated_so_much_a_turn(share);
    }
}

fn bombs_are_inflated_so_much_a_turn(share: usize) {
    let request = REQUEST.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    for (message_bytes, count) in [(16 << 20, 2), (2 << 20, 2), (4096, 300)] {
        for answers in [&[Answer::Nothing], &[Answer::Reply]] {
            let case = format!("{count} messages of {message_bytes} octets, {answers:?}, share {share}");
            let mut peer = Peer::asking(&request, Settings::default(), App::new(answers, Random(1)));
            peer.shared.workspace.share_inflating(share);
            let frame = masked(0xc2, &compressed(message_bytes));
            peer.session.socket_mut().arrive(&frame.repeat(count));
            let (mut answered, mut turns) = (0, 0);
            loop {
                let pumped = peer.wake();
                turns += 1;
                let messages = std::mem::take(&mut peer.app.messages);
                assert!(messages.iter().all(|(_, payload)| payload.len() == message_bytes), "{case}");
                answered += messages.len();
                match pumped {
                    Pumped::Ready => {}
                    _ => break assert_eq!((pumped, answered), (Pumped::Blocked, count), "{case}"),
                }
            }
            // To the octet; the last turn may find that nothing is left.
            let fewest = (message_bytes * count).div_ceil(share);
            assert!((fewest..=fewest + 1).contains(&turns), "{case}: {turns} turns");
        }
    }
}

#[test]
fn a_wake_up_while_paused_and_blocked_makes_no_system_call() {
    let mut peer = Peer::stalled(Settings::default());
    let large: Vec<u8> = (0..17).flat_map(|_| masked(0x82, &[7; 60_000])).collect();
    let small: Vec<u8> = (0..60_000).flat_map(|_| masked(0x82, &[7; 60])).collect();
    peer.send(&[large, small].concat());
    peer.pump_while_ready();
    assert!(peer.is_paused());
    let before = (peer.session.socket().calls, peer.session.connection().held_bytes(), peer.app.messages.len());
    for _ in 0..100 {
        peer.session.note_ready(true, false, false);
        assert_eq!(peer.pump(), Pumped::Blocked);
    }
    let after = (peer.session.socket().calls, peer.session.connection().held_bytes(), peer.app.messages.len());
    assert_eq!(after, before, "system calls, octets held, messages");
}

#[test]
fn a_reader_is_given_up_only_if_the_socket_itself_takes_nothing() {
    let write_stall = Timeouts::default().write_stall;
    for (name, ending) in [("open", false), ("closing", true)] {
        let mut peer = Peer::new(Settings::default());
        peer.take(100_000);
        for _ in 0..20 {
            peer.send(&masked(0x82, &[7; 50_000]));
        }
        if ending {
            peer.send(&masked(0x88, b"\x03\xe8"));
        }
        for look in 0..8 {
            peer.take_silently(10_000);
            assert_eq!(peer.reach_deadline(), Pumped::Blocked, "{name}: a slow reader is kept, look {look}");
            assert_eq!(peer.session.socket().outbound.len(), 100_000, "{name}: its room is used");
        }
        let last = peer.shared.now;
        assert_eq!(peer.reach_deadline(), Pumped::Gone, "{name}: one that takes nothing");
        assert!(peer.shared.now - last <= write_stall, "{name}");
        assert_eq!(peer.app.closures.len(), 1, "{name}");
    }
}

#[test]
fn a_close_behind_a_queue_that_trickles_has_a_bounded_time() {
    let Timeouts { close, write_stall, .. } = Timeouts::default();
    let mut peer = Peer::stalled(Settings::default());
    peer.send(&masked(0x82, &[7; 60_000]).repeat(8));
    peer.send(&masked(0x88, b"\x03\xe8"));
    let begun = peer.shared.now;
    // An octet a second: the queue would take a week.
    loop {
        peer.shared.now += Duration::from_secs(1);
        let due = peer.session.next_deadline().is_some_and(|at| at <= peer.shared.now);
        if due && peer.session.on_deadline(ID, &mut peer.shared, &mut peer.app) == Pumped::Gone {
            break;
        }
        assert!(peer.shared.now - begun < 2 * (close + write_stall), "it goes on for ever");
        peer.take(1);
    }
    let took = peer.shared.now - begun;
    assert!(took > write_stall && took <= close + write_stall + Duration::from_secs(1), "{took:?}");
}
