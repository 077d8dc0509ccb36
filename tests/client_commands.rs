//! The commands that connect, as a shell runs them: `wslab ping` and `wslab autobahn-client` against peers on loopback.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use wslab::{
    proto::{CloseCode, Message, Sender, handshake::Opened},
    server::{Config, Handle, Server},
    session::{ConnId, Handler},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command left behind.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn spawn(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wslab"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits, within bounds.
fn finish(mut child: Child) -> Ran {
    let drain = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text).unwrap()
        })
    };
    let out = drain(Box::new(child.stdout.take().unwrap()));
    let err = drain(Box::new(child.stderr.take().unwrap()));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the command does not end: {} {}", out.join().unwrap(), err.join().unwrap());
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ran { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }
}

fn wslab(args: &[&str]) -> Ran {
    finish(spawn(args))
}

/// It ended with this code and one line on stderr that says this.
#[track_caller]
fn check_refusal(ran: &Ran, code: i32, said: &str) {
    assert_eq!(ran.code, Some(code), "{} {}", ran.out, ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.contains(said), "{}", ran.err);
}

/// A server with this application on a thread; it ends with the value.
struct Peer {
    addr: SocketAddr,
    handle: Handle,
}

impl Peer {
    fn start(handler: impl Handler + Send + 'static) -> Peer {
        let config = Config { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..Config::default() };
        let server = Server::bind(&config, handler).unwrap();
        let peer = Peer { addr: server.local_addrs()[0], handle: server.handle() };
        thread::spawn(move || server.run());
        peer
    }

    fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// Does this with every message.
struct With<F>(F);

impl<F: FnMut(Message<'_>, Sender<'_>)> Handler for With<F> {
    fn on_message(&mut self, _: ConnId, message: Message<'_>, sender: Sender<'_>) {
        (self.0)(message, sender);
    }
}

fn echo() -> impl Handler + Send {
    With(|message: Message<'_>, mut sender: Sender<'_>| {
        let _ = sender.reply(message);
    })
}

/// A listener that does this with its first connection.
fn stranger(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || act(listener.accept().unwrap().0));
    format!("ws://{addr}/")
}

/// `wslab serve` with a local certificate; killed with the value.
struct Served {
    child: Child,
    wss: String,
    ca: String,
    folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wslab"))
            .args(["serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--format", "json"])
            .env("XDG_DATA_HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Served { child, wss: text(&ready["wss"][0]), ca: text(&ready["ca"]), folder }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn ping_prints_the_handshake_every_round_trip_and_a_summary() {
    let peer = Peer::start(echo());
    for echo in [&[][..], &["--echo"], &["--echo", "70KiB"]] {
        let ran = wslab(&[&["ping", &peer.url(), "-c", "3", "-i", "5ms"], echo].concat());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
        let lines: Vec<&str> = ran.out.lines().collect();
        assert_eq!(lines.len(), 7, "{}", ran.out);
        assert!(lines[0].contains(": open after ") && lines[0].contains(", upgrade "), "{}", ran.out);
        let kind = if echo.is_empty() { "pong" } else { "echo" };
        for (n, line) in lines[1..4].iter().enumerate() {
            assert!(line.starts_with(&format!("{kind} seq={} ", n + 1)), "{}", ran.out);
        }
        assert!(lines[5].starts_with("3 sent, 3 received, 0 % lost, in "), "{}", ran.out);
        assert!(lines[6].starts_with("round trip min/avg/max/mdev = ") && !lines[6].contains("p50"));
    }
    let quiet = wslab(&["ping", &peer.url(), "-c", "30", "-i", "1ms", "-q"]);
    assert_eq!(quiet.out.lines().count(), 4, "{}", quiet.out);
    assert!(quiet.out.contains(", p50 ") && !quiet.out.contains("p99"), "{}", quiet.out);
}

#[test]
fn ping_in_json_is_an_object_a_line() {
    let peer = Peer::start(echo());
    let ran = wslab(&["ping", &peer.url(), "-c", "2", "-i", "5ms", "--format", "json"]);
    let objects: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["open", "answer", "answer", "summary"]);
    assert!(objects.iter().all(|object| object["schema"] == "wslab.ping/1"));
    let summary = &objects[3];
    assert_eq!((&summary["sent"], &summary["received"], &summary["lost"]), (&2.into(), &2.into(), &0.into()));
    let rtt = |name: &str| summary["rtt_ns"][name].as_u64().unwrap();
    assert!(0 < rtt("min") && rtt("min") <= rtt("avg") && rtt("avg") <= rtt("max"), "{summary}");
    assert!(summary["rtt_ns"]["p50"].is_null() && objects[0]["tls_ns"].is_null() && objects[0]["tcp_ns"].is_u64());
}

