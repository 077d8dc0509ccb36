//! The log under attack: peers that write into it, and nobody who reads it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    client::{Client, Door},
    http::{UPGRADE, upgrade_and, upgrade_with},
    process::{Serve, address_of, wslab},
    wire::PEER,
};

/// What a terminal, or a person, could take for something else: control characters (C1 among them), line and paragraph
/// separators, and what turns the direction of text.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Colours, a line of our own, a bell, C1's CSI in UTF-8, a reversal, a separator, a quote, an end of text.
const EVIL: &str = "\u{1b}[31m\u{7}\u{9b}2J\u{202e}\u{2028}\u{85}\"'\\\u{0}";

/// A line that looks like one of ours.
const FORGED: &str = "\n2026-01-01T00:00:00.000000Z  WARN wslab: forged";

fn provoke(server: &Serve) {
    let told = |mut client: Client| drop(client.rest());
    let ws = server.ws();
    let heads: Vec<Vec<u8>> = vec![
        upgrade_with("/ws", &format!("/{EVIL}")).into_bytes(),
        upgrade_with("/ws", "/%1b%5b31m%0a?\u{9b}q=\u{202e}").into_bytes(),
        upgrade_with("/ws", "/\u{e9}\u{202e}").into_bytes(),
        [b"GET /\xff\xfe\x1b HTTP/1.1\r\n".as_slice(), UPGRADE.split_once("\r\n").unwrap().1.as_bytes()].concat(),
        upgrade_and(&format!("Origin: {EVIL}\r\n")).into_bytes(),
        upgrade_and("Origin: http://\u{202e}\u{9b}\r\n").into_bytes(),
        upgrade_and(&format!("User-Agent: x{FORGED}\r\n")).into_bytes(),
        upgrade_and(&format!("Sec-WebSocket-Protocol: {EVIL}\r\n")).into_bytes(),
        upgrade_and(&format!("Sec-WebSocket-Extensions: {EVIL}{FORGED}\r\n")).into_bytes(),
        upgrade_with("Host: localhost", "Host: \u{9b}\u{202e}").into_bytes(),
        upgrade_with("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 1\u{9b}").into_bytes(),
        format!("{EVIL} / HTTP/1.1\r\n\r\n").into_bytes(),
        format!("PROXY TCP4 {EVIL} 1 2 3{FORGED}\r\n").into_bytes(),
        format!("PROXY UNKNOWN {EVIL}\r\n\x1b / HTTP/1.1\r\n\r\n").into_bytes(),
    ];
    for head in &heads {
        let mut client = ws.connect();
        // Some open: then a Close ends it.
        let _ = client.try_send(&[&head[..], &PEER.close_because(4000, FORGED.as_bytes())].concat());
        told(client);
    }
    for reason in [EVIL, FORGED, "\u{9b}2J", "\u{202e}txt.exe"] {
        let mut client = ws.open();
        client.send(&PEER.text(&format!("{EVIL}{FORGED}")));
        client.send(&PEER.ping(EVIL.as_bytes()));
        client.send(&PEER.close_because(4001, reason.as_bytes()));
        told(client);
    }
    let mut tcp = server.wss().tcp();
    let _ = tcp.write_all(format!("GET /{EVIL}{FORGED} HTTP/1.1\r\n\r\n").as_bytes());
    let _ = tcp.read_to_end(&mut Vec::new());
}

#[test]
fn what_peers_say_never_reaches_the_log_as_it_is() {
    for format in ["text", "json"] {
        let flags = [
            "-vv",
            "--log",
            "trace",
            "--log-format",
            format,
            "--proxy-protocol",
            "on",
            "--origin",
            "https://a.example",
        ];
        let open = Serve::start(&flags[..7]);
        provoke(&open);
        let strict = Serve::start(&flags);
        provoke(&strict);
        for server in [open, strict] {
            let ended = server.end_by(Signal::TERM);
            let lines: Vec<&str> = ended.stderr.split('\n').filter(|line| !line.is_empty()).collect();
            assert!(lines.len() > 30, "there was something to log: {}", ended.stderr);
            assert!(ended.stderr.contains("4001") || lines.iter().any(|line| line.contains("403")), "{}", ended.stderr);
            let mut logged = 0;
            for line in lines {
                assert!(!line.chars().any(is_dangerous), "{line:?}");
                match format {
                    "json" => {
                        drop(serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")))
                    }
                    // The words to the person at the terminal, which have no time.
                    _ if ["try it:", "  ", "stop it"].iter().any(|start| line.starts_with(start)) => continue,
                    _ => assert!(
                        line.starts_with("20") && line.as_bytes()[4] == b'-' && !line.starts_with("2026-01-01"),
                        "{line:?}"
                    ),
                }
                logged += 1;
            }
            assert!(logged > 30, "{logged}");
        }
    }
}

#[test]
fn lines_that_a_full_stderr_did_not_take_are_counted_and_the_loop_goes_on() {
    // More than the queue (16,384 lines) and a pipe (64 KiB) hold, twice.
    const MESSAGES: usize = 20_000;
    const BATCH: usize = 200;
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    command.args(["serve", "--no-tls", "--listen", "127.0.0.1:0", "-vv"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split("ws=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a URL");
    let mut client = Door::ws(address_of(url)).open();
    // Nobody reads stderr.
    for _ in 0..MESSAGES / BATCH {
        client.send(&PEER.text("blocked").repeat(BATCH));
        (0..BATCH).for_each(|_| assert_eq!(client.frame().payload, b"blocked", "the loop goes on"));
    }
    // Now somebody does.
    let mut stderr = child.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    client.expect_echo("flowing");
    client.send(&PEER.close(1000));
    client.rest();
    drop(client);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let text = reader.join().unwrap().unwrap();
    let dropped: Vec<usize> = text.lines().filter_map(|line| line.rsplit_once("dropped=")?.1.parse().ok()).collect();
    let written = text.lines().filter(|line| line.contains("payload=\"blocked\"")).count();
    assert!(!dropped.is_empty() && written < 2 * MESSAGES, "{dropped:?} dropped, {written} written");
    // The count is a running total; what was neither written nor told of as dropped would be a lie.
    let total = dropped.iter().max().unwrap() + written;
    assert!(
        (2 * MESSAGES..2 * MESSAGES + 20).contains(&total),
        "{dropped:?} dropped, {written} written of {}",
        2 * MESSAGES
    );
}
