//! What a seed stands for: settings, peers of every kind and their plans, faults, and an end.

use std::{rc::Rc, sync::LazyLock, time::Duration};

use super::{
    net::Faults,
    peer::{End, Plan},
    sim_kernel::Finale,
};
use crate::{
    net::sim::Cut,
    proto::{Limits, Settings, Timeouts},
    server::{Config, ProxyProtocol},
    session::tests::{
        Answer, REQUEST, Random,
        law::{ANSWERS, PlainPeer, QUEUES, cut},
        masked,
        script::{Compress, Ending, Script},
    },
};

const MESSAGE_BYTES_MAX: u64 = 30_000;

pub(super) struct Scenario {
    pub(super) config: Config,
    pub(super) faults: Faults,
    pub(super) finale: Finale,
    pub(super) plans: Vec<Plan>,
    /// What the application does with each peer's messages.
    pub(super) answers: Vec<&'static [Answer]>,
    /// Doors for wss begin here.
    pub(super) doors: usize,
}

type Make = fn(&mut Random, Plan) -> Plan;

/// The makers of peers, and how many of a hundred are theirs.
const KINDS: &[(usize, Make)] = &[
    (21, honest),
    (1, bulky),
    (8, compressed),
    (14, prober),
    (12, half_closer),
    (8, resetter),
    (5, never_reading),
    (5, ping_flooder),
    (5, garbage),
    (4, slow_to_ask),
    (4, silent),
    (4, oversized),
    (3, bomb),
    (3, visitor),
    (3, knocker),
];

impl Scenario {
    pub(super) fn random(random: &mut Random, tls: Option<&Rc<super::TlsKit>>) -> Self {
        let (queue_high_bytes, queue_low_bytes) = random.pick(QUEUES);
        let limits = Limits {
            queue_high_bytes,
            queue_low_bytes,
            message_bytes_max: MESSAGE_BYTES_MAX,
            frame_bytes_max: MESSAGE_BYTES_MAX,
            ..Limits::DEFAULT
        };
        let timeouts = Timeouts {
            write_stall: Duration::from_secs(random.pick(&[2, 30])),
            idle: random.pick(&[None, None, Some(Duration::from_secs(5))]),
            ping: random.pick(&[None, None, Some(Duration::from_secs(2))]),
            ..Timeouts::default()
        };
        // Before TLS a header would have to travel beside it.
        let headers = [ProxyProtocol::Off, ProxyProtocol::Off, ProxyProtocol::On, ProxyProtocol::Require];
        // A crowd comes at once, for the bounds on how many.
        let is_crowd = random.one_in(200);
        let config = Config {
            proxy_protocol: if tls.is_none() { random.pick(&headers) } else { ProxyProtocol::Off },
            settings: Settings { limits, timeouts, ..Settings::default() },
            connections_max: if is_crowd { 2 } else { random.pick(&[1, 3, 1_000, 1_000, 1_000]) },
            grace: Duration::from_secs(random.pick(&[1, 10])),
            linger_bytes_max: random.pick(&[40_000, 1 << 20]),
            ..Config::default()
        };
        let doors = 1 + random.below(2);
        let peers = if is_crowd { 400 } else { 1 + random.below(9) };
        let span_ms = if is_crowd { 1 } else { random.pick(&[1, 50, 2_000]) };
        let mut plans = Vec::new();
        for path in 0..peers {
            let mut plan = base(random, path);
            plan.door = random.below(doors);
            plan.at = Duration::from_millis(random.next() % span_ms);
            let mut lot = random.below(100);
            let (_, make) = KINDS
                .iter()
                .find(|(share, _)| {
                    let is_it = lot < *share;
                    lot = lot.saturating_sub(*share);
                    is_it
                })
                .expect("the shares come to a hundred");
            plan = if is_crowd && path > 5 { silent(random, plan) } else { make(random, plan) };
            plans.push(behind_proxy(random, plan, config.proxy_protocol));
        }
        if let Some(tls) = tls {
            for plan in &mut plans {
                let (kit, may_fail) = (tls.clone(), !plan.is_judged);
                plan.door += doors;
                // TLS can not be ended before it has begun.
                plan.is_patient |= plan.is_judged;
                plan.line = Rc::new(move || kit.line(may_fail));
            }
        }
        let finale = match random.below(8) {
            0 | 1 => Finale::Drain(random.next() % 100),
            2 => Finale::Drain(random.next() % 2_000),
            3 => Finale::Stop(random.next() % 300),
            _ => Finale::WhenQuiet,
        };
        let mut scarce = Vec::new();
        for _ in 0..random.below(3) {
            let from = Duration::from_millis(random.next() % span_ms);
            scarce.push((from, from + Duration::from_millis(random.next() % 3_000)));
        }
        let faults = Faults {
            pace: Duration::ZERO,
            events_max: random.pick(&[1, 2, 5, 1024]),
            descriptors_max: random.pick(&[1, 2, 4, 5_000, 5_000]),
            scarce,
            aborted_one_in: random.pick(&[5, 50, usize::MAX]),
            odd_one_in: random.pick(&[20, usize::MAX, usize::MAX]),
        };
        let answers =
            plans.iter().map(|plan| if plan.probes > 0 { ANSWERS[0] } else { random.pick(ANSWERS) }).collect();
        Scenario { config, faults, finale, plans, answers, doors }
    }
}

