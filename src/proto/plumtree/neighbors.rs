//! The neighbors: who gets payloads at once, and who gets announcements.

use super::allowance::Allowance;
use crate::proto::clock::{At, MaybeAt};
use crate::proto::{MessageId, peer::is_same};

/// A link that has brought something new within this time is part of a busy tree. Of messages that
/// are under way together each finds another link of a circle to be the one too many: were all of
/// these pruned at once, the circle would fall apart.
const BUSY: u64 = 500_000_000;

/// A link that has been there for this long is not expected to go soon.
const SETTLED: u64 = 30_000_000_000;

/// How many more duplicates than news prune a link of a busy tree, if it is drawn.
const SURPLUS: i8 = 4;

/// One of so many duplicates beyond that is drawn. Where all nodes talk, all links have brought as
/// many by the same moment.
const DRAWN: u64 = 8;

/// How many more duplicates the other links of a busy tree have to bring once one was pruned: it may
/// be that they are needed now.
const SPARED: i8 = 4;

/// An announcer changes places with the sender when it would have saved the configured hops in sum, over
/// so many messages in a row at least that it had on a shorter way.
///
/// The paper changes the tree at once, for trees that one node sends through. Where senders change,
/// what is shorter for one is longer for the next: the tree would never rest, and be worse than the
/// one that it began as. What is shorter every time is shorter for all, and little by little adds up.
const GAINS_IN_A_ROW: u8 = 3;

/// Names one neighbor from the time it came up to the time it went down. A peer that comes back
/// gets a new one, so nothing that was noted about its earlier stay can be taken for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Serial(u32);

/// A set of neighbors, one bit each. See [`Neighbor::bit`].
pub(super) type NeighborSet = u64;

/// What may be exchanged with a neighbor to repair the tree.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowances {
    /// Payloads sent to it for its Grafts.
    pub(super) answers: Allowance,
    /// Grafts sent to it.
    pub(super) questions: Allowance,
}

/// One neighbor.
#[derive(Clone, Debug)]
pub(super) struct Neighbor<PI> {
    pub(super) peer: PI,
    pub(super) serial: Serial,
    slot: u8,
    /// Whether it gets payloads (the paper's eager push peers) or announcements (lazy).
    pub(super) eager: bool,
    /// While lazy: the place in the queue of announcements from which on they are for it.
    pub(super) lazy_since: u64,
    /// While lazy: whether it announces to us what we would announce to it, and sooner.
    pub(super) announces: bool,
    /// When we last sent it a Prune, if it was lazy ever since.
    pub(super) pruned_at: MaybeAt,
    /// `None` while they are whole: hardly any link is ever repaired.
    allowances: Option<Box<Allowances>>,
    /// When it last brought a payload that was new.
    useful_at: MaybeAt,
    /// How many more of its payloads were duplicates than were new, lately.
    surplus: i8,
    /// How many hops it would have saved, over the latest messages in a row.
    gain: u16,
    /// How many messages these are.
    gains: u8,
    /// Missing messages that it was the first to announce.
    pub(super) announced_first: u32,
    /// When it came up.
    pub(super) up_at: At,
    /// Whether it was told of the latest messages.
    pub(super) told: bool,
}

impl<PI> Neighbor<PI> {
    /// The bit of this neighbor in a [`NeighborSet`], unlike that of all others; none for those
    /// beyond the 64th.
    pub(super) fn bit(&self) -> NeighborSet {
        1u64.checked_shl(self.slot.into()).unwrap_or(0)
    }

    /// What may be exchanged with it to repair the tree.
    pub(super) fn allowances(&mut self) -> &mut Allowances {
        self.allowances.get_or_insert_default()
    }

    /// What is left of them, where any were used.
    pub(super) fn into_allowances(self) -> Option<Box<Allowances>> {
        self.allowances
    }

    /// It would have brought a message with fewer hops. Returns whether that was enough in all.
    pub(super) fn gained(&mut self, hops: u16, enough: u16) -> bool {
        self.gain = self.gain.saturating_add(hops);
        self.gains = self.gains.saturating_add(1);
        let is_enough = self.gain >= enough && self.gains >= GAINS_IN_A_ROW;
        if is_enough {
            self.forget_gains();
        }
        is_enough
    }

    fn forget_gains(&mut self) {
        (self.gain, self.gains) = (0, 0);
    }

    /// It has brought a payload that was new.
    pub(super) fn brought_news(&mut self, now: At) {
        self.useful_at = MaybeAt::some(now);
        self.surplus = (self.surplus - 1).max(-SURPLUS);
    }

    /// Whether it has just brought a payload that was new.
    pub(super) fn is_busy(&self, now: At) -> bool {
        self.useful_at.get().is_some_and(|at| now < at.after(BUSY))
    }

