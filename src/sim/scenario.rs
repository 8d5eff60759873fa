//! Scenarios: a swarm comes together, and messages are sent.
//!
//! The form and the names are those of iroh-gossip's simulator, so its scenario files run here and
//! the figures can be laid side by side. Fields that it does not have change nothing when they are
//! left out.

use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{Broadcast, Chance, MessageIndex, Network, NetworkConfig, NodeId, broadcast::SHORTEST};
use crate::proto::{DEFAULT_MAX_MESSAGE_SIZE, plumtree::max_content_size};

/// How long a round may take.
const ROUND_LIMIT: Duration = Duration::from_secs(5);

/// How long the swarm is left alone after everyone has joined.
const SETTLE: Duration = Duration::from_secs(10);

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// One node sends one message per round, always the same node.
    GossipSingle,
    /// One node sends one message per round, a random one each time.
    GossipMulti,
    /// All nodes send one message per round, at the same time.
    GossipAll,
}

/// How the swarm comes together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Bootstrap {
    /// All nodes join through one, at once.
    #[default]
    Single,
    /// Some nodes join through one; then all others join through random ones of these, at once.
    Set {
        /// How many nodes are joined through.
        count: u32,
    },
    /// Nodes join one after the other, each through a random one that is there already.
    Growing {
        /// The time between two joins.
        #[serde(with = "super::duration")]
        every: Duration,
    },
}

impl Bootstrap {
    /// Adds nodes to a network and lets them join.
    ///
    /// ```
    /// # use smol_gossip::sim::{Chance, Network, NetworkConfig, scenario::Bootstrap};
    /// let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// let nodes = Bootstrap::Set { count: 3 }.run(&mut network, 20, &mut Chance::new(1));
    /// assert_eq!(nodes.len(), 20);
    /// # Ok::<_, String>(())
    /// ```
    pub fn run(&self, network: &mut Network, count: u32, rng: &mut Chance) -> Vec<NodeId> {
        let nodes = network.add(count);
        if nodes.is_empty() {
            return nodes;
        }
        let latency = network.config().latency.max();
        match self {
            Self::Single => {
                for node in &nodes {
                    network.join(*node, &nodes[..1]);
                }
            }
            Self::Set { count } => {
                let (first, others) = nodes.split_at((*count as usize).clamp(1, nodes.len()));
                for node in first {
                    network.join(*node, &first[..1]);
                }
                network.run_for(latency * 7);
                for node in others {
                    let contact = first[rng.random_range(0..first.len())];
                    network.join(*node, &[contact]);
                }
            }
            Self::Growing { every } => {
                for (index, node) in nodes.iter().enumerate() {
                    let contact = (index > 0).then(|| nodes[rng.random_range(0..index)]);
                    network.join(*node, contact.as_slice());
                    network.run_for(*every);
                }
            }
        }
        nodes
    }
}

/// A swarm and what is done with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called, where not by its kind, size, rounds and failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who sends.
    pub sim: Kind,
    /// How many nodes there are.
    pub nodes: u32,
    /// How they come together.
    #[serde(default)]
    pub bootstrap: Bootstrap,
    /// How often messages are sent.
    #[serde(default = "Scenario::rounds")]
    pub rounds: u32,
    /// Rounds before those, which are not counted.
    #[serde(default)]
    pub warmup: u32,
    /// Shuffle intervals to wait before the first round.
    #[serde(default)]
    pub cycles: u32,
    /// The share of nodes that fail, all at once, before the first counted round.
    #[serde(default)]
    pub fail: f64,
    /// The share of nodes that are killed before every round, and started again at once.
    #[serde(default)]
    pub churn: f64,
    /// The length of messages in bytes: at least eight, and no more than the largest content that
    /// fits the `max_message_size` of the network.
    #[serde(default = "Scenario::message_len")]
    pub message_len: usize,
    /// What the network is like, where not as the rest of the file says.
    pub config: Option<NetworkConfig>,
}

impl Scenario {
    /// A scenario with nothing special about it.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::{Kind, Scenario};
    /// let scenario = Scenario {
    ///     churn: 0.01,
    ///     ..Scenario::new(Kind::GossipMulti, 200)
    /// };
    /// assert_eq!(scenario.check(), Ok(()));
    /// ```
    pub fn new(sim: Kind, nodes: u32) -> Self {
        Self {
            name: None,
            sim,
            nodes,
            bootstrap: Bootstrap::default(),
            rounds: Self::rounds(),
            warmup: 0,
            cycles: 0,
            fail: 0.0,
            churn: 0.0,
            message_len: Self::message_len(),
            config: None,
        }
    }

