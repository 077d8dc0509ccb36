//! What an application can do with an open connection: answer the message at hand, send, ping, close. Frames are built
//! here and put into the lanes of the [outbox](super::outbox); nothing is written to a socket.

use std::time::Instant;

use super::{
    assembler::MessageKind,
    close::{CONTROL_BYTES_MAX, CloseCode, CloseFrame, REASON_BYTES_MAX},
    connection::{Connection, Phase},
    frame::{FrameHeader, Opcode},
    lanes::Lanes,
    limits::Role,
    mask::{MaskKey, mask},
    pool::{Buffer, HEADROOM},
    wire::{HEADER_BYTES_MAX, WireHeader},
    workspace::{Direction, MaskKeys, Means},
};

/// An assembled answer up to this size is copied behind others; a larger one is queued as it is.
const COPIED_BYTES_MAX: usize = 4 << 10;
/// A larger message is sent as it is, which is always legal (RFC 7692 §6): compressing 16 MiB at once would keep the
/// loop's other connections waiting for some 100 ms.
const COMPRESSED_BYTES_MAX: usize = 1 << 20;
/// Ping frames of ours that may wait at once, in octets.
const PINGS_BYTES_MAX: usize = 4 << 10;

/// A whole message, where its echo would be sent from: [`Sender::reply`] of the same event only adds the header.
#[derive(Debug)]
pub struct Message<'t> {
    kind: MessageKind,
    body: Body<'t>,
}

#[derive(Debug)]
enum Body<'t> {
    /// A message that arrived whole: `octets[header..]`, behind room for a server's header. It lies right behind its sender's window.
    Window { octets: &'t mut [u8], header: usize },
    /// A message that came in parts.
    Assembled(&'t mut Buffer),
}

impl<'t> Message<'t> {
    pub(super) fn in_window(kind: MessageKind, octets: &'t mut [u8], header: usize) -> Self {
        Message { kind, body: Body::Window { octets, header } }
    }

    pub(super) fn assembled(kind: MessageKind, buffer: &'t mut Buffer) -> Self {
        Message { kind, body: Body::Assembled(buffer) }
    }

    /// Text or binary.
    #[inline]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The payload: unmasked, whole; of a text message checked to be UTF-8.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Window { octets, header } => octets.get(*header..).unwrap_or_default(),
            Body::Assembled(buffer) => buffer.filled(),
        }
    }

    /// The payload, to change before it is sent back. Text must stay UTF-8: the peer fails the connection otherwise.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        match &mut self.body {
            Body::Window { octets, header } => octets.get_mut(*header..).unwrap_or_default(),
            Body::Assembled(buffer) => buffer.filled_mut(),
        }
    }

    /// The payload of a text message. Checks it once more: safe Rust has no other way from octets to `str`.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            MessageKind::Text => simdutf8::basic::from_utf8(self.payload()).ok(),
            MessageKind::Binary => None,
        }
    }
}

/// Why something was not queued. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is closing: after a Close nothing more is sent (RFC 6455 §5.5.1).
    #[error("the connection is closing")]
    Closing,
    /// `queue_high_bytes` are queued already.
    #[error("too much output is queued")]
    Full,
    /// A control frame carries at most 125 octets, a close reason 123, and a close code must be one that may travel.
    #[error("not a legal control frame")]
    Illegal,
}

/// Queues output on one connection.
pub struct Sender<'t> {
    pub(super) connection: &'t mut Connection,
    pub(super) lanes: &'t mut Lanes,
    pub(super) means: &'t mut Means,
    /// The loop's window up to the message and the room for a server's header before it; all of it where there is no such message.
    pub(super) window: &'t [u8],
    pub(super) now: Instant,
}

impl std::fmt::Debug for Sender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("role", &self.connection.role)
            .field("queued_bytes", &self.queued_bytes())
            .finish_non_exhaustive()
    }
}

