//! The neighbors of a topic, as those who follow its events know them: a handful of keys for each
//! subscription, so in as little memory as they take.

use std::cmp::Ordering;

use iroh_base::EndpointId;

/// A set of few peers, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerSet(Vec<EndpointId>);

impl PeerSet {
    pub(crate) fn insert(&mut self, peer: EndpointId) {
        if let Err(place) = self.place(&peer) {
            self.0.reserve_exact(1);
            self.0.insert(place, peer);
        }
    }

    pub(crate) fn remove(&mut self, peer: &EndpointId) {
        if let Ok(place) = self.place(peer) {
            self.0.remove(place);
            if self.0.is_empty() {
                self.0 = Vec::new();
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.0.iter().copied()
    }

    fn place(&self, peer: &EndpointId) -> Result<usize, usize> {
        self.0.binary_search_by(|known| by_bytes(known, peer))
    }
}

fn by_bytes(one: &EndpointId, other: &EndpointId) -> Ordering {
    one.as_bytes().cmp(other.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use iroh_base::SecretKey;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_peer_set_is_a_set(changes in prop::collection::vec((any::<bool>(), 0..6u8), 0..60)) {
            let keys: Vec<_> = (0..6u8).map(|n| SecretKey::from_bytes(&[n; 32]).public()).collect();
            let (mut set, mut model) = (PeerSet::default(), BTreeSet::new());
            for (comes, which) in changes {
                let key = keys[usize::from(which)];
                if comes {
                    set.insert(key);
                    model.insert(key);
                } else {
                    set.remove(&key);
                    model.remove(&key);
                }
                prop_assert_eq!(set.is_empty(), model.is_empty());
                let members: BTreeSet<_> = set.iter().collect();
                prop_assert_eq!(set.iter().count(), members.len());
                prop_assert_eq!(&members, &model);
            }
        }
    }
}
