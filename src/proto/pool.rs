//! Payload buffers: room for a header in front, initialised once, kept for reuse by the loop that owns the pool.

/// Octets kept free in front of a payload, so that an answer's header fits there: the longest header there is.
pub(super) const HEADROOM: usize = super::wire::HEADER_BYTES_MAX;

/// A buffer at least this large is worth keeping: the allocator would map and fault its pages anew each time.
const POOLED_BYTES_MIN: usize = 16 << 10;
/// A buffer larger than this is given back to the system: that of a message as large as may be by default is kept.
const POOLED_BYTES_MAX: usize = (16 << 20) + (64 << 10);
/// A growing buffer may become one so many times as large as is needed.
const GROWS_INTO_MAX: usize = 8;
/// Buffers kept at most, and their octets: as many messages of 1 MiB as 60 connections have under way at once.
const POOLED_BUFFERS_MAX: usize = 256;
const POOLED_TOTAL_MAX: usize = 64 << 20;
/// What is kept though nobody takes it: eight buffers of a MiB.
const POOLED_FOR_GOOD_MAX: usize = 8 * ((1 << 20) + (64 << 10));
/// An announced length is believed this far; beyond it, room is made as octets arrive.
const BELIEVED_BYTES_MAX: usize = 1 << 20;

/// Octets `start..end` of an allocation that is initialised throughout.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn from_vec(bytes: Vec<u8>) -> Self {
        Buffer { start: 0, end: bytes.len(), bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Octets of memory that it takes.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// The octets held.
    #[inline]
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Room behind the octets held, at most `max`.
    #[inline]
    pub(super) fn spare(&mut self, max: usize) -> &mut [u8] {
        let end = self.end.saturating_add(max).min(self.bytes.len());
        self.bytes.get_mut(self.end..end).unwrap_or_default()
    }

    /// Room behind the octets held: at least `min`, growing if need be, and at most `max`. No more than `most` will be asked for.
    pub(super) fn room(&mut self, min: usize, max: usize, most: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < min {
            let grown = (self.end + min).max((self.bytes.len() * 2).min(self.end + max));
            if grown > self.bytes.capacity() {
                let doubled = (self.bytes.capacity() * 2).min(self.end + most).max(grown);
                self.bytes.reserve_exact(doubled - self.bytes.len());
            }
            // Page by page, not all that is reserved: that would take a millisecond every few MiB.
            self.bytes.resize(grown, 0);
        }
        self.spare(max)
    }

    /// Counts `len` octets of the spare room as held.
    pub(super) fn commit(&mut self, len: usize) {
        debug_assert!(self.end + len <= self.bytes.len());
        self.end = (self.end + len).min(self.bytes.len());
    }

    /// Drops octets from the front.
    pub(super) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.len());
        self.start = (self.start + len).min(self.end);
    }

    /// Makes room for `len` octets more; of a large `len` only the first MiB at once.
    pub(super) fn reserve(&mut self, len: usize) {
        let needed = self.end + len.min(BELIEVED_BYTES_MAX);
        if needed > self.bytes.len() {
            let grown = needed.max((self.bytes.len() * 2).min(self.end.saturating_add(len)));
            if self.bytes.is_empty() {
                self.bytes = vec![0; grown]; // zeroed pages come from the system untouched
            } else {
                self.bytes.resize(grown, 0);
            }
        }
    }

    /// Appends, growing as needed.
    #[inline]
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.reserve(octets.len());
        if let Some(room) = self.bytes.get_mut(self.end..self.end + octets.len()) {
            room.copy_from_slice(octets);
            self.end += octets.len();
        } else {
            // More than a MiB at a time: in the steps that `reserve` grants.
            for step in octets.chunks(BELIEVED_BYTES_MAX) {
                self.reserve(step.len());
                self.spare(step.len()).copy_from_slice(step);
                self.commit(step.len());
            }
        }
    }

    /// The first `len` octets held, without the memory of the others where that is most of it.
    pub(super) fn into_front(mut self, len: usize) -> Buffer {
        self.end = self.start + len.min(self.len());
        if self.allocated() / 2 > self.len() { Buffer::from_vec(self.filled().to_vec()) } else { self }
    }

    /// Takes `len` octets of the headroom in front, to be overwritten. `None`: there is not as much.
    pub(super) fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(len)?;
        self.bytes.get_mut(self.start..self.start + len)
    }

    /// Whether appending `len` octets needs no new allocation to speak of: small buffers grow in place.
    pub(super) fn takes(&self, len: usize) -> bool {
        // Counted with what was sent from its front: a queue that never runs dry must not grow its last buffer for ever.
        self.end + len <= POOLED_BYTES_MIN
    }
}

