//! The fuzzers' corpus, replayed: every file goes through the very function that the fuzzer of its folder runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{fs, path::Path};

#[path = "../fuzz/laws/connection.rs"]
mod connection;
#[path = "../fuzz/laws/extensions.rs"]
mod extensions;
#[path = "../fuzz/laws/frames.rs"]
mod frames;
#[path = "../fuzz/laws/head.rs"]
mod head;
#[path = "../fuzz/laws/inflate.rs"]
mod inflate;
#[path = "../fuzz/laws/proxy.rs"]
mod proxy;

type Law = fn(&[u8]);

const LAWS: &[(&str, Law)] = &[
    ("connection", connection::check),
    ("extensions", extensions::check),
    ("frames", frames::check),
    ("head", head::check),
    ("inflate", inflate::check),
    ("proxy", proxy::check),
];

/// The files of a folder with their names, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_corpus_keeps_the_laws() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, law) in LAWS {
        let files = files(&fuzz.join("corpus").join(name));
        assert!(files.len() >= 10, "{name}: {} files", files.len());
        for (path, input) in files {
            println!("{path}"); // shown when it fails
            law(&input);
        }
    }
}

#[test]
fn every_fuzz_target_is_replayed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets: Vec<String> = files(&fuzz.join("fuzz_targets")).into_iter().map(|(path, _)| path).collect();
    let expected: Vec<String> = LAWS
        .iter()
        .map(|(name, _)| fuzz.join("fuzz_targets").join(format!("{name}.rs")).display().to_string())
        .collect();
    assert_eq!(targets, expected);
}
