//! The set-ups of the two papers: 10,000 nodes, active views of 5 and passive views of 30.
//!
//! HyParView: nodes join one by one without a cycle in between, then 50 cycles pass (a cycle is a
//! shuffle interval). Then a share of all nodes fails at once. Messages are sent within half a cycle
//! after that, and counted at the end of the cycle, while nodes go on to shuffle. Healing is how many cycles it takes until messages reach everyone again.
//!
//! PlumTree: messages are sent one after the other over the overlay so made, by one node or by a
//! different one each time. The paper's hops take one step each, which is [`Latency::Static`] here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Broadcast, Chance, Latency, MessageIndex, Network, NetworkConfig, NodeId, Noticed, Overlay,
    scenario::{Bootstrap, Kind, Summary, fail, play, random_node},
};

/// Cycles until the overlay counts as stable.
pub const STABLE_CYCLES: u32 = 50;

/// A reliability from which on messages count as reaching everyone again. Not quite all: after nine
/// nodes of ten have failed, one survivor in a thousand knows nobody who lives and is known to nobody.
pub const HEALED: f64 = 0.995;

/// How large an experiment is, and its chance.
#[derive(Clone, Copy, Debug)]
pub struct SetUp {
    /// Nodes.
    pub nodes: u32,
    /// Cycles before anything is measured.
    pub cycles: u32,
    /// Messages that are sent for each figure.
    pub messages: u32,
    /// Chance.
    pub seed: u64,
}

/// What the overlay is like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// Its shape.
    pub overlay: Overlay,
    /// Messages of the membership layer per node and cycle, in the last tenth of the cycles.
    pub messages_per_cycle: f64,
    /// Connections dialed per node and cycle, then.
    pub dials_per_cycle: f64,
}

/// What a mass failure does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The share of nodes that fail.
    pub share: f64,
    /// How that is noticed.
    pub noticed: Noticed,
    /// The share of survivors that each message had reached at the end of the cycle that begins with the
    /// failure; they are sent in its first half.
    pub reliability: Vec<f64>,
    /// The median of that for each cycle after that.
    pub by_cycle: Vec<f64>,
    /// After how many cycles messages reached everyone again.
    pub healed_after: Option<u32>,
    /// The overlay at the end.
    pub overlay: Overlay,
}

impl Failure {
    /// The mean reliability of the messages that are sent within half a cycle after the failure.
    ///
    /// ```
    /// # use smol_gossip::sim::{Noticed, paper::{self, SetUp}, scenario::Kind};
    /// let small = SetUp { nodes: 50, cycles: 5, messages: 3, seed: 1 };
    /// let (network, membership) = small.stable(&paper::one_by_one(), paper::steps())?;
    /// let failure = small.failure(network, 0.3, Noticed::AtOnce);
    /// assert!(failure.mean_reliability() > 0.9);
    /// # drop(membership);
    /// # Ok::<_, String>(())
    /// ```
    pub fn mean_reliability(&self) -> f64 {
        self.reliability.iter().sum::<f64>() / self.reliability.len().max(1) as f64
    }
}

impl SetUp {
    /// A network that has come together and is stable, and what its overlay is like.
    ///
    /// ```
    /// # use smol_gossip::sim::{Noticed, paper::{self, SetUp}, scenario::Kind};
    /// let small = SetUp { nodes: 50, cycles: 5, messages: 3, seed: 1 };
    /// let (network, membership) = small.stable(&paper::one_by_one(), paper::steps())?;
    /// assert_eq!((network.running(), membership.overlay.connected), (50, 1.0));
    /// # Ok::<_, String>(())
    /// ```
    pub fn stable(
        &self,
        bootstrap: &Bootstrap,
        config: NetworkConfig,
    ) -> Result<(Network, Membership), String> {
        let cycle = config.proto.membership.shuffle_interval;
        let mut network = Network::new(config, self.seed)?;
        bootstrap.run(&mut network, self.nodes, &mut self.chance());
        let last = (self.cycles / 10).max(1);
        network.run_for(cycle.saturating_mul(self.cycles.saturating_sub(last)));
        let before = *network.traffic();
        network.run_for(cycle.saturating_mul(last));
        let traffic = network.traffic().since(&before);
        let per_cycle = |count| count as f64 / (f64::from(self.nodes) * f64::from(last));
        let membership = Membership {
            overlay: Overlay::of(&network),
            messages_per_cycle: per_cycle(traffic.membership()),
            dials_per_cycle: per_cycle(traffic.dials),
        };
        Ok((network, membership))
    }

    fn chance(&self) -> Chance {
        Chance::new(self.seed ^ 0x5eed)
    }

