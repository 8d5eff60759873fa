//! A node, its honest neighbors, and an attack on it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use iroh::{EndpointId, address_lookup::memory::MemoryLookup};
use smol_gossip::{
    Gossip,
    net::{Limits, TopicStats},
    proto,
};

use crate::{
    attacks::{Assault, Attack, Target},
    common::{Node, Topic, before, bind, id, topic, within},
};

/// Content of hostile peers begins with this byte, and honest content never does.
const HOSTILE: u8 = 0xff;

/// What an attack has to be noticed for until the test goes on.
const NOTICED: u64 = 3;

/// Some are noticed by what takes seconds each.
const NOTICED_WITHIN: Duration = Duration::from_secs(120);

/// Messages of each honest node in a round.
const MESSAGES: usize = 8;

/// A node with three honest neighbors. All are neighbors of each other.
pub(crate) struct Arena {
    nodes: Vec<Node>,
    topics: Vec<Topic>,
    book: MemoryLookup,
    limits: Limits,
    rounds: usize,
}

impl Arena {
    pub(crate) async fn new() -> Self {
        let book = MemoryLookup::new();
        let mut limits = Limits::default();
        // What takes long to be noticed shall not take long here.
        limits.stuck_timeout = Duration::from_secs(5);
        limits.header_timeout = Duration::from_millis(300);
        limits.idle_timeout = Duration::from_secs(1);
        limits.send_queue_bytes = 128 * 1024;
        limits.known_addresses = 64;
        let mut nodes = Vec::new();
        let mut topics = Vec::new();
        let all: Vec<EndpointId> = (1..=4).map(id).collect();
        for n in 1..=4 {
            let mut builder = Gossip::builder();
            if n == 1 {
                builder = builder.limits(limits.clone());
            }
            let node = Node::on(bind(n, &book).await, builder);
            let others = all.iter().copied().filter(|other| *other != id(n));
            let bootstrap: Vec<_> = others.collect();
            topics.push(node.subscribe(topic(1), &bootstrap).await);
            nodes.push(node);
        }
        for (n, topic) in topics.iter_mut().enumerate() {
            let others = all.iter().copied().filter(|other| *other != all[n]);
            for other in others.collect::<Vec<_>>() {
                topic.events.up(other).await;
            }
        }
        Self {
            nodes,
            topics,
            book,
            limits,
            rounds: 0,
        }
    }

