//! Where the number of a message is found by its id: the table behind the [history](super::history).

use std::hash::BuildHasher;

use crate::proto::{MessageId, hash::Keyed};

/// Places for ids in a bucket.
const PLACES: usize = 9;

/// How many ids there are to a bucket at the most, in the mean of all.
const FULL: usize = 5;

/// How many ids are put into a new table after a look at all of their buckets, so that the waits for memory overlap.
const TOGETHER: usize = 32;

/// A hash table in buckets, from message ids to the low 32 bits of message numbers.
///
/// A bucket is a line of the processor's cache, and looked at as a whole: where in it an id stands would be a
/// guess each time. It holds 16 bits of each id's hash beside the number, so most ids that are not in the
/// table are told apart without a look at the queue.
///
/// Ids are forgotten in the order in which they came, so a number tells whether its id is still known, and the
/// places of a bucket are taken in turn: the next is that of the oldest, and free if that is out of date. What
/// finds it taken goes into the next bucket, and leaves its number behind: as long as that is known, who
/// looks goes on there.
///
/// Only ids that were found to be the hash of their content get in, and they are hashed under
/// secret keys; so nobody can aim for one bucket, not even by grinding contents.
#[derive(Clone, Debug)]
pub(super) struct Index {
    keys: [u64; 2],
    /// Invariant: none, or as many as a power of two; and at most [`FULL`] times as many ids are known.
    buckets: Vec<Bucket>,
    /// The number of the oldest id that is known.
    oldest: u32,
    /// Ids that are known; their numbers follow each other.
    known: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    /// Of each place the tag of its id.
    tags: [u16; PLACES],
    numbers: [u32; PLACES],
    /// The number of the youngest id that found the bucket full.
    overflown: u32,
    /// The place that is taken next.
    next: u8,
}

impl Index {
    pub(super) fn new(keyed: &Keyed) -> Self {
        Self {
            keys: [keyed.hash_one(0u8), keyed.hash_one(1u8)],
            buckets: Vec::new(),
            oldest: 0,
            known: 0,
        }
    }

    /// Reads the buckets of these ids, all at once as far as the processor can.
    #[inline]
    pub(super) fn touch(&self, ids: impl Iterator<Item = MessageId>) {
        let Some(mask) = self.buckets.len().checked_sub(1) else {
            return;
        };
        let numbers = ids.map(|id| self.buckets[self.hash(&id) as usize & mask].overflown);
        std::hint::black_box(numbers.fold(0, |all, number| all ^ number));
    }

    /// The place of an id among those that are known, the oldest first. `is_it` looks whether the id at a
    /// place is this one.
    #[inline]
    pub(super) fn find(&self, id: &MessageId, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.buckets.len().checked_sub(1)?;
        let hash = self.hash(id);
        let bucket = &self.buckets[hash as usize & mask];
        // All tags, without a branch for each: the compiler makes a few vector instructions of it.
        let tag = tag(hash);
        let is_there = bucket
            .tags
            .iter()
            .fold(false, |any, one| any | (*one == tag));
        // So it is with almost all that are new.
        if !is_there && self.place(bucket.overflown).is_none() {
            return None;
        }
        self.search(hash, is_it)
    }

    /// Puts in an id that is not known, as the youngest. `id_at` says which the known ones are.
    #[inline]
    pub(super) fn insert<'a>(&mut self, id: &MessageId, id_at: impl Fn(usize) -> &'a MessageId) {
        if self.known >= self.buckets.len() * FULL {
            self.resize((self.buckets.len() * 2).max(1), id_at);
        }
        self.known += 1;
        self.put(id, self.known - 1);
    }

    /// Forgets the oldest ids, of which there must be so many.
    pub(super) fn forget(&mut self, count: usize) {
        self.oldest = self.oldest.wrapping_add(count as u32);
        self.known -= count;
    }

    /// Gives memory back once it is far too large. `id_at` says which ids are known.
    pub(super) fn shrink<'a>(&mut self, id_at: impl Fn(usize) -> &'a MessageId) {
        if self.known == 0 {
            self.buckets = Vec::new();
        } else if self.known < self.buckets.len() {
            self.resize((self.known / 2).next_power_of_two(), id_at);
        }
    }

    #[inline]
    fn hash(&self, id: &MessageId) -> u64 {
        let [first, second, ..] = id.as_bytes().as_chunks::<8>().0 else {
            return 0;
        };
        let left = u64::from_le_bytes(*first) ^ self.keys[0];
        let right = u64::from_le_bytes(*second) ^ self.keys[1];
        let product = u128::from(left) * u128::from(right);
        (product >> 64) as u64 ^ product as u64
    }

    /// What [`Self::find`] does where the bucket has more to be looked at.
    #[inline(never)]
    fn search(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.buckets.len() - 1;
        let (mut at, wanted) = (hash as usize & mask, tag(hash));
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let (words, rest) = bucket.tags.as_chunks();
            for (at, word) in words.iter().enumerate() {
                let mut same = same(*word, wanted);
                while same != 0 {
                    let number = bucket.numbers[4 * at + same.trailing_zeros() as usize / 16];
                    if let Some(place) = self.place(number)
                        && is_it(place)
                    {
                        return Some(place);
                    }
                    same &= same - 1;
                }
            }
            for (tag, number) in rest.iter().zip(&bucket.numbers[PLACES - rest.len()..]) {
                if *tag == wanted
                    && let Some(place) = self.place(*number)
                    && is_it(place)
                {
                    return Some(place);
                }
            }
            self.place(bucket.overflown)?;
            at = (at + 1) & mask;
        }
        None
    }

    /// The place that a number leads to, unless it is out of date.
    #[inline]
    fn place(&self, number: u32) -> Option<usize> {
        let place = number.wrapping_sub(self.oldest) as usize;
        (place < self.known).then_some(place)
    }

    /// Puts in the id at a place, which is younger than all that are in. There is room for it, since a bucket has
    /// more places than [`FULL`].
    #[inline]
    fn put(&mut self, id: &MessageId, place: usize) {
        let mask = self.buckets.len() - 1;
        let number = self.oldest.wrapping_add(place as u32);
        let hash = self.hash(id);
        let mut at = hash as usize & mask;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let is_taken = self.place(bucket.numbers[bucket.next()]).is_some();
            let bucket = &mut self.buckets[at];
            if !is_taken {
                bucket.take(tag(hash), number);
                break;
            }
            bucket.overflown = number;
            at = (at + 1) & mask;
        }
    }

    /// Makes a table of so many buckets, without what is out of date.
    #[cold]
    fn resize<'a>(&mut self, buckets: usize, id_at: impl Fn(usize) -> &'a MessageId) {
        let out_of_date = self.oldest.wrapping_sub(1);
        let empty = Bucket {
            tags: [0; PLACES],
            numbers: [out_of_date; PLACES],
            next: 0,
            overflown: out_of_date,
        };
        // The old ones go first: there may be megabytes of them.
        self.buckets = Vec::new();
        self.buckets = vec![empty; buckets];
        for first in (0..self.known).step_by(TOGETHER) {
            let places = first..self.known.min(first + TOGETHER);
            self.touch(places.clone().map(|place| *id_at(place)));
            for place in places {
                self.put(id_at(place), place);
            }
        }
    }
}

