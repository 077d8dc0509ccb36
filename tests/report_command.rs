//! `wslab report` as a shell runs it, on result files that the library wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;
use wslab::bench::{
    Fingerprint, Interval, Measured, Usage,
    document::{Document, SCHEMA},
    histogram,
    measured::Served,
    run::{Phase, Piece, Run, Target, Workload},
};

use super::support::process::{Ended, Process, wslab};

const ROUNDS: u32 = 10;
const SAMPLES: u64 = 2_000;
/// Where wslab's results are read by another implementation (Python), set in CI: a machine that can not do it fails then.
const FOREIGN: &str = "WSLAB_TEST_FOREIGN_READER";

/// A round of an open loop at 10,000/s around `base` nanoseconds, drawn without chance.
fn round(number: u32, base: u64) -> Measured {
    let wall = Duration::from_millis(200);
    let mut measured = Measured {
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(number)),
        wall,
        connections: 4,
        sent: SAMPLES,
        completed: SAMPLES,
        payload_bytes_sent: SAMPLES * 64,
        payload_bytes_received: SAMPLES * 64,
        wanted_rate: Some(10_000.0),
        generator: Usage { cpu: wall / 4, wall, run_queue: Duration::ZERO },
        served: Some(Served {
            cpu: wall / 5,
            answers: SAMPLES,
            rss_before: 4 << 20,
            rss_connected: 5 << 20,
            rss_peak: 6 << 20,
        }),
        ..Measured::default()
    };
    for slice in 0..10u32 {
        let mut latency = histogram();
        for n in 0..SAMPLES / 10 {
            let spread = (n * 7_919 + u64::from(slice * 31 + number * 17)) % 1_000;
            let stall = if n % 199 == 0 { base * 20 } else { 0 };
            let nanos = base + base * spread / 5_000 + base * u64::from(number % 3) / 100 + stall;
            latency.saturating_record(nanos);
            measured.service.saturating_record(nanos * 9 / 10);
            measured.lateness.saturating_record(nanos / 10);
        }
        measured.response.add(&latency).unwrap();
        measured.series.push(Interval {
            begins: wall / 10 * slice,
            length: wall / 10,
            sent: SAMPLES / 10,
            completed: SAMPLES / 10,
            errors: 0,
            latency,
        });
    }
    measured
}

/// A run over targets of these latencies.
fn run(bases: &[u64]) -> Run {
    let pieces = (0..ROUNDS).flat_map(|number| {
        bases.iter().enumerate().map(move |(target, base)| Piece {
            target,
            phase: 0,
            round: number,
            machine: 0,
            measured: round(number, *base),
        })
    });
    let target = |at| {
        let url = format!("ws://127.0.0.1:900{at}/");
        Target { name: url.clone(), url, pid: None }
    };
    let scenario = "echo".to_owned();
    let phase = Phase { name: "64B".to_owned(), scenario, payload_bytes: Some(64), connections: 4 };
    Run {
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        elapsed: Duration::from_secs(20),
        workload: Workload { rounds: ROUNDS, ..Workload::default() },
        machines: vec![Fingerprint::take()],
        targets: bases.iter().enumerate().map(|(at, _)| target(at)).collect(),
        interleaved: true,
        phases: vec![phase],
        pieces: pieces.collect(),
        ..Run::default()
    }
}

