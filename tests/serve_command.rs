//! `wslab serve` as a command: its ready line, its complaints and exit codes, its configuration, its signals.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    at_once,
    client::{Client, Door, End},
    http::UPGRADE,
    process::{Ended, Process, Serve, address_of, wslab},
    raise_open_files,
    wire::{PEER, SERVER, show},
};

/// Runs `wslab` with these arguments to its end.
fn run(args: &[&str]) -> Ended {
    run_with(args, |_| {})
}

fn run_with(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Ended {
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    prepare(command.args(args));
    Process::start(&mut command).wait()
}

/// Asserts that the command ends with this code and says one line on stderr that holds all these words.
fn expect_complaint(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "", "nothing was ready: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "one line: {ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} in {:?}", ended.stderr);
    }
    assert!(!ended.stderr.contains("Error {") && !ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn the_ready_line_in_text_is_one_line_that_tells_where_and_who() {
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"]);
    let mut process = Process::start(&mut command);
    let line = process.stdout_line();
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    let [name, ready, ws, wss, ca, pid] = words[..] else { panic!("six words: {line}") };
    assert_eq!((name, ready), ("wslab", "ready"));
    let ws = ws.strip_prefix("ws=").expect("ws=");
    let wss = wss.strip_prefix("wss=").expect("wss=");
    assert!(ws.starts_with("ws://127.0.0.1:") && ws.ends_with("/ws"), "{line}");
    assert!(wss.starts_with("wss://localhost:") && wss.ends_with("/wss"), "{line}");
    assert_eq!(pid, format!("pid={}", process.pid()));
    // Both doors are open by then.
    let ca = Path::new(ca.strip_prefix("ca=").expect("ca="));
    Door::ws(address_of(ws)).open().expect_echo("ws");
    Door::wss(address_of(wss), ca).open().expect_echo("wss");

    process.signal(Signal::TERM);
    let ended = process.wait();
    assert_eq!((ended.code, &ended.stdout), (Some(0), &line), "one line and no other");
    assert!(ended.stderr.contains(ws) && ended.stderr.contains(wss), "commands to try: {}", ended.stderr);
}

#[test]
fn the_ready_line_in_json_is_an_object_on_one_line() {
    let server = Serve::start(&[]);
    let ready = &server.ready;
    assert_eq!(ready["schema"], "wslab.ready/1");
    assert_eq!(ready["pid"], server.process.pid());
    assert!(server.ca().is_absolute() && server.ca().is_file());
    assert_ne!(server.ws_addr().port(), 0);
    assert_ne!(server.wss_addr().port(), 0);
    assert_ne!(server.ws_addr(), server.wss_addr());
    let keys: Vec<&String> = ready.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
}

#[test]
fn several_addresses_can_be_listened_on() {
    let listeners = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0,[::1]:0",
        "--listen-tls",
        "127.0.0.1:0",
        "--listen-tls",
        "[::1]:0",
    ];
    let server = Serve::launch(&listeners, &[], |_| {}, Serve::folder_of_its_own());
    assert_eq!(server.ready["ws"].as_array().unwrap().len(), 3, "{}", server.ready);
    assert_eq!(server.ready["wss"].as_array().unwrap().len(), 2, "{}", server.ready);
    for url in server.ready["ws"].as_array().unwrap() {
        Door::ws(address_of(url.as_str().unwrap())).open().expect_echo("one of three");
    }
    server.wss().open().expect_echo("one of two");
}

#[test]
fn workers_share_the_ports_and_all_of_them_drain() {
    let server = Serve::start(&["--workers", "3"]);
    let mut clients: Vec<_> = (0..8).flat_map(|_| server.doors().map(|door| door.open())).collect();
    for client in &mut clients {
        client.expect_echo("hello");
    }
    server.process.expect_drain(clients);
}

#[test]
fn a_port_in_use_is_told_in_one_line_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for (args, words) in [
        (vec!["serve", "--no-tls", "--listen", &addr], ["(ws)", "--listen 127.0.0.1:0"]),
        (vec!["serve", "--listen", "127.0.0.1:0", "--listen-tls", &addr], ["(wss)", "--listen-tls 127.0.0.1:0"]),
        (vec!["serve", "--no-tls", "--workers", "2", "--listen", &addr], ["(ws)", "--listen 127.0.0.1:0"]),
    ] {
        let ended = run(&args);
        expect_complaint(&ended, 3, &[&addr, "in use", words[0], words[1]]);
    }
    // So does a port that another of us holds.
    let server = Serve::start_plain(&[]);
    let addr = server.ws_addr().to_string();
    expect_complaint(&run(&["serve", "--no-tls", "--listen", &addr]), 3, &[&addr, "in use"]);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_in_one_line_with_its_file() {
    let (one, two) = (Serve::start(&[]), Serve::start(&[]));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let of = |server: &Serve, name: &str| server.ca().with_file_name(name).to_str().unwrap().to_owned();
    let (cert, key, other) = (of(&one, "leaf.pem"), of(&one, "leaf-key.pem"), of(&two, "leaf-key.pem"));
    let missing = folder.path().join("missing.pem").to_str().unwrap().to_owned();
    let empty = file("empty.pem", "");
    let garbled = file("garbled.pem", "-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n");
    let directory = folder.path().to_str().unwrap().to_owned();
    for (cert, key, words) in [
        (&cert, &other, vec![other.as_str(), "does not match", &cert]),
        (&missing, &key, vec![&missing, "cannot read"]),
        (&cert, &missing, vec![&missing, "cannot read"]),
        (&empty, &key, vec![&empty, "no CERTIFICATE"]),
        (&cert, &empty, vec![&empty, "no PRIVATE KEY"]),
        (&garbled, &key, vec![&garbled, "not valid PEM"]),
        (&directory, &key, vec![&directory, "cannot read"]),
    ] {
        let ended =
            run(&["serve", "--listen", "off", "--listen-tls", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key]);
        expect_complaint(&ended, 3, &words);
    }
}

#[test]
fn a_data_folder_that_cannot_be_used_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let ended = run_with(&["serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"], |command| {
        command.env("XDG_DATA_HOME", &file);
    });
    expect_complaint(&ended, 3, &[file.to_str().unwrap(), "XDG_DATA_HOME", "--no-tls"]);
}

