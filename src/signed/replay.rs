//! Stamps of messages, and what tells a message from one that is sent once more.
//!
//! A [`SignedTopic`](super::SignedTopic) has all this in it. By itself it is for those who get
//! signed messages in another way.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::{Duration, SystemTime},
};

use super::Author;

/// When a message was signed, in microseconds since 1970, and with that its number: no author
/// signs two messages with the same stamp, and each is larger than those before as long as nobody
/// sets the author's clock back.
///
/// Time serves as the number because it goes on growing while a program is not running, so nothing
/// has to be kept on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of this many microseconds since 1970.
    ///
    /// ```
    /// # use smol_gossip::signed::{Author, Replay, ReplayGuard, ReplayLimits, Stamp};
    /// # let (author, now) = (Author::from_bytes([1; 32]), Stamp::from_micros(1_700_000_000_000_000));
    /// assert!(Stamp::from_micros(2) > Stamp::from_micros(1));
    /// ```
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    ///
    /// ```
    /// # use smol_gossip::signed::{Author, Replay, ReplayGuard, ReplayLimits, Stamp};
    /// # let (author, now) = (Author::from_bytes([1; 32]), Stamp::from_micros(1_700_000_000_000_000));
    /// assert_eq!(Stamp::from_micros(2).micros(), 2);
    /// ```
    pub const fn micros(&self) -> u64 {
        self.0
    }

    /// The stamp of a time; that of 1970 for all that is before.
    ///
    /// ```
    /// # use smol_gossip::signed::{Author, Replay, ReplayGuard, ReplayLimits, Stamp};
    /// # let (author, now) = (Author::from_bytes([1; 32]), Stamp::from_micros(1_700_000_000_000_000));
    /// use std::time::{Duration, SystemTime};
    ///
    /// let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    /// assert_eq!(Stamp::from_system_time(time).micros(), 1_000_000);
    /// ```
    pub fn from_system_time(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Self(as_micros(since.unwrap_or_default()))
    }

    /// What the system's clock says.
    #[cfg(any(feature = "net", feature = "rpc"))]
    pub(super) fn now() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "stamps are compared between machines, which have nothing but this in common"
        )]
        Self::from_system_time(SystemTime::now())
    }

    #[cfg(any(feature = "net", feature = "rpc", test))]
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(super) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(as_micros(duration)))
    }

    fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(as_micros(duration)))
    }
}

fn as_micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

/// How a [`ReplayGuard`] judges, and how much it remembers.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::signed::ReplayLimits;
/// let mut limits = ReplayLimits::default();
/// limits.max_age = Duration::from_secs(30);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayLimits {
    /// The oldest message that is accepted; 5 minutes by default. It has to be more than messages
    /// take, and than what clocks differ by.
    pub max_age: Duration,
    /// How far an author's clock may be ahead of ours; 1 minute by default.
    pub max_ahead: Duration,
    /// Authors that are remembered, each for as long as its last message could be sent again;
    /// 1,024 by default. While there are as many, messages of others are refused.
    pub authors: usize,
    /// Messages that are remembered of each author; 256 by default. From an author who writes more
    /// than that within [`max_age`](Self::max_age), messages that are overtaken by as many others
    /// are refused.
    pub messages: usize,
}

impl Default for ReplayLimits {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(5 * 60),
            max_ahead: Duration::from_secs(60),
            authors: 1024,
            messages: 256,
        }
    }
}

/// Accepts each message of each author once.
///
/// Messages may come in any order. Those that are too old to be sure about are refused, so it
/// takes no more memory than its [`ReplayLimits`] say, and one that has only just been made, after
/// a restart for instance, is not fooled by what was sent before for longer than
/// [`max_age`](ReplayLimits::max_age).
///
/// ```
/// # use smol_gossip::signed::{Author, Replay, ReplayGuard, Stamp};
/// let mut guard = ReplayGuard::default();
/// let author = Author::from_bytes([1; 32]);
/// let (first, second) = (Stamp::from_micros(1_000_000), Stamp::from_micros(1_000_001));
/// let now = Stamp::from_micros(1_500_000);
/// assert_eq!(guard.accept(author, second, now), Ok(()));
/// assert_eq!(guard.accept(author, first, now), Ok(()));
/// assert_eq!(guard.accept(author, second, now), Err(Replay::Repeated));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReplayGuard {
    limits: ReplayLimits,
    authors: HashMap<Author, Seen>,
}

