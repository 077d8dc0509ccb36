//! One client of the admin address: its request in, the answer out, an end that destroys neither.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    time::Instant,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::{
    request::{self, HEAD_BYTES_MAX},
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

    /// Does what can be done without waiting; `false`: it is over.
    pub(super) fn go_on(&mut self, site: &mut Site) -> bool {
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
    fn step(&mut self, site: &mut Site) -> io::Result<bool> {
        let mut buffer = [0; 4 << 10];
        match &mut self.state {
            State::Asking(head) => {
                let room = buffer.len().min(HEAD_BYTES_MAX - head.len());
                let read = self.stream.read(&mut buffer[..room])?;
                let fresh = &buffer[..read];
                head.extend_from_slice(fresh);
                // A head ends with a line, so that parsing anew at every octet would find nothing new.
                let is_worth_it = fresh.contains(&b'\n') || head.len() == HEAD_BYTES_MAX;
                if let Some(answer) = is_worth_it.then(|| request::answer(head, site)).flatten() {
                    self.state = State::Hearing { answer, sent: 0 };
                }
                Ok(read > 0)
            }
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
