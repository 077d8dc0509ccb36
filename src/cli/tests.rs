//! The configuration as a person meets it: what wins, what is refused and in which words, what the files here hold.

use std::{fs, path::PathBuf};

use super::{
    check_file, command,
    error::Error,
    options::{KEYS, Key},
    print_config, run_in,
    settings::{Environment, Settings},
};

/// What came out: exit code, stdout, stderr.
fn wslab(args: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["wslab"].iter().chain(args).map(std::ffi::OsString::from);
    let code = run_in(args, &variables(environment), &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn variables(environment: &[(&str, &str)]) -> Environment {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads settings from a file of this text, this environment and these flags; messages call the file `a.toml`.
fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, file).unwrap();
    let args = ["wslab", "serve"].iter().chain(flags);
    let matches = command::wslab().try_get_matches_from(args).unwrap();
    let flags = command::flags(matches.subcommand_matches("serve").unwrap());
    Settings::load(Some(&path), &variables(environment), flags)
        .map_err(|error: Error| error.to_string().replace(&path.display().to_string(), "a.toml"))
}

fn shown(settings: &Settings, name: &str) -> String {
    Key::named(name).unwrap().slot.show(&settings.options)
}

fn repository_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "idle_timeout = \"60s\"";
    let variable = [("WSLAB_IDLE_TIMEOUT", "50s")];
    let flag = ["--idle-timeout", "40s"];
    for (file, environment, flags, expected, origin) in [
        (file, &variable[..], &flag[..], "\"40s\"", "command line"),
        (file, &variable, &[], "\"50s\"", "environment WSLAB_IDLE_TIMEOUT"),
        (file, &[], &flag, "\"40s\"", "command line"),
        (file, &[], &[], "\"60s\"", "a.toml:1"),
        ("", &[], &[], "\"off\"", "default"),
        ("", &variable, &["--idle-timeout", "off"], "\"off\"", "command line"),
    ] {
        let settings = load(file, environment, flags).unwrap();
        assert_eq!(shown(&settings, "idle_timeout"), expected);
        assert!(settings.origin("idle_timeout").to_string().ends_with(origin), "{}", settings.origin("idle_timeout"));
    }
}

#[test]
fn every_key_can_be_set_by_flag_environment_and_file() {
    // A value of each kind that is not the default, as text and as TOML.
    let other = |key: &Key| match key.value {
        "ADDR" => "127.0.0.1:7",
        "" => "true",
        "N" if key.name == "deflate_window_bits" => "9",
        "N" => "7",
        "MODE" if key.name == "proxy_protocol" => "require",
        "MODE" => "takeover",
        "CIDR" => "192.0.2.0/24",
        "SIZE" if key.name == "memory_max" => "64MiB",
        "SIZE" => "1KiB",
        "TIME" => "7s",
        "PEM" => "seven.pem",
        "ORIGIN" => "https://seven.example",
        "PATH" => "/seven",
        "FORMAT" => "json",
        "FILTER" => "debug",
        _ => "seven",
    };
    for key in KEYS {
        let value = if key.name == "verbose" { "1" } else { other(key) };
        // A value that has a partner brings it along.
        let (partner, partner_flags): (&str, &[&str]) = match key.name {
            "tls_cert" => ("tls_key = \"k\"", &["--tls-key", "k"]),
            "tls_key" => ("tls_cert = \"c\"", &["--tls-cert", "c"]),
            _ => ("", &[]),
        };
        let toml =
            if value.parse::<u32>().is_ok() || value == "true" { value.to_owned() } else { format!("{value:?}") };
        let variable = key.variable();
        let flag = match key.name {
            "verbose" => "-v".to_owned(),
            _ => format!("--{}={value}", key.flag()),
        };
        let flags: Vec<&str> = partner_flags.iter().copied().chain([flag.as_str()]).collect();
        let by_file = load(&format!("{} = {toml}\n{partner}", key.name), &[], &[]).unwrap();
        let by_environment = load("", &[(&variable, value)], partner_flags).unwrap();
        let by_flag = load("", &[], &flags).unwrap();
        assert_ne!(shown(&by_file, key.name), shown(&Settings::default(), key.name), "{}", key.name);
        assert_eq!(shown(&by_file, key.name), shown(&by_environment, key.name));
        assert_eq!(shown(&by_file, key.name), shown(&by_flag, key.name));
    }
}

#[test]
fn lists_are_repeated_flags_or_commas_or_arrays() {
    let expected = "[\"127.0.0.1:1\", \"[::1]:2\"]";
    for settings in [
        load("listen = [\"127.0.0.1:1\", \"[::1]:2\"]", &[], &[]),
        load("", &[("WSLAB_LISTEN", "127.0.0.1:1, [::1]:2")], &[]),
        load("", &[], &["--listen", "127.0.0.1:1", "--listen", "[::1]:2"]),
        load("", &[], &["--listen", "127.0.0.1:1,[::1]:2"]),
    ] {
        assert_eq!(shown(&settings.unwrap(), "listen"), expected);
    }
}

