//! Swarms in which some nodes run `iroh_gossip`'s state machine and the others ours, in virtual
//! time, bridged by encoded messages.
//!
//! `cargo test --test mixed_swarm -- --nocapture` prints the figures by share.
#![expect(clippy::disallowed_methods, reason = "an origin of virtual time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh_gossip::proto as theirs;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use smol_gossip::proto as ours;

type Peer = u32;

const TOPIC: [u8; 32] = [7; 32];
const NODES: u32 = 80;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A node of either kind.
enum Kind {
    Ours {
        state: Box<ours::State<Peer>>,
        rng: Box<StdRng>,
        timers: BTreeMap<ours::TimerId, Instant>,
    },
    Theirs(Box<theirs::State<Peer, StdRng>>),
}

struct Node {
    kind: Kind,
    /// Connections by peer, the newest last.
    links: BTreeMap<Peer, Vec<u64>>,
    /// Dials under way: what is to be sent, and whether the connection is of use after that.
    dials: BTreeMap<Peer, (Vec<Bytes>, bool)>,
    neighbors: BTreeSet<Peer>,
}

/// What a node is told.
enum Input {
    Message(Peer, u64, Bytes),
    Disconnected(Peer),
    DialFailed(Peer),
    OurTimer(ours::TimerId),
    TheirTimer(Box<theirs::Timer<Peer>>),
    Join(Vec<Peer>),
    Broadcast(Bytes),
}

/// What a node wants, whatever its kind.
enum Output {
    Send(Peer, Bytes),
    Up(Peer),
    Down(Peer),
    Received(Bytes),
    OurTimer(ours::TimerId, Instant),
    TheirTimer(Duration, Box<theirs::Timer<Peer>>),
    Disconnect(Peer),
}

enum Occurrence {
    Input(Peer, Input),
    Dialed(Peer, Peer),
    Closed(Peer, Peer, u64),
}

struct Swarm {
    now: Instant,
    nodes: BTreeMap<Peer, Node>,
    upcoming: BTreeMap<(Instant, u64), Occurrence>,
    /// When the last that one node sent to another arrives.
    last_arrival: BTreeMap<(Peer, Peer), Instant>,
    count: u64,
    delivered: BTreeMap<Bytes, BTreeSet<Peer>>,
    last_delivery: Instant,
    payloads: u64,
    rng: StdRng,
}

impl Swarm {
    /// `upstream` nodes of a hundred are `iroh_gossip`'s.
    fn new(upstream: u32, seed: u64) -> Self {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = (0..NODES).map(|peer| {
            // Spread evenly, whatever the share; the contact of all is of the more common kind.
            let is_theirs = ((peer + 1) * upstream / 100) > (peer * upstream / 100);
            let mut own = StdRng::from_rng(&mut rng);
            let kind = if is_theirs {
                let state = theirs::State::new(peer, Default::default(), Default::default(), own);
                Kind::Theirs(Box::new(state))
            } else {
                let (config, limits) = Default::default();
                let state = ours::State::new(peer, Default::default(), config, limits, &mut own);
                Kind::Ours {
                    state: Box::new(state.expect("the defaults make sense")),
                    rng: Box::new(own),
                    timers: BTreeMap::new(),
                }
            };
            let node = Node {
                kind,
                links: BTreeMap::new(),
                dials: BTreeMap::new(),
                neighbors: BTreeSet::new(),
            };
            (peer, node)
        });
        Self {
            now,
            nodes: nodes.collect(),
            upcoming: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            count: 0,
            delivered: BTreeMap::new(),
            last_delivery: now,
            payloads: 0,
            rng,
        }
    }

    /// 10 to 50 ms, the same for a pair at all times.
    fn latency(a: Peer, b: Peer) -> Duration {
        let pair = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
        let mixed = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ms(10 + mixed % 41)
    }

    fn at(&mut self, at: Instant, what: Occurrence) {
        self.count += 1;
        self.upcoming.insert((at, self.count), what);
    }

