//! What can be seen of a network. Nothing here changes anything.

use std::time::Duration;

use super::{Network, TOPIC};
use crate::{
    proto::State,
    sim::{Broadcast, MessageIndex, NetworkConfig, NodeId, Traffic},
};

impl Network {
    /// What the network is like.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// assert_eq!(network.config().handshake, 1);
    /// # Ok::<_, String>(())
    /// ```
    pub fn config(&self) -> &NetworkConfig {
        &self.ground.config
    }

    /// What became of a message; `None` where there was none.
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
    /// assert!(network.message(message).is_some());
    /// assert!(network.message(message + 1).is_none());
    /// # Ok::<_, String>(())
    /// ```
    pub fn message(&self, message: MessageIndex) -> Option<&Broadcast> {
        self.ground.messages.get(message)
    }

    /// What became of all messages, in the order in which they were sent.
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
    /// for broadcast in network.messages() {
    ///     println!("{:.3} after {:?}", broadcast.reliability(), broadcast.duration);
    /// }
    /// # Ok::<_, String>(())
    /// ```
    pub fn messages(&self) -> &[Broadcast] {
        &self.ground.messages
    }

    /// What went over the network so far.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let traffic = network.traffic();
    /// println!("{} membership messages, {} dials", traffic.membership(), traffic.dials);
    /// # Ok::<_, String>(())
    /// ```
    pub fn traffic(&self) -> &Traffic {
        &self.ground.traffic
    }

    /// The time that has passed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// assert_eq!(network.elapsed(), Duration::from_secs(20));
    /// # Ok::<_, String>(())
    /// ```
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.ground.now)
    }

    /// How many nodes there are, those that failed included.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.kill(nodes[3]);
    /// assert_eq!((network.len(), network.running()), (20, 19));
    /// # Ok::<_, String>(())
    /// ```
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether no node was ever added.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// assert!(network.is_empty());
    /// network.add(1);
    /// assert!(!network.is_empty());
    /// # Ok::<_, String>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// How many nodes run.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// assert_eq!(network.running(), 20);
    /// # Ok::<_, String>(())
    /// ```
    pub fn running(&self) -> usize {
        self.running as usize
    }

    /// Whether a node runs.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.kill(nodes[3]);
    /// assert!(!network.is_running(nodes[3]));
    /// # Ok::<_, String>(())
    /// ```
    pub fn is_running(&self, node: NodeId) -> bool {
        self.state(node).is_some()
    }

    /// The nodes that run.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.kill(nodes[3]);
    /// assert!(network.nodes().all(|node| node != nodes[3]));
    /// # Ok::<_, String>(())
    /// ```
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let all = (0..self.states.len() as u32).map(NodeId);
        all.filter(|node| self.is_running(*node))
    }

    /// The state of a node that runs, to look at: it is in the time of the network, which is none that a
    /// caller's instants could go on from.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let state = network.state(nodes[3]).expect("it runs");
    /// assert_eq!(state.counters().invalid_id, 0);
    /// # Ok::<_, String>(())
    /// ```
    pub fn state(&self, node: NodeId) -> Option<&State<NodeId>> {
        self.states.get(node.index())?.as_deref()
    }

    /// The neighbors of a node, in its own view; none of one that does not run.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// assert!(network.neighbors(nodes[3]).count() <= 5);
    /// # Ok::<_, String>(())
    /// ```
    pub fn neighbors(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let state = self.state(node).into_iter();
        state.flat_map(|state| state.neighbors(&TOPIC)).copied()
    }

    /// The passive view of a node.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// assert!(network.passive_view(nodes[3]).count() <= 30);
    /// # Ok::<_, String>(())
    /// ```
    pub fn passive_view(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let topic = self.state(node).and_then(|state| state.topic(&TOPIC));
        topic
            .into_iter()
            .flat_map(|topic| topic.passive_view())
            .copied()
    }

    /// The neighbors of a node that it sends payloads to.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let eager = network.eager(nodes[3]).count();
    /// assert!(eager <= network.neighbors(nodes[3]).count());
    /// # Ok::<_, String>(())
    /// ```
    pub fn eager(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let topic = self.state(node).and_then(|state| state.topic(&TOPIC));
        topic.into_iter().flat_map(|topic| topic.eager()).copied()
    }

    /// How many events wait in the queue.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// // At least the Shuffle of each node.
    /// assert!(network.pending() >= 20);
    /// # Ok::<_, String>(())
    /// ```
    pub fn pending(&self) -> usize {
        self.ground.queue.len()
    }
}
