//! Messages that arrive whole (RFC 6455 §5.2, §5.4): the short way that nearly every one takes, from its frame or frames to where
//! its echo would lie. Judges nothing that is out of the ordinary: that it leaves to [`receive`](super::receive).

use std::ops::Range;

use super::{
    assembler::MessageKind,
    connection::{Connection, Phase},
    error::ProtocolError,
    lanes::Lanes,
    limits::Role,
    mask::{MaskKey, mask, mask_to_front},
    turn::Turn,
    utf8::is_utf8,
    wire::{LEN_SHORT_MAX, WireHeader},
    workspace::{WINDOW_BYTES, Workspace},
};

/// A message that arrived whole: where in the window it lies, with room for a server's header of so many octets right before it.
pub(super) struct Placed {
    pub(super) kind: MessageKind,
    pub(super) header: usize,
    pub(super) at: Range<usize>,
}

/// What stays as it is while one message after the other arrives whole: looked at when a turn begins and whenever something else
/// was decoded, instead of for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// A payload must be shorter; 0: the next octets do not begin a message, or anything forbids the short way.
    pub(super) len_end: u64,
    /// Octets that the turn may queue before decoding stops.
    pub(super) room: usize,
}

impl Whole {
    pub(super) const NONE: Whole = Whole { len_end: 0, room: 0 };

    /// What is to be looked at, but for the phase and the turn's own output, which an application can change at every message.
    #[inline]
    pub(super) fn judge(connection: &Connection, workspace: &Workspace) -> Self {
        let limits = &connection.settings.limits;
        let queued = connection.outbox.len();
        if connection.role != Role::Server
            || connection.message.is_some()
            || connection.decoder.header().is_some()
            || connection.paused
            || connection.ended.is_some()
            || workspace.message.is_some()
            || workspace.means.tap.is_some()
            || queued >= limits.queue_high_bytes
        {
            return Self::NONE;
        }
        let len_max = limits.frame_bytes_max.min(limits.message_bytes_max).min(WINDOW_BYTES as u64);
        Whole { len_end: len_max + 1, room: limits.queue_high_bytes - queued }
    }
}

impl Turn<'_> {
    /// What nearly every message is: one unfragmented masked frame that is whole in the window, between frames of a server's
    /// open connection. It is unmasked to where its echo would lie. Everything else, the illegal included, is
    /// [`Turn::step`]'s, which judges octet by octet; that both see the same is the chop-independence law's to prove. 7 ns a
    /// 64-octet echo instead of 39 (`core`, pipelined).
    #[inline(always)]
    pub(super) fn next_whole(&mut self) -> Option<Placed> {
        let Turn { connection, workspace, whole, landed, inflated, .. } = self;
        let start = workspace.input.start;
        let input = workspace.window.get_mut(start..workspace.input.end)?;
        let (first, header, len, key) = whole_frame(input)?;
        let kind = kind_of(first, UNFRAGMENTED)?;
        let is_open = matches!(connection.phase, Phase::Open);
        if !is_open || len as u64 >= whole.len_end || workspace.lanes.len() >= whole.room {
            return None;
        }
        // Where the payload of its echo would lie: behind the answers so far. Without any it stays, and our header comes
        // right before it.
        let (from, run) = (start + header, &workspace.lanes.run);
        let header = header - size_of::<MaskKey>();
        let to = if run.start == run.end { from } else { run.end + header };
        debug_assert!(to <= from, "answers lie before what is undecoded");
        let by = from - to;
        let octets = workspace.window.get_mut(to..from + len)?;
        let payload = if by == 0 {
            mask(key, octets);
            octets
        } else {
            mask_to_front(key, octets, by)
        };
        let is_legal = kind == MessageKind::Binary || is_utf8(payload);
        workspace.input.start = from + len;
        if !is_legal {
            self.fail(ProtocolError::InvalidUtf8);
            return None;
        }
        debug_assert!(
            landed.is_none() && *inflated == 0 && *whole == Whole::judge(connection, workspace),
            "judged once, still true"
        );
        Some(Placed { kind, header, at: to..to + len })
    }

    /// Whether [`Turn::next_fragmented`] is worth asking.
    #[inline(always)]
    pub(super) fn may_be_fragmented(&self) -> bool {
        let Workspace { window, input, .. } = &*self.workspace;
        self.whole.len_end > 0 && window.get(input.start).is_some_and(|first| kind_of(*first, FIRST_FRAGMENT).is_some())
    }

    /// The same of a message in fragments with nothing between them, all of it in the window: each is unmasked to right behind
    /// the one before. Looked through first, so that frames of which any is illegal, or not there yet, are untouched when they come
    /// to [`Turn::step`].
    #[inline(never)]
    pub(super) fn next_fragmented(&mut self) -> Option<Placed> {
        let Turn { connection, workspace, whole, .. } = self;
        let Workspace { window, input, lanes, .. } = &mut *workspace;
        let is_open = matches!(connection.phase, Phase::Open);
        if !is_open || lanes.len() >= whole.room {
            return None;
        }
        let (kind, first, total) = whole_fragments(window.get(input.clone())?, whole.len_end)?;
        let (from, run) = (input.start + first, &lanes.run);
        let header = WireHeader::new(true, 0, 0, None, total as u64).size();
        let to = if run.start == run.end { from } else { run.end + header };
        if to > from {
            return None; // our header is longer than its first frame's, and answers lie right before it
        }
        let (mut end, mut is_last) = (to, false);
        while !is_last {
            let frame = window.get(input.start..input.end)?;
            let (first, size, len, key) = whole_frame(frame)?;
            is_last = first == LAST_FRAGMENT;
            let from = input.start + size;
            mask_to_front(key, window.get_mut(end..from + len)?, from - end);
            (input.start, end) = (from + len, end + len);
        }
        let is_legal = kind == MessageKind::Binary || is_utf8(window.get(to..end)?);
        if !is_legal {
            self.fail(ProtocolError::InvalidUtf8);
            return None;
        }
        debug_assert!(*whole == Whole::judge(connection, workspace), "judged once, still true");
        Some(Placed { kind, header, at: to..end })
    }

    /// A message that arrived whole, put where its echo would lie.
    pub(super) fn place(&mut self, kind: MessageKind, at: Range<usize>) -> Placed {
        let Workspace { window, lanes: Lanes { run, .. }, .. } = &mut *self.workspace;
        let header = WireHeader::new(true, 0, 0, None, at.len() as u64).size();
        let to = if run.start == run.end { at.start } else { run.end + header };
        debug_assert!(to <= at.start, "our header is no longer than the one that came");
        if to != at.start {
            window.copy_within(at.clone(), to);
        }
        Placed { kind, header, at: to..to + at.len() }
    }
}

