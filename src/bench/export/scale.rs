//! The upright axis of a plot: what it counts, and where its grid and numbers are.

use crate::bench::verdict::show;

/// What is counted upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    Octets,
}

impl Unit {
    /// A measured value: three digits.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => show(value),
            Unit::Octets if value < 9_999.5 => format!("{value:.0} B"),
            Unit::Octets if value < 1_048_576.0 => format!("{:.1} KiB", value / 1024.0),
            Unit::Octets => format!("{:.1} MiB", value / 1_048_576.0),
        }
    }

    /// A number beside the axis, `20 µs`: without the digits of a measured value.
    fn short(self, value: f64) -> String {
        let (value, unit) = match (self, value) {
            (_, 0.0) => return "0".to_owned(),
            (Unit::Octets, value) => (value, "B"),
            (_, nanos) if nanos < 1e3 => (nanos, "ns"),
            (_, nanos) if nanos < 1e6 => (nanos / 1e3, "µs"),
            (_, nanos) if nanos < 1e9 => (nanos / 1e6, "ms"),
            (_, nanos) => (nanos / 1e9, "s"),
        };
        // 1.2 × 10⁴ is not exact in binary.
        format!("{} {unit}", (value * 10.0).round() / 10.0)
    }
}

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From this power of ten to that one.
    Decades { low: f64, high: f64 },
    /// From nothing to this: what is twice as high is twice as much.
    FromZero { high: f64 },
}

impl Scale {
    /// Powers of ten around these values. `None`: there are none.
    pub(super) fn decades(values: impl Iterator<Item = f64>) -> Option<Scale> {
        let (low, high) = ends(values)?;
        // A little room, and never nothing between both ends.
        Some(Scale::Decades { low: (low.max(1.0) * 0.9).log10(), high: (high.max(1.0) * 1.1).log10() })
    }

    /// From nothing, unless the small ones would not be seen so.
    pub(super) fn fitting(values: impl Iterator<Item = f64> + Clone) -> Option<Scale> {
        let (low, high) = ends(values.clone())?;
        // Nothing has no power of ten.
        if low > 0.0 && high > 10.0 * low {
            Scale::decades(values)
        } else {
            Some(Scale::FromZero { high: high.max(1.0) * 1.1 })
        }
    }

    /// Of the height, from 0 to 1.
    pub(super) fn share(self, value: f64) -> f64 {
        let share = match self {
            Scale::Decades { low, high } => (value.max(1.0).log10() - low) / (high - low),
            Scale::FromZero { high } => value / high,
        };
        share.clamp(0.0, 1.0)
    }

    /// Where lines of the grid are, and what is written there.
    pub(super) fn ticks(self, unit: Unit) -> Vec<(f64, Option<String>)> {
        match self {
            Scale::Decades { low, high } => decade_ticks((low, high))
                .into_iter()
                .map(|(value, is_named)| (value, is_named.then(|| unit.short(value))))
                .collect(),
            Scale::FromZero { high } => {
                let step = step(high);
                (0..=10)
                    .map(|tick| f64::from(tick) * step)
                    .filter(|value| *value <= high)
                    .map(|value| (value, Some(unit.short(value))))
                    .collect()
            }
        }
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    (low <= high).then_some((low, high))
}

/// 1, 2 or 5 of a power of ten, so that there are four to ten ticks up to `end`.
pub(super) fn step(end: f64) -> f64 {
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * 10f64.powf((end / 10.0).max(1e-9).log10().floor()))
        .find(|step| end / step <= 10.0)
        .unwrap_or(end.max(1e-9))
}

/// 1, 2 and 5 of each decade bear a name, or only 1 over many decades; all nine within less than one.
fn decade_ticks((low, high): (f64, f64)) -> Vec<(f64, bool)> {
    let decades = high - low;
    let named: &[u32] = match decades {
        decades if decades < 0.7 => &[10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90],
        decades if decades < 3.5 => &[10, 20, 50],
        _ => &[10],
    };
    let mut ticks = Vec::new();
    // Nanoseconds to hours: at most 13 decades.
    for decade in (low.floor() as i32).max(0)..=(high.ceil() as i32).min(14) {
        for tenths in (10..100).filter(|tenths| tenths % 10 == 0 || named.contains(tenths)) {
            let nanos = f64::from(tenths) / 10.0 * 10f64.powi(decade);
            if (low..=high).contains(&nanos.log10()) && (decades < 3.5 || named.contains(&tenths)) {
                ticks.push((nanos, named.contains(&tenths)));
            }
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_within() {
        for (low, high) in [(1.0, 1e12), (40_000.0, 60_000.0), (1_000.0, 5e6), (52_000.0, 52_001.0)] {
            let ticks = Scale::decades([low, high].into_iter()).unwrap().ticks(Unit::Nanoseconds);
            let named = ticks.iter().filter(|(_, name)| name.is_some()).count();
            assert!((1..=14).contains(&named) && ticks.len() < 50, "{low} {high}: {ticks:?}");
            assert!(ticks.iter().all(|(nanos, _)| (low * 0.89..=high * 1.11).contains(nanos)), "{ticks:?}");
        }
        for high in [1.0, 7_300.0, 11_000.0, 9e8] {
            let ticks = Scale::FromZero { high }.ticks(Unit::Octets);
            assert!((3..=11).contains(&ticks.len()) && ticks.iter().all(|(value, _)| *value <= high), "{ticks:?}");
            assert_eq!(ticks[0], (0.0, Some("0".to_owned())));
        }
    }

    #[test]
    fn numbers_have_their_unit() {
        let short = |nanos| Unit::Nanoseconds.short(nanos);
        assert_eq!(
            [short(1_000.0), short(12_000.0), short(2_500_000.0), short(50.0)],
            ["1 µs", "12 µs", "2.5 ms", "50 ns"]
        );
        let octets = [254.4, 9_999.0, 20_480.0, 3_145_728.0].map(|octets| Unit::Octets.show(octets));
        assert_eq!(octets, ["254 B", "9999 B", "20.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn values_of_one_magnitude_stand_on_nothing_and_others_on_powers_of_ten() {
        assert_eq!(Scale::fitting([5.0, 10.0].into_iter()).unwrap().share(5.5), 0.5);
        assert!(matches!(Scale::fitting([5.0, 100.0].into_iter()), Some(Scale::Decades { .. })));
        assert_eq!(Scale::fitting(std::iter::empty()), None);
        for values in [[0.0, 0.0], [0.0, 300.0]] {
            assert_eq!(Scale::fitting(values.into_iter()).unwrap().share(0.0), 0.0, "{values:?}");
        }
    }
}
