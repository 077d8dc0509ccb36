//! Times and counts, against servers whose delays are known.

use std::{
    thread,
    time::{Duration, Instant},
};

use wslab::{
    bench::{
        Payload, Plan, floor,
        plan::{Arrivals, Load, Pace, Scenario, Span},
        sweep,
    },
    proto::{Message, Sender},
};

use super::{Onlooker, Peer, With, echo, endpoint, measure, micros, number, plan, starved, stranger};

const MS: u64 = 1_000_000;

fn open(rate: f64) -> Load {
    Load::Open { rate, arrivals: Arrivals::Constant, pace: Pace::Timer }
}

/// Answers at once, but for the first tenth of each second, in which it does nothing.
fn freezing() -> Peer {
    let begun = Instant::now();
    Peer::start(With(move |message: Message<'_>, mut sender: Sender<'_>| {
        let phase = begun.elapsed().subsec_millis();
        if phase < 100 {
            thread::sleep(Duration::from_millis(u64::from(100 - phase)));
        }
        let _ = sender.reply(message);
    }))
}

#[test]
fn a_server_that_freezes_is_seen_by_an_open_loop_and_hidden_by_a_closed_one() {
    let peer = freezing();
    let two_seconds = Span::Time(Duration::from_secs(2));
    let open = measure(&Plan { load: open(500.0), span: two_seconds, ..plan() }, &peer.url());
    let closed = measure(&Plan { span: two_seconds, ..plan() }, &peer.url());
    // A tenth of what is due meets a freeze, and waits for up to 100 ms.
    let response = open.response.value_at_quantile(0.99);
    assert!((60 * MS..200 * MS).contains(&response), "p99 of the response time: {} µs", micros(response));
    assert_eq!((open.sent, open.completed), (1000, 1000));
    // Two of its thousands of messages did.
    let service = closed.service.value_at_quantile(0.99);
    assert!(service < 20 * MS, "p99 of the closed loop: {} µs", micros(service));
    assert!(closed.service.max() > 60 * MS, "{} µs", micros(closed.service.max()));
    assert!(closed.response.is_empty() && closed.lateness.is_empty() && closed.wanted_rate.is_none());
    let over_time: u64 = open.series.iter().map(|interval| interval.completed).sum();
    assert_eq!(over_time, open.completed);
}

#[test]
fn percentiles_of_known_delays_come_out_right() {
    // Of ten answers, seven take 20 ms, two 100 ms, one 250 ms.
    const DELAYS: [u64; 10] = [20, 20, 100, 20, 20, 250, 20, 100, 20, 20];
    let addr = stranger(|socket| {
        let mut server = tungstenite::accept(socket).unwrap();
        for delay in DELAYS.iter().cycle() {
            let Ok(message) = server.read() else { return };
            if message.is_close() {
                return;
            }
            thread::sleep(Duration::from_millis(*delay));
            if server.send(message).is_err() {
                return;
            }
        }
    });
    let plan = Plan { connections: vec![number(40)], span: Span::Messages(800), ..plan() };
    let measured = measure(&plan, &format!("ws://{addr}/"));
    assert_eq!((measured.sent, measured.completed, measured.connections), (800, 800, 40));
    let service = &measured.service;
    assert_eq!(service.len(), 800);
    for (quantile, delay, below) in [(0.5, 20, 60), (0.85, 100, 200), (0.97, 250, 500)] {
        let value = service.value_at_quantile(quantile);
        // Never less than it was, and not much more.
        assert!(value >= delay * MS && value < below * MS, "{quantile}: {} µs instead of {delay} ms", micros(value));
    }
    assert!(service.min() >= 20 * MS);
    assert_eq!(measured.payload_bytes_sent, 800 * 64);
    assert_eq!(measured.payload_bytes_received, 800 * 64);
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let peer = Peer::start(echo());
    for (arrivals, pace, connections) in
        [(Arrivals::Constant, Pace::Timer, 7), (Arrivals::Poisson, Pace::Timer, 1), (Arrivals::Constant, Pace::Spin, 2)]
    {
        let load = Load::Open { rate: 2000.0, arrivals, pace };
        let warmup = Duration::from_millis(100);
        let measured = measure(&Plan { load, warmup, connections: vec![number(connections)], ..plan() }, &peer.url());
        // 1,000 are due in half a second; independent arrivals deviate by some 32.
        let tolerance = if arrivals == Arrivals::Poisson { 160 } else { 1 };
        assert!(measured.sent.abs_diff(1000) <= tolerance, "{} sent, {arrivals:?}", measured.sent);
        assert_eq!(measured.completed, measured.sent);
        assert_eq!(measured.response.len(), measured.completed);
        assert_eq!(measured.service.len(), measured.completed);
        assert_eq!(measured.lateness.len(), measured.sent);
        // It is longer only as far as the last message was late.
        assert!((500..1500).contains(&measured.wall.as_millis()), "{:?}", measured.wall);
        assert!(measured.errors.is_empty(), "{:?}", measured.errors);
        // Due, then written, then answered.
        assert!(measured.response.value_at_quantile(0.5) >= measured.service.value_at_quantile(0.5) / 2);
        assert!(measured.generator.cpu > Duration::ZERO && measured.generator.wall >= measured.wall / 2);
    }
}

