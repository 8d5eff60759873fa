//! The two views (HyParView, section 4.1): neighbors we hold connections to, and peers to fall
//! back on.
//!
//! Both are plain vectors. They hold a handful of entries, are walked in a defined order, and take
//! memory only for what is in them.

use std::{num::NonZeroU16, time::Instant};

use rand::{Rng, RngExt};

use super::refill::Requests;
use crate::proto::{
    LinkId,
    peer::{is_among, is_same},
};

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
    /// Who is to go first where we want someone else: it may be gone already.
    dispensable: Option<PI>,
}

impl<PI: Copy + Ord> ActiveView<PI> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            neighbors: Vec::new(),
            capacity,
            dispensable: None,
        }
    }

    /// Says who is to go first where we want someone else.
    pub(super) fn set_dispensable(&mut self, id: PI) {
        self.dispensable = Some(id);
    }

    /// Who is to go first where we want someone else, if it is still there.
    pub(super) fn take_dispensable(&mut self) -> Option<PI> {
        self.dispensable.take().filter(|id| self.contains(id))
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
        self.neighbors
            .iter()
            .any(|neighbor| is_same(&neighbor.id, id))
    }

    pub(super) fn neighbor(&mut self, id: &PI) -> Option<&mut Neighbor<PI>> {
        self.neighbors
            .iter_mut()
            .find(|neighbor| is_same(&neighbor.id, id))
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
        let index = self.neighbors.iter().position(|n| is_same(&n.id, id))?;
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
        let others = self.ids().copied().filter(|id| !is_among(id, except));
        pick(others, rng)
    }

    /// Up to `count` random neighbors that are none of `except`.
    pub(super) fn sample_except(&self, count: usize, except: &[PI], rng: &mut impl Rng) -> Vec<PI> {
        let others = self.ids().copied().filter(|id| !is_among(id, except));
        sample(others.collect(), count, rng)
    }
}

/// A peer in the passive view.
#[derive(Clone, Copy, Debug)]
struct Reserve<PI> {
    id: PI,
    /// Where its record is: most have none.
    record: Option<NonZeroU16>,
}

/// What is remembered of a peer that was asked, or is said to look for a neighbor.
#[derive(Clone, Debug, Default)]
struct Record {
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

/// The records of the few peers that have one.
///
/// Invariant: as many are taken as there are peers with one.
#[derive(Clone, Debug, Default)]
struct Records(Vec<Option<Record>>);

impl Records {
    fn find(&self, place: Option<NonZeroU16>) -> Option<&Record> {
        self.0.get(usize::from(place?.get()) - 1)?.as_ref()
    }

    fn find_mut(&mut self, place: Option<NonZeroU16>) -> Option<&mut Record> {
        self.0.get_mut(usize::from(place?.get()) - 1)?.as_mut()
    }

    /// Adds one, unless there are too many.
    fn add(&mut self) -> Option<NonZeroU16> {
        let free = self.0.iter().position(Option::is_none);
        let index = free.unwrap_or(self.0.len());
        let place = NonZeroU16::new(u16::try_from(index + 1).ok()?);
        if index == self.0.len() {
            self.0.push(None);
        }
        self.0[index] = Some(Record::default());
        place
    }

    fn remove(&mut self, place: Option<NonZeroU16>) {
        let index = place.map(|place| usize::from(place.get()) - 1);
        if let Some(record) = index.and_then(|index| self.0.get_mut(index)) {
            *record = None;
        }
        if self.0.iter().all(Option::is_none) {
            self.0 = Vec::new();
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Record> {
        self.0.iter_mut().flatten()
    }
}

/// The passive view.
///
/// Invariant: no peer twice, never more than the capacity, no neighbor, never ourselves.
#[derive(Clone, Debug)]
pub(super) struct PassiveView<PI> {
    reserves: Vec<Reserve<PI>>,
    records: Records,
    capacity: usize,
}

impl<PI: Copy + Ord> PassiveView<PI> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            reserves: Vec::new(),
            records: Records::default(),
            capacity,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.reserves.len() >= self.capacity
    }

