use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::bench::{
    fingerprint::Fingerprint,
    measured::{ErrorKind, Interval, Measured, Served, Usage, histogram},
    run::{Floor, Phase, Reached, Run, Until},
    synthetic::{closed_loop, nothing, open_loop, run_of},
};

fn errors_of(document: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Written, valid, read back, written again: the same.
fn check(run: &Run) {
    let text = Document::of(run).to_json();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(errors_of(&value), Vec::<String>::new());
    let back = Document::parse(text.as_bytes()).unwrap();
    assert_eq!(Document::of(&back).to_json(), text);
    for (one, other) in run.pieces.iter().zip(&back.pieces) {
        assert_eq!(one.measured.response, other.measured.response);
        assert_eq!(one.measured.series.len(), other.measured.series.len());
        assert_eq!(one.measured.errors, other.measured.errors);
        assert_eq!(one.measured.warmup_errors, other.measured.warmup_errors);
        assert_eq!(one.measured.served, other.measured.served);
        assert_eq!(one.measured.turns, other.measured.turns);
        assert_eq!(one.measured.wall, other.measured.wall);
    }
    assert_eq!((&run.machines, &run.until), (&back.machines, &back.until));
    assert_eq!((&run.targets, &run.phases, &run.workload), (&back.targets, &back.phases, &back.workload));
}

fn two_targets() -> Run {
    let mut nanos = (1u64..).map(|n| 40_000 + n * 7_919 % 20_000);
    let mut next = || nanos.next().unwrap();
    let mut run = run_of(vec![
        (0..10).map(|_| open_loop(1_000, &mut next)).collect(),
        (0..10).map(|_| open_loop(1_000, || 50_000)).collect(),
    ]);
    run.machines = vec![Fingerprint::take()];
    run.floor = Some(Floor {
        payload_bytes: 64,
        wanted_rate: None,
        latency: closed_loop(100, || 20_000).service,
        lateness: histogram(),
        cpu_per_message: Some(Duration::from_nanos(1_900)),
    });
    run
}

#[test]
fn where_a_ramp_ended_is_kept_and_older_results_have_none() {
    let mut run = two_targets();
    for reached in [None, Some(Reached { target: 1, phase: 0, latency_ns: 16_000_000 })] {
        run.until = Some(Until { condition: "p99>15ms".to_owned(), reached });
        check(&run);
        let told = Document::parse(Document::of(&run).to_json().as_bytes()).unwrap().ramp_end();
        let expected = match reached {
            Some(_) => "the ramp ended at 64B, its first phase: p99>15ms: it was 16.0 ms with ws://127.0.0.1:9001/",
            None => "the ramp went to its end, 64B: nowhere was it seen that p99>15ms",
        };
        assert_eq!(told.as_deref(), Some(expected));
    }
    let mut older: Value = serde_json::from_str(&Document::of(&run).to_json()).unwrap();
    older.as_object_mut().unwrap().remove("until");
    older["pieces"][0].as_object_mut().unwrap().remove("warmup_errors");
    assert_eq!(errors_of(&older), Vec::<String>::new());
    assert_eq!(Document::parse(older.to_string().as_bytes()).unwrap().until, None);
    older["until"] = serde_json::json!({ "condition": "", "reached": { "target": 2, "phase": 0, "latency_ns": 1 } });
    assert!(Document::parse(older.to_string().as_bytes()).unwrap_err().to_string().contains("points at nothing"));
}

#[test]
fn a_run_becomes_a_document_of_the_schema_and_comes_back() {
    check(&two_targets());
    check(&run_of(vec![vec![nothing()]]));
    check(&run_of(vec![]));
}

#[test]
fn a_load_that_is_no_number_is_null() {
    let mut run = two_targets();
    run.machines[0].load = Some(f64::NAN);
    let back = Document::parse(Document::of(&run).to_json().as_bytes()).unwrap();
    assert_eq!(back.machines[0].load, None);
    check(&back);
}

#[test]
fn the_schema_refuses_what_it_should() {
    let good: Value = serde_json::from_str(&Document::of(&two_targets()).to_json()).unwrap();
    let doctors: [fn(&mut Value); 8] = [
        |value| value["schema"] = "wslab.bench/2".into(),
        |value| value["pieces"][0]["sent"] = (-1).into(),
        |value| value["pieces"][0]["response"]["percentiles"]["p50"]["samples_beyond"] = 9.into(),
        |value| value["results"][0]["response"]["mean_ns"] = "NaN".into(),
        |value| value["comparison"][0]["difference"] = "perhaps".into(),
        |value| value["more"] = 1.into(),
        |value| drop(value.as_object_mut().unwrap().remove("verdict")),
        |value| value["pieces"][0]["errors"] = serde_json::json!([{ "kind": "odd", "count": 1, "first": "" }]),
    ];
    for (at, doctor) in doctors.iter().enumerate() {
        let mut value = good.clone();
        doctor(&mut value);
        assert!(!errors_of(&value).is_empty(), "doctor {at}");
    }
}

#[test]
fn every_member_of_the_schema_is_described() {
    fn look(value: &Value, path: &str) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let is_told = property.get("description").is_some() || property.get("$ref").is_some();
                let inner = property.get("anyOf").is_some();
                assert!(is_told || inner, "{path}.{name}");
                look(property, &format!("{path}.{name}"));
            }
        }
        for key in ["items", "$defs"] {
            if let Some(inner) = value.get(key) {
                look(inner, path);
            }
        }
    }
    look(&serde_json::from_str(SCHEMA).unwrap(), "");
}

