//! Instructions that the hot paths take, under valgrind: what noise can not move. `benches/ratchet` compares them with the recorded
//! counts; `cargo bench --bench instructions` alone shows them (needs valgrind and `gungraun-runner`).
//!
//! Whole sessions over a socket in memory: reading, decoding, the echo, the outbox and writing, without the kernel's share. Those over
//! TLS hold rustls' part as well, and the cipher's for what valgrind takes for a CPU.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::black_box,
    io::{self, IoSlice, Write as _},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use gungraun::{library_benchmark, library_benchmark_group, main};
use rustls::{ClientConnection, pki_types::PrivatePkcs8KeyDer};
use wslab::{
    net::{Socket, TlsScratch, TlsStream, Transport, Trust, client_config, server_config},
    proto::{Connection, MessageKind, Settings, WireHeader, Workspace, mask},
    server::Echo,
    session::{ConnId, Counts, Readiness, Session, Sessions, Shared, TURN_BYTES_MAX},
};

const READABLE: Readiness = Readiness { readable: true, writable: false, ended: false };
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: localhost:8888\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    User-Agent: bench\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Input arrives as the bench says; output is forgotten, but for a TLS handshake's.
#[derive(Default)]
struct Memory {
    input: Arc<[u8]>,
    /// What has arrived and was not read yet.
    arrived: Range<usize>,
    output: Option<Vec<u8>>,
}

impl Socket for Memory {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.arrived.len().min(buf.len());
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buf[..len].copy_from_slice(&self.input[self.arrived.start..][..len]);
        self.arrived.start += len;
        Ok(len)
    }

    fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(output) = &mut self.output {
            output.extend_from_slice(buf);
        }
        Ok(black_box(buf).len())
    }

    fn send_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(black_box(bufs).iter().map(|buf| buf.len()).sum())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A loop's sessions, of which one is measured, and how its input arrives.
struct Bench {
    sessions: Sessions<Memory>,
    id: ConnId,
    settings: Arc<Settings>,
    chop: usize,
    turns: usize,
}

impl Bench {
    fn new(extensions: &str) -> Self {
        let now = Instant::now();
        let mut workspace = Workspace::new();
        workspace.set_date(std::time::SystemTime::UNIX_EPOCH);
        let shared = Shared {
            workspace,
            tls: TlsScratch::default(),
            now,
            linger: Duration::from_secs(1),
            linger_bytes_max: 1 << 20,
            turn_bytes: TURN_BYTES_MAX,
            counts: Counts::default(),
        };
        let settings = Arc::new(Settings::default());
        let mut sessions = Sessions::new(shared, None);
        let id = sessions.insert(accepted(&settings, now), |_, _| Ok(())).unwrap();
        let mut bench = Bench { sessions, id, settings, chop: usize::MAX, turns: 0 };
        bench.arrive(&format!("{REQUEST}{extensions}\r\n").into_bytes().into());
        assert!(bench.session().connection().is_open());
        bench
    }

    fn session(&self) -> &Session<Memory> {
        self.sessions.get(self.id).unwrap()
    }

    fn socket_mut(&mut self) -> &mut Memory {
        self.sessions.get_mut(self.id).unwrap().socket_mut()
    }

    /// Another session takes its place.
    fn meet(&mut self, session: Session<Memory>) {
        self.sessions.abort(self.id, &mut Echo);
        self.sessions.reap();
        self.id = self.sessions.insert(session, |_, _| Ok(())).unwrap();
    }

    /// Prepared, and warm: everything was done once before.
    fn with(extensions: &str, octets: Vec<u8>, chop: usize, turns: usize) -> (Self, Arc<[u8]>) {
        let mut bench = Bench::new(extensions);
        (bench.chop, bench.turns) = (chop, 1);
        let (mut bench, octets) = bench.run(octets.into());
        bench.turns = turns;
        (bench, octets)
    }

    fn arrive(&mut self, octets: &Arc<[u8]>) {
        self.socket_mut().input = octets.clone();
        for start in (0..octets.len()).step_by(self.chop) {
            self.socket_mut().arrived = start..start.saturating_add(self.chop).min(octets.len());
            self.sessions.on_ready(self.id, READABLE, &mut Echo);
        }
    }

    fn run(mut self, octets: Arc<[u8]>) -> (Self, Arc<[u8]>) {
        for _ in 0..self.turns {
            self.arrive(black_box(&octets));
        }
        assert!(self.session().connection().is_open() && self.session().socket().arrived.is_empty());
        (self, octets)
    }
}

fn accepted(settings: &Arc<Settings>, now: Instant) -> Session<Memory> {
    Session::new(Transport::Plain(Memory::default()), Connection::server(settings.clone(), now))
}

fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = WireHeader::new(true, 0, 0, Some(KEY), payload.len() as u64);
    (header.fin, header.rsv, header.opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 15);
    let mut octets = vec![0; header.size()];
    header.emit(&mut octets);
    octets.extend_from_slice(payload);
    let at = header.size();
    mask(KEY, &mut octets[at..]);
    octets
}

fn frame(kind: MessageKind, len: usize) -> Vec<u8> {
    let mut text: Vec<u8> = "Grüße, мир, 世界! ".bytes().cycle().take(len).collect();
    let valid = std::str::from_utf8(&text).map_or_else(|error| error.valid_up_to(), str::len);
    text.truncate(valid);
    framed(0x80 | kind.opcode() as u8, &text)
}