impl Bucket {
    /// The place that is taken next.
    #[inline]
    fn next(&self) -> usize {
        // Never so large, but the compiler should know.
        usize::from(self.next).min(PLACES - 1)
    }

    /// Puts something into the next place.
    #[inline]
    fn take(&mut self, tag: u16, number: u32) {
        let place = self.next();
        self.tags[place] = tag;
        self.numbers[place] = number;
        self.next = if place + 1 < PLACES {
            place as u8 + 1
        } else {
            0
        };
    }
}

/// What a bucket holds of a hash. The bucket is found by its other end.
fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16
}

/// Four tags as a word, the first in its lowest bits: the top bit of each that is this one, and perhaps of
/// others above such a one.
#[inline]
fn same(tags: [u16; 4], tag: u16) -> u64 {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let word = |all, one: &u16| all << 16 | u64::from(*one);
    let differs = tags.iter().rev().fold(0, word) ^ (u64::from(tag) * ONES);
    differs.wrapping_sub(ONES) & !differs & ONES << 15
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
                    index.insert(&id(next), |place| &known[place]);
                    known.push_back(id(next));
                    next += 1;
                }
                most = known.len().max(most);
                let forgets = forgets.min(known.len());
                index.forget(forgets);
                known.drain(..forgets);
                if shrinks {
                    index.shrink(|place| &known[place]);
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
                prop_assert_eq!(index.known, known.len());
                let buckets = index.buckets.len();
                prop_assert!(known.len() <= buckets * FULL);
                prop_assert!(buckets <= (most * 2).div_ceil(FULL), "{} buckets, {} ids", buckets, most);
            }
        }
    }

    #[test]
    fn a_tag_is_found_in_every_place_of_a_word() {
        for tag in [0, 1, 0x7fff, 0x8000, 0xffff] {
            for place in 0..4 {
                let mut tags = [!tag; 4];
                assert_eq!(same(tags, tag), 0, "{tag:x}");
                tags[place] = tag;
                assert_eq!(
                    same(tags, tag).trailing_zeros() as usize / 16,
                    place,
                    "{tag:x}"
                );
            }
        }
    }

    #[test]
    fn what_is_out_of_date_makes_room() {
        const KNOWN: usize = 1 << 10;
        let mut index = Index::new(&keyed(1));
        let mut known = VecDeque::new();
        let overflown = |index: &Index| {
            let buckets = index.buckets.iter();
            let is_known = |one: &&Bucket| index.place(one.overflown).is_some();
            buckets.filter(is_known).count()
        };
        let mut most = 0;
        for number in 0..50 * KNOWN as u64 {
            index.insert(&id(number), |place| &known[place]);
            known.push_back(id(number));
            if known.len() > KNOWN {
                index.forget(1);
                known.pop_front();
            }
            assert!(index.buckets.len() <= 2 * KNOWN / FULL);
            most = overflown(&index).max(most);
        }
        // Who looks for something goes on from few buckets, and from none that nobody overflows any more.
        assert!(most > 0, "none of {} is overflown", index.buckets.len());
        assert!(
            most < index.buckets.len() / 5,
            "{most} of {}",
            index.buckets.len()
        );
        index.forget(index.known);
        assert_eq!(overflown(&index), 0);
    }
}
