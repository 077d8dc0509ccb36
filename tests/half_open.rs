//! Peers that are gone without a word: no FIN, no RST. Either their machine answers nothing any more (switched off, cable
//! pulled), or it has started anew and answers whatever it is sent with a RST. What finds them: Pings and the idle timeout, a
//! write that stalls, TCP's keep-alive.

use std::{
    io::{BufRead, BufReader},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::{SockFilter, SockRef, Socket};

use crate::support::{
    at_once,
    client::{Client, Door},
    process::Serve,
    scrape::Admin,
    wire::PEER,
};

/// Over each door.
const GONE: usize = 10;
/// How long it may take until all of them are found: the keep-alive's ten probes take longest.
const FOUND_WITHIN: Duration = Duration::from_secs(40);
/// What a loop may keep in buffers for messages to come.
const POOLED_BYTES_MAX: f64 = (9 << 20) as f64;

/// A way to lose peers without a word, and what the server makes of it.
struct Row {
    what: &'static str,
    flags: &'static [&'static str],
    /// What the peers do before they are gone.
    before: fn(&mut Client),
    /// By what they are closed: one of these, where the peer's kernel and our clock are about as fast.
    causes: &'static [&'static str],
    /// Not before.
    at_least: Duration,
}

fn nothing(_: &mut Client) {}

/// An echo that is more than the sockets' buffers hold is on its way.
fn ask_for_much(client: &mut Client) {
    SockRef::from(client.tcp()).set_recv_buffer_size(64 << 10).unwrap();
    client.send(&PEER.binary(&vec![7; 8 << 20]));
    assert_eq!(client.read(&mut [0]).unwrap(), 1, "it has begun");
}

const PINGED: &[&str] = &["--ping-interval", "500ms", "--idle-timeout", "2s", "--close-timeout", "300ms"];
const SILENT: &[&str] = &["--idle-timeout", "2s", "--close-timeout", "300ms"];

#[test]
fn peers_whose_machine_is_off_are_found_and_cost_nobody_else_anything() {
    let seconds = Duration::from_secs;
    #[rustfmt::skip]
    let rows = [
        Row { what: "Pings", flags: PINGED, before: nothing, causes: &["idle"], at_least: seconds(2) },
        Row { what: "the idle timeout alone", flags: SILENT, before: nothing, causes: &["idle"], at_least: seconds(2) },
        Row { what: "an echo that stalls", flags: &["--write-stall-timeout", "1s"], before: ask_for_much, causes: &["write_stall"], at_least: seconds(1) },
        // One second of silence, and nine probes.
        Row { what: "TCP's keep-alive", flags: &["--keep-alive", "1s"], before: nothing, causes: &["socket"], at_least: seconds(2) },
    ];
    at_once(rows, |row| {
        let server = start(row.flags);
        beside_honest_clients(&server, &row, || {
            let gone = Mutex::new(Vec::new());
            at_once(server.doors().iter().flat_map(|door| [door; GONE]), |door| {
                let mut client = door.open();
                (row.before)(&mut client);
                gone.lock().unwrap().push(switch_off(client));
            });
            Some(gone)
        });
    });
}

#[test]
fn peers_whose_machine_has_restarted_are_found_by_what_it_answers() {
    // The RST to a Ping breaks the socket; the one to a Close 1001 ends what is closed for silence.
    let rows = [("Pings", PINGED, &["socket"][..]), ("the idle timeout alone", SILENT, &["idle", "socket"])];
    at_once(rows, |(what, flags, causes)| {
        let server = start(flags);
        let row = Row { what, flags, before: nothing, causes, at_least: Duration::from_millis(500) };
        beside_honest_clients(&server, &row, || restart(&server));
    });
}

