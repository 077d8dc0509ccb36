//! One client of the admin address: its request in, the answer out, an end that destroys neither.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    time::Instant,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::{
    exposition::{Exposition, Scrape},
    request::{self, Asked, Body, HEAD_BYTES_MAX},
    site::Site,
};

/// Octets read and discarded behind the request, so that closing the socket does not reset it before the answer is read.
const DISCARDED_BYTES_MAX: usize = 64 << 10;

/// A client.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) token: Token,
    /// When its time is over.
    pub(super) due: Instant,
    stream: TcpStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// So much of the request is here.
    Asking(Vec<u8>),
    /// Its request is here and is answered with the loops' next report.
    Waiting(Exposition, Body),
    /// So much of the answer has left.
    Hearing { answer: Vec<u8>, sent: usize },
    /// Our side has ended; so much is discarded until the peer's does.
    Leaving { octets_left: usize },
}

impl Peer {
    pub(super) fn new(stream: TcpStream, token: Token, due: Instant) -> Peer {
        Peer { token, due, stream, state: State::Asking(Vec::new()) }
    }

    pub(super) fn watch(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.stream, self.token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether it waits for a report.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(..))
    }

    /// The report that it may wait for.
    pub(super) fn tell(&mut self, scrape: &Scrape) {
        if let State::Waiting(exposition, body) = self.state {
            self.state = State::Hearing { answer: request::numbers(scrape, exposition, body), sent: 0 };
        }
    }

    /// Does what can be done without waiting; `false`: it is over.
    pub(super) fn go_on(&mut self, site: &Site) -> bool {
        loop {
            match self.step(site) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// One system call and what follows from it; `false`: it is over.
    fn step(&mut self, site: &Site) -> io::Result<bool> {
        let mut buffer = [0; 4 << 10];
        match &mut self.state {
            State::Asking(head) => {
                let room = buffer.len().min(HEAD_BYTES_MAX - head.len());
                let read = self.stream.read(&mut buffer[..room])?;
                let fresh = &buffer[..read];
                head.extend_from_slice(fresh);
                // A head ends with a line, so that parsing anew at every octet would find nothing new.
                let is_worth_it = fresh.contains(&b'\n') || head.len() == HEAD_BYTES_MAX;
                match if is_worth_it { request::judge(head, site) } else { Asked::NotYet } {
                    Asked::NotYet => {}
                    Asked::Answer(answer) => self.state = State::Hearing { answer, sent: 0 },
                    Asked::Numbers(exposition, body) => self.state = State::Waiting(exposition, body),
                }
                Ok(read > 0)
            }
            State::Waiting(..) => Err(io::ErrorKind::WouldBlock.into()),
            State::Hearing { answer, sent } => {
                let written = self.stream.write(answer.get(*sent..).unwrap_or_default())?;
                *sent += written;
                if *sent == answer.len() {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.state = State::Leaving { octets_left: DISCARDED_BYTES_MAX };
                }
                Ok(written > 0)
            }
            State::Leaving { octets_left } => {
                let read = self.stream.read(&mut buffer)?;
                *octets_left = octets_left.saturating_sub(read);
                Ok(read > 0 && *octets_left > 0)
            }
        }
    }
}
