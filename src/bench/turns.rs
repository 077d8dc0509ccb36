//! How long the turns of a target's event loops take, from the metrics of `wslab serve --admin` (Prometheus' text format): read
//! when what counts begins and again when it has ended; the difference is what happened in between.
//!
//! The first reading is a thread's of its own, since the generator has messages to send meanwhile; a target whose loops are
//! busy is slow to answer.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    str::FromStr,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::measured::{LONGEST_NANOS, histogram};

/// The histogram's buckets there.
const BUCKET: &str = "wslab_loop_turn_seconds_bucket{";
/// A page is waited for so long, from the connection to its end.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer page is none.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Turns of a bucket are put at so many places within it at most.
const PLACES_MAX: u64 = 32;

/// Where a target tells its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsPage {
    addr: SocketAddr,
    path: String,
}

impl fmt::Display for MetricsPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.addr, self.path)
    }
}

impl FromStr for MetricsPage {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<MetricsPage, &'static str> {
        const EXPECTED: &str =
            "expected the URL that --admin serves, by address, such as \"http://127.0.0.1:9100/metrics\"";
        let rest = text.strip_prefix("http://").ok_or(EXPECTED)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        let is_plain = path.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#');
        let addr = authority.parse().ok().filter(|_| is_plain).ok_or(EXPECTED)?;
        Ok(MetricsPage { addr, path: format!("/{path}") })
    }
}

impl MetricsPage {
    /// Whether it can be read and tells of turns.
    ///
    /// # Errors
    /// It can not, or does not.
    pub fn check(&self) -> io::Result<()> {
        self.read().map(drop)
    }

    fn read(&self) -> io::Result<Counts> {
        let until = Instant::now() + PATIENCE;
        let mut tcp = TcpStream::connect_timeout(&self.addr, PATIENCE)?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.path, self.addr);
        tcp.write_all(request.as_bytes())?;
        let (mut page, mut piece) = (Vec::new(), [0; 8 << 10]);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tcp.set_read_timeout(Some(left))?;
            match tcp.read(&mut piece) {
                Ok(0) => break,
                Ok(octets) => page.extend_from_slice(piece.get(..octets).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What a socket's timeout is called.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
            if page.len() > PAGE_BYTES_MAX {
                return Err(io::Error::other("more than 1 MiB of metrics"));
            }
        }
        let page = String::from_utf8_lossy(&page);
        if !page.starts_with("HTTP/1.1 200 ") {
            let status = page.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(80);
            return Err(io::Error::other(format!("answered \"{}\"", status.collect::<String>())));
        }
        Counts::parse(&page).ok_or_else(|| io::Error::other("there is no wslab_loop_turn_seconds on that page"))
    }
}

/// Turns so far that took no longer than each bound, in nanoseconds; the last bound is `u64::MAX`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts(BTreeMap<u64, u64>);

impl Counts {
    /// `None`: the page has no such histogram, or a broken one.
    fn parse(page: &str) -> Option<Counts> {
        let mut counts = BTreeMap::new();
        for line in page.lines().filter_map(|line| line.strip_prefix(BUCKET)) {
            let (labels, value) = line.rsplit_once('}')?;
            let (_, bound) = labels.split_once("le=\"")?;
            let seconds: f64 = bound.split('"').next()?.parse().ok().filter(|bound: &f64| *bound > 0.0)?;
            // Infinity becomes the largest number.
            let nanos = (seconds * 1e9).round() as u64;
            *counts.entry(nanos).or_default() += value.trim().parse::<u64>().ok()?;
        }
        counts.contains_key(&u64::MAX).then_some(Counts(counts))
    }

    /// What came between, spread evenly within each bucket; what is beyond the last bound is put there. Empty where the two do
    /// not belong together, as after a restart.
    fn since(&self, earlier: &Counts) -> Histogram<u64> {
        let mut turns = histogram();
        let (mut lower, mut counted) = (0, 0);
        for (&upper, &count) in &self.0 {
            let grown = earlier.0.get(&upper).and_then(|before| count.checked_sub(*before));
            let Some(inside) = grown.and_then(|grown| grown.checked_sub(counted)) else { return histogram() };
            counted += inside;
            let width = if upper == u64::MAX { 0 } else { upper - lower };
            let places = inside.min(PLACES_MAX);
            for place in 0..places {
                let share = inside * (place + 1) / places - inside * place / places;
                let nanos = lower + (width as f64 * (place as f64 + 0.5) / places as f64) as u64;
                turns.saturating_record_n(nanos.clamp(1, LONGEST_NANOS), share);
            }
            lower = upper;
        }
        turns
    }
}

