//! Where the number of a message is found by its id: the table behind the [history](super::history).

use std::hash::BuildHasher;

use crate::proto::{MessageId, hash::Keyed};

/// How many slots are looked through for each id that is forgotten, so that at most one slot of so many
/// is taken by an id that is no longer known, and half as many as a rule.
const SWEPT_PER_ID: usize = 4;

/// A hash table with open addressing from message ids to the low 32 bits of message numbers.
///
/// A slot holds 32 bits of the id's hash above the number, so an id that is not in the table is
/// told apart without a look at the queue, and the table grows without hashing anything again.
/// Zero is an empty slot; the top bit of the hash is always set.
///
/// Ids are forgotten in the order in which they came, so a number tells whether its id is still known. A
/// slot that is out of date stays until the table is swept past it, from one end to the other and in small
/// steps: to look for each of them would be a wait for memory.
///
/// Only ids that were found to be the hash of their content get in, and they are hashed under
/// secret keys; so nobody can aim for one slot, not even by grinding contents.
#[derive(Clone, Debug)]
pub(super) struct Index {
    keys: [u64; 2],
    /// Invariant: empty, or of a length that is a power of two with a slot of four free.
    slots: Vec<u64>,
    /// Slots that are not empty.
    used: usize,
    /// The number of the oldest id that is known.
    oldest: u32,
    /// Ids that are known; their numbers follow each other.
    known: usize,
    /// Where sweeping goes on.
    hand: usize,
}

impl Index {
    pub(super) fn new(keyed: &Keyed) -> Self {
        Self {
            keys: [keyed.hash_one(0u8), keyed.hash_one(1u8)],
            slots: Vec::new(),
            used: 0,
            oldest: 0,
            known: 0,
            hand: 0,
        }
    }

    /// Reads the slots of these ids, all at once as far as the processor can.
    #[inline]
    pub(super) fn touch(&self, ids: impl Iterator<Item = MessageId>) {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return;
        };
        let slots = ids.map(|id| self.slots[self.tag(&id) as usize & mask]);
        std::hint::black_box(slots.fold(0, |all, slot| all ^ slot));
    }

    /// The place of an id among those that are known, the oldest first. `is_it` looks whether the id at a
    /// place is this one.
    pub(super) fn find(&self, id: &MessageId, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let tag = self.tag(id);
        let mut slot = tag as usize & mask;
        loop {
            let content = self.slots[slot];
            if content == 0 {
                return None;
            }
            if content >> 32 == tag
                && let Some(place) = self.place(content)
                && is_it(place)
            {
                return Some(place);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Puts in an id that is not known, as the youngest.
    #[inline]
    pub(super) fn insert(&mut self, id: &MessageId) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            // Room for what is out of date as well, or it would be made anew all the time.
            let is_enough = (self.known + 1) * 8 <= self.slots.len() * 5;
            self.resize(if is_enough {
                self.slots.len()
            } else {
                (self.slots.len() * 2).max(8)
            });
        }
        let number = self.oldest.wrapping_add(self.known as u32);
        self.used += 1;
        self.known += 1;
        let content = self.tag(id) << 32 | u64::from(number);
        put(&mut self.slots, content);
    }

    /// Forgets the oldest ids, of which there must be so many.
    pub(super) fn forget(&mut self, count: usize) {
        self.oldest = self.oldest.wrapping_add(count as u32);
        self.known -= count;
        self.sweep(count.saturating_mul(SWEPT_PER_ID));
    }

    /// Gives memory back once it is far too large.
    pub(super) fn shrink(&mut self) {
        if self.known == 0 {
            self.resize(0);
        } else if self.known * 8 < self.slots.len() {
            self.resize((self.known * 2).next_power_of_two().max(8));
        }
    }

    fn tag(&self, id: &MessageId) -> u64 {
        let [first, second, ..] = id.as_bytes().as_chunks::<8>().0 else {
            return 0;
        };
        let left = u64::from_le_bytes(*first) ^ self.keys[0];
        let right = u64::from_le_bytes(*second) ^ self.keys[1];
        let product = u128::from(left) * u128::from(right);
        (((product >> 64) as u64 ^ product as u64) & 0xffff_ffff) | 1 << 31
    }

    /// The place that a slot leads to, unless it is out of date.
    fn place(&self, content: u64) -> Option<usize> {
        let place = (content as u32).wrapping_sub(self.oldest) as usize;
        (place < self.known).then_some(place)
    }

    /// Empties what is out of date in at least the next so many slots.
    fn sweep(&mut self, slots: usize) {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return;
        };
        let mut left = slots.min(self.slots.len());
        let mut has_gap = false;
        // What follows a gap without an empty slot between has to move up, so it ends at an empty one. There
        // is one among any so many slots.
        loop {
            let content = self.slots[self.hand];
            if content == 0 {
                has_gap = false;
                if left == 0 {
                    break;
                }
            } else if self.place(content).is_none() {
                self.slots[self.hand] = 0;
                self.used -= 1;
                has_gap = true;
            } else if has_gap {
                self.slots[self.hand] = 0;
                put(&mut self.slots, content);
            }
            self.hand = (self.hand + 1) & mask;
            left = left.saturating_sub(1);
        }
    }

    /// Makes a table of another length, or of the same, without what is out of date.
    fn resize(&mut self, len: usize) {
        let old = std::mem::replace(&mut self.slots, vec![0; len]);
        for content in old {
            if content != 0 && self.place(content).is_some() {
                put(&mut self.slots, content);
            }
        }
        self.used = self.known;
        self.hand = 0;
    }
}