#[test]
fn a_bad_setting_is_told_in_one_line_with_its_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lab.toml");
    let path = config.to_str().unwrap();
    let at = |line: u32| format!("{path}:{line}:");
    #[rustfmt::skip]
    let rows: &[(&str, String, &[&str])] = &[
        ("\n\nidle_timeot = \"60s\"\n", at(3), &["idle_timeot", "idle_timeout"]),
        ("idle_timeout = \"ten\"\n", at(1), &["idle_timeout", "ten", "60s"]),
        ("# a comment\nidle_timeout = 10\n", at(2), &["idle_timeout", "10", "60s"]),
        ("workers = 0\n", at(1), &["workers"]),
        ("frame_max = \"64\"\n", at(1), &["frame_max", "64KiB"]),
        ("listen = \"localhost\"\n", at(1), &["listen", "localhost"]),
        ("grace = \n", at(1), &["not TOML"]),
        ("workers = 1\nworkers = 2\n", at(2), &["duplicate key"]),
        ("[limits]\nframe_max = \"1KiB\"\n", at(1), &["limits"]),
        ("frame_max = \"2KiB\"\nmessage_max = \"1KiB\"\n", path.to_owned(), &["frame_max", "message_max"]),
        ("tls_cert = \"cert.pem\"\n", at(1), &["private key", "tls-key"]),
    ];
    for (text, place, words) in rows {
        fs::write(&config, text).unwrap();
        for args in [["serve", "--config", path].as_slice(), &["check-config", path]] {
            let ended = run(args);
            expect_complaint(&ended, 2, words);
            assert!(ended.stderr.starts_with(place.as_str()), "{place} opens {:?}", ended.stderr);
        }
    }
}

