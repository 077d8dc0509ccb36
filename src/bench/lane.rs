//! One connection's messages: due, queued, written, answered, in this order, each a count. Answers come in the order of the messages,
//! so that counts are all it takes to know which message an answer belongs to. Times are nanoseconds; no clock, no socket.

use std::collections::VecDeque;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Open,
    Gone,
}

/// Messages that were handed to the socket together.
#[derive(Clone, Copy, Debug)]
struct Run {
    count: u64,
    at: u64,
}

/// What an answer's message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// Which of the lane's messages.
    pub(super) number: u64,
    /// When it was due; in an open loop.
    pub(super) intended: Option<u64>,
    /// When it was written.
    pub(super) written: u64,
    /// Whether it was due after the warm-up.
    pub(super) counts: bool,
}

/// A connection's messages.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) generation: u32,
    pub(super) state: State,
    due: u64,
    queued: u64,
    written: u64,
    answered: u64,
    /// The first message that counts; before that is known, none does.
    counted_from: u64,
    /// When what is written and not answered was written.
    runs: VecDeque<Run>,
    /// When what is due and not answered was due; in an open loop.
    times: VecDeque<u64>,
}

impl Lane {
    pub(super) fn new(generation: u32, state: State) -> Lane {
        Lane {
            generation,
            state,
            due: 0,
            queued: 0,
            written: 0,
            answered: 0,
            counted_from: u64::MAX,
            runs: VecDeque::new(),
            times: VecDeque::new(),
        }
    }

    /// What is due from now on counts.
    pub(super) fn count_from_here(&mut self) {
        self.counted_from = self.due;
    }

    /// A message is due: in an open loop, at this time.
    #[inline]
    pub(super) fn is_due(&mut self, intended: Option<u64>) {
        self.due += 1;
        if let Some(intended) = intended {
            self.times.push_back(intended);
        }
    }

    /// The number of the message to queue next.
    #[inline]
    pub(super) fn to_queue(&self) -> Option<u64> {
        (self.queued < self.due).then_some(self.queued)
    }

    /// It was queued; returns whether it counts.
    #[inline]
    pub(super) fn has_queued(&mut self) -> bool {
        self.queued += 1;
        self.queued > self.counted_from
    }

    /// Whether a write has something of ours to take.
    #[inline]
    pub(super) fn has_unwritten(&self) -> bool {
        self.written < self.queued
    }

    /// What is queued goes to the socket now; returns when those that count had been due, in an open loop.
    #[inline]
    pub(super) fn is_written(&mut self, now: u64) -> impl Iterator<Item = u64> {
        self.runs.push_back(Run { count: self.queued - self.written, at: now });
        let first = self.written.max(self.counted_from).min(self.queued) - self.answered;
        let end = self.queued - self.answered;
        self.written = self.queued;
        let known = self.times.len();
        self.times.range((first as usize).min(known)..(end as usize).min(known)).copied()
    }

    /// The number of the message that the next answer belongs to.
    #[inline]
    pub(super) fn expected(&self) -> Option<u64> {
        (self.answered < self.written).then_some(self.answered)
    }

    /// Whether the message that the next answer belongs to counts.
    #[inline]
    pub(super) fn expects_counted(&self) -> bool {
        self.answered >= self.counted_from
    }

    /// The numbers of all that may be answered.
    pub(super) fn answerable(&self) -> std::ops::Range<u64> {
        self.answered..self.written
    }

    /// The next answer has come.
    #[inline]
    pub(super) fn is_answered(&mut self) -> Option<Answered> {
        let number = self.expected()?;
        let run = self.runs.front_mut()?;
        let written = run.at;
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_front();
        }
        self.answered += 1;
        Some(Answered { number, intended: self.times.pop_front(), written, counts: number >= self.counted_from })
    }

    /// Since when the oldest message has waited for its answer.
    pub(super) fn waiting_since(&self) -> Option<u64> {
        self.runs.front().map(|run| run.at)
    }

    /// Messages that are due and have no answer; of these, those that count.
    pub(super) fn outstanding(&self) -> (u64, u64) {
        (self.due - self.answered, self.due - self.answered.max(self.counted_from).min(self.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_finds_its_message() {
        let mut lane = Lane::new(1, State::Open);
        for intended in [100, 200, 300] {
            lane.is_due(Some(intended));
        }
        lane.count_from_here();
        lane.is_due(Some(400));
        assert_eq!(lane.expected(), None);
        // Two leave together, the others later: one of them does not count.
        assert_eq!(
            [lane.to_queue(), {
                lane.has_queued();
                lane.to_queue()
            }],
            [Some(0), Some(1)]
        );
        assert!(!lane.has_queued() && lane.has_unwritten());
        assert_eq!(lane.is_written(1000).count(), 0);
        assert_eq!([lane.has_queued(), lane.has_queued()], [false, true]);
        assert_eq!((lane.to_queue(), lane.outstanding()), (None, (4, 1)));
        assert_eq!(lane.is_written(2000).collect::<Vec<_>>(), [400]);
        assert!(!lane.has_unwritten());
        let mut answers = Vec::new();
        while let Some(answer) = lane.is_answered() {
            answers.push((answer.number, answer.intended, answer.written, answer.counts));
            assert_eq!(lane.waiting_since().is_some(), answers.len() < 4);
        }
        let expected = [
            (0, Some(100), 1000, false),
            (1, Some(200), 1000, false),
            (2, Some(300), 2000, false),
            (3, Some(400), 2000, true),
        ];
        assert_eq!(answers, expected);
        assert_eq!(lane.outstanding(), (0, 0));
    }

    #[test]
    fn nothing_counts_before_the_count_begins() {
        let mut lane = Lane::new(1, State::Open);
        lane.is_due(Some(7));
        assert!(!lane.has_queued());
        assert_eq!((lane.is_written(8).count(), lane.outstanding()), (0, (1, 0)));
        assert!(!lane.is_answered().unwrap().counts);
    }

    #[test]
    fn a_closed_loop_keeps_no_intended_times() {
        let mut lane = Lane::new(1, State::Open);
        lane.count_from_here();
        lane.is_due(None);
        assert!(lane.has_queued());
        assert_eq!(lane.is_written(5).count(), 0);
        let expected = Answered { number: 0, intended: None, written: 5, counts: true };
        assert_eq!(lane.is_answered(), Some(expected));
        assert_eq!(lane.is_answered(), None);
    }

    #[test]
    fn what_was_answered_before_the_count_began_does_not_upset_it() {
        let mut lane = Lane::new(1, State::Open);
        lane.is_due(None);
        lane.has_queued();
        let _ = lane.is_written(1).count();
        lane.is_answered();
        lane.is_due(None);
        lane.count_from_here();
        assert_eq!(lane.outstanding(), (1, 0));
        lane.is_due(None);
        assert_eq!(lane.outstanding(), (2, 1));
    }
}
