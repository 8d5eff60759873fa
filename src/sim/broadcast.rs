//! What becomes of a message, as PlumTree's paper measures it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{NodeId, Time};

/// Names a message that was broadcast: its place in the order of all.
pub type MessageIndex = usize;

/// What became of a message so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broadcast {
    /// Who sent it.
    pub from: NodeId,
    /// How many nodes there were when it was sent, and are left of those; the sender is one.
    pub nodes: u32,
    /// How many of them have it; the sender does.
    pub delivered: u32,
    /// Payloads that were received, duplicates and all.
    pub payloads: u64,
    /// The hops of the longest way on which it was first received (LDH). The first send is hop 1.
    pub last_hop: u16,
    /// The time until the last node had it.
    pub duration: Duration,
    /// How many nodes have it after how many hops.
    pub by_hop: Vec<u32>,
    #[serde(skip)]
    pub(super) sent_at: Time,
    /// Who counts: all that ran when it was sent, and have not failed since.
    #[serde(skip)]
    counted: Flags,
    /// Who of them has it.
    #[serde(skip)]
    seen: Flags,
    /// Who got it from whom, and when, where that is wanted.
    #[serde(skip)]
    pub(super) tree: Option<Vec<(NodeId, NodeId, Time)>>,
}

/// A flag for each node.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags(Vec<u64>);

impl Flags {
    /// Flags of so many nodes, none of which is set.
    fn of(nodes: usize) -> Self {
        Self(vec![0; nodes.div_ceil(64)])
    }

    /// Makes room for so many nodes.
    pub(super) fn grow(&mut self, nodes: usize) {
        self.0.resize(nodes.div_ceil(64), 0);
    }

    pub(super) fn is_set(&self, node: NodeId) -> bool {
        let word = self.0.get(node.index() / 64);
        word.is_some_and(|word| word & 1 << (node.index() % 64) != 0)
    }

    /// Sets a flag or clears it, and says whether that changed it. There may be no such node.
    pub(super) fn set(&mut self, node: NodeId, flag: bool) -> bool {
        let bit = 1 << (node.index() % 64);
        let Some(word) = self.0.get_mut(node.index() / 64) else {
            return false;
        };
        let changes = (*word & bit != 0) != flag;
        if changes {
            *word ^= bit;
        }
        changes
    }
}

impl Broadcast {
    /// A message of `from`, of which nobody has heard yet, with who runs.
    pub(super) fn new(
        from: NodeId,
        nodes: u32,
        running: &Flags,
        sent_at: Time,
        trace: bool,
    ) -> Self {
        let mut new = Self {
            from,
            nodes,
            delivered: 0,
            payloads: 0,
            last_hop: 0,
            duration: Duration::ZERO,
            by_hop: Vec::new(),
            sent_at,
            counted: running.clone(),
            seen: Flags::of(64 * running.0.len()),
            tree: trace.then(Vec::new),
        };
        // A sender that does not run sends nothing.
        new.delivered = u32::from(new.mark(from));
        new.by_hop.push(new.delivered);
        new
    }

    /// Notes a node, and says whether it counts and is new.
    fn mark(&mut self, node: NodeId) -> bool {
        self.counted.is_set(node) && self.seen.set(node, true)
    }

    pub(super) fn deliver(&mut self, to: NodeId, from: NodeId, hop: u16, at: Time) {
        if !self.mark(to) {
            return;
        }
        self.delivered += 1;
        self.last_hop = self.last_hop.max(hop);
        self.duration = Duration::from_micros(at - self.sent_at);
        if self.by_hop.len() <= usize::from(hop) {
            self.by_hop.resize(usize::from(hop) + 1, 0);
        }
        self.by_hop[usize::from(hop)] += 1;
        if let Some(tree) = &mut self.tree {
            tree.push((to, from, at - self.sent_at));
        }
    }

    /// Takes a node that has failed out of the count, for good: it forgets the message.
    pub(super) fn fail(&mut self, node: NodeId) {
        if self.counted.set(node, false) {
            self.nodes -= 1;
            self.delivered -= u32::from(self.seen.is_set(node));
        }
    }

    /// Forgets who has it: nothing more is counted.
    pub(super) fn close(&mut self) {
        (self.counted, self.seen) = Default::default();
    }

    /// Whether everyone has it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// network.run_for(Duration::from_secs(5));
    /// let broadcast = network.message(message).expect("it was sent");
    /// assert!(broadcast.is_complete());
    /// # Ok::<_, String>(())
    /// ```
    pub fn is_complete(&self) -> bool {
        self.delivered >= self.nodes
    }

    /// The share of nodes that have it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// network.run_for(Duration::from_secs(5));
    /// let broadcast = network.message(message).expect("it was sent");
    /// assert_eq!(broadcast.reliability(), 1.0);
    /// # Ok::<_, String>(())
    /// ```
    pub fn reliability(&self) -> f64 {
        f64::from(self.delivered) / f64::from(self.nodes.max(1))
    }

    /// How many nodes do not have it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// network.run_for(Duration::from_secs(5));
    /// let broadcast = network.message(message).expect("it was sent");
    /// assert_eq!(broadcast.missed(), 0);
    /// # Ok::<_, String>(())
    /// ```
    pub fn missed(&self) -> u32 {
        self.nodes.saturating_sub(self.delivered)
    }

    /// The relative message redundancy: payloads beyond the one that each receiver needs, per
    /// receiver.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// network.run_for(Duration::from_secs(5));
    /// let broadcast = network.message(message).expect("it was sent");
    /// // The first message floods the swarm and leaves a tree behind.
    /// assert!(broadcast.rmr() > 0.0);
    /// # Ok::<_, String>(())
    /// ```
    pub fn rmr(&self) -> f64 {
        match self.delivered.saturating_sub(1) {
            0 => 0.0,
            receivers => self.payloads as f64 / f64::from(receivers) - 1.0,
        }
    }

    /// Who got it from whom and after what time, if the network was told to
    /// [trace](super::Network::trace).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.trace(true);
    /// let message = network.broadcast(nodes[3], 64);
    /// network.run_for(Duration::from_secs(5));
    /// let broadcast = network.message(message).expect("it was sent");
    /// let tree = broadcast.tree().expect("it was traced");
    /// assert_eq!(tree.count(), nodes.len() - 1);
    /// # Ok::<_, String>(())
    /// ```
    pub fn tree(&self) -> Option<impl Iterator<Item = (NodeId, NodeId, Duration)>> {
        let steps = self.tree.as_ref()?.iter();
        Some(steps.map(|(to, from, after)| (*to, *from, Duration::from_micros(*after))))
    }
}

/// The shortest content, in bytes: it says which message it is.
pub(super) const SHORTEST: usize = size_of::<u64>();

/// Content that says which message it is.
pub(super) fn content(message: MessageIndex, len: usize) -> Bytes {
    let mut content = (message as u64).to_le_bytes().to_vec();
    content.resize(len.max(SHORTEST), 0);
    content.into()
}

/// Which message some content belongs to.
pub(super) fn message_of(content: &[u8]) -> Option<MessageIndex> {
    let (number, _) = content.split_first_chunk()?;
    usize::try_from(u64::from_le_bytes(*number)).ok()
}
