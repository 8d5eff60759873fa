//! Tests of the broadcast layer, with what they share.

#![expect(
    clippy::disallowed_methods,
    reason = "one base for offsets; no test waits for a clock"
)]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};

use super::*;

/// The beginning of time in all tests.
pub(super) fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}
