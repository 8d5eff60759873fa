//! What becomes of topics in another process when a side is slow, goes away, or was never there.

mod common;
mod rpc_setup;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use common::*;
use futures_lite::{StreamExt, future};
use iroh::address_lookup::memory::MemoryLookup;
use irpc::util::{configure_client_insecure, configure_server, make_server_endpoint};
use rpc_setup::*;
use smol_gossip::{
    Gossip, TopicId,
    api::{ApiError, Command, Event, GossipApi, JoinOptions},
};

#[tokio::test]
async fn a_client_that_disconnects_leaves_its_topics() {
    for [client, daemon] in PAIRS {
        println!("{client:?} connects to {daemon:?}");
        let book = MemoryLookup::new();
        let daemon = Daemon::start(daemon, 1, &book).await;
        let node = Node::start(2, &book).await;
        let mut there = node.subscribe(topic(1), &[]).await;
        let endpoint = client_endpoint();
        let keep: Box<dyn std::any::Any> = match client {
            Kind::Ours => {
                let api = GossipApi::connect(endpoint.clone(), daemon.addr());
                let joined = api.subscribe_and_join(topic(1), vec![node.id()]);
                Box::new(within("a neighbor", joined).await.expect("the daemon runs"))
            }
            Kind::Upstream => {
                let api = iroh_gossip::api::GossipApi::connect(endpoint.clone(), daemon.addr());
                let topic = (*topic(1).as_bytes()).into();
                let joined = api.subscribe_and_join(topic, vec![node.id()]);
                Box::new(within("a neighbor", joined).await.expect("the daemon runs"))
            }
        };
        there.events.up(daemon.id()).await;
        // As if its process had ended.
        endpoint.close(0u8.into(), b"");
        there.events.down(daemon.id()).await;
        drop(keep);
        daemon.stop().await;
        node.stop().await;
    }
}

#[tokio::test]
async fn when_the_node_ends_the_streams_of_its_clients_do() {
    for kind in [Kind::Ours, Kind::Upstream] {
        let book = MemoryLookup::new();
        let (daemon, gossip) = Daemon::ours(1, &book).await;
        let node = Node::start(2, &book).await;
        let _there = node.subscribe(topic(1), &[]).await;
        let client = AnyClient::connect(kind, &daemon);
        let mut here = client.subscribe(topic(1), &[node.id()]).await;
        here.events.joined().await;
        within("shutdown", gossip.shutdown()).await.expect("it ran");
        here.events.end().await;
        match (here.sender, client) {
            (AnySender::Ours(sender), AnyClient::Ours(client)) => {
                let refused = async {
                    while sender.broadcast("late".into()).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                };
                within("the sender to close", refused).await;
                let topic = within("subscribe", client.subscribe(topic(1), vec![])).await;
                let mut topic = topic.expect("the daemon still listens");
                let joined = within("the end", topic.joined()).await;
                assert!(matches!(joined, Err(ApiError::Closed { .. })), "{joined:?}");
            }
            (AnySender::Upstream(_), AnyClient::Upstream(_)) => {}
            _ => unreachable!("both are of one kind"),
        }
        daemon.stop().await;
        node.stop().await;
    }
}

/// An endpoint of a client that holds little on the way, so that the daemon notices early.
fn slow_endpoint() -> noq::Endpoint {
    let mut config = configure_client_insecure().expect("a provider");
    let mut transport = noq::TransportConfig::default();
    transport.stream_receive_window(4096u32.into());
    config.transport_config(Arc::new(transport));
    let endpoint = client_endpoint();
    endpoint.set_default_client_config(config);
    endpoint
}

