//! The numbers as Prometheus reads them: OpenMetrics 1.0 for whoever asks for it, the older text format 0.0.4 for all others.
//! Both are written by `prometheus-client`, from one description.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{
    server::{Limit, Metrics},
    session::{CloseCause, HandshakeEnd},
};

/// What is told at one moment.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    pub(super) metrics: Metrics,
    pub(super) log_lines_dropped: u64,
}

/// A format of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposition {
    OpenMetrics,
    Text,
}

impl Exposition {
    /// The one that an `Accept` header prefers (RFC 9110 §12.5.1). OpenMetrics has to be asked for by its name.
    pub(super) fn by_accept(accept: &str) -> Exposition {
        let (mut open_metrics, mut text) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f32, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim()),
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") && matches!(version, None | Some("1.0.0")) {
                open_metrics = quality.max(open_metrics);
            } else if media.eq_ignore_ascii_case("text/plain") {
                text = quality.max(text);
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Exposition::OpenMetrics } else { Exposition::Text }
    }

    fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The numbers in this format, and its name.
    pub(super) fn page(self, scrape: &Scrape) -> Result<(&'static str, String), fmt::Error> {
        self.render(scrape.clone()).map(|page| (self.content_type(), page))
    }

    fn render(self, scrape: Scrape) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("wslab");
        registry.register_collector(Box::new(Page { scrape, exposition: self }));
        let mut page = String::new();
        text::encode_registry(&mut page, &registry)?;
        if self == Exposition::OpenMetrics {
            text::encode_eof(&mut page)?;
        }
        Ok(page)
    }
}

#[derive(Debug)]
struct Page {
    scrape: Scrape,
    exposition: Exposition,
}

/// A sample's one label, if it has any, and its value.
type Sample = (Option<(&'static str, &'static str)>, u64);

fn only(value: u64) -> [Sample; 1] {
    [(None, value)]
}

impl Collector for Page {
    #[rustfmt::skip]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Scrape { metrics, log_lines_dropped } = &self.scrape;
        let (sessions, flow) = (&metrics.sessions, &metrics.flow);
        use MetricType::{Counter, Gauge};
        let mut pen = Pen { encoder: &mut encoder, exposition: self.exposition };
        pen.numbers(Gauge, "build_info", None, "The version that runs.", [(Some(("version", env!("CARGO_PKG_VERSION"))), 1)])?;
        pen.numbers(Gauge, "loops", None, "Event loops.", only(metrics.loops))?;
        pen.numbers(Gauge, "loops_late", None, "Event loops that were too busy to report in time; their numbers are from before.", only(metrics.loops_late))?;
        pen.numbers(Gauge, "connections", None, "Connections held, by state; proxy_header is before opening, which includes the TLS handshake; closing lasts until TCP has ended.", [
            (Some(("state", "proxy_header")), metrics.awaiting_proxy_header),
            (Some(("state", "opening")), sessions.opening),
            (Some(("state", "open")), sessions.open),
            (Some(("state", "closing")), sessions.closing),
        ])?;
        pen.numbers(Counter, "connections_accepted", None, "Connections accepted, those turned away included.", [
            (Some(("listener", "ws")), metrics.accepted),
            (Some(("listener", "wss")), metrics.accepted_tls),
        ])?;
        // That cause is a client's.
        let handshakes = HandshakeEnd::ALL.iter().filter(|end| **end != HandshakeEnd::BadAnswer);
        pen.numbers(Counter, "handshakes", None, "Opening handshakes that ended, by outcome.",
            handshakes.map(|end| (Some(("outcome", end.name())), sessions.handshakes(*end))))?;
        pen.numbers(Counter, "closes", None, "Open connections that ended, by cause.",
            CloseCause::ALL.iter().map(|cause| (Some(("cause", cause.name())), sessions.closes(*cause))))?;
        pen.numbers(Counter, "refusals", None, "How often a limit of the whole server was met, by limit.",
            Limit::ALL.iter().map(|limit| (Some(("limit", limit.name())), metrics.refused(*limit))))?;
        pen.numbers(Counter, "proxy_headers_refused", None, "Connections dropped because no PROXY header came that can be believed.", only(metrics.proxy_headers_refused))?;
        pen.numbers(Counter, "messages_received", None, "Messages received whole.", only(flow.messages_received))?;
        pen.numbers(Counter, "messages_sent", None, "Messages queued for sending.", only(flow.messages_sent))?;
        pen.numbers(Counter, "received", Some(Unit::Bytes), "Octets received, handshakes and frames, after TLS.", only(flow.received_bytes))?;
        pen.numbers(Counter, "sent", Some(Unit::Bytes), "Octets handed to sockets, handshakes and frames, before TLS.", only(flow.sent_bytes))?;
        pen.numbers(Gauge, "queued", Some(Unit::Bytes), "Octets that wait for sockets to take them, before TLS.", only(metrics.queued_bytes))?;
        pen.numbers(Gauge, "memory", Some(Unit::Bytes), "Memory held in buffers and compressors, of connections and loops.", only(metrics.memory_bytes))?;
        pen.turns("loop_turn", "How long an event loop's turns took, from one poll's return to the next poll.", metrics)?;
        pen.numbers(Counter, "log_lines_dropped", None, "Log lines dropped because stderr was too slow.", only(*log_lines_dropped))
    }
}

