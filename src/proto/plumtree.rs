//! Broadcast trees, after PlumTree ([SRDS'07][paper]; the sections named here are those of the
//! report DI-FCUL TR-07-14).
//!
//! Every neighbor is either *eager* or *lazy*. An eager one gets payloads at once; a lazy one gets
//! announcements (IHave) a moment later, and asks (Graft) for what did not reach it otherwise. A
//! payload that comes twice makes its sender lazy (Prune), so the eager links become a tree.
//!
//! The membership layer says who the neighbors are.
//!
//! **Invariant:** eager and lazy peers are neighbors, always. A stranger's Graft, Prune or IHave
//! changes nothing; its payload is validated and delivered, and changes no set.
//!
//! **Invariant:** everything is decided by the time that the caller passes in. Deadlines are kept
//! here; the caller sets one timer to the next of them, and may call too early.
//!
//! # Where this is not the paper
//!
//! - A payload that is new makes its sender eager (section 3.7), but not while our Prune is on its
//!   way: the sender is about to see us as lazy, and a link with two opinions costs duplicates.
//! - A peer that keeps pushing to us after it was pruned is pruned again, at most once a second: it
//!   must have missed the first one, and nothing else would heal the link.
//! - Who announced a message to us is not sent it, neither the payload nor an announcement.
//! - What is published without any neighbor is announced to each that comes up, until someone is
//!   seen to have it.
//! - What a Graft asks for comes at a limited rate, and so do our own Grafts.
//!
//! [paper]: https://asc.di.fct.unl.pt/~jleitao/pdf/srds07-leitao.pdf

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use self::{
    clock::{At, Clock, nanos},
    history::{History, Known, Retention},
    lazy::LazyPush,
    missing::{Claim, Missing, Outcome},
    neighbors::{Neighbor, NeighborSet, Neighbors, Serial},
};
use super::{Counters, GossipEvent, Limits, MessageId, PeerIdentity, hash::Keyed};

mod clock;
mod config;
mod history;
mod lazy;
mod message;
mod missing;
mod neighbors;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use message::{DeliveryScope, Gossip, Graft, IHave, Message, Round, Scope};

/// A peer that is lazy and pushes all the same is sent another Prune after this long.
const PRUNE_AGAIN: u64 = 1_000_000_000;

/// What the frame of a message takes beyond the message of this layer: the topic's enum tag.
const TOPIC_TAG: usize = 1;

/// The longest encoding of a [`Round`].
const ROUND_LEN: usize = 3;

/// The largest content that may be broadcast, in bytes, where frames may have `max_message_size`.
///
/// Its frame stays below that size on every hop, however long the round's encoding grows:
///
/// ```
/// # use smol_gossip::proto::plumtree::max_content_size;
/// assert_eq!(max_content_size(4096), 4055);
/// ```
pub fn max_content_size(max_message_size: usize) -> usize {
    // Two enum tags for the message, its id, then the content behind its length, then the scope.
    let room = max_message_size.saturating_sub(1 + TOPIC_TAG + 1 + 32 + 1 + ROUND_LEN);
    // The length of the length: less room can only shorten it, so the first fit is the best.
    (1..=varint_len(room))
        .map(|len| room.saturating_sub(len))
        .find(|content| content + varint_len(*content) <= room)
        .unwrap_or(0)
}

/// How many announcements fit a frame below `max_message_size`, whatever their rounds.
fn ihaves_per_frame(max_message_size: usize) -> usize {
    let room = max_message_size.saturating_sub(1 + TOPIC_TAG + 1);
    let room = room.saturating_sub(varint_len(room / (32 + ROUND_LEN)));
    (room / (32 + ROUND_LEN)).max(1)
}