#[test]
fn files_that_are_none_say_why() {
    let good = Document::of(&run_of(vec![vec![open_loop(100, || 50_000)]])).to_json();
    let doctored = |doctor: fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&good).unwrap();
        doctor(&mut value);
        value.to_string()
    };
    for (text, why) in [
        (String::new(), "no JSON, or ends too early"),
        (good[..good.len() / 2].to_owned(), "no JSON, or ends too early"),
        ("[]".to_owned(), "no \"schema\""),
        ("{}".to_owned(), "no \"schema\""),
        (doctored(|value| value["schema"] = "wslab.bench/2".into()), "the schema \"wslab.bench/2\""),
        (doctored(|value| value["schema"] = 1.into()), "no \"schema\""),
        (doctored(|value| value["pieces"] = 1.into()), "does not keep to the schema"),
        (doctored(|value| value["pieces"][0]["target"] = 7.into()), "points at nothing"),
        (doctored(|value| value["reference"] = 1.into()), "points at nothing"),
        (doctored(|value| value["pieces"][0]["service"]["histogram"] = "AAAA".into()), "a histogram"),
        (
            doctored(|value| {
                value["pieces"][0]["errors"] = serde_json::json!([{ "kind": "odd", "count": 1, "first": "" }]);
            }),
            "unknown kind",
        ),
    ] {
        let said = Document::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(why) && !said.contains('\n'), "{why} in {said}");
    }
}

fn any_histogram() -> impl Strategy<Value = hdrhistogram::Histogram<u64>> {
    prop::collection::vec(any::<u64>(), 0..40).prop_map(|values| {
        let mut histogram = histogram();
        values.into_iter().for_each(|value| histogram.saturating_record(value >> (value % 64)));
        histogram
    })
}

fn any_time() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), any::<u64>().prop_map(Duration::from_nanos)]
}

fn any_errors() -> impl Strategy<Value = std::collections::BTreeMap<ErrorKind, (u64, String)>> {
    let kind = (0..ErrorKind::ALL.len()).prop_map(|at| ErrorKind::ALL[at]);
    prop::collection::btree_map(kind, (any::<u64>(), "[^\\n]{0,20}"), 0..4)
}

prop_compose! {
    /// Anything, however odd: no samples, no time, more answers than messages.
    pub(crate) fn any_measured()(
        counts in prop::array::uniform5(prop_oneof![Just(0u64), any::<u64>()]),
        wanted_rate in prop_oneof![Just(None), Just(Some(0.0)), (0.0..1e9f64).prop_map(Some)],
        histograms in prop::collection::vec(any_histogram(), 5),
        times in prop::collection::vec(any_time(), 7),
        errors in any_errors(),
        warmup_errors in any_errors(),
        served in any::<bool>(),
    ) -> Measured {
        let mut measured = nothing();
        [measured.connections, measured.sent, measured.completed, measured.payload_bytes_sent, measured.payload_bytes_received] = counts;
        measured.wanted_rate = wanted_rate;
        measured.wall = times[0];
        measured.generator = Usage { cpu: times[1], wall: times[2], run_queue: times[3] };
        measured.served = served.then(|| Served { cpu: times[4], answers: counts[3], rss_before: counts[1], rss_connected: counts[2], rss_peak: counts[3] });
        measured.response = histograms[0].clone();
        measured.service = histograms[1].clone();
        measured.lateness = histograms[2].clone();
        measured.handshake = histograms[3].clone();
        measured.turns = histograms[4].clone();
        measured.series = vec![Interval {
            begins: times[5], length: times[6], sent: counts[0], completed: counts[1], errors: counts[2], latency: histograms[4].clone(),
        }];
        measured.errors = errors;
        measured.warmup_errors = warmup_errors;
        measured
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn anything_measured_becomes_a_valid_document_without_nan(
        pieces in prop::collection::vec(prop::collection::vec(any_measured(), 0..3), 0..3),
        payload_bytes in any::<Option<u64>>(),
    ) {
        let mut run = run_of(pieces);
        run.phases.push(Phase { name: "other".to_owned(), scenario: "idle".to_owned(), payload_bytes, connections: 0 });
        check(&run);
    }
}
