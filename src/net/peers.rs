//! Peers: the connections to each, what waits to be written, and when a connection ends.
//!
//! Two nodes may dial each other at once, so a peer can have several connections. We send on the
//! newest, which is the one known to be alive, and read all. The peer is down only when the last
//! one is gone.
//!
//! A peer that no topic needs is kept until all that was queued for it has arrived. Then its
//! connections are closed: at once where the peer has finished its streams too, else after a
//! while of silence.

use std::time::Instant;

use indexmap::IndexMap;
use iroh::EndpointId;
use smol_gossip_runtime::{Runtime, TaskId, TimerKey};
use tracing::debug;

use super::{
    connection::{self, ConnectionKey, Reader},
    driver::{Node, Timer},
    queue::SendQueue,
    streams::OutStream,
    transport::{Connection, Transport},
};
use crate::proto::{InEvent, TopicId};

/// A peer that we are connected to, or want to be.
pub(crate) struct Peer<T: Transport> {
    /// Whether a topic needs it.
    pub(crate) wanted: bool,
    /// Only while it is among those to flush, though it may be there without. Spares a busy peer
    /// the look.
    pub(crate) dirty: bool,
    /// Whether we ever sent it anything.
    pub(crate) served: bool,
    /// Its connections, the newest last.
    pub(crate) connections: Vec<ConnectionKey>,
    /// Connections that are lost, but that are still read.
    draining: usize,
    pub(crate) dial: Dial,
    pub(crate) queue: SendQueue,
    /// Our streams.
    pub(crate) streams: IndexMap<TopicId, OutStream<T>>,
    /// When something last came from it.
    pub(crate) heard: Instant,
    pub(crate) retire_timer: Option<TimerKey>,
    pub(crate) stuck_timer: Option<TimerKey>,
    idle_timer: Option<TimerKey>,
}

/// How far the dialing of a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// It is not dialed.
    None,
    /// It waits for other dials to end.
    Waiting,
    /// It is dialed.
    Active(TaskId, TimerKey),
}

/// A connection.
pub(crate) struct Link<T: Transport> {
    pub(crate) peer: EndpointId,
    pub(crate) connection: T::Connection,
    /// The streams of the peer, by topic. One of each topic is being read; those that the peer
    /// opened after it wait here until it ends, so that they are read in order.
    pub(crate) readers: IndexMap<TopicId, Vec<Reader<<T::Connection as Connection>::Recv>>>,
    /// The stream that has not named its topic yet.
    pub(crate) header: Option<(TaskId, TimerKey)>,
    /// Whether further streams of the peer are waited for.
    pub(crate) accepting: bool,
    /// Whether it can carry nothing more. What arrived before is still read, so that the last
    /// words of a peer are heard even if they come together with its hanging up.
    lost: bool,
}

impl<T: Transport> Peer<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            wanted: false,
            dirty: false,
            served: false,
            connections: Vec::new(),
            draining: 0,
            dial: Dial::None,
            queue: SendQueue::default(),
            streams: IndexMap::new(),
            heard: now,
            retire_timer: None,
            stuck_timer: None,
            idle_timer: None,
        }
    }

    /// Whether all that is left of it is a lost connection that is still read.
    pub(crate) fn is_draining(&self) -> bool {
        self.connections.is_empty() && self.draining > 0
    }
}

