//! What an application sees of its connections.

use std::{fmt, io};

use crate::proto::{Closure, Message, Sender, handshake::Opened};

/// Names a connection for as long as it lives, and no other afterwards: a slab key, which is reused, and a generation, which is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Where the loop keeps the connection.
    pub key: u32,
    /// Counts connections, modulo 2³¹.
    pub generation: u32,
}

const _: () = assert!(usize::BITS == 64, "a token holds a slab key and a generation of 32 bits each");

impl ConnId {
    /// Every [`ConnId::token`] lies below it; the tokens from here on are the loop's own.
    pub const TOKENS_END: usize = 1 << 63;

    /// The connection's name in a poll.
    #[inline]
    pub fn token(self) -> usize {
        (self.generation as usize) << 32 | self.key as usize
    }

    /// The name back from the poll.
    #[inline]
    pub fn from_token(token: usize) -> Self {
        ConnId { key: token as u32, generation: (token >> 32) as u32 }
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.key)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An application. One value serves all connections of a loop, on the loop's thread: a call that blocks stops them all.
///
/// Every connection gets exactly one `on_close` if `on_open` was called, and exactly one `on_failed` if not.
pub trait Handler {
    /// Octets were just read from the connection's socket: the events they hold follow. Whoever times them reads a clock here.
    #[inline]
    fn on_read(&mut self, id: ConnId) {
        let _ = id;
    }

    /// What is queued on the connection is about to be written, as far as its socket takes it.
    #[inline]
    fn on_write(&mut self, id: ConnId) {
        let _ = id;
    }

    /// The opening handshake succeeded; the 101 is queued.
    fn on_open(&mut self, id: ConnId, opened: &Opened, sender: Sender<'_>) {
        let _ = (id, opened, sender);
    }

    /// A whole message. `sender.reply(message)` sends it back without a copy.
    fn on_message(&mut self, id: ConnId, message: Message<'_>, sender: Sender<'_>);

    /// A Pong. (Pings are answered before an application could.)
    fn on_pong(&mut self, id: ConnId, payload: &[u8], sender: Sender<'_>) {
        let _ = (id, payload, sender);
    }

    /// The connection ended, cleanly or not. Nothing can be sent any more.
    fn on_close(&mut self, id: ConnId, closure: &Closure) {
        let _ = (id, closure);
    }

    /// The connection ended before it opened: refused, timed out, or the peer went away.
    fn on_failed(&mut self, id: ConnId, closure: &Closure) {
        let _ = (id, closure);
    }

    /// The socket or TLS failed, and why; `on_close` or `on_failed` follows.
    fn on_error(&mut self, id: ConnId, error: &io::Error) {
        let _ = (id, error);
    }
}
