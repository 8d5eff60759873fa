//! Our streams to a peer: opening, writing, finishing.
//!
//! Each topic has a stream of its own. When the newest connection changes, the stream is finished
//! on the old one, and opened anew once the peer has all of it or [`RETIRE_TIMEOUT`] has passed,
//! so that messages of a topic keep their order while both connections live. When more topics have
//! something to say than the peer allows streams, those that were idle the longest make room.

use std::time::Duration;

use bytes::Bytes;
use iroh::EndpointId;
use smol_gossip_runtime::Runtime;
use tracing::{debug, trace};

use super::{
    connection::{self, ConnectionKey, Opening, StreamKey},
    inspect::Diagnostic,
    node::{Node, Timer},
    peer::{Dial, Farewell, OutState, OutStream},
    transport::{Broken, Connection, Transport},
};
use crate::proto::{InEvent, TopicId, wire::StreamHeader};

/// Streams that we keep open at once towards a peer: as many as our own nodes allow each other at
/// the most. Where topics are busy, fewer would cost more than what open ones take, which is about a
/// kilobyte at both ends together. How many the peer allows shows when it holds one up; QUIC endpoints
/// let a peer open a hundred unless they are told otherwise.
pub(crate) const MAX_OPEN_STREAMS: usize = 1024;

/// Streams that are being opened at once towards a peer.
const MAX_OPENING: usize = 16;

/// How long a stream on an older connection may take to finish before its topic goes on without.
pub(crate) const RETIRE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long after a connection is made streams may still be led over to it, with the time on the way.
const SETTLED: Duration = Duration::from_secs(1);

