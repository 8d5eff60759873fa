//! A hierarchical timer wheel.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use slab::Slab;

/// Bits of a tick that one level decides.
const LEVEL_BITS: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << LEVEL_BITS;
/// Levels with 64 slots each: 64^6 ms, a little over two years.
const LEVELS: usize = 6;
/// The level after the last: one list of everything beyond the wheel's range.
const BEYOND: usize = LEVELS;
/// Ends a list.
const NONE: u32 = u32::MAX;
const NANOS_PER_TICK: u32 = 1_000_000;

/// Timers in deadline order: O(1) to insert, cancel and move.
///
/// Time advances in ticks of one millisecond, counted from the `origin` given to
/// [`new`](TimerWheel::new). A timer never fires early and at most one tick after its deadline.
/// Timers fire in deadline order; timers of the same tick fire in the order they were inserted.
/// A deadline that has already passed when it is inserted counts as due at the wheel's present
/// tick, behind what is due there already.
///
/// The wheel's time is the latest `now` given to [`pop_expired`](TimerWheel::pop_expired); an
/// earlier `now` later on changes nothing.
///
/// Memory of timers that are gone is kept for the next ones.
///
/// Absent on purpose: the wheel reads no clock and wakes nobody. Ask
/// [`next_deadline`](TimerWheel::next_deadline), sleep, and pop.
///
/// ```
/// use std::time::{Duration, Instant};
/// use smol_gossip_runtime::TimerWheel;
///
/// let start = Instant::now();
/// let mut wheel = TimerWheel::new(start);
/// wheel.insert(start + Duration::from_millis(20), "second");
/// wheel.insert(start + Duration::from_millis(10), "first");
///
/// let later = start + Duration::from_millis(30);
/// assert_eq!(wheel.pop_expired(later), Some("first"));
/// assert_eq!(wheel.pop_expired(later), Some("second"));
/// assert_eq!(wheel.pop_expired(later), None);
/// ```
// The level of a timer is the highest 6-bit digit in which its tick differs from `elapsed`, its
// slot that digit of its tick.
//
// Invariant: this holds for every entry between calls, so an entry's place is computed and not
// stored. `elapsed` only moves past a slot's start by emptying the slot into lower levels.
//
// Invariant: whatever sits on a level is due before everything on the levels above it.
//
// Insertion order at equal ticks follows: an entry can only be put on a lower level than an older
// one of the same tick after the older one's slot has been emptied down to that level, in order.
pub struct TimerWheel<T> {
    origin: Instant,
    elapsed: u64,
    /// Which slots hold anything; the last is the list beyond the range, at bit 0.
    occupied: [u64; LEVELS + 1],
    /// Allocated when a level is first used.
    levels: [Option<Box<[List; SLOTS]>>; LEVELS],
    beyond: List,
    entries: Slab<Entry<T>>,
    next_generation: NonZeroU32,
}

/// Names one timer of a [`TimerWheel`].
///
/// A key goes stale when its timer fires or is cancelled. A stale key is harmless: every call
/// answers that it knows no such timer, also after its storage was taken by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: NonZeroU32,
}

