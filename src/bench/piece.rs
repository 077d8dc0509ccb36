//! One piece of a run: one target, one phase, one round. Opens the connections, warms up, measures, waits for what is under way,
//! closes. One thread; every wait ends.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    clock::{Clock, nanos},
    connect,
    errors::{self, Explain},
    loader::{Loader, Means},
    measured::{Measured, histogram},
    pacer::Pacer,
    payload::Payload,
    plan::{HANDSHAKES_MAX, Load, Phase, Plan, Scenario, Span},
    recorder::{Recorder, Surroundings},
    schedule::Schedule,
    series::Series,
    slow::SlowReaders,
    turns::{MetricsPage, Turns},
    usage::{Meter, Process, Watched},
};
use crate::{
    client::{Client, Config, Target},
    proto::CloseCode,
};

/// How long a closing handshake is waited for, and after Ctrl-C an answer.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a connection that leaves messages unanswered is looked for, and progress told.
const TICK: u64 = 100_000_000;

/// A server under test.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub target: Target,
    /// How to connect there. Limits and timeouts are the generator's own.
    pub config: Config,
    /// Its process, where it runs here and is known.
    pub process: Option<Process>,
    /// Where it tells its metrics, if it is a `wslab serve` and known.
    pub metrics: Option<MetricsPage>,
}

/// What a piece is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) plan: &'a Plan,
    pub(super) endpoint: &'a Endpoint,
    pub(super) payload: &'a Payload,
    pub(super) connections: usize,
    pub(super) span: Span,
    /// Of this piece's arrivals.
    pub(super) seed: u64,
    pub(super) intervals_max: usize,
    pub(super) explain: Explain,
}

/// How far a piece has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of the span, in thousandths.
    pub permille: u64,
    /// Messages that count, so far.
    pub sent: u64,
    /// Their answers.
    pub completed: u64,
    /// What went wrong, in the warm-up too.
    pub errors: u64,
}

/// Whoever looks on.
pub trait Observer {
    /// Whether the run is to end now, with what it has.
    fn interrupted(&self) -> bool;

    /// A piece begins: this target's, in this phase and round.
    fn begins(&mut self, target: usize, phase: &Phase, round: usize);

    /// Told ten times a second.
    fn progress(&mut self, progress: &Progress);
}

/// Runs it.
///
/// # Errors
/// The system has no poll, timer or randomness to give. What goes wrong with connections is in the result.
pub(super) fn run(task: &Task<'_>, observer: &mut dyn Observer) -> io::Result<Measured> {
    if task.plan.scenario == Scenario::Connect {
        return connect::run(task, observer);
    }
    let mut piece = Piece::new(task, observer)?;
    piece.open()?;
    piece.prepare()?;
    let wall = match (task.plan.scenario, task.plan.load) {
        _ if piece.client.handler().opened == 0 => Duration::ZERO,
        (Scenario::Idle, _) => piece.idle()?,
        (_, Load::Closed { pipeline }) => piece.closed_loop(pipeline.get())?,
        (_, Load::Open { rate, arrivals, .. }) => piece.open_loop(Schedule::new(rate, arrivals, task.seed))?,
    };
    piece.finish(wall)
}

pub(super) struct Piece<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) clock: Clock,
    pub(super) client: Client<Loader>,
    pub(super) pacer: Pacer,
    slow: Option<SlowReaders>,
    watched: Option<Watched>,
    turns: Option<Turns>,
    pub(super) meters: Option<(Meter, Meter)>,
    next_tick: u64,
    /// Messages under way when what counts began.
    under_way: u64,
    /// What the span is measured by, for the progress.
    pub(super) begun: u64,
}

