//! Lazy push: announcements are gathered for a moment and then sent together (PlumTree, "Gossip
//! and Tree Construction").
//!
//! All lazy peers get nearly the same announcements, so there is one queue for all of them. Each
//! peer knows from which place on the queue is for it.
//!
//! The first announcement after a pause is sent after the configured time. Where messages follow
//! each other, announcements are held until there is a frame full of them, or for [`HOLD`] times as
//! long: a packet for each, and another to acknowledge it, would be most of what a quiet swarm
//! sends, and hardly any is ever needed. They go out behind a message rather than on the hour, when
//! they would be in the way of the next one.

use std::collections::VecDeque;

use super::{
    message::IHave,
    neighbors::{Neighbor, NeighborSet},
};
use crate::proto::clock::{At, MaybeAt};

/// The longest time between two dispatches while few messages are announced, in terms of the
/// configured time.
const HOLD: u64 = 40;

/// After this long, the next message takes with it what is held.
const HOLD_WITHOUT_NEED: u64 = 28;

/// The room that is kept from one dispatch to the next. A burst should not leave its mark.
const KEPT_CAPACITY: usize = 8;

#[derive(Clone, Debug)]
struct Announcement {
    ihave: IHave,
    /// Neighbors that need not be told.
    known_to: NeighborSet,
}

/// How announcements are held: the same for all topics.
#[derive(Debug)]
pub(super) struct Holding {
    /// The most that wait.
    limit: usize,
    /// So many announcements are sent without being held.
    frame: usize,
    /// From an announcement to its dispatch, unless it is held.
    timeout: u64,
}

impl Holding {
    /// Up to `limit` announcements, of which `frame` fit into one message.
    pub(super) fn new(limit: usize, frame: usize, timeout: u64) -> Self {
        Self {
            limit: limit.max(1),
            // Nothing is dropped for having been held.
            frame: frame.min(limit / 2),
            timeout,
        }
    }
}

/// Announcements that wait for the next dispatch.
#[derive(Clone, Debug, Default)]
pub(super) struct LazyPush {
    queue: VecDeque<Announcement>,
    /// The number of the first announcement in the queue, counting all there ever were.
    first: u64,
    due: MaybeAt,
    /// When there was a dispatch last, unless it is of no importance.
    dispatched: MaybeAt,
}

impl LazyPush {
    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self, holding: &Holding) {
        assert!(self.queue.len() <= holding.limit, "announcements that wait");
        assert!(
            !self.queue.is_empty() || self.due().get().is_none(),
            "all are sent"
        );
    }

    /// When the queue is to be dispatched, unless it is empty.
    pub(super) fn due(&self) -> MaybeAt {
        self.due
    }

    /// The place of the next announcement.
    pub(super) fn end(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// Queues an announcement. The first one in the queue sets the time of the dispatch, and the
    /// one that makes a frame full may bring it forward.
    ///
    /// When the queue is full the oldest announcement gives way, and is handed back with its place.
    pub(super) fn push(
        &mut self,
        ihave: IHave,
        known_to: NeighborSet,
        holding: &Holding,
        now: At,
    ) -> Option<(u64, NeighborSet)> {
        let soon = now.after(holding.timeout);
        let dispatched = self.dispatched.get();
        let mut due = self.due.get().unwrap_or(match dispatched {
            Some(last) => soon.max(last.after(holding.timeout.saturating_mul(HOLD))),
            None => soon,
        });
        let is_full = self.queue.len() + 1 >= holding.frame;
        let was_held =
            |last: At| last.after(holding.timeout.saturating_mul(HOLD_WITHOUT_NEED)) <= now;
        if is_full || dispatched.is_none_or(was_held) {
            due = soon.min(due);
        }
        self.due = MaybeAt::some(due);
        let mut dropped = None;
        if self.queue.len() >= holding.limit
            && let Some(oldest) = self.queue.pop_front()
        {
            dropped = Some((self.first, oldest.known_to));
            self.first += 1;
        }
        self.queue.push_back(Announcement { ihave, known_to });
        dropped
    }

    /// What waits for a lazy neighbor.
    pub(super) fn waiting_for<PI>(&self, neighbor: &Neighbor<PI>) -> impl Iterator<Item = IHave> {
        let skip = neighbor.lazy_since.saturating_sub(self.first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let bit = neighbor.bit();
        self.queue
            .range(skip.min(self.queue.len())..)
            .filter(move |one| one.known_to & bit == 0)
            .map(|one| one.ihave)
    }

    /// Does not hold what waits and what comes next: a link of the tree is lost, and others may have
    /// nothing but our announcements.
    pub(super) fn hurry(&mut self, timeout: u64, now: At) {
        self.dispatched = MaybeAt::NONE;
        if let Some(due) = self.due.get() {
            self.due = MaybeAt::some(now.after(timeout).min(due));
        }
    }

    /// Empties the queue after a dispatch.
    pub(super) fn clear(&mut self, now: At) {
        self.first = self.end();
        if self.queue.capacity() <= KEPT_CAPACITY {
            self.queue.clear();
        } else {
            self.queue = VecDeque::new();
        }
        self.due = MaybeAt::NONE;
        self.dispatched = MaybeAt::some(now);
    }

    /// Gives memory back when nothing is under way.
    pub(super) fn rest(&mut self) {
        self.queue.shrink_to_fit();
    }
}