    fn rounds() -> u32 {
        30
    }

    fn message_len() -> usize {
        64
    }

    /// A name that tells scenarios apart that differ in kind, size, rounds or failures.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::{Kind, Scenario};
    /// assert_eq!(Scenario::new(Kind::GossipAll, 20).label(), "GossipAll-n20-r30");
    /// ```
    pub fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let mut label = format!("{:?}-n{}-r{}", self.sim, self.nodes, self.rounds);
        for (name, share) in [("fail", self.fail), ("churn", self.churn)] {
            if share > 0.0 {
                label.push_str(&format!("-{name}{:.0}", share * 100.0));
            }
        }
        label
    }

    /// What is wrong with the parameters: the field, and why.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::{Kind, Scenario};
    /// let wrong = Scenario::new(Kind::GossipAll, 1).check();
    /// assert_eq!(wrong.unwrap_err().0, "nodes");
    /// ```
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |c: char| c.is_alphanumeric() || "-_.%".contains(c);
        if let Some(name) = &self.name
            && !(name.chars().all(plain) && name.starts_with(char::is_alphanumeric))
        {
            return Err((
                "name",
                "must be letters, digits, and `-`, `_`, `.`, `%`".into(),
            ));
        }
        if self.nodes < 2 {
            return Err(("nodes", "there must be at least two".into()));
        }
        if self.warmup.checked_add(self.rounds).is_none() {
            return Err(("warmup", "there are too many rounds to count".into()));
        }
        if self.rounds == 0 {
            return Err(("rounds", "there must be at least one".into()));
        }
        for (field, share) in [("fail", self.fail), ("churn", self.churn)] {
            if !(0.0..1.0).contains(&share) {
                return Err((field, "must be a share, at least 0 and less than 1".into()));
            }
        }
        if let Bootstrap::Set { count: 0 } = self.bootstrap {
            return Err(("bootstrap", "`count` must be at least 1".into()));
        }
        if let Some(config) = &self.config {
            config.check().map_err(|wrong| ("config", wrong))?;
        }
        let of_config = |config: &NetworkConfig| config.proto.max_message_size;
        let max_message_size = self
            .config
            .as_ref()
            .map_or(DEFAULT_MAX_MESSAGE_SIZE, of_config);
        let longest = max_content_size(max_message_size);
        if !(SHORTEST..=longest).contains(&self.message_len) {
            let wrong = format!(
                "must be from {SHORTEST} to {longest} bytes: a message says which one it is, and \
                 has to fit a `max_message_size` of {max_message_size}"
            );
            return Err(("message_len", wrong));
        }
        Ok(())
    }

    /// Plays the scenario. `tell` is called after each round with how many there were.
    ///
    /// Fails where [`check`](Self::check) does.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::{Kind, Scenario};
    /// let scenario = Scenario {
    ///     rounds: 5,
    ///     ..Scenario::new(Kind::GossipSingle, 20)
    /// };
    /// let summary = scenario.run(1, |round| println!("round {round}"))?;
    /// assert_eq!(summary.mean.reliability, 1.0);
    /// # Ok::<_, String>(())
    /// ```
    pub fn run(&self, seed: u64, mut tell: impl FnMut(u32)) -> Result<Summary, String> {
        self.check()
            .map_err(|(field, wrong)| format!("{field}: {wrong}"))?;
        let config = self.config.clone().unwrap_or_default();
        let cycle = config.proto.membership.shuffle_interval;
        let mut network = Network::new(config, seed)?;
        let mut rng = Chance::new(seed.wrapping_add(1));
        let nodes = self.bootstrap.run(&mut network, self.nodes, &mut rng);
        network.run_for(SETTLE.saturating_add(cycle.saturating_mul(self.cycles)));
        let mut sender = nodes[rng.random_range(0..nodes.len())];
        let mut rounds = Vec::new();
        for round in 0..self.warmup + self.rounds {
            if round == self.warmup && self.fail > 0.0 {
                fail(&mut network, self.fail, &mut rng);
            }
            if self.churn > 0.0 {
                churn(&mut network, self.churn, &mut rng);
            }
            if self.sim == Kind::GossipMulti || !network.is_running(sender) {
                sender = random_node(&network, &mut rng).unwrap_or(sender);
            }
            let senders = match self.sim {
                Kind::GossipAll => network.nodes().collect(),
                Kind::GossipSingle | Kind::GossipMulti => vec![sender],
            };
            let stats = play(&mut network, &senders, self.message_len, ROUND_LIMIT);
            if round >= self.warmup {
                rounds.push(stats);
            }
            tell(round + 1);
        }
        Ok(Summary::of(&rounds))
    }
}

