//! What is to be run: scenario, load, phases, rounds. Values only, judged by [`Plan::judge`]; nothing here runs.

use std::{num::NonZeroUsize, time::Duration};

use super::payload::Payload;

/// Connections whose opening handshake is under way at once, at most.
pub const HANDSHAKES_MAX: usize = 256;
/// Messages due and unanswered at once, over all connections, at most. One more is not sent, and counts as an error.
pub const OUTSTANDING_MAX: u64 = 1 << 22;
/// Intervals of the series of a whole run, at most: a histogram each, some 100 KiB.
pub const INTERVALS_MAX: usize = 1000;

/// A whole run, for each of its targets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is done with the connections.
    pub scenario: Scenario,
    /// When messages are sent.
    pub load: Load,
    /// How many connections, a phase each. Several: a ramp.
    pub connections: Vec<NonZeroUsize>,
    /// What is sent, a phase each.
    pub payloads: Vec<Payload>,
    /// How much is measured, a target and phase, over all rounds.
    pub span: Span,
    /// What is sent before that, each round, and does not count.
    pub warmup: Duration,
    /// How long to wait for an open connection, and for an answer.
    pub timeout: Duration,
    /// How often the targets take their turn.
    pub rounds: NonZeroUsize,
    /// Whence what is random comes: payload and arrivals.
    pub seed: u64,
    /// Whether answers are compared with what was sent.
    pub check: bool,
    /// Payload octets of a frame at most; `None`: a message is a frame.
    pub fragment: Option<NonZeroUsize>,
}

impl Default for Plan {
    /// What `wslab bench` does unless told otherwise, but without a warm-up.
    fn default() -> Plan {
        Plan {
            scenario: Scenario::Echo,
            load: Load::Closed { pipeline: NonZeroUsize::MIN },
            connections: vec![NonZeroUsize::MIN],
            payloads: vec![Payload::random(64, false, 0)],
            span: Span::Time(Duration::from_secs(10)),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(10),
            rounds: NonZeroUsize::MIN,
            seed: 0,
            check: true,
            fragment: None,
        }
    }
}

/// What is done with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Messages that come back as they are.
    Echo,
    /// A connection each time: TCP, TLS, upgrade, Close.
    Connect,
    /// Pings, answered by Pongs.
    Ping,
    /// Open connections are left alone for the span; then each has to answer one message.
    Idle,
    /// As echo, while other connections, one for four of these, keep sending and hardly read.
    SlowReader,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 5] =
        [Scenario::Echo, Scenario::Connect, Scenario::Ping, Scenario::Idle, Scenario::SlowReader];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Echo => "echo",
            Scenario::Connect => "connect",
            Scenario::Ping => "ping",
            Scenario::Idle => "idle",
            Scenario::SlowReader => "slow-reader",
        }
    }
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// At times that were set before, whatever the answers do.
    Open {
        /// Messages a second, over all connections.
        rate: f64,
        /// How the times are spread.
        arrivals: Arrivals,
        /// How they are met.
        pace: Pace,
    },
    /// The next when an answer has come.
    Closed {
        /// Messages under way on each connection.
        pipeline: NonZeroUsize,
    },
}

impl Load {
    /// How a sleep ends.
    pub fn pace(self) -> Pace {
        match self {
            Load::Open { pace, .. } => pace,
            Load::Closed { .. } => Pace::Timer,
        }
    }
}

/// How the times of an open loop are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// Independent of each other: exponential gaps.
    Poisson,
}

/// How the times of an open loop are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Sleep until a timer fires.
    Timer,
    /// Sleep until shortly before, then poll without sleeping: needs a core that is free.
    Spin,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// What is due within this time.
    Time(Duration),
    /// This many messages.
    Messages(u64),
}

/// One phase: a size with a number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Index among [`Plan::payloads`].
    pub payload: usize,
    /// Connections.
    pub connections: NonZeroUsize,
}

/// Why a plan can not be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A rate that is none.
    #[error("the rate must lie between 0.001/s and 10M/s")]
    Rate,
    /// `connect` has no messages.
    #[error("the scenario connect opens one connection after the other in each place: it has no --pipeline")]
    ConnectPipeline,
    /// A Pong answers all Pings before it (§5.5.3), so which one it answers would be a guess.
    #[error("the scenario ping has one Ping under way on each connection: without --pipeline, or with --rate")]
    PingPipeline,
    /// A control frame's payload.
    #[error("a Ping carries at most 125 octets: take a --size up to 125B")]
    PingSize,
    /// An idle connection sends nothing.
    #[error("the scenario idle sends nothing: it has no --rate, --pipeline or -n")]
    IdleLoad,
    /// Nothing is measured.
    #[error("the run has nothing to measure: its duration or number of messages is less than its rounds need")]
    Empty,
    /// What was asked for would not be what is sent.
    #[error("the number of messages must be a multiple of the rounds")]
    Uneven,
    /// Control frames are never fragmented (§5.5), and no other scenario sends messages.
    #[error("--fragment is for messages: with the scenarios echo and slow-reader")]
    Fragment,
}

