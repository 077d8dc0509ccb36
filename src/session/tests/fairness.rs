//! Whose turn it is: who asks for little before who asks for much, and who is open before who is opening.

use std::{sync::Arc, time::Instant};

use super::{App, REQUEST, compressed, masked, shared};
use crate::{
    net::{Transport, sim::SimSocket},
    proto::{Connection, Settings},
    session::{ConnId, List, Readiness, Session, Sessions},
};

const PEERS: usize = 5;

const READABLE: Readiness = Readiness { readable: true, writable: true, ended: false };

fn join(sessions: &mut Sessions<SimSocket>) -> ConnId {
    let connection = Connection::server(Arc::new(Settings::default()), sessions.shared.now);
    sessions.insert(Session::new(Transport::Plain(SimSocket::new()), connection), |_, _| Ok(())).unwrap()
}

/// Peers that have opened, and sent something small.
fn opened() -> (Sessions<SimSocket>, App, Vec<ConnId>) {
    let (mut sessions, mut app) = (Sessions::new(shared(Instant::now()), None), App::echo());
    let ids: Vec<ConnId> = (0..PEERS).map(|_| join(&mut sessions)).collect();
    for id in &ids {
        arrive(&mut sessions, *id, REQUEST.as_bytes());
        sessions.on_ready(*id, READABLE, &mut app);
        arrive(&mut sessions, *id, &masked(0x8a, b""));
        sessions.on_ready(*id, READABLE, &mut app);
    }
    (sessions, app, ids)
}

fn arrive(sessions: &mut Sessions<SimSocket>, id: ConnId, octets: &[u8]) {
    sessions.get_mut(id).unwrap().socket_mut().arrive(octets);
}

fn unread(sessions: &Sessions<SimSocket>, id: ConnId) -> usize {
    sessions.get(id).unwrap().socket().inbound.len()
}

#[test]
fn in_a_crowd_who_asked_for_much_comes_behind_who_asks_for_little() {
    let (mut sessions, mut app) = (Sessions::new(shared(Instant::now()), None), App::echo());
    let [greedy, modest] = [join(&mut sessions), join(&mut sessions)];
    for id in [greedy, modest] {
        arrive(&mut sessions, id, REQUEST.as_bytes());
        sessions.on_ready_in_crowd(id, READABLE, true, &mut app);
    }
    assert_eq!((app.opens, sessions.listed()), (0, 2), "a handshake is much");
    sessions.pump_listed(List::Handshakes, &mut app, || true);
    assert_eq!((app.opens, sessions.listed()), (2, 0));
    let lens = |app: &App| app.messages.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>();
    for (id, len) in [(greedy, 9000), (modest, 10)] {
        arrive(&mut sessions, id, &masked(0x82, &vec![7; len]));
        sessions.on_ready_in_crowd(id, READABLE, true, &mut app);
    }
    assert_eq!((lens(&app).len(), sessions.listed_on(List::Unknown)), (0, 2), "what comes first nobody knows");
    sessions.pump_listed(List::Unknown, &mut app, || true);
    assert_eq!((lens(&app), sessions.listed()), (vec![9000, 10], 0));
    for id in [greedy, modest] {
        arrive(&mut sessions, id, &masked(0x82, &[7; 10]));
        sessions.on_ready_in_crowd(id, READABLE, true, &mut app);
    }
    assert_eq!((lens(&app).len(), sessions.listed()), (3, 1));
    sessions.pump_listed(List::Heavy, &mut app, || true);
    assert_eq!((lens(&app).len(), sessions.listed()), (4, 0));
    // It asked for little this time.
    arrive(&mut sessions, greedy, &masked(0x82, &[7; 10]));
    sessions.on_ready_in_crowd(greedy, READABLE, true, &mut app);
    assert_eq!((lens(&app).len(), sessions.listed()), (5, 0));
}

#[test]
fn a_bomb_is_much_however_few_octets_it_takes_on_the_wire() {
    let (mut sessions, mut app) = (Sessions::new(shared(Instant::now()), None), App::echo());
    let bomber = join(&mut sessions);
    let request = REQUEST.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    arrive(&mut sessions, bomber, request.as_bytes());
    sessions.on_ready(bomber, READABLE, &mut app);
    arrive(&mut sessions, bomber, &masked(0x8a, b""));
    sessions.on_ready(bomber, READABLE, &mut app);
    let bomb = masked(0xc2, &compressed(100_000));
    assert!(bomb.len() < 1000, "{} octets", bomb.len());
    for (message, (messages, listed)) in [(&bomb, (1, 0)), (&masked(0x82, b"small"), (1, 1))] {
        arrive(&mut sessions, bomber, message);
        sessions.on_ready_in_crowd(bomber, READABLE, true, &mut app);
        assert_eq!((app.messages.len(), sessions.listed()), (messages, listed));
    }
    sessions.pump_listed(List::Heavy, &mut app, || true);
    // It asked for little this time.
    arrive(&mut sessions, bomber, &masked(0x82, b"small"));
    sessions.on_ready_in_crowd(bomber, READABLE, true, &mut app);
    assert_eq!((app.messages.len(), sessions.listed()), (3, 0));
}

#[test]
fn who_asks_for_much_is_served_by_shares_in_turn_and_events_do_not_change_that() {
    let (mut sessions, mut app, ids) = opened();
    sessions.shared.turn_bytes = 4096;
    let flood = masked(0x89, b"").repeat(20_000);
    for id in &ids {
        arrive(&mut sessions, *id, &flood);
        sessions.on_ready_in_crowd(*id, READABLE, true, &mut app);
    }
    assert_eq!(sessions.listed(), PEERS);
    for round in 1..5 {
        for id in &ids {
            assert_eq!(unread(&sessions, *id), flood.len() - round * 4096, "round {round}");
            // An edge gives nobody a turn out of turn.
            sessions.on_ready_in_crowd(*id, READABLE, true, &mut app);
        }
        // A slice that is over at once still serves one; the next one goes on behind it.
        for served in 1..=PEERS {
            sessions.pump_listed(List::Heavy, &mut app, || false);
            let had: Vec<bool> =
                ids.iter().map(|id| unread(&sessions, *id) == flood.len() - (round + 1) * 4096).collect();
            assert_eq!(had, (0..PEERS).map(|at| at < served).collect::<Vec<_>>(), "round {round}");
        }
    }
}

#[test]
fn whose_event_the_turn_has_no_time_for_is_served_later_in_order_and_before_who_asks_for_much() {
    let (mut sessions, mut app, ids) = opened();
    for id in &ids {
        arrive(&mut sessions, *id, &masked(0x82, b"small"));
        // Twice is once.
        for _ in 0..2 {
            sessions.on_ready_in_crowd(*id, READABLE, false, &mut app);
        }
    }
    assert_eq!((app.messages.len(), sessions.listed()), (0, PEERS));
    sessions.pump_listed(List::Heavy, &mut app, || true);
    assert_eq!(app.messages.len(), 0, "the list of those who ask for much is another");
    for served in 1..=PEERS {
        sessions.pump_listed(List::Late, &mut app, || false);
        let left: Vec<bool> = ids.iter().map(|id| unread(&sessions, *id) > 0).collect();
        assert_eq!(left, (0..PEERS).map(|at| at >= served).collect::<Vec<_>>());
    }
    assert_eq!((app.messages.len(), sessions.listed()), (PEERS, 0));
}
