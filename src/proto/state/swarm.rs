//! A small swarm of protocol states in virtual time, for tests.
//!
//! Nodes are joined by connections with latency; within one direction of a pair nothing is
//! reordered, and nothing is lost while a connection lasts. Nodes can crash and come back, and
//! the network can be split. Every output of every node is held against the invariants of
//! [`State`], and written to a trace, so that two runs can be compared byte by byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::proto::{
    Command, Config, Event, InEvent, Limits, LinkId, Message, OutEvent, Outbox, Scope, State,
    TimerId, TopicId, wire,
};

pub(crate) type Peer = u32;

/// The beginning of time.
pub(crate) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "no test waits for this clock")]
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn topic(name: u8) -> TopicId {
    TopicId::from_bytes([name; 32])
}

/// All nodes, and what is under way between them.
pub(crate) struct Swarm {
    now: Instant,
    nodes: BTreeMap<Peer, Node>,
    /// What is going to happen, in order. The number keeps what happens at once in order.
    upcoming: BTreeMap<(Instant, u64), Occurrence>,
    count: u64,
    /// When the last that one node sent to another arrives.
    last_arrival: BTreeMap<(Peer, Peer), Instant>,
    links: u64,
    /// Nodes that are cut off from all nodes outside this set, and those from them.
    island: BTreeSet<Peer>,
    latency: Range<Duration>,
    config: Config,
    rng: StdRng,
    trace: Vec<u8>,
}

/// How long it takes to notice that a connection is dead, or that a dial came to nothing.
const DETECTION: Duration = Duration::from_secs(1);

struct Node {
    state: State<Peer>,
    rng: StdRng,
    timers: BTreeMap<TimerId, Instant>,
    /// Open connections, the newest last.
    links: BTreeMap<Peer, Vec<LinkId>>,
    /// Dials under way, with what is to be sent over them.
    dials: BTreeMap<Peer, Vec<(TopicId, Message<Peer>)>>,
    events: Vec<(TopicId, Event<Peer>)>,
}

enum Occurrence {
    Timer(Peer, TimerId),
    /// The end of a dial, one way or the other.
    Dialed {
        from: Peer,
        to: Peer,
    },
    Message {
        from: Peer,
        to: Peer,
        link: LinkId,
        topic: TopicId,
        message: Message<Peer>,
    },
    /// A node notices that a connection was closed, or broke.
    Closed {
        at: Peer,
        other: Peer,
        link: LinkId,
    },
}

