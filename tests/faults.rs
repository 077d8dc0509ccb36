//! What goes wrong around a server: descriptors run out, peers vanish at any octet, or come one octet at a time.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{
    PATIENCE, at_once,
    client::{Client, End, client_config},
    http::UPGRADE,
    process::{Process, Serve, wslab},
    scrape::Admin,
    wire::{PEER, SERVER, show},
};

/// Breaks a connection with a RST.
fn reset(tcp: &TcpStream) {
    SockRef::from(tcp).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn without_descriptors_the_server_rests_warns_and_recovers() {
    let server = Serve::start_plain(&[]);
    let (door, process) = (server.ws(), &server.process);
    let mut steady = door.open();
    let before = process.limit_open_files(process.open_files_limit_for(2));
    let mut last = [door.open(), door.open()];
    // The kernel completes these; the server cannot have them.
    let mut waiting: Vec<Client> = (0..20).map(|_| door.connect()).collect();
    for client in &mut waiting {
        client.send(UPGRADE.as_bytes());
    }
    let (begin, cpu) = (Instant::now(), process.cpu_time());
    waiting[0].expect_silence(Duration::from_millis(1200));
    let (cpu, took) = (process.cpu_time() - cpu, begin.elapsed());
    assert!(cpu < took / 20, "{cpu:?} of processor time in {took:?}");
    for client in last.iter_mut().chain([&mut steady]) {
        client.expect_echo("served meanwhile");
    }
    // A descriptor that comes back is used at once, though no event tells of who waits.
    drop(last);
    assert_eq!(waiting[0].response().status, 101);
    assert_eq!(waiting[1].response().status, 101);
    process.limit_open_files(before);
    for client in &mut waiting[2..] {
        assert_eq!(client.response().status, 101, "all are let in once there is room");
    }
    let stderr = process.stderr_so_far();
    let warnings = stderr.matches("cannot accept").count();
    assert!((1..=2 + begin.elapsed().as_secs() as usize).contains(&warnings), "{stderr}");
    assert!(stderr.contains("open-file limit"), "{stderr}");
}

#[test]
fn the_kernels_table_of_open_files_never_grows_while_connections_are_served() {
    let server = Serve::start_plain(&["--connections-max", "1000"]);
    let places = server.process.open_files_table();
    assert!(places >= 1000, "{places} places");
    let _clients: Vec<Client> = (0..300).map(|_| server.ws().open()).collect();
    assert_eq!(server.process.open_files_table(), places);
}

/// The command under a hard limit of open files, as ulimit sets it: it cannot be raised.
fn under_a_limit(files: usize, command: &mut Command) {
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    *command = Command::new("/bin/sh");
    command.env_clear().envs(environment).stdin(Stdio::null());
    command.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\"")).arg(program).args(args);
}

#[test]
fn an_open_file_limit_below_connections_max_lowers_it() {
    let listeners = ["--listen", "127.0.0.1:0", "--no-tls"];
    let prepare = |command: &mut Command| under_a_limit(70, command);
    let mut server = Serve::launch(&listeners, &[], prepare, Serve::folder_of_its_own());
    let line = server.process.stderr_line_with("70 open files");
    assert!(line.contains("6 connections are served at once instead of 10000"), "{line}");
    let mut clients: Vec<Client> = (0..6).map(|_| server.ws().open()).collect();
    assert_eq!(server.ws().connect().response().status, 503);
    clients.iter_mut().for_each(|client| client.expect_echo("served"));
}

