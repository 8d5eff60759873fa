//! What peers burden us with, and who has to wait for it.
//!
//! A new message is what a node is for, and however many there are, they are read as fast as they
//! can be handled. All else that a peer has us do is counted in *units*: control messages, what came
//! before, what is refused, streams, connections. One unit is about what a small control message
//! takes, some microseconds. A peer may burden us with so many a second
//! ([`Limits::burden_per_second`](super::Limits::burden_per_second)), or as many at once as in
//! [`AT_ONCE`]; new messages and new neighbors make up for some of it. A peer that is over that is
//! *held*: nothing of it is read until it has some left. What it sends meanwhile fills QUIC's windows,
//! which hold it in turn, so that a flood costs the flooder its time and not us ours. Those who are
//! held at the same time share what a single one may use.
//!
//! Accounts outlive connections. A peer in *deep debt* is not even connected to.
//!
//! **Invariant:** an account that is whole is as good as none, and the fullest are forgotten first.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use iroh::EndpointId;
use smol_gossip_runtime::TimerKey;

use crate::proto::{Message, hash::Keyed, hyparview, plumtree};

/// So many seconds' worth can be used at once.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(4);

/// Debts beyond this are deep.
const DEEP: Duration = Duration::from_secs(2);

/// Debts grow no further than this.
const MOST: Duration = Duration::from_secs(4);

/// Who is held is read again when this much is left. Short, so that what has gathered meanwhile is
/// handled in small portions.
const PORTION: Duration = Duration::from_millis(16);

/// Nobody is held for longer at a time, however many others are.
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// Accounts. Further ones take the place of those that are the fullest.
pub(crate) const ACCOUNTS: usize = 1024;

/// Units for a stream that a peer opened.
pub(crate) const STREAM: u32 = 4;

/// Units for a connection that a peer made, most of which are its handshake.
pub(crate) const CONNECTION: u32 = 64;

/// Units for a payload under an id that is not its own. Nobody passes on such.
pub(crate) const FALSE_ID: u32 = 64;

/// Units for becoming a neighbor too soon after the last times.
pub(crate) const RESTLESS: u32 = 4;

/// Units for wanting that where there was no room, which takes a farewell.
pub(crate) const TURNED_AWAY: u32 = 16;

/// Units for what is no message at all.
pub(crate) const INVALID: u32 = 1024;

/// Units for streams of topics that we are not in, where there are too many of them.
pub(crate) const STREAMS_OF_OTHERS: u32 = 16 * 1024;

/// Units for a peer that is introduced: a key to be checked, and a place in a view to be found.
const KEY: usize = 3;

/// So many announcements for which there was no room are a unit.
pub(crate) const ANNOUNCEMENTS: u64 = 2;

/// Units that a new message makes up for.
pub(crate) const NEWS: u32 = 4;

/// Bytes that count as a unit more.
const UNIT_BYTES: usize = 1024;

/// The units of so many bytes, on top of the first one.
pub(crate) fn of_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX)
}

/// The units of a frame, unless it brings something new.
pub(crate) fn of_frame<PI>(message: &Message<PI>, len: usize) -> u32 {
    let first = match message {
        // It is answered, if only by an announcement.
        Message::Gossip(plumtree::Message::Graft(_)) => 2,
        // It is answered or sent on, and to see that a key is one takes longer than all else.
        Message::Swarm(hyparview::Message::Shuffle(shuffle)) => 4 + KEY * shuffle.nodes.len(),
        Message::Swarm(hyparview::Message::ShuffleReply(reply)) => 1 + KEY * reply.nodes.len(),
        Message::Swarm(hyparview::Message::ForwardJoin(_)) => 2 + KEY,
        // Addresses to be looked at, and remembered.
        Message::Swarm(
            hyparview::Message::Join(Some(_))
            | hyparview::Message::Neighbor(hyparview::Neighbor { data: Some(_), .. }),
        ) => 2,
        Message::Gossip(_) | Message::Swarm(_) => 1,
    };
    u32::try_from(first)
        .unwrap_or(u32::MAX)
        .saturating_add(of_bytes(len))
}

/// The same of a payload.
pub(crate) fn of_payload(len: usize) -> u32 {
    of_bytes(len).saturating_add(1)
}

/// The account of a peer.
#[derive(Debug)]
struct Account {
    /// When all is paid off. So far in the future as that the account is used up.
    whole_at: Instant,
    /// Set while the peer is held: when it will not be any more.
    held: Option<TimerKey>,
}

/// The accounts of all peers that have burdened us lately.
#[derive(Debug)]
pub(crate) struct Burdens {
    accounts: IndexMap<EndpointId, Account, Keyed>,
    /// How long it takes to make up for a unit.
    unit: Duration,
    /// Peers that are held.
    held: usize,
    /// How many accounts there may be until those that are whole are looked for.
    sweep_at: usize,
}

