//! Payloads on their way: broadcast, received, sent on, and what they do to the tree.

use super::{
    DeliveryScope, Gossip, Graft, IHave, Message, Round, Scope, Sink, State, announce,
    history::Known, lazy::Waiting, make_eager, make_lazy, missing::Claim, neighbors::NeighborSet,
};
use crate::proto::{
    Counters, GossipEvent, MessageId, Payload, PeerIdentity,
    clock::{At, MaybeAt},
};

/// A peer that is lazy and pushes all the same is sent another Prune after this long.
const PRUNE_AGAIN: u64 = 1_000_000_000;

/// Lazy neighbors that do not have a message yet.
struct Untold {
    /// Who has it already.
    known_to: NeighborSet,
    /// Whether each of the others announces to us, and may be left to do so.
    is_left: bool,
}

impl<PI: PeerIdentity> State<PI> {
    /// Sends a message of the application.
    pub(crate) fn broadcast(
        &mut self,
        payload: &mut Payload,
        scope: Scope,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        self.begin(now);
        if payload.len() > self.settings.max_content_size {
            counters.broadcast_too_large += 1;
            return;
        }
        let (content, id) = payload.take();
        match scope {
            Scope::Neighbors => {
                let scope = DeliveryScope::Neighbors;
                let gossip = Gossip { id, content, scope };
                for neighbor in self.neighbors.iter() {
                    sink.push(neighbor.peer, &gossip);
                }
            }
            // Receivers would take it for a duplicate, and prune the link that it came over.
            Scope::Swarm if self.history.find(&id).is_some() => counters.broadcast_duplicate += 1,
            Scope::Swarm => {
                let known_to = self.stop_waiting_for(&id).1;
                let round = Round::from(0);
                let scope = DeliveryScope::Swarm(round);
                let gossip = Gossip { id, content, scope };
                let untold = self.push(&gossip, None, known_to, sink);
                let unshared = self.neighbors.is_empty();
                let cached = Some(gossip.content);
                self.history
                    .remember(id, cached, round, unshared, now, counters);
                self.schedule_idle_sweep(now);
                self.announce_later(IHave { id, round }, untold, now, counters);
            }
        }
    }

    /// Takes a payload from a peer, neighbor or not; `is_hashed` where it is known that its id is the hash of its
    /// content. What is left of it is of no use: it is not moved, since it is large and new.
    #[inline]
    pub(crate) fn receive_payload(
        &mut self,
        from: PI,
        gossip: &mut Gossip,
        is_hashed: bool,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        self.begin(now);
        match gossip.scope {
            DeliveryScope::Swarm(round) => {
                self.handle_payload(from, gossip, (round, is_hashed), now, counters, sink);
            }
            DeliveryScope::Neighbors if is_hashed || is_genuine(gossip) => {
                // For the neighbors of its author: delivered, and that is all. It is no part of the tree, so it may
                // come again, and from anyone.
                sink.deliver(GossipEvent {
                    content: std::mem::take(&mut gossip.content),
                    delivered_from: from,
                    scope: gossip.scope,
                });
            }
            DeliveryScope::Neighbors => counters.invalid_id += 1,
        }
    }

    /// A payload for the whole swarm (section 3.7, "Gossip and Tree Construction").
    fn handle_payload(
        &mut self,
        from: PI,
        gossip: &mut Gossip,
        (round, is_hashed): (Round, bool),
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let id = gossip.id;
        // Before anything is hashed: a duplicate of any size costs no more than a look.
        if let Some(known) = self.history.find(&id) {
            counters.duplicates += 1;
            self.measure_duplicate(&id, &from, now);
            self.handle_duplicate(from, &id, known, now, sink);
            return;
        }
        if !is_hashed && !is_genuine(gossip) {
            counters.invalid_id += 1;
            return;
        }
        let (wanted, mut known_to) = self.stop_waiting_for(&id);
        if let Some(neighbor) = self.neighbors.find(&from) {
            known_to |= neighbor.bit();
            let sender = neighbor.serial;
            neighbor.brought_news(now);
            let pruned_lately = neighbor
                .pruned_at
                .get()
                .is_some_and(|pruned| now < pruned.after(PRUNE_AGAIN));
            if !pruned_lately {
                make_eager(neighbor, &self.lazy_push, &self.settings, sink);
            }
            let announced = wanted.as_ref().map(|wanted| wanted.announced);
            self.measure(id, sender, announced, now);
            match wanted {
                Some(wanted) => {
                    for claim in &wanted.claims {
                        self.delays.heard(claim.claimant);
                    }
                    // Of messages that are under way together, some wait for others.
                    if self.missing.is_empty() {
                        self.optimize(from, round, &wanted.claims, now, sink);
                    }
                }
                None => self.neighbors.reset_gains(None),
            }
            self.delays.broken = false;
        }
        let next = round.next();
        gossip.scope = DeliveryScope::Swarm(next);
        let fits = gossip.content.len() <= self.settings.max_content_size;
        let untold = if fits {
            self.push(gossip, Some(from), known_to, sink)
        } else {
            counters.not_forwarded_too_large += 1;
            None
        };
        let cached = fits.then(|| gossip.content.clone());
        self.history
            .remember(id, cached, next, false, now, counters);
        self.schedule_idle_sweep(now);
        self.announce_later(IHave { id, round: next }, untold, now, counters);
        sink.deliver(GossipEvent {
            content: std::mem::take(&mut gossip.content),
            delivered_from: from,
            scope: DeliveryScope::Swarm(round),
        });
    }

