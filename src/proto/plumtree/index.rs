//! Where the number of a message is found by its id: the table behind the [history](super::history).

use std::hash::BuildHasher;

use crate::proto::{MessageId, hash::Keyed};

/// A hash table with open addressing from message ids to the low 32 bits of message numbers.
///
/// A slot holds 32 bits of the id's hash above the number, so an id that is not in the table is
/// told apart without a look at the queue, and the table grows without hashing anything again.
/// Zero is an empty slot; the top bit of the hash is always set.
///
/// Only ids that were found to be the hash of their content get in, and they are hashed under
/// secret keys; so nobody can aim for one slot, not even by grinding contents.
#[derive(Clone, Debug)]
pub(super) struct Index {
    keys: [u64; 2],
    /// Invariant: empty, or of a length that is a power of two with a slot of four free.
    slots: Vec<u64>,
    used: usize,
}

impl Index {
    pub(super) fn new(keyed: &Keyed) -> Self {
        Self {
            keys: [keyed.hash_one(0u8), keyed.hash_one(1u8)],
            slots: Vec::new(),
            used: 0,
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

    /// Reads the slots of these ids, all at once as far as the processor can.
    pub(super) fn touch(&self, ids: impl Iterator<Item = MessageId>) {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return;
        };
        let slots = ids.map(|id| self.slots[self.tag(&id) as usize & mask]);
        std::hint::black_box(slots.fold(0, |all, slot| all ^ slot));
    }

    pub(super) fn find<T>(&self, id: &MessageId, check: impl Fn(u32) -> Option<T>) -> Option<T> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let tag = self.tag(id);
        let mut place = tag as usize & mask;
        loop {
            let slot = self.slots[place];
            if slot == 0 {
                return None;
            }
            if slot >> 32 == tag
                && let Some(found) = check(slot as u32)
            {
                return Some(found);
            }
            place = (place + 1) & mask;
        }
    }

    pub(super) fn insert(&mut self, id: &MessageId, number: u32) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(8));
        }
        self.used += 1;
        let slot = self.tag(id) << 32 | u64::from(number);
        place_slot(&mut self.slots, slot);
    }

    pub(super) fn remove(&mut self, id: &MessageId, number: u32) {
        if self.slots.is_empty() {
            return;
        }
        let mask = self.slots.len() - 1;
        let tag = self.tag(id);
        let wanted = tag << 32 | u64::from(number);
        let mut hole = tag as usize & mask;
        while self.slots[hole] != wanted {
            if self.slots[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        // Close the hole: move back every later slot of the run that may stand there.
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let slot = self.slots[place];
            if slot == 0 {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = place;
            }
        }
        self.slots[hole] = 0;
        self.used -= 1;
    }

    /// Gives memory back once it is far too large for `len` ids.
    pub(super) fn shrink(&mut self, len: usize) {
        if len == 0 {
            self.slots = Vec::new();
        } else if len * 8 < self.slots.len() {
            self.resize((len * 2).next_power_of_two().max(8));
        }
    }

    fn resize(&mut self, len: usize) {
        let old = std::mem::replace(&mut self.slots, vec![0; len]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            place_slot(&mut self.slots, slot);
        }
    }
}

/// Puts a slot where its hash wants it, or in the next free place.
fn place_slot(slots: &mut [u64], slot: u64) {
    let mask = slots.len() - 1;
    let mut place = (slot >> 32) as usize & mask;
    while slots[place] != 0 {
        place = (place + 1) & mask;
    }
    slots[place] = slot;
}