/// Buffers that were used and can be used again; the one used last, which caches may hold, is taken first. One a loop.
#[derive(Debug, Default)]
pub(super) struct Pool {
    buffers: Vec<Buffer>,
    /// What they are together.
    bytes: usize,
    /// So many of them, the first, nobody has taken since it was last asked which.
    idle: usize,
}

impl Pool {
    /// An empty buffer behind headroom, with room for `len` octets (or the first MiB of them).
    pub(super) fn take(&mut self, len: usize) -> Buffer {
        let room = HEADROOM + len.min(BELIEVED_BYTES_MAX);
        let kept = if len >= POOLED_BYTES_MIN { self.take_kept(room, 4) } else { None };
        let mut buffer = kept.unwrap_or_else(|| Buffer { bytes: vec![0; room], ..Buffer::default() });
        (buffer.start, buffer.end) = (HEADROOM, HEADROOM);
        buffer
    }

    /// Makes room for `len` octets more, of a large `len` only for the first MiB: in a buffer that is kept, where its own memory
    /// is too small and one fits, else as [`Buffer::reserve`] does, which clears what it grows by and copies again at each doubling.
    pub(super) fn grow(&mut self, buffer: &mut Buffer, len: usize) {
        let needed = buffer.end + len.min(BELIEVED_BYTES_MAX);
        if needed > buffer.allocated()
            && (POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&needed)
            && let Some(mut larger) = self.take_kept(needed, GROWS_INTO_MAX)
        {
            (larger.start, larger.end) = (HEADROOM, HEADROOM);
            larger.push(buffer.filled()); // which has room for it
            self.give(std::mem::replace(buffer, larger));
            return;
        }
        buffer.reserve(len);
    }

    /// A kept buffer of so many octets at least, and at most so many times as many.
    fn take_kept(&mut self, bytes: usize, times_max: usize) -> Option<Buffer> {
        let fits = |kept: &Buffer| kept.bytes.len() >= bytes && kept.bytes.len() / times_max <= bytes;
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(at);
        self.bytes -= buffer.allocated();
        self.idle = self.idle.min(at);
        Some(buffer)
    }

    /// Octets of memory that the buffers kept take.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the buffers kept back to the system.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a buffer back. Those that nobody has taken for longest make room for it.
    pub(super) fn give(&mut self, buffer: Buffer) {
        if !(POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&buffer.bytes.len()) {
            return;
        }
        self.bytes += buffer.allocated();
        self.buffers.push(buffer);
        self.drop_first(|pool, gone| pool.buffers.len() - gone > POOLED_BUFFERS_MAX || pool.bytes > POOLED_TOTAL_MAX);
    }

    /// Drops one after the other from the front while there is cause, which is told how many have gone.
    #[inline]
    fn drop_first(&mut self, has_cause: impl Fn(&Self, usize) -> bool) {
        let mut gone = 0;
        while gone < self.buffers.len() && has_cause(self, gone) {
            self.bytes -= self.buffers.get(gone).map_or(0, Buffer::allocated);
            gone += 1;
        }
        if gone > 0 {
            self.buffers.drain(..gone);
            self.idle = self.idle.saturating_sub(gone);
        }
    }

    /// Whether more is kept than is kept for good.
    #[inline]
    pub(super) fn has_surplus(&self) -> bool {
        self.bytes > POOLED_FOR_GOOD_MAX
    }

