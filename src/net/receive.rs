//! From connections to the protocol: results of tasks, and the frames of peers.

use std::collections::VecDeque;

use iroh::EndpointId;
use smallvec::SmallVec;
use smol_gossip_runtime::Runtime;
use tracing::{debug, debug_span, level_filters::LevelFilter, span::EnteredSpan, trace};

use super::{
    burden,
    connection::{self, ConnectionKey, Done, Reader},
    direct::direct,
    frames::Portion,
    inspect::DownReason,
    news::{AT_ONCE, Lent, payload},
    node::{Accept, Node, Timer, watch_local_data},
    peer::Link,
    transport::{Broken, Connection, Transport},
};
use crate::proto::{InEvent, Message, TopicId, hyparview, plumtree, topic::Received, wire};

/// Streams looked at in a pass.
const STREAMS_PER_PASS: usize = 16;

/// Frames of one stream handled before others have their turn, or fewer that are much work.
const FRAMES_PER_STREAM: usize = AT_ONCE;

/// Streams of a peer for one topic, on one connection, that wait until the one before them ends. Who leaves and
/// comes back while it is not read needs two or three.
const WAITING_STREAMS: usize = 32;

/// Frames are taken out of what was read until they are this long together, and then handled: many
/// small ones at once, but no more than the processor's cache has room for.
const BYTES_AT_ONCE: usize = 8192;

type Receiver<T> = <<T as Transport>::Connection as Connection>::Recv;

impl<T: Transport, R: Runtime> Node<T, R> {
    /// A task has ended.
    pub(crate) fn task_done(&mut self, done: Done<T>) {
        match done {
            Done::Dialed(peer, result) => self.dialed(peer, result),
            Done::Incoming(incoming) => {
                self.accept = Accept::Off;
                let Some(handshake) = incoming else {
                    debug!("the endpoint is closed");
                    return;
                };
                if self.is_stopping() {
                    return;
                }
                self.handshake_begins(handshake);
            }
            Done::Accepted(number, result) => self.handshake_over(number, result),
            Done::LocalData(changes, data) => {
                if let Some(data) = data {
                    self.handle(InEvent::UpdatePeerData(data));
                    self.events.spawn(watch_local_data::<T>(changes));
                }
            }
            Done::Closed(key, reason) => {
                trace!(%reason, "connection closed");
                self.link_lost(key);
            }
            Done::Stream(key, result) => self.stream_accepted(key, result),
            Done::Header(key, result) => self.header_read(key, result),
            Done::Read(key, topic, result) => match result {
                Ok(reader) => self.stream_ready(key, topic, reader),
                Err(reason) => {
                    self.link_failed(key, &reason);
                    self.stream_ended(key, topic);
                }
            },
            Done::HeldUp(key, opening) => self.stream_held_up(key, opening),
            Done::Opened(key, result) => self.stream_opened(key, result),
            Done::Written(key, result) => self.written(key, result),
            Done::Finished(key, result) => self.stream_finished(key, result),
        }
    }

    /// Something on a connection failed, which is the end of it. What arrived before is read.
    pub(crate) fn link_failed(&mut self, key: ConnectionKey, reason: &Broken) {
        if let Some(link) = self.links.get(&key) {
            trace!(peer = %link.peer.fmt_short(), %reason, "connection failed");
            self.link_lost(key);
        }
    }

    /// A peer sent something that it must not send: nothing more of it is read.
    fn link_invalid(&mut self, key: ConnectionKey, reason: &Broken) {
        if let Some(link) = self.links.get(&key) {
            debug!(peer = %link.peer.fmt_short(), %reason, "connection dropped");
            let peer = link.peer;
            self.metrics.frames_invalid.inc();
            self.drop_link(key, "invalid data");
            self.charge(peer, burden::INVALID);
        }
    }

    fn stream_accepted(&mut self, key: ConnectionKey, result: Result<Receiver<T>, Broken>) {
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        link.accepting = false;
        match result {
            Ok(stream) => {
                let task = connection::read_header::<T>(key, stream, self.max_message_size);
                let task = self.events.spawn(task);
                let deadline = self.now + self.limits.header_timeout;
                let timer = self.events.schedule(deadline, Timer::Header(key));
                link.header = Some((task, timer));
            }
            Err(reason) => {
                self.link_failed(key, &reason);
                self.link_read(key);
            }
        }
    }

