//! The command line's shape: subcommands, and one flag for each key of [`KEYS`].

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, builder::ValueParser, value_parser};
use clap_complete::Shell;

use super::{
    autobahn_client, bench,
    options::{KEYS, Key, Options},
    ping, report,
    settings::Raw,
};

/// All of `wslab`.
pub(super) fn wslab() -> Command {
    Command::new("wslab")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A WebSocket laboratory: echo server, protocol core, conformance runs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve())
        .subcommand(bench::command())
        .subcommand(ping::command())
        .subcommand(report::command())
        .subcommand(autobahn_client::command())
        .subcommand(
            Command::new("check-config")
                .about("Check a configuration file and the certificate it names; exit 0 if `serve` would take it")
                .arg(Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf))),
        )
        .subcommand(
            Command::new("completions")
                .about("Print completions for a shell")
                .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell))),
        )
        .subcommand(Command::new("man").about("Print the manual page, for `man -l -`"))
}

fn serve() -> Command {
    let defaults = Options::default();
    Command::new("serve")
        .about("Serve WebSocket echo over ws and wss until TERM or INT")
        .after_help(
            "Every option is also an environment variable (--idle-timeout: WSLAB_IDLE_TIMEOUT) and a key of the \
             configuration file (idle_timeout). A flag beats the environment, which beats the file, which beats the \
             default. Values carry their unit: 10s, 250ms, 64KiB. Lists are repeated flags, or commas.\n\n\
             PORT replaces the port of the first ws listener, unless --listen is given. SSLKEYLOGFILE names a file for TLS secrets. Signals: TERM and INT drain, a second one stops at once, \
             HUP reloads the certificate. Exit codes: 0 done, 2 usage, 3 cannot start.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Configuration file [env: WSLAB_CONFIG]"),
        )
        .arg(
            Arg::new("print_config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the effective configuration with the origin of each value, and exit"),
        )
        .args(KEYS.iter().map(|key| argument(key, &defaults)))
}

fn argument(key: &'static Key, defaults: &Options) -> Arg {
    let arg = Arg::new(key.name).long(key.flag()).help_heading(key.group);
    if key.name == "verbose" {
        return arg.short('v').action(ArgAction::Count).help(key.help);
    }
    if key.value.is_empty() {
        // A switch that the file has set can be taken back: --no-tls=false.
        return arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_possible_values(true)
            .help(key.help);
    }
    let default = key.slot.show(defaults).replace(['[', ']', '"'], "");
    let arg = arg
        .value_name(key.value)
        .value_parser(ValueParser::string())
        .help(format!("{} [default: {default}]", key.help));
    if key.slot.is_list() { arg.action(ArgAction::Append).value_delimiter(',') } else { arg }
}

/// The options that were given as flags.
pub(super) fn flags(matches: &ArgMatches) -> Vec<(&'static Key, Raw)> {
    KEYS.iter()
        .filter_map(|key| {
            let words = if key.name == "verbose" {
                // -vvv means what -vv means.
                match matches.get_count(key.name).min(2) {
                    0 => return None,
                    count => vec![count.to_string()],
                }
            } else {
                matches.get_many::<String>(key.name)?.cloned().collect()
            };
            Some((key, Raw::from_flag(words)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        wslab().debug_assert();
    }

    #[test]
    fn every_key_is_a_flag_with_its_default_in_the_help() {
        // Without its line ends, which depend on the terminal.
        let help = serve().render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        for key in KEYS {
            assert!(help.contains(&format!("--{}", key.flag())), "{}", key.name);
        }
        assert!(help.contains("[default: 127.0.0.1:8888]"), "{help}");
        assert!(help.contains("[default: 10s]"), "{help}");
    }
}
