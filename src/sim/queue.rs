//! What is going to happen, in order of time.

use std::{collections::BTreeMap, mem};

use super::Time;

/// Bits of a time that do not matter for the slot of an event.
const TICK_BITS: u32 = 9;

/// Bits of a time that do not matter for its block.
const BLOCK_BITS: u32 = TICK_BITS + 9;

/// As many as two blocks have.
const SLOTS: usize = 2 << (BLOCK_BITS - TICK_BITS);

/// A slot that held more than this gives its memory back once it is empty.
const KEPT_CAPACITY: usize = 1 << 7;

/// A queue of events by time; events of one time come out in the order in which they went in.
///
/// It is a calendar. Time is cut into ticks of half a millisecond, and these into blocks of
/// a quarter of a second. The events of this block and the next one lie in a ring of slots, one for
/// each tick; those of a later block lie together until the block before it begins. The events of a
/// tick are sorted once it comes, and are then the *present*. So nearly all are put down once, and
/// sorted among the few of their tick.
///
/// The runtime's timer wheel has links and generations in every entry for the sake of cancelling;
/// this one holds an event of 8 bytes in 16.
#[derive(Clone, Debug)]
pub(super) struct Queue<T> {
    /// The time of the last event.
    now: Time,
    len: usize,
    /// The events before `tick`, in order. Those before `next` have happened.
    present: Vec<(Time, T)>,
    next: usize,
    /// The first tick that is not part of the present.
    tick: u64,
    /// The events from there on and before `near`. Each is in the slot of its tick.
    slots: Vec<Vec<(Time, T)>>,
    /// Which slots hold anything.
    occupied: [u64; SLOTS / 64],
    /// The end of the block after that of `tick`.
    near: Time,
    /// All other events, by their blocks.
    far: BTreeMap<u64, Vec<(Time, T)>>,
}

impl<T: Copy> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            len: 0,
            present: Vec::new(),
            next: 0,
            tick: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            occupied: [0; SLOTS / 64],
            near: 2 << BLOCK_BITS,
            far: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an event; one of the past happens at once, behind what else does.
    #[inline]
    pub(super) fn push(&mut self, at: Time, event: T) {
        self.len += 1;
        if at >> TICK_BITS >= self.tick && at < self.near {
            self.push_near(at, event);
        } else {
            self.push_elsewhere(at, event);
        }
    }

    /// The next event that happens up to `end`, and its time. Where there is none, time has come
    /// to `end`, and what is put in from then on happens no earlier.
    #[inline]
    pub(super) fn pop_until(&mut self, end: Time) -> Option<(Time, T)> {
        if self.next == self.present.len() {
            self.fill_present(end);
        }
        let (at, event) = *self.present.get(self.next).filter(|(at, _)| *at <= end)?;
        self.next += 1;
        self.len -= 1;
        self.now = at;
        Some((at, event))
    }

    #[inline(never)]
    fn push_elsewhere(&mut self, at: Time, event: T) {
        let at = at.max(self.now);
        if at >> TICK_BITS < self.tick {
            let to_come = self.present.get(self.next..).unwrap_or(&[]);
            let place = self.next + to_come.partition_point(|(other, _)| *other <= at);
            self.present.insert(place, (at, event));
        } else if at < self.near {
            self.push_near(at, event);
        } else {
            self.far
                .entry(at >> BLOCK_BITS)
                .or_default()
                .push((at, event));
        }
    }

    #[inline]
    fn push_near(&mut self, at: Time, event: T) {
        let slot = slot_of(at >> TICK_BITS);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.slots[slot].push((at, event));
    }

    /// Goes on to the next events, unless they are after `end`.
    #[inline(never)]
    fn fill_present(&mut self, end: Time) {
        let mut next = self.next_tick();
        if next.is_none()
            && let Some((block, _)) = self.far.first_key_value()
            && *block <= end >> BLOCK_BITS
        {
            self.enter(*block << (BLOCK_BITS - TICK_BITS));
            next = self.next_tick();
        }
        let Some(tick) = next.filter(|tick| *tick <= end >> TICK_BITS) else {
            return;
        };
        let slot = slot_of(tick);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        let mut events = mem::take(&mut self.slots[slot]);
        if events.len() > 1 {
            events.sort_by_key(|(at, _)| *at);
        }
        // The memory goes round.
        let mut before = mem::replace(&mut self.present, events);
        self.next = 0;
        if before.capacity() <= KEPT_CAPACITY {
            before.clear();
            self.slots[slot] = before;
        }
        self.enter(tick + 1);
    }

    /// The first tick whose slot holds anything.
    fn next_tick(&self) -> Option<u64> {
        let first = slot_of(self.tick);
        let before = (1 << (first % 64)) - 1;
        let rest = self.occupied[first / 64] & !before;
        let slot = if rest != 0 {
            first / 64 * 64 + rest.trailing_zeros() as usize
        } else {
            let words = 1..=self.occupied.len();
            let mut words = words.map(|step| (first / 64 + step) % self.occupied.len());
            let word = words.find(|word| self.occupied[*word] != 0)?;
            word * 64 + self.occupied[word].trailing_zeros() as usize
        };
        Some(self.tick + (slot.wrapping_sub(first) % SLOTS) as u64)
    }

    /// Makes this the first tick that is not part of the present. Nothing lies before it.
    #[inline]
    fn enter(&mut self, tick: u64) {
        self.tick = tick;
        let near = end_of_next_block(tick);
        if near > self.near {
            self.near = near;
            self.fetch();
        }
    }

    /// Fetches what has come near.
    fn fetch(&mut self) {
        while let Some(block) = self.far.first_entry()
            && *block.key() < self.near >> BLOCK_BITS
        {
            for (at, event) in block.remove() {
                self.push_near(at, event);
            }
        }
    }
}

/// The slot of a tick, of two blocks.
fn slot_of(tick: u64) -> usize {
    tick as usize % SLOTS
}

/// The end of the block after that of a tick.
fn end_of_next_block(tick: u64) -> Time {
    let block = tick >> (BLOCK_BITS - TICK_BITS);
    (block + 2).saturating_mul(1 << BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_of_arrival() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut queue = Queue::new();
        let mut model = BTreeMap::new();
        let mut now = 0;
        for count in 0..100_000u32 {
            if rng.random_bool(0.55) {
                let at = now + (rng.random::<u64>() >> rng.random_range(1..=60));
                queue.push(at, count);
                model.insert((at, count), ());
            } else if let Some((at, event)) = queue.pop_until(u64::MAX) {
                let ((expected_at, expected), ()) = model.pop_first().unwrap();
                assert_eq!((at, event), (expected_at, expected));
                // Some of what is far ahead is taken out: else nothing near is left to come.
                now = at;
            }
            assert_eq!(queue.len(), model.len());
        }
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut queue = Queue::new();
        queue.push(10, "a");
        queue.push(1_000_000, "b");
        assert_eq!(queue.pop_until(9), None);
        assert_eq!(queue.pop_until(10), Some((10, "a")));
        assert_eq!(queue.pop_until(999_999), None);
        queue.push(999_999, "c");
        assert_eq!(queue.pop_until(1_000_000), Some((999_999, "c")));
        assert_eq!(queue.pop_until(1_000_000), Some((1_000_000, "b")));
    }
}