impl<T> TimerWheel<T> {
    /// Creates an empty wheel whose ticks count from `origin`.
    ///
    /// It allocates nothing before the first insert.
    ///
    /// ```
    /// use std::time::Instant;
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let wheel = TimerWheel::<()>::new(Instant::now());
    /// assert!(wheel.is_empty());
    /// ```
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            elapsed: 0,
            occupied: [0; LEVELS + 1],
            levels: Default::default(),
            beyond: List::EMPTY,
            entries: Slab::new(),
            next_generation: NonZeroU32::MIN,
        }
    }

    /// How many timers are waiting.
    ///
    /// ```
    /// use std::time::Instant;
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// wheel.insert(start, "due");
    /// assert_eq!(wheel.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is waiting.
    ///
    /// ```
    /// use std::time::Instant;
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// wheel.insert(start, "due");
    /// assert!(!wheel.is_empty());
    /// wheel.pop_expired(start);
    /// assert!(wheel.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a timer. Any deadline is accepted: one that has passed fires at the next pop.
    ///
    /// # Panics
    ///
    /// If the wheel already holds 2^32 - 1 timers.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// let key = wheel.insert(start + Duration::from_secs(60), "shuffle");
    /// assert_eq!(wheel.get(key), Some(&"shuffle"));
    /// ```
    pub fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let index = u32::try_from(self.entries.vacant_key())
            .ok()
            .filter(|index| *index != NONE)
            .expect("a timer wheel holds fewer than 2^32 timers");
        let generation = self.next_generation;
        self.next_generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.entries.insert(Entry {
            tick: self.tick_due(deadline),
            generation,
            next: NONE,
            previous: NONE,
            value,
        });
        self.link(index);
        TimerKey { index, generation }
    }

    /// Removes a timer and returns its value, or `None` if it has fired or was cancelled before.
    ///
    /// ```
    /// use std::time::Instant;
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// let key = wheel.insert(start, 7);
    /// assert_eq!(wheel.cancel(key), Some(7));
    /// assert_eq!(wheel.cancel(key), None);
    /// ```
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.entry(key)?;
        self.unlink(key.index);
        Some(self.entries.remove(key.index as usize).value)
    }

    /// Moves a timer to another deadline; its key stays valid. Returns `false` if the key is stale.
    ///
    /// A moved timer queues behind the others of its new tick, as if it were inserted now.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// let key = wheel.insert(start, "moved");
    /// assert!(wheel.reset(key, start + Duration::from_millis(5)));
    /// assert_eq!(wheel.pop_expired(start), None);
    /// ```
    pub fn reset(&mut self, key: TimerKey, deadline: Instant) -> bool {
        if self.entry(key).is_none() {
            return false;
        }
        self.unlink(key.index);
        self.entries[key.index as usize].tick = self.tick_due(deadline);
        self.link(key.index);
        true
    }

    /// When a timer is due: its deadline rounded up to the wheel's tick, or `None` if the key is
    /// stale.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// let key = wheel.insert(start + Duration::from_micros(4_200), ());
    /// assert_eq!(wheel.deadline(key), Some(start + Duration::from_millis(5)));
    /// ```
    pub fn deadline(&self, key: TimerKey) -> Option<Instant> {
        Some(self.instant(self.entry(key)?.tick))
    }

    /// The value of a timer, or `None` if the key is stale.
    ///
    /// ```
    /// use std::time::Instant;
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// let key = wheel.insert(start, "due");
    /// assert_eq!(wheel.get(key), Some(&"due"));
    /// wheel.pop_expired(start);
    /// assert_eq!(wheel.get(key), None);
    /// ```
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        Some(&self.entry(key)?.value)
    }

    /// When to look next, or `None` if no timer is waiting.
    ///
    /// Never later than the earliest timer is due. It may be earlier after a cancel or a reset; a
    /// pop at that time finds nothing and makes the next answer exact. After a pop that found
    /// nothing the answer lies after that pop's `now`, so a loop of sleeping and popping rests.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// assert_eq!(wheel.next_deadline(), None);
    /// wheel.insert(start + Duration::from_secs(3), ());
    /// assert_eq!(wheel.next_deadline(), Some(start + Duration::from_secs(3)));
    /// ```
    pub fn next_deadline(&self) -> Option<Instant> {
        let (level, slot) = self.first_slot()?;
        Some(self.instant(self.list(level, slot).earliest))
    }

    /// Removes the first timer that is due at `now` and returns its value, or `None` if there is
    /// none. Call it until it answers `None`.
    ///
    /// Timers may be inserted between two pops; one that is due joins those still to be popped.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use smol_gossip_runtime::TimerWheel;
    ///
    /// let start = Instant::now();
    /// let mut wheel = TimerWheel::new(start);
    /// wheel.insert(start + Duration::from_millis(2), "a");
    /// assert_eq!(wheel.pop_expired(start + Duration::from_millis(1)), None);
    /// assert_eq!(wheel.pop_expired(start + Duration::from_millis(2)), Some("a"));
    /// ```
    pub fn pop_expired(&mut self, now: Instant) -> Option<T> {
        let now = self.tick_passed(now).max(self.elapsed);
        while let Some((level, slot)) = self.first_slot() {
            let start = self.slot_start(level, slot);
            if start > now {
                break;
            }
            self.elapsed = start;
            if level == 0 {
                let index = self.list(level, slot).head;
                self.unlink(index);
                return Some(self.entries.remove(index as usize).value);
            }
            self.cascade(level, slot);
        }
        self.elapsed = now;
        None
    }
}

impl<T> fmt::Debug for TimerWheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerWheel")
            .field("len", &self.len())
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

