//! `--admin`: `/metrics`, `/healthz` and `/readyz` over HTTP, on an address of their own.
//!
//! One thread with a poll of its own, so that it answers while loops are busy or drain. Whatever its clients do costs a bounded
//! number of connections of bounded size for a bounded time; the loops notice only that they are asked for their numbers.

mod exposition;
mod peer;
mod request;
mod site;

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker};

use crate::net::{Listener, listener::is_transient};
use peer::Peer;
pub(super) use site::Site;

/// Connections at once. One more ends the oldest, so that who is slow keeps nobody out.
const PEERS_MAX: usize = 32;
/// From accept to the end of TCP.
const PEER_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections that the system may hold ready for accept.
const BACKLOG: i32 = 128;
/// Connections accepted before those there get their turn.
const ACCEPTS_MAX: usize = 16;
/// How long accepting rests when it fails for a reason that may last.
const ACCEPT_REST: Duration = Duration::from_millis(100);

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_PEER: usize = 2;

/// The admin address, bound; nobody is answered yet.
#[derive(Debug)]
pub(super) struct Admin {
    poll: Poll,
    waker: Arc<Waker>,
    listener: Listener,
    addr: SocketAddr,
}

impl Admin {
    /// Binds the address.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Admin> {
        Admin::with(Listener::bind(addr, BACKLOG, false, None)?)
    }

    /// The same on a socket that listens already.
    pub(super) fn on(listener: TcpListener) -> io::Result<Admin> {
        Admin::with(Listener::from_std(listener, None)?)
    }

    fn with(mut listener: Listener) -> io::Result<Admin> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let addr = listener.local_addr()?;
        Ok(Admin { poll, waker, listener, addr })
    }

    /// With the real port.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers on a thread of its own, until what is returned is dropped.
    pub(super) fn start(self, site: Site) -> io::Result<Running> {
        let Admin { poll, waker, listener, .. } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let desk = Desk {
            poll,
            listener,
            site,
            peers: VecDeque::new(),
            next_token: FIRST_PEER,
            accept_at: None,
            stop: stop.clone(),
        };
        let thread = thread::Builder::new().name("wslab-admin".to_owned()).spawn(|| desk.run())?;
        Ok(Running { waker, stop, thread: Some(thread) })
    }
}

/// The thread that answers. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Running {
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        // A thread that panicked has ended as well.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What the thread works with.
struct Desk {
    poll: Poll,
    listener: Listener,
    site: Site,
    /// The oldest first.
    peers: VecDeque<Peer>,
    next_token: usize,
    /// There may be somebody to accept, from then on: edges are not repeated.
    accept_at: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl Desk {
    fn run(mut self) {
        yield_to_loops();
        let mut events = Events::with_capacity(PEERS_MAX + FIRST_PEER);
        while !self.stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, self.timeout(Instant::now())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return tracing::error!(%error, "the admin address answers no more"),
                Ok(()) => {}
            }
            let now = Instant::now();
            for token in events.iter().map(mio::event::Event::token) {
                match token {
                    WAKER => {}
                    LISTENER => self.accept_at = Some(now),
                    token => self.serve(token),
                }
            }
            self.report(now);
            self.peers.retain(|peer| now < peer.due);
            self.accept(now);
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let due = self.peers.front().map(|peer| peer.due);
        let report = self.is_awaited().then(|| self.site.report_due().unwrap_or(now));
        [due, self.accept_at, report].into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn serve(&mut self, token: Token) {
        let Some(at) = self.peers.iter().position(|peer| peer.token == token) else { return };
        if let Some(peer) = self.peers.get_mut(at)
            && !peer.go_on(&self.site)
        {
            self.peers.remove(at);
        }
    }

    /// Answers those who wait for the numbers, all with one report.
    fn report(&mut self, now: Instant) {
        if !self.is_awaited() || self.site.report_due().is_some_and(|due| now < due) {
            return;
        }
        let scrape = self.site.report();
        let site = &self.site;
        self.peers.retain_mut(|peer| {
            let was_waiting = peer.is_waiting();
            peer.tell(&scrape);
            !was_waiting || peer.go_on(site)
        });
    }

    fn is_awaited(&self) -> bool {
        self.peers.iter().any(Peer::is_waiting)
    }

    fn accept(&mut self, now: Instant) {
        if self.accept_at.is_none_or(|at| now < at) {
            return;
        }
        for _ in 0..ACCEPTS_MAX {
            match self.listener.accept() {
                Ok(Some((stream, _))) => {
                    let mut peer = Peer::new(stream, Token(self.next_token), now + PEER_TIME_MAX);
                    self.next_token = self.next_token.checked_add(1).unwrap_or(FIRST_PEER);
                    // Whom nobody watches would never be answered.
                    if peer.watch(self.poll.registry()).is_err() {
                        continue;
                    }
                    if self.peers.len() >= PEERS_MAX {
                        self.peers.pop_front();
                    }
                    self.peers.push_back(peer);
                }
                Ok(None) => {
                    self.accept_at = None;
                    return;
                }
                Err(error) if is_transient(&error) => {}
                Err(_) => {
                    // Out of descriptors, most likely: the server's own listeners say so in the log.
                    self.accept_at = Some(now + ACCEPT_REST);
                    return;
                }
            }
        }
    }
}

/// Who scrapes in a loop must not take the processor from those who echo: where there is not enough for both, this thread gets a
/// tenth of what a loop gets.
fn yield_to_loops() {
    #[cfg(target_os = "linux")] // Elsewhere the whole process would be meant.
    let _ = rustix::process::setpriority_process(None, 10);
}
