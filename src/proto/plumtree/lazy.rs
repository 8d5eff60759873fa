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
    clock::At,
    message::IHave,
    neighbors::{Neighbor, NeighborSet},
};

/// The longest time between two dispatches while few messages are announced, in terms of the
/// configured time.
const HOLD: u64 = 25;

/// After this long, the next message takes with it what is held.
const HOLD_WITHOUT_NEED: u64 = 18;

#[derive(Clone, Debug)]
struct Announcement {
    ihave: IHave,
    /// Neighbors that need not be told.
    known_to: NeighborSet,
}

/// Announcements that wait for the next dispatch.
#[derive(Clone, Debug)]
pub(super) struct LazyPush {
    limit: usize,
    /// So many announcements are sent without being held.
    frame: usize,
    /// From an announcement to its dispatch, unless it is held.
    timeout: u64,
    queue: VecDeque<Announcement>,
    /// The number of the first announcement in the queue, counting all there ever were.
    first: u64,
    due: Option<At>,
    /// When there was a dispatch last, unless it is of no importance.
    dispatched: Option<At>,
}

impl LazyPush {
    /// A queue for up to `limit` announcements, of which `frame` fit into one message.
    pub(super) fn new(limit: usize, frame: usize, timeout: u64) -> Self {
        Self {
            limit: limit.max(1),
            // Nothing is dropped for having been held.
            frame: frame.min(limit / 2),
            timeout,
            queue: VecDeque::new(),
            first: 0,
            due: None,
            dispatched: None,
        }
    }

    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self) {
        assert!(self.queue.len() <= self.limit, "announcements that wait");
        assert_eq!(self.queue.is_empty(), self.due.is_none(), "they are sent");
    }

    /// When the queue is to be dispatched, unless it is empty.
    pub(super) fn due(&self) -> Option<At> {
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
        now: At,
    ) -> Option<(u64, NeighborSet)> {
        let soon = now.after(self.timeout);
        let due = self.due.get_or_insert(match self.dispatched {
            Some(last) => soon.max(last.after(self.timeout.saturating_mul(HOLD))),
            None => soon,
        });
        let is_full = self.queue.len() + 1 >= self.frame;
        let was_held = |last: At| last.after(self.timeout.saturating_mul(HOLD_WITHOUT_NEED)) <= now;
        if is_full || self.dispatched.is_none_or(was_held) {
            *due = soon.min(*due);
        }
        let mut dropped = None;
        if self.queue.len() >= self.limit
            && let Some(oldest) = self.queue.pop_front()
        {
            dropped = Some((self.first, oldest.known_to));
            self.first += 1;
        }
        self.queue.push_back(Announcement { ihave, known_to });
        dropped
    }

    /// What waits for a lazy neighbor.
    pub(super) fn waiting_for<PI>(&self, neighbor: &Neighbor<PI>) -> Vec<IHave> {
        let skip = neighbor.lazy_since.saturating_sub(self.first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let bit = neighbor.bit();
        self.queue
            .range(skip.min(self.queue.len())..)
            .filter(|one| one.known_to & bit == 0)
            .map(|one| one.ihave)
            .collect()
    }

    /// Does not hold what waits and what comes next: a link of the tree is lost, and others may have
    /// nothing but our announcements.
    pub(super) fn hurry(&mut self, now: At) {
        self.dispatched = None;
        if let Some(due) = &mut self.due {
            *due = now.after(self.timeout).min(*due);
        }
    }

    /// Empties the queue after a dispatch, and gives its memory back: a burst should not leave its
    /// mark on a node that is quiet again.
    pub(super) fn clear(&mut self, now: At) {
        self.first = self.end();
        self.queue = VecDeque::new();
        self.due = None;
        self.dispatched = Some(now);
    }
}
