//! The sessions of one loop: a slab, deadlines, and who has its turn when.
//!
//! It owns no poll and reads no clock: the loop sets [`Shared::now`] once a turn, hands readiness in, and in this order calls
//! [`pump_listed`](Sessions::pump_listed), [`on_deadlines`](Sessions::on_deadlines), [`reap`](Sessions::reap).

use std::{
    io,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    census::{Census, Part},
    handler::{ConnId, Handler},
    lists::{List, Lists},
    pump::{Pumped, Session, Shared, Weight},
    surplus::Surplus,
};
use crate::{
    net::{Deadlines, Mark, Socket},
    proto::Sender,
};

/// Deadlines that nobody has any more, struck off before a poll sleeps.
const STALE_A_POLL: usize = 64;

/// What the poll said of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// There may be input.
    pub readable: bool,
    /// There may be room for output.
    pub writable: bool,
    /// The peer's FIN, or an error, is behind the input.
    pub ended: bool,
}

#[derive(Debug)]
struct Slot<S> {
    session: Session<S>,
    generation: u32,
    /// Is on one of the lists.
    listed: bool,
    /// The census knows it as opening, and as holding so much. (One by one, and with short marks, so that ten thousand idle
    /// connections need no more than they must.)
    is_opening: bool,
    held_bytes: usize,
    /// The earliest entry of this connection in the deadlines.
    armed: Mark,
}

impl<S> Slot<S> {
    fn part(&self) -> Part {
        Part { held_bytes: self.held_bytes, is_opening: self.is_opening }
    }
}

/// Told whose turn begins.
pub type TurnHook = Box<dyn FnMut(ConnId) + Send>;

/// All sessions of one loop.
pub struct Sessions<S> {
    slots: Slab<Slot<S>>,
    generation: u32,
    lists: Lists,
    gone: Vec<ConnId>,
    deadlines: Deadlines<ConnId>,
    surplus: Surplus,
    census: Census,
    /// What they share, the turn's clock reading among it.
    pub shared: Shared,
    hook: Option<TurnHook>,
}

impl<S> std::fmt::Debug for Sessions<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("len", &self.slots.len()).field("lists", &self.lists).finish_non_exhaustive()
    }
}

impl<S: Socket> Sessions<S> {
    /// None yet. `hook` is told whose turn begins, for a tap that sees frames only.
    pub fn new(shared: Shared, hook: Option<TurnHook>) -> Self {
        Sessions {
            slots: Slab::new(),
            generation: 0,
            lists: Lists::default(),
            gone: Vec::new(),
            deadlines: Deadlines::default(),
            surplus: Surplus::default(),
            census: Census::default(),
            shared,
            hook,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The names of all.
    pub fn ids(&self) -> Vec<ConnId> {
        self.slots.iter().map(|(key, slot)| ConnId { key: key as u32, generation: slot.generation }).collect()
    }

    /// One of them.
    #[inline]
    pub fn get(&self, id: ConnId) -> Option<&Session<S>> {
        self.slots.get(id.key as usize).filter(|slot| slot.generation == id.generation).map(|slot| &slot.session)
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Session<S>> {
        slot_mut(&mut self.slots, id).map(|slot| &mut slot.session)
    }

    /// Heap octets that the sessions hold.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.census.held_bytes()
    }

    /// Heap octets that the sessions hold, and the loop for them: what they have received and not decoded, assembled, queued and
    /// not sent, TLS's share of these, compressors, pooled buffers.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.census.held_bytes() + self.shared.memory_bytes()
    }

    /// The session that holds most of it. Looks at all of them.
    pub fn largest(&self) -> Option<ConnId> {
        let largest = self.slots.iter().max_by_key(|(_, slot)| slot.held_bytes);
        let (key, slot) = largest.filter(|(_, slot)| slot.held_bytes > 0)?;
        Some(ConnId { key: key as u32, generation: slot.generation })
    }

    /// Opening handshakes under way, TLS's included.
    #[inline]
    pub fn openings(&self) -> usize {
        self.census.opening()
    }

    /// The opening handshake that has been under way for longest.
    pub fn oldest_opening(&mut self) -> Option<ConnId> {
        let slots = &self.slots;
        self.census.oldest_opening(|id| is_opening(slots, id))
    }

    /// Entries in the deadlines, stale ones included, and sessions on the lists.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.deadlines.len(), self.listed())
    }

