//! What `wslab ping` prints, and the figures in it.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{options::Format, units::show_duration};
use crate::client::{Timeline, Url};

/// A percentile is shown when so many samples lie beyond it.
const SAMPLES_BEYOND: f64 = 10.0;

/// What the parts of the opening took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake {
    addr: std::net::SocketAddr,
    /// `None`: the URL names an address.
    lookup: Option<Duration>,
    tcp: Duration,
    /// `None`: ws.
    tls: Option<Duration>,
    upgrade: Duration,
}

impl Handshake {
    /// `None` before it is connected.
    pub(super) fn new(lookup: Option<Duration>, timeline: &Timeline, opened: Instant) -> Option<Handshake> {
        let connected = timeline.connected?;
        Some(Handshake {
            addr: timeline.addr,
            lookup,
            tcp: connected.saturating_duration_since(timeline.begun),
            tls: timeline.secured.map(|secured| secured.saturating_duration_since(connected)),
            upgrade: opened.saturating_duration_since(timeline.secured.unwrap_or(connected)),
        })
    }

    fn parts(&self) -> [(&'static str, Option<Duration>); 4] {
        [("name look-up", self.lookup), ("TCP", Some(self.tcp)), ("TLS", self.tls), ("upgrade", Some(self.upgrade))]
    }
}

/// Counts and round-trip times.
#[derive(Debug)]
pub(super) struct Figures {
    sent: u64,
    received: u64,
    lost: u64,
    unexpected: u64,
    /// In nanoseconds, like all below.
    histogram: Option<Histogram<u64>>,
    min: u64,
    max: u64,
    mean: f64,
    /// Sum of squares of the distances from the mean.
    spread: f64,
}

impl Figures {
    fn new() -> Figures {
        // Three digits, and it grows with what it holds; only a wrong number of digits fails.
        let histogram = Histogram::new(3).ok();
        Figures {
            sent: 0,
            received: 0,
            lost: 0,
            unexpected: 0,
            histogram,
            min: u64::MAX,
            max: 0,
            mean: 0.0,
            spread: 0.0,
        }
    }

    fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.received += 1;
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
        // Welford: no large sums to cancel each other.
        let distance = nanos as f64 - self.mean;
        self.mean += distance / self.received as f64;
        self.spread += distance * (nanos as f64 - self.mean);
        if let Some(histogram) = &mut self.histogram {
            // It fails for want of memory only.
            let _ = histogram.record(nanos);
        }
    }

    fn mdev(&self) -> f64 {
        (self.spread / self.received as f64).sqrt()
    }

    /// `None`: too few samples.
    fn percentile(&self, percent: f64) -> Option<u64> {
        let beyond = self.received as f64 * (100.0 - percent) / 100.0;
        // 1,000 × 1 % is a little below 10 in binary.
        let enough = beyond + 1e-6 >= SAMPLES_BEYOND;
        // The histogram rounds up.
        self.histogram.as_ref().filter(|_| enough).map(|histogram| histogram.value_at_percentile(percent).min(self.max))
    }

    fn lost_percent(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 100.0 * self.lost as f64 / self.sent as f64 }
    }
}

