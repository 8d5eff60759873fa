//! Peers: the connections to each, what waits to be written, and when a connection ends.
//!
//! Two nodes may dial each other at once, so a peer can have several connections. We send on the
//! newest, which is the one known to be alive, and read all. The peer is down only when the last
//! one is gone.
//!
//! A peer that no topic needs is kept until all that was queued for it has arrived. Then its
//! connections are closed: at once where the peer has finished its streams too, else after a
//! while of silence. A peer that has left us is given [`PARTING_TIME`] to close them itself: were
//! both sides to close at once, a peer that leaves a topic and joins it again would often find
//! that its Join went into a connection that we were closing.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use iroh::EndpointId;
use smol_gossip_runtime::Runtime;
use tracing::debug;

use super::{
    connection::{self, ConnectionKey},
    limits::Limits,
    node::{Node, Timer},
    peer::{Dial, Link, OutStream, Peer},
    transport::{Connection, Transport},
};
use crate::proto::{InEvent, OutEvent};

/// How long a peer that has left us may take to close the connection, or to think better of it.
const PARTING_TIME: Duration = Duration::from_millis(500);

/// How long a peer that no topic needs is let be, where there are too many. Whoever connects in order to
/// join has said so after a round trip.
const TIME_TO_JOIN: Duration = Duration::from_secs(2);

