//! Honest and hostile peers side by side for a long time: nothing is lost, memory and descriptors stay as they are.
//! `WSLAB_SOAK_SECS=600 cargo test --release -- --ignored --nocapture soak` prints a line every ten seconds and the slope of
//! the resident memory at the end.

use std::{
    io::Write,
    net::Shutdown,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    client::{Client, Door, End},
    http::UPGRADE,
    process::Serve,
    raise_open_files,
    wire::PEER,
};

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % end as u64) as usize
    }
}

#[derive(Default)]
struct Count {
    connections: AtomicU64,
    messages: AtomicU64,
    hostile: AtomicU64,
}

/// Connects, sends messages of all sizes, expects each back, closes in order; again and again.
fn honest(door: &Door, seed: u64, over: &AtomicBool, count: &Count) {
    let mut random = Random(seed);
    while !over.load(Ordering::Relaxed) {
        let mut client = door.open();
        count.connections.fetch_add(1, Ordering::Relaxed);
        for _ in 0..random.below(200) {
            let most = [8, 200, 5_000, 200_000][random.below(4)];
            let len = random.below(most);
            let payload = vec![random.below(256) as u8; len];
            let octets = match random.below(3) {
                0 => [PEER.frame(0x02, &payload[..len / 2]), PEER.ping(b""), PEER.frame(0x80, &payload[len / 2..])]
                    .concat(),
                _ => PEER.binary(&payload),
            };
            client.send(&octets);
            let echo = loop {
                let frame = client.frame();
                if frame.first == 0x82 {
                    break frame;
                }
                assert_eq!(frame.first, 0x8a, "a Pong or an echo");
            };
            assert!(echo.payload == payload, "the echo of {len} octets over {}", door.name());
            count.messages.fetch_add(1, Ordering::Relaxed);
        }
        client.send(&PEER.close(1000));
        assert_eq!(client.rest().1, End::Clean, "over {}", door.name());
    }
}

/// One bad turn after the other, each on a connection of its own. Nothing is asserted: the server may end it at any time.
fn hostile(door: &Door, seed: u64, over: &AtomicBool, count: &Count) {
    let mut random = Random(seed);
    while !over.load(Ordering::Relaxed) {
        count.hostile.fetch_add(1, Ordering::Relaxed);
        match random.below(8) {
            // Vanishes in its request, or before it.
            0 => {
                let mut tcp = door.tcp();
                let _ = tcp.write_all(&UPGRADE.as_bytes()[..random.below(UPGRADE.len())]);
                let _ = tcp.shutdown(Shutdown::Write);
            }
            1 => drop(door.tcp()),
            // What is no request, no record, no frame.
            2 => {
                let garbage: Vec<u8> = (0..random.below(5_000)).map(|_| random.below(256) as u8).collect();
                let _ = door.tcp().write_all(&garbage);
            }
            3 => {
                let mut client = door.open();
                let garbage: Vec<u8> = (0..random.below(5_000)).map(|_| random.below(256) as u8).collect();
                let _ = client.try_send(&garbage);
                client.reset();
            }
            // A message that never ends; one that is too large.
            4 => bad(door, &[&PEER.frame(0x02, &vec![7; random.below(100_000)])[..], &[0x80, 0xfe]].concat()),
            5 => bad(door, &PEER.frame_of_len(0x82, &[127, 0, 0, 0, 0, 127, 0, 0, 0], b"")),
            // Reads nothing of a lot.
            6 => {
                let mut client = door.open();
                client.tcp().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                let message = PEER.binary(&vec![7; 1 << 20]);
                while client.try_send(&message).is_ok() && !over.load(Ordering::Relaxed) {}
                client.reset();
            }
            _ => bad(door, &PEER.ping(&[7; 125]).repeat(10_000)),
        }
    }
}

fn bad(door: &Door, octets: &[u8]) {
    let mut client: Client = door.open();
    let _ = client.try_send(octets);
    client.reset();
}

/// Octets a second by which the values grow, by least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| (x + sample.0 / count, y + sample.1 / count));
    let above: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    above / samples.iter().map(|sample| (sample.0 - x).powi(2)).sum::<f64>()
}

#[test]
fn the_slope_of_a_line_is_its_slope() {
    let line: Vec<_> = (0..10).map(|at| (f64::from(at), 3.0 + 0.5 * f64::from(at))).collect();
    assert!((slope(&line) - 0.5).abs() < 1e-9);
}

#[test]
#[ignore = "ten minutes: WSLAB_SOAK_SECS=600 cargo test --release -- --ignored --nocapture soak"]
fn soak_of_honest_and_hostile_peers() {
    raise_open_files();
    let seconds = std::env::var("WSLAB_SOAK_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let span = Duration::from_secs(seconds);
    let flags = [
        "--handshake-timeout",
        "2s",
        "--write-stall-timeout",
        "3s",
        "--close-timeout",
        "3s",
        "--idle-timeout",
        "10s",
        "--defer-accept",
        "1s",
    ];
    let server = Serve::start(&flags);
    let idle_files = server.process.open_files();
    let (over, count) = (AtomicBool::new(false), Count::default());
    let begin = Instant::now();
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let (over, count) = (&over, &count);
        for (seed, door) in server.doors().into_iter().cycle().take(8).enumerate() {
            let other = door.clone();
            scope.spawn(move || honest(&door, seed as u64, over, count));
            scope.spawn(move || hostile(&other, 1000 + seed as u64, over, count));
        }
        while begin.elapsed() < span {
            thread::sleep(Duration::from_secs(1).min(span.saturating_sub(begin.elapsed())));
            let resident = server.process.resident_bytes();
            samples.push((begin.elapsed().as_secs_f64(), resident as f64));
            if samples.len() % 10 == 0 {
                println!(
                    "{:>5.0} s {:>7} kB resident {:>4} files {:>8} connections {:>9} messages {:>8} hostile",
                    begin.elapsed().as_secs_f64(),
                    resident >> 10,
                    server.process.open_files(),
                    count.connections.load(Ordering::Relaxed),
                    count.messages.load(Ordering::Relaxed),
                    count.hostile.load(Ordering::Relaxed),
                );
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    // All are gone: so are their descriptors, once the server has seen it.
    let deadline = Instant::now() + Duration::from_secs(15);
    while server.process.open_files() > idle_files && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.process.open_files(), idle_files, "descriptors");
    // Buffers that are kept for reuse fill up at first.
    let settled = &samples[samples.len() / 3..];
    let growth = slope(settled);
    println!(
        "{:.1} min, {} honest connections with {} messages, {} hostile ones; memory {growth:+.0} octets a second",
        begin.elapsed().as_secs_f64() / 60.0,
        count.connections.into_inner(),
        count.messages.into_inner(),
        count.hostile.into_inner(),
    );
    let stderr = server.process.stderr_so_far();
    assert!(!stderr.contains("ERROR") && !stderr.contains("panicked"), "{stderr}");
    if settled.len() >= 60 {
        assert!(growth < 20_000.0, "{growth} octets a second");
    }
}
