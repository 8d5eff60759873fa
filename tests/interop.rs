//! Nodes of `iroh-gossip` 0.101 and nodes of ours are one swarm.
//!
//! Live nodes of both in one process, over real QUIC. What is said of a pair holds whichever of
//! the two joins the other.
#![cfg(feature = "net")]

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::*;
use futures_lite::StreamExt;
use iroh::{Endpoint, EndpointId, address_lookup::memory::MemoryLookup, protocol::Router};
use smol_gossip::{TopicId, api::Event, net::GOSSIP_ALPN, proto::DeliveryScope};

/// Whose code a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Upstream,
}

/// Who joins, and through whom.
const PAIRS: [[Kind; 2]; 2] = [[Kind::Ours, Kind::Upstream], [Kind::Upstream, Kind::Ours]];

/// A node, whoever's code it runs.
struct AnyNode {
    gossip: AnyGossip,
    router: Router,
}

enum AnyGossip {
    Ours(smol_gossip::Gossip),
    Upstream(iroh_gossip::Gossip),
}

/// A subscription of such a node.
struct AnyTopic {
    sender: AnySender,
    events: Events,
}

enum AnySender {
    Ours(smol_gossip::api::GossipSender),
    Upstream(iroh_gossip::api::GossipSender),
}

impl AnyNode {
    async fn start(kind: Kind, n: u8, book: &MemoryLookup) -> Self {
        Self::on(bind(n, book).await, kind, GOSSIP_ALPN)
    }

    fn on(endpoint: Endpoint, kind: Kind, alpn: &[u8]) -> Self {
        let router = Router::builder(endpoint.clone());
        let (router, gossip) = match kind {
            Kind::Ours => {
                let gossip = smol_gossip::Gossip::builder().alpn(alpn).spawn(endpoint);
                (router.accept(alpn, gossip.clone()), AnyGossip::Ours(gossip))
            }
            Kind::Upstream => {
                let gossip = iroh_gossip::Gossip::builder().alpn(alpn).spawn(endpoint);
                (
                    router.accept(alpn, gossip.clone()),
                    AnyGossip::Upstream(gossip),
                )
            }
        };
        Self {
            gossip,
            router: router.spawn(),
        }
    }

    fn id(&self) -> EndpointId {
        self.router.endpoint().id()
    }

    async fn subscribe(&self, topic: TopicId, bootstrap: &[EndpointId]) -> AnyTopic {
        let bootstrap = bootstrap.to_vec();
        match &self.gossip {
            AnyGossip::Ours(gossip) => {
                let topic = gossip.subscribe(topic, bootstrap).await.expect("open");
                let (sender, receiver) = topic.split();
                AnyTopic {
                    sender: AnySender::Ours(sender),
                    events: receiver.into(),
                }
            }
            AnyGossip::Upstream(gossip) => {
                let topic = topic.as_bytes();
                let topic = gossip.subscribe((*topic).into(), bootstrap).await;
                let (sender, receiver) = topic.expect("open").split();
                AnyTopic {
                    sender: AnySender::Upstream(sender),
                    events: Events::new(receiver.map(|event| ours(&event.expect("no rpc")))),
                }
            }
        }
    }

    /// Says goodbye to everyone.
    async fn stop(self) {
        within("shutdown", self.router.shutdown())
            .await
            .expect("nothing panicked");
    }
}

impl AnyTopic {
    async fn broadcast(&self, content: impl Into<Bytes>) {
        let content = content.into();
        match &self.sender {
            AnySender::Ours(sender) => sender.broadcast(content).await.expect("open"),
            AnySender::Upstream(sender) => sender.broadcast(content).await.expect("open"),
        }
    }

    async fn broadcast_neighbors(&self, content: impl Into<Bytes>) {
        let content = content.into();
        match &self.sender {
            AnySender::Ours(sender) => sender.broadcast_neighbors(content).await.expect("open"),
            AnySender::Upstream(sender) => {
                sender.broadcast_neighbors(content).await.expect("open");
            }
        }
    }
}

/// Upstream's event as one of ours. Both are written alike, as they have to be for rpc.
fn ours(event: &iroh_gossip::api::Event) -> Event {
    let bytes = postcard::to_stdvec(event).expect("an event can be written");
    postcard::from_bytes(&bytes).expect("an event of ours reads the same")
}

/// A node that joins, the one it joins through, and a topic that both are in.
async fn pair([joiner, bootstrap]: [Kind; 2]) -> [(AnyNode, AnyTopic); 2] {
    println!("{joiner:?} joins {bootstrap:?}");
    let book = MemoryLookup::new();
    let bootstrap = AnyNode::start(bootstrap, 1, &book).await;
    let joiner = AnyNode::start(joiner, 2, &book).await;
    let mut there = bootstrap.subscribe(topic(1), &[]).await;
    let mut here = joiner.subscribe(topic(1), &[bootstrap.id()]).await;
    here.events.up(bootstrap.id()).await;
    there.events.up(joiner.id()).await;
    [(joiner, here), (bootstrap, there)]
}

