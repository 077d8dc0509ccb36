//! A stream that is plain or TLS, seen alike from above: plaintext in, plaintext out, and an honest word about blocking.
//! Knows nothing of what the plaintext means, and keeps no buffer of its own.

use std::{
    io::{self, IoSlice, Write as _},
    net::Shutdown,
};

use rustix::net::{RecvFlags, SendFlags};

use super::tls::{TlsScratch, TlsStream};

/// What a stream socket must do for us: mio's `TcpStream` in the product, a simulated kernel in tests.
///
/// All calls are non-blocking and fail with `WouldBlock` when nothing can be done; `Interrupted` is retried inside.
pub trait Socket {
    /// Receives into `buf`; 0 is the peer's FIN (for an empty `buf` it means nothing).
    ///
    /// # Errors
    /// `WouldBlock`, or what the kernel said.
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Copies what [`recv`](Self::recv) would bring into `buf` and leaves it there; 0 is the peer's FIN.
    ///
    /// # Errors
    /// `WouldBlock`, or what the kernel said.
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Sends a prefix of `buf` and returns its length.
    ///
    /// # Errors
    /// `WouldBlock`, or what the kernel said.
    fn send(&mut self, buf: &[u8]) -> io::Result<usize>;

    /// The same where the end of our direction follows at once: the kernel may hold a small rest back, so that it shares a
    /// segment with the FIN.
    ///
    /// # Errors
    /// `WouldBlock`, or what the kernel said.
    fn send_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.send(buf)
    }

    /// Sends a prefix of the slices, in order, and returns its length.
    ///
    /// # Errors
    /// `WouldBlock`, or what the kernel said.
    fn send_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our direction of the stream with a FIN, behind everything sent so far.
    ///
    /// # Errors
    /// What the kernel said.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// No SIGPIPE: mio's sockets have an option for that on Apple's systems, which know no such flag.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// On Linux `recv` and `send` are bare system calls: the C library's are points of thread cancellation, some 80
/// instructions each (callgrind on lone echoes; 1.8 % of an echo's time at 64 × 64 B).
impl Socket for mio::net::TcpStream {
    #[inline]
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| Ok(rustix::net::recv(&*self, &mut *buf, RecvFlags::empty())?.1))
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| mio::net::TcpStream::peek(self, buf))
    }

    #[inline]
    fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
        uninterrupted(|| Ok(rustix::net::send(&*self, buf, SEND)?))
    }

    #[cfg(target_os = "linux")]
    fn send_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        uninterrupted(|| Ok(rustix::net::send(&*self, buf, SEND | SendFlags::MORE)?))
    }

    fn send_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        uninterrupted(|| self.write_vectored(bufs))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// What a [`Transport::read`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// `n` octets of plaintext are in the buffer; with TLS `n` may be 0, when only handshake records or part of a record came.
    ///
    /// `drained`: the socket has nothing more now (a short read, or `WouldBlock`), so the next edge will tell. If not `drained`,
    /// call again: octets may wait in the socket, or in the TLS layer, where no event announces them.
    Data {
        /// Octets written to the front of the buffer.
        n: usize,
        /// Nothing more to read until the next event.
        drained: bool,
    },
    /// The peer's direction has ended, by FIN or by close_notify, after `n` last octets of plaintext.
    /// [`Transport::ended_cleanly`] tells a TLS stream that was cut off from one that was closed.
    Eof {
        /// Octets written to the front of the buffer.
        n: usize,
    },
}

/// What a [`Transport::discard`] threw away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// `n` octets as they came off the wire (with TLS: ciphertext).
    Data {
        /// Octets received and forgotten.
        n: usize,
        /// Nothing more to read until the next event.
        drained: bool,
    },
    /// The peer's FIN.
    Eof,
}

/// One peer's stream.
#[derive(Debug)]
pub enum Transport<S> {
    /// Octets as they are.
    Plain(S),
    /// TLS 1.2 or 1.3, either side of it.
    Tls(Box<TlsStream<S>>),
}