/// Writes families of samples in either format.
struct Pen<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    exposition: Exposition,
}

impl Pen<'_, '_> {
    fn numbers(
        &mut self,
        kind: MetricType,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) -> fmt::Result {
        let is_counter = matches!(kind, MetricType::Counter);
        // What `encode_counter` appends is in the family's name already, in the text format.
        let appends = is_counter && self.exposition == Exposition::OpenMetrics;
        self.family(name, unit, if is_counter { "_total" } else { "" }, help, kind, |encoder| {
            each(encoder, samples, |encoder, value| match appends {
                true => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
                false => encoder.encode_gauge(&value),
            })
        })
    }

    fn turns(&mut self, name: &str, help: &str, metrics: &Metrics) -> fmt::Result {
        let turns = &metrics.turns;
        let buckets: Vec<(f64, u64)> = turns
            .buckets()
            .map(|(bound, count)| (bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()), count))
            .collect();
        self.family(name, Some(Unit::Seconds), "", help, MetricType::Histogram, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(turns.sum().as_secs_f64(), turns.count(), &buckets, None)
        })
    }

    /// A family's description, then its samples. OpenMetrics knows units, and names a counter's family without its suffix;
    /// in the text format both are part of the name.
    fn family(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        suffix: &str,
        help: &str,
        kind: MetricType,
        samples: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        match self.exposition {
            Exposition::OpenMetrics => samples(&mut self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?),
            Exposition::Text => {
                let unit = unit.map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
                let name = format!("{name}{unit}{suffix}");
                samples(&mut self.encoder.encode_descriptor(&name, help, None, kind)?)
            }
        }
    }
}

fn each(
    encoder: &mut MetricEncoder<'_>,
    samples: impl IntoIterator<Item = Sample>,
    write: impl Fn(&mut MetricEncoder<'_>, u64) -> fmt::Result,
) -> fmt::Result {
    for (label, value) in samples {
        match label {
            None => write(encoder, value)?,
            Some(label) => write(&mut encoder.encode_family(&[label])?, value)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape() -> Scrape {
        let mut metrics = Metrics { loops: 2, accepted: 7, queued_bytes: 9, ..Metrics::default() };
        metrics.flow.received_bytes = 11;
        metrics.sessions.closes[CloseCause::Idle as usize] = 3;
        Scrape { metrics, log_lines_dropped: 5 }
    }

    #[test]
    fn the_text_format_names_counters_with_their_suffix_and_has_no_units_of_its_own() {
        let page = Exposition::Text.render(scrape()).unwrap();
        for lines in [
            "# HELP wslab_loops Event loops.\n# TYPE wslab_loops gauge\nwslab_loops 2\n",
            "# TYPE wslab_connections_accepted_total counter\nwslab_connections_accepted_total{listener=\"ws\"} 7\n",
            "# TYPE wslab_received_bytes_total counter\nwslab_received_bytes_total 11\n",
            "# TYPE wslab_queued_bytes gauge\nwslab_queued_bytes 9\n",
            "wslab_closes_total{cause=\"idle\"} 3\n",
            "# TYPE wslab_loop_turn_seconds histogram\nwslab_loop_turn_seconds_sum 0.0\nwslab_loop_turn_seconds_count 0\n",
            "wslab_loop_turn_seconds_bucket{le=\"+Inf\"} 0\n",
            "wslab_log_lines_dropped_total 5\n",
        ] {
            assert!(page.contains(lines), "{lines} in\n{page}");
        }
        assert!(!page.contains("# UNIT") && !page.contains("# EOF"), "{page}");
    }

    #[test]
    fn open_metrics_names_families_without_the_suffix_and_ends_with_its_mark() {
        let page = Exposition::OpenMetrics.render(scrape()).unwrap();
        for lines in [
            "# TYPE wslab_received_bytes counter\n# UNIT wslab_received_bytes bytes\nwslab_received_bytes_total 11\n",
            "# TYPE wslab_log_lines_dropped counter\nwslab_log_lines_dropped_total 5\n",
        ] {
            assert!(page.contains(lines), "{lines} in\n{page}");
        }
        assert!(page.ends_with("\n# EOF\n"), "{page}");
    }

    #[test]
    #[rustfmt::skip]
    fn open_metrics_is_for_those_who_ask_for_it() {
        use Exposition::{OpenMetrics, Text};
        for (accept, expected) in [
            ("", Text),
            ("*/*", Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Text),
            ("text/plain;version=0.0.4", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=oops", Text),
            ("application/openmetrics-text;q=0.1,text/plain;q=0.2", Text),
            // What Prometheus 2.x and 3.x send.
            ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OpenMetrics),
            ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", OpenMetrics),
        ] {
            assert_eq!(Exposition::by_accept(accept), expected, "{accept:?}");
        }
    }
}
