//! What `wslab bench` and `wslab report` do with a run: print it, write it to files, hold it to assertions and baselines.

use std::{
    fs,
    io::{IsTerminal as _, Read as _, Write},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::{
    bench_text::{self, Style},
    error::{EXIT_CHECK_FAILED, EXIT_INVALID, EXIT_OK, Error, reason},
    options::Format,
};
use crate::bench::{
    assertion::Assertion,
    document::{DOCUMENT_BYTES_MAX, Document, SCHEMA},
    export::{self, growth::Growth},
    outcome::{Checks, Conclusion, Exit, conclude},
    run::Run,
};

/// Worse than the baseline by so much is a regression, if nothing else was said.
const MARGIN: &str = "5%";
/// A margin beyond this would let everything pass.
const MARGIN_MAX: f64 = 100.0;

/// `--format`, `--export-…`, `--assert`, `--baseline` and what belongs to them.
pub(super) fn args() -> [Arg; 12] {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    [
        Arg::new("format")
            .long("format")
            .value_name("FORMAT")
            .value_parser(["text", "json"])
            .default_value("text")
            .help("How to print: for people, or as a document of the schema wslab.bench/1"),
        Arg::new("print-schema")
            .long("print-schema")
            .action(ArgAction::SetTrue)
            .exclusive(true)
            .help("Print the JSON Schema of results, and exit"),
        file("export-json", "Write the result as a document, which `wslab report` reads; - is stdout"),
        file("export-hdr", "Write an HdrHistogram interval log (V2), an interval a line"),
        file("export-csv", "Write a table over time"),
        file("export-html", "Write a page with plots that needs nothing else"),
        Arg::new("export-svg")
            .long("export-svg")
            .value_name("WHAT=FILE")
            .action(ArgAction::Append)
            .value_parser(drawing)
            .help("Draw over several numbers of connections: cpu (of the server, a message), memory (a connection), latency, or turns (of its event loop)"),
        Arg::new("assert")
            .long("assert")
            .value_name("CONDITION")
            .action(ArgAction::Append)
            .value_parser(value_parser!(Assertion))
            .help("Exit 1 unless this holds: p99<2ms, rate>=10k/s, errors<1, cpu/message@2<5us (of the second target)"),
        Arg::new("save-baseline")
            .long("save-baseline")
            .value_name("NAME")
            .value_parser(baseline_name)
            .help("Keep the result as baselines/NAME.json in wslab's data folder; a NAME with a slash is a path"),
        Arg::new("baseline")
            .long("baseline")
            .value_name("NAME")
            .value_parser(baseline_name)
            .help("Compare with a kept result"),
        Arg::new("fail-on-regression")
            .long("fail-on-regression")
            .value_name("MARGIN")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(MARGIN)
            .requires("baseline")
            .value_parser(margin)
            .help(
                "Exit 1 if a figure is worse than the baseline's by more than MARGIN [default: 5%] and not by chance",
            ),
        Arg::new("allow-invalid")
            .long("allow-invalid")
            .action(ArgAction::SetTrue)
            .help("Take a run that can not be believed none the less, and do not exit 4"),
    ]
    .map(|arg| arg.help_heading("Results"))
}

/// Prints the schema if that was asked for, and says whether. A stdout that is gone ends nothing.
pub(super) fn prints_schema(matches: &ArgMatches, out: &mut dyn Write) -> bool {
    let asked = matches.get_flag("print-schema");
    if asked {
        let _ = out.write_all(SCHEMA.as_bytes());
    }
    asked
}

/// `cpu=growth.svg`
fn drawing(text: &str) -> Result<(Growth, PathBuf), &'static str> {
    const EXPECTED: &str = "expected cpu=FILE, memory=FILE, latency=FILE or turns=FILE";
    let (name, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or(EXPECTED)?;
    let growth = Growth::ALL.into_iter().find(|growth| growth.name() == name).ok_or(EXPECTED)?;
    Ok((growth, PathBuf::from(path)))
}

fn margin(text: &str) -> Result<f64, &'static str> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number
        .map(|percent| percent / 100.0)
        .filter(|margin| (0.0..=MARGIN_MAX).contains(margin))
        .ok_or("expected a share such as \"5%\"")
}

