//! A connection's turn at the loop's workspace: octets in, events out, answers in, octets to send out.

use std::time::Instant;

use super::{
    connection::{Closure, Connection, Phase},
    frame::FrameHeader,
    handshake::Opened,
    outbox::Slices,
    pool::HEADROOM,
    receive::Step,
    sender::{Message, Sender},
    whole::{Placed, Whole},
    workspace::Workspace,
};

/// From this many payload octets still to come on, they are read straight into the message.
const DIRECT_BYTES_MIN: u64 = 8 << 10;

/// So many are read at once then, if the socket has them: each read tells the peer's system of new room, which costs both more than
/// looking at the octets does. What a read brings is dealt with in 100 µs.
const DIRECT_BYTES_MAX: u64 = 512 << 10;

/// One connection with the loop's workspace. Order of use: read into [`Turn::spare`], count with [`Turn::filled`], take
/// events with [`Turn::receive`] until there is none, send [`Turn::transmit`], count with [`Turn::advance`].
///
/// ```
/// use std::{sync::Arc, time::Instant};
/// use wslab::proto::{Connection, Event, Settings, Workspace};
///
/// let (mut workspace, now) = (Workspace::new(), Instant::now());
/// let mut connection = Connection::server(Arc::new(Settings::default()), now);
/// let mut turn = connection.turn(&mut workspace, now);
/// let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// turn.spare()[..request.len()].copy_from_slice(request);
/// turn.filled(request.len());
/// while let Some(mut received) = turn.receive() {
///     if let Event::Open(_) = received.event {
///         received.sender.text("welcome").unwrap();
///     }
/// }
/// let output: Vec<u8> = turn.transmit().iter().flat_map(|slice| slice.to_vec()).collect();
/// assert!(output.starts_with(b"HTTP/1.1 101") && output.ends_with(b"\x81\x07welcome"));
/// turn.advance(output.len());
/// ```
#[derive(Debug)]
pub struct Turn<'t> {
    pub(super) connection: &'t mut Connection,
    pub(super) workspace: &'t mut Workspace,
    pub(super) now: Instant,
    /// The frame whose last octet was read straight into the message.
    pub(super) landed: Option<FrameHeader>,
    /// Octets that compressed messages have inflated to in this turn.
    pub(super) inflated: usize,
    /// What messages that arrive whole are judged by.
    pub(super) whole: Whole,
}

/// Something that happened, and the means to answer it.
#[derive(Debug)]
pub struct Received<'t> {
    /// What happened.
    pub event: Event<'t>,
    /// Queues answers.
    pub sender: Sender<'t>,
}