#[tokio::test]
async fn when_the_node_ends_its_clients_still_hear_what_came_before() {
    for kind in [Kind::Ours, Kind::Upstream] {
        for sends_late in [false, true] {
            println!("{kind:?}, which sends late: {sends_late}");
            let book = MemoryLookup::new();
            let (daemon, gossip) = Daemon::ours(1, &book).await;
            let node = Node::start(2, &book).await;
            let there = node.subscribe(topic(1), &[]).await;
            let client = AnyClient::connect_from(slow_endpoint(), kind, &daemon);
            let mut here = client.subscribe(topic(1), &[node.id()]).await;
            here.events.joined().await;
            let mut local = subscribe(&gossip, topic(1), &[]).await;
            // A hundred times what the client holds.
            let large = |n| Bytes::from(format!("{n:04000}"));
            let messages: BTreeSet<Bytes> = (0..100).map(large).collect();
            for message in &messages {
                there.broadcast(message.clone()).await;
            }
            local.events.receive(&messages).await;
            within("shutdown", gossip.shutdown()).await.expect("it ran");
            if sends_late {
                here.sender.broadcast("late").await;
            }
            here.events.receive(&messages).await;
            here.events.end().await;
            daemon.stop().await;
            node.stop().await;
        }
    }
}

#[tokio::test]
async fn when_the_connection_is_lost_the_stream_says_so_once() {
    for kind in [Kind::Ours, Kind::Upstream] {
        let book = MemoryLookup::new();
        let daemon = Daemon::start(kind, 1, &book).await;
        let topic = within("subscribe", daemon.client().subscribe(topic(1), vec![])).await;
        let (sender, mut receiver) = topic.expect("the daemon runs").split();
        daemon.endpoint.close(0u8.into(), b"");
        let last = within("the error", receiver.next()).await;
        assert!(matches!(last, Some(Err(ApiError::Rpc { .. }))), "{last:?}");
        assert!(within("the end", receiver.next()).await.is_none());
        let refused = async {
            while sender.broadcast("late".into()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within("the sender to close", refused).await;
        let late = sender.publish("late".into()).await;
        assert!(matches!(late, Err(ApiError::Closed { .. })), "{late:?}");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_neighbor_is_not_waited_for_on_a_connection_that_is_lost() {
    let book = MemoryLookup::new();
    let (daemon, _) = Daemon::ours(1, &book).await;
    let topic = within("subscribe", daemon.client().subscribe(topic(1), vec![])).await;
    let mut topic = topic.expect("the daemon runs");
    daemon.endpoint.close(0u8.into(), b"");
    let joined = within("the error", topic.joined()).await;
    assert!(matches!(joined, Err(ApiError::Rpc { .. })), "{joined:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_connects_again_to_a_daemon_that_was_restarted() {
    let book = MemoryLookup::new();
    let node = Node::start(1, &book).await;
    let (config, _) = configure_server().expect("a certificate");
    let endpoint = noq::Endpoint::server(config.clone(), LOOPBACK).expect("loopback is there");
    let addr = endpoint.local_addr().expect("it is bound");
    let listening = tokio::spawn(node.gossip.clone().listen(endpoint.clone()));
    let client = GossipApi::connect(client_endpoint(), addr);
    let first = within("subscribe", client.subscribe(topic(1), vec![])).await;
    let mut first = first.expect("the daemon runs");
    endpoint.close(0u8.into(), b"");
    within("listening to end", listening)
        .await
        .expect("no panic");
    within("all closed", endpoint.wait_idle()).await;
    drop(endpoint);
    let lost = within("the error", first.next()).await;
    assert!(matches!(lost, Some(Err(ApiError::Rpc { .. }))), "{lost:?}");

    let bound = async {
        loop {
            match noq::Endpoint::server(config.clone(), addr) {
                Ok(endpoint) => return endpoint,
                // The old socket lives as long as the task that drove it.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let endpoint = within("the port", bound).await;
    let listening = tokio::spawn(node.gossip.clone().listen(endpoint.clone()));
    let again = within("subscribe", client.subscribe(topic(1), vec![])).await;
    again.expect("connected again");
    endpoint.close(0u8.into(), b"");
    within("listening to end", listening)
        .await
        .expect("no panic");
    node.stop().await;
}

#[tokio::test]
async fn what_was_accepted_arrives_though_all_handles_are_dropped() {
    for kind in [Kind::Ours, Kind::Upstream] {
        let book = MemoryLookup::new();
        let daemon = Daemon::start(kind, 1, &book).await;
        let node = Node::start(2, &book).await;
        let mut there = node.subscribe(topic(1), &[]).await;
        let api = daemon.client();
        let topic = api.subscribe_and_join(topic(1), vec![node.id()]);
        let mut topic = within("a neighbor", topic).await.expect("the daemon runs");
        let last = contents(0..64);
        for content in &last {
            topic.broadcast(content.clone()).await.expect("open");
        }
        drop((topic, api));
        there.events.receive(&last).await;
        there.events.down(daemon.id()).await;
        daemon.stop().await;
        node.stop().await;
    }
}

#[tokio::test]
async fn a_slow_client_hurts_nobody_and_finds_its_neighbors_exact() {
    const ROUNDS: usize = 60;
    const ROUND: usize = 100;
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let node = Node::start(2, &book).await;
    let there = node.subscribe(topic(1), &[]).await;
    let mut local = subscribe(&gossip, topic(1), &[node.id()]).await;
    local.events.joined().await;

    let api = iroh_gossip::api::GossipApi::connect(slow_endpoint(), daemon.addr());
    let slow = api.subscribe_and_join((*topic(1).as_bytes()).into(), vec![]);
    let slow = within("a neighbor", slow).await.expect("the daemon runs");
    let (_slow_sender, mut slow) = slow.split();
    // Reads the connection, but has an application that does not.
    let options = JoinOptions {
        subscription_capacity: 4,
        ..JoinOptions::with_bootstrap([])
    };
    let lazy = daemon.client();
    let lazy = within("subscribe", lazy.subscribe_with_opts(topic(1), options)).await;
    let (_lazy_sender, mut lazy) = lazy.expect("the daemon runs").split();
    within("a neighbor", lazy.joined())
        .await
        .expect("there is one");

    let client = AnyClient::connect(Kind::Ours, &daemon);
    let mut fast = client.subscribe(topic(1), &[]).await;
    fast.events.joined().await;
    for round in 0..ROUNDS {
        let messages: BTreeSet<Bytes> = contents((0..ROUND).map(|n| round * ROUND + n));
        for message in &messages {
            there.broadcast(message.clone()).await;
        }
        local.events.receive(&messages).await;
        fast.events.receive(&messages).await;
    }

    // Meanwhile the neighbors change.
    let third = Node::start(3, &book).await;
    let mut later = third.subscribe(topic(1), &[daemon.id()]).await;
    later.events.up(daemon.id()).await;
    fast.events.up(third.id()).await;
    node.stop().await;
    fast.events.down(id(2)).await;
    later.broadcast("last").await;
    assert_eq!(fast.events.message().await.content, "last");

    let mut received = 0;
    let mut lagged = 0;
    loop {
        let event = within("the last message", slow.next()).await;
        match event.expect("open").expect("connected") {
            iroh_gossip::api::Event::Received(message) if message.content == "last" => break,
            iroh_gossip::api::Event::Received(_) => received += 1,
            iroh_gossip::api::Event::Lagged => lagged += 1,
            _ => {}
        }
    }
    assert!(
        lagged > 0 && received < ROUNDS * ROUND,
        "{lagged} {received}"
    );
    assert_eq!(slow.neighbors().collect::<Vec<_>>(), [third.id()]);

    let mut lagged = false;
    loop {
        let event = within("the last message", lazy.next()).await;
        match event.expect("open").expect("connected") {
            Event::Received(message) if message.content == "last" => break,
            event => lagged |= event == Event::Lagged,
        }
    }
    assert!(lagged);
    assert_eq!(lazy.neighbors().collect::<Vec<_>>(), [third.id()]);
    daemon.stop().await;
    third.stop().await;
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_an_error() {
    let mut config = configure_client_insecure().expect("a provider");
    let mut transport = noq::TransportConfig::default();
    let soon = Duration::from_millis(200);
    transport.max_idle_timeout(Some(soon.try_into().expect("in QUIC's range")));
    config.transport_config(Arc::new(transport));
    let endpoint = client_endpoint();
    endpoint.set_default_client_config(config);
    let (deaf, _) = make_server_endpoint(LOOPBACK).expect("loopback is there");
    let addr = deaf.local_addr().expect("it is bound");
    let client = GossipApi::connect(endpoint, addr);
    let refused = within("the error", client.subscribe(topic(1), vec![])).await;
    assert!(matches!(refused, Err(ApiError::Rpc { .. })), "{refused:?}");
    // Giving up early leaves nothing behind that would harm the next one.
    assert!(
        future::poll_once(client.subscribe(topic(1), vec![]))
            .await
            .is_none()
    );
    let refused = within("the error", client.subscribe(topic(1), vec![])).await;
    assert!(matches!(refused, Err(ApiError::Rpc { .. })), "{refused:?}");
}

#[test]
fn handles_work_on_any_executor_and_no_runtime_is_an_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let book = MemoryLookup::new();
    let (daemon, _) = runtime.block_on(Daemon::ours(1, &book));
    let addr = daemon.addr();
    let (connected, endpoint) = runtime.block_on(async { (daemon.client(), client_endpoint()) });
    smol::block_on(async {
        let topic = within("subscribe", connected.subscribe(topic(1), vec![])).await;
        let mut topic = topic.expect("the daemon runs");
        topic.broadcast("hello".into()).await.expect("open");
    });

    let outside = GossipApi::connect(endpoint.clone(), addr);
    let refused = smol::block_on(outside.subscribe(topic(1), vec![]));
    assert!(matches!(&refused, Err(ApiError::Rpc { .. })), "{refused:?}");
    let reason = format!("{:?}", refused.err());
    assert!(reason.contains("no tokio runtime"), "{reason}");
    // It is enough to subscribe in one.
    let found = runtime.block_on(within("subscribe", outside.subscribe(topic(1), vec![])));
    found.expect("the daemon runs");

    let gossip: Gossip = daemon.gossip.clone().expect("one of ours");
    smol::block_on(within("the refusal", gossip.listen(endpoint)));
    runtime.block_on(daemon.stop());
}

#[tokio::test]
async fn a_daemon_that_stops_listening_lets_its_clients_go() {
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let node = Node::start(2, &book).await;
    let mut there = node.subscribe(topic(1), &[]).await;
    let joined = daemon.client();
    let joined = joined.subscribe_and_join(topic(1), vec![node.id()]);
    let mut here = within("a neighbor", joined).await.expect("the daemon runs");
    there.events.up(daemon.id()).await;
    daemon.listening.abort();
    there.events.down(daemon.id()).await;
    let ended = async { while let Some(Ok(_)) = here.next().await {} };
    within("the end", ended).await;
    // The node goes on.
    let mut local = subscribe(&gossip, topic(1), &[node.id()]).await;
    local.events.joined().await;
    drop(gossip);
    within("shutdown", daemon.router.shutdown())
        .await
        .expect("nothing panicked");
    node.stop().await;
}

#[tokio::test]
async fn there_is_an_end_to_how_many_may_connect() {
    const MAX: usize = 256;
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let endpoint = client_endpoint();
    let connect = || async {
        let connecting = endpoint.connect(daemon.addr(), "localhost");
        connecting.expect("a way there").await
    };
    let mut connections = Vec::new();
    for _ in 0..MAX {
        let connection = within("a connection", connect()).await;
        connections.push(connection.expect("there is room"));
    }
    let refused = within("the refusal", connect()).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(gossip.metrics().rpc_refused.get(), 1);
    // There is room again when one goes.
    connections.pop();
    let room = async { while connect().await.is_err() {} };
    within("room", room).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_no_command_ends_the_subscription_of_its_sender_alone() {
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let honest = AnyClient::connect(Kind::Ours, &daemon);
    let honest = honest.subscribe(topic(1), &[]).await;
    let endpoint = client_endpoint();
    let connecting = endpoint.connect(daemon.addr(), "localhost");
    let connection = connecting
        .expect("a way there")
        .await
        .expect("there is room");
    // A request, and then: a command that there is none of, and a length beyond all bounds.
    for garbage in [&[1, 9][..], &[0xff; 12], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let (mut send, mut recv) = connection.open_bi().await.expect("connected");
        send.write_all(&request(2)).await.expect("connected");
        send.write_all(garbage).await.expect("connected");
        let stopped = within("the end of it", send.stopped()).await;
        assert!(matches!(stopped, Ok(Some(_))), "{stopped:?}");
        // Events would go on.
        recv.stop(0u8.into()).expect("it is open");
    }
    let node = Node::start(2, &book).await;
    let mut there = node.subscribe(topic(1), &[daemon.id()]).await;
    there.events.up(daemon.id()).await;
    honest.sender.broadcast("hello").await;
    assert_eq!(there.events.message().await.content, "hello");
    // What is no request ends the connection, though there is a subscription in it.
    let (mut kept, mut events) = connection.open_bi().await.expect("connected");
    kept.write_all(&request(2)).await.expect("connected");
    subscribed(&gossip, topic(2)).await;
    let (mut send, _recv) = connection.open_bi().await.expect("connected");
    send.write_all(&[1, 9]).await.expect("connected");
    send.finish().expect("it is open");
    let reason = within("the connection to end", connection.closed()).await;
    let reason = reason.to_string();
    assert!(reason.contains("no request"), "{reason}");
    let ended = within("the end of events", events.read_chunk(1)).await;
    assert!(ended.is_err(), "{ended:?}");
    let left = async {
        while gossip
            .topic_stats(topic(2))
            .await
            .expect("it runs")
            .is_some()
        {
            tokio::task::yield_now().await;
        }
    };
    within("the topic to be left", left).await;
    daemon.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn a_command_of_any_length_is_passed_over_and_not_held() {
    const LENGTH: usize = 8 << 20;
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let node = Node::start(2, &book).await;
    let mut there = node.subscribe(topic(2), &[daemon.id()]).await;
    let endpoint = client_endpoint();
    let connecting = endpoint.connect(daemon.addr(), "localhost");
    let connection = connecting
        .expect("a way there")
        .await
        .expect("there is room");
    let (mut send, _recv) = connection.open_bi().await.expect("connected");
    send.write_all(&request(2)).await.expect("connected");
    there.events.up(daemon.id()).await;
    let length = [0x80, 0x80, 0x80, 0x04];
    send.write_all(&length).await.expect("connected");
    let is_passed_over = async {
        while gossip.metrics().broadcast_too_large.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("its length to be enough", is_passed_over).await;
    // If it were read, it would be found to be no command.
    let sent = async {
        send.write_all(&vec![0xff; LENGTH]).await?;
        let command = Command::Broadcast("after it".into());
        let command = postcard::to_stdvec(&command).expect("it can be written");
        send.write_all(&[command.len() as u8]).await?;
        send.write_all(&command).await
    };
    within("all to be read", sent).await.expect("still wanted");
    assert_eq!(there.events.message().await.content, "after it");
    assert_eq!(gossip.metrics().broadcast_too_large.get(), 1);
    daemon.stop().await;
    node.stop().await;
}

#[tokio::test]
async fn a_request_that_was_given_up_is_left_out() {
    let book = MemoryLookup::new();
    let (daemon, gossip) = Daemon::ours(1, &book).await;
    let endpoint = client_endpoint();
    let connecting = endpoint.connect(daemon.addr(), "localhost");
    let connection = connecting
        .expect("a way there")
        .await
        .expect("there is room");
    let (mut kept, _events) = connection.open_bi().await.expect("connected");
    kept.write_all(&request(2)).await.expect("connected");
    subscribed(&gossip, topic(2)).await;
    for len in [0, 1, 20] {
        let (mut ended, _recv) = connection.open_bi().await.expect("connected");
        let part = &request(3)[..len];
        ended.write_all(part).await.expect("connected");
        ended.finish().expect("it is open");
        let (mut taken_back, _recv) = connection.open_bi().await.expect("connected");
        taken_back.write_all(part).await.expect("connected");
        taken_back.reset(0u8.into()).expect("it is open");
    }
    let (mut later, _events) = connection.open_bi().await.expect("connected");
    later.write_all(&request(4)).await.expect("connected");
    subscribed(&gossip, topic(4)).await;
    let stats = within("stats", gossip.topic_stats(topic(3))).await;
    assert_eq!(stats.expect("it runs"), None);
    assert!(connection.close_reason().is_none());
    daemon.stop().await;
}

/// A request for a topic, as it is on the wire.
fn request(n: u8) -> Vec<u8> {
    let mut request = vec![34, 0];
    request.extend(topic(n).as_bytes());
    request.push(0);
    request
}

async fn subscribed(gossip: &Gossip, topic: TopicId) {
    let subscribed = async {
        while gossip.topic_stats(topic).await.expect("it runs").is_none() {
            tokio::task::yield_now().await;
        }
    };
    within("the subscription", subscribed).await;
}
