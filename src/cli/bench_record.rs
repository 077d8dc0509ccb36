//! What was asked and what came of it, put together as a [`Run`].

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use clap::ArgMatches;

use super::{
    error::Error,
    units::{show_duration, show_size},
};
use crate::{
    bench::{
        Endpoint, Fingerprint, Measured, Part, Plan,
        assertion::find_target,
        plan::{Arrivals, Load, Pace, Scenario, Span},
        run::{Floor, Phase, Piece, Run, Target, Workload},
    },
    proto::MessageKind,
};

/// The run before anything is measured. Looks at the machine as well, which is as idle now as it will be.
pub(super) fn begin(matches: &ArgMatches, plan: &Plan, endpoints: &[Endpoint]) -> Result<Run, Error> {
    let mut run = Run {
        began: SystemTime::now(),
        elapsed: Duration::ZERO,
        interrupted: false,
        workload: workload(matches, plan),
        machines: vec![Fingerprint::take()],
        floor: None,
        targets: targets(matches, endpoints)?,
        reference: 0,
        interleaved: endpoints.len() > 1,
        phases: phases(plan),
        until: None,
        pieces: Vec::new(),
    };
    if let Some(wanted) = matches.get_one::<String>("reference") {
        run.reference = find_target(&run, wanted).ok_or_else(|| {
            let known: Vec<&str> = run.targets.iter().map(|target| target.name.as_str()).collect();
            Error::Setting(format!("wslab: --reference {wanted}: expected one of {}", known.join(", ")))
        })?;
    }
    Ok(run)
}

/// The whole run.
pub(super) fn complete(run: Run, plan: &Plan, floor: Option<&Measured>, parts: Vec<Part>, interrupted: bool) -> Run {
    let pieces = parts.into_iter().map(|part| Piece {
        target: part.target,
        phase: part.phase,
        round: u32::try_from(part.round).unwrap_or(u32::MAX),
        machine: 0,
        measured: part.measured,
    });
    Run {
        elapsed: SystemTime::now().duration_since(run.began).unwrap_or_default(),
        interrupted,
        floor: floor.map(|measured| floor_of(plan, measured)),
        pieces: pieces.collect(),
        ..run
    }
}

/// The part of a floor's measuring that is kept.
fn floor_of(plan: &Plan, measured: &Measured) -> Floor {
    Floor {
        payload_bytes: plan.payloads.first().map_or(0, |payload| payload.len() as u64),
        wanted_rate: measured.wanted_rate,
        latency: measured.latency().clone(),
        lateness: measured.lateness.clone(),
        cpu_per_message: u32::try_from(measured.sent).ok().and_then(|sent| measured.generator.cpu.checked_div(sent)),
    }
}

/// Called by `--name`, or by URL; with its place where that is not enough.
fn targets(matches: &ArgMatches, endpoints: &[Endpoint]) -> Result<Vec<Target>, Error> {
    let names: Vec<&String> = matches.get_many("name").into_iter().flatten().collect();
    if names.len() > endpoints.len() {
        return Err(Error::Setting("wslab: more --name than URLs: each belongs to the URL of its place".to_owned()));
    }
    let urls: Vec<String> = endpoints.iter().map(|endpoint| endpoint.target.url().to_string()).collect();
    let wanted: Vec<String> =
        urls.iter().enumerate().map(|(at, url)| names.get(at).map_or(url, |name| *name).clone()).collect();
    let name = |at: usize| {
        let name = &wanted[at];
        let several = wanted.iter().filter(|other| *other == name).count() > 1;
        if several { format!("{name} #{}", at + 1) } else { name.clone() }
    };
    let target = |(at, endpoint): (usize, &Endpoint)| Target {
        name: name(at),
        url: urls[at].clone(),
        pid: endpoint.process.map(|process| process.pid()),
    };
    Ok(endpoints.iter().enumerate().map(target).collect())
}

/// Named by what tells them apart.
fn phases(plan: &Plan) -> Vec<Phase> {
    let has_size = !matches!(plan.scenario, Scenario::Connect);
    let named = plan.phases().into_iter().map(|phase| {
        let bytes = plan.payloads.get(phase.payload).map_or(0, |payload| payload.len() as u64);
        let connections = phase.connections.get() as u64;
        let words = [
            (plan.scenario != Scenario::Echo).then(|| plan.scenario.name().to_owned()),
            has_size.then(|| show_size(bytes)),
            (connections > 1 || plan.connections.len() > 1).then(|| format!("x{connections}")),
        ];
        Phase {
            name: words.into_iter().flatten().collect::<Vec<_>>().join(" "),
            scenario: plan.scenario.name().to_owned(),
            payload_bytes: has_size.then_some(bytes),
            connections,
        }
    });
    named.collect()
}

fn workload(matches: &ArgMatches, plan: &Plan) -> Workload {
    let mut settings = BTreeMap::new();
    let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
    set("scenario", plan.scenario.name().to_owned());
    set("timeout", show_duration(plan.timeout));
    set("warmup", show_duration(plan.warmup));
    set("seed", plan.seed.to_string());
    set("check", plan.check.to_string());
    match plan.span {
        Span::Time(time) => set("duration", show_duration(time)),
        Span::Messages(messages) => set("messages", messages.to_string()),
    };
    match plan.load {
        Load::Open { rate, arrivals, pace } => {
            set("rate", format!("{rate}/s"));
            set("arrivals", if arrivals == Arrivals::Poisson { "poisson" } else { "constant" }.to_owned());
            set("pace", if pace == Pace::Spin { "spin" } else { "timerfd" }.to_owned());
        }
        Load::Closed { pipeline } => {
            set("pipeline", pipeline.to_string());
        }
    }
    let connections: Vec<String> = plan.connections.iter().map(ToString::to_string).collect();
    set("connections", connections.join(","));
    if plan.scenario != Scenario::Connect {
        let sizes: Vec<String> = plan.payloads.iter().map(|payload| show_size(payload.len() as u64)).collect();
        set("size", sizes.join(","));
        let is_text = plan.payloads.iter().all(|payload| payload.kind() == MessageKind::Text);
        set("kind", if is_text { "text" } else { "binary" }.to_owned());
    }
    if let Some(octets) = plan.fragment {
        set("fragment", show_size(octets.get() as u64));
    }
    if let Some(mode) = matches.get_one::<String>("deflate") {
        set("deflate", mode.clone());
    }
    let random_arrivals = matches!(plan.load, Load::Open { arrivals: Arrivals::Poisson, .. });
    Workload { rounds: u32::try_from(plan.rounds.get()).unwrap_or(u32::MAX), random_arrivals, settings }
}
