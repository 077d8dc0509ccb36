//! `wslab bench`: load on WebSocket servers, and what it measured.

use std::{
    fs,
    io::{IsTerminal as _, Read as _, Write},
    net::IpAddr,
    num::NonZeroUsize,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource, value_parser};

use super::{
    bench_calibration,
    bench_output::{self, Output},
    bench_progress::Progress,
    bench_record,
    bench_spawn::Spawned,
    bench_units as units,
    bench_until::{self, Until},
    descriptors,
    error::{EXIT_OK, Error, reason},
    interrupt::{EXIT_INTERRUPTED, Interrupt},
    peer::{self, Peer, explain},
    units::parse_duration,
};
use crate::{
    bench::{
        Endpoint, MetricsPage, Part, Payload, Plan, Process, floor,
        plan::{Arrivals, Load, Pace, Scenario, Span},
        run::Run,
        sweep,
    },
    proto::Settings,
};

/// Octets of a message that nobody chose.
const SIZE: usize = 64;
/// Rounds when several targets are compared.
const ROUNDS: NonZeroUsize = match NonZeroUsize::new(10) {
    Some(rounds) => rounds,
    None => NonZeroUsize::MIN,
};
/// How long the measuring takes where neither duration nor number is given.
const DURATION: Duration = Duration::from_secs(10);
/// The longest warm-up of a round that nobody chose.
const WARMUP_MAX: Duration = Duration::from_secs(1);
/// The shortest time for each part of a calibration.
const CALIBRATION_MIN: Duration = Duration::from_millis(500);
/// A target's name may take so long to be looked up.
const LOOKUP: Duration = Duration::from_secs(10);

/// The command line's part.
pub(super) fn command() -> Command {
    let [url, tls @ ..] = peer::args();
    Command::new("bench")
        .about("Load WebSocket servers and measure latency, without coordinated omission")
        .after_help(
            "With --rate the loop is open: each message has its time, and latency counts from there, whatever the server does. \
             Without it the loop is closed: each answer triggers the next message, which hides what a slow server makes others wait.\n\n\
             Several URLs are taken in turn over --rounds and compared. Ctrl-C ends the run and prints what there is. \
             Exit codes: 0 measured, 1 a check failed, 2 usage, 3 nothing was reached or answered rightly, 4 the run is invalid.",
        )
        .arg(url.required(false).required_unless_present_any(["calibrate", "print-schema"]).num_args(1..).action(ArgAction::Append).help("ws:// or wss://; several are compared"))
        .args(load_args())
        .args(message_args())
        .args(target_args())
        .args(tls.map(|arg| arg.help_heading("Connection")))
        .args(bench_output::args())
}

fn load_args() -> [Arg; 15] {
    let heading = "Load";
    [
        option("scenario", "NAME")
            .value_parser(Scenario::ALL.map(Scenario::name))
            .default_value("echo")
            .help("echo: messages come back; connect: handshakes; ping: Ping frames; idle: open connections left alone; slow-reader: echo beside peers that hardly read"),
        option("rate", "N/s").value_parser(units::rate).help("Open loop: messages a second over all connections, such as 10k/s"),
        option("arrivals", "KIND")
            .value_parser(["constant", "poisson"])
            .default_value("constant")
            .requires("rate")
            .help("How the times of an open loop are spread"),
        option("pace", "HOW")
            .value_parser(["timerfd", "spin"])
            .default_value("timerfd")
            .requires("rate")
            .help("How they are met: sleep until a timer fires, or poll without sleeping for the last 60 µs (takes a free core)"),
        option("pipeline", "N")
            .value_parser(value_parser!(NonZeroUsize))
            .conflicts_with("rate")
            .help("Closed loop: messages under way on each connection [default: 1]"),
        option("connections", "N")
            .short('c')
            .value_parser(units::connections)
            .default_value("1")
            .help("Connections, a ramp A..B:S from A to B in steps of S, or a list such as 10,100,1k; a phase each"),
        option("until", "LATENCY").value_parser(bench_until::parse).help("End a ramp after the first phase of which this is so: p99>15ms"),
        option("duration", "TIME")
            .short('d')
            .value_parser(positive)
            .conflicts_with("count")
            .help("How long is measured, a target and phase, over all rounds [default: 10s]"),
        option("count", "N").short('n').value_parser(units::count).help("The same as a number of messages, such as 100k, instead of -d"),
        option("warmup", "TIME")
            .short('w')
            .value_parser(duration)
            .help("Load that does not count before each round [default: a tenth of the round, at most 1s]"),
        option("rounds", "N")
            .value_parser(value_parser!(NonZeroUsize))
            .help("How often the targets take their turn [default: 1, with several URLs 10]"),
        option("seed", "N").value_parser(value_parser!(u64)).help("Whence payload and arrivals come [default: the time]"),
        option("timeout", "TIME")
            .value_parser(positive)
            .default_value("10s")
            .help("How long to wait for an open connection, and for an answer"),
        option("floor", "TIME")
            .value_parser(duration)
            .default_value("500ms")
            .help("How long the floor is measured before the run, against an in-process null echo; 0s: not at all"),
        option("calibrate", "")
            .num_args(0)
            .action(ArgAction::SetTrue)
            .conflicts_with_all(["url", "scenario", "until", "spawn", "pid", "metrics", "name", "reference"])
            .conflicts_with_all(["rate", "pipeline", "connections", "duration", "count", "warmup", "rounds"])
            .conflicts_with_all(["source", "header", "subprotocol", "fragment"])
            .conflicts_with_all(bench_output::args().iter().map(Arg::get_id))
            .help("Measure the floor, the pacing and the generator's own work, and no server"),
    ]
    .map(|arg| arg.help_heading(heading))
}

