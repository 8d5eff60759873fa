//! A simulated network: thousands to millions of nodes in virtual time.
//!
//! The nodes are the protocol's own [`State`](crate::proto::State); what is made up is the network
//! between them, and chance. The same seed gives the same run, event by event.
//!
//! | what | where |
//! |---|---|
//! | [`Network`] | nodes, connections, failures, the passing of time |
//! | [`Latency`], [`NetworkConfig`] | what the network is like |
//! | [`Broadcast`] | what became of a message: redundancy, hops, reliability |
//! | [`Overlay`] | what the overlay is like: degrees, paths, clustering |
//! | [`Traffic`] | what went over the network |
//!
//! ```
//! # use std::time::Duration;
//! use smol_gossip::sim::{Network, NetworkConfig};
//!
//! let mut network = Network::new(NetworkConfig::default(), 1)?;
//! let nodes = network.add(100);
//! for node in &nodes {
//!     network.join(*node, &[nodes[0]]);
//! }
//! network.run_for(Duration::from_secs(10));
//! let message = network.broadcast(nodes[7], 64);
//! network.run_for(Duration::from_secs(5));
//! assert_eq!(network.message(message).map(|m| m.reliability()), Some(1.0));
//! # Ok::<_, String>(())
//! ```

mod broadcast;
mod chance;
pub mod compare;
mod config;
pub mod duration;
mod latency;
mod links;
mod network;
mod overlay;
pub mod paper;
mod queue;
pub mod scenario;
mod traffic;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::{
    broadcast::{Broadcast, MessageIndex},
    chance::Chance,
    config::{Loss, NetworkConfig, Noticed},
    latency::Latency,
    network::Network,
    overlay::Overlay,
    traffic::Traffic,
};

/// A node of the simulated network: its place in the order in which nodes were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Virtual time: microseconds since the beginning.
type Time = u64;

/// When time ends: more than a hundred years after the beginning.
const END: Time = Time::MAX / 4_000;

fn micros(duration: Duration) -> Time {
    Time::try_from(duration.as_micros()).map_or(END, |micros| micros.min(END))
}
