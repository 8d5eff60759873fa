//! What is broadcast arrives, or its author is told.
#![cfg(feature = "net")]

mod common;

use bytes::Bytes;
use common::*;
use iroh::address_lookup::memory::MemoryLookup;
use smol_gossip::{
    api::{ApiError, Published},
    proto::DeliveryScope,
};

/// It gets an error with both lengths, and the links are as they were.
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

/// The same bytes are one message to the protocol, and are not sent twice.
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

/// Whether the first neighbor is joined or joins.
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