/// A reading under way.
#[derive(Debug)]
pub(super) struct Turns {
    page: MetricsPage,
    begun: Option<JoinHandle<Option<Counts>>>,
}

impl Turns {
    pub(super) fn new(page: &MetricsPage) -> Turns {
        Turns { page: page.clone(), begun: None }
    }

    /// When what counts begins. Does not wait.
    pub(super) fn begun(&mut self) {
        let page = self.page.clone();
        self.begun = thread::Builder::new().name("metrics".to_owned()).spawn(move || page.read().ok()).ok();
    }

    /// When it has ended. Empty: nothing is known.
    pub(super) fn ended(self) -> Histogram<u64> {
        let begun = self.begun.and_then(|thread| thread.join().ok().flatten());
        let ended = begun.is_some().then(|| self.page.read().ok()).flatten();
        begun.zip(ended).map_or_else(histogram, |(begun, ended)| ended.since(&begun))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn counts(rows: &[(&str, u64)]) -> Counts {
        let lines = rows.iter().map(|(bound, count)| format!("{BUCKET}le=\"{bound}\"}} {count}\n"));
        Counts::parse(&format!("# TYPE x histogram\n{}wslab_loops 1\n", lines.collect::<String>())).unwrap()
    }

    /// Answers once with these octets.
    fn page(answer: String) -> MetricsPage {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let page = format!("http://{}/metrics", listener.local_addr().unwrap()).parse().unwrap();
        thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let _ = tcp.read(&mut [0; 1024]);
            let _ = tcp.write_all(answer.as_bytes());
        });
        page
    }

    #[test]
    fn a_page_is_an_address_and_a_path() {
        for (text, path) in [
            ("http://127.0.0.1:9100/metrics", Some("/metrics")),
            ("http://127.0.0.1:9100", Some("/metrics")),
            ("http://[::1]:9100/m?x=1", Some("/m?x=1")),
            ("http://localhost:9100/metrics", None),
            ("http://127.0.0.1/metrics", None),
            ("https://127.0.0.1:9100/metrics", None),
            ("http://127.0.0.1:9100/a b", None),
            ("http://127.0.0.1:9100/\r\nX: y", None),
        ] {
            assert_eq!(text.parse::<MetricsPage>().ok().map(|page| page.path).as_deref(), path, "{text:?}");
        }
    }

    #[test]
    fn what_came_between_two_readings_is_spread_within_its_buckets() {
        let before = counts(&[("0.00001", 5), ("0.000025", 5), ("+Inf", 6)]);
        let after = counts(&[("0.00001", 105), ("0.000025", 205), ("+Inf", 216)]);
        let turns = after.since(&before);
        assert_eq!(turns.len(), 210);
        assert_eq!(turns.count_between(1, 9_999), 100);
        assert_eq!(turns.count_between(10_200, 24_900), 100);
        // Beyond the last bound they took at least that.
        assert_eq!((turns.count_at(25_000), turns.max() < 25_100), (10, true));
        let median = turns.value_at_quantile(50.0 / 210.0);
        assert!((4_700..=5_300).contains(&median), "{median}");
    }

    #[test]
    fn readings_that_do_not_belong_together_say_nothing() {
        let before = counts(&[("0.00001", 5), ("+Inf", 6)]);
        for after in [
            counts(&[("0.00001", 1), ("+Inf", 1)]),
            counts(&[("0.00002", 9), ("+Inf", 9)]),
            counts(&[("0.00001", 9), ("+Inf", 8)]),
        ] {
            assert!(after.since(&before).is_empty(), "{after:?}");
        }
        assert!(before.since(&before).is_empty());
        for page in ["", "wslab_loops 1\n", &format!("{BUCKET}le=\"0.1\"}} 1\n"), &format!("{BUCKET}le=\"x\"}} 1\n")] {
            assert_eq!(Counts::parse(page), None, "{page:?}");
        }
    }

    #[test]
    fn a_page_that_is_none_says_why() {
        let good = format!("HTTP/1.1 200 OK\r\n\r\n{BUCKET}le=\"+Inf\"}} 3\n");
        page(good).check().unwrap();
        for (answer, said) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), "404 Not Found"),
            ("HTTP/1.1 200 OK\r\n\r\nother_seconds 1\n".to_owned(), "no wslab_loop_turn_seconds"),
            (format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(PAGE_BYTES_MAX)), "more than 1 MiB"),
        ] {
            let error = page(answer).check().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
