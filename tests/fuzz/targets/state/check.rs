//! What holds of a node whatever happens to it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use smol_gossip::proto::{
    Command, DeliveryScope, Event, InEvent, OutEvent, Outbox, PeerIdentity, Scope, State, TimerId,
    TopicId, topic, wire,
};

use super::{ME, Peer};

/// A message of a peer leads to no more messages than this.
const SENT_AT_ONCE: usize = 64;

/// What a node has said so far.
#[derive(Default)]
pub(super) struct Observed {
    timers: BTreeMap<TimerId, Instant>,
    /// All timers that ever were, also those of topics that are gone.
    all_timers: Vec<TimerId>,
    neighbors: BTreeSet<(TopicId, Peer)>,
    /// When something was last delivered, and how many ids were given up by then.
    delivered: HashMap<(TopicId, Bytes), (Instant, u64)>,
    /// Broadcasts that were refused, because what they say was said or heard before.
    repeated: u64,
    /// Peers that the application wants to join through.
    contacts: BTreeSet<Peer>,
}

impl Observed {
    /// Notes what the node is about to be told.
    pub(super) fn before(&mut self, event: &InEvent<Peer>, _now: Instant) {
        match event {
            InEvent::Command(_, Command::Join(peers)) => self.contacts.extend(peers),
            InEvent::Command(topic, Command::Quit) => {
                self.neighbors.retain(|(of, _)| of != topic);
                self.delivered.retain(|(of, _), _| of != topic);
            }
            _ => {}
        }
    }

    /// Holds the node, and what it has just said, against what holds always.
    pub(super) fn after(
        &mut self,
        input: &InEvent<Peer>,
        state: &State<Peer>,
        out: Outbox<Peer>,
        now: Instant,
    ) {
        if let InEvent::RecvMessage { .. } = input {
            let sent = out
                .iter()
                .filter(|event| matches!(event, OutEvent::SendMessage { .. }));
            assert!(sent.count() <= SENT_AT_ONCE, "{input:?}");
        }
        let repeated = state.counters().broadcast_duplicate;
        let is_repeated = repeated > std::mem::replace(&mut self.repeated, repeated);
        if let InEvent::Command(topic, Command::Broadcast(content, Scope::Swarm)) = input
            && state.contains(topic)
            && !is_repeated
            && content.len() <= state.max_content_size()
        {
            let evicted = state.counters().seen_evicted;
            let key = (*topic, content.clone());
            self.delivered.insert(key, (now, evicted));
        }
        let mut disconnected = BTreeSet::new();
        for event in out {
            match event {
                OutEvent::SendMessage { to, message, .. } => {
                    assert_ne!(to, ME, "nobody writes to himself");
                    let len = wire::encoded_len(&message);
                    assert!(len < state.max_message_size(), "{len} bytes: {message:?}");
                    assert!(!disconnected.contains(&to), "{to} is sent more");
                }
                OutEvent::DisconnectPeer(peer) => {
                    assert!(!state.is_needed(&peer), "{peer} is needed");
                    assert!(disconnected.insert(peer), "{peer} is disconnected once");
                }
                OutEvent::PeerData(peer, data) => {
                    let len = data.as_bytes().len();
                    assert!(len > 0 && len <= state.limits().peer_data_bytes);
                    assert_ne!(peer, ME, "nobody tells us where we are");
                }
                OutEvent::EmitEvent(topic, event) => self.told(topic, event, state, now),
                OutEvent::SetTimer(timer, deadline) => {
                    let before = self.timers.insert(timer, deadline);
                    assert_ne!(before, Some(deadline), "a timer is set only to change it");
                    if before.is_none() {
                        self.all_timers.push(timer);
                    }
                }
                OutEvent::CancelTimer(timer) => {
                    let was_set = self.timers.remove(&timer).is_some();
                    assert!(was_set, "what is cancelled was set");
                }
            }
        }
        let slots: BTreeSet<_> = self.timers.keys().map(TimerId::slot).collect();
        assert_eq!(slots.len(), self.timers.len(), "one timer for one topic");
        assert!(self.timers.len() <= state.topics().len());
        self.check_state(state);
    }

