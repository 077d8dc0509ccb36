//! The outbox against a naive model of its rule, over every interleaving of lanes and partial writes.

use std::collections::VecDeque;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Run(u8),
    Spill(u8),
    Big(u8),
    Pong,
    Take(usize),
    EndTurn,
}

/// The rule, said naively: frames in two lanes, and one that was begun.
#[derive(Default)]
struct Model {
    begun: VecDeque<u8>,
    control: VecDeque<Vec<u8>>,
    data: VecDeque<Vec<u8>>,
    wire: Vec<u8>,
}

impl Model {
    fn take(&mut self, octets: usize) {
        for _ in 0..octets {
            if self.begun.is_empty() {
                let next = self.control.pop_front().or_else(|| self.data.pop_front());
                self.begun = next.unwrap().into();
            }
            self.wire.extend(self.begun.pop_front());
        }
    }

    fn end_turn(&mut self) {
        self.control.drain(..self.control.len().saturating_sub(1));
    }

    fn len(&self) -> usize {
        self.begun.len() + self.control.iter().chain(&self.data).map(Vec::len).sum::<usize>()
    }
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let header = WireHeader::new(true, 0, opcode as u8, None, payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    [&octets, payload].concat()
}

/// Plays the operations on the outbox and on the model; the wire must be the same, octet for octet.
fn check(ops: &[Op]) {
    let (mut outbox, mut lanes, mut pool, mut model) =
        (Outbox::default(), Lanes::default(), Pool::default(), Model::default());
    let (mut window, mut wire, mut serial) = (Vec::new(), Vec::new(), 0u8);
    for op in ops.iter().chain(&[Op::EndTurn, Op::Take(usize::MAX), Op::Take(usize::MAX)]) {
        serial += 1;
        match *op {
            Op::Run(len) | Op::Spill(len) | Op::Big(len) => {
                let octets = frame(Opcode::Text, &vec![serial; len.into()]);
                match op {
                    Op::Big(_) => outbox.push(Buffer::from_vec(octets.clone()), &mut lanes, &window),
                    Op::Run(_) if lanes.run_is_last() => {
                        window.extend_from_slice(&octets);
                        let start = if lanes.run.is_empty() { window.len() - octets.len() } else { lanes.run.start };
                        lanes.run = start..window.len();
                    }
                    _ => lanes.spill.extend_from_slice(&octets),
                }
                model.data.push_back(octets);
            }
            Op::Pong => {
                let octets = frame(Opcode::Pong, &[serial]);
                lanes.control.extend_from_slice(&octets);
                model.control.push_back(octets);
            }
            Op::Take(most) => {
                let offered: Vec<u8> = outbox.slices(&lanes, &window).iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = offered.len().min(most);
                wire.extend_from_slice(&offered[..taken]);
                outbox.advance(taken, &mut lanes, &window, &mut pool);
                model.take(taken);
            }
            Op::EndTurn => {
                outbox.stash(&mut lanes, &window);
                assert_eq!(lanes.len(), 0);
                model.end_turn();
                assert_eq!(outbox.len(), model.len(), "{ops:?}");
                outbox.load(&mut lanes);
            }
        }
        assert_eq!(outbox.len() + lanes.len(), model.len(), "{ops:?}");
    }
    assert_eq!(wire, model.wire, "{ops:?}");
    assert_eq!(model.len(), 0, "{ops:?}: something was left");
    assert!(outbox.queue.is_none() && outbox.begun == 0, "{ops:?}");
}

#[test]
fn every_interleaving_of_lanes_and_partial_writes_keeps_the_order() {
    let alphabet = [Op::Run(3), Op::Spill(130), Op::Big(4), Op::Pong, Op::Take(1), Op::Take(4), Op::EndTurn];
    let mut ops = Vec::new();
    for length in 0..=6 {
        for number in 0..alphabet.len().pow(length) {
            ops.clear();
            let digit = |at: u32| number / alphabet.len().pow(at) % alphabet.len();
            ops.extend((0..length).map(|at| alphabet[digit(at)]));
            check(&ops);
        }
    }
}

#[test]
fn pong_passes_queued_echo_but_not_a_begun_frame() {
    let (mut outbox, mut lanes, mut pool) = (Outbox::default(), Lanes::default(), Pool::default());
    for text in [b"first", b"other"] {
        lanes.spill.extend_from_slice(&frame(Opcode::Text, text));
    }
    outbox.advance(1, &mut lanes, &[], &mut pool);
    lanes.control = frame(Opcode::Pong, b"!");
    let wire: Vec<u8> = outbox.slices(&lanes, &[]).iter().flat_map(|slice| slice.to_vec()).collect();
    assert_eq!(wire, b"\x05first\x8a\x01!\x81\x05other");
}

#[test]
fn under_pressure_only_the_newest_pong_is_kept_and_every_ping() {
    let lane =
        [frame(Opcode::Pong, b"1"), frame(Opcode::Ping, b"p"), frame(Opcode::Pong, b"2"), frame(Opcode::Ping, b"q")];
    let mut kept = Vec::new();
    keep_newest_pong(&lane.concat(), &mut kept);
    assert_eq!(kept, [&lane[1][..], &lane[3], &lane[2]].concat());
}

#[test]
fn a_long_queue_leaves_in_several_writes_with_control_first() {
    let (mut outbox, mut lanes, mut pool) = (Outbox::default(), Lanes::default(), Pool::default());
    for _ in 0..40 {
        outbox.push(Buffer::from_vec(frame(Opcode::Binary, &[0; 20_000])), &mut lanes, &[]);
    }
    lanes.control = frame(Opcode::Pong, b"");
    let mut wire = Vec::new();
    while outbox.len() + lanes.len() > 0 {
        let slices = outbox.slices(&lanes, &[]);
        let octets: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        wire.extend_from_slice(&octets);
        outbox.advance(octets.len(), &mut lanes, &[], &mut pool);
    }
    assert_eq!(&wire[..2], b"\x8a\0");
    assert_eq!(wire.len(), 2 + 40 * 20_004);
}

#[test]
fn a_queue_that_never_empties_does_not_grow_its_last_buffer() {
    let (mut outbox, mut lanes, mut pool) = (Outbox::default(), Lanes::default(), Pool::default());
    for turn in 0..10_000 {
        outbox.load(&mut lanes);
        lanes.spill.extend_from_slice(&frame(Opcode::Binary, &[0; 1000]));
        let taken = if turn < 8 { 0 } else { 1004 };
        outbox.advance(taken, &mut lanes, &[], &mut pool);
        outbox.stash(&mut lanes, &[]);
    }
    let held: usize = outbox.queue.iter().flat_map(|queue| &queue.data).map(Buffer::allocated).sum();
    assert!(held < 64 << 10, "{} octets queued, {held} held", outbox.len());
}

#[test]
fn what_is_shed_ends_with_the_frame_that_the_wire_has_begun() {
    let first = frame(Opcode::Binary, &[1; 100_000]);
    let others = [frame(Opcode::Binary, &[2; 50_000]), frame(Opcode::Text, b"small")].concat();
    let close = frame(Opcode::Close, b"\x03\xf5");
    for (taken, rest) in [(0, &b""[..]), (1, &first[1..]), (99_000, &first[99_000..]), (first.len(), b"")] {
        let (mut outbox, mut lanes, mut pool) = (Outbox::default(), Lanes::default(), Pool::default());
        outbox.push(Buffer::from_vec(first.clone()), &mut lanes, &[]);
        lanes.spill = others.clone();
        outbox.advance(taken, &mut lanes, &[], &mut pool);
        lanes.control = frame(Opcode::Pong, b"!");
        outbox.stash(&mut lanes, &[]);
        assert!(outbox.held_bytes() > 50_000);
        // A later turn.
        outbox.load(&mut lanes);
        outbox.drop_not_begun(&mut lanes, &[]);
        assert_eq!(outbox.len() + lanes.len(), rest.len(), "{taken} taken");
        assert!(outbox.held_bytes() <= 2 * rest.len() + 300, "{taken} taken: {} held", outbox.held_bytes());
        lanes.spill.extend_from_slice(&close);
        let wire: Vec<u8> = outbox.slices(&lanes, &[]).iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(wire, [rest, &close].concat(), "{taken} taken");
    }
}

#[test]
fn what_the_queue_holds_is_what_its_buffers_take() {
    let (mut outbox, mut lanes, mut pool) = (Outbox::default(), Lanes::default(), Pool::default());
    for turn in 0..1000_usize {
        outbox.load(&mut lanes);
        lanes.spill.extend_from_slice(&frame(Opcode::Binary, &vec![0; turn * 7919 % 30_000]));
        let queued: usize = outbox.slices(&lanes, &[]).iter().map(|slice| slice.len()).sum();
        outbox.advance(queued.min(turn * 104_729 % 40_000), &mut lanes, &[], &mut pool);
        outbox.stash(&mut lanes, &[]);
        // Recounted inside.
        assert!(outbox.held_bytes() >= outbox.len(), "turn {turn}");
    }
    outbox.load(&mut lanes);
    while outbox.len() + lanes.len() > 0 {
        let queued = outbox.slices(&lanes, &[]).iter().map(|slice| slice.len()).sum();
        outbox.advance(queued, &mut lanes, &[], &mut pool);
    }
    assert_eq!(outbox.held_bytes(), 0);
}