/// Prints as it goes. What goes to stdout fails when that is gone.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    format: Format,
    quiet: bool,
    /// Octets of an echo.
    echo: Option<usize>,
    figures: Figures,
    begun: Instant,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
        format: Format,
        quiet: bool,
        echo: Option<usize>,
    ) -> Report<'a> {
        Report { out, err, format, quiet, echo, figures: Figures::new(), begun: Instant::now() }
    }

    /// The handshake is over; from here the run's time counts.
    pub(super) fn opened(&mut self, url: &Url, handshake: &Handshake) -> io::Result<()> {
        self.begun = Instant::now();
        let parts = handshake.parts();
        let total: Duration = parts.iter().filter_map(|(_, took)| *took).sum();
        match self.format {
            Format::Text => {
                let parts: Vec<String> =
                    parts.iter().filter_map(|(name, took)| took.map(|took| format!("{name} {}", ms(took)))).collect();
                writeln!(self.out, "{url} ({}): open after {}: {}", handshake.addr, ms(total), parts.join(", "))
            }
            Format::Json => {
                let [lookup, tcp, tls, upgrade] = parts.map(|(_, took)| took.map(nanos));
                self.object(json!({
                    "event": "open", "url": url.to_string(), "addr": handshake.addr.to_string(), "open_ns": nanos(total),
                    "lookup_ns": lookup, "tcp_ns": tcp, "tls_ns": tls, "upgrade_ns": upgrade,
                }))
            }
        }
    }

    pub(super) fn sent(&mut self) {
        self.figures.sent += 1;
    }

    pub(super) fn answered(&mut self, seq: u64, took: Duration) -> io::Result<()> {
        self.figures.record(took);
        match (self.quiet, self.format, self.echo) {
            (true, ..) => Ok(()),
            (_, Format::Json, _) => self.object(json!({ "event": "answer", "seq": seq, "rtt_ns": nanos(took) })),
            (_, _, None) => writeln!(self.out, "pong seq={seq} time={}", ms(took)),
            (_, _, Some(size)) => writeln!(self.out, "echo seq={seq} octets={size} time={}", ms(took)),
        }
    }

    pub(super) fn lost(&mut self, seq: u64, waited: Duration) -> io::Result<()> {
        self.figures.lost += 1;
        match (self.quiet, self.format) {
            (true, _) => Ok(()),
            (_, Format::Json) => self.object(json!({ "event": "lost", "seq": seq })),
            (_, Format::Text) => writeln!(self.out, "lost seq={seq}: no answer within {}", show_duration(waited)),
        }
    }

    /// Something came that answers nothing.
    pub(super) fn unexpected(&mut self, what: &str) -> io::Result<()> {
        self.figures.unexpected += 1;
        let _ = writeln!(self.err, "wslab: unexpected: {what}");
        Ok(())
    }

    /// The end. `waiting` answers were still waited for, `ended` is why the connection ended of itself. Returns whether every answer
    /// came that was waited for long enough.
    pub(super) fn summary(&mut self, url: &Url, waiting: u64, ended: Option<&str>) -> bool {
        if ended.is_some() {
            // Nothing can come any more.
            self.figures.lost += waiting;
        }
        let waiting = if ended.is_some() { 0 } else { waiting };
        if let Some(why) = ended {
            let _ = writeln!(self.err, "wslab: the connection ended: {why}");
        }
        // A stdout that is gone was told of nothing anyway.
        let _ = match self.format {
            Format::Text => self.summary_text(url, waiting),
            Format::Json => self.summary_json(url, waiting, ended),
        };
        let _ = self.out.flush();
        self.figures.lost == 0
    }

    fn summary_text(&mut self, url: &Url, waiting: u64) -> io::Result<()> {
        let figures = &self.figures;
        write!(
            self.out,
            "--- {url} ---\n{} sent, {} received, {} % lost",
            figures.sent,
            figures.received,
            round(figures.lost_percent())
        )?;
        for (count, what) in [(waiting, "not waited for"), (figures.unexpected, "unexpected")] {
            if count > 0 {
                write!(self.out, ", {count} {what}")?;
            }
        }
        writeln!(self.out, ", in {:.3} s", self.begun.elapsed().as_secs_f64())?;
        if figures.received > 0 {
            let ms = |nanos: f64| format!("{:.3}", nanos / 1e6);
            let [min, mean] = [figures.min as f64, figures.mean].map(ms);
            let [max, mdev] = [figures.max as f64, figures.mdev()].map(ms);
            write!(self.out, "round trip min/avg/max/mdev = {min}/{mean}/{max}/{mdev} ms")?;
            for percent in [50.0, 99.0] {
                if let Some(nanos) = figures.percentile(percent) {
                    write!(self.out, ", p{percent} {} ms", ms(nanos as f64))?;
                }
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn summary_json(&mut self, url: &Url, waiting: u64, ended: Option<&str>) -> io::Result<()> {
        let figures = &self.figures;
        let rtt = (figures.received > 0).then(|| {
            json!({
                "min": figures.min, "avg": figures.mean.round() as u64, "max": figures.max, "mdev": figures.mdev().round() as u64,
                "p50": figures.percentile(50.0), "p99": figures.percentile(99.0),
            })
        });
        let summary = json!({
            "event": "summary", "url": url.to_string(), "mode": if self.echo.is_some() { "echo" } else { "ping" },
            "echo_bytes": self.echo, "sent": figures.sent, "received": figures.received, "lost": figures.lost,
            "lost_percent": figures.lost_percent(), "unexpected": figures.unexpected, "not_waited_for": waiting,
            "elapsed_ns": nanos(self.begun.elapsed()), "rtt_ns": rtt, "ended": ended,
        });
        self.object(summary)
    }

    fn object(&mut self, mut value: Value) -> io::Result<()> {
        if let Value::Object(members) = &mut value {
            members.insert("schema".to_owned(), json!("wslab.ping/1"));
        }
        writeln!(self.out, "{value}")
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

fn ms(took: Duration) -> String {
    format!("{:.3} ms", took.as_secs_f64() * 1e3)
}

/// Without a fraction where there is none.
fn round(percent: f64) -> String {
    if percent.fract() == 0.0 { format!("{percent}") } else { format!("{percent:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(nanos: impl IntoIterator<Item = u64>) -> Figures {
        let mut figures = Figures::new();
        nanos.into_iter().for_each(|nanos| {
            figures.sent += 1;
            figures.record(Duration::from_nanos(nanos));
        });
        figures
    }

    #[test]
    fn the_figures_are_those_of_ping_8() {
        let figures = figures([2_000_000, 4_000_000, 4_000_000, 4_000_000, 5_000_000, 5_000_000, 7_000_000, 9_000_000]);
        assert_eq!((figures.min, figures.max), (2_000_000, 9_000_000));
        assert!((figures.mean - 5e6).abs() < 1.0 && (figures.mdev() - 2e6).abs() < 1.0, "{figures:?}");
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it_and_never_exceeds_the_maximum() {
        assert_eq!(figures(1..=19).percentile(50.0), None);
        assert_eq!(figures(1..=20).percentile(50.0), Some(10));
        assert_eq!(figures(1..=999).percentile(99.0), None);
        let thousand = figures((1..=1000).map(|n| n * 1_000_003));
        assert!((thousand.percentile(99.0).unwrap() as f64 / (990.0 * 1_000_003.0) - 1.0).abs() < 0.002);
        let same = figures([1_234_567; 1000]);
        assert_eq!(same.percentile(99.0), Some(1_234_567));
    }

    #[test]
    fn nothing_sent_is_nothing_lost() {
        assert_eq!(round(figures([]).lost_percent()), "0");
        assert_eq!(round(100.0 / 3.0), "33.3");
    }
}