    fn told(&mut self, topic: TopicId, event: Event<Peer>, state: &State<Peer>, now: Instant) {
        assert!(state.contains(&topic), "nobody listens to {topic}");
        match event {
            Event::NeighborUp(peer) => {
                assert_ne!(peer, ME);
                assert!(self.neighbors.insert((topic, peer)), "{peer} is up twice");
            }
            Event::NeighborDown(peer) => {
                assert!(
                    self.neighbors.remove(&(topic, peer)),
                    "{peer} is down twice"
                );
            }
            Event::Received(message) => match message.scope {
                DeliveryScope::Swarm(_) => {
                    let evicted = state.counters().seen_evicted;
                    let key = (topic, message.content);
                    let before = self.delivered.insert(key, (now, evicted));
                    if let Some((at, evicted_then)) = before {
                        let retention = state.config().broadcast.message_id_retention;
                        let expired =
                            now - at >= retention.saturating_sub(Duration::from_millis(1));
                        assert!(expired || evicted > evicted_then, "delivered twice");
                    }
                }
                DeliveryScope::Neighbors => {}
            },
        }
    }

    fn check_state(&self, state: &State<Peer>) {
        let topics: Vec<TopicId> = state.topics().copied().collect();
        let mut active = 0;
        for id in &topics {
            let topic = state.topic(id).expect("it is listed");
            check_topic(topic, state);
            let neighbors = topic.active_view().map(|peer| (*id, *peer));
            let told = self.neighbors.iter().filter(|(of, _)| of == id).copied();
            assert_eq!(
                neighbors.collect::<BTreeSet<_>>(),
                told.collect::<BTreeSet<_>>(),
                "the application knows the neighbors"
            );
            active += topic.active_view().count();
        }
        // Those that the application has named are contacts, and have a bound of their own.
        let unnamed = (0..=Peer::MAX).filter(|peer| !self.contacts.contains(peer));
        let needed = unnamed.filter(|peer| state.is_needed(peer)).count();
        let requests = topics.len() * state.limits().pending_requests;
        assert!(needed <= active + requests, "{needed} peers are needed");
    }

    /// Holds that a node without topics wants nothing any more.
    pub(super) fn nothing_left(&self, state: &State<Peer>) {
        assert_eq!(state.topics().len(), 0);
        assert_eq!(self.timers, BTreeMap::new(), "all timers are cancelled");
        for peer in 0..=Peer::MAX {
            assert!(!state.is_needed(&peer), "{peer} is not needed any more");
        }
    }

    /// Takes the timer that was due first.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<TimerId> {
        let due = self.timers.iter().filter(|(_, deadline)| **deadline <= now);
        let (timer, _) = due.min_by_key(|(_, deadline)| **deadline)?;
        let timer = *timer;
        self.timers.remove(&timer);
        Some(timer)
    }

    pub(super) fn any_timer(&self, choice: u8) -> Option<TimerId> {
        let count = self.all_timers.len();
        self.all_timers
            .get(usize::from(choice) % count.max(1))
            .copied()
    }

    /// The timer goes off.
    pub(super) fn forget(&mut self, timer: TimerId) {
        self.timers.remove(&timer);
    }
}

/// Eager ∪ lazy = active, and everything within its bound.
fn check_topic<PI: PeerIdentity>(topic: &topic::State<PI>, state: &State<PI>) {
    let mut tree = BTreeSet::new();
    for peer in topic.eager().chain(topic.lazy()) {
        assert!(tree.insert(*peer), "{peer:?} is in the tree once");
    }
    let active: BTreeSet<PI> = topic.active_view().copied().collect();
    assert_eq!(tree, active, "the tree is the active view");
    let passive: BTreeSet<PI> = topic.passive_view().copied().collect();
    assert!(active.is_disjoint(&passive));
    assert!(!active.contains(state.me()) && !passive.contains(state.me()));
    assert!(active.iter().all(|peer| topic.is_neighbor(peer)));
    assert!(active.iter().all(|peer| state.is_needed(peer)));

    let (config, limits) = (state.config(), state.limits());
    assert!(active.len() <= config.membership.active_view_capacity);
    assert!(passive.len() <= config.membership.passive_view_capacity);
    assert!(topic.cache_bytes() <= limits.cache_bytes);
    assert!(topic.seen_ids() <= limits.seen_ids);
    assert!(topic.missing_ids() <= limits.missing_ids);
}
