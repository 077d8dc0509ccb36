//! What a server is made from.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    net::Network,
    proto::{Settings, SettingsError},
};

/// What a server is made from. `Config::default()` listens nowhere.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses for ws. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Addresses for wss; needs `tls`.
    pub listen_tls: Vec<SocketAddr>,
    /// The TLS side: certificate, versions, tickets.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Bounds, timeouts and handshake policy of every connection.
    pub settings: Settings,
    /// Connections held at once, per server. Beyond it: 503 and close (plain), close (TLS).
    pub connections_max: usize,
    /// Connections beyond it, and beyond other bounds, that are being told so at once, per server: a descriptor each, besides
    /// `connections_max`. More are closed without a word.
    pub turned_away_max: usize,
    /// Connections held at once of one client address (IPv4 /32, IPv6 /64), per server. Beyond it: as `connections_max`. `None`:
    /// they are not counted.
    pub connections_per_address: Option<usize>,
    /// Opening handshakes under way at once, TLS included, per server. Beyond it the oldest is dropped.
    pub handshakes_max: usize,
    /// Heap octets that all connections' buffers and compressors may take, per server. From nine tenths of it on newcomers are
    /// turned away as by `connections_max`; at all of it the connection that holds most is closed with 1013.
    pub memory_bytes_max: usize,
    /// The listeners' accept queue (`listen(2)`), in connections.
    pub backlog: i32,
    /// Share the addresses with other processes or loops (SO_REUSEPORT).
    pub reuse_port: bool,
    /// Before it sleeps, a loop looks for events again and again for so long, and asks the kernel to do likewise with the sockets
    /// (SO_BUSY_POLL, where it allows that). Saves a wake-up of some 10 µs a round trip and costs a core. Zero: off.
    pub busy_poll: Duration,
    /// TCP keep-alive: silence before the first probe. `None`: off.
    pub keep_alive: Option<Duration>,
    /// How long the kernel keeps a connection that says nothing to itself (TCP_DEFER_ACCEPT, Linux; about so long, by
    /// retransmissions). `None`: it is accepted at once. The handshake timeout counts from its acceptance.
    pub defer_accept: Option<Duration>,
    /// Which congestion control accepted connections have.
    pub congestion: Congestion,
    /// Whether a proxy in front says for whom it speaks.
    pub proxy_protocol: ProxyProtocol,
    /// The proxies that are believed.
    pub proxy_from: Vec<Network>,
    /// How long a drain waits for peers before it drops them.
    pub grace: Duration,
    /// After our last octet: how long we read and discard before the socket is closed.
    pub linger: Duration,
    /// After our last octet: how many octets we read and discard before the socket is closed.
    pub linger_bytes_max: usize,
    /// Record every frame in both directions (`tracing` target `wslab::frame`, level TRACE).
    pub log_frames: bool,
    /// Measure how long each turn of a loop takes, for [`Metrics::turns`](super::Metrics::turns): a clock reading more a turn.
    pub time_turns: bool,
}

/// The congestion control of accepted connections (TCP_CONGESTION, Linux).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// Reno (RFC 5681) for a new listener on a loopback address, else as [`Congestion::System`]: nothing is lost on the way from core to
    /// core, and what BBR takes for loss or delay there is the scheduler's doing (`benches/README.md` has what it costs).
    #[default]
    Auto,
    /// What `net.ipv4.tcp_congestion_control` says for a new listener; a passed one keeps what it has.
    System,
    /// The kernel's name for it, as in `net.ipv4.tcp_available_congestion_control`.
    Named(String),
}

impl Congestion {
    /// Whether a congestion control may have this name: TCP_CA_NAME_MAX (16) counts the zero behind it.
    pub(crate) fn is_name(name: &str) -> bool {
        (1..16).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    }

    /// What a new listener at this address is to be given; of a passed one no address is asked.
    #[cfg(target_os = "linux")]
    pub(super) fn at(&self, addr: Option<SocketAddr>) -> Option<&str> {
        match self {
            Congestion::Auto => addr.is_some_and(|addr| addr.ip().is_loopback()).then_some("reno"),
            Congestion::System => None,
            Congestion::Named(name) => Some(name),
        }
    }
}

/// Whether connections begin with a PROXY header, version 1 or 2 ([`net::proxy_protocol`](crate::net::proxy_protocol)), before
/// TLS or the request. The client's address is the header's then, for limits and logs alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None does: a header is a bad request.
    #[default]
    Off,
    /// Connections from [`Config::proxy_from`] may; their first octets tell. Those from elsewhere do not. The specification
    /// forbids to guess (§2), since whoever is believed can claim any address: it is for networks where everybody is trusted.
    On,
    /// Connections from [`Config::proxy_from`] must. Those without a header, and those from elsewhere, are dropped.
    Require,
}

