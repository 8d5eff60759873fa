//! What most messages lead to, carried out at once: a payload goes into the queues of neighbors that keep up,
//! and to those who listen here.
//!
//! All else waits in the outbox until the protocol state has done with the message, since it may have to do with
//! the state again; and what follows it waits behind it, so that everything happens in its order.

use indexmap::{IndexMap, IndexSet};
use iroh::EndpointId;

use super::{encoder::Encoder, peer::Peer, queue::Lane, topics::Topics, transport::Transport};
use crate::{
    metrics::Traffic,
    proto::{
        DeliveryScope, Event, Message, PeerData, TimerId, TopicId,
        clock::At,
        hash::Keyed,
        plumtree::Gossip,
        state::{Outlet, Post},
        wire,
    },
};

/// The part of a node that is needed for it.
pub(crate) struct Direct<'a, T: Transport> {
    /// For all else.
    pub(crate) post: Post<'a, EndpointId>,
    pub(crate) peers: &'a mut IndexMap<EndpointId, Peer<T>, Keyed>,
    pub(crate) dirty: &'a mut IndexSet<EndpointId>,
    pub(crate) topics: &'a mut Topics,
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) traffic: &'a mut Traffic,
    pub(crate) max_message_size: usize,
    /// A peer keeps up while less than this waits for it, in bytes.
    pub(crate) backlog: usize,
}

/// The time for the protocol state, and the [`Direct`] of a [`Node`](super::node::Node): all but its state and its
/// generator, which a method could not leave out.
macro_rules! direct {
    ($node:expr) => {{
        let (now, post) = $node.state.at($node.now, &mut $node.outbox);
        let direct = $crate::net::direct::Direct {
            post,
            peers: &mut $node.peers,
            dirty: &mut $node.dirty,
            topics: &mut $node.topics,
            encoder: &mut $node.encoder,
            traffic: &mut $node.traffic,
            max_message_size: $node.max_message_size,
            backlog: $node.limits.send_queue_bytes / 4,
        };
        (now, direct)
    }};
}
pub(super) use direct;

impl<T: Transport> Direct<'_, T> {
    /// Queues a payload for a peer that keeps up. Does nothing, and says so, where anything else has to be
    /// looked at.
    fn queue(&mut self, to: &EndpointId, topic: &TopicId, gossip: &Gossip) -> bool {
        // By bytes, since keys are compared for equality in constant time, which costs more.
        let Some(peer) = self.peers.get_mut(to.as_bytes()) else {
            return false;
        };
        if peer.slow || peer.queue.bytes() >= self.backlog {
            return false;
        }
        let Ok(frame) = self.encoder.encode_payload(gossip, self.max_message_size) else {
            return false;
        };
        let bytes = frame.len() - wire::LENGTH_PREFIX;
        self.traffic.count_sent(true, bytes);
        if peer.serve() {
            self.dirty.insert(*to);
        }
        peer.queue.push(*topic, payload_lane(gossip.scope), frame);
        true
    }
}

/// How urgent a payload is.
pub(crate) fn payload_lane(scope: DeliveryScope) -> Lane {
    match scope {
        DeliveryScope::Swarm(round) if round.hops() > 0 => Lane::Forwarded,
        DeliveryScope::Swarm(_) | DeliveryScope::Neighbors => Lane::Own,
    }
}

impl<T: Transport> Outlet<EndpointId> for Direct<'_, T> {
    fn send(&mut self, to: EndpointId, topic: TopicId, message: Message<EndpointId>) {
        self.post.send(to, topic, message);
    }

    fn push(&mut self, to: EndpointId, topic: TopicId, gossip: &Gossip) {
        if !self.post.is_empty() || !self.queue(&to, &topic, gossip) {
            self.post.push(to, topic, gossip);
        }
    }

    fn emit(&mut self, topic: TopicId, event: Event<EndpointId>) {
        match event {
            Event::Received(message) if self.post.is_empty() => {
                self.topics.deliver(&topic, message);
            }
            event => self.post.emit(topic, event),
        }
    }

    fn set_timer(&mut self, timer: TimerId, deadline: At) {
        self.post.set_timer(timer, deadline);
    }

    fn cancel_timer(&mut self, timer: TimerId) {
        self.post.cancel_timer(timer);
    }

    fn disconnect(&mut self, peer: EndpointId) {
        self.post.disconnect(peer);
    }

    fn peer_data(&mut self, peer: EndpointId, data: PeerData) {
        self.post.peer_data(peer, data);
    }
}
