//! Nodes, what is between them, and time.

mod failure;
mod ground;
mod look;
mod transport;

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;

use self::ground::{Exit, Ground, News, Occurrence, Parcel};
use super::{
    Broadcast, Chance, END, MessageIndex, NetworkConfig, NodeId, Time, broadcast::content, micros,
};
use crate::proto::{Command, InEvent, Limits, Parameters, PeerData, Scope, State, TopicId};

/// The one topic that all nodes are in.
pub(super) const TOPIC: TopicId = TopicId::from_bytes([0; 32]);

/// Nodes, what is between them, and time.
///
/// Nothing happens unless time passes: see [`Self::run_for`]. A node that was never added is one that
/// does not run: it does nothing, and nothing happens to it.
#[derive(Clone, Debug)]
pub struct Network {
    parameters: Parameters,
    /// `None` where a node has failed.
    states: Vec<Option<Box<State<NodeId>>>>,
    running: u32,
    /// What the nodes decide by.
    rng: Chance,
    ground: Ground,
    trace: bool,
}

impl Network {
    /// A network without nodes. Fails where the configuration makes no sense.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// let network = Network::new(NetworkConfig::default(), 7)?;
    /// assert!(network.is_empty());
    /// # Ok::<_, String>(())
    /// ```
    pub fn new(config: NetworkConfig, seed: u64) -> Result<Self, String> {
        config.check()?;
        let parameters = Parameters::new(config.proto.clone(), Limits::default())
            .map_err(|error| format!("proto: {error}"))?;
        let mut rng = Chance::new(seed);
        let ground = Ground::new(config, seed, Chance::new(rng.random()));
        Ok(Self {
            parameters,
            states: Vec::new(),
            running: 0,
            rng,
            ground,
            trace: false,
        })
    }

    /// Changes how failures are noticed from now on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// use smol_gossip::sim::Noticed;
    ///
    /// network.set_noticed(Noticed::OnSend);
    /// assert_eq!(network.config().noticed, Noticed::OnSend);
    /// # Ok::<_, String>(())
    /// ```
    pub fn set_noticed(&mut self, noticed: super::Noticed) {
        self.ground.config.noticed = noticed;
    }

    /// Sets the bounds of nodes that are added or restarted from now on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// use smol_gossip::proto::Limits;
    ///
    /// let mut limits = Limits::default();
    /// limits.cache_bytes = 64 * 1024;
    /// network.set_limits(limits);
    /// network.add(10);
    /// # Ok::<_, String>(())
    /// ```
    pub fn set_limits(&mut self, limits: Limits) {
        self.parameters = Parameters::new(self.ground.config.proto.clone(), limits)
            .expect("the configuration was checked, and bounds are put right");
    }

    /// From now on, keeps of each message who got it from whom.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.trace(true);
    /// let message = network.broadcast(nodes[0], 64);
    /// assert!(network.message(message).is_some_and(|m| m.tree().is_some()));
    /// # Ok::<_, String>(())
    /// ```
    pub fn trace(&mut self, trace: bool) {
        self.trace = trace;
    }

    /// Adds nodes, which do nothing yet. The numbers of nodes are consecutive.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// let nodes = network.add(10);
    /// assert_eq!(nodes.len(), network.running());
    /// # Ok::<_, String>(())
    /// ```
    pub fn add(&mut self, count: u32) -> Vec<NodeId> {
        let first = self.states.len() as u32;
        // So many as there are numbers for.
        let count = count.min(u32::MAX - first);
        self.states.reserve_exact(count as usize);
        self.ground.grow(count as usize);
        for number in first..first + count {
            self.ground.runs.set(NodeId(number), true);
            let state = self.new_state(NodeId(number));
            self.states.push(Some(state));
        }
        self.running += count;
        (first..first + count).map(NodeId).collect()
    }

    fn new_state(&mut self, node: NodeId) -> Box<State<NodeId>> {
        let parameters = self.parameters.clone();
        let data = PeerData::default();
        Box::new(State::with_parameters(
            node,
            data,
            parameters,
            &mut self.rng,
        ))
    }

    /// Lets a node take part, through some contacts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// let nodes = network.add(2);
    /// for node in &nodes {
    ///     network.join(*node, &nodes[..1]);
    /// }
    /// network.run_for(Duration::from_secs(1));
    /// assert!(network.neighbors(nodes[0]).eq([nodes[1]]));
    /// # Ok::<_, String>(())
    /// ```
    pub fn join(&mut self, node: NodeId, contacts: &[NodeId]) {
        let command = Command::Join(contacts.to_vec());
        self.feed(node, InEvent::Command(TOPIC, command));
    }

