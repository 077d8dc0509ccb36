//! `wslab autobahn-client`: the echo client that Autobahn's fuzzing server drives (`wstest -m fuzzingserver`).
//!
//! One connection after another: `/getCaseCount`, then `/runCase` for each case, then `/updateReports`. What a case shows, the server
//! writes down; here it only counts that every case was run.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::{Arg, ArgMatches, Command};

use super::{
    error::{EXIT_CHECK_FAILED, EXIT_OK, Error},
    interrupt::Interrupt,
    peer::{self, Peer, explain},
    units::{parse_duration, show_duration},
};
use crate::{
    client::{Client, Target},
    proto::{Closure, Message, Sender, Settings, handshake::Opened},
    session::{ConnId, Handler},
};

/// How long a connection may take to open.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The command line's part.
pub(super) fn command() -> Command {
    Command::new("autobahn-client")
        .about("Echo what Autobahn's fuzzing server sends, case by case")
        .after_help(
            "The server is `wstest -m fuzzingserver`; it writes the reports and judges. \
             Exit codes: 0 every case was run, 1 some did not end or were interrupted, 2 usage, 3 not reached.",
        )
        .args(peer::args())
        .args([
            Arg::new("agent")
                .long("agent")
                .value_name("NAME")
                .default_value("wslab")
                .help("Whose name the reports bear"),
            Arg::new("case")
                .long("case")
                .value_name("N[..M]")
                .value_parser(cases)
                .help("One case, or the cases from N to M, by number [default: all]"),
            Arg::new("timeout")
                .long("timeout")
                .value_name("TIME")
                .value_parser(|text: &str| {
                    parse_duration(text)
                        .filter(|timeout| !timeout.is_zero())
                        .ok_or("expected a duration such as \"90s\"")
                })
                .default_value("2m")
                .help("How long one case may take"),
        ])
}

/// `7`, `1..16`; both ends count.
fn cases(text: &str) -> Result<(u32, u32), &'static str> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 1 <= first && first <= last => Ok((first, last)),
        _ => Err("expected a case's number from 1 on, or two such as 1..16"),
    }
}

/// Echoes, and keeps what an answer to a question is.
#[derive(Default)]
struct Visitor {
    opened: bool,
    /// Messages are kept, not echoed.
    asks: bool,
    answer: Option<String>,
    trouble: Option<String>,
    ended: Option<Closure>,
}

impl Handler for Visitor {
    fn on_open(&mut self, _: ConnId, _: &Opened, _: Sender<'_>) {
        self.opened = true;
    }

    fn on_message(&mut self, _: ConnId, message: Message<'_>, mut sender: Sender<'_>) {
        if self.asks {
            self.answer = message.text().map(str::to_owned);
        } else {
            // The connection may be closing: then no echo is wanted any more.
            let _ = sender.reply(message);
        }
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

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    Over,
    TooLong,
    Interrupted,
}

/// Runs the command.
pub(super) fn autobahn_client(matches: &ArgMatches, out: &mut dyn Write, err: &mut dyn Write) -> Result<i32, Error> {
    let Some(peer) = Peer::from(matches) else { return Ok(EXIT_OK) };
    let agent = matches.get_one::<String>("agent").map_or("wslab", String::as_str);
    let timeout = matches.get_one::<Duration>("timeout").copied().unwrap_or(HANDSHAKE);
    let client = peer.client(Settings::default(), HANDSHAKE, Visitor::default())?;
    let interrupt = Interrupt::watch(client.waker())?;
    let target = peer.resolve(HANDSHAKE)?;
    let mut tour = Tour { peer: &peer, target, client, interrupt, timeout };

    let count = tour.case_count()?;
    let (first, last) = match matches.get_one::<(u32, u32)>("case").copied() {
        None => (1, count),
        Some((_, last)) if last > count => {
            return Err(Error::Setting(format!("--case {last}: the server has {count} cases")));
        }
        Some(range) => range,
    };
    let (mut run, mut unfinished) = (0, 0);
    let shows_progress = io::stderr().is_terminal();
    for case in first..=last {
        if shows_progress {
            let _ = write!(err, "\rcase {case} of {last} ");
        }
        match tour.visit(&format!("/runCase?case={case}&agent={}", encode(agent)))? {
            Visit::Over => run += 1,
            Visit::TooLong => {
                unfinished += 1;
                let _ = writeln!(err, "wslab: case {case} did not end within {}", show_duration(timeout));
            }
            Visit::Interrupted => break,
        }
    }
    if shows_progress {
        let _ = writeln!(err);
    }
    // Also after Ctrl-C: a report of what was run.
    let interrupted = tour.interrupt.seen();
    tour.visit(&format!("/updateReports?agent={}", encode(agent)))?;
    let _ =
        writeln!(out, "{run} of {} cases run as {agent:?}; the verdicts are in the server's reports", last - first + 1);
    Ok(if unfinished > 0 || interrupted { EXIT_CHECK_FAILED } else { EXIT_OK })
}

struct Tour<'a> {
    peer: &'a Peer,
    target: Target,
    client: Client<Visitor>,
    interrupt: Interrupt,
    timeout: Duration,
}

impl Tour<'_> {
    fn case_count(&mut self) -> Result<u32, Error> {
        self.client.handler_mut().asks = true;
        self.visit("/getCaseCount")?;
        self.client.handler_mut().asks = false;
        let answer = self.client.handler_mut().answer.take();
        answer.as_deref().and_then(|count| count.trim().parse().ok()).ok_or_else(|| {
            Error::Unreached(format!(
                "wslab: {} is no fuzzing server: /getCaseCount was not answered with a number",
                self.peer.url
            ))
        })
    }

    /// Opens a connection there and does what the other end asks until it is gone.
    fn visit(&mut self, resource: &str) -> Result<Visit, Error> {
        let target =
            self.target.with_resource(resource).map_err(|error| Error::Setting(format!("{resource}: {error}")))?;
        let asks = self.client.handler().asks;
        *self.client.handler_mut() = Visitor { asks, ..Visitor::default() };
        let already_interrupted = self.interrupt.seen();
        let id = self.client.open(&target).map_err(|error| self.peer.unopened(&error))?;
        let deadline = Instant::now() + self.timeout;
        while !self.client.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || (self.interrupt.seen() && !already_interrupted) {
                self.client.abort(id);
                return Ok(if left.is_zero() { Visit::TooLong } else { Visit::Interrupted });
            }
            self.client.turn(Some(left)).map_err(|source| Error::System { doing: "wait for events", source })?;
        }
        let visitor = self.client.handler();
        match &visitor.ended {
            Some(closure) if !visitor.opened => {
                Err(self.peer.failed(visitor.trouble.as_deref(), closure, self.client.timeline(id), HANDSHAKE))
            }
            _ => Ok(Visit::Over),
        }
    }
}

/// As part of a query (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(octet as char);
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_one_or_from_to() {
        for (text, expected) in [
            ("7", Ok((7, 7))),
            ("1..16", Ok((1, 16))),
            ("3..3", Ok((3, 3))),
            ("0", Err(())),
            ("5..4", Err(())),
            ("..4", Err(())),
            ("1.1.1", Err(())),
        ] {
            assert_eq!(cases(text).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn an_agents_name_survives_the_query() {
        assert_eq!(encode("wslab 0.1/ws&é"), "wslab%200.1%2Fws%26%C3%A9");
    }
}
