//! What a node goes by, in a form that many topics and many nodes of one process share.

use std::sync::Arc;

use super::{ConfigError, sensible};
use crate::proto::{Config, Limits, hyparview, plumtree};

/// Parameters and bounds that make sense. A copy shares them.
///
/// ```
/// # use rand::{SeedableRng, rngs::StdRng};
/// # use smol_gossip::proto::{Config, Limits, Parameters, State};
/// let mut rng = StdRng::seed_from_u64(1);
/// let parameters = Parameters::new(Config::default(), Limits::default())?;
/// let swarm: Vec<State<u32>> = (0..1_000)
///     .map(|me| State::with_parameters(me, Default::default(), parameters.clone(), &mut rng))
///     .collect();
/// # assert_eq!(swarm.len(), 1_000);
/// # Ok::<_, smol_gossip::proto::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parameters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    limits: Limits,
    membership: Arc<hyparview::Settings>,
    broadcast: Arc<plumtree::Settings>,
}

impl Parameters {
    /// What makes no sense in `config` and `limits` is put right where there is only one way to:
    /// see [`Self::config`] and [`Self::limits`] for what holds.
    ///
    /// - Capacities and bounds below one that would leave a node deaf are one.
    /// - Message ids are kept no shorter than payloads.
    /// - Times that the protocol repeats something after are a millisecond at least, and no time
    ///   is longer than a century.
    ///
    /// ```
    /// # use smol_gossip::proto::{Config, Limits, Parameters};
    /// let small = Config {
    ///     max_message_size: 100,
    ///     ..Config::default()
    /// };
    /// assert!(Parameters::new(small, Limits::default()).is_err());
    /// ```
    pub fn new(config: Config, limits: Limits) -> Result<Self, ConfigError> {
        let config = sensible::config(config)?;
        let limits = sensible::limits(limits);
        let max = config.max_message_size;
        let membership = hyparview::Settings::new(&config.membership, &limits, max);
        let broadcast = plumtree::Settings::new(&config.broadcast, &limits, max);
        Ok(Self(Arc::new(Shared {
            membership: Arc::new(membership),
            broadcast: Arc::new(broadcast),
            config,
            limits,
        })))
    }

    /// The parameters that hold.
    ///
    /// ```
    /// # use smol_gossip::proto::{Config, Limits, Parameters};
    /// let mut config = Config::default();
    /// config.membership.active_view_capacity = 0;
    /// let parameters = Parameters::new(config, Limits::default())?;
    /// assert_eq!(parameters.config().membership.active_view_capacity, 1);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The bounds that hold.
    ///
    /// ```
    /// # use smol_gossip::proto::{Config, Limits, Parameters};
    /// let mut limits = Limits::default();
    /// limits.seen_ids = 0;
    /// let parameters = Parameters::new(Config::default(), limits)?;
    /// assert_eq!(parameters.limits().seen_ids, 1);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn membership(&self) -> &Arc<hyparview::Settings> {
        &self.0.membership
    }

    pub(crate) fn broadcast(&self) -> &Arc<plumtree::Settings> {
        &self.0.broadcast
    }
}