/// FIN, and no fragment before.
const UNFRAGMENTED: u8 = 0x80;
/// The first of several.
const FIRST_FRAGMENT: u8 = 0;
/// A continuation with others behind it, and the last.
const CONTINUATION: u8 = 0;
const LAST_FRAGMENT: u8 = 0x80;

/// What kind of message begins with this octet, where FIN is as expected and no RSV bit is set.
#[inline(always)]
fn kind_of(first: u8, fin: u8) -> Option<MessageKind> {
    match first ^ fin {
        1 => Some(MessageKind::Text),
        2 => Some(MessageKind::Binary),
        _ => None,
    }
}

/// First octet, header size, payload length and key of a masked frame with a length of at most 16 bits in its shortest form, that is
/// whole in `input`. The first octet is the caller's to judge.
#[inline(always)]
fn whole_frame(input: &[u8]) -> Option<(u8, usize, usize, MaskKey)> {
    let (&[first, second], rest) = input.split_first_chunk()?;
    let (len, header, rest) = match second {
        0x80..=0xfd => (usize::from(second & 0x7f), 6, rest),
        0xfe => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = usize::from(u16::from_be_bytes(*len));
            if len <= usize::from(LEN_SHORT_MAX) {
                return None;
            }
            (len, 8, rest)
        }
        _ => return None,
    };
    let (key, payload) = rest.split_first_chunk()?;
    (payload.len() >= len).then_some((first, header, len, *key))
}

/// The kind, the first header's size and the payload's length, where `octets` begin with all frames of a message in fragments and its
/// payload is shorter than `len_end`.
fn whole_fragments(octets: &[u8], len_end: u64) -> Option<(MessageKind, usize, usize)> {
    let (first, header, mut total, _) = whole_frame(octets)?;
    let kind = kind_of(first, FIRST_FRAGMENT)?;
    let mut at = header + total;
    loop {
        let (first, size, len, _) = whole_frame(octets.get(at..)?)?;
        (total, at) = (total + len, at + size + len);
        if total as u64 >= len_end {
            return None;
        }
        match first {
            CONTINUATION => {}
            LAST_FRAGMENT => return Some((kind, header, total)),
            _ => return None,
        }
    }
}
