//! Connections that keep sending and hardly read, beside the measured ones: their echoes back up in the server. They read ten times
//! a second what a receive buffer of 4 KiB holds.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{errors, piece::Task, plan::slow_readers};
use crate::{
    client::{Client, Config},
    proto::{Closure, Message, Sender, handshake::Opened},
    session::{ConnId, Handler},
};

/// Octets of the kernel's receive buffer of each.
const RECEIVE_BUFFER: usize = 4 << 10;
/// Octets of a message of theirs.
const MESSAGE_BYTES: usize = 16 << 10;
/// Messages that each has under way: far more than the buffers between hold.
const UNDER_WAY: usize = 1024;
/// Octets that each holds itself, at most; filled up each time it reads.
const QUEUE_BYTES: usize = 512 << 10;

/// The slow readers of one piece.
#[derive(Debug)]
pub(super) struct SlowReaders {
    client: Client<Sluggard>,
}

#[derive(Debug, Default)]
struct Sluggard {
    settled: usize,
    open: Vec<ConnId>,
    trouble: Option<String>,
}

impl Sluggard {
    fn fill(mut sender: Sender<'_>) {
        let octets = [0x5a; MESSAGE_BYTES];
        let mut sent = 0;
        while sender.queued_bytes() < QUEUE_BYTES && sent < UNDER_WAY && sender.binary(&octets).is_ok() {
            sent += 1;
        }
    }
}

impl Handler for Sluggard {
    fn on_open(&mut self, id: ConnId, _: &Opened, sender: Sender<'_>) {
        self.settled += 1;
        self.open.push(id);
        Sluggard::fill(sender);
    }

    fn on_message(&mut self, _: ConnId, _: Message<'_>, _: Sender<'_>) {}

    fn on_failed(&mut self, _: ConnId, closure: &Closure) {
        self.settled += 1;
        self.trouble.get_or_insert_with(|| errors::failure(closure).1);
    }

    fn on_close(&mut self, id: ConnId, closure: &Closure) {
        self.open.retain(|open| *open != id);
        tracing::info!(target: "wslab::bench", "a slow reader was closed: {closure}");
    }
}

impl SlowReaders {
    /// Opens them: one for four measured connections.
    ///
    /// # Errors
    /// They can not be had, so the scenario can not be run.
    pub(super) fn open(task: &Task<'_>, config: &Config) -> io::Result<SlowReaders> {
        let config = Config { receive_buffer: Some(RECEIVE_BUFFER), ..config.clone() };
        let mut client = Client::new(&config, Sluggard::default())?;
        let count = slow_readers(task.connections);
        for _ in 0..count {
            client.open(&task.endpoint.target).map_err(|error| io::Error::other(format!("a slow reader: {error}")))?;
        }
        let deadline = Instant::now() + task.plan.timeout;
        while client.handler().settled < count && Instant::now() < deadline {
            client.turn(Some(Duration::from_millis(10)))?;
        }
        match client.handler_mut().trouble.take() {
            Some(trouble) => Err(io::Error::other(format!("a slow reader: {trouble}"))),
            None => Ok(SlowReaders { client }),
        }
    }

    /// Lets each read a little, and send what it can.
    pub(super) fn turn(&mut self) {
        // A poll that fails here fails for the measured connections too, and is told there.
        let _ = self.client.turn(Some(Duration::ZERO));
        for id in self.client.handler().open.clone() {
            let _ = self.client.with_sender(id, Sluggard::fill);
        }
    }
}
