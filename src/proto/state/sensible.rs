//! Parameters and bounds that make sense.

use std::{fmt, time::Duration};

use crate::proto::{Config, Limits, MIN_MAX_MESSAGE_SIZE};

/// Why a [`State`](super::State) could not be made. There is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// [`Config::max_message_size`] is so small that membership messages would not fit.
    MaxMessageSizeTooSmall {
        /// What was given.
        given: usize,
        /// The least that is accepted.
        min: usize,
    },
    /// [`Config::max_message_size`] is more than the length of a frame can say.
    MaxMessageSizeTooLarge {
        /// What was given.
        given: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxMessageSizeTooSmall { given, min } => {
                write!(
                    f,
                    "max_message_size is {given} bytes, and must be at least {min}"
                )
            }
            Self::MaxMessageSizeTooLarge { given } => {
                write!(
                    f,
                    "max_message_size is {given} bytes, and frames have 32 bits for it"
                )
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A century. An instant this far from now can still be told.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What is repeated after no time at all is repeated without end.
const SHORTEST_REPEAT: Duration = Duration::from_millis(1);

/// Puts right what can be, and refuses the rest.
pub(super) fn config(mut config: Config) -> Result<Config, ConfigError> {
    let given = config.max_message_size;
    if given < MIN_MAX_MESSAGE_SIZE {
        let min = MIN_MAX_MESSAGE_SIZE;
        return Err(ConfigError::MaxMessageSizeTooSmall { given, min });
    }
    if u32::try_from(given).is_err() {
        return Err(ConfigError::MaxMessageSizeTooLarge { given });
    }
    let membership = &mut config.membership;
    membership.active_view_capacity = membership.active_view_capacity.max(1);
    for repeat in [
        &mut membership.shuffle_interval,
        &mut membership.neighbor_request_timeout,
    ] {
        *repeat = (*repeat).clamp(SHORTEST_REPEAT, LONGEST);
    }
    let broadcast = &mut config.broadcast;
    for time in [
        &mut broadcast.graft_timeout_1,
        &mut broadcast.graft_timeout_2,
        &mut broadcast.dispatch_timeout,
        &mut broadcast.message_cache_retention,
        &mut broadcast.message_id_retention,
        &mut broadcast.cache_evict_interval,
    ] {
        *time = (*time).min(LONGEST);
    }
    broadcast.message_id_retention = broadcast
        .message_id_retention
        .max(broadcast.message_cache_retention);
    Ok(config)
}

/// Puts right what would leave a node deaf.
pub(super) fn limits(mut limits: Limits) -> Limits {
    for bound in [
        &mut limits.seen_ids,
        &mut limits.missing_ids,
        &mut limits.claims_per_id,
        &mut limits.lazy_queue,
        &mut limits.pending_requests,
    ] {
        *bound = (*bound).max(1);
    }
    limits
}
