//! How the messages of a piece come about: a closed loop, an open one, or none until the end. Each returns how long it measured.

use std::{io, time::Duration};

use super::{
    clock::nanos,
    measured::ErrorKind,
    piece::Piece,
    plan::{OUTSTANDING_MAX, Span},
    schedule::Schedule,
};

/// Messages that an open loop sends before it looks for answers.
const BATCH_MAX: usize = 1024;
/// Idle connections asked at once.
const IDLE_BATCH: usize = 16;
/// The longest sleep while nothing is due.
const TICK: u64 = 100_000_000;

impl Piece<'_> {
    pub(super) fn closed_loop(&mut self, pipeline: usize) -> io::Result<Duration> {
        let ids = self.client.handler().open_ids();
        let mut now = self.clock.now();
        let begin = now + nanos(self.task.plan.warmup);
        self.client.handler_mut().quota = u64::MAX;
        if begin == now {
            self.begin_closed(now);
        }
        for id in ids {
            self.client.handler_mut().start(id, pipeline, now);
            let _ = self.client.with_handler(id, |loader, mut sender| loader.fill(id, &mut sender, now));
        }
        loop {
            now = self.clock.now();
            if self.meters.is_none() && now >= begin {
                self.begin_closed(now);
            }
            let end = match self.task.span {
                Span::Time(time) => begin + nanos(time),
                Span::Messages(_) => u64::MAX,
            };
            let done = self.meters.is_some() && (now >= end || self.client.handler().quota == 0);
            if done || self.is_over() {
                break;
            }
            let next = if self.meters.is_none() { begin } else { end };
            let sleep = self.pacer.sleep(next.min(now + TICK), now)?;
            self.turn(sleep)?;
        }
        let loader = self.client.handler_mut();
        let stopped = loader.quota_ended.unwrap_or_else(|| self.clock.now());
        loader.quota = 0;
        Ok(Duration::from_nanos(stopped.saturating_sub(self.begun)))
    }

    fn begin_closed(&mut self, now: u64) {
        self.begin(now);
        if let Span::Messages(messages) = self.task.span {
            self.client.handler_mut().quota = messages;
        }
    }

    pub(super) fn open_loop(&mut self, mut schedule: Schedule) -> io::Result<Duration> {
        let mut ring = self.client.handler().open_ids();
        let mut at = 0;
        let mut left = match self.task.span {
            Span::Messages(messages) => messages,
            Span::Time(_) => u64::MAX,
        };
        let start = self.clock.now();
        let begin = start + nanos(self.task.plan.warmup);
        let end = match self.task.span {
            Span::Time(time) => begin + nanos(time),
            Span::Messages(_) => u64::MAX,
        };
        let (mut first_due, mut last_sent) = (None, begin);
        let patience = nanos(self.task.plan.timeout);
        loop {
            let now = self.clock.now();
            if ring.len() != self.client.handler().opened - self.client.handler().lost {
                ring = self.client.handler().open_ids();
            }
            if ring.is_empty() {
                break;
            }
            while now >= begin && start + schedule.peek() < begin {
                // What is left of the warm-up when its time is over does not count, and is not sent: the load begins on time.
                schedule.take();
            }
            let mut batch = 0;
            let first = at % ring.len();
            while batch < BATCH_MAX && left > 0 && start + schedule.peek() <= now && start + schedule.peek() < end {
                let due = start + schedule.take();
                if due >= begin {
                    if self.meters.is_none() {
                        self.begin(begin);
                    }
                    left -= 1;
                    first_due.get_or_insert(due);
                }
                batch += 1;
                at = first + batch;
                let loader = self.client.handler_mut();
                if loader.outstanding >= OUTSTANDING_MAX {
                    loader.recorder.message_error(due >= begin, now, ErrorKind::Resources, 1, || {
                        format!("{OUTSTANDING_MAX} messages were under way: those due meanwhile were not sent: lower the rate")
                    });
                    continue;
                }
                loader.is_due(ring[(at - 1) % ring.len()], Some(due));
            }
            // Several for one connection leave together.
            for offset in 0..batch.min(ring.len()) {
                let id = ring[(first + offset) % ring.len()];
                let _ = self.client.with_handler(id, |loader, mut sender| loader.fill(id, &mut sender, now));
            }
            if batch > 0 {
                last_sent = self.clock.at(self.client.now());
            }
            let next = start + schedule.peek();
            let done = left == 0 || (next >= end && now >= end);
            // So late that the rate was missed, and shows.
            let hopeless = self.meters.is_some() && next.saturating_add(patience) < now;
            if done || hopeless || self.is_over() {
                break;
            }
            let sleep = if next <= now { Duration::ZERO } else { self.pacer.sleep(next.min(end), now)? };
            self.turn(sleep)?;
        }
        if self.meters.is_none() {
            return Ok(Duration::ZERO);
        }
        // Where no time was set, n messages take n gaps and not n - 1: until the next would be due.
        let before_first = first_due.map_or(0, |first| first - begin);
        let gaps_end = (start + schedule.peek()).saturating_sub(before_first);
        let ended = if self.clock.now() < end { gaps_end.min(end) } else { end };
        // A generator that was late took longer than it was to, and its rate shows it.
        Ok(Duration::from_nanos(ended.max(last_sent).saturating_sub(begin)))
    }

    /// Nothing is sent for the span; then everyone is asked once.
    pub(super) fn idle(&mut self) -> io::Result<Duration> {
        let begin = self.clock.now();
        self.begin(begin);
        let Span::Time(time) = self.task.span else { return Ok(Duration::ZERO) };
        while self.clock.now() < begin + nanos(time) && !self.is_over() {
            self.turn(Duration::from_millis(50))?;
        }
        let wall = self.clock.now() - begin;
        let ids = self.client.handler().open_ids();
        for (at, id) in ids.into_iter().enumerate() {
            let now = self.clock.now();
            let loader = self.client.handler_mut();
            loader.quota = 1;
            loader.start(id, 1, now);
            let _ = self.client.with_handler(id, |loader, mut sender| loader.fill(id, &mut sender, now));
            if at % IDLE_BATCH == IDLE_BATCH - 1 {
                // Answers are read in between, so that the last does not wait for all the others.
                self.turn(Duration::ZERO)?;
            }
        }
        Ok(Duration::from_nanos(wall))
    }
}
