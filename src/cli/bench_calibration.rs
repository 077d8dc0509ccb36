//! What `wslab bench --calibrate` prints: what this machine and the generator cost where nothing is served.

use std::{io::Write, time::Duration};

use hdrhistogram::Histogram;

use crate::bench::{
    Measured,
    figures::{Errors, Percentile},
    floor::Calibration,
    verdict::show,
};

/// Prints it. A stdout that is gone ends nothing.
pub(super) fn tell(out: &mut dyn Write, calibration: &Calibration) {
    let _ = out.write_all(text(calibration).as_bytes());
}

fn text(calibration: &Calibration) -> String {
    let Calibration { closed, paced, pipelined, clock } = calibration;
    let mut text = String::from("null echo in this process, one connection\n\n");
    text += &format!("{:<34} {:>9} {:>9} {:>9} {:>9}\n", "", "p50", "p90", "p99", "max");
    for (name, histogram) in [
        ("one message under way: round trip", &closed.service),
        ("1,000/s: response time", &paced.response),
        ("1,000/s: how late they were sent", &paced.lateness),
        ("256 under way: round trip", &pipelined.service),
    ] {
        text += &row(name, histogram);
    }
    text += "\n";
    for (name, measured) in [("one message under way", closed), ("256 under way", pipelined)] {
        let cpu = per_message(measured);
        text += &format!(
            "{name}: {:.0} messages/s; {} of CPU time a message of the generator's: {:.0}/s a core at most\n",
            measured.completed as f64 / measured.wall.as_secs_f64().max(1e-9),
            show(cpu),
            1e9 / cpu.max(1.0)
        );
    }
    text += &format!("a clock reading: {}\n", show(clock.as_nanos() as f64));
    for measured in [closed, paced, pipelined] {
        let Measured { generator, .. } = measured;
        for Errors { count, first, .. } in measured.errors_by_kind() {
            text += &format!("{count} errors: {first}\n");
        }
        if generator.run_queue > generator.wall / 10 && generator.wall > Duration::ZERO {
            let share = 100.0 * generator.run_queue.as_secs_f64() / generator.wall.as_secs_f64();
            text +=
                &format!("the generator was ready and had no core for {share:.0} % of the time: end what else runs\n");
        }
    }
    text
}

fn row(name: &str, histogram: &Histogram<u64>) -> String {
    let percentile = |one: Percentile| one.of(histogram).map_or_else(|| "-".to_owned(), |nanos| show(nanos as f64));
    let [p50, p90, p99] = [Percentile::P50, Percentile::P90, Percentile::P99].map(percentile);
    format!("{name:<34} {p50:>9} {p90:>9} {p99:>9} {:>9}\n", show(histogram.max() as f64))
}

fn per_message(measured: &Measured) -> f64 {
    measured.generator.cpu.as_nanos() as f64 / measured.sent.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::synthetic::{closed_loop, open_loop};

    #[test]
    fn every_part_has_its_row_and_too_few_samples_are_not_a_percentile() {
        let calibration = Calibration {
            closed: closed_loop(2000, || 20_000),
            paced: open_loop(500, || 90_000),
            pipelined: closed_loop(2000, || 400_000),
            clock: Duration::from_nanos(25),
        };
        let text = text(&calibration);
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(row("one message under way: round trip").starts_with("18.0 µs 18.0 µs 18.0 µs"), "{text}");
        // 500 samples have 5 beyond p99.
        assert!(row("1,000/s: response time").starts_with("90.0 µs 90.0 µs - "), "{text}");
        assert!(row("1,000/s: how late they were sent").starts_with("9.0"), "{text}");
        assert!(text.ends_with("a clock reading: 25 ns\n"), "{text}");
    }
}
