//! Peers that read slowly, or not at all, or break the rules.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures_lite::StreamExt;
use iroh::EndpointId;

use super::{
    check, raw,
    world::{World, id, message, ms, secs, topic},
};
use crate::{
    api::Event,
    net::transport::{Connection, RecvStream, SendStream},
    proto::{
        Message, hyparview, plumtree,
        wire::{self, StreamHeader},
    },
};

/// Nodes 0, 1 and 2, all neighbors.
fn three(seed: u64) -> World {
    let mut world = World::new(seed);
    world.start_all(3);
    for n in 0..3 {
        world.join(n, 0, &[0, 1, 2]);
    }
    world.run_for(secs(3));
    assert!((0..3).all(|n| world.neighbors(n, 0).len() == 2));
    world
}

/// Publishes at a node for a while, and fails where another one does not get all of it at once.
fn serves(world: &mut World, from: usize, to: usize, first: u64) {
    for number in first..first + 50 {
        world.broadcast(from, 0, message(number, 1000));
        world.run_for(ms(100));
        let got = world.received(to, 0, number);
        // An eager push is one way; a graft would take three and a timer.
        assert!(got.is_some(), "message {number} is late");
    }
}

#[test]
fn item_4_a_peer_that_stops_reading_costs_only_itself() {
    let mut world = three(4);
    world.network.stop_reads(id(2), world.now() + secs(3600));
    for round in 0..20 {
        for number in 0..20 {
            world.broadcast(0, 0, message(1000 + round * 20 + number, 4000));
        }
        serves(&mut world, 0, 1, round * 50 + 10_000);
    }
    assert!(
        world.nodes[&0].metrics.peers_stuck.get() > 0,
        "it was dropped"
    );
    let changes = &world.subscription_to(0, 0).unwrap().changes;
    let of_honest: Vec<_> = changes.iter().filter(|(_, peer, _)| *peer == 1).collect();
    assert_eq!(of_honest.len(), 1, "the other neighbor stayed");
}

#[test]
fn a_peer_that_reads_slowly_no_more_is_whole_again_at_once() {
    let mut world = three(4);
    world.network.set_read_rate(id(2), Some(500));
    for number in 0..60 {
        world.broadcast(0, 0, message(number, 1900));
    }
    // By now it has taken more than it would get through in a minute.
    world.run_for(secs(20));
    world.network.set_read_rate(id(2), None);
    world.run_for(secs(5));
    check::quiet(&world);
    world.broadcast(0, 0, message(1000, 100));
    world.run_for(secs(1));
    assert!(world.received(2, 0, 1000).is_some());
    let lost: Vec<u64> = (0..60)
        .filter(|number| world.received(2, 0, *number).is_none())
        .collect();
    assert_eq!(lost, [0; 0]);
}

#[test]
fn item_4_half_a_header_costs_only_its_sender() {
    let mut world = three(4);
    // Or else this comes first.
    for n in 0..3 {
        world.running(n).node.limits.idle_timeout = secs(60);
    }
    for (n, sent) in [(10, 0), (11, 2), (12, 20)] {
        let connection = raw::dial(&mut world, n, 0);
        world.spawn(async move {
            let mut stream = connection.open_stream().await.unwrap();
            let header = StreamHeader { topic_id: topic(0) }.encode();
            let part = header.slice(..sent);
            stream.write_all(&mut [part]).await.unwrap();
            connection.closed().await;
        });
        serves(&mut world, 1, 0, n as u64 * 100);
    }
    world.run_for(secs(100));
    let refused = world.nodes[&0].metrics.headers_timed_out.get();
    assert_eq!(refused, 2, "one has not even begun a stream");
    assert_eq!(world.nodes[&0].node.links.len(), 2, "the neighbors stay");
    check::quiet(&world);
}

#[test]
fn item_4_a_peer_that_stops_a_stream_costs_only_itself() {
    let mut world = three(4);
    let honest = world.subscription_to(0, 0).unwrap().changes.len();
    let connection = raw::dial(&mut world, 10, 0);
    let accepting = connection.clone();
    world.spawn(async move {
        while let Ok(mut stream) = accepting.accept_stream().await {
            stream.stop();
        }
    });
    world.spawn(async move {
        let mut stream = connection.open_stream().await.unwrap();
        let header = StreamHeader { topic_id: topic(0) }.encode();
        // A Join, without peer data.
        let join = Bytes::from_static(&[0, 0, 0, 3, 0, 0, 0]);
        stream.write_all(&mut [header, join]).await.unwrap();
        connection.closed().await;
    });
    serves(&mut world, 0, 1, 100);
    world.run_for(secs(30));
    assert_eq!(world.nodes[&0].node.links.len(), 2, "it is gone");
    let changes = &world.subscription_to(0, 0).unwrap().changes[honest..];
    assert!(
        changes.iter().all(|(_, peer, _)| *peer == 10),
        "the neighbors stay: {changes:?}"
    );
}

