//! Where a ramp ends: `p99>15ms`, `max>1s`.

use std::time::Duration;

use super::units::parse_duration;
use crate::bench::{Part, histogram};

/// A percentile that has samples enough behind it has so many beyond it.
const SAMPLES_BEYOND: f64 = 10.0;

/// A latency that is too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Until {
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
    Ok(Until { quantile, over })
}

impl Until {
    /// Whether it is so for a target in these parts of a phase. A percentile with too few samples beyond it is not.
    pub(super) fn holds(&self, parts: &[Part]) -> bool {
        let targets = parts.iter().map(|part| part.target).max().map_or(0, |last| last + 1);
        (0..targets).any(|target| {
            let mut all = histogram();
            for part in parts.iter().filter(|part| part.target == target) {
                let measured = &part.measured;
                let latency = if measured.wanted_rate.is_some() { &measured.response } else { &measured.service };
                // Both have the same bounds.
                let _ = all.add(latency);
            }
            let beyond = all.len() as f64 * (1.0 - self.quantile);
            let enough = !all.is_empty() && (self.quantile >= 1.0 || beyond >= SAMPLES_BEYOND - 1e-6);
            enough && Duration::from_nanos(all.value_at_quantile(self.quantile)) > self.over
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::synthetic;

    #[test]
    fn a_percentile_or_the_maximum_over_a_duration() {
        assert_eq!(parse("p99>15ms"), Ok(Until { quantile: 0.99, over: Duration::from_millis(15) }));
        assert_eq!(parse("p99.9 > 1s"), Ok(Until { quantile: 99.9 / 100.0, over: Duration::from_secs(1) }));
        assert_eq!(parse("max>2s"), Ok(Until { quantile: 1.0, over: Duration::from_secs(2) }));
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
            Part { target, phase: 0, round, measured }
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
            assert_eq!(parse(text).unwrap().holds(&parts), expected, "{text}");
        }
        assert!(!parse("max>1ns").unwrap().holds(&[]));
    }
}