    /// Lets a share of the nodes of a stable network fail.
    ///
    /// ```
    /// # use smol_gossip::sim::{Noticed, paper::{self, SetUp}, scenario::Kind};
    /// let small = SetUp { nodes: 50, cycles: 5, messages: 3, seed: 1 };
    /// let (network, membership) = small.stable(&paper::one_by_one(), paper::steps())?;
    /// let failure = small.failure(network, 0.3, Noticed::AtOnce);
    /// assert!(failure.healed_after.is_some());
    /// # drop(membership);
    /// # Ok::<_, String>(())
    /// ```
    pub fn failure(&self, mut network: Network, share: f64, noticed: Noticed) -> Failure {
        let mut rng = self.chance();
        let cycle = network.config().proto.membership.shuffle_interval;
        network.set_noticed(noticed);
        // Trees are there, as in the paper.
        for _ in 0..3 {
            send_one(&mut network, &mut rng);
        }
        fail(&mut network, share, &mut rng);
        let cycle_end = network.elapsed().saturating_add(cycle);
        let wait = cycle / 2 / self.messages.max(1);
        let sent: Vec<MessageIndex> = (0..self.messages)
            .filter_map(|_| {
                let sender = random_node(&network, &mut rng)?;
                let message = network.broadcast(sender, 64);
                network.run_for(wait);
                Some(message)
            })
            .collect();
        let mut reliability = Vec::new();
        let mut by_cycle = Vec::new();
        let mut healed_after = None;
        let mut end = cycle_end;
        for count in 1..=12 {
            let left = end.saturating_sub(network.elapsed());
            network.run_for(left);
            if count == 1 {
                let sent = sent.iter().filter_map(|message| network.message(*message));
                reliability = sent.map(Broadcast::reliability).collect();
                network.close_messages();
            }
            end = end.saturating_add(cycle);
            // The median: a sender may itself be cut off.
            let mut reached: Vec<f64> = (0..5).map(|_| send_one(&mut network, &mut rng)).collect();
            reached.sort_by(f64::total_cmp);
            by_cycle.push(reached[2]);
            if reached[2] >= HEALED {
                healed_after = Some(count);
                break;
            }
        }
        Failure {
            share,
            noticed,
            reliability,
            by_cycle,
            healed_after,
            overlay: Overlay::of(&network),
        }
    }

    /// Sends messages over a stable network, after a few that are not counted.
    ///
    /// ```
    /// # use smol_gossip::sim::{Noticed, paper::{self, SetUp}, scenario::Kind};
    /// let small = SetUp { nodes: 50, cycles: 5, messages: 3, seed: 1 };
    /// let (network, membership) = small.stable(&paper::one_by_one(), paper::steps())?;
    /// let summary = small.trees(network, Kind::GossipSingle, 5);
    /// assert_eq!(summary.len, 3);
    /// # drop(membership);
    /// # Ok::<_, String>(())
    /// ```
    pub fn trees(&self, mut network: Network, kind: Kind, warmup: u32) -> Summary {
        let mut rng = self.chance();
        let mut sender = random_node(&network, &mut rng).unwrap_or(NodeId(0));
        let mut rounds = Vec::new();
        for round in 0..warmup.saturating_add(self.messages) {
            if kind == Kind::GossipMulti {
                sender = random_node(&network, &mut rng).unwrap_or(sender);
            }
            let stats = play(&mut network, &[sender], 64, Duration::from_secs(10));
            if round >= warmup {
                rounds.push(stats);
            }
        }
        Summary::of(&rounds)
    }
}

/// The network of the papers: hops take one step each.
///
/// ```
/// # use std::time::Duration;
/// # use smol_gossip::sim::paper;
/// assert_eq!(paper::steps().latency.max(), Duration::from_millis(50));
/// ```
pub fn steps() -> NetworkConfig {
    NetworkConfig {
        latency: Latency::Static(Duration::from_millis(50)),
        ..Default::default()
    }
}

/// One by one, each through a random node that is there already.
///
/// ```
/// # use smol_gossip::sim::{Chance, Network, paper};
/// let mut network = Network::new(paper::steps(), 1)?;
/// paper::one_by_one().run(&mut network, 10, &mut Chance::new(1));
/// assert_eq!(network.running(), 10);
/// # Ok::<_, String>(())
/// ```
pub fn one_by_one() -> Bootstrap {
    Bootstrap::Growing {
        every: Duration::from_millis(2),
    }
}

fn send_one(network: &mut Network, rng: &mut Chance) -> f64 {
    let sender = random_node(network, rng);
    play(network, sender.as_slice(), 64, Duration::from_secs(5)).reliability
}
