//! Lazy push: announcements are gathered for a moment and then sent together (PlumTree, "Gossip
//! and Tree Construction").
//!
//! All lazy peers get nearly the same announcements, so there is one queue for all of them. Each
//! peer knows from which place on the queue is for it.
//!
//! The first announcement after a pause is sent after the configured time. Where messages follow
//! each other, announcements are held until there is a frame full of them, or for [`HOLD`] times as
//! long, up to [`HELD_AT_MOST`]: a packet for each, and another to acknowledge it, would be most of what a quiet
//! swarm sends, and hardly any is ever needed. They go out behind a message rather than on the hour, when
//! they would be in the way of the next one.
//!
//! One end of a link is enough: who tells us of a message need not be told of it in turn. So what a
//! neighbor announces is struck off what waits for it, and a neighbor that is used to be the first
//! ([`Neighbor::announces`]) is left to it: what there is to tell it waits for longer than it holds its own
//! announcements, and these are on their way. What has not been struck off by then is news to it, and it is our
//! turn. Where announcements cross, each end draws whether to leave it to the other.

use std::collections::{VecDeque, vec_deque};

use super::{
    message::IHave,
    neighbors::{Neighbor, NeighborSet, Neighbors},
};
use crate::proto::clock::{At, MaybeAt};

/// The longest time between two dispatches while few messages are announced, in terms of the
/// configured time.
const HOLD: u64 = 40;

/// The same in nanoseconds, where that is less; but no less than the configured time.
const HELD_AT_MOST: u64 = 200_000_000;

/// After this part of that time, in tenths, the next message takes with it what is held.
const HELD_WITHOUT_NEED: u64 = 7;

/// What may be announced by its receiver waits for so many tenths of that time.
const PATIENCE: u64 = 12;

/// Who announces to us is not left to it while so much waits for it, in frames.
const LEFT_FRAMES: usize = 8;

/// The room that is kept from one dispatch to the next. A burst should not leave its mark.
const KEPT_CAPACITY: usize = 8;

#[derive(Clone, Debug)]
struct Announcement {
    ihave: IHave,
    /// The lowest bits of the message's number in the history.
    number: u32,
    /// Neighbors that need not be told.
    known_to: NeighborSet,
    /// When it was queued.
    at: At,
}

/// How announcements are held: the same for all topics.
#[derive(Debug)]
pub(super) struct Holding {
    /// The most that wait.
    limit: usize,
    /// So many announcements are sent without being held.
    frame: usize,
    /// A neighbor that announces itself is left to do so while no more than this waits for it.
    left: u64,
    /// From an announcement to its dispatch, unless it is held.
    timeout: u64,
    /// The longest time between two dispatches.
    longest: u64,
}

impl Holding {
    /// Up to `limit` announcements, of which `frame` fit into one message.
    pub(super) fn new(limit: usize, frame: usize, timeout: u64) -> Self {
        Self {
            limit: limit.max(1),
            // Nothing is dropped for having been held.
            frame: frame.min(limit / 2),
            left: frame.saturating_mul(LEFT_FRAMES).min(limit / 4) as u64,
            timeout,
            longest: timeout.max(timeout.saturating_mul(HOLD).min(HELD_AT_MOST)),
        }
    }

    /// From one dispatch until the next message takes with it what is held.
    fn without_need(&self) -> u64 {
        self.longest / 10 * HELD_WITHOUT_NEED
    }

    /// How long what a neighbor may be about to announce itself waits for that.
    fn patience(&self) -> u64 {
        (self.longest / 10).saturating_mul(PATIENCE)
    }
}

/// What waits for one neighbor.
pub(super) struct Waiting<'a> {
    queue: vec_deque::Iter<'a, Announcement>,
    neighbor: NeighborSet,
}

impl Iterator for Waiting<'_> {
    type Item = IHave;

    fn next(&mut self) -> Option<IHave> {
        let next = self.queue.find(|one| one.known_to & self.neighbor == 0)?;
        Some(next.ihave)
    }
}

/// Announcements that wait for the next dispatch.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyPush {
    queue: VecDeque<Announcement>,
    /// The number of the first announcement in the queue, counting all there ever were.
    first: u64,
    /// The place from which on they wait for the next dispatch. Those before it wait for neighbors that may
    /// announce them themselves.
    fresh: u64,
    /// When what is fresh is to be dispatched.
    due: MaybeAt,
    /// When what was left is to be dispatched.
    left_due: MaybeAt,
    /// When there was a dispatch last, unless it is of no importance.
    dispatched: MaybeAt,
}