/// A random node that runs; `None` where none does.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::sim::{Network, NetworkConfig};
/// # let mut network = Network::new(NetworkConfig::default(), 1)?;
/// # let nodes = network.add(20);
/// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
/// # network.run_for(Duration::from_secs(20));
/// use smol_gossip::sim::{Chance, scenario::random_node};
///
/// let node = random_node(&network, &mut Chance::new(1)).expect("some run");
/// assert!(network.is_running(node));
/// # Ok::<_, String>(())
/// ```
pub fn random_node(network: &Network, rng: &mut Chance) -> Option<NodeId> {
    while network.running() > 0 {
        let node = NodeId(rng.random_range(0..network.len() as u32));
        if network.is_running(node) {
            return Some(node);
        }
    }
    None
}

/// Kills a share of the nodes that run, at once, and leaves one at least.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::sim::{Network, NetworkConfig};
/// # let mut network = Network::new(NetworkConfig::default(), 1)?;
/// # let nodes = network.add(20);
/// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
/// # network.run_for(Duration::from_secs(20));
/// use smol_gossip::sim::{Chance, scenario::fail};
///
/// fail(&mut network, 0.5, &mut Chance::new(1));
/// assert_eq!(network.running(), 10);
/// # Ok::<_, String>(())
/// ```
pub fn fail(network: &mut Network, share: f64, rng: &mut Chance) {
    let count = (network.running() as f64 * share).round() as usize;
    for _ in 0..count.min(network.running().saturating_sub(1)) {
        if let Some(node) = random_node(network, rng) {
            network.kill(node);
        }
    }
}

/// Kills a share of the nodes, and starts them again. They join through others that run.
fn churn(network: &mut Network, share: f64, rng: &mut Chance) {
    let count = (network.running() as f64 * share).round() as usize;
    for _ in 0..count {
        let Some(node) = random_node(network, rng) else {
            return;
        };
        network.kill(node);
        if let Some(contact) = random_node(network, rng) {
            network.restart(node);
            network.join(node, &[contact]);
        }
    }
}

/// Sends a message from each of the senders at the same time, and waits until all is quiet.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::sim::{Network, NetworkConfig};
/// # let mut network = Network::new(NetworkConfig::default(), 1)?;
/// # let nodes = network.add(20);
/// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
/// # network.run_for(Duration::from_secs(20));
/// use smol_gossip::sim::scenario::play;
///
/// let round = play(&mut network, &nodes[..2], 64, Duration::from_secs(10));
/// assert_eq!(round.reliability, 1.0);
/// # Ok::<_, String>(())
/// ```
pub fn play(network: &mut Network, senders: &[NodeId], len: usize, limit: Duration) -> Round {
    let first = network.messages().len();
    let before = *network.traffic();
    for sender in senders {
        network.broadcast(*sender, len);
    }
    network.run_until_quiet(first, limit);
    let traffic = network.traffic().since(&before);
    let round = Round::of(network, first, traffic.control());
    network.close_messages();
    round
}

/// What became of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Relative message redundancy.
    pub rmr: f64,
    /// Last delivery hop; the first send is hop 1.
    pub ldh: f64,
    /// Deliveries that were missed.
    pub missed: f64,
    /// The time until the last delivery, in milliseconds.
    pub duration_ms: f64,
    /// The share of nodes that got a message, over all messages.
    pub reliability: f64,
    /// Announcements, Grafts and Prunes per delivery.
    pub control: f64,
}

