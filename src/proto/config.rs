//! The protocol's parameters.

use serde::{Deserialize, Serialize};

use super::{hyparview, plumtree};

/// The default of [`Config::max_message_size`], in bytes.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 4096;

/// The smallest [`Config::max_message_size`] that is accepted, in bytes.
pub const MIN_MAX_MESSAGE_SIZE: usize = 512;

/// The protocol's parameters. They should be the same on every node of a swarm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Parameters of the membership layer.
    pub membership: hyparview::Config,
    /// Parameters of the broadcast layer.
    pub broadcast: plumtree::Config,
    /// The largest frame that is read, in bytes; frames that are written stay below it.
    ///
    /// At least [`MIN_MAX_MESSAGE_SIZE`].
    pub max_message_size: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            membership: Default::default(),
            broadcast: Default::default(),
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
        }
    }
}
