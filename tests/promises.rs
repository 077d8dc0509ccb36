//! What ARCHITECTURE.md promises of hostile peers and faults, row by row: every row names tests that exist, in the file that it
//! says, and options that `wslab serve` has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::process::{Process, Serve, wslab};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the tables under this heading, each as its cells.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = text.split_once(heading).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = lines.map(|line| line.split(" | ").collect::<Vec<_>>());
    cells.filter(|cells| !cells.iter().all(|cell| cell.starts_with("---")) && cells.last() != Some(&"test")).collect()
}

/// "a `b…`, `c`; `x/d.rs` `e`, f" as (a, [b…, c]), (x/d.rs, [e]) and (f, []).
fn named(cell: &str) -> Vec<(&str, Vec<&str>)> {
    let mut named: Vec<(&str, Vec<&str>)> = Vec::new();
    for (at, piece) in cell.split('`').enumerate() {
        let is_test = at % 2 == 1 && !piece.contains('/');
        match named.last_mut() {
            Some((_, tests)) if is_test => tests.push(piece),
            _ if at % 2 == 1 => named.push((piece, Vec::new())),
            _ => {
                let files = piece.split([',', ';']).map(|file| file.trim().trim_end_matches(" (ignored)"));
                named.extend(files.filter(|file| !file.is_empty()).map(|file| (file, Vec::new())));
            }
        }
    }
    named
}

/// The sources of that file, or of that folder.
fn sources(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beneath: Vec<PathBuf> =
        [format!("tests/{file}.rs"), format!("src/{file}")].iter().map(|path| root.join(path)).collect();
    let mut found = String::new();
    for path in beneath {
        if path.is_file() {
            found += &fs::read_to_string(&path).unwrap();
        } else if path.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                found += &fs::read_to_string(entry.unwrap().path()).unwrap();
            }
        }
    }
    found
}

/// What a row promises and there is not.
fn missing(cells: &[&str], help: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for (file, tests) in named(cells.last().unwrap()) {
        let sources = sources(file);
        if !sources.contains("#[test]") {
            missing.push(format!("no tests in {file:?}"));
        }
        for test in tests {
            let (begin, end) = (test.trim_end_matches('…'), if test.ends_with('…') { "" } else { "(" });
            if !sources.contains(&format!("fn {begin}{end}")) {
                missing.push(format!("no test {test} in {file}"));
            }
        }
    }
    for option in cells.iter().flat_map(|cell| cell.split('`')).filter(|word| word.starts_with("--")) {
        if !help.contains(&format!("{option} ")) {
            missing.push(format!("no option {option}"));
        }
    }
    missing
}

#[test]
fn every_row_names_tests_and_options_that_exist() {
    let folder = Serve::folder_of_its_own();
    let help = Process::start(wslab(folder.path()).args(["serve", "--help"])).wait().stdout;
    let text = read("ARCHITECTURE.md");
    let rows = rows(&text, "## What a peer can cost");
    assert!(rows.len() >= 30, "{} rows", rows.len());
    for cells in &rows {
        let missing = missing(cells, &help);
        assert!(missing.is_empty(), "{}: {}", cells[0], missing.join(", "));
    }
    // That it can fail.
    for (row, words) in [
        (vec!["one", "bounds `no_such_test…`"], "no test no_such_test… in bounds"),
        (vec!["two", "bounds `one_address`"], "no test one_address in bounds"),
        (vec!["three", "nowhere"], "no tests in \"nowhere\""),
        (vec!["four", "`--no-such-option`", "bounds"], "no option --no-such-option"),
        (vec!["five", "–"], "no tests in \"–\""),
    ] {
        assert_eq!(missing(&row, &help), [words], "{row:?}");
    }
}