impl<S: Socket> Transport<S> {
    /// Receives once and puts plaintext into `into`.
    ///
    /// With TLS, a handshake's answers are sent within the same call, unless plaintext has come behind it: then they wait for
    /// what is answered to that, or for [`flush`](Self::flush) ([`wants_write`](Self::wants_write) tells). `into` is best some
    /// 128 KiB long: a receive is then cut so that its plaintext surely fits. A smaller buffer works too; what does not fit is
    /// kept and handed out by the next calls before anything new is received. An empty buffer reads nothing.
    ///
    /// # Errors
    /// Only real ones: never `WouldBlock`. `InvalidData` is a breach of TLS or a fatal alert, with its cause as text; our own
    /// alert has been sent as far as the socket took it ([`wants_write`](Self::wants_write) tells).
    /// Plaintext that arrived before the breach is delivered first, and the error by the next call.
    #[inline]
    pub fn read(&mut self, scratch: &mut TlsScratch, into: &mut [u8]) -> io::Result<Read> {
        match self {
            Self::Plain(socket) => read_plain(socket, into),
            Self::Tls(stream) => stream.read(scratch, into),
        }
    }

    /// Takes plaintext to send and returns how many octets were taken, from the front; 0 means blocked.
    ///
    /// Plain: one `send`, or one `writev` for several slices; fewer octets taken than given means the socket is full.
    /// TLS: what was taken is encrypted for good and cannot be overtaken. It takes up to
    /// [`BURST_OCTETS_MAX`](super::tls::BURST_OCTETS_MAX) a call while the socket is free (so a short count does *not* mean
    /// blocked, unless [`wants_write`](Self::wants_write)), one record after the socket had been blocked, and nothing while the
    /// socket does not take earlier ciphertext or the handshake is not done: in the latter case try again after a `read`.
    ///
    /// # Errors
    /// What the kernel said; `InvalidData` once TLS has failed; `BrokenPipe` after [`close_write`](Self::close_write) or a
    /// [`write_last`](Self::write_last) that took everything.
    #[inline]
    pub fn write(&mut self, scratch: &mut TlsScratch, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => write_plain(socket, bufs),
            Self::Tls(stream) => stream.write(scratch, bufs),
        }
    }

    /// [`write`](Self::write) where nothing will be sent behind these octets and [`close_write`](Self::close_write) follows within
    /// the same turn: the FIN, and TLS's close_notify before it, then travel with them.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_last(&mut self, scratch: &mut TlsScratch, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => unblocked(socket.send_last(octets)),
            Self::Tls(stream) => stream.write_last(scratch, octets),
        }
    }

    /// Whether ciphertext waits here for the socket: handshake records, alerts, records the socket did not take.
    /// Never for plain.
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.wants_write(),
        }
    }

    /// Octets of ciphertext that the socket has taken, ever: whether it is moving while [`wants_write`](Self::wants_write) holds.
    /// 0 for plain.
    #[inline]
    pub fn ciphertext_sent(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) => stream.ciphertext_sent(),
        }
    }

    /// Sends waiting ciphertext until none is left (`true`) or the socket is full (`false`: call again when writable).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn flush(&mut self, _scratch: &mut TlsScratch) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Ends our direction: with TLS a close_notify behind all that was taken, then in both cases a FIN.
    /// `true` when done, `false` when blocked: call again when writable. Harmless to repeat. Reading goes on.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn close_write(&mut self, scratch: &mut TlsScratch) -> io::Result<bool> {
        match self {
            Self::Plain(socket) => shutdown_write(socket).map(|()| true),
            Self::Tls(stream) => stream.close_write(scratch),
        }
    }

    /// Receives once and forgets it, while lingering for the peer's FIN. With TLS nothing is decrypted, so a later
    /// [`read`](Self::read) could make no sense of the stream: once discarding, always discarding.
    ///
    /// # Errors
    /// Only real ones: never `WouldBlock`.
    pub fn discard(&mut self, scratch: &mut TlsScratch) -> io::Result<Discard> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.forget_input(),
        };
        Ok(match read_plain(socket, scratch.for_discard())? {
            Read::Data { n, drained } => Discard::Data { n, drained },
            Read::Eof { .. } => Discard::Eof,
        })
    }

    /// Whether the TLS handshake is under way, so that no plaintext can pass yet. Never for plain.
    pub fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// After [`Read::Eof`]: whether the end is the peer's word. A FIN is for plain; TLS takes a close_notify, because anybody on
    /// the way can forge a FIN and so cut a message short.
    pub fn ended_cleanly(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.received_close_notify(),
        }
    }

    /// The TLS stream, for what only it can tell: what it keeps.
    pub fn tls(&self) -> Option<&TlsStream<S>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream),
        }
    }

    /// The socket beneath.
    pub fn socket(&self) -> &S {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// The socket beneath, to register it; octets sent or received behind our back break TLS.
    pub fn socket_mut(&mut self) -> &mut S {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }
}