#[test]
fn a_switch_of_the_file_can_be_taken_back() {
    assert!(load("no_tls = true", &[], &[]).unwrap().options.server.listen_tls.is_empty());
    assert!(!load("no_tls = true", &[], &["--no-tls=false"]).unwrap().options.server.listen_tls.is_empty());
    assert!(load("", &[], &["--no-tls"]).unwrap().options.no_tls);
    assert_eq!(load("", &[], &["-vvvv"]).unwrap().options.verbose, 2);
}

#[test]
fn port_moves_the_first_plain_listener_unless_listeners_were_chosen() {
    let port = ("PORT", "9000");
    for (file, environment, flags, expected) in [
        ("", &[port][..], &[][..], "[\"127.0.0.1:9000\"]"),
        ("listen = [\"0.0.0.0:1\", \"[::1]:2\"]", &[port], &[], "[\"0.0.0.0:9000\", \"[::1]:2\"]"),
        ("", &[port, ("WSLAB_LISTEN", "127.0.0.1:1")], &[], "[\"127.0.0.1:1\"]"),
        ("", &[port], &["--listen", "127.0.0.1:1"], "[\"127.0.0.1:1\"]"),
    ] {
        assert_eq!(shown(&load(file, environment, flags).unwrap(), "listen"), expected);
    }
    assert_eq!(
        load("", &[("PORT", "http")], &[]).unwrap_err(),
        "environment: PORT=\"http\": expected a port such as \"8888\""
    );
}

#[test]
fn a_default_gives_way_to_what_was_chosen() {
    let settings = load("message_max = \"1KiB\"\nqueue_high = \"64KiB\"", &[], &[]).unwrap();
    assert_eq!(shown(&settings, "frame_max"), "\"1KiB\"");
    assert_eq!(shown(&settings, "queue_low"), "\"16KiB\"");
}

