//! A loop on real sockets: addresses in, a [`Server`] that serves them out.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::mpsc::channel,
    time::Duration,
};

use super::{
    board::ServerState,
    config::{Config, ConfigError},
    control::Handle,
    event_loop::{LISTENERS_MAX, Loop, WAKER, door_token},
    kernel::Mio,
};
use crate::{net::Listener, session::Handler};

/// Where no address is known.
pub(super) const NOWHERE: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0));

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
    /// The congestion control that was asked for by name ([`Congestion`](super::Congestion)).
    #[error("cannot have congestion control {name:?}: {source}")]
    Congestion {
        /// Which.
        name: String,
        /// Why: mostly that it is not found, or not permitted.
        source: io::Error,
    },
}

/// A socket that listens already: somebody else's, such as a supervisor's (socket activation).
#[derive(Debug)]
pub struct Inherited {
    /// The socket.
    pub listener: TcpListener,
    /// It is for wss.
    pub tls: bool,
}

impl Inherited {
    /// The same socket once more: whoever accepts first has the connection.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Inherited { listener: self.listener.try_clone()?, tls: self.tls })
    }
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
    /// A configuration that can not work; the first address that can not be listened on; a congestion control that can not be had.
    pub fn bind(config: &Config, handler: H) -> Result<Self, BindError> {
        config.check()?;
        let mut server = Server::without_doors(config, handler)?;
        let plain = config.listen.iter().map(|addr| (*addr, false));
        let tls = config.listen_tls.iter().map(|addr| (*addr, true));
        for (addr, tls) in plain.chain(tls).take(LISTENERS_MAX) {
            let bound = Listener::bind(addr, config.backlog, config.reuse_port, config.keep_alive);
            #[cfg(target_os = "linux")]
            if let Ok(listener) = &bound {
                equip(listener, Some(addr), config, config.defer_accept)?;
            }
            bound.and_then(|listener| server.open(listener, tls)).map_err(|source| BindError::Listen {
                addr,
                tls,
                source,
            })?;
        }
        Ok(server)
    }

    /// The same on sockets that listen already, instead of the configuration's addresses.
    ///
    /// # Errors
    /// A configuration that can not work; the first socket that can not be used; a congestion control that can not be had.
    pub fn on(config: &Config, sockets: Vec<Inherited>, handler: H) -> Result<Self, BindError> {
        config.check()?;
        if config.tls.is_none() && sockets.iter().any(|socket| socket.tls) {
            return Err(ConfigError::NoTls.into());
        }
        let mut server = Server::without_doors(config, handler)?;
        for Inherited { listener, tls } in sockets.into_iter().take(LISTENERS_MAX) {
            let addr = listener.local_addr().unwrap_or(NOWHERE);
            let taken = Listener::from_std(listener, config.keep_alive);
            #[cfg(target_os = "linux")]
            if let Ok(listener) = &taken {
                // It may come with a time of its own.
                equip(listener, None, config, Some(config.defer_accept.unwrap_or_default()))?;
            }
            taken.and_then(|listener| server.open(listener, tls)).map_err(|source| BindError::Listen {
                addr,
                tls,
                source,
            })?;
        }
        Ok(server)
    }

    fn without_doors(config: &Config, handler: H) -> Result<Self, BindError> {
        let on_poll = |source| {
            let plain = config.listen.first().map(|addr| (*addr, false));
            let first = plain.or_else(|| config.listen_tls.first().map(|addr| (*addr, true)));
            let (addr, tls) = first.unwrap_or((NOWHERE, false));
            BindError::Listen { addr, tls, source }
        };
        let kernel = Mio::new(config.busy_poll).map_err(on_poll)?;
        let (sender, commands) = channel();
        let handle = Handle::new(sender, kernel.registry(), WAKER).map_err(on_poll)?;
        Ok(Server { inner: Loop::new(kernel, config, handler, commands), handle })
    }

    fn open(&mut self, mut listener: Listener, tls: bool) -> io::Result<()> {
        let door = self.inner.reception.doors().len();
        self.inner.kernel.watch(&mut listener, door_token(door))?;
        let addr = listener.local_addr()?;
        self.inner.reception.open(listener, addr, tls);
        Ok(())
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

/// What accepted sockets are to inherit. What was not asked for by name is as well as the kernel can. `addr`: a new listener's.
#[cfg(target_os = "linux")]
fn equip(
    listener: &Listener,
    addr: Option<SocketAddr>,
    config: &Config,
    defer: Option<Duration>,
) -> Result<(), BindError> {
    use super::Congestion;
    if let Some(time) = defer
        && let Err(error) = listener.set_defer_accept(time)
    {
        tracing::debug!(%error, "connections are accepted as the kernel likes");
    }
    let Some(name) = config.congestion.at(addr) else { return Ok(()) };
    match (listener.set_congestion(name), &config.congestion) {
        (Err(source), Congestion::Named(name)) => return Err(BindError::Congestion { name: name.clone(), source }),
        (Err(error), _) => tracing::debug!(%error, "connections have the system's congestion control"),
        (Ok(()), _) => {}
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;
    use crate::server::Congestion;

    /// What a client's connection gets on the server's side. `None`: there is no such address here.
    fn inherited(addr: &str, is_passed: bool, congestion: &Congestion) -> Option<String> {
        let addr: SocketAddr = addr.parse().unwrap();
        let listener = Listener::bind(addr, 16, false, None).ok()?;
        let config = Config { congestion: congestion.clone(), ..Config::default() };
        equip(&listener, (!is_passed).then_some(addr), &config, None).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client =
            if addr.is_ipv6() { TcpStream::connect(("::1", port)) } else { TcpStream::connect(("127.0.0.1", port)) };
        let _client = client.unwrap();
        let accepted = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            listener.accept().unwrap()
        });
        let name = SockRef::from(&accepted.unwrap().0).tcp_congestion().unwrap();
        Some(String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned())
    }

    #[test]
    fn reno_is_for_new_listeners_on_loopback_addresses_unless_something_else_is_asked_for() {
        let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap().trim().to_owned();
        let reno = Congestion::Named("reno".to_owned());
        for (addr, is_passed, congestion, expected) in [
            ("127.0.0.1:0", false, Congestion::Auto, "reno"),
            ("[::1]:0", false, Congestion::Auto, "reno"),
            ("127.0.0.1:0", false, Congestion::System, &system),
            ("127.0.0.1:0", true, Congestion::Auto, &system),
            ("0.0.0.0:0", false, Congestion::Auto, &system),
            ("0.0.0.0:0", false, reno.clone(), "reno"),
            ("127.0.0.1:0", true, reno, "reno"),
        ] {
            let name = inherited(addr, is_passed, &congestion);
            assert_eq!(name.as_deref().unwrap_or(expected), expected, "{addr} {is_passed} {congestion:?}");
        }
    }
}
