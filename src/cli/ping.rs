//! `wslab ping`: round trips over one connection, by Ping frames or by echoes, in the manner of ping(8).
//!
//! A round trip counts from the clock reading just before its write to the one behind the poll that told of the answer.

use std::{
    collections::VecDeque,
    io::{self, Write},
    time::{Duration, Instant, SystemTime},
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    error::{EXIT_CHECK_FAILED, EXIT_OK, Error},
    interrupt::{EXIT_INTERRUPTED, Interrupt},
    options::Format,
    peer::{self, Peer, explain},
    ping_report::{Handshake, Report},
    units::{parse_duration, parse_size},
};
use crate::{
    client::Client,
    proto::{CloseCode, Closure, Message, MessageKind, SendError, Sender, Settings, handshake::Opened},
    session::{ConnId, Handler},
};

/// How long the closing handshake may take once everything is printed.
const GOODBYE: Duration = Duration::from_secs(1);
/// Octets of an echo whose size was not given.
const ECHO_BYTES: &str = "64B";
/// Octets of an echo at most: the core's largest message.
const ECHO_BYTES_MAX: u64 = 16 << 20;
/// The poll counts in milliseconds.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The command line's part.
pub(super) fn command() -> Command {
    Command::new("ping")
        .about("Measure the handshake and the round trips of a WebSocket server")
        .after_help(
            "Ctrl-C prints the summary. Exit codes: 0 every answer came, 1 some did not, 2 usage, 3 not reached, \
             130 interrupted before the connection was open.\n\n\
             With --format json every line is an object: one of event \"open\", one \"answer\" or \"lost\" a round trip, one \"summary\".",
        )
        .args(peer::args())
        .args([
            Arg::new("count")
                .short('c')
                .long("count")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Round trips to make [default: until Ctrl-C]"),
            time('i', "interval", "From one write to the next, at least 1ms", "1s"),
            time('W', "timeout", "How long to wait for the open connection, and for each answer", "10s"),
            Arg::new("echo")
                .long("echo")
                .value_name("SIZE")
                .num_args(0..=1)
                .default_missing_value(ECHO_BYTES)
                .value_parser(echo_size)
                .help(format!("Send messages of random octets that come back as they are [default: {ECHO_BYTES}] instead of Ping frames")),
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("How to print"),
            Arg::new("quiet").short('q').long("quiet").action(ArgAction::SetTrue).help("Print the handshake and the summary only"),
        ])
}

fn time(short: char, name: &'static str, help: &'static str, default: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .value_name("TIME")
        .value_parser(positive_time)
        .default_value(default)
        .help(help)
}

fn positive_time(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration of 1ms or more such as \"250ms\" or \"10s\"".to_owned();
    parse_duration(text).filter(|&duration| duration >= INTERVAL_MIN).ok_or_else(expected)
}

fn echo_size(text: &str) -> Result<usize, String> {
    let expected = || "expected a size from 1B to 16MiB such as \"64B\" or \"1KiB\"".to_owned();
    parse_size(text).filter(|size| (1..=ECHO_BYTES_MAX).contains(size)).map(|size| size as usize).ok_or_else(expected)
}

/// What to do.
struct Plan {
    count: Option<u64>,
    interval: Duration,
    timeout: Duration,
    /// Octets of a message; `None`: Ping frames.
    echo: Option<usize>,
}

/// What came, until the loop has looked at it.
#[derive(Default)]
struct Prober {
    opened: bool,
    answers: Vec<Answer>,
    trouble: Option<String>,
    ended: Option<Closure>,
}

enum Answer {
    Pong(Vec<u8>),
    Message(MessageKind, Vec<u8>),
}

impl Handler for Prober {
    fn on_open(&mut self, _: ConnId, _: &Opened, _: Sender<'_>) {
        self.opened = true;
    }

    fn on_message(&mut self, _: ConnId, message: Message<'_>, _: Sender<'_>) {
        self.answers.push(Answer::Message(message.kind(), message.payload().to_vec()));
    }

    fn on_pong(&mut self, _: ConnId, payload: &[u8], _: Sender<'_>) {
        self.answers.push(Answer::Pong(payload.to_vec()));
    }

