//! What a user asserts of a run: `p99<2ms`, `service.p50@2<=80us`, `rate>=100k/s`, `errors<0.1%`, `cpu/message<5us`.
//!
//! `METRIC[@TARGET]OPERATOR VALUE`: the target is a number from 1, a name or a URL; without one it holds for all. It holds
//! in every phase. What can not be judged – a percentile with too few samples, a process that is not known – fails.

use std::{fmt, str::FromStr};

use hdrhistogram::Histogram;

use super::{
    figures::{Cell, Percentile, Summary, quotient},
    measured::Measured,
    run::Run,
    verdict::{percent, show, show_rate},
};

/// One assertion.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// As it was written.
    text: String,
    quantity: Quantity,
    target: Option<String>,
    operator: Operator,
    value: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Time(Distribution, Statistic),
    Rate,
    SentRate,
    Completed,
    Errors,
    ServerCpu,
    ServerMemory,
    ServerPeak,
    GeneratorCpu,
    GeneratorShare,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Distribution {
    /// Response time in an open loop, service time in a closed one.
    Latency,
    Response,
    Service,
    Lateness,
    Handshake,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Percentile(Percentile),
    Min,
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// What a value is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Nanos,
    PerSecond,
    Count,
    Share,
    Bytes,
}

/// Why a text is no assertion, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAssertion(String);

impl fmt::Display for NoAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAssertion {}

impl FromStr for Assertion {
    type Err = NoAssertion;

    fn from_str(text: &str) -> Result<Assertion, NoAssertion> {
        let at = text.find(['<', '>']).ok_or_else(|| {
            NoAssertion(
                "expected METRIC<VALUE, with one of < <= > >=, such as \"p99<2ms\" or \"rate>=10k/s\"".to_owned(),
            )
        })?;
        let (left, right) = text.split_at(at);
        let (operator, value) = [
            ("<=", Operator::LessOrEqual),
            (">=", Operator::MoreOrEqual),
            ("<", Operator::Less),
            (">", Operator::More),
        ]
        .into_iter()
        .find_map(|(sign, operator)| Some((operator, right.strip_prefix(sign)?)))
        .ok_or_else(|| NoAssertion("expected one of < <= > >=".to_owned()))?;
        let (metric, target) = match left.split_once('@') {
            Some((metric, target)) => (metric, Some(target.trim().to_owned())),
            None => (left, None),
        };
        let quantity = quantity(metric.trim()).ok_or_else(|| {
            NoAssertion(format!(
                "{:?} is no metric: expected p50, p90, p99, p99.9, p99.99, max, min or mean, alone or behind response., \
                 service., lateness. or handshake.; or rate, sent-rate, completed, errors, cpu/message, \
                 memory/connection, rss-peak, generator-cpu/message, generator-share",
                metric.trim()
            ))
        })?;
        let (value, unit) = parse_value(value.trim(), quantity)?;
        Ok(Assertion { text: text.trim().to_owned(), quantity, target, operator, value, unit })
    }
}

fn quantity(name: &str) -> Option<Quantity> {
    let known = match name {
        "rate" => Some(Quantity::Rate),
        "sent-rate" => Some(Quantity::SentRate),
        "completed" => Some(Quantity::Completed),
        "errors" => Some(Quantity::Errors),
        "cpu/message" => Some(Quantity::ServerCpu),
        "memory/connection" => Some(Quantity::ServerMemory),
        "rss-peak" => Some(Quantity::ServerPeak),
        "generator-cpu/message" => Some(Quantity::GeneratorCpu),
        "generator-share" => Some(Quantity::GeneratorShare),
        _ => None,
    };
    known.or_else(|| {
        let (distribution, statistic) = [
            ("response.", Distribution::Response),
            ("service.", Distribution::Service),
            ("lateness.", Distribution::Lateness),
            ("handshake.", Distribution::Handshake),
        ]
        .into_iter()
        .find_map(|(prefix, distribution)| Some((distribution, name.strip_prefix(prefix)?)))
        .unwrap_or((Distribution::Latency, name));
        let statistic = match statistic {
            "min" => Statistic::Min,
            "mean" => Statistic::Mean,
            "max" => Statistic::Max,
            name => Statistic::Percentile(Percentile::ALL.into_iter().find(|one| one.name() == name)?),
        };
        Some(Quantity::Time(distribution, statistic))
    })
}