/// Loses the peers beside clients that go on; returns when all is as it was before.
fn beside_honest_clients<T>(server: &Serve, row: &Row, lose: impl FnOnce() -> Option<T>) {
    let admin = Admin::of(server);
    let over = AtomicBool::new(false);
    let honest: Vec<Client> = server.doors().iter().map(Door::open).collect();
    let (before, open_files) = (admin.samples(), server.process.open_files());
    thread::scope(|scope| {
        let _over = Over(&over);
        for client in honest {
            scope.spawn(|| converse(client, &over));
        }
        let begin = Instant::now();
        let Some(_lost) = lose() else { return };
        let lost = 2.0 * GONE as f64;
        let after = loop {
            let now = admin.samples();
            let closed: f64 = now.of("wslab_closes_total").map(|(_, count)| count).sum();
            let held: f64 = now.of("wslab_connections{").map(|(_, count)| count).sum();
            if closed == lost && held == 2.0 {
                break now;
            }
            assert!(begin.elapsed() < FOUND_WITHIN, "{}: {closed} closed, {held} held: {now:#?}", row.what);
            thread::sleep(Duration::from_millis(20));
        };
        assert!(begin.elapsed() >= row.at_least, "{}: {:?}", row.what, begin.elapsed());
        let closes: Vec<_> = after.of("wslab_closes_total").filter(|(_, count)| *count > 0.0).collect();
        let is_known =
            |series: &str| row.causes.iter().any(|cause| series.ends_with(&format!("{{cause=\"{cause}\"}}")));
        assert!(closes.iter().all(|(series, _)| is_known(series)), "{}: {closes:?}", row.what);
        let grown = after.get("wslab_memory_bytes") - before.get("wslab_memory_bytes");
        assert!(grown < POOLED_BYTES_MAX, "{}: {grown} octets are still held", row.what);
        while server.process.open_files() > open_files {
            assert!(begin.elapsed() < FOUND_WITHIN, "{}: descriptors are left over", row.what);
            thread::sleep(Duration::from_millis(5));
        }
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An honest client: it sends and is answered, and answers Pings.
fn converse(mut client: Client, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        client.send(&PEER.text("honest"));
        loop {
            let frame = client.frame();
            if frame.first == 0x81 {
                assert_eq!(frame.payload, b"honest");
                break;
            }
            assert_eq!(frame.first, 0x89, "{frame:?}");
            client.send(&PEER.pong(&frame.payload));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn start(flags: &[&str]) -> Serve {
    Serve::start(&[&["--admin", "127.0.0.1:0"], flags].concat())
}

/// From here on the client's kernel does not see what comes and so answers nothing, not with an ACK either; and nothing is sent.
fn switch_off(client: Client) -> OwnedFd {
    // BPF: return 0, take no octet of the segment.
    const BPF_RET: u16 = 6;
    let held = client.tcp().as_fd().try_clone_to_owned().unwrap();
    Socket::from(held.try_clone().unwrap()).attach_filter(&[SockFilter::new(BPF_RET, 0, 0, 0)]).unwrap();
    // With TLS its end would not get out either, since the socket is held.
    drop(client);
    held
}

/// Opens connections and lets the kernel forget them: a socket under repair (TCP_REPAIR) is closed without a word, and whatever
/// comes for it is answered with a RST. `argv`: a ws port, a wss port, the CA, how many of each.
const FORGET: &str = r#"
import socket, ssl, sys
TCP_REPAIR = 19
request = (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
context = ssl.create_default_context(cafile=sys.argv[3])
peers = []
for port, tls in ((int(sys.argv[1]), False), (int(sys.argv[2]), True)):
    for _ in range(int(sys.argv[4])):
        peer = socket.create_connection(("127.0.0.1", port), timeout=10)
        if tls:
            peer = context.wrap_socket(peer, server_hostname="localhost")
        peer.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += peer.recv(4096)
        assert b" 101 " in answer, answer
        peers.append(peer)
try:
    for peer in peers:
        peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
except OSError as error:
    print("SKIPPED:", error, flush=True)
    sys.exit()
for peer in peers:
    peer.close()
print("gone", flush=True)
sys.stdin.read()
"#;

/// Holds the process that made the connections. `None`: it may not lose them.
#[allow(clippy::print_stderr, reason = "says why a test was skipped")]
fn restart(server: &Serve) -> Option<Python> {
    let [ws, wss] = server.doors().map(|door| door.addr.port().to_string());
    let mut command = Command::new("python3");
    command.args(["-c", FORGET, &ws, &wss]).arg(server.ca()).arg(GONE.to_string());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut python = Python(child);
    let mut line = String::new();
    BufReader::new(python.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.starts_with("SKIPPED") {
        eprintln!("{} (TCP_REPAIR takes CAP_NET_ADMIN)", line.trim_end());
        return None;
    }
    assert_eq!(line, "gone\n");
    Some(python)
}

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
