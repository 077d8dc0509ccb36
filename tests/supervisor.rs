//! Under a supervisor: sockets that it passes (`LISTEN_FDS`), what it is told (`NOTIFY_SOCKET`), and ports shared with others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::{UnixDatagram, UnixListener},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    PATIENCE,
    client::Door,
    process::{Ended, Process, Serve, address_of, wslab},
    scrape::Admin,
    wire::PEER,
};

/// Opens sockets, passes them from descriptor 3 on as systemd does, and becomes the program. A kind is `listen`, `any` (on
/// every address), `connect` (a connected socket) or `udp`.
const LAUNCHER: &str = r#"
import os, socket, sys
kinds, names, pid = sys.argv[1].split(), sys.argv[2], sys.argv[3]
held = []
def hold(sock):
    held.append(sock)
    return sock
def listen(addr="127.0.0.1"):
    sock = hold(socket.socket())
    sock.bind((addr, 0))
    sock.listen(64)
    return sock
def make(kind):
    if kind == "listen":
        return listen()
    if kind == "any":
        return listen("0.0.0.0")
    if kind == "udp":
        return hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    return hold(socket.create_connection(listen().getsockname()))
# First out of the way of the numbers to come.
for at, kind in enumerate(kinds):
    os.dup2(make(kind).fileno(), 200 + at)
for at in range(len(kinds)):
    os.dup2(200 + at, 3 + at)
os.environ.update(LISTEN_FDS=str(len(kinds)), LISTEN_PID=pid or str(os.getpid()))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(sys.argv[4], sys.argv[4:])
"#;

/// `wslab serve` with sockets of these kinds and names. `pid`: empty for the true one.
fn launcher(folder: &std::path::Path, [kinds, names, pid]: [&str; 3], flags: &[&str]) -> Command {
    let mut command = Command::new("python3");
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("XDG_DATA_HOME", folder).env("HOME", folder);
    command.args(["-c", LAUNCHER, kinds, names, pid, env!("CARGO_BIN_EXE_wslab"), "serve", "--format", "json"]);
    command.args(flags);
    command
}

struct Launched {
    process: Process,
    ready: serde_json::Value,
    _folder: std::sync::Arc<tempfile::TempDir>,
}

fn launch(kinds: &str, names: &str, flags: &[&str]) -> Launched {
    let folder = Serve::folder_of_its_own();
    let mut process = Process::start(&mut launcher(folder.path(), [kinds, names, ""], flags));
    let line = process.stdout_line();
    let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    Launched { process, ready, _folder: folder }
}

impl Launched {
    fn addrs(&self, scheme: &str) -> Vec<SocketAddr> {
        let urls = self.ready[scheme].as_array().unwrap();
        urls.iter().map(|url| address_of(url.as_str().unwrap())).collect()
    }

    /// Every door that the ready line names echoes.
    fn expect_echoes(&self) {
        for addr in self.addrs("ws") {
            Door::ws(addr).open().expect_echo("ws");
        }
        for addr in self.addrs("wss") {
            let ca = std::path::PathBuf::from(self.ready["ca"].as_str().expect("the path of a CA"));
            Door::wss(addr, &ca).open().expect_echo("wss");
        }
    }
}

fn expect_refused(kinds: [&str; 3], flags: &[&str], words: &[&str]) {
    let folder = Serve::folder_of_its_own();
    let ended: Ended = Process::start(&mut launcher(folder.path(), kinds, flags)).wait();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(3), 1), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} in {}", ended.stderr);
    }
}

#[test]
fn sockets_that_are_passed_are_served_by_name_or_by_order() {
    for (kinds, names, counts) in [
        ("listen", "", (1, 0)),
        ("listen listen", "", (1, 1)),
        ("listen listen", "wslab.socket:wslab.socket", (1, 1)),
        ("listen", "wss", (0, 1)),
        ("listen listen listen", "wss:ws:ws", (2, 1)),
    ] {
        let server = launch(kinds, names, &[]);
        assert_eq!((server.addrs("ws").len(), server.addrs("wss").len()), counts, "{kinds:?} {names:?}");
        server.expect_echoes();
        server.process.signal(Signal::TERM);
        let ended = server.process.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    }
}

#[test]
fn sockets_that_are_passed_replace_addresses_and_workers_share_them() {
    let mut server = launch("listen", "ws", &["--listen", "127.0.0.1:1", "--workers", "3"]);
    assert!(server.process.stderr_line_with("replace --listen").contains("command line"));
    server.process.stderr_line_with("3 workers accept from the same sockets");
    let addr = server.addrs("ws")[0];
    let mut clients: Vec<_> = (0..12).map(|_| Door::ws(addr).open()).collect();
    clients.iter_mut().for_each(|client| client.expect_echo("shared"));
    server.process.expect_drain(clients);
}

