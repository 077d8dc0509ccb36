//! The commands that connect, as a shell runs them: `wslab ping` and `wslab autobahn-client` against peers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/peer.rs"]
mod peer;
#[allow(dead_code, reason = "shared with the other black-box tests")]
mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
};

use peer::{Peer, With, echo};
use rustix::process::Signal;
use support::process::{self, Ended, Process, Serve};
use wslab::{
    proto::{CloseCode, Message, Sender, handshake::Opened},
    session::{ConnId, Handler},
};

fn command(args: &[&str]) -> Command {
    let mut command = process::wslab(&std::env::temp_dir());
    command.args(args);
    command
}

fn wslab(args: &[&str]) -> Ended {
    Process::start(&mut command(args)).wait()
}

/// A listener that does this with its first connection.
fn stranger(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || act(listener.accept().unwrap().0));
    format!("ws://{addr}/")
}

#[test]
fn ping_prints_the_handshake_every_round_trip_and_a_summary() {
    let peer = Peer::start(echo());
    for echo in [&[][..], &["--echo"], &["--echo", "70KiB"]] {
        let ran = wslab(&[&["ping", &peer.url(), "-c", "3", "-i", "5ms"], echo].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 7, "{}", ran.stdout);
        assert!(lines[0].contains(": open after ") && lines[0].contains(", upgrade "), "{}", ran.stdout);
        let kind = if echo.is_empty() { "pong" } else { "echo" };
        for (n, line) in lines[1..4].iter().enumerate() {
            assert!(line.starts_with(&format!("{kind} seq={} ", n + 1)), "{}", ran.stdout);
        }
        assert!(lines[5].starts_with("3 sent, 3 received, 0 % lost, in "), "{}", ran.stdout);
        assert!(lines[6].starts_with("round trip min/avg/max/mdev = ") && !lines[6].contains("p50"));
    }
    let quiet = wslab(&["ping", &peer.url(), "-c", "30", "-i", "1ms", "-q"]);
    assert_eq!(quiet.stdout.lines().count(), 4, "{}", quiet.stdout);
    assert!(quiet.stdout.contains(", p50 ") && !quiet.stdout.contains("p99"), "{}", quiet.stdout);
}

#[test]
fn ping_in_json_is_an_object_a_line() {
    let peer = Peer::start(echo());
    let ran = wslab(&["ping", &peer.url(), "-c", "2", "-i", "5ms", "--format", "json"]);
    let objects: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
    assert!(ran.stdout.contains("lost seq=1: no answer within 100ms\nlost seq=2: "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("2 sent, 0 received, 100 % lost, in ") && !ran.stdout.contains("round trip"),
        "{}",
        ran.stdout
    );

    let wrong = Peer::start(With(|mut message: Message<'_>, mut sender: Sender<'_>| {
        message.payload_mut()[17] ^= 1;
        let _ = sender.reply(message);
    }));
    let ran = wslab(&["ping", &wrong.url(), "-c", "1", "-W", "100ms", "--echo"]);
    ran.expect_refusal(1, "unexpected: an echo that differs from octet 17 on");
    assert!(ran.stdout.contains("1 sent, 0 received, 100 % lost, 1 unexpected, in "), "{}", ran.stdout);
}

#[test]
fn a_connection_that_ends_in_the_middle_ends_the_run() {
    let leaving = Peer::start(With(|_: Message<'_>, mut sender: Sender<'_>| {
        let _ = sender.close(CloseCode::GOING_AWAY, "enough");
    }));
    let ran = wslab(&["ping", &leaving.url(), "-c", "100", "-i", "20ms", "--echo"]);
    ran.expect_refusal(1, "the connection ended: by the peer, 1001");
    assert!(ran.stdout.contains("100 % lost"), "{}", ran.stdout);
}

#[test]
fn ctrl_c_prints_the_summary() {
    let peer = Peer::start(echo());
    let mut process = Process::start(&mut command(&["ping", &peer.url(), "-i", "5ms"]));
    process.stdout_line_with("pong seq=3");
    process.signal(Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(" 0 % lost") && ended.stdout.contains("round trip"), "{ended:?}");
}

#[test]
fn a_server_that_is_not_reached_is_one_line_and_exit_code_3() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    wslab(&["ping", &format!("ws://{closed}/")]).expect_refusal(3, "connection refused: nobody listens on that port");

    let refusing = stranger(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let said = "the server answered 404 Not Found instead of 101: is the path right?";
    wslab(&["ping", &refusing]).expect_refusal(3, said);

    let (hold, held) = mpsc::channel::<()>();
    let silent = stranger(move |socket| {
        let _ = held.recv();
        drop(socket);
    });
    wslab(&["ping", &silent, "-W", "200ms"]).expect_refusal(3, "no answer within 200ms: it ended in the upgrade");
    drop(hold);

    let leaving = stranger(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
    });
    wslab(&["ping", &leaving]).expect_refusal(3, "the server closed the connection in the upgrade");
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
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    let served = Serve::start(&[]);
    let wss = served.ready["wss"][0].as_str().unwrap();
    let ping = |more: &[&str]| wslab(&[&["ping", wss, "-c", "2", "-i", "5ms", "--echo"], more].concat());
    let trusted = ping(&["--cacert", served.ca().to_str().unwrap()]);
    assert_eq!(trusted.code, Some(0), "{} {}", trusted.stdout, trusted.stderr);
    assert!(
        trusted.stdout.contains(", TLS ") && trusted.stdout.contains("2 sent, 2 received, 0 % lost"),
        "{}",
        trusted.stdout
    );
    assert_eq!(ping(&["--insecure"]).code, Some(0));

    let other = Serve::start(&[]);
    ping(&["--cacert", other.ca().to_str().unwrap()])
        .expect_refusal(3, "the certificate's issuer is not trusted: name its authority's");
    let junk = served.folder().path().join("junk.pem");
    fs::write(&junk, "junk").unwrap();
    ping(&["--cacert", junk.to_str().unwrap()]).expect_refusal(3, "junk.pem: no CERTIFICATE section");

    let plain = wss.replace("wss://", "ws://");
    wslab(&["ping", &plain]).expect_refusal(3, "is it a wss:// port?");
    let peer = Peer::start(echo());
    let tls = peer.url().replace("ws://", "wss://");
    wslab(&["ping", &tls, "--insecure"]).expect_refusal(3, "does not speak TLS: is it a ws:// port?");
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
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    assert_eq!(ran.stdout, "2 of 2 cases run as \"a/b\"; the verdicts are in the server's reports\n");
    let paths: Vec<String> = questions.try_iter().collect();
    let expected =
        ["/getCaseCount", "/runCase?case=1&agent=a%2Fb", "/runCase?case=2&agent=a%2Fb", "/updateReports?agent=a%2Fb"];
    assert_eq!(paths, expected);

    assert_eq!(wslab(&["autobahn-client", &url, "--case", "2"]).code, Some(0));
    let paths: Vec<String> = questions.try_iter().collect();
    assert_eq!(paths[1..], ["/runCase?case=2&agent=wslab", "/updateReports?agent=wslab"]);
    wslab(&["autobahn-client", &url, "--case", "2..3"]).expect_refusal(2, "--case 3: the server has 2 cases");
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
    ran.expect_refusal(1, "case 1 did not end within 200ms");
    let nobody = Peer::start(With(|_: Message<'_>, _: Sender<'_>| {}));
    let ran = wslab(&["autobahn-client", &nobody.url(), "--timeout", "200ms"]);
    ran.expect_refusal(3, "is no fuzzing server");
}
