//! What the membership layer promises, each promise with its test.

mod alarm;
mod arbitrary;
mod joining;
mod network;
mod parting;
mod refilling;
mod shuffling;
mod swarm;

use std::{collections::BTreeSet, time::Duration};

use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::proto::{DEFAULT_MAX_MESSAGE_SIZE, limits::Limits};

/// A moment that all times in a test are counted from.
pub(super) fn base() -> At {
    At(1_000_000_000)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What a node has told its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Send(u32, Message<u32>),
    Up(u32),
    Down(u32),
    Data(u32, PeerData),
    Hold(u32),
    Release(u32),
}

/// Writes down what it is told, and checks that it makes sense.
#[derive(Clone, Debug, Default)]
struct Record {
    probed: Vec<u32>,
    told: Vec<Told>,
    held: BTreeSet<u32>,
    neighbors: BTreeSet<u32>,
    max_message_size: usize,
}

impl Sink<u32> for Record {
    fn probe(&mut self, neighbor: u32) {
        assert!(
            self.neighbors.contains(&neighbor),
            "{neighbor} is no neighbor"
        );
        self.probed.push(neighbor);
    }

    fn send(&mut self, to: u32, message: Message<u32>) {
        let len = postcard::experimental::serialized_size(&message).unwrap() + 1;
        assert!(len < self.max_message_size, "{len} bytes do not fit");
        self.told.push(Told::Send(to, message));
    }

    fn is_spare(&self, _neighbor: &u32) -> bool {
        false
    }

    fn neighbor_up(&mut self, peer: u32) {
        assert!(self.neighbors.insert(peer), "{peer} is up already");
        self.told.push(Told::Up(peer));
    }

    fn neighbor_down(&mut self, peer: u32) {
        assert!(self.neighbors.remove(&peer), "{peer} is not up");
        self.told.push(Told::Down(peer));
    }

    fn peer_data(&mut self, peer: u32, data: PeerData) {
        assert!(!data.as_bytes().is_empty());
        self.told.push(Told::Data(peer, data));
    }

    fn hold(&mut self, peer: u32) {
        assert!(self.held.insert(peer), "{peer} is held already");
        self.told.push(Told::Hold(peer));
    }

    fn release(&mut self, peer: u32) {
        assert!(self.held.remove(&peer), "{peer} is not held");
        self.told.push(Told::Release(peer));
    }
}

/// One node, everything it has told, and the time.
#[derive(Debug)]
struct Node {
    state: State<u32>,
    rng: StdRng,
    counters: Counters,
    record: Record,
    now: At,
}

impl Node {
    fn new(id: u32, seed: u64) -> Self {
        Self::with(
            id,
            seed,
            Config::default(),
            Limits::default(),
            DEFAULT_MAX_MESSAGE_SIZE,
        )
    }

    fn with(id: u32, seed: u64, config: Config, limits: Limits, max_message_size: usize) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ (u64::from(id) << 32));
        let data = PeerData::new(id.to_be_bytes().to_vec());
        Self {
            state: State::new(
                id,
                data,
                Settings::new(&config, &limits, max_message_size).into(),
            ),
            rng,
            counters: Counters::default(),
            record: Record {
                max_message_size,
                ..Default::default()
            },
            now: base(),
        }
    }

    /// Feeds an input, and returns what follows.
    fn handle(&mut self, input: Input<u32>) -> Vec<Told> {
        let quit = matches!(input, Input::Quit);
        self.state.handle(
            input,
            self.now,
            &mut self.rng,
            &mut self.counters,
            &mut self.record,
        );
        if !quit {
            self.check();
        }
        std::mem::take(&mut self.record.told)
    }

    fn timeout(&mut self) -> Vec<Told> {
        self.state.handle_timeout(
            self.now,
            &mut self.rng,
            &mut self.counters,
            &mut self.record,
        );
        self.check();
        if let Some(deadline) = self.state.next_deadline().get() {
            assert!(deadline > self.now, "a deadline in the past spins");
        }
        std::mem::take(&mut self.record.told)
    }

    fn recv(&mut self, from: u32, message: Message<u32>) -> Vec<Told> {
        self.recv_over(1, from, message)
    }

    fn recv_over(&mut self, link: u64, from: u32, message: Message<u32>) -> Vec<Told> {
        self.handle(Input::RecvMessage {
            from,
            link: LinkId(link),
            message,
        })
    }

    /// Lets time pass, and returns what happened meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<Told> {
        let end = self.now + time;
        let mut told = Vec::new();
        while let Some(deadline) = self.state.next_deadline().get().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            told.extend(self.timeout());
        }
        self.now = end;
        told
    }

    fn active(&self) -> Vec<u32> {
        self.state.active_view().copied().collect()
    }

    fn passive(&self) -> Vec<u32> {
        self.state.passive_view().copied().collect()
    }

    fn check(&self) {
        let (active, passive) = (self.active(), self.passive());
        let state = &self.state;
        #[cfg(feature = "net")]
        state.check_bounds();
        assert!(active.len() <= state.settings.config.active_view_capacity);
        assert!(passive.len() <= state.settings.config.passive_view_capacity);
        let all: BTreeSet<u32> = active.iter().chain(&passive).copied().collect();
        assert_eq!(
            all.len(),
            active.len() + passive.len(),
            "twice in the views"
        );
        assert!(!all.contains(&state.me), "we are in our own views");
        let neighbors: Vec<u32> = self.record.neighbors.iter().copied().collect();
        let mut sorted = active.clone();
        sorted.sort_unstable();
        assert_eq!(neighbors, sorted, "what was told is not what is");
        let held: BTreeSet<u32> = active
            .iter()
            .chain(state.requests.ids())
            .chain(state.joins.under_way())
            .copied()
            .collect();
        assert_eq!(self.record.held, held, "held is what is needed");
        assert!(state.requests.len() <= 16.max(active.len()));
        for (id, _) in state.data.iter() {
            assert!(
                all.contains(id) || held.contains(id) || state.joins.contains(id),
                "data of {id}, who is not known"
            );
        }
    }
}