impl Plan {
    /// Whether it can be run.
    ///
    /// # Errors
    /// [`PlanError`]
    pub fn judge(&self) -> Result<(), PlanError> {
        let deep = matches!(self.load, Load::Closed { pipeline } if pipeline.get() > 1);
        let open = matches!(self.load, Load::Open { .. });
        if matches!(self.load, Load::Open { rate, .. } if !(0.001..=10e6).contains(&rate)) {
            return Err(PlanError::Rate);
        }
        let empty = match self.span {
            Span::Time(time) => time / self.rounds() < Duration::from_millis(1),
            Span::Messages(messages) => messages < u64::from(self.rounds()),
        };
        match self.scenario {
            _ if empty => Err(PlanError::Empty),
            _ if matches!(self.span, Span::Messages(messages) if messages % u64::from(self.rounds()) != 0) => {
                Err(PlanError::Uneven)
            }
            Scenario::Connect if deep => Err(PlanError::ConnectPipeline),
            Scenario::Ping if deep => Err(PlanError::PingPipeline),
            Scenario::Ping if self.payloads.iter().any(|payload| payload.len() > 125) => Err(PlanError::PingSize),
            Scenario::Idle if open || deep || matches!(self.span, Span::Messages(_)) => Err(PlanError::IdleLoad),
            Scenario::Connect | Scenario::Ping | Scenario::Idle if self.fragment.is_some() => Err(PlanError::Fragment),
            _ => Ok(()),
        }
    }

    /// The phases in their order: all sizes with the first number of connections, then with the next.
    pub fn phases(&self) -> Vec<Phase> {
        let sizes = 0..self.payloads.len();
        self.connections
            .iter()
            .flat_map(|&connections| sizes.clone().map(move |payload| Phase { payload, connections }))
            .collect()
    }

    /// One round's share.
    pub fn share(&self) -> Span {
        match self.span {
            Span::Time(time) => Span::Time(time / self.rounds()),
            Span::Messages(messages) => Span::Messages(messages / u64::from(self.rounds())),
        }
    }

    fn rounds(&self) -> u32 {
        u32::try_from(self.rounds.get()).unwrap_or(u32::MAX)
    }

    /// The most connections of a phase, the slow readers beside them included.
    pub fn connections_max(&self) -> usize {
        let most = self.connections.iter().copied().map(NonZeroUsize::get).max().unwrap_or(1);
        if self.scenario == Scenario::SlowReader { most + slow_readers(most) } else { most }
    }
}

/// How many slow readers there are beside so many measured connections.
pub fn slow_readers(connections: usize) -> usize {
    connections.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn plan() -> Plan {
        Plan { rounds: number(10), ..Plan::default() }
    }

    #[test]
    fn what_can_not_be_run_is_refused() {
        let open = |rate| Load::Open { rate, arrivals: Arrivals::Constant, pace: Pace::Timer };
        let deep = Load::Closed { pipeline: number(2) };
        let frames = Some(number(10));
        let rows: [(Plan, Option<PlanError>); 18] = [
            (plan(), None),
            (Plan { load: open(0.0), ..plan() }, Some(PlanError::Rate)),
            (Plan { load: open(f64::NAN), ..plan() }, Some(PlanError::Rate)),
            (Plan { load: open(1e9), ..plan() }, Some(PlanError::Rate)),
            (Plan { load: open(1e6), ..plan() }, None),
            (Plan { scenario: Scenario::Connect, load: deep, ..plan() }, Some(PlanError::ConnectPipeline)),
            (Plan { scenario: Scenario::Connect, load: open(1e3), ..plan() }, None),
            (Plan { scenario: Scenario::Ping, load: deep, ..plan() }, Some(PlanError::PingPipeline)),
            (
                Plan { scenario: Scenario::Ping, payloads: vec![Payload::random(126, false, 1)], ..plan() },
                Some(PlanError::PingSize),
            ),
            (Plan { scenario: Scenario::Idle, load: open(1.0), ..plan() }, Some(PlanError::IdleLoad)),
            (Plan { scenario: Scenario::Idle, span: Span::Messages(10), ..plan() }, Some(PlanError::IdleLoad)),
            (Plan { scenario: Scenario::Idle, ..plan() }, None),
            (Plan { scenario: Scenario::Ping, fragment: frames, ..plan() }, Some(PlanError::Fragment)),
            (Plan { fragment: frames, ..plan() }, None),
            (Plan { span: Span::Messages(9), ..plan() }, Some(PlanError::Empty)),
            (Plan { span: Span::Messages(1_007), ..plan() }, Some(PlanError::Uneven)),
            (Plan { span: Span::Messages(1_010), ..plan() }, None),
            (Plan { span: Span::Time(Duration::from_millis(9)), ..plan() }, Some(PlanError::Empty)),
        ];
        for (at, (plan, expected)) in rows.into_iter().enumerate() {
            assert_eq!(plan.judge().err(), expected, "row {at}");
        }
    }

    #[test]
    fn phases_are_every_size_with_every_number_of_connections() {
        let sizes = [64, 1024].map(|size| Payload::random(size, false, 1)).to_vec();
        let plan = Plan { connections: vec![number(1), number(8)], payloads: sizes, ..plan() };
        let phases: Vec<_> = plan.phases().iter().map(|phase| (phase.connections.get(), phase.payload)).collect();
        assert_eq!(phases, [(1, 0), (1, 1), (8, 0), (8, 1)]);
        assert_eq!(plan.share(), Span::Time(Duration::from_secs(1)));
        assert_eq!(plan.connections_max(), 8);
        assert_eq!(Plan { scenario: Scenario::SlowReader, ..plan }.connections_max(), 10);
    }
}