/// What a connection reports, one at a time, borrowed.
#[derive(Debug)]
pub enum Event<'t> {
    /// The opening handshake succeeded.
    Open(Box<Opened>),
    /// A message.
    Message(Message<'t>),
    /// A Pong's payload. (Pings are answered without a word.)
    Pong(&'t [u8]),
    /// The connection ended; the last event.
    Close(Box<Closure>),
}

impl<'t> Turn<'t> {
    #[inline(always)]
    pub(super) fn begin(connection: &'t mut Connection, workspace: &'t mut Workspace, now: Instant) -> Self {
        debug_assert!(workspace.lanes.len() == 0, "the turn before left the workspace empty");
        workspace.input = HEADROOM..HEADROOM;
        connection.outbox.load(&mut workspace.lanes);
        if !connection.carry.is_empty() {
            let carry = std::mem::take(&mut connection.carry);
            if let Some(room) = workspace.window.get_mut(HEADROOM..HEADROOM + carry.len()) {
                room.copy_from_slice(&carry);
                workspace.filled(carry.len());
            }
        }
        let whole = Whole::judge(connection, workspace);
        Turn { connection, workspace, now, landed: None, inflated: 0, whole }
    }

    /// Room to read into. Empty only while decoding is stopped.
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let Workspace { lanes, window, .. } = &mut *self.workspace;
        if !lanes.run.is_empty() {
            // The socket is slow: its output must not take the room that input needs.
            self.connection.outbox.adopt(lanes, window);
            self.whole = Whole::NONE;
        }
        self.workspace.spare()
    }

    /// `len` octets were read into [`Turn::spare`].
    #[inline]
    pub fn filled(&mut self, len: usize) {
        if len > 0 {
            self.workspace.lanes.flow.received_bytes += len as u64;
            self.workspace.filled(len);
            self.heard();
        }
    }

    /// Room for the payload of a large frame, where one is under way: reading there saves a copy. Use it instead of
    /// [`Turn::spare`], and only when everything received before is decoded.
    #[inline]
    pub fn spare_payload(&mut self) -> Option<&mut [u8]> {
        let connection = &mut *self.connection;
        let left = connection.decoder.left();
        if left < DIRECT_BYTES_MIN || !self.workspace.input.is_empty() || !matches!(connection.phase, Phase::Open) {
            return None;
        }
        // What is compressed has to pass through the inflater.
        let message = connection.message.as_mut().filter(|message| !message.compressed)?;
        Some(message.spare(left.min(DIRECT_BYTES_MAX) as usize, &mut self.workspace.pool))
    }

    /// `len` octets were read into [`Turn::spare_payload`].
    pub fn filled_payload(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        self.workspace.lanes.flow.received_bytes += len as u64;
        self.heard();
        let connection = &mut *self.connection;
        let Some(message) = &mut connection.message else { return };
        let Some((header, ends)) = connection.decoder.pass(len) else {
            debug_assert!(false, "room was given for no more than the frame has left");
            return;
        };
        match message.commit_masked(len, header.mask) {
            Ok(()) => self.landed = ends.then_some(header),
            Err(error) => self.fail(error),
        }
    }

    /// The socket took some of what was queued, by the reckoning of its owner: TLS has records of its own.
    #[inline]
    pub fn progressed(&mut self) {
        self.connection.outbox.progressed();
    }

    /// Whether decoding has stopped because too much output is queued. [`Turn::receive`] resumes it when less is.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.connection.paused
    }

    /// The next event. `None`: everything that can be decoded now is.
    #[inline]
    pub fn receive(&mut self) -> Option<Received<'_>> {
        match self.next_whole() {
            Some(placed) => {
                let (message, sender) = self.whole(placed);
                Some(Received { event: Event::Message(message), sender })
            }
            None => self.receive_other(),
        }
    }

    /// The next event, if it is a message that arrived whole in one frame, as nearly every one does. [`Turn::receive`] would report it
    /// just the same, and takes half as many instructions more.
    #[inline(always)]
    pub fn receive_whole(&mut self) -> Option<(Message<'_>, Sender<'_>)> {
        let placed = self.next_whole()?;
        Some(self.whole(placed))
    }

    #[inline(always)]
    fn whole(&mut self, placed: Placed) -> (Message<'_>, Sender<'_>) {
        let Placed { kind, header, at } = placed;
        let Workspace { window, lanes, means, .. } = &mut *self.workspace;
        lanes.flow.messages_received += 1;
        // The answers so far and the message lie in the same window, in this order.
        let (answers, rest) = window.split_at_mut(at.start - header);
        let octets = rest.get_mut(..header + at.len()).unwrap_or_default();
        let message = Message::in_window(kind, octets, header);
        (message, Sender { connection: self.connection, lanes, means, window: answers, now: self.now })
    }

    /// The next event, where [`Turn::receive_whole`] has just found none.
    #[inline]
    pub fn receive_other(&mut self) -> Option<Received<'_>> {
        if self.has_undecoded() { self.decode() } else { None }
    }

    #[inline(never)]
    fn decode(&mut self) -> Option<Received<'_>> {
        if self.workspace.message.is_some() && self.inflated == 0 {
            // Behind a message that came in parts and was looked at, the next may be whole.
            self.recycle();
            self.whole = Whole::judge(self.connection, self.workspace);
        }
        if self.may_be_fragmented()
            && let Some(placed) = self.next_fragmented()
        {
            let (message, sender) = self.whole(placed);
            return Some(Received { event: Event::Message(message), sender });
        }
        let step = self.step();
        self.whole = if self.inflated == 0 { Whole::judge(self.connection, self.workspace) } else { Whole::NONE };
        let step = match step? {
            Step::Whole(kind, at) => {
                let placed = self.place(kind, at);
                let (message, sender) = self.whole(placed);
                return Some(Received { event: Event::Message(message), sender });
            }
            step => step,
        };
        let Workspace { window: answers, lanes, means, message, pong, .. } = &mut *self.workspace;
        let event = match step {
            Step::Whole(..) => return None, // dealt with above
            Step::Assembled => {
                lanes.flow.messages_received += 1;
                let message = message.as_mut()?;
                Event::Message(Message::assembled(message.kind, &mut message.buffer))
            }
            Step::Pong => Event::Pong(pong),
            Step::Open(opened) => Event::Open(opened),
            Step::Close(closure) => Event::Close(closure),
        };
        let sender = Sender { connection: self.connection, lanes, means, window: answers, now: self.now };
        Some(Received { event, sender })
    }

    /// The means to send without having received.
    #[inline]
    pub fn sender(&mut self) -> Sender<'_> {
        let Workspace { window, lanes, means, .. } = &mut *self.workspace;
        Sender { connection: self.connection, lanes, means, window, now: self.now }
    }

    /// Whether [`Turn::receive`] has anything to look at: octets, what is left to inflate of octets before, or the end of the
    /// connection to report.
    #[inline]
    pub fn has_undecoded(&self) -> bool {
        self.workspace.input.start != self.workspace.input.end
            || self.landed.is_some()
            || self.connection.ended.is_some()
            || self.connection.paused
            || self.connection.message.as_ref().is_some_and(|message| message.rest.is_some())
    }

    /// Octets that compressed messages have inflated to in this turn.
    #[inline]
    pub fn inflated_bytes(&self) -> usize {
        self.inflated
    }

    /// Whether decoding stopped because the turn has inflated its share: the rest waits for the next turn, no event needed.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.inflated >= self.workspace.inflated_bytes_max
    }

    /// The octets to send, where they lie in one piece, as they nearly always do. `None`: ask [`Turn::transmit`].
    #[inline]
    pub fn transmit_one(&self) -> Option<&[u8]> {
        self.connection.outbox.one_slice(&self.workspace.lanes, &self.workspace.window)
    }

    /// The octets to send, in order. Empty: none.
    pub fn transmit(&self) -> Slices<'_> {
        self.connection.outbox.slices(&self.workspace.lanes, &self.workspace.window)
    }

    /// Whether there is anything to send.
    #[inline]
    pub fn has_output(&self) -> bool {
        self.connection.outbox.len() + self.workspace.lanes.len() > 0
    }

    /// The socket took `len` octets of [`Turn::transmit`].
    #[inline]
    pub fn advance(&mut self, len: usize) {
        let Workspace { window, lanes, pool, .. } = &mut *self.workspace;
        lanes.flow.sent_bytes += len as u64;
        if !self.connection.outbox.advance(len, lanes, window, pool) {
            self.whole = Whole::NONE;
        }
    }

    /// The connection whose turn it is.
    #[inline]
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    #[inline]
    pub(super) fn heard(&mut self) {
        self.connection.heard = self.now;
    }

    /// The message reported last was looked at; its buffer can serve another.
    #[inline]
    pub(super) fn recycle(&mut self) {
        if let Some(message) = self.workspace.message.take() {
            self.workspace.pool.give(message.buffer);
        }
    }
}

impl Drop for Turn<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.recycle();
        debug_assert!(self.landed.is_none(), "events are taken before the turn ends");
        let Turn { connection, workspace, now, .. } = self;
        let Workspace { window, input, lanes, .. } = &mut **workspace;
        connection.outbox.stash(lanes, window);
        connection.outbox.note_stall(*now);
        lanes.stashed_bytes += connection.outbox.len();
        if input.start < input.end && !matches!(connection.phase, Phase::Done(_)) {
            connection.carry = window.get(input.clone()).unwrap_or_default().into();
        }
        workspace.end_turn();
    }
}
