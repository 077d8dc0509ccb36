//! `/metrics`: every number moves for its own reason, and no other does.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE, at_once,
    client::{Client, Door},
    http::{UPGRADE, upgrade_and, upgrade_with},
    process::{Serve, address_of, wslab},
    scrape::{Admin, Samples},
    wire::{PEER, SERVER},
};

const ON: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Counters that move for one reason each. What is not named in a row must not move.
const WATCHED: [&str; 7] = [
    "wslab_connections_accepted_total",
    "wslab_handshakes_total",
    "wslab_closes_total",
    "wslab_refusals_total",
    "wslab_proxy_headers_refused_total",
    "wslab_messages_",
    "wslab_log_lines_dropped_total",
];

/// How much the watched counters have grown, those that have.
fn growth(before: &Samples, after: &Samples) -> BTreeMap<String, f64> {
    let watched = WATCHED.iter().flat_map(|family| after.of(family));
    watched
        .map(|(series, value)| (series.to_owned(), value - before.get(series)))
        .filter(|(_, growth)| *growth != 0.0)
        .collect()
}

/// Waits for a scrape that `is_it`.
fn scrape_until(admin: Admin, what: &str, is_it: impl Fn(&Samples) -> bool) -> Samples {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = admin.samples();
        if is_it(&samples) {
            return samples;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {samples:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_empty(samples: &Samples) -> bool {
    samples.of("wslab_connections{").all(|(_, held)| held == 0.0)
}

/// Does something, waits until nobody is left, and compares what has grown.
fn check(admin: Admin, what: &str, act: impl FnOnce(), grows: &[(&str, f64)]) {
    let before = scrape_until(admin, what, is_empty);
    act();
    let grows: BTreeMap<String, f64> = grows.iter().map(|(series, by)| (format!("wslab_{series}"), *by)).collect();
    let is_over = |samples: &Samples| is_empty(samples) && !growth(&before, samples).is_empty();
    let after = scrape_until(admin, what, is_over);
    assert_eq!(growth(&before, &after), grows, "{what}");
}

fn answered(door: &Door, request: &str, status: u16) {
    let mut client = door.connect();
    client.send(request.as_bytes());
    assert_eq!(client.response().status, status, "{request:?}");
    client.expect_end();
}

fn closed(door: &Door, octets: &[u8], code: u16) {
    let mut client = door.open();
    client.send(octets);
    assert_eq!(client.frame().close_code(), Some(code));
    client.expect_end();
}

/// Sends messages and reads nothing, until the socket refuses more in a way that is enough. What it takes late, or in part, goes
/// on where it was left.
fn send_until(client: &mut Client, is_enough: impl Fn(&std::io::Error) -> bool) {
    let message = PEER.binary(&vec![7; 1 << 20]);
    let (begin, mut sent) = (Instant::now(), 0);
    loop {
        match client.send_some(&message[sent..]) {
            Ok(taken) => sent = (sent + taken) % message.len(),
            Err(error) if is_enough(&error) => return,
            Err(_) => {}
        }
        assert!(begin.elapsed() < PATIENCE, "a peer that never reads is held");
    }
}

const WS: (&str, f64) = ("connections_accepted_total{listener=\"ws\"}", 1.0);
const WSS: (&str, f64) = ("connections_accepted_total{listener=\"wss\"}", 1.0);
const OPENED: (&str, f64) = ("handshakes_total{outcome=\"opened\"}", 1.0);

#[test]
fn every_end_of_a_handshake_is_counted_by_its_outcome() {
    let policy = ["--origin", "http://a", "--path", "/ws", "--handshake-timeout", "60s"];
    let server = Serve::start(&[&ON[..], &policy].concat());
    let (admin, ws, wss) = (Admin::of(&server), server.ws(), server.wss());
    type Act<'a> = Box<dyn FnOnce() + 'a>;
    let ask = |request: String, status: u16| -> Act<'_> {
        let ws = &ws;
        Box::new(move || answered(ws, &request, status))
    };
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let rows: Vec<(&str, Act<'_>)> = vec![
        ("page", ask(plain, 200)),
        ("bad_request", ask("GET\r\n\r\n".to_owned(), 400)),
        ("origin", ask(upgrade_and("Origin: http://b\r\n"), 403)),
        ("path", ask(upgrade_with("/ws", "/wsx"), 404)),
        ("method", ask(upgrade_with("GET", "PUT"), 405)),
        ("target_too_long", ask(format!("GET /{}", "a".repeat(16 << 10)), 414)),
        ("version", ask(upgrade_with("Version: 13", "Version: 8"), 426)),
        ("head_too_large", ask(format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(101)), 431)),
        ("eof", Box::new(|| drop(ws.tcp()))),
        ("socket", Box::new(|| ws.connect().reset())),
    ];
    for (outcome, act) in rows {
        let series = format!("handshakes_total{{outcome=\"{outcome}\"}}");
        check(admin, outcome, act, &[WS, (&series, 1.0)]);
    }
    let no_tls = || {
        let mut tcp = wss.tcp();
        tcp.write_all(UPGRADE.as_bytes()).unwrap();
        // The server ends it, by an alert or a reset.
        let _ = std::io::copy(&mut tcp, &mut std::io::sink());
    };
    check(admin, "HTTP where TLS is spoken", no_tls, &[WSS, ("handshakes_total{outcome=\"tls\"}", 1.0)]);
}

#[test]
fn every_end_of_a_connection_is_counted_by_its_cause() {
    let server = Serve::start(&[&ON[..], &["--message-max", "1KiB"]].concat());
    let admin = Admin::of(&server);
    for (door, accepted) in server.doors().iter().zip([WS, WSS]) {
        type Act<'a> = Box<dyn FnOnce() + 'a>;
        let close = |octets: Vec<u8>, code: u16| -> Act<'_> { Box::new(move || closed(door, &octets, code)) };
        let mut rows: Vec<(&str, Act<'_>)> = vec![
            ("peer", close(PEER.close(1000), 1000)),
            ("protocol_error", close(b"\xf0".to_vec(), 1002)),
            ("invalid_payload", close(PEER.frame(0x81, b"\xff"), 1007)),
            ("too_big", close(PEER.frame_of_len(0x82, &[126, 4, 1], b""), 1009)),
            ("eof", Box::new(|| door.open().half_close())),
            ("socket", Box::new(|| door.open().reset())),
        ];
        if door.name() == "wss" {
            rows.push((
                "tls",
                Box::new(|| {
                    let client = door.open();
                    // A record that was never encrypted.
                    let _ = client.tcp().write_all(&[&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat());
                    let _ = std::io::copy(&mut client.tcp(), &mut std::io::sink());
                }),
            ));
        }
        for (cause, act) in rows {
            let series = format!("closes_total{{cause=\"{cause}\"}}");
            check(admin, &format!("{cause} over {}", door.name()), act, &[accepted, OPENED, (&series, 1.0)]);
        }
    }
}

#[test]
fn every_wait_that_ends_is_counted_by_its_cause() {
    type Act = fn(&Door);
    type Grows<'a> = &'a [(&'a str, f64)];
    #[rustfmt::skip]
    let rows: [(&str, [&str; 2], Act, Grows<'_>); 3] = [
        ("no request", ["--handshake-timeout", "300ms"], |door| {
            let mut client = door.connect();
            assert_eq!(client.response().status, 408);
            client.expect_end();
        }, &[WS, ("handshakes_total{outcome=\"timeout\"}", 1.0)]),
        ("no octet", ["--idle-timeout", "1s"], |door| {
            let mut client = door.open();
            assert_eq!(client.frame().close_code(), Some(1001));
            client.send(&PEER.close(1001));
            client.expect_end();
        }, &[WS, OPENED, ("closes_total{cause=\"idle\"}", 1.0)]),
        ("no output taken", ["--write-stall-timeout", "300ms"], |door| {
            let mut client = door.open();
            client.tcp().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            send_until(&mut client, |error| error.kind() != std::io::ErrorKind::WouldBlock);
        }, &[WS, OPENED, ("closes_total{cause=\"write_stall\"}", 1.0)]),
    ];
    at_once(rows, |(what, flags, act, grows)| {
        let server = Serve::start_plain(&[&ON[..], &flags].concat());
        let admin = Admin::of(&server);
        let before = admin.samples();
        act(&server.ws());
        let after = scrape_until(admin, what, |samples| {
            is_empty(samples) && samples.get("wslab_connections_accepted_total{listener=\"ws\"}") > 0.0
        });
        let mut grown = growth(&before, &after);
        // As many as the socket took.
        grown.retain(|series, _| !series.starts_with("wslab_messages_"));
        let grows: BTreeMap<String, f64> = grows.iter().map(|(series, by)| (format!("wslab_{series}"), *by)).collect();
        assert_eq!(grown, grows, "{what}");
    });
}

#[test]
fn messages_and_octets_are_counted_both_ways() {
    let server = Serve::start(&ON);
    let admin = Admin::of(&server);
    for door in server.doors() {
        let mut client = door.open();
        client.expect_echo("the handshake is over");
        let before = admin.samples();
        let input = [PEER.text("one"), PEER.frame(0x01, b"t"), PEER.ping(b"!"), PEER.frame(0x80, b"wo")].concat();
        client.send(&input);
        let echoes = [SERVER.pong(b"!"), SERVER.text("one"), SERVER.text("two")].concat();
        for _ in 0..3 {
            client.frame();
        }
        let after = admin.samples();
        let grown = |series: &str| after.get(series) - before.get(series);
        assert_eq!(grown("wslab_messages_received_total"), 2.0, "a fragment is none, a Ping neither");
        assert_eq!(grown("wslab_messages_sent_total"), 2.0);
        assert_eq!(grown("wslab_received_bytes_total"), input.len() as f64, "over {}", door.name());
        assert_eq!(grown("wslab_sent_bytes_total"), echoes.len() as f64, "over {}", door.name());
        assert!(grown("wslab_loop_turn_seconds_count") > 0.0 && grown("wslab_loop_turn_seconds_sum") > 0.0);
        assert_eq!((after.get("wslab_queued_bytes"), after.get("wslab_loops_late")), (0.0, 0.0));
    }
}

#[test]
fn connections_are_counted_where_they_are() {
    let server = Serve::start(&[&ON[..], &["--idle-timeout", "2s", "--close-timeout", "60s"]].concat());
    let admin = Admin::of(&server);
    let states = |samples: &Samples| {
        ["opening", "open", "closing"].map(|state| samples.get(&format!("wslab_connections{{state=\"{state}\"}}")))
    };
    let is = |expected: [f64; 3]| move |samples: &Samples| states(samples) == expected;
    let silent = (server.ws().tcp(), server.wss().tcp());
    scrape_until(admin, "TCP, but no request", is([2.0, 0.0, 0.0]));
    let open = server.doors().map(|door| door.open());
    scrape_until(admin, "open", is([2.0, 2.0, 0.0]));
    scrape_until(admin, "told that they are idle", is([2.0, 0.0, 2.0]));
    drop((silent, open));
    scrape_until(admin, "gone", is([0.0, 0.0, 0.0]));
}

#[test]
fn octets_that_a_peer_does_not_take_are_counted_until_they_are_gone() {
    let server = Serve::start_plain(&ON);
    let admin = Admin::of(&server);
    let mut client = server.ws().open();
    client.tcp().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    send_until(&mut client, |_| true);
    let samples = scrape_until(admin, "stuck", |samples| samples.get("wslab_queued_bytes") > 0.0);
    assert!(
        samples.get("wslab_queued_bytes") < (3 << 20) as f64,
        "reading stops at 1 MiB, within a message: {samples:?}"
    );
    client.reset();
    scrape_until(admin, "gone", |samples| is_empty(samples) && samples.get("wslab_queued_bytes") == 0.0);
}

#[test]
fn who_is_turned_away_is_counted_by_the_limit() {
    let server = Serve::start(&[&ON[..], &["--connections-max", "1"]].concat());
    let admin = Admin::of(&server);
    let mut first = server.ws().open();
    let before = admin.samples();
    answered(&server.ws(), "", 503);
    let _ = std::io::copy(&mut server.wss().tcp(), &mut std::io::sink());
    let after =
        scrape_until(admin, "turned away", |samples| samples.get("wslab_connections{state=\"closing\"}") == 0.0);
    let grown =
        [WS, WSS, ("handshakes_total{outcome=\"full\"}", 1.0), ("refusals_total{limit=\"connections_max\"}", 2.0)];
    let grown = grown.iter().map(|(series, by)| (format!("wslab_{series}"), *by)).collect();
    assert_eq!(growth(&before, &after), grown);
    first.expect_echo("still here");
}

#[test]
fn every_limit_of_the_server_is_counted_under_the_name_of_its_option() {
    let grow = |server: &Serve, what: &str, before: &Samples, grows: &[(&str, f64)]| {
        let grows: BTreeMap<String, f64> = grows.iter().map(|(series, by)| (format!("wslab_{series}"), *by)).collect();
        let after = scrape_until(Admin::of(server), what, |samples| {
            let closing = samples.get("wslab_connections{state=\"closing\"}");
            closing == 0.0 && growth(before, samples).keys().any(|series| series.contains("refusals"))
        });
        assert_eq!(growth(before, &after), grows, "{what}");
    };
    const FULL: (&str, f64) = ("handshakes_total{outcome=\"full\"}", 1.0);

    let server = Serve::start_plain(&[&ON[..], &["--connections-per-address", "1"]].concat());
    let _first = server.ws().open();
    let before = Admin::of(&server).samples();
    answered(&server.ws(), "", 503);
    grow(
        &server,
        "too many of an address",
        &before,
        &[WS, FULL, ("refusals_total{limit=\"connections_per_address\"}", 1.0)],
    );

    let server = Serve::start_plain(&[&ON[..], &["--handshakes-max", "1", "--handshake-timeout", "60s"]].concat());
    let before = Admin::of(&server).samples();
    let (mut oldest, _newest) = (server.ws().connect(), server.ws().connect());
    assert_eq!(oldest.response().status, 408);
    let two = (WS.0, 2.0);
    grow(&server, "too many handshakes", &before, &[two, FULL, ("refusals_total{limit=\"handshakes_max\"}", 1.0)]);

    let server = Serve::start_plain(&[&ON[..], &["--memory-max", "8MiB", "--deflate", "off"]].concat());
    let admin = Admin::of(&server);
    let idle = admin.samples().get("wslab_memory_bytes");
    assert!((100_000.0..2_000_000.0).contains(&idle), "a loop's own: {idle}");
    let mut largest = server.ws().open();
    let before = admin.samples();
    // An announced 12 MiB, of which more than fits comes.
    let len = [&[127][..], &(12_u64 << 20).to_be_bytes()].concat();
    let _ = largest.try_send(&PEER.frame_of_len(0x82, &len, &vec![7; 11 << 20]));
    let cause = ("closes_total{cause=\"shed\"}", 1.0);
    grow(&server, "memory", &before, &[cause, ("refusals_total{limit=\"memory_max\"}", 1.0)]);
}

#[test]
fn who_has_no_proxy_header_is_counted_waiting_and_dropped() {
    let flags = ["--proxy-protocol", "require", "--handshakes-max", "1", "--handshake-timeout", "60s"];
    let server = Serve::start_plain(&[&ON[..], &flags].concat());
    let (admin, ws) = (Admin::of(&server), server.ws());
    let dropped = |mut tcp: TcpStream| {
        // By FIN or RST.
        let _ = std::io::copy(&mut tcp, &mut std::io::sink());
    };
    const REFUSED: (&str, f64) = ("proxy_headers_refused_total", 1.0);
    let no_header = || {
        let mut tcp = ws.tcp();
        tcp.write_all(UPGRADE.as_bytes()).unwrap();
        dropped(tcp);
    };
    check(admin, "a request without a header", no_header, &[WS, REFUSED]);
    let crowd = || {
        let (oldest, _newest) = (ws.tcp(), ws.tcp());
        dropped(oldest);
        scrape_until(admin, "one waits", |samples| samples.get("wslab_connections{state=\"proxy_header\"}") == 1.0);
    };
    // The newest has gone without a header in the end.
    check(admin, "a crowd", crowd, &[(WS.0, 2.0), ("refusals_total{limit=\"handshakes_max\"}", 1.0), REFUSED]);
    let spoken_for = || {
        let mut tcp = ws.tcp();
        tcp.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n").unwrap();
        let mut client = ws.over(tcp);
        client.upgrade();
        client.send(&PEER.close(1000));
        assert_eq!(client.frame().close_code(), Some(1000));
        client.expect_end();
    };
    check(admin, "a header", spoken_for, &[WS, OPENED, ("closes_total{cause=\"peer\"}", 1.0)]);
}

#[test]
fn running_out_of_descriptors_is_counted() {
    let mut server = Serve::start_plain(&ON);
    let (ws, admin) = (server.ws(), Admin::of(&server));
    let before = server.process.limit_open_files(server.process.open_files_limit_for(20));
    let clients: Vec<TcpStream> = (0..60).map(|_| ws.tcp()).collect();
    server.process.stderr_line_with("cannot accept");
    drop(clients);
    server.process.limit_open_files(before);
    scrape_until(admin, "again", |samples| samples.get("wslab_refusals_total{limit=\"open_files\"}") >= 1.0);
    ws.open().expect_echo("as if nothing had been");
}

#[test]
fn log_lines_that_stderr_was_too_slow_for_are_counted() {
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    command.args(["serve", "-vv", "--format", "json", "--listen", "127.0.0.1:0", "--no-tls"]).args(ON);
    // Nobody reads it.
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let [ws, admin] = [&ready["ws"][0], &ready["admin"]].map(|url| address_of(url.as_str().unwrap()));
    let mut client = Door::ws(ws).open();
    // Two lines a message, 16,384 lines in the queue, 64 KiB in the pipe.
    let messages = PEER.text("x").repeat(1000);
    for _ in 0..20 {
        client.send(&messages);
        for _ in 0..1000 {
            client.frame();
        }
    }
    scrape_until(Admin(admin), "dropped", |samples| samples.get("wslab_log_lines_dropped_total") > 0.0);
    client.expect_echo("the loop does not mind");
}

#[test]
fn the_numbers_of_several_loops_are_added_up_and_never_shrink() {
    let server = Serve::start_plain(&[&ON[..], &["--workers", "3"]].concat());
    let admin = Admin::of(&server);
    let door = server.ws();
    let clients = thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut clients: Vec<_> = (0..30).map(|_| door.open()).collect();
            for round in 0..20 {
                clients.iter_mut().for_each(|client| client.expect_echo(&format!("round {round}")));
            }
            clients
        });
        let mut before = admin.samples();
        while !busy.is_finished() {
            let after = admin.samples();
            for (series, value) in
                after.0.iter().filter(|(series, _)| series.contains("_total") || series.contains("_seconds_"))
            {
                assert!(*value >= before.get(series), "{series} shrinks: {} to {value}", before.get(series));
            }
            before = after;
        }
        busy.join().unwrap()
    });
    let samples = admin.samples();
    assert_eq!((samples.get("wslab_loops"), samples.get("wslab_connections{state=\"open\"}")), (3.0, 30.0));
    assert_eq!(
        (samples.get("wslab_messages_received_total"), samples.get("wslab_messages_sent_total")),
        (600.0, 600.0)
    );
    drop(clients);
    scrape_until(admin, "gone", is_empty);
}