fn message_args() -> [Arg; 5] {
    let heading = "Messages";
    [
        option("size", "SIZE")
            .short('s')
            .value_parser(units::size)
            .value_delimiter(',')
            .action(ArgAction::Append)
            .help("Octets of a message, such as 64 or 1KiB; several are a phase each [default: 64]"),
        option("text", "").num_args(0).action(ArgAction::SetTrue).help("Text messages instead of binary ones"),
        option("payload", "FILE")
            .value_parser(value_parser!(PathBuf))
            .conflicts_with("size")
            .help("Send this file's octets as they are: swapped echoes go unnoticed then"),
        option("fragment", "SIZE")
            .value_parser(units::frame_size)
            .help("Send messages in frames of at most so many octets"),
        option("no-check", "").num_args(0).action(ArgAction::SetTrue).help("Do not compare answers with what was sent"),
    ]
    .map(|arg| arg.help_heading(heading))
}

fn target_args() -> [Arg; 8] {
    let heading = "Connection";
    [
        option("source", "ADDRESS")
            .value_parser(units::sources)
            .action(ArgAction::Append)
            .help("Connect from this address, or these in turn: 127.0.0.2-127.0.0.9; one has some 28,000 ports"),
        option("header", "LINE").value_parser(units::header).action(ArgAction::Append).help("Send a further header: \"Name: value\""),
        option("subprotocol", "NAME").value_parser(units::subprotocol).action(ArgAction::Append).help("Offer a subprotocol"),
        option("name", "NAME").action(ArgAction::Append).help("What to call a target in tables; the first is the first URL's, and so on"),
        option("reference", "TARGET").help("The target that the others are compared to, by its number from 1, its name or its URL [default: the first]"),
        option("pid", "PID")
            .value_parser(value_parser!(u32))
            .action(ArgAction::Append)
            .help("The server's process on this machine: its CPU time and memory are measured too; the first is the first URL's, and so on"),
        option("metrics", "URL")
            .value_parser(value_parser!(MetricsPage))
            .action(ArgAction::Append)
            .help("What `wslab serve --admin` serves, such as http://127.0.0.1:9100/metrics: how long the turns of its event loops take is measured too; the first is the first URL's, and so on"),
        option("spawn", "CMD")
            .action(ArgAction::Append)
            .conflicts_with("pid")
            .help("Start the server with this shell command (one program, variables before it), wait until it accepts, and end it afterwards; as for --pid"),
    ]
    .map(|arg| arg.help_heading(heading))
}

fn option(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("expected a duration such as \"10s\" or \"250ms\"")
}

fn positive(text: &str) -> Result<Duration, &'static str> {
    duration(text)
        .ok()
        .filter(|time| *time >= Duration::from_millis(1))
        .ok_or("expected a duration of 1ms or more such as \"10s\"")
}

