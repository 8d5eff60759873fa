//! Waiting times: jitter, growth, and sums that saturate.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::proto::clock::{At, nanos};

/// `now` and `wait` later, whatever a configuration says.
pub(super) fn after(now: At, wait: Duration) -> At {
    now.after(nanos(wait))
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
