//! From the protocol's output to the queues of peers and subscribers.

use iroh::EndpointId;
use smol_gossip_runtime::Runtime;
use tracing::{debug, warn};

#[cfg(test)]
use super::node::Crowded;
use super::{
    address_lookup::Teller,
    direct::payload_lane,
    inspect::Diagnostic,
    node::{Node, Timer},
    peer::Peer,
    queue::Lane,
    transport::Transport,
};
use crate::proto::{
    DeliveryScope, Message, OutEvent, PeerData, TopicId,
    plumtree::{self, IHave},
    wire,
};

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Does everything that the protocol asks for.
    pub(crate) fn work_off(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            match event {
                OutEvent::SendMessage { to, topic, message } => self.send(to, topic, message),
                OutEvent::EmitEvent(topic, event) => {
                    match &event {
                        crate::proto::Event::NeighborUp(_) => {
                            self.ups += 1;
                            self.metrics.neighbor_up.inc();
                        }
                        crate::proto::Event::NeighborDown(peer) => {
                            self.metrics.neighbor_down.inc();
                            self.tell_neighbor_down(topic, *peer);
                        }
                        crate::proto::Event::Received(_) => {}
                    }
                    self.topics.emit(&topic, event);
                }
                OutEvent::SetTimer(id, deadline) => self.set_topic_timer(id, Some(deadline)),
                OutEvent::CancelTimer(id) => self.set_topic_timer(id, None),
                OutEvent::DisconnectPeer(id) => {
                    if let Some(peer) = self.peers.get_mut(id.as_bytes()) {
                        peer.wanted = false;
                        self.dirty.insert(id);
                    }
                }
                OutEvent::PeerData(id, data) => self.learn_addresses(id, &data),
            }
        }
        self.encoder.forget();
    }

    /// Queues a message for a peer.
    fn send(&mut self, to: EndpointId, topic: TopicId, message: Message<EndpointId>) {
        if message.is_disconnect() && !self.peers.contains_key(&to) {
            // Not worth a connection: that there is none says the same.
            return;
        }
        // By bytes, since keys are compared for equality in constant time, which costs more.
        let place = match self.peers.get_index_of(to.as_bytes()) {
            Some(place) => place,
            None => self.peers.insert_full(to, Peer::new(self.now)).0,
        };
        let peer = &mut self.peers[place];
        if message.is_disconnect() && !peer.queue.has_room_for_farewell(&topic) {
            // It learns that we are not in the topic when it next says something there.
            self.metrics.send_queue_dropped.inc();
            return;
        }
        if peer.serve() {
            self.dirty.insert(to);
        }
        let full = peer.queue.bytes() >= self.limits.send_queue_bytes;
        let backlogged = peer.queue.bytes() >= self.limits.send_queue_bytes / 2;
        if peer.slow && peer.queue.bytes() < self.limits.send_queue_bytes / 4 {
            peer.slow = false;
        }
        let lane = match &message {
            Message::Swarm(_) => Lane::Control,
            Message::Gossip(message) => match message {
                plumtree::Message::Prune | plumtree::Message::Graft(_) => Lane::Control,
                plumtree::Message::IHave(_) => Lane::Announce,
                plumtree::Message::Gossip(gossip) => match gossip.scope {
                    DeliveryScope::Swarm(round) => {
                        if full {
                            self.metrics.send_queue_dropped.inc();
                            #[cfg(test)]
                            self.crowded.push((to, Crowded::Dropped));
                            return;
                        }
                        if backlogged {
                            let id = gossip.id;
                            self.metrics.payloads_announced.inc();
                            #[cfg(test)]
                            self.crowded.push((to, Crowded::Announced));
                            if !std::mem::replace(&mut peer.slow, true) {
                                let queued_bytes = peer.queue.bytes();
                                debug!(peer = %to.fmt_short(), queued_bytes, "slow");
                                self.watchers.tell(|| Diagnostic::SlowPeer {
                                    peer: to,
                                    queued_bytes,
                                });
                            }
                            peer.queue.announce(topic, IHave { id, round });
                            return;
                        }
                        payload_lane(gossip.scope)
                    }
                    DeliveryScope::Neighbors => payload_lane(gossip.scope),
                },
            },
        };
        if full {
            self.metrics.send_queue_dropped.inc();
            #[cfg(test)]
            self.crowded.push((to, Crowded::Dropped));
            // Else there is nothing that is stuck: the connection is made, or was just lost.
            if lane == Lane::Control && !peer.connections.is_empty() {
                debug!(peer = %to.fmt_short(), "queue full: dropped");
                self.metrics.peers_backlogged.inc();
                self.watchers.tell(|| Diagnostic::StuckPeer { peer: to });
                self.close_peer(to, "too slow");
            }
            return;
        }
        let frame = match self.encoder.encode(&message, self.max_message_size) {
            Ok(frame) => frame,
            Err(error) => {
                // The protocol state stays within bounds; this guards the link if it did not.
                warn!(peer = %to.fmt_short(), %error, "not sent");
                self.metrics.oversize_not_sent.inc();
                return;
            }
        };
        let payload = matches!(message, Message::Gossip(plumtree::Message::Gossip(_)));
        self.traffic
            .count_sent(payload, frame.len() - wire::LENGTH_PREFIX);
        if message.is_disconnect() {
            peer.queue.push_last(topic, frame);
        } else {
            peer.queue.push(topic, lane, frame);
        }
    }

    fn learn_addresses(&mut self, id: EndpointId, data: &PeerData) {
        let teller = if self.speaker == Some(id) {
            Teller::Itself
        } else {
            Teller::Others
        };
        match self.transport.learn(id, data, teller, self.now) {
            Some(learnt) => {
                let metrics = &self.metrics;
                metrics.addresses_evicted.inc_by(learnt.evicted as u64);
                metrics.addresses_left_out.inc_by(learnt.left_out as u64);
                self.forget_addresses();
            }
            None => {
                self.metrics.peer_data_invalid.inc();
            }
        }
    }

    /// Remembers again how to reach a peer that is about to be dialed. What gossip taught of it may
    /// have expired, or have made room for others; but the topics that know the peer still know it.
    pub(crate) fn recall_addresses(&mut self, id: EndpointId) {
        let Some((data, is_own)) = self.state.peer_data(&id) else {
            return;
        };
        let teller = if is_own {
            Teller::Itself
        } else {
            Teller::Others
        };
        if !self.transport.knows(id, teller)
            && let Some(learnt) = self.transport.learn(id, data, teller, self.now)
        {
            // What was left out was counted when the data came.
            let evicted = learnt.evicted as u64;
            self.metrics.addresses_evicted.inc_by(evicted);
            self.forget_addresses();
        }
    }

    /// Forgets stale addresses, and comes back when the next ones are due.
    pub(crate) fn forget_addresses(&mut self) {
        if self.forget_timer.is_none()
            && let Some(due) = self.transport.forget_stale(self.now)
        {
            self.forget_timer = Some(self.events.schedule(due, Timer::ForgetAddresses));
        }
    }
}
