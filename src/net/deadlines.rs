//! Deadlines for many owners without a timer each: a heap of instants, lazily deleted.
//! Reads no clock and seeks nothing: an entry that no longer matters is recognised by its owner when it comes first, or due.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration, time::Instant};

/// The instants at which somebody wants to be looked at, earliest first.
///
/// The contract: an entry is a *hint*. None but the earliest is ever removed before its time, so a key that comes due may belong to
/// an owner that is gone, that has already been served, or whose deadline has moved. The owner therefore keeps its true deadline itself,
/// compares when the key is popped, and arms again if the truth lies later. It does not arm at every activity: with one entry
/// in the heap per owner and kind, the heap stays as long as the list of owners, and moving a deadline back costs nothing.
///
/// ```
/// use std::time::{Duration, Instant};
/// use wslab::net::Deadlines;
///
/// let start = Instant::now();
/// let mut deadlines = Deadlines::new();
/// deadlines.arm(start + Duration::from_secs(5), "idle");
/// deadlines.arm(start + Duration::from_secs(1), "handshake");
/// assert_eq!(deadlines.poll_timeout(start), Some(Duration::from_secs(1)));
/// assert_eq!(deadlines.pop_due(start), None);
/// assert_eq!(deadlines.pop_due(start + Duration::from_secs(2)), Some("handshake"));
/// ```
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Entry<K>>,
    /// Entries count from here: an entry of 16 octets instead of 24, with a key of 8.
    base: Option<Instant>,
}

impl<K: Copy> Deadlines<K> {
    /// An empty heap; allocates nothing until the first [`arm`](Self::arm).
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), base: None }
    }

    /// Makes `key` come due at `at`. Earlier entries of the same key stay.
    pub fn arm(&mut self, at: Instant, key: K) -> Mark {
        self.base.get_or_insert(at);
        let mark = self.mark(at);
        self.heap.push(Entry { mark, key });
        mark
    }

    /// An instant in the short form that entries have. To be compared with others of the same heap.
    #[inline]
    pub fn mark(&self, at: Instant) -> Mark {
        self.base.map_or(Mark(0), |base| Mark(nanos(base, at)))
    }

    /// Takes the earliest key whose time has come, or `None`; call until `None`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.heap.peek()?.mark > self.mark(now) {
            return None;
        }
        self.heap.pop().map(|entry| entry.key)
    }

    /// The earliest key, due or not: nobody need be slept for who is gone, or has no deadline any more.
    #[inline]
    pub fn first(&self) -> Option<K> {
        self.heap.peek().map(|entry| entry.key)
    }

    /// Drops the entry of [`first`](Self::first).
    pub fn remove_first(&mut self) {
        self.heap.pop();
    }

    /// The earliest instant armed, perhaps of a stale entry.
    pub fn next(&self) -> Option<Instant> {
        let (base, entry) = (self.base?, self.heap.peek()?);
        let Mark(nanos) = entry.mark;
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        if nanos < 0 { base.checked_sub(distance) } else { base.checked_add(distance) }
    }

    /// How long a poll may sleep: zero if something is due, `None` if nothing is armed.
    pub fn poll_timeout(&self, now: Instant) -> Option<Duration> {
        self.next().map(|at| at.saturating_duration_since(now))
    }

    /// How many entries wait, stale ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<K: Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Ordered by time alone, latest first, so that the standard library's max-heap hands out the earliest.
#[derive(Debug)]
struct Entry<K> {
    mark: Mark,
    key: K,
}

/// An instant in nanoseconds after the heap's base; before it where negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(i64);

impl Mark {
    /// Later than any instant.
    pub const NEVER: Mark = Mark(i64::MAX);
}

/// From one instant to another, which may be the earlier one; beyond 292 years as if it were 292.
fn nanos(from: Instant, to: Instant) -> i64 {
    let clip = |distance: Duration| {
        let secs = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
        secs.saturating_mul(1_000_000_000).saturating_add(distance.subsec_nanos().into()).min(i64::MAX - 1)
    };
    match to.checked_duration_since(from) {
        Some(after) => clip(after),
        None => -clip(from.duration_since(to)),
    }
}

impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.mark.cmp(&self.mark)
    }
}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

impl<K> Eq for Entry<K> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn keys_come_due_in_the_order_of_their_instants() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        for n in [7, 3, 9, 1, 5] {
            deadlines.arm(start + ms(n), n);
        }
        let due: Vec<u64> = std::iter::from_fn(|| deadlines.pop_due(start + ms(10))).collect();
        assert_eq!(due, [1, 3, 5, 7, 9]);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn what_is_armed_later_may_be_due_earlier() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        deadlines.arm(start + ms(10), "first");
        deadlines.arm(start + ms(3), "second");
        assert_eq!(deadlines.next(), Some(start + ms(3)));
        assert_eq!(deadlines.pop_due(start + ms(2)), None);
        assert_eq!(deadlines.pop_due(start + ms(3)), Some("second"));
        assert_eq!(deadlines.pop_due(start + ms(9)), None);
        assert_eq!(deadlines.pop_due(start + ms(10)), Some("first"));
    }

    #[test]
    fn a_key_is_due_at_its_instant_and_not_before() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        deadlines.arm(start + ms(2), 'a');
        assert_eq!(deadlines.pop_due(start + ms(1)), None);
        assert_eq!(deadlines.len(), 1);
        assert_eq!(deadlines.pop_due(start + ms(2)), Some('a'));
        assert_eq!(deadlines.pop_due(start + ms(2)), None);
    }

    #[test]
    fn the_poll_sleeps_until_the_next_entry_and_forever_without_one() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.poll_timeout(start), None);
        deadlines.arm(start + ms(4), ());
        assert_eq!(deadlines.next(), Some(start + ms(4)));
        assert_eq!(deadlines.poll_timeout(start), Some(ms(4)));
        assert_eq!(deadlines.poll_timeout(start + ms(9)), Some(Duration::ZERO));
        assert_eq!(deadlines.first(), Some(()));
        deadlines.remove_first();
        assert_eq!((deadlines.poll_timeout(start), deadlines.first()), (None, None));
    }

    #[test]
    fn an_owner_that_re_arms_lazily_never_has_two_entries() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        let mut idle_until = start + ms(10);
        deadlines.arm(idle_until, 1);
        for n in 0..1000 {
            let now = start + ms(n);
            idle_until = now + ms(10); // an octet a millisecond
            while let Some(key) = deadlines.pop_due(now) {
                if idle_until > now {
                    deadlines.arm(idle_until, key);
                }
            }
            assert_eq!(deadlines.len(), 1);
        }
    }
}