    fn on_close(&mut self, _: ConnId, closure: &Closure) {
        self.ended = Some(closure.clone());
    }

    fn on_failed(&mut self, _: ConnId, closure: &Closure) {
        self.ended = Some(closure.clone());
    }

    fn on_error(&mut self, _: ConnId, error: &io::Error) {
        self.trouble = Some(explain(error));
    }
}

/// Runs the command.
pub(super) fn ping(matches: &ArgMatches, out: &mut dyn Write, err: &mut dyn Write) -> Result<i32, Error> {
    let Some(peer) = Peer::from(matches) else { return Ok(EXIT_OK) };
    let duration = |name| matches.get_one::<Duration>(name).copied().unwrap_or(GOODBYE);
    let plan = Plan {
        count: matches.get_one::<u64>("count").copied(),
        interval: duration("interval"),
        timeout: duration("timeout"),
        echo: matches.get_one::<usize>("echo").copied(),
    };
    let format = match matches.get_one::<String>("format").map(String::as_str) {
        Some("json") => Format::Json,
        _ => Format::Text,
    };
    let mut report = Report::new(out, err, format, matches.get_flag("quiet"), plan.echo);

    let mut client = peer.client(Settings::default(), plan.timeout, Prober::default())?;
    let interrupt = Interrupt::watch(client.waker())?;
    let Some((id, handshake)) = connect(&peer, &plan, &mut client, &interrupt)? else { return Ok(EXIT_INTERRUPTED) };
    // A stdout that is gone ends the run like Ctrl-C does.
    if report.opened(&peer.url, &handshake).is_err() {
        return Ok(EXIT_OK);
    }
    let mut run = Run { plan: &plan, client, id, report, seed: seed(), waiting: VecDeque::new(), sent: 0 };
    let whole = run.trips(&interrupt)?;
    run.finish(&peer, whole)
}

/// Opens the connection; `None`: interrupted.
fn connect(
    peer: &Peer,
    plan: &Plan,
    client: &mut Client<Prober>,
    interrupt: &Interrupt,
) -> Result<Option<(ConnId, Handshake)>, Error> {
    let begun = Instant::now();
    let target = peer.resolve(plan.timeout)?;
    let lookup = peer.url.address().is_none().then(|| begun.elapsed());
    let id = client.open(&target).map_err(|error| peer.unopened(&error))?;
    while !client.handler().opened {
        if let Some(closure) = &client.handler().ended {
            let trouble = client.handler().trouble.as_deref();
            return Err(peer.failed(trouble, closure, client.timeline(id), plan.timeout));
        }
        if interrupt.seen() {
            return Ok(None);
        }
        client.turn(None).map_err(poll_failed)?;
    }
    let handshake = client.timeline(id).and_then(|timeline| Handshake::new(lookup, timeline, client.now()));
    Ok(handshake.map(|handshake| (id, handshake)))
}

fn poll_failed(source: io::Error) -> Error {
    Error::System { doing: "wait for events", source }
}

/// Tells this run's octets from another's.
fn seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A round trip under way.
struct Trip {
    seq: u64,
    sent: Instant,
}

struct Run<'a> {
    plan: &'a Plan,
    client: Client<Prober>,
    id: ConnId,
    report: Report<'a>,
    seed: u64,
    waiting: VecDeque<Trip>,
    sent: u64,
}

