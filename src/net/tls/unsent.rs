//! Ciphertext on its way to the socket: what it did not take, or was not offered yet. Encrypts nothing, and knows no record's border.

use std::io;

use super::{super::transport::Socket, engine::Outgoing};

/// One connection's.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    octets: Vec<u8>,
    /// How many of them have left since.
    from: usize,
    /// The socket was not offered any of them: they wait for what the turn will answer, to share a segment with it.
    is_fresh: bool,
    /// Octets the socket has taken, ever.
    taken: u64,
}

impl Unsent {
    /// These octets wait.
    pub(super) fn new(octets: Vec<u8>) -> Self {
        Unsent { octets, ..Unsent::default() }
    }

    /// Whether any wait.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.from < self.octets.len()
    }

    /// Whether they do because the socket did not take them.
    #[inline]
    pub(super) fn is_held_up(&self) -> bool {
        self.is_waiting() && !self.is_fresh
    }

    #[inline]
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn capacity(&self) -> usize {
        self.octets.capacity()
    }

    /// Puts what has been encoded behind what still waits.
    pub(super) fn keep(&mut self, outgoing: &mut Outgoing) {
        let new = outgoing.filled();
        if !new.is_empty() {
            self.is_fresh |= !self.is_waiting();
            self.octets.extend_from_slice(new);
            outgoing.clear();
        }
    }

    /// Sends what has been encoded, behind what still waits, and keeps what the socket does not take. `fin_follows` within the turn.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn post<S: Socket>(
        &mut self,
        socket: &mut S,
        outgoing: &mut Outgoing,
        fin_follows: bool,
    ) -> io::Result<()> {
        let new = outgoing.filled();
        if new.is_empty() && !self.is_fresh {
            return Ok(());
        }
        if self.is_waiting() {
            self.keep(outgoing);
            return self.flush(socket, fin_follows).map(|_| ());
        }
        let posted = send_until_blocked(socket, new, fin_follows).map(|sent| {
            self.taken += sent as u64;
            self.octets = new[sent..].to_vec();
            self.from = 0;
        });
        outgoing.clear(); // also after an error: the next connection finds the loop's buffer empty
        posted
    }

    /// Sends what waits; returns whether all of it went.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn flush<S: Socket>(&mut self, socket: &mut S, fin_follows: bool) -> io::Result<bool> {
        self.is_fresh = false;
        let sent = send_until_blocked(socket, &self.octets[self.from..], fin_follows)?;
        self.from += sent;
        self.taken += sent as u64;
        if self.is_waiting() {
            return Ok(false);
        }
        if !self.octets.is_empty() {
            self.octets = Vec::new();
            self.from = 0;
        }
        Ok(true)
    }
}

/// Only `WouldBlock` is a promise that an event will come, so a short send is followed by another.
fn send_until_blocked<S: Socket>(socket: &mut S, octets: &[u8], fin_follows: bool) -> io::Result<usize> {
    let mut sent = 0;
    while sent < octets.len() {
        let rest = &octets[sent..];
        match if fin_follows { socket.send_last(rest) } else { socket.send(rest) } {
            Ok(n) => sent += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}