#[test]
fn a_number_of_messages_takes_as_many_gaps() {
    let peer = Peer::start(echo());
    for scenario in [Scenario::Echo, Scenario::Connect] {
        // The second begins to count between two messages.
        for warmup in [0, 105].map(Duration::from_millis) {
            let plan = Plan { scenario, load: open(100.0), span: Span::Messages(20), warmup, ..plan() };
            let measured = measure(&plan, &peer.url());
            // No more than was wanted: less only where the last message was late.
            let rate = measured.sent_rate().unwrap();
            assert!(measured.sent == 20 && rate < 100.001, "{scenario:?} {warmup:?}: {rate}/s, {:?}", measured.wall);
        }
    }
}

#[test]
fn a_number_of_messages_is_met_exactly() {
    let peer = Peer::start(echo());
    for (load, connections, warmup) in [
        (Load::Closed { pipeline: number(1) }, 1, 0),
        (Load::Closed { pipeline: number(50) }, 3, 0),
        (Load::Closed { pipeline: number(5) }, 3, 50),
        (open(5000.0), 3, 50),
    ] {
        let plan = Plan {
            load,
            connections: vec![number(connections)],
            span: Span::Messages(1001),
            warmup: Duration::from_millis(warmup),
            ..plan()
        };
        let measured = measure(&plan, &peer.url());
        assert_eq!((measured.sent, measured.completed), (1001, 1001), "{load:?}");
        assert!(measured.wall > Duration::ZERO);
    }
}

#[test]
fn every_kind_of_message_comes_back() {
    let peer = Peer::start(echo());
    let closed = Load::Closed { pipeline: number(3) };
    for (payload, fragment) in [
        (Payload::random(0, false, 1), None),
        (Payload::random(1, true, 1), None),
        (Payload::random(70_000, true, 1), Some(number(1000))),
        (Payload::random(1000, false, 1), Some(number(1))),
        // Larger than what is queued at once: the rest stays due until there is room.
        (Payload::random(3 << 20, false, 1), None),
        (Payload::fixed("grün".into(), true).unwrap(), None),
    ] {
        let len = payload.len();
        let plan = Plan { load: closed, payloads: vec![payload], fragment, span: Span::Messages(20), ..plan() };
        let measured = measure(&plan, &peer.url());
        assert_eq!((measured.sent, measured.completed), (20, 20), "{len} octets: {:?}", measured.errors);
        assert!(measured.errors.is_empty(), "{:?}", measured.errors);
    }
}

#[test]
fn compressed_messages_are_checked_too() {
    let peer = Peer::start(echo());
    let mut endpoint = endpoint(&peer.url());
    endpoint.config.settings.deflate.mode = wslab::proto::deflate::DeflateMode::Takeover;
    let payloads = vec![Payload::fixed(b"all the same, ".repeat(100), true).unwrap()];
    let plan = Plan { payloads, span: Span::Messages(100), fragment: Some(number(10)), ..plan() };
    let parts = sweep(&plan, &[endpoint], ToString::to_string, &mut Onlooker(|| false), &mut |_| false).unwrap();
    assert_eq!(parts[0].measured.completed, 100, "{:?}", parts[0].measured.errors);
}

