//! A loop on real sockets: addresses in, a [`Server`] that serves them out.

use std::{io, net::SocketAddr, sync::mpsc::channel};

use super::{
    board::ServerState,
    config::{Config, ConfigError},
    control::Handle,
    event_loop::{LISTENERS_MAX, Loop, WAKER, door_token},
    kernel::Mio,
};
use crate::{net::Listener, session::Handler};

/// Why a server does not come about.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// What it was to be made from can not work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that can not be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Whether it was meant for wss.
        tls: bool,
        /// Why.
        source: io::Error,
    },
}

/// One event loop with its listeners, not yet running.
pub struct Server<H> {
    inner: Loop<Mio, H>,
    handle: Handle,
}

impl<H> std::fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.inner).finish()
    }
}

impl<H> Server<H> {
    /// The ws addresses, with real ports.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.addrs(false)
    }

    /// The wss addresses, with real ports.
    pub fn local_addrs_tls(&self) -> Vec<SocketAddr> {
        self.addrs(true)
    }

    fn addrs(&self, tls: bool) -> Vec<SocketAddr> {
        self.inner.reception.doors().iter().filter(|door| door.tls == tls).map(|door| door.addr).collect()
    }

    /// See [`Workers::name_urls`](super::Workers::name_urls).
    pub fn name_urls(&mut self, urls: &[String]) {
        self.inner.name_urls(urls);
    }

    /// To end the loop from another thread, or to give it a new certificate.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<H: Handler> Server<H> {
    /// Binds every address. From here on the kernel queues connections; [`Server::run`] serves them.
    ///
    /// # Errors
    /// A configuration that can not work; the first address that can not be listened on.
    pub fn bind(config: &Config, handler: H) -> Result<Self, BindError> {
        config.check()?;
        let on_poll = |source| {
            let plain = config.listen.first().map(|addr| (*addr, false));
            let first = plain.or_else(|| config.listen_tls.first().map(|addr| (*addr, true)));
            let (addr, tls) = first.unwrap_or((SocketAddr::from(([127, 0, 0, 1], 0)), false));
            BindError::Listen { addr, tls, source }
        };
        let kernel = Mio::new().map_err(on_poll)?;
        let (sender, commands) = channel();
        let handle = Handle::new(sender, kernel.registry(), WAKER).map_err(on_poll)?;
        let mut inner = Loop::new(kernel, config, handler, commands);
        let plain = config.listen.iter().map(|addr| (*addr, false));
        let tls = config.listen_tls.iter().map(|addr| (*addr, true));
        for (door, (addr, tls)) in plain.chain(tls).take(LISTENERS_MAX).enumerate() {
            let on_error = |source| BindError::Listen { addr, tls, source };
            let mut listener =
                Listener::bind(addr, config.backlog, config.reuse_port, config.keep_alive).map_err(on_error)?;
            inner.kernel.watch(&mut listener, door_token(door)).map_err(on_error)?;
            let addr = listener.local_addr().map_err(on_error)?;
            inner.reception.open(listener, addr, tls);
        }
        Ok(Server { inner, handle })
    }

    /// Serves until a [`Handle`] ends it.
    ///
    /// # Errors
    /// A failure of the poll itself; sockets' failures end their connections only.
    pub fn run(self) -> io::Result<()> {
        let Server { mut inner, handle } = self;
        handle.reach(ServerState::Serving);
        let ended = inner.run();
        let metrics = inner.metrics();
        // Who still waits for a report hears at once that none will come.
        drop(inner);
        handle.end(&metrics);
        ended
    }
}
