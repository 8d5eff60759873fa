//! Lazy push: announcements are gathered for a moment and then sent together (PlumTree, "Gossip
//! and Tree Construction").
//!
//! All lazy peers get nearly the same announcements, so there is one queue for all of them. Each
//! peer knows from which place on the queue is for it.

use std::collections::VecDeque;

use super::{
    clock::At,
    message::IHave,
    neighbors::{Neighbor, NeighborSet},
};

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
    queue: VecDeque<Announcement>,
    /// The number of the first announcement in the queue, counting all there ever were.
    first: u64,
    due: Option<At>,
}

impl LazyPush {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            queue: VecDeque::new(),
            first: 0,
            due: None,
        }
    }

    /// When the queue is to be dispatched, unless it is empty.
    pub(super) fn due(&self) -> Option<At> {
        self.due
    }

    /// The place of the next announcement.
    pub(super) fn end(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// Queues an announcement. The first one in the queue sets the time of the dispatch.
    ///
    /// When the queue is full the oldest announcement gives way, and is handed back with its place.
    pub(super) fn push(
        &mut self,
        ihave: IHave,
        known_to: NeighborSet,
        due: At,
    ) -> Option<(u64, NeighborSet)> {
        self.due.get_or_insert(due);
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

    /// Empties the queue after a dispatch, and gives its memory back: a burst should not leave its
    /// mark on a node that is quiet again.
    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.queue = VecDeque::new();
        self.due = None;
    }
}