/// The messages sent to `peer`.
fn sent_to(told: &[Told], peer: u32) -> Vec<&Message<u32>> {
    let sends = told.iter().filter_map(|told| match told {
        Told::Send(to, message) if *to == peer => Some(message),
        Told::Send(..)
        | Told::Up(_)
        | Told::Down(_)
        | Told::Data(..)
        | Told::Hold(_)
        | Told::Release(_) => None,
    });
    sends.collect()
}

fn sends(told: &[Told]) -> Vec<(u32, &Message<u32>)> {
    let sends = told.iter().filter_map(|told| match told {
        Told::Send(to, message) => Some((*to, message)),
        Told::Up(_) | Told::Down(_) | Told::Data(..) | Told::Hold(_) | Told::Release(_) => None,
    });
    sends.collect()
}

fn peer(id: u32) -> PeerInfo<u32> {
    PeerInfo { id, data: None }
}

fn join() -> Message<u32> {
    Message::Join(None)
}

fn neighbor(priority: Priority) -> Message<u32> {
    Message::Neighbor(Neighbor {
        priority,
        data: None,
    })
}

fn disconnect(alive: bool) -> Message<u32> {
    Message::Disconnect(Disconnect::new(alive))
}

fn reply(nodes: impl IntoIterator<Item = u32>) -> Message<u32> {
    Message::ShuffleReply(ShuffleReply {
        nodes: nodes.into_iter().map(peer).collect(),
    })
}

fn forward_join(id: u32, ttl: u16) -> Message<u32> {
    Message::ForwardJoin(ForwardJoin {
        peer: peer(id),
        ttl: Ttl(ttl),
    })
}

fn shuffle(origin: u32, nodes: impl IntoIterator<Item = u32>, ttl: u16) -> Message<u32> {
    Message::Shuffle(Shuffle {
        origin,
        nodes: nodes.into_iter().map(peer).collect(),
        ttl: Ttl(ttl),
    })
}

/// A node whose active view holds `neighbors`.
fn node_with(neighbors: impl IntoIterator<Item = u32>) -> Node {
    node_with_seed(0, neighbors)
}

fn node_with_seed(seed: u64, neighbors: impl IntoIterator<Item = u32>) -> Node {
    let mut node = Node::new(0, seed);
    node.handle(Input::Join(vec![]));
    for id in neighbors {
        node.recv(id, neighbor(Priority::High));
        assert!(node.state.is_active(&id));
    }
    node
}

/// Neighbors 1 to 5, and a full passive view of peers that nothing bad is known of.
fn full_node() -> Node {
    let mut node = node_with(1..=5);
    for first in [100, 110, 120, 130, 140] {
        node.recv(1, shuffle(1, first..first + 7, 1));
    }
    assert_eq!(node.passive().len(), 30);
    node
}

fn data(len: usize) -> PeerData {
    PeerData::new(vec![7; len])
}

fn is_neighbor(message: &Message<u32>) -> bool {
    matches!(message, Message::Neighbor(_))
}

fn is_disconnect(message: &Message<u32>) -> bool {
    matches!(message, Message::Disconnect(_))
}

fn shuffles(told: &[Told]) -> usize {
    let sends = sends(told);
    let own = sends
        .iter()
        .filter(|(_, m)| matches!(m, Message::Shuffle(s) if s.origin == 0));
    own.count()
}
