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
    session::Readiness,
};

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

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

    fn now(&self) -> Instant;

    /// The wall clock, for people to read.
    fn date(&self) -> SystemTime;
}

/// The operating system's sockets and poll.
#[derive(Debug)]
pub(super) struct Mio {
    poll: Poll,
}

impl Mio {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Mio { poll: Poll::new()? })
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Watches a listener. Dropping it ends that.
    pub(super) fn watch(&self, listener: &mut Listener, token: usize) -> io::Result<()> {
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

    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn date(&self) -> SystemTime {
        SystemTime::now()
    }
}