#[test]
fn a_bad_flag_or_variable_is_told_with_its_name_and_exit_code_2() {
    for (args, words) in [
        (["serve", "--idle-timeout", "ten"], ["--idle-timeout", "ten"]),
        (["serve", "--idle-timeout", "10"], ["--idle-timeout", "60s"]),
        (["serve", "--message-max", "large"], ["--message-max", "large"]),
        (["serve", "--listen", "here"], ["--listen", "here"]),
        (["serve", "--workers", "0"], ["--workers", "0"]),
        (["serve", "--config", "/nonexistent/lab.toml"], ["/nonexistent/lab.toml", "no such file"]),
    ] {
        let code = if args[1] == "--config" { 3 } else { 2 };
        expect_complaint(&run(&args), code, &words);
    }
    let ended = run_with(&["serve"], |command| {
        command.env("WSLAB_CLOSE_TIMEOUT", "soon");
    });
    expect_complaint(&ended, 2, &["WSLAB_CLOSE_TIMEOUT", "soon"]);
    let ended = run_with(&["serve"], |command| {
        command.env("PORT", "http");
    });
    expect_complaint(&ended, 2, &["PORT", "http"]);
    // What only the kernel can tell.
    let ended = run(&["serve", "--no-tls", "--listen", "127.0.0.1:0", "--congestion", "nobodys"]);
    expect_complaint(
        &ended,
        2,
        &["command line: --congestion \"nobodys\"", "net.ipv4.tcp_available_congestion_control"],
    );
    expect_complaint(&run(&["serve", "--no-such-flag"]), 2, &["--no-such-flag", "--help"]);
    expect_complaint(&run(&["no-such-command"]), 2, &["no-such-command", "--help"]);
    let ended = run(&[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    assert!(ended.stderr.contains("Usage"), "{ended:?}");
}

#[test]
fn the_port_variable_and_every_source_in_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lab.toml");
    fs::write(&config, "message_max = \"1KiB\"\nframe_max = \"1KiB\"\nidle_timeout = \"7s\"\ngrace = \"1s\"\n")
        .unwrap();
    let ended = run_with(&["serve", "--print-config", "--grace", "3s"], |command| {
        command
            .env("WSLAB_CONFIG", &config)
            .env("WSLAB_GRACE", "2s")
            .env("WSLAB_IDLE_TIMEOUT", "8s")
            .env("PORT", "4711");
    });
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for line in [
        "grace = \"3s\"  # command line",
        "idle_timeout = \"8s\"  # environment WSLAB_IDLE_TIMEOUT",
        &format!("message_max = \"1KiB\"  # {}:1", config.display()),
        "listen = [\"127.0.0.1:4711\"]  # environment PORT",
        "close_timeout = \"3s\"  # default",
    ] {
        assert!(ended.stdout.lines().any(|printed| printed == line), "{line:?} in\n{}", ended.stdout);
    }
}

#[test]
fn a_printed_configuration_is_one_that_serve_and_check_config_take() {
    let flags = [
        "serve",
        "--print-config",
        "--listen",
        "127.0.0.1:0",
        "--listen-tls",
        "[::1]:0",
        "--origin",
        "https://a.example,https://b.example",
        "--path",
        "/chat",
        "--subprotocol",
        "x,y",
        "--server-name",
        "a \"b\" \\c",
        "--frame-max",
        "1KiB",
        "--message-max",
        "1500B",
        "--idle-timeout",
        "1m 30s",
        "--ping-interval",
        "250ms",
        "-v",
    ];
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("printed.toml");
    let first = run(&flags);
    assert_eq!(first.code, Some(0), "{first:?}");
    fs::write(&config, &first.stdout).unwrap();
    let path = config.to_str().unwrap();
    let checked = run(&["check-config", path]);
    assert_eq!((checked.code, checked.stdout), (Some(0), format!("{path}: ok\n")), "{}", checked.stderr);

    let values = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(|line| line.rsplit_once("  # ").expect("an origin").0.to_owned()).collect::<Vec<_>>()
    };
    let second = run(&["serve", "--print-config", "--config", path]);
    assert_eq!(values(&second.stdout), values(&first.stdout));
    assert!(values(&first.stdout).len() > 25, "every option: {}", first.stdout);
}