fn frame(message: Message<EndpointId>) -> Bytes {
    wire::encode(&message, 4096).expect("it fits")
}

#[test]
fn a_peer_that_asks_and_never_reads_is_dropped_once_its_queue_is_full() {
    let mut world = three(4);
    world.running(0).node.limits.send_queue_bytes = 64 * 1024;
    // Or else this comes first.
    world.running(0).node.limits.stuck_timeout = secs(3600);
    let connection = raw::dial(&mut world, 10, 0);
    world.network.stop_reads(id(10), world.now() + secs(3600));
    let asking = connection.clone();
    world.spawn(async move {
        let mut stream = asking.open_stream().await.unwrap();
        let header = StreamHeader { topic_id: topic(0) }.encode();
        let join = frame(Message::Swarm(hyparview::Message::Join(None)));
        let urgent = frame(Message::Swarm(hyparview::Message::Neighbor(
            hyparview::Neighbor {
                priority: hyparview::Priority::High,
                data: None,
            },
        )));
        let asked = Bytes::from(urgent.repeat(20_000));
        let mut all = [header, join, asked];
        // Until the node hangs up.
        let _ = stream.write_all(&mut all).await;
    });
    let mut number = 1000;
    let dropped = |world: &World| world.nodes[&0].metrics.peers_backlogged.get();
    while dropped(&world) == 0 && number < 3000 {
        serves(&mut world, 0, 1, number);
        number += 50;
    }
    assert_eq!(dropped(&world), 1);
    assert_eq!(world.nodes[&0].metrics.peers_stuck.get(), 0);
    world.run_for(secs(1));
    assert_eq!(world.nodes[&0].node.links.len(), 2, "it is gone");
}

#[test]
fn many_silent_streams_leave_nothing_behind() {
    // A peer that stays until it is shown the door, and one that is gone without a word.
    for silent in [false, true] {
        let mut world = three(4);
        world.run_for(secs(20));
        let before = world.running(0).node.node_stats();
        let connection = raw::dial(&mut world, 10, 0);
        world.spawn(async move {
            let mut streams = Vec::new();
            for n in 0..120 {
                let mut stream = connection.open_stream().await.unwrap();
                let topic_id = topic(100 + n);
                let header = StreamHeader { topic_id }.encode();
                stream.write_all(&mut [header]).await.unwrap();
                streams.push(stream);
            }
            connection.closed().await;
        });
        let filled = |world: &mut World| world.running(0).node.node_stats().streams_in > 120;
        world.run_until("the streams are there", secs(60), filled);
        if silent {
            world.network.crash(id(10));
        }
        world.run_for(secs(30));
        let mut after = world.running(0).node.node_stats();
        // The protocol may look after something else now.
        assert!(after.timers <= before.timers + 1, "{after:?}");
        after.timers = before.timers;
        assert_eq!(after, before);
        check::quiet(&world);
    }
}

