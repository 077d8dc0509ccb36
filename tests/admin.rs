//! `--admin`: what it answers, when it is ready, who can reach it, and that nothing done to it is felt by those who echo.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{
    PATIENCE,
    http::{self, UPGRADE},
    process::{Process, Serve, wslab},
    scrape::{Admin, Samples},
    wire::PEER,
};

const ON: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// What must hold of an answer.
#[test]
fn every_request_has_its_answer_and_the_connection_ends_behind_it() {
    let server = Serve::start_plain(&ON);
    let admin = Admin::of(&server);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let long = |len: usize| format!("GET /metrics HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(len));
    #[rustfmt::skip]
    let rows: Vec<(&str, String, u16, &str)> = vec![
        ("healthy", get("/healthz"), 200, "ok\n"),
        ("ready", get("/readyz"), 200, "ready\n"),
        ("a query is no part of the path", get("/readyz?verbose=1"), 200, "ready\n"),
        ("§9.3.2 HEAD has no body", "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200, ""),
        ("HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200, "ok\n"),
        ("the root", get("/"), 404, "there are /metrics, /healthz and /readyz\n"),
        ("another path", get("/metrics/"), 404, "there are /metrics, /healthz and /readyz\n"),
        ("no WebSocket", UPGRADE.to_owned(), 404, "there are /metrics, /healthz and /readyz\n"),
        ("§15.5.6 a method that changes", "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 405, "the methods are GET and HEAD\n"),
        ("§15.5.6 a method of nobody", "BREW /metrics HTTP/1.1\r\n\r\n".to_owned(), 405, "the methods are GET and HEAD\n"),
        ("no HTTP", "\x16\x03\x01\x02\x00\n".to_owned(), 400, "this is no HTTP/1.1 request\n"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, "this is no HTTP/1.1 request\n"),
        ("a head that is too large", long(9 << 10), 431, "the request head is too large\n"),
        ("a head without end", "GET / HTTP/1.1\r\n".to_owned() + &"a".repeat(9 << 10), 431, "the request head is too large\n"),
        ("too many lines", format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), 431, "the request head is too large\n"),
    ];
    for (what, request, status, body) in rows {
        let answer = admin.ask(request.as_bytes());
        let head = answer.split_inclusive("\r\n\r\n").next().unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert_eq!(&answer[head.len()..], body, "{what}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{what}: {answer}");
        assert_eq!(head.contains("\r\nAllow: GET, HEAD\r\n"), status == 405, "{what}: {answer}");
        if !request.starts_with("HEAD") {
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{what}: {answer}");
        }
    }
    // A request may come in any pieces.
    let mut tcp = admin.connect();
    for octet in get("/healthz").as_bytes() {
        tcp.write_all(&[*octet]).unwrap();
    }
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[test]
fn the_numbers_come_in_the_format_that_is_asked_for() {
    let server = Serve::start_plain(&ON);
    let admin = Admin::of(&server);
    let text = admin.get("/metrics");
    assert_eq!(text.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Samples::parse(&text.body).unwrap_or_else(|breach| panic!("{breach} in\n{}", text.body));
    let open = admin.get_with("/metrics", "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n");
    assert_eq!(open.header("Content-Type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.body.ends_with("\n# EOF\n"), "{}", open.body);
    // The same numbers, but for what a scrape is not part of.
    let series = |body: &str| {
        let lines = body.lines().filter(|line| !line.starts_with('#') && !line.starts_with("wslab_loop_turn"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series(&open.body), series(&text.body));
    hold_against_prometheus_client(&[
        ("prometheus_client.parser", &text.body),
        ("prometheus_client.openmetrics.parser", &open.body),
    ]);
}

/// Somebody else's parser, where there is one (`pip install prometheus-client`).
#[allow(clippy::print_stderr)]
fn hold_against_prometheus_client(pages: &[(&str, &str)]) {
    let python = |code: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    };
    let is_there = python("import prometheus_client").and_then(std::process::Child::wait_with_output);
    if !is_there.is_ok_and(|output| output.status.success()) {
        eprintln!("not compared with prometheus-client's parser: python3 has no such module");
        return;
    }
    for (parser, page) in pages {
        let code = format!(
            "import sys\nfrom {parser} import text_string_to_metric_families as parse\n\
             families = list(parse(sys.stdin.read()))\n\
             assert all(family.type != 'unknown' and family.documentation for family in families), families\n\
             print(len(families), sum(len(family.samples) for family in families))"
        );
        let mut child = python(&code).unwrap();
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{parser}: {}", String::from_utf8_lossy(&output.stderr));
        let samples = page.lines().filter(|line| !line.starts_with('#')).count();
        let families = page.matches("# TYPE").count();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{families} {samples}"), "{parser}");
    }
}

#[test]
fn every_doctored_page_is_found_out() {
    let good = "# HELP wslab_a_total A.\n# TYPE wslab_a_total counter\nwslab_a_total{x=\"y\"} 1\n\
        # HELP wslab_b B.\n# TYPE wslab_b histogram\nwslab_b_sum 0.5\nwslab_b_count 3\n\
        wslab_b_bucket{le=\"0.1\"} 2\nwslab_b_bucket{le=\"+Inf\"} 3\n";
    assert_eq!(Samples::parse(good).unwrap().get("wslab_a_total{x=\"y\"}"), 1.0);
    for (what, by) in [
        ("# HELP wslab_a_total A.\n", ""),
        ("# TYPE wslab_a_total counter\n", ""),
        ("counter", "gauge"),
        ("counter", "untyped"),
        ("{x=\"y\"} 1\n", "{x=\"y\"} one\n"),
        ("{x=\"y\"} 1\n", "{x=\"y\"} -1\n"),
        ("{x=\"y\"} 1\n", "{x=\"y\"} 1\nwslab_a_total{x=\"y\"} 1\n"),
        ("{x=\"y\"}", "{x=y}"),
        ("\nwslab_a_total{", "\nwslab_aa_total{"),
        ("\nwslab_a_total{", "\nwslab_a{"),
        ("le=\"0.1\"} 2", "le=\"0.1\"} 4"),
        ("le=\"+Inf\"} 3", "le=\"+Inf\"} 4"),
        ("wslab_b_bucket{le=\"+Inf\"} 3\n", ""),
        ("wslab_b_sum 0.5\n", ""),
        ("le=\"+Inf\"} 3\n", "le=\"+Inf\"} 3"),
        ("wslab_b_count 3\n", "wslab_b_count 3\n\n"),
    ] {
        assert!(good.contains(what));
        let doctored = good.replacen(what, by, 1);
        assert!(Samples::parse(&doctored).is_err(), "{doctored}");
    }
}

#[test]
fn while_draining_it_is_healthy_and_not_ready() {
    let waits = ["--close-timeout", "300ms", "--linger", "60s", "--grace", "60s"];
    let server = Serve::start_plain(&[&ON[..], &waits].concat());
    let admin = Admin::of(&server);
    assert_eq!(admin.get("/readyz").status, 200);
    let (mut polite, silent, mut asking) = (server.ws().open(), server.ws().open(), server.ws().connect());
    asking.send(b"GET /ws HTTP/1.1\r\n");
    let is_asking = |samples: &Samples| samples.get("wslab_connections{state=\"opening\"}") == 1.0;
    wait_until("a request is under way", || is_asking(&admin.samples()));
    server.process.signal(Signal::TERM);
    assert_eq!(polite.frame().close_code(), Some(1001));
    let ready = admin.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    assert_eq!(admin.get("/healthz").status, 200);
    assert_eq!(asking.response().status, 503);
    // Who answers lingers until it ends TCP; who does not is dropped.
    polite.send(&PEER.close(1001));
    polite.expect_end();
    let is_dropped = |samples: &Samples| samples.get("wslab_closes_total{cause=\"close_timeout\"}") == 1.0;
    wait_until("the silent one is dropped", || is_dropped(&admin.samples()));
    let samples = admin.samples();
    for (series, expected) in [
        ("wslab_closes_total{cause=\"local\"}", 1.0),
        ("wslab_handshakes_total{outcome=\"draining\"}", 1.0),
        ("wslab_connections{state=\"open\"}", 0.0),
        ("wslab_connections{state=\"closing\"}", 2.0),
    ] {
        assert_eq!(samples.get(series), expected, "{series}");
    }
    assert!(TcpStream::connect(server.ws_addr()).is_err(), "nobody is accepted any more");
    assert_eq!(admin.get("/readyz").status, 503);
    drop((polite, silent, asking));
    assert_eq!(server.process.wait().code, Some(0));
    assert!(admin.is_gone(), "it ends with the process");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_is_off_unless_asked_for_and_never_on_a_public_port() {
    let off = Serve::start(&[]);
    assert!(off.ready.get("admin").is_none(), "{}", off.ready);
    let on = Serve::start(&ON);
    for server in [&off, &on] {
        for door in server.doors() {
            let pages = ["/", "/metrics", "/healthz", "/readyz"].map(|path| {
                let mut client = door.connect();
                client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
                let response = client.response();
                (response.status, response.body)
            });
            assert!(pages[0].1.contains("WebSocket server") && !pages[0].1.contains("wslab_"), "{:?}", pages[0]);
            assert!(pages.iter().all(|page| *page == pages[0]), "over {}: {pages:?}", door.name());
        }
    }
}

#[test]
fn the_ready_line_names_it_and_beyond_this_machine_it_is_warned_of() {
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    command.args(["serve", "--no-tls", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"]);
    let mut process = Process::start(&mut command);
    let line = process.stdout_line();
    let url = line.split(' ').find_map(|word| word.strip_prefix("admin=")).expect("admin= in the ready line");
    let addr = url.strip_prefix("http://127.0.0.1:").expect("an address that is reached from here");
    let warning = process.stderr_line_with("LISTENING ON 0.0.0.0:");
    assert!(warning.contains(&format!("--admin 127.0.0.1:{addr} keeps it local")), "{warning}");
    let local = Serve::start_plain(&ON).end_by(Signal::TERM);
    assert!(!local.stderr.contains("LISTENING ON"), "{}", local.stderr);
}

#[test]
fn an_address_that_cannot_be_is_told_in_one_line_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let folder = Serve::folder_of_its_own();
    let mut command = wslab(folder.path());
    command.args(["serve", "--no-tls", "--listen", "127.0.0.1:0", "--admin", &addr]);
    let ended = Process::start(&mut command).wait();
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.lines().count()), (Some(3), "", 1), "{ended:?}");
    for word in [&addr, "(admin)", "in use", "--admin 127.0.0.1:0"] {
        assert!(ended.stderr.contains(word), "{word} in {}", ended.stderr);
    }
}

/// One who never asks, one octet at a time, one who asks and never reads, in crowds: none keeps another client of the admin
/// address waiting, or is felt where it echoes.
#[test]
fn hostile_clients_of_the_admin_address_disturb_nobody() {
    let server = Serve::start_plain(&ON);
    let admin = Admin::of(&server);
    let mut echo = server.ws().open();
    let silent: Vec<TcpStream> = (0..100).map(|_| admin.connect()).collect();
    for (at, mut client) in silent.iter().enumerate() {
        // They may be displaced already.
        let _ = client
            .write_all([&b""[..], b"G", b"GET /metrics HTTP/1.1\r\na: ", b"GET /metrics HTTP/1.1\r\n\r\n"][at % 4]);
        if at % 10 == 0 {
            echo.expect_echo("meanwhile");
            assert_eq!(admin.get("/healthz").status, 200);
        }
    }
    // A crowd that scrapes as fast as it can.
    thread::scope(|scope| {
        let crowd: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        admin.samples();
                    }
                })
            })
            .collect();
        let mut echoes = 0;
        while crowd.iter().any(|one| !one.is_finished()) || echoes == 0 {
            echo.expect_echo(&format!("echo {echoes}"));
            echoes += 1;
        }
    });
    // 32 at once: the others have been let go, the newest may still ask.
    let mut newest = silent.last().unwrap();
    let mut is_over = String::new();
    newest.read_to_string(&mut is_over).expect("the end of what was displaced, or of what was answered");
    assert_eq!(admin.get("/healthz").status, 200);
}

#[test]
fn a_client_that_never_asks_is_let_go() {
    let server = Serve::start_plain(&ON);
    let admin = Admin::of(&server);
    let begin = Instant::now();
    let mut trickling = admin.connect();
    trickling.write_all(b"GET /healthz").unwrap();
    trickling.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // An octet now and then does not extend its time.
    let ended = loop {
        match trickling.read(&mut [0; 16]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let _ = trickling.write_all(b"z");
            }
            ended => break ended,
        }
        assert!(begin.elapsed() < PATIENCE, "it is held");
    };
    assert!(!ended.as_ref().is_ok_and(|octets| *octets > 0), "{ended:?}");
    assert!(begin.elapsed() > Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn who_sends_more_than_a_request_is_not_reset_before_the_answer_is_read() {
    let server = Serve::start_plain(&ON);
    let mut tcp = Admin::of(&server).connect();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    tcp.write_all(&[b'x'; 16 << 10]).unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).unwrap();
    let (response, size) = http::parse(&answer).expect("a whole response");
    assert_eq!((response.status, size), (200, answer.len()));
    // It still takes octets, for a while: there is no hurry to hang up.
    for _ in 0..8 {
        tcp.write_all(&[b'x'; 1 << 10]).expect("no reset");
    }
}
