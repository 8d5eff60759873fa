//! Messages of a topic, of either layer.

use serde::{Deserialize, Serialize};

use super::{hyparview, plumtree};

/// A message of one topic. The order of variants is the wire format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message<PI> {
    /// A message of the membership layer.
    Swarm(hyparview::Message<PI>),
    /// A message of the broadcast layer.
    Gossip(plumtree::Message),
}

impl<PI> Message<PI> {
    pub(crate) fn payload(gossip: plumtree::Gossip) -> Self {
        Self::Gossip(plumtree::Message::Gossip(gossip))
    }

    /// Whether this is the last message of its topic on a connection.
    ///
    /// ```
    /// # use smol_gossip::proto::{Message, hyparview::{self, Disconnect}, plumtree};
    /// let bye: Message<u64> = Message::Swarm(hyparview::Message::Disconnect(Disconnect::new(false)));
    /// assert!(bye.is_disconnect());
    /// let prune: Message<u64> = Message::Gossip(plumtree::Message::Prune);
    /// assert!(!prune.is_disconnect());
    /// ```
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Message::Swarm(hyparview::Message::Disconnect(_)))
    }
}
