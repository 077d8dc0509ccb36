//! Several loops on one set of addresses: one thread each, SO_REUSEPORT, nothing shared.

use std::{io, net::SocketAddr, thread};

use super::{BindError, Config, Handle, Inherited, Server, bind::NOWHERE};
use crate::session::Handler;

/// Loops that are bound and accept once they run.
pub struct Workers<H> {
    servers: Vec<Server<H>>,
    handle: Handle,
}

impl<H> std::fmt::Debug for Workers<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}

impl<H: Handler + Send + 'static> Workers<H> {
    /// Binds `count` loops (at least one), each with a handler of its own. The addresses are shared by SO_REUSEPORT where
    /// there are several; a port 0 is resolved once, for all. What bounds a server (connections,
    /// those of an address, handshakes, memory) is split into equal shares: the kernel spreads connections evenly, and loops share nothing.
    ///
    /// # Errors
    /// A configuration that can not work; the first address that can not be listened on; a congestion control that can not be had.
    pub fn bind(config: &Config, count: usize, handler: impl Fn() -> H) -> Result<Self, BindError> {
        let count = count.max(1);
        let mut config = config.share(count);
        let mut servers: Vec<Server<H>> = Vec::with_capacity(count);
        for _ in 0..count {
            let server = Server::bind(&config, handler())?;
            config.listen = server.local_addrs();
            config.listen_tls = server.local_addrs_tls();
            servers.push(server);
        }
        let handle = Handle::join(servers.iter().map(Server::handle));
        Ok(Workers { servers, handle })
    }

    /// The same on sockets that listen already, instead of the configuration's addresses. All loops accept from the same
    /// queues: each new connection wakes all of them, and the first that comes has it. That is no even share under light load.
    ///
    /// # Errors
    /// A configuration that can not work; the first socket that can not be used; a congestion control that can not be had.
    pub fn on(
        config: &Config,
        count: usize,
        sockets: Vec<Inherited>,
        handler: impl Fn() -> H,
    ) -> Result<Self, BindError> {
        let count = count.max(1);
        let config = config.share(count);
        let mut servers: Vec<Server<H>> = Vec::with_capacity(count);
        for _ in 0..count {
            let copy = |socket: &Inherited| {
                let addr = socket.listener.local_addr();
                let listen = |source| BindError::Listen { addr: addr.unwrap_or(NOWHERE), tls: socket.tls, source };
                socket.try_clone().map_err(listen)
            };
            let copies = sockets.iter().map(copy).collect::<Result<_, _>>()?;
            servers.push(Server::on(&config, copies, handler())?);
        }
        let handle = Handle::join(servers.iter().map(Server::handle));
        Ok(Workers { servers, handle })
    }

    /// The ws addresses, with real ports.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.servers.first().map(Server::local_addrs).unwrap_or_default()
    }

    /// The wss addresses, with real ports.
    pub fn local_addrs_tls(&self) -> Vec<SocketAddr> {
        self.servers.first().map(Server::local_addrs_tls).unwrap_or_default()
    }

    /// What the plain page, for a GET without upgrade, says where to connect. Known once the addresses are bound.
    pub fn name_urls(&mut self, urls: &[String]) {
        self.servers.iter_mut().for_each(|server| server.name_urls(urls));
    }

    /// To end the loops, or to give them a new certificate.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs every loop on a thread of its own, and returns when the last has ended. One that fails stops the others.
    ///
    /// # Errors
    /// A failure of the poll itself; sockets' failures end their connections only.
    pub fn run(self) -> io::Result<()> {
        let handle = self.handle;
        let loops: Vec<_> = self
            .servers
            .into_iter()
            .enumerate()
            .map(|(at, server)| {
                let handle = handle.clone();
                thread::Builder::new().name(format!("wslab-loop-{at}")).spawn(move || {
                    let ended = server.run();
                    if ended.is_err() {
                        handle.stop();
                    }
                    ended
                })
            })
            .collect();
        let mut first_failure = Ok(());
        for spawned in loops {
            let ended = match spawned {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("a loop panicked"))),
                Err(error) => {
                    handle.stop();
                    Err(error)
                }
            };
            first_failure = first_failure.and(ended);
        }
        first_failure
    }
}
