//! What is going to happen, in order of time.

use std::{cmp::Reverse, mem};

use super::Time;

/// Bits of a time that one level decides.
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// 66 bits: all times there are.
const LEVELS: usize = 11;

/// A slot that held more than this gives its memory back once it is empty.
const KEPT_CAPACITY: usize = 1 << 7;

/// As many events are put in order by sorting them. Where there are more, they are first told apart
/// by one digit more.
const SORTED: usize = 1 << 6;

/// A queue of events by time; events of one time come out in the order in which they went in.
///
/// It is a radix heap: an event lies on the level of the highest digit in which its time differs
/// from the base, in the slot of that digit. Nothing is ever put in the past, so an event only
/// moves down, at most once per level. The next slot becomes the *present* as soon as it holds so
/// few events that they are best sorted: with many nodes most events move once or twice, with few
/// hardly ever. The runtime's timer wheel works alike, but has a tick of a millisecond, and links
/// and generations in every entry for the sake of cancelling; this one holds an event of 8 bytes
/// in 16.
#[derive(Clone, Debug)]
pub(super) struct Queue<T> {
    /// The time of the last event.
    now: Time,
    /// What the slots are told apart by.
    ///
    /// Invariant: no event in a slot is earlier.
    base: Time,
    len: usize,
    /// Which slots of each level hold anything.
    occupied: [u64; LEVELS],
    slots: Vec<Vec<(Time, T)>>,
    /// The events before `horizon`, the next one last.
    present: Vec<(Time, T)>,
    horizon: Time,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            base: 0,
            len: 0,
            occupied: [0; LEVELS],
            slots: (0..LEVELS * SLOTS).map(|_| Vec::new()).collect(),
            present: Vec::new(),
            horizon: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an event; one of the past happens at once, behind what else does.
    pub(super) fn push(&mut self, at: Time, event: T) {
        self.len += 1;
        let at = at.max(self.now);
        if at >= self.horizon {
            self.place(at, event);
            return;
        }
        let place = self.present.partition_point(|(later, _)| *later > at);
        self.present.insert(place, (at, event));
        if self.present.len() > 4 * SORTED {
            // Too many to be moved aside for each.
            self.base = self.now;
            self.horizon = self.now;
            let present = mem::take(&mut self.present);
            for (at, event) in present.into_iter().rev() {
                self.place(at, event);
            }
        }
    }

    /// The next event that happens up to `end`, and its time. Where there is none, time has come
    /// to `end`, and what is put in from then on happens no earlier.
    pub(super) fn pop_until(&mut self, end: Time) -> Option<(Time, T)> {
        loop {
            if let Some((at, _)) = self.present.last() {
                if *at > end {
                    return None;
                }
                let (at, event) = self.present.pop()?;
                self.len -= 1;
                self.now = at;
                return Some((at, event));
            }
            let level = self.occupied.iter().position(|slots| *slots != 0)?;
            let digit = self.occupied[level].trailing_zeros() as usize;
            let start = self.start_of(level, digit);
            if start > end {
                return None;
            }
            self.open(level, digit, start);
        }
    }

    /// Makes a slot the present, or spreads it over the levels below.
    fn open(&mut self, level: usize, digit: usize, start: Time) {
        self.base = start;
        self.horizon = start;
        self.occupied[level] &= !(1 << digit);
        let mut slot = mem::take(&mut self.slots[level * SLOTS + digit]);
        if level == 0 || slot.len() <= SORTED {
            // From the back, so that events of one time stay in order.
            self.present.extend(slot.drain(..).rev());
            self.present.sort_by_key(|(at, _)| Reverse(*at));
            let len = 1u64.checked_shl(LEVEL_BITS * level as u32);
            // What comes at the time of many events at once does not have to be put among them.
            self.horizon = match len {
                _ if level == 0 => start,
                Some(len) => start.saturating_add(len),
                None => Time::MAX,
            };
        } else {
            for (at, event) in slot.drain(..) {
                self.place(at, event);
            }
        }
        if slot.capacity() <= KEPT_CAPACITY {
            self.slots[level * SLOTS + digit] = slot;
        }
    }

    /// The first time that belongs to a slot.
    fn start_of(&self, level: usize, digit: usize) -> Time {
        let shift = LEVEL_BITS * level as u32;
        let above = match shift + LEVEL_BITS {
            bits @ ..Time::BITS => self.base >> bits << bits,
            _ => 0,
        };
        above | (digit as Time) << shift
    }

    fn place(&mut self, at: Time, event: T) {
        let differing = (self.base ^ at) | 1;
        let level = (differing.ilog2() / LEVEL_BITS) as usize;
        let digit = (at >> (LEVEL_BITS * level as u32)) as usize % SLOTS;
        self.occupied[level] |= 1 << digit;
        self.slots[level * SLOTS + digit].push((at, event));
    }
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