    /// It has brought a duplicate. Returns whether that is reason enough to prune it: always, unless
    /// it has just brought something new, or other messages have just come at all, in which case it has
    /// to happen a few times.
    pub(super) fn brought_duplicate(
        &mut self,
        id: &MessageId,
        latest_other: Option<At>,
        now: At,
    ) -> bool {
        let busy = self.is_busy(now) || latest_other.is_some_and(|at| now < at.after(BUSY));
        self.surplus = self.surplus.saturating_add(1);
        let prune = !busy || (self.surplus > SURPLUS && self.is_drawn(id, DRAWN));
        if prune {
            self.surplus = 0;
        }
        prune
    }

    /// Our announcements crossed with its own, of which this is one. Whether it is left to announce is drawn:
    /// it draws as well, and sooner or later one of us does and the other does not.
    pub(super) fn crossed(&mut self, id: &MessageId) {
        self.announces = self.bit() != 0 && !self.eager && self.is_drawn(id, 2);
    }

    /// Draws one link of so many: from the id of a message, which is as good as random, and from the
    /// nanoseconds of the time when the link came up, which nobody else knows.
    fn is_drawn(&self, id: &MessageId, of: u64) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ self.up_at.0;
        // These bits of the product depend on the 35 lowest of the seed: on some of the id, and on what a
        // clock shows of half a minute.
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(of)
    }
}

/// All neighbors, in the order in which they came up.
///
/// They are few, so everything here is a linear search.
#[derive(Clone, Debug)]
pub(super) struct Neighbors<PI> {
    list: Vec<Neighbor<PI>>,
    next_serial: u32,
    /// When the youngest came up.
    latest_up_at: At,
    /// Whether one of them may have gained.
    is_gaining: bool,
}

impl<PI: Copy + Ord> Neighbors<PI> {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::new(),
            next_serial: 0,
            latest_up_at: At::default(),
            is_gaining: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Neighbor<PI>> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Neighbor<PI>> {
        self.list.iter_mut()
    }

    pub(super) fn find(&mut self, peer: &PI) -> Option<&mut Neighbor<PI>> {
        self.list.iter_mut().find(|one| is_same(&one.peer, peer))
    }

    pub(super) fn by_serial(&mut self, serial: Serial) -> Option<&mut Neighbor<PI>> {
        self.list.iter_mut().find(|one| one.serial == serial)
    }

    /// Whether all have been there for a while.
    pub(super) fn are_settled(&self, now: At) -> bool {
        self.list.is_empty() || self.latest_up_at.after(SETTLED) <= now
    }

    /// Who has brought a message last, or the youngest where nobody has.
    pub(super) fn latest_to_bring(&self) -> Option<&Neighbor<PI>> {
        self.list.iter().max_by_key(|one| one.useful_at.get())
    }

    /// Notes that a link of the tree is no more: others may have to take its place.
    pub(super) fn spare(&mut self) {
        for one in &mut self.list {
            one.surplus = (one.surplus - SPARED).max(-SURPLUS);
        }
    }

    /// Notes that a message came on a way that no neighbor but this one could have made shorter.
    pub(super) fn reset_gains(&mut self, but: Option<Serial>) {
        if !std::mem::replace(&mut self.is_gaining, but.is_some()) {
            return;
        }
        for one in self.list.iter_mut().filter(|one| Some(one.serial) != but) {
            one.forget_gains();
        }
    }

    /// Adds an eager neighbor.
    pub(super) fn add(&mut self, peer: PI, allowances: Option<Box<Allowances>>, now: At) -> Serial {
        let serial = Serial(self.next_serial);
        self.next_serial = self.next_serial.wrapping_add(1);
        let taken = self.list.iter().fold(0, |set, one| set | one.bit());
        self.latest_up_at = now;
        self.list.reserve_exact(1);
        self.list.push(Neighbor {
            peer,
            serial,
            slot: u64::trailing_ones(taken) as u8,
            eager: true,
            lazy_since: 0,
            announces: false,
            pruned_at: MaybeAt::NONE,
            allowances,
            useful_at: MaybeAt::NONE,
            surplus: 0,
            gain: 0,
            gains: 0,
            announced_first: 0,
            up_at: now,
            told: false,
        });
        serial
    }

    /// Removes a neighbor, keeping the order of the others.
    pub(super) fn remove(&mut self, peer: &PI) -> Option<Neighbor<PI>> {
        let place = self.list.iter().position(|one| is_same(&one.peer, peer))?;
        let removed = self.list.remove(place);
        self.latest_up_at = self.list.last().map_or(At::default(), |one| one.up_at);
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_distinct_and_reused() {
        let mut neighbors = Neighbors::new();
        for peer in 0..70u32 {
            neighbors.add(peer, None, At(0));
        }
        let bits: Vec<_> = neighbors.iter().map(Neighbor::bit).collect();
        assert_eq!(bits.iter().fold(0, |set, bit| set | bit), u64::MAX);
        assert!(bits[64..].iter().all(|bit| *bit == 0));
        let before = neighbors.remove(&7).map(|one| (one.bit(), one.serial));
        let serial = neighbors.add(7, None, At(0));
        let again = neighbors.find(&7).map(|one| one.bit());
        assert_eq!(before.map(|(bit, _)| bit), again);
        assert_ne!(before.map(|(_, serial)| serial), Some(serial));
    }
}
