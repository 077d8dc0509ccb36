//! The scenario `connect`: TCP, TLS, upgrade, Close, again and again. Its messages are opening handshakes: response time counts from
//! when one was due (in an open loop), service time from its connect(2), both until the 101 was read.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use super::{
    clock::{Clock, nanos},
    errors::{self, Explain},
    measured::{ErrorKind, Measured, histogram},
    pacer::Pacer,
    piece::{Observer, Progress, Task, config},
    plan::{HANDSHAKES_MAX, Load, Span},
    recorder::{Recorder, Surroundings},
    schedule::Schedule,
    series::Series,
    turns::Turns,
    usage::{Meter, Watched},
};
use crate::{
    client::{Client, Config},
    proto::{CloseCode, Closure, Message, Sender, handshake::Opened},
    session::{ConnId, Handler},
};

/// Handshakes that are due and not begun, at most.
const WAITING_MAX: usize = 1 << 20;
/// How long nothing is opened after a failure of a closed loop: nobody gains by failing faster.
const REST: u64 = 5_000_000;
/// A run in which so many fail and none succeeds ends.
const FAILURES_MAX: u64 = 100;
/// How long closing handshakes are waited for in the end.
const GOODBYE: Duration = Duration::from_secs(1);
const TICK: u64 = 100_000_000;

/// Opens and closes.
#[derive(Debug)]
struct Knocker {
    clock: Clock,
    now: u64,
    /// Opened since the driver looked, and when.
    opened: Vec<(ConnId, u64)>,
    /// Failed since then.
    failed: Vec<(ConnId, ErrorKind, String)>,
    explain: Explain,
    trouble: Option<(ErrorKind, String)>,
}

impl Handler for Knocker {
    fn on_read(&mut self, _: ConnId) {
        self.now = self.clock.now();
    }

    fn on_open(&mut self, id: ConnId, _: &Opened, mut sender: Sender<'_>) {
        self.opened.push((id, self.now));
        let _ = sender.close(CloseCode::NORMAL, "");
    }

    fn on_message(&mut self, _: ConnId, _: Message<'_>, _: Sender<'_>) {}

    fn on_error(&mut self, _: ConnId, error: &io::Error) {
        self.trouble = Some((errors::kind_of(error, false), (self.explain)(error)));
    }

    fn on_close(&mut self, _: ConnId, _: &Closure) {
        // The handshake is what counts; how the other end closes is not judged here.
        self.trouble = None;
    }

    fn on_failed(&mut self, id: ConnId, closure: &Closure) {
        let (kind, words) = self.trouble.take().unwrap_or_else(|| errors::failure(closure));
        self.failed.push((id, kind, words));
    }
}

/// A handshake under way, by slab key.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    intended: Option<u64>,
    counts: bool,
}

struct Run<'a> {
    task: &'a Task<'a>,
    clock: Clock,
    client: Client<Knocker>,
    recorder: Recorder,
    attempts: Vec<Option<Attempt>>,
    under_way: usize,
    counting: bool,
    opened: u64,
    rest_until: u64,
    begun: u64,
}