/// A folder with result files.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn save(&self, name: &str, run: &Run) -> String {
        self.save_text(name, &Document::of(run).to_json())
    }

    fn save_text(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    fn report(&self, args: &[&str]) -> Ended {
        Process::start(wslab(self.0.path()).arg("report").args(args)).wait()
    }

    /// The document that `--format json` prints.
    fn document(&self, args: &[&str]) -> Value {
        let ended = self.report(&[args, &["--format", "json"]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

#[track_caller]
fn check_refusal(ended: &Ended, code: i32, said: &str) {
    ended.expect_refusal(code, said);
    assert!(ended.stdout.is_empty() && ended.stderr.starts_with("wslab: "), "{ended:?}");
}

#[test]
fn a_result_is_printed_again_as_text_and_as_a_document_of_the_schema() {
    let files = Files::new();
    let path = files.save("a.json", &run(&[50_000, 60_000]));
    let ended = files.report(&[&path]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for word in ["64B: echo, 4 connections, 10 rounds", "10000/s wanted", "compared with", "worse", "\nVALID\n"] {
        assert!(ended.stdout.contains(word), "{word} in\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains('\x1b') && ended.stdout.lines().all(|line| line.chars().count() <= 100));
    let schema: Value = serde_json::from_str(&files.report(&["--print-schema"]).stdout).unwrap();
    assert_eq!(schema, serde_json::from_str::<Value>(SCHEMA).unwrap());
    let document = files.document(&[&path]);
    let errors: Vec<_> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&document).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let comparison = document["comparison"].as_array().unwrap();
    let p50 = comparison.iter().find(|one| one["metric"] == "p50").unwrap();
    assert_eq!(p50["difference"], "more");
    assert!((p50["ratio"].as_f64().unwrap() - 1.2).abs() < 0.01, "{p50}");
}

#[test]
fn merged_results_are_added_exactly() {
    let files = Files::new();
    let paths = [files.save("a.json", &run(&[50_000])), files.save("b.json", &run(&[90_000]))];
    let document = files.document(&["--merge", &paths[0], &paths[1]]);
    let result = &document["results"][0];
    assert_eq!((result["sent"].as_u64(), result["rounds"].as_u64()), (Some(40_000), Some(10)));
    assert_eq!(result["response"]["count"], 40_000);
    assert!((result["achieved_rate"].as_f64().unwrap() - 20_000.0).abs() < 1e-6, "{}", result["achieved_rate"]);
    // Half of all samples are the faster machine's, but for its stalls: the median lies just where the slower one's begin,
    // not between both medians, where averaging would put it.
    let p50 = result["response"]["percentiles"]["p50"]["ns"].as_f64().unwrap();
    assert!((89_900.0..92_000.0).contains(&p50), "{p50}");
    assert_eq!(document["machines"].as_array().unwrap().len(), 2);
    check_refusal(&files.report(&["--merge", &paths[0], &paths[1], &paths[0]]), 2, "counted twice");
    let beside = files.document(&[&paths[0], &paths[1]]);
    let names: Vec<_> =
        beside["targets"].as_array().unwrap().iter().map(|target| target["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ws://127.0.0.1:9000/ (a)", "ws://127.0.0.1:9000/ (b)"]);
    assert_eq!(beside["interleaved"], false);
    let turned = files.document(&[&paths[0], &paths[1], "--reference", "2"]);
    assert!(turned["comparison"][0]["ratio"].as_f64().unwrap() < 0.6);
}

#[test]
fn an_assertion_that_fails_is_exit_1_and_a_line_with_the_value() {
    let files = Files::new();
    let path = files.save("a.json", &run(&[50_000]));
    let ended = files.report(&[&path, "--assert", "p50<2ms", "--assert", "errors<1", "--assert", "rate>=9k/s"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let ended = files.report(&[&path, "--assert", "p50<2us"]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains("assertion failed: p50<2us: ws://127.0.0.1:9000/: it is 5"), "{}", ended.stderr);
    check_refusal(&files.report(&[&path, "--assert", "p51<2us"]), 2, "no metric");
    check_refusal(&files.report(&[&path, "--assert", "p50@9<2us"]), 2, "from 1 to 1");
}

#[test]
fn a_regression_against_a_kept_baseline_is_exit_1() {
    let files = Files::new();
    let (before, after) = (files.save("a.json", &run(&[50_000])), files.save("b.json", &run(&[60_000])));
    let ended = files.report(&[&before, "--save-baseline", "main"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(files.path("wslab/baselines/main.json").exists(), "{}", ended.stderr);
    let ended = files.report(&[&after, "--baseline", "main", "--fail-on-regression"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.lines().next().unwrap().contains("p50 is 1.2"), "{}", ended.stderr);
    assert!(ended.stdout.contains("beside the baseline"), "{}", ended.stdout);
    for passing in [
        &[before.as_str(), "--baseline", "main", "--fail-on-regression"][..],
        &[&after, "--baseline", "main", "--fail-on-regression=30%"],
        &[&after, "--baseline", "main"],
        &[&before, "--baseline", &after, "--fail-on-regression"],
    ] {
        assert_eq!(files.report(passing).code, Some(0), "{passing:?}");
    }
    check_refusal(&files.report(&[&after, "--baseline", "none"]), 3, "baselines/none.json: no such file");
    check_refusal(&files.report(&[&after, "--baseline", "../x y", "--fail-on-regression=5"]), 2, "\"5%\"");
    check_refusal(&files.report(&[&after, "--save-baseline", "a b"]), 2, "letters, digits");
}

#[test]
fn an_invalid_result_is_exit_4_unless_it_is_allowed() {
    let files = Files::new();
    let mut late = run(&[50_000]);
    late.pieces.iter_mut().for_each(|piece| piece.measured.sent = SAMPLES / 2);
    let path = files.save("a.json", &late);
    let ended = files.report(&[&path, "--assert", "p50<1us", "--save-baseline", "main"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stdout.contains("INVALID: ws://127.0.0.1:9000/ 64B: 10000 messages/s were wanted, 5000 were sent"));
    assert!(!files.path("wslab/baselines/main.json").exists());
    assert_eq!(files.report(&[&path, "--allow-invalid"]).code, Some(0));
}

#[test]
fn bad_files_are_one_clear_line() {
    let files = Files::new();
    let good = Document::of(&run(&[50_000])).to_json();
    let path = files.save_text("good.json", &good);
    let mut other = run(&[50_000]);
    other.targets[0].name = "ws://elsewhere/".to_owned();
    let elsewhere = files.save("elsewhere.json", &other);
    let mut closed = run(&[50_000]);
    closed.pieces.iter_mut().for_each(|piece| piece.measured.wanted_rate = None);
    let closed = files.save("closed.json", &closed);
    let empty = files.save("empty.json", &Run { pieces: vec![], ..run(&[50_000]) });
    let mut faster = run(&[50_000]);
    faster.began += Duration::from_secs(100);
    faster.pieces.iter_mut().for_each(|piece| piece.measured.wanted_rate = Some(20_000.0));
    let faster = files.save("faster.json", &faster);
    let [framed, whole] = [("fragment", "1.0 KiB"), ("kind", "binary")].map(|(name, value)| {
        let mut set = run(&[60_000]);
        set.workload.settings.insert(name.to_owned(), value.to_owned());
        set.workload.settings.insert("kind".to_owned(), "binary".to_owned());
        files.save(if name == "kind" { "whole.json" } else { "framed.json" }, &set)
    });
    let truncated = files.save_text("truncated.json", &good[..good.len() / 2]);
    let newer = files.save_text("newer.json", &good.replace("wslab.bench/1", "wslab.bench/2"));
    let no_result = files.save_text("no.json", "{\"a\": 1}");
    let binary = files.save_text("binary.json", "\x01\x02\n\x1b[31m");
    let incoherent = files.save_text("incoherent.json", &good.replace("\"reference\":0", "\"reference\":7"));
    let missing = files.path("missing.json").display().to_string();
    let folder = files.0.path().display().to_string();
    for (args, code, said) in [
        (&[truncated.as_str()][..], 3, "truncated.json: it is no JSON, or ends too early"),
        (&[&newer], 3, "newer.json: it has the schema \"wslab.bench/2\""),
        (&[&no_result], 3, "no.json: it is no result of wslab bench"),
        (&[&binary], 3, "binary.json: it is no JSON"),
        (&[&incoherent], 3, "points at nothing"),
        (&[&missing], 3, "missing.json: no such file or directory"),
        (&[&folder], 3, "is a directory"),
        (&["--merge", &path, &elsewhere], 2, "elsewhere.json: none of its targets"),
        (
            &["--merge", &path, &closed],
            2,
            "closed.json: an open loop and a closed one do not add up: leave --merge out",
        ),
        (&["--merge", &empty, &path, &closed], 2, "closed.json: an open loop and a closed one"),
        (
            &["--merge", &path, &faster],
            2,
            "faster.json: it is a later round at 20000/s, and those before were at 10000/s",
        ),
        (&["--merge", &framed, &path, &whole], 2, "whole.json: it was made with fragment none, and "),
        (&[&path, "--reference", "9"], 2, "from 1 to 1"),
        (&[&path, "--export-csv", "/proc/none/x"], 3, "cannot write /proc/none/x"),
        (&[], 2, "FILE"),
    ] {
        check_refusal(&files.report(args), code, said);
    }
}

#[test]
fn every_export_is_written() {
    let files = Files::new();
    let path = files.save("a.json", &run(&[50_000, 60_000]));
    let out = |name: &str| files.path(name).display().to_string();
    let [json, hdr, csv, html] = ["o.json", "o.hlog", "o.csv", "o.html"].map(out);
    let ended = files.report(&[
        &path,
        "--export-json",
        &json,
        "--export-hdr",
        &hdr,
        "--export-csv",
        &csv,
        "--export-html",
        &html,
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let read = |name: &str| fs::read_to_string(files.path(name)).unwrap();
    assert_eq!(read("o.json").trim_end(), read("a.json"), "a result read and written is the same");
    assert_eq!(read("o.csv").lines().count(), 1 + 2 * 10 * 10);
    assert!(read("o.html").starts_with("<!doctype html>") && read("o.html").contains("<svg"));
    assert!(read("o.hlog").contains("Tag=ws://127.0.0.1:9000/|64B,"));
    let ended = files.report(&[&path, "--export-json", "-"]);
    assert_eq!(ended.stdout.trim_end(), read("a.json"), "nothing else is on stdout");
    assert!(ended.stderr.contains("samples"), "the text is on stderr: {}", ended.stderr);
}

#[test]
fn a_result_is_not_lost_for_a_file_that_can_not_be_written() {
    let files = Files::new();
    let path = files.save("a.json", &run(&[50_000]));
    let [bad, good] = ["no/such/o.csv", "o.html"].map(|name| files.path(name).display().to_string());
    // Known before: nothing is begun, and nothing is left behind.
    check_refusal(&files.report(&[&path, "--export-html", &good, "--export-csv", &bad]), 3, "cannot write");
    assert!(!files.path("o.html").exists());
    check_refusal(&files.report(&[&path, "--export-html", &good, "--export-csv", &good]), 2, "written twice");
    check_refusal(&files.report(&[&path, "--format", "json", "--export-json", "-"]), 2, "stdout: written twice");
    check_refusal(&files.report(&[&path, "--export-svg", "sizes=/dev/null"]), 2, "expected cpu=FILE");
    // Known only afterwards: the rest is there.
    let ended = files.report(&[&path, "--export-svg", "turns=/dev/null"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("cannot draw turns: it takes a run with several numbers"), "{ended:?}");
    assert!(ended.stdout.contains("samples"), "{ended:?}");
    let ended = files.report(&[&path, "--export-csv", "/dev/full", "--export-html", &good, "--assert", "p50<1s"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("cannot write /dev/full: no space left"), "{ended:?}");
    assert!(ended.stdout.contains("samples") && files.path("o.html").exists(), "{ended:?}");
}

#[test]
fn a_full_stdout_is_an_error() {
    let files = Files::new();
    let path = files.save("a.json", &run(&[50_000]));
    for format in ["text", "json"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = wslab(files.0.path());
        let status = command.args(["report", &path, "--format", format]).stdout(full).status().unwrap();
        assert_eq!(status.code(), Some(3), "{format}");
    }
}

#[test]
fn another_implementation_reads_the_interval_log() {
    let must = std::env::var_os(FOREIGN).is_some();
    let Some(python) = python_with_hdrhistogram() else {
        assert!(!must, "{FOREIGN} is set, and the reader could not be installed: it takes Python 3, gcc and PyPI");
        eprintln!("skipped: no hdrhistogram for Python (PyPI or python3 is out of reach)");
        return;
    };
    let files = Files::new();
    let run = run(&[50_000, 60_000]);
    let path = files.save("a.json", &run);
    let log = files.path("o.hlog").display().to_string();
    assert_eq!(files.report(&[&path, "--export-hdr", &log]).code, Some(0));
    let script = "import json, sys\nfrom hdrh.histogram import HdrHistogram\nfrom hdrh.log import HistogramLogReader\n\
        reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3600000000000, 3))\nsums = {}\nlines = 0\n\
        while True:\n    one = reader.get_next_interval_histogram()\n    if one is None: break\n    lines += 1\n    \
        sums.setdefault(one.get_tag(), HdrHistogram(1, 3600000000000, 3)).add(one)\n\
        print(json.dumps({'lines': lines, 'start': reader.get_start_time_sec(), 'tags': {tag: [sum.get_total_count(), \
        sum.get_value_at_percentile(50), sum.get_value_at_percentile(99), sum.get_max_value()] for tag, sum in sums.items()}}))\n";
    let read = Command::new(python).args(["-c", script, &log]).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(read["lines"], 200);
    assert_eq!(read["start"], 1_700_000_000.0);
    for target in 0..2 {
        let mut sum = histogram();
        run.pieces_of(target, 0).for_each(|piece| sum.add(&piece.measured.response).unwrap());
        let expected = [sum.len(), sum.value_at_quantile(0.5), sum.value_at_quantile(0.99), sum.max()];
        assert_eq!(read["tags"][format!("ws://127.0.0.1:900{target}/|64B")], serde_json::json!(expected));
    }
}

/// Python with PyPI's `hdrhistogram`, in a folder of this build that is kept for the next time.
#[allow(clippy::print_stderr, reason = "says why a test was skipped")]
fn python_with_hdrhistogram() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hdrhistogram-0.10.8");
    let python = folder.join("bin/python");
    let has_it = |python: &Path| {
        Command::new(python).args(["-c", "import hdrh.log"]).output().is_ok_and(|output| output.status.success())
    };
    if !has_it(&python) {
        let made = Command::new("python3").arg("-m").arg("venv").arg("--clear").arg(&folder).output().ok()?;
        let installed = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--timeout", "20", "--retries", "1", "hdrhistogram==0.10.8"])
            .output()
            .ok()?;
        if !made.status.success() || !installed.status.success() || !has_it(&python) {
            return None;
        }
    }
    Some(python)
}
