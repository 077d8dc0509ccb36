//! Every option of `wslab serve`, once: name, unit, group, help, and the place where its value lives.
//! Flag, environment variable, key of the file, printed configuration and their defaults all follow from [`KEYS`].

use std::{net::SocketAddr, path::PathBuf};

use super::slot::Slot;
use crate::server;

/// The effective configuration of `wslab serve`.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// What the server is made from; `tls`, `log_frames`, `time_turns` and the page's URLs are filled in at start.
    pub server: server::Config,
    pub no_tls: bool,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// `None`: the local certificate.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub workers: usize,
    pub format: Format,
    pub log: String,
    pub log_format: Format,
    pub verbose: usize,
}

/// How something is written: for people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            server: server::Config {
                listen: vec![SocketAddr::from(([127, 0, 0, 1], 8888))],
                listen_tls: vec![SocketAddr::from(([127, 0, 0, 1], 8889))],
                ..server::Config::default()
            },
            no_tls: false,
            admin: None,
            tls_cert: None,
            tls_key: None,
            workers: 1,
            format: Format::Text,
            log: "info".to_owned(),
            log_format: Format::Text,
            verbose: 0,
        }
    }
}

/// One option.
pub(super) struct Key {
    /// The key in a file; `--` and dashes make it a flag, `WSLAB_` and capitals an environment variable.
    pub name: &'static str,
    /// What stands for the value in the help; empty for a switch.
    pub value: &'static str,
    pub group: &'static str,
    pub help: &'static str,
    pub slot: Slot,
}

impl Key {
    pub(super) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    pub(super) fn variable(&self) -> String {
        format!("WSLAB_{}", self.name.to_uppercase())
    }