#[test]
fn an_open_file_limit_that_leaves_no_connection_is_told_in_one_line() {
    at_once([(8, 1), (32, 1), (40, 1), (64, 1), (129, 2)], |(files, workers)| {
        let folder = Serve::folder_of_its_own();
        let mut command = wslab(folder.path());
        let workers = workers.to_string();
        command.args(["serve", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--workers", &workers]);
        under_a_limit(files, &mut command);
        let ended = Process::start(&mut command).wait();
        assert_eq!((ended.code, ended.stderr.lines().count(), ended.stdout.as_str()), (Some(3), 1, ""), "{ended:?}");
        for words in [&format!("the system allows {files} open files"), "are the least", "ulimit -Hn"] {
            assert!(ended.stderr.contains(words), "{words:?} in {}", ended.stderr);
        }
    });
}

#[test]
fn a_low_open_file_limit_leaves_files_for_the_admin_address_and_certificates_in_any_crowd() {
    at_once([65, 70, 100, 200], |files| {
        let prepare = |command: &mut Command| under_a_limit(files, command);
        let mut server = Serve::start_with(&["--admin", "127.0.0.1:0"], prepare);
        let [ws, wss] = server.doors();
        let mut served: Vec<Client> = (64..files).map(|_| ws.open()).collect();
        // All are there at once, and say nothing: who is told why holds a descriptor until it has read it.
        let crowd: Vec<TcpStream> = (0..150).map(|at| if at % 3 == 0 { wss.tcp() } else { ws.tcp() }).collect();
        for _ in 0..3 {
            assert_eq!(Admin::of(&server).get("/readyz").status, 200, "of {files} files");
        }
        server.process.signal(Signal::HUP);
        server.process.stderr_line_with("certificate reloaded");
        let mut told = 0;
        for mut tcp in crowd {
            let mut answer = Vec::new();
            // Those who are closed without a word may be reset.
            let _ = tcp.read_to_end(&mut answer);
            told += usize::from(answer.starts_with(b"HTTP/1.1 503 "));
        }
        assert!(told > 0, "of {files} files");
        served.iter_mut().for_each(|client| client.expect_echo("served"));
        // Not deaf: a place that is left is given again.
        drop(served.pop());
        let begin = Instant::now();
        let mut next = loop {
            let mut tcp = ws.tcp();
            let _ = tcp.write_all(UPGRADE.as_bytes());
            let mut begun = [0; 12];
            if tcp.peek(&mut begun).is_ok() && begun.ends_with(b" 101") {
                break ws.over(tcp);
            }
            assert!(begin.elapsed() < PATIENCE, "no place becomes free of {files} files");
        };
        assert_eq!(next.response().status, 101);
        next.expect_echo("next");
        let stderr = server.process.stderr_so_far();
        assert!(!stderr.contains("cannot accept"), "{stderr}");
    });
}

#[test]
fn peers_that_are_gone_before_they_are_accepted_end_nothing() {
    let server = Serve::start(&[]);
    server.process.signal(Signal::STOP);
    for door in server.doors() {
        for at in 0..100 {
            let tcp = door.tcp();
            match at % 3 {
                0 => reset(&tcp),
                1 => (&tcp).write_all(UPGRADE.as_bytes()).unwrap(),
                _ => {}
            }
        }
    }
    server.process.signal(Signal::CONT);
    for door in server.doors() {
        door.open().expect_echo("still here");
    }
    let stderr = server.process.stderr_so_far();
    assert!(!stderr.contains("WARN") && !stderr.contains("ERROR"), "{stderr}");
}

/// A short conversation: what is sent, and what is answered once so many octets of it have come.
fn conversation() -> (Vec<u8>, Vec<(usize, Vec<u8>)>) {
    let mut octets = UPGRADE.as_bytes().to_vec();
    let mut answers = Vec::new();
    for (sent, answer) in [
        // First, as it would pass what it is not sent behind.
        (PEER.ping(b"?"), SERVER.pong(b"?")),
        (PEER.text("Hello"), SERVER.text("Hello")),
        (PEER.frame(0x02, b"one"), Vec::new()),
        (PEER.frame(0x80, b"two"), SERVER.binary(b"onetwo")),
        (PEER.close(1000), SERVER.close(1000)),
    ] {
        octets.extend_from_slice(&sent);
        answers.push((octets.len(), answer));
    }
    (octets, answers)
}

#[test]
fn a_fin_at_any_octet_is_answered_with_all_that_was_asked_before_it() {
    let server = Serve::start(&[]);
    let (octets, answers) = conversation();
    at_once(server.doors(), |door| {
        // A TLS handshake each: there, every third octet.
        let step = if door.name() == "ws" { 1 } else { 3 };
        for cut in (0..=octets.len()).step_by(step) {
            let mut client = door.connect();
            client.send(&octets[..cut]);
            client.half_close();
            if cut >= UPGRADE.len() {
                assert_eq!(client.response().status, 101, "cut at {cut} over {}", door.name());
            }
            let expected: Vec<u8> = answers.iter().filter(|(at, _)| *at <= cut).flat_map(|(_, a)| a.clone()).collect();
            let (rest, end) = client.rest();
            assert_eq!((show(&rest), end), (show(&expected), End::Clean), "cut at {cut} over {}", door.name());
        }
    });
}

#[test]
fn a_reset_at_any_octet_costs_its_connection_and_nothing_else() {
    let server = Serve::start(&[]);
    let (octets, _) = conversation();
    let idle = server.process.open_files();
    at_once(server.doors(), |door| {
        let step = if door.name() == "ws" { 1 } else { 3 };
        let mut steady = door.open();
        for cut in (0..=octets.len()).step_by(step) {
            let mut client = door.connect();
            client.send(&octets[..cut]);
            client.reset();
            steady.expect_echo("steady");
        }
    });
    expect_open_files(&server, idle);
}

#[test]
fn a_fin_or_a_reset_at_any_octet_of_a_client_hello_ends_its_connection_alone() {
    let server = Serve::start(&[]);
    let idle = server.process.open_files();
    let hello = client_hello(&server);
    let mut steady = server.wss().open();
    let cuts: Vec<usize> = (0..40).chain((40..hello.len()).step_by(13)).chain([hello.len()]).collect();
    for cut in cuts {
        for is_fin in [true, false] {
            let mut tcp = server.wss().tcp();
            tcp.write_all(&hello[..cut]).unwrap();
            if is_fin {
                tcp.shutdown(Shutdown::Write).unwrap();
                // Whatever was answered, then the end.
                tcp.read_to_end(&mut Vec::new()).unwrap_or_else(|error| panic!("{error} behind {cut} octets"));
            } else {
                reset(&tcp);
            }
        }
        steady.expect_echo("steady");
    }
    drop(steady);
    expect_open_files(&server, idle);
}

fn client_hello(server: &Serve) -> Vec<u8> {
    let mut hello = Vec::new();
    let config = Arc::new(client_config(&server.ca()));
    let mut tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    tls.write_tls(&mut hello).unwrap();
    hello
}

/// No descriptor is left over, once the server has seen the ends.
fn expect_open_files(server: &Serve, expected: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = server.process.open_files();
        if open <= expected {
            return;
        }
        assert!(Instant::now() < deadline, "{open} descriptors are open, {expected} before");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_client_hello_octet_by_octet_is_cut_at_the_handshake_timeout_and_ahead_of_it_is_one() {
    let server = Serve::start(&["--handshake-timeout", "400ms"]);
    let hello = client_hello(&server);
    // Quickly: the server answers.
    let mut tcp = server.wss().tcp();
    hello.iter().for_each(|octet| tcp.write_all(&[*octet]).unwrap());
    assert!(tcp.read(&mut [0; 4096]).unwrap() > 0, "a ServerHello");
    // Slowly: it would take half a minute.
    let mut tcp = server.wss().tcp();
    tcp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let begin = Instant::now();
    let mut octets = hello.iter();
    loop {
        let _ = tcp.write_all(&[*octets.next().unwrap()]);
        match tcp.read(&mut [0; 64]) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => panic!("{other:?}"),
        }
        assert!(begin.elapsed() < PATIENCE, "a trickle goes on for ever");
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(380) && took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_peer_that_is_turned_away_while_it_sends_reads_the_whole_503() {
    let server = Serve::start_plain(&["--connections-max", "1"]);
    let mut holder = server.ws().open();
    for octets in [0, 100, 100_000] {
        let mut client = server.ws().connect();
        // It does not look before it has sent all.
        client.send(&[UPGRADE.as_bytes(), &vec![b'x'; octets]].concat());
        let response = client.response();
        assert_eq!(response.status, 503, "behind {octets} octets more");
        assert!(response.body.ends_with("try again later\n"), "{response:?}");
        client.expect_end();
    }
    holder.expect_echo("undisturbed");
}

#[test]
fn a_flood_of_tiny_records_does_not_keep_an_honest_client_waiting() {
    let server = Serve::start(&[]);
    let door = server.wss();
    let mut honest = door.open();
    // Records of an octet each, 6.6 MB on the wire; then with a KeyUpdate before each, which wants to be answered.
    for (octets, rekeyed) in [(300_000, false), (40_000, true)] {
        let mut flood = door.open();
        for _ in 0..20 {
            flood.expect_echo("until the records are no longer rustls'");
        }
        let message = PEER.binary(&vec![7; octets]);
        let records = flood.in_records_of(1, rekeyed, &message); // built before they are sent
        let mut writer = flood.tcp().try_clone().unwrap();
        let sender = std::thread::spawn(move || writer.write_all(&records).unwrap());
        let mut slowest = Duration::ZERO;
        while !sender.is_finished() {
            let begin = Instant::now();
            honest.expect_echo("honest");
            slowest = slowest.max(begin.elapsed());
        }
        sender.join().unwrap();
        assert_eq!(flood.frame().payload.len(), octets, "{rekeyed}");
        // A turn of the flood is four reads at most: far less than this, also where a machine is busy.
        assert!(slowest < Duration::from_millis(1500), "{slowest:?}, {rekeyed}");
    }
}

#[test]
fn secrets_go_to_the_file_that_sslkeylogfile_names() {
    let folder = Serve::folder_of_its_own();
    let path = folder.path().join("keys.log");
    let server = Serve::start_with(&[], |command| {
        command.env("SSLKEYLOGFILE", &path);
    });
    server.wss().open().expect_echo("secret");
    let keys = std::fs::read_to_string(&path).unwrap();
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_TRAFFIC_SECRET_0 "] {
        assert!(keys.lines().any(|line| line.starts_with(label)), "{label} in {keys}");
    }
}

/// npm's `ws` tells its user the code of a Close that comes while it is still sending.
#[test]
fn the_ws_package_sees_1009_for_a_message_that_is_too_big() {
    let folder = Serve::folder_of_its_own();
    let npm = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0", "--fetch-timeout=5000"])
        .args(["--loglevel=error", "ws@8"])
        .current_dir(folder.path())
        .output();
    if !npm.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: npm cannot install ws");
    }
    let script = "
        const { WebSocket } = require('ws');
        const socket = new WebSocket(process.argv[1], { perMessageDeflate: false });
        socket.on('open', () => socket.send(Buffer.alloc(Number(process.argv[2]))));
        socket.on('error', () => {});
        socket.on('close', (code) => { console.log(code); process.exit(); });
        setTimeout(() => { console.log('late'); process.exit(); }, 9000);";
    let server = Serve::start_plain(&["--message-max", "1MiB"]);
    let url = server.ready["ws"][0].as_str().unwrap();
    for size in [(1 << 20) + 1, 16 << 20] {
        let size = size.to_string();
        let output = Command::new("node").args(["-e", script, url, &size]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), "1009", "{size} octets: {}", String::from_utf8_lossy(&output.stderr));
    }
}