impl Quantity {
    fn units(self) -> &'static [(&'static str, f64, Unit)] {
        const TIMES: &[(&str, f64, Unit)] = &[
            ("ns", 1.0, Unit::Nanos),
            ("us", 1e3, Unit::Nanos),
            ("µs", 1e3, Unit::Nanos),
            ("ms", 1e6, Unit::Nanos),
            ("s", 1e9, Unit::Nanos),
        ];
        const RATES: &[(&str, f64, Unit)] = &[
            ("", 1.0, Unit::PerSecond),
            ("/s", 1.0, Unit::PerSecond),
            ("k/s", 1e3, Unit::PerSecond),
            ("k", 1e3, Unit::PerSecond),
            ("M/s", 1e6, Unit::PerSecond),
            ("M", 1e6, Unit::PerSecond),
        ];
        const COUNTS: &[(&str, f64, Unit)] =
            &[("", 1.0, Unit::Count), ("k", 1e3, Unit::Count), ("M", 1e6, Unit::Count)];
        const ERRORS: &[(&str, f64, Unit)] = &[("", 1.0, Unit::Count), ("%", 0.01, Unit::Share)];
        const SHARES: &[(&str, f64, Unit)] = &[("%", 0.01, Unit::Share)];
        const SIZES: &[(&str, f64, Unit)] = &[
            ("B", 1.0, Unit::Bytes),
            ("KiB", 1024.0, Unit::Bytes),
            ("MiB", 1_048_576.0, Unit::Bytes),
            ("GiB", 1_073_741_824.0, Unit::Bytes),
        ];
        match self {
            Quantity::Time(..) | Quantity::ServerCpu | Quantity::GeneratorCpu => TIMES,
            Quantity::Rate | Quantity::SentRate => RATES,
            Quantity::Completed => COUNTS,
            Quantity::Errors => ERRORS,
            Quantity::GeneratorShare => SHARES,
            Quantity::ServerMemory | Quantity::ServerPeak => SIZES,
        }
    }

    fn of(self, measured: &Measured, unit: Unit) -> Option<f64> {
        match self {
            Quantity::Time(distribution, statistic) => statistic.of(distribution.of(measured)),
            Quantity::Rate => measured.achieved_rate(),
            Quantity::SentRate => measured.sent_rate(),
            Quantity::Completed => Some(measured.completed as f64),
            Quantity::Errors if unit == Unit::Share => quotient(measured.error_count() as f64, measured.sent as f64),
            Quantity::Errors => Some(measured.error_count() as f64),
            Quantity::ServerCpu => measured.served_cpu_nanos(),
            Quantity::ServerMemory => measured.bytes_per_connection(),
            Quantity::ServerPeak => measured.served.map(|served| served.rss_peak as f64),
            Quantity::GeneratorCpu => measured.generator_cpu_nanos(),
            Quantity::GeneratorShare => measured.generator_share(),
        }
    }

    /// Why it can not be judged.
    fn missing(self, measured: &Measured) -> String {
        match self {
            Quantity::Time(distribution, Statistic::Percentile(percentile)) => format!(
                "there are {} samples, and it takes {}",
                distribution.of(measured).len(),
                percentile.samples_needed()
            ),
            Quantity::Time(..) => "there are no samples".to_owned(),
            Quantity::ServerCpu | Quantity::ServerMemory | Quantity::ServerPeak => {
                "the target's process is not known: name it with --pid or --spawn".to_owned()
            }
            _ => "nothing was measured".to_owned(),
        }
    }
}

impl Distribution {
    fn of(self, measured: &Measured) -> &Histogram<u64> {
        match self {
            Distribution::Latency => measured.latency(),
            Distribution::Response => &measured.response,
            Distribution::Service => &measured.service,
            Distribution::Lateness => &measured.lateness,
            Distribution::Handshake => &measured.handshake,
        }
    }
}

impl Statistic {
    fn of(self, histogram: &Histogram<u64>) -> Option<f64> {
        let summary = Summary::of(histogram)?;
        match self {
            Statistic::Percentile(percentile) => percentile.of(histogram).map(|nanos| nanos as f64),
            Statistic::Min => Some(summary.min as f64),
            Statistic::Mean => Some(summary.mean),
            Statistic::Max => Some(summary.max as f64),
        }
    }
}

fn parse_value(text: &str, quantity: Quantity) -> Result<(f64, Unit), NoAssertion> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse::<f64>().ok().filter(|number| number.is_finite());
    let unit = quantity.units().iter().find(|(name, ..)| *name == unit.trim());
    match (number, unit) {
        (Some(number), Some((_, factor, unit))) => Ok((number * factor, *unit)),
        _ => {
            let units: Vec<&str> =
                quantity.units().iter().map(|(name, ..)| *name).filter(|name| !name.is_empty()).collect();
            let bare = if units.len() < quantity.units().len() { ", or none" } else { "" };
            Err(NoAssertion(format!(
                "{text:?} is no such value: expected a number and one of {}{bare}",
                units.join(", ")
            )))
        }
    }
}

impl Assertion {
    /// Why it does not hold, a line for each target and phase. Empty: it holds.
    ///
    /// # Errors
    ///
    /// It names a target that the run does not have.
    pub fn failures(&self, run: &Run, cells: &[Cell]) -> Result<Vec<String>, NoAssertion> {
        let targets = self.targets(run)?;
        let judged = cells.iter().filter(|cell| targets.contains(&cell.target));
        let mut count = 0;
        let mut failures: Vec<String> = judged
            .inspect(|_| count += 1)
            .filter_map(|cell| {
                self.failure(&cell.merged).map(|why| format!("{}: {}: {why}", self.text, place(run, cell)))
            })
            .collect();
        if count == 0 {
            failures.push(format!("{}: nothing was measured", self.text));
        }
        Ok(failures)
    }