    /// A payload that we have already: its sender need not push to us (section 3.7), unless it is
    /// part of a busy tree (see
    /// [`brought_duplicate`](super::neighbors::Neighbor::brought_duplicate)).
    pub(super) fn handle_duplicate(
        &mut self,
        from: PI,
        id: &MessageId,
        known: Known,
        now: At,
        sink: &mut impl Sink<PI>,
    ) {
        let Some(neighbor) = self.neighbors.find(&from) else {
            return;
        };
        self.history.mark_shared(known);
        if !neighbor.eager {
            self.lazy_push
                .strike_off(self.history.number(known), neighbor);
        }
        let is_part_of_tree = neighbor.eager && neighbor.is_busy(now);
        let prune = if neighbor.eager {
            let latest_other = self.history.latest_other(known);
            neighbor.brought_duplicate(id, latest_other, now)
        } else {
            neighbor
                .pruned_at
                .get()
                .is_none_or(|pruned| pruned.after(PRUNE_AGAIN) <= now)
        };
        if prune {
            make_lazy(neighbor, &self.lazy_push);
            neighbor.pruned_at = MaybeAt::some(now);
            sink.send(from, Message::Prune);
        }
        if prune && is_part_of_tree {
            self.neighbors.spare();
        }
    }

    /// A neighbor wants announcements instead of payloads (section 3.7).
    pub(super) fn handle_prune(&mut self, from: PI, now: At, counters: &mut Counters) {
        let Some(neighbor) = self.neighbors.find(&from) else {
            counters.stranger_control += 1;
            return;
        };
        let is_part_of_tree = neighbor.eager && neighbor.is_busy(now);
        make_lazy(neighbor, &self.lazy_push);
        if is_part_of_tree {
            self.neighbors.spare();
        }
    }

    /// Changes the tree where announcements come a much shorter way than payloads (the paper's
    /// "Optimization"): the announcer takes the place of the payload's sender.
    pub(super) fn optimize(
        &mut self,
        sender: PI,
        round: Round,
        claims: &[Claim],
        now: At,
        sink: &mut impl Sink<PI>,
    ) {
        let shorter = claims
            .iter()
            .filter(|claim| claim.round < round)
            .filter(|claim| {
                let claimant = self.neighbors.by_serial(claim.claimant);
                claimant.is_some_and(|one| one.peer != sender)
            })
            .min_by_key(|claim| claim.round)
            .copied();
        self.neighbors
            .reset_gains(shorter.map(|claim| claim.claimant));
        let Some(best) = shorter else {
            return;
        };
        let Some(announcer) = self.neighbors.by_serial(best.claimant) else {
            return;
        };
        let gain = round.hops().saturating_sub(best.round.hops());
        let enough = self.settings.optimization_threshold.hops();
        if !announcer.gained(gain, enough) {
            return;
        }
        // It may be eager to us, and we lazy to it: as its announcements say, it does not push.
        make_eager(announcer, &self.lazy_push, &self.settings, sink);
        let graft = Graft {
            id: None,
            round: best.round,
        };
        sink.send(announcer.peer, Message::Graft(graft));
        if let Some(sender) = self.neighbors.find(&sender)
            && sender.eager
        {
            make_lazy(sender, &self.lazy_push);
            sender.pruned_at = MaybeAt::some(now);
            sink.send(sender.peer, Message::Prune);
        }
    }

    /// Sends a message on to eager neighbors. Those who gave or announced it to us have it. Says who is to be told
    /// of it later, if anyone.
    #[inline]
    fn push(
        &mut self,
        gossip: &Gossip,
        from: Option<PI>,
        known_to: NeighborSet,
        sink: &mut impl Sink<PI>,
    ) -> Option<Untold> {
        let (mut any_lazy, mut is_left) = (false, true);
        for neighbor in self.neighbors.iter() {
            // Where the sender has a bit, it is in the set.
            let is_sender = neighbor.bit() == 0 && Some(neighbor.peer) == from;
            if neighbor.bit() & known_to != 0 || is_sender {
                continue;
            }
            if neighbor.eager {
                sink.push(neighbor.peer, gossip);
            } else {
                any_lazy = true;
                is_left &= neighbor.announces;
            }
        }
        any_lazy.then_some(Untold { known_to, is_left })
    }

    /// Has what was remembered last announced to lazy neighbors at the next dispatch.
    #[inline]
    fn announce_later(
        &mut self,
        ihave: IHave,
        untold: Option<Untold>,
        now: At,
        counters: &mut Counters,
    ) {
        let Some(Untold { known_to, is_left }) = untold else {
            return;
        };
        let number = self.history.next_number().saturating_sub(1);
        let holding = &self.settings.holding;
        if let Some((place, known_to)) =
            self.lazy_push
                .push((ihave, number), known_to, is_left, holding, now)
        {
            let untold = self
                .neighbors
                .iter()
                .filter(|one| !one.eager && one.lazy_since <= place && one.bit() & known_to == 0);
            counters.lazy_queue_full += untold.count() as u64;
        }
    }

    /// Tells lazy neighbors what was received since the last dispatch (section 3.7).
    pub(super) fn dispatch_announcements(&mut self, now: At, sink: &mut impl Sink<PI>) {
        if !self.lazy_push.due().is_due(now) {
            return;
        }
        let settings = &self.settings;
        let tell = |to, waiting: Waiting<'_>| announce(to, waiting, settings, sink);
        self.lazy_push
            .dispatch(&mut self.neighbors, &settings.holding, now, tell);
    }
}

/// Whether the payload's id is the hash of its content.
fn is_genuine(gossip: &Gossip) -> bool {
    MessageId::from_content(&gossip.content) == gossip.id
}
