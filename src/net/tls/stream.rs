//! One TLS connection: its socket, its engine, and the little that must outlive a call.

use std::{
    fmt,
    io::{self, IoSlice},
    sync::Arc,
};

use rustls::{ClientConfig, Error, InvalidMessage, ServerConfig, pki_types::ServerName};

use super::{
    super::transport::{Read, Socket, shutdown_write},
    BURST_OCTETS_MAX, HELD_OCTETS_MAX, INCOMING_OCTETS, RECORD_OCTETS_MAX, RECORD_WIRE_OCTETS_MAX, TlsScratch,
    engine::{Engine, Outgoing, Stop},
    gather,
    unsent::Unsent,
};

/// One TLS connection over one socket, server or client.
pub struct TlsStream<S> {
    socket: S,
    engine: Engine,
    input: Input,
    output: Output,
    /// Ciphertext not yet processed: the incomplete record, or an unfinished handshake message, exactly as the engine left it.
    held: Vec<u8>,
    /// The end of a record's plaintext for which a reader's buffer was too short, and how much of it was read since.
    parked: Vec<u8>,
    parked_from: usize,
    unsent: Unsent,
}

/// Where our reading stands.
#[derive(Debug)]
enum Input {
    /// `held` is no whole record: more is needed from the socket.
    Hungry,
    /// The reader's buffer ended first: `parked` and `held` come before the socket. `held` may hold whole records.
    Stalled,
    /// close_notify has come.
    Closed,
    /// Said by every further read.
    Failed(Failure),
}

/// Where our writing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    /// close_notify is queued or sent; no plaintext after it (RFC 8446 §6.1).
    Notified,
    /// So is the FIN.
    Finished,
}

/// Why TLS ended before its time.
#[derive(Debug, Clone, thiserror::Error)]
enum Failure {
    #[error("the peer does not speak TLS (a plain-text client on a TLS port?)")]
    NotTls,
    #[error("the peer's handshake message is longer than {HELD_OCTETS_MAX} octets")]
    TooLong,
    #[error("tls: {0}")]
    Tls(#[source] Error),
}

impl<S: Socket> TlsStream<S> {
    /// The server's side of a connection just accepted.
    ///
    /// # Errors
    /// `InvalidInput` if rustls rejects the configuration.
    pub fn server(socket: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        Engine::server(config).map(|engine| Self::new(socket, engine)).map_err(rejected)
    }

    /// The client's side of a connection to `name`. The ClientHello waits at once ([`wants_write`](Self::wants_write)):
    /// flush when the socket is connected.
    ///
    /// # Errors
    /// `InvalidInput` if rustls rejects the configuration.
    pub fn client(socket: S, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let mut stream = Self::new(socket, Engine::client(config, name).map_err(rejected)?);
        let mut hello = Outgoing::new(0);
        if let Stop::Failed(error) = stream.engine.pump(&mut [], &mut [], &mut Vec::new(), &mut hello).stop {
            return Err(rejected(error));
        }
        stream.unsent = Unsent::new(hello.filled().to_vec());
        Ok(stream)
    }

    fn new(socket: S, engine: Engine) -> Self {
        Self {
            socket,
            engine,
            input: Input::Hungry,
            output: Output::Open,
            held: Vec::new(),
            parked: Vec::new(),
            parked_from: 0,
            unsent: Unsent::default(),
        }
    }

    /// See [`Transport::read`](super::super::Transport::read).
    ///
    /// A receive is cut at `into`'s length, and plaintext is never longer than its ciphertext, so with a large `into` nothing is
    /// ever left over. It is never cut below one record, though, or a record longer than `into` could not be completed: then
    /// the end of the record's plaintext is parked here, whole records behind it stay undecrypted, and further calls hand these
    /// out before they receive. So at most one record's plaintext and what one receive brought wait here.
    ///
    /// # Errors
    /// As for [`Transport::read`](super::super::Transport::read).
    pub fn read(&mut self, scratch: &mut TlsScratch, into: &mut [u8]) -> io::Result<Read> {
        if into.is_empty() {
            return Ok(Read::Data { n: 0, drained: false });
        }
        let (incoming_len, drained) = match &self.input {
            Input::Failed(failure) => return Err(failure.to_io()),
            Input::Closed => return Ok(Read::Eof { n: 0 }),
            Input::Stalled if !self.parked.is_empty() => return Ok(self.unpark(into)),
            Input::Stalled => {
                scratch.incoming[..self.held.len()].copy_from_slice(&self.held);
                (self.held.len(), false)
            }
            Input::Hungry => {
                let held = self.held.len();
                let room = into.len().saturating_sub(held).max(RECORD_WIRE_OCTETS_MAX).min(INCOMING_OCTETS - held);
                let n = match self.socket.recv(&mut scratch.incoming[held..held + room]) {
                    Ok(0) => return Ok(Read::Eof { n: 0 }),
                    Ok(n) => n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Data { n: 0, drained: true }),
                    Err(e) => return Err(e),
                };
                let drained = n < room;
                if held + n < self.record_wire_len() {
                    // Collect first: processing every fragment would copy the record back and forth each time.
                    self.held.extend_from_slice(&scratch.incoming[held..held + n]);
                    return Ok(Read::Data { n: 0, drained });
                }
                scratch.incoming[..held].copy_from_slice(&self.held);
                (held + n, drained)
            }
        };