    /// What is sent arrives in order.
    fn arrival(&mut self, from: Peer, to: Peer) -> Instant {
        let earliest = self.now + Self::latency(from, to);
        let last = self.last_arrival.entry((from, to)).or_insert(earliest);
        *last = earliest.max(*last);
        *last
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.upcoming.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), what) = entry.remove_entry();
            self.now = at;
            match what {
                Occurrence::Input(peer, input) => self.input(peer, input),
                Occurrence::Dialed(from, to) => self.dialed(from, to),
                Occurrence::Closed(at, other, link) => self.closed(at, other, link),
            }
        }
        self.now = end;
    }

    fn input(&mut self, peer: Peer, input: Input) {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        if let Input::Message(from, link, body) = &input {
            // The other side opened it; whoever closed it does not read it any more.
            if !node
                .links
                .get(from)
                .is_some_and(|links| links.contains(link))
            {
                return;
            }
            self.payloads += u64::from(body.starts_with(&[1, 0]));
        }
        for output in node.kind.handle(input, self.now) {
            self.output(peer, output);
        }
    }

    fn output(&mut self, from: Peer, output: Output) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&from) else {
            return;
        };
        match output {
            Output::Send(to, body) => {
                if let Some(link) = node.links.get(&to).and_then(|links| links.last()).copied() {
                    let at = self.arrival(from, to);
                    let input = Input::Message(from, link, body);
                    self.at(at, Occurrence::Input(to, input));
                } else if let Some((queue, _)) = node.dials.get_mut(&to) {
                    queue.push(body);
                } else {
                    node.dials.insert(to, (vec![body], true));
                    let at = now + 2 * Self::latency(from, to);
                    self.at(at, Occurrence::Dialed(from, to));
                }
            }
            Output::Disconnect(to) => {
                if let Some((_, wanted)) = node.dials.get_mut(&to) {
                    *wanted = false;
                }
                for link in node.links.remove(&to).unwrap_or_default() {
                    let at = self.arrival(from, to);
                    self.at(at, Occurrence::Closed(to, from, link));
                }
            }
            Output::OurTimer(id, at) => {
                self.at(at.max(now), Occurrence::Input(from, Input::OurTimer(id)));
            }
            Output::TheirTimer(after, timer) => {
                self.at(
                    now + after,
                    Occurrence::Input(from, Input::TheirTimer(timer)),
                );
            }
            Output::Up(peer) => assert!(node.neighbors.insert(peer), "up twice"),
            Output::Down(peer) => assert!(node.neighbors.remove(&peer), "down, but not up"),
            Output::Received(content) => {
                self.last_delivery = now;
                let first = self.delivered.entry(content).or_default().insert(from);
                assert!(first, "{from} was told of a message twice");
            }
        }
    }

    fn dialed(&mut self, from: Peer, to: Peer) {
        let reachable = self.nodes.contains_key(&to);
        let Some(node) = self.nodes.get_mut(&from) else {
            return;
        };
        let (queue, wanted) = node.dials.remove(&to).expect("it was under way");
        if !reachable {
            self.input(from, Input::DialFailed(to));
            return;
        }
        self.count += 1;
        let link = self.count;
        for (a, b) in [(from, to), (to, from)] {
            let node = self.nodes.get_mut(&a).expect("both run");
            node.links.entry(b).or_default().push(link);
        }
        for body in queue {
            self.output(from, Output::Send(to, body));
        }
        if !wanted {
            self.output(from, Output::Disconnect(to));
        }
    }

    fn closed(&mut self, at: Peer, other: Peer, link: u64) {
        let Some(node) = self.nodes.get_mut(&at) else {
            return;
        };
        let Some(links) = node.links.get_mut(&other) else {
            return;
        };
        links.retain(|one| *one != link);
        if links.is_empty() {
            node.links.remove(&other);
            self.input(at, Input::Disconnected(other));
        }
    }

    fn kill(&mut self, peer: Peer) {
        let node = self.nodes.remove(&peer).expect("it runs");
        for (other, links) in node.links {
            for link in links {
                let at = self.arrival(peer, other);
                self.at(at, Occurrence::Closed(other, peer, link));
            }
        }
    }

    fn random(&mut self) -> Peer {
        let nodes: Vec<Peer> = self.nodes.keys().copied().collect();
        nodes[self.rng.random_range(0..nodes.len())]
    }

    /// A message from a random node: the share of nodes that got it, payloads beyond one for each,
    /// and the time until the last had it.
    fn broadcast(&mut self, content: String) -> (f64, f64, f64) {
        let content = Bytes::from(content);
        let (from, before, start) = (self.random(), self.payloads, self.now);
        self.input(from, Input::Broadcast(content.clone()));
        self.run(Duration::from_secs(5));
        let others = (self.nodes.len() - 1) as f64;
        let reached = self.delivered.get(&content).map_or(0, BTreeSet::len);
        let took = self.last_delivery.saturating_duration_since(start);
        (
            reached as f64 / others,
            (self.payloads - before) as f64 / others - 1.0,
            took.as_secs_f64() * 1e3,
        )
    }

    fn mean_degree(&self) -> f64 {
        let links: usize = self.nodes.values().map(|node| node.neighbors.len()).sum();
        links as f64 / self.nodes.len() as f64
    }
}

