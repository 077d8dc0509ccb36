//! The protocol core without sockets: masking, UTF-8, frame decoding, compression, and whole echoes through a `Connection`.
//!
//! `cargo bench --bench core` measures; `cargo test --bench core` runs each once (what `.ci/run` does).

#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, sync::Arc, time::Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use wslab::proto::{
    Connection, Event, FrameDecoder, Limits, MessageKind, Place, Role, Settings, Turn, WireHeader, Workspace,
    deflate::{Codec, Codecs, DeflateConfig, Inflation, InvalidDeflate, Sink, negotiation},
    handshake::extensions::offers,
    mask, whole_code_points,
};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const SIZES: [usize; 5] = [16, 64, 1 << 10, 16 << 10, 1 << 20];

/// A client's frame.
fn frame(kind: MessageKind, payload: &[u8]) -> Vec<u8> {
    let header = WireHeader::new(true, 0, kind.opcode() as u8, Some(KEY), payload.len() as u64);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    mask(KEY, &mut octets[header.size()..]);
    octets
}

fn text(len: usize) -> Vec<u8> {
    "Grüße, мир, 世界! ".bytes().cycle().take(len).map(|octet| if len < 32 { b'a' } else { octet }).collect()
}

/// Valid text of at most `len` octets.
fn valid_text(len: usize) -> Vec<u8> {
    let mut text = text(len);
    let valid = std::str::from_utf8(&text).map_or_else(|error| error.valid_up_to(), str::len);
    text.truncate(valid);
    text
}

/// Texts of at most `len` octets, some MiB together, in which no word order is repeated: what is not ASCII stands where no branch
/// predictor has learned it.
fn prose(len: usize) -> Vec<Vec<u8>> {
    const ASCII: [&str; 4] = ["lorem ", "ipsum dolor sit ", "amet, consectetur ", "in 2026 "];
    const OTHERS: [&str; 4] = ["café ", "мир ", "世界 ", "🙂 "];
    let mut random = StdRng::seed_from_u64(8);
    let text = |_| {
        let mut text = String::new();
        loop {
            let words = if random.random_ratio(5, 6) { ASCII } else { OTHERS };
            let word = words[random.random_range(0..words.len())];
            if text.len() + word.len() > len {
                return text.into_bytes();
            }
            text.push_str(word);
        }
    };
    (0..(4 << 20) / len).map(text).collect()
}

fn bench_mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in SIZES {
        let mut payload = vec![0x5a; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter(|| mask(black_box(KEY), black_box(&mut payload)));
        });
    }
}

fn bench_utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for size in SIZES {
        for (name, payload) in [("ascii", vec![b'a'; size]), ("mixed", valid_text(size))] {
            group.throughput(Throughput::Bytes(payload.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter(|| whole_code_points(black_box(&payload)).unwrap());
            });
        }
    }
    for size in [8 << 10, 16 << 10, 1 << 20] {
        let texts = prose(size);
        let mut at = 0;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("prose", size), |bench| {
            bench.iter(|| {
                at = (at + 1) % texts.len();
                whole_code_points(black_box(&texts[at])).unwrap()
            });
        });
    }
}

fn bench_decode(criterion: &mut Criterion) {
    let place = Place { role: Role::Server, message: None, deflate: false, limits: &Limits::DEFAULT };
    let mut group = criterion.benchmark_group("decode");
    for size in SIZES {
        let input = frame(MessageKind::Binary, &vec![0x5a; size]);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter_batched_ref(
                || input.clone(),
                |input| FrameDecoder::default().decode(black_box(input), &place).unwrap().unwrap().ends,
                BatchSize::SmallInput,
            );
        });
    }
}

/// A connection past its opening handshake.
fn opened(workspace: &mut Workspace, now: Instant) -> Connection {
    let mut connection = Connection::server(Arc::new(Settings::default()), now);
    let mut turn = connection.turn(workspace, now);
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    turn.spare()[..request.len()].copy_from_slice(request);
    turn.filled(request.len());
    assert_eq!(echo_all(&mut turn), 0);
    drop(turn);
    connection
}

/// Answers everything, as a session does, and pretends that the socket took it. Returns the messages.
fn echo_all(turn: &mut Turn<'_>) -> usize {
    let mut messages = 0;
    loop {
        while let Some((message, mut sender)) = turn.receive_whole() {
            messages += 1;
            sender.reply(message).unwrap();
        }
        let Some(mut received) = turn.receive_other() else { break };
        if let Event::Message(message) = received.event {
            messages += 1;
            received.sender.reply(message).unwrap();
        }
    }
    while turn.has_output() {
        let len = turn.transmit().iter().map(|slice| black_box(slice).len()).sum();
        turn.advance(len);
    }
    messages
}