        let incoming = &mut scratch.incoming[..incoming_len];
        let pumped = self.engine.pump(incoming, into, &mut self.parked, &mut scratch.outgoing);
        let rest = &scratch.incoming[pumped.consumed..incoming_len];
        self.held = Vec::new();
        let n = pumped.filled;
        let mut read = Read::Data { n, drained };
        match pumped.stop {
            Stop::Starved if rest.len() > HELD_OCTETS_MAX => self.input = Input::Failed(Failure::TooLong),
            Stop::Starved => {
                self.held = rest.to_vec();
                self.input = Input::Hungry;
            }
            Stop::Full => {
                self.held = rest.to_vec();
                self.input = Input::Stalled;
                read = Read::Data { n, drained: false };
            }
            Stop::PeerClosed => {
                self.input = Input::Closed;
                read = Read::Eof { n };
            }
            Stop::Failed(error) => {
                self.input = Input::Failed(self.blame(error));
                if self.output != Output::Open {
                    scratch.outgoing.clear(); // nothing follows a close_notify, no alert either (RFC 8446 §6.1)
                }
            }
        }

        if n > 0 && matches!(self.input, Input::Hungry | Input::Stalled) {
            // A ticket has somebody to travel with: what is answered to the plaintext.
            self.unsent.keep(&mut scratch.outgoing);
            return Ok(read);
        }
        let posted = self.unsent.post(&mut self.socket, &mut scratch.outgoing, false);
        match (&self.input, posted) {
            // What came before a failure is delivered first, so that the cut of the stream changes nothing.
            (Input::Failed(_), _) if n > 0 => Ok(Read::Data { n, drained: false }),
            (Input::Failed(failure), _) => Err(failure.to_io()),
            (_, Err(error)) if n == 0 => Err(error),
            _ => Ok(read),
        }
    }

    /// See [`Transport::write`](super::super::Transport::write). Several slices are first copied together, so that they share records.
    ///
    /// # Errors
    /// As for [`Transport::write`](super::super::Transport::write).
    pub fn write(&mut self, scratch: &mut TlsScratch, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.seal(scratch, bufs, false)
    }

    /// See [`Transport::write_last`](super::super::Transport::write_last): the close_notify goes with the octets, unless not all of
    /// them are taken.
    ///
    /// # Errors
    /// As for [`Transport::write`](super::super::Transport::write).
    pub fn write_last(&mut self, scratch: &mut TlsScratch, octets: &[u8]) -> io::Result<usize> {
        self.seal(scratch, &[IoSlice::new(octets)], true)
    }

    fn seal(&mut self, scratch: &mut TlsScratch, bufs: &[IoSlice<'_>], is_last: bool) -> io::Result<usize> {
        if let Input::Failed(failure) = &self.input {
            return Err(failure.to_io());
        }
        if self.output != Output::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut octets_max = BURST_OCTETS_MAX;
        if self.unsent.is_held_up() {
            if !self.flush()? {
                return Ok(0);
            }
            octets_max = RECORD_OCTETS_MAX; // the peer is slow: stay close, so that what is urgent next is not far behind
        }
        if self.is_handshaking() {
            return Ok(0); // a TLS 1.3 server could send here already, to a peer that has proved nothing yet
        }
        let TlsScratch { staging, outgoing, .. } = scratch;
        let plain = gather(bufs, octets_max, staging);
        if plain.is_empty() {
            return Ok(0);
        }
        let held = if matches!(self.input, Input::Hungry) { &mut self.held[..] } else { &mut [] };
        match self.engine.encrypt(held, plain, outgoing) {
            Ok(false) => self.unsent.post(&mut self.socket, outgoing, false).map(|()| 0),
            Ok(true) => {
                let ends = is_last && plain.len() == bufs.iter().map(|buf| buf.len()).sum::<usize>();
                if ends {
                    self.say_goodbye(outgoing);
                } else if matches!(self.input, Input::Hungry)
                    && self.held.is_empty()
                    && let Err(error) = self.engine.hand_over()
                {
                    self.input = Input::Failed(Failure::Tls(error));
                }
                self.unsent.post(&mut self.socket, outgoing, ends).map(|()| plain.len())
            }
            Err(error) => {
                let failure = Failure::Tls(error);
                let io_error = failure.to_io();
                self.input = Input::Failed(failure);
                let _ = self.unsent.post(&mut self.socket, outgoing, false); // best effort: the error that counts is the first
                Err(io_error)
            }
        }
    }

    /// See [`Transport::flush`](super::super::Transport::flush).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn flush(&mut self) -> io::Result<bool> {
        self.unsent.flush(&mut self.socket, false)
    }