#[test]
fn the_shipped_configurations_are_taken() {
    for name in ["wslab.toml", "public.toml", "autobahn.toml"] {
        let path = format!("{}/config/{name}", env!("CARGO_MANIFEST_DIR"));
        let checked = run(&["check-config", &path]);
        // public.toml names a certificate that an operator has yet to get.
        let lacks_certificate = checked.code == Some(3) && checked.stderr.contains("cannot read");
        assert!(checked.code == Some(0) || (name == "public.toml" && lacks_certificate), "{name}: {checked:?}");
    }
    // The file of all defaults holds nothing but defaults.
    let path = format!("{}/config/wslab.toml", env!("CARGO_MANIFEST_DIR"));
    let plain = |ended: Ended| -> Vec<String> {
        let lines = ended.stdout.lines().filter(|line| line.contains(" = "));
        lines.map(|line| line.rsplit_once("  # ").unwrap().0.to_owned()).collect()
    };
    assert_eq!(plain(run(&["serve", "--print-config", "--config", &path])), plain(run(&["serve", "--print-config"])));
}

#[test]
fn who_waits_at_the_door_when_a_drain_begins_hears_of_it() {
    raise_open_files();
    for defer in ["1s", "off"] {
        let server = Serve::start_plain(&["--defer-accept", defer]);
        server.process.signal(Signal::STOP);
        let mut waiting: Vec<Client> = (0..700).map(|_| server.ws().connect()).collect();
        for client in &mut waiting {
            client.send(UPGRADE.as_bytes());
        }
        server.process.signal(Signal::TERM);
        server.process.signal(Signal::CONT);
        for mut client in waiting {
            match client.response().status {
                // The signal came before its turn, or behind it.
                503 => client.expect_end(),
                status => {
                    assert_eq!(status, 101, "--defer-accept {defer}");
                    assert_eq!(client.frame().close_code(), Some(1001));
                }
            }
        }
        assert_eq!(server.process.wait().code, Some(0));
    }
}

#[test]
fn term_and_int_close_all_connections_with_1001_and_exit_with_0() {
    at_once([Signal::TERM, Signal::INT], |signal| {
        let server = Serve::start(&[]);
        let (ws_addr, wss_addr) = (server.ws_addr(), server.wss_addr());
        let mut clients = server.doors().map(|door| door.open());
        let mut undecided = server.ws().connect();
        undecided.send(b"GET /ws HTTP/1.1\r\n");
        for client in &mut clients {
            client.expect_echo("before");
            // An echo that is under way leaves first.
            client.send(&PEER.frame(0x01, b"unfinished"));
        }
        clients[0].send(&PEER.ping(b"seen"));
        assert_eq!(clients[0].frame().payload, b"seen");
        server.process.signal(signal);
        for mut client in clients {
            let close = client.frame();
            assert_eq!(close.close_code(), Some(1001), "{signal:?}");
            client.send(&PEER.close(1001));
            client.expect_end();
        }
        assert_eq!(undecided.response().status, 503, "{signal:?}");
        undecided.expect_end();
        drop(undecided);
        let ended = server.process.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for addr in [ws_addr, wss_addr] {
            assert!(std::net::TcpStream::connect(addr).is_err(), "nobody listens any more");
        }
    });
}

