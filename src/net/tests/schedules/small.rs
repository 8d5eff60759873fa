//! Small bounds, so that schedules meet full queues, dials that wait, and what is forgotten early.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::plan::Op;
use crate::{
    metrics::Metrics,
    net::{
        Limits,
        tests::world::{World, id, ms},
    },
};

/// What was there before keeps its meaning: what is drawn here has a generator of its own.
const STREAM: u64 = 0x5ba1_1b07_d5ee_d000;

/// A bound that is smaller than by default.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// The send queue of a peer, in frames of the largest size.
    QueuedFrames(usize),
    Dials {
        at_once: usize,
        waiting: usize,
    },
    IdlePeers(usize),
    ConnectionsPerPeer(usize),
    /// The cache of a topic, in frames of the largest size.
    CachedFrames(usize),
    KnownAddresses(usize),
    StreamsPerConnection(u32),
    Topics(usize),
}

/// The small bounds of a schedule, and the nodes that have them. Mostly there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Small {
    bounds: Vec<Bound>,
    nodes: BTreeSet<usize>,
    /// So many times much is said while somebody does not read.
    storms: usize,
}

impl fmt::Display for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "  {:?} of nodes {:?}, {} storms",
            self.bounds, self.nodes, self.storms
        )
    }
}

impl Small {
    pub(super) fn draw(seed: u64, nodes: usize, topics: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ STREAM);
        if !rng.random_bool(0.2) {
            return Self::default();
        }
        let all = rng.random_bool(0.5);
        let nodes = (0..nodes).filter(|_| all || rng.random_bool(0.5)).collect();
        let bounds = [
            Bound::QueuedFrames([4, 4, 5, 12][rng.random_range(0..4)]),
            Bound::Dials {
                at_once: rng.random_range(1..3),
                waiting: rng.random_range(0..3),
            },
            Bound::IdlePeers(rng.random_range(1..4)),
            Bound::ConnectionsPerPeer(rng.random_range(1..3)),
            Bound::CachedFrames([1, 2, 4, 16][rng.random_range(0..4)]),
            Bound::KnownAddresses(rng.random_range(1..5)),
            // Each topic needs one, and that is all that can be counted on.
            Bound::StreamsPerConnection(topics as u32 + rng.random_range(0..2)),
            Bound::Topics(rng.random_range(1..=topics)),
        ];
        let bounds = bounds.into_iter().filter(|_| rng.random_bool(0.4));
        Self {
            bounds: bounds.collect(),
            nodes,
            storms: rng.random_range(0..4),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bounds.is_empty() || self.nodes.is_empty()
    }

    /// Storms that fill queues and caches, before a time at which all is mended.
    pub(super) fn storms(
        &self,
        seed: u64,
        (nodes, topics): (usize, usize),
        max_content: usize,
        before: Duration,
    ) -> Vec<(Duration, Op)> {
        let mut rng = StdRng::seed_from_u64(seed ^ !STREAM);
        let mut ops = Vec::new();
        for _ in 0..self.storms {
            let at = before.mul_f64(rng.random_range(0.2..0.9));
            let (deaf, topic) = (rng.random_range(0..nodes), rng.random_range(0..topics));
            let millis = rng.random_range(500..8000);
            ops.push((at, Op::StopReads { n: deaf, millis }));
            // The windows of a connection come first. Then payloads wait, up to half of a queue, and
            // the announcements of many others fill it.
            let large = (rng.random_range(2..5), max_content, 20..60);
            let small = (rng.random_range(1..4), 32, 60..200);
            let mut at = at;
            for (bursts, size, counts) in [large, small] {
                for _ in 0..bursts {
                    at += ms(rng.random_range(0..millis / 8));
                    let op = Op::Broadcast {
                        n: rng.random_range(0..nodes),
                        topic,
                        size,
                        count: rng.random_range(counts.clone()),
                    };
                    ops.push((at, op));
                }
            }
        }
        ops
    }

    /// Gives them to the nodes that have them, in place of those that all have.
    pub(super) fn apply(&self, world: &mut World) {
        let frame = world.config.max_message_size;
        let mut limits = world.limits.clone();
        for bound in &self.bounds {
            bound.apply(&mut limits, frame);
        }
        for &n in &self.nodes {
            world.limits_of.insert(n, limits.clone());
            for bound in &self.bounds {
                if let Bound::StreamsPerConnection(streams) = bound {
                    // The network in memory begins with more, whatever the node says.
                    world.network.pin_stream_limit(id(n), u64::from(*streams));
                }
            }
        }
    }
}

impl Bound {
    fn apply(self, limits: &mut Limits, frame: usize) {
        match self {
            Self::QueuedFrames(frames) => limits.send_queue_bytes = frames * frame,
            Self::Dials { at_once, waiting } => {
                limits.dials = at_once;
                limits.waiting_dials = waiting;
            }
            Self::IdlePeers(peers) => limits.idle_peers = peers,
            Self::ConnectionsPerPeer(connections) => limits.connections_per_peer = connections,
            Self::CachedFrames(frames) => limits.protocol.cache_bytes = frames * (frame + 136),
            Self::KnownAddresses(peers) => limits.known_addresses = peers,
            Self::StreamsPerConnection(streams) => limits.streams_per_connection = streams,
            Self::Topics(topics) => limits.topics = topics,
        }
    }
}

/// How often each bound was met in a schedule, by its name.
pub(super) type Met = BTreeMap<&'static str, u64>;

/// The bounds that were met by any node that ever ran.
pub(super) fn met(world: &World) -> Met {
    let count = |of: fn(&Metrics) -> u64| world.all_metrics.iter().map(|one| of(one)).sum::<u64>();
    [
        (
            "payloads announced",
            count(|one| one.payloads_announced.get()),
        ),
        ("queues full", count(|one| one.send_queue_dropped.get())),
        ("peers backlogged", count(|one| one.peers_backlogged.get())),
        ("dials refused", count(|one| one.dials_refused.get())),
        (
            "idle peers refused",
            count(|one| one.connections_refused.get()),
        ),
        (
            "connections surplus",
            count(|one| one.connections_surplus.get()),
        ),
        ("cache evicted", count(|one| one.cache_evicted.get())),
        (
            "addresses evicted",
            count(|one| one.addresses_evicted.get()),
        ),
        ("topics refused", count(|one| one.topics_refused.get())),
    ]
    .into()
}
