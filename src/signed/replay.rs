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
    /// Authors that are remembered; 1,024 by default. When one more writes, the one that has
    /// written nothing for the longest is forgotten, and from then on messages of authors that are
    /// not remembered are accepted if they are newer than its last.
    ///
    /// For half of them, the last message may be from a time that our clock has not come to; those
    /// of further authors are refused until it has. Authors are free to make, and with this, who
    /// makes up thousands cannot have others refused by writing ahead of time.
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
/// Messages may come in any order, and the clock may be set forth and back. Those that are too old
/// to be sure about are refused, so it takes no more memory than its [`ReplayLimits`] say, and one
/// that has only just been made, after a restart for instance, is not fooled by what was sent before
/// for longer than [`max_age`](ReplayLimits::max_age).
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
    /// The same authors, each behind the last of its stamps.
    by_last: BTreeSet<(Stamp, Author)>,
    /// No larger stamp was accepted of an author that was forgotten.
    floor: Option<Stamp>,
}

/// What was accepted of an author.
#[derive(Clone, Debug)]
struct Seen {
    /// Invariant: never empty, and all larger than `forgotten`.
    stamps: BTreeSet<Stamp>,
    /// The largest stamp for which there was no more room. It may have been accepted of the author
    /// before the author was forgotten, so that it is the floor of that time at first.
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
            by_last: BTreeSet::new(),
            floor: None,
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
        let (forgotten, is_ahead_already) = match self.authors.get(&author) {
            Some(seen) if seen.stamps.contains(&stamp) => return Err(Replay::Repeated),
            Some(seen) => (seen.forgotten, seen.stamps.last() > Some(&now)),
            None => (self.floor, false),
        };
        if forgotten.is_some_and(|forgotten| stamp <= forgotten) {
            return Err(Replay::Stale);
        }
        let has_room = self.authors.contains_key(&author) || self.has_room(now);
        let may_be_ahead = stamp <= now || is_ahead_already || self.has_room_ahead(now);
        match has_room && may_be_ahead {
            true => Ok(()),
            false => Err(Replay::Crowded),
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
        self.look(author, stamp, now)?;
        let new = Seen {
            stamps: BTreeSet::new(),
            forgotten: self.floor,
        };
        if self.authors.len() >= self.limits.authors && !self.authors.contains_key(&author) {
            self.forget_oldest();
        }
        let seen = self.authors.entry(author).or_insert(new);
        let last = seen.stamps.last().copied();
        seen.stamps.insert(stamp);
        if seen.stamps.len() > self.limits.messages.max(1) {
            seen.forgotten = seen.stamps.pop_first();
        }
        if last < Some(stamp) {
            if let Some(last) = last {
                self.by_last.remove(&(last, author));
            }
            self.by_last.insert((stamp, author));
        }
        Ok(())
    }

    /// Whether one more author may be remembered, if need be in the place of another.
    ///
    /// Who is ahead of our clock is not forgotten for it: the floor would be ahead as well, and
    /// nobody would be accepted who is not.
    fn has_room(&self, now: Stamp) -> bool {
        let oldest = self.by_last.first();
        self.authors.len() < self.limits.authors || oldest.is_some_and(|(last, _)| *last <= now)
    }

    /// Whether one more author may be ahead of our clock. The others can make room.
    fn has_room_ahead(&self, now: Stamp) -> bool {
        let half = self.limits.authors.div_ceil(2);
        let ahead = self.by_last.iter().rev();
        ahead.take_while(|(last, _)| *last > now).take(half).count() < half
    }

    fn forget_oldest(&mut self) {
        if let Some((last, author)) = self.by_last.pop_first() {
            self.authors.remove(&author);
            self.floor = self.floor.max(Some(last));
        }
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
    /// There is no room for its author, or none among those that are ahead of our clock. See
    /// [`ReplayLimits::authors`].
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
mod tests;