/// What was accepted of an author.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Invariant: never empty, and all larger than `forgotten`.
    stamps: BTreeSet<Stamp>,
    /// The largest stamp for which there was no more room.
    forgotten: Option<Stamp>,
}

impl ReplayGuard {
    /// A guard that has seen nothing.
    ///
    /// ```
    /// # use smol_gossip::signed::{Author, Replay, ReplayGuard, ReplayLimits, Stamp};
    /// # let (author, now) = (Author::from_bytes([1; 32]), Stamp::from_micros(1_700_000_000_000_000));
    /// let mut limits = ReplayLimits::default();
    /// limits.authors = 10;
    /// let guard = ReplayGuard::new(limits);
    /// # drop(guard);
    /// ```
    pub fn new(limits: ReplayLimits) -> Self {
        Self {
            limits,
            authors: HashMap::new(),
        }
    }

    /// Whether a message may be accepted, without accepting it.
    ///
    /// It is for a look at messages that are not verified yet: what fails here need not be.
    ///
    /// ```
    /// # use smol_gossip::signed::{Author, Replay, ReplayGuard, ReplayLimits, Stamp};
    /// # let (author, now) = (Author::from_bytes([1; 32]), Stamp::from_micros(1_700_000_000_000_000));
    /// let guard = ReplayGuard::default();
    /// assert_eq!(guard.look(author, now, now), Ok(()));
    /// assert_eq!(guard.look(author, Stamp::from_micros(0), now), Err(Replay::Stale));
    /// ```
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn look(&self, author: Author, stamp: Stamp, now: Stamp) -> Result<(), Replay> {
        if stamp < now.minus(self.limits.max_age) {
            return Err(Replay::Stale);
        }
        if stamp > now.plus(self.limits.max_ahead) {
            return Err(Replay::Ahead);
        }
        match self.authors.get(&author) {
            Some(seen) if seen.stamps.contains(&stamp) => Err(Replay::Repeated),
            Some(seen) if seen.forgotten.is_some_and(|forgotten| stamp <= forgotten) => {
                Err(Replay::Stale)
            }
            Some(_) => Ok(()),
            None if self.is_crowded(now) => Err(Replay::Crowded),
            None => Ok(()),
        }
    }

    /// Accepts a message, unless it was accepted before or could have been.
    ///
    /// Only verified messages should come here: anybody can write any author and stamp.
    ///
    /// ```
    /// # use smol_gossip::signed::{Author, Replay, ReplayGuard, ReplayLimits, Stamp};
    /// # let (author, now) = (Author::from_bytes([1; 32]), Stamp::from_micros(1_700_000_000_000_000));
    /// let mut guard = ReplayGuard::default();
    /// assert_eq!(guard.accept(author, now, now), Ok(()));
    /// assert_eq!(guard.accept(author, now, now), Err(Replay::Repeated));
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing has changed then.
    pub fn accept(&mut self, author: Author, stamp: Stamp, now: Stamp) -> Result<(), Replay> {
        if self.authors.len() >= self.limits.authors && !self.authors.contains_key(&author) {
            let oldest = now.minus(self.limits.max_age);
            self.authors.retain(|_, seen| !seen.is_over(oldest));
        }
        self.look(author, stamp, now)?;
        let seen = self.authors.entry(author).or_default();
        seen.stamps.insert(stamp);
        if seen.stamps.len() > self.limits.messages.max(1) {
            seen.forgotten = seen.stamps.pop_first();
        }
        Ok(())
    }

    fn is_crowded(&self, now: Stamp) -> bool {
        let oldest = now.minus(self.limits.max_age);
        self.authors.len() >= self.limits.authors
            && !self.authors.values().any(|seen| seen.is_over(oldest))
    }
}

impl Seen {
    /// Whether all that was accepted is refused as stale by now.
    fn is_over(&self, oldest: Stamp) -> bool {
        self.stamps.last().is_none_or(|last| *last < oldest)
    }
}

/// Why a [`ReplayGuard`] refused a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// It was accepted before.
    Repeated,
    /// It is so old that it could have been accepted and forgotten.
    Stale,
    /// It is from a future that is further away than clocks may differ.
    Ahead,
    /// Its author is new, and as many others are remembered as there is room for.
    Crowded,
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repeated => "the message was accepted before",
            Self::Stale => "the message is too old",
            Self::Ahead => "the message is from the future",
            Self::Crowded => "there are too many other authors",
        })
    }
}

