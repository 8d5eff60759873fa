//! Nodes that fail and come back, and networks that split.

use super::{Network, NodeId, ground::News};
use crate::sim::{Noticed, Time};

impl Network {
    /// Ends a node without a word to anyone. How the others find out is a matter of
    /// [`Noticed`]. The messages that were broadcast do not count it any more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.kill(nodes[3]);
    /// network.run_for(Duration::from_secs(5));
    /// assert!(network.neighbors(nodes[0]).all(|node| node != nodes[3]));
    /// # Ok::<_, String>(())
    /// ```
    pub fn kill(&mut self, node: NodeId) {
        let state = self.states.get_mut(node.index());
        if state.and_then(Option::take).is_none() {
            return;
        }
        let ground = &mut self.ground;
        let place = &mut ground.places[node.index()];
        place.due = Time::MAX;
        let links = place.links.take();
        self.running -= 1;
        ground.runs.set(node, false);
        for message in &mut ground.messages {
            message.fail(node);
        }
        if ground.config.noticed == Noticed::AtOnce {
            for link in links {
                let closed = News::Closed {
                    at: link.peer,
                    other: node,
                    link: link.number,
                };
                ground.announce(ground.now + Time::from(link.latency), closed);
            }
        }
    }

    /// Starts a node again that has failed, without any memory. It does nothing before it
    /// [joins](Self::join).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.kill(nodes[3]);
    /// network.restart(nodes[3]);
    /// network.join(nodes[3], &nodes[..1]);
    /// network.run_for(Duration::from_secs(5));
    /// assert!(network.neighbors(nodes[3]).count() > 0);
    /// # Ok::<_, String>(())
    /// ```
    pub fn restart(&mut self, node: NodeId) {
        if node.index() < self.states.len() && !self.is_running(node) {
            let state = self.new_state(node);
            self.states[node.index()] = Some(state);
            self.running += 1;
            self.ground.runs.set(node, true);
        }
    }

    /// Puts nodes on a side of their own: no message crosses from one side to another. At first
    /// all nodes are on side 0.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.split(nodes[..8].iter().copied(), 1);
    /// network.run_for(Duration::from_secs(30));
    /// let message = network.broadcast(nodes[0], 64);
    /// network.run_for(Duration::from_secs(5));
    /// assert!(network.message(message).is_some_and(|m| m.delivered <= 8));
    /// # Ok::<_, String>(())
    /// ```
    pub fn split(&mut self, nodes: impl IntoIterator<Item = NodeId>, side: u8) {
        let ground = &mut self.ground;
        for node in nodes {
            if let Some(place) = ground.places.get_mut(node.index()) {
                place.side = side;
            }
        }
        if ground.config.noticed != Noticed::AtOnce {
            return;
        }
        let mut closed = Vec::new();
        for (number, place) in ground.places.iter().enumerate() {
            for link in place.links.iter() {
                let other = ground.places.get(link.peer.index());
                if other.is_some_and(|other| other.side != place.side) {
                    let news = News::Closed {
                        at: NodeId(number as u32),
                        other: link.peer,
                        link: link.number,
                    };
                    closed.push((ground.now + Time::from(link.latency), news));
                }
            }
        }
        for (at, news) in closed {
            ground.announce(at, news);
        }
    }

    /// Makes the network whole again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.split(nodes[..8].iter().copied(), 1);
    /// network.run_for(Duration::from_secs(30));
    /// network.heal();
    /// // The two sides find each other again, since they remember.
    /// network.run_for(Duration::from_secs(240));
    /// let message = network.broadcast(nodes[0], 64);
    /// network.run_for(Duration::from_secs(5));
    /// assert!(network.message(message).is_some_and(|m| m.is_complete()));
    /// # Ok::<_, String>(())
    /// ```
    pub fn heal(&mut self) {
        for place in &mut self.ground.places {
            place.side = 0;
        }
    }
}