impl Kind {
    fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        match self {
            Self::Ours { state, rng, timers } => {
                handle_ours(state, rng, timers, input, now).unwrap_or_default()
            }
            Self::Theirs(state) => handle_theirs(state, input, now).unwrap_or_default(),
        }
    }
}

fn handle_ours(
    state: &mut ours::State<Peer>,
    rng: &mut StdRng,
    timers: &mut BTreeMap<ours::TimerId, Instant>,
    input: Input,
    now: Instant,
) -> Option<Vec<Output>> {
    use ours::{Command, Event, InEvent, LinkId, OutEvent, Scope};
    let event = match input {
        Input::Message(from, link, body) => InEvent::RecvMessage {
            from,
            link: LinkId(link),
            topic: TOPIC.into(),
            message: ours::wire::decode(body).expect("upstream writes what we read"),
        },
        Input::Disconnected(peer) => InEvent::PeerDisconnected(peer),
        Input::DialFailed(peer) => InEvent::DialFailed(peer),
        Input::OurTimer(id) => {
            // It may have been moved or cancelled meanwhile.
            timers.get(&id).filter(|at| **at <= now)?;
            timers.remove(&id);
            InEvent::TimerExpired(id)
        }
        Input::TheirTimer(_) => return None,
        Input::Join(peers) => InEvent::Command(TOPIC.into(), Command::Join(peers)),
        Input::Broadcast(content) => {
            InEvent::Command(TOPIC.into(), Command::Broadcast(content, Scope::Swarm))
        }
    };
    let mut outbox = ours::Outbox::new();
    state.handle(event, now, rng, &mut outbox);
    let outputs = outbox.into_iter().filter_map(|out| match out {
        OutEvent::SendMessage { to, message, .. } => {
            let body = postcard::to_allocvec(&message).expect("it is encodable");
            Some(Output::Send(to, body.into()))
        }
        OutEvent::EmitEvent(_, Event::NeighborUp(peer)) => Some(Output::Up(peer)),
        OutEvent::EmitEvent(_, Event::NeighborDown(peer)) => Some(Output::Down(peer)),
        OutEvent::EmitEvent(_, Event::Received(event)) => Some(Output::Received(event.content)),
        OutEvent::SetTimer(id, at) => {
            timers.insert(id, at);
            Some(Output::OurTimer(id, at))
        }
        OutEvent::CancelTimer(id) => {
            timers.remove(&id);
            None
        }
        OutEvent::DisconnectPeer(peer) => Some(Output::Disconnect(peer)),
        OutEvent::PeerData(..) => None,
    });
    Some(outputs.collect())
}

