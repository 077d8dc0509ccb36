//! The admin address as a client sees it, and a strict reading of what Prometheus is told there.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{
    PATIENCE,
    client::with_deadlines,
    http::{self, Response},
    process::{Serve, address_of},
};

/// The admin address of a server.
#[derive(Clone, Copy)]
pub(crate) struct Admin(pub(crate) SocketAddr);

impl Admin {
    pub(crate) fn of(server: &Serve) -> Admin {
        Admin(address_of(server.ready["admin"].as_str().expect("the URL of the admin address")))
    }

    pub(crate) fn connect(self) -> TcpStream {
        with_deadlines(TcpStream::connect_timeout(&self.0, PATIENCE).expect("the admin address accepts"))
    }

    /// Everything that comes back for these octets.
    pub(crate) fn ask(self, request: &[u8]) -> String {
        let mut tcp = self.connect();
        tcp.write_all(request).expect("the request is taken");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("an answer, and the end behind it");
        answer
    }

    pub(crate) fn get(self, path: &str) -> Response {
        self.get_with(path, "")
    }

    /// With these header lines, each with its line end.
    pub(crate) fn get_with(self, path: &str, lines: &str) -> Response {
        let answer = self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes());
        let (response, size) = http::parse(answer.as_bytes()).unwrap_or_else(|| panic!("a response: {answer}"));
        assert_eq!(size, answer.len(), "nothing behind it: {answer}");
        response
    }

    pub(crate) fn samples(self) -> Samples {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        Samples::parse(&response.body).unwrap_or_else(|breach| panic!("{breach} in\n{}", response.body))
    }

    /// Whether nobody is there any more.
    pub(crate) fn is_gone(self) -> bool {
        TcpStream::connect_timeout(&self.0, PATIENCE)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Samples by name and labels, as they are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(pub(crate) BTreeMap<String, f64>);

impl Samples {
    pub(crate) fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("a series {series} in {:?}", self.0.keys()))
    }

    /// The series whose names begin so.
    pub(crate) fn of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0
            .iter()
            .filter(move |(series, _)| series.starts_with(family))
            .map(|(series, value)| (series.as_str(), *value))
    }

    /// Reads the text format 0.0.4, and is stricter than it: a family is described by HELP and TYPE and then told without a gap,
    /// a counter's name ends in `_total` and no other's does, labels have one form, histograms add up.
    pub(crate) fn parse(page: &str) -> Result<Samples, String> {
        let mut samples = BTreeMap::new();
        let mut families: Vec<(String, String)> = Vec::new();
        let mut helped: Option<&str> = None;
        let body = page.strip_suffix('\n').ok_or("the last line has no end")?;
        for line in body.split('\n') {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or_else(|| format!("no help: {line}"))?;
                if help.is_empty() || helped.is_some() || families.iter().any(|(known, _)| known == name) {
                    return Err(format!("help that is empty, doubled or out of place: {line}"));
                }
                helped = Some(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
                let fits = match kind {
                    "counter" => name.ends_with("_total"),
                    "gauge" | "histogram" => !name.ends_with("_total"),
                    _ => false,
                };
                if helped.take() != Some(name) || !fits || !is_name(name) {
                    return Err(format!("a type that does not fit, or without help: {line}"));
                }
                families.push((name.to_owned(), kind.to_owned()));
            } else {
                let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("no sample: {line}"))?;
                let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
                let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
                let Some((family, kind)) = families.last() else { return Err(format!("a sample of nothing: {line}")) };
                let suffix = name.strip_prefix(family.as_str()).ok_or_else(|| format!("not of {family}: {line}"))?;
                let fits = match kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                    _ => suffix.is_empty(),
                };
                if !fits || helped.is_some() || !labels.is_none_or(are_labels) || value < 0.0 {
                    return Err(format!("a sample that does not fit: {line}"));
                }
                if samples.insert(series.to_owned(), value).is_some() {
                    return Err(format!("told twice: {line}"));
                }
            }
        }
        let samples = Samples(samples);
        for (name, _) in families.iter().filter(|(_, kind)| kind == "histogram") {
            samples.check_histogram(name)?;
        }
        Ok(samples)
    }

    fn check_histogram(&self, name: &str) -> Result<(), String> {
        let prefix = format!("{name}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = self
            .of(&prefix)
            .map(|(series, count)| {
                let bound = series[prefix.len()..].trim_end_matches("\"}").replace("+Inf", "inf");
                bound.parse().map(|bound| (bound, count)).map_err(|_| format!("no bound: {series}"))
            })
            .collect::<Result<_, _>>()?;
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let last = buckets.last().filter(|(bound, _)| *bound == f64::INFINITY);
        let count = self.0.get(&format!("{name}_count"));
        if last.map(|(_, count)| count) != count || !self.0.contains_key(&format!("{name}_sum")) {
            return Err(format!("{name}: the bucket without bound does not hold all"));
        }
        if !buckets.is_sorted_by(|(_, a), (_, b)| a <= b) {
            return Err(format!("{name}: buckets that do not add up"));
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with("wslab_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// `name="value",…}`.
fn are_labels(text: &str) -> bool {
    let Some(labels) = text.strip_suffix('}') else { return false };
    labels.split(',').all(|label| {
        label.split_once("=\"").and_then(|(name, value)| Some((name, value.strip_suffix('"')?))).is_some_and(
            |(name, value)| {
                name.chars().all(|c| c.is_ascii_lowercase())
                    && !value.is_empty()
                    && !value.contains(['"', '\\', '{', '}'])
            },
        )
    })
}
