//! Each bound of the network layer, filled to the brim. Those of the protocol state have tests of
//! their own there.

use std::{cell::Cell, collections::BTreeSet, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;

use super::{
    check,
    raw::{self, Raw},
    world::{World, id, message, ms, secs, topic},
};
use crate::{
    api::ApiError,
    net::{
        hold::STREAMS_AT_FIRST,
        transport::{Connection, SendStream, Transport, memory::DialFault},
    },
    proto::{Message, PeerData, hyparview, wire::StreamHeader},
};

fn with_limits(change: impl FnOnce(&mut crate::net::Limits)) -> World {
    let mut world = World::new(7);
    change(&mut world.limits);
    world
}

#[test]
fn the_least_bounds_leave_nobody_deaf() {
    let mut world = with_limits(|limits| {
        limits.send_queue_bytes = 0;
        limits.streams_per_connection = 0;
        limits.connections_per_peer = 0;
        limits.idle_peers = 0;
        limits.dials = 0;
        limits.waiting_dials = 0;
        limits.handshakes = 0;
        limits.known_addresses = 0;
        limits.topics = 1;
        limits.stuck_timeout = Duration::ZERO;
        limits.idle_timeout = Duration::ZERO;
        limits.header_timeout = Duration::ZERO;
        limits.dial_timeout = Duration::ZERO;
    });
    world.start_all(4);
    world.join(0, 0, &[]);
    for n in 1..4 {
        world.join(n, 0, &[0]);
    }
    let joined = |world: &mut World| check::is_connected(world, 0);
    world.run_until("all are joined", secs(60), joined);
    // Who had to be turned away comes again.
    world.run_for(secs(30));
    for number in 0..4 {
        world.broadcast(number as usize, 0, message(number, 4000));
    }
    world.run_for(secs(5));
    for n in 0..4 {
        let got = world.subscription_to(n, 0).unwrap().received.len();
        assert_eq!(got, 3, "node {n}");
    }
}

#[test]
fn idle_peers_are_bounded() {
    let mut world = with_limits(|limits| limits.idle_peers = 3);
    world.start(0);
    world.join(0, 0, &[]);
    let mut connections = Vec::new();
    for n in 10..18 {
        connections.push(raw::dial(&mut world, n, 0));
        assert!(world.nodes[&0].node.links.len() <= 3);
    }
    assert_eq!(world.nodes[&0].metrics.connections_refused.get(), 5);
    // Who joins is needed, and then there is room again.
    world.run_for(secs(15));
    Raw::joined(&mut world, 30, 0, topic(0));
    assert_eq!(world.neighbors(0, 0), [30]);
}

#[test]
fn a_crowd_that_says_something_now_and_then_shuts_nobody_out() {
    let mut world = with_limits(|limits| limits.idle_peers = 3);
    world.start(0);
    world.join(0, 0, &[]);
    let mut crowd: Vec<_> = (10..13).map(|n| Raw::new(&mut world, n, 0)).collect();
    // A frame that takes for ever.
    let beginning = Bytes::copy_from_slice(&100u32.to_be_bytes());
    for one in &mut crowd {
        one.write(&mut world, topic(7), beginning.clone());
    }
    for _ in 0..5 {
        world.run_for(secs(4));
        for one in &mut crowd {
            one.write(&mut world, topic(7), Bytes::from_static(b"."));
        }
    }
    assert_eq!(
        world.nodes[&0].node.links.len(),
        3,
        "they are heard, and stay"
    );
    Raw::joined(&mut world, 30, 0, topic(0));
    assert_eq!(world.neighbors(0, 0), [30]);
    assert_eq!(world.nodes[&0].metrics.connections_refused.get(), 1);
}

#[test]
fn connections_to_one_peer_are_bounded() {
    let mut world = with_limits(|limits| limits.connections_per_peer = 2);
    world.start(0);
    let connections: Vec<_> = (0..5).map(|_| raw::dial(&mut world, 10, 0)).collect();
    assert_eq!(connections.len(), 5);
    assert_eq!(world.nodes[&0].node.links.len(), 2);
    assert_eq!(world.nodes[&0].metrics.connections_surplus.get(), 3);
}

#[test]
fn addresses_of_a_peer_are_bounded_and_those_left_out_are_counted() {
    let mut world = World::new(7);
    world.start(0);
    world.join(0, 0, &[]);
    let addresses: BTreeSet<SocketAddr> =
        (1..=40).map(|port| ([10, 0, 0, 1], port).into()).collect();
    // As they travel: no relay, and all these.
    let data = postcard::to_stdvec(&(None::<()>, addresses)).unwrap();
    assert!(data.len() < world.limits.protocol.peer_data_bytes);
    let mut raw = Raw::new(&mut world, 10, 0);
    let join = hyparview::Message::Join(Some(PeerData::new(data)));
    raw.send(&mut world, topic(0), Message::Swarm(join));
    let running = &world.nodes[&0];
    let known = running.node.transport.book.addresses(&id(10));
    let kept = known[0].clone().into_addr(id(10)).addrs.len();
    assert_eq!(kept, 16);
    assert_eq!(running.metrics.addresses_left_out.get(), 24);
    assert_eq!(world.neighbors(0, 0), [10], "it is a neighbor all the same");
}

#[test]
fn dials_are_bounded_and_so_are_those_that_wait() {
    let mut world = with_limits(|limits| {
        limits.dials = 2;
        limits.waiting_dials = 3;
    });
    world.start(0);
    for n in 1..12 {
        world.network.set_dials_to(id(n), Some(DialFault::Hangs));
    }
    world.join(0, 0, &(1..12).collect::<Vec<_>>());
    world.run_for(secs(1));
    let dials = &world.nodes[&0].node.dials;
    assert_eq!((dials.active, dials.waiting.len()), (2, 3));
    assert!(world.nodes[&0].metrics.dials_refused.get() > 0);
    // All are tried in their turn, also the one that was refused: it is there.
    world.network.set_dials_to(id(11), None);
    world.start(11);
    world.join(11, 0, &[]);
    let joined = |world: &mut World| world.neighbors(0, 0) == [11];
    world.run_until("joined", secs(300), joined);
}

#[test]
fn topics_are_bounded() {
    let mut world = with_limits(|limits| limits.topics = 2);
    world.start(0);
    for n in 0..4 {
        world.join(0, n, &[]);
    }
    world.run_for(ms(10));
    let ended = |world: &World| {
        let all = world.nodes[&0].subscriptions.iter();
        all.map(|one| one.ended).collect::<Vec<_>>()
    };
    assert_eq!(ended(&world), [false, false, true, true]);
    assert_eq!(world.nodes[&0].metrics.topics_refused.get(), 2);
    let sender = world.nodes[&0].subscriptions[2].sender.clone();
    world.spawn(async move {
        let sent = sender.broadcast(message(1, 10)).await;
        assert!(matches!(sent, Err(ApiError::Closed { .. })), "{sent:?}");
    });
    world.run_for(ms(10));
    world.leave(0, 0);
    world.leave(0, 3);
    world.join(0, 3, &[]);
    world.run_for(ms(10));
    assert!(!world.subscription_to(0, 3).unwrap().ended, "there is room");
}

#[test]
fn streams_of_a_peer_are_bounded() {
    let mut world = with_limits(|limits| {
        // What a connection begins with cannot be taken back.
        limits.streams_per_connection = 120;
        // Or else this comes first.
        limits.header_timeout = secs(3600);
        limits.idle_timeout = secs(3600);
    });
    world.start(0);
    let connection = raw::dial(&mut world, 10, 0);
    let opened = Rc::new(Cell::new(0));
    let count = opened.clone();
    world.spawn(async move {
        let mut streams = Vec::new();
        while let Ok(mut stream) = connection.open_stream().await {
            count.set(count.get() + 1);
            // Half a header.
            stream.write_all(&mut ["\0\0".into()]).await.unwrap();
            streams.push(stream);
        }
    });
    world.run_for(secs(30));
    assert_eq!(opened.get(), 120, "the transport holds it to that");
    let link = world.nodes[&0].node.links.values().next().unwrap();
    assert!(link.header.is_some() && link.readers.is_empty());
    assert!(!link.accepting, "one header at a time is waited for");
}

/// How many streams a peer gets that opens as many as it may, each for another topic.
fn streams_of_one_with_topics(
    world: &mut World,
    topics: impl Iterator<Item = usize> + 'static,
) -> usize {
    let connection = raw::dial(world, 10, 0);
    let opened = Rc::new(Cell::new(0));
    let count = opened.clone();
    world.spawn(async move {
        let mut streams = Vec::new();
        for topic_id in topics.map(topic) {
            let Ok(mut stream) = connection.open_stream().await else {
                break;
            };
            count.set(count.get() + 1);
            let header = StreamHeader { topic_id }.encode();
            stream.write_all(&mut [header]).await.unwrap();
            streams.push(stream);
        }
        connection.closed().await;
    });
    world.run_for(secs(30));
    opened.get()
}

#[test]
fn a_peer_gets_more_streams_only_for_topics_that_we_are_in() {
    let patient = |limits: &mut crate::net::Limits| limits.idle_timeout = secs(3600);
    let mut world = with_limits(patient);
    world.start(0);
    world.join(0, 0, &[]);
    let of_others = streams_of_one_with_topics(&mut world, 1..400);
    assert_eq!(of_others, STREAMS_AT_FIRST as usize);

    let mut world = with_limits(patient);
    world.start(0);
    for topic in 0..400 {
        world.join(0, topic, &[]);
    }
    assert_eq!(streams_of_one_with_topics(&mut world, 0..400), 400);
    let link = world.nodes[&0].node.links.values().next().unwrap();
    assert_eq!(link.readers.len(), 400, "all are open");
}

#[test]
fn handshakes_are_bounded_and_the_others_wait() {
    let mut world = with_limits(|limits| limits.handshakes = 2);
    world.start(0);
    world.join(0, 0, &[]);
    for n in 1..30 {
        world.start(n);
        world.join(n, 0, &[0]);
    }
    // The bound itself is looked at after every poll.
    let joined = |world: &mut World| check::is_connected(world, 0);
    world.run_until("all are joined", secs(30), joined);
}

#[test]
fn handshakes_that_do_not_end_keep_nobody_waiting() {
    let mut world = with_limits(|limits| limits.handshakes = 2);
    world.start(0);
    world.join(0, 0, &[]);
    for n in 10..14 {
        // What it says arrives, and no answer does.
        world.network.set_cut(id(0), id(n), true);
        let transport = world.network.attach(id(n), 1);
        world.network.introduce(id(n), id(0));
        world.spawn(async move {
            let _ = transport.connect(id(0)).await;
        });
    }
    world.run_for(secs(1));
    assert_eq!(world.nodes[&0].node.handshakes.len(), 2);
    assert!(world.nodes[&0].node.transport.crowded);
    world.start(1);
    world.join(1, 0, &[0]);
    let joined = |world: &mut World| check::is_connected(world, 0);
    world.run_until("it is let in", secs(6), joined);
    world.run_for(secs(20));
    assert_eq!(world.nodes[&0].node.handshakes.len(), 0);
    assert!(!world.nodes[&0].node.transport.crowded);
    assert!(world.nodes[&0].metrics.handshakes_timed_out.get() >= 2);
}

#[test]
fn handshakes_that_never_end_and_come_on_and_on_keep_nobody_out() {
    let mut world = with_limits(|limits| limits.handshakes = 4);
    world.start(0);
    world.join(0, 0, &[]);
    for n in 10..130 {
        world.network.set_cut(id(0), id(n), true);
        let transport = world.network.attach(id(n), 1);
        world.network.introduce(id(n), id(0));
        world.spawn(async move {
            let _ = transport.connect(id(0)).await;
        });
        world.run_for(ms(300));
        if n == 100 {
            world.start(1);
            world.join(1, 0, &[0]);
        }
    }
    assert!(check::is_connected(&world, 0), "though many came before");
}

#[test]
fn what_waits_for_a_peer_is_bounded_in_bytes() {
    let mut world = with_limits(|limits| {
        limits.send_queue_bytes = 64 * 1024;
        limits.stuck_timeout = secs(30);
    });
    world.start_all(3);
    for n in 0..3 {
        world.join(n, 0, &[0, 1, 2]);
    }
    world.run_for(secs(3));
    world.network.stop_reads(id(2), world.now() + secs(20));
    // Node 1 reads, so nobody is held back.
    for number in 0..4000 {
        world.broadcast(0, 0, message(number, if number < 100 { 4000 } else { 20 }));
        if number % 20 == 0 {
            world.run_for(ms(50));
        }
    }
    world.run_for(secs(2));
    let metrics = &world.nodes[&0].metrics;
    assert!(metrics.payloads_announced.get() > 0);
    assert!(metrics.send_queue_dropped.get() > 0);
    let got = world.subscription_to(1, 0).unwrap().received.len();
    assert_eq!(got, 4000, "who reads gets everything");
    // And who reads again is served again.
    world.run_for(secs(60));
    world.broadcast(0, 0, message(9999, 4000));
    world.run_for(secs(5));
    assert!(world.received(2, 0, 9999).is_some());
}

#[test]
fn what_is_in_writes_to_a_peer_that_does_not_read_is_bounded() {
    let mut world = with_limits(|limits| limits.send_queue_bytes = 128 * 1024);
    world.start_all(2);
    for n in 0..2 {
        for topic in 0..30 {
            world.join(n, topic, &[0]);
        }
    }
    world.run_for(secs(3));
    world.network.stop_reads(id(1), world.now() + secs(8));
    let mut most = 0;
    for topic in 0..30 {
        for number in 0..7 {
            world.broadcast(0, topic, message(100 * number + topic as u64, 4000));
        }
        world.run_for(ms(20));
        most = world.nodes[&0].node.peers[&id(1)].writing.max(most);
    }
    assert!(most > 64 * 1024, "it is looked at in time: {most}");
    assert!(most <= (128 + 64) * 1024, "{most} bytes");
    world.run_for(secs(30));
    for topic in 0..30 {
        world.broadcast(0, topic, message(9000 + topic as u64, 4000));
    }
    world.run_for(secs(5));
    for topic in 0..30 {
        assert!(world.received(1, topic, 9000 + topic as u64).is_some());
    }
}

#[test]
fn a_topic_of_which_nothing_waits_does_not_wait_for_another() {
    let mut world = World::new(7);
    world.start_all(2);
    for n in 0..2 {
        world.join(n, 0, &[0]);
        world.join(n, 1, &[0]);
    }
    world.run_for(secs(3));
    world.network.stop_reads(id(1), world.now() + secs(5));
    for number in 0..1000 {
        world.broadcast(0, 0, message(number, 4000));
    }
    world.run_for(ms(10));
    assert_eq!(world.nodes[&0].node.paused.len(), 1, "the flood waits");
    world.broadcast(0, 1, message(1, 4000));
    world.run_for(ms(10));
    let node = &world.nodes[&0].node;
    assert!(node.paused.values().eq([&topic(0)]), "and nothing else");
    world.run_for(secs(60));
    assert_eq!(world.subscription_to(1, 0).unwrap().received.len(), 1000);
    assert!(world.received(1, 1, 1).is_some());
}

#[test]
fn a_message_that_has_to_wait_is_hashed_once() {
    let mut world = with_limits(|limits| limits.send_queue_bytes = 64 * 1024);
    world.start_all(2);
    for n in 0..2 {
        world.join(n, 0, &[0]);
    }
    world.run_for(secs(3));
    world.network.stop_reads(id(1), world.now() + secs(5));
    for number in 0..200 {
        world.broadcast(0, 0, message(number, 4000));
    }
    world.run_for(secs(30));
    let got = world.subscription_to(1, 0).unwrap().received.len();
    let node = &world.nodes[&0].node;
    assert_eq!((got, node.identified), (200, 200));
}

#[test]
fn events_for_an_application_are_bounded_and_counted() {
    let mut world = World::new(7);
    world.start_all(2);
    world.join(0, 0, &[]);
    world.join(1, 0, &[0]);
    world.run_for(secs(2));
    world.running(1).subscriptions[0].reading = false;
    for number in 0..2500 {
        world.broadcast(0, 0, message(number, 20));
        if number % 50 == 0 {
            world.run_for(ms(20));
        }
    }
    world.run_for(secs(5));
    world.running(1).subscriptions[0].reading = true;
    world.broadcast(0, 0, message(5000, 20));
    world.run_for(secs(1));
    let subscription = world.subscription_to(1, 0).unwrap();
    let dropped = world.nodes[&1].metrics.events_dropped.get();
    assert_eq!(subscription.lagged, 1);
    assert_eq!(subscription.received.len() as u64 + dropped, 2501);
}