    /// Gives back what is more than that and was not used since the last call.
    pub(super) fn give_back(&mut self) {
        self.drop_first(|pool, gone| gone < pool.idle && pool.has_surplus());
        self.idle = self.buffers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_length_is_believed_up_to_a_mebibyte() {
        let mut pool = Pool::default();
        let mut buffer = pool.take(16 << 20);
        assert_eq!(buffer.bytes.len(), HEADROOM + BELIEVED_BYTES_MAX);
        let step = vec![7; 900 << 10];
        for _ in 0..20 {
            buffer.push(&step);
        }
        assert_eq!(buffer.len(), 20 * step.len());
        assert!(buffer.filled().iter().all(|&octet| octet == 7));
        assert!(buffer.bytes.len() <= 2 * (HEADROOM + buffer.len()));
    }

    #[test]
    fn a_large_push_arrives_whole() {
        let octets: Vec<u8> = (0..5 << 20).map(|at| (at % 251) as u8).collect();
        let mut buffer = Pool::default().take(10);
        buffer.push(&octets);
        assert_eq!(buffer.filled(), octets);
    }

    #[test]
    fn only_buffers_worth_it_are_kept_and_reused() {
        let mut pool = Pool::default();
        let small = pool.take(100);
        pool.give(small);
        assert!(pool.buffers.is_empty() && pool.memory_bytes() == 0);
        let mut large = pool.take(1 << 20);
        large.push(b"old");
        pool.give(large);
        assert_eq!((pool.buffers.len(), pool.memory_bytes()), (1, HEADROOM + (1 << 20)));
        assert_eq!(
            pool.take(20 << 10).bytes.len(),
            HEADROOM + (20 << 10),
            "a twentieth of the buffer would be a waste"
        );
        let again = pool.take(1 << 20);
        assert!(again.filled().is_empty() && pool.buffers.is_empty());
    }

    #[test]
    fn what_nobody_used_for_a_while_is_given_back_but_for_a_few() {
        let mut pool = Pool::default();
        let crowd: Vec<Buffer> = (0..100).map(|_| pool.take(1 << 20)).collect();
        crowd.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.buffers.len(), 63, "64 MiB at most");
        pool.give_back();
        assert_eq!(pool.buffers.len(), 63, "they were used just now");
        let some: Vec<Buffer> = (0..20).map(|_| pool.take(1 << 20)).collect();
        some.into_iter().for_each(|buffer| pool.give(buffer));
        pool.give_back();
        assert_eq!(pool.buffers.len(), 20, "so many were used meanwhile");
        for _ in 0..2 {
            pool.give_back();
            assert_eq!(pool.buffers.len(), 8);
            assert_eq!(pool.memory_bytes(), pool.buffers.iter().map(Buffer::allocated).sum::<usize>());
            assert!(!pool.has_surplus());
        }
    }

    #[test]
    fn small_buffers_make_room_for_large_ones() {
        let mut pool = Pool::default();
        let crowd: Vec<Buffer> = (0..300).map(|_| pool.take(16 << 10)).collect();
        crowd.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.buffers.len(), POOLED_BUFFERS_MAX);
        let crowd: Vec<Buffer> = (0..30).map(|_| pool.take(1 << 20)).collect();
        crowd.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!(pool.buffers.len(), POOLED_BUFFERS_MAX);
        assert!(pool.buffers.iter().rev().take(30).all(|buffer| buffer.bytes.len() > 1 << 20));
        assert_eq!(pool.memory_bytes(), pool.buffers.iter().map(Buffer::allocated).sum::<usize>());
    }

    #[test]
    fn what_is_announced_takes_no_kept_buffer_before_it_comes() {
        let mut pool = Pool::default();
        let mut kept = pool.take(1 << 20);
        kept.push(&vec![0; 16 << 20]);
        kept.bytes.truncate(HEADROOM + (16 << 20));
        pool.give(kept);
        let mut buffer = pool.take(1);
        pool.grow(&mut buffer, (16 << 20) - 1);
        assert!(buffer.allocated() <= 2 << 20, "{}", buffer.allocated());
        assert_eq!(pool.buffers.len(), 1);
    }

    #[test]
    fn a_growing_buffer_goes_on_in_one_that_is_kept() {
        let mut pool = Pool::default();
        let kept = pool.take(100 << 10);
        pool.give(kept);
        let mut buffer = pool.take(1 << 10);
        let octets: Vec<u8> = (0..64 << 10).map(|at| (at % 251) as u8).collect();
        for piece in octets.chunks(1 << 10) {
            pool.grow(&mut buffer, piece.len());
            buffer.push(piece);
            // Too small for it at first, and while its own memory is large enough.
            assert!(buffer.end > 16 << 10 || buffer.bytes.len() < 100 << 10, "{} octets", buffer.len());
        }
        assert_eq!(buffer.filled(), octets);
        assert_eq!(buffer.prepend(HEADROOM).map(|room| room.len()), Some(HEADROOM));
        assert_eq!(buffer.bytes.len(), HEADROOM + (100 << 10));
        // One that is kept and much too large stays where it is.
        let kept = pool.take(1 << 20);
        pool.give(kept);
        let mut buffer = pool.take(10 << 10);
        pool.grow(&mut buffer, 20 << 10);
        assert!(pool.buffers.iter().any(|kept| kept.bytes.len() > 1 << 20));
    }

    #[test]
    fn headroom_takes_a_header_and_no_more() {
        let mut buffer = Pool::default().take(5);
        buffer.push(b"Hello");
        buffer.prepend(2).unwrap().copy_from_slice(b"\x81\x05");
        assert_eq!(buffer.filled(), b"\x81\x05Hello");
        assert!(buffer.prepend(13).is_none());
    }
}