/// The length of a number as a varint, in bytes.
fn varint_len(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

/// Where the broadcast layer puts what follows from its input.
pub(crate) trait Sink<PI> {
    /// Sends a message to a peer.
    fn send(&mut self, to: PI, message: Message);
    /// Hands a message to the application.
    fn deliver(&mut self, event: GossipEvent<PI>);
}

/// What the broadcast layer is told.
#[derive(Debug)]
pub(crate) enum Input<PI> {
    /// A message arrived.
    RecvMessage {
        /// Who sent it, neighbor or not.
        from: PI,
        /// The message.
        message: Message,
    },
    /// The application sends a message.
    Broadcast(Bytes, Scope),
    /// A peer became our neighbor, or is one that started anew.
    NeighborUp(PI),
    /// A peer is not our neighbor any more.
    NeighborDown(PI),
}

/// The parameters and bounds that are looked at along the way.
#[derive(Clone, Copy, Debug)]
struct Settings {
    graft_timeout_1: u64,
    graft_timeout_2: u64,
    dispatch_timeout: u64,
    cache_evict_interval: u64,
    optimization_threshold: Round,
    max_content_size: usize,
    ihaves_per_frame: usize,
    grafts_per_second: u32,
    late_join_history: usize,
}

/// The broadcast layer of one topic.
///
/// After any call, [`Self::next_deadline`] says when [`Self::handle_timeout`] wants to be called.
#[derive(Debug)]
pub(crate) struct State<PI> {
    me: PI,
    settings: Settings,
    clock: Clock,
    neighbors: Neighbors<PI>,
    history: History,
    missing: Missing,
    lazy_push: LazyPush,
    /// New neighbors that are to hear of earlier messages, and when.
    introductions: VecDeque<Introduction>,
    last_sweep: At,
    /// Set while anything is kept that will expire: when to look next. Not moved by every message,
    /// so a busy topic does not reset its timer all the time; a quiet one wakes once or twice.
    idle_sweep: Option<At>,
}

/// Earlier messages are to be announced to a new neighbor.
#[derive(Debug)]
struct Introduction {
    due: At,
    to: Serial,
    /// The number of the first message that the neighbor gets in the ordinary way.
    before: u64,
}

impl<PI: PeerIdentity> State<PI> {
    /// The layer without neighbors and without memories. It allocates nothing.
    pub(crate) fn new(
        me: PI,
        config: Config,
        limits: &Limits,
        max_message_size: usize,
        keyed: Keyed,
    ) -> Self {
        let retention = Retention {
            cache_bytes: limits.cache_bytes,
            seen_ids: limits.seen_ids,
            payloads_for: nanos(config.message_cache_retention),
            ids_for: nanos(config.message_id_retention),
        };
        Self {
            me,
            settings: Settings {
                graft_timeout_1: nanos(config.graft_timeout_1),
                graft_timeout_2: nanos(config.graft_timeout_2),
                dispatch_timeout: nanos(config.dispatch_timeout),
                cache_evict_interval: nanos(config.cache_evict_interval),
                optimization_threshold: config.optimization_threshold,
                max_content_size: max_content_size(max_message_size),
                ihaves_per_frame: ihaves_per_frame(max_message_size),
                grafts_per_second: limits.graft_replies_per_second,
                late_join_history: limits.late_join_history,
            },
            clock: Clock::default(),
            neighbors: Neighbors::new(),
            history: History::new(retention, &keyed),
            missing: Missing::new(limits.missing_ids, limits.claims_per_id, keyed),
            lazy_push: LazyPush::new(limits.lazy_queue),
            introductions: VecDeque::new(),
            last_sweep: At::default(),
            idle_sweep: None,
        }
    }

    /// Neighbors that get payloads.
    pub(crate) fn eager(&self) -> impl Iterator<Item = &PI> {
        self.neighbors
            .iter()
            .filter(|one| one.eager)
            .map(|one| &one.peer)
    }

    /// Neighbors that get announcements.
    pub(crate) fn lazy(&self) -> impl Iterator<Item = &PI> {
        self.neighbors
            .iter()
            .filter(|one| !one.eager)
            .map(|one| &one.peer)
    }

    /// What the payloads kept for Grafts take, in bytes.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.history.cache_bytes()
    }

    /// Message ids remembered.
    pub(crate) fn seen_ids(&self) -> usize {
        self.history.ids()
    }

    /// Announced messages that did not arrive yet.
    pub(crate) fn missing_ids(&self) -> usize {
        self.missing.len()
    }

    /// When [`Self::handle_timeout`] has something to do. `None` when the layer is at rest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let introduction = self.introductions.front().map(|one| one.due);
        let next = self
            .lazy_push
            .due()
            .into_iter()
            .chain(introduction)
            .chain(self.missing.next_due())
            .chain(self.idle_sweep)
            .min()?;
        self.clock.instant(next)
    }

    /// Takes one input.
    pub(crate) fn handle(
        &mut self,
        input: Input<PI>,
        now: Instant,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let now = self.clock.read(now);
        match input {
            Input::RecvMessage { from, message } => match message {
                Message::Gossip(gossip) => match gossip.scope {
                    DeliveryScope::Swarm(round) => {
                        self.handle_payload(from, gossip, round, now, counters, sink);
                    }
                    DeliveryScope::Neighbors => {
                        deliver_from_neighbor(from, gossip, counters, sink);
                    }
                },
                Message::Prune => self.handle_prune(from, counters),
                Message::Graft(graft) => self.handle_graft(from, &graft, now, counters, sink),
                Message::IHave(ihaves) => self.handle_ihave(from, &ihaves, now, counters),
            },
            Input::Broadcast(content, scope) => {
                self.broadcast(content, scope, now, counters, sink);
            }
            Input::NeighborUp(peer) => self.handle_neighbor_up(peer, now, sink),
            Input::NeighborDown(peer) => {
                self.neighbors.remove(&peer);
            }
        }
    }

    /// Does everything that is due by `now`.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let now = self.clock.read(now);
        self.dispatch_announcements(now, sink);
        self.introduce_earlier_messages(now, sink);
        self.send_grafts(now, counters, sink);
        if self.idle_sweep.is_some_and(|due| due <= now) {
            self.sweep(now);
            self.missing.shrink();
            self.idle_sweep = self.history.last_expiry();
        }
    }

    fn broadcast(
        &mut self,
        content: Bytes,
        scope: Scope,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        if content.len() > self.settings.max_content_size {
            counters.broadcast_too_large += 1;
            return;
        }
        let id = MessageId::from_content(&content);
        match scope {
            Scope::Neighbors => {
                for neighbor in self.neighbors.iter() {
                    sink.send(
                        neighbor.peer,
                        Message::Gossip(Gossip {
                            id,
                            content: content.clone(),
                            scope: DeliveryScope::Neighbors,
                        }),
                    );
                }
            }
            // Receivers would take it for a duplicate, and prune the link that it came over.
            Scope::Swarm if self.history.find(&id).is_some() => counters.broadcast_duplicate += 1,
            Scope::Swarm => {
                let known_to = self.stop_waiting_for(&id).1;
                let round = Round::from(0);
                self.remember(id, Some(content.clone()), round, None, now, counters);
                let scope = DeliveryScope::Swarm(round);
                let gossip = Gossip { id, content, scope };
                self.spread(gossip, None, known_to, now, counters, sink);
            }
        }
    }

    /// A payload for the whole swarm (section 3.7, "Gossip and Tree Construction").
    fn handle_payload(
        &mut self,
        from: PI,
        gossip: Gossip,
        round: Round,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        // First of all, since a duplicate is found at a tenth of the price of a hash.
        if let Some(known) = self.history.find(&gossip.id) {
            counters.duplicates += 1;
            self.handle_duplicate(from, known, now, sink);
            return;
        }
        if MessageId::from_content(&gossip.content) != gossip.id {
            counters.invalid_id += 1;
            return;
        }
        let id = gossip.id;
        let content = unpinned(&gossip.content);
        let (claims, mut known_to) = self.stop_waiting_for(&id);
        if let Some(neighbor) = self.neighbors.find(&from) {
            known_to |= neighbor.bit();
            let pruned_lately = neighbor
                .pruned_at
                .is_some_and(|pruned| now < pruned.after(PRUNE_AGAIN));
            if !pruned_lately {
                make_eager(neighbor, &self.lazy_push, &self.settings, sink);
            }
            self.optimize(from, round, &claims, now, sink);
        }
        if content.len() <= self.settings.max_content_size {
            let next = round.next();
            self.remember(id, Some(content.clone()), next, Some(from), now, counters);
            let forwarded = Gossip {
                id,
                content: content.clone(),
                scope: DeliveryScope::Swarm(next),
            };
            self.spread(forwarded, Some(from), known_to, now, counters, sink);
        } else {
            counters.not_forwarded_too_large += 1;
            self.remember(id, None, round, Some(from), now, counters);
        }
        sink.deliver(GossipEvent {
            content,
            delivered_from: from,
            scope: gossip.scope,
        });
    }

    /// A payload that we have already: its sender need not push to us (section 3.7).
    fn handle_duplicate(&mut self, from: PI, known: Known, now: At, sink: &mut impl Sink<PI>) {
        let Some(neighbor) = self.neighbors.find(&from) else {
            return;
        };
        self.history.mark_shared(known);
        let prune = neighbor.eager
            || neighbor
                .pruned_at
                .is_none_or(|pruned| pruned.after(PRUNE_AGAIN) <= now);
        if prune {
            make_lazy(neighbor, &self.lazy_push);
            neighbor.pruned_at = Some(now);
            sink.send(from, Message::Prune);
        }
    }

    /// A neighbor wants announcements instead of payloads (section 3.7).
    fn handle_prune(&mut self, from: PI, counters: &mut Counters) {
        match self.neighbors.find(&from) {
            Some(neighbor) => make_lazy(neighbor, &self.lazy_push),
            None => counters.stranger_control += 1,
        }
    }

    /// A neighbor wants payloads, and perhaps one that it missed (section 3.8).
    fn handle_graft(
        &mut self,
        from: PI,
        graft: &Graft,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let Some(neighbor) = self.neighbors.find(&from) else {
            counters.stranger_control += 1;
            return;
        };
        make_eager(neighbor, &self.lazy_push, &self.settings, sink);
        let Some(id) = graft.id else {
            return;
        };
        let known = self.history.find(&id);
        let Some((known, (content, round))) =
            known.and_then(|known| Some((known, self.history.payload(known)?)))
        else {
            counters.graft_unknown += 1;
            return;
        };
        if !neighbor
            .allowances
            .answers
            .take(self.settings.grafts_per_second, now)
        {
            counters.graft_limited += 1;
            return;
        }
        self.history.mark_shared(known);
        let scope = DeliveryScope::Swarm(round);
        sink.send(from, Message::Gossip(Gossip { id, content, scope }));
    }

    /// A neighbor announces messages (section 3.8, "Fault Tolerance and Tree Repair"). Whether it
    /// is lazy or eager to us is of no importance: to it we are lazy, or new.
    fn handle_ihave(&mut self, from: PI, ihaves: &[IHave], now: At, counters: &mut Counters) {
        let neighbor_count = self.neighbors.len();
        let Some(neighbor) = self.neighbors.find(&from) else {
            counters.stranger_control += 1;
            return;
        };
        for ihave in ihaves {
            if let Some(known) = self.history.find(&ihave.id) {
                self.history.mark_shared(known);
                continue;
            }
            let claim = Claim {
                claimant: neighbor.serial,
                round: ihave.round,
            };
            let due = now.after(self.settings.graft_timeout_1);
            let announced_first = neighbor.announced_first;
            let outcome = self
                .missing
                .claim(ihave.id, claim, due, announced_first, neighbor_count);
            match outcome {
                Outcome::First => neighbor.announced_first += 1,
                Outcome::Noted => {}
                Outcome::Full => counters.missing_full += 1,
                Outcome::EnoughClaims => counters.claims_full += 1,
            }
        }
        if self.missing.len() > 0 {
            self.schedule_idle_sweep(now);
        }
    }

    /// A new neighbor is eager (section 3.9, "Dynamic Membership").
    fn handle_neighbor_up(&mut self, peer: PI, now: At, sink: &mut impl Sink<PI>) {
        if peer == self.me {
            return;
        }
        let earlier = self.neighbors.remove(&peer);
        if let Some(earlier) = &earlier
            && !earlier.eager
        {
            let waiting = self.lazy_push.waiting_for(earlier);
            announce(peer, &waiting, &self.settings, sink);
        }
        let allowances = earlier.map(|one| one.allowances).unwrap_or_default();
        let serial = self.neighbors.add(peer, allowances);
        let has_news = self.history.has_unshared()
            || (self.settings.late_join_history > 0 && self.history.has_payloads());
        if has_news {
            self.introductions.push_back(Introduction {
                due: now.after(self.settings.dispatch_timeout),
                to: serial,
                before: self.history.next_number(),
            });
        }
    }

    /// Changes the tree where an announcement came a much shorter way than the payload (the
    /// paper's "Optimization"): the announcer takes the place of the payload's sender.
    fn optimize(
        &mut self,
        sender: PI,
        round: Round,
        claims: &[Claim],
        now: At,
        sink: &mut impl Sink<PI>,
    ) {
        let threshold = self.settings.optimization_threshold.hops();
        let shorter = claims
            .iter()
            .filter(|claim| {
                claim.round < round && round.hops().saturating_sub(claim.round.hops()) >= threshold
            })
            .filter(|claim| self.neighbors.by_serial(claim.claimant).is_some())
            .min_by_key(|claim| claim.round)
            .copied();
        let Some(best) = shorter else {
            return;
        };
        let Some(announcer) = self.neighbors.by_serial(best.claimant) else {
            return;
        };
        if announcer.peer == sender {
            return;
        }
        if !announcer.eager {
            make_eager(announcer, &self.lazy_push, &self.settings, sink);
            let graft = Graft {
                id: None,
                round: best.round,
            };
            sink.send(announcer.peer, Message::Graft(graft));
        }
        if let Some(sender) = self.neighbors.find(&sender)
            && sender.eager
        {
            make_lazy(sender, &self.lazy_push);
            sender.pruned_at = Some(now);
            sink.send(sender.peer, Message::Prune);
        }
    }

    /// Remembers a message that is new to us.
    fn remember(
        &mut self,
        id: MessageId,
        content: Option<Bytes>,
        round: Round,
        from: Option<PI>,
        now: At,
        counters: &mut Counters,
    ) {
        if now >= self.last_sweep.after(self.settings.cache_evict_interval) {
            self.sweep(now);
        }
        let unshared = from.is_none() && self.neighbors.is_empty();
        self.history
            .remember(id, content, round, unshared, now, counters);
        self.schedule_idle_sweep(now);
    }

    /// Sends a message on: to eager neighbors at once, to lazy ones an announcement at the next
    /// dispatch. Those who gave or announced it to us have it.
    fn spread(
        &mut self,
        gossip: Gossip,
        from: Option<PI>,
        known_to: NeighborSet,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let mut any_lazy = false;
        for neighbor in self.neighbors.iter() {
            if neighbor.bit() & known_to != 0 || Some(neighbor.peer) == from {
                continue;
            }
            if neighbor.eager {
                sink.send(neighbor.peer, Message::Gossip(gossip.clone()));
            } else {
                any_lazy = true;
            }
        }
        let DeliveryScope::Swarm(round) = gossip.scope else {
            return;
        };
        if !any_lazy {
            return;
        }
        let due = now.after(self.settings.dispatch_timeout);
        let id = gossip.id;
        let ihave = IHave { id, round };
        if let Some((place, known_to)) = self.lazy_push.push(ihave, known_to, due) {
            let untold = self
                .neighbors
                .iter()
                .filter(|one| !one.eager && one.lazy_since <= place && one.bit() & known_to == 0);
            counters.lazy_queue_full += untold.count() as u64;
        }
    }

    /// Strikes a message off the missing ones. Returns who announced it, also as a set.
    fn stop_waiting_for(&mut self, id: &MessageId) -> (Vec<Claim>, NeighborSet) {
        let Some(wanted) = self.missing.remove(id) else {
            return (Vec::new(), 0);
        };
        if let Some(first) = self.neighbors.by_serial(wanted.first) {
            first.announced_first = first.announced_first.saturating_sub(1);
        }
        let mut known_to = 0;
        for claim in &wanted.claims {
            if let Some(claimant) = self.neighbors.by_serial(claim.claimant) {
                known_to |= claimant.bit();
            }
        }
        (wanted.claims, known_to)
    }

    /// Tells lazy neighbors what was received since the last dispatch (section 3.7).
    fn dispatch_announcements(&mut self, now: At, sink: &mut impl Sink<PI>) {
        if self.lazy_push.due().is_none_or(|due| due > now) {
            return;
        }
        for neighbor in self.neighbors.iter().filter(|one| !one.eager) {
            let waiting = self.lazy_push.waiting_for(neighbor);
            announce(neighbor.peer, &waiting, &self.settings, sink);
        }
        self.lazy_push.clear();
    }

    /// Tells new neighbors of messages from before they came.
    fn introduce_earlier_messages(&mut self, now: At, sink: &mut impl Sink<PI>) {
        while let Some(introduction) = self.introductions.front()
            && introduction.due <= now
        {
            if let Some(neighbor) = self.neighbors.by_serial(introduction.to) {
                let recent = self.settings.late_join_history;
                let ihaves = self.history.announcements(introduction.before, recent);
                announce(neighbor.peer, &ihaves, &self.settings, sink);
            }
            self.introductions.pop_front();
        }
    }

    /// Asks for messages that were announced and did not come in time (section 3.8).
    fn send_grafts(&mut self, now: At, counters: &mut Counters, sink: &mut impl Sink<PI>) {
        let rate = self.settings.grafts_per_second;
        while let Some((id, wanted)) = self.missing.pop_due(now) {
            // A neighbor that we asked too much already is left for later. Those who have gone are
            // passed over: their announcements went with them (section 3.9).
            let mut left_for_later = false;
            let claim = wanted.next_claim(|claim| {
                let Some(claimant) = self.neighbors.by_serial(claim.claimant) else {
                    return false;
                };
                let granted = claimant.allowances.questions.take(rate, now);
                left_for_later |= !granted;
                granted
            });
            if let Some(claim) = claim
                && let Some(claimant) = self.neighbors.by_serial(claim.claimant)
            {
                make_eager(claimant, &self.lazy_push, &self.settings, sink);
                let graft = Graft {
                    id: Some(id),
                    round: claim.round,
                };
                sink.send(claimant.peer, Message::Graft(graft));
            }
            if claim.is_some() || left_for_later {
                self.missing.put_off(id, self.settings.graft_timeout_2, now);
            } else {
                self.stop_waiting_for(&id);
            }
        }
    }

    fn schedule_idle_sweep(&mut self, now: At) {
        if self.idle_sweep.is_none() {
            self.idle_sweep = Some(
                self.history
                    .last_expiry()
                    .unwrap_or_else(|| now.after(self.settings.cache_evict_interval)),
            );
        }
    }

    fn sweep(&mut self, now: At) {
        self.history.expire(now);
        self.last_sweep = now;
    }
}