/// A message of 1 KiB in sixteen fragments.
fn fragments() -> Vec<u8> {
    let first = |at| {
        if at == 0 {
            0x02
        } else if at == 15 {
            0x80
        } else {
            0x00
        }
    };
    (0..16).flat_map(|at| framed(first(at), &[0x5a; 64])).collect()
}

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// 1 KiB of JSON in a stored block of DEFLATE, so that no compressor stands between this bench and what it measures.
fn json() -> Vec<u8> {
    let row = br#"{"id":12345,"name":"measured","tags":["a","b"],"value":0.25},"#;
    let json: Vec<u8> = row.iter().copied().cycle().take(1024).collect();
    let len = (json.len() as u16).to_le_bytes();
    let mut block = vec![0x00, len[0], len[1], !len[0], !len[1]];
    block.extend_from_slice(&json);
    block.push(0x00); // the header octet of the empty stored block whose tail is cut off (RFC 7692 §7.2.1)
    framed(0xc1, &block)
}

/// A session behind TLS, and records to arrive one a turn, each good for once.
fn over_tls(octets: Vec<u8>, turns: usize) -> (Bench, Vec<Arc<[u8]>>) {
    let identity = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let config = server_config(vec![identity.cert.der().clone()], key.into()).unwrap();
    let mut client =
        ClientConnection::new(client_config(Trust::Anyone).unwrap(), "localhost".try_into().unwrap()).unwrap();
    let mut bench = Bench::new("");
    let socket = Memory { output: Some(Vec::new()), ..Memory::default() };
    let stream = TlsStream::server(socket, config).unwrap();
    let connection = Connection::server(bench.settings.clone(), bench.sessions.shared.now);
    bench.meet(Session::new(Transport::Tls(Box::new(stream)), connection));
    client.writer().write_all(format!("{REQUEST}\r\n").as_bytes()).unwrap();
    while !bench.session().connection().is_open() {
        bench.arrive(&records(&mut client));
        let output = std::mem::take(bench.socket_mut().output.as_mut().unwrap());
        client.read_tls(&mut &output[..]).unwrap();
        client.process_new_packets().unwrap();
    }
    bench.socket_mut().output = None;
    let mut turn = || {
        client.writer().write_all(&octets).unwrap();
        records(&mut client)
    };
    // Warm, and past the writes that are rustls' (ARCHITECTURE.md, Decisions).
    for _ in 0..20 {
        bench.arrive(&turn());
    }
    (bench, (0..turns).map(|_| turn()).collect())
}

fn records(client: &mut ClientConnection) -> Arc<[u8]> {
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).unwrap();
    }
    records.into()
}

#[library_benchmark]
#[bench::alone_64(over_tls(frame(MessageKind::Binary, 64), 100))]
#[bench::pipelined_64_x_64(over_tls(frame(MessageKind::Binary, 64).repeat(64), 20))]
#[bench::binary_16_kib(over_tls(frame(MessageKind::Binary, 16 << 10), 20))]
fn echo_tls((mut bench, turns): (Bench, Vec<Arc<[u8]>>)) -> (Bench, Vec<Arc<[u8]>>) {
    for octets in &turns {
        bench.arrive(black_box(octets));
    }
    assert!(bench.session().connection().is_open() && bench.session().socket().arrived.is_empty());
    (bench, turns)
}

#[library_benchmark]
#[bench::alone_64(Bench::with("", frame(MessageKind::Binary, 64), usize::MAX, 100))]
#[bench::pipelined_256_x_64(Bench::with("", frame(MessageKind::Binary, 64).repeat(256), usize::MAX, 10))]
#[bench::text_1_kib(Bench::with("", frame(MessageKind::Text, 1 << 10), usize::MAX, 100))]
#[bench::binary_16_kib(Bench::with("", frame(MessageKind::Binary, 16 << 10), usize::MAX, 20))]
#[bench::text_1_mib(Bench::with("", frame(MessageKind::Text, 1 << 20), 128 << 10, 2))]
#[bench::octet_by_octet_64(Bench::with("", frame(MessageKind::Binary, 64), 1, 5))]
#[bench::fragments_16_x_64(Bench::with("", fragments(), usize::MAX, 20))]
#[bench::compressed_json_1_kib(Bench::with(DEFLATE, json(), usize::MAX, 20))]
fn echo((bench, octets): (Bench, Arc<[u8]>)) -> (Bench, Arc<[u8]>) {
    bench.run(octets)
}

// The opening handshake, from an accepted socket to the 101, and the end of the session before.
#[library_benchmark]
#[bench::request(Bench::with("", frame(MessageKind::Binary, 64), usize::MAX, 20))]
fn open((mut bench, _): (Bench, Arc<[u8]>)) -> Bench {
    let request = format!("{REQUEST}\r\n").into_bytes().into();
    for _ in 0..bench.turns {
        bench.meet(accepted(&bench.settings, bench.sessions.shared.now));
        bench.arrive(black_box(&request));
        assert!(bench.session().connection().is_open());
    }
    bench
}

library_benchmark_group!(name = hot_paths, benchmarks = [echo, echo_tls, open]);
main!(library_benchmark_groups = hot_paths);