    /// How long a poll may sleep by them, at this clock reading; `None`: for ever. Who has opened has no deadline any more, most of
    /// the time, and is struck off here: a sleep that may end by itself costs the kernel a timer, 4 % of the CPU time of a message
    /// that wakes the loop.
    #[inline]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Duration> {
        if self.listed() > 0 {
            return Some(Duration::ZERO);
        }
        for _ in 0..STALE_A_POLL {
            let Some(id) = self.deadlines.first() else { break };
            if let Some(slot) = slot_mut(&mut self.slots, id) {
                if slot.session.next_deadline().is_some() {
                    break;
                }
                slot.armed = Mark::NEVER;
            }
            self.deadlines.remove_first();
        }
        [self.deadlines.poll_timeout(now), self.surplus.poll_timeout(&self.shared.workspace, now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes a session in. `register` shows its socket to the poll, for both directions at once and for good: edges, two flags and
    /// the lists do the rest.
    ///
    /// # Errors
    /// `register`'s; then the session is dropped.
    pub fn insert(
        &mut self,
        mut session: Session<S>,
        register: impl FnOnce(&mut S, ConnId) -> io::Result<()>,
    ) -> io::Result<ConnId> {
        let entry = self.slots.vacant_entry();
        // Half of the range, so that tokens stay below ConnId::TOKENS_END.
        self.generation = self.generation.wrapping_add(1) & (u32::MAX >> 1);
        let id = ConnId { key: entry.key() as u32, generation: self.generation };
        register(session.socket_mut(), id)?;
        let at = session.next_deadline();
        let part = Part::of(&session);
        self.shared.counts.entered(session.stage());
        self.shared.workspace.adopt(session.connection());
        let Part { held_bytes, is_opening: opening } = part;
        let armed = at.map_or(Mark::NEVER, |at| self.deadlines.arm(at, id));
        entry.insert(Slot {
            session,
            generation: id.generation,
            listed: false,
            is_opening: opening,
            held_bytes,
            armed,
        });
        let slots = &self.slots;
        self.census.add(id, part, |other| is_opening(slots, other));
        Ok(id)
    }

    /// Notes readiness and pumps. Who is on a list has its turn there. A stale event of a session that is gone is harmless.
    #[inline]
    pub fn on_ready<H: Handler>(&mut self, id: ConnId, readiness: Readiness, handler: &mut H) {
        let Some(slot) = slot_mut(&mut self.slots, id) else { return };
        slot.session.note_ready(readiness.readable, readiness.writable, readiness.ended);
        if !slot.listed {
            self.pump(id, handler, Session::pump);
        }
    }

    /// The same in a crowd: whose turn may be long goes to the end of a list, behind those whose is short. Once the turn is out of
    /// time, everybody does.
    #[inline]
    pub fn on_ready_in_crowd<H: Handler>(
        &mut self,
        id: ConnId,
        readiness: Readiness,
        is_in_time: bool,
        handler: &mut H,
    ) {
        let Some(slot) = slot_mut(&mut self.slots, id) else { return };
        let list = match slot.session.weight() {
            Weight::Light if is_in_time => return self.on_ready(id, readiness, handler),
            Weight::Light => List::Late,
            Weight::Heavy => List::Heavy,
            Weight::Unknown => List::Unknown,
            Weight::Handshake => List::Handshakes,
        };
        slot.session.note_ready(readiness.readable, readiness.writable, readiness.ended);
        if !std::mem::replace(&mut slot.listed, true) {
            self.lists.of_mut(list).push_back(id);
        }
    }

    /// How many wait on the lists.
    #[inline]
    pub fn listed(&self) -> usize {
        self.lists.len()
    }

    /// How many on one of them.
    pub fn listed_on(&self, list: List) -> usize {
        self.lists.of(list).len()
    }

    /// Pumps who is on the list, each once, for as long as `go_on` says, which is asked after each.
    pub fn pump_listed<H: Handler>(&mut self, list: List, handler: &mut H, mut go_on: impl FnMut() -> bool) {
        for _ in 0..self.listed_on(list) {
            let Some(id) = self.lists.of_mut(list).pop_front() else { return };
            if let Some(slot) = slot_mut(&mut self.slots, id) {
                slot.listed = false;
                self.pump(id, handler, Session::pump);
                if !go_on() {
                    return;
                }
            }
        }
    }

    /// Acts on every deadline that has passed; gives back buffers that nobody has used for a while.
    pub fn on_deadlines<H: Handler>(&mut self, handler: &mut H) {
        let now = self.shared.now;
        while let Some(id) = self.deadlines.pop_due(now) {
            let Some(slot) = slot_mut(&mut self.slots, id) else { continue };
            if slot.armed > self.deadlines.mark(now) {
                continue;
            }
            slot.armed = Mark::NEVER;
            match slot.session.next_deadline() {
                None => {}
                Some(at) if at > now => {
                    slot.armed = self.deadlines.arm(at, id);
                }
                Some(_) => self.pump(id, handler, Session::on_deadline),
            }
        }
        self.surplus.give_back(&mut self.shared.workspace, now);
    }

    /// Sends without having received, in one turn with what can be sent and read. `None`: there is no such session, or nothing can
    /// be sent on it any more.
    #[inline]
    pub fn with_sender<H: Handler, R>(
        &mut self,
        id: ConnId,
        handler: &mut H,
        send: impl FnOnce(&mut H, Sender<'_>) -> R,
    ) -> Option<R> {
        let mut sent = None;
        self.pump(id, handler, |session, id, shared, handler| {
            let (result, pumped) = session.pump_with(id, shared, handler, |turn, handler| send(handler, turn.sender()));
            sent = result;
            pumped
        });
        sent
    }

    /// Drops the sessions that are over, and returns how many. Only here: dropping closes the socket, which leaves the poll with it.
    pub fn reap(&mut self) -> usize {
        self.reap_with(|_| ())
    }

    /// The same; `leave` hears of each.
    pub fn reap_with(&mut self, mut leave: impl FnMut(ConnId)) -> usize {
        let before = self.slots.len();
        for id in self.gone.drain(..) {
            if slot_mut(&mut self.slots, id).is_some() {
                let slot = self.slots.remove(id.key as usize);
                self.shared.counts.left(slot.session.stage());
                self.shared.workspace.forget(slot.session.connection());
                self.census.remove(slot.part());
                leave(id);
            }
        }
        before - self.slots.len()
    }

    /// The running sums, counted anew.
    #[cfg(test)]
    pub(crate) fn recount(&self) -> (usize, usize) {
        let parts = || self.slots.iter().map(|(_, slot)| Part::of(&slot.session));
        (parts().map(|part| part.held_bytes).sum(), parts().filter(|part| part.is_opening).count())
    }

    /// The running sums: octets held by sessions, opening handshakes.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> (usize, usize) {
        (self.census.held_bytes(), self.census.opening())
    }

    #[inline]
    pub(super) fn pump<H: Handler>(
        &mut self,
        id: ConnId,
        handler: &mut H,
        pump: impl FnOnce(&mut Session<S>, ConnId, &mut Shared, &mut H) -> Pumped,
    ) {
        let Some(slot) = slot_mut(&mut self.slots, id) else { return };
        if let Some(hook) = &mut self.hook {
            hook(id);
        }
        let pumped = pump(&mut slot.session, id, &mut self.shared, handler);
        let part = Part::of(&slot.session);
        self.census.update(&mut slot.part(), part);
        (slot.is_opening, slot.held_bytes) = (part.is_opening, part.held_bytes);
        match pumped {
            Pumped::Blocked => {}
            Pumped::Ready if slot.listed => {}
            Pumped::Ready => {
                slot.listed = true;
                self.lists.of_mut(List::Heavy).push_back(id);
            }
            Pumped::Gone => {
                self.gone.push(id);
                return;
            }
        }
        // Entries are lazy: one that is too early is looked at and set anew; only an earlier deadline needs another.
        if let Some(at) = slot.session.next_deadline()
            && self.deadlines.mark(at) < slot.armed
        {
            slot.armed = self.deadlines.arm(at, id);
        }
    }
}

fn is_opening<S>(slots: &Slab<Slot<S>>, id: ConnId) -> bool {
    slots.get(id.key as usize).is_some_and(|slot| slot.generation == id.generation && slot.is_opening)
}

#[inline]
fn slot_mut<S>(slots: &mut Slab<Slot<S>>, id: ConnId) -> Option<&mut Slot<S>> {
    slots.get_mut(id.key as usize).filter(|slot| slot.generation == id.generation)
}