/// Runs the piece.
///
/// # Errors
/// As for [`super::piece::run`].
pub(super) fn run(task: &Task<'_>, observer: &mut dyn Observer) -> io::Result<Measured> {
    let clock = Clock::start();
    let span = match task.span {
        Span::Time(time) => Some(time),
        Span::Messages(_) => None,
    };
    let knocker =
        Knocker { clock, now: 0, opened: Vec::new(), failed: Vec::new(), explain: task.explain, trouble: None };
    // A socket that we close first would keep its port for a minute: the server ends TCP, and is waited for.
    let config = Config { linger: Duration::from_millis(100), ..config(task) };
    let mut watched = task.endpoint.process.map(Watched::before);
    let mut turns = task.endpoint.metrics.as_ref().map(Turns::new);
    let mut run = Run {
        task,
        clock,
        client: Client::new(&config, knocker)?,
        recorder: Recorder::new(Series::new(span, task.intervals_max)),
        attempts: Vec::new(),
        under_way: 0,
        counting: false,
        opened: 0,
        rest_until: 0,
        begun: 0,
    };
    let schedule = match task.plan.load {
        Load::Open { rate, arrivals, .. } => Some(Schedule::new(rate, arrivals, task.seed)),
        Load::Closed { .. } => None,
    };
    let mut meters = None;
    let wall = run.drive(schedule, observer, &mut || {
        if let Some(watched) = &mut watched {
            watched.connected();
            watched.begun();
        }
        turns.iter_mut().for_each(Turns::begun);
        meters = Some(Meter::read());
    })?;
    let generator = meters.map(|begun| Meter::read().since(&begun)).unwrap_or_default();
    run.drain(observer)?;
    let served = watched.and_then(|watched| watched.ended(run.recorder.answers()));
    let turns = turns.map_or_else(histogram, Turns::ended);
    let wanted_rate = match task.plan.load {
        Load::Open { rate, .. } => Some(rate),
        Load::Closed { .. } => None,
    };
    let connections = task.connections as u64;
    Ok(run.recorder.finish(Surroundings { wall, connections, wanted_rate, generator, served, turns }))
}

