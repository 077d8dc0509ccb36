//! What the connections of one loop share: the window that octets are read into, decoded and answered in; the turn's
//! output lanes; buffers; the date; masking keys. A connection borrows it for a [`Turn`](super::Turn) and leaves nothing in it.

use std::{ops::Range, time::SystemTime};

use super::{
    assembler::Assembly,
    connection::Connection,
    deflate::Codecs,
    error::ProtocolError,
    frame::FrameHeader,
    lanes::{Flow, Lanes},
    mask::MaskKey,
    pool::{HEADROOM, Pool},
};

/// Octets read at once: 64 KiB to 512 KiB measured alike for small messages; for 1 MiB ones a smaller window copies
/// less of each message's beginning.
pub const WINDOW_BYTES: usize = 128 << 10;

/// Once compressed messages have inflated to this much in a turn, decoding stops, be it within a message: 128 KiB of octets
/// could otherwise become gigabytes, one legal message after the other, while the loop's other connections wait.
pub const INFLATED_BYTES_MAX: usize = 1 << 20;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    In,
    /// To the peer, in the order of queueing.
    Out,
}

/// Watches frames, for a wire log.
pub trait FrameTap: Send {
    /// A frame ended (`In`) or was queued (`Out`); the payload is unmasked. Of an incoming fragment's payload what is held.
    fn frame(&mut self, direction: Direction, header: &FrameHeader, payload: &[u8]);

    /// The peer broke the protocol or a limit; `octets` are those not decoded any more, where it was a header that did.
    fn breach(&mut self, error: &ProtocolError, octets: &[u8]) {
        let _ = (error, octets);
    }
}

/// Makes masking keys that a peer can not predict (RFC 6455 §10.3).
pub type MaskKeys = Box<dyn FnMut() -> MaskKey + Send>;

/// Shared by all connections of one loop, one turn at a time.
///
/// Costs about 140 KiB, up to 8.5 MiB of kept message buffers, and about 560 KiB once messages are compressed. After many large messages
/// at once the kept buffers are up to 64 MiB, until [`Workspace::give_back`] has seen them unused.
pub struct Workspace {
    pub(super) window: Box<[u8]>,
    /// Octets of the window that are not decoded yet; in front of them a message's decoded [`Rest`](super::assembler::Rest),
    /// where there is one.
    pub(super) input: Range<usize>,
    pub(super) lanes: Lanes,
    pub(super) pool: Pool,
    pub(super) means: Means,
    /// The assembled message that was reported last.
    pub(super) message: Option<Box<Assembly>>,
    /// The payload of the Pong that was reported last.
    pub(super) pong: Vec<u8>,
    /// One turn's share of inflating.
    pub(super) inflated_bytes_max: usize,
    pub(super) date: String,
    date_secs: u64,
}

/// What sending takes beside lanes.
#[derive(Default)]
pub(super) struct Means {
    pub(super) codecs: Codecs,
    pub(super) tap: Option<Box<dyn FrameTap>>,
    pub(super) mask_keys: Option<MaskKeys>,
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("input", &self.input).field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Workspace::new()
    }
}

impl Workspace {
    /// A workspace for connections of the server role.
    pub fn new() -> Self {
        Workspace {
            window: vec![0; HEADROOM + WINDOW_BYTES].into_boxed_slice(),
            input: HEADROOM..HEADROOM,
            lanes: Lanes::default(),
            pool: Pool::default(),
            means: Means::default(),
            message: None,
            pong: Vec::new(),
            inflated_bytes_max: INFLATED_BYTES_MAX,
            date: String::new(),
            date_secs: 0,
        }
    }

    /// A workspace that can mask, for connections of either role.
    pub fn with_mask_keys(keys: MaskKeys) -> Self {
        Workspace { means: Means { mask_keys: Some(keys), ..Means::default() }, ..Workspace::new() }
    }

    /// Watches every frame of every connection from now on.
    pub fn watch(&mut self, tap: Box<dyn FrameTap>) {
        self.means.tap = Some(tap);
    }

    /// From now on a turn stops decoding once its compressed messages have inflated to so many octets ([`INFLATED_BYTES_MAX`]
    /// before). Where many connections are ready at once, less keeps one turn of each short.
    #[inline]
    pub fn share_inflating(&mut self, octets: usize) {
        self.inflated_bytes_max = octets.max(1);
    }

    /// What the `Date` header says from now on (RFC 9110 §6.6.1). Costs nothing within the same second.
    pub fn set_date(&mut self, now: SystemTime) {
        let secs = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if secs != self.date_secs || self.date.is_empty() {
            self.date_secs = secs;
            self.date = httpdate::fmt_http_date(now);
        }
    }

    /// What the `Date` header says.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// What has passed through so far, on all connections.
    pub fn flow(&self) -> Flow {
        self.lanes.flow
    }

    /// Octets that wait for the sockets of all connections, between turns. Exact as long as [`Workspace::adopt`] and
    /// [`Workspace::forget`] are told of every connection.
    pub fn queued_bytes(&self) -> usize {
        self.lanes.stashed_bytes
    }

    /// From now on this connection has its turns here; a client's has its request queued already.
    pub fn adopt(&mut self, connection: &Connection) {
        self.lanes.stashed_bytes += connection.queued_bytes();
    }

    /// This connection will have no turn any more.
    pub fn forget(&mut self, connection: &Connection) {
        self.lanes.stashed_bytes = self.lanes.stashed_bytes.saturating_sub(connection.queued_bytes());
    }

    /// Heap octets held: window, answers, pooled buffers, compressors.
    pub fn memory_bytes(&self) -> usize {
        self.window.len() + self.lanes.memory_bytes() + self.pool.memory_bytes() + self.means.codecs.memory_bytes()
    }

    /// Whether pooled message buffers are more than what is kept for good: then [`Workspace::give_back`] is to be called every so
    /// often between turns, until they are not. Four times a second is enough.
    #[inline]
    pub fn has_surplus(&self) -> bool {
        self.pool.has_surplus()
    }

    /// Gives message buffers back to the system, as far as they are surplus and were not used since the last call.
    pub fn give_back(&mut self) {
        self.pool.give_back();
    }

    /// Gives all pooled message buffers back to the system.
    pub fn trim(&mut self) {
        self.pool.clear();
    }

    /// Room behind the octets not decoded yet, which move to the front. No answers are in the window then.
    #[inline]
    pub(super) fn spare(&mut self) -> &mut [u8] {
        debug_assert!(self.lanes.run.is_empty());
        if self.input.start > HEADROOM {
            self.window.copy_within(self.input.clone(), HEADROOM);
            self.input = HEADROOM..HEADROOM + self.input.len();
        }
        self.window.get_mut(self.input.end..).unwrap_or_default()
    }

    /// Counts `len` octets of the spare room as input.
    #[inline]
    pub(super) fn filled(&mut self, len: usize) {
        debug_assert!(self.input.end + len <= self.window.len());
        self.input.end = (self.input.end + len).min(self.window.len());
    }

    /// Everything of the turn's was moved elsewhere.
    #[inline]
    pub(super) fn end_turn(&mut self) {
        self.input = HEADROOM..HEADROOM;
        self.lanes.trim();
    }

    /// The octets not decoded yet.
    #[inline]
    pub(super) fn pending(&mut self) -> &mut [u8] {
        self.window.get_mut(self.input.clone()).unwrap_or_default()
    }

    /// Drops `len` decoded octets.
    #[inline]
    pub(super) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.input.len());
        self.input.start = (self.input.start + len).min(self.input.end);
    }
}