#[test]
fn while_draining_nobody_is_accepted_and_what_was_asked_is_answered() {
    let mut server = Serve::start(&[]);
    let mut client = server.ws().open();
    server.process.signal(Signal::TERM);
    assert_eq!(client.frame().close_code(), Some(1001));
    server.process.stderr_line_with("draining connections=1");
    for addr in [server.ws_addr(), server.wss_addr()] {
        let refused = std::net::TcpStream::connect(addr).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    client.send(&PEER.close(1001));
    client.expect_end();
    drop(client);
    assert_eq!(server.process.wait().code, Some(0));
}

#[test]
fn a_drain_waits_no_longer_than_its_grace() {
    let server = Serve::start(&["--grace", "300ms", "--close-timeout", "20s"]);
    let mut clients = server.doors().map(|door| door.open());
    let begin = Instant::now();
    server.process.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.frame().close_code(), Some(1001));
    }
    // Neither answers.
    let ended = server.process.wait();
    let took = begin.elapsed();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(took >= Duration::from_millis(280) && took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    at_once(
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::TERM, Signal::INT)],
        |(first, second)| {
            let server = Serve::start(&["--grace", "1m", "--close-timeout", "1m"]);
            let mut client = server.ws().open();
            server.process.signal(first);
            assert_eq!(client.frame().close_code(), Some(1001));
            let begin = Instant::now();
            let ended = server.end_by(second);
            assert!(begin.elapsed() < Duration::from_secs(3), "{first:?}, {second:?}: {:?}", begin.elapsed());
            assert_eq!(ended.code, Some(0), "{ended:?}");
        },
    );
}