impl Run<'_> {
    fn drive(
        &mut self,
        mut schedule: Option<Schedule>,
        observer: &mut dyn Observer,
        on_begin: &mut dyn FnMut(),
    ) -> io::Result<Duration> {
        let mut pacer = Pacer::new(self.task.plan.load.pace(), &self.client)?;
        let start = self.clock.now();
        let begin = start + nanos(self.task.plan.warmup);
        let (end, mut left) = match self.task.span {
            Span::Time(time) => (begin + nanos(time), u64::MAX),
            Span::Messages(messages) => (u64::MAX, messages),
        };
        let mut waiting: VecDeque<u64> = VecDeque::new();
        let mut next_tick = start;
        let (mut first_due, mut last_begun) = (None, begin);
        loop {
            let now = self.clock.now();
            if !self.counting && now >= begin {
                self.counting = true;
                self.begun = begin;
                self.recorder.begin(begin);
                on_begin();
            }
            if let Some(schedule) = &mut schedule {
                while start + schedule.peek() <= now && start + schedule.peek() < end && waiting.len() < WAITING_MAX {
                    waiting.push_back(start + schedule.take());
                }
                while self.under_way < HANDSHAKES_MAX && left > 0 {
                    let Some(due) = waiting.pop_front() else { break };
                    let counts = due >= begin;
                    left -= u64::from(counts);
                    if counts {
                        first_due.get_or_insert(due);
                    }
                    last_begun = now;
                    self.begin_one(Attempt { intended: Some(due), counts }, now);
                }
            } else {
                while self.client.len() < self.task.connections && left > 0 && now >= self.rest_until && now < end {
                    left -= u64::from(self.counting);
                    last_begun = now;
                    if !self.begin_one(Attempt { intended: None, counts: self.counting }, now) {
                        break;
                    }
                }
            }
            let next_due = schedule.as_ref().map_or(u64::MAX, |schedule| start + schedule.peek());
            let all_sent =
                waiting.is_empty() || waiting.front().is_some_and(|due| due + nanos(self.task.plan.timeout) < now);
            let done = left == 0 || (now >= end && all_sent);
            let hopeless = self.opened == 0 && self.errors() >= FAILURES_MAX;
            if done || hopeless || observer.interrupted() {
                break;
            }
            let rests = if now < self.rest_until { self.rest_until } else { u64::MAX };
            let next = next_due.min(if self.counting { end } else { begin }).min(rests).max(now + 1);
            // What waits is begun when another one has opened.
            let sleep = pacer.sleep(next.min(now + TICK), now)?;
            self.turn(sleep)?;
            if now >= next_tick {
                next_tick = now + TICK;
                self.tell(observer);
            }
        }
        // In an open loop n handshakes take n gaps and not n - 1: until the next would be due.
        let next_due = waiting.front().copied().or_else(|| schedule.as_ref().map(|schedule| start + schedule.peek()));
        let stopped = match (left, next_due, first_due) {
            (0, Some(next), Some(first)) => next - (first - begin),
            (0, ..) => last_begun,
            _ => end.min(self.clock.now()),
        };
        Ok(Duration::from_nanos(stopped.max(last_begun).saturating_sub(begin)))
    }

    /// Returns whether it was begun.
    fn begin_one(&mut self, attempt: Attempt, now: u64) -> bool {
        if attempt.counts {
            self.recorder.sent(now, 1, 0);
        }
        match self.client.open(&self.task.endpoint.target) {
            Ok(id) => {
                let at = id.key as usize;
                if self.attempts.len() <= at {
                    self.attempts.resize(at + 1, None);
                }
                self.attempts[at] = Some(attempt);
                self.under_way += 1;
                if let (Some(intended), true) = (attempt.intended, attempt.counts) {
                    let begun = self.client.timeline(id).map_or(now, |timeline| self.clock.at(timeline.begun));
                    self.recorder.late(begun.saturating_sub(intended));
                }
                true
            }
            Err(error) => {
                let (kind, words) = errors::unopened(&error, self.task.explain);
                self.recorder.message_error(attempt.counts, now, kind, 1, || words);
                self.rest_until = now + REST;
                false
            }
        }
    }

    fn turn(&mut self, sleep: Duration) -> io::Result<()> {
        self.client.turn(Some(sleep))?;
        for (id, at) in std::mem::take(&mut self.client.handler_mut().opened) {
            let Some(attempt) = self.attempts.get_mut(id.key as usize).and_then(Option::take) else { continue };
            self.under_way -= 1;
            self.opened += 1;
            let begun = self.client.timeline(id).map_or(at, |timeline| self.clock.at(timeline.begun));
            if attempt.counts {
                let service = at.saturating_sub(begun);
                self.recorder.handshake.saturating_record(service.max(1));
                self.recorder.answered(at, attempt.intended.map(|due| at.saturating_sub(due)), service, 0);
            }
        }
        for (id, kind, words) in std::mem::take(&mut self.client.handler_mut().failed) {
            let attempt = self.attempts.get_mut(id.key as usize).and_then(Option::take);
            self.under_way -= usize::from(attempt.is_some());
            let now = self.clock.now();
            self.rest_until = now + REST;
            let counts = attempt.map_or(self.counting, |attempt| attempt.counts);
            self.recorder.message_error(counts, now, kind, 1, || words);
        }
        Ok(())
    }

    /// What went wrong so far, in the warm-up too.
    fn errors(&self) -> u64 {
        self.recorder.errors.count() + self.recorder.warmup_errors.count()
    }

    fn tell(&self, observer: &mut dyn Observer) {
        let recorder = &self.recorder;
        let now = self.clock.now();
        let permille = match self.task.span {
            _ if !self.counting => 0,
            Span::Time(time) => now.saturating_sub(self.begun) * 1000 / nanos(time).max(1),
            Span::Messages(messages) => recorder.sent * 1000 / messages.max(1),
        };
        let (sent, completed, errors) = (recorder.sent, recorder.completed, self.errors());
        observer.progress(&Progress { permille: permille.min(1000), sent, completed, errors });
    }

    /// Waits for handshakes under way: each ends by its own timeout. Then for the closing ones.
    fn drain(&mut self, observer: &dyn Observer) -> io::Result<()> {
        let patience = if observer.interrupted() { GOODBYE } else { self.task.plan.timeout + GOODBYE };
        let deadline = Instant::now() + patience;
        while self.under_way > 0 && Instant::now() < deadline {
            self.turn(Duration::from_millis(20))?;
        }
        self.client.run_until(Instant::now() + GOODBYE).map(|_| ())
    }
}
