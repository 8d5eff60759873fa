//! The two views (HyParView, section 4.1): neighbors we hold connections to, and peers to fall
//! back on.
//!
//! Both are plain vectors. They hold a handful of entries, are walked in a defined order, and take
//! memory only for what is in them.

use rand::{Rng, RngExt};
use smallvec::SmallVec;

use super::refill::Requests;
use crate::proto::{
    LinkId,
    clock::At,
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
}

/// The active view, oldest neighbor first.
///
/// Invariant: no peer twice, never more than the capacity, never ourselves.
#[derive(Clone, Debug)]
pub(super) struct ActiveView<PI> {
    neighbors: Vec<Neighbor<PI>>,
    /// The neighbors that were sent a Neighbor message which none has come back for, and when. Of
    /// importance for a few seconds only, so most of the time there are none.
    ///
    /// Invariant: neighbors, and none of them twice.
    asked: Vec<(PI, At)>,
    capacity: usize,
    /// Who is to go first where we want someone else: it may be gone already.
    dispensable: Option<PI>,
}

impl<PI: Copy + Ord> ActiveView<PI> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            neighbors: Vec::new(),
            asked: Vec::new(),
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

    pub(super) fn neighbor(&self, id: &PI) -> Option<&Neighbor<PI>> {
        self.neighbors
            .iter()
            .find(|neighbor| is_same(&neighbor.id, id))
    }

    /// Notes that a peer is sent a Neighbor message. Does nothing where it is no neighbor.
    pub(super) fn set_asked(&mut self, id: PI, now: At) {
        if !self.contains(&id) {
            return;
        }
        match self.asked.iter_mut().find(|(one, _)| is_same(one, &id)) {
            Some((_, at)) => *at = now,
            None => {
                self.asked.reserve_exact(1);
                self.asked.push((id, now));
            }
        }
    }

    /// When a Neighbor message was sent to a neighbor that none has come back for, if it was lately.
    pub(super) fn asked_at(&self, id: &PI) -> Option<At> {
        let asked = self.asked.iter().find(|(one, _)| is_same(one, id));
        asked.map(|(_, at)| *at)
    }

    /// A Neighbor message has come back: says when the last one was sent, as [`Self::asked_at`].
    pub(super) fn take_asked(&mut self, id: &PI) -> Option<At> {
        let at = self.asked_at(id);
        if at.is_some() {
            self.forget_asked(|(one, _)| is_same(one, id));
        }
        at
    }

    /// Forgets messages that were sent too long ago to be waited for.
    pub(super) fn forget_asked_before(&mut self, is_over: impl Fn(At) -> bool) {
        self.forget_asked(|(_, at)| is_over(*at));
    }

    fn forget_asked(&mut self, forget: impl Fn(&(PI, At)) -> bool) {
        self.asked.retain(|one| !forget(one));
        if self.asked.is_empty() {
            self.asked = Vec::new();
        }
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
        self.take_asked(id);
        Some(self.neighbors.remove(index))
    }

    /// Whom to drop for another: a random neighbor that is none of the `settled` oldest, and if there
    /// is such a one, one that can be spared.
    pub(super) fn pick_to_drop(
        &self,
        settled: usize,
        is_spare: impl Fn(&PI) -> bool,
        rng: &mut impl Rng,
    ) -> Option<PI> {
        let settled = settled.min(self.capacity.saturating_sub(1));
        let others = self.neighbors.get(settled..)?;
        let others = others.iter().map(|neighbor| neighbor.id);
        let spare: SmallVec<[PI; 8]> = others.clone().filter(is_spare).collect();
        pick_of(&spare, rng).or_else(|| pick(others, rng))
    }

    /// Whether a peer is one of the `settled` oldest neighbors, less one where there is room for no more.
    pub(super) fn is_settled(&self, id: &PI, settled: usize) -> bool {
        let settled = settled.min(self.capacity.saturating_sub(1));
        self.ids().take(settled).any(|one| is_same(one, id))
    }

    /// A random neighbor that is none of `except`.
    pub(super) fn pick_except(&self, except: &[PI], rng: &mut impl Rng) -> Option<PI> {
        let others = self.ids().copied().filter(|id| !is_among(id, except));
        pick(others, rng)
    }

    /// Up to `count` random neighbors that are none of `except`.
    pub(super) fn sample_except(&self, count: usize, except: &[PI], rng: &mut impl Rng) -> Vec<PI> {
        let mut others = Vec::with_capacity(self.neighbors.len());
        others.extend(self.ids().copied().filter(|id| !is_among(id, except)));
        sample(others, count, rng)
    }
}

