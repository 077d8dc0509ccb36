//! A simulated kernel for tests: one socket whose reads and writes are cut where the test says, without a clock or a thread.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read as _},
};

use super::transport::Socket;

/// A stream socket held in memory. The test is the peer: it fills `inbound` and empties `outbound`.
#[derive(Debug)]
pub(crate) struct SimSocket {
    /// What the peer has sent and we have not received.
    pub(crate) inbound: VecDeque<u8>,
    /// The peer's FIN lies behind `inbound`.
    pub(crate) inbound_fin: bool,
    /// The peer has reset the connection; what arrived before can be received still.
    pub(crate) inbound_rst: bool,
    /// What we have sent.
    pub(crate) outbound: Vec<u8>,
    /// We have sent our FIN.
    pub(crate) outbound_fin: bool,
    /// The send buffer: beyond this many octets in `outbound`, sending would block.
    pub(crate) outbound_max: usize,
    /// Octets that were shown and are surely there: reading them is not cut.
    peeked: usize,
    pub(crate) read_cut: Cut,
    pub(crate) write_cut: Cut,
    /// How often something was sent.
    pub(crate) sends: usize,
    /// System calls of any kind, those that would have blocked included.
    pub(crate) calls: usize,
    /// Input has arrived since the edges were taken.
    arrived: bool,
    /// Sending has stopped short since there was last an edge for it.
    starved: bool,
    /// Octets are held back for a FIN to share their segment.
    held_back: bool,
}

/// What an edge-triggered poll reports of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edges {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's FIN is behind the input.
    pub(crate) ended: bool,
}

/// How one direction is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// As much as there is.
    Whole,
    /// At most so many octets a call.
    Octets(usize),
    /// 1 to 4,096 octets a call, and every fifth call or so would block; the number seeds the sequence.
    Random(u64),
}

impl SimSocket {
    pub(crate) fn new() -> Self {
        Self::cut(Cut::Whole, Cut::Whole)
    }

    pub(crate) fn cut(read_cut: Cut, write_cut: Cut) -> Self {
        Self {
            inbound: VecDeque::new(),
            inbound_fin: false,
            inbound_rst: false,
            outbound: Vec::new(),
            outbound_fin: false,
            outbound_max: usize::MAX,
            peeked: 0,
            read_cut,
            write_cut,
            sends: 0,
            calls: 0,
            arrived: false,
            starved: true,
            held_back: false,
        }
    }

    /// The peer's octets arrive.
    pub(crate) fn arrive(&mut self, octets: &[u8]) {
        self.inbound.extend(octets);
        self.arrived |= !octets.is_empty();
    }

    /// The peer's FIN arrives.
    pub(crate) fn arrive_fin(&mut self) {
        self.arrived |= !self.inbound_fin;
        self.inbound_fin = true;
    }

    /// The peer's RST arrives: octets that it has not read are lost.
    pub(crate) fn arrive_rst(&mut self) {
        self.arrived |= !self.inbound_rst;
        self.inbound_rst = true;
        self.outbound.clear();
    }

    /// Whether there is an edge to take.
    pub(crate) fn has_edges(&self) -> bool {
        self.arrived || (self.starved && self.has_room())
    }

    fn has_room(&self) -> bool {
        self.inbound_rst || (self.outbound.len() < self.outbound_max && !self.outbound_fin)
    }

    /// The edges since they were taken last; `None`: there was none. An edge is told once: input that is left lying, or room
    /// that is not used, is not told of again. But what a cut read left counts as arrived after it, as room does after a cut
    /// write. An event may also come for another reason, and then tells how things stand: `anyway`.
    pub(crate) fn take_edges(&mut self, anyway: bool) -> Option<Edges> {
        assert!(!self.held_back, "who sends its last octets as such ends its direction within the same turn");
        let has_room = self.has_room();
        let ended = self.inbound_fin || self.inbound_rst;
        let readable = self.arrived || anyway && (ended || !self.inbound.is_empty());
        let writable = has_room && (self.starved || anyway);
        self.arrived = false;
        self.starved &= !has_room;
        (readable || writable).then_some(Edges { readable, writable, ended: readable && ended })
    }
}

impl Cut {
    /// Octets of the next call; 0: it would block.
    fn next(&mut self, octets: usize) -> usize {
        match self {
            Self::Whole => octets,
            Self::Octets(max) => octets.min(*max),
            Self::Random(seed) => {
                // xorshift64: enough to cut at odd places, and the same every time.
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                if seed.is_multiple_of(5) {
                    return 0;
                }
                octets.min(1 + (*seed >> 32) as usize % 4096)
            }
        }
    }
}

impl Socket for SimSocket {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.inbound.is_empty() {
            if self.inbound_rst {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            return if self.inbound_fin { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let octets = buf.len().min(self.inbound.len());
        let n = if self.peeked > 0 { octets.min(self.peeked) } else { self.read_cut.next(octets) };
        self.peeked -= n.min(self.peeked);
        // Behind the end nothing arrives any more: whoever was told of it reads on without an edge.
        let may_arrive = !self.inbound_fin && !self.inbound_rst;
        self.arrived |= may_arrive && n < buf.len() && n < self.inbound.len();
        if n == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut filled = 0;
        while filled < n {
            filled += self.inbound.read(&mut buf[filled..n])?;
        }
        Ok(n)
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.inbound.is_empty() {
            if self.inbound_rst {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            return if self.inbound_fin { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = buf.len().min(self.inbound.len());
        self.peeked = n;
        for (copy, octet) in buf.iter_mut().zip(&self.inbound) {
            *copy = *octet;
        }
        Ok(n)
    }

    fn send(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.outbound_fin || self.inbound_rst {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let n = self.write_cut.next(buf.len()).min(self.outbound_max.saturating_sub(self.outbound.len()));
        self.starved |= n < buf.len();
        if n == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outbound.extend_from_slice(&buf[..n]);
        self.sends += 1;
        self.held_back = false;
        Ok(n)
    }

    fn send_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.send(buf)?;
        self.held_back = n == buf.len();
        Ok(n)
    }

    fn send_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(&bufs.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<u8>>())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.calls += 1;
        self.held_back = false;
        if self.inbound_rst {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.outbound_fin = true;
        Ok(())
    }
}