/// A timer, linked into the list of its slot.
struct Entry<T> {
    tick: u64,
    generation: NonZeroU32,
    next: u32,
    previous: u32,
    value: T,
}

/// The timers of a slot, oldest first.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    /// Invariant: no timer of the list has an earlier tick. Exact until one is taken out.
    earliest: u64,
}

impl List {
    const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        earliest: u64::MAX,
    };
}

impl<T> TimerWheel<T> {
    fn entry(&self, key: TimerKey) -> Option<&Entry<T>> {
        self.entries
            .get(key.index as usize)
            .filter(|entry| entry.generation == key.generation)
    }

    /// The tick at which a deadline fires: rounded up, since a timer must not be early, and not
    /// before the present, since the slots of the past are never looked at again.
    fn tick_due(&self, deadline: Instant) -> u64 {
        let (seconds, nanos) = self.since_origin(deadline);
        ticks(seconds, nanos.div_ceil(NANOS_PER_TICK)).max(self.elapsed)
    }

    /// The last tick that has begun at `now`.
    fn tick_passed(&self, now: Instant) -> u64 {
        let (seconds, nanos) = self.since_origin(now);
        ticks(seconds, nanos / NANOS_PER_TICK)
    }

    fn since_origin(&self, instant: Instant) -> (u64, u32) {
        let since = instant.saturating_duration_since(self.origin);
        (since.as_secs(), since.subsec_nanos())
    }

    fn instant(&self, tick: u64) -> Instant {
        // A tick comes from an instant, so it can only overflow by the rounding, within a
        // millisecond of the last instant there is.
        self.origin
            .checked_add(Duration::from_millis(tick))
            .unwrap_or(self.origin)
    }

    /// The slot with the earliest timers.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick that belongs to a slot.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = LEVEL_BITS * level as u32;
        if level == BEYOND {
            // Straight to the stretch of two years that the earliest falls in, however many
            // empty ones lie between.
            return self.beyond.earliest >> shift << shift;
        }
        let above = shift + LEVEL_BITS;
        (self.elapsed >> above << above) | ((slot as u64) << shift)
    }

    fn place(&self, tick: u64) -> (usize, usize) {
        let differing = (self.elapsed ^ tick) | 1;
        let level = ((differing.ilog2() / LEVEL_BITS) as usize).min(BEYOND);
        if level == BEYOND {
            return (BEYOND, 0);
        }
        let digit = tick >> (LEVEL_BITS * level as u32);
        (level, digit as usize % SLOTS)
    }

    fn list(&self, level: usize, slot: usize) -> List {
        if level == BEYOND {
            return self.beyond;
        }
        self.levels[level]
            .as_ref()
            .map_or(List::EMPTY, |lists| lists[slot])
    }

    fn list_mut(&mut self, level: usize, slot: usize) -> &mut List {
        if level == BEYOND {
            return &mut self.beyond;
        }
        let lists = self.levels[level].get_or_insert_with(|| Box::new([List::EMPTY; SLOTS]));
        &mut lists[slot]
    }

    /// Appends an entry to the list its tick belongs to.
    fn link(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        let (level, slot) = self.place(tick);
        self.occupied[level] |= 1 << slot;
        let list = self.list_mut(level, slot);
        let previous = list.tail;
        list.tail = index;
        list.earliest = list.earliest.min(tick);
        if previous == NONE {
            list.head = index;
        } else {
            self.entries[previous as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.previous = previous;
        entry.next = NONE;
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, index: u32) {
        let Entry {
            tick,
            next,
            previous,
            ..
        } = self.entries[index as usize];
        let (level, slot) = self.place(tick);
        if previous != NONE {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        let list = self.list_mut(level, slot);
        if previous == NONE {
            list.head = next;
        }
        if next == NONE {
            list.tail = previous;
        }
        if list.head == NONE {
            *list = List::EMPTY;
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// Distributes a slot that has begun over the levels below, in order.
    fn cascade(&mut self, level: usize, slot: usize) {
        self.occupied[level] &= !(1 << slot);
        let list = std::mem::replace(self.list_mut(level, slot), List::EMPTY);
        let mut index = list.head;
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }
}

fn ticks(seconds: u64, millis: u32) -> u64 {
    seconds
        .saturating_mul(1_000)
        .saturating_add(u64::from(millis))
}

#[cfg(test)]
mod tests;
