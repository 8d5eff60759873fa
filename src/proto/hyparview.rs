//! Swarm membership.

mod config;
mod message;

pub use config::{Config, Ttl};
pub use message::{Disconnect, ForwardJoin, Message, Neighbor, Priority, Shuffle, ShuffleReply};
