//! Time as the broadcast layer keeps it: eight bytes an entry instead of the sixteen of an
//! [`Instant`].

use std::time::{Duration, Instant};

/// Nanoseconds since the state's first input. Enough for 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At(pub(super) u64);

impl At {
    /// This much later; stays at the end of time once there.
    pub(super) fn after(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since an earlier time.
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// An [`At`] or none, in the same eight bytes: the end of time is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaybeAt(At);

impl MaybeAt {
    pub(super) const NONE: Self = Self(At(u64::MAX));

    pub(super) fn some(at: At) -> Self {
        Self(at)
    }

    pub(super) fn get(self) -> Option<At> {
        (self != Self::NONE).then_some(self.0)
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

/// The earlier of two times, where there are two.
pub(super) fn earliest(one: Option<At>, other: Option<At>) -> Option<At> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A duration in nanoseconds, or the longest there is.
pub(super) fn nanos(duration: Duration) -> u64 {
    // Not through `as_nanos`, whose 128 bits cost more than everything else here.
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

/// Translates between the caller's instants and [`At`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// The last instant that was read. Most often the next one is the same: a caller reads its own
    /// clock once for everything that is there to do.
    read: Option<Instant>,
    /// What that was.
    latest: At,
    /// What was translated last. Most often it is asked for again.
    translated: Option<(At, Instant)>,
}

impl Clock {
    /// Reads `now`. Time never runs backwards here, whatever the caller says: the queues of this
    /// layer are in order because of that.
    pub(super) fn read(&mut self, now: Instant) -> At {
        let read = *self.read.get_or_insert(now);
        if read < now {
            self.read = Some(now);
            self.latest = self
                .latest
                .after(nanos(now.saturating_duration_since(read)));
        }
        self.latest
    }

    /// The instant of `at`; `None` when no clock will ever show it.
    pub(super) fn instant(&mut self, at: At) -> Option<Instant> {
        match self.translated {
            Some((known, instant)) if known == at => Some(instant),
            _ => {
                let read = self.read?;
                let instant = if at >= self.latest {
                    read.checked_add(Duration::from_nanos(at.since(self.latest)))?
                } else {
                    read.checked_sub(Duration::from_nanos(self.latest.since(at)))?
                };
                self.translated = Some((at, instant));
                Some(instant)
            }
        }
    }
}

/// How often something may be done: `rate` times a second on average, and no more than `rate`
/// times at once.
///
/// It is the generic cell rate algorithm: the only state is the time at which the allowance will
/// be whole again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    whole_at: At,
}

impl Allowance {
    /// Uses up one, if there is one.
    pub(super) fn take(&mut self, rate: u32, now: At) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let Some(cost) = SECOND.checked_div(u64::from(rate)) else {
            return false;
        };
        let whole_at = self.whole_at.max(now).after(cost);
        let granted = whole_at <= now.after(SECOND);
        if granted {
            self.whole_at = whole_at;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_grows_back() {
        let mut allowance = Allowance::default();
        let at_once = (0..100).filter(|_| allowance.take(10, At(0))).count();
        assert_eq!(at_once, 10);
        let half_a_second_later = (0..100)
            .filter(|_| allowance.take(10, At(500_000_000)))
            .count();
        assert_eq!(half_a_second_later, 5);
        let much_later = (0..100)
            .filter(|_| allowance.take(10, At(9_000_000_000)))
            .count();
        assert_eq!(much_later, 10);
    }

    #[test]
    fn an_allowance_of_nothing_and_of_everything() {
        assert!(!Allowance::default().take(0, At(0)));
        let mut allowance = Allowance::default();
        assert!((0..10_000).all(|_| allowance.take(u32::MAX, At(0))));
        assert!(Allowance::default().take(1, At(u64::MAX)));
    }

    #[test]
    fn time_does_not_run_backwards() {
        let mut clock = Clock::default();
        let start = crate::proto::plumtree::tests::start();
        let later = clock.read(start + Duration::from_secs(1));
        assert_eq!(clock.read(start), later);
        assert_eq!(clock.instant(At(u64::MAX)).is_some(), {
            let origin = start + Duration::from_secs(1);
            origin.checked_add(Duration::from_nanos(u64::MAX)).is_some()
        });
    }
}
