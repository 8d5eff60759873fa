//! Chance that can be repeated, and copied along with a network.

use std::convert::Infallible;

use rand::TryRng;

/// A generator of random numbers: xoshiro256++ by Blackman and Vigna.
///
/// Nothing here has to be kept secret, so this one is for speed: it is asked several times in every
/// event. That it can be copied is what lets a [`Network`](super::Network) be copied.
#[derive(Clone, Debug)]
pub struct Chance([u64; 4]);

impl Chance {
    /// Chance from a seed. Different seeds are different chance, however close they are.
    ///
    /// ```
    /// # use smol_gossip::sim::Chance;
    /// use rand::RngExt;
    ///
    /// let mut chance = Chance::new(1);
    /// let mut same = chance.clone();
    /// assert_eq!(chance.random::<u64>(), same.random::<u64>());
    /// ```
    pub fn new(seed: u64) -> Self {
        let mut number = seed;
        Self(std::array::from_fn(|_| {
            number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
            spread(number)
        }))
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
    }
}

/// Spreads a number over all 64 bits (the finalizer of SplitMix64).
pub(super) fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn numbers_are_spread_and_repeatable() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            std::array::from_fn::<u32, 8, _>(|_| chance.random_range(0..1000))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mut chance = Chance::new(1);
        let heads = (0..10_000).filter(|_| chance.random_bool(0.5)).count();
        assert!((4_800..5_200).contains(&heads), "{heads}");
    }
}
