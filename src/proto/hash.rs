//! Hashing, by who chooses the keys of a map.
//!
//! What a peer may choose freely (its own identity, the ids in IHave and Graft messages) is hashed
//! with SipHash under secret keys, so that nobody can aim for one bucket. The keys come from the
//! node's generator, as all chance does.
//!
//! What only this node puts in (the topics that the application has joined, numbers that we gave)
//! is hashed the cheapest way: a peer can look such things up, but not fill a bucket with them.

use std::hash::{BuildHasher, Hasher};

use rand::{Rng, RngExt};
use siphasher::sip::SipHasher13;

/// Builds keyed SipHash-1-3 hashers.
#[derive(Clone, Copy)]
pub(crate) struct Keyed {
    k0: u64,
    k1: u64,
}

impl Keyed {
    /// Draws keys.
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        Self {
            k0: rng.random(),
            k1: rng.random(),
        }
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed")
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher {
            keyed: *self,
            sum: 0,
            length: 0,
        }
    }
}

/// SipHash-1-3 of one slice of bytes after the other, each under keys that depend on what came before.
///
/// Nearly everything that is hashed is one array of bytes, and all at once that takes half the time
/// of putting it together from parts.
#[derive(Clone, Copy)]
pub(crate) struct KeyedHasher {
    keyed: Keyed,
    sum: u64,
    /// One more than a number that was written, most often the length of what comes next: hashed along
    /// with that. Zero where there is none.
    length: u64,
}

impl Hasher for KeyedHasher {
    #[inline]
    fn finish(&self) -> u64 {
        let mut whole = *self;
        if self.length != 0 {
            whole.write(&[]);
        }
        whole.sum
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let Keyed { k0, k1 } = self.keyed;
        let keys = (k0 ^ self.length, k1 ^ self.sum);
        self.sum = SipHasher13::new_with_keys(keys.0, keys.1).hash(bytes);
        self.length = 0;
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        if self.length != 0 {
            self.write(&[]);
        }
        self.length = (word as u64).wrapping_add(1);
    }
}

/// Builds hashers for maps that no peer can feed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Local;

impl BuildHasher for Local {
    type Hasher = LocalHasher;

    fn build_hasher(&self) -> LocalHasher {
        LocalHasher(0)
    }
}

/// Multiplies words into each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalHasher(u64);

impl Hasher for LocalHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // The golden ratio: odd, and without a pattern in its bits.
        const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ word)
            .wrapping_add(1)
            .wrapping_mul(FACTOR);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn keyed_hashes_depend_on_everything() {
        let keyed = [1, 2].map(|seed| Keyed::new(&mut StdRng::seed_from_u64(seed)));
        let mut hashes = BTreeSet::new();
        let mut count = 0;
        for keyed in keyed {
            let mut note = |hash| {
                hashes.insert(hash);
                count += 1;
            };
            for byte in 0..32 {
                let mut id = [0u8; 32];
                id[byte] = 1;
                note(keyed.hash_one(id));
            }
            for number in 1..32usize {
                note(keyed.hash_one(number));
                note(keyed.hash_one((number, 0usize)));
                note(keyed.hash_one((0usize, number, 1u8)));
                note(keyed.hash_one((1u8, number)));
                note(keyed.hash_one(&vec![0u8; number][..]));
                note(keyed.hash_one((vec![0u8; number], vec![0u8; 32 - number])));
            }
        }
        assert_eq!(hashes.len(), count);
    }
}
