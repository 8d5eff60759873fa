//! Nodes, what is between them, and time.

mod failure;
mod look;
mod transport;

use std::time::{Duration, Instant};

use bytes::Bytes;

use slab::Slab;

use super::{
    Broadcast, Chance, END, MessageIndex, NetworkConfig, NodeId, Time, Traffic,
    broadcast::{Flags, content, message_of},
    links::Links,
    micros,
    queue::Queue,
};
use crate::proto::{
    Command, Event, InEvent, Limits, Message, OutEvent, Outbox, Parameters, PeerData, Scope, State,
    TimerId, TopicId, plumtree::DeliveryScope, topic::Received,
};

/// The one topic that all nodes are in.
pub(super) const TOPIC: TopicId = TopicId::from_bytes([0; 32]);

/// Nodes, what is between them, and time.
///
/// Nothing happens unless time passes: see [`Self::run_for`]. A node that was never added is one that
/// does not run: it does nothing, and nothing happens to it.
#[derive(Clone, Debug)]
pub struct Network {
    config: NetworkConfig,
    /// The longest jitter.
    jitter: Time,
    parameters: Parameters,
    seed: u64,
    /// The instant that the nodes take the beginning for.
    epoch: Instant,
    now: Time,
    queue: Queue<Occurrence>,
    /// What is under way about connections.
    news: Slab<News>,
    nodes: Vec<Node>,
    running: u32,
    /// Which ones do.
    runs: Flags,
    /// Messages under way.
    parcels: Slab<Parcel>,
    /// How many of them belong to the broadcast layer.
    gossip_under_way: u64,
    next_link: u32,
    rng: Chance,
    outbox: Outbox<NodeId>,
    traffic: Traffic,
    messages: Vec<Broadcast>,
    trace: bool,
}

/// A node, or the place of one that has failed.
#[derive(Clone, Debug)]
struct Node {
    state: Option<Box<State<NodeId>>>,
    links: Links,
    /// The one timer.
    timer: TimerId,
    /// When it is due, and `Time::MAX` while it is not set.
    due: Time,
    wakeups: Wakeups,
    /// The side of a split network that it is on.
    side: u8,
}

/// When the queue has events for the timer of a node, the latest first and `Time::MAX` where there
/// is none. A timer that is moved to a later time is not taken out of the queue, it just finds nothing
/// to do. Of more events than there is room for, the latest are not remembered.
#[derive(Clone, Copy, Debug)]
struct Wakeups([Time; 3]);

impl Wakeups {
    const NONE: Self = Self([Time::MAX; 3]);

    /// Notes an event before all others, and says whether it was not there.
    fn add(&mut self, at: Time) -> bool {
        let [_, second, earliest] = self.0;
        let adds = at < earliest;
        if adds {
            self.0 = [second, earliest, at];
        }
        adds
    }

    /// An event has happened. Returns whether it was remembered.
    fn take(&mut self, at: Time) -> bool {
        let [latest, second, earliest] = self.0;
        let known = at == earliest;
        if known {
            self.0 = [Time::MAX, latest, second];
        }
        known
    }
}

/// What is going to happen. There are millions, so this is small.
#[derive(Clone, Copy, Debug)]
enum Occurrence {
    /// A timer may be due.
    Wakeup(NodeId),
    /// A message arrives: its place among the parcels.
    Parcel(u32),
    /// News of a connection arrives: its place among the news.
    News(u32),
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
enum News {
    /// A dial arrives.
    Dial { from: NodeId, to: NodeId, link: u32 },
    /// A node notices the end of a connection.
    Closed {
        at: NodeId,
        other: NodeId,
        link: u32,
    },
    /// A node notices that a dial has come to nothing.
    Refused {
        at: NodeId,
        other: NodeId,
        link: u32,
    },
}

/// A message under way.
#[derive(Clone, Debug)]
struct Parcel {
    from: NodeId,
    to: NodeId,
    link: u32,
    message: Message<NodeId>,
}

impl Network {
    /// A network without nodes. Fails where the configuration makes no sense.
    ///
    /// The nodes count time from `epoch`; which instant that is makes no difference.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// let network = Network::new(NetworkConfig::default(), 7, epoch)?;
    /// assert!(network.is_empty());
    /// # Ok::<_, String>(())
    /// ```
    pub fn new(config: NetworkConfig, seed: u64, epoch: Instant) -> Result<Self, String> {
        config.check()?;
        if epoch.checked_add(Duration::from_micros(END)).is_none() {
            return Err("epoch: there are not enough instants behind it".into());
        }
        let parameters = Parameters::new(config.proto.clone(), Limits::default())
            .map_err(|error| format!("proto: {error}"))?;
        Ok(Self {
            jitter: micros(config.jitter),
            config,
            parameters,
            seed,
            epoch,
            now: 0,
            queue: Queue::new(),
            news: Slab::new(),
            nodes: Vec::new(),
            running: 0,
            runs: Flags::default(),
            parcels: Slab::new(),
            gossip_under_way: 0,
            next_link: 0,
            rng: Chance::new(seed),
            outbox: Outbox::new(),
            traffic: Traffic::default(),
            messages: Vec::new(),
            trace: false,
        })
    }

