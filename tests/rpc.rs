//! A node serves its topics to programs in other processes; either side may run the code of
//! `iroh-gossip` 0.101.

mod common;
mod rpc_setup;

use bytes::Bytes;
use common::*;
use iroh::address_lookup::memory::MemoryLookup;
use rpc_setup::*;
use smol_gossip::{
    api::{ApiError, Published},
    proto::DeliveryScope,
};

#[tokio::test]
async fn any_client_speaks_and_listens_through_any_daemon() {
    for [client, daemon] in PAIRS {
        println!("{client:?} connects to {daemon:?}");
        let book = MemoryLookup::new();
        let daemon = Daemon::start(daemon, 1, &book).await;
        let node = Node::start(2, &book).await;
        let mut there = node.subscribe(topic(1), &[]).await;
        let client = AnyClient::connect(client, &daemon);

        let mut here = client.subscribe(topic(1), &[node.id()]).await;
        here.events.up(node.id()).await;
        there.events.up(daemon.id()).await;

        let (to, fro) = (contents(0..100), contents(100..200));
        for (to, fro) in to.iter().zip(&fro) {
            here.sender.broadcast(to.clone()).await;
            there.broadcast(fro.clone()).await;
        }
        there.events.receive(&to).await;
        here.events.receive(&fro).await;

        for _ in 0..2 {
            here.sender.broadcast_neighbors("to").await;
            let message = there.events.message().await;
            assert_eq!(message.content, "to");
            assert_eq!(message.scope, DeliveryScope::Neighbors);
            assert_eq!(message.delivered_from, daemon.id());
            let fro = there.sender.broadcast_neighbors("fro".into());
            fro.await.expect("open");
            let message = here.events.message().await;
            assert_eq!(message.content, "fro");
            assert_eq!(message.scope, DeliveryScope::Neighbors);
            assert_eq!(message.delivered_from, node.id());
        }

        let third = Node::start(3, &book).await;
        let mut later = third.subscribe(topic(1), &[]).await;
        here.sender.join_peers(vec![third.id()]).await;
        here.events.up(third.id()).await;
        later.events.up(daemon.id()).await;

        drop((here, client));
        there.events.down(daemon.id()).await;
        later.events.down(daemon.id()).await;
        daemon.stop().await;
        node.stop().await;
        third.stop().await;
    }
}

#[tokio::test]
async fn the_largest_message_passes() {
    // Two, since upstream does not deliver bytes that it has seen.
    let [to, fro] = [7, 8].map(|byte| Bytes::from(vec![byte; 4055]));
    for [client, daemon] in PAIRS {
        println!("{client:?} connects to {daemon:?}");
        let book = MemoryLookup::new();
        let daemon = Daemon::start(daemon, 1, &book).await;
        let node = Node::start(2, &book).await;
        let mut there = node.subscribe(topic(1), &[]).await;
        let client = AnyClient::connect(client, &daemon);
        let mut here = client.subscribe(topic(1), &[node.id()]).await;
        here.events.joined().await;
        here.sender.broadcast(to.clone()).await;
        assert_eq!(there.events.message().await.content, to);
        there
            .sender
            .broadcast_neighbors(fro.clone())
            .await
            .expect("open");
        assert_eq!(here.events.message().await.content, fro);
        daemon.stop().await;
        node.stop().await;
    }
}

