//! A thousand peers of each bad kind at once beside honest clients, and what the honest ones notice:
//! `cargo test --release -- --ignored --nocapture hostile_thousands`. It prints the honest clients' round trips beside each
//! flood. Figures are those of a machine that generates the flood too, on the same cores.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;

use crate::support::{
    client::{Door, client_config},
    http::UPGRADE,
    process::Serve,
    raise_open_files,
    wire::PEER,
};

const PEERS: usize = 1000;
/// Beside each flood.
const SPAN: Duration = Duration::from_secs(5);
/// Of each honest client.
const PACE: Duration = Duration::from_millis(20);

/// What a thousand peers do, until they are told to stop.
type Flood = fn(&Flooded<'_>);

struct Flooded<'a> {
    ws: Door,
    wss: Door,
    hello: &'a [u8],
    over: &'a AtomicBool,
    /// What was done: octets sent, handshakes begun.
    done: &'a AtomicU64,
}

impl Flooded<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn count(&self, done: usize) {
        self.done.fetch_add(done as u64, Ordering::Relaxed);
    }

    fn open(&self) -> Vec<TcpStream> {
        (0..PEERS)
            .map(|_| {
                let client = self.ws.open();
                client.tcp().set_nonblocking(true).unwrap();
                // Else a thousand take all memory that the kernel has for TCP (tcp_mem), which then drops honest segments too:
                // half a second to two for everybody, whatever the server does.
                let socket = SockRef::from(client.tcp());
                socket.set_send_buffer_size(64 << 10).unwrap();
                socket.set_recv_buffer_size(64 << 10).unwrap();
                client.tcp().try_clone().unwrap()
            })
            .collect()
    }

    /// Sends the same over and over, as fast as it is taken.
    fn pour(&self, octets: &[u8], reads: bool) {
        let peers = self.open();
        let mut at = vec![0; peers.len()];
        let mut buffer = vec![0; 64 << 10];
        while !self.is_over() {
            for (mut peer, at) in peers.iter().zip(&mut at) {
                match peer.write(&octets[*at..]) {
                    Ok(sent) => {
                        *at = (*at + sent) % octets.len();
                        self.count(sent);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // Whoever holds most is closed where memory runs out.
                    Err(_) => {}
                }
                while reads && peer.read(&mut buffer).is_ok_and(|octets| octets == buffer.len()) {}
            }
        }
    }
}

fn pings(flood: &Flooded<'_>) {
    flood.pour(&PEER.ping(b"").repeat(10_000), true);
}

fn tiny_fragments(flood: &Flooded<'_>) {
    let message =
        [&PEER.frame(0x01, b"x")[..], &PEER.frame(0x00, b"x").repeat(9_998), &PEER.frame(0x80, b"x")].concat();
    flood.pour(&message, true);
}

fn readers_of_nothing(flood: &Flooded<'_>) {
    flood.pour(&PEER.binary(&[7; 60_000]), false);
}

/// The same ClientHello every time: it costs the peer nothing, and the server a key exchange and a signature.
fn tls_handshakes(flood: &Flooded<'_>) {
    let door = &flood.wss;
    let mut peers = std::collections::VecDeque::new();
    while !flood.is_over() {
        let mut tcp = door.tcp();
        let _ = tcp.write_all(flood.hello);
        flood.count(1);
        peers.push_back(tcp);
        if peers.len() > PEERS {
            peers.pop_front();
        }
    }
}

fn an_octet_a_second(flood: &Flooded<'_>) {
    let frame = PEER.binary(&[7; 1000]);
    let connect = |door: &Door, octets: &'static [u8]| (door.tcp(), octets);
    let hello: &'static [u8] = flood.hello.to_vec().leak();
    let frame: &'static [u8] = frame.leak();
    let mut peers: Vec<(TcpStream, &[u8])> = Vec::new();
    peers.extend((0..PEERS / 2).map(|_| connect(&flood.ws, UPGRADE.as_bytes())));
    peers.extend((0..PEERS / 2).map(|_| connect(&flood.wss, hello)));
    peers.extend((0..PEERS).map(|_| (flood.ws.open().tcp().try_clone().unwrap(), frame)));
    for second in 0.. {
        for (tcp, octets) in &mut peers {
            let _ = tcp.write_all(&octets[second..][..1]);
            flood.count(1);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            if flood.is_over() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn nothing(_: &Flooded<'_>) {}

/// Round trips of a client that sends 64 octets at a steady pace, each counted from when it was to be sent.
fn honest(door: &Door, over: &AtomicBool) -> Vec<Duration> {
    // Beside a flood of handshakes a newcomer may have to try again, as real ones do.
    let open = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| door.open())).ok();
    let mut client = (0..20).find_map(|_| open()).expect("let in");
    let text = "h".repeat(64);
    let mut took = Vec::new();
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        client.expect_echo(&text);
        took.push(due.elapsed());
        due += PACE;
    }
    took
}

#[test]
#[ignore = "half a minute, and figures only: cargo test --release -- --ignored --nocapture hostile_thousands"]
fn hostile_thousands_beside_honest_clients() {
    assert!(raise_open_files() >= 8_000, "it takes 8,000 open files");
    let floods: [(&str, Flood); 6] = [
        ("nothing", nothing),
        ("pings", pings),
        ("fragments of one octet", tiny_fragments),
        ("peers that read nothing", readers_of_nothing),
        ("TLS handshakes", tls_handshakes),
        ("an octet a second (TCP, TLS, HTTP)", an_octet_a_second),
    ];
    println!("{:<36} {:>8} {:>8} {:>8} {:>8}  flood", "beside 1,000 ×", "trips", "p50", "p99", "max");
    for (name, flood) in floods {
        let server = Serve::start(&["--handshake-timeout", "60s"]);
        let mut hello = Vec::new();
        let config = Arc::new(client_config(&server.ca()));
        let mut tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        tls.write_tls(&mut hello).unwrap();
        let (over, flood_over, done) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        let flooded = Flooded { ws: server.ws(), wss: server.wss(), hello: &hello, over: &flood_over, done: &done };
        let mut took = thread::scope(|scope| {
            scope.spawn(|| {
                // The flood shall not take the honest clients' processor time.
                let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
                flood(&flooded);
            });
            // Until it flows.
            let begin = Instant::now();
            while name != "nothing" && done.load(Ordering::Relaxed) < 1000 && begin.elapsed() < SPAN {
                thread::sleep(Duration::from_millis(10));
            }
            let (doors, over) = (server.doors(), &over);
            let doors = doors.into_iter().cycle().take(16);
            let honest: Vec<_> = doors.map(|door| scope.spawn(move || honest(&door, over))).collect();
            thread::sleep(SPAN);
            over.store(true, Ordering::Relaxed);
            let took: Vec<Duration> = honest.into_iter().flat_map(|client| client.join().unwrap()).collect();
            flood_over.store(true, Ordering::Relaxed);
            took
        });
        took.sort();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        println!(
            "{name:<36} {:>8} {:>6.2}ms {:>6.2}ms {:>6.2}ms  {} octets or handshakes",
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            done.into_inner()
        );
    }
}