    /// Changes how failures are noticed from now on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// use smol_gossip::sim::Noticed;
    ///
    /// network.set_noticed(Noticed::OnSend);
    /// assert_eq!(network.config().noticed, Noticed::OnSend);
    /// # Ok::<_, String>(())
    /// ```
    pub fn set_noticed(&mut self, noticed: super::Noticed) {
        self.config.noticed = noticed;
    }

    /// Sets the bounds of nodes that are added or restarted from now on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// use smol_gossip::proto::Limits;
    ///
    /// let mut limits = Limits::default();
    /// limits.cache_bytes = 64 * 1024;
    /// network.set_limits(limits);
    /// network.add(10);
    /// # Ok::<_, String>(())
    /// ```
    pub fn set_limits(&mut self, limits: Limits) {
        self.parameters = Parameters::new(self.config.proto.clone(), limits)
            .expect("the configuration was checked, and bounds are put right");
    }

    /// From now on, keeps of each message who got it from whom.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
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
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// let nodes = network.add(10);
    /// assert_eq!(nodes.len(), network.running());
    /// # Ok::<_, String>(())
    /// ```
    pub fn add(&mut self, count: u32) -> Vec<NodeId> {
        let first = self.nodes.len() as u32;
        // So many as there are numbers for.
        let count = count.min(u32::MAX - first);
        self.nodes.reserve_exact(count as usize);
        self.runs.grow(self.nodes.len() + count as usize);
        for number in first..first + count {
            self.runs.set(NodeId(number), true);
            let state = self.new_state(NodeId(number));
            self.nodes.push(Node {
                state: Some(state),
                links: Links::default(),
                timer: TimerId {
                    slot: 0,
                    generation: 0,
                },
                due: Time::MAX,
                wakeups: Wakeups::NONE,
                side: 0,
            });
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
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
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
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
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
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// network.run_for(Duration::from_secs(5));
    /// assert!(network.message(message).is_some_and(|m| m.is_complete()));
    /// # Ok::<_, String>(())
    /// ```
    pub fn broadcast(&mut self, from: NodeId, len: usize) -> MessageIndex {
        let message = self.messages.len();
        let new = Broadcast::new(from, self.running, &self.runs, self.now, self.trace);
        self.messages.push(new);
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
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
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
        for message in self.messages.iter_mut().rev() {
            message.close();
        }
    }

    /// Lets time pass.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// network.run_for(Duration::from_secs(60));
    /// assert_eq!(network.elapsed(), Duration::from_secs(60));
    /// # Ok::<_, String>(())
    /// ```
    pub fn run_for(&mut self, duration: Duration) {
        let end = (self.now + micros(duration)).min(END);
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until all messages since `first` are everywhere and nothing of the broadcast
    /// layer is under way any more, but no more than `limit`. Returns whether that came about.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip::sim::{Network, NetworkConfig};
    /// # let epoch = std::time::Instant::now();
    /// # let mut network = Network::new(NetworkConfig::default(), 1, epoch)?;
    /// # let nodes = network.add(20);
    /// # nodes.iter().for_each(|node| network.join(*node, &nodes[..1]));
    /// # network.run_for(Duration::from_secs(20));
    /// let message = network.broadcast(nodes[3], 64);
    /// assert!(network.run_until_quiet(message, Duration::from_secs(30)));
    /// # Ok::<_, String>(())
    /// ```
    pub fn run_until_quiet(&mut self, first: MessageIndex, limit: Duration) -> bool {
        let end = (self.now + micros(limit)).min(END);
        // Messages are completed in no particular order; those before this one are.
        let mut complete = first;
        loop {
            while self
                .messages
                .get(complete)
                .is_some_and(Broadcast::is_complete)
            {
                complete += 1;
            }
            if complete == self.messages.len() && self.gossip_under_way == 0 {
                return true;
            }
            if !self.step(end) {
                self.now = end;
                return false;
            }
        }
    }

    /// Lets the next thing happen, unless that is after `end`.
    fn step(&mut self, end: Time) -> bool {
        let Some((at, occurrence)) = self.queue.pop_until(end) else {
            return false;
        };
        self.now = at;
        self.traffic.events += 1;
        match occurrence {
            Occurrence::Wakeup(node) => self.wake(node),
            Occurrence::Parcel(parcel) => {
                let parcel = self.parcels.remove(parcel as usize);
                self.arrive(parcel);
            }
            Occurrence::News(place) => match self.news.remove(place as usize) {
                News::Dial { from, to, link } => self.accept(from, to, link),
                News::Closed { at, other, link } => self.lose_link(at, other, link, false),
                News::Refused { at, other, link } => self.lose_link(at, other, link, true),
            },
        }
        true
    }

    /// Lets news of a connection arrive at some time.
    fn announce(&mut self, at: Time, news: News) {
        let place = self.news.insert(news);
        self.queue.push(at, Occurrence::News(place as u32));
    }

    /// A timer may be due.
    fn wake(&mut self, at: NodeId) {
        let node = &mut self.nodes[at.index()];
        let known = node.wakeups.take(self.now);
        let (timer, due) = (node.timer, node.due);
        if !known || due == Time::MAX {
            return;
        }
        if due <= self.now {
            node.due = Time::MAX;
            self.feed(at, InEvent::TimerExpired(timer));
        } else {
            self.schedule_wakeup(at, due);
        }
    }

    /// Sees to it that there is an event for the timer at `due` or before.
    fn schedule_wakeup(&mut self, at: NodeId, due: Time) {
        if self.nodes[at.index()].wakeups.add(due) {
            self.queue.push(due, Occurrence::Wakeup(at));
        }
    }

    /// Gives a node something to do, and carries out what it wants.
    fn feed(&mut self, at: NodeId, event: InEvent<NodeId>) {
        let node = self.nodes.get_mut(at.index());
        let Some(state) = node.and_then(|node| node.state.as_mut()) else {
            return;
        };
        let now = self.epoch + Duration::from_micros(self.now);
        state.handle(event, now, &mut self.rng, &mut self.outbox);
        self.carry_out(at);
    }

    /// Hands a node a message, and carries out what it wants.
    fn deliver(&mut self, at: NodeId, received: Received<NodeId>) {
        let node = self.nodes.get_mut(at.index());
        let Some(state) = node.and_then(|node| node.state.as_mut()) else {
            return;
        };
        let now = self.epoch + Duration::from_micros(self.now);
        state.receive(TOPIC, received, now, &mut self.rng, &mut self.outbox);
        self.carry_out(at);
    }

    /// Carries out what a node wants.
    fn carry_out(&mut self, at: NodeId) {
        while let Some(event) = self.outbox.pop_front() {
            match event {
                OutEvent::SendMessage { to, message, .. } => self.send(at, to, message),
                OutEvent::EmitEvent(_, event) => self.notice(at, event),
                OutEvent::SetTimer(timer, deadline) => {
                    let due = self.time_of(deadline);
                    let node = &mut self.nodes[at.index()];
                    (node.timer, node.due) = (timer, due);
                    self.schedule_wakeup(at, due);
                }
                OutEvent::CancelTimer(_) => self.nodes[at.index()].due = Time::MAX,
                OutEvent::DisconnectPeer(other) => self.close(at, other),
                OutEvent::PeerData(..) => {}
            }
        }
    }

    /// Rounded up, since a timer must not be early.
    fn time_of(&self, instant: Instant) -> Time {
        let since = instant.saturating_duration_since(self.epoch);
        since.as_secs() * 1_000_000 + u64::from(since.subsec_nanos().div_ceil(1_000))
    }

    fn notice(&mut self, at: NodeId, event: Event<NodeId>) {
        match event {
            Event::Received(event) => {
                if let DeliveryScope::Swarm(round) = event.scope
                    && let Some(message) = message_of(&event.content)
                    && let Some(message) = self.messages.get_mut(message)
                {
                    message.deliver(at, event.delivered_from, round.hops() + 1, self.now);
                }
            }
            Event::NeighborUp(_) | Event::NeighborDown(_) => {}
        }
    }
}
