//! What handles ask for.

use std::task::{Context, Poll};

use bytes::Bytes;
use smol_gossip_runtime::Runtime;
use tracing::debug;

use super::{
    blocks::Block,
    digest,
    direct::direct,
    node::{Node, SHARE},
    queue::SendQueue,
    transport::Transport,
};
use crate::{
    api::{
        Published,
        mailbox::{Inbox, Order, SubscriptionId, Work},
    },
    proto::{Command, InEvent, Payload, Scope, TopicId},
};

/// What the application published is copied up to this length.
const WORTH_COPYING: usize = 256;

impl<T: Transport, R: Runtime> Node<T, R> {
    pub(crate) fn poll_inbox(&mut self, cx: &mut Context<'_>) -> usize {
        self.at_ease = None;
        for done in 0..SHARE {
            let Some(inbox) = &mut self.inbox else {
                return done;
            };
            if let Some((id, order)) = inbox.next_order() {
                self.traffic.orders += 1;
                self.order(id, order);
                self.work_off();
                continue;
            }
            let Poll::Ready(work) = inbox.poll_work(cx) else {
                return done;
            };
            self.traffic.orders += 1;
            match work {
                Work::Subscribe {
                    id,
                    topic,
                    bootstrap,
                    events,
                } => {
                    if !self.topics.contains(&topic) && self.topics.len() >= self.limits.topics {
                        self.metrics.topics_refused.inc();
                        inbox.close(id);
                        continue;
                    }
                    debug!(topic = %topic.fmt_short(), peers = bootstrap.len(), "subscribe");
                    self.topics.subscribe(id, topic, events);
                    self.handle(InEvent::Command(topic, Command::Join(bootstrap)));
                }
                Work::Command(id, order) => self.order(id, order),
                Work::Unsubscribe(id) => {
                    if let Some(topic) = self.topics.unsubscribe(id) {
                        debug!(topic = %topic.fmt_short(), "leave");
                        self.handle(InEvent::Command(topic, Command::Quit));
                    }
                }
                Work::Stop => self.stop(),
            }
            self.work_off();
        }
        SHARE
    }

    /// Lets subscriptions go on that waited for their neighbors to read. Says whether there were
    /// any.
    pub(crate) fn resume_orders(&mut self) -> bool {
        let mut paused = std::mem::take(&mut self.paused);
        let before = paused.len();
        paused.retain(|id, topic| {
            let wait = self.is_congested(topic);
            if !wait && let Some(inbox) = &mut self.inbox {
                inbox.resume(*id);
            }
            wait
        });
        self.paused = paused;
        self.paused.len() < before
    }

    fn order(&mut self, id: SubscriptionId, mut order: Order) {
        let Some(topic) = self.topics.topic_of(id) else {
            return;
        };
        let sends = order.payload().map(|payload| payload.len());
        if let Some(bytes) = sends
            && self.must_wait(&topic, bytes)
            && let Some(inbox) = &mut self.inbox
        {
            inbox.set_aside(id, order);
            self.paused.insert(id, topic);
            return;
        }
        if let Some(upcoming) = self.inbox.as_mut().and_then(Inbox::upcoming) {
            let mut payloads: Vec<_> = order.payload().into_iter().chain(upcoming).collect();
            // Those that had to wait have their ids.
            if payloads.iter().any(|one| one.known_id().is_none()) {
                #[cfg(test)]
                {
                    self.identified += payloads.len();
                }
                identify(&mut payloads);
            }
            let ids = payloads.iter().filter_map(|payload| payload.known_id());
            self.state.anticipate(&topic, ids);
        }
        match &mut order {
            Order::Broadcast(payload) => self.broadcast(topic, payload, Scope::Swarm),
            Order::BroadcastNeighbors(payload) => self.broadcast(topic, payload, Scope::Neighbors),
            Order::JoinPeers(peers) => {
                let peers = std::mem::take(peers);
                self.handle(InEvent::Command(topic, Command::Join(peers)));
            }
            Order::Publish(payload, reply) => {
                let before = self.state.counters().broadcast_duplicate;
                self.broadcast(topic, payload, Scope::Swarm);
                let published = if self.state.counters().broadcast_duplicate > before {
                    Published::Duplicate
                } else {
                    Published::Sent
                };
                // Whoever asked may not wait any more.
                let _ = reply.try_send(published);
            }
        }
    }

    fn broadcast(&mut self, topic: TopicId, payload: &mut Payload, scope: Scope) {
        if payload.known_id().is_none() && is_copied(payload) {
            let content = Bytes::copy_from_slice(payload.content());
            payload.move_to(content);
        }
        let (now, mut direct) = direct!(self);
        self.state
            .take_broadcast(topic, payload, scope, now, &mut direct);
    }

    /// Whether a message of so many bytes has to wait until a neighbor has read more. Not looked into for
    /// each of the small ones that follow each other.
    fn must_wait(&mut self, topic: &TopicId, bytes: usize) -> bool {
        let left = match &self.at_ease {
            Some((at_ease, left)) if at_ease == topic => left.checked_sub(bytes),
            Some(_) | None => None,
        };
        let waits = left.is_none() && self.is_congested(topic);
        let left = left.unwrap_or(self.limits.send_queue_bytes / 64);
        self.at_ease = (!waits).then_some((*topic, left));
        waits
    }

    /// Whether every neighbor of the topic has so much to read already that a message of ours
    /// would only wait. One neighbor that keeps up is enough, and a topic of which little waits does not
    /// wait for those of which much does.
    fn is_congested(&self, topic: &TopicId) -> bool {
        let pace = self.limits.send_queue_bytes / 4;
        let is_behind = |queue: &SendQueue| {
            let waiting = queue.bytes();
            waiting > pace && (waiting > pace + pace / 2 || queue.bytes_of(topic) > pace / 8)
        };
        let mut neighbors = self.topics.neighbors(topic).peekable();
        neighbors.peek().is_some()
            && neighbors.all(|id| {
                let peer = self.peers.get(id.as_bytes());
                peer.is_some_and(|peer| is_behind(&peer.queue))
            })
    }
}

/// Works out the ids of messages, and has small ones share memory.
fn identify(payloads: &mut [&mut Payload]) {
    let contents: Vec<_> = payloads.iter().map(|one| one.content()).collect();
    let ids = digest::message_ids(&contents);
    let copied = payloads.iter().filter(|one| is_copied(one));
    let mut block = Block::of(copied.map(|one| one.content()));
    for (payload, id) in payloads.iter_mut().zip(ids) {
        payload.set_id(id);
        if is_copied(payload) {
            let content = block.take(payload.len());
            payload.move_to(content);
        }
    }
}

/// Whether what the application has published is copied. It is the owner of its own allocation: worth keeping
/// only where a copy would cost more.
fn is_copied(payload: &Payload) -> bool {
    payload.len() <= WORTH_COPYING
}
