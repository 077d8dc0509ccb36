//! What received octets mean (RFC 6455 §5–§8): frames to events, and what is answered without asking the application.

use std::ops::Range;

use super::{
    assembler::{Assembly, MessageKind, Rest},
    close::{CONTROL_BYTES_MAX, CloseFrame},
    connection::{Closure, Held, Phase, Shutdown},
    decoder::Chunk,
    deflate::{Codec, Inflation},
    error::ProtocolError,
    frame::{FrameHeader, Opcode, Place},
    handshake::{Opened, server},
    limits::Role,
    turn::Turn,
    utf8::is_utf8,
    workspace::{Direction, Workspace},
};

/// An event that borrows nothing yet.
pub(super) enum Step {
    Open(Box<Opened>),
    /// A message that arrived whole, at this range of the window.
    Whole(MessageKind, Range<usize>),
    /// The message in `workspace.message`.
    Assembled,
    /// The Pong in `workspace.pong`.
    Pong,
    Close(Box<Closure>),
}

impl Turn<'_> {
    /// Decodes until something is to be reported.
    #[inline(never)]
    pub(super) fn step(&mut self) -> Option<Step> {
        self.recycle();
        loop {
            if let Some(header) = self.landed.take() {
                if let Some(step) = self.frame_ended(&header) {
                    return Some(step);
                }
                continue;
            }
            if !self.may_decode() || (self.is_spent() && !matches!(self.connection.phase, Phase::Done(_))) {
                return None;
            }
            match self.connection.phase {
                Phase::Open | Phase::Closing => {}
                Phase::Opening => match self.open() {
                    Some(step) => return Some(step),
                    None if matches!(self.connection.phase, Phase::Opening) => return None,
                    None => continue,
                },
                Phase::Done(_) => {
                    self.workspace.consume(self.workspace.input.len());
                    return self.connection.ended.take().map(Step::Close);
                }
            }
            let connection = &mut *self.connection;
            let place = Place {
                role: connection.role,
                message: connection.message.as_ref().map(|message| message.judged_len()),
                deflate: connection.codec.is_some(),
                limits: &connection.settings.limits,
            };
            // What was decoded in an earlier turn comes before what is not.
            let rest = connection.message.as_mut().and_then(|message| message.rest.take());
            let decoded = match rest {
                None => connection.decoder.decode(self.workspace.pending(), &place),
                Some(Rest { header, ends, len }) => {
                    // While we are busy with what the peer said, it is not silent.
                    connection.heard = self.now;
                    Ok(Some(Chunk { header, at: 0..len, begins: false, ends }))
                }
            };
            match decoded {
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
        let was_paused = self.connection.paused;
        let bound = if was_paused { limits.queue_low_bytes + 1 } else { limits.queue_high_bytes };
        self.connection.paused = queued >= bound;
        if was_paused && !self.connection.paused {
            // We had stopped listening; its silence counts from now on.
            self.connection.heard = self.now;
        }
        !self.connection.paused || matches!(self.connection.phase, Phase::Done(_))
    }

    /// A stretch of a data frame.
    #[inline]
    fn data(&mut self, chunk: &Chunk, at: Range<usize>) -> Option<Step> {
        let kind = if chunk.header.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
        let payload = self.workspace.window.get(at.clone()).unwrap_or_default();
        let is_whole = chunk.begins && chunk.ends && chunk.header.fin && self.connection.message.is_none();
        if is_whole && !chunk.header.compressed {
            let is_legal = kind == MessageKind::Binary || is_utf8(payload);
            tap_in(self.workspace, &chunk.header, at.clone());
            if !is_legal {
                self.fail(ProtocolError::InvalidUtf8);
                return None;
            }
            // What comes after our own Close is read, checked, and dropped: no answer could be sent any more (§5.5.1).
            return matches!(self.connection.phase, Phase::Open).then_some(Step::Whole(kind, at));
        }
        let message = match &mut self.connection.message {
            Some(message) => {
                if chunk.begins {
                    message.begin_frame(&chunk.header, &mut self.workspace.pool);
                }
                message
            }
            none => none.insert(Box::new(Assembly::begin(kind, &chunk.header, &mut self.workspace.pool))),
        };
        let appended = match &mut self.connection.codec {
            Some(codec) if message.compressed => {
                let is_end = chunk.ends && chunk.header.fin;
                let max = self.connection.settings.limits.message_bytes_max;
                let share = self.workspace.inflated_bytes_max.saturating_sub(self.inflated);
                let before = message.buffer.len();
                let inflated = message.inflate(codec, &mut self.workspace.means.codecs, payload, is_end, max, share);
                self.inflated += message.buffer.len() - before;
                match inflated {
                    Ok(Inflation::Paused { taken }) => {
                        let len = at.len() - taken;
                        message.rest = Some(Rest { header: chunk.header, ends: chunk.ends, len });
                        self.workspace.input.start = at.end - len;
                        return None;
                    }
                    inflated => inflated.map(|_| ()),
                }
            }
            _ => message.append(payload),
        };
        if let Err(error) = appended {
            self.fail(error);
            return None;
        }
        if chunk.ends { self.frame_ended(&chunk.header) } else { None }
    }

    /// The last octet of a frame of an assembled message is in.
    fn frame_ended(&mut self, header: &FrameHeader) -> Option<Step> {
        let message = self.connection.message.as_ref()?;
        if let Some(tap) = &mut self.workspace.means.tap {
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
        if let Some(tap) = &mut self.workspace.means.tap {
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

    /// The opening handshake's octets.
    fn open(&mut self) -> Option<Step> {
        let Some(opening) = &mut self.connection.opening else { return None };
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
            Some(asked) => match asked.check(head, settings) {
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
        self.connection.codec = opened.deflate.map(|agreed| Box::new(Codec::new(agreed, &settings.deflate)));
        (self.connection.phase, self.connection.opening) = (Phase::Open, None);
        self.connection.heard = self.now;
        Some(Step::Open(Box::new(opened)))
    }
}

fn tap_in(workspace: &mut Workspace, header: &FrameHeader, at: Range<usize>) {
    let Workspace { means, window, .. } = workspace;
    if let Some(tap) = &mut means.tap {
        tap.frame(Direction::In, header, window.get(at).unwrap_or_default());
    }
}