#[test]
#[rustfmt::skip]
fn every_complaint_says_where_what_and_what_to_do() {
    for (file, environment, flags, expected) in [
        // The value itself, from each source.
        ("\nidle_timeout = \"ten\"", &[][..], &[][..], "a.toml:2: idle_timeout = \"ten\": expected a duration such as \"60s\", or \"off\""),
        ("idle_timeout = 60", &[], &[], "a.toml:1: idle_timeout = 60: expected a duration such as \"60s\", or \"off\""),
        ("", &[("WSLAB_IDLE_TIMEOUT", "ten")], &[], "environment: WSLAB_IDLE_TIMEOUT=\"ten\": expected a duration such as \"60s\", or \"off\""),
        ("", &[], &["--idle-timeout", "ten"], "command line: --idle-timeout \"ten\": expected a duration such as \"60s\", or \"off\""),
        // A wrong value is one even where a better one wins.
        ("grace = \"x\"", &[], &["--grace", "1s"], "a.toml:1: grace = \"x\": expected a duration such as \"10s\" or \"0s\""),
        // Each kind.
        ("close_timeout = \"0s\"", &[], &[], "a.toml:1: close_timeout = \"0s\": expected a duration above zero, such as \"60s\""),
        ("frame_max = \"64\"", &[], &[], "a.toml:1: frame_max = \"64\": expected a size above zero, such as \"64KiB\""),
        ("queue_low = \"0B\"", &[], &[], "a.toml:1: queue_low = \"0B\": expected a size above zero, such as \"64KiB\""),
        ("workers = 0", &[], &[], "a.toml:1: workers = 0: expected a whole number from 1 to 1024"),
        ("backlog = -1", &[], &[], "a.toml:1: backlog = -1: expected a whole number from 1 to 65535"),
        ("no_tls = 1", &[], &[], "a.toml:1: no_tls = 1: expected true or false"),
        ("", &[], &["--no-tls=yes"], "command line: --no-tls: expected true or false"),
        ("verbose = 3", &[], &[], "a.toml:1: verbose = 3: expected 0, 1 or 2"),
        ("listen = [\n \"127.0.0.1:1\",\n \"localhost\"]", &[], &[], "a.toml:1: listen = \"localhost\": expected an address and port such as \"127.0.0.1:8888\" or \"[::1]:8888\", or \"off\""),
        ("origin = []", &[], &[], "a.toml:1: origin = []: expected origins such as \"https://example.org\", or \"any\""),
        ("origin = \"https://a.example/\"", &[], &[], "a.toml:1: origin = \"https://a.example/\": expected origins such as \"https://example.org\", or \"any\""),
        ("path = \"ws\"", &[], &[], "a.toml:1: path = \"ws\": expected paths such as \"/ws\", or \"any\""),
        ("", &[], &["--subprotocol", "chat,none"], "command line: --subprotocol \"none\": expected \"first\", \"none\", or names such as \"chat\""),
        ("congestion = \"no such\"", &[], &[], "a.toml:1: congestion = \"no such\": expected \"auto\", \"system\", or a name such as \"cubic\""),
        ("congestion = \"sixteen-octets-x\"", &[], &[], "a.toml:1: congestion = \"sixteen-octets-x\": expected \"auto\", \"system\", or a name such as \"cubic\""),
        ("server_name = \"a\\r\\nb\"", &[], &[], "a.toml:1: server_name = \"a\\r\\nb\": expected visible ASCII text, or \"off\""),
        ("format = \"xml\"", &[], &[], "a.toml:1: format = \"xml\": expected \"text\" or \"json\""),
        ("log = \"a=b=c\"", &[], &[], "a.toml:1: log = \"a=b=c\": expected a log filter such as \"info\" or \"wslab::conn=debug\""),
        ("log = \"inof\"", &[], &[], "a.toml:1: log = \"inof\": expected a log filter such as \"info\" or \"wslab::conn=debug\""),
        ("tls_cert = \"\"", &[], &[], "a.toml:1: tls_cert = \"\": expected the path of a PEM file, or \"local\""),
        ("idel_timeout = \"1s\"", &[], &[], "a.toml:1: idel_timeout: no such key: did you mean idle_timeout?"),
        // Relations: the more deliberate of two is told.
        ("queue_low = \"2MiB\"", &[], &[], "a.toml:1: queue_low = \"2MiB\": must be below queue_high = \"1MiB\" (default): reading stops at the one and resumes at the other; change either"),
        ("queue_low = \"64KiB\"", &[], &["--queue-high", "1KiB"], "command line: --queue-high \"1KiB\": must be above queue_low = \"64KiB\" (a.toml:1): reading stops at the one and resumes at the other; change either"),
        ("frame_max = \"32MiB\"", &[], &[], "a.toml:1: frame_max = \"32MiB\": may not exceed message_max = \"16MiB\" (default): a larger frame could never be part of a message; change either"),
        ("frame_max = \"1MiB\"", &[("WSLAB_MESSAGE_MAX", "1KiB")], &[], "environment: WSLAB_MESSAGE_MAX=\"1KiB\": may not be below frame_max = \"1MiB\" (a.toml:1): a larger frame could never be part of a message; change either"),
        ("ping_interval = \"60s\"\nidle_timeout = \"60s\"", &[], &[], "a.toml:1: ping_interval = \"60s\": must be below idle_timeout = \"60s\" (a.toml:2): a ping keeps a silent peer from being taken for a dead one; change either"),
        ("keep_alive = \"1500ms\"", &[], &[], "a.toml:1: keep_alive = \"1500ms\": expected whole seconds up to \"32767s\", as the system counts, or \"off\""),
        ("", &[], &["--tls-cert", "a.pem"], "command line: --tls-cert \"a.pem\": needs its private key: give --tls-key too"),
        ("tls_key = \"a.pem\"", &[], &[], "a.toml:1: tls_key = \"a.pem\": needs its certificate: give --tls-cert too"),
        ("no_tls = true", &[], &["--listen-tls", "127.0.0.1:1"], "command line: --listen-tls [\"127.0.0.1:1\"]: contradicts no_tls (a.toml:1): remove one of them"),
        ("", &[], &["--listen", "off", "--no-tls"], "command line: --listen \"off\": nothing is left to listen on, as no_tls (command line) excludes wss too: give --listen or --listen-tls an address"),
    ] {
        assert_eq!(load(file, environment, flags).err().as_deref(), Some(expected));
    }
}

#[test]
#[rustfmt::skip]
fn a_complaint_is_one_line_on_stderr_and_exit_code_2_or_3() {
    let missing = "/nonexistent/wslab.toml";
    for (args, environment, code, message) in [
        (&["serve", "--grace", "ten"][..], &[][..], 2, "command line: --grace \"ten\": expected a duration such as \"10s\" or \"0s\"\n"),
        (&["serve", "--config", missing], &[], 3, "wslab: cannot read the configuration /nonexistent/wslab.toml: no such file or directory: give the path of a TOML file\n"),
        (&["serve"], &[("WSLAB_CONFIG", missing)], 3, "wslab: cannot read the configuration /nonexistent/wslab.toml: no such file or directory: give the path of a TOML file\n"),
        (&["check-config", missing], &[], 3, "wslab: cannot read the configuration /nonexistent/wslab.toml: no such file or directory: give the path of a TOML file\n"),
    ] {
        assert_eq!(wslab(args, environment), (code, String::new(), message.to_owned()));
    }
    let (code, out, err) = wslab(&["serve", "--idel-timeout", "1s"], &[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("--idle-timeout"), "{err}");
    assert_eq!(wslab(&[], &[]).0, 2);
}

#[test]
fn check_config_answers_in_one_line_and_reads_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let name = path.display().to_string();
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        wslab(&["check-config", &name], &[("WSLAB_GRACE", "not looked at")])
    };
    assert_eq!(check("grace = \"1s\""), (0, format!("{name}: ok\n"), String::new()));
    assert_eq!(check("\ngrace = 1").0, 2);
    let (code, out, err) = check("tls_cert = \"/nonexistent/c.pem\"\ntls_key = \"/nonexistent/k.pem\"");
    assert_eq!((code, out.as_str(), err.matches('\n').count()), (3, "", 1));
    assert!(err.contains("/nonexistent/c.pem"), "{err}");
}

