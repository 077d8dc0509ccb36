//! What a piece measures, in the making. Nothing counts before [`Recorder::begin`], except errors of connections; those of the
//! warm-up's messages are kept apart. Times are nanoseconds by the piece's clock.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::{
    errors::Errors,
    measured::{ErrorKind, Measured, Served, Usage, histogram},
    series::Series,
};

/// Collects latencies, counts and errors.
#[derive(Debug)]
pub(super) struct Recorder {
    begun: Option<Begun>,
    pub(super) sent: u64,
    pub(super) completed: u64,
    carried: u64,
    bytes_sent: u64,
    bytes_received: u64,
    response: Histogram<u64>,
    service: Histogram<u64>,
    lateness: Histogram<u64>,
    pub(super) handshake: Histogram<u64>,
    series: Series,
    pub(super) errors: Errors,
    pub(super) warmup_errors: Errors,
    same: Same,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: u64,
    started: SystemTime,
}

/// Answers in a row that arrived together and whose messages left together: of a pipeline they are many, and recorded at once.
#[derive(Clone, Copy, Debug, Default)]
struct Same {
    arrived: u64,
    service: u64,
    count: u64,
}

/// What the driver of a piece adds in the end.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) wall: Duration,
    pub(super) connections: u64,
    pub(super) wanted_rate: Option<f64>,
    pub(super) generator: Usage,
    pub(super) served: Option<Served>,
    pub(super) turns: Histogram<u64>,
}

impl Recorder {
    pub(super) fn new(series: Series) -> Recorder {
        Recorder {
            begun: None,
            sent: 0,
            completed: 0,
            carried: 0,
            bytes_sent: 0,
            bytes_received: 0,
            response: histogram(),
            service: histogram(),
            lateness: histogram(),
            handshake: histogram(),
            series,
            errors: Errors::default(),
            warmup_errors: Errors::default(),
            same: Same::default(),
        }
    }

    /// From this time on, which is now, it counts.
    pub(super) fn begin(&mut self, at: u64) {
        self.begun = Some(Begun { at, started: SystemTime::now() });
    }

    fn since_begin(&self, time: u64) -> u64 {
        self.begun.map_or(0, |begun| time.saturating_sub(begun.at))
    }

    /// Messages were queued.
    #[inline]
    pub(super) fn sent(&mut self, now: u64, messages: u64, payload_bytes: u64) {
        self.sent += messages;
        self.bytes_sent += messages * payload_bytes;
        let time = self.since_begin(now);
        self.series.at(time).sent += messages;
    }

    /// A message was written so much later than it was due.
    #[inline]
    pub(super) fn late(&mut self, lateness: u64) {
        self.lateness.saturating_record(lateness.max(1));
    }

    /// An answer to a message that does not count.
    #[inline]
    pub(super) fn carried(&mut self) {
        self.carried += u64::from(self.begun.is_some());
    }

    /// Answers since the begin, those to messages from before included.
    pub(super) fn answers(&self) -> u64 {
        self.completed + self.carried
    }

    /// An answer that was right. `response`: in an open loop.
    #[inline]
    pub(super) fn answered(&mut self, arrived: u64, response: Option<u64>, service: u64, payload_bytes: u64) {
        self.completed += 1;
        self.bytes_received += payload_bytes;
        if let Some(response) = response {
            self.response.saturating_record(response.max(1));
            self.service.saturating_record(service.max(1));
            let time = self.since_begin(arrived);
            let cell = self.series.at(time);
            cell.record(response, 1);
            return;
        }
        if self.same.arrived != arrived || self.same.service != service {
            self.record_same();
            self.same = Same { arrived, service, count: 0 };
        }
        self.same.count += 1;
    }

    fn record_same(&mut self) {
        let Same { arrived, service, count } = std::mem::take(&mut self.same);
        if count > 0 {
            self.service.saturating_record_n(service.max(1), count);
            let time = self.since_begin(arrived);
            let cell = self.series.at(time);
            cell.record(service, count);
        }
    }

    /// Something went wrong with a message; `counts`: not with one of the warm-up.
    pub(super) fn message_error(
        &mut self,
        counts: bool,
        now: u64,
        kind: ErrorKind,
        count: u64,
        words: impl FnOnce() -> String,
    ) {
        if counts {
            self.error(now, kind, count, words);
        } else {
            self.warmup_errors.add(kind, count, words);
        }
    }

