//! The two views (HyParView, section 4.1): neighbors we hold connections to, and peers to fall
//! back on.
//!
//! Both are plain vectors. They hold a handful of entries, are walked in a defined order, and take
//! memory only for what is in them.

use std::time::Instant;

use rand::{Rng, RngExt};

use super::refill::Requests;
use crate::proto::LinkId;

/// The share of the passive view that is kept for peers which could not be reached, as a divisor.
///
/// Unreachable peers are the first to be dropped for others, but only down to this many: they are
/// how two halves of a split swarm remember each other.
const SUSPECTS_KEPT: usize = 4;

/// A peer that is never reached is forgotten after this many attempts, unless there is no neighbor
/// at all (and so perhaps no network).
const ATTEMPTS_UNTIL_FORGOTTEN: u8 = 60;

/// How often a waiting time doubles before only its cap counts.
const DOUBLINGS: u8 = 8;

/// A peer in the active view.
#[derive(Clone, Debug)]
pub(super) struct Neighbor<PI> {
    pub(super) id: PI,
    /// The connection over which it became a neighbor.
    pub(super) link: LinkId,
    /// When a Neighbor message was sent to it that none has come back for.
    pub(super) asked: Option<Instant>,
}

/// The active view, oldest neighbor first.
///
/// Invariant: no peer twice, never more than the capacity, never ourselves.
#[derive(Clone, Debug)]
pub(super) struct ActiveView<PI> {
    neighbors: Vec<Neighbor<PI>>,
    capacity: usize,
}

impl<PI: Copy + Eq> ActiveView<PI> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            neighbors: Vec::new(),
            capacity,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.neighbors.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    pub(super) fn free(&self) -> usize {
        self.capacity.saturating_sub(self.neighbors.len())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PI> + Clone {
        self.neighbors.iter().map(|neighbor| &neighbor.id)
    }

    pub(super) fn contains(&self, id: &PI) -> bool {
        self.neighbors.iter().any(|neighbor| neighbor.id == *id)
    }

    pub(super) fn neighbor(&mut self, id: &PI) -> Option<&mut Neighbor<PI>> {
        self.neighbors
            .iter_mut()
            .find(|neighbor| neighbor.id == *id)
    }

    /// Adds a neighbor as the youngest. Does nothing where there is no room, or it is one already.
    pub(super) fn insert(&mut self, neighbor: Neighbor<PI>) -> bool {
        let insert = self.free() > 0 && !self.contains(&neighbor.id);
        if insert {
            self.neighbors.reserve_exact(1);
            self.neighbors.push(neighbor);
        }
        insert
    }

    pub(super) fn remove(&mut self, id: &PI) -> Option<Neighbor<PI>> {
        let index = self.neighbors.iter().position(|n| n.id == *id)?;
        Some(self.neighbors.remove(index))
    }

    /// Whom to drop for another: a random neighbor that is none of the `settled` oldest.
    pub(super) fn pick_to_drop(&self, settled: usize, rng: &mut impl Rng) -> Option<PI> {
        let settled = settled.min(self.capacity.saturating_sub(1));
        let others = self.neighbors.get(settled..)?;
        pick(others.iter().map(|neighbor| neighbor.id), rng)
    }

    /// A random neighbor that is none of `except`.
    pub(super) fn pick_except(&self, except: &[PI], rng: &mut impl Rng) -> Option<PI> {
        let others = self.ids().copied().filter(|id| !except.contains(id));
        pick(others, rng)
    }

    /// Up to `count` random neighbors that are none of `except`.
    pub(super) fn sample_except(&self, count: usize, except: &[PI], rng: &mut impl Rng) -> Vec<PI> {
        let others = self.ids().copied().filter(|id| !except.contains(id));
        sample(others.collect(), count, rng)
    }
}

/// A peer in the passive view.
#[derive(Clone, Debug)]
pub(super) struct Reserve<PI> {
    pub(super) id: PI,
    /// The last attempt to reach it failed. Suspects are asked last, and not told to others.
    suspect: bool,
    /// It was a suspect, and has not been asked urgently since: see
    /// [`explore`](super::State::explore).
    lost: bool,
    /// It is said to look for a neighbor right now.
    looking: bool,
    /// How often in a row it could not be reached, or had no room for us.
    failures: u8,
    /// Not to be asked before. `None` when it was never asked.
    retry_at: Option<Instant>,
}