/// How many accounts there are at least when whole ones are looked for.
const SWEEP_FROM: usize = 32;

impl Burdens {
    pub(crate) fn new(per_second: u32, keyed: Keyed) -> Self {
        Self {
            accounts: IndexMap::with_hasher(keyed),
            unit: Duration::from_secs(1) / per_second.max(1),
            held: 0,
            sweep_at: SWEEP_FROM,
        }
    }

    /// Peers that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Charges a peer. Says whether that is too much, so that it has to be held, and is not yet.
    pub(crate) fn charge(&mut self, peer: EndpointId, units: u32, now: Instant) -> bool {
        if units == 0 {
            return false;
        }
        let place = match self.accounts.get_index_of(peer.as_bytes()) {
            Some(place) => place,
            None if self.make_room(now) => {
                let (whole_at, held) = (now, None);
                self.accounts
                    .insert_full(peer, Account { whole_at, held })
                    .0
            }
            None => return false,
        };
        let account = &mut self.accounts[place];
        let whole_at = account.whole_at.max(now) + self.unit.saturating_mul(units);
        account.whole_at = whole_at.min(now + AT_ONCE + MOST);
        account.held.is_none() && account.debt(now) > Duration::ZERO
    }

    /// Makes up for some of what a peer was charged.
    pub(crate) fn credit(&mut self, peer: EndpointId, units: u32, now: Instant) {
        if self.accounts.is_empty() || units == 0 {
            return;
        }
        if let Some(account) = self.accounts.get_mut(peer.as_bytes()) {
            let less = self.unit.saturating_mul(units);
            account.whole_at = account.whole_at.checked_sub(less).unwrap_or(now);
        }
    }

    /// Whether a peer owes so much that it is not even connected to.
    pub(crate) fn is_deep(&self, peer: &EndpointId, now: Instant) -> bool {
        let account = self.accounts.get(peer.as_bytes());
        account.is_some_and(|account| account.debt(now) > DEEP)
    }

    /// Whether a peer has used up more than half of what it may.
    pub(crate) fn is_burden(&self, peer: &EndpointId, now: Instant) -> bool {
        let account = self.accounts.get(peer.as_bytes());
        account.is_some_and(|account| account.whole_at > now + AT_ONCE / 2)
    }

    /// Whether a peer has used up what it may, and more.
    pub(crate) fn is_over(&self, peer: &EndpointId, now: Instant) -> bool {
        let account = self.accounts.get(peer.as_bytes());
        account.is_some_and(|account| account.debt(now) > Duration::ZERO)
    }

    /// Until when a peer is to be held that is over it.
    pub(crate) fn hold_until(&self, peer: &EndpointId, now: Instant) -> Instant {
        let debt = self.accounts.get(peer.as_bytes()).map(|one| one.debt(now));
        let alone = debt.unwrap_or_default() + PORTION;
        let share = u32::try_from(self.held + 1).unwrap_or(u32::MAX);
        now + alone.saturating_mul(share).min(LONGEST_HOLD)
    }

    /// Notes that a peer is held.
    pub(crate) fn hold(&mut self, peer: &EndpointId, timer: TimerKey) {
        if let Some(account) = self.accounts.get_mut(peer.as_bytes())
            && account.held.replace(timer).is_none()
        {
            self.held += 1;
        }
    }

    /// Notes that a peer is held no more. It has a portion left, for however long it was.
    pub(crate) fn release(&mut self, peer: &EndpointId, now: Instant) {
        if let Some(account) = self.accounts.get_mut(peer.as_bytes())
            && account.held.take().is_some()
        {
            account.whole_at = account.whole_at.max(now + (AT_ONCE - PORTION));
            self.held -= 1;
        }
    }

    /// Notes that nobody is held any more.
    pub(crate) fn release_all(&mut self) -> Vec<(EndpointId, TimerKey)> {
        self.held = 0;
        let accounts = self.accounts.iter_mut();
        accounts
            .filter_map(|(peer, account)| Some((*peer, account.held.take()?)))
            .collect()
    }

    /// Forgets accounts that are whole where there are many, and the fullest one where that is not
    /// enough. Fails only where all are held.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.accounts.len() < self.sweep_at {
            return true;
        }
        self.accounts
            .retain(|_, account| account.held.is_some() || account.whole_at > now);
        self.sweep_at = (2 * self.accounts.len()).clamp(SWEEP_FROM, ACCOUNTS);
        if self.accounts.len() >= ACCOUNTS {
            let free = self.accounts.iter().filter(|(_, one)| one.held.is_none());
            let fullest = free.min_by_key(|(_, account)| account.whole_at);
            let Some(fullest) = fullest.map(|(peer, _)| *peer) else {
                return false;
            };
            self.accounts.swap_remove(&fullest);
        }
        true
    }
}

