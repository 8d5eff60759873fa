//! Waiting times: jitter, growth, and sums that saturate.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// What "never" is worth where a sum of times cannot be represented.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// `now` and `wait` later, whatever a configuration says.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}

/// `base` doubled `times` times, and at most `cap`.
pub(super) fn doubled(base: Duration, times: u8, cap: Duration) -> Duration {
    let factor = 1u32.checked_shl(times.into()).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(cap)
}

/// A quarter more or less than `wait`, so that nodes which failed together do not retry together.
pub(super) fn jittered(wait: Duration, rng: &mut impl Rng) -> Duration {
    part(wait, 192..=320, rng)
}

/// A random part of `wait`, given in 256ths.
pub(super) fn part(
    wait: Duration,
    range: std::ops::RangeInclusive<u32>,
    rng: &mut impl Rng,
) -> Duration {
    (wait / 256).saturating_mul(rng.random_range(range))
}