    /// Lets a node take leave of the others.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// network.quit(nodes[3]);
    /// network.run_for(Duration::from_secs(1));
    /// assert!(network.neighbors(nodes[0]).all(|node| node != nodes[3]));
    /// # Ok::<_, String>(())
    /// ```
    pub fn quit(&mut self, node: NodeId) {
        self.feed(node, InEvent::Command(TOPIC, Command::Quit));
    }

    /// Lets a node send a message of some length to all others; at least eight bytes. One that is
    /// longer than messages may be goes to nobody.
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
    /// assert!(network.message(message).is_some_and(|m| m.is_complete()));
    /// # Ok::<_, String>(())
    /// ```
    pub fn broadcast(&mut self, from: NodeId, len: usize) -> MessageIndex {
        let ground = &mut self.ground;
        let message = ground.messages.len();
        let new = Broadcast::new(from, self.running, &ground.runs, ground.now, self.trace);
        ground.messages.push(new);
        let longest = self.parameters.config().max_message_size;
        let content: Bytes = content(message, len.min(longest));
        let command = Command::Broadcast(content, Scope::Swarm);
        self.feed(from, InEvent::Command(TOPIC, command));
        message
    }

    /// Stops following the messages that were sent so far, and frees what that took.
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
    /// network.close_messages();
    /// assert_eq!(network.messages().len(), 1);
    /// # Ok::<_, String>(())
    /// ```
    pub fn close_messages(&mut self) {
        for message in self.ground.messages.iter_mut().rev() {
            message.close();
        }
    }

    /// Lets time pass.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// network.run_for(Duration::from_secs(60));
    /// assert_eq!(network.elapsed(), Duration::from_secs(60));
    /// # Ok::<_, String>(())
    /// ```
    pub fn run_for(&mut self, duration: Duration) {
        let end = (self.ground.now + micros(duration)).min(END);
        while self.step(end) {}
        self.ground.now = end;
    }

    /// Lets time pass until all messages since `first` are everywhere and nothing of the broadcast
    /// layer is under way any more, but no more than `limit`. Returns whether that came about.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let mut network = Network::new(NetworkConfig::default(), 1)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// assert!(network.run_until_quiet(message, Duration::from_secs(30)));
    /// # Ok::<_, String>(())
    /// ```
    pub fn run_until_quiet(&mut self, first: MessageIndex, limit: Duration) -> bool {
        let end = (self.ground.now + micros(limit)).min(END);
        // Messages are completed in no particular order; those before this one are.
        let mut complete = first;
        loop {
            if self.ground.gossip_under_way == 0 {
                let messages = &self.ground.messages;
                while messages.get(complete).is_some_and(Broadcast::is_complete) {
                    complete += 1;
                }
                if complete == messages.len() {
                    return true;
                }
            }
            if !self.step(end) {
                self.ground.now = end;
                return false;
            }
        }
    }

    /// Lets the next thing happen, unless that is after `end`.
    fn step(&mut self, end: Time) -> bool {
        let ground = &mut self.ground;
        let Some((at, occurrence)) = ground.queue.pop_until(end) else {
            return false;
        };
        ground.now = at;
        ground.traffic.events += 1;
        match occurrence {
            Occurrence::Wakeup(node) => {
                if let Some(timer) = ground.take_due(node) {
                    self.feed(node, InEvent::TimerExpired(timer));
                }
            }
            Occurrence::Parcel(parcel) => {
                let parcel = ground.parcels.remove(parcel as usize);
                self.arrive(parcel);
            }
            Occurrence::News(place) => match ground.news.remove(place as usize) {
                News::Dial { from, to, link } => ground.accept(from, to, link),
                News::Closed { at, other, link } => self.lose_link(at, other, link, false),
                News::Refused { at, other, link } => self.lose_link(at, other, link, true),
            },
        }
        true
    }

    /// Gives a node something to do.
    fn feed(&mut self, node: NodeId, event: InEvent<NodeId>) {
        if let Some(Some(state)) = self.states.get_mut(node.index()) {
            let ground = &mut self.ground;
            let now = ground.clock();
            state.take(event, now, &mut self.rng, &mut Exit { ground, node });
        }
    }

    /// A message arrives.
    fn arrive(&mut self, parcel: Parcel) {
        let ground = &mut self.ground;
        if !ground.lets_in(&parcel) {
            return;
        }
        let node = parcel.to;
        if let Some(Some(state)) = self.states.get_mut(node.index()) {
            let now = ground.clock();
            let mut exit = Exit { ground, node };
            state.take_message(TOPIC, parcel.received, now, &mut self.rng, &mut exit);
        }
    }

    /// A node notices the end of a connection.
    fn lose_link(&mut self, at: NodeId, other: NodeId, link: u32, refused: bool) {
        if self.ground.forget_link(at, other, link) {
            self.feed(
                at,
                match refused {
                    true => InEvent::DialFailed(other),
                    false => InEvent::PeerDisconnected(other),
                },
            );
        }
    }
}