#[test]
fn what_does_not_come_back_is_lost_and_what_comes_back_wrong_is_told() {
    let silent = Peer::start(With(|_: Message<'_>, _: Sender<'_>| {}));
    let ran = wslab(&["ping", &silent.url(), "-c", "2", "-i", "5ms", "-W", "100ms", "--echo"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("lost seq=1: no answer within 100ms\nlost seq=2: "), "{}", ran.out);
    assert!(ran.out.contains("2 sent, 0 received, 100 % lost, in ") && !ran.out.contains("round trip"), "{}", ran.out);

    let wrong = Peer::start(With(|mut message: Message<'_>, mut sender: Sender<'_>| {
        message.payload_mut()[17] ^= 1;
        let _ = sender.reply(message);
    }));
    let ran = wslab(&["ping", &wrong.url(), "-c", "1", "-W", "100ms", "--echo"]);
    check_refusal(&ran, 1, "unexpected: an echo that differs from octet 17 on");
    assert!(ran.out.contains("1 sent, 0 received, 100 % lost, 1 unexpected, in "), "{}", ran.out);
}

#[test]
fn a_connection_that_ends_in_the_middle_ends_the_run() {
    let leaving = Peer::start(With(|_: Message<'_>, mut sender: Sender<'_>| {
        let _ = sender.close(CloseCode::GOING_AWAY, "enough");
    }));
    let ran = wslab(&["ping", &leaving.url(), "-c", "100", "-i", "20ms", "--echo"]);
    check_refusal(&ran, 1, "the connection ended: by the peer, 1001");
    assert!(ran.out.contains("100 % lost"), "{}", ran.out);
}

#[test]
fn ctrl_c_prints_the_summary() {
    let peer = Peer::start(echo());
    let mut child = spawn(&["ping", &peer.url(), "-i", "5ms"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("pong seq=3") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0);
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains(" 0 % lost") && rest.contains("round trip"), "{rest}");
}

#[test]
fn a_server_that_is_not_reached_is_one_line_and_exit_code_3() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check_refusal(&wslab(&["ping", &format!("ws://{closed}/")]), 3, "connection refused: nobody listens on that port");

    let refusing = stranger(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let said = "the server answered 404 Not Found instead of 101: is the path right?";
    check_refusal(&wslab(&["ping", &refusing]), 3, said);

    let (hold, held) = mpsc::channel::<()>();
    let silent = stranger(move |socket| {
        let _ = held.recv();
        drop(socket);
    });
    check_refusal(&wslab(&["ping", &silent, "-W", "200ms"]), 3, "no answer within 200ms: it ended in the upgrade");
    drop(hold);

    let leaving = stranger(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
    });
    check_refusal(&wslab(&["ping", &leaving]), 3, "the server closed the connection in the upgrade");
}

