//! Neighbors that have left a moment ago: what they may ask for, and be asked, is what was left of it when they
//! went. Or who has used it up would go and come back.

use super::neighbors::{Allowances, Neighbor};
use crate::proto::{PeerIdentity, clock::At, peer::is_same};

/// So many are remembered. Whoever would have this forgotten needs as many identities, each of which may ask as well.
const AT_MOST: usize = 16;

/// Allowances are whole again after this long.
const WITHIN: u64 = 1_000_000_000;

#[derive(Clone, Debug)]
struct One<PI> {
    peer: PI,
    at: At,
    allowances: Box<Allowances>,
}

/// Those who left, in the order in which they did. Of most nothing is remembered, since nothing was asked.
///
/// Invariant: at most [`AT_MOST`], and no peer twice.
#[derive(Clone, Debug)]
pub(super) struct Departed<PI>(Option<Box<Few<PI>>>);

#[derive(Clone, Debug)]
struct Few<PI>(Vec<One<PI>>);

impl<PI: PeerIdentity> Departed<PI> {
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// A neighbor has left.
    pub(super) fn note(&mut self, neighbor: Neighbor<PI>, now: At) {
        let peer = neighbor.peer;
        let Some(allowances) = neighbor.into_allowances() else {
            return;
        };
        let Few(all) = &mut **self.0.get_or_insert_with(|| Box::new(Few(Vec::new())));
        all.retain(|one| now < one.at.after(WITHIN) && !is_same(&one.peer, &peer));
        if all.len() >= AT_MOST {
            all.remove(0);
        }
        all.push(One {
            peer,
            at: now,
            allowances,
        });
    }

    /// A peer is back: what is left of its allowances.
    pub(super) fn take(&mut self, peer: &PI) -> Option<Box<Allowances>> {
        let Few(all) = &mut **self.0.as_mut()?;
        let place = all.iter().position(|one| is_same(&one.peer, peer));
        let allowances = place.map(|place| all.remove(place).allowances);
        if all.is_empty() {
            self.0 = None;
        }
        allowances
    }

    /// Forgets those whose allowances are whole again.
    pub(super) fn forget_old(&mut self, now: At) {
        if let Some(few) = &mut self.0 {
            let Few(all) = &mut **few;
            all.retain(|one| now < one.at.after(WITHIN));
            if all.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Checks the bound.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self) {
        let all = self.0.as_ref().map_or(0, |few| few.0.len());
        assert!(all <= AT_MOST, "departed neighbors");
    }
}

#[cfg(test)]
mod tests {
    use super::{super::neighbors::Neighbors, *};

    #[test]
    fn the_latest_few_are_remembered_and_none_for_long() {
        let mut departed = Departed::new();
        let mut neighbors = Neighbors::new();
        let now = At::default();
        for peer in 0..40u32 {
            neighbors.add(peer, None, now);
            let neighbor = neighbors.find(&peer).expect("it was added");
            // Something was asked of it.
            let _ = neighbor.allowances();
            let neighbor = neighbors.remove(&peer).expect("it was added");
            departed.note(neighbor, now);
        }
        let few = departed.0.as_ref().expect("some left");
        assert_eq!(few.0.len(), AT_MOST);
        assert!(departed.take(&23).is_none(), "the first have made room");
        assert!(departed.take(&24).is_some());
        assert!(departed.take(&24).is_none(), "it is back");
        departed.forget_old(now.after(WITHIN));
        assert!(departed.take(&39).is_none());
    }
}
