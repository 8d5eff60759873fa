//! What the protocol state counts.

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What the protocol state refused, dropped or noticed since it began, by reason.
        ///
        /// Counts are of the whole node, and only grow.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// All counters by name.
            ///
            /// ```
            /// # use smol_gossip::proto::Counters;
            /// for (name, count) in Counters::default().iter().filter(|(_, count)| *count > 0) {
            ///     println!("{name}: {count}");
            /// }
            /// ```
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// Adds every count of `other`.
            ///
            /// ```
            /// # use smol_gossip::proto::Counters;
            /// let mut one = Counters::default();
            /// one.duplicates = 2;
            /// let mut all = one.clone();
            /// all.add(&one);
            /// assert_eq!(all.duplicates, 4);
            /// ```
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }
        }
    };
}

impl Counters {
    /// How often there was no room for something, or it had to make room for something else.
    pub(super) fn dropped(&self) -> u64 {
        self.cache_evicted
            + self.seen_evicted
            + self.missing_full
            + self.claims_full
            + self.lazy_queue_full
            + self.graft_limited
            + self.pending_full
    }
}

counters! {
    /// Messages for a topic that we are not in.
    unknown_topic,
    /// Payloads that came a second time.
    duplicates,
    /// Payloads whose id is not the hash of their content.
    invalid_id,
    /// Payloads that were delivered but are too large to be sent on.
    not_forwarded_too_large,
    /// Commands to broadcast a message that is too large.
    broadcast_too_large,
    /// Swarm broadcasts of bytes that were broadcast or received already.
    broadcast_duplicate,
    /// Payloads forgotten because the cache was full.
    cache_evicted,
    /// Message ids forgotten because too many were remembered.
    seen_evicted,
    /// Announcements ignored because too many messages were waited for.
    missing_full,
    /// Announcements ignored because enough other peers had announced the same message.
    claims_full,
    /// Announcements dropped because too many waited to be sent to a peer.
    lazy_queue_full,
    /// Broadcast control messages of peers that are not our neighbors.
    stranger_control,
    /// Grafts answered by an announcement because the peer asked too often.
    graft_limited,
    /// Grafts for messages that the cache does not hold.
    graft_unknown,
    /// Peer data dropped because it was too large.
    peer_data_too_large,
    /// Introductions dropped that named ourselves, or a message that claimed a false origin.
    bogus_introduction,
    /// Entries of Shuffle and ShuffleReply messages beyond what is ever asked for, and Shuffles that were not
    /// answered because there were too many of them.
    shuffle_excess,
    /// ShuffleReplies that nobody asked for.
    shuffle_unsolicited,
    /// Shuffles that were not sent on because there were too many of them.
    shuffle_not_relayed,
    /// Introduced peers that were not contacted because too many requests were under way.
    pending_full,
    /// Joins and requests of peers that had come and gone too often lately: not answered again, not made
    /// room for, and not told to others; where there is room, they are taken in all the same.
    joins_limited,
}

impl Counters {
    /// Payloads that brought nothing new.
    #[cfg(feature = "net")]
    pub(crate) fn payloads_refused(&self) -> u64 {
        self.unknown_topic + self.duplicates + self.invalid_id
    }
}