/// Where a baseline is kept, by name or by path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Baseline {
    Named(String),
    At(PathBuf),
}

fn baseline_name(text: &str) -> Result<Baseline, &'static str> {
    if text.contains('/') {
        return Ok(Baseline::At(PathBuf::from(text)));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!text.is_empty() && !text.starts_with('.') && text.len() <= 100 && text.chars().all(is_plain))
        .then(|| Baseline::Named(text.to_owned()))
        .ok_or("expected letters, digits, - _ and . such as \"main\", or a path with a slash")
}

impl Baseline {
    fn path(&self) -> Result<PathBuf, Error> {
        match self {
            Baseline::At(path) => Ok(path.clone()),
            Baseline::Named(name) => {
                let folders = directories::BaseDirs::new().ok_or_else(|| {
                    Error::Result(
                        "no home folder to keep baselines in: set XDG_DATA_HOME, or give a path with a slash"
                            .to_owned(),
                    )
                })?;
                Ok(folders.data_dir().join("wslab").join("baselines").join(format!("{name}.json")))
            }
        }
    }
}

/// What is to become of a run.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
    exports: Vec<(Form, PathBuf)>,
    checks: Checks,
    save_baseline: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Hdr,
    Csv,
    Html,
    Svg(Growth),
}

impl Output {
    /// From what [`args`] took. Reads the baseline and looks at the files to write, so that a run is not made in vain.
    pub(super) fn from(matches: &ArgMatches) -> Result<Output, Error> {
        let path = |name| matches.get_one::<PathBuf>(name).cloned();
        let baseline = match matches.get_one::<Baseline>("baseline") {
            Some(name) => Some(read(&name.path()?)?),
            None => None,
        };
        let save_baseline = matches.get_one::<Baseline>("save-baseline").map(Baseline::path).transpose()?;
        let is_json = matches.get_one::<String>("format").is_some_and(|word| word == "json");
        let files = [
            (Form::Json, path("export-json")),
            (Form::Hdr, path("export-hdr")),
            (Form::Csv, path("export-csv")),
            (Form::Html, path("export-html")),
        ];
        let drawings = matches.get_many::<(Growth, PathBuf)>("export-svg").into_iter().flatten();
        let exports: Vec<(Form, PathBuf)> = files
            .into_iter()
            .filter_map(|(form, path)| Some((form, path?)))
            .chain(drawings.map(|(growth, path)| (Form::Svg(*growth), path.clone())))
            .collect();
        check_paths(exports.iter().map(|(_, path)| path.as_path()), is_json)?;
        Ok(Output {
            format: if is_json { Format::Json } else { Format::Text },
            exports,
            checks: Checks {
                assertions: matches.get_many("assert").into_iter().flatten().cloned().collect(),
                baseline,
                regression_margin: matches.get_one("fail-on-regression").copied(),
                allow_invalid: matches.get_flag("allow-invalid"),
            },
            save_baseline,
        })
    }

    /// Whether the assertions are about targets that this run has, or will have, and what is to be drawn has connections to be drawn over.
    /// `has_turns`: a target tells of its loop turns.
    pub(super) fn fits(&self, run: &Run, has_turns: bool) -> Result<(), Error> {
        let has_ramp =
            run.phases.iter().any(|phase| run.phases.iter().any(|other| other.connections != phase.connections));
        let drawing = self.exports.iter().find(|(form, _)| matches!(form, Form::Svg(_)) && !has_ramp);
        if drawing.is_some() {
            return Err(Error::Setting(
                "wslab: --export-svg draws over connections: give several numbers of them, such as -c 10,100,1k"
                    .to_owned(),
            ));
        }
        let has_process = run.targets.iter().any(|target| target.pid.is_some());
        for (form, _) in &self.exports {
            let lacks = match form {
                Form::Svg(growth @ (Growth::Cpu | Growth::Memory)) if !has_process => {
                    Some((growth, "--pid or --spawn"))
                }
                Form::Svg(growth @ Growth::Turns) if !has_turns => Some((growth, "--metrics")),
                _ => None,
            };
            if let Some((growth, option)) = lacks {
                let name = growth.name();
                return Err(Error::Setting(format!(
                    "wslab: --export-svg {name}=…: nothing tells of it: give {option}"
                )));
            }
        }
        let refused = self.checks.assertions.iter().find_map(|assertion| assertion.targets(run).err());
        refused.map_or(Ok(()), |error| Err(Error::Setting(format!("wslab: {error}"))))
    }