fn handle_theirs(
    state: &mut theirs::State<Peer, StdRng>,
    input: Input,
    now: Instant,
) -> Option<Vec<Output>> {
    use theirs::{Command, Event, InEvent, OutEvent, Scope};
    let event = match input {
        Input::Message(from, _, body) => {
            let bytes = [&TOPIC[..], &body].concat();
            let message = postcard::from_bytes(&bytes).expect("we write what upstream reads");
            InEvent::RecvMessage(from, message)
        }
        // Its own node reports a failed dial like a lost connection.
        Input::Disconnected(peer) | Input::DialFailed(peer) => InEvent::PeerDisconnected(peer),
        Input::TheirTimer(timer) => InEvent::TimerExpired(*timer),
        Input::OurTimer(_) => return None,
        Input::Join(peers) => InEvent::Command(TOPIC.into(), Command::Join(peers)),
        Input::Broadcast(content) => {
            InEvent::Command(TOPIC.into(), Command::Broadcast(content, Scope::Swarm))
        }
    };
    let outputs = state
        .handle(event, now.into(), None)
        .filter_map(|out| match out {
            OutEvent::SendMessage(to, message) => {
                let bytes = postcard::to_allocvec(&message).expect("it is encodable");
                Some(Output::Send(to, Bytes::from(bytes).slice(TOPIC.len()..)))
            }
            OutEvent::EmitEvent(_, Event::NeighborUp(peer)) => Some(Output::Up(peer)),
            OutEvent::EmitEvent(_, Event::NeighborDown(peer)) => Some(Output::Down(peer)),
            OutEvent::EmitEvent(_, Event::Received(event)) => Some(Output::Received(event.content)),
            OutEvent::ScheduleTimer(after, timer) => {
                Some(Output::TheirTimer(after, Box::new(timer)))
            }
            OutEvent::DisconnectPeer(peer) => Some(Output::Disconnect(peer)),
            OutEvent::PeerData(..) => None,
        });
    Some(outputs.collect())
}

/// Means over some messages.
#[derive(Debug, Default)]
struct Figures {
    reliability: f64,
    redundancy: f64,
    time_ms: f64,
}

fn send(swarm: &mut Swarm, name: &str, count: u32) -> Figures {
    let mut sum = Figures::default();
    for number in 0..count {
        let (reliability, redundancy, time_ms) = swarm.broadcast(format!("{name} {number}"));
        sum.reliability += reliability / f64::from(count);
        sum.redundancy += redundancy / f64::from(count);
        sum.time_ms += time_ms / f64::from(count);
    }
    sum
}

/// A swarm that joins through one node, sends, loses a third of its nodes, and sends again.
fn play(upstream: u32, seed: u64) -> [Figures; 2] {
    let mut swarm = Swarm::new(upstream, seed);
    swarm.input(0, Input::Join(vec![]));
    for peer in 1..NODES {
        swarm.input(peer, Input::Join(vec![0]));
        swarm.run(ms(5));
    }
    swarm.run(Duration::from_secs(180));
    let degree = swarm.mean_degree();
    send(&mut swarm, "warm up", 10);
    let before = send(&mut swarm, "before", 30);
    for _ in 0..NODES / 3 {
        let peer = swarm.random();
        swarm.kill(peer);
    }
    swarm.run(Duration::from_secs(180));
    let after = send(&mut swarm, "after", 20);
    println!(
        "{upstream:>3} % upstream, seed {seed}: degree {degree:.2}; reliability {:.4}, \
         redundancy {:.3}, {:.0} ms; a third fails: reliability {:.4}, redundancy {:.3}",
        before.reliability, before.redundancy, before.time_ms, after.reliability, after.redundancy
    );
    [before, after]
}

#[test]
fn mixed_swarms_deliver_everything() {
    for upstream in [0, 10, 30, 50, 70, 90] {
        for seed in [1, 2] {
            let [before, after] = play(upstream, seed);
            for figures in [before, after] {
                assert!(
                    figures.reliability >= 0.9999,
                    "{upstream} % upstream, seed {seed}: {figures:?}"
                );
            }
        }
    }
}

#[test]
fn every_node_of_ours_makes_a_mixed_swarm_cheaper() {
    let redundancy = |upstream| {
        let runs = [1, 2, 3].map(|seed| play(upstream, seed)[0].redundancy);
        runs.iter().sum::<f64>() / 3.0
    };
    let [none, half, all] = [0, 50, 100].map(redundancy);
    assert!(
        none < 0.2 && none < half,
        "ours alone: {none}, half of them: {half}"
    );
    assert!(half < all, "half of them: {half}, all upstream: {all}");
}