    /// Holds that an attack does no harm, while it lasts and after it.
    pub(crate) async fn withstand(mut self, attack: Attack) {
        self.round().await;
        let target = Target {
            id: id(1),
            topic: topic(1),
            book: self.book.clone(),
            honest: (2..=4).map(id).collect(),
            foes: Arc::default(),
        };
        let foes = target.foes.clone();
        let metrics = self.nodes[0].gossip.metrics().clone();
        let noticed = || (attack.noticed)(&metrics, &foes);
        let enough = noticed() + NOTICED;

        let assault = Assault::start(attack, target);
        let until_noticed = async {
            while noticed() < enough {
                assert!(assault.goes_on(), "{attack:?} goes on");
                self.round().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        before(NOTICED_WITHIN, "the attack to be noticed", until_noticed).await;
        for _ in 0..3 {
            self.round().await;
        }
        assert!(assault.goes_on(), "{attack:?} went on");
        drop(assault);

        self.round().await;
        self.comes_to_rest().await;
        self.round().await;
        for node in self.nodes {
            node.stop().await;
        }
    }

    /// Every honest node sends some messages, which reach all others once. The node stays within
    /// its bounds, and keeps honest neighbors.
    async fn round(&mut self) {
        self.rounds += 1;
        let message = |from: usize, n: usize| {
            let mut text = format!("{from}: {n} of round {}", self.rounds).into_bytes();
            // Some are large, and most are not.
            if n == 0 {
                text.resize(3000, b' ');
            }
            Bytes::from(text)
        };
        let messages: Vec<BTreeSet<Bytes>> = (0..self.topics.len())
            .map(|from| (0..MESSAGES).map(|n| message(from, n)).collect())
            .collect();
        for (from, topic) in self.topics.iter().enumerate() {
            for message in &messages[from] {
                let sent = topic.sender.broadcast(message.clone());
                within("broadcast", sent).await.expect("open");
            }
        }
        for (at, topic) in self.topics.iter_mut().enumerate() {
            let mut expected: BTreeSet<&Bytes> = messages
                .iter()
                .enumerate()
                .filter(|(from, _)| *from != at)
                .flat_map(|(_, messages)| messages)
                .collect();
            while !expected.is_empty() {
                let content = topic.events.message().await.content;
                if content.first() != Some(&HOSTILE) {
                    assert!(expected.remove(&content), "twice, or late: {content:?}");
                }
            }
        }
        let stats = self.stats().await;
        self.check(&stats);
        self.check_node().await;
    }

    /// What the node holds of everything, against what it may.
    async fn check_node(&self) {
        let stats = self.nodes[0].gossip.node_stats();
        let stats = within("the driver answers", stats).await.expect("it runs");
        let peers = self.limits.idle_peers + 64;
        assert!(stats.peers <= peers, "{stats:?}");
        assert!(stats.connections <= peers * self.limits.connections_per_peer);
        assert!(stats.dials <= self.limits.dials + self.limits.waiting_dials);
        // Each connection is waited for, and each stream is being read or written.
        let streams = stats.streams_in + stats.streams_out;
        // Those of connections that were closed just now end one after the other.
        let ending = 2 * self.limits.streams_per_connection as usize;
        let tasks = 4 * stats.connections + streams + ending + stats.dials + 16;
        assert!(stats.tasks <= tasks, "{stats:?}");
        assert!(
            stats.timers <= 4 * stats.peers + stats.connections + 16,
            "{stats:?}"
        );
    }

    async fn stats(&self) -> TopicStats {
        let stats = self.nodes[0].gossip.topic_stats(topic(1));
        let stats = within("the driver answers", stats).await;
        stats.expect("it runs").expect("it is in the topic")
    }

    fn check(&self, stats: &TopicStats) {
        let limits: &proto::Limits = &self.limits.protocol;
        let config = proto::Config::default();
        let honest: Vec<EndpointId> = (2..=4).map(id).collect();
        let left = stats
            .neighbors
            .iter()
            .filter(|neighbor| honest.contains(&neighbor.id))
            .count();
        assert!(left >= 2, "{left} honest neighbors: {stats:?}");
        assert!(stats.neighbors.len() <= config.membership.active_view_capacity);
        assert!(stats.passive <= config.membership.passive_view_capacity);
        assert!(stats.cache_bytes <= limits.cache_bytes);
        assert!(stats.seen_ids <= limits.seen_ids);
        assert!(stats.missing_ids <= limits.missing_ids);
        // A queue that is full takes nothing more, but what was under way when it became so.
        let most = self.limits.send_queue_bytes + 64 * 1024;
        assert!(stats.neighbors.iter().all(|one| one.queued_bytes <= most));
    }

    /// Waits until the node knows nothing of the attackers that it would have to do anything for.
    async fn comes_to_rest(&mut self) {
        let rest = async {
            loop {
                let stats = self.stats().await;
                let honest = stats
                    .neighbors
                    .iter()
                    .all(|one| (2..=4).any(|n| one.id == id(n)));
                let node = self.nodes[0].gossip.node_stats();
                let node = node.await.expect("it runs");
                let peers = self.nodes.len() - 1;
                // It may still try whom it was told of, for there are places in its view.
                let pending = self.limits.protocol.pending_requests;
                let calm = node.connections <= 2 * peers
                    && node.peers <= peers + pending
                    && node.tasks <= 8 * peers + 2 * pending + 8
                    && node.timers <= 4 * peers + 2 * pending + 8;
                if honest && calm && stats.missing_ids == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        within("the attackers are forgotten", rest).await;
    }
}
