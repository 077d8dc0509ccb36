//! What a loop asks of the operating system: a poll, sockets from listeners, the time. [`Mio`] is the real one; the tests have
//! one that they drive by hand (`server/tests/sim_kernel.rs`). Static dispatch: the loop compiles to the same calls as without.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use mio::{Events, Interest, Poll, Registry, Token, net::TcpStream};

use crate::{
    net::{Listener, Socket},
    session::{Readiness, Session},
};

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

const _: () =
    assert!(size_of::<Session<TcpStream>>() <= 200, "of many peers nearly all are idle: what is rare is boxed");

/// An operating system as one loop sees it. Readiness is edge-triggered: what was told and not acted on is not told again.
pub(super) trait Kernel {
    type Socket: Socket;
    /// Dropping it closes it.
    type Listener;
    /// What one poll brought.
    type Events;

    /// Room for what a poll brings, made once.
    fn events(&self) -> Self::Events;

    /// Waits for readiness, but not longer than `timeout`.
    ///
    /// # Errors
    /// `Interrupted` is worth another call; anything else ends the loop.
    fn poll(&mut self, events: &mut Self::Events, timeout: Option<Duration>) -> io::Result<()>;

    /// The events of the last poll, each with the token of its source.
    fn ready(events: &Self::Events) -> impl Iterator<Item = (usize, Readiness)>;

    /// A peer that waits at the door; `None`: nobody, so the next event will tell.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<Option<(Self::Socket, SocketAddr)>>;

    /// Watches a socket, in both directions and for good: dropping it ends that.
    ///
    /// # Errors
    /// What the kernel said.
    fn register(&mut self, socket: &mut Self::Socket, token: usize) -> io::Result<()>;

    /// Gives a socket that is watched another token. What there is to be done may be told again, under the new name.
    ///
    /// # Errors
    /// What the kernel said.
    fn rename(&mut self, socket: &mut Self::Socket, token: usize) -> io::Result<()>;

    fn now(&self) -> Instant;

    /// The wall clock, for people to read.
    fn date(&self) -> SystemTime;
}

/// The operating system's sockets and poll.
#[derive(Debug)]
pub(super) struct Mio {
    poll: Poll,
    /// How long a poll looks again and again before it sleeps.
    busy_poll: Duration,
}

impl Mio {
    pub(super) fn new(busy_poll: Duration) -> io::Result<Self> {
        Ok(Mio { poll: Poll::new()?, busy_poll })
    }

    /// Looks for readiness without sleeping, as long as `busy_poll` and `timeout` allow. Returns whether there was any, and what is
    /// left of the timeout.
    #[cold]
    fn spin(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<(bool, Option<Duration>)> {
        let begun = Instant::now();
        let most = timeout.map_or(self.busy_poll, |timeout| timeout.min(self.busy_poll));
        loop {
            self.poll.poll(events, Some(Duration::ZERO))?;
            let spent = begun.elapsed();
            if !events.is_empty() || spent >= most {
                return Ok((!events.is_empty(), timeout.map(|timeout| timeout.saturating_sub(spent))));
            }
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Watches a listener. Dropping it ends that.
    pub(super) fn watch(&self, listener: &mut Listener, token: usize) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if !self.busy_poll.is_zero()
            && let Err(error) = listener.set_busy_poll(self.busy_poll)
        {
            tracing::debug!(%error, "the kernel does not busy-poll for us; this loop does");
        }
        self.poll.registry().register(listener, Token(token), Interest::READABLE)
    }
}

impl Kernel for Mio {
    type Socket = TcpStream;
    type Listener = Listener;
    type Events = Events;

    fn events(&self) -> Events {
        Events::with_capacity(EVENTS_MAX)
    }

    #[inline]
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = timeout;
        if !self.busy_poll.is_zero() {
            let (ready, left) = self.spin(events, timeout)?;
            if ready {
                return Ok(());
            }
            timeout = left;
        }
        self.poll.poll(events, timeout)
    }

    #[inline]
    fn ready(events: &Events) -> impl Iterator<Item = (usize, Readiness)> {
        events.iter().map(|event| {
            let readiness = Readiness {
                readable: event.is_readable(),
                writable: event.is_writable(),
                ended: event.is_read_closed() || event.is_error(),
            };
            (event.token().0, readiness)
        })
    }

    fn accept(&mut self, listener: &Listener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        listener.accept()
    }

    fn register(&mut self, socket: &mut TcpStream, token: usize) -> io::Result<()> {
        self.poll.registry().register(socket, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn rename(&mut self, socket: &mut TcpStream, token: usize) -> io::Result<()> {
        self.poll.registry().reregister(socket, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn date(&self) -> SystemTime {
        SystemTime::now()
    }
}