impl Swarm {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_config(seed, Config::default())
    }

    pub(crate) fn with_config(seed: u64, config: Config) -> Self {
        Self {
            now: start(),
            nodes: BTreeMap::new(),
            upcoming: BTreeMap::new(),
            count: 0,
            last_arrival: BTreeMap::new(),
            links: 0,
            island: BTreeSet::new(),
            latency: ms(5)..ms(40),
            config,
            rng: StdRng::seed_from_u64(seed),
            trace: Vec::new(),
        }
    }

    /// Adds a node, or starts one again that was killed.
    pub(crate) fn start(&mut self, peer: Peer) {
        let mut rng = StdRng::from_rng(&mut self.rng);
        let config = self.config.clone();
        let state = State::new(
            peer,
            Default::default(),
            config,
            Limits::default(),
            &mut rng,
        );
        let node = Node {
            state: state.expect("the configuration is valid"),
            rng,
            timers: BTreeMap::new(),
            links: BTreeMap::new(),
            dials: BTreeMap::new(),
            events: Vec::new(),
        };
        let before = self.nodes.insert(peer, node);
        assert!(before.is_none(), "{peer} runs already");
    }

    /// Ends a node without a word to anyone.
    pub(crate) fn kill(&mut self, peer: Peer) {
        let node = self.nodes.remove(&peer).expect("the node runs");
        for (other, links) in node.links {
            for link in links {
                self.break_at(other, peer, link);
            }
        }
    }

    /// Cuts some nodes off from all others.
    pub(crate) fn split(&mut self, island: impl IntoIterator<Item = Peer>) {
        self.island = island.into_iter().collect();
        let mut broken = Vec::new();
        for (peer, node) in &self.nodes {
            for (other, links) in &node.links {
                if self.island.contains(peer) != self.island.contains(other) {
                    broken.extend(links.iter().map(|link| (*peer, *other, *link)));
                }
            }
        }
        for (at, other, link) in broken {
            self.break_at(at, other, link);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.island.clear();
    }

    pub(crate) fn join(&mut self, peer: Peer, topic: TopicId, through: &[Peer]) {
        self.command(peer, topic, Command::Join(through.to_vec()));
    }

    pub(crate) fn quit(&mut self, peer: Peer, topic: TopicId) {
        self.command(peer, topic, Command::Quit);
    }

    pub(crate) fn broadcast(&mut self, peer: Peer, topic: TopicId, content: impl Into<Bytes>) {
        let command = Command::Broadcast(content.into(), Scope::Swarm);
        self.command(peer, topic, command);
    }

    pub(crate) fn command(&mut self, peer: Peer, topic: TopicId, command: Command<Peer>) {
        self.feed(peer, InEvent::Command(topic, command));
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(entry) = self.upcoming.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), occurrence) = entry.remove_entry();
            self.now = at;
            self.happen(occurrence);
        }
        self.now = end;
    }

    pub(crate) fn state(&self, peer: Peer) -> &State<Peer> {
        &self.nodes[&peer].state
    }

    pub(crate) fn neighbors(&self, peer: Peer, topic: TopicId) -> BTreeSet<Peer> {
        self.state(peer).neighbors(&topic).copied().collect()
    }

    /// Whether two nodes have a connection.
    pub(crate) fn connected(&self, a: Peer, b: Peer) -> bool {
        let has = |a, b| {
            self.nodes
                .get(a)
                .is_some_and(|n: &Node| n.links.contains_key(b))
        };
        has(&a, &b) && has(&b, &a)
    }

    /// What the application of a node was told of a topic, and forgets it.
    pub(crate) fn take_events(&mut self, peer: Peer, topic: TopicId) -> Vec<Event<Peer>> {
        let events = &mut self.nodes.get_mut(&peer).expect("the node runs").events;
        let (taken, kept) = std::mem::take(events)
            .into_iter()
            .partition(|(of, _)| *of == topic);
        *events = kept;
        let taken: Vec<(TopicId, Event<Peer>)> = taken;
        taken.into_iter().map(|(_, event)| event).collect()
    }

    /// What a node received in a topic since it was last asked, in order.
    pub(crate) fn take_received(&mut self, peer: Peer, topic: TopicId) -> Vec<Bytes> {
        let received = |event| match event {
            Event::Received(message) => Some(message.content),
            Event::NeighborUp(_) | Event::NeighborDown(_) => None,
        };
        let events = self.take_events(peer, topic);
        events.into_iter().filter_map(received).collect()
    }

    /// All output of all nodes so far.
    pub(crate) fn trace(&self) -> &[u8] {
        &self.trace
    }

    fn schedule(&mut self, at: Instant, occurrence: Occurrence) {
        self.count += 1;
        self.upcoming.insert((at, self.count), occurrence);
    }

    fn draw_latency(&mut self) -> Duration {
        self.rng.random_range(self.latency.clone())
    }

    /// When something that is sent now arrives.
    fn arrival(&mut self, from: Peer, to: Peer) -> Instant {
        let at = self.now + self.draw_latency();
        let last = self.last_arrival.entry((from, to)).or_insert(at);
        *last = at.max(*last);
        *last
    }

    fn can_reach(&self, a: Peer, b: Peer) -> bool {
        self.nodes.contains_key(&b) && self.island.contains(&a) == self.island.contains(&b)
    }

    fn break_at(&mut self, at: Peer, other: Peer, link: LinkId) {
        self.schedule(self.now + DETECTION, Occurrence::Closed { at, other, link });
    }

    fn happen(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Timer(peer, timer) => {
                let Some(node) = self.nodes.get_mut(&peer) else {
                    return;
                };
                if node.timers.get(&timer) == Some(&self.now) {
                    node.timers.remove(&timer);
                    self.feed(peer, InEvent::TimerExpired(timer));
                }
            }
            Occurrence::Dialed { from, to } => self.finish_dial(from, to),
            Occurrence::Message {
                from,
                to,
                link,
                topic,
                message,
            } => {
                let open = self.nodes.get(&to).and_then(|node| node.links.get(&from));
                let open = open.is_some_and(|links| links.contains(&link));
                if open && self.can_reach(from, to) {
                    let event = InEvent::RecvMessage {
                        from,
                        link,
                        topic,
                        message,
                    };
                    self.feed(to, event);
                }
            }
            Occurrence::Closed { at, other, link } => {
                let Some(node) = self.nodes.get_mut(&at) else {
                    return;
                };
                let Some(links) = node.links.get_mut(&other) else {
                    return;
                };
                let count = links.len();
                links.retain(|open| *open != link);
                if links.is_empty() && count > 0 {
                    node.links.remove(&other);
                    if !node.dials.contains_key(&other) {
                        self.feed(at, InEvent::PeerDisconnected(other));
                    }
                }
            }
        }
    }

    fn finish_dial(&mut self, from: Peer, to: Peer) {
        let reached = self.can_reach(from, to);
        let Some(node) = self.nodes.get_mut(&from) else {
            return;
        };
        let Some(queue) = node.dials.remove(&to) else {
            return;
        };
        if !reached {
            if !node.links.contains_key(&to) {
                self.feed(from, InEvent::DialFailed(to));
            }
            return;
        }
        self.links += 1;
        let link = LinkId(self.links);
        for (at, other) in [(from, to), (to, from)] {
            let node = self.nodes.get_mut(&at).expect("both run");
            node.links.entry(other).or_default().push(link);
        }
        for (topic, message) in queue {
            self.send(from, to, topic, message);
        }
        if !self.state(from).is_needed(&to) {
            self.close(from, to);
        }
    }

    fn send(&mut self, from: Peer, to: Peer, topic: TopicId, message: Message<Peer>) {
        let node = self.nodes.get_mut(&from).expect("who sends runs");
        if let Some(links) = node.links.get(&to) {
            let link = *links.last().expect("no list of connections is empty");
            let at = self.arrival(from, to);
            let occurrence = Occurrence::Message {
                from,
                to,
                link,
                topic,
                message,
            };
            self.schedule(at, occurrence);
            return;
        }
        let dialing = node.dials.contains_key(&to);
        node.dials.entry(to).or_default().push((topic, message));
        if !dialing {
            let takes = if self.can_reach(from, to) {
                2 * self.draw_latency()
            } else {
                DETECTION
            };
            let after = self.last_arrival.get(&(from, to)).copied();
            let at = (self.now + takes).max(after.unwrap_or(self.now));
            self.schedule(at, Occurrence::Dialed { from, to });
        }
    }

    /// One side closes, and the other notices after all that was sent.
    fn close(&mut self, by: Peer, other: Peer) {
        let node = self.nodes.get_mut(&by).expect("who closes runs");
        for link in node.links.remove(&other).unwrap_or_default() {
            let at = self.arrival(by, other);
            let closed = Occurrence::Closed {
                at: other,
                other: by,
                link,
            };
            self.schedule(at, closed);
        }
    }

    fn feed(&mut self, peer: Peer, event: InEvent<Peer>) {
        let node = self.nodes.get_mut(&peer).expect("who is fed runs");
        let mut out = Outbox::new();
        node.state.handle(event, self.now, &mut node.rng, &mut out);
        check(&node.state, &out);
        for event in out {
            self.note(peer, &event);
            self.carry_out(peer, event);
        }
    }

    fn note(&mut self, peer: Peer, event: &OutEvent<Peer>) {
        let at = self.now - start();
        let line = format!("{at:?} {peer} {event:?}\n");
        self.trace.extend_from_slice(line.as_bytes());
        if let OutEvent::SendMessage { message, .. } = event {
            let frame = wire::encode(message, usize::MAX).expect("every message has a frame");
            self.trace.extend_from_slice(&frame);
        }
    }

    fn carry_out(&mut self, peer: Peer, event: OutEvent<Peer>) {
        let node = self.nodes.get_mut(&peer).expect("who acts runs");
        match event {
            OutEvent::SendMessage { to, topic, message } => self.send(peer, to, topic, message),
            OutEvent::EmitEvent(topic, event) => node.events.push((topic, event)),
            OutEvent::SetTimer(timer, deadline) => {
                let at = deadline.max(self.now);
                node.timers.insert(timer, at);
                self.schedule(at, Occurrence::Timer(peer, timer));
            }
            OutEvent::CancelTimer(timer) => {
                let was_set = node.timers.remove(&timer).is_some();
                assert!(was_set, "{timer:?} is cancelled but not set");
            }
            OutEvent::DisconnectPeer(other) => self.close(peer, other),
            OutEvent::PeerData(..) => {}
        }
    }
}