/// Puts something into the slot that its hash wants, or into the next that is empty.
fn put(slots: &mut [u64], content: u64) {
    let mask = slots.len() - 1;
    let mut slot = (content >> 32) as usize & mask;
    while slots[slot] != 0 {
        slot = (slot + 1) & mask;
    }
    slots[slot] = content;
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn keyed(seed: u64) -> Keyed {
        Keyed::new(&mut StdRng::seed_from_u64(seed))
    }

    fn id(number: u64) -> MessageId {
        MessageId::from_content(&number.to_le_bytes())
    }

    fn find(index: &Index, known: &VecDeque<MessageId>, id: &MessageId) -> Option<usize> {
        index.find(id, |place| known[place] == *id)
    }

    proptest! {
        /// Against a queue that is looked through: what is known is found, what is forgotten is not, and
        /// neither takes more room than it should.
        #[test]
        fn like_a_queue(
            keys: u64,
            start: u32,
            steps in prop::collection::vec((0..200usize, 0..200usize, any::<bool>()), 1..60),
        ) {
            let mut index = Index::new(&keyed(keys));
            index.oldest = start;
            let mut known = VecDeque::new();
            let (mut next, mut most) = (0, 0);
            for (inserts, forgets, shrinks) in steps {
                for _ in 0..inserts {
                    prop_assert_eq!(find(&index, &known, &id(next)), None);
                    index.insert(&id(next));
                    known.push_back(id(next));
                    next += 1;
                }
                most = known.len().max(most);
                let forgets = forgets.min(known.len());
                index.forget(forgets);
                known.drain(..forgets);
                if shrinks {
                    index.shrink();
                    // Memory is given back by the quarter.
                    most = known.len() * 5 / 2;
                }
                let first = next - known.len() as u64;
                for (place, id) in known.iter().enumerate() {
                    prop_assert_eq!(find(&index, &known, id), Some(place));
                }
                for number in first.saturating_sub(300)..first {
                    prop_assert_eq!(find(&index, &known, &id(number)), None);
                }
                let used = index.slots.iter().filter(|slot| **slot != 0).count();
                prop_assert_eq!(index.used, used);
                prop_assert_eq!(index.known, known.len());
                let len = index.slots.len();
                prop_assert!(used * 4 <= len * 3);
                prop_assert!(len <= (most * 16 / 5).max(8), "{} slots, {} ids", len, most);
            }
        }
    }

    #[test]
    fn what_is_out_of_date_is_swept_in_time() {
        const KNOWN: usize = 1 << 10;
        let mut index = Index::new(&keyed(1));
        for number in 0..100 * KNOWN as u64 {
            index.insert(&id(number));
            if index.known > KNOWN {
                index.forget(1);
            }
            assert!(index.slots.len() <= 2 * KNOWN);
            assert!(index.used - index.known <= index.slots.len() / SWEPT_PER_ID);
        }
    }
}