#[test]
fn many_full_streams_do_not_hold_up_an_honest_frame() {
    const STREAMS: usize = 120;
    const FRAMES: usize = 16;
    let mut world = three(4);
    world.running(0).node.limits.idle_timeout = secs(3600);
    let connection = raw::dial(&mut world, 10, 0);
    let (flood, told) = async_channel::bounded::<()>(1);
    world.spawn(async move {
        let mut streams = Vec::new();
        for n in 0..STREAMS {
            let mut stream = connection.open_stream().await.unwrap();
            let topic_id = topic(100 + n);
            let header = StreamHeader { topic_id }.encode();
            stream.write_all(&mut [header]).await.unwrap();
            streams.push(stream);
        }
        told.recv().await.unwrap();
        let prune = frame(Message::Gossip(plumtree::Message::Prune));
        let frames = Bytes::from(prune.repeat(FRAMES));
        for stream in &mut streams {
            stream.write_all(&mut [frames.clone()]).await.unwrap();
        }
        connection.closed().await;
    });
    let filled = |world: &mut World| world.running(0).node.node_stats().streams_in > STREAMS;
    world.run_until("the streams are there", secs(60), filled);

    let running = world.running(0);
    let metrics = running.metrics.clone();
    let api = running.api.clone();
    let handled = Rc::new(RefCell::new(None));
    let at_delivery = handled.clone();
    let before = metrics.clone();
    world.spawn(async move {
        let mut events = api.subscribe(topic(0), Vec::new()).await.unwrap();
        while let Some(Ok(event)) = events.next().await {
            if matches!(event, Event::Received(_)) {
                *at_delivery.borrow_mut() = Some(metrics.actor_tick_in_event_rx.get());
            }
        }
    });
    world.run_for(secs(1));
    let before = before.actor_tick_in_event_rx.get();

    // All of it has arrived when the node is polled next, the honest frame among the last.
    flood.try_send(()).unwrap();
    world.jump(ms(1));
    world.network.set_latency(ms(39)..ms(40));
    world.broadcast(1, 0, message(1, 100));
    world.jump(ms(100));
    world.run_for(ms(1));
    let all = world.nodes[&0].metrics.actor_tick_in_event_rx.get() - before;
    assert!(all as usize > STREAMS * FRAMES, "{all} frames");
    let handled = handled.borrow().expect("it was delivered") - before;
    // A turn of each peer for every 64 reads, and what is left of the poll.
    let most = STREAMS / 64 * FRAMES + 1024;
    assert!(handled as usize <= most, "after {handled} of {all} frames");
}

#[test]
fn a_slow_peer_that_is_the_only_one_is_waited_for() {
    let mut world = three(5);
    world.crash(1);
    world.run_for(secs(20));
    world.network.set_read_rate(id(2), Some(100_000));
    let count = 400;
    for number in 0..count {
        world.broadcast(0, 0, message(number, 4000));
        world.run_for(ms(5));
    }
    world.network.set_read_rate(id(2), None);
    world.run_for(secs(20));
    let lost: Vec<u64> = (0..count)
        .filter(|number| world.received(2, 0, *number).is_none())
        .collect();
    assert_eq!(lost, [0; 0]);
    assert_eq!(world.nodes[&0].metrics.send_queue_dropped.get(), 0);
}

#[test]
fn a_peer_that_pauses_gets_announcements_in_place_of_payloads() {
    let mut world = three(5);
    world.network.stop_reads(id(2), world.now() + secs(8));
    // More than half a queue, which node 1 reads all along.
    let count = 250;
    for number in 0..count {
        world.broadcast(0, 0, message(number, 4000));
        world.run_for(ms(20));
    }
    let announced: u64 = [0, 1]
        .iter()
        .map(|n| world.nodes[n].metrics.payloads_announced.get())
        .sum();
    assert!(announced > 0, "payloads were replaced");
    world.run_for(secs(20));
    for n in [1, 2] {
        let got = world.subscription_to(n, 0).unwrap().received.len() as u64;
        assert_eq!(got, count, "node {n}");
    }
    for n in [0, 1] {
        assert_eq!(world.nodes[&n].metrics.peers_stuck.get(), 0);
        assert_eq!(world.nodes[&n].metrics.send_queue_dropped.get(), 0);
    }
}

#[test]
fn a_sender_paces_on_its_fastest_neighbor() {
    for (slow, expect_paced) in [(vec![2], false), (vec![1, 2], true)] {
        let mut world = three(6);
        for n in &slow {
            world.network.stop_reads(id(*n), world.now() + secs(5));
        }
        let sent = Rc::new(RefCell::new(0u64));
        let (sender, count) = (
            world.subscription_to(0, 0).unwrap().sender.clone(),
            sent.clone(),
        );
        world.spawn(async move {
            for number in 0..2000 {
                sender.publish(message(number, 4000)).await.unwrap();
                *count.borrow_mut() += 1;
            }
        });
        world.run_for(secs(4));
        let before = *sent.borrow();
        if expect_paced {
            // What the network takes, a quarter of a queue, and not much more.
            assert!(before < 300, "{before} messages for nobody");
        } else {
            assert_eq!(before, 2000, "one neighbor that reads is enough");
        }
        world.run_for(secs(60));
        assert_eq!(*sent.borrow(), 2000);
        for n in [1, 2] {
            let got = world.subscription_to(n, 0).unwrap().received.len();
            assert_eq!(got, 2000, "node {n} with {slow:?} slow");
        }
        assert_eq!(world.nodes[&0].metrics.peers_stuck.get(), 0);
    }
}
