//! Where a ramp ends: `p99>15ms`, `max>1s`.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::units::parse_duration;
use crate::bench::{
    Part,
    figures::{SAMPLES_BEYOND, sum_of},
    run::{self, Reached},
};

/// A latency that is too long.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Until {
    /// `p99>15ms`.
    condition: String,
    /// 1 is the maximum.
    quantile: f64,
    over: Duration,
}

/// Reads `p99>15ms`.
pub(super) fn parse(text: &str) -> Result<Until, &'static str> {
    const EXPECTED: &str = "expected a latency such as \"p99>15ms\" or \"max>1s\"";
    let (what, over) = text.split_once('>').ok_or(EXPECTED)?;
    let quantile = match what.trim().strip_prefix('p').map(str::parse::<f64>) {
        Some(Ok(percent)) if 0.0 < percent && percent < 100.0 => percent / 100.0,
        None if what.trim() == "max" => 1.0,
        _ => return Err(EXPECTED),
    };
    let over = parse_duration(over.trim()).ok_or(EXPECTED)?;
    let condition = text.split_whitespace().collect();
    Ok(Until { condition, quantile, over })
}

impl Until {
    /// Whether it is so for a target in these parts of a phase, and for which the most. A percentile with too few samples
    /// beyond it is not.
    pub(super) fn reached(&self, parts: &[Part]) -> Option<Reached> {
        let phase = parts.first()?.phase;
        let targets = parts.iter().map(|part| part.target).max().map_or(0, |last| last + 1);
        let found = (0..targets).filter_map(|target| {
            let of_target = parts.iter().filter(|part| part.target == target);
            let all = sum_of(of_target.map(|part| part.measured.latency()));
            let latency_ns = self.of(&all).filter(|&latency| Duration::from_nanos(latency) > self.over)?;
            Some(Reached { target, phase, latency_ns })
        });
        found.max_by_key(|reached| reached.latency_ns)
    }

    /// As for a percentile of a report: see [`Percentile::of`](crate::bench::figures::Percentile::of).
    fn of(&self, all: &Histogram<u64>) -> Option<u64> {
        let beyond = all.len() as f64 * (1.0 - self.quantile);
        let enough = !all.is_empty() && (self.quantile >= 1.0 || beyond >= SAMPLES_BEYOND as f64 - 1e-6);
        let half = if self.quantile >= 1.0 { 0.0 } else { 0.5 / all.len() as f64 };
        enough.then(|| all.value_at_quantile(self.quantile - half).min(all.max()))
    }

    /// As a result has it.
    pub(super) fn told(&self, reached: Option<Reached>) -> run::Until {
        run::Until { condition: self.condition.clone(), reached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::synthetic;

    #[test]
    fn a_percentile_or_the_maximum_over_a_duration() {
        for (text, condition, quantile, millis) in [
            ("p99>15ms", "p99>15ms", 0.99, 15),
            ("p99.9 > 1s", "p99.9>1s", 99.9 / 100.0, 1_000),
            ("max>2s", "max>2s", 1.0, 2_000),
        ] {
            let over = Duration::from_millis(millis);
            assert_eq!(parse(text), Ok(Until { condition: condition.to_owned(), quantile, over }));
        }
        for text in ["p99", "p99<1s", "p100>1s", "p0>1s", "p>1s", "mean>1s", "p99>15", "pNaN>1s", ""] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_ramp_ends_when_one_target_is_too_slow_over_all_its_rounds() {
        // 1 to 1,000 µs in both rounds of the second target; the first is faster.
        let part = |target: usize, round: usize| {
            let mut nanos = 0;
            let step = if target == 1 { 1000 } else { 100 };
            let measured = synthetic::open_loop(1000, || {
                nanos += step;
                nanos
            });
            Part { target, phase: 3, round, measured }
        };
        let parts = [part(0, 0), part(1, 0), part(1, 1), part(0, 1)];
        for (text, expected) in [
            ("p50>400us", true),
            ("p50>600us", false),
            ("p99>980us", true),
            ("p99>995us", false),
            ("max>999us", true),
            ("max>1100us", false),
            // Of 2,000 samples two lie beyond it.
            ("p99.9>1us", false),
        ] {
            let reached = parse(text).unwrap().reached(&parts);
            assert_eq!(reached.is_some(), expected, "{text}: {reached:?}");
            // Both are too slow for some: the slower one is told.
            assert!(reached.is_none_or(|reached| (reached.target, reached.phase) == (1, 3)), "{text}: {reached:?}");
        }
        assert_eq!(parse("p50>1us").unwrap().reached(&parts).map(|reached| reached.latency_ns), Some(500_223));
        assert_eq!(parse("max>1ns").unwrap().reached(&[]), None);
    }
}