impl<PI> Reserve<PI> {
    fn ready(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }
}

/// The passive view.
///
/// Invariant: no peer twice, never more than the capacity, no neighbor, never ourselves.
#[derive(Clone, Debug)]
pub(super) struct PassiveView<PI> {
    reserves: Vec<Reserve<PI>>,
    capacity: usize,
}

impl<PI: Copy + Eq> PassiveView<PI> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            reserves: Vec::new(),
            capacity,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.reserves.len() >= self.capacity
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PI> + Clone {
        self.reserves.iter().map(|reserve| &reserve.id)
    }

    pub(super) fn contains(&self, id: &PI) -> bool {
        self.reserves.iter().any(|reserve| reserve.id == *id)
    }

    fn reserve(&mut self, id: &PI) -> Option<&mut Reserve<PI>> {
        self.reserves.iter_mut().find(|reserve| reserve.id == *id)
    }

    /// Adds a peer, and says which one had to go for it.
    ///
    /// In a full view that is first a suspect beyond [`SUSPECTS_KEPT`], then one of `sent` (what
    /// the other side of a Shuffle knows from us: section 4.4), then a random one.
    pub(super) fn insert(&mut self, id: PI, sent: &[PI], rng: &mut impl Rng) -> Option<PI> {
        if self.capacity == 0 || self.contains(&id) {
            return None;
        }
        let dropped = if self.is_full() {
            self.pick_to_drop(sent, rng)
        } else {
            None
        };
        if let Some(dropped) = dropped {
            self.remove(&dropped);
        }
        self.reserves.push(Reserve {
            id,
            suspect: false,
            lost: false,
            looking: false,
            failures: 0,
            retry_at: None,
        });
        dropped
    }

    fn pick_to_drop(&self, sent: &[PI], rng: &mut impl Rng) -> Option<PI> {
        let suspects = self.reserves.iter().filter(|reserve| reserve.suspect);
        if suspects.clone().count() > self.capacity / SUSPECTS_KEPT {
            let worst = suspects.max_by_key(|reserve| reserve.failures);
            return worst.map(|reserve| reserve.id);
        }
        let others = self.reserves.iter().filter(|reserve| !reserve.suspect);
        let others = others.map(|reserve| reserve.id);
        let known_to_them = |id: &PI| sent.contains(id);
        let first = match sent {
            [] => None,
            _ => pick(others.clone().filter(known_to_them), rng),
        };
        first
            .or_else(|| pick(others, rng))
            .or_else(|| pick(self.ids().copied(), rng))
    }

    pub(super) fn remove(&mut self, id: &PI) -> Option<Reserve<PI>> {
        let index = self.reserves.iter().position(|r| r.id == *id)?;
        Some(self.reserves.remove(index))
    }

    /// Something was heard of the peer itself.
    pub(super) fn heard(&mut self, id: &PI) {
        if let Some(reserve) = self.reserve(id) {
            reserve.suspect = false;
        }
    }

    /// The peer could not be reached. `wait` gives the time until the next attempt, from the
    /// number of those that failed before. Returns whether the peer is given up for good.
    pub(super) fn unreachable(
        &mut self,
        id: &PI,
        isolated: bool,
        wait: impl FnOnce(u8) -> Instant,
    ) -> bool {
        let Some(reserve) = self.reserve(id) else {
            return false;
        };
        reserve.suspect = true;
        reserve.lost = true;
        reserve.looking = false;
        reserve.retry_at = Some(wait(reserve.failures));
        if !isolated || reserve.failures < DOUBLINGS {
            reserve.failures = reserve.failures.saturating_add(1);
        }
        let forget = !isolated && reserve.failures >= ATTEMPTS_UNTIL_FORGOTTEN;
        if forget {
            self.remove(id);
        }
        forget
    }

    /// The peer is there, but has no room for us.
    pub(super) fn refused(&mut self, id: &PI, wait: impl FnOnce(u8) -> Instant) {
        if let Some(reserve) = self.reserve(id) {
            reserve.suspect = false;
            reserve.looking = false;
            reserve.retry_at = Some(wait(reserve.failures));
            reserve.failures = reserve.failures.saturating_add(1).min(DOUBLINGS);
        }
    }

    /// The peer is said to look for a neighbor: worth asking next, and at once.
    pub(super) fn looking(&mut self, id: &PI) {
        if let Some(reserve) = self.reserve(id) {
            reserve.looking = true;
            reserve.retry_at = None;
        }
    }

    /// There is no neighbor left: everyone may be asked again at the time that `at` gives.
    pub(super) fn hasten(&mut self, mut at: impl FnMut() -> Instant) {
        for reserve in &mut self.reserves {
            let hastened = at();
            if let Some(retry_at) = &mut reserve.retry_at {
                *retry_at = hastened.min(*retry_at);
            }
        }
    }

    /// Takes back that anyone was lost.
    pub(super) fn nobody_lost(&mut self) {
        for reserve in &mut self.reserves {
            reserve.lost = false;
        }
    }

    pub(super) fn not_lost(&mut self, id: &PI) {
        if let Some(reserve) = self.reserve(id) {
            reserve.lost = false;
        }
    }

    pub(super) fn is_suspect(&self, id: &PI) -> bool {
        self.reserves.iter().any(|r| r.id == *id && r.suspect)
    }

    pub(super) fn was_lost(&self, id: &PI) -> bool {
        self.reserves.iter().any(|r| r.id == *id && r.lost)
    }

    /// The lost peer that was not tried for the longest time.
    pub(super) fn longest_lost(&self, requests: &Requests<PI>) -> Option<PI> {
        let lost = self
            .reserves
            .iter()
            .filter(|r| r.lost && !requests.contains(&r.id));
        Some(lost.min_by_key(|reserve| reserve.retry_at)?.id)
    }

    /// Whom to ask for a place now: a random peer that is looking for one itself, else one that
    /// is no suspect, else a suspect.
    pub(super) fn pick_candidate(
        &self,
        now: Instant,
        requests: &Requests<PI>,
        rng: &mut impl Rng,
    ) -> Option<PI> {
        let ready = self
            .reserves
            .iter()
            .filter(|r| r.ready(now) && !requests.contains(&r.id));
        let looking = ready.clone().filter(|r| r.looking).map(|r| r.id);
        let fine = ready.clone().filter(|r| !r.suspect).map(|r| r.id);
        pick(looking, rng)
            .or_else(|| pick(fine, rng))
            .or_else(|| pick(ready.map(|r| r.id), rng))
    }

    /// When the next peer that has to wait may be asked.
    pub(super) fn next_retry(&self, now: Instant, requests: &Requests<PI>) -> Option<Instant> {
        let waiting = self.reserves.iter().filter(|r| !requests.contains(&r.id));
        waiting
            .filter_map(|r| r.retry_at)
            .filter(|at| *at > now)
            .min()
    }

    /// Up to `count` random peers to tell others about.
    pub(super) fn sample_except(&self, count: usize, except: &[PI], rng: &mut impl Rng) -> Vec<PI> {
        let fine = self.reserves.iter().filter(|reserve| !reserve.suspect);
        let ids = fine.map(|r| r.id).filter(|id| !except.contains(id));
        sample(ids.collect(), count, rng)
    }
}

/// A random one of `items`.
fn pick<T>(mut items: impl Iterator<Item = T> + Clone, rng: &mut impl Rng) -> Option<T> {
    let count = items.clone().count();
    if count == 0 {
        return None;
    }
    items.nth(rng.random_range(0..count))
}

/// `count` random ones of `items` in random order, or all of them.
fn sample<T>(mut items: Vec<T>, count: usize, rng: &mut impl Rng) -> Vec<T> {
    let count = count.min(items.len());
    for index in 0..count {
        let other = rng.random_range(index..items.len());
        items.swap(index, other);
    }
    items.truncate(count);
    items
}
