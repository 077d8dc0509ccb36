//! Where a URL leads: its addresses and the name that a certificate must bear.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustls::pki_types::ServerName;

use super::url::{Url, UrlError};

/// A URL with its name looked up: what [`Client::open`](super::Client::open) connects to.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    /// Tried in this order; at least one.
    addrs: Arc<[SocketAddr]>,
    server_name: ServerName<'static>,
}

/// Why a URL leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The resolver knows no address, or does not answer.
    #[error("cannot look up {host}: {source}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// A name that no certificate can bear.
    #[error("{host} is no name for TLS")]
    Name {
        /// The name.
        host: String,
    },
}

impl Target {
    /// Looks the URL's name up, on a thread of its own for `timeout` at most, and blocks meanwhile: before a loop runs, not in it.
    /// An address needs no look-up.
    ///
    /// # Errors
    /// [`TargetError`]
    pub fn resolve(url: &Url, timeout: Duration) -> Result<Target, TargetError> {
        let host = url.host().to_owned();
        let addrs = match url.address() {
            Some(address) => vec![SocketAddr::new(address, url.port())],
            None => {
                let (name, port) = (host.clone(), url.port());
                within(timeout, move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect))
                    .map_err(|source| TargetError::Lookup { host: host.clone(), source })?
            }
        };
        let server_name = ServerName::try_from(host.clone()).map_err(|_| TargetError::Name { host })?;
        Ok(Target { url: url.clone(), addrs: addrs.into(), server_name })
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The addresses, in the order in which they are tried.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The same server, another path and query.
    ///
    /// # Errors
    /// As for [`Url::with_resource`].
    pub fn with_resource(&self, resource: &str) -> Result<Target, UrlError> {
        Ok(Target { url: self.url.with_resource(resource)?, ..self.clone() })
    }

    pub(super) fn shared_addrs(&self) -> Arc<[SocketAddr]> {
        self.addrs.clone()
    }

    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }
}

/// The resolver has timeouts of its own, longer than a person waits, and can not be interrupted: its thread may outlive the call.
fn within(
    timeout: Duration,
    look_up: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().name("wslab-lookup".to_owned()).spawn(move || {
        let _ = sender.send(look_up());
    })?;
    match receiver.recv_timeout(timeout) {
        Ok(Ok(addrs)) if addrs.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
        Ok(looked_up) => looked_up,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the resolver did not answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Result<Target, TargetError> {
        Target::resolve(&url.parse().unwrap(), Duration::from_secs(10))
    }

    #[test]
    fn an_address_is_its_own_target_and_localhost_is_looked_up() {
        let target = resolve("ws://[::1]:9/a").unwrap();
        assert_eq!(target.addrs(), ["[::1]:9".parse().unwrap()]);
        let other = target.with_resource("/b?c").unwrap();
        assert_eq!((other.url().to_string().as_str(), other.addrs()), ("ws://[::1]:9/b?c", target.addrs()));
        assert!(resolve("wss://localhost:9").unwrap().addrs().iter().all(|addr| addr.ip().is_loopback()));
    }

    #[test]
    fn a_resolver_that_takes_too_long_is_not_waited_for() {
        let (never, answer) = mpsc::channel();
        let error =
            within(Duration::from_millis(1), move || answer.recv().unwrap_or_else(|_| Ok(Vec::new()))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(never);
    }
}
