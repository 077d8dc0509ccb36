//! Everything a human sees: the command line, the configuration, the ready line, the log. The only room that prints
//! or exits.
//!
//! [`run`] is the program. Options are described once, in `options.rs`; what is said of them anywhere follows from there.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod certificates;
mod command;
mod descriptors;
mod error;
mod file;
mod local_ca;
mod logging;
mod options;
mod print_config;
mod ready;
mod relations;
mod serve;
mod settings;
mod slot;
mod units;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::ArgMatches;
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
            let _ = write!(err, "{}", error.render());
            return EXIT_USAGE;
        }
        // --help and --version are answers.
        Err(answer) => {
            let _ = write!(out, "{}", answer.render());
            return EXIT_OK;
        }
    };
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches, environment, out),
        Some(("check-config", matches)) => check_config(matches, out),
        Some(("completions", matches)) => completions(matches, out),
        Some(("man", _)) => man(out),
        _ => Ok(()),
    };
    match result {
        Ok(()) => EXIT_OK,
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
    // https://no-color.org: set and not empty.
    let no_color = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    serve::serve(&settings, no_color, out)
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

/// One page for the whole program: `serve` is most of it.
fn man(out: &mut dyn Write) -> Result<(), Error> {
    let mut program = command::wslab();
    program.build();
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(program.clone()).render(&mut page).and_then(|()| {
        program
            .find_subcommand("serve")
            .map_or(Ok(()), |serve| clap_mangen::Man::new(serve.clone()).title("wslab-serve").render(&mut page))
    });
    written.map_err(|source| Error::System { doing: "write the manual page", source })?;
    let _ = out.write_all(&page);
    Ok(())
}

#[cfg(test)]
mod tests;
