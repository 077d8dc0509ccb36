//! The listening socket: its options, accepting without blocking, and which accept errors are worth a retry.
//! Owns no backoff: when descriptors run out, the loop decides how long to wait.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    time::Duration,
};

use mio::{Interest, Registry, Token, event::Source, net::TcpListener, net::TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// A non-blocking TCP listener whose accepted sockets are ready for use.
///
/// Options are set once, here: an accepted socket inherits `TCP_NODELAY` and keep-alive from its listener on Linux, which
/// saves a system call or three per connection (a test holds the kernel to it).
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Binds and listens.
    ///
    /// `backlog` is capped by the kernel (`net.core.somaxconn`). `reuse_port` lets several loops bind the same address and the
    /// kernel spread connections among them. `keep_alive` is the silence after which the kernel probes a peer.
    /// An IPv6 address listens to IPv6 alone, so that `[::]` and `0.0.0.0` can be bound side by side everywhere.
    ///
    /// # Errors
    /// Whatever `socket`, `setsockopt`, `bind` or `listen` said.
    pub fn bind(addr: SocketAddr, backlog: i32, reuse_port: bool, keep_alive: Option<Duration>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        set_inherited(SockRef::from(&socket), keep_alive)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog)?;
        Ok(Self { inner: TcpListener::from_std(socket.into()) })
    }

    /// Takes over a socket that already listens (socket activation) and gives it the same options.
    ///
    /// # Errors
    /// Whatever `fcntl` or `setsockopt` said.
    pub fn from_std(listener: StdListener, keep_alive: Option<Duration>) -> io::Result<Self> {
        set_inherited(SockRef::from(&listener), keep_alive)?;
        listener.set_nonblocking(true)?;
        Ok(Self { inner: TcpListener::from_std(listener) })
    }

    /// Accepts one connection; `None` when nobody waits, so the next event will tell.
    ///
    /// # Errors
    /// Ask [`is_transient`] (call again at once) and [`is_out_of_descriptors`] (call again when one has come back: the event
    /// is edge-triggered and will not be repeated); anything else is a broken listener.
    pub fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            match self.inner.accept() {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Asks the kernel to look for packets itself for so long before a read of an accepted socket sleeps (SO_BUSY_POLL, which is
    /// inherited). Without CAP_NET_ADMIN it may be no longer than `net.core.busy_read`.
    ///
    /// # Errors
    /// What `setsockopt` said; the listener serves as before then.
    #[cfg(target_os = "linux")]
    pub fn set_busy_poll(&self, time: Duration) -> io::Result<()> {
        SockRef::from(&self.inner)
            .set_busy_poll(u32::try_from(time.as_micros()).unwrap_or(u32::MAX).min(i32::MAX as u32))
    }

    /// Asks the kernel to keep a connection to itself until its first octets are there, or for about so long (TCP_DEFER_ACCEPT;
    /// the time is rounded up to seconds and becomes a number of retransmissions). In all that is served here the client speaks
    /// first, so whoever is accepted can be read at once, and who connects and says nothing costs nothing.
    ///
    /// # Errors
    /// What `setsockopt` said; the listener serves as before then.
    #[cfg(target_os = "linux")]
    pub fn set_defer_accept(&self, time: Duration) -> io::Result<()> {
        let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).min(i32::MAX as u32);
        Ok(nix::sys::socket::setsockopt(&self.inner, DeferAccept, &seconds)?)
    }

    /// The congestion control that accepted sockets inherit (TCP_CONGESTION), by the kernel's name for it.
    ///
    /// # Errors
    /// The kernel has none by that name, or only for who has CAP_NET_ADMIN; the listener serves as before then.
    #[cfg(target_os = "linux")]
    pub fn set_congestion(&self, name: &str) -> io::Result<()> {
        SockRef::from(&self.inner).set_tcp_congestion(name.as_bytes())
    }

    /// The address in use, with the real port where port 0 was asked for.
    ///
    /// # Errors
    /// Whatever `getsockname` said.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// TCP_DEFER_ACCEPT, in seconds.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
struct DeferAccept;

#[cfg(target_os = "linux")]
nix::setsockopt_impl!(
    DeferAccept,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32,
    nix::sys::socket::sockopt::SetStruct<u32>
);

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.inner.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.inner.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.inner.deregister(registry)
    }
}