impl std::error::Error for Replay {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANN: Author = Author::from_bytes([1; 32]);
    const BOB: Author = Author::from_bytes([2; 32]);

    fn at(seconds: u64) -> Stamp {
        Stamp::from_micros(seconds * 1_000_000)
    }

    fn limits() -> ReplayLimits {
        ReplayLimits {
            max_age: Duration::from_secs(100),
            max_ahead: Duration::from_secs(10),
            authors: 2,
            messages: 3,
        }
    }

    #[test]
    fn a_message_is_accepted_once_within_its_time() {
        let mut guard = ReplayGuard::new(limits());
        assert_eq!(guard.accept(ANN, at(99), at(200)), Err(Replay::Stale));
        assert_eq!(guard.accept(ANN, at(100), at(200)), Ok(()));
        assert_eq!(guard.accept(ANN, at(100), at(200)), Err(Replay::Repeated));
        assert_eq!(guard.accept(ANN, at(210), at(200)), Ok(()));
        assert_eq!(guard.accept(ANN, at(211), at(200)), Err(Replay::Ahead));
        assert_eq!(guard.accept(BOB, at(100), at(200)), Ok(()));
    }

    #[test]
    fn what_there_is_no_room_for_is_refused_and_not_accepted_twice() {
        let mut guard = ReplayGuard::new(limits());
        for stamp in [5, 7, 6, 8] {
            assert_eq!(guard.accept(ANN, at(stamp), at(9)), Ok(()));
        }
        assert_eq!(guard.accept(ANN, at(5), at(9)), Err(Replay::Stale));
        assert_eq!(guard.accept(ANN, at(4), at(9)), Err(Replay::Stale));
        assert_eq!(guard.accept(ANN, at(6), at(9)), Err(Replay::Repeated));
    }

    #[test]
    fn who_is_remembered_is_not_driven_out() {
        let carol = Author::from_bytes([3; 32]);
        let mut guard = ReplayGuard::new(limits());
        assert_eq!(guard.accept(ANN, at(50), at(50)), Ok(()));
        assert_eq!(guard.accept(BOB, at(60), at(60)), Ok(()));
        assert_eq!(guard.look(carol, at(150), at(150)), Err(Replay::Crowded));
        assert_eq!(guard.accept(carol, at(150), at(150)), Err(Replay::Crowded));
        // Ann's message is stale, whether it is remembered or not.
        assert_eq!(guard.look(carol, at(151), at(151)), Ok(()));
        assert_eq!(guard.accept(carol, at(151), at(151)), Ok(()));
        assert_eq!(guard.accept(ANN, at(50), at(151)), Err(Replay::Stale));
        assert_eq!(guard.accept(BOB, at(60), at(151)), Err(Replay::Repeated));
    }

    #[test]
    fn no_stamp_is_too_extreme() {
        let mut guard = ReplayGuard::new(ReplayLimits {
            max_age: Duration::MAX,
            max_ahead: Duration::MAX,
            authors: 1,
            messages: 0,
        });
        for stamp in [0, u64::MAX] {
            let stamp = Stamp::from_micros(stamp);
            assert!(stamp.next() >= stamp);
            assert_eq!(guard.accept(ANN, stamp, stamp), Ok(()));
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Stamp::from_system_time(before), Stamp::from_micros(0));
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_twice(
            messages in prop::collection::vec((0..4u8, 0..60u64, 0..3u64), 0..200),
        ) {
            let mut guard = ReplayGuard::new(ReplayLimits {
                max_age: Duration::from_secs(20),
                ..limits()
            });
            let mut accepted = BTreeSet::new();
            let mut now = 0;
            for (author, stamp, later) in messages {
                now += later;
                let author = Author::from_bytes([author; 32]);
                let looked = guard.look(author, at(stamp), at(now));
                let judged = guard.accept(author, at(stamp), at(now));
                prop_assert_eq!(looked, judged);
                if judged.is_ok() {
                    prop_assert!(accepted.insert((author, stamp)));
                }
                prop_assert!(guard.authors.len() <= 2);
                prop_assert!(guard.authors.values().all(|seen| seen.stamps.len() <= 3));
            }
        }
    }
}
