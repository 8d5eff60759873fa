//! Peers that are not read for a while, because they burden us too much (see `burden`).
//!
//! A peer that is held keeps its connections and its neighborhood. Streams that were read wait in
//! `ready`, further streams are not accepted, and after some milliseconds it goes on.

use iroh::EndpointId;
use smol_gossip_runtime::Runtime;
use tracing::{debug, trace};

use super::{
    burden,
    connection::{self, ConnectionKey},
    node::{Node, Timer},
    transport::{Connection, Transport},
};
use crate::proto::{DeliveryScope, TopicId};

/// How many streams for topics that we are not in a peer may have open while it is held. Each of
/// them is a window's worth of memory that it can fill.
const STREAMS_OF_OTHERS: usize = 64;

/// Streams that a peer may have open on a connection at first: more than the hundred that QUIC
/// endpoints commonly allow. Who uses them is allowed more, up to the limit, unless it is held.
pub(crate) const STREAMS_AT_FIRST: u32 = 128;

/// What was counted before a frame was handled, and after.
pub(crate) struct Tally {
    refused: u64,
    false_ids: u64,
    restless: u64,
    /// Announcements for which there was no room.
    unheard: u64,
    ups: u64,
    /// Bytes that wait for its sender.
    queued: usize,
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Charges a peer, and holds it where that is too much.
    pub(crate) fn charge(&mut self, peer: EndpointId, units: u32) {
        if self.burdens.charge(peer, units, self.now) && !self.is_stopping() {
            self.metrics.peers_held.inc();
            self.hold(peer);
            self.drop_lost(peer);
            self.drop_floods(peer);
        }
    }

    /// What the toll of a frame depends on.
    pub(crate) fn tally(&self, from: &EndpointId, payload: bool) -> Tally {
        let counters = self.state.counters();
        Tally {
            refused: counters.payloads_refused(),
            false_ids: counters.invalid_id,
            restless: counters.joins_limited,
            unheard: counters.missing_full,
            ups: self.ups,
            // Nobody is answered for a payload with more than a Prune.
            queued: if payload { 0 } else { self.queued(from) },
        }
    }

    /// Notes what a frame was worth, or what it cost, once it has been handled. A payload has a scope.
    pub(crate) fn take_toll(
        &mut self,
        from: &EndpointId,
        scope: Option<DeliveryScope>,
        units: u32,
        before: &Tally,
    ) {
        let after = self.tally(from, scope.is_some());
        let (charge, credit) = &mut self.toll;
        if let Some(scope) = scope
            && after.refused == before.refused
        {
            // What is for neighbors only may come again and again, so it makes up for nothing.
            if matches!(scope, DeliveryScope::Swarm(_)) {
                *credit += burden::NEWS;
            }
            return;
        }
        let up = after.ups > before.ups;
        let restless = after.restless > before.restless;
        if up && !restless {
            // That is what the stream was for.
            *credit += burden::STREAM;
            return;
        }
        let answer = burden::of_bytes(after.queued.saturating_sub(before.queued));
        *charge = charge.saturating_add(units).saturating_add(answer);
        let unheard = (after.unheard - before.unheard) / burden::ANNOUNCEMENTS;
        *charge = charge.saturating_add(u32::try_from(unheard).unwrap_or(u32::MAX));
        if restless && up {
            *charge += burden::RESTLESS;
        } else if restless {
            *charge += burden::TURNED_AWAY;
        }
        if after.false_ids > before.false_ids {
            *charge += burden::FALSE_ID;
        }
    }

    fn queued(&self, peer: &EndpointId) -> usize {
        let peer = self.peers.get(peer.as_bytes());
        peer.map_or(0, |peer| peer.queue.bytes())
    }

    /// Charges and credits a peer for the frames that were handled. Returns the units.
    pub(crate) fn settle_toll(&mut self, peer: EndpointId) -> usize {
        let (units, credit) = std::mem::take(&mut self.toll);
        self.burdens.credit(peer, credit, self.now);
        self.charge(peer, units);
        units as usize
    }