#[test]
fn a_bad_command_line_is_exit_code_2() {
    for args in [
        &["ping"][..],
        &["ping", "localhost:8888"],
        &["ping", "ws://localhost/", "-i", "1"],
        &["ping", "ws://localhost/", "-c", "0"],
        &["ping", "ws://localhost/", "--echo", "17MiB"],
        &["ping", "wss://localhost/", "--insecure", "--cacert", "ca.pem"],
        &["autobahn-client", "ws://localhost/", "--case", "5..4"],
    ] {
        let ran = wslab(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {}", ran.err);
    }
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    let served = Served::start();
    let ping = |more: &[&str]| wslab(&[&["ping", &served.wss, "-c", "2", "-i", "5ms", "--echo"], more].concat());
    let trusted = ping(&["--cacert", &served.ca]);
    assert_eq!(trusted.code, Some(0), "{} {}", trusted.out, trusted.err);
    assert!(trusted.out.contains(", TLS ") && trusted.out.contains("2 sent, 2 received, 0 % lost"), "{}", trusted.out);
    assert_eq!(ping(&["--insecure"]).code, Some(0));

    let other = Served::start();
    check_refusal(&ping(&["--cacert", &other.ca]), 3, "the certificate's issuer is not trusted: name its authority's");
    let junk = served.folder.path().join("junk.pem");
    fs::write(&junk, "junk").unwrap();
    check_refusal(&ping(&["--cacert", junk.to_str().unwrap()]), 3, "junk.pem: no CERTIFICATE section");

    let plain = served.wss.replace("wss://", "ws://");
    check_refusal(&wslab(&["ping", &plain]), 3, "is it a wss:// port?");
    let peer = Peer::start(echo());
    let tls = peer.url().replace("ws://", "wss://");
    check_refusal(&wslab(&["ping", &tls, "--insecure"]), 3, "does not speak TLS: is it a ws:// port?");
}

/// What Autobahn's fuzzing server does, without its malice: two cases, of which each wants one message back.
struct FuzzingServer {
    asked: mpsc::Sender<String>,
}

impl Handler for FuzzingServer {
    fn on_open(&mut self, _: ConnId, opened: &Opened, mut sender: Sender<'_>) {
        self.asked.send(opened.path.to_string()).unwrap();
        match opened.path.split('?').next().unwrap() {
            "/getCaseCount" => sender.text("2").and_then(|()| sender.close(CloseCode::NORMAL, "")),
            "/runCase" => sender.text("say it again"),
            _ => sender.close(CloseCode::NORMAL, ""),
        }
        .unwrap();
    }

    fn on_message(&mut self, _: ConnId, message: Message<'_>, mut sender: Sender<'_>) {
        assert_eq!(message.text(), Some("say it again"));
        sender.close(CloseCode::NORMAL, "").unwrap();
    }
}

#[test]
fn the_autobahn_client_runs_every_case_and_asks_for_the_reports() {
    let (asked, questions) = mpsc::channel();
    let server = Peer::start(FuzzingServer { asked });
    let url = format!("ws://{}", server.addr);
    let ran = wslab(&["autobahn-client", &url, "--agent", "a/b"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    assert_eq!(ran.out, "2 of 2 cases run as \"a/b\"; the verdicts are in the server's reports\n");
    let paths: Vec<String> = questions.try_iter().collect();
    let expected =
        ["/getCaseCount", "/runCase?case=1&agent=a%2Fb", "/runCase?case=2&agent=a%2Fb", "/updateReports?agent=a%2Fb"];
    assert_eq!(paths, expected);

    assert_eq!(wslab(&["autobahn-client", &url, "--case", "2"]).code, Some(0));
    let paths: Vec<String> = questions.try_iter().collect();
    assert_eq!(paths[1..], ["/runCase?case=2&agent=wslab", "/updateReports?agent=wslab"]);
    check_refusal(&wslab(&["autobahn-client", &url, "--case", "2..3"]), 2, "--case 3: the server has 2 cases");
}

#[test]
fn the_autobahn_client_gives_a_case_up_that_does_not_end() {
    struct Endless;
    impl Handler for Endless {
        fn on_open(&mut self, _: ConnId, opened: &Opened, mut sender: Sender<'_>) {
            match &*opened.path {
                "/getCaseCount" => sender.text("1").and_then(|()| sender.close(CloseCode::NORMAL, "")).unwrap(),
                "/updateReports?agent=wslab" => sender.close(CloseCode::NORMAL, "").unwrap(),
                _ => {}
            }
        }
        fn on_message(&mut self, _: ConnId, _: Message<'_>, _: Sender<'_>) {}
    }
    let server = Peer::start(Endless);
    let ran = wslab(&["autobahn-client", &format!("ws://{}", server.addr), "--timeout", "200ms"]);
    check_refusal(&ran, 1, "case 1 did not end within 200ms");
    let nobody = Peer::start(With(|_: Message<'_>, _: Sender<'_>| {}));
    let ran = wslab(&["autobahn-client", &nobody.url(), "--timeout", "200ms"]);
    check_refusal(&ran, 3, "is no fuzzing server");
}