/// Holds a state and what it just put out against the invariants.
pub(crate) fn check(state: &State<Peer>, out: &Outbox<Peer>) {
    let topics: Vec<TopicId> = state.topics().copied().collect();
    for id in &topics {
        let topic = state.topic(id).expect("it is listed");
        let mut tree = BTreeSet::new();
        for peer in topic.eager().chain(topic.lazy()) {
            assert!(tree.insert(*peer), "{peer} is in the tree once");
            assert!(topic.is_neighbor(peer), "{peer} of the tree is a neighbor");
        }
        let active: BTreeSet<Peer> = topic.active_view().copied().collect();
        assert_eq!(tree, active, "every neighbor is in the tree");
        let held = |peer: &Peer| state.is_needed(peer);
        assert!(active.iter().all(held), "every neighbor is needed");
    }
    let mut disconnected = BTreeSet::new();
    for event in out {
        match event {
            OutEvent::SendMessage { to, message, .. } => {
                let len = wire::encoded_len(message);
                assert!(len < state.max_message_size(), "{len} bytes: {message:?}");
                assert!(!disconnected.contains(to), "{to} is sent more");
            }
            OutEvent::DisconnectPeer(peer) => {
                assert!(!state.is_needed(peer), "{peer} is needed");
                assert!(disconnected.insert(*peer), "{peer} is disconnected once");
            }
            OutEvent::PeerData(_, data) => assert!(!data.as_bytes().is_empty()),
            OutEvent::EmitEvent(topic, _) => assert!(topics.contains(topic)),
            OutEvent::SetTimer(..) | OutEvent::CancelTimer(_) => {}
        }
    }
}
