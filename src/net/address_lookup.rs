//! What gossip taught us about addresses, offered to iroh for its dials.
//!
//! Join and ForwardJoin messages carry the addresses of the nodes they introduce. The driver puts
//! them here; iroh asks here when the driver dials by identity. Entries expire, and there are only
//! so many.
//!
//! What a peer says of itself over its own connection stands beside what others say of it, and neither takes
//! the place of the other: those may be wrong, and a dial tries both.

use std::{
    collections::VecDeque,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use futures_lite::StreamExt;
use indexmap::{IndexMap, map::Entry::Occupied};
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
    /// What the peer says of itself, and what others said of it last.
    infos: [AddrInfo; 2],
    heard: Instant,
}

/// Who says where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Teller {
    /// The peer itself.
    Itself = 0,
    /// Somebody else.
    Others = 1,
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

    /// Notes how to reach a peer, in place of what was known from the same teller. Returns how many others were
    /// forgotten for it, or `None` where there are no addresses.
    pub(crate) fn learn(
        &self,
        peer: EndpointId,
        info: AddrInfo,
        teller: Teller,
        now: Instant,
    ) -> Option<usize> {
        if info == AddrInfo::default() {
            return None;
        }
        let mut known = self.write();
        let entry = known.peers.entry(peer);
        let is_fresh = matches!(&entry, Occupied(entry) if now < entry.get().heard + REFRESH);
        let entry = entry.or_insert_with(|| Entry {
            infos: Default::default(),
            heard: now,
        });
        entry.infos[teller as usize] = info;
        if is_fresh {
            return Some(0);
        }
        entry.heard = now;
        known.heard.push_back((now, peer));
        let evicted = known.peers.len().saturating_sub(self.capacity);
        while known.peers.len() > self.capacity {
            known.forget_first();
        }
        Some(evicted)
    }

    /// What is known of a peer: what it says itself, what others say, or both.
    pub(crate) fn addresses(&self, peer: &EndpointId) -> Vec<AddrInfo> {
        let known = self.read();
        let infos = known.peers.get(peer).map(|entry| &entry.infos);
        let infos = infos.into_iter().flatten();
        let infos = infos.filter(|info| **info != AddrInfo::default());
        infos.cloned().collect()
    }

    /// Whether anything is known of a peer from this teller.
    pub(crate) fn knows(&self, peer: &EndpointId, teller: Teller) -> bool {
        let known = self.read();
        let entry = known.peers.get(peer);
        entry.is_some_and(|entry| entry.infos[teller as usize] != AddrInfo::default())
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
        let infos = self.addresses(&id);
        if infos.is_empty() {
            return None;
        }
        let items = infos.into_iter().map(move |info| {
            let info = EndpointInfo::from(info.into_addr(id));
            Ok(address_lookup::Item::new(info, Self::PROVENANCE, None))
        });
        Some(futures_lite::stream::iter(items).boxed())
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
        assert_eq!(lookup.learn(id(1), info(1), Teller::Others, now), Some(0));
        let later = now + Duration::from_secs(1);
        assert_eq!(lookup.learn(id(1), info(2), Teller::Others, later), Some(0));
        assert_eq!(
            lookup.learn(id(1), AddrInfo::default(), Teller::Others, now),
            None
        );
        assert_eq!(knows(&lookup, 1), Some(info(2)));
        assert_eq!(knows(&lookup, 2), None);
    }

    #[test]
    fn what_others_say_takes_no_place_of_what_a_peer_says_itself() {
        let (lookup, now) = (GossipAddressLookup::new(8), origin());
        lookup.learn(id(1), info(1), Teller::Itself, now);
        for port in 2..100 {
            let later = now + Duration::from_secs(port.into());
            lookup.learn(id(1), info(port), Teller::Others, later);
        }
        assert_eq!(lookup.addresses(&id(1)), [info(1), info(99)]);
        let items = lookup.resolve(id(1)).expect("it is known");
        let items = block_on(items.collect::<Vec<_>>()).into_iter();
        let dialed = items.map(|item| AddrInfo::from(item.unwrap().into_endpoint_addr()));
        assert!(dialed.eq([info(1), info(99)]));
        lookup.learn(id(1), info(100), Teller::Itself, now);
        assert_eq!(lookup.addresses(&id(1)), [info(100), info(99)]);
    }

    #[test]
    fn entries_expire_after_they_were_last_heard_of() {
        let (lookup, now) = (GossipAddressLookup::new(8), origin());
        lookup.learn(id(1), info(1), Teller::Others, now);
        let later = now + RETENTION / 2;
        lookup.learn(id(1), info(1), Teller::Others, later);
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
            lookup.learn(id(n), info(n.into()), Teller::Others, at)
        });
        assert!(evicted.eq([Some(0), Some(0), Some(1)]));
        assert!(knows(&lookup, 1).is_none());
        assert!(knows(&lookup, 2).is_some() && knows(&lookup, 3).is_some());
        for second in 0..1000 {
            lookup.learn(
                id(3),
                info(3),
                Teller::Others,
                now + Duration::from_secs(second),
            );
            lookup.forget_stale(now + Duration::from_secs(second));
        }
        assert!(lookup.known.read().unwrap().heard.len() <= 6);
        assert!(knows(&lookup, 3).is_some());
    }
}
