//! All topics of two nodes share a connection, and it lasts as long as one of them needs it.
#![cfg(feature = "net")]

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use common::*;
use iroh::{
    Endpoint, EndpointId,
    address_lookup::memory::MemoryLookup,
    endpoint::Connection,
    protocol::{AcceptError, ProtocolHandler, Router},
};
use smol_gossip::{
    Gossip, TopicId,
    net::{GOSSIP_ALPN, Limits},
};
use tokio::{task::JoinSet, time::Instant};

/// QUIC lets a peer have a hundred streams, and every topic has one each way.
#[tokio::test]
async fn two_nodes_share_a_thousand_topics() {
    let topic = |n: u16| TopicId::from_bytes(*blake3::hash(&n.to_be_bytes()).as_bytes());
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let second = Node::start(2, &book).await;
    let mut topics = Vec::new();
    for n in 0..1000 {
        let there = first.subscribe(topic(n), &[]).await;
        let here = second.subscribe(topic(n), &[id(1)]).await;
        topics.push((here, there));
    }
    for (here, there) in &mut topics {
        here.events.up(id(1)).await;
        there.events.up(id(2)).await;
    }
    for (n, (here, there)) in topics.iter().enumerate() {
        here.broadcast(format!("to {n}")).await;
        there.broadcast(format!("fro {n}")).await;
    }
    for (n, (here, there)) in topics.iter_mut().enumerate() {
        assert_eq!(there.events.message().await.content, format!("to {n}"));
        assert_eq!(here.events.message().await.content, format!("fro {n}"));
    }
    assert_eq!(
        second.gossip.metrics().actor_tick_dialer.get(),
        1,
        "one connection carries all"
    );
    first.stop().await;
    second.stop().await;
    for (here, there) in topics {
        here.events.end().await;
        there.events.end().await;
    }
}

/// The same peer is a neighbor in both topics, over one connection.
#[tokio::test]
async fn leaving_a_topic_keeps_what_another_needs() {
    let [(first, mut there), (second, mut here)] = pair().await;
    for round in 0..10 {
        let mut other_there = first.subscribe(topic(2), &[]).await;
        let mut other_here = second.subscribe(topic(2), &[id(1)]).await;
        other_here.events.up(id(1)).await;
        other_there.events.up(id(2)).await;
        drop(other_here);
        other_there.events.down(id(2)).await;
        talk(&mut here, &mut there, round).await;
    }
    assert!(here.events.neighbors().contains(&id(1)));
    assert!(there.events.neighbors().contains(&id(2)));
    assert_eq!(
        second.gossip.metrics().actor_tick_dialer.get(),
        1,
        "one connection was enough"
    );
    end([(first, there), (second, here)]).await;
}

/// A goodbye and the next hello are never taken in the wrong order.
#[tokio::test]
async fn a_topic_can_be_left_and_joined_in_haste() {
    let [(first, mut there), (second, mut here)] = pair().await;
    for _ in 0..50 {
        drop(here);
        here = second.subscribe(topic(1), &[id(1)]).await;
    }
    here.events.up(id(1)).await;
    // What comes after the last hello tells that all before it was seen.
    here.broadcast("settled").await;
    assert_eq!(there.events.message().await.content, "settled");
    there.events.up(id(2)).await;
    talk(&mut here, &mut there, "haste").await;
    end([(first, there), (second, here)]).await;
}