/// One turn of a connection: `input` arrives, every message in it is echoed, the echoes leave.
fn echo(connection: &mut Connection, workspace: &mut Workspace, mut input: &[u8], now: Instant) -> usize {
    let mut messages = 0;
    while !input.is_empty() {
        let mut turn = connection.turn(workspace, now);
        let direct = turn.spare_payload().map(|room| fill(room, &mut input));
        match direct {
            Some(len) => turn.filled_payload(len),
            None => {
                let len = fill(turn.spare(), &mut input);
                turn.filled(len);
            }
        }
        messages += echo_all(&mut turn);
    }
    messages
}

fn fill(room: &mut [u8], input: &mut &[u8]) -> usize {
    let len = room.len().min(input.len());
    let (now, later) = input.split_at(len);
    room[..len].copy_from_slice(now);
    *input = later;
    len
}

fn bench_echo(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("echo");
    for size in SIZES {
        for (name, input) in [
            ("binary", frame(MessageKind::Binary, &vec![0x5a; size])),
            ("text", frame(MessageKind::Text, &valid_text(size))),
        ] {
            let mut workspace = Workspace::new();
            let mut connection = opened(&mut workspace, now);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                bench.iter(|| assert_eq!(echo(&mut connection, &mut workspace, black_box(&input), now), 1));
            });
        }
    }
    // 256 messages of 64 octets in one turn: what pipelining costs a message.
    let input = frame(MessageKind::Binary, &[0x5a; 64]).repeat(256);
    let mut workspace = Workspace::new();
    let mut connection = opened(&mut workspace, now);
    group.throughput(Throughput::Elements(256));
    group.bench_function("pipelined 256 x 64", |bench| {
        bench.iter(|| assert_eq!(echo(&mut connection, &mut workspace, black_box(&input), now), 256));
    });
}

/// Rows of numbers and names, of which no two messages have the same.
fn json(len: usize, random: &mut StdRng) -> Vec<u8> {
    let mut json = String::new();
    while json.len() < len {
        let (lot, price, volume) = (random.random::<u16>(), random.random_range(0..100_000), random.random::<u32>());
        let side = if random.random() { "bid" } else { "ask" };
        json += &format!("{{\"lot\":{lot},\"side\":\"{side}\",\"price\":{price},\"volume\":{volume}}},");
    }
    json.truncate(len);
    json.into_bytes()
}

/// Takes what is inflated, and forgets it.
struct Discard([u8; 4 << 10], usize);

impl Sink for Discard {
    type Error = InvalidDeflate;

    fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn filled(&mut self, len: usize) -> Result<(), InvalidDeflate> {
        self.1 += len;
        Ok(())
    }
}

fn codec(level: u8) -> Codec {
    let config = DeflateConfig { level, ..DeflateConfig::DEFAULT };
    Codec::new(negotiation::accept(&offers([&b"permessage-deflate"[..]]).unwrap(), &config).unwrap().0, &config)
}

fn bench_deflate(criterion: &mut Criterion) {
    let (mut codec, mut strong) = (codec(1), codec(6));
    let mut codecs = Codecs::default();
    let mut random = StdRng::seed_from_u64(9);
    for size in [128, 1 << 10, 8 << 10] {
        let messages: Vec<_> = (0..512).map(|_| json(size, &mut random)).collect();
        let compressed: Vec<_> =
            messages.iter().map(|message| strong.deflate(&mut codecs, message).unwrap().to_vec()).collect();
        let mut at = 0;
        let mut next = || {
            at = (at + 1) % messages.len();
            at
        };
        let mut group = criterion.benchmark_group("deflate");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("compress", size), |bench| {
            bench.iter(|| black_box(codec.deflate(&mut codecs, black_box(&messages[next()]))).unwrap().len());
        });
        group.bench_function(BenchmarkId::new("inflate", size), |bench| {
            bench.iter(|| {
                let mut sink = Discard([0; 4 << 10], 0);
                let inflation = codec.inflate(&mut codecs, black_box(&compressed[next()]), true, &mut sink).unwrap();
                assert_eq!((inflation, sink.1), (Inflation::Done, size));
            });
        });
    }
}

criterion_group!(benches, bench_mask, bench_utf8, bench_decode, bench_deflate, bench_echo);
criterion_main!(benches);
