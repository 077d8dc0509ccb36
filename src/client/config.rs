//! What a client is made from.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::proto::Settings;

/// What a client is made from. `Config::default()` speaks ws only.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds and timeouts of every connection. The handshake's spans the whole way: TCP, TLS and upgrade.
    pub settings: Settings,
    /// The TLS side: whom to trust, versions. Needed for wss.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Addresses to connect from, one after the other; none: the system's choice. One address has some 28,000 ports to one server.
    pub sources: Vec<IpAddr>,
    /// Subprotocols to offer, in order of preference.
    pub subprotocols: Vec<String>,
    /// Further headers of the request, as name and value.
    pub headers: Vec<(String, String)>,
    /// Octets of the kernel's receive buffer of every socket; `None`: the system's choice.
    pub receive_buffer: Option<usize>,
    /// After our last octet, where we end TCP: how long we read and discard before the socket is closed.
    pub linger: Duration,
    /// The same in octets.
    pub linger_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            settings: Settings::default(),
            tls: None,
            sources: Vec::new(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            receive_buffer: None,
            linger: Duration::from_secs(1),
            linger_bytes_max: 32 << 20,
        }
    }
}