    fn header_read(
        &mut self,
        key: ConnectionKey,
        result: Result<(TopicId, Reader<Receiver<T>>), Broken>,
    ) {
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        if let Some((_, timer)) = link.header.take() {
            self.events.cancel_timer(timer);
        }
        match result {
            Ok((topic, mut reader)) => {
                trace!(peer = %link.peer.fmt_short(), topic = %topic.fmt_short(), "stream");
                let peer = link.peer;
                self.dirty.insert(peer);
                match link.readers.get_mut(&topic) {
                    Some(waiting) if waiting.len() >= WAITING_STREAMS => {
                        let reason = Broken("too many streams of a topic".into());
                        self.link_invalid(key, &reason);
                        return;
                    }
                    // The peer finished the stream before this one, or is about to.
                    Some(waiting) => {
                        reader.compact();
                        waiting.push_back(reader);
                    }
                    None => {
                        link.readers.insert(topic, VecDeque::new());
                        self.ready.push(peer, (key, topic, reader));
                    }
                }
                self.charge(peer, burden::STREAM);
                if !self.ready.is_held(&peer) {
                    self.allow_more_streams(key, &topic);
                    self.accept_streams(key);
                }
            }
            // Nobody is to blame where the connection was lost before the header had come.
            Err(_) if link.is_lost() => self.link_read(key),
            Err(reason) => self.link_invalid(key, &reason),
        }
    }

    /// Puts a stream in line that something was read from.
    fn stream_ready(
        &mut self,
        key: ConnectionKey,
        topic: TopicId,
        mut reader: Reader<Receiver<T>>,
    ) {
        match self.links.get(&key) {
            Some(link) => {
                if self.ready.is_held(&link.peer) {
                    reader.compact();
                }
                self.ready.push(link.peer, (key, topic, reader));
            }
            None => reader.stop(),
        }
    }

    /// Handles frames of the streams that have some, each peer in its turn. While `reads` wait to
    /// be looked at, every peer has one turn at the most: among them may be the first of a peer
    /// that is not in line yet, behind a thousand of another.
    pub(crate) fn handle_frames(&mut self, reads: bool) -> usize {
        let mut handled = 0;
        let turns = if reads {
            self.ready.peers()
        } else {
            self.ready.len()
        };
        for _ in 0..turns.min(STREAMS_PER_PASS) {
            let Some((peer, (key, topic, mut reader))) = self.ready.pop() else {
                break;
            };
            handled += 1;
            let Some(link) = self.links.get_mut(&key) else {
                reader.stop();
                continue;
            };
            link.used = self.now;
            let _span = peer_span(&peer);
            if let Some(peer) = self.peers.get_mut(peer.as_bytes()) {
                peer.heard = self.now;
            }
            let mut left = FRAMES_PER_STREAM;
            let more = loop {
                if left == 0 {
                    break Ok(true);
                }
                let portion = Portion {
                    frames: left,
                    bytes: BYTES_AT_ONCE,
                };
                let taken = reader.take_frames(&mut self.frames, portion);
                let (frames, result) = self.handle_frames_of(peer, key, topic);
                // Frames that are long work count as so many more.
                let work = self.settle_toll(peer).max(frames);
                left = left.saturating_sub(work);
                handled += work;
                match result.and(taken) {
                    Ok(true) if self.ready.is_held(&peer) => left = 0,
                    Ok(true) => {}
                    end => break end,
                }
            };
            if self.ready.is_held(&peer) {
                reader.compact();
            }
            match more {
                Ok(true) => self.ready.push(peer, (key, topic, reader)),
                Ok(false) if reader.is_ended() => self.stream_ended(key, topic),
                // Else it would send on.
                Ok(false) if self.ready.is_held(&peer) => {
                    self.ready.push(peer, (key, topic, reader))
                }
                Ok(false) => {
                    if self.links.contains_key(&key) {
                        self.events.spawn(connection::read::<T>(key, topic, reader));
                    }
                }
                Err(_) if self.links.get(&key).is_some_and(Link::is_lost) => {
                    self.stream_ended(key, topic);
                }
                Err(reason) => self.link_invalid(key, &reason),
            }
        }
        handled
    }

