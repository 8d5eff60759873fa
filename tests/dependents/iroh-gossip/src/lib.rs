//! smol-gossip under the name that dependents know.

pub use smol_gossip::*;
