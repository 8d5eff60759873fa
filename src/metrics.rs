//! Counters of a node.
//!
//! The first eighteen are those that programs written for `iroh_gossip` read; some are named after
//! places in its code, and count what is nearest here. All others state a fact: what was refused,
//! dropped or noticed, and how often.

use iroh_metrics::{Counter, MetricsGroup};

#[cfg(any(test, feature = "net"))]
use crate::proto::Counters;

macro_rules! metrics {
    (
        own { $($(#[$doc:meta])+ $name:ident,)+ }
        protocol { $($(#[$protocol_doc:meta])+ $protocol:ident,)+ }
    ) => {
        /// Counters of a node.
        #[derive(Debug, Default, MetricsGroup)]
        #[metrics(name = "gossip")]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])+ pub $name: Counter,)+
            $($(#[$protocol_doc])+ pub $protocol: Counter,)+
        }

        impl Metrics {
            /// Adds what the protocol state counted between two looks at it.
            #[cfg(any(test, feature = "net"))]
            pub(crate) fn add_protocol(&self, before: &Counters, after: &Counters) {
                $(self.$protocol.inc_by(after.$protocol.saturating_sub(before.$protocol));)+
            }
        }

        #[cfg(test)]
        const PROTOCOL: &[&str] = &[$(stringify!($protocol)),+];
    };
}

metrics! {
    own {
        /// Control messages sent.
        msgs_ctrl_sent,
        /// Control messages received.
        msgs_ctrl_recv,
        /// Payloads sent.
        msgs_data_sent,
        /// Payloads received.
        msgs_data_recv,
        /// Bytes of all payload messages sent.
        msgs_data_sent_size,
        /// Bytes of all payload messages received.
        msgs_data_recv_size,
        /// Bytes of all control messages sent.
        msgs_ctrl_sent_size,
        /// Bytes of all control messages received.
        msgs_ctrl_recv_size,
        /// Peers that became a neighbor in a topic.
        neighbor_up,
        /// Peers that stopped being a neighbor in a topic.
        neighbor_down,
        /// Times the driver was polled.
        actor_tick_main,
        /// Things that handles asked for.
        actor_tick_rx,
        /// Connections that others made to us.
        actor_tick_endpoint,
        /// Dials that ended by themselves.
        actor_tick_dialer,
        /// Dials that led to a connection.
        actor_tick_dialer_success,
        /// Dials that failed or took too long.
        actor_tick_dialer_failure,
        /// Messages of peers that were handled.
        actor_tick_in_event_rx,
        /// Timers that expired.
        actor_tick_timers,
        /// Connections closed because too many peers were connected that no topic needs, or at once
        /// because the peer had burdened us far too much.
        connections_refused,
        /// Connections closed because the same peer had newer ones.
        connections_surplus,
        /// Connections dropped because a write to the peer was stuck for too long.
        peers_stuck,
        /// Peers dropped because a control message found their queue full.
        peers_backlogged,
        /// Messages dropped because a peer had too many bytes to read already.
        send_queue_dropped,
        /// Payloads replaced by an announcement because a peer had many bytes to read already.
        payloads_announced,
        /// Connections dropped because a stream did not name its topic in time.
        headers_timed_out,
        /// Connections dropped because of a frame that was too large or not a message.
        frames_invalid,
        /// Messages that were not sent because they would not fit a frame.
        oversize_not_sent,
        /// Times that a peer was not read for a while because it had burdened us too much.
        peers_held,
        /// Connections dropped because of streams for topics that we are not in: too many, by a peer
        /// that was held.
        floods_dropped,
        /// First packets of connections that were ignored, or asked to prove their address, because their source
        /// began too many.
        handshakes_limited,
        /// Handshakes of connections that others made to us that took too long.
        handshakes_timed_out,
        /// Dials that failed at once because too many others waited.
        dials_refused,
        /// Peers whose addresses were forgotten because those of too many were remembered.
        addresses_evicted,
        /// Addresses left out because a peer was introduced with too many.
        addresses_left_out,
        /// Peer data in which there were no addresses.
        peer_data_invalid,
        /// Subscriptions that ended at once because too many topics were joined.
        topics_refused,
        /// Messages dropped because an application did not take its events in time.
        events_dropped,
        /// Connections of other processes refused because too many were connected.
        rpc_refused,
    }
    protocol {
        /// Messages for a topic that we are not in.
        unknown_topic,
        /// Payloads that came a second time.
        duplicates,
        /// Payloads whose id is not the hash of their content.
        invalid_id,
        /// Payloads that were delivered but are too large to be sent on.
        not_forwarded_too_large,
        /// Orders of clients in other processes to broadcast a message that is too large. In this process that is an
        /// error, and no order.
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
        /// Introductions dropped that named ourselves, or messages that claimed a false origin.
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
}

/// What is counted for each message: gathered in a poll of the driver, and then added to the metrics at
/// once. To add one to a number that another thread may look at takes longer than a glance at a message.
#[cfg(feature = "net")]
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: [Flow; 2],
    received: [Flow; 2],
    /// Frames taken out of streams.
    pub(crate) frames: u64,
    /// What handles asked for.
    pub(crate) orders: u64,
}

/// Messages, and their bytes.
#[cfg(feature = "net")]
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    messages: u64,
    bytes: u64,
}

#[cfg(feature = "net")]
impl Flow {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    fn move_to(&mut self, messages: &Counter, bytes: &Counter) {
        if self.messages > 0 {
            messages.inc_by(self.messages);
            bytes.inc_by(self.bytes);
            *self = Self::default();
        }
    }
}

#[cfg(feature = "net")]
impl Traffic {
    /// Counts a message that was queued for a peer.
    pub(crate) fn count_sent(&mut self, payload: bool, bytes: usize) {
        self.sent[usize::from(payload)].add(bytes);
    }

    /// Counts a message of a peer.
    pub(crate) fn count_received(&mut self, payload: bool, bytes: usize) {
        self.received[usize::from(payload)].add(bytes);
    }

    /// Adds all to the metrics, and begins anew.
    pub(crate) fn move_to(&mut self, metrics: &Metrics) {
        let [control, data] = &mut self.sent;
        control.move_to(&metrics.msgs_ctrl_sent, &metrics.msgs_ctrl_sent_size);
        data.move_to(&metrics.msgs_data_sent, &metrics.msgs_data_sent_size);
        let [control, data] = &mut self.received;
        control.move_to(&metrics.msgs_ctrl_recv, &metrics.msgs_ctrl_recv_size);
        data.move_to(&metrics.msgs_data_recv, &metrics.msgs_data_recv_size);
        let frames = std::mem::take(&mut self.frames);
        metrics.actor_tick_in_event_rx.inc_by(frames);
        let orders = std::mem::take(&mut self.orders);
        metrics.actor_tick_rx.inc_by(orders);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_counter_has_a_metric() {
        let counters = Counters::default();
        let names: Vec<_> = counters.iter().map(|(name, _)| name).collect();
        assert_eq!(names, PROTOCOL);
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn only_what_is_new_is_added() {
        let metrics = Metrics::default();
        let mut counters = Counters::default();
        let before = counters.clone();
        counters.duplicates += 3;
        let after = counters;
        metrics.add_protocol(&before, &after);
        assert_eq!(metrics.duplicates.get(), 3);
        assert_eq!(metrics.invalid_id.get(), 0);
    }
}