/// A configuration that can not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// What its connections are told.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A bound that lets nobody in.
    #[error("{name} is 0: nobody could connect")]
    Zero {
        /// The field.
        name: &'static str,
    },
    /// Less memory than a loop needs to serve anybody.
    #[error("memory_bytes_max is {bytes}: a loop needs {least} at least", least = Config::MEMORY_BYTES_MIN)]
    Memory {
        /// The loop's share.
        bytes: usize,
    },
    /// Addresses for wss without a certificate.
    #[error("listen_tls names addresses and tls is None: wss needs a certificate")]
    NoTls,
    /// A congestion control that no kernel has, or that this system can not be asked for.
    #[error("congestion is {name:?}: expected the name of a congestion control of Linux")]
    Congestion {
        /// What it was called.
        name: String,
    },
    /// A header is required, of nobody.
    #[error("proxy_protocol requires a header and proxy_from is empty: nobody could connect")]
    NoProxies,
}

impl Config {
    /// The least `memory_bytes_max` of a loop, in octets: its own buffers, and some messages.
    pub const MEMORY_BYTES_MIN: usize = 4 << 20;

    /// Whether it can work. [`Server::bind`](super::Server::bind) asks.
    ///
    /// # Errors
    /// The first thing that can not.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.settings.check()?;
        let counts = [
            ("connections_max", self.connections_max),
            ("connections_per_address", self.connections_per_address.unwrap_or(usize::MAX)),
            ("handshakes_max", self.handshakes_max),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero { name });
        }
        if self.memory_bytes_max < Config::MEMORY_BYTES_MIN {
            return Err(ConfigError::Memory { bytes: self.memory_bytes_max });
        }
        if !self.listen_tls.is_empty() && self.tls.is_none() {
            return Err(ConfigError::NoTls);
        }
        if self.proxy_protocol == ProxyProtocol::Require && self.proxy_from.is_empty() {
            return Err(ConfigError::NoProxies);
        }
        if let Congestion::Named(name) = &self.congestion
            && !(cfg!(target_os = "linux") && Congestion::is_name(name))
        {
            return Err(ConfigError::Congestion { name: name.clone() });
        }
        Ok(())
    }

    /// The share of one of `count` loops that share nothing: counts are rounded up.
    pub(super) fn share(&self, count: usize) -> Config {
        let count = count.max(1);
        Config {
            connections_max: self.connections_max.div_ceil(count),
            turned_away_max: self.turned_away_max.div_ceil(count),
            connections_per_address: self.connections_per_address.map(|max| max.div_ceil(count)),
            handshakes_max: self.handshakes_max.div_ceil(count),
            memory_bytes_max: self.memory_bytes_max / count,
            reuse_port: self.reuse_port || count > 1,
            ..self.clone()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            tls: None,
            settings: Settings::default(),
            connections_max: 10_000,
            turned_away_max: 256,
            connections_per_address: None,
            handshakes_max: 1_000,
            memory_bytes_max: 512 << 20,
            backlog: 4096,
            reuse_port: false,
            busy_poll: Duration::ZERO,
            keep_alive: Some(Duration::from_secs(60)),
            defer_accept: cfg!(target_os = "linux").then_some(Duration::from_secs(1)),
            congestion: Congestion::Auto,
            proxy_protocol: ProxyProtocol::Off,
            proxy_from: Network::LOOPBACK.to_vec(),
            grace: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            linger_bytes_max: 32 << 20,
            log_frames: false,
            time_turns: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_can_not_work_is_refused_before_anything_is_bound() {
        type Row = (fn(&mut Config), &'static str);
        let rows: &[Row] = &[
            (|c| c.connections_max = 0, "connections_max is 0"),
            (|c| c.connections_per_address = Some(0), "connections_per_address is 0"),
            (|c| c.handshakes_max = 0, "handshakes_max is 0"),
            (|c| c.memory_bytes_max = 1 << 20, "memory_bytes_max is 1048576: a loop needs 4194304 at least"),
            (|c| c.listen_tls = vec![SocketAddr::from(([127, 0, 0, 1], 0))], "wss needs a certificate"),
            (
                |c| (c.proxy_protocol, c.proxy_from) = (ProxyProtocol::Require, Vec::new()),
                "proxy_from is empty: nobody could connect",
            ),
            (|c| c.congestion = Congestion::Named("reno\0".to_owned()), "congestion is \"reno\\0\""),
            (|c| c.settings.limits.queue_low_bytes = 2 << 20, "queue_low_bytes 2097152 is not below"),
        ];
        assert_eq!(Config::default().check(), Ok(()));
        for (spoil, expected) in rows {
            // An address that nobody may bind: it does not come to that.
            let mut config = Config { listen: vec![SocketAddr::from(([192, 0, 2, 1], 1))], ..Config::default() };
            spoil(&mut config);
            let error = super::super::Server::bind(&config, super::super::Echo).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_shares_of_loops_come_to_the_whole() {
        let config = Config { connections_per_address: Some(5), ..Config::default() };
        let share = config.share(3);
        assert_eq!((share.connections_max, share.connections_per_address), (3334, Some(2)));
        assert_eq!((share.handshakes_max, share.memory_bytes_max), (334, (512 << 20) / 3));
        assert!(share.reuse_port && !config.share(1).reuse_port);
    }
}
