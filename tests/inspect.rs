//! What a node says of its topics and peers when it is asked.
#![cfg(feature = "net")]

mod common;

use std::time::Duration;

use common::*;
use futures_lite::{Stream, StreamExt, future};
use iroh::address_lookup::memory::MemoryLookup;
use smol_gossip::{
    Gossip,
    net::{Diagnostic, DownReason, Error, Limits},
    runtime::TokioRuntime,
};

/// The next diagnostic that `pick` picks.
async fn next<T>(
    what: &str,
    diagnostics: &mut (impl Stream<Item = Diagnostic> + Unpin),
    mut pick: impl FnMut(Diagnostic) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let diagnostic = diagnostics.next().await.expect("the node runs");
            if let Some(found) = pick(diagnostic) {
                return found;
            }
        }
    };
    within(what, found).await
}

#[tokio::test]
async fn a_topic_says_what_it_holds() {
    let book = MemoryLookup::new();
    let one = Node::start(1, &book).await;
    let two = Node::start(2, &book).await;
    let stats = within("stats", one.gossip.topic_stats(topic(1))).await;
    assert_eq!(stats.expect("it runs"), None);

    let mut here = one.subscribe(topic(1), &[]).await;
    let _again = one.subscribe(topic(1), &[]).await;
    let stats = within("stats", one.gossip.topic_stats(topic(1))).await;
    let stats = stats.expect("it runs").expect("it is in the topic");
    assert_eq!((stats.neighbors.len(), stats.subscriptions), (0, 2));

    let there = two.subscribe(topic(1), &[one.id()]).await;
    here.events.up(two.id()).await;
    there.broadcast(vec![7; 1000]).await;
    there.broadcast(vec![8; 1000]).await;
    here.events.message().await;
    here.events.message().await;
    let stats = within("stats", one.gossip.topic_stats(topic(1))).await;
    let stats = stats.expect("it runs").expect("it is in the topic");
    let [neighbor] = &stats.neighbors[..] else {
        panic!("{stats:?}");
    };
    assert_eq!(neighbor.id, two.id());
    assert!(neighbor.eager);
    assert_eq!((stats.seen_ids, stats.missing_ids), (2, 0));
    assert!((2000..3000).contains(&stats.cache_bytes), "{stats:?}");
    assert_eq!((stats.duplicates, stats.dropped), (0, 0));
    assert_eq!(stats.events_dropped, 0);

    let gossip = one.gossip.clone();
    one.stop().await;
    let stats = within("the refusal", gossip.topic_stats(topic(1))).await;
    assert!(
        matches!(stats, Err(Error::ActorDropped { .. })),
        "{stats:?}"
    );
    let refused = within("the refusal", gossip.diagnostics()).await;
    assert!(matches!(refused, Err(Error::ActorDropped { .. })));
    two.stop().await;
}