    /// Handles the frames that were taken, and says how many there were. After one that is invalid the others are
    /// dropped.
    fn handle_frames_of(
        &mut self,
        peer: EndpointId,
        key: ConnectionKey,
        topic: TopicId,
    ) -> (usize, Result<(), Broken>) {
        let mut frames = std::mem::take(&mut self.frames);
        // What is known must not be forgotten between the look at it and the handling.
        self.state.begin(&topic, self.now);
        let bodies = || {
            let all = frames.iter();
            let all = all.flat_map(|one| one.bodies().map(move |body| (one, body)));
            all.take(AT_ONCE)
        };
        let ids = bodies().filter_map(|(_, body)| wire::payload_id(body));
        self.state.anticipate(&topic, ids);
        let mut messages = std::mem::take(&mut self.messages);
        let mut lent = SmallVec::<[Lent<'_>; AT_ONCE]>::new();
        let mut result = Ok(());
        for (frames, body) in bodies() {
            self.traffic.frames += 1;
            // Each is put where it will lie, and not moved: most of them are large.
            let content = match wire::decode_payload(body) {
                Some(decoded) => decoded.map(|(gossip, content)| {
                    messages.push((body.len(), Message::payload(gossip)));
                    content
                }),
                None => wire::decode_apart(body).map(|(message, content)| {
                    messages.push((body.len(), message));
                    content
                }),
            };
            let content = match content {
                Ok(content) => body.get(content).unwrap_or_default(),
                Err(error) => {
                    result = Err(Broken::from_error(error));
                    break;
                }
            };
            lent.push(Lent { content, frames });
            let is_payload = messages.last().is_some_and(|one| payload(&one.1).is_some());
            self.traffic.count_received(is_payload, body.len());
        }
        let checked = self.check_news(&topic, &mut messages, &lent);
        let evicted = self.state.counters().seen_evicted;
        for (((size, message), is_hashed), lent) in messages.iter_mut().zip(checked).zip(&lent) {
            if !is_hashed && self.state.counters().seen_evicted > evicted {
                // It may have been forgotten since, and be new again.
                lent.give_to(message);
            }
            if let Message::Gossip(plumtree::Message::Gossip(gossip)) = message {
                self.handle_payload(topic, peer, gossip, is_hashed, *size);
                continue;
            }
            let nothing = Message::Gossip(plumtree::Message::Prune);
            let received = Received {
                from: peer,
                link: key,
                message: std::mem::replace(message, nothing),
                is_hashed: false,
            };
            self.handle_message(topic, received, *size);
        }
        messages.clear();
        let count = bodies().count();
        drop(lent);
        self.messages = messages;
        frames.clear();
        self.frames = frames;
        (count, result)
    }

    /// Handles a payload of so many bytes.
    fn handle_payload(
        &mut self,
        topic: TopicId,
        from: EndpointId,
        gossip: &mut plumtree::Gossip,
        is_hashed: bool,
        size: usize,
    ) {
        let scope = Some(gossip.scope);
        let before = self.tally(&from, true);
        self.speaker = Some(from);
        let (now, mut direct) = direct!(self);
        self.state
            .take_payload(topic, from, gossip, is_hashed, now, &mut direct);
        self.work_off();
        self.speaker = None;
        self.take_toll(&from, scope, burden::of_payload(size), &before);
    }

    /// Handles a message of so many bytes that is no payload.
    fn handle_message(&mut self, topic: TopicId, received: Received<EndpointId>, size: usize) {
        let Received { from, message, .. } = &received;
        let from = *from;
        let mut is_over = false;
        self.parting = match message {
            Message::Swarm(hyparview::Message::Join(_)) => {
                Some((from, topic, DownReason::Restarted))
            }
            Message::Swarm(hyparview::Message::Disconnect(leave)) => {
                is_over = !leave.alive;
                if let Some(peer) = self.peers.get_mut(from.as_bytes()) {
                    peer.left_us = peer.wanted;
                }
                Some((from, topic, DownReason::Left))
            }
            Message::Swarm(_) | Message::Gossip(_) => None,
        };
        let before = self.tally(&from, false);
        let units = burden::of_frame(message, size);
        self.speaker = Some(from);
        let (now, mut direct) = direct!(self);
        self.state
            .take_message(topic, received, now, &mut self.rng, &mut direct);
        self.work_off();
        self.parting = None;
        self.speaker = None;
        self.take_toll(&from, None, units, &before);
        if is_over {
            self.answer_parting(from, topic);
        }
    }

    /// The peer has finished a stream, and all of it was handled.
    fn stream_ended(&mut self, key: ConnectionKey, topic: TopicId) {
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        let next = link.readers.get_mut(&topic).and_then(VecDeque::pop_front);
        match next {
            Some(next) => self.ready.push(link.peer, (key, topic, next)),
            None => {
                link.readers.swap_remove(&topic);
                link.used = self.now;
                let peer = link.peer;
                self.dirty.insert(peer);
                self.stream_answered(peer, topic, key);
                self.link_read(key);
            }
        }
    }
}

/// What is traced from here on is about frames of this peer. Costs next to nothing unless someone
/// looks.
fn peer_span(peer: &EndpointId) -> Option<EnteredSpan> {
    let looks = LevelFilter::current() >= LevelFilter::DEBUG;
    looks.then(|| debug_span!("peer", id = %peer.fmt_short()).entered())
}