const TOO_MANY: &str = "too many idle connections";

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Takes a new connection into service.
    pub(crate) fn link_up(&mut self, connection: T::Connection) {
        let id = connection.remote_id();
        let now = self.now;
        if id == self.transport.local_id() {
            connection.close("a connection to oneself");
            return;
        }
        if !self.peers.contains_key(&id) && !self.make_room_for_stranger() {
            connection.close(TOO_MANY);
            return;
        }
        let key = self.next_connection_key();
        let allowed = self.allow_first_streams(&connection);
        self.events.spawn(connection::closed::<T>(key, &connection));
        self.events
            .spawn(connection::accept_stream::<T>(key, &connection));
        let link = Link {
            peer: id,
            connection,
            readers: IndexMap::new(),
            header: None,
            accepting: true,
            allowed,
            opened: 0,
            lost: false,
            made: now,
            used: now,
        };
        self.links.insert(key, link);
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(now));
        peer.connections.push(key);
        peer.heard = now;
        debug!(peer = %id.fmt_short(), connections = peer.connections.len(), "connected");
        if peer.connections.len() > self.limits.connections_per_peer {
            let oldest = peer.connections[0];
            self.metrics.connections_surplus.inc();
            self.drop_link(oldest, "too many connections");
        }
        self.retire_old_streams(id);
        self.dirty.insert(id);
    }

    /// Closes a connection, and does what its loss entails.
    pub(crate) fn drop_link(&mut self, key: ConnectionKey, reason: &'static str) {
        if let Some(link) = self.links.get(&key) {
            link.connection.close(reason);
        }
        self.link_down(key);
    }

    /// A connection can carry nothing more.
    pub(crate) fn link_lost(&mut self, key: ConnectionKey) {
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        if self.ready.is_held(&link.peer) {
            // What is left of a flood is not worth the time that it would take.
            self.drop_link(key, "failed");
            return;
        }
        if std::mem::replace(&mut link.lost, true) {
            return;
        }
        // It may have failed in part; now all that waits for it comes to an end.
        link.connection.close("failed");
        let id = link.peer;
        if let Some(peer) = self.peers.get_mut(id.as_bytes()) {
            peer.connections.retain(|other| *other != key);
            peer.draining += 1;
        }
        self.lose_streams(id, |connection| connection == key);
        self.link_read(key);
    }

    /// Something was read to its end. That is the end of a lost connection, if it was the last.
    pub(crate) fn link_read(&mut self, key: ConnectionKey) {
        if let Some(link) = self.links.get(&key)
            && link.lost
            && !link.accepting
            && link.header.is_none()
            && link.readers.is_empty()
        {
            self.link_down(key);
        }
    }

    /// A connection is gone.
    fn link_down(&mut self, key: ConnectionKey) {
        let Some(link) = self.links.swap_remove(&key) else {
            return;
        };
        if let Some((task, timer)) = link.header {
            self.events.cancel_task(task);
            self.events.cancel_timer(timer);
        }
        let id = link.peer;
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        if link.lost {
            peer.draining = peer.draining.saturating_sub(1);
        } else {
            peer.connections.retain(|other| *other != key);
            self.lose_streams(id, |connection| connection == key);
        }
        let Some(peer) = self.peers.get(id.as_bytes()) else {
            return;
        };
        if peer.connections.is_empty() && peer.draining == 0 {
            self.peer_down(id);
        } else {
            self.dirty.insert(id);
        }
    }

    /// The last connection to a peer is gone.
    fn peer_down(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        debug!(peer = %id.fmt_short(), wanted = peer.wanted, "disconnected");
        peer.queue.clear();
        peer.streams.clear();
        peer.writing = 0;
        // Where it is being dialed it stays, for who asks for it again.
        let wanted = std::mem::take(&mut peer.wanted);
        for timer in [
            peer.retire_timer.take(),
            peer.stuck_timer.take(),
            peer.idle_timer.take(),
        ]
        .into_iter()
        .flatten()
        {
            self.events.cancel_timer(timer);
        }
        if peer.dial == Dial::None {
            self.peers.swap_remove(&id);
        } else {
            self.dirty.insert(id);
        }
        self.take_back(id);
        if wanted || self.state.is_needed(&id) {
            self.handle(InEvent::PeerDisconnected(id));
        }
    }

    /// Drops what was about to be queued for a peer that is gone: it was meant for the connection, or the dial,
    /// that has come to an end.
    pub(crate) fn take_back(&mut self, id: EndpointId) {
        self.outbox
            .retain(|event| !matches!(event, OutEvent::SendMessage { to, .. } if *to == id));
    }

    /// Closes the connections of a peer that nobody needs, and those that a newer one replaced.
    pub(crate) fn close_unneeded(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        if peer.wanted {
            self.close_replaced(id);
            self.watch_spare(id);
            return;
        }
        if !peer.queue.is_empty() {
            return;
        }
        if peer.is_draining() {
            return;
        }
        if peer.connections.is_empty() {
            self.cancel_dial(id);
            self.peers.swap_remove(&id);
            return;
        }
        let unanswered = |stream: &OutStream<T>| !stream.state.is_answered();
        let open = peer.streams.iter().filter(|(_, one)| unanswered(one));
        let open: Vec<_> = open.map(|(topic, _)| *topic).collect();
        if !open.is_empty() {
            for topic in open {
                self.finish_stream(id, topic);
            }
            self.watch_progress(id);
            return;
        }
        let is_done = peer.served && !peer.left_us;
        let quiet = peer
            .connections
            .iter()
            .filter_map(|key| self.links.get(key))
            .all(|link| link.readers.is_empty() && link.header.is_none());
        if self.is_stopping() || (quiet && is_done) {
            self.close_peer(id, "not needed");
        } else {
            self.watch_idle(id);
        }
    }

    /// Closes connections that nobody needs once they have been silent for long enough.
    pub(crate) fn idle_expired(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        peer.idle_timer = None;
        if peer.wanted {
            self.close_spare(id);
            self.watch_spare(id);
            return;
        }
        if !peer.queue.is_empty() {
            return;
        }
        if idle_deadline(peer, &self.limits) > self.now {
            self.close_spare(id);
            self.watch_idle(id);
        } else {
            self.close_peer(id, "idle");
        }
    }

    fn watch_idle(&mut self, id: EndpointId) {
        if let Some(peer) = self.peers.get(id.as_bytes()) {
            let idle = idle_deadline(peer, &self.limits);
            // The peer may go on and on, since it needs us, and use one of two connections.
            let spare = self.spare_deadline(id).into_iter();
            self.set_idle_timer(id, spare.chain([idle]).min());
        }
    }

    fn set_idle_timer(&mut self, id: EndpointId, deadline: Option<Instant>) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        match (peer.idle_timer, deadline) {
            (Some(timer), Some(deadline)) => {
                self.events.reschedule(timer, deadline);
            }
            (None, Some(deadline)) => {
                peer.idle_timer = Some(self.events.schedule(deadline, Timer::Idle(id)));
            }
            (Some(timer), None) => {
                self.events.cancel_timer(timer);
                peer.idle_timer = None;
            }
            (None, None) => {}
        }
    }

    /// Closes all connections to a peer.
    pub(crate) fn close_peer(&mut self, id: EndpointId, reason: &'static str) {
        let keys = self
            .peers
            .get(id.as_bytes())
            .map(|peer| peer.connections.clone());
        for key in keys.into_iter().flatten() {
            self.drop_link(key, reason);
        }
    }

    /// Closes older connections that neither side uses any more: ours are finished there, and the
    /// peer has streams on the newest one and none on the old.
    fn close_replaced(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get(id.as_bytes()) else {
            return;
        };
        let Some((newest, older @ [_, ..])) = peer.connections.split_last() else {
            return;
        };
        if !self.is_read(*newest) {
            return;
        }
        let unused = older
            .iter()
            .copied()
            .filter(|key| !self.is_used(peer, *key));
        for key in unused.collect::<Vec<_>>() {
            self.drop_link(key, "replaced by a newer connection");
        }
    }

    /// Sees to it that spare connections to a peer are closed some day: when both dialed at once
    /// and neither has said much since, nothing shows which connection the peer would use next.
    /// One of the two does it, or else each might close the one that the other keeps.
    fn watch_spare(&mut self, id: EndpointId) {
        self.set_idle_timer(id, self.spare_deadline(id));
    }

    fn spare_deadline(&self, id: EndpointId) -> Option<Instant> {
        let spare = self.spare_connections(id);
        let links = spare.iter().filter_map(|key| self.links.get(key));
        let first = links.map(|link| link.used).min();
        first.map(|used| used + self.limits.idle_timeout)
    }

    /// Closes the spare connections that nobody has used for a while.
    fn close_spare(&mut self, id: EndpointId) {
        for key in self.spare_connections(id) {
            let link = self.links.get(&key);
            if link.is_some_and(|link| link.used + self.limits.idle_timeout <= self.now) {
                self.drop_link(key, "not needed");
            }
        }
    }

    /// The connections to a peer that neither side uses, but one where there would be no other.
    fn spare_connections(&self, id: EndpointId) -> Vec<ConnectionKey> {
        let Some(peer) = self.peers.get(id.as_bytes()) else {
            return Vec::new();
        };
        if peer.connections.len() < 2 || self.transport.local_id() > id {
            return Vec::new();
        }
        let all = peer.connections.iter().copied();
        let mut unused: Vec<_> = all.filter(|key| !self.is_used(peer, *key)).collect();
        if unused.len() == peer.connections.len() {
            // The newest one, which is the one we would use.
            unused.pop();
        }
        unused
    }

    /// Whether a stream is open on a connection, in either direction.
    fn is_used(&self, peer: &Peer<T>, key: ConnectionKey) -> bool {
        let mut streams = peer.streams.values();
        self.is_read(key) || streams.any(|stream| stream.key.connection == key)
    }

    /// Whether the peer has a stream open on a connection.
    fn is_read(&self, key: ConnectionKey) -> bool {
        let link = self.links.get(&key);
        link.is_some_and(|link| !link.readers.is_empty() || link.header.is_some())
    }

    /// Makes sure of a place for a peer that no topic needs: at the price of the one that connected first, if
    /// that has had [`TIME_TO_JOIN`]. So no crowd shuts others out, whatever it says from time to time.
    fn make_room_for_stranger(&mut self) -> bool {
        let idle = self.peers.iter().filter_map(|(id, peer)| {
            let first = self.links.get(peer.connections.first()?)?;
            (!peer.wanted).then_some((first.made, *id))
        });
        let idle: Vec<_> = idle.collect();
        if idle.len() < self.limits.idle_peers {
            return true;
        }
        self.metrics.connections_refused.inc();
        let oldest = idle.into_iter().min_by_key(|(made, _)| *made);
        let oldest = oldest.filter(|(made, _)| *made + TIME_TO_JOIN <= self.now);
        if let Some((_, id)) = oldest {
            self.close_peer(id, TOO_MANY);
        }
        oldest.is_some()
    }
}

/// When the connections of a peer that nobody needs are closed, unless it says something before.
fn idle_deadline<T: Transport>(peer: &Peer<T>, limits: &Limits) -> Instant {
    let patience = if peer.left_us {
        limits.idle_timeout.min(PARTING_TIME)
    } else {
        limits.idle_timeout
    };
    peer.heard + patience
}