impl Account {
    /// How far it is over what can be used at once.
    fn debt(&self, now: Instant) -> Duration {
        self.whole_at.saturating_duration_since(now + AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use smol_gossip_runtime::{Clock, VirtualClock};

    use super::*;

    fn peer(n: u64) -> EndpointId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        iroh::SecretKey::from_bytes(&bytes).public()
    }

    fn burdens(per_second: u32) -> Burdens {
        Burdens::new(per_second, Keyed::new(&mut StdRng::seed_from_u64(1)))
    }

    /// Units that a peer is charged until it is too much.
    fn charge_all(burdens: &mut Burdens, peer: EndpointId, now: Instant) -> u32 {
        let over = (1..100_000).find(|_| burdens.charge(peer, 1, now));
        over.expect("it has an end")
    }

    #[test]
    fn some_comes_at_once_and_the_rest_at_a_rate() {
        let now = VirtualClock::new().now();
        let mut burdens = burdens(1000);
        assert_eq!(charge_all(&mut burdens, peer(1), now), 4001);
        assert_eq!(charge_all(&mut burdens, peer(2), now), 4001);
        let later = now + Duration::from_secs(1);
        assert_eq!(charge_all(&mut burdens, peer(1), later), 1000);
        let much_later = now + Duration::from_secs(1000);
        assert_eq!(charge_all(&mut burdens, peer(1), much_later), 4001);
    }

    #[test]
    fn what_is_new_makes_up_for_the_rest_but_is_not_saved_up() {
        let now = VirtualClock::new().now();
        let mut burdens = burdens(1000);
        for _ in 0..10_000 {
            assert!(!burdens.charge(peer(1), NEWS, now));
            burdens.credit(peer(1), NEWS, now);
        }
        burdens.credit(peer(1), 1_000_000, now);
        assert_eq!(charge_all(&mut burdens, peer(1), now), 4001);
    }

    #[test]
    fn those_who_are_held_share_what_one_may_use() {
        let now = VirtualClock::new().now();
        let mut burdens = burdens(1000);
        let mut wheel = smol_gossip_runtime::EventLoop::<_, u64, std::future::Ready<()>>::new(
            smol_gossip_runtime::VirtualRuntime::from(VirtualClock::new()),
        );
        let mut waits = Vec::new();
        for n in 0..4 {
            charge_all(&mut burdens, peer(n), now);
            waits.push(burdens.hold_until(&peer(n), now) - now);
            burdens.hold(&peer(n), wheel.schedule(now, n));
            assert!(!burdens.charge(peer(n), 1, now), "it is held already");
        }
        assert_eq!(burdens.held(), 4);
        let least = PORTION + Duration::from_millis(1);
        assert_eq!(waits, [1, 2, 3, 4].map(|share| least * share));
        let later = now + waits[2];
        burdens.release(&peer(2), later);
        burdens.release(&peer(2), later);
        assert_eq!(burdens.held(), 3);
        let left = charge_all(&mut burdens, peer(2), later);
        assert_eq!(left, 17, "a portion, though it has waited for three");
        assert_eq!(burdens.release_all().len(), 3);
        assert_eq!(burdens.held(), 0);
    }

    #[test]
    fn debts_have_an_end() {
        let now = VirtualClock::new().now();
        let mut burdens = burdens(1000);
        burdens.charge(peer(1), u32::MAX, now);
        assert!(burdens.is_deep(&peer(1), now) && burdens.is_over(&peer(1), now));
        assert!(burdens.hold_until(&peer(1), now) <= now + LONGEST_HOLD);
        assert!(!burdens.is_deep(&peer(1), now + DEEP));
        assert!(!burdens.is_over(&peer(1), now + MOST));
        assert!(!burdens.is_deep(&peer(2), now), "nobody knows it");
    }

    #[test]
    fn accounts_are_bounded_and_the_fullest_are_forgotten() {
        let now = VirtualClock::new().now();
        let mut burdens = burdens(1000);
        charge_all(&mut burdens, peer(0), now);
        for n in 1..3000 {
            burdens.charge(peer(n), 100, now);
            assert!(burdens.len() <= ACCOUNTS);
        }
        assert!(burdens.is_over(&peer(0), now), "it is remembered");
        let later = now + Duration::from_secs(60);
        for n in 3000..3000 + ACCOUNTS as u64 {
            burdens.charge(peer(n), 100, later);
        }
        assert!(!burdens.accounts.contains_key(&peer(0)), "whole again");
    }
}