    pub(super) fn named(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

const LISTENERS: &str = "Listeners";
const CERTIFICATES: &str = "Certificates";
const HANDSHAKE: &str = "Opening handshake";
const COMPRESSION: &str = "Compression";
const LIMITS: &str = "Limits";
const TIMEOUTS: &str = "Timeouts";
const OUTPUT: &str = "Output";

const fn key(name: &'static str, value: &'static str, group: &'static str, help: &'static str, slot: Slot) -> Key {
    Key { name, value, group, help, slot }
}

/// Every option, in the order in which people read them.
#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("listen", "ADDR", LISTENERS, "Address for ws, repeatable; port 0 takes a free one; \"off\" for none", Slot::Addresses(|o| &mut o.server.listen)),
    key("listen_tls", "ADDR", LISTENERS, "Address for wss, repeatable; port 0 takes a free one; \"off\" for none", Slot::Addresses(|o| &mut o.server.listen_tls)),
    key("no_tls", "", LISTENERS, "Do not listen for wss at all", Slot::Switch(|o| &mut o.no_tls)),
    key("backlog", "N", LISTENERS, "Accept queue of each listener, in connections", Slot::Backlog(|o| &mut o.server.backlog)),
    key("workers", "N", LISTENERS, "Event loops, one thread each, sharing the ports", Slot::Count(1024, |o| &mut o.workers)),
    key("busy_poll", "TIME", LISTENERS, "Look for events so long before sleeping, e.g. 100us: less latency for a core; \"0s\" sleeps at once", Slot::TimeOrZero(|o| &mut o.server.busy_poll)),
    key("congestion", "NAME", LISTENERS, "TCP congestion control (Linux): \"auto\" (reno on loopback addresses), \"system\", or a name the kernel has", Slot::Congestion(|o| &mut o.server.congestion)),
    key("proxy_protocol", "MODE", LISTENERS, "PROXY headers (v1, v2) of a proxy in front: \"off\", \"on\" (where there is one), \"require\"", Slot::ProxyProtocol(|o| &mut o.server.proxy_protocol)),
    key("proxy_from", "CIDR", LISTENERS, "Network of proxies that are believed, repeatable; from elsewhere no header is", Slot::Networks(|o| &mut o.server.proxy_from)),
    key("reuse_port", "", LISTENERS, "Share the ports with other processes of this user too (SO_REUSEPORT)", Slot::Switch(|o| &mut o.server.reuse_port)),
    key("admin", "ADDR", LISTENERS, "Address for /metrics, /healthz and /readyz over HTTP; port 0 takes a free one; or \"off\"", Slot::AddressOrOff(|o| &mut o.admin)),

    key("tls_cert", "PEM", CERTIFICATES, "Certificate chain for wss; \"local\" is one for localhost that wslab makes", Slot::PathOrLocal(|o| &mut o.tls_cert)),
    key("tls_key", "PEM", CERTIFICATES, "Private key of that certificate", Slot::PathOrLocal(|o| &mut o.tls_key)),

    key("origin", "ORIGIN", HANDSHAKE, "Origin that may connect, repeatable; \"any\" admits all", Slot::Origins(|o| &mut o.server.settings.policy.origins)),
    key("path", "PATH", HANDSHAKE, "Path that exists, repeatable; others get 404; \"any\" for every path", Slot::Paths(|o| &mut o.server.settings.policy.paths)),
    key("subprotocol", "NAME", HANDSHAKE, "Subprotocol that is answered: \"first\" offered, \"none\", or names, repeatable", Slot::Subprotocols(|o| &mut o.server.settings.policy.subprotocols)),
    key("server_name", "TEXT", HANDSHAKE, "Value of the Server header; \"off\" for no such header", Slot::HeaderOrOff(|o| &mut o.server.settings.policy.server_name)),

    key("deflate", "MODE", COMPRESSION, "permessage-deflate: \"off\", \"on\" (each message alone), \"takeover\" (up to 420 KiB a connection)", Slot::Deflate(|o| &mut o.server.settings.deflate.mode)),
    key("deflate_level", "N", COMPRESSION, "Effort, 1 (fast) to 9 (small)", Slot::Level(1, 9, |o| &mut o.server.settings.deflate.level)),
    key("deflate_memory_level", "N", COMPRESSION, "Memory of a compressor, 1 (266 KiB) to 9", Slot::Level(1, 9, |o| &mut o.server.settings.deflate.memory_level)),
    key("deflate_window_bits", "N", COMPRESSION, "How far a compressor looks back, 9 to 15: 2^N octets", Slot::Level(9, 15, |o| &mut o.server.settings.deflate.window_bits)),
    key("deflate_min", "SIZE", COMPRESSION, "Shorter messages are sent as they are", Slot::SizeOrZero(|o| &mut o.server.settings.deflate.message_bytes_min)),

    key("connections_max", "N", LIMITS, "Connections held at once, an equal share a worker; beyond it: 503 (ws), close (wss)", Slot::Count(10_000_000, |o| &mut o.server.connections_max)),
    key("connections_per_address", "N", LIMITS, "Connections of one client address (IPv4 /32, IPv6 /64), an equal share a worker; beyond it as connections_max; or \"off\"", Slot::CountOrOff(10_000_000, |o| &mut o.server.connections_per_address)),
    key("handshakes_max", "N", LIMITS, "Opening handshakes under way at once, TLS included, an equal share a worker; beyond it the oldest is dropped", Slot::Count(10_000_000, |o| &mut o.server.handshakes_max)),
    key("memory_max", "SIZE", LIMITS, "Memory of all buffers and compressors, an equal share a worker; at 90 % newcomers get 503, at 100 % who holds most is closed with 1013", Slot::Size(|o| &mut o.server.memory_bytes_max)),
    key("head_max", "SIZE", LIMITS, "Octets of a request head; beyond it: 431", Slot::Size(|o| &mut o.server.settings.limits.head_bytes_max)),
    key("head_lines_max", "N", LIMITS, "Header lines of a request; beyond it: 431", Slot::Count(10_000, |o| &mut o.server.settings.limits.head_lines_max)),
    key("frame_max", "SIZE", LIMITS, "Payload of one frame; beyond it: Close 1009", Slot::WireSize(|o| &mut o.server.settings.limits.frame_bytes_max)),
    key("message_max", "SIZE", LIMITS, "Payload of one message over all its fragments; beyond it: Close 1009", Slot::WireSize(|o| &mut o.server.settings.limits.message_bytes_max)),
    key("queue_high", "SIZE", LIMITS, "Queued output at which reading from a peer stops", Slot::Size(|o| &mut o.server.settings.limits.queue_high_bytes)),
    key("queue_low", "SIZE", LIMITS, "Queued output at which reading from a peer resumes", Slot::Size(|o| &mut o.server.settings.limits.queue_low_bytes)),
    key("linger_max", "SIZE", LIMITS, "Octets read and discarded after our last octet, before the socket is closed", Slot::Size(|o| &mut o.server.linger_bytes_max)),

    key("handshake_timeout", "TIME", TIMEOUTS, "From accept to 101, TLS included; trickling octets do not extend it", Slot::Time(|o| &mut o.server.settings.timeouts.handshake)),
    key("idle_timeout", "TIME", TIMEOUTS, "Without one octet from the peer, then Close 1001; or \"off\"", Slot::TimeOrOff(|o| &mut o.server.settings.timeouts.idle)),
    key("ping_interval", "TIME", TIMEOUTS, "Silence after which a Ping is sent; or \"off\"", Slot::TimeOrOff(|o| &mut o.server.settings.timeouts.ping)),
    key("close_timeout", "TIME", TIMEOUTS, "From our Close to the peer's, then the connection is dropped", Slot::Time(|o| &mut o.server.settings.timeouts.close)),
    key("write_stall_timeout", "TIME", TIMEOUTS, "Without one octet of output taken by the peer, then the connection is dropped", Slot::Time(|o| &mut o.server.settings.timeouts.write_stall)),
    key("linger", "TIME", TIMEOUTS, "Reading and discarding after our last octet, before the socket is closed", Slot::TimeOrZero(|o| &mut o.server.linger)),
    key("keep_alive", "TIME", TIMEOUTS, "TCP keep-alive: silence before the first probe; or \"off\"", Slot::TimeOrOff(|o| &mut o.server.keep_alive)),
    key("defer_accept", "TIME", TIMEOUTS, "How long the kernel keeps a connection that says nothing to itself (Linux); or \"off\"", Slot::TimeOrOff(|o| &mut o.server.defer_accept)),
    key("grace", "TIME", TIMEOUTS, "How long a drain (TERM, INT) waits for peers", Slot::TimeOrZero(|o| &mut o.server.grace)),

    key("format", "FORMAT", OUTPUT, "The ready line on stdout: \"text\" or \"json\"", Slot::Format(|o| &mut o.format)),
    key("log", "FILTER", OUTPUT, "What is logged, such as \"info\" or \"wslab::conn=debug\"", Slot::Filter(|o| &mut o.log)),
    key("log_format", "FORMAT", OUTPUT, "Log lines on stderr: \"text\" or \"json\"", Slot::Format(|o| &mut o.log_format)),
    key("verbose", "", OUTPUT, "-v logs a line as a connection opens and closes, -vv also every frame", Slot::Verbosity(|o| &mut o.verbose)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_named_once_and_in_lower_case() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(key.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", key.name);
            assert!(KEYS.iter().skip(index + 1).all(|other| other.name != key.name), "{}", key.name);
        }
    }

    #[test]
    fn no_two_keys_share_a_place() {
        // Setting one key changes what is shown for this key alone.
        let shown = |options: &Options| KEYS.iter().map(|key| key.slot.show(options)).collect::<Vec<_>>();
        let before = shown(&Options::default());
        let words = [
            "7",
            "9",
            "takeover",
            "require",
            "192.0.2.0/24",
            "7s",
            "7B",
            "true",
            "json",
            "/seven",
            "https://seven.example",
            "127.0.0.1:7",
            "debug",
        ];
        for (index, key) in KEYS.iter().enumerate() {
            let mut options = Options::default();
            let word = words
                .into_iter()
                .find(|word| key.slot.set(&mut options, &[(*word).to_owned()]).is_ok() && shown(&options) != before)
                .or_else(|| key.slot.set(&mut options, &["1".to_owned()]).ok().map(|()| "1"));
            assert!(word.is_some(), "no word fits {}", key.name);
            for (other, (was, is)) in before.iter().zip(shown(&options)).enumerate() {
                assert_eq!(
                    *was != is,
                    other == index,
                    "{} set to {word:?}: {} became {is}",
                    key.name,
                    KEYS[other].name
                );
            }
        }
    }
}
