//! What passes between the application and a topic.

use std::collections::BTreeSet;

use bytes::Bytes;
use iroh_base::EndpointId;
use serde::{Deserialize, Serialize};

use crate::proto::{self, DeliveryScope};

/// [`JoinOptions::subscription_capacity`] where nothing else is asked for.
const DEFAULT_SUBSCRIPTION_CAPACITY: usize = 2048;

/// What happened in a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// A peer has become our direct neighbor.
    NeighborUp(EndpointId),
    /// A peer is no longer our direct neighbor.
    NeighborDown(EndpointId),
    /// A message arrived.
    Received(Message),
    /// Events are missing here: the application was slow, and the queue was full.
    ///
    /// The stream goes on. What follows first are the [`NeighborUp`](Event::NeighborUp)s and
    /// [`NeighborDown`](Event::NeighborDown)s that make the neighbors exact again; messages that
    /// were lost stay lost.
    Lagged,
}

impl From<proto::Event<EndpointId>> for Event {
    fn from(event: proto::Event<EndpointId>) -> Self {
        match event {
            proto::Event::NeighborUp(peer) => Self::NeighborUp(peer),
            proto::Event::NeighborDown(peer) => Self::NeighborDown(peer),
            proto::Event::Received(proto::GossipEvent {
                content,
                delivered_from,
                scope,
            }) => Self::Received(Message {
                content,
                scope,
                delivered_from,
            }),
        }
    }
}

/// A message from a topic.
#[derive(Clone, derive_more::Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Message {
    /// What was sent.
    #[debug("{} bytes", content.len())]
    pub content: Bytes,
    /// Whether it was sent to the whole swarm or only to neighbors, and how far it has come.
    pub scope: DeliveryScope,
    /// The peer that handed it to us: as a rule a neighbor in the topic. It need not be the author, and
    /// nothing in the protocol proves who that is.
    pub delivered_from: EndpointId,
}

/// What can be asked of a topic, in the form that is sent to a node in another process.
///
/// In one process, call the methods of [`GossipSender`](super::GossipSender).
#[derive(Clone, derive_more::Debug, Serialize, Deserialize)]
pub enum Command {
    /// Send a message to the whole swarm.
    Broadcast(#[debug("{} bytes", _0.len())] Bytes),
    /// Send a message to the direct neighbors only.
    BroadcastNeighbors(#[debug("{} bytes", _0.len())] Bytes),
    /// Join the swarm through these peers too.
    JoinPeers(Vec<EndpointId>),
}

/// How to take part in a topic.
///
/// ```
/// # use smol_gossip::api::JoinOptions;
/// // Nobody to join through: wait until others come to us.
/// let options = JoinOptions {
///     subscription_capacity: 64,
///     ..JoinOptions::with_bootstrap([])
/// };
/// assert!(options.bootstrap.is_empty());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinOptions {
    /// Peers that are in the topic already. The node tries them until it has joined.
    pub bootstrap: BTreeSet<EndpointId>,
    /// How many events may wait until the application takes them; 0 means 1.
    ///
    /// The receiver takes all that wait at once and works them off, so up to twice as many may be
    /// held in all, and what one pass of the node's loop brings (512 messages at the most). When the
    /// queue is full the oldest event makes room for the newest, and where something is missing the
    /// application finds [`Event::Lagged`]. A slow receiver slows down neither the node nor other
    /// receivers.
    pub subscription_capacity: usize,
}

impl JoinOptions {
    /// Joins through `endpoints`, with room for 2,048 events.
    ///
    /// ```
    /// # use smol_gossip::api::JoinOptions;
    /// # let friend = iroh_base::SecretKey::from_bytes(&[1; 32]).public();
    /// let options = JoinOptions::with_bootstrap([friend]);
    /// assert_eq!(options.subscription_capacity, 2048);
    /// ```
    pub fn with_bootstrap(endpoints: impl IntoIterator<Item = EndpointId>) -> Self {
        Self {
            bootstrap: endpoints.into_iter().collect(),
            subscription_capacity: DEFAULT_SUBSCRIPTION_CAPACITY,
        }
    }
}

/// What became of a message that was [published](super::GossipSender::publish).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Published {
    /// It is on its way to the neighbors, or kept for the first one if there is none yet.
    Sent,
    /// The topic has seen the very same bytes a short while ago, from us or from others, so they
    /// were not sent again.
    ///
    /// To the protocol equal bytes are the same message. Make them differ (by a counter, for
    /// instance) when they are meant to be two.
    Duplicate,
    /// It was handed to a node in another process, which does not say what became of it.
    HandedOver,
}
