//! Time as the protocol keeps it: eight bytes in place of the sixteen of an [`Instant`], and sums and
//! differences in one instruction each.
//!
//! [`State`](super::State) reads its caller's instants once an event; everything below it knows only
//! [`At`].

use std::time::{Duration, Instant};

/// Nanoseconds since the first input of a state. There are 584 years of them; the clock stops half-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(pub(crate) u64);

impl At {
    /// This much later; stays at the end of time once there.
    pub(crate) fn after(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The time since an earlier one.
    pub(crate) fn passed_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.since(earlier))
    }

    /// Nanoseconds since an earlier time.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// An [`At`] or none, in the same eight bytes: the end of time is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeAt(At);

impl MaybeAt {
    pub(crate) const NONE: Self = Self(At(u64::MAX));

    pub(crate) fn some(at: At) -> Self {
        Self(at)
    }

    pub(crate) fn get(self) -> Option<At> {
        (self != Self::NONE).then_some(self.0)
    }

    /// Whether there is a time, and it has come.
    pub(crate) fn is_due(self, now: At) -> bool {
        self.get().is_some_and(|at| at <= now)
    }

    /// The earlier of two times, where there are two.
    pub(crate) fn earlier(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
}

impl From<Option<At>> for MaybeAt {
    fn from(at: Option<At>) -> Self {
        at.map_or(Self::NONE, Self)
    }
}

impl Default for MaybeAt {
    fn default() -> Self {
        Self::NONE
    }
}

/// A duration in nanoseconds, or the longest there is.
pub(crate) fn nanos(duration: Duration) -> u64 {
    // Not through `as_nanos`, whose 128 bits cost more than everything else here.
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

/// Where the clock stops: there is always some time to come, whatever the caller takes for the time.
const END: At = At(u64::MAX / 2);

/// Translates between the caller's instants and [`At`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// The last instant that was read. Most often the next one is the same: a caller reads its own
    /// clock once for everything that is there to do.
    read: Option<Instant>,
    /// What that was.
    latest: At,
}

impl Clock {
    /// Reads `now`. Time never runs backwards here, whatever the caller says: queues that are in order
    /// of time are so because of that.
    pub(crate) fn read(&mut self, now: Instant) -> At {
        let read = *self.read.get_or_insert(now);
        if read < now {
            self.read = Some(now);
            self.latest = self
                .latest
                .after(nanos(now.saturating_duration_since(read)))
                .min(END);
        }
        self.latest
    }

    /// The instant of `at`; `None` when no clock will ever show it.
    pub(crate) fn instant(&self, at: At) -> Option<Instant> {
        let read = self.read?;
        if at >= self.latest {
            read.checked_add(Duration::from_nanos(at.since(self.latest)))
        } else {
            read.checked_sub(Duration::from_nanos(self.latest.since(at)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::{Add, AddAssign, Sub};

    use super::*;

    impl Add<Duration> for At {
        type Output = Self;

        fn add(self, duration: Duration) -> Self {
            self.after(nanos(duration))
        }
    }

    impl AddAssign<Duration> for At {
        fn add_assign(&mut self, duration: Duration) {
            *self = *self + duration;
        }
    }

    impl Sub for At {
        type Output = Duration;

        fn sub(self, earlier: Self) -> Duration {
            assert!(earlier <= self, "{earlier:?} is after {self:?}");
            self.passed_since(earlier)
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn time_does_not_run_backwards() {
        let mut clock = Clock::default();
        let start = start();
        let later = clock.read(start + Duration::from_secs(1));
        assert_eq!(clock.read(start), later);
        assert!(clock.read(start + Duration::from_secs(2)) > later);
    }

    #[test]
    fn instants_come_back_as_they_were() {
        let mut clock = Clock::default();
        let start = start();
        let times = [0, 1, 999, 1_000_000_007, 86_400_000_000_000].map(Duration::from_nanos);
        let read = times.map(|time| clock.read(start + time));
        for (at, time) in read.into_iter().zip(times) {
            assert_eq!(clock.instant(at), Some(start + time));
            assert_eq!(at.passed_since(read[0]), time);
        }
    }

    #[test]
    fn there_is_always_some_time_to_come() {
        let mut clock = Clock::default();
        let mut late = start();
        let mut now = clock.read(late);
        for bit in (0..u64::BITS).rev() {
            late = late
                .checked_add(Duration::from_secs(1 << bit))
                .unwrap_or(late);
            now = clock.read(late);
            assert!(now.after(nanos(Duration::from_secs(3600))) > now);
        }
        assert_eq!(now, END);
        assert_eq!(clock.instant(now.after(1 << 60)), None);
    }
}