/// What is remembered of a peer that was asked, or is said to look for a neighbor.
#[derive(Clone, Debug)]
struct Record<PI> {
    id: PI,
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
    retry_at: Option<At>,
}

/// What the other side of a Shuffle knows from us, while what it has sent is taken in.
#[derive(Debug)]
pub(super) struct Sent<'a, PI> {
    ids: &'a [PI],
    /// Which of them are in the passive view and no suspects, in its order, once that was asked for.
    known: Option<SmallVec<[PI; 8]>>,
}

impl<'a, PI: Copy + Ord> Sent<'a, PI> {
    pub(super) fn new(ids: &'a [PI]) -> Self {
        Self { ids, known: None }
    }

    fn known(&mut self, view: &PassiveView<PI>) -> &[PI] {
        let ids = self.ids;
        self.known.get_or_insert_with(|| match ids {
            [] => SmallVec::new(),
            _ => view
                .fine()
                .filter(|id| is_among(*id, ids))
                .copied()
                .collect(),
        })
    }

    fn dropped(&mut self, id: &PI) {
        if let Some(known) = &mut self.known {
            known.retain(|one| !is_same(one, id));
        }
    }

    fn inserted(&mut self, id: PI) {
        if let Some(known) = &mut self.known
            && is_among(&id, self.ids)
        {
            known.push(id);
        }
    }
}

/// The passive view.
///
/// Invariant: no peer twice, never more than the capacity, no neighbor, never ourselves.
#[derive(Clone, Debug)]
pub(super) struct PassiveView<PI> {
    reserves: Vec<PI>,
    /// What is remembered of a few of them.
    ///
    /// Invariant: of peers in the view, and of none twice.
    records: Vec<Record<PI>>,
    capacity: usize,
}