impl Sender<'_> {
    /// Sends the message back, with what [`Message::payload_mut`] made of it. As a server this needs no copy: the message lies where
    /// it is sent from. A message of another connection, or of another event, is copied.
    ///
    /// # Errors
    /// [`SendError::Closing`]. Never [`SendError::Full`]: decoding stops before the queue is full.
    #[inline(always)]
    pub fn reply(&mut self, message: Message<'_>) -> Result<(), SendError> {
        match message {
            Message { kind, body: Body::Window { octets, header } } if self.replies_in_place(octets) => {
                self.lanes.flow.messages_sent += 1;
                self.reply_in_place(kind.opcode(), octets, header);
                Ok(())
            }
            message => self.reply_otherwise(message),
        }
    }

    /// Whether an answer can be made where the message lies, and nothing else is to be done with it: so it nearly always is.
    #[inline(always)]
    fn replies_in_place(&self, octets: &[u8]) -> bool {
        matches!(self.connection.phase, Phase::Open)
            && self.connection.codec.is_none()
            && self.means.tap.is_none()
            && self.may_lie_in_place(octets)
    }

    /// Whether this server's run of answers can go on with the message: it is the one that came with this sender.
    #[inline(always)]
    fn may_lie_in_place(&self, octets: &[u8]) -> bool {
        self.connection.role == Role::Server
            && self.lanes.run_is_last()
            && std::ptr::eq(self.window.as_ptr_range().end, octets.as_ptr())
    }

    #[inline(never)]
    fn reply_otherwise(&mut self, message: Message<'_>) -> Result<(), SendError> {
        if !matches!(self.connection.phase, Phase::Open) {
            return Err(SendError::Closing);
        }
        self.lanes.flow.messages_sent += 1;
        let opcode = message.kind.opcode();
        if self.connection.codec.is_some() && self.send_compressed(opcode, message.payload()) {
            return Ok(());
        }
        self.tap(opcode, message.payload());
        match message.body {
            Body::Window { octets, header } if self.may_lie_in_place(octets) => {
                self.reply_in_place(opcode, octets, header);
            }
            Body::Assembled(buffer) if buffer.len() > COPIED_BYTES_MAX => self.reply_by_handing_over(opcode, buffer),
            Body::Window { octets, header } => self.copy(opcode, octets.get(header..).unwrap_or_default()),
            Body::Assembled(buffer) => self.copy(opcode, buffer.filled()),
        }
        Ok(())
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn text(&mut self, text: &str) -> Result<(), SendError> {
        self.send(Opcode::Text, text.as_bytes())
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn binary(&mut self, octets: &[u8]) -> Result<(), SendError> {
        self.send(Opcode::Binary, octets)
    }

    /// Sends a message in frames of at most `frame_bytes` payload octets each (RFC 6455 §5.4); at least one octet goes into each.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn fragmented(&mut self, kind: MessageKind, payload: &[u8], frame_bytes: usize) -> Result<(), SendError> {
        self.judge_send()?;
        self.lanes.flow.messages_sent += 1;
        let opcode = kind.opcode();
        let codec = self.connection.codec.as_mut().filter(|_| payload.len() <= COMPRESSED_BYTES_MAX);
        let compressed = codec.and_then(|codec| codec.deflate(&mut self.means.codecs, payload));
        // RFC 7692 §6: RSV1 stands on the first frame only.
        let (octets, rsv) = compressed.map_or((payload, 0), |compressed| (compressed, 0b100));
        let (mut opcode, mut rsv, mut rest) = (opcode, rsv, octets);
        loop {
            let (part, behind) = rest.split_at(frame_bytes.max(1).min(rest.len()));
            let key = mask_key(self.connection.role, &mut self.means.mask_keys);
            let header = WireHeader::new(behind.is_empty(), rsv, opcode as u8, key, part.len() as u64);
            append_frame(&mut self.lanes.spill, &header, part);
            if let Some(tap) = &mut self.means.tap {
                let (fin, compressed) = (header.fin, rsv != 0);
                tap.frame(Direction::Out, &FrameHeader { fin, compressed, opcode, len: header.len, mask: key }, part);
            }
            if behind.is_empty() {
                return Ok(());
            }
            (opcode, rsv, rest) = (Opcode::Continuation, 0, behind);
        }
    }

    /// Sends a Ping of at most 125 octets (RFC 6455 §5.5.2), ahead of data not begun.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if self.lanes.control.len() > PINGS_BYTES_MAX {
            return Err(SendError::Full);
        }
        self.control(Opcode::Ping, payload)
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2): what was queued leaves first, nothing is queued after it.
    ///
    /// # Errors
    /// [`SendError::Closing`] when it has begun already, [`SendError::Illegal`] for a code that may not travel or a reason
    /// of more than 123 octets.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        if !matches!(self.connection.phase, Phase::Open) {
            return Err(SendError::Closing);
        }
        if !code.may_travel() || reason.len() > REASON_BYTES_MAX {
            return Err(SendError::Illegal);
        }
        self.seal(Some(CloseFrame { code, reason }));
        (self.connection.phase, self.connection.since) = (Phase::Closing, self.now);
        Ok(())
    }

    /// Octets that wait for the socket, headers included.
    pub fn queued_bytes(&self) -> usize {
        self.connection.outbox.len() + self.lanes.len()
    }

    /// Queues a Pong (RFC 6455 §5.5.3).
    #[inline]
    pub(super) fn pong(&mut self, payload: &[u8]) {
        // The connection may be closing: then the Pong is not wanted any more.
        let _ = self.control(Opcode::Pong, payload);
    }

    /// Queues the Close frame, the last of all. The caller changes the phase.
    pub(super) fn seal(&mut self, frame: Option<CloseFrame<'_>>) {
        let mut payload = [0; CONTROL_BYTES_MAX];
        let len = frame.map_or(0, |CloseFrame { code, reason }| {
            let reason = reason.as_bytes().get(..reason.len().min(REASON_BYTES_MAX)).unwrap_or_default();
            payload[..2].copy_from_slice(&code.0.to_be_bytes());
            payload[2..2 + reason.len()].copy_from_slice(reason);
            2 + reason.len()
        });
        self.tap(Opcode::Close, &payload[..len]);
        self.copy(Opcode::Close, &payload[..len]);
    }

    /// Whether a data message may be queued.
    fn judge_send(&self) -> Result<(), SendError> {
        if !matches!(self.connection.phase, Phase::Open) {
            return Err(SendError::Closing);
        }
        if self.queued_bytes() >= self.connection.settings.limits.queue_high_bytes {
            return Err(SendError::Full);
        }
        Ok(())
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), SendError> {
        self.judge_send()?;
        self.lanes.flow.messages_sent += 1;
        if !self.send_compressed(opcode, payload) {
            self.tap(opcode, payload);
            self.copy(opcode, payload);
        }
        Ok(())
    }

    /// Queues a data message compressed, where that was agreed on and pays (RFC 7692 §6.1). `false`: it is to be sent as it is.
    fn send_compressed(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        if payload.len() > COMPRESSED_BYTES_MAX {
            return false;
        }
        let Some(codec) = &mut self.connection.codec else { return false };
        let Some(compressed) = codec.deflate(&mut self.means.codecs, payload) else { return false };
        let key = mask_key(self.connection.role, &mut self.means.mask_keys);
        let header = WireHeader::new(true, 0b100, opcode as u8, key, compressed.len() as u64);
        append_frame(&mut self.lanes.spill, &header, compressed);
        if let Some(tap) = &mut self.means.tap {
            let header = FrameHeader { fin: true, compressed: true, opcode, len: header.len, mask: key };
            tap.frame(Direction::Out, &header, payload);
        }
        true
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), SendError> {
        if !matches!(self.connection.phase, Phase::Open) {
            return Err(SendError::Closing);
        }
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(SendError::Illegal);
        }
        self.tap(opcode, payload);
        let key = mask_key(self.connection.role, &mut self.means.mask_keys);
        let header = WireHeader::new(true, 0, opcode as u8, key, payload.len() as u64);
        append_frame(&mut self.lanes.control, &header, payload);
        Ok(())
    }

    #[inline(always)]
    fn reply_in_place(&mut self, opcode: Opcode, octets: &mut [u8], header: usize) {
        let (run, begins) = (&mut self.lanes.run, self.window.len());
        debug_assert!(run.start == run.end || run.end == begins);
        if run.start == run.end {
            run.start = begins;
        }
        run.end = begins + octets.len();
        let (first, len) = (0x80 | opcode as u8, octets.len() - header);
        match octets {
            // What nearly all have.
            [octet, second, ..] if header == 2 => (*octet, *second) = (first, len as u8),
            octets => {
                WireHeader::new(true, 0, opcode as u8, None, len as u64).emit(octets);
            }
        }
    }

    fn reply_by_handing_over(&mut self, opcode: Opcode, buffer: &mut Buffer) {
        let key = mask_key(self.connection.role, &mut self.means.mask_keys);
        let mut buffer = std::mem::take(buffer);
        let header = WireHeader::new(true, 0, opcode as u8, key, buffer.len() as u64);
        if let Some(key) = key {
            mask(key, buffer.filled_mut());
        }
        const { assert!(HEADROOM >= HEADER_BYTES_MAX) };
        if let Some(room) = buffer.prepend(header.size()) {
            header.emit(room);
        }
        self.connection.outbox.push(buffer, self.lanes, self.window);
    }

    fn copy(&mut self, opcode: Opcode, payload: &[u8]) {
        let key = mask_key(self.connection.role, &mut self.means.mask_keys);
        let header = WireHeader::new(true, 0, opcode as u8, key, payload.len() as u64);
        append_frame(&mut self.lanes.spill, &header, payload);
    }

    #[inline]
    fn tap(&mut self, opcode: Opcode, payload: &[u8]) {
        if let Some(tap) = &mut self.means.tap {
            let header = FrameHeader { fin: true, compressed: false, opcode, len: payload.len() as u64, mask: None };
            tap.frame(Direction::Out, &header, payload);
        }
    }
}

/// The key of our next frame.
fn mask_key(role: Role, keys: &mut Option<MaskKeys>) -> Option<MaskKey> {
    match role {
        Role::Server => None,
        // A client's workspace has keys; were it made without, a fixed key is still legal framing.
        Role::Client => {
            debug_assert!(keys.is_some(), "a client needs Workspace::with_mask_keys");
            Some(keys.as_mut().map_or([0x5a; 4], |keys| keys()))
        }
    }
}

/// Appends a whole frame: the header, and the payload masked with its key.
fn append_frame(to: &mut Vec<u8>, header: &WireHeader, payload: &[u8]) {
    let mut octets = [0; HEADER_BYTES_MAX];
    let size = header.emit(&mut octets);
    to.reserve(size + payload.len());
    to.extend_from_slice(octets.get(..size).unwrap_or_default());
    let start = to.len();
    to.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (header.mask, to.get_mut(start..)) {
        mask(key, payload);
    }
}