/// Ends both nodes and holds that nothing came that was not taken.
async fn end(nodes: impl IntoIterator<Item = (AnyNode, AnyTopic)>) {
    let (nodes, topics): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
    for node in nodes {
        node.stop().await;
    }
    for topic in topics {
        drop(topic.sender);
        topic.events.end().await;
    }
}

#[tokio::test]
async fn messages_pass_both_ways_exactly_once() {
    for kinds in PAIRS {
        let [(joiner, mut here), (bootstrap, mut there)] = pair(kinds).await;
        let (to, fro) = (contents(0..100), contents(100..200));
        for (to, fro) in to.iter().zip(&fro) {
            here.broadcast(to.clone()).await;
            there.broadcast(fro.clone()).await;
        }
        there.events.receive(&to).await;
        here.events.receive(&fro).await;
        end([(joiner, here), (bootstrap, there)]).await;
    }
}

#[tokio::test]
async fn neighbors_are_reached_alone_and_repeatedly() {
    for kinds in PAIRS {
        let [(joiner, mut here), (bootstrap, mut there)] = pair(kinds).await;
        for _ in 0..2 {
            here.broadcast_neighbors("to").await;
            let message = there.events.message().await;
            assert_eq!(message.content, "to");
            assert_eq!(message.scope, DeliveryScope::Neighbors);
            assert_eq!(message.delivered_from, joiner.id());
            there.broadcast_neighbors("fro").await;
            let message = here.events.message().await;
            assert_eq!(message.content, "fro");
            assert_eq!(message.scope, DeliveryScope::Neighbors);
            assert_eq!(message.delivered_from, bootstrap.id());
        }
        end([(joiner, here), (bootstrap, there)]).await;
    }
}

#[tokio::test]
async fn a_topic_can_be_left_and_joined_again() {
    for kinds in PAIRS {
        let [(joiner, mut here), (bootstrap, mut there)] = pair(kinds).await;
        for round in 0..3 {
            drop(here);
            there.events.down(joiner.id()).await;
            here = joiner.subscribe(topic(1), &[bootstrap.id()]).await;
            here.events.up(bootstrap.id()).await;
            there.events.up(joiner.id()).await;
            let [to, fro] = ["to", "fro"].map(|way| contents([format!("{way} {round}")]));
            here.broadcast(to.first().unwrap().clone()).await;
            there.broadcast(fro.first().unwrap().clone()).await;
            there.events.receive(&to).await;
            here.events.receive(&fro).await;
        }
        // The same once the other way round: the one that was joined through leaves.
        drop(there);
        here.events.down(bootstrap.id()).await;
        there = bootstrap.subscribe(topic(1), &[joiner.id()]).await;
        there.events.up(joiner.id()).await;
        here.events.up(bootstrap.id()).await;
        there.broadcast("back").await;
        assert_eq!(here.events.message().await.content, "back");
        end([(joiner, here), (bootstrap, there)]).await;
    }
}

#[tokio::test]
async fn another_alpn_makes_another_network() {
    const ALPN: &[u8] = b"/of-our-own/7";
    for [joiner, bootstrap] in PAIRS {
        println!("{joiner:?} joins {bootstrap:?}");
        let book = MemoryLookup::new();
        let bootstrap = AnyNode::on(bind(1, &book).await, bootstrap, ALPN);
        let joiner = AnyNode::on(bind(2, &book).await, joiner, ALPN);
        let mut there = bootstrap.subscribe(topic(1), &[]).await;
        let mut here = joiner.subscribe(topic(1), &[bootstrap.id()]).await;
        here.events.up(bootstrap.id()).await;
        there.events.up(joiner.id()).await;
        here.broadcast("to").await;
        there.broadcast("fro").await;
        assert_eq!(there.events.message().await.content, "to");
        assert_eq!(here.events.message().await.content, "fro");
        end([(joiner, here), (bootstrap, there)]).await;
    }
}

