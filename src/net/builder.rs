//! Making a node.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use iroh::Endpoint;
use rand::{SeedableRng, rngs::StdRng};
use smol_gossip_runtime::{NoContext, Runtime, TokioRuntime};
use tracing::{error, info_span};

use super::{
    GOSSIP_ALPN, Gossip,
    address_lookup::GossipAddressLookup,
    admission::Admission,
    driver::Driver,
    limits::Limits,
    node::{Node, Parts},
    transport::{Transport, iroh::IrohTransport},
};
use crate::{
    api::mailbox,
    metrics::Metrics,
    proto::{self, HyparviewConfig, PlumtreeConfig, State},
};

/// Connections that others made and that the driver has not taken yet. Whoever hands over more
/// waits.
const CONNECTION_QUEUE: usize = 64;

/// Requests that the driver has not taken yet. Whoever asks for more waits.
pub(super) const REQUEST_QUEUE: usize = 16;

/// What TLS has room for. It would panic over others.
const ALPN_LEN: RangeInclusive<usize> = 1..=255;

/// Settings of a node. Begin with [`Gossip::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    config: proto::Config,
    limits: Limits,
    alpn: Option<Bytes>,
    accept: bool,
    seed: Option<u64>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            config: Default::default(),
            limits: Limits::default(),
            alpn: None,
            accept: false,
            seed: None,
        }
    }

    /// The largest frame that is read, in bytes; frames that are written stay below it.
    ///
    /// It should be the same on every node of a swarm. The default is 4096. Below 512 no node
    /// can be built.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// let builder = Gossip::builder().max_message_size(16 * 1024);
    /// # drop(builder);
    /// ```
    pub fn max_message_size(mut self, size: usize) -> Self {
        self.config.max_message_size = size;
        self
    }

    /// Parameters of the membership layer.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// use smol_gossip::proto::HyparviewConfig;
    ///
    /// let config = HyparviewConfig {
    ///     active_view_capacity: 7,
    ///     ..HyparviewConfig::default()
    /// };
    /// let builder = Gossip::builder().membership_config(config);
    /// # drop(builder);
    /// ```
    pub fn membership_config(mut self, config: HyparviewConfig) -> Self {
        self.config.membership = config;
        self
    }

    /// Parameters of the broadcast layer.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// use std::time::Duration;
    /// use smol_gossip::proto::PlumtreeConfig;
    ///
    /// let config = PlumtreeConfig {
    ///     message_cache_retention: Duration::from_secs(300),
    ///     ..PlumtreeConfig::default()
    /// };
    /// let builder = Gossip::builder().broadcast_config(config);
    /// # drop(builder);
    /// ```
    pub fn broadcast_config(mut self, config: PlumtreeConfig) -> Self {
        self.config.broadcast = config;
        self
    }

    /// The ALPN to dial with, in place of [`GOSSIP_ALPN`].
    ///
    /// It has to be the same on every node of a swarm, and it is the one to accept connections
    /// with. It has from 1 to 255 bytes; with others no node can be built.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// let builder = Gossip::builder().alpn("/my-swarm/1");
    /// # drop(builder);
    /// ```
    pub fn alpn(mut self, alpn: impl AsRef<[u8]>) -> Self {
        self.alpn = Some(Bytes::copy_from_slice(alpn.as_ref()));
        self
    }

    /// The bounds of what peers can make grow.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// use smol_gossip::net::Limits;
    ///
    /// let mut limits = Limits::default();
    /// limits.topics = 8;
    /// let builder = Gossip::builder().limits(limits);
    /// # drop(builder);
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether the driver accepts connections from the endpoint by itself. The default is `false`.
    ///
    /// For programs without a [`Router`](iroh::protocol::Router) that use the endpoint for nothing
    /// else: connections with another ALPN are closed. The endpoint has to be bound with the ALPN
    /// of this node.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// let builder = Gossip::builder().accept_incoming(true);
    /// # drop(builder);
    /// ```
    pub fn accept_incoming(mut self, accept: bool) -> Self {
        self.accept = accept;
        self
    }

    /// Seeds the node's random number generator, which otherwise is seeded by the operating
    /// system. For tests: whoever knows the seed can foresee what the node picks.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// let builder = Gossip::builder().seed(7);
    /// # drop(builder);
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes a node on any executor.
    ///
    /// Nothing is spawned: the [`Driver`] is the whole node, and the node lives while the driver is
    /// polled. `runtime` gives it time, and the tokio context that iroh's connections live in.
    ///
    /// ```no_run
    /// # use iroh::Endpoint;
    /// # use smol_gossip::{Gossip, runtime::TokioRuntime};
    /// # async fn example(endpoint: Endpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let (gossip, driver) = Gossip::builder().build(endpoint, TokioRuntime::current()?)?;
    /// smol::spawn(driver).detach();
    /// # drop(gossip);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Nothing was started, and the endpoint is as it was.
    ///
    /// # Panics
    ///
    /// Where `runtime` is on a tokio runtime without timers, one that was built without `enable_all`:
    /// a handle does not say. The driver panics where it is polled after the end of that runtime.
    pub fn build(
        self,
        endpoint: Endpoint,
        runtime: impl Runtime + Clone + Unpin,
    ) -> Result<(Gossip, Driver), BuildError> {
        let seed = match self.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut rand::rngs::SysRng)
                .map_err(|error| BuildError::Entropy(error.to_string()))?,
        };
        let mut rng = seed;
        let local = endpoint.id();
        let alpn = self.alpn.unwrap_or(Bytes::from_static(GOSSIP_ALPN));
        if !ALPN_LEN.contains(&alpn.len()) {
            let (len, least, most) = (alpn.len(), ALPN_LEN.start(), ALPN_LEN.end());
            let reason = format!("an ALPN has from {least} to {most} bytes, not {len}");
            return Err(BuildError::Config(reason));
        }
        let limits = self.limits.sensible(self.config.max_message_size);
        // Checked first, since joining the endpoint's address lookup cannot be undone.
        State::<iroh::EndpointId>::new(
            local,
            Default::default(),
            self.config.clone(),
            limits.protocol.clone(),
            &mut rng,
        )
        .map_err(|error| BuildError::Config(error.to_string()))?;

        let lookup = GossipAddressLookup::new(limits.known_addresses);
        let streams = limits.streams_per_connection;
        let metrics = Arc::new(Metrics::default());
        let admission = Admission::new(limits.handshakes_per_second, metrics.clone());
        let admission = Arc::new(admission);
        let transport = runtime
            .enter(|| IrohTransport::new(endpoint, alpn, streams, lookup, admission.clone()));
        let state = State::new(
            local,
            transport.local_data(),
            self.config,
            limits.protocol.clone(),
            &mut rng,
        )
        .map_err(|error| BuildError::Config(error.to_string()))?;

        let max_message_size = state.max_message_size();
        let (mailbox, inbox) = mailbox::channel(state.max_content_size());
        let (connections_tx, connections) = async_channel::bounded(CONNECTION_QUEUE);
        let (requests_tx, requests) = async_channel::bounded(REQUEST_QUEUE);
        let node = runtime.enter(|| {
            Node::new(Parts {
                transport,
                runtime: runtime.clone(),
                state,
                rng,
                limits,
                metrics: metrics.clone(),
                inbox,
                connections,
                requests,
                accept: self.accept,
            })
        });
        let span = info_span!("gossip", me = %local.fmt_short());
        let gossip = Gossip::new(
            mailbox,
            connections_tx,
            requests_tx,
            max_message_size,
            metrics,
            admission,
        );
        Ok((gossip, Driver::new(node, runtime, span)))
    }

    /// Makes a node and spawns its driver on the tokio runtime of the caller.
    ///
    /// ```no_run
    /// # use iroh::Endpoint;
    /// # use smol_gossip::{Gossip, runtime::TokioRuntime};
    /// # async fn example(endpoint: Endpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let gossip = Gossip::builder().try_spawn(endpoint)?;
    /// # drop(gossip);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError::NoContext`] outside a tokio runtime; else as [`Self::build`].
    pub fn try_spawn(self, endpoint: Endpoint) -> Result<Gossip, BuildError> {
        let runtime = TokioRuntime::current()?;
        let (gossip, driver) = self.build(endpoint, runtime.clone())?;
        runtime.spawn_driver(driver).detach();
        Ok(gossip)
    }

    /// Makes a node and spawns its driver on the tokio runtime of the caller.
    ///
    /// Where [`Self::try_spawn`] fails, the error is logged and the [`Gossip`] returned is closed:
    /// every call answers `ActorDropped` or `Closed`.
    ///
    /// ```no_run
    /// # use iroh::Endpoint;
    /// # use smol_gossip::{Gossip, runtime::TokioRuntime};
    /// # async fn example(endpoint: Endpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let gossip = Gossip::builder().spawn(endpoint);
    /// # drop(gossip);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn(self, endpoint: Endpoint) -> Gossip {
        let max_message_size = self.config.max_message_size;
        self.try_spawn(endpoint).unwrap_or_else(|error| {
            error!(%error, "gossip did not start");
            Gossip::closed(max_message_size)
        })
    }
}

/// Why a node could not be made. Nothing was started, and the endpoint is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no tokio context, and iroh cannot do without one.
    NoContext(NoContext),
    /// The configuration makes no sense.
    Config(String),
    /// The operating system gave no seed for the random number generator.
    Entropy(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoContext(error) => error.fmt(f),
            Self::Config(reason) => write!(f, "unusable configuration: {reason}"),
            Self::Entropy(reason) => write!(f, "no random seed: {reason}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoContext(error) => Some(error),
            Self::Config(_) | Self::Entropy(_) => None,
        }
    }
}

impl From<NoContext> for BuildError {
    fn from(error: NoContext) -> Self {
        Self::NoContext(error)
    }
}