#[tokio::test]
async fn what_is_too_large_is_dropped_and_counted() {
    for kind in [Kind::Ours, Kind::Upstream] {
        let book = MemoryLookup::new();
        let (daemon, gossip) = Daemon::ours(1, &book).await;
        let node = Node::start(2, &book).await;
        let mut there = node.subscribe(topic(1), &[]).await;
        let client = AnyClient::connect(kind, &daemon);
        let mut here = client.subscribe(topic(1), &[node.id()]).await;
        here.events.joined().await;
        here.sender.broadcast(vec![7; 5000]).await;
        here.sender.broadcast_neighbors(vec![7; 5000]).await;
        here.sender.broadcast("fits").await;
        assert_eq!(there.events.message().await.content, "fits");
        assert_eq!(gossip.metrics().broadcast_too_large.get(), 2);
        daemon.stop().await;
        node.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_even_be_carried_is_an_error_that_changes_nothing() {
    const MAX: usize = 16 * 1024 * 1024 - 6;
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let mut local = subscribe(&gossip, topic(1), &[]).await;
    let topic = within("subscribe", daemon.client().subscribe(topic(1), vec![])).await;
    let (sender, _receiver) = topic.expect("the daemon runs").split();
    let error = sender.broadcast(vec![7; MAX + 1].into()).await;
    let Err(ApiError::TooLarge { len, max, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!((len, max), (MAX + 1, MAX));
    // Carried, and dropped there.
    let largest = within("publish", sender.publish(vec![7; MAX].into())).await;
    assert_eq!(largest.expect("open"), Published::HandedOver);

    let node = Node::start(2, &book).await;
    let mut there = node.subscribe(common::topic(1), &[daemon.id()]).await;
    local.events.up(node.id()).await;
    let published = within("publish", sender.publish("fits".into())).await;
    assert_eq!(published.expect("open"), Published::HandedOver);
    assert_eq!(there.events.message().await.content, "fits");
    assert_eq!(gossip.metrics().broadcast_too_large.get(), 1);
    daemon.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn subscribers_of_many_processes_share_a_topic() {
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let node = Node::start(2, &book).await;
    let mut there = node.subscribe(topic(1), &[]).await;

    let mut local = subscribe(&gossip, topic(1), &[node.id()]).await;
    let ours = AnyClient::connect(Kind::Ours, &daemon);
    let upstream = AnyClient::connect(Kind::Upstream, &daemon);
    let mut first = ours.subscribe(topic(1), &[]).await;
    let mut second = ours.subscribe(topic(1), &[]).await;
    let mut third = upstream.subscribe(topic(1), &[]).await;
    let mut elsewhere = ours.subscribe(topic(2), &[]).await;
    for events in [
        &mut local.events,
        &mut first.events,
        &mut second.events,
        &mut third.events,
    ] {
        events.up(node.id()).await;
    }
    there.broadcast("to all").await;
    for events in [
        &mut local.events,
        &mut first.events,
        &mut second.events,
        &mut third.events,
    ] {
        assert_eq!(events.message().await.content, "to all");
    }

    // The others stay when one goes, and the topic with them.
    drop((local, first));
    there.broadcast("to two").await;
    assert_eq!(second.events.message().await.content, "to two");
    assert_eq!(third.events.message().await.content, "to two");
    drop(second);
    third.sender.broadcast("from one").await;
    assert_eq!(there.events.message().await.content, "from one");
    assert!(there.events.neighbors().contains(&daemon.id()));
    drop(third);
    there.events.down(daemon.id()).await;

    // Another topic on the same connection has heard nothing, and goes on.
    let mut there = node.subscribe(topic(2), &[daemon.id()]).await;
    elsewhere.events.up(node.id()).await;
    there.broadcast("elsewhere").await;
    assert_eq!(elsewhere.events.message().await.content, "elsewhere");
    there.events.joined().await;
    daemon.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn either_half_of_a_remote_subscription_keeps_the_topic() {
    for kind in [Kind::Ours, Kind::Upstream] {
        let book = MemoryLookup::new();
        let (daemon, _) = Daemon::ours(1, &book).await;
        let node = Node::start(2, &book).await;
        let mut there = node.subscribe(topic(1), &[]).await;
        let client = AnyClient::connect(kind, &daemon);

        let AnyTopic { sender, mut events } = client.subscribe(topic(1), &[node.id()]).await;
        events.joined().await;
        drop(sender);
        there.broadcast("to a receiver").await;
        assert_eq!(events.message().await.content, "to a receiver");
        drop(events);
        there.events.down(daemon.id()).await;

        let AnyTopic { sender, mut events } = client.subscribe(topic(1), &[node.id()]).await;
        events.joined().await;
        drop(events);
        there.events.up(daemon.id()).await;
        sender.broadcast("from a sender").await;
        assert_eq!(there.events.message().await.content, "from a sender");
        drop(sender);
        there.events.down(daemon.id()).await;
        daemon.stop().await;
        node.stop().await;
    }
}
