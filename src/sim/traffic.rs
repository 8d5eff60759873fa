//! What went over the network, by kind.

use serde::{Deserialize, Serialize};

use crate::proto::{Message, hyparview, plumtree};

macro_rules! traffic {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What went over the network, by kind. Messages are counted as they are sent.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Traffic {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Traffic {
            /// What has been counted since `earlier`.
            ///
            /// ```
            /// # use smol_gossip::sim::Traffic;
            /// let earlier = Traffic { joins: 1, ..Traffic::default() };
            /// let later = Traffic { joins: 3, ..Traffic::default() };
            /// assert_eq!(later.since(&earlier).joins, 2);
            /// ```
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)+ }
            }
        }
    };
}

traffic! {
    /// Payloads of the broadcast layer.
    payloads,
    /// IHave messages.
    ihaves,
    /// Announcements in IHave messages.
    announcements,
    /// Graft messages.
    grafts,
    /// Prune messages.
    prunes,
    /// Join messages.
    joins,
    /// ForwardJoin messages.
    forward_joins,
    /// Shuffle messages.
    shuffles,
    /// ShuffleReply messages.
    shuffle_replies,
    /// Neighbor messages.
    neighbors,
    /// Disconnect messages.
    disconnects,
    /// Connections that were dialed.
    dials,
    /// Dials that came to nothing.
    failed_dials,
    /// Messages that found nobody, or got lost.
    lost,
    /// Everything that happened: messages, dials, the ends of connections, timers.
    events,
}

impl Traffic {
    /// Messages of the membership layer.
    ///
    /// ```
    /// # use smol_gossip::sim::Traffic;
    /// let traffic = Traffic { joins: 1, shuffles: 2, payloads: 5, ..Traffic::default() };
    /// assert_eq!(traffic.membership(), 3);
    /// ```
    pub fn membership(&self) -> u64 {
        self.joins
            + self.forward_joins
            + self.shuffles
            + self.shuffle_replies
            + self.neighbors
            + self.disconnects
    }

    /// Messages of the broadcast layer that are no payloads.
    ///
    /// ```
    /// # use smol_gossip::sim::Traffic;
    /// let traffic = Traffic { ihaves: 1, prunes: 2, payloads: 5, ..Traffic::default() };
    /// assert_eq!(traffic.control(), 3);
    /// ```
    pub fn control(&self) -> u64 {
        self.ihaves + self.grafts + self.prunes
    }

    pub(super) fn count<PI>(&mut self, message: &Message<PI>) {
        *match message {
            Message::Swarm(message) => match message {
                hyparview::Message::Join(_) => &mut self.joins,
                hyparview::Message::ForwardJoin(_) => &mut self.forward_joins,
                hyparview::Message::Shuffle(_) => &mut self.shuffles,
                hyparview::Message::ShuffleReply(_) => &mut self.shuffle_replies,
                hyparview::Message::Neighbor(_) => &mut self.neighbors,
                hyparview::Message::Disconnect(_) => &mut self.disconnects,
            },
            Message::Gossip(message) => match message {
                plumtree::Message::Gossip(_) => &mut self.payloads,
                plumtree::Message::Prune => &mut self.prunes,
                plumtree::Message::Graft(_) => &mut self.grafts,
                plumtree::Message::IHave(ihaves) => {
                    self.announcements += ihaves.len() as u64;
                    &mut self.ihaves
                }
            },
        } += 1;
    }
}
