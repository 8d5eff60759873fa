//! Messages that were announced but did not arrive yet (PlumTree, "Fault Tolerance and Tree
//! Repair").
//!
//! The ids in here are whatever peers claim, so the map is hashed under secret keys and bounded.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
};

use smallvec::{SmallVec, smallvec};

use super::{
    message::Round,
    neighbors::{Neighbors, Serial},
};
use crate::proto::{MessageId, clock::At, hash::Keyed};

/// The shortest time after which the next peer is asked. A timeout of zero would ask all at once,
/// and ask one whose allowance is used up for ever.
const SHORTEST_TIMEOUT: u64 = 1_000_000;

/// By how many timeouts a message is put off because everyone who could be asked was asked too much lately.
const PATIENCE: u8 = 50;

/// Someone says that it has a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Who.
    pub(super) claimant: Serial,
    /// The round that the message would arrive with.
    pub(super) round: Round,
}

/// A message that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The one time at which something is done about it.
    due: At,
    /// When it was first announced.
    pub(super) announced: At,
    /// Everyone who claims to have it. Those already asked stand first, then those who came first.
    pub(super) claims: SmallVec<[Claim; 2]>,
    /// How many were asked.
    asked: usize,
    /// By how many timeouts it may still be put off without anyone being asked.
    patience: u8,
    /// Whose share of the room is used: who announced it first, unless that one has left.
    pub(super) first: Serial,
}

impl Wanted {
    /// Whether it may be put off once more without anyone being asked, by so many timeouts.
    pub(super) fn waits_patiently(&mut self, timeouts: u8) -> bool {
        let waits = self.patience > 0;
        self.patience = self.patience.saturating_sub(timeouts);
        waits
    }

    /// One more claim. Who was asked already and announces the message again has not sent it, and
    /// may be asked once more: a peer that has a backlog of ours announces what it was asked for.
    fn note(&mut self, claim: Claim, limit: usize) -> Outcome {
        let mut known = self.claims.iter();
        let place = known.position(|one| one.claimant == claim.claimant);
        match place {
            Some(place) if place < self.asked => {
                self.claims.remove(place);
                self.claims.push(claim);
                self.asked -= 1;
                Outcome::Noted
            }
            Some(_) => Outcome::Noted,
            None if self.claims.len() < limit => {
                self.claims.push(claim);
                Outcome::Noted
            }
            None => Outcome::EnoughClaims,
        }
    }

    /// Takes the first claim that was not acted upon and that `usable` agrees to.
    pub(super) fn next_claim(&mut self, mut usable: impl FnMut(&Claim) -> bool) -> Option<Claim> {
        let place = (self.asked..self.claims.len())
            .find(|place| self.claims.get(*place).is_some_and(&mut usable))?;
        self.claims.swap(place, self.asked);
        let claim = self.claims.get(self.asked).copied();
        self.asked += 1;
        claim
    }
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The message was not waited for before.
    First,
    /// One more peer to ask, or one that is known already.
    Noted,
    /// Too many messages are waited for.
    Full,
    /// Enough other peers claim to have it.
    EnoughClaims,
}

/// All messages that are waited for.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    wanted: HashMap<MessageId, Wanted, Keyed>,
    /// Ids by the time at which they are due, and by a count where that is the same. An entry is
    /// stale when its id is gone or due at another time.
    queue: BinaryHeap<Reverse<(At, u32, MessageId)>>,
    count: u32,
    /// Whether some may be in nobody's share, since who announced them has left.
    orphaned: bool,
    /// How often anything was put off.
    #[cfg(test)]
    pub(super) put_off: usize,
}