    /// Whether a failed neighbor can be kept without another peer going for it of whom nothing bad is
    /// known.
    pub(super) fn has_room_for_failed(&self) -> bool {
        !self.is_full() || self.has_spare_suspect()
    }

    fn has_spare_suspect(&self) -> bool {
        let suspects = self.recorded().filter(|(_, record)| record.suspect);
        suspects.count() > self.capacity / SUSPECTS_KEPT
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PI> + Clone {
        self.reserves.iter().map(|reserve| &reserve.id)
    }

    pub(super) fn contains(&self, id: &PI) -> bool {
        self.reserves.iter().any(|reserve| is_same(&reserve.id, id))
    }

    fn place(&self, id: &PI) -> Option<usize> {
        self.reserves
            .iter()
            .position(|reserve| is_same(&reserve.id, id))
    }

    /// What is remembered of a peer, if anything is.
    fn record(&self, id: &PI) -> Option<&Record> {
        self.records.find(self.reserves[self.place(id)?].record)
    }

    fn record_mut(&mut self, id: &PI) -> Option<&mut Record> {
        let place = self.place(id)?;
        self.records.find_mut(self.reserves[place].record)
    }

    /// What is remembered of a peer from now on. `None` when it is not in the view.
    fn make_record(&mut self, id: &PI) -> Option<&mut Record> {
        let place = self.place(id)?;
        let reserve = &mut self.reserves[place];
        if reserve.record.is_none() {
            reserve.record = self.records.add();
        }
        self.records.find_mut(reserve.record)
    }

    fn is_fine(&self, reserve: &Reserve<PI>) -> bool {
        let record = self.records.find(reserve.record);
        record.is_none_or(|record| !record.suspect)
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
        if self.reserves.len() == self.reserves.capacity() {
            self.reserves
                .reserve_exact(room_to_grow(self.reserves.len(), self.capacity));
        }
        self.reserves.push(Reserve { id, record: None });
        dropped
    }

    fn pick_to_drop(&self, sent: &[PI], rng: &mut impl Rng) -> Option<PI> {
        let suspects = self.recorded().filter(|(_, record)| record.suspect);
        if suspects.clone().count() > self.capacity / SUSPECTS_KEPT {
            return Some(suspects.max_by_key(|(_, record)| record.failures)?.0);
        }
        // By the order of the view, as everyone else is picked.
        let mut known_to_them: Vec<usize> = sent.iter().filter_map(|id| self.place(id)).collect();
        known_to_them.retain(|place| self.is_fine(&self.reserves[*place]));
        known_to_them.sort_unstable();
        let others = self.reserves.iter().filter(|one| self.is_fine(one));
        pick(
            known_to_them.iter().map(|place| self.reserves[*place].id),
            rng,
        )
        .or_else(|| pick(others.map(|one| one.id), rng))
        .or_else(|| pick(self.ids().copied(), rng))
    }

    /// Those of whom anything is remembered.
    fn recorded(&self) -> impl Iterator<Item = (PI, &Record)> + Clone {
        let recorded = |one: &Reserve<PI>| Some((one.id, self.records.find(one.record)?));
        self.reserves.iter().filter_map(recorded)
    }

    pub(super) fn remove(&mut self, id: &PI) {
        if let Some(place) = self.place(id) {
            let removed = self.reserves.remove(place);
            if removed.record.is_some() {
                self.records.remove(removed.record);
            }
        }
    }

    /// Something was heard of the peer itself.
    pub(super) fn heard(&mut self, id: &PI) {
        if self.records.0.is_empty() {
            return;
        }
        if let Some(record) = self.record_mut(id) {
            record.suspect = false;
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
        let Some(record) = self.make_record(id) else {
            return false;
        };
        record.suspect = true;
        record.lost = true;
        record.looking = false;
        record.retry_at = Some(wait(record.failures));
        if !isolated || record.failures < DOUBLINGS {
            record.failures = record.failures.saturating_add(1);
        }
        let forget = !isolated && record.failures >= ATTEMPTS_UNTIL_FORGOTTEN;
        if forget {
            self.remove(id);
        }
        forget
    }

    /// The peer is there, but has no room for us.
    pub(super) fn refused(&mut self, id: &PI, wait: impl FnOnce(u8) -> Instant) {
        if let Some(record) = self.make_record(id) {
            record.suspect = false;
            record.looking = false;
            record.retry_at = Some(wait(record.failures));
            record.failures = record.failures.saturating_add(1).min(DOUBLINGS);
        }
    }

    /// The peer is said to look for a neighbor: worth asking next, and at once.
    pub(super) fn looking(&mut self, id: &PI) {
        if let Some(record) = self.make_record(id) {
            record.looking = true;
            record.retry_at = None;
        }
    }

    /// There is no neighbor left: everyone may be asked again at the time that `at` gives.
    pub(super) fn hasten(&mut self, mut at: impl FnMut() -> Instant) {
        for record in self.records.all() {
            if let Some(retry_at) = &mut record.retry_at {
                *retry_at = at().min(*retry_at);
            }
        }
    }

    /// Takes back that anyone was lost.
    pub(super) fn nobody_lost(&mut self) {
        self.records.all().for_each(|record| record.lost = false);
    }

    pub(super) fn not_lost(&mut self, id: &PI) {
        if let Some(record) = self.record_mut(id) {
            record.lost = false;
        }
    }

    pub(super) fn is_suspect(&self, id: &PI) -> bool {
        self.record(id).is_some_and(|record| record.suspect)
    }

    pub(super) fn was_lost(&self, id: &PI) -> bool {
        self.record(id).is_some_and(|record| record.lost)
    }

    /// The lost peer that was not tried for the longest time.
    pub(super) fn longest_lost(&self, requests: &Requests<PI>) -> Option<PI> {
        let lost = self
            .recorded()
            .filter(|(id, record)| record.lost && !requests.contains(id));
        Some(lost.min_by_key(|(_, record)| record.retry_at)?.0)
    }

    /// Whom to ask for a place now: a random peer that is looking for one itself, else one that
    /// is no suspect, else a suspect.
    pub(super) fn pick_candidate(
        &self,
        now: Instant,
        requests: &Requests<PI>,
        rng: &mut impl Rng,
    ) -> Option<PI> {
        let retry_at = |one: &Reserve<PI>| self.records.find(one.record)?.retry_at;
        let is_ready = |one: &&Reserve<PI>| {
            retry_at(one).is_none_or(|at| at <= now) && !requests.contains(&one.id)
        };
        let ready = self.reserves.iter().filter(is_ready);
        let looking = self
            .recorded()
            .filter(|(id, record)| record.looking && !requests.contains(id))
            .filter(|(_, record)| record.retry_at.is_none_or(|at| at <= now));
        let fine = ready.clone().filter(|one| self.is_fine(one));
        pick(looking.map(|(id, _)| id), rng)
            .or_else(|| pick(fine.map(|one| one.id), rng))
            .or_else(|| pick(ready.map(|one| one.id), rng))
    }

    /// When the next peer that has to wait may be asked.
    pub(super) fn next_retry(&self, now: Instant, requests: &Requests<PI>) -> Option<Instant> {
        let waiting = self.recorded().filter(|(id, _)| !requests.contains(id));
        waiting
            .filter_map(|(_, record)| record.retry_at)
            .filter(|at| *at > now)
            .min()
    }

    /// Up to `count` random peers to tell others about.
    pub(super) fn sample_except(&self, count: usize, except: &[PI], rng: &mut impl Rng) -> Vec<PI> {
        let fine = self.reserves.iter().filter(|one| self.is_fine(one));
        let ids = fine.map(|one| one.id).filter(|id| !is_among(id, except));
        sample(ids.collect(), count, rng)
    }
}

/// How much more room a view of `len` peers takes that is to grow: as much again, but no more than there
/// may ever be.
fn room_to_grow(len: usize, capacity: usize) -> usize {
    len.max(4).min(capacity.saturating_sub(len)).max(1)
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
