//! The stamps of what was sent: none is given twice, and what comes back with one is known.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{Author, Replay, Stamp};

/// So many stamps are kept: more than others remember of an author, so that a stamp that is no
/// longer kept is one that they would refuse in any case.
const KEPT: usize = 16 * 1024;

/// By so much the clock may be set back, and stamps still go on behind the last one. Others accept
/// what is a little ahead, and the order stays. Beyond it they would take what we send for the
/// future, for as long as the clock takes to get there again.
const SMALL_STEP_BACK: Duration = Duration::from_secs(5);

/// What a sender and its clones have sent.
#[derive(Debug)]
pub(super) struct Sent {
    author: Author,
    stamps: Mutex<Stamps>,
}

impl Sent {
    pub(super) fn new(author: Author) -> Self {
        Self {
            author,
            stamps: Mutex::default(),
        }
    }

    /// A stamp for a message that is sent now: one that no other has.
    pub(super) fn stamp(&self, now: Stamp) -> Stamp {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.next(now)
    }

    /// Whether a message can be another's, which includes what the same author has sent elsewhere.
    pub(super) fn look(&self, author: Author, stamp: Stamp) -> Result<(), Replay> {
        if author != self.author {
            return Ok(());
        }
        let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if stamps.kept.binary_search(&stamp).is_ok() {
            return Err(Replay::Repeated);
        }
        match stamps.forgotten {
            Some(forgotten) if stamp <= forgotten => Err(Replay::Stale),
            _ => Ok(()),
        }
    }
}

#[derive(derive_more::Debug, Default)]
struct Stamps {
    last: Option<Stamp>,
    /// The largest of those that were given, in order.
    #[debug("{}", kept.len())]
    kept: VecDeque<Stamp>,
    /// The largest of those that there was no more room for.
    forgotten: Option<Stamp>,
}

impl Stamps {
    fn next(&mut self, now: Stamp) -> Stamp {
        let mut next = match self.last {
            Some(last) if last <= now.plus(SMALL_STEP_BACK) => now.max(last.next()),
            _ => now,
        };
        // After a step back, the clock passes by what was given before it.
        let mut index = self.kept.partition_point(|kept| *kept < next);
        while self.kept.get(index) == Some(&next) {
            next = next.next();
            index += 1;
        }
        self.last = Some(next);
        self.kept.insert(index, next);
        if self.kept.len() > KEPT {
            self.forgotten = self.forgotten.max(self.kept.pop_front());
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::signed::ReplayGuard;

    const AUTHOR: Author = Author::from_bytes([1; 32]);
    const NOW: Stamp = Stamp::from_micros(1_700_000_000_000_000);
    const HOUR: u64 = 3_600_000_000;

    fn at(offset: u64) -> Stamp {
        Stamp::from_micros(NOW.micros() + offset)
    }

    #[test]
    fn stamps_grow_even_when_the_clock_does_not() {
        let sent = Sent::new(AUTHOR);
        assert_eq!(sent.stamp(at(5)), at(5));
        assert_eq!(sent.stamp(at(5)), at(6));
        assert_eq!(sent.stamp(at(0)), at(7));
        assert_eq!(sent.stamp(at(100)), at(100));
        // A small step back.
        assert_eq!(sent.stamp(at(5_000_000)), at(5_000_000));
        assert_eq!(sent.stamp(at(0)), at(5_000_001));
        let end = Stamp::from_micros(u64::MAX);
        assert_eq!(sent.stamp(end), end);
        assert_eq!(sent.stamp(end), end);
    }

    #[test]
    fn who_was_ahead_is_heard_again_once_the_clock_is_right() {
        let sent = Sent::new(AUTHOR);
        let mut guard = ReplayGuard::default();
        // A little ahead, so that this is accepted, and then hours.
        let early = [at(30_000_000), at(30_000_001)];
        for stamp in early {
            assert_eq!(sent.stamp(stamp), stamp);
            assert_eq!(guard.accept(AUTHOR, stamp, NOW), Ok(()));
        }
        for _ in 0..3 {
            let ahead = sent.stamp(at(2 * HOUR));
            guard.accept(AUTHOR, ahead, NOW).expect_err("it is ahead");
        }
        for n in 0..3 {
            let stamp = sent.stamp(NOW);
            assert_eq!(stamp, at(n));
            assert_eq!(guard.accept(AUTHOR, stamp, NOW), Ok(()));
        }
        // The clock comes to what was sent before.
        for n in 2..5 {
            let stamp = sent.stamp(early[0]);
            assert_eq!(stamp, at(30_000_000 + n));
            assert_eq!(guard.accept(AUTHOR, stamp, stamp), Ok(()));
        }
    }

    #[test]
    fn only_what_was_sent_here_is_known() {
        let sent = Sent::new(AUTHOR);
        assert_eq!(sent.look(AUTHOR, at(3)), Ok(()));
        for time in [3, 1, HOUR, 5] {
            sent.stamp(at(time));
        }
        for known in [3, 4, 5, HOUR] {
            assert_eq!(sent.look(AUTHOR, at(known)), Err(Replay::Repeated));
            let other = Author::from_bytes([2; 32]);
            assert_eq!(sent.look(other, at(known)), Ok(()));
        }
        for unknown in [0, 2, 6, HOUR - 1, HOUR + 1] {
            assert_eq!(sent.look(AUTHOR, at(unknown)), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_not_kept_is_still_refused() {
        let sent = Sent::new(AUTHOR);
        for _ in 0..KEPT + 100 {
            sent.stamp(NOW);
        }
        assert_eq!(sent.look(AUTHOR, at(99)), Err(Replay::Stale));
        assert_eq!(sent.look(AUTHOR, at(100)), Err(Replay::Repeated));
        let stamps = sent.stamps.lock().expect("nothing panicked");
        assert_eq!(stamps.kept.len(), KEPT);
        assert_eq!(stamps.kept.back(), stamps.last.as_ref());
    }

    proptest! {
        #[test]
        fn no_stamp_is_given_twice(
            times in prop::collection::vec(prop_oneof![0..40u64, HOUR..HOUR + 40], 0..200),
        ) {
            let sent = Sent::new(AUTHOR);
            let mut given = BTreeSet::new();
            for time in times {
                let stamp = sent.stamp(at(time));
                prop_assert!(given.insert(stamp));
                prop_assert!(stamp <= at(time).plus(SMALL_STEP_BACK).next());
            }
        }
    }
}
