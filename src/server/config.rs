//! What a server is made from.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::proto::Settings;

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
    /// The listeners' accept queue (`listen(2)`), in connections.
    pub backlog: i32,
    /// Share the addresses with other processes or loops (SO_REUSEPORT).
    pub reuse_port: bool,
    /// TCP keep-alive: silence before the first probe. `None`: off.
    pub keep_alive: Option<Duration>,
    /// How long a drain waits for peers before it drops them.
    pub grace: Duration,
    /// After our last octet: how long we read and discard before the socket is closed.
    pub linger: Duration,
    /// After our last octet: how many octets we read and discard before the socket is closed.
    pub linger_bytes_max: usize,
    /// Record every frame in both directions (`tracing` target `wslab::frame`, level TRACE).
    pub log_frames: bool,
    /// Measure how long each turn of a loop takes, for [`Metrics::turns`](super::Metrics::turns).
    pub time_turns: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            tls: None,
            settings: Settings::default(),
            connections_max: 10_000,
            backlog: 4096,
            reuse_port: false,
            keep_alive: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            linger_bytes_max: 32 << 20,
            log_frames: false,
            time_turns: false,
        }
    }
}
