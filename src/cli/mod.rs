//! Everything a human sees: the command line, the configuration, the ready line, the log. The only room that prints
//! or exits.
//!
//! [`run`] is the program. Options are described once, in `options.rs`; what is said of them anywhere follows from there.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod admin;
mod autobahn_client;
mod bench;
mod bench_calibration;
mod bench_output;
mod bench_progress;
mod bench_record;
mod bench_spawn;
mod bench_text;
mod bench_units;
mod bench_until;
mod certificates;
mod command;
mod descriptors;
mod error;
mod file;
mod inherited;
mod interrupt;
mod local_ca;
mod logging;
mod options;
mod peer;
mod ping;
mod ping_report;
mod print_config;
mod ready;
mod relations;
mod report;
mod serve;
mod settings;
mod slot;
mod supervisor;
mod units;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{ArgMatches, error::ErrorKind};
use clap_complete::Shell;

use error::{EXIT_OK, EXIT_USAGE, Error};
use settings::{Environment, Settings};

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let ours = name.starts_with("WSLAB_") || name == "PORT" || name == "NO_COLOR";
            // What is no UTF-8 becomes a value that no option takes.
            ours.then(|| (name, value.to_string_lossy().into_owned()))
        })
        .collect();
    run_in(args, &environment, &mut io::stdout(), &mut io::stderr())
}

/// [`run`] with its surroundings as arguments. A closed stdout or stderr ends nothing.
fn run_in(
    args: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let matches = match command::wslab().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            let _ = match error.kind() {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => write!(err, "{}", error.render()),
                _ => writeln!(err, "wslab: {}", one_line(&error.render().to_string())),
            };
            return EXIT_USAGE;
        }
        // --help and --version are answers.
        Err(answer) => {
            let _ = write!(out, "{}", answer.render());
            return EXIT_OK;
        }
    };
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches, environment, out).map(|()| EXIT_OK),
        Some(("ping", matches)) => ping::ping(matches, out, err),
        Some(("bench", matches)) => bench::bench(matches, no_color(environment), out, err),
        Some(("report", matches)) => report::report(matches, no_color(environment), out, err),
        Some(("autobahn-client", matches)) => autobahn_client::autobahn_client(matches, out, err),
        Some(("check-config", matches)) => check_config(matches, out).map(|()| EXIT_OK),
        Some(("completions", matches)) => completions(matches, out).map(|()| EXIT_OK),
        Some(("man", _)) => man(out).map(|()| EXIT_OK),
        _ => Ok(EXIT_OK),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(err, "{error}");
            error.exit_code()
        }
    }
}

fn serve(matches: &ArgMatches, environment: &Environment, out: &mut dyn Write) -> Result<(), Error> {
    let file = matches.get_one::<PathBuf>("config").cloned();
    let file = file.or_else(|| environment.get("WSLAB_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    let settings = Settings::load(file.as_deref(), environment, command::flags(matches))?;
    if matches.get_flag("print_config") {
        let _ = out.write_all(print_config::render(&settings).as_bytes());
        return Ok(());
    }
    serve::serve(&settings, no_color(environment), out)
}

/// https://no-color.org: set and not empty.
fn no_color(environment: &Environment) -> bool {
    environment.get("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn check_config(matches: &ArgMatches, out: &mut dyn Write) -> Result<(), Error> {
    let Some(path) = matches.get_one::<PathBuf>("file") else { return Ok(()) };
    check_file(path)?;
    let _ = writeln!(out, "{}: ok", path.display());
    Ok(())
}

/// Whether `serve` would take this file, and the certificate that it names.
fn check_file(path: &Path) -> Result<Settings, Error> {
    let settings = Settings::load(Some(path), &Environment::new(), Vec::new())?;
    if settings.options.tls_cert.is_some() {
        certificates::load(&settings.options, None)?;
    }
    Ok(settings)
}

fn completions(matches: &ArgMatches, out: &mut dyn Write) -> Result<(), Error> {
    if let Some(&shell) = matches.get_one::<Shell>("shell") {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command::wslab(), "wslab", &mut text);
        let _ = out.write_all(&text);
    }
    Ok(())
}

/// The program's page, then one for each command with options worth a page.
fn man(out: &mut dyn Write) -> Result<(), Error> {
    let mut program = command::wslab();
    program.build();
    let mut page = Vec::new();
    let mut render = |command: &clap::Command, title: &str| {
        clap_mangen::Man::new(command.clone())
            .title(title)
            .render(&mut page)
            .map_err(|source| Error::System { doing: "write the manual page", source })
    };
    render(&program, "wslab")?;
    for name in ["serve", "bench", "report", "ping", "autobahn-client"] {
        if let Some(command) = program.find_subcommand(name) {
            render(command, &format!("wslab-{name}"))?;
        }
    }
    let _ = out.write_all(&page);
    Ok(())
}

#[cfg(test)]
mod tests;

/// What clap says in several paragraphs, without the usage among them.
fn one_line(said: &str) -> String {
    let mut line = String::new();
    for part in said.lines().map(str::trim).filter(|part| !part.is_empty() && !part.starts_with("Usage:")) {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        line += match line.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) => "; ",
        };
        line += part;
    }
    line
}