impl<T: Transport> Link<T> {
    /// Whether it can carry nothing more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Takes a new connection into service.
    pub(crate) fn link_up(&mut self, connection: T::Connection) {
        let id = connection.remote_id();
        let now = self.now;
        if id == self.transport.local_id() {
            connection.close("a connection to oneself");
            return;
        }
        if !self.peers.contains_key(&id) && self.idle_peers() >= self.limits.idle_peers {
            self.metrics.connections_refused.inc();
            connection.close("too many idle connections");
            return;
        }
        let key = self.next_connection_key();
        connection.allow_streams(self.limits.streams_per_connection);
        self.events.spawn(connection::closed::<T>(key, &connection));
        self.events
            .spawn(connection::accept_stream::<T>(key, &connection));
        let link = Link {
            peer: id,
            connection,
            readers: IndexMap::new(),
            header: None,
            accepting: true,
            lost: false,
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
        if std::mem::replace(&mut link.lost, true) {
            return;
        }
        // It may have failed in part; now all that waits for it comes to an end.
        link.connection.close("failed");
        if let Some(peer) = self.peers.get_mut(&link.peer) {
            peer.connections.retain(|other| *other != key);
            peer.streams
                .retain(|_, stream| stream.key.connection != key);
            peer.draining += 1;
        }
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
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if link.lost {
            peer.draining = peer.draining.saturating_sub(1);
        } else {
            peer.connections.retain(|other| *other != key);
            peer.streams
                .retain(|_, stream| stream.key.connection != key);
        }
        if peer.connections.is_empty() && peer.draining == 0 {
            self.peer_down(id);
        } else {
            self.dirty.insert(id);
        }
    }

    /// The last connection to a peer is gone.
    fn peer_down(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        debug!(peer = %id.fmt_short(), wanted = peer.wanted, "disconnected");
        peer.queue.clear();
        peer.streams.clear();
        let wanted = peer.wanted;
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
        }
        if wanted {
            self.handle(InEvent::PeerDisconnected(id));
        }
    }

    /// Closes the connections of a peer that nobody needs, and those that a newer one replaced.
    pub(crate) fn close_unneeded(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.wanted {
            if let Some(timer) = peer.idle_timer.take() {
                self.events.cancel_timer(timer);
            }
            self.close_replaced(id);
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
        let idle: Vec<_> = peer.streams.keys().copied().collect();
        if !idle.is_empty() {
            for topic in idle {
                self.finish_stream(id, topic);
            }
            return;
        }
        let served = peer.served;
        let quiet = peer
            .connections
            .iter()
            .filter_map(|key| self.links.get(key))
            .all(|link| link.readers.is_empty() && link.header.is_none());
        if self.is_stopping() || (quiet && served) {
            self.close_peer(id, "not needed");
        } else {
            self.watch_idle(id);
        }
    }

    /// Closes a connection that nobody needs once it has been silent for long enough.
    pub(crate) fn idle_expired(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.idle_timer = None;
        if peer.wanted || !peer.queue.is_empty() {
            return;
        }
        if peer.heard + self.limits.idle_timeout > self.now {
            self.watch_idle(id);
        } else {
            self.close_peer(id, "idle");
        }
    }

    fn watch_idle(&mut self, id: EndpointId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.idle_timer.is_none()
        {
            let deadline = peer.heard + self.limits.idle_timeout;
            peer.idle_timer = Some(self.events.schedule(deadline, Timer::Idle(id)));
        }
    }

    /// Closes all connections to a peer.
    pub(crate) fn close_peer(&mut self, id: EndpointId, reason: &'static str) {
        let keys = self.peers.get(&id).map(|peer| peer.connections.clone());
        for key in keys.into_iter().flatten() {
            self.drop_link(key, reason);
        }
    }

    /// Closes older connections that neither side uses any more: ours are finished there, and the
    /// peer has streams on the newest one and none on the old.
    fn close_replaced(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Some((newest, older)) = peer.connections.split_last() else {
            return;
        };
        let link_used = |key: &ConnectionKey| {
            self.links
                .get(key)
                .is_some_and(|link| !link.readers.is_empty() || link.header.is_some())
        };
        if older.is_empty() || !link_used(newest) {
            return;
        }
        let ours = |key| {
            let mut streams = peer.streams.values();
            streams.any(|stream| stream.key.connection == key)
        };
        let replaced: Vec<_> = older
            .iter()
            .copied()
            .filter(|key| !link_used(key) && !ours(*key))
            .collect();
        for key in replaced {
            self.drop_link(key, "replaced by a newer connection");
        }
    }

    /// Peers that are connected, but that no topic needs.
    fn idle_peers(&self) -> usize {
        let peers = self.peers.values();
        peers
            .filter(|peer| !peer.wanted && !peer.connections.is_empty())
            .count()
    }
}