/// Whom proxies of either version speak for, and whom they do not name.
const PROXY_HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
];

/// The same with a header before its request, where one may come or must.
fn behind_proxy(random: &mut Random, mut plan: Plan, mode: ProxyProtocol) -> Plan {
    let is_meant = match mode {
        ProxyProtocol::Off => false,
        ProxyProtocol::On => random.one_in(2),
        ProxyProtocol::Require => plan.is_judged || !random.one_in(8),
    };
    if is_meant {
        let header = random.pick(PROXY_HEADERS);
        plan.request.splice(..0, header.iter().copied());
        // Some still end in the middle of it.
        plan.said_max += if plan.said_max == 0 { random.below(header.len()) } else { header.len() };
    }
    plan
}

/// A peer that opens, says nothing and waits.
fn base(random: &mut Random, path: usize) -> Plan {
    let request = REQUEST.replacen('/', &format!("/{path}"), 1).into_bytes();
    Plan {
        kind: "?",
        door: 0,
        at: Duration::ZERO,
        said_max: request.len(),
        request,
        script: Script::empty(),
        is_patient: random.one_in(2),
        piece_max: random.pick(&[1, 7, 100, 3_000, 60_000]),
        pause: Duration::ZERO,
        bite: random.pick(&[1, 40, 3_000, usize::MAX, usize::MAX]),
        end: End::Stay,
        patience: Duration::from_millis(1 + random.next() % 60_000),
        probes: 0,
        is_judged: false,
        is_compressed: false,
        read_cut: Cut::Whole,
        write_cut: Cut::Whole,
        room: random.pick(&[1, 100, 10_000, usize::MAX]),
        inbound_max: 20_000,
        line: Rc::new(|| Box::new(PlainPeer)),
    }
}

impl Plan {
    fn saying(mut self, kind: &'static str, random: &mut Random, script: Script) -> Plan {
        let octets = self.request.len() + script.octets.len();
        // Not in so small bites that a long conversation takes for ever.
        self.piece_max = self.piece_max.max(octets / 60);
        self.bite = self.bite.max(octets / 60);
        self.room = self.room.max(octets / 30);
        if random.one_in(4) {
            self.pause = Duration::from_millis(random.next() % 20);
            self.piece_max = self.piece_max.max(octets / 20);
        }
        (self.read_cut, self.write_cut) = (cut(random, octets), cut(random, octets));
        Plan { kind, said_max: octets, script, ..self }
    }
}

fn script(random: &mut Random, compress: Option<Compress>) -> Script {
    let payload_max = random.pick(&[0, 10, 130, 1_000, 3_000, 20_000]);
    let steps_max = if payload_max > 3_000 { 4 } else { 12 };
    let steps = random.below(steps_max);
    Script::of(random, steps, payload_max, compress)
}

fn judged(plan: Plan) -> Plan {
    let end = if matches!(plan.script.ending, Ending::Fin) { End::Fin } else { End::Stay };
    Plan { is_judged: true, end, ..plan }
}

fn honest(random: &mut Random, plan: Plan) -> Plan {
    let script = script(random, None);
    judged(plan.saying("honest", random, script))
}

/// More at once than fits into a turn.
fn bulky(random: &mut Random, plan: Plan) -> Plan {
    let script = Script::of(random, 30, MESSAGE_BYTES_MAX as usize - 1_000, None);
    let plan = judged(plan.saying("bulky", random, script));
    Plan { read_cut: Cut::Whole, inbound_max: 1 << 20, piece_max: 1 << 20, pause: Duration::ZERO, ..plan }
}

fn compressed(random: &mut Random, plan: Plan) -> Plan {
    let script = script(random, Some(super::compress));
    let plan = offering(plan);
    judged(Plan { is_compressed: true, ..plan.saying("compressed", random, script) })
}