/// Hands connections over, and remembers them.
#[derive(Clone, Debug)]
struct Counting {
    gossip: Gossip,
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl Counting {
    fn remember(&self, connection: Connection) {
        let connections = self.connections.lock();
        connections
            .expect("nothing panics in here")
            .push(connection);
    }

    /// Connections that are open, and those there ever were.
    fn count(&self) -> (usize, usize) {
        let connections = self.connections.lock().expect("nothing panics in here");
        let open = connections
            .iter()
            .filter(|connection| connection.close_reason().is_none());
        (open.count(), connections.len())
    }

    async fn all_closed(&self) {
        while self.count().0 > 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl ProtocolHandler for Counting {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        self.remember(connection.clone());
        ProtocolHandler::accept(&self.gossip, connection).await
    }

    async fn shutdown(&self) {
        ProtocolHandler::shutdown(&self.gossip).await;
    }
}

/// Who begins more handshakes than one may has to wait, and nobody else has.
#[tokio::test]
async fn one_source_begins_no_more_handshakes_than_it_may() {
    let book = MemoryLookup::new();
    let mut limits = Limits::default();
    limits.handshakes_per_second = 1;
    let builder = Gossip::builder().limits(limits);

    let endpoint = bind(1, &book).await;
    let gossip = builder
        .clone()
        .try_spawn(endpoint.clone())
        .expect("a context");
    let router = Router::builder(endpoint)
        .incoming_filter(gossip.incoming_filter())
        .accept(GOSSIP_ALPN, gossip.clone())
        .spawn();
    hold_off(&gossip, id(1), 2, &book).await;
    within("shutdown", router.shutdown())
        .await
        .expect("no panic");

    let endpoint = bind(11, &book).await;
    let gossip = builder
        .accept_incoming(true)
        .try_spawn(endpoint.clone())
        .expect("a context");
    hold_off(&gossip, id(11), 12, &book).await;
    within("shutdown", gossip.shutdown())
        .await
        .expect("it lives");
    endpoint.close().await;
}

/// Begins too many connections to a node, and talks to it from elsewhere meanwhile.
async fn hold_off(gossip: &Gossip, them: EndpointId, me: u8, book: &MemoryLookup) {
    let start = Instant::now();
    let begun = Arc::new(AtomicU64::new(0));
    let foe = bind(me + 1, book).await;
    let mut attempts = JoinSet::new();
    for _ in 0..20 {
        let (foe, begun) = (foe.clone(), begun.clone());
        attempts.spawn(async move {
            let connection = foe.connect(them, GOSSIP_ALPN).await;
            begun.fetch_add(connection.is_ok().into(), Ordering::Relaxed);
            // Kept, whatever the node thinks of it.
            std::future::pending::<()>().await;
            drop(connection);
        });
    }
    let metrics = gossip.metrics();
    within("some are ignored", async {
        while metrics.handshakes_limited.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let honest = Node::start(me, book).await;
    let mut there = subscribe(gossip, topic(1), &[]).await;
    let mut here = honest.subscribe(topic(1), &[them]).await;
    here.events.up(them).await;
    there.events.up(id(me)).await;
    talk(&mut here, &mut there, "undisturbed").await;
    honest.stop().await;

    // Four seconds' worth at once and one more a second; a quarter as many again before it was asked for proof.
    let begun = begun.load(Ordering::Relaxed);
    let seconds = start.elapsed().as_secs();
    let most = 4 + seconds + 1 + (1 + seconds / 4 + 1);
    assert!((1..=most).contains(&begun), "{begun} handshakes, of {most}");
    attempts.shutdown().await;
    foe.close().await;
}

/// However often it is joined and left, a swarm costs no more connections than it has use for.
#[tokio::test]
async fn connections_end_with_the_last_topic() {
    const CYCLES: usize = 200;
    let book = MemoryLookup::new();
    let endpoint: Endpoint = bind(1, &book).await;
    let gossip = Gossip::builder()
        .try_spawn(endpoint.clone())
        .expect("a context");
    let first = Counting {
        gossip,
        connections: Arc::default(),
    };
    let router = Router::builder(endpoint)
        .accept(GOSSIP_ALPN, first.clone())
        .spawn();
    let second = Node::start(2, &book).await;
    let mut there = subscribe(&first.gossip, topic(1), &[]).await;
    for cycle in 0..CYCLES {
        let mut here = second.subscribe(topic(1), &[id(1)]).await;
        here.events.up(id(1)).await;
        there.events.up(id(2)).await;
        let (open, ever) = first.count();
        assert!(
            open <= 2,
            "{open} connections are open in cycle {cycle}, there were {ever}"
        );
        drop(here);
        there.events.down(id(2)).await;
        // Both in haste, which finds the connection still there, and at leisure, which does not.
        if cycle % 4 == 0 {
            within("all connections closed", first.all_closed()).await;
        }
    }
    within("all connections closed", first.all_closed()).await;
    let metrics = first.gossip.metrics();
    assert_eq!(metrics.neighbor_up.get(), CYCLES as u64);
    assert_eq!(metrics.neighbor_down.get(), CYCLES as u64);
    second.stop().await;
    within("shutdown", router.shutdown())
        .await
        .expect("nothing panicked");
    there.events.end().await;
}
