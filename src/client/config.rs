//! What a client is made from.

use std::{sync::Arc, time::Duration};

use crate::proto::Settings;

/// What a client is made from. `Config::default()` speaks ws only.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds and timeouts of every connection. The handshake's spans the whole way: TCP, TLS and upgrade.
    pub settings: Settings,
    /// The TLS side: whom to trust, versions. Needed for wss.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// After our last octet, where we end TCP: how long we read and discard before the socket is closed.
    pub linger: Duration,
    /// The same in octets.
    pub linger_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { settings: Settings::default(), tls: None, linger: Duration::from_secs(1), linger_bytes_max: 32 << 20 }
    }
}
