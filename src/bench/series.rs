//! A run over time: intervals of equal length, as many as are kept. When time goes on beyond them, two become one.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::measured::{Interval, LONGEST_NANOS};

/// The shortest interval, nanoseconds.
const LENGTH_MIN: u64 = 100_000_000;

/// The intervals of one piece, in the making. Times are nanoseconds from its begin.
#[derive(Debug)]
pub(super) struct Series {
    cells: Vec<Cell>,
    cells_max: usize,
    length: u64,
    /// The cell of the last look-up, and the times that lie in it.
    current: usize,
    current_ends: u64,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) sent: u64,
    pub(super) completed: u64,
    pub(super) errors: u64,
    pub(super) latency: Histogram<u64>,
}

impl Cell {
    fn new() -> Cell {
        // Three digits are a legal precision. It grows with the latencies, up to 300 KiB.
        let latency = Histogram::new(3).unwrap_or_else(|_| super::histogram());
        Cell { sent: 0, completed: 0, errors: 0, latency }
    }

    /// Answers with this latency.
    #[inline]
    pub(super) fn record(&mut self, latency: u64, count: u64) {
        self.completed += count;
        // In bounds it can not fail: it grows.
        let _ = self.latency.record_n(latency.clamp(1, LONGEST_NANOS), count);
    }

    fn absorb(&mut self, other: &Cell) {
        self.sent += other.sent;
        self.completed += other.completed;
        self.errors += other.errors;
        // Neither can be too large for the other: both grow.
        let _ = self.latency.add(&other.latency);
    }
}

impl Series {
    /// For a piece that will take about `span`, in `cells_max` intervals at most.
    pub(super) fn new(span: Option<Duration>, cells_max: usize) -> Series {
        let cells_max = cells_max.max(2);
        let span = span.map_or(0, |span| span.as_nanos() as u64);
        let length = (span / cells_max as u64).next_multiple_of(LENGTH_MIN).max(LENGTH_MIN);
        Series { cells: Vec::new(), cells_max, length, current: 0, current_ends: 0 }
    }

    /// The interval that this time lies in.
    #[inline]
    pub(super) fn at(&mut self, time: u64) -> &mut Cell {
        if time >= self.current_ends || time + self.length < self.current_ends {
            self.seek(time);
        }
        &mut self.cells[self.current]
    }

    #[cold]
    fn seek(&mut self, time: u64) {
        while time / self.length >= self.cells_max as u64 {
            self.fold();
        }
        self.current = (time / self.length) as usize;
        self.current_ends = (self.current as u64 + 1) * self.length;
        while self.cells.len() <= self.current {
            self.cells.push(Cell::new());
        }
    }

    fn fold(&mut self) {
        self.length *= 2;
        let mut folded: Vec<Cell> = Vec::with_capacity(self.cells.len().div_ceil(2));
        for (at, cell) in self.cells.drain(..).enumerate() {
            match folded.last_mut() {
                Some(first) if at % 2 == 1 => first.absorb(&cell),
                _ => folded.push(cell),
            }
        }
        self.cells = folded;
        self.current_ends = 0;
    }

    /// All of it.
    pub(super) fn finish(self) -> Vec<Interval> {
        let length = Duration::from_nanos(self.length);
        let intervals = self.cells.into_iter().enumerate();
        intervals
            .map(|(at, cell)| Interval {
                begins: length * at as u32,
                length,
                sent: cell.sent,
                completed: cell.completed,
                errors: cell.errors,
                latency: cell.latency,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn intervals_double_when_time_goes_on_and_nothing_is_lost() {
        let mut series = Series::new(None, 4);
        for time in (0..3200).map(|ms| ms * MS) {
            let cell = series.at(time);
            cell.sent += 1;
            cell.record(1 + time / MS, 1);
        }
        series.at(50 * MS).errors += 1;
        let intervals = series.finish();
        assert_eq!(intervals.len(), 4);
        for (at, interval) in intervals.iter().enumerate() {
            assert_eq!((interval.length, interval.sent), (Duration::from_millis(800), 800), "{at}");
            assert_eq!(interval.begins, Duration::from_millis(800 * at as u64));
            assert_eq!(interval.latency.len(), 800);
        }
        assert_eq!(intervals[0].errors, 1);
    }

    #[test]
    fn a_known_span_has_intervals_of_a_fitting_length() {
        for (span, cells, expected) in [(1, 100, 100), (10, 100, 100), (60, 100, 600), (61, 100, 700), (1, 2, 500)] {
            let series = Series::new(Some(Duration::from_secs(span)), cells);
            assert_eq!(series.length, expected * MS, "{span} s in {cells}");
        }
    }

    #[test]
    fn an_interval_without_anything_is_there_and_empty() {
        let mut series = Series::new(None, 100);
        series.at(250 * MS).sent += 1;
        let sent: Vec<u64> = series.finish().iter().map(|interval| interval.sent).collect();
        assert_eq!(sent, [0, 0, 1]);
    }
}