    /// The targets of a run that it is about: indices of [`Run::targets`].
    ///
    /// # Errors
    /// It names one that is not there.
    pub fn targets(&self, run: &Run) -> Result<Vec<usize>, NoAssertion> {
        let Some(wanted) = &self.target else { return Ok((0..run.targets.len()).collect()) };
        find_target(run, wanted).map(|target| vec![target]).ok_or_else(|| {
            NoAssertion(format!(
                "--assert {:?}: there is no target {wanted:?}: give its number from 1 to {} or its URL",
                self.text,
                run.targets.len()
            ))
        })
    }

    fn failure(&self, measured: &Measured) -> Option<String> {
        let Some(found) = self.quantity.of(measured, self.unit) else {
            return Some(format!("can not be judged: {}", self.quantity.missing(measured)));
        };
        let holds = match self.operator {
            Operator::Less => found < self.value,
            Operator::LessOrEqual => found <= self.value,
            Operator::More => found > self.value,
            Operator::MoreOrEqual => found >= self.value,
        };
        (!holds).then(|| format!("it is {}", self.unit.show(found)))
    }
}

/// A target by its number from 1, its name or its URL.
pub fn find_target(run: &Run, wanted: &str) -> Option<usize> {
    let by_number = wanted.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    by_number
        .filter(|target| *target < run.targets.len())
        .or_else(|| run.targets.iter().position(|target| target.name == wanted || target.url == wanted))
}

/// Target and, where there are several, phase.
pub fn place(run: &Run, cell: &Cell) -> String {
    let target = run.targets.get(cell.target).map_or("", |target| target.name.as_str());
    match run.phases.get(cell.phase) {
        Some(phase) if run.phases.len() > 1 => format!("{target} {}", phase.name),
        _ => target.to_owned(),
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanos => show(value),
            Unit::PerSecond => format!("{}/s", show_rate(value)),
            Unit::Count => format!("{value:.0}"),
            Unit::Share => percent(value),
            Unit::Bytes => format!("{value:.0} B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        measured::ErrorKind,
        synthetic::{open_loop, run_of},
    };

    #[test]
    fn assertions_hold_or_say_the_value_that_failed() {
        let mut measured = open_loop(2_000, || 50_000);
        measured.errors.insert(ErrorKind::Timeout, (2, "late".to_owned()));
        let run = run_of(vec![vec![measured], vec![open_loop(2_000, || 90_000)]]);
        let cells = Cell::all(&run);
        for (text, failures) in [
            ("p99<2ms", &[][..]),
            ("p99<60us", &["p99<60us: ws://127.0.0.1:9001/: it is 90.0 µs"]),
            ("p99@1<60us", &[]),
            ("service.p50@ws://127.0.0.1:9001/ <= 10us", &["it is 81.0 µs"]),
            ("max>1s", &["it is 50.0 µs", "it is 90.0 µs"]),
            ("p99.9<1s", &["there are 2000 samples, and it takes 10000", "2000 samples"]),
            ("rate>=9.9k/s", &[]),
            ("rate > 20k/s", &["it is 10000/s", "it is 10000/s"]),
            ("errors<1", &["ws://127.0.0.1:9000/: it is 2"]),
            ("errors<=0.1%", &[]),
            ("errors<0.05%", &["it is 0.1 %"]),
            ("cpu/message<=20us", &[]),
            ("cpu/message<10us", &["it is 20.0 µs", "it is 20.0 µs"]),
            ("rss-peak<4MiB", &["it is 5242880 B", "it is 5242880 B"]),
            ("memory/connection<=512B", &[]),
            ("generator-share<20%", &["it is 25.0 %", "it is 25.0 %"]),
        ] {
            let found = text.parse::<Assertion>().unwrap().failures(&run, &cells).unwrap();
            assert_eq!(found.len(), failures.len(), "{text}: {found:?}");
            for (line, word) in found.iter().zip(failures) {
                assert!(line.contains(word), "{word} in {line}");
            }
        }
        let unknown = "p50@3<1s".parse::<Assertion>().unwrap().failures(&run, &cells).unwrap_err();
        assert!(unknown.to_string().contains("from 1 to 2"), "{unknown}");
    }

    #[test]
    fn nothing_measured_fails_an_assertion() {
        let run = run_of(vec![vec![]]);
        assert_eq!(
            "p50<1s".parse::<Assertion>().unwrap().failures(&run, &[]).unwrap(),
            ["p50<1s: nothing was measured"]
        );
    }

    #[test]
    fn what_is_no_assertion_says_what_one_is() {
        for (text, said) in [
            ("p99", "METRIC<VALUE"),
            ("p98<1ms", "no metric"),
            ("p99<1", "expected a number and one of ns, us, µs, ms, s"),
            ("p99=<1ms", "no metric"),
            ("rate>fast", "or none"),
            ("rss-peak<1MB", "KiB"),
            ("p99<1e400s", "no such value"),
            ("<1ms", "no metric"),
        ] {
            let error = text.parse::<Assertion>().unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
