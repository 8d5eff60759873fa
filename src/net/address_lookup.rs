//! What gossip taught us about addresses, offered to iroh for its dials.
//!
//! Join and ForwardJoin messages carry the addresses of the nodes they introduce. The driver puts
//! them here; iroh asks here when the driver dials by identity. Entries expire, and there are only
//! so many.

use std::{
    collections::VecDeque,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use futures_lite::StreamExt;
use indexmap::IndexMap;
use iroh::{
    EndpointId,
    address_lookup::{self, AddressLookup, EndpointInfo},
};
use n0_future::boxed::BoxStream;

use super::addr_info::AddrInfo;

/// How long the addresses of a peer are kept after they were last heard of.
pub(crate) const RETENTION: Duration = Duration::from_secs(5 * 60);

/// How much longer a peer must be heard of for its entry to live longer. It bounds the void times
/// in `Known::heard` to a few for each peer.
const REFRESH: Duration = Duration::from_secs(60);

/// An address lookup fed by gossip. Clones share their entries.
#[derive(Clone, Debug)]
pub(crate) struct GossipAddressLookup {
    known: Arc<RwLock<Known>>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Known {
    peers: IndexMap<EndpointId, Entry>,
    /// Every time at which a peer was heard of, oldest first; all but the last of a peer are void.
    heard: VecDeque<(Instant, EndpointId)>,
}

#[derive(Debug)]
struct Entry {
    info: AddrInfo,
    heard: Instant,
}

impl GossipAddressLookup {
    const PROVENANCE: &'static str = "gossip";

    /// A lookup that knows up to `capacity` peers, and forgets the longest unheard of for others.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            known: Default::default(),
            capacity: capacity.max(1),
        }
    }

    /// Notes how to reach a peer, in place of what was known. Returns how many others were
    /// forgotten for it, or `None` where there are no addresses.
    pub(crate) fn learn(&self, peer: EndpointId, info: AddrInfo, now: Instant) -> Option<usize> {
        if info == AddrInfo::default() {
            return None;
        }
        let mut known = self.write();
        if let Some(entry) = known.peers.get_mut(&peer)
            && now < entry.heard + REFRESH
        {
            entry.info = info;
            return Some(0);
        }
        known.peers.insert(peer, Entry { info, heard: now });
        known.heard.push_back((now, peer));
        let evicted = known.peers.len().saturating_sub(self.capacity);
        while known.peers.len() > self.capacity {
            known.forget_first();
        }
        Some(evicted)
    }

    /// What is known of a peer.
    pub(crate) fn addresses(&self, peer: &EndpointId) -> Option<AddrInfo> {
        self.read().peers.get(peer).map(|entry| entry.info.clone())
    }

    /// Whether anything is known of a peer.
    pub(crate) fn knows(&self, peer: &EndpointId) -> bool {
        self.read().peers.contains_key(peer)
    }

    /// Checks that everything is within its bounds.
    #[cfg(test)]
    pub(crate) fn check_bounds(&self) {
        let known = self.write();
        assert!(known.peers.len() <= self.capacity, "known addresses");
        let refreshes = RETENTION.as_secs().div_ceil(REFRESH.as_secs()) as usize + 1;
        assert!(
            known.heard.len() <= refreshes * self.capacity,
            "times at which peers were heard of"
        );
    }

    /// Forgets peers unheard of for too long; returns when the next one is due.
    pub(crate) fn forget_stale(&self, now: Instant) -> Option<Instant> {
        let mut known = self.write();
        while let Some(&(heard, _)) = known.heard.front() {
            let due = heard + RETENTION;
            if due > now {
                return Some(due);
            }
            known.forget_first();
        }
        None
    }

    // Nothing in here panics halfway through a change, so a poisoned lock is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known
            .read()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known
            .write()
            .unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Known {
    fn forget_first(&mut self) {
        if let Some((heard, peer)) = self.heard.pop_front()
            && self
                .peers
                .get(&peer)
                .is_some_and(|entry| entry.heard == heard)
        {
            self.peers.swap_remove(&peer);
        }
    }
}

impl AddressLookup for GossipAddressLookup {
    fn resolve(
        &self,
        id: EndpointId,
    ) -> Option<BoxStream<Result<address_lookup::Item, address_lookup::Error>>> {
        let info = self.addresses(&id)?;
        let info = EndpointInfo::from(info.into_addr(id));
        let item = address_lookup::Item::new(info, Self::PROVENANCE, None);
        Some(futures_lite::stream::once(Ok(item)).boxed())
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;
    use iroh::{EndpointAddr, SecretKey};

    use super::*;

    fn id(n: u8) -> EndpointId {
        SecretKey::from_bytes(&[n; 32]).public()
    }

    fn info(port: u16) -> AddrInfo {
        EndpointAddr::new(id(0))
            .with_ip_addr(([127, 0, 0, 1], port).into())
            .into()
    }

    fn knows(lookup: &GossipAddressLookup, n: u8) -> Option<AddrInfo> {
        let mut items = lookup.resolve(id(n))?;
        let item = block_on(items.next())?.ok()?;
        Some(item.into_endpoint_addr().into())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant serves as the origin"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_latest_addresses_count() {
        let (lookup, now) = (GossipAddressLookup::new(8), origin());
        assert_eq!(lookup.learn(id(1), info(1), now), Some(0));
        let later = now + Duration::from_secs(1);
        assert_eq!(lookup.learn(id(1), info(2), later), Some(0));
        assert_eq!(lookup.learn(id(1), AddrInfo::default(), now), None);
        assert_eq!(knows(&lookup, 1), Some(info(2)));
        assert_eq!(knows(&lookup, 2), None);
    }

    #[test]
    fn entries_expire_after_they_were_last_heard_of() {
        let (lookup, now) = (GossipAddressLookup::new(8), origin());
        lookup.learn(id(1), info(1), now);
        let later = now + RETENTION / 2;
        lookup.learn(id(1), info(1), later);
        assert_eq!(
            lookup.forget_stale(now + RETENTION),
            Some(later + RETENTION)
        );
        assert!(knows(&lookup, 1).is_some());
        assert_eq!(lookup.forget_stale(later + RETENTION), None);
        assert!(knows(&lookup, 1).is_none());
    }

    #[test]
    fn the_longest_unheard_of_makes_room() {
        let (lookup, now) = (GossipAddressLookup::new(2), origin());
        let evicted = (1..=3).map(|n| {
            let at = now + Duration::from_secs(n.into());
            lookup.learn(id(n), info(n.into()), at)
        });
        assert!(evicted.eq([Some(0), Some(0), Some(1)]));
        assert!(knows(&lookup, 1).is_none());
        assert!(knows(&lookup, 2).is_some() && knows(&lookup, 3).is_some());
        for second in 0..1000 {
            lookup.learn(id(3), info(3), now + Duration::from_secs(second));
            lookup.forget_stale(now + Duration::from_secs(second));
        }
        assert!(lookup.known.read().unwrap().heard.len() <= 6);
        assert!(knows(&lookup, 3).is_some());
    }
}