    fn hold(&mut self, peer: EndpointId) {
        let until = self.burdens.hold_until(&peer, self.now);
        trace!(peer = %peer.fmt_short(), time = ?(until - self.now), "held");
        let timer = self.events.schedule(until, Timer::Held(peer));
        self.burdens.hold(&peer, timer);
        self.ready.hold(peer);
    }

    /// A peer was held for long enough, unless it was charged more meanwhile.
    pub(crate) fn held_expired(&mut self, peer: EndpointId) {
        self.burdens.release(&peer, self.now);
        if self.burdens.is_over(&peer, self.now) {
            self.hold(peer);
        } else {
            self.release(peer);
        }
    }

    fn release(&mut self, peer: EndpointId) {
        self.ready.release(peer);
        let connections = self
            .peers
            .get(peer.as_bytes())
            .map(|peer| peer.connections.clone());
        for key in connections.into_iter().flatten() {
            self.accept_streams(key);
        }
    }

    /// Holds nobody any more: there is no time to lose.
    pub(crate) fn release_all(&mut self) {
        for (peer, timer) in self.burdens.release_all() {
            self.events.cancel_timer(timer);
            self.release(peer);
        }
    }

    /// Waits for the next stream of a connection, unless that is done already.
    pub(crate) fn accept_streams(&mut self, key: ConnectionKey) {
        if let Some(link) = self.links.get_mut(&key)
            && !link.accepting
            && link.header.is_none()
        {
            link.accepting = true;
            self.events
                .spawn(connection::accept_stream::<T>(key, &link.connection));
        }
    }

    /// Lets a peer open its first streams.
    pub(crate) fn allow_first_streams(&self, connection: &T::Connection) -> u32 {
        let allowed = self.limits.streams_per_connection.min(STREAMS_AT_FIRST);
        connection.allow_streams(allowed);
        allowed
    }

    /// Lets a peer open more streams where it has use for them: it has many open at once, for topics that we are in,
    /// or has to finish one for each that it opens.
    pub(crate) fn allow_more_streams(&mut self, key: ConnectionKey, topic: &TopicId) {
        let limit = self.limits.streams_per_connection;
        let is_ours = self.state.contains(topic);
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        if link.allowed >= limit {
            return;
        }
        link.opened = link.opened.saturating_add(u32::from(is_ours));
        let many = link.allowed as usize / 2;
        let are_many_ours = || {
            let ours = link.readers.keys().filter(|one| self.state.contains(one));
            link.readers.len() >= many && ours.count() >= many
        };
        if link.opened > link.allowed || are_many_ours() {
            link.allowed = link.allowed.saturating_mul(2).min(limit);
            link.opened = 0;
            link.connection.allow_streams(link.allowed);
        }
    }

    /// Drops what is still read of a peer that is held, though its connection is lost.
    fn drop_lost(&mut self, peer: EndpointId) {
        if self
            .peers
            .get(peer.as_bytes())
            .is_none_or(|one| one.draining == 0)
        {
            return;
        }
        let links = self.links.iter();
        let lost = links.filter(|(_, link)| link.peer == peer && link.is_lost());
        for key in lost.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.drop_link(key, "failed");
        }
    }

    /// Drops connections of a peer that is held, where it could fill our memory through them.
    fn drop_floods(&mut self, peer: EndpointId) {
        let Some(entry) = self.peers.get(peer.as_bytes()) else {
            return;
        };
        let is_flood = |key: &&ConnectionKey| {
            let readers = self.links.get(*key).into_iter();
            let readers = readers.flat_map(|link| &link.readers);
            let others = readers.filter(|(topic, _)| !self.state.contains(topic));
            let streams = others.map(|(_, waiting)| 1 + waiting.len());
            streams.sum::<usize>() > STREAMS_OF_OTHERS
        };
        let floods: Vec<_> = entry.connections.iter().filter(is_flood).copied().collect();
        for key in floods {
            debug!(peer = %peer.fmt_short(), "too many streams for other topics: dropped");
            self.metrics.floods_dropped.inc();
            self.burdens
                .charge(peer, burden::STREAMS_OF_OTHERS, self.now);
            self.drop_link(key, "too many streams for other topics");
        }
    }
}
