//! Parameters of the membership layer.

use std::{ops::Sub, time::Duration};

use derive_more::From;
use serde::{Deserialize, Serialize};

use super::data;
use crate::proto::limits::Limits;

/// How many more hops a message may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, From)]
pub struct Ttl(pub u16);

impl Ttl {
    /// Whether no hop is left.
    ///
    /// ```
    /// # use smol_gossip::proto::hyparview::Ttl;
    /// assert!(Ttl(0).expired());
    /// ```
    pub fn expired(&self) -> bool {
        self.0 == 0
    }

    /// One hop less, and never less than none.
    ///
    /// ```
    /// # use smol_gossip::proto::hyparview::Ttl;
    /// assert_eq!(Ttl(3).next(), Ttl(2));
    /// assert_eq!(Ttl(0).next(), Ttl(0));
    /// ```
    pub fn next(&self) -> Ttl {
        Ttl(self.0.saturating_sub(1))
    }
}

/// Stays at zero once there.
impl Sub for Ttl {
    type Output = Self;

    fn sub(self, hops: Self) -> Self {
        Self(self.0.saturating_sub(hops.0))
    }
}

/// Parameters of the membership layer.
///
/// The names of the parameters and all defaults but the two times are those of the HyParView
/// paper (DSN'07, section 5.1).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Peers to keep connections to.
    pub active_view_capacity: usize,
    /// Peers to remember without a connection.
    pub passive_view_capacity: usize,
    /// Hops of a ForwardJoin until the new peer is taken into an active view (ARWL).
    pub active_random_walk_length: Ttl,
    /// Remaining hops of a ForwardJoin at which the new peer is taken into a passive view (PRWL).
    pub passive_random_walk_length: Ttl,
    /// Hops of a Shuffle until it is answered.
    pub shuffle_random_walk_length: Ttl,
    /// Active peers named in a Shuffle.
    pub shuffle_active_view_count: usize,
    /// Passive peers named in a Shuffle.
    pub shuffle_passive_view_count: usize,
    /// Time between two Shuffles.
    pub shuffle_interval: Duration,
    /// Time after which a Neighbor request counts as refused.
    pub neighbor_request_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            active_view_capacity: 5,
            passive_view_capacity: 30,
            active_random_walk_length: Ttl(6),
            passive_random_walk_length: Ttl(3),
            shuffle_random_walk_length: Ttl(6),
            shuffle_active_view_count: 3,
            shuffle_passive_view_count: 4,
            shuffle_interval: Duration::from_secs(60),
            neighbor_request_timeout: Duration::from_millis(500),
        }
    }
}

/// What the membership layer goes by: the same for all topics.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) config: Config,
    pub(super) max_message_size: usize,
    /// The largest peer data that is taken.
    pub(super) data_limit: usize,
    /// The most requests under way.
    pub(super) pending_requests: usize,
    /// How often a peer may come in a row.
    pub(super) joins_per_peer: u32,
}

impl Settings {
    pub(crate) fn new(config: &Config, limits: &Limits, max_message_size: usize) -> Self {
        let in_frame = data::largest_in_frame(max_message_size);
        Self {
            config: config.clone(),
            max_message_size,
            data_limit: limits.peer_data_bytes.min(in_frame),
            pending_requests: limits.pending_requests.max(1),
            joins_per_peer: limits.joins_per_peer.max(1),
        }
    }
}