impl<PI: Copy + Ord> PassiveView<PI> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            reserves: Vec::new(),
            records: Vec::new(),
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
        let suspects = self.records.iter().filter(|record| record.suspect);
        suspects.count() > self.capacity / SUSPECTS_KEPT
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PI> + Clone {
        self.reserves.iter()
    }

    pub(super) fn contains(&self, id: &PI) -> bool {
        is_among(id, &self.reserves)
    }

    fn place(&self, id: &PI) -> Option<usize> {
        self.reserves.iter().position(|one| is_same(one, id))
    }

    /// What is remembered of a peer, if anything is.
    fn record(&self, id: &PI) -> Option<&Record<PI>> {
        self.records.iter().find(|record| is_same(&record.id, id))
    }

    fn record_mut(&mut self, id: &PI) -> Option<&mut Record<PI>> {
        let mut records = self.records.iter_mut();
        records.find(|record| is_same(&record.id, id))
    }

    /// What is remembered of a peer from now on. `None` when it is not in the view.
    fn make_record(&mut self, id: &PI) -> Option<&mut Record<PI>> {
        let known = self.records.iter().position(|one| is_same(&one.id, id));
        let place = match known {
            Some(place) => place,
            None if self.contains(id) => {
                self.records.reserve_exact(1);
                self.records.push(Record {
                    id: *id,
                    suspect: false,
                    lost: false,
                    looking: false,
                    failures: 0,
                    retry_at: None,
                });
                self.records.len() - 1
            }
            None => return None,
        };
        self.records.get_mut(place)
    }

    /// The peers of whom nothing bad is known.
    fn fine(&self) -> impl Iterator<Item = &PI> + Clone {
        let any = self.records.iter().any(|record| record.suspect);
        let all = self.reserves.iter();
        all.filter(move |id| !any || !self.is_suspect(id))
    }

    /// Adds a peer, and says which one had to go for it.
    ///
    /// In a full view that is first a suspect beyond [`SUSPECTS_KEPT`], then one of `sent` (what
    /// the other side of a Shuffle knows from us: section 4.4), then a random one.
    pub(super) fn insert(
        &mut self,
        id: PI,
        sent: &mut Sent<'_, PI>,
        rng: &mut impl Rng,
    ) -> Option<PI> {
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
            sent.dropped(&dropped);
        }
        if self.reserves.len() == self.reserves.capacity() {
            self.reserves
                .reserve_exact(room_to_grow(self.reserves.len(), self.capacity));
        }
        self.reserves.push(id);
        sent.inserted(id);
        dropped
    }

    fn pick_to_drop(&self, sent: &mut Sent<'_, PI>, rng: &mut impl Rng) -> Option<PI> {
        if self.has_spare_suspect() {
            let suspects = self.recorded().filter(|record| record.suspect);
            return Some(suspects.max_by_key(|record| record.failures)?.id);
        }
        // By the order of the view, as everyone else is picked.
        pick_of(sent.known(self), rng)
            .or_else(|| self.pick_fine(rng))
            .or_else(|| pick_of(&self.reserves, rng))
    }

    /// A random peer of whom nothing bad is known.
    fn pick_fine(&self, rng: &mut impl Rng) -> Option<PI> {
        if self.records.iter().any(|record| record.suspect) {
            pick(self.fine().copied(), rng)
        } else {
            pick_of(&self.reserves, rng)
        }
    }

    /// What is remembered, in the order of the view.
    fn recorded(&self) -> impl Iterator<Item = &Record<PI>> + Clone {
        self.reserves.iter().filter_map(|id| self.record(id))
    }

    pub(super) fn remove(&mut self, id: &PI) {
        if let Some(place) = self.place(id) {
            self.reserves.remove(place);
            self.records.retain(|record| !is_same(&record.id, id));
            if self.records.is_empty() {
                self.records = Vec::new();
            }
        }
    }

    /// Something was heard of the peer itself.
    pub(super) fn heard(&mut self, id: &PI) {
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
        wait: impl FnOnce(u8) -> At,
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
    pub(super) fn refused(&mut self, id: &PI, wait: impl FnOnce(u8) -> At) {
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
    pub(super) fn hasten(&mut self, mut at: impl FnMut() -> At) {
        for record in &mut self.records {
            if let Some(retry_at) = &mut record.retry_at {
                *retry_at = at().min(*retry_at);
            }
        }
    }

    /// Takes back that anyone was lost.
    pub(super) fn nobody_lost(&mut self) {
        self.records
            .iter_mut()
            .for_each(|record| record.lost = false);
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
            .filter(|record| record.lost && !requests.contains(&record.id));
        Some(lost.min_by_key(|record| record.retry_at)?.id)
    }

    /// Whom to ask for a place now: a random peer that is looking for one itself, else one that
    /// is no suspect, else a suspect.
    pub(super) fn pick_candidate(
        &self,
        now: At,
        requests: &Requests<PI>,
        rng: &mut impl Rng,
    ) -> Option<PI> {
        let is_due = |record: &Record<PI>| record.retry_at.is_none_or(|at| at <= now);
        let is_ready = |id: &PI| self.record(id).is_none_or(is_due) && !requests.contains(id);
        let looking = self
            .recorded()
            .filter(|record| record.looking && is_due(record) && !requests.contains(&record.id));
        pick(looking.map(|record| record.id), rng)
            .or_else(|| pick(self.fine().copied().filter(is_ready), rng))
            .or_else(|| pick(self.ids().copied().filter(is_ready), rng))
    }

    /// When the next peer that has to wait may be asked.
    pub(super) fn next_retry(&self, now: At, requests: &Requests<PI>) -> Option<At> {
        let waiting = self
            .records
            .iter()
            .filter(|record| !requests.contains(&record.id));
        waiting
            .filter_map(|record| record.retry_at)
            .filter(|at| *at > now)
            .min()
    }

    /// Up to `count` random peers to tell others about.
    pub(super) fn sample_except(&self, count: usize, except: &[PI], rng: &mut impl Rng) -> Vec<PI> {
        let mut ids = Vec::with_capacity(self.reserves.len());
        ids.extend(self.fine().filter(|id| !is_among(*id, except)));
        let chosen = sample(ids, count, rng);
        chosen.into_iter().copied().collect()
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

/// A random one of `items`.
fn pick_of<T: Copy>(items: &[T], rng: &mut impl Rng) -> Option<T> {
    pick(items.iter().copied(), rng)
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