fn offering(mut plan: Plan) -> Plan {
    plan.request.truncate(plan.request.len() - 2);
    plan.request.extend(b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    plan.said_max = plan.request.len();
    plan
}

/// Asks one thing after the other, and measures how long it takes.
fn prober(random: &mut Random, plan: Plan) -> Plan {
    Plan {
        kind: "prober",
        is_patient: true,
        piece_max: usize::MAX >> 1,
        bite: usize::MAX,
        room: usize::MAX,
        probes: 2 + random.below(20),
        is_judged: true,
        ..plan
    }
}

/// Ends its side at any octet behind its request, and reads on.
fn half_closer(random: &mut Random, plan: Plan) -> Plan {
    let script = script(random, None);
    let at = random.below(script.ending_at + 1);
    judged(plan.saying("half-closer", random, script.cut_short(at)))
}

/// Is gone at any octet at all.
fn resetter(random: &mut Random, plan: Plan) -> Plan {
    let script = script(random, None);
    let mut plan = plan.saying("resetter", random, script);
    plan.said_max = random.below(plan.said_max + 1);
    plan.end = random.pick(&[End::Reset, End::Reset, End::Vanish, End::Fin]);
    plan
}

fn never_reading(random: &mut Random, plan: Plan) -> Plan {
    let mut script = Script::empty();
    let len = random.pick(&[10, 3_000]);
    (0..20_000 / (len + 6)).for_each(|_| script.ask(&vec![7; len]));
    let plan = plan.saying("never reading", random, script);
    Plan { is_patient: false, bite: 0, pause: Duration::ZERO, room: random.pick(&[1, 300, 5_000]), ..plan }
}

fn ping_flooder(random: &mut Random, plan: Plan) -> Plan {
    let mut script = Script::empty();
    let ping = masked(0x89, &vec![1; random.below(126)]);
    script.octets = ping.repeat(1 + random.below(400));
    let bite = random.pick(&[0, script.octets.len() / 50, usize::MAX]);
    let plan = plan.saying("ping flooder", random, script);
    let is_patient = plan.is_patient && bite > 0;
    Plan { bite, is_patient, end: random.pick(&[End::Stay, End::Fin, End::Reset]), ..plan }
}

fn garbage(random: &mut Random, plan: Plan) -> Plan {
    let mut script = Script::empty();
    let len = 1 + random.below(4_000);
    script.octets = random.octets(len);
    let mut plan = plan.saying("garbage", random, script);
    if random.one_in(2) {
        plan.said_max -= plan.request.len();
        plan.request.clear();
        plan.is_patient = false;
    }
    plan.end = random.pick(&[End::Stay, End::Fin, End::Vanish]);
    plan
}

/// An octet of the request a second or so.
fn slow_to_ask(random: &mut Random, plan: Plan) -> Plan {
    let pause = Duration::from_millis(200 + random.next() % 3_000);
    Plan { kind: "slow to ask", piece_max: 1 + random.below(9), pause, ..plan }
}

/// Says nothing, or nothing behind its request.
fn silent(random: &mut Random, plan: Plan) -> Plan {
    let said_max = random.pick(&[0, 20, plan.request.len()]);
    Plan { kind: "silent", said_max, piece_max: 1_000, bite: usize::MAX, ..plan }
}

fn oversized(random: &mut Random, plan: Plan) -> Plan {
    let mut script = Script::empty();
    let fragments = 1 + random.below(5);
    for at in 0..fragments {
        script.octets.extend(masked(if at == 0 { 2 } else { 0 }, &vec![at as u8; 40_000 / fragments]));
    }
    plan.saying("oversized", random, script)
}

fn bomb(random: &mut Random, plan: Plan) -> Plan {
    // Made once: it takes as long as some scenarios.
    static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| super::compress(&[b'a'; 400_000]));
    let mut script = Script::empty();
    if random.one_in(8) {
        // Each of them legal, and together more than is inflated in a turn.
        let message = [b'a'; 29_000];
        let compressed = masked(0xc2, &super::compress(&message));
        (0..45).for_each(|_| script.ask_as(&message, &compressed));
        let plan = judged(Plan { is_compressed: true, ..offering(plan).saying("many bombs", random, script) });
        return Plan { piece_max: 60_000, pause: Duration::ZERO, read_cut: Cut::Whole, write_cut: Cut::Whole, ..plan };
    }
    script.octets = masked(0xc2, &LARGE).repeat(1 + random.below(3));
    offering(plan).saying("bomb", random, script)
}

/// With a browser, by mistake.
fn visitor(random: &mut Random, plan: Plan) -> Plan {
    let request = b"GET /wiki HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let end = random.pick(&[End::Stay, End::Fin, End::Vanish]);
    Plan { kind: "visitor", said_max: request.len(), request, end, ..plan }
}

/// Connects and is gone.
fn knocker(random: &mut Random, plan: Plan) -> Plan {
    Plan { kind: "knocker", said_max: 0, end: random.pick(&[End::Fin, End::Reset, End::Vanish]), ..plan }
}
