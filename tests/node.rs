//! What a node promises beyond the protocol, as far as two nodes on loopback can show it.
//!
//! Each test is named after what it holds, and says which requirement of the design that is.
#![cfg(feature = "net")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use common::*;
use futures_lite::{StreamExt, future};
use iroh::{
    Endpoint,
    address_lookup::memory::MemoryLookup,
    endpoint::Connection,
    protocol::{AcceptError, ProtocolHandler, Router},
};
use smol_gossip::{
    Gossip, TopicId,
    api::{ApiError, Event, JoinOptions, Published},
    net::GOSSIP_ALPN,
    proto::DeliveryScope,
};

/// What the design allows a node to take to come together with another that is there.
const SOON: Duration = Duration::from_secs(5);

/// Two nodes, and topic 1, in which the second has joined the first.
async fn pair() -> [(Node, Topic); 2] {
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let second = Node::start(2, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    let mut here = second.subscribe(topic(1), &[id(1)]).await;
    here.events.up(id(1)).await;
    there.events.up(id(2)).await;
    [(first, there), (second, here)]
}

/// Holds that messages pass both ways, once.
async fn talk(here: &mut Topic, there: &mut Topic, about: impl std::fmt::Display) {
    let [to, fro] = ["to", "fro"].map(|way| Bytes::from(format!("{way} {about}")));
    here.broadcast(to.clone()).await;
    assert_eq!(there.events.message().await.content, to);
    there.broadcast(fro.clone()).await;
    assert_eq!(here.events.message().await.content, fro);
}

/// Ends both nodes, and holds that nothing came that was not taken.
async fn end(nodes: [(Node, Topic); 2]) {
    for (node, topic) in nodes {
        node.stop().await;
        drop(topic.sender);
        topic.events.end().await;
    }
}

/// Requirement 1.
#[tokio::test]
async fn a_message_that_is_too_large_concerns_its_author_alone() {
    const MAX: usize = 4055;
    let [(first, mut there), (second, here)] = pair().await;
    for len in [MAX + 1, MAX + 2, MAX + 100, 1 << 20] {
        let content = Bytes::from(vec![0; len]);
        for result in [
            here.sender.broadcast(content.clone()).await,
            here.sender.broadcast_neighbors(content.clone()).await,
            here.sender.publish(content.clone()).await.map(drop),
        ] {
            match result {
                Err(ApiError::TooLarge { len: told, max, .. }) => {
                    assert_eq!((told, max), (len, MAX));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    for len in [MAX - 1, MAX] {
        let content = Bytes::from(vec![len as u8; len]);
        here.broadcast(content.clone()).await;
        assert_eq!(there.events.message().await.content, content);
        here.sender
            .broadcast_neighbors(content.clone())
            .await
            .expect("it fits");
        let message = there.events.message().await;
        assert_eq!(
            (message.content, message.scope),
            (content, DeliveryScope::Neighbors)
        );
    }
    for node in [&first, &second] {
        assert_eq!(node.gossip.metrics().neighbor_up.get(), 1);
        assert_eq!(node.gossip.metrics().neighbor_down.get(), 0);
        assert_eq!(
            node.gossip.metrics().actor_tick_dialer.get(),
            u64::from(node.id() == id(2))
        );
    }
    end([(first, there), (second, here)]).await;
}

/// Requirement 5. QUIC lets a peer have a hundred streams, and every topic has one each way.
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

/// Requirement 6: who is dialed in vain is dialed again.
#[tokio::test]
async fn a_bootstrap_node_may_come_late() {
    let book = MemoryLookup::new();
    let second = Node::start(2, &book).await;
    let mut here = second.subscribe(topic(1), &[id(1)]).await;
    let failed = async {
        while second.gossip.metrics().actor_tick_dialer_failure.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a dial that fails", failed).await;
    let first = Node::start(1, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    here.events.up(id(1)).await;
    there.events.up(id(2)).await;
    talk(&mut here, &mut there, "coming late").await;
    end([(first, there), (second, here)]).await;
}

/// Requirement 6: asking for a peer again is not lost on a failed dial.
#[tokio::test]
async fn peers_can_be_joined_later() {
    let book = MemoryLookup::new();
    let second = Node::start(2, &book).await;
    let mut here = second.subscribe(topic(1), &[]).await;
    here.sender.join_peers(vec![id(1)]).await.expect("open");
    let failed = async {
        while second.gossip.metrics().actor_tick_dialer_failure.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a dial that fails", failed).await;
    let first = Node::start(1, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    here.sender.join_peers(vec![id(1)]).await.expect("open");
    before(SOON, "joined", here.events.up(id(1))).await;
    there.events.up(id(2)).await;
    end([(first, there), (second, here)]).await;
}

/// Requirement 7.
#[tokio::test]
async fn either_may_subscribe_first() {
    for joiner_first in [false, true] {
        let book = MemoryLookup::new();
        let first = Node::start(1, &book).await;
        let second = Node::start(2, &book).await;
        let (mut there, mut here);
        if joiner_first {
            here = second.subscribe(topic(1), &[id(1)]).await;
            // The join has come, for a topic that is not there.
            let refused = async {
                while first.gossip.metrics().unknown_topic.get() == 0 {
                    tokio::task::yield_now().await;
                }
            };
            within("a join for nothing", refused).await;
            there = first.subscribe(topic(1), &[]).await;
        } else {
            there = first.subscribe(topic(1), &[]).await;
            here = second.subscribe(topic(1), &[id(1)]).await;
        }
        before(SOON, "joined", here.events.up(id(1))).await;
        before(SOON, "joined", there.events.up(id(2))).await;
        talk(&mut here, &mut there, "the order").await;
        end([(first, there), (second, here)]).await;
    }
}

/// A node that misses a silent peer, and is missed by those that dial it, after two seconds.
async fn attentive_node(n: u8, book: &MemoryLookup) -> Node {
    let endpoint = endpoint(n, book).transport_config(attentive());
    let endpoint = endpoint.bind().await.expect("loopback is there");
    announce(&endpoint, book);
    Node::on(endpoint, Gossip::builder())
}

/// A node that is killed. It binds with the key of node 2 and joins the first where told so.
fn doomed(book: &MemoryLookup, joins: bool) -> Doomed {
    let book = book.clone();
    Doomed::start(async move || {
        let node = attentive_node(2, &book).await;
        let bootstrap = joins.then_some(id(1));
        let topic = node.subscribe(topic(1), bootstrap.as_slice()).await;
        (node, topic)
    })
}

/// Requirement 8: the one that restarts dials.
#[tokio::test]
async fn a_restart_is_noticed_before_the_loss() {
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    let second = doomed(&book, true);
    there.events.up(id(2)).await;
    second.kill();

    // The first does not know yet: QUIC would take fifteen seconds.
    let second = Node::start(2, &book).await;
    let mut here = second.subscribe(topic(1), &[id(1)]).await;
    before(SOON, "down", there.events.down(id(2))).await;
    before(SOON, "up", there.events.up(id(2))).await;
    before(SOON, "joined", here.events.up(id(1))).await;
    talk(&mut here, &mut there, "the restart").await;
    end([(first, there), (second, here)]).await;
}

/// Requirement 8: the one that restarts does not dial, whoever had joined the other.
#[tokio::test]
async fn a_restart_is_followed_by_who_stayed() {
    for restarted_had_joined in [true, false] {
        println!("the one that restarts had joined: {restarted_had_joined}");
        let book = MemoryLookup::new();
        let first = attentive_node(1, &book).await;
        let second = doomed(&book, restarted_had_joined);
        let bootstrap = (!restarted_had_joined).then_some(id(2));
        let mut there = first.subscribe(topic(1), bootstrap.as_slice()).await;
        there.events.up(id(2)).await;
        second.kill();

        let second = Node::start(2, &book).await;
        let mut here = second.subscribe(topic(1), &[]).await;
        there.events.down(id(2)).await;
        before(SOON, "up", there.events.up(id(2))).await;
        before(SOON, "up", here.events.up(id(1))).await;
        talk(&mut here, &mut there, "the restart").await;
        end([(first, there), (second, here)]).await;
    }
}

/// Requirement 12.
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

/// Requirement 12: a goodbye and the next hello are never taken in the wrong order.
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

/// Requirement 13.
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
    }
    let closed = async {
        while first.count().0 > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("all connections closed", closed).await;
    let metrics = first.gossip.metrics();
    assert_eq!(metrics.neighbor_up.get(), CYCLES as u64);
    assert_eq!(metrics.neighbor_down.get(), CYCLES as u64);
    second.stop().await;
    within("shutdown", router.shutdown())
        .await
        .expect("nothing panicked");
    there.events.end().await;
}

/// Requirement 14.
#[tokio::test]
async fn publish_tells_whether_it_sent() {
    let [(first, mut there), (second, mut here)] = pair().await;
    let publish = async |from: &Topic, content: &'static str| {
        from.sender.publish(content.into()).await.expect("open")
    };
    assert_eq!(publish(&here, "a").await, Published::Sent);
    assert_eq!(publish(&here, "a").await, Published::Duplicate);
    assert_eq!(there.events.message().await.content, "a");
    // They are the same bytes, whoever sent them.
    assert_eq!(publish(&there, "a").await, Published::Duplicate);
    // `broadcast` says nothing, and sends nothing either.
    here.broadcast("a").await;
    // To neighbors it is sent whenever it is asked for.
    for _ in 0..3 {
        here.sender
            .broadcast_neighbors("a".into())
            .await
            .expect("open");
        let message = there.events.message().await;
        assert_eq!(
            (&message.content[..], message.scope),
            (&b"a"[..], DeliveryScope::Neighbors)
        );
    }
    talk(&mut here, &mut there, "something else").await;
    end([(first, there), (second, here)]).await;
}

/// Requirement 15, whether the first neighbor is joined or joins.
#[tokio::test]
async fn messages_wait_for_the_first_neighbor() {
    for speaker_joins in [true, false] {
        let book = MemoryLookup::new();
        let first = Node::start(1, &book).await;
        let second = Node::start(2, &book).await;
        let said = contents(0..20);
        let bootstrap = |joins: bool, other| if joins { vec![id(other)] } else { vec![] };
        let here = second
            .subscribe(topic(1), &bootstrap(speaker_joins, 1))
            .await;
        for content in &said {
            let published = here.sender.publish(content.clone()).await.expect("open");
            assert_eq!(published, Published::Sent);
        }
        let mut there = first
            .subscribe(topic(1), &bootstrap(!speaker_joins, 2))
            .await;
        there.events.receive(&said).await;
        end([(first, there), (second, here)]).await;
    }
}

/// Requirement 18.
#[tokio::test]
async fn joined_can_be_cancelled_and_takes_one_event() {
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let second = Node::start(2, &book).await;
    let mut topic_here = second
        .gossip
        .subscribe(topic(1), vec![])
        .await
        .expect("open");
    for _ in 0..3 {
        assert!(future::poll_once(topic_here.joined()).await.is_none());
        assert!(!topic_here.is_joined());
    }
    let mut there = first.subscribe(topic(1), &[id(2)]).await;
    there.events.up(id(2)).await;
    within("joined", topic_here.joined()).await.expect("open");
    assert!(topic_here.is_joined());
    assert_eq!(topic_here.neighbors().collect::<Vec<_>>(), [id(1)]);
    // Again, it takes nothing.
    within("joined", topic_here.joined()).await.expect("open");

    there.broadcast("what comes next").await;
    let next = within("an event", topic_here.next()).await;
    match next.expect("open").expect("open") {
        Event::Received(message) => assert_eq!(message.content, "what comes next"),
        other => panic!("{other:?}"),
    }

    // The neighbor goes; it is a neighbor until that event is taken.
    drop(there);
    let down = async {
        while second.gossip.metrics().neighbor_down.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the neighbor gone", down).await;
    assert_eq!(topic_here.neighbors().collect::<Vec<_>>(), [id(1)]);
    let next = within("an event", topic_here.next()).await;
    assert_eq!(
        next.expect("open").expect("open"),
        Event::NeighborDown(id(1))
    );
    assert_eq!(topic_here.neighbors().count(), 0);
    assert!(!topic_here.is_joined());
    first.stop().await;
    second.stop().await;
}

/// Requirement 18: who reads slowly is told so, and reads on.
#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed() {
    const MESSAGES: usize = 100;
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let second = Node::start(2, &book).await;
    let options = JoinOptions {
        subscription_capacity: 8,
        ..JoinOptions::with_bootstrap([id(1)])
    };
    let slow = second
        .gossip
        .subscribe_with_opts(topic(1), options)
        .await
        .expect("open");
    // One that keeps up tells when everything has come.
    let mut fast = second.subscribe(topic(1), &[]).await;
    let there = first.subscribe(topic(1), &[]).await;
    fast.events.up(id(1)).await;
    for n in 0..MESSAGES {
        there.broadcast(format!("{n}")).await;
        assert_eq!(fast.events.message().await.content, format!("{n}"));
    }
    let (_sender, mut slow) = slow.split();
    let next = within("an event", slow.next()).await;
    assert_eq!(next.expect("open").expect("open"), Event::Lagged);
    let next = within("an event", slow.next()).await;
    assert_eq!(next.expect("open").expect("open"), Event::NeighborUp(id(1)));
    assert_eq!(slow.neighbors().collect::<Vec<_>>(), [id(1)]);
    for n in MESSAGES - 8..MESSAGES {
        let next = within("an event", slow.next()).await;
        match next.expect("open").expect("open") {
            Event::Received(message) => assert_eq!(message.content, format!("{n}")),
            other => panic!("{other:?}"),
        }
    }
    there.broadcast("and on").await;
    let next = within("an event", slow.next()).await;
    match next.expect("open").expect("open") {
        Event::Received(message) => assert_eq!(message.content, "and on"),
        other => panic!("{other:?}"),
    }
    first.stop().await;
    second.stop().await;
}
