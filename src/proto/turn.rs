//! A connection's turn at the loop's workspace: octets in, events out, answers in, octets to send out.

use std::{ops::Range, time::Instant};

use super::{
    assembler::{Assembly, MessageKind},
    close::{CONTROL_BYTES_MAX, CloseCode, CloseFrame},
    connection::{Closure, Connection, Held, Phase, Shutdown, Wait},
    decoder::Chunk,
    error::ProtocolError,
    frame::{FrameHeader, Opcode, Place},
    handshake::{Opened, Refusal, server},
    limits::Role,
    outbox::Slices,
    pool::HEADROOM,
    sender::{Message, Sender},
    workspace::{Direction, WINDOW_BYTES, Workspace},
};

/// From this many payload octets still to come on, they are read straight into the message.
const DIRECT_BYTES_MIN: u64 = 8 << 10;

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
    connection: &'t mut Connection,
    workspace: &'t mut Workspace,
    now: Instant,
    /// The frame whose last octet was read straight into the message.
    landed: Option<FrameHeader>,
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
    Open(Opened),
    /// A message.
    Message(Message<'t>),
    /// A Pong's payload. (Pings are answered without a word.)
    Pong(&'t [u8]),
    /// The connection ended; the last event.
    Close(Closure),
}

/// An event that borrows nothing yet.
enum Step {
    Open(Opened),
    /// A message that arrived whole, at this range of the window.
    Whole(MessageKind, Range<usize>),
    /// The message in `workspace.message`.
    Assembled,
    /// The Pong in `workspace.pong`.
    Pong,
    Close(Closure),
}

impl<'t> Turn<'t> {
    #[inline]
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
        Turn { connection, workspace, now, landed: None }
    }

    /// Room to read into. Empty only while decoding is stopped.
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        let Workspace { lanes, window, .. } = &mut *self.workspace;
        if !lanes.run.is_empty() {
            // The socket is slow: its output must not take the room that input needs.
            self.connection.outbox.adopt(lanes, window);
        }
        self.workspace.spare()
    }

    /// `len` octets were read into [`Turn::spare`].
    #[inline]
    pub fn filled(&mut self, len: usize) {
        if len > 0 {
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
        let message = connection.message.as_mut()?;
        Some(message.spare(left.min(WINDOW_BYTES as u64) as usize))
    }

    /// `len` octets were read into [`Turn::spare_payload`].
    pub fn filled_payload(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        self.heard();
        let connection = &mut *self.connection;
        let Some(message) = &mut connection.message else { return };
        let place = Place { role: connection.role, message: None, deflate: false, limits: &connection.settings.limits };
        // The decoder is inside a payload, so it judges nothing, unmasks, and counts.
        let decoded = connection.decoder.decode(message.spare(len), &place);
        debug_assert!(matches!(&decoded, Ok(Some(chunk)) if chunk.at == (0..len)));
        let outcome = message.commit(len);
        if let (Ok(()), Ok(Some(chunk))) = (outcome, &decoded) {
            self.landed = chunk.ends.then_some(chunk.header);
        }
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    /// The peer ended its side of TCP: nothing more will come. To be called when everything received is decoded.
    pub fn receive_eof(&mut self) {
        if !matches!(self.connection.phase, Phase::Done(_)) {
            self.connection.ended.get_or_insert_with(|| Box::new(Closure::Eof));
        }
        // Queued answers may still reach a peer that only stopped sending.
        self.done(Shutdown::Flush);
    }

    /// The socket broke: nothing can be sent or received any more.
    pub fn abort(&mut self) {
        if !matches!(self.connection.phase, Phase::Done(_)) {
            self.connection.ended.get_or_insert_with(|| Box::new(Closure::Eof));
        }
        self.done(Shutdown::Abort);
    }

    /// Acts on every wait that is over at the turn's time.
    pub fn handle_timeout(&mut self) {
        let Some((at, wait)) = self.connection.next_deadline() else { return };
        if self.now < at {
            return;
        }
        match wait {
            Wait::Handshake if self.connection.role == Role::Server => {
                let timeout = self.connection.settings.timeouts.handshake;
                self.refuse(Refusal::HandshakeTimeout { timeout });
            }
            Wait::Handshake => self.end(Closure::TimedOut(wait), Shutdown::Abort),
            Wait::WriteStall | Wait::Close => self.end(Closure::TimedOut(wait), Shutdown::Abort),
            Wait::Idle => {
                let idle = self.connection.settings.timeouts.idle;
                if idle.is_some_and(|idle| self.now >= self.connection.heard + idle) {
                    self.connection.ended = Some(Box::new(Closure::TimedOut(wait)));
                    let _ = self.sender().close(CloseCode::GOING_AWAY, "idle");
                } else {
                    self.connection.pinged = true;
                    let _ = self.sender().ping(b"");
                }
            }
        }
    }

    /// The server ends: Close 1001 to an open peer, 503 to one whose handshake is under way.
    pub fn go_away(&mut self) {
        if self.connection.is_opening() && self.connection.role == Role::Server {
            self.refuse(Refusal::ShuttingDown);
        } else {
            // Closing already: then it is under way without us.
            let _ = self.sender().close(CloseCode::GOING_AWAY, "");
        }
    }

    /// Whether decoding has stopped because too much output is queued. [`Turn::receive`] resumes it when less is.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.connection.paused
    }

    /// The next event. `None`: everything that can be decoded now is.
    #[inline]
    pub fn receive(&mut self) -> Option<Received<'_>> {
        let step = self.step()?;
        let Turn { connection, workspace, now, .. } = self;
        let base = match &step {
            // The answers so far and the message lie in the same window, in this order.
            Step::Whole(_, at) if workspace.lanes.run.is_empty() => at.start - HEADROOM,
            Step::Whole(..) => workspace.lanes.run.end,
            _ => workspace.window.len(),
        };
        let (answers, rest) = workspace.window.split_at_mut(base);
        let event = match step {
            Step::Open(opened) => Event::Open(opened),
            Step::Close(closure) => Event::Close(closure),
            Step::Pong => Event::Pong(&workspace.pong),
            Step::Whole(kind, at) => {
                let octets = rest.get_mut(..at.end - base).unwrap_or_default();
                Event::Message(Message::in_window(kind, octets, base, at.start - base))
            }
            Step::Assembled => match &mut workspace.message {
                Some(message) => Event::Message(Message::assembled(message.kind, &mut message.buffer)),
                None => return None,
            },
        };
        let sender = Sender {
            settings: &connection.settings,
            role: connection.role,
            phase: &mut connection.phase,
            since: &mut connection.since,
            outbox: &mut connection.outbox,
            lanes: &mut workspace.lanes,
            window: answers,
            tap: workspace.tap.as_mut(),
            mask_keys: workspace.mask_keys.as_mut(),
            now: *now,
        };
        Some(Received { event, sender })
    }

    /// The means to send without having received.
    #[inline]
    pub fn sender(&mut self) -> Sender<'_> {
        let Turn { connection, workspace, now, .. } = self;
        Sender {
            settings: &connection.settings,
            role: connection.role,
            phase: &mut connection.phase,
            since: &mut connection.since,
            outbox: &mut connection.outbox,
            lanes: &mut workspace.lanes,
            window: &workspace.window,
            tap: workspace.tap.as_mut(),
            mask_keys: workspace.mask_keys.as_mut(),
            now: *now,
        }
    }

    /// The octets to send, in order. Empty: none.
    #[inline]
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
        self.connection.outbox.advance(len, lanes, window, pool);
        if len > 0 {
            self.connection.stalled = None;
        }
    }

    /// The connection whose turn it is.
    #[inline]
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    /// Decodes until something is to be reported.
    #[inline]
    fn step(&mut self) -> Option<Step> {
        self.recycle();
        loop {
            if !self.may_decode() {
                return None;
            }
            match self.connection.phase {
                Phase::Open | Phase::Closing => {}
                Phase::Opening(_) => match self.open() {
                    Some(step) => return Some(step),
                    None if matches!(self.connection.phase, Phase::Opening(_)) => return None,
                    None => continue,
                },
                Phase::Done(_) => {
                    self.workspace.consume(self.workspace.input.len());
                    return self.connection.ended.take().map(|closure| Step::Close(*closure));
                }
            }
            if let Some(header) = self.landed.take() {
                if let Some(step) = self.frame_ended(&header) {
                    return Some(step);
                }
                continue;
            }
            let connection = &mut *self.connection;
            let place = Place {
                role: connection.role,
                message: connection.message.as_ref().map(|message| message.buffer.len() as u64),
                deflate: false,
                limits: &connection.settings.limits,
            };
            match connection.decoder.decode(self.workspace.pending(), &place) {
                Ok(None) => return None,
                Ok(Some(chunk)) => {
                    let at = self.workspace.input.start;
                    let at = at + chunk.at.start..at + chunk.at.end;
                    self.workspace.consume(chunk.at.end);
                    let step =
                        if chunk.header.opcode.is_control() { self.control(&chunk, at) } else { self.data(&chunk, at) };
                    if step.is_some() {
                        return step;
                    }
                }
                Err(error) => self.fail(error),
            }
        }
    }

    /// Backpressure: past the high-water mark undecoded octets stay where they are, until the low-water mark.
    #[inline]
    fn may_decode(&mut self) -> bool {
        let queued = self.connection.outbox.len() + self.workspace.lanes.len();
        let limits = &self.connection.settings.limits;
        self.connection.paused =
            if self.connection.paused { queued > limits.queue_low_bytes } else { queued >= limits.queue_high_bytes };
        !self.connection.paused || matches!(self.connection.phase, Phase::Done(_))
    }

    /// A stretch of a data frame.
    #[inline]
    fn data(&mut self, chunk: &Chunk, at: Range<usize>) -> Option<Step> {
        let kind = if chunk.header.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
        let payload = self.workspace.window.get(at.clone()).unwrap_or_default();
        if chunk.begins && chunk.ends && chunk.header.fin && self.connection.message.is_none() {
            if kind == MessageKind::Text && simdutf8::basic::from_utf8(payload).is_err() {
                self.fail(ProtocolError::InvalidUtf8);
                return None;
            }
            tap_in(self.workspace, &chunk.header, at.clone());
            // §7.1.4-ish: what comes after our own Close is read, checked, and dropped.
            return matches!(self.connection.phase, Phase::Open).then_some(Step::Whole(kind, at));
        }
        let message = match &mut self.connection.message {
            Some(message) => {
                if chunk.begins {
                    message.begin_frame(&chunk.header);
                }
                message
            }
            none => none.insert(Box::new(Assembly::begin(kind, &chunk.header, &mut self.workspace.pool))),
        };
        if let Err(error) = message.append(payload) {
            self.fail(error);
            return None;
        }
        if chunk.ends { self.frame_ended(&chunk.header) } else { None }
    }

    /// The last octet of a frame of an assembled message is in.
    fn frame_ended(&mut self, header: &FrameHeader) -> Option<Step> {
        let message = self.connection.message.as_ref()?;
        if let Some(tap) = &mut self.workspace.tap {
            tap.frame(Direction::In, header, message.frame());
        }
        if !header.fin {
            return None;
        }
        if let Err(error) = message.finish() {
            self.fail(error);
            return None;
        }
        self.workspace.message = self.connection.message.take();
        matches!(self.connection.phase, Phase::Open).then_some(Step::Assembled)
    }

    /// A stretch of a control frame.
    fn control(&mut self, chunk: &Chunk, at: Range<usize>) -> Option<Step> {
        let part = self.workspace.window.get(at).unwrap_or_default();
        if !(chunk.begins && chunk.ends) {
            let held = self
                .connection
                .control
                .get_or_insert_with(|| Box::new(Held { octets: [0; CONTROL_BYTES_MAX], len: 0 }));
            if let Some(room) = held.octets.get_mut(held.len..held.len + part.len()) {
                room.copy_from_slice(part);
                held.len += part.len();
            }
            if !chunk.ends {
                return None;
            }
        }
        let mut copy = [0; CONTROL_BYTES_MAX];
        let payload = match self.connection.control.take() {
            None => copy.get_mut(..part.len()).map(|copy| {
                copy.copy_from_slice(part);
                &*copy
            }),
            Some(held) => {
                copy = held.octets;
                copy.get(..held.len)
            }
        }
        .unwrap_or_default();
        if let Some(tap) = &mut self.workspace.tap {
            tap.frame(Direction::In, &chunk.header, payload);
        }
        match chunk.header.opcode {
            Opcode::Ping => {
                self.sender().pong(payload);
                None
            }
            Opcode::Pong => {
                self.workspace.pong.clear();
                self.workspace.pong.extend_from_slice(payload);
                Some(Step::Pong)
            }
            _ => {
                self.peer_closed(payload);
                None
            }
        }
    }

    /// The peer's Close frame (RFC 6455 §5.5.1, §7.1.5).
    fn peer_closed(&mut self, payload: &[u8]) {
        let frame = match CloseFrame::parse(payload) {
            Ok(frame) => frame,
            Err(error) => return self.fail(error),
        };
        let code = frame.map(|frame| frame.code);
        let closure = if matches!(self.connection.phase, Phase::Closing) {
            Closure::Local { code }
        } else {
            // §5.5.1: the answer typically echoes the code. It needs no reason.
            self.sender().seal(code.map(|code| CloseFrame { code, reason: "" }));
            Closure::Peer { code, reason: frame.map_or_else(String::new, |frame| frame.reason.to_owned()) }
        };
        // §7.1.1: the server ends TCP first, so that TIME_WAIT is not the client's.
        let shutdown = if self.connection.role == Role::Server { Shutdown::Flush } else { Shutdown::AwaitEof };
        self.end(closure, shutdown);
    }

    /// Fails the connection (RFC 6455 §7.1.7): a Close behind what is queued already, and deaf from now on.
    #[cold]
    fn fail(&mut self, error: ProtocolError) {
        if matches!(self.connection.phase, Phase::Open) {
            self.sender().seal(Some(CloseFrame { code: error.close_code(), reason: "" }));
        }
        self.end(Closure::Failed(error), Shutdown::Flush);
    }

    /// Answers the opening handshake with something else than 101.
    #[cold]
    fn refuse(&mut self, refusal: Refusal) {
        let Workspace { lanes, date, .. } = &mut *self.workspace;
        let start = lanes.spill.len();
        refusal.write(date, &mut lanes.spill);
        self.connection.outbox.begin_head(lanes.spill.len() - start, lanes);
        self.end(Closure::Refused(refusal), Shutdown::Flush);
    }

    fn end(&mut self, closure: Closure, shutdown: Shutdown) {
        // What was begun for another reason (idle, …) keeps it.
        self.connection.ended.get_or_insert_with(|| Box::new(closure));
        self.done(shutdown);
    }

    fn done(&mut self, shutdown: Shutdown) {
        let connection = &mut *self.connection;
        if !matches!(connection.phase, Phase::Done(_)) {
            connection.since = self.now;
        }
        if !matches!(connection.phase, Phase::Done(Shutdown::Abort)) {
            connection.phase = Phase::Done(shutdown);
        }
        connection.message = None;
        connection.control = None;
        connection.carry = Vec::new();
    }

    /// The opening handshake's octets.
    fn open(&mut self) -> Option<Step> {
        let Phase::Opening(opening) = &mut self.connection.phase else { return None };
        let settings = &*self.connection.settings;
        let Workspace { window, input, lanes, date, .. } = &mut *self.workspace;
        let octets = window.get(input.clone()).unwrap_or_default();
        let end = match opening.scanner.push(octets, &settings.limits) {
            Ok(end) => end,
            Err(refusal) => {
                self.refuse(refusal);
                return None;
            }
        };
        let chunk = octets.get(..end.unwrap_or(octets.len())).unwrap_or_default();
        input.start += chunk.len();
        if end.is_none() || !opening.head.is_empty() {
            opening.head.extend_from_slice(chunk);
        }
        end?;
        let head = if opening.head.is_empty() { chunk } else { &opening.head };
        let start = lanes.spill.len();
        let opened = match &opening.asked {
            None => match server::answer(head, settings, date, &mut lanes.spill) {
                Ok(opened) => opened,
                Err(refusal) => {
                    self.refuse(refusal);
                    return None;
                }
            },
            Some(asked) => match asked.check(head, &settings.limits) {
                Ok(opened) => opened,
                Err(error) => {
                    self.end(Closure::HandshakeFailed(error), Shutdown::Flush);
                    return None;
                }
            },
        };
        if lanes.spill.len() > start {
            self.connection.outbox.begin_head(lanes.spill.len() - start, lanes);
        }
        self.connection.phase = Phase::Open;
        self.connection.heard = self.now;
        Some(Step::Open(opened))
    }

    #[inline]
    fn heard(&mut self) {
        self.connection.heard = self.now;
        self.connection.pinged = false;
    }

    /// The message reported last was looked at; its buffer can serve another.
    #[inline]
    fn recycle(&mut self) {
        if let Some(message) = self.workspace.message.take() {
            self.workspace.pool.give(message.buffer);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.recycle();
        debug_assert!(self.landed.is_none(), "events are taken before the turn ends");
        let Turn { connection, workspace, now, .. } = self;
        let Workspace { window, input, lanes, .. } = &mut **workspace;
        connection.outbox.stash(lanes, window);
        if connection.outbox.len() == 0 {
            connection.stalled = None;
        } else if connection.stalled.is_none() {
            connection.stalled = Some(*now);
        }
        if input.start < input.end && !matches!(connection.phase, Phase::Done(_)) {
            connection.carry = window.get(input.clone()).unwrap_or_default().to_vec();
        }
        workspace.end_turn();
    }
}

fn tap_in(workspace: &mut Workspace, header: &FrameHeader, at: Range<usize>) {
    let Workspace { tap, window, .. } = workspace;
    if let Some(tap) = tap {
        tap.frame(Direction::In, header, window.get(at).unwrap_or_default());
    }
}