    /// Prints, writes and judges; returns the exit code. What can not be written is told at the end: the rest of
    /// the result is there none the less.
    pub(super) fn conclude(
        &self,
        run: &Run,
        color: bool,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<i32, Error> {
        let conclusion = self.judge(run)?;
        let mut trouble = self.publish(run, &conclusion, color, out, err).err();
        let is_taken = conclusion.verdict.is_valid() || self.checks.allow_invalid;
        if let Some(path) = self.save_baseline.as_ref().filter(|_| is_taken) {
            let kept = folder_for(path).and_then(|()| write(path, &Form::Json.render(run)?, out));
            match kept {
                Ok(()) => drop(writeln!(err, "wslab: baseline kept in {}", path.display())),
                Err(error) => trouble = Some(error),
            }
        }
        for failure in &conclusion.failures {
            let _ = writeln!(err, "wslab: {}", one_line(failure));
        }
        if !is_taken {
            let _ = writeln!(
                err,
                "wslab: the run is INVALID for {} reason{}: mend them, or take it as it is with --allow-invalid",
                conclusion.verdict.invalid.len(),
                if conclusion.verdict.invalid.len() == 1 { "" } else { "s" }
            );
            if self.save_baseline.is_some() {
                let _ = writeln!(err, "wslab: it was not kept as a baseline");
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        Ok(match conclusion.exit {
            Exit::Ok => EXIT_OK,
            Exit::CheckFailed => EXIT_CHECK_FAILED,
            Exit::Invalid => EXIT_INVALID,
        })
    }

    /// What there is of a run that measured nothing: its errors and counts, where they were asked for. Nothing to check or to
    /// keep as a baseline.
    pub(super) fn publish_failed(
        &self,
        run: &Run,
        color: bool,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Error> {
        if self.format == Format::Text && run.pieces.iter().all(|piece| piece.measured.sent == 0) {
            // A table of nothing says less than the one line to come.
            return self.export(run, out);
        }
        self.publish(run, &self.judge(run)?, color, out, err)
    }

    fn judge(&self, run: &Run) -> Result<Conclusion, Error> {
        conclude(run, &self.checks).map_err(|error| Error::Setting(format!("wslab: {error}")))
    }

    /// Prints and writes all there is to, whatever fails; the last failure is returned.
    fn publish(
        &self,
        run: &Run,
        conclusion: &Conclusion,
        color: bool,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Error> {
        let printed = match self.format {
            // Whoever reads an export there reads that alone.
            Format::Text if self.exports.iter().any(|(_, path)| is_stdout(path)) => {
                let _ = write!(err, "{}", bench_text::render(run, conclusion, Style { color: false }));
                Ok(())
            }
            Format::Text => print(out, bench_text::render(run, conclusion, Style { color }).as_bytes()),
            Format::Json => print(out, &Form::Json.render(run)?),
        };
        self.export(run, out).and(printed)
    }

    fn export(&self, run: &Run, out: &mut dyn Write) -> Result<(), Error> {
        let mut trouble = None;
        for (form, path) in &self.exports {
            trouble = form.render(run).and_then(|octets| write(path, &octets, out)).err().or(trouble);
        }
        trouble.map_or(Ok(()), Err)
    }
}

/// Whether stdout may be painted: a terminal, and nobody objects.
pub(super) fn may_paint(no_color: bool) -> bool {
    !no_color && std::io::stdout().is_terminal()
}

impl Form {
    fn render(self, run: &Run) -> Result<Vec<u8>, Error> {
        Ok(match self {
            Form::Json => (Document::of(run).to_json() + "\n").into_bytes(),
            Form::Csv => export::csv::render(run).into_bytes(),
            Form::Html => export::html::render(run).into_bytes(),
            Form::Svg(growth) => growth
                .svg(run)
                .ok_or_else(|| {
                    Error::Result(format!("cannot draw {}: it takes a run with {}", growth.name(), growth.needs()))
                })?
                .into_bytes(),
            Form::Hdr => {
                let mut log = Vec::new();
                export::hdr::write(run, &mut log)
                    .map_err(|source| Error::System { doing: "write an interval log", source })?;
                log
            }
        })
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether each of these files can be written, none of them twice. Leaves nothing behind.
fn check_paths<'a>(paths: impl Iterator<Item = &'a Path>, is_stdout_taken: bool) -> Result<(), Error> {
    let mut seen = if is_stdout_taken { vec![Path::new("-")] } else { Vec::new() };
    for path in paths {
        if seen.contains(&path) {
            let name = if is_stdout(path) { "stdout".to_owned() } else { path.display().to_string() };
            return Err(Error::Setting(format!(
                "wslab: {name}: written twice: give each --export-… a file of its own"
            )));
        }
        seen.push(path);
        check_path(path).map_err(|source| unwritable(path, &source))?;
    }
    Ok(())
}

fn check_path(path: &Path) -> std::io::Result<()> {
    match fs::metadata(path) {
        _ if is_stdout(path) => Ok(()),
        // A pipe's reader would take this for the end, and a folder says so when it is opened.
        Ok(what) if !what.is_file() && !what.is_dir() => Ok(()),
        Ok(_) => fs::OpenOptions::new().append(true).open(path).map(drop),
        Err(_) => {
            fs::OpenOptions::new().write(true).create_new(true).open(path)?;
            fs::remove_file(path)
        }
    }
}

/// A stdout that is gone was told of nothing, as it wished; one that is full is a result that is lost.
fn print(out: &mut dyn Write, octets: &[u8]) -> Result<(), Error> {
    match out.write_all(octets).and_then(|()| out.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(Path::new("stdout"), &source)),
        _ => Ok(()),
    }
}

fn write(path: &Path, octets: &[u8], out: &mut dyn Write) -> Result<(), Error> {
    if is_stdout(path) {
        return print(out, octets);
    }
    fs::write(path, octets).map_err(|source| unwritable(path, &source))
}

/// Makes the folder that a baseline is kept in.
fn folder_for(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), fs::create_dir_all).map_err(|source| unwritable(path, &source))
}

fn unwritable(path: &Path, source: &std::io::Error) -> Error {
    Error::Result(format!("cannot write {}: {}: give the path of a file that can be", path.display(), reason(source)))
}

/// A result that was written before; `-` is stdin.
pub(super) fn read(path: &Path) -> Result<Run, Error> {
    let unreadable = |source: &std::io::Error| {
        Error::Result(format!(
            "cannot read {}: {}: give a file written by --export-json or --save-baseline",
            path.display(),
            reason(source)
        ))
    };
    let mut octets = Vec::new();
    let bound = DOCUMENT_BYTES_MAX + 1;
    let taken = if path == Path::new("-") {
        std::io::stdin().lock().take(bound).read_to_end(&mut octets)
    } else {
        fs::File::open(path).and_then(|file| file.take(bound).read_to_end(&mut octets))
    };
    taken.map_err(|source| unreadable(&source))?;
    if octets.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Error::Result(format!("{}: more than 1 GiB: no result is as large", path.display())));
    }
    Document::parse(&octets).map_err(|error| Error::Result(one_line(&format!("{}: {error}", path.display()))))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
