//! Messages of the membership layer. The order of variants and fields is the wire format.

use serde::{Deserialize, Serialize};

use super::config::Ttl;
use crate::proto::{PeerData, PeerInfo};

/// A message of the membership layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<PI> {
    /// A new node asks to be taken into the swarm. Carries its peer data.
    Join(Option<PeerData>),
    /// A new node is introduced to others, on a random walk.
    ForwardJoin(ForwardJoin<PI>),
    /// A node offers a sample of the peers it knows, on a random walk.
    Shuffle(Shuffle<PI>),
    /// The answer to a Shuffle: a sample of as many other peers.
    ShuffleReply(ShuffleReply<PI>),
    /// A node asks to be taken into the active view, or agrees that it was.
    Neighbor(Neighbor),
    /// A node has dropped the other from its active view. The last message of a topic.
    Disconnect(Disconnect),
}

/// See [`Message::ForwardJoin`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardJoin<PI> {
    /// The new node.
    pub peer: PeerInfo<PI>,
    /// How much further the message may go.
    pub ttl: Ttl,
}

/// See [`Message::Shuffle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffle<PI> {
    /// Who began the walk and gets the answer.
    pub origin: PI,
    /// The sample: the origin itself, and peers from both its views.
    pub nodes: Vec<PeerInfo<PI>>,
    /// How much further the message may go.
    pub ttl: Ttl,
}

/// See [`Message::ShuffleReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleReply<PI> {
    /// The sample.
    pub nodes: Vec<PeerInfo<PI>>,
}

/// How urgently a node asks to be a neighbor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// The node has no neighbor at all, or was introduced by a ForwardJoin; not to be refused.
    High,
    /// The node would like one more neighbor; refused where there is no room.
    Low,
}

/// See [`Message::Neighbor`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// How urgent.
    pub priority: Priority,
    /// The peer data of the sender.
    pub data: Option<PeerData>,
}

/// See [`Message::Disconnect`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// Whether the sender stays in the swarm, and so is worth remembering.
    pub alive: bool,
    /// Of no use any more, but on the wire. Always `false`.
    pub(crate) _respond: bool,
}

impl Disconnect {
    /// A Disconnect that says whether the sender stays in the swarm.
    ///
    /// ```
    /// # use smol_gossip::proto::hyparview::Disconnect;
    /// assert!(Disconnect::new(true).alive);
    /// ```
    pub fn new(alive: bool) -> Self {
        Self {
            alive,
            _respond: false,
        }
    }
}
