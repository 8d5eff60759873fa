//! No argument of the public API makes a node panic: not the smallest, not the largest, not what
//! makes no sense.
#![cfg(feature = "net")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use common::*;
use futures_lite::StreamExt;
use iroh::address_lookup::memory::MemoryLookup;
use smol_gossip::{
    Gossip, TopicId,
    api::{ApiError, JoinOptions},
    net::{BuildError, Builder, Limits},
    proto::{DeliveryScope, HyparviewConfig, PlumtreeConfig},
    runtime::TokioRuntime,
};

/// Two nodes with these settings do all that an application can ask of them, and end in peace.
/// Whether they find each other depends on the settings.
async fn live_with(what: &str, builder: Builder) {
    let book = MemoryLookup::new();
    let runtime = TokioRuntime::current().expect("this is one");
    let mut nodes = Vec::new();
    for n in [1, 2] {
        let endpoint = bind(n, &book).await;
        let (gossip, driver) = builder
            .clone()
            .accept_incoming(true)
            .build(endpoint.clone(), runtime.clone())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        nodes.push((gossip, tokio::spawn(driver), endpoint));
    }
    let (first, second) = (&nodes[0].0, &nodes[1].0);
    let there = subscribe(first, topic(1), &[id(2)]).await;
    let mut here = second
        .subscribe(topic(1), vec![id(1), id(2), id(3)])
        .await
        .expect("it runs");
    // Long enough to join, where that is possible; nothing depends on it.
    let joining = async { drop(here.joined().await) };
    futures_lite::future::or(joining, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    for content in [Bytes::new(), Bytes::from(vec![1; 300])] {
        for result in [
            there.sender.broadcast(content.clone()).await,
            there.sender.broadcast_neighbors(content.clone()).await,
            there.sender.join_peers(vec![id(2), id(1), id(9)]).await,
            there.sender.publish(content).await.map(drop),
        ] {
            assert!(
                matches!(result, Ok(()) | Err(ApiError::Closed { .. })),
                "{what}: {result:?}"
            );
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(first.topic_stats(topic(1)).await);
    drop(here);
    for (gossip, driver, endpoint) in nodes {
        within(what, gossip.shutdown()).await.expect("it runs");
        let ended = within(what, driver).await;
        ended.unwrap_or_else(|error| panic!("{what}: {error}"));
        endpoint.close().await;
    }
}

fn limits(number: usize, time: Duration) -> Limits {
    let mut limits = Limits::default();
    let small = number.try_into().unwrap_or(u32::MAX);
    limits.protocol.cache_bytes = number;
    limits.protocol.seen_ids = number;
    limits.protocol.missing_ids = number;
    limits.protocol.claims_per_id = number;
    limits.protocol.graft_replies_per_second = small;
    limits.protocol.lazy_queue = number;
    limits.protocol.peer_data_bytes = number;
    limits.protocol.pending_requests = number;
    limits.protocol.joins_per_peer = small;
    limits.protocol.late_join_history = number;
    limits.send_queue_bytes = number;
    limits.streams_per_connection = small;
    limits.connections_per_peer = number;
    limits.idle_peers = number;
    limits.dials = number;
    limits.waiting_dials = number;
    limits.handshakes = number;
    limits.known_addresses = number;
    limits.topics = number;
    limits.burden_per_second = small;
    limits.stuck_timeout = time;
    limits.idle_timeout = time;
    limits.header_timeout = time;
    limits.dial_timeout = time;
    limits.shutdown_timeout = time.min(PATIENCE / 4);
    limits
}

fn membership(number: usize, hops: u16, time: Duration) -> HyparviewConfig {
    HyparviewConfig {
        active_view_capacity: number,
        passive_view_capacity: number,
        active_random_walk_length: hops.into(),
        passive_random_walk_length: hops.into(),
        shuffle_random_walk_length: hops.into(),
        shuffle_active_view_count: number,
        shuffle_passive_view_count: number,
        shuffle_interval: time,
        neighbor_request_timeout: time,
    }
}

fn broadcast(hops: u16, time: Duration) -> PlumtreeConfig {
    PlumtreeConfig {
        graft_timeout_1: time,
        graft_timeout_2: time,
        dispatch_timeout: time,
        optimization_threshold: hops.into(),
        message_cache_retention: time,
        message_id_retention: time,
        cache_evict_interval: time,
    }
}

#[tokio::test]
async fn limits_of_nothing_and_of_everything() {
    for (number, time) in [
        (0, Duration::ZERO),
        (1, Duration::ZERO),
        (usize::MAX, Duration::MAX),
    ] {
        let builder = Gossip::builder().limits(limits(number, time));
        live_with(&format!("limits of {number}"), builder).await;
    }
    // Many and nothing at once.
    let mut mixed = limits(usize::MAX, Duration::ZERO);
    mixed.protocol.cache_bytes = 0;
    live_with("mixed limits", Gossip::builder().limits(mixed)).await;
}

#[tokio::test]
async fn parameters_of_nothing_and_of_everything() {
    for (number, hops, time) in [
        (0, 0, Duration::ZERO),
        (1, 1, Duration::from_nanos(1)),
        (usize::MAX, u16::MAX, Duration::MAX),
    ] {
        let what = format!("parameters of {number}");
        let all = Gossip::builder()
            .membership_config(membership(number, hops, time))
            .broadcast_config(broadcast(hops, time));
        live_with(&what, all).await;
    }
}

#[tokio::test]
async fn sizes_and_seeds() {
    let book = MemoryLookup::new();
    let endpoint = bind(3, &book).await;
    for size in [0, 1, 511, usize::MAX, 1 << 32] {
        let refused = Gossip::builder()
            .max_message_size(size)
            .try_spawn(endpoint.clone());
        assert!(matches!(refused, Err(BuildError::Config(_))), "{size}");
        // The form that cannot answer with an error.
        let closed = Gossip::builder()
            .max_message_size(size)
            .spawn(endpoint.clone());
        let late = closed.subscribe(topic(1), vec![]).await;
        assert!(matches!(late, Err(ApiError::Closed { .. })), "{size}");
    }
    for (size, seed) in [(512, 0), (u32::MAX as usize, u64::MAX)] {
        let builder = Gossip::builder().max_message_size(size).seed(seed);
        live_with(&format!("frames of {size}"), builder).await;
    }
}

/// A longer one would end the process, in the middle of a handshake.
#[tokio::test]
async fn protocol_names() {
    for alpn in [&b"x"[..], &[0xff; 255]] {
        let builder = Gossip::builder().alpn(alpn);
        live_with(&format!("an ALPN of {} bytes", alpn.len()), builder).await;
    }
    let book = MemoryLookup::new();
    let endpoint = bind(3, &book).await;
    for alpn in [&b""[..], &[b'y'; 256], &[b'z'; 70_000]] {
        let refused = Gossip::builder().alpn(alpn).try_spawn(endpoint.clone());
        let what = alpn.len();
        assert!(matches!(refused, Err(BuildError::Config(_))), "{what}");
    }
}

#[tokio::test]
async fn subscriptions() {
    let book = MemoryLookup::new();
    let node = Node::start(1, &book).await;
    let everybody: BTreeSet<_> = (0..=255).map(id).collect();
    for capacity in [0, 1, usize::MAX] {
        for bootstrap in [BTreeSet::new(), BTreeSet::from([id(1)]), everybody.clone()] {
            let options = JoinOptions {
                bootstrap,
                subscription_capacity: capacity,
            };
            let topic = TopicId::from_bytes([0xff; 32]);
            let subscribed = node.gossip.subscribe_with_opts(topic, options).await;
            let mut subscribed = subscribed.expect("it runs");
            assert!(!subscribed.is_joined());
            assert_eq!(subscribed.neighbors().count(), 0);
            let nothing = futures_lite::future::poll_once(subscribed.next()).await;
            assert!(nothing.is_none());
        }
    }
    node.stop().await;
}

#[test]
fn numbers_stay_within_bounds() {
    let DeliveryScope::Swarm(most) = DeliveryScope::Swarm(u16::MAX.into()) else {
        unreachable!("it was made so")
    };
    assert_eq!(most.next(), most);
    assert_eq!(most + 1.into(), most);
    let none = most - most;
    assert_eq!(none - most, none);
    assert_eq!(none, 0.into());
    let hops = HyparviewConfig::default().active_random_walk_length;
    let none = hops - hops;
    assert!(none.expired());
    assert_eq!((none - hops, none.next()), (none, none));
}
