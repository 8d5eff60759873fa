//! What a simulated network is like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Latency, latency::LONGEST};
use crate::proto::{self, Limits, Parameters};

/// The most round trips that a dial may take.
const MOST_ROUND_TRIPS: u32 = 100;

/// What a simulated network is like, and what its nodes are set to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// How long a message takes from one node to another.
    pub latency: Latency,
    /// A message may take up to this much longer. It still never overtakes another one of its
    /// connection.
    #[serde(with = "super::duration")]
    pub jitter: Duration,
    /// What gets lost.
    pub loss: Loss,
    /// How the failure of a node is noticed.
    pub noticed: Noticed,
    /// Round trips that a dial takes before the first message is sent. QUIC needs one.
    pub handshake: u32,
    /// The protocol's parameters, for all nodes.
    pub proto: proto::Config,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency: Latency::default(),
            jitter: Duration::ZERO,
            loss: Loss::default(),
            noticed: Noticed::default(),
            handshake: 1,
            proto: proto::Config::default(),
        }
    }
}

impl NetworkConfig {
    /// What is wrong with the parameters: the field, a colon, and why.
    ///
    /// ```
    /// # use smol_gossip::sim::NetworkConfig;
    /// let mut config = NetworkConfig::default();
    /// assert_eq!(config.check(), Ok(()));
    /// config.loss.message = 1.5;
    /// assert!(config.check().is_err());
    /// ```
    pub fn check(&self) -> Result<(), String> {
        self.latency
            .check()
            .map_err(|wrong| format!("latency: {wrong}"))?;
        for (name, rate) in [
            ("message", self.loss.message),
            ("connection", self.loss.connection),
        ] {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("loss: `{name}` must be a share from 0 to 1"));
            }
        }
        for (name, time) in [
            ("jitter", self.jitter),
            ("noticed_after", self.loss.noticed_after),
        ] {
            if time > LONGEST {
                return Err(format!("`{name}` must not be longer than an hour"));
            }
        }
        if self.handshake > MOST_ROUND_TRIPS {
            return Err(format!(
                "`handshake` must not be more than {MOST_ROUND_TRIPS}"
            ));
        }
        let parameters = Parameters::new(self.proto.clone(), Limits::default());
        parameters
            .map(drop)
            .map_err(|wrong| format!("proto: {wrong}"))
    }
}

/// What gets lost while nodes are well.
///
/// QUIC sends again what was lost, so a message that does not arrive is the first sign of a
/// connection that is about to be lost: that is `connection`. Single messages that vanish, as with
/// datagrams, are `message`; the protocol does not expect them, and should live with a few.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// The share of messages that vanish.
    pub message: f64,
    /// The share of messages at which the connection breaks: it and all after it vanish, both ways.
    pub connection: f64,
    /// How long it takes both ends to find out about a broken connection.
    #[serde(with = "super::duration")]
    pub noticed_after: Duration,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            message: 0.0,
            connection: 0.0,
            noticed_after: Duration::from_secs(1),
        }
    }
}

/// How a node finds out that another one cannot be reached any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noticed {
    /// All its connections are reset at once, as when a process ends; the other ends hear of it
    /// one latency later.
    #[default]
    AtOnce,
    /// When something is sent to it, after one round trip. This is what the papers assume of TCP.
    OnSend,
    /// Not at all. Messages vanish, and dials are never answered.
    Never,
}