impl Missing {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self {
            wanted: HashMap::with_hasher(keyed),
            queue: BinaryHeap::new(),
            count: 0,
            orphaned: false,
            #[cfg(test)]
            put_off: 0,
        }
    }

    /// Messages that are waited for.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether no message is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self, limit: usize, claims_limit: usize) {
        assert!(self.wanted.len() <= limit, "missing messages");
        let queued = self.queue.len();
        assert!(queued <= 2 * self.wanted.len() + 64 + 1, "entries due");
        assert!(queued >= self.wanted.len(), "all are due one day");
        let mut wanted = self.wanted.values();
        assert!(
            wanted.all(|one| one.claims.len() <= claims_limit),
            "claims of one"
        );
    }

    /// Notes that a neighbor has left which was the first to announce some of them. They stay, since others may
    /// still announce them, and what was announced for longer is asked for sooner.
    pub(super) fn orphan(&mut self) {
        self.orphaned = true;
    }

    /// Makes room where it may be needed for `more` messages, and some were announced by neighbors that have left:
    /// what nobody else has announced is waited for in vain. Others who have announced the rest
    /// take it over, as far as they have [a share left](Self::has_room).
    #[inline]
    pub(super) fn clear_orphans<PI: Copy + Ord>(
        &mut self,
        more: usize,
        limit: usize,
        neighbors: &mut Neighbors<PI>,
    ) {
        if self.orphaned && self.len() + more > limit / 2 {
            self.orphaned = false;
            self.hand_over_orphans(limit, neighbors);
        }
    }

    fn hand_over_orphans<PI: Copy + Ord>(&mut self, limit: usize, neighbors: &mut Neighbors<PI>) {
        let own = own_share(limit, neighbors.len());
        let mut ids: Vec<_> = self.queue.iter().map(|Reverse(entry)| *entry).collect();
        ids.sort_unstable();
        for (due, _, id) in ids {
            let Some(wanted) = self.wanted.get_mut(&id) else {
                continue;
            };
            if wanted.due != due || neighbors.by_serial(wanted.first).is_some() {
                continue;
            }
            let heir = wanted.claims.iter().map(|one| one.claimant).find(|one| {
                let heir = neighbors.by_serial(*one);
                heir.is_some_and(|one| (one.announced_first as usize) < own)
            });
            match heir.and_then(|heir| neighbors.by_serial(heir)) {
                Some(heir) => {
                    heir.announced_first += 1;
                    wanted.first = heir.serial;
                }
                None => {
                    self.wanted.remove(&id);
                }
            }
        }
        self.drop_stale();
    }

    /// Whether one of `neighbors` that was the first to announce `used` missing messages may be
    /// the first to announce another one, where there may be `limit` in all.
    ///
    /// Half of the room is for whoever comes first; of the other half every neighbor has an equal
    /// share. So however many ids one makes up, there is room for those of the others, and a lone
    /// neighbor with much to tell still gets more than half of all.
    #[inline]
    pub(super) fn has_room(&self, limit: usize, used: u32, neighbors: usize) -> bool {
        let own = own_share(limit, neighbors);
        self.len() < limit && (self.len() < limit / 2 || (used as usize) < own)
    }

    /// Makes room for this many messages more, as far as there may be any (`limit` in all): growing
    /// step by step would hash everything again and again.
    pub(super) fn reserve(&mut self, more: usize, limit: usize) {
        let more = more.min(limit.saturating_sub(self.len()));
        self.wanted.reserve(more);
        self.queue.reserve(more);
    }

    /// Notes that a neighbor claims to have a message. If it is the first to do so, and there is
    /// [room](Self::has_room), the message is `due` then. So many may claim to have one.
    #[inline]
    pub(super) fn claim(
        &mut self,
        id: MessageId,
        claim: Claim,
        now: At,
        due: At,
        (has_room, claims_limit): (bool, usize),
    ) -> Outcome {
        match self.wanted.entry(id) {
            Entry::Occupied(entry) => {
                let wanted = entry.into_mut();
                let outcome = wanted.note(claim, claims_limit);
                // It was put off for others: whoever else has it need not wait for them.
                if wanted.patience < PATIENCE && due < wanted.due {
                    wanted.due = due;
                    self.enqueue(due, id);
                    self.drop_stale();
                }
                outcome
            }
            Entry::Vacant(_) if !has_room => Outcome::Full,
            Entry::Vacant(entry) => {
                entry.insert(Wanted {
                    due,
                    announced: now,
                    claims: smallvec![claim],
                    asked: 0,
                    patience: PATIENCE,
                    first: claim.claimant,
                });
                self.enqueue(due, id);
                Outcome::First
            }
        }
    }

    /// Notes a claim for which there is no room, in place of one by a neighbor that has left. Says whether there
    /// was such a one.
    pub(super) fn replace_claim<PI: Copy + Ord>(
        &mut self,
        id: &MessageId,
        claim: Claim,
        neighbors: &mut Neighbors<PI>,
    ) -> bool {
        let Some(wanted) = self.wanted.get_mut(id) else {
            return false;
        };
        let mut claims = wanted.claims.iter();
        let Some(place) = claims.position(|one| neighbors.by_serial(one.claimant).is_none()) else {
            return false;
        };
        wanted.claims.remove(place);
        wanted.asked -= usize::from(place < wanted.asked);
        wanted.claims.push(claim);
        true
    }

    /// Stops waiting for a message.
    #[inline]
    pub(super) fn remove(&mut self, id: &MessageId) -> Option<Wanted> {
        if self.wanted.is_empty() {
            return None;
        }
        self.remove_of_some(id)
    }

    fn remove_of_some(&mut self, id: &MessageId) -> Option<Wanted> {
        let removed = self.wanted.remove(id)?;
        self.drop_stale();
        Some(removed)
    }

    fn enqueue(&mut self, due: At, id: MessageId) {
        self.queue.push(Reverse((due, self.count, id)));
        self.count = self.count.wrapping_add(1);
    }

    /// The next time at which something is due.
    pub(super) fn next_due(&self) -> Option<At> {
        self.queue.peek().map(|Reverse((due, ..))| *due)
    }

    /// A message that is due by `now`. It must be [removed](Self::remove) or
    /// [put off](Self::put_off).
    pub(super) fn pop_due(&mut self, now: At) -> Option<(MessageId, &mut Wanted)> {
        let id = loop {
            let Reverse((due, _, id)) = *self.queue.peek().filter(|one| one.0.0 <= now)?;
            self.queue.pop();
            if is_live(&self.wanted, due, &id) {
                break id;
            }
        };
        Some((id, self.wanted.get_mut(&id)?))
    }

    /// Does something about a message again after `timeout`.
    pub(super) fn put_off(&mut self, id: MessageId, timeout: u64, now: At) {
        #[cfg(test)]
        {
            self.put_off += 1;
        }
        if let Some(wanted) = self.wanted.get_mut(&id) {
            wanted.due = now.after(timeout.max(SHORTEST_TIMEOUT));
            let due = wanted.due;
            self.enqueue(due, id);
        }
        self.drop_stale();
    }

    /// Makes every message due that nobody was asked for yet.
    pub(super) fn hasten(&mut self, now: At) {
        let mut queue = std::mem::take(&mut self.queue).into_vec();
        queue.retain_mut(|Reverse((due, _, id))| match self.wanted.get_mut(id) {
            Some(wanted) if wanted.due == *due => {
                if wanted.asked == 0 {
                    *due = now.min(*due);
                    wanted.due = *due;
                }
                true
            }
            Some(_) | None => false,
        });
        self.queue = queue.into();
    }

    /// Gives the memory back if nothing is waited for.
    pub(super) fn shrink(&mut self) {
        if self.wanted.is_empty() {
            self.wanted.shrink_to_fit();
            self.queue = BinaryHeap::new();
        }
    }

    /// Drops stale entries: always those at the front, so that nothing is ever due for a message
    /// that arrived, and all once they are the most.
    fn drop_stale(&mut self) {
        if self.wanted.is_empty() {
            self.queue.clear();
            return;
        }
        while let Some(Reverse((due, _, id))) = self.queue.peek()
            && !is_live(&self.wanted, *due, id)
        {
            self.queue.pop();
        }
        if self.queue.len() > 2 * self.wanted.len() + 64 {
            let wanted = &self.wanted;
            self.queue
                .retain(|Reverse((due, _, id))| is_live(wanted, *due, id));
        }
    }
}

/// How many of the places that are not for whoever comes first are for each neighbor.
fn own_share(limit: usize, neighbors: usize) -> usize {
    ((limit - limit / 2) / neighbors.max(1)).max(1)
}

/// Whether an entry of a queue is not stale.
fn is_live(wanted: &HashMap<MessageId, Wanted, Keyed>, due: At, id: &MessageId) -> bool {
    wanted.get(id).is_some_and(|wanted| wanted.due == due)
}