impl<'a> Piece<'a> {
    fn new(task: &'a Task<'a>, observer: &'a mut dyn Observer) -> io::Result<Piece<'a>> {
        let plan = task.plan;
        let clock = Clock::start();
        let means = match plan.scenario {
            Scenario::Ping => Means::Ping,
            _ => Means::Message { kind: task.payload.kind(), frame_bytes: plan.fragment.map(|octets| octets.get()) },
        };
        let span = match task.span {
            Span::Time(time) => Some(time),
            Span::Messages(_) => None,
        };
        let recorder = Recorder::new(Series::new(span, task.intervals_max));
        let timeout = nanos(plan.timeout);
        let loader = Loader::new(clock, task.payload.clone(), means, plan.check, timeout, recorder, task.explain);
        let watched = task.endpoint.process.map(Watched::before);
        let turns = task.endpoint.metrics.as_ref().map(Turns::new);
        let client = Client::new(&config(task), loader)?;
        let pacer = Pacer::new(plan.load.pace(), &client)?;
        Ok(Piece {
            task,
            observer,
            clock,
            client,
            pacer,
            slow: None,
            watched,
            turns,
            meters: None,
            next_tick: 0,
            under_way: 0,
            begun: 0,
        })
    }

    /// Opens all connections, some at a time; ends when each is open or has failed.
    fn open(&mut self) -> io::Result<()> {
        let _spare = self.pacer.reserve()?;
        let wanted = self.task.connections;
        let mut begun = 0;
        loop {
            let settled = self.client.handler().opened + self.client.handler().failed;
            while begun < wanted && begun - settled < HANDSHAKES_MAX {
                begun += 1;
                match self.client.open(&self.task.endpoint.target) {
                    Ok(id) => self.client.handler_mut().begun(id),
                    Err(error) => {
                        let (kind, words) = errors::unopened(&error, self.task.explain);
                        let now = self.clock.now();
                        let loader = self.client.handler_mut();
                        loader.recorder.error(now, kind, (wanted - begun + 1) as u64, || words);
                        // The next would fare the same.
                        begun = wanted;
                        loader.failed += 1;
                    }
                }
            }
            let loader = self.client.handler();
            let under_way = self.client.len() > loader.opened - loader.lost;
            if (begun == wanted && !under_way) || self.observer.interrupted() {
                return Ok(());
            }
            self.client.turn(Some(Duration::from_millis(50)))?;
            self.note_opened();
            self.tick();
        }
    }

    fn note_opened(&mut self) {
        for (id, at) in std::mem::take(&mut self.client.handler_mut().news) {
            let Some(begun) = self.client.timeline(id).map(|timeline| self.clock.at(timeline.begun)) else { continue };
            let handshake = at.saturating_sub(begun).max(1);
            self.client.handler_mut().recorder.handshake.saturating_record(handshake);
        }
    }

    /// Between opening and load.
    fn prepare(&mut self) -> io::Result<()> {
        if let Some(watched) = &mut self.watched {
            watched.connected();
        }
        if self.task.plan.scenario == Scenario::SlowReader && self.client.handler().opened > 0 {
            self.slow = Some(SlowReaders::open(self.task, &config(self.task))?);
        }
        Ok(())
    }

    /// What counts begins at this time.
    pub(super) fn begin(&mut self, at: u64) {
        self.client.handler_mut().count_from(at);
        self.under_way = self.client.handler().outstanding;
        if let Some(watched) = &mut self.watched {
            watched.begun();
        }
        self.turns.iter_mut().for_each(Turns::begun);
        self.begun = at;
        let meter = Meter::read();
        self.meters = Some((meter, meter));
    }

    #[inline]
    pub(super) fn turn(&mut self, sleep: Duration) -> io::Result<()> {
        self.client.turn(Some(sleep))?;
        if self.next_tick <= self.clock.at(self.client.now()) {
            self.tick();
        }
        Ok(())
    }

    #[cold]
    fn tick(&mut self) {
        let now = self.clock.now();
        self.next_tick = now + TICK;
        if let Some(slow) = &mut self.slow {
            slow.turn();
        }
        for id in self.client.handler().stuck(now) {
            self.client.handler_mut().blame_timeout();
            self.client.abort(id);
        }
        let recorder = &self.client.handler().recorder;
        let permille = match self.task.span {
            _ if self.meters.is_none() => 0,
            Span::Time(time) => now.saturating_sub(self.begun) * 1000 / nanos(time).max(1),
            Span::Messages(messages) => recorder.sent * 1000 / messages.max(1),
        };
        let errors = recorder.errors.count() + recorder.warmup_errors.count();
        let (sent, completed) = (recorder.sent, recorder.completed);
        self.observer.progress(&Progress { permille: permille.min(1000), sent, completed, errors });
    }

    /// Nobody is left, or nobody wants it any more.
    pub(super) fn is_over(&self) -> bool {
        let loader = self.client.handler();
        loader.opened == loader.lost || self.observer.interrupted()
    }

    /// Once no more messages are under way than when it began, the target's CPU time went into as many as were answered meanwhile:
    /// whoever waits for all of them has those of the warm-up served at this one's cost.
    fn note_served(&mut self) {
        let loader = self.client.handler();
        if let Some(watched) = self.watched.as_mut().filter(|_| loader.outstanding <= self.under_way) {
            watched.served(loader.recorder.answers());
        }
    }

    /// Waits for what is under way, says goodbye, and sums up.
    fn finish(mut self, wall: Duration) -> io::Result<Measured> {
        if let Some((_, ended)) = &mut self.meters {
            *ended = Meter::read();
        }
        let interrupted = self.observer.interrupted();
        let patience = if interrupted { self.task.plan.timeout.min(GOODBYE) } else { self.task.plan.timeout };
        let deadline = Instant::now() + patience;
        self.note_served();
        while self.client.handler().outstanding > 0 && (interrupted || !self.is_over()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn(left.min(Duration::from_millis(50)))?;
            self.note_served();
        }
        let answers = self.client.handler().recorder.answers();
        let watched = self.watched.take().filter(|_| self.meters.is_some());
        let served = watched.and_then(|watched| watched.ended(answers));
        let turns = self.turns.take().map_or_else(histogram, Turns::ended);
        let now = self.clock.now();
        let loader = self.client.handler_mut();
        loader.give_up(now, !interrupted);
        loader.closing = true;
        let connections = loader.opened as u64;
        for id in loader.open_ids() {
            let _ = self.client.with_sender(id, |mut sender| sender.close(CloseCode::NORMAL, ""));
        }
        self.client.run_until(Instant::now() + GOODBYE)?;
        let wanted_rate = match self.task.plan.load {
            Load::Open { rate, .. } => Some(rate),
            Load::Closed { .. } => None,
        };
        let generator = self.meters.map(|(begun, ended)| ended.since(&begun)).unwrap_or_default();
        let loader = self.client.into_handler();
        Ok(loader.recorder.finish(Surroundings { wall, connections, wanted_rate, generator, served, turns }))
    }
}

/// The client's settings: it never stops reading because its own output is stuck, so that a server that does the same can not be
/// waited for in a circle. The queue is bounded where messages are queued.
pub(super) fn config(task: &Task<'_>) -> Config {
    let mut config = task.endpoint.config.clone();
    let settings = &mut config.settings;
    settings.limits.queue_high_bytes = usize::MAX;
    let message_bytes = task.payload.len() as u64 * 2;
    settings.limits.message_bytes_max = settings.limits.message_bytes_max.max(message_bytes);
    settings.limits.frame_bytes_max = settings.limits.frame_bytes_max.max(message_bytes);
    settings.timeouts.handshake = task.plan.timeout;
    settings.timeouts.write_stall = task.plan.timeout;
    config
}