/// The plan that the options make.
fn plan(matches: &ArgMatches, targets: usize) -> Result<Plan, Error> {
    let word = |name| matches.get_one::<String>(name).map_or("", String::as_str);
    let scenario = Scenario::ALL.into_iter().find(|one| one.name() == word("scenario")).unwrap_or(Scenario::Echo);
    let load = match matches.get_one::<f64>("rate") {
        Some(&rate) => Load::Open {
            rate,
            arrivals: if word("arrivals") == "poisson" { Arrivals::Poisson } else { Arrivals::Constant },
            pace: if word("pace") == "spin" { Pace::Spin } else { Pace::Timer },
        },
        None => Load::Closed { pipeline: matches.get_one("pipeline").copied().unwrap_or(NonZeroUsize::MIN) },
    };
    let seed = matches.get_one("seed").copied().unwrap_or_else(clock_seed);
    let rounds = matches.get_one("rounds").copied();
    let rounds: NonZeroUsize = rounds.unwrap_or(if targets > 1 { ROUNDS } else { NonZeroUsize::MIN });
    let span = match matches.get_one::<u64>("count") {
        Some(&messages) => Span::Messages(messages),
        None => Span::Time(matches.get_one("duration").copied().unwrap_or(DURATION)),
    };
    let warmup = matches.get_one("warmup").copied().unwrap_or_else(|| match span {
        Span::Time(time) => (time / u32::try_from(rounds.get()).unwrap_or(u32::MAX) / 10).min(WARMUP_MAX),
        Span::Messages(_) => Duration::ZERO,
    });
    let given = |name: &&&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if scenario == Scenario::Connect
        && let Some(option) = ["size", "text", "payload", "no-check"].iter().find(given)
    {
        return Err(Error::Setting(format!("wslab: --{option}: the scenario connect sends no messages")));
    }
    let plan = Plan {
        scenario,
        load,
        connections: matches.get_one::<Vec<NonZeroUsize>>("connections").cloned().unwrap_or_default(),
        payloads: payloads(matches, seed)?,
        span,
        warmup: if scenario == Scenario::Idle { Duration::ZERO } else { warmup },
        timeout: matches.get_one("timeout").copied().unwrap_or(DURATION),
        rounds,
        seed,
        check: !matches.get_flag("no-check"),
        fragment: matches.get_one("fragment").copied(),
    };
    plan.judge().map_err(|error| Error::Setting(format!("wslab: {error}")))?;
    Ok(plan)
}

fn payloads(matches: &ArgMatches, seed: u64) -> Result<Vec<Payload>, Error> {
    let text = matches.get_flag("text");
    if let Some(path) = matches.get_one::<PathBuf>("payload") {
        let mut octets = Vec::new();
        // A device has no end.
        let bound = units::MESSAGE_BYTES_MAX + 1;
        fs::File::open(path)
            .and_then(|file| file.take(bound).read_to_end(&mut octets))
            .map_err(|source| Error::File { path: path.clone(), source })?;
        if octets.len() as u64 >= bound {
            return Err(Error::Setting(format!("wslab: --payload {}: more than 16 MiB", path.display())));
        }
        let payload = Payload::fixed(octets, text).ok_or_else(|| {
            Error::Setting(format!("wslab: --payload {}: not UTF-8: send it without --text", path.display()))
        })?;
        return Ok(vec![payload]);
    }
    let sizes = matches.get_many::<usize>("size").map_or_else(|| vec![SIZE], |sizes| sizes.copied().collect());
    if let Some(twice) = sizes.iter().enumerate().find(|(at, size)| sizes.iter().take(*at).any(|other| other == *size))
    {
        return Err(Error::Setting(format!("wslab: --size {}: given twice", twice.1)));
    }
    Ok(sizes.into_iter().map(|size| Payload::random(size, text, seed)).collect())
}

fn clock_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// What every connection to this server is made with.
fn endpoint(peer: &Peer, matches: &ArgMatches) -> Result<Endpoint, Error> {
    let mut config = peer.config(Settings::default())?;
    config.sources = matches.get_many::<Vec<_>>("source").into_iter().flatten().flatten().copied().collect();
    config.headers = matches.get_many::<(String, String)>("header").into_iter().flatten().cloned().collect();
    config.subprotocols = matches.get_many::<String>("subprotocol").into_iter().flatten().cloned().collect();
    let (names, target) = (&config.subprotocols, peer.resolve(LOOKUP)?);
    if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|one| one == *name))
    {
        return Err(Error::Setting(format!("wslab: --subprotocol {twice}: given twice")));
    }
    let reaches = |source: &IpAddr| target.addrs().iter().any(|addr| addr.is_ipv4() == source.is_ipv4());
    if let Some(source) = config.sources.iter().find(|source| !reaches(source)) {
        let family = if source.is_ipv4() { "IPv6" } else { "IPv4" };
        return Err(Error::Setting(format!(
            "wslab: --source {source}: the target {} has {family} addresses only: give one of this machine's that is {family}",
            peer.url
        )));
    }
    Ok(Endpoint { target, config, process: None, metrics: None })
}