#[test]
fn a_drain_with_a_tls_handshake_under_way_ends_as_soon_as_others_are_gone() {
    let server = Serve::start(&["--grace", "8s"]);
    let _silent = server.wss().tcp();
    // Accepted in order, so the silent one is in by now.
    let mut client = server.wss().open();
    let begin = Instant::now();
    server.process.signal(Signal::TERM);
    assert_eq!(client.frame().close_code(), Some(1001));
    client.send(&PEER.close(1001));
    client.expect_end();
    drop(client);
    assert_eq!(server.process.wait().code, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn without_connections_term_ends_at_once() {
    let server = Serve::start(&[]);
    let begin = Instant::now();
    let ended = server.end_by(Signal::TERM);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn hup_reloads_the_certificate_for_connections_to_come() {
    let (old, new) = (Serve::start(&[]), Serve::start(&[]));
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let install = |maker: &Serve| {
        fs::copy(maker.ca().with_file_name("leaf.pem"), &cert).unwrap();
        fs::copy(maker.ca().with_file_name("leaf-key.pem"), &key).unwrap();
    };
    install(&old);
    let mut server = Serve::start(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let door = |maker: &Serve| Door::wss(server.wss_addr(), &maker.ca());
    let (old_door, new_door) = (door(&old), door(&new));
    let trusts = |door: &Door, ca: &Path| {
        let config = crate::support::client::client_config(ca).into();
        crate::support::client::tls_over(door.tcp(), config, "localhost").is_ok()
    };
    let mut before = old_door.open();

    // A broken certificate changes nothing.
    fs::write(&cert, "no certificate").unwrap();
    server.process.signal(Signal::HUP);
    let line = server.process.stderr_line_with("not reloaded");
    assert!(line.contains(cert.to_str().unwrap()), "{line}");
    old_door.open().expect_echo("as before");

    install(&new);
    server.process.signal(Signal::HUP);
    server.process.stderr_line_with("certificate reloaded");
    new_door.open().expect_echo("the new one");
    assert!(!trusts(&old_door, &old.ca()), "the old one is not served any more");
    before.expect_echo("who was there stays");
}

#[test]
fn hup_without_wss_changes_nothing() {
    let mut server = Serve::start_plain(&[]);
    let mut client = server.ws().open();
    server.process.signal(Signal::HUP);
    server.process.stderr_line_with("nothing to reload");
    client.expect_echo("still here");
}

#[test]
fn the_log_of_frames_tells_every_frame_of_both_directions_and_escapes_what_peers_send() {
    let server = Serve::start_plain(&["-vv"]);
    let mut client = server.ws().open();
    client.send(&PEER.binary(b"\x1b[31m\r\n\"\\\xff\0"));
    assert_eq!(client.frame().first, 0x82);
    client.send(&PEER.frame(0x01, b"Hel"));
    client.send(&PEER.frame(0x80, b"lo"));
    assert_eq!(client.frame().first, 0x81);
    client.send(&PEER.ping(b"p"));
    assert_eq!(client.frame().first, 0x8a);
    client.send(&PEER.close_because(1000, b"bye\nbye"));
    assert_eq!(client.rest().1, End::Clean);
    drop(client);
    let ended = server.end_by(Signal::TERM);
    let frames: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("payload=")).collect();
    let mut rest = frames.iter();
    for words in [
        ["<- Binary", "fin=1", "len=11", "masked=1"],
        ["-> Binary", "fin=1", "len=11", "masked=0"],
        ["<- Text", "fin=0", "len=3", "masked=1"],
        ["<- Continuation", "fin=1", "len=2", "masked=1"],
        ["-> Text", "fin=1", "len=5", "masked=0"],
        ["<- Ping", "fin=1", "len=1", "masked=1"],
        ["-> Pong", "fin=1", "len=1", "masked=0"],
        ["<- Close", "fin=1", "len=9", "masked=1"],
        ["-> Close", "fin=1", "len=2", "masked=0"],
    ] {
        let line = rest.next().unwrap_or_else(|| panic!("a line for {words:?} in\n{}", ended.stderr));
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    }
    assert_eq!(rest.next(), None);
    assert!(!ended.stderr.bytes().any(|octet| octet == 0x1b || octet == 0), "escaped: {:?}", ended.stderr);
}

#[test]
fn the_log_of_connections_tells_their_begin_and_end() {
    let server = Serve::start_plain(&["-v"]);
    let mut client = server.ws().open();
    client.send(&PEER.close_because(4001, "da\u{7}dada".as_bytes()));
    client.rest();
    let mut broken = server.ws().open();
    broken.send(&PEER.frame(0x83, b""));
    broken.rest();
    drop((client, broken));
    let ended = server.end_by(Signal::TERM);
    for words in [&["open", "/ws"][..], &["closed", "4001"], &["closed", "1002", "opcode 3"]] {
        let told = ended.stderr.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(told, "a line with {words:?} in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains('\u{7}'), "{:?}", ended.stderr);
    assert!(!ended.stderr.contains("payload="), "frames are told at -vv: {}", ended.stderr);
}

#[test]
fn a_quiet_server_logs_nothing_of_what_clients_do() {
    let server = Serve::start_plain(&[]);
    let mut client = server.ws().open();
    client.expect_echo("hello");
    client.send(&PEER.frame(0x83, b""));
    assert_eq!(show(&client.rest().0), show(&SERVER.close(1002)));
    server.ws().open().reset();
    drop(client);
    let ended = server.end_by(Signal::TERM);
    let logged = ended.stderr.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    assert_eq!(logged.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_log_in_json_is_json_on_every_line() {
    let server = Serve::start_plain(&["--log-format", "json", "-vv"]);
    server.ws().open().expect_echo("quote \" and \u{1b} escape");
    let ended = server.end_by(Signal::TERM);
    assert!(ended.stderr.lines().count() >= 3, "{}", ended.stderr);
    for line in ended.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn a_stdout_and_a_stderr_that_nobody_reads_do_not_stop_the_server() {
    // A log of frames that fills the pipe many times over, while nobody reads it: the child is not followed.
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    command.args(["serve", "--no-tls", "--listen", "127.0.0.1:0", "-vv"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = Reaped(command.spawn().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.0.stdout.take().unwrap()), &mut line).unwrap();
    let url = line.split("ws=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a URL");
    let mut client = Door::ws(address_of(url)).open();
    let text = "x".repeat(64);
    for _ in 0..3000 {
        client.expect_echo(&text);
    }
}

/// A child that is killed when dropped.
struct Reaped(std::process::Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn help_version_completions_and_manual_are_answers() {
    for (args, word) in [
        (&["--version"][..], env!("CARGO_PKG_VERSION")),
        (&["--help"], "serve"),
        (&["serve", "--help"], "--handshake-timeout"),
        (&["completions", "bash"], "wslab"),
        (&["man"], ".TH"),
    ] {
        let ended = run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(ended.stdout.contains(word), "{word} in {}", ended.stdout);
    }
}
