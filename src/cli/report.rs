//! `wslab report`: earlier results, merged or side by side.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{
    bench_output::{self, Output},
    error::{EXIT_OK, Error},
};
use crate::bench::{
    assertion::find_target,
    document::Document,
    merge::{Unlike, beside, merge},
    run::Run,
};

/// So many files at most.
const FILES_MAX: usize = 1_000;

/// The command line's part.
pub(super) fn command() -> Command {
    Command::new("report")
        .about("Print, merge or compare results that `wslab bench --export-json` wrote")
        .after_help(
            "One file is printed again. Several are put side by side as different targets and compared. With --merge they are \
             added: histograms are added, not averaged, so the percentiles are those of all samples. Files that overlap in \
             time are one load from several machines, whose rates are added; others are further rounds of the same load.\n\n\
             Exit codes: 0 done, 1 a check failed, 2 usage, 3 a file cannot be read or written, 4 the run is invalid.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required_unless_present("print-schema")
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("A document of the schema wslab.bench/1; - is stdin"),
        )
        .arg(Arg::new("merge").long("merge").action(ArgAction::SetTrue).help("Add the results up"))
        .arg(
            Arg::new("reference")
                .long("reference")
                .value_name("TARGET")
                .help("Compare with this target, by its number from 1, its name or its URL [default: what the first file says]"),
        )
        .args(bench_output::args())
}

/// Runs the command.
pub(super) fn report(
    matches: &ArgMatches,
    no_color: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<i32, Error> {
    if bench_output::prints_schema(matches, out) {
        return Ok(EXIT_OK);
    }
    let output = Output::from(matches)?;
    let files: Vec<&PathBuf> = matches.get_many("file").into_iter().flatten().collect();
    if files.len() > FILES_MAX {
        return Err(Error::Setting(format!("wslab: {} files: at most {FILES_MAX} at once", files.len())));
    }
    let runs =
        files.iter().map(|path| Ok((label(path), bench_output::read(path)?))).collect::<Result<Vec<_>, Error>>()?;
    let mut run = if matches.get_flag("merge") { merged(&files, runs)? } else { put_beside(runs)? };
    if let Some(wanted) = matches.get_one::<String>("reference") {
        run.reference = find_target(&run, wanted).ok_or_else(|| {
            Error::Setting(format!(
                "wslab: --reference {wanted}: there is no such target: give its number from 1 to {} or its URL",
                run.targets.len()
            ))
        })?;
    }
    output.conclude(&run, bench_output::may_paint(no_color), out, err)
}

/// What has nothing in common is no part of one load.
fn merged(files: &[&PathBuf], runs: Vec<(String, Run)>) -> Result<Run, Error> {
    let first = runs.first().map(|(_, run)| run.clone());
    let mut seen = HashMap::new();
    for (path, (_, run)) in files.iter().zip(&runs) {
        if let Some(before) = seen.insert(Document::of(run).to_json(), path) {
            return Err(Error::Setting(format!(
                "wslab: {}: the same result as {}: its samples would be counted twice",
                path.display(),
                before.display()
            )));
        }
    }
    for (path, (_, run)) in files.iter().zip(&runs) {
        let has_common = first.as_ref().is_some_and(|first| {
            run.targets.iter().any(|target| first.targets.iter().any(|known| known.name == target.name))
        });
        if !has_common {
            return Err(Error::Setting(format!(
                "wslab: {}: none of its targets is in the first file: leave --merge out to put them side by side",
                path.display()
            )));
        }
    }
    let path = |index: usize| files.get(index).map_or_else(String::new, |path| path.display().to_string());
    merge(runs.into_iter().map(|(_, run)| run).collect())
        .map_err(|unlike| not_added(&unlike, path))?
        .ok_or_else(nothing)
}

fn not_added(unlike: &Unlike, path: impl Fn(usize) -> String) -> Error {
    let why = match unlike {
        Unlike::Setting { from, name, ours, theirs, .. } => {
            format!("it was made with {name} {ours}, and {} with {theirs}", path(*from))
        }
        other => other.to_string(),
    };
    Error::Setting(format!("wslab: {}: {why}: leave --merge out to put them side by side", path(unlike.run())))
}

fn put_beside(runs: Vec<(String, Run)>) -> Result<Run, Error> {
    beside(runs).ok_or_else(nothing)
}

fn nothing() -> Error {
    Error::Setting("wslab: no result was given".to_owned())
}

fn label(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned())
}
