//! Waiting times: jitter, growth, and sums that saturate.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// What "never" is worth where a sum of times cannot be represented.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The time, or where that is the end of what instants can tell, one before it.
/// There is always some time to come, whatever the caller takes for the time.
pub(super) fn with_future(now: Instant) -> Instant {
    const LONGEST: Duration = Duration::from_secs(200 * 365 * 24 * 3600);
    match now.checked_add(LONGEST) {
        Some(_) => now,
        None => now.checked_sub(LONGEST).unwrap_or(now),
    }
}

/// `now` and `wait` later, whatever a configuration says.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    let later = now.checked_add(wait).or_else(|| now.checked_add(FAR));
    later.unwrap_or(now)
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