#[test]
fn a_socket_may_be_passed_for_the_admin_address() {
    let serves = |server: &Launched| {
        let admin = Admin(address_of(server.ready["admin"].as_str().expect("the URL of the admin address")));
        server.expect_echoes();
        let doors = server.addrs("ws").len() + server.addrs("wss").len();
        assert_eq!(admin.samples().get("wslab_handshakes_total{outcome=\"opened\"}"), doors as f64);
        // Turns are timed, as with --admin.
        assert!(admin.samples().get("wslab_loop_turn_seconds_count") > 0.0);
        assert_eq!(admin.get("/readyz").status, 200);
    };
    // Beside others by name, beside others in their order, and alone: then addresses are listened on as ever.
    for (kinds, names, flags, counts) in [
        ("listen listen", "ws:admin", &[][..], (1, 0)),
        ("listen listen listen", "admin:wslab.socket:wslab.socket", &[], (1, 1)),
        ("listen", "admin", &["--listen", "127.0.0.1:0", "--no-tls"], (1, 0)),
    ] {
        let server = launch(kinds, names, flags);
        assert_eq!((server.addrs("ws").len(), server.addrs("wss").len()), counts, "{names:?}");
        serves(&server);
        assert!(!server.process.stderr_so_far().contains("WARN"), "{}", server.process.stderr_so_far());
    }
    let mut server = launch("listen listen", "ws:admin", &["--admin", "127.0.0.1:1"]);
    assert!(server.process.stderr_line_with("replace --admin").contains("command line"));
    serves(&server);
}

#[test]
fn sockets_that_are_passed_and_reached_from_elsewhere_are_warned_of() {
    let mut server = launch("any any any", "ws:wss:admin", &[]);
    for (scheme, what) in [("ws", "connect"), ("wss", "connect"), ("admin", "read what this server counts")] {
        let port = match &server.ready[scheme] {
            serde_json::Value::String(url) => address_of(url).port(),
            urls => address_of(urls[0].as_str().unwrap()).port(),
        };
        let line = server.process.stderr_line_with(&format!("LISTENING ON 0.0.0.0:{port}"));
        assert!(line.contains(&format!("can {what}; ListenStream=127.0.0.1:{port} keeps it local")), "{line}");
    }
}

/// Passes a listener as systemd does, and keeps a hand on it: a child breaks it and mends it as it is told. `argv`: where it is
/// told, and the program.
const MEDDLER: &str = r#"
import os, socket, sys
probe = socket.socket()
probe.bind(("127.0.0.1", 0))
port = probe.getsockname()[1]
probe.close()
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
# A port that was asked for stays the socket's own while it does not listen.
sock.bind(("127.0.0.1", port))
sock.listen(64)
if os.fork() == 0:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    control = socket.socket(socket.AF_UNIX)
    control.connect(sys.argv[1])
    while order := control.recv(1):
        if order == b"-":
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.listen(64)
        control.send(order)
    os._exit(0)
