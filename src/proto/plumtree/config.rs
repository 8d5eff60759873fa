//! Parameters of the broadcast layer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::Round;

/// Parameters of the broadcast layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Time from the first announcement of a message until it is asked for (PlumTree, section 3.8),
    /// at the least: it is longer where messages were seen to take longer along the tree.
    pub graft_timeout_1: Duration,
    /// Time from asking one peer for a message until the next is asked, at the least: it is longer
    /// where answers were seen to take longer.
    pub graft_timeout_2: Duration,
    /// Time for which announcements are gathered before they are sent, where there was none for a while.
    /// Where messages follow each other it is up to 40 times as long, but not longer than 200 ms unless this
    /// is; and a fifth longer where the receiver is used to announce the same.
    pub dispatch_timeout: Duration,
    /// How many hops shorter the ways of announcements must have been than those of the payloads, in sum
    /// over three messages in a row or more, for the two peers to change places in the tree.
    pub optimization_threshold: Round,
    /// How long payloads are kept to answer Grafts. Several round trips at least.
    pub message_cache_retention: Duration,
    /// How long message ids are kept to recognise duplicates. At least
    /// [`Self::message_cache_retention`].
    pub message_id_retention: Duration,
    /// How far apart two sweeps of expired cache entries are at the least. There is no sweep
    /// while there is nothing to expire.
    pub cache_evict_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            graft_timeout_1: Duration::from_millis(80),
            graft_timeout_2: Duration::from_millis(40),
            dispatch_timeout: Duration::from_millis(5),
            optimization_threshold: Round::from(7),
            message_cache_retention: Duration::from_secs(30),
            message_id_retention: Duration::from_secs(90),
            cache_evict_interval: Duration::from_secs(1),
        }
    }
}