#[test]
#[rustfmt::skip]
fn what_print_config_prints_is_a_file_that_means_the_same() {
    for (file, environment, flags) in [
        ("", &[][..], &[][..]),
        ("idle_timeout = \"90s\"\nping_interval = \"250ms\"\npath = [\"/a\", \"/b\"]", &[("WSLAB_ORIGIN", "null")], &["--no-tls", "-vv"]),
        ("message_max = \"1000B\"", &[("PORT", "1")], &["--subprotocol", "a,b", "--server-name", "say \"hi\" \\o/"]),
        ("", &[], &["--listen", "off", "--keep-alive", "off", "--frame-max", "1MB", "--tls-cert", "c \u{7f}.pem", "--tls-key", "k"]),
    ] {
        let settings = load(file, environment, flags).unwrap();
        let printed = print_config::render(&settings);
        let again = load(&printed, &[], &[]).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        for key in KEYS {
            assert_eq!(shown(&again, key.name), shown(&settings, key.name), "{printed}");
        }
    }
}

#[test]
fn print_config_names_the_origin_of_each_value() {
    let (code, out, err) = wslab(&["serve", "--print-config", "--grace", "1s"], &[("WSLAB_WORKERS", "2")]);
    assert_eq!((code, err.as_str()), (0, ""));
    for line in [
        "grace = \"1s\"  # command line\n",
        "workers = 2  # environment WSLAB_WORKERS\n",
        "idle_timeout = \"off\"  # default\n",
    ] {
        assert!(out.contains(line), "{out}");
    }
}

#[test]
fn a_mistyped_variable_is_warned_of_and_an_orchestrators_is_not() {
    let settings =
        load("", &[("WSLAB_IDEL_TIMEOUT", "1s"), ("WSLAB_SERVICE_HOST", "10.0.0.1"), ("WSLAB_CONFIG", "x")], &[])
            .unwrap();
    assert_eq!(
        settings.warnings,
        ["environment: WSLAB_IDEL_TIMEOUT: no such variable: did you mean WSLAB_IDLE_TIMEOUT?"]
    );
}

#[test]
fn every_file_in_config_is_taken() {
    for entry in fs::read_dir(repository_file("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            check_file(&path).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn wslab_toml_names_every_key_with_exactly_its_default() {
    let path = repository_file("wslab.toml");
    let settings = check_file(&path).unwrap_or_else(|error| panic!("{error}"));
    for key in KEYS {
        assert!(settings.origin(key.name).to_string().contains("wslab.toml:"), "{} is missing", key.name);
        assert_eq!(shown(&settings, key.name), shown(&Settings::default(), key.name), "{}", key.name);
    }
}

#[test]
fn public_toml_is_bounded_where_the_default_is_not() {
    let options = check_file(&repository_file("public.toml")).unwrap_or_else(|error| panic!("{error}")).options;
    assert!(options.server.settings.timeouts.idle.is_some() && options.server.settings.timeouts.ping.is_some());
    assert!(options.server.listen.iter().all(|addr| !addr.ip().is_loopback()));
}

#[test]
fn completions_and_manual_page_know_every_flag() {
    let (code, completions, _) = wslab(&["completions", "bash"], &[]);
    assert_eq!(code, 0);
    let (code, page, _) = wslab(&["man"], &[]);
    assert_eq!(code, 0);
    for key in KEYS {
        assert!(completions.contains(&format!("--{}", key.flag())), "{}", key.name);
        assert!(page.contains(&key.flag().replace('-', "\\-")), "{}", key.name);
    }
}

#[test]
fn a_closed_stdout_ends_nothing_with_a_panic() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    for args in [
        &["wslab", "--help"][..],
        &["wslab", "man"],
        &["wslab", "completions", "zsh"],
        &["wslab", "serve", "--print-config"],
    ] {
        assert_eq!(run_in(args.iter().map(std::ffi::OsString::from), &Environment::new(), &mut Closed, &mut Closed), 0);
    }
}
