//! Hashing of maps that peers can feed.
//!
//! What a peer may choose freely (its own identity, the ids in IHave and Graft messages) is hashed
//! with SipHash under secret keys, so that nobody can aim for one bucket. The keys come from the
//! node's generator, as all chance does.

use std::hash::BuildHasher;

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
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}