impl LazyPush {
    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self, holding: &Holding) {
        assert!(self.queue.len() <= holding.limit, "announcements that wait");
        assert_eq!(
            self.queue.is_empty(),
            self.due().get().is_none(),
            "what waits is due one day"
        );
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the queue is to be dispatched, unless it is empty.
    pub(super) fn due(&self) -> MaybeAt {
        self.due.earlier(self.left_due)
    }

    /// The place of the next announcement.
    pub(super) fn end(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// Queues an announcement of the message with this number in the history. The first one in the queue sets
    /// the time of the dispatch, and the one that makes a frame full may bring it forward. Where it `is_left`
    /// to all neighbors whom it is for, nothing has to be done for now.
    ///
    /// When the queue is full the oldest announcement gives way, and is handed back with its place.
    #[inline]
    pub(super) fn push(
        &mut self,
        (ihave, number): (IHave, u64),
        known_to: NeighborSet,
        is_left: bool,
        holding: &Holding,
        now: At,
    ) -> Option<(u64, NeighborSet)> {
        let is_left =
            is_left && self.due.get().is_none() && (self.queue.len() as u64) < holding.left;
        if is_left {
            let patient_until = MaybeAt::some(now.after(holding.patience()));
            self.left_due = self.left_due.earlier(patient_until);
        } else {
            self.set_due(holding, now);
        }
        let mut dropped = None;
        if self.queue.len() >= holding.limit
            && let Some(oldest) = self.queue.pop_front()
        {
            dropped = Some((self.first, oldest.known_to));
            self.first += 1;
            self.fresh = self.fresh.max(self.first);
        }
        self.queue.push_back(Announcement {
            ihave,
            number: number as u32,
            known_to,
            at: now,
        });
        if is_left {
            self.fresh = self.end();
        }
        dropped
    }

    /// Sets the time of the dispatch for one more announcement.
    #[inline]
    fn set_due(&mut self, holding: &Holding, now: At) {
        let soon = now.after(holding.timeout);
        let dispatched = self.dispatched.get();
        let mut due = self.due.get().unwrap_or(match dispatched {
            Some(last) => soon.max(last.after(holding.longest)),
            None => soon,
        });
        let is_full = self.end() + 1 - self.fresh >= holding.frame as u64;
        let was_held = |last: At| last.after(holding.without_need()) <= now;
        if is_full || dispatched.is_none_or(was_held) {
            due = soon.min(due);
        }
        self.due = MaybeAt::some(due);
    }

    /// What waits for a lazy neighbor.
    pub(super) fn waiting_for<PI>(&self, neighbor: &Neighbor<PI>) -> Waiting<'_> {
        Waiting {
            queue: self.queue.range(self.skipped_for(neighbor)..),
            neighbor: neighbor.bit(),
        }
    }

    /// How many announcements came before those that may be for a lazy neighbor.
    fn skipped_for<PI>(&self, neighbor: &Neighbor<PI>) -> usize {
        let skipped = neighbor.lazy_since.saturating_sub(self.first);
        usize::try_from(skipped).map_or(self.queue.len(), |skipped| skipped.min(self.queue.len()))
    }

    /// Strikes off what need not be announced to a neighbor, since it has announced that message to us.
    /// Returns whether it would have been.
    #[inline]
    pub(super) fn strike_off<PI>(&mut self, number: u64, neighbor: &Neighbor<PI>) -> bool {
        let bit = neighbor.bit();
        let Some(oldest) = self.queue.front().map(|one| one.number) else {
            return false;
        };
        let since = |number: u32| number.wrapping_sub(oldest);
        let number = since(number as u32);
        // As a rule none is left out between them.
        let guess = number as usize;
        let is_there = |one: &Announcement| since(one.number) == number;
        let place = if self.queue.get(guess).is_some_and(is_there) {
            guess
        } else {
            let place = self
                .queue
                .binary_search_by(|one| since(one.number).cmp(&number));
            let Ok(place) = place else {
                return false;
            };
            place
        };
        let waits = self.first + place as u64 >= neighbor.lazy_since && !neighbor.eager;
        let one = &mut self.queue[place];
        let is_struck = bit & !one.known_to != 0;
        one.known_to |= bit;
        waits && is_struck
    }

    /// Does not hold what waits and what comes next: a link of the tree is lost, and others may have
    /// nothing but our announcements.
    pub(super) fn hurry<PI: Copy + Ord>(
        &mut self,
        neighbors: &mut Neighbors<PI>,
        timeout: u64,
        now: At,
    ) {
        self.dispatched = MaybeAt::NONE;
        for neighbor in neighbors.iter_mut() {
            neighbor.announces = false;
        }
        if let Some(due) = self.due().get() {
            self.due = MaybeAt::some(now.after(timeout).min(due));
        }
    }

    /// Empties the queue as far as it is due: `announce` is to tell a neighbor of what waits for it.
    pub(super) fn dispatch<PI: Copy + Ord>(
        &mut self,
        neighbors: &mut Neighbors<PI>,
        holding: &Holding,
        now: At,
        mut announce: impl FnMut(PI, Waiting<'_>),
    ) {
        let is_due = self.due.is_due(now);
        let end = self.end();
        let mut keep_from = end;
        let mut left_due = MaybeAt::NONE;
        for neighbor in neighbors.iter_mut().filter(|one| !one.eager) {
            let Some((place, oldest)) = self.oldest_for(neighbor) else {
                neighbor.lazy_since = end;
                continue;
            };
            let is_left = neighbor.announces && end - place <= holding.left;
            let patient_until = oldest.after(holding.patience());
            let is_served = if is_left {
                patient_until <= now
            } else {
                // What was left to it before is not left to it any more.
                is_due || place < self.fresh
            };
            if is_served {
                neighbor.announces = false;
                announce(neighbor.peer, self.waiting_for(neighbor));
                neighbor.lazy_since = end;
            } else {
                keep_from = keep_from.min(place);
                if is_left {
                    left_due = left_due.earlier(MaybeAt::some(patient_until));
                }
            }
        }
        self.left_due = left_due;
        self.forget_until(keep_from);
        if is_due {
            self.fresh = end;
            self.due = MaybeAt::NONE;
            self.dispatched = MaybeAt::some(now);
        }
    }

    /// Looks what is still left to neighbors, now that one has announced something: most often nothing, and then
    /// there is nothing to wake up for.
    pub(super) fn look_again<PI: Copy + Ord>(
        &mut self,
        neighbors: &Neighbors<PI>,
        holding: &Holding,
    ) {
        if self.left_due.get().is_none() {
            return;
        }
        let left = usize::try_from(self.fresh - self.first).unwrap_or(usize::MAX);
        let mut place = self.first;
        let oldest = self.queue.iter().take(left).find(|one| {
            let waits = |neighbor: &Neighbor<PI>| {
                !neighbor.eager
                    && neighbor.lazy_since <= place
                    && one.known_to & neighbor.bit() == 0
            };
            let is_waited_for = neighbors.iter().any(waits);
            place += u64::from(!is_waited_for);
            is_waited_for
        });
        let due = oldest.map(|one| one.at.after(holding.patience()));
        self.left_due = due.into();
        self.forget_until(place);
    }

    /// The place of the first announcement that waits for a lazy neighbor, and when it came.
    fn oldest_for<PI>(&self, neighbor: &Neighbor<PI>) -> Option<(u64, At)> {
        let (skipped, bit) = (self.skipped_for(neighbor), neighbor.bit());
        let mut all = self.queue.range(skipped..);
        let place = all.position(|one| one.known_to & bit == 0)? + skipped;
        Some((self.first + place as u64, self.queue.get(place)?.at))
    }

    /// Empties the queue up to a place. Where nothing is left, nothing is due.
    #[inline]
    fn forget_until(&mut self, place: u64) {
        let count = (place - self.first) as usize;
        self.first = place;
        self.fresh = self.fresh.max(place);
        if count < self.queue.len() || self.queue.capacity() <= KEPT_CAPACITY {
            self.queue.drain(..count);
        } else {
            self.queue = VecDeque::new();
        }
        if self.queue.is_empty() {
            self.due = MaybeAt::NONE;
        }
    }

    /// Gives memory back when nothing is under way.
    pub(super) fn rest(&mut self) {
        self.queue.shrink_to_fit();
    }
}