impl Run<'_> {
    /// Returns whether all that was asked for was sent, and answered or given up.
    fn trips(&mut self, interrupt: &Interrupt) -> Result<bool, Error> {
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            let is_last = self.plan.count == Some(self.sent);
            if !is_last && now >= next && self.send() {
                // Late by more than an interval: the missed ones are not made up for in a burst.
                next = (next + self.plan.interval).max(now);
            }
            let printed = self.give_up(now).and_then(|()| self.look_at_answers());
            if printed.is_err() || interrupt.seen() || self.client.handler().ended.is_some() {
                return Ok(false);
            }
            let is_last = self.plan.count == Some(self.sent);
            if is_last && self.waiting.is_empty() {
                return Ok(true);
            }
            let first_given_up = self.waiting.front().map(|trip| trip.sent + self.plan.timeout);
            let wake = [first_given_up, (!is_last).then_some(next)].into_iter().flatten().min();
            let wait = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            self.client.turn(wait).map_err(poll_failed)?;
            if self.look_at_answers().is_err() {
                return Ok(false);
            }
        }
    }

    /// Returns whether it was sent: not to a peer that takes nothing.
    fn send(&mut self) -> bool {
        let seq = self.sent + 1;
        let payload = self.payload(seq);
        let echo = self.plan.echo.is_some();
        let sent = self.client.with_sender(
            self.id,
            |mut sender| {
                if echo { sender.binary(&payload) } else { sender.ping(&payload) }
            },
        );
        match sent {
            Some(Ok(())) => {
                self.sent = seq;
                self.report.sent();
                self.waiting.push_back(Trip { seq, sent: self.client.now() });
                true
            }
            // Counts as an interval gone by.
            Some(Err(SendError::Full)) => true,
            _ => false,
        }
    }

    /// Of a Ping: whose and which. Of an echo: as random as can be made again.
    fn payload(&self, seq: u64) -> Vec<u8> {
        match self.plan.echo {
            None => [self.seed.to_be_bytes(), seq.to_be_bytes()].concat(),
            Some(size) => {
                let mut octets = vec![0; size];
                StdRng::seed_from_u64(self.seed ^ seq).fill_bytes(&mut octets);
                octets
            }
        }
    }

    fn give_up(&mut self, now: Instant) -> io::Result<()> {
        while let Some(trip) = self.waiting.front().filter(|trip| now >= trip.sent + self.plan.timeout) {
            self.report.lost(trip.seq, self.plan.timeout)?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn look_at_answers(&mut self) -> io::Result<()> {
        let now = self.client.now();
        for answer in std::mem::take(&mut self.client.handler_mut().answers) {
            let echo = self.plan.echo.is_some();
            let (kind, octets) = match &answer {
                Answer::Pong(octets) if !echo => (MessageKind::Binary, octets),
                Answer::Message(kind, octets) if echo => (*kind, octets),
                // Somebody's greeting, or a heartbeat.
                Answer::Pong(_) | Answer::Message(..) => continue,
            };
            let whose =
                self.waiting.iter().position(|trip| kind == MessageKind::Binary && *octets == self.payload(trip.seq));
            match whose.and_then(|at| self.waiting.remove(at)) {
                Some(trip) => self.report.answered(trip.seq, now.saturating_duration_since(trip.sent))?,
                None => self.unexpected(kind, octets)?,
            }
        }
        Ok(())
    }

    fn unexpected(&mut self, kind: MessageKind, octets: &[u8]) -> io::Result<()> {
        let oldest = self.waiting.front().map(|trip| self.payload(trip.seq));
        let what = match oldest {
            _ if self.plan.echo.is_none() => "a pong that nothing waits for (any more)".to_owned(),
            Some(_) if kind == MessageKind::Text => format!("a text message of {} octets, not an echo", octets.len()),
            Some(expected) if expected.len() == octets.len() => {
                let differs = expected.iter().zip(octets).position(|(ours, theirs)| ours != theirs).unwrap_or(0);
                format!("an echo that differs from octet {differs} on")
            }
            _ => format!("a message of {} octets that nothing waits for (any more)", octets.len()),
        };
        self.report.unexpected(&what)
    }

    /// Prints the summary, then says goodbye.
    fn finish(mut self, peer: &Peer, whole: bool) -> Result<i32, Error> {
        let handler = self.client.handler();
        let ended = handler.ended.as_ref().map(|closure| match &handler.trouble {
            Some(trouble) => trouble.clone(),
            None => closure.to_string(),
        });
        let complete = self.report.summary(&peer.url, self.waiting.len() as u64, ended.as_deref());
        if ended.is_none() {
            let _ = self.client.with_sender(self.id, |mut sender| sender.close(CloseCode::NORMAL, ""));
            self.client.run_until(Instant::now() + GOODBYE).map_err(poll_failed)?;
        }
        // What was in flight when Ctrl-C came is not lost; what a connection took down with it is.
        let ok = complete && (whole || ended.is_none());
        Ok(if ok { EXIT_OK } else { EXIT_CHECK_FAILED })
    }
}
