//! The run as an HdrHistogram interval log (V2): a histogram of nanoseconds for each interval of each piece, tagged with
//! `TARGET|PHASE` (and `|machine-N` where there are several). Adding up the lines of a tag gives its whole latency.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use crate::bench::run::{Piece, Run};

/// A line: when, how long, whose, what.
type Line<'a> = (SystemTime, Duration, String, &'a Histogram<u64>);

/// Writes the log.
///
/// # Errors
///
/// The writer fails.
pub fn write(run: &Run, out: &mut impl Write) -> io::Result<()> {
    let mut lines: Vec<Line<'_>> = run.pieces.iter().flat_map(|piece| lines(run, piece)).collect();
    lines.sort_by_key(|(when, ..)| *when);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[wslab bench: nanoseconds; Interval_Max in milliseconds]")
        .with_start_time(run.began)
        .with_base_time(run.began)
        .with_max_value_divisor(1e6)
        .begin_log_with(out, &mut serializer)?;
    // Readers of the format look for it.
    log.write_comment("[Histogram log format version 1.3]")?;
    for (when, length, tag, histogram) in lines {
        let begins = when.duration_since(run.began).unwrap_or_default();
        log.write_histogram(histogram, begins, length, Tag::new(&tag))
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(())
}

/// Those of a piece; one for all of it if it has no series.
fn lines<'a>(run: &Run, piece: &'a Piece) -> Vec<Line<'a>> {
    let measured = &piece.measured;
    let tag = tag(run, piece);
    if measured.series.is_empty() {
        return vec![(measured.started, measured.wall, tag, measured.latency())];
    }
    let lines = measured.series.iter().map(|interval| {
        let begins = measured.started.checked_add(interval.begins).unwrap_or(measured.started);
        (begins, interval.length, tag.clone(), &interval.latency)
    });
    lines.collect()
}

/// The format knows no way to write a comma, a space or a line end in a tag.
fn tag(run: &Run, piece: &Piece) -> String {
    let target = run.targets.get(piece.target).map_or("", |target| target.name.as_str());
    let phase = run.phases.get(piece.phase).map_or("", |phase| phase.name.as_str());
    let mut tag = format!("{target}|{phase}");
    if run.machines.len() > 1 {
        tag += &format!("|machine-{}", piece.machine);
    }
    tag.chars().map(|c| if c == ',' || c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };

    use super::*;
    use crate::bench::{
        histogram,
        synthetic::{nothing, open_loop, run_of},
    };

    #[test]
    fn the_lines_of_a_tag_add_up_to_its_latency() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let mut values = (1u64..).map(|n| n * 7_919 % 100_000 + 1_000);
        let pieces = (0..3).map(|_| open_loop(500, || values.next().unwrap())).collect();
        let mut run = run_of(vec![pieces, vec![nothing()]]);
        run.targets[0].name = "a, b\nc".to_owned();
        let mut log = Vec::new();
        write(&run, &mut log).unwrap();
        let mut sum = histogram();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let octets = STANDARD.decode(interval.encoded_histogram()).unwrap();
                let read: Histogram<u64> = Deserializer::new().deserialize(&mut octets.as_slice()).unwrap();
                tags.push(interval.tag().unwrap().as_str().to_owned());
                sum.add(&read).unwrap();
            }
        }
        assert_eq!(tags.iter().filter(|tag| *tag == "a__b_c|64B").count(), 3);
        let mut all = histogram();
        run.pieces.iter().for_each(|piece| all.add(piece.measured.latency()).unwrap());
        assert_eq!(sum, all);
    }
}