type Sender<T> = <<T as Transport>::Connection as Connection>::Send;

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Hands everything to the streams that they can take now. Where something comes to an end with that, the rest
    /// is for the next pass, since somebody else may be needed for it.
    pub(crate) fn flush(&mut self) {
        while self.outbox.is_empty()
            && let Some(id) = self.dirty.pop()
        {
            self.flush_peer(id);
            if self.outbox.is_empty() {
                self.close_unneeded(id);
            } else {
                self.dirty.insert(id);
            }
        }
    }

    fn flush_peer(&mut self, id: EndpointId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        peer.dirty = false;
        let Some(&newest) = peer.connections.last() else {
            if !peer.queue.is_empty() && peer.dial == Dial::None && !peer.is_draining() {
                self.dial(id);
            }
            return;
        };
        let Some(link) = self.links.get(&newest) else {
            return;
        };
        // Looked at only where it matters.
        let mut opening = None;
        let mut wants_room = false;
        let mut waiting = 0;
        for topic in peer.queue.topics().collect::<Vec<_>>() {
            let Some(stream) = peer.streams.get_mut(&topic) else {
                let opening = opening.get_or_insert_with(|| {
                    let streams = peer.streams.values();
                    streams.filter(|one| one.state.is_opening()).count()
                });
                let is_full = peer.streams.len() >= MAX_OPEN_STREAMS;
                if is_full || *opening >= MAX_OPENING {
                    wants_room |= is_full;
                    waiting += 1;
                    continue;
                }
                *opening += 1;
                self.next_serial += 1;
                let key = StreamKey {
                    peer: id,
                    topic,
                    connection: newest,
                    serial: self.next_serial,
                };
                self.events
                    .spawn(connection::open_stream::<T>(key, &link.connection));
                peer.streams.insert(topic, OutStream::opening(key, now));
                continue;
            };
            if stream.state.is_held_up() {
                wants_room = true;
                waiting += 1;
            }
            if !matches!(stream.state, OutState::Idle(_)) || stream.key.connection != newest {
                continue;
            }
            if peer.writing >= self.limits.send_queue_bytes.max(1) {
                // As much as may wait for it is with streams that it does not read.
                continue;
            }
            let mut batch = peer.queue.take(&topic, self.max_message_size);
            if std::mem::take(&mut stream.fresh) {
                batch.chunks.insert(0, header(topic));
            }
            let writing = OutState::Writing(batch.bytes);
            if let OutState::Idle(sender) = std::mem::replace(&mut stream.state, writing) {
                peer.writing += batch.bytes;
                stream.since = now;
                trace!(peer = %id.fmt_short(), bytes = batch.bytes, last = batch.last, "write");
                stream.said_farewell = batch.last;
                self.events
                    .spawn(connection::write::<T>(stream.key, sender, batch));
            }
        }
        if wants_room {
            self.make_stream_room(id, waiting);
        }
        self.watch_progress(id);
    }

    /// Finishes the idle streams that were used the longest ago: one for each of the topics that
    /// wait, less those that are finishing already.
    fn make_stream_room(&mut self, id: EndpointId, waiting: usize) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        let finishing = peer
            .streams
            .values()
            .filter(|stream| matches!(stream.state, OutState::Finishing(_)))
            .count();
        let mut idle: Vec<_> = peer
            .streams
            .values()
            .filter(|stream| matches!(stream.state, OutState::Idle(_)))
            .map(|stream| (stream.since, stream.key.serial, stream.key.topic))
            .collect();
        idle.sort_unstable();
        let count = waiting.saturating_sub(finishing);
        for (_, _, topic) in idle.into_iter().take(count) {
            self.finish_stream(id, topic);
        }
    }

    /// Finishes a stream that is idle.
    pub(crate) fn finish_stream(&mut self, id: EndpointId, topic: TopicId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        let Some(stream) = peer.streams.get_mut(&topic) else {
            return;
        };
        if !matches!(stream.state, OutState::Idle(_)) {
            return;
        }
        let (key, fresh) = (stream.key, std::mem::take(&mut stream.fresh));
        let finishing = OutState::Finishing(if stream.said_farewell {
            Farewell::Said
        } else {
            Farewell::None
        });
        if let OutState::Idle(sender) = std::mem::replace(&mut stream.state, finishing) {
            stream.since = now;
            self.finish_sender(key, sender, fresh);
        }
    }

    /// Finishes a stream. One that never named its topic does so now, since peers take a stream
    /// without a topic for a broken connection.
    fn finish_sender(&mut self, key: StreamKey, sender: Sender<T>, fresh: bool) {
        let names = fresh.then(|| header(key.topic)).into_iter().collect();
        self.events
            .spawn(connection::finish::<T>(key, sender, names));
    }

    /// Leads the streams of a peer over to its newest connection.
    pub(crate) fn retire_old_streams(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        let newest = peer.connections.last().copied();
        let old: Vec<_> = peer
            .streams
            .values()
            .filter(|stream| Some(stream.key.connection) != newest)
            .map(|stream| stream.key.topic)
            .collect();
        if old.is_empty() {
            return;
        }
        if peer.retire_timer.is_none() {
            let timer = self
                .events
                .schedule(self.now + RETIRE_TIMEOUT, Timer::Retire(id));
            peer.retire_timer = Some(timer);
        }
        for topic in old {
            self.finish_stream(id, topic);
        }
    }

    /// Goes on without the streams that older connections would not finish in time.
    pub(crate) fn retire_expired(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        peer.retire_timer = None;
        let newest = peer.connections.last().copied();
        self.lose_streams(id, |key| Some(key) != newest);
        self.dirty.insert(id);
    }

    /// Forgets our streams on some of the connections of a peer. Where the peer can still be
    /// reached, the protocol learns what may not have arrived.
    pub(crate) fn lose_streams(&mut self, id: EndpointId, lost: impl Fn(ConnectionKey) -> bool) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        let mut topics = Vec::new();
        peer.streams.retain(|topic, stream| {
            let lost = lost(stream.key.connection);
            if lost && !stream.fresh {
                topics.push(*topic);
            }
            if lost {
                peer.writing -= stream.writing();
            }
            !lost
        });
        // Also where what has arrived is still read: another connection may come meanwhile.
        if peer.wanted && (!peer.connections.is_empty() || peer.draining > 0) {
            for topic in topics {
                self.handle(InEvent::StreamLost { to: id, topic });
            }
        }
    }

    /// Sees to it that a stuck stream is noticed.
    pub(crate) fn watch_progress(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        let busy = peer.streams.values().any(|stream| stream.state.is_busy());
        if busy && peer.stuck_timer.is_none() {
            let deadline = self.now + self.limits.stuck_timeout;
            peer.stuck_timer = Some(self.events.schedule(deadline, Timer::Stuck(id)));
        }
    }

    /// Drops connections on which something has been stuck for too long.
    pub(crate) fn stuck_expired(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        peer.stuck_timer = None;
        let busy = peer
            .streams
            .values()
            .filter(|stream| stream.state.is_busy());
        let Some(oldest) = busy.min_by_key(|stream| stream.since) else {
            return;
        };
        let deadline = oldest.since + self.limits.stuck_timeout;
        if deadline > self.now {
            peer.stuck_timer = Some(self.events.schedule(deadline, Timer::Stuck(id)));
        } else {
            let key = oldest.key.connection;
            debug!(peer = %id.fmt_short(), "takes nothing: dropped");
            self.metrics.peers_stuck.inc();
            self.watchers.tell(|| Diagnostic::StuckPeer { peer: id });
            self.drop_link(key, "too slow");
        }
    }

    /// The peer allows no further stream for now.
    pub(crate) fn stream_held_up(&mut self, key: StreamKey, opening: Opening<T>) {
        self.events
            .spawn(connection::open_when_allowed::<T>(key, opening));
        let Some(peer) = self.peers.get_mut(key.peer.as_bytes()) else {
            return;
        };
        if let Some(stream) = peer.streams.get_mut(&key.topic)
            && stream.key == key
        {
            stream.state = OutState::Opening { held_up: true };
            self.dirty.insert(key.peer);
        }
    }

    /// A stream of ours is open.
    pub(crate) fn stream_opened(&mut self, key: StreamKey, result: Result<Sender<T>, Broken>) {
        match result {
            Ok(sender) => self.stream_idle(key, sender, true),
            Err(reason) => self.link_failed(key.connection, &reason),
        }
    }

    /// A write has ended.
    pub(crate) fn written(&mut self, key: StreamKey, result: Result<Sender<T>, Broken>) {
        match result {
            Ok(sender) => self.stream_idle(key, sender, false),
            Err(reason) => self.link_failed(key.connection, &reason),
        }
    }

    /// All that was written to a stream has arrived, or never will.
    pub(crate) fn stream_finished(&mut self, key: StreamKey, result: Result<(), Broken>) {
        if let Err(reason) = result {
            self.link_failed(key.connection, &reason);
        }
        if let Some(peer) = self.peers.get_mut(key.peer.as_bytes())
            && let Some(stream) = peer.streams.get(&key.topic)
            && stream.key == key
        {
            peer.streams.swap_remove(&key.topic);
            if let Some(link) = self.links.get_mut(&key.connection) {
                link.used = self.now;
            }
            self.dirty.insert(key.peer);
        }
    }

    /// The peer has left a topic. It waits for word that this has arrived, and takes the end of our
    /// stream for it.
    pub(crate) fn answer_parting(&mut self, id: EndpointId, topic: TopicId) {
        if let Some(peer) = self.peers.get_mut(id.as_bytes())
            && let Some(stream) = peer.streams.get_mut(&topic)
        {
            stream.over = true;
            self.finish_stream(id, topic);
        }
    }

    /// The peer has finished its stream of a topic. Where ours has ended with a Disconnect, that is the
    /// answer: it was read, and whoever leaves need not wait for the acknowledgement, which may take 25 ms.
    pub(crate) fn stream_answered(&mut self, id: EndpointId, topic: TopicId, on: ConnectionKey) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        // Else it may have been led over from one connection to another.
        let newest = peer.connections.last();
        let settled = newest == Some(&on)
            || newest
                .and_then(|newest| self.links.get(newest))
                .is_some_and(|link| link.made + SETTLED <= self.now);
        if settled
            && let Some(stream) = peer.streams.get_mut(&topic)
            && let OutState::Finishing(farewell @ Farewell::Said) = &mut stream.state
        {
            *farewell = Farewell::Answered;
            // What it said meanwhile had another one put in line: a node that is in no topic says so.
            peer.queue.take_back_disconnect(&topic);
            self.dirty.insert(id);
        }
    }

    /// A stream waits for more, or is finished if there will be no more.
    fn stream_idle(&mut self, key: StreamKey, sender: Sender<T>, fresh: bool) {
        let now = self.now;
        let stream = self.peers.get_mut(key.peer.as_bytes()).and_then(|peer| {
            let newest = peer.connections.last().copied();
            let stream = peer.streams.get_mut(&key.topic)?;
            let is_over = stream.over || stream.said_farewell;
            let ends = is_over || newest != Some(key.connection);
            if stream.key != key {
                return None;
            }
            peer.writing -= stream.writing();
            Some((stream, ends))
        });
        let Some((stream, ends)) = stream else {
            // Its topic goes on elsewhere, but the peer is owed a clean end.
            self.finish_sender(key, sender, fresh);
            return;
        };
        stream.state = OutState::Idle(sender);
        stream.since = now;
        stream.fresh = fresh;
        if ends {
            self.finish_stream(key.peer, key.topic);
        }
        self.dirty.insert(key.peer);
    }
}

/// The first frame of a stream.
fn header(topic: TopicId) -> Bytes {
    StreamHeader { topic_id: topic }.encode()
}