impl Round {
    fn of(network: &Network, first: MessageIndex, control: u64) -> Self {
        let messages = network.messages().get(first..).unwrap_or_default();
        let sum = |what: fn(&Broadcast) -> f64| messages.iter().map(what).sum::<f64>();
        let max = |what: fn(&Broadcast) -> f64| messages.iter().map(what).fold(0.0, f64::max);
        let receivers = sum(|m| f64::from(m.delivered) - 1.0).max(1.0);
        Self {
            rmr: sum(|m| m.payloads as f64) / receivers - 1.0,
            ldh: max(|m| m.last_hop.into()),
            missed: sum(|m| m.missed().into()),
            duration_ms: max(|m| m.duration.as_secs_f64() * 1e3),
            reliability: sum(Broadcast::reliability) / messages.len().max(1) as f64,
            control: control as f64 / receivers,
        }
    }

    /// The figures by name, in the order of tables.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::Round;
    /// for (name, figure) in Round::default().figures() {
    ///     println!("{name}: {figure:.3}");
    /// }
    /// ```
    pub fn figures(&self) -> [(&'static str, f64); 6] {
        [
            ("rmr", self.rmr),
            ("ldh", self.ldh),
            ("missed", self.missed),
            ("duration_ms", self.duration_ms),
            ("reliability", self.reliability),
            ("control", self.control),
        ]
    }

    fn fold(rounds: &[Self], by: impl Fn(f64, f64) -> f64) -> Self {
        let one = |what: fn(&Self) -> f64| rounds.iter().map(what).reduce(&by).unwrap_or(0.0);
        Self {
            rmr: one(|r| r.rmr),
            ldh: one(|r| r.ldh),
            missed: one(|r| r.missed),
            duration_ms: one(|r| r.duration_ms),
            reliability: one(|r| r.reliability),
            control: one(|r| r.control),
        }
    }

    fn scaled(self, by: f64) -> Self {
        Self {
            rmr: self.rmr * by,
            ldh: self.ldh * by,
            missed: self.missed * by,
            duration_ms: self.duration_ms * by,
            reliability: self.reliability * by,
            control: self.control * by,
        }
    }
}

/// What became of many rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many there were.
    pub len: usize,
    /// The mean of each figure.
    pub mean: Round,
    /// The largest of each.
    pub max: Round,
    /// The smallest of each.
    pub min: Round,
    /// All rounds, in order; none where only the figures above were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<Round>,
}

impl Summary {
    /// Sums rounds up.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::{Round, Summary};
    /// let rounds = [1.0, 3.0].map(|ldh| Round { ldh, ..Round::default() });
    /// assert_eq!(Summary::of(&rounds).mean.ldh, 2.0);
    /// ```
    pub fn of(rounds: &[Round]) -> Self {
        Self {
            len: rounds.len(),
            mean: Round::fold(rounds, |a, b| a + b).scaled(1.0 / rounds.len().max(1) as f64),
            max: Round::fold(rounds, f64::max),
            min: Round::fold(rounds, f64::min),
            rounds: rounds.to_vec(),
        }
    }

    /// The rounds of several runs together.
    ///
    /// ```
    /// # use smol_gossip::sim::scenario::{Round, Summary};
    /// let one = Summary::of(&[Round::default()]);
    /// assert_eq!(Summary::together([&one, &one]).len, 2);
    /// ```
    pub fn together<'a>(summaries: impl IntoIterator<Item = &'a Self>) -> Self {
        let all = summaries
            .into_iter()
            .flat_map(|summary| summary.rounds.clone());
        Self::of(&all.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_message_len(message_len: usize, max_message_size: Option<usize>) -> Scenario {
        let config = max_message_size.map(|max| {
            let mut config = NetworkConfig::default();
            config.proto.max_message_size = max;
            config
        });
        Scenario {
            rounds: 1,
            message_len,
            config,
            ..Scenario::new(Kind::GossipSingle, 20)
        }
    }

    #[test]
    fn messages_of_any_length_that_is_accepted_arrive() {
        for (max, longest) in [(None, 4055), (Some(1024), 983)] {
            for len in [8, longest] {
                let summary = with_message_len(len, max).run(1, |_| ()).unwrap();
                assert_eq!(summary.mean.reliability, 1.0, "{len} bytes");
            }
            for len in [0, 7, longest + 1, usize::MAX] {
                let (field, why) = with_message_len(len, max).check().unwrap_err();
                assert_eq!(field, "message_len");
                let limits = format!("from 8 to {longest} bytes");
                assert!(why.contains(&limits), "{len} bytes: {why}");
            }
        }
    }
}