/// A FIN, unless the connection is gone already, which ends our direction just as well.
pub(super) fn shutdown_write<S: Socket>(socket: &mut S) -> io::Result<()> {
    match socket.shutdown_write() {
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}

#[inline(always)]
fn read_plain<S: Socket>(socket: &mut S, into: &mut [u8]) -> io::Result<Read> {
    if into.is_empty() {
        return Ok(Read::Data { n: 0, drained: false }); // recv would say 0, which is not a FIN here
    }
    match socket.recv(into) {
        Ok(0) => Ok(Read::Eof { n: 0 }),
        Ok(n) => Ok(Read::Data { n, drained: n < into.len() }),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Read::Data { n: 0, drained: true }),
        Err(e) => Err(e),
    }
}

#[inline]
fn write_plain<S: Socket>(socket: &mut S, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    unblocked(match bufs {
        [] => Ok(0),
        [one] => socket.send(one),
        several => socket.send_vectored(several),
    })
}

/// Blocked is no failure: nothing was taken.
#[inline]
fn unblocked(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

#[inline]
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::sim::{Cut, SimSocket},
        *,
    };

    fn plain(socket: SimSocket) -> (Transport<SimSocket>, TlsScratch) {
        (Transport::Plain(socket), TlsScratch::new())
    }

    #[test]
    fn a_plain_read_tells_drained_from_full_and_from_the_end() {
        let (mut transport, mut scratch) = plain(SimSocket::new());
        let mut into = [0; 4];
        assert_eq!(transport.read(&mut scratch, &mut into).unwrap(), Read::Data { n: 0, drained: true });
        transport.socket_mut().inbound.extend(b"abcdef");
        transport.socket_mut().inbound_fin = true;
        assert_eq!(transport.read(&mut scratch, &mut into).unwrap(), Read::Data { n: 4, drained: false });
        assert_eq!(&into, b"abcd");
        assert_eq!(transport.read(&mut scratch, &mut []).unwrap(), Read::Data { n: 0, drained: false });
        assert_eq!(transport.read(&mut scratch, &mut into).unwrap(), Read::Data { n: 2, drained: true });
        assert_eq!(transport.read(&mut scratch, &mut into).unwrap(), Read::Eof { n: 0 });
        assert!(transport.ended_cleanly());
    }

    #[test]
    fn a_plain_write_is_one_send_and_zero_means_blocked() {
        let (mut transport, mut scratch) = plain(SimSocket::cut(Cut::Whole, Cut::Octets(3)));
        let slices = [&b"ab"[..], b"cd"].map(IoSlice::new);
        assert_eq!(transport.write(&mut scratch, &slices).unwrap(), 3);
        assert_eq!(transport.write(&mut scratch, &[]).unwrap(), 0);
        assert_eq!(transport.socket().sends, 1);
        transport.socket_mut().outbound_max = 3;
        assert_eq!(transport.write(&mut scratch, &slices[1..]).unwrap(), 0);
        assert!(!transport.wants_write() && transport.flush(&mut scratch).unwrap());
        assert_eq!(transport.socket().outbound, b"abc");
    }

    #[test]
    fn a_plain_close_is_a_fin_and_discarding_goes_on_until_the_peers() {
        let (mut transport, mut scratch) = plain(SimSocket::new());
        assert!(transport.close_write(&mut scratch).unwrap());
        assert!(transport.socket().outbound_fin && transport.socket().outbound.is_empty());
        transport.socket_mut().inbound.extend(b"late");
        assert_eq!(transport.discard(&mut scratch).unwrap(), Discard::Data { n: 4, drained: true });
        assert_eq!(transport.discard(&mut scratch).unwrap(), Discard::Data { n: 0, drained: true });
        transport.socket_mut().inbound_fin = true;
        assert_eq!(transport.discard(&mut scratch).unwrap(), Discard::Eof);
    }

    #[test]
    fn shutting_down_a_connection_that_is_gone_is_no_error() {
        struct Gone;
        impl Socket for Gone {
            fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            fn send(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn send_vectored(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn shutdown_write(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::NotConnected.into())
            }
        }
        let (mut transport, mut scratch) = (Transport::Plain(Gone), TlsScratch::new());
        assert!(transport.close_write(&mut scratch).unwrap());
        let error = transport.read(&mut scratch, &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