/// Everyone knows the address of the bootstrap node and of nobody else, and yet everyone becomes
/// part of one swarm, in which nothing is lost and nothing comes twice.
#[tokio::test]
async fn a_mesh_meets_through_gossip_alone() {
    use Kind::{Ours, Upstream};
    for kinds in [
        [Ours, Upstream, Ours, Upstream, Ours, Upstream],
        [Upstream, Ours, Upstream, Ours, Upstream, Ours],
    ] {
        println!("{kinds:?}");
        let mut nodes: Vec<AnyNode> = Vec::new();
        let mut topics = Vec::new();
        for (n, kind) in (1..).zip(kinds) {
            let book = MemoryLookup::new();
            let bootstrap = nodes.first().map(|node| node.router.endpoint());
            bootstrap.inspect(|bootstrap| announce(bootstrap, &book));
            let bootstrap = bootstrap.map(Endpoint::id);
            let endpoint = endpoint(n, &book).bind().await.expect("loopback is there");
            let node = AnyNode::on(endpoint, kind, GOSSIP_ALPN);
            topics.push(node.subscribe(topic(1), bootstrap.as_slice()).await);
            nodes.push(node);
        }
        for topic in &mut topics {
            topic.events.joined().await;
        }
        // Two neighbors mean that someone was met who was not known.
        for topic in &mut topics {
            let met = |neighbors: &BTreeSet<_>| neighbors.len() >= 2;
            topic.events.neighbors_until("a second neighbor", met).await;
        }
        for round in 0..10 {
            let said = |n: usize| Bytes::from(format!("message {round} of {n}"));
            for (n, topic) in topics.iter().enumerate() {
                topic.broadcast(said(n)).await;
            }
            for (n, topic) in topics.iter_mut().enumerate() {
                let others = (0..kinds.len()).filter(|other| *other != n);
                topic.events.receive(&others.map(said).collect()).await;
            }
        }
        end(nodes.into_iter().zip(topics)).await;
    }
}

#[tokio::test]
async fn the_largest_message_passes_both_ways() {
    for kinds in PAIRS {
        let nodes = pair(kinds).await;
        let [(joiner, mut here), (bootstrap, mut there)] = nodes;
        let largest = |kind, fill: u8| match kind {
            // Room for the count of hops to grow on the way.
            Kind::Ours => Bytes::from(vec![fill; 4055]),
            Kind::Upstream => Bytes::from(vec![fill; 4057]),
        };
        let [to, fro] = [largest(kinds[0], 1), largest(kinds[1], 2)];
        here.broadcast(to.clone()).await;
        there.broadcast(fro.clone()).await;
        assert_eq!(there.events.message().await.content, to);
        assert_eq!(here.events.message().await.content, fro);
        // The links are as they were.
        here.broadcast("to").await;
        there.broadcast("fro").await;
        assert_eq!(there.events.message().await.content, "to");
        assert_eq!(here.events.message().await.content, "fro");
        assert!(here.events.neighbors().contains(&bootstrap.id()));
        assert!(there.events.neighbors().contains(&joiner.id()));
        end([(joiner, here), (bootstrap, there)]).await;
    }
}

/// Upstream lets us open a hundred streams at once, and every topic needs one.
#[tokio::test]
async fn topics_are_not_limited_by_streams() {
    const TOPICS: u16 = 1000;
    let id = |n: u16| TopicId::from_bytes(*blake3::hash(&n.to_be_bytes()).as_bytes());
    for [joiner, bootstrap] in PAIRS {
        println!("{joiner:?} joins {bootstrap:?}");
        let book = MemoryLookup::new();
        let bootstrap = AnyNode::start(bootstrap, 1, &book).await;
        let joiner = AnyNode::start(joiner, 2, &book).await;
        let mut topics = Vec::new();
        for n in 0..TOPICS {
            let there = bootstrap.subscribe(id(n), &[]).await;
            let here = joiner.subscribe(id(n), &[bootstrap.id()]).await;
            topics.push((here, there));
        }
        for (here, there) in &mut topics {
            here.events.up(bootstrap.id()).await;
            there.events.up(joiner.id()).await;
        }
        for (here, there) in &topics {
            here.broadcast("to").await;
            there.broadcast("fro").await;
        }
        for (here, there) in &mut topics {
            assert_eq!(there.events.message().await.content, "to");
            assert_eq!(here.events.message().await.content, "fro");
        }
        joiner.stop().await;
        bootstrap.stop().await;
    }
}

/// An upstream node whose process ends without a word is missed as soon as QUIC misses it.
#[tokio::test]
async fn a_node_that_dies_is_missed() {
    let book = MemoryLookup::new();
    let ours = endpoint(1, &book).transport_config(attentive());
    let ours = ours.bind().await.expect("loopback is there");
    announce(&ours, &book);
    let ours = AnyNode::on(ours, Kind::Ours, GOSSIP_ALPN);
    let mut there = ours.subscribe(topic(1), &[]).await;

    let upstream = Doomed::start(async move || {
        let node = AnyNode::start(Kind::Upstream, 2, &book).await;
        let topic = node.subscribe(topic(1), &[id(1)]).await;
        (node, topic)
    });
    there.events.up(id(2)).await;
    upstream.kill();
    there.events.down(id(2)).await;
    ours.stop().await;
}