held = sock.fileno()
if held != 3:
    os.dup2(held, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn a_listener_that_fails_for_long_is_asked_once_a_second_and_not_forgotten() {
    let folder = Serve::folder_of_its_own();
    let path = folder.path().join("control");
    let meddler = UnixListener::bind(&path).unwrap();
    let mut command = wslab(folder.path());
    let program = command.get_program().to_owned();
    command = Command::new("python3");
    let search = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", search).env("XDG_DATA_HOME", folder.path()).env("HOME", folder.path());
    command.args(["-c", MEDDLER]).arg(&path).arg(program).args(["serve", "--format", "json", "--no-tls"]);
    let mut process = Process::start(&mut command);
    let ready: serde_json::Value = serde_json::from_str(&process.stdout_line()).unwrap();
    let door = Door::ws(address_of(ready["ws"][0].as_str().unwrap()));
    let (mut control, _) = meddler.accept().unwrap();
    control.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tell = |order: &[u8]| {
        control.write_all(order).unwrap();
        control.read_exact(&mut [0]).unwrap();
    };
    let mut steady = door.open();
    tell(b"-");
    process.stderr_line_with("cannot accept");
    let (begin, cpu) = (Instant::now(), process.cpu_time());
    steady.expect_silence(Duration::from_millis(2500));
    let (cpu, took) = (process.cpu_time() - cpu, begin.elapsed());
    assert!(cpu < took / 20, "{cpu:?} of processor time in {took:?}");
    steady.expect_echo("served meanwhile");
    tell(b"+");
    door.open().expect_echo("served again");
    let stderr = process.stderr_so_far();
    let warnings = stderr.matches("cannot accept").count();
    assert!((2..=2 + begin.elapsed().as_secs() as usize).contains(&warnings), "{warnings}: {stderr}");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let folder = Serve::folder_of_its_own();
    let flags = ["--no-tls", "--listen", "127.0.0.1:0"];
    let mut process = Process::start(&mut launcher(folder.path(), ["listen listen", "ws:wss", "1"], &flags));
    let ready: serde_json::Value = serde_json::from_str(&process.stdout_line()).unwrap();
    assert_eq!((ready["ws"].as_array().unwrap().len(), ready["wss"].as_array().unwrap().len()), (1, 0));
    Door::ws(address_of(ready["ws"][0].as_str().unwrap())).open().expect_echo("its own");
}

#[test]
fn sockets_that_cannot_be_served_are_told_in_one_line_with_a_remedy() {
    for (kinds, flags, words) in [
        (["udp", "ws", ""], &[][..], ["\"ws\"", "expected a TCP socket"]),
        (["connect", "", ""], &[], ["no name", "Accept=no"]),
        (["listen listen listen", "", ""], &[], ["3 sockets", "FileDescriptorName=ws"]),
        (["listen listen", "ws:metrics", ""], &[], ["socket 2 is named \"metrics\"", "FileDescriptorName="]),
        (["listen listen listen", "ws:admin:admin", ""], &[], ["socket 3", "one ListenStream="]),
        (["connect listen", "admin:ws", ""], &[], ["\"admin\"", "Accept=no"]),
        (["listen", "wss", ""], &["--no-tls"], ["a socket for wss", "no_tls (command line)"]),
    ] {
        expect_refused(kinds, flags, &words);
    }
}

/// The end of `NOTIFY_SOCKET` that a supervisor holds.
struct Notified {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Notified {
    fn new() -> Notified {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Notified { socket, path, _folder: folder }
    }

    /// The next message that is no sign of life.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut buffer = [0; 256];
        let octets = self.socket.recv(&mut buffer).expect("a message for the supervisor");
        String::from_utf8(buffer[..octets].to_vec()).unwrap()
    }
}

#[test]
fn a_supervisor_hears_of_ready_reload_stop_and_life() {
    let notified = Notified::new();
    let server = Serve::start_with(&["--workers", "2"], |command| {
        command.env("NOTIFY_SOCKET", &notified.path).env("WATCHDOG_USEC", "200000");
    });
    assert_eq!(notified.next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(notified.any(), "WATCHDOG=1", "while nothing else happens");
    }
    let before = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    server.process.signal(Signal::HUP);
    let reloading = notified.next();
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the time of the reload");
    let usec: i64 = usec.parse().unwrap();
    assert!(usec >= before.tv_sec * 1_000_000 + before.tv_nsec / 1_000 && usec < (before.tv_sec + 60) * 1_000_000);
    assert_eq!(notified.next(), "READY=1");
    let mut client = server.ws().open();
    server.process.signal(Signal::TERM);
    assert_eq!(notified.next(), "STOPPING=1");
    assert_eq!(client.frame().close_code(), Some(1001), "what it was told is so");
    client.send(&PEER.close(1001));
    client.expect_end();
    drop(client);
    assert_eq!(server.process.wait().code, Some(0));
}

#[test]
fn without_a_watchdog_there_is_no_sign_of_life() {
    let notified = Notified::new();
    let server = Serve::start_with(&[], |command| {
        // Somebody else's dog.
        command.env("NOTIFY_SOCKET", &notified.path).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    });
    assert_eq!(notified.any(), "READY=1");
    notified.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(notified.socket.recv(&mut [0; 64]).is_err(), "silence");
    assert_eq!(server.end_by(Signal::TERM).code, Some(0));
}

#[test]
fn two_processes_share_a_port_only_where_both_say_so() {
    let first = Serve::start_plain(&["--reuse-port"]);
    let addr = first.ws_addr().to_string();
    let second = Serve::launch(&["--listen", &addr, "--no-tls"], &["--reuse-port"], |_| {}, Serve::folder_of_its_own());
    assert_eq!(second.ws_addr(), first.ws_addr());
    // Who stays serves all that come, while the other drains.
    assert_eq!(first.end_by(Signal::TERM).code, Some(0));
    for _ in 0..8 {
        second.ws().open().expect_echo("the one that is left");
    }
    assert!(TcpListener::bind(&addr).is_err(), "and nobody else gets in");
}
