//! Broadcast trees.

mod config;
mod message;

pub use config::Config;
pub use message::{DeliveryScope, Gossip, Graft, IHave, Message, Round, Scope};
