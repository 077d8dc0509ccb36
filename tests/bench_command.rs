//! `wslab bench` as a shell runs it: what it prints, and how it exits.

use std::{process::Command, time::Duration};

use rustix::process::Signal;
use wslab::proto::{Message, Sender};

use super::{
    Peer, With, echo, starved,
    support::process::{Ended, Process, Serve, wslab},
};

fn command(args: &[&str]) -> Command {
    let mut command = wslab(&std::env::temp_dir());
    command.arg("bench").args(args);
    // The shell of --spawn is looked for along it.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn bench(args: &[&str]) -> Ended {
    Process::start(&mut command(args)).wait()
}

/// What it printed with `--format json`.
#[track_caller]
fn document(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn what_makes_no_plan_is_a_usage_error() {
    let url = "ws://127.0.0.1:1/";
    for (args, said) in [
        (&[][..], "required"),
        (&[url, "--rate", "fast"], "messages a second"),
        (&[url, "--rate", "100M/s"], "the rate must lie between"),
        (&[url, "--rate", "1k/s", "--pipeline", "2"], "cannot be used with"),
        (&[url, "--arrivals", "poisson"], "--rate"),
        (&[url, "-d", "1s", "-n", "5"], "cannot be used with"),
        (&[url, "-d", "10"], "expected a duration"),
        (&[url, "-c", "5..1:1"], "a ramp"),
        (&[url, "-c", "10,5"], "an ascending list"),
        (&[url, "--metrics", "http://localhost/"], "the URL that --admin serves"),
        (&[url, "--metrics", "http://127.0.0.1:1/", "--metrics", "http://127.0.0.1:1/"], "more --metrics"),
        (&[url, "--export-svg", "all=/dev/null"], "expected cpu=FILE"),
        (&[url, "-c", "10", "--export-svg", "cpu=/dev/null"], "give several numbers of them"),
        (&[url, "-c", "1,2", "--export-svg", "cpu=/dev/null"], "nothing tells of it: give --pid or --spawn"),
        (&[url, "-c", "1,2", "--export-svg", "turns=/dev/null"], "nothing tells of it: give --metrics"),
        (&[url, "-s", "1EiB"], "expected a size"),
        (&[url, "--scenario", "ping", "-s", "1KiB"], "a Ping carries at most 125 octets"),
        (&[url, "--scenario", "connect", "--pipeline", "4"], "the scenario connect"),
        (&[url, "--until", "p99<1s"], "expected a latency"),
        (&[url, "--source", "nowhere"], "expected an address"),
        (&[url, "--source", "127.0.0.2,::1"], "expected an address"),
        (
            &[url, "--source", "127.0.0.2", "--source", "::1"],
            "--source ::1: the target ws://127.0.0.1:1/ has IPv4 addresses only",
        ),
        (&["ws://[::1]:1/", "--source", "127.0.0.2-127.0.0.9"], "has IPv6 addresses only: give one of this machine's"),
        (&[url, "--header", "Host:x"], "the handshake writes Host itself"),
        (&[url, "--header", "sec-websocket-key: x"], "the handshake writes sec-websocket-key itself"),
        (&[url, "--header", "Content-Length: 5"], "the handshake writes Content-Length itself"),
        (&[url, "--header", "two words: x"], "expected \"Name: value\""),
        (&[url, "--header", "X: \u{e4}"], "expected \"Name: value\""),
        (&[url, "--subprotocol", "two words"], "expected a token"),
        (&[url, "--subprotocol", "a", "--subprotocol", "a"], "--subprotocol a: given twice"),
        (&["--calibrate", "--format", "json"], "cannot be used with"),
        (&["--calibrate", "--rate", "10k/s"], "cannot be used with"),
        (&[url, "--scenario", "connect", "-s", "1KiB"], "connect sends no messages"),
        (&[url, "--scenario", "connect", "--text"], "connect sends no messages"),
        (&[url, "-n", "1007", "--rounds", "10"], "a multiple of the rounds"),
        (&[url, "-s", "64,64B"], "given twice"),
        (&[url, "--payload", "/dev/zero"], "more than 16 MiB"),
        (&[url, "--pid", "4294967295"], "no such process"),
        (&[url, "--pid", "1", "--pid", "1"], "more --pid"),
        (&["http://127.0.0.1/"], "write ws:// instead of http://"),
    ] {
        bench(args).expect_refusal(2, said);
    }
}

#[test]
fn a_server_that_can_not_be_measured_is_one_line_and_exit_3() {
    let quick = ["-d", "100ms", "--floor", "0s"];
    let serve = Serve::start(&[]);
    let wss = format!("wss://localhost:{}/wss", serve.wss_addr().port());
    let as_ws = format!("ws://{}/", serve.wss_addr());
    let as_wss = format!("wss://{}/", serve.ws_addr());
    let ca = serve.ca();
    let ca = ca.to_str().unwrap();
    for (args, said) in [
        (
            &["ws://127.0.0.1:1/"][..],
            "cannot measure ws://127.0.0.1:1/: connection refused: nobody listens on that port",
        ),
        (&["ws://nowhere.invalid/"], "cannot look up nowhere.invalid"),
        (&["ws://127.0.0.1:1/", "--scenario", "connect", "-w", "60s"], "connection refused: nobody listens"),
        (&[&wss, "--cacert", "/nonexistent.pem"], "/nonexistent.pem"),
        (&[&as_wss, "--insecure"], "is it a ws:// port?"),
        (&[&as_ws], "the response is malformed"),
        (&["ws://127.0.0.1:1/", "--source", "192.0.2.1"], "--source"),
        (&["ws://127.0.0.1:1/", "--payload", "/nonexistent"], "cannot read /nonexistent"),
        (&["ws://127.0.0.1:1/", "--spawn", "false"], "ended before it accepted"),
        (
            &[&as_ws, "--metrics", "http://127.0.0.1:1/metrics"],
            "cannot read --metrics http://127.0.0.1:1/metrics: connection refused",
        ),
        (&[&as_ws, "--metrics", &format!("http://{}/metrics", serve.ws_addr())], "cannot read --metrics"),
    ] {
        bench(&[&quick[..], args].concat()).expect_refusal(3, said);
    }
    // Another authority than the one that issued the certificate.
    let other = Serve::start(&[]);
    let ended = bench(&[&quick[..], &[&wss, "--cacert", other.ca().to_str().unwrap()]].concat());
    ended.expect_refusal(3, "the certificate's issuer is not trusted");
    let ended = bench(&[&quick[..], &["--allow-invalid", &wss, "--cacert", ca]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn what_went_wrong_is_written_where_nothing_was_measured() {
    let peer = Peer::start(With(|_: Message<'_>, mut sender: Sender<'_>| {
        let _ = sender.binary(b"no echo");
    }));
    let nobody = "ws://127.0.0.1:1/".to_owned();
    let folder = tempfile::TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let [json, hdr, csv, html] = ["run.json", "run.hlog", "run.csv", "run.html"].map(file);
    let exports = [("--export-json", &json), ("--export-hdr", &hdr), ("--export-csv", &csv), ("--export-html", &html)];
    let exports: Vec<&str> = exports.iter().flat_map(|(option, path)| [*option, path]).collect();
    let fixed = ["-n", "50", "--floor", "0s", "--save-baseline", &file("kept.json"), "--assert", "errors<1"];
    for (url, kind, count) in [(peer.url(), "wrong_echo", 50), (nobody, "connect", 1)] {
        for format in ["text", "json"] {
            let ended = bench(&[&[url.as_str(), "--format", format], &fixed[..], &exports].concat());
            ended.expect_refusal(3, &format!("cannot measure {url}: "));
            let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
            let errors = &written["results"][0]["errors"];
            assert_eq!((&errors[0]["kind"], &errors[0]["count"]), (&kind.into(), &count.into()), "{written}");
            assert_eq!(written["verdict"]["valid"], false);
            assert!(std::fs::read_to_string(&html).unwrap().contains("INVALID"));
            for path in [&json, &hdr, &csv, &html] {
                std::fs::remove_file(path).unwrap();
            }
            match (format, kind) {
                ("json", _) => assert_eq!(document(&ended), written),
                (_, "wrong_echo") => assert!(ended.stdout.contains("50 × wrong_echo: "), "{ended:?}"),
                _ => assert_eq!(ended.stdout, "", "there is no table of nothing"),
            }
        }
    }
    assert!(!folder.path().join("kept.json").exists(), "kept as a baseline");
    let full = bench(&[&peer.url(), "-n", "50", "--floor", "0s", "--export-json", "/dev/full"]);
    assert_eq!((full.code, full.stderr.lines().count()), (Some(3), 2), "{full:?}");
    assert!(full.stderr.contains("cannot write /dev/full") && full.stderr.contains("cannot measure"), "{full:?}");
}

#[test]
fn ctrl_c_prints_what_there_is() {
    let peer = Peer::start(echo());
    let url = peer.url();
    let args = [&url, "-d", "60s", "-w", "0s", "--floor", "0s", "--format", "json", "--allow-invalid"];
    let process = Process::start(&mut command(&args));
    // There is nothing to wait for but time: stderr tells of progress on a terminal only.
    std::thread::sleep(Duration::from_millis(1500));
    process.signal(Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document = document(&ended);
    assert_eq!(document["interrupted"], true);
    assert!(document["pieces"][0]["completed"].as_u64().unwrap() > 0, "{document}");
}

#[test]
fn what_is_printed_as_json_follows_the_schema() {
    let peers = [Peer::start(echo()), Peer::start(echo())];
    let (one, two) = (peers[0].url(), peers[1].url());
    let quick = ["-n", "600", "--floor", "100ms", "--format", "json", "--allow-invalid"];
    for args in [
        &[&one, "--name", "one", "--rounds", "2", "-s", "10,1KiB", "--text"][..],
        &[&one, &two, "--rate", "5k/s", "--arrivals", "poisson", "--reference", "2", "--rounds", "3"],
        &[&one, "--scenario", "connect", "-c", "2..4:2"],
    ] {
        let ended = bench(&[&quick[..], args].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let document = document(&ended);
        let schema = serde_json::from_str(&bench(&["--print-schema"]).stdout).unwrap();
        let found: Vec<String> =
            jsonschema::validator_for(&schema).unwrap().iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(found.is_empty(), "{args:?}: {found:?}");
        let pieces = document["pieces"].as_array().unwrap();
        let completed: u64 = pieces.iter().map(|piece| piece["completed"].as_u64().unwrap()).sum();
        let cells = document["targets"].as_array().unwrap().len() * document["phases"].as_array().unwrap().len();
        assert_eq!(completed, 600 * cells as u64, "{args:?}");
        assert!(document["floor"].is_object());
    }
}

#[test]
fn targets_and_phases_have_names() {
    let peer = Peer::start(echo());
    let url = peer.url();
    let args = [&url, &url, "--name", "left", "-c", "1..2:1", "-s", "10,1KiB", "--scenario", "ping", "-n", "40"];
    let refused = bench(&args);
    refused.expect_refusal(2, "a Ping carries at most 125 octets");
    let args = [&url, &url, &url, "--name", "left", "-c", "1..2:1", "-s", "10,20B", "--scenario", "ping", "-n", "10"];
    let ended =
        bench(&[&args[..], &["--floor", "0s", "--format", "json", "--allow-invalid", "--reference", "left"]].concat());
    let document = document(&ended);
    let names = |what: &str| -> Vec<String> {
        document[what].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("targets"), ["left".to_owned(), format!("{url} #2"), format!("{url} #3")]);
    assert_eq!(names("phases"), ["ping 10B x1", "ping 20B x1", "ping 10B x2", "ping 20B x2"]);
    assert_eq!(document["reference"], 0);
    bench(&[&url, "--reference", "3"]).expect_refusal(2, "--reference 3: expected one of");
}

#[test]
fn what_can_not_be_concluded_is_known_before_the_run() {
    let peer = Peer::start(echo());
    let folder = tempfile::TempDir::new().unwrap();
    let missing = folder.path().join("no/run.json").display().to_string();
    let long = ["-d", "1000s", "--floor", "0s"];
    for (args, code, said) in [
        (["--export-json", &missing], 3, "cannot write"),
        (["--assert", "p99@2<1s"], 2, "no target \"2\""),
        (["--until", "p99>1s"], 2, "--until ends a ramp"),
    ] {
        bench(&[&[peer.url().as_str()], &long[..], &args[..]].concat()).expect_refusal(code, said);
    }
}

#[test]
fn a_ramp_ends_where_it_is_told_to_and_says_where() {
    let peer = Peer::start(echo());
    let url = peer.url();
    let folder = tempfile::TempDir::new().unwrap();
    let page = folder.path().join("run.html").display().to_string();
    let ramp = |until: &str, args: &[&str]| {
        let fixed = ["-c", "1..3:1", "-n", "120", "--floor", "0s", "--allow-invalid", "--until", until];
        bench(&[&[url.as_str()], &fixed[..], args].concat())
    };
    let ended = document(&ramp("p50>1us", &["--format", "json", "--export-html", &page]));
    assert_eq!(ended["pieces"].as_array().unwrap().len(), 1);
    assert_eq!(ended["until"]["condition"], "p50>1us");
    let reached = &ended["until"]["reached"];
    assert_eq!((&reached["target"], &reached["phase"]), (&0.into(), &0.into()));
    assert_eq!(reached["latency_ns"], ended["results"][0]["service"]["percentiles"]["p50"]["ns"]);
    assert!(std::fs::read_to_string(&page).unwrap().contains("the ramp ended at 64B x1, its first phase: p50&gt;1us"));
    let told = ramp("p50 > 1us", &[]).stdout;
    assert!(told.contains("the ramp ended at 64B x1, its first phase: p50>1us: ") && told.contains(&url), "{told}");
    let ended = document(&ramp("max>1h", &["--format", "json"]));
    assert_eq!(ended["until"], serde_json::json!({ "condition": "max>1h", "reached": null }));
    let told = ramp("max>1h", &[]).stdout;
    assert!(told.contains("the ramp went to its end, 64B x3: nowhere was it seen that max>1h"), "{told}");
}

#[test]
fn a_rate_that_can_not_be_met_is_invalid_and_exit_4() {
    let peer = Peer::start(echo());
    let url = peer.url();
    let args = [&url, "--rate", "10M/s", "-d", "200ms", "--timeout", "300ms", "--floor", "0s"];
    let ended = bench(&args);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stdout.contains("INVALID") && ended.stdout.contains("messages/s were wanted"), "{ended:?}");
    let ended = bench(&[&args[..], &["--allow-invalid"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("INVALID"), "{ended:?}");
}

#[test]
fn a_generator_without_a_core_is_invalid_and_exit_4() {
    let peer = Peer::start(echo());
    let url = peer.url();
    // Far more than one core can send, so that it is always ready; each spinner takes as much of the core as it does.
    let args = [&url, "--rate", "2M/s", "-d", "300ms", "--timeout", "500ms", "--floor", "0s", "--format", "json"];
    let ended = starved(4, || bench(&args));
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("the run is INVALID"), "{}", ended.stderr);
    let document = document(&ended);
    let found = document["verdict"]["invalid"].as_array().unwrap();
    let why = found.iter().find(|finding| finding["reason"] == "generator_starved");
    let words = why.unwrap_or_else(|| panic!("{found:?}"))["words"].as_str().unwrap();
    assert!(words.contains("had no core for") && words.contains("taskset"), "{words}");
}

#[test]
fn connections_come_from_the_sources_and_bring_headers() {
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    let addr = super::stranger(move |mut socket| {
        use std::io::{Read as _, Write as _};
        let mut octets = [0; 4096];
        let read = socket.read(&mut octets).unwrap_or(0);
        let from = socket.peer_addr().unwrap().ip().to_string();
        requests.lock().unwrap().push((from, String::from_utf8_lossy(&octets[..read]).into_owned()));
        let _ = socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    let url = format!("ws://{addr}/");
    let args = [
        &url,
        "--source",
        "127.0.0.2-127.0.0.4",
        "--header",
        "X-Load: yes",
        "--subprotocol",
        "one",
        "--subprotocol",
        "two",
    ];
    let ended = bench(&[&args[..], &["-c", "6", "-d", "100ms", "--floor", "0s"]].concat());
    ended.expect_refusal(3, "403 Forbidden");
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    let from: Vec<&str> = seen.iter().map(|(from, _)| from.as_str()).collect();
    assert_eq!(from, ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3", "127.0.0.4", "127.0.0.4"]);
    assert!(
        seen.iter().all(|(_, head)| head.contains("X-Load: yes") && head.contains("Sec-WebSocket-Protocol: one, two")),
        "{seen:?}"
    );
}

#[test]
fn running_out_of_descriptors_says_what_to_do() {
    let peer = Peer::start(echo());
    let mut limited = Command::new("sh");
    limited.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Soft and hard limit, so that it can not be raised.
    limited.args(["-c", "ulimit -n 60; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_wslab"), "bench", &peer.url()]);
    limited.args(["-c", "100", "-d", "100ms", "--floor", "0s", "--allow-invalid"]);
    let ended = Process::start(&mut limited).wait();
    assert_eq!(ended.code, Some(0), "those that were opened are measured: {ended:?}");
    assert!(ended.stderr.contains("the system allows 60 open files"), "{ended:?}");
    assert!(ended.stdout.contains("ulimit -n"), "{ended:?}");
}

#[test]
fn a_spawned_server_is_measured_and_ended() {
    let folder = Serve::folder_of_its_own();
    // A free port, for a moment; somebody else may take it only by chance.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}/");
    let spawn = format!(
        "HOME={} {} serve --listen 127.0.0.1:{port} --no-tls",
        folder.path().display(),
        env!("CARGO_BIN_EXE_wslab")
    );
    let ended = bench(&[&url, "-d", "300ms", "--floor", "100ms", "--allow-invalid", "--spawn", &spawn]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("server: "), "{ended:?}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the server is still there");
    // Somebody else's answers are not the spawned server's.
    let peer = Peer::start(echo());
    let ended = bench(&[&peer.url(), "-d", "300ms", "--floor", "0s", "--allow-invalid", "--spawn", "sleep 100"]);
    ended.expect_refusal(3, "already");
}

#[test]
fn what_grows_with_connections_is_drawn() {
    let server = Serve::start_plain(&["--admin", "127.0.0.1:0"]);
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("ws://{}/", server.ws_addr());
    let pid = server.process.pid().to_string();
    let metrics = server.ready["admin"].as_str().unwrap().to_owned();
    let drawn = |name: &str| folder.path().join(format!("{name}.svg"));
    let wanted = ["cpu", "latency", "turns"].map(|name| format!("{name}={}", drawn(name).display()));
    let mut args = vec![&*url, "--pid", &pid, "--metrics", &metrics, "-c", "2,20", "-d", "600ms", "--floor", "0s"];
    args.extend(["--allow-invalid", "--format", "json"]);
    args.extend(wanted.iter().flat_map(|wanted| ["--export-svg", wanted]));
    let ended = bench(&args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for piece in document(&ended)["pieces"].as_array().unwrap() {
        let (turns, messages) = (piece["turns"]["count"].as_u64().unwrap(), piece["completed"].as_u64().unwrap());
        // A turn answers at least one, but for those that the page itself takes.
        assert!(turns > 20 && turns < messages * 2 + 1_000, "{turns} turns for {messages} messages");
    }
    for name in ["cpu", "latency", "turns"] {
        let svg = std::fs::read_to_string(drawn(name)).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains(">20</text>") && svg.contains("<circle"), "{svg}");
    }
}

#[test]
fn a_calibration_needs_no_server() {
    let ended = bench(&["--calibrate"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("256 under way: round trip") && ended.stdout.contains("a clock reading: "),
        "{ended:?}"
    );
}
