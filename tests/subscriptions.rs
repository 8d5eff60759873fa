//! A subscription tells the application the truth about its neighbors and what it missed.
#![cfg(feature = "net")]

mod common;

use common::*;
use futures_lite::{StreamExt, future};
use iroh::address_lookup::memory::MemoryLookup;
use smol_gossip::api::{Event, JoinOptions};

/// And the neighbors are those of the events that were taken.
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

/// Who reads slowly is told so, and reads on.
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