/// A message for the neighbors of its author: delivered, and that is all. It is no part of the
/// tree, so it may come again, and from anyone.
fn deliver_from_neighbor<PI: PeerIdentity>(
    from: PI,
    gossip: Gossip,
    counters: &mut Counters,
    sink: &mut impl Sink<PI>,
) {
    if MessageId::from_content(&gossip.content) != gossip.id {
        counters.invalid_id += 1;
        return;
    }
    sink.deliver(GossipEvent {
        content: unpinned(&gossip.content),
        delivered_from: from,
        scope: gossip.scope,
    });
}

/// The content in an allocation of its own, to be shared by the cache, the peers that it is sent
/// on to and the application.
///
/// What comes from the network is a slice of a read buffer, which would be held as long as the
/// message is. This is the one place where a payload is copied; what the application broadcasts is
/// kept as it is given.
fn unpinned(content: &Bytes) -> Bytes {
    Bytes::copy_from_slice(content)
}

/// From now on the neighbor gets payloads. What waits to be announced to it is announced now.
fn make_eager<PI: PeerIdentity>(
    neighbor: &mut Neighbor<PI>,
    lazy_push: &LazyPush,
    settings: &Settings,
    sink: &mut impl Sink<PI>,
) {
    if !neighbor.eager {
        let waiting = lazy_push.waiting_for(neighbor);
        announce(neighbor.peer, &waiting, settings, sink);
        neighbor.eager = true;
        neighbor.pruned_at = None;
    }
}

/// From now on the neighbor gets announcements.
fn make_lazy<PI>(neighbor: &mut Neighbor<PI>, lazy_push: &LazyPush) {
    if neighbor.eager {
        neighbor.eager = false;
        neighbor.lazy_since = lazy_push.end();
    }
}

/// Sends announcements, in as many frames as they need.
fn announce<PI: PeerIdentity>(
    to: PI,
    ihaves: &[IHave],
    settings: &Settings,
    sink: &mut impl Sink<PI>,
) {
    for chunk in ihaves.chunks(settings.ihaves_per_frame) {
        sink.send(to, Message::IHave(chunk.to_vec()));
    }
}