/// Whether the process or the machine is out of descriptors or socket memory: accepting fails until something is closed.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    // Linux: ENOMEM 12, ENFILE 23, EMFILE 24, ENOBUFS 105. std has no kind for the middle two.
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 105 } else { 55 };
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
        || error.kind() == io::ErrorKind::OutOfMemory
}

/// Whether the error concerns only the connection that was about to be accepted: the next one may be fine.
///
/// accept(2) hands out network errors already pending on the new socket; Linux asks that they be treated like a retry.
pub fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // Linux: EPERM 1 (a firewall rule), EPROTO 71, ENOPROTOOPT 92, EOPNOTSUPP 95, ENONET 64, EHOSTDOWN 112.
    const LINUX: [i32; 6] = [1, 64, 71, 92, 95, 112];
    let kind = matches!(
        error.kind(),
        Kind::Interrupted
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    );
    kind || (cfg!(target_os = "linux") && error.raw_os_error().is_some_and(|code| LINUX.contains(&code)))
}

fn set_inherited(socket: SockRef<'_>, keep_alive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(silence) = keep_alive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(silence))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::net::TcpStream as StdStream;

    use super::*;

    fn accept_soon(listener: &Listener) -> (TcpStream, SocketAddr) {
        for _ in 0..1000 {
            if let Some(accepted) = listener.accept().unwrap() {
                return accepted;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nobody was accepted within a second");
    }

    #[test]
    fn accepted_sockets_inherit_no_delay_and_keep_alive() {
        let minute = Duration::from_secs(60);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, Some(minute)).unwrap();
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = accept_soon(&listener);
        assert_eq!(peer, client.local_addr().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), minute);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), minute);
    }

    #[test]
    fn accept_says_none_when_nobody_waits() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = accept_soon(&listener);
        assert!(!SockRef::from(&stream).keepalive().unwrap(), "not asked for");
        assert!(listener.accept().unwrap().is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_deferred_connection_is_accepted_once_it_has_spoken() {
        use std::io::Write as _;
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
        listener.set_defer_accept(Duration::from_secs(60)).unwrap();
        let addr = listener.local_addr().unwrap();
        let _silent = StdStream::connect(addr).unwrap();
        let mut speaking = StdStream::connect(addr).unwrap();
        speaking.write_all(b"GET").unwrap();
        assert_eq!(accept_soon(&listener).1, speaking.local_addr().unwrap(), "the one that came later");
        assert!(listener.accept().unwrap().is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accepted_sockets_inherit_the_congestion_control() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
        let unknown = listener.set_congestion("nobody-has-this").unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
        listener.set_congestion("reno").unwrap();
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let name = SockRef::from(&accept_soon(&listener).0).tcp_congestion().unwrap();
        assert!(name.starts_with(b"reno\0"), "{name:?}");
    }

    #[test]
    fn two_listeners_share_a_port_only_when_both_ask_for_it() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = Listener::bind(any, 16, true, None).unwrap();
        let addr = first.local_addr().unwrap();
        Listener::bind(addr, 16, true, None).unwrap();
        let error = Listener::bind(addr, 16, false, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_listening_socket_from_outside_gets_the_same_options() {
        let listener = Listener::from_std(StdListener::bind("127.0.0.1:0").unwrap(), None).unwrap();
        assert!(listener.accept().unwrap().is_none(), "non-blocking");
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(SockRef::from(&accept_soon(&listener).0).tcp_nodelay().unwrap());
    }

    #[test]
    fn an_ipv6_listener_leaves_the_ipv4_port_free() {
        let Ok(six) = Listener::bind("[::]:0".parse().unwrap(), 16, false, None) else { return }; // a host without IPv6
        let port = six.local_addr().unwrap().port();
        Listener::bind(SocketAddr::from(([0, 0, 0, 0], port)), 16, false, None).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accept_errors_fall_into_three_classes() {
        let os = io::Error::from_raw_os_error;
        for code in [12, 23, 24, 105] {
            assert!(is_out_of_descriptors(&os(code)) && !is_transient(&os(code)), "{code}");
        }
        for code in [1, 4, 64, 71, 92, 95, 100, 101, 103, 104, 110, 112, 113] {
            assert!(is_transient(&os(code)) && !is_out_of_descriptors(&os(code)), "{code}");
        }
        for code in [9, 14, 22, 88] {
            assert!(!is_transient(&os(code)) && !is_out_of_descriptors(&os(code)), "{code}");
        }
    }
}