/// Runs the command.
pub(super) fn bench(
    matches: &ArgMatches,
    no_color: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<i32, Error> {
    if bench_output::prints_schema(matches, out) {
        return Ok(EXIT_OK);
    }
    let output = Output::from(matches)?;
    let peers = Peer::all(matches);
    let plan = plan(matches, peers.len())?;
    if matches.contains_id("until") && plan.phases().len() < 2 {
        let needed = "wslab: --until ends a ramp: give one, such as -c 10..100:10, or several sizes";
        return Err(Error::Setting(needed.to_owned()));
    }
    let interrupt = Interrupt::note()?;
    let urls: Vec<String> = peers.iter().map(|peer| peer.url.to_string()).collect();
    let mut progress = Progress::new(&interrupt, std::io::stderr().is_terminal(), &urls, &plan);
    let span = matches.get_one::<Duration>("floor").copied().unwrap_or_default();
    let failed = |source| Error::System { doing: "generate load", source };
    if matches.get_flag("calibrate") {
        let calibration = floor::calibrate(&plan, span.max(CALIBRATION_MIN), explain, &mut progress).map_err(failed)?;
        drop(progress);
        bench_calibration::tell(out, &calibration);
        return Ok(EXIT_OK);
    }
    let mut endpoints = peers.iter().map(|peer| endpoint(peer, matches)).collect::<Result<Vec<_>, _>>()?;
    let _servers = processes(matches, &mut endpoints, &interrupt)?;
    metrics(matches, &mut endpoints)?;
    if let Some(warning) = descriptors::make_room_for(plan.connections_max()) {
        let _ = writeln!(err, "wslab: {warning}");
    }
    let run = bench_record::begin(matches, &plan, &endpoints)?;
    output.fits(&run, endpoints.iter().any(|endpoint| endpoint.metrics.is_some()))?;
    let floor =
        if span.is_zero() { None } else { Some(floor::floor(&plan, span, explain, &mut progress).map_err(failed)?) };
    let until = matches.get_one::<Until>("until");
    let mut reached = None;
    let mut is_over = |parts: &[Part]| {
        reached = until.and_then(|until| until.reached(parts));
        reached.is_some()
    };
    let parts = sweep(&plan, &endpoints, explain, &mut progress, &mut is_over).map_err(failed)?;
    drop(progress);
    let unreached = unreached(&parts, &urls).filter(|_| !interrupt.seen());
    if parts.is_empty() {
        return Ok(EXIT_INTERRUPTED);
    }
    let until = until.map(|until| until.told(reached));
    let run = Run { until, ..bench_record::complete(run, &plan, floor.as_ref(), parts, interrupt.seen()) };
    let color = bench_output::may_paint(no_color);
    let Some(unreached) = unreached else { return output.conclude(&run, color, out, err) };
    if let Err(trouble) = output.publish_failed(&run, color, out, err) {
        let _ = writeln!(err, "{trouble}");
    }
    Err(unreached)
}

/// Where nothing was measured, the first reason.
fn unreached(parts: &[Part], urls: &[String]) -> Option<Error> {
    if parts.iter().any(|part| part.measured.completed > 0) {
        return None;
    }
    let (target, words) =
        parts.iter().find_map(|part| Some((part.target, part.measured.errors_by_kind().next()?.first)))?;
    let url = urls.get(target).map_or("", String::as_str);
    Some(Error::Unreached(format!("wslab: cannot measure {url}: {words}")))
}

/// The targets' processes: named, or started here, which end with the value returned.
fn processes(matches: &ArgMatches, endpoints: &mut [Endpoint], interrupt: &Interrupt) -> Result<Vec<Spawned>, Error> {
    let commands: Vec<&String> = matches.get_many("spawn").into_iter().flatten().collect();
    let pids: Vec<u32> = matches.get_many("pid").into_iter().flatten().copied().collect();
    if commands.len().max(pids.len()) > endpoints.len() {
        return Err(Error::Setting(
            "wslab: more --pid or --spawn than URLs: each belongs to the URL of its place".to_owned(),
        ));
    }
    let mut servers = Vec::new();
    for (endpoint, command) in endpoints.iter_mut().zip(commands) {
        let mut server = Spawned::start(command, endpoint.target.addrs())?;
        server.wait_until_ready(endpoint.target.addrs(), interrupt)?;
        endpoint.process = Process::find(server.pid());
        servers.push(server);
    }
    for (endpoint, pid) in endpoints.iter_mut().zip(pids) {
        let process = Process::find(pid);
        let unknown = || format!("wslab: --pid {pid}: there is no such process here, or it may not be looked at");
        endpoint.process = Some(process.ok_or_else(|| Error::Setting(unknown()))?);
    }
    Ok(servers)
}

/// The pages that the targets tell their metrics on, each read once.
fn metrics(matches: &ArgMatches, endpoints: &mut [Endpoint]) -> Result<(), Error> {
    let pages: Vec<&MetricsPage> = matches.get_many("metrics").into_iter().flatten().collect();
    if pages.len() > endpoints.len() {
        return Err(Error::Setting("wslab: more --metrics than URLs: each belongs to the URL of its place".to_owned()));
    }
    for (endpoint, page) in endpoints.iter_mut().zip(pages) {
        page.check().map_err(|source| {
            Error::Unreached(format!(
                "wslab: cannot read --metrics {page}: {}: give the page of `wslab serve --admin`",
                reason(&source)
            ))
        })?;
        endpoint.metrics = Some(page.clone());
    }
    Ok(())
}