#[test]
fn pings_handshakes_and_idle_connections_are_measured() {
    let peer = Peer::start(echo());
    let ping = Plan { scenario: Scenario::Ping, connections: vec![number(3)], span: Span::Messages(300), ..plan() };
    let measured = measure(&ping, &peer.url());
    assert_eq!((measured.sent, measured.completed, measured.service.len()), (300, 300, 300));

    let paced = Plan { load: open(1000.0), span: Span::Messages(300), ..ping };
    let measured = measure(&paced, &peer.url());
    assert_eq!((measured.sent, measured.completed, measured.response.len()), (300, 300, 300));

    let connect =
        Plan { scenario: Scenario::Connect, connections: vec![number(4)], span: Span::Messages(50), ..plan() };
    let measured = measure(&connect, &peer.url());
    assert_eq!((measured.sent, measured.completed, measured.handshake.len()), (50, 50, 50));
    assert!(measured.errors.is_empty(), "{:?}", measured.errors);

    let paced = Plan { load: open(200.0), ..connect };
    let measured = measure(&paced, &peer.url());
    assert_eq!((measured.sent, measured.completed, measured.response.len()), (50, 50, 50));

    let idle = Plan { scenario: Scenario::Idle, connections: vec![number(40)], ..plan() };
    let measured = measure(&idle, &peer.url());
    assert_eq!((measured.connections, measured.sent, measured.completed), (40, 40, 40));
    assert_eq!(measured.handshake.len(), 40);
}

#[test]
fn a_starved_generator_says_so() {
    let peer = Peer::start(echo());
    let measured = starved(4, || measure(&Plan { load: open(50_000.0), ..plan() }, &peer.url()));
    let generator = measured.generator;
    assert!(generator.run_queue > generator.wall / 4, "{generator:?}");
    let late = measured.lateness.value_at_quantile(0.99);
    assert!(late > MS, "{} µs", micros(late));
    // Late, but none was left out, and the response time has the lateness in it.
    assert!(measured.sent.abs_diff(25_000) <= 1, "{}", measured.sent);
    assert!(measured.response.value_at_quantile(0.99) >= late / 2);
}

#[test]
fn slow_readers_do_not_spoil_the_others() {
    let peer = Peer::start(echo());
    let plan = Plan {
        scenario: Scenario::SlowReader,
        connections: vec![number(8)],
        load: open(500.0),
        span: Span::Messages(300),
        ..plan()
    };
    let measured = measure(&plan, &peer.url());
    assert_eq!((measured.sent, measured.completed, measured.connections), (300, 300, 8), "{:?}", measured.errors);
}

#[test]
fn targets_are_taken_in_turn_and_phases_one_by_one() {
    let peers = [Peer::start(echo()), Peer::start(echo())];
    let endpoints: Vec<_> = peers.iter().map(|peer| endpoint(&peer.url())).collect();
    let payloads = [1, 2].map(|len| Payload::random(len, false, 1)).to_vec();
    let plan = Plan { payloads, rounds: number(3), span: Span::Messages(30), ..plan() };
    let run = |until: &mut dyn FnMut(&[wslab::bench::Part]) -> bool| {
        let mut onlooker = Onlooker(|| false);
        let parts = sweep(&plan, &endpoints, ToString::to_string, &mut onlooker, until).unwrap();
        parts.iter().map(|part| (part.phase, part.round, part.target, part.measured.completed)).collect::<Vec<_>>()
    };
    let all = run(&mut |_| false);
    let round = |phase, round, first: usize| [(phase, round, first, 10), (phase, round, 1 - first, 10)];
    let expected: Vec<_> = (0..2).flat_map(|phase| (0..3).flat_map(move |at| round(phase, at, at % 2))).collect();
    assert_eq!(all, expected);
    assert_eq!(run(&mut |parts| parts.len() == 6), expected[..6], "a phase of which it is said that it is the last");
}

#[test]
fn the_floor_and_the_calibration_have_something_to_say() {
    let plan = Plan { load: open(1e6), ..plan() };
    let span = Duration::from_millis(100);
    let floor = floor::floor(&plan, span, ToString::to_string, &mut Onlooker(|| false)).unwrap();
    assert!(floor.errors.is_empty() && floor.completed > 0, "{:?}", floor.errors);
    assert_eq!(floor.wanted_rate, Some(10_000.0));
    let calibration = floor::calibrate(&plan, span, ToString::to_string, &mut Onlooker(|| false)).unwrap();
    for (name, part) in
        [("closed", &calibration.closed), ("paced", &calibration.paced), ("pipelined", &calibration.pipelined)]
    {
        assert!(part.errors.is_empty() && part.completed >= 50, "{name}: {} {:?}", part.completed, part.errors);
    }
    assert_eq!(calibration.paced.lateness.len(), calibration.paced.sent);
    assert!(calibration.clock > Duration::ZERO);
}