    /// See [`Transport::close_write`](super::super::Transport::close_write). Before the handshake's end, and after a fatal alert, there
    /// is no close_notify to send: only the FIN.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn close_write(&mut self, scratch: &mut TlsScratch) -> io::Result<bool> {
        if self.output == Output::Open {
            self.say_goodbye(&mut scratch.outgoing);
            self.unsent.post(&mut self.socket, &mut scratch.outgoing, true)?;
        }
        if !self.flush()? {
            return Ok(false);
        }
        if self.output == Output::Notified {
            shutdown_write(&mut self.socket)?;
            self.output = Output::Finished;
        }
        Ok(true)
    }

    /// Lets go of all input, for a reader that will only discard.
    pub(in super::super) fn forget_input(&mut self) -> &mut S {
        self.held = Vec::new();
        self.parked = Vec::new();
        &mut self.socket
    }

    /// See [`Transport::wants_write`](super::super::Transport::wants_write).
    pub fn wants_write(&self) -> bool {
        self.unsent.is_waiting()
    }

    /// See [`Transport::ciphertext_sent`](super::super::Transport::ciphertext_sent).
    pub fn ciphertext_sent(&self) -> u64 {
        self.unsent.taken()
    }

    /// See [`Transport::is_handshaking`](super::super::Transport::is_handshaking).
    #[inline(never)] // 2 % of a lone echo's instructions without TLS
    pub fn is_handshaking(&self) -> bool {
        self.engine.is_handshaking()
    }

    /// Whether the peer said that its stream is complete.
    pub fn received_close_notify(&self) -> bool {
        matches!(self.input, Input::Closed)
    }

    /// Octets this connection keeps between calls, beyond its engine's own.
    pub fn octets_kept(&self) -> usize {
        self.held.capacity() + self.parked.capacity() + self.unsent.capacity()
    }

    #[cfg(test)]
    pub(super) fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The socket beneath.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket beneath, to register it.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    fn unpark(&mut self, into: &mut [u8]) -> Read {
        let rest = &self.parked[self.parked_from..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        if n == rest.len() {
            self.parked = Vec::new();
            self.parked_from = 0;
        } else {
            self.parked_from += n;
        }
        Read::Data { n, drained: false }
    }

    /// How long `held` must grow before the engine can make anything of it, as far as we can tell; 0 if we cannot.
    ///
    /// Only for application data after the handshake: a handshake message in pieces stays in `held` decrypted, and its first
    /// octet is then no record's. None of the handshake types rustls knows has the number 23.
    fn record_wire_len(&self) -> usize {
        const APPLICATION_DATA: u8 = 23;
        match self.held[..] {
            [APPLICATION_DATA, _, _, high, low, ..] if !self.is_handshaking() => {
                let len = 5 + usize::from(u16::from_be_bytes([high, low]));
                if len > RECORD_WIRE_OCTETS_MAX { 0 } else { len }
            }
            _ => 0,
        }
    }

    /// The close_notify, if the handshake is over and nothing has failed. Who can not say goodbye still gets its FIN.
    fn say_goodbye(&mut self, outgoing: &mut Outgoing) {
        self.output = Output::Notified;
        if !matches!(self.input, Input::Failed(_)) {
            let held = if matches!(self.input, Input::Hungry) { &mut self.held[..] } else { &mut [] };
            let _ = self.engine.close_notify(held, outgoing);
        }
    }

    fn blame(&self, error: Error) -> Failure {
        let first_octets = self.engine.is_at_the_start();
        match error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) if first_octets => Failure::NotTls,
            other => Failure::Tls(other),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .field("input", &self.input)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Failure {
    fn to_io(&self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self.clone())
    }
}

fn rejected(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