/// What a topic lost for want of room is told apart from what others did.
#[tokio::test]
async fn a_topic_counts_what_it_dropped() {
    let book = MemoryLookup::new();
    let one = Node::start(1, &book).await;
    let mut limits = smol_gossip::net::Limits::default();
    limits.protocol.cache_bytes = 4 * 1024;
    let builder = smol_gossip::Gossip::builder().limits(limits);
    let two = Node::on(bind(2, &book).await, builder);
    let mut there = one.subscribe(topic(1), &[]).await;
    let mut here = two.subscribe(topic(1), &[one.id()]).await;
    let options = smol_gossip::api::JoinOptions {
        bootstrap: Default::default(),
        subscription_capacity: 1,
    };
    let never_read = two.gossip.subscribe_with_opts(topic(1), options).await;
    let never_read = never_read.expect("it runs");
    let mut other = two.subscribe(topic(2), &[one.id()]).await;
    let mut elsewhere = one.subscribe(topic(2), &[]).await;
    there.events.up(two.id()).await;
    elsewhere.events.up(two.id()).await;
    for byte in 0..10 {
        there.broadcast(vec![byte; 1000]).await;
        here.events.message().await;
    }
    elsewhere.broadcast("one").await;
    other.events.message().await;

    let busy = two.gossip.topic_stats(topic(1)).await;
    let busy = busy.expect("it runs").expect("it is in the topic");
    assert!(busy.dropped >= 6, "of ten, at most four fit: {busy:?}");
    assert!(busy.events_dropped >= 8, "{busy:?}");
    let quiet = two.gossip.topic_stats(topic(2)).await;
    let quiet = quiet.expect("it runs").expect("it is in the topic");
    let lost = (quiet.duplicates, quiet.dropped, quiet.events_dropped);
    assert_eq!(lost, (0, 0, 0));
    drop(never_read);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn why_a_neighbor_is_none_any_more_is_told() {
    let book = MemoryLookup::new();
    let watched = endpoint(1, &book).transport_config(attentive());
    let watched = watched.bind().await.expect("loopback is there");
    announce(&watched, &book);
    let watched = Node::on(watched, Gossip::builder());
    let mut diagnostics = watched.gossip.diagnostics().await.expect("it runs");
    let mut here = watched.subscribe(topic(1), &[]).await;
    let down = |diagnostic| match diagnostic {
        Diagnostic::NeighborDown {
            topic,
            peer,
            reason,
            ..
        } => Some((topic, peer, reason)),
        _ => None,
    };

    let polite = Node::start(2, &book).await;
    let there = polite.subscribe(topic(1), &[watched.id()]).await;
    here.events.up(polite.id()).await;
    drop(there);
    here.events.down(polite.id()).await;
    let told = next("down", &mut diagnostics, down).await;
    assert_eq!(told, (topic(1), polite.id(), DownReason::Left));
    polite.stop().await;

    let rude = bind(3, &book).await;
    let (gossip, driver) = Gossip::builder()
        .accept_incoming(true)
        .build(rude.clone(), TokioRuntime::current().expect("in tokio"))
        .expect("the configuration is valid");
    let driver = tokio::spawn(driver);
    let there = subscribe(&gossip, topic(1), &[watched.id()]).await;
    here.events.up(rude.id()).await;
    driver.abort();
    here.events.down(rude.id()).await;
    let told = next("down", &mut diagnostics, down).await;
    assert_eq!(told, (topic(1), rude.id(), DownReason::Lost));
    drop(there);
    watched.stop().await;
    // The stream ends with the node.
    within("the end", async {
        while diagnostics.next().await.is_some() {}
    })
    .await;
}

#[tokio::test]
async fn whom_a_topic_cannot_join_through_is_told() {
    let book = MemoryLookup::new();
    let node = Node::start(1, &book).await;
    let mut diagnostics = node.gossip.diagnostics().await.expect("it runs");
    // Nobody knows its address.
    let _here = node.subscribe(topic(1), &[id(9)]).await;
    let failed = |diagnostic| match diagnostic {
        Diagnostic::JoinFailed { peer, reason, .. } => Some((peer, reason)),
        _ => None,
    };
    let (peer, reason) = next("the failure", &mut diagnostics, failed).await;
    assert_eq!(peer, id(9));
    assert!(!reason.is_empty());
    node.stop().await;
}

#[tokio::test]
async fn who_is_slow_is_told_once_and_then_who_is_stuck() {
    let book = MemoryLookup::new();
    let mut limits = Limits::default();
    limits.send_queue_bytes = 256 * 1024;
    limits.stuck_timeout = Duration::from_secs(5);
    let builder = Gossip::builder().limits(limits);
    let node = Node::on(bind(1, &book).await, builder);
    let healthy = Node::start(2, &book).await;
    let mut diagnostics = node.gossip.diagnostics().await.expect("it runs");
    let mut here = node.subscribe(topic(1), &[]).await;
    let mut there = healthy.subscribe(topic(1), &[node.id()]).await;
    here.events.up(healthy.id()).await;

    let stalling = bind(3, &book).await;
    let (gossip, driver) = Gossip::builder()
        .accept_incoming(true)
        .build(stalling.clone(), TokioRuntime::current().expect("in tokio"))
        .expect("the configuration is valid");
    let (stall, stalled) = async_channel::bounded::<()>(1);
    let driver = tokio::spawn(async move {
        let mut driver = std::pin::pin!(driver);
        let until_stalled = async {
            let _ = stalled.recv().await;
        };
        future::or(driver.as_mut(), until_stalled).await;
        // It is still there, connections and all, and does nothing any more.
        future::pending::<()>().await;
    });
    let _silent = subscribe(&gossip, topic(1), &[node.id()]).await;
    here.events.up(stalling.id()).await;
    stall.send(()).await.expect("it runs");

    // What the healthy neighbor takes piles up for the other one.
    let piling_up = async {
        let mut n = 0u32;
        while node.gossip.metrics().payloads_announced.get() < 10 {
            let mut content = vec![7; 4000];
            content[..4].copy_from_slice(&n.to_be_bytes());
            here.broadcast(content).await;
            there.events.message().await;
            n += 1;
        }
    };
    within("a backlog", piling_up).await;
    let mut slow = 0;
    let stuck = |diagnostic| match diagnostic {
        Diagnostic::SlowPeer {
            peer, queued_bytes, ..
        } => {
            assert_eq!(peer, stalling.id());
            assert!(queued_bytes >= 128 * 1024, "{queued_bytes}");
            slow += 1;
            None
        }
        Diagnostic::StuckPeer { peer, .. } => Some(peer),
        _ => None,
    };
    let stats = within("stats", node.gossip.topic_stats(topic(1))).await;
    let stats = stats.expect("it runs").expect("it is in the topic");
    let queued = |id| {
        let mut neighbors = stats.neighbors.iter();
        neighbors
            .find(|one| one.id == id)
            .map(|one| (one.queued_bytes, one.queued_bytes_in_topic))
    };
    let (queued, in_topic) = queued(stalling.id()).expect("a neighbor still");
    assert!(queued >= 128 * 1024, "{stats:?}");
    assert_eq!(queued, in_topic, "there is no other topic");
    let peer = next("the end of patience", &mut diagnostics, stuck).await;
    assert_eq!((peer, slow), (stalling.id(), 1));
    let down = |diagnostic| match diagnostic {
        Diagnostic::NeighborDown { peer, reason, .. } => Some((peer, reason)),
        _ => None,
    };
    let told = next("down", &mut diagnostics, down).await;
    assert_eq!(told, (stalling.id(), DownReason::Lost));
    assert_eq!(diagnostics.lost(), 0);
    driver.abort();
    node.stop().await;
    healthy.stop().await;
}