    /// Something went wrong that counts whenever it was: a connection that the load goes without.
    pub(super) fn error(&mut self, now: u64, kind: ErrorKind, count: u64, words: impl FnOnce() -> String) {
        self.errors.add(kind, count, words);
        if self.begun.is_some() {
            let time = self.since_begin(now);
            self.series.at(time).errors += count;
        }
    }

    /// All of it.
    pub(super) fn finish(mut self, around: Surroundings) -> Measured {
        self.record_same();
        Measured {
            started: self.begun.map_or_else(SystemTime::now, |begun| begun.started),
            wall: around.wall,
            connections: around.connections,
            sent: self.sent,
            completed: self.completed,
            payload_bytes_sent: self.bytes_sent,
            payload_bytes_received: self.bytes_received,
            wanted_rate: around.wanted_rate,
            response: self.response,
            service: self.service,
            lateness: self.lateness,
            handshake: self.handshake,
            turns: around.turns,
            series: self.series.finish(),
            errors: self.errors.0,
            warmup_errors: self.warmup_errors.0,
            generator: around.generator,
            served: around.served,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(recorder: Recorder) -> Measured {
        recorder.finish(Surroundings {
            wall: Duration::from_secs(1),
            connections: 1,
            wanted_rate: None,
            generator: Usage::default(),
            served: None,
            turns: histogram(),
        })
    }

    #[test]
    fn answers_that_arrive_together_count_each() {
        let mut recorder = Recorder::new(Series::new(None, 10));
        recorder.begin(1000);
        for (arrived, service, times) in [(2000, 500, 7), (2000, 700, 1), (200_000_000, 500, 2)] {
            (0..times).for_each(|_| recorder.answered(arrived, None, service, 64));
        }
        let measured = finish(recorder);
        assert_eq!((measured.completed, measured.payload_bytes_received), (10, 640));
        assert_eq!(
            (measured.service.len(), measured.service.count_at(500), measured.service.count_at(700)),
            (10, 9, 1)
        );
        assert!(measured.response.is_empty() && measured.lateness.is_empty());
        let over_time: Vec<_> = measured.series.iter().map(|one| (one.completed, one.latency.len())).collect();
        assert_eq!(over_time, [(8, 8), (2, 2)]);
    }

    #[test]
    fn answers_to_the_warm_up_are_carried_from_the_begin_on() {
        let mut recorder = Recorder::new(Series::new(None, 10));
        recorder.carried();
        recorder.begin(0);
        (0..3).for_each(|_| recorder.carried());
        recorder.answered(10, None, 5, 1);
        assert_eq!((recorder.answers(), finish(recorder).completed), (4, 1));
    }

    #[test]
    fn an_open_loop_has_both_times_and_shows_the_response_over_time() {
        let mut recorder = Recorder::new(Series::new(None, 10));
        recorder.begin(0);
        recorder.answered(10, Some(9_000), 100, 1);
        recorder.late(8_900);
        let measured = finish(recorder);
        assert_eq!((measured.response.count_at(9_000), measured.service.count_at(100)), (1, 1));
        assert_eq!((measured.series[0].latency.count_at(9_000), measured.lateness.count_at(8_900)), (1, 1));
    }

    #[test]
    fn errors_of_connections_count_before_the_begin_too() {
        let mut recorder = Recorder::new(Series::new(None, 10));
        recorder.error(5, ErrorKind::Connect, 1, || "refused".to_owned());
        recorder.begin(10);
        recorder.error(20, ErrorKind::Connect, 2, || "other".to_owned());
        let measured = finish(recorder);
        assert_eq!(measured.errors[&ErrorKind::Connect], (3, "refused".to_owned()));
        assert_eq!(measured.series.iter().map(|one| one.errors).sum::<u64>(), 2);
    }

    #[test]
    fn errors_of_the_warm_up_s_messages_are_kept_apart() {
        let mut recorder = Recorder::new(Series::new(None, 10));
        recorder.message_error(false, 5, ErrorKind::WrongEcho, 2, || "early".to_owned());
        recorder.begin(10);
        recorder.message_error(false, 15, ErrorKind::WrongEcho, 1, || "an answer to an early one".to_owned());
        recorder.message_error(true, 20, ErrorKind::WrongEcho, 4, || "counted".to_owned());
        let measured = finish(recorder);
        assert_eq!(measured.errors[&ErrorKind::WrongEcho], (4, "counted".to_owned()));
        assert_eq!(measured.warmup_errors[&ErrorKind::WrongEcho], (3, "early".to_owned()));
        assert_eq!(measured.series.iter().map(|one| one.errors).sum::<u64>(), 4);
    }
}
