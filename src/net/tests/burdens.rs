//! Peers that have a node do what leads to nothing: how much of it they get, and what others notice.

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use iroh::EndpointId;

use super::{
    raw::{self, Raw},
    world::{World, id, message, ms, secs, topic},
};
use crate::{
    net::transport::{Connection, SendStream},
    proto::{
        Message, MessageId, PeerInfo, Round,
        hyparview::{self, Disconnect, Shuffle, Ttl},
        plumtree::{self, DeliveryScope, Gossip, Graft},
        wire::{self, StreamHeader},
    },
};

/// Units a second, and at once.
const RATE: u64 = 4096;
const AT_ONCE: u64 = 4 * RATE;

fn frame(message: Message<EndpointId>) -> Bytes {
    wire::encode(&message, 8192).expect("it fits")
}

fn prune() -> Bytes {
    frame(Message::Gossip(plumtree::Message::Prune))
}

fn payload(id: MessageId, content: Bytes) -> Bytes {
    frame(Message::Gossip(plumtree::Message::Gossip(Gossip {
        id,
        content,
        scope: DeliveryScope::Swarm(Round::from(1)),
    })))
}

fn new_payload(number: u64, size: usize) -> Bytes {
    let content = message(number, size);
    payload(MessageId::from_content(&content), content)
}

fn membership(message: hyparview::Message<EndpointId>) -> Bytes {
    frame(Message::Swarm(message))
}

/// Nodes 0 and 1, which are neighbors.
fn pair() -> World {
    let mut world = World::new(7);
    world.start_all(2);
    world.join(0, 0, &[]);
    world.join(1, 0, &[0]);
    world.run_for(secs(2));
    assert_eq!(world.neighbors(0, 0), [1]);
    world
}

/// Frames that node 0 has handled.
fn handled(world: &World) -> u64 {
    world.nodes[&0].metrics.actor_tick_in_event_rx.get()
}

fn held(world: &World) -> u64 {
    world.nodes[&0].metrics.peers_held.get()
}

/// How long the slowest of some messages of node 1 takes to node 0.
fn slowest(world: &mut World, first: u64) -> Duration {
    let taken = (first..first + 100).map(|number| {
        world.broadcast(1, 0, message(number, 100));
        let said = world.now();
        let received = |world: &mut World| world.received(0, 0, number).is_some();
        world.run_until("it is delivered", secs(1), received);
        world.now() - said
    });
    taken.max().expect("there are some")
}

#[test]
fn a_flood_is_read_at_a_rate_and_others_as_before() {
    let mut world = pair();
    let calm = slowest(&mut world, 1000);
    let mut foe = Raw::joined(&mut world, 10, 0, topic(0));
    let before = handled(&world);
    // Two hundred thousand frames.
    for _ in 0..20 {
        foe.write(&mut world, topic(0), prune().repeat(10_000).into());
    }
    let most = AT_ONCE + 21 * RATE;
    let first = handled(&world) - before;
    assert!((AT_ONCE..most).contains(&first), "{first} frames");
    assert!(held(&world) > 0);
    // It is still a neighbor, and what honest neighbors say comes at once.
    assert_eq!(world.neighbors(0, 0), [1, 10]);
    let flooded = slowest(&mut world, 2000);
    assert!(flooded <= 2 * calm, "{flooded:?}, and {calm:?} before");
    // All of it is read in the end.
    world.run_until("all is read", secs(60), |world| {
        handled(world) - before >= 200_000
    });
}

#[test]
fn what_was_forgotten_a_moment_ago_is_no_false_payload() {
    let mut world = pair();
    let mut peer = Raw::joined(&mut world, 10, 0, topic(0));
    let mut number = 10;
    // Ids are kept for 90 seconds, and swept once a second while messages come.
    for trial in 0..30 {
        peer.write(&mut world, topic(0), new_payload(1, 100));
        let said = world.now();
        while world.now() < said + ms(89_300) {
            peer.write(&mut world, topic(0), new_payload(number, 100));
            world.run_for(ms(600));
            number += 1;
        }
        let forgotten = said + ms(90_000 + 10 * trial);
        world.run_for(forgotten - world.now());
        peer.write(&mut world, topic(0), new_payload(1, 100));
        world.run_for(secs(91));
    }
    assert_eq!(world.nodes[&0].metrics.invalid_id.get(), 0);
}

#[test]
fn what_is_for_neighbors_and_comes_again_makes_up_for_nothing() {
    let mut world = pair();
    let mut foe = Raw::joined(&mut world, 10, 0, topic(0));
    let content = message(1, 10);
    let again = frame(Message::Gossip(plumtree::Message::Gossip(Gossip {
        id: MessageId::from_content(&content),
        content,
        scope: DeliveryScope::Neighbors,
    })));
    let before = handled(&world);
    let frames = [again, prune().repeat(4).into()].concat().repeat(3000);
    for _ in 0..20 {
        foe.write(&mut world, topic(0), frames.clone().into());
    }
    assert!(held(&world) > 0, "{} frames", handled(&world) - before);
}

#[test]
fn a_thousand_topics_joined_at_once_burden_nobody() {
    let mut world = World::new(7);
    world.start_all(2);
    for n in 0..1000 {
        world.join(0, n, &[]);
    }
    for n in 0..1000 {
        world.join(1, n, &[0]);
    }
    let joined = |world: &mut World| (0..1000).all(|n| world.neighbors(0, n) == [1]);
    let took = world.run_until("all are joined", secs(60), joined);
    assert!(took < secs(2), "{took:?}");
    for n in [0, 1] {
        let metrics = &world.nodes[&n].metrics;
        assert_eq!(metrics.peers_held.get(), 0);
        assert_eq!(metrics.joins_limited.get(), 0);
    }
}

#[test]
fn what_is_new_is_no_burden() {
    let mut world = pair();
    let mut author = Raw::joined(&mut world, 10, 0, topic(0));
    let mut number = 0;
    for _ in 0..60 {
        // Each comes with a control message, and one in two is a duplicate.
        let mut frames = Vec::new();
        for _ in 0..1000 {
            frames.extend_from_slice(&new_payload(number, 50));
            if number % 2 == 0 {
                frames.extend_from_slice(&new_payload(number, 50));
            }
            frames.extend_from_slice(&prune());
            number += 1;
        }
        author.write(&mut world, topic(0), frames.into());
    }
    assert_eq!(held(&world), 0);
    let got = world.subscription_to(0, 0).expect("it is there");
    assert_eq!(got.received.len(), 60_000);
}

#[test]
fn payloads_under_false_ids_are_dear() {
    let mut world = pair();
    let mut foe = Raw::joined(&mut world, 10, 0, topic(0));
    let lie = payload(MessageId::from_content(b"else"), message(1, 3000));
    for _ in 0..10 {
        foe.write(&mut world, topic(0), lie.repeat(1000).into());
    }
    let lies = world.nodes[&0].metrics.invalid_id.get();
    assert!(lies > 100, "{lies} were looked at");
    assert!(lies <= (AT_ONCE + 11 * RATE) / 64, "{lies} were looked at");
}

#[test]
fn what_is_asked_for_is_paid_for_by_its_size() {
    let mut world = pair();
    let mut foe = Raw::joined(&mut world, 10, 0, topic(0));
    let content = message(1, 4000);
    let id = MessageId::from_content(&content);
    foe.write(&mut world, topic(0), payload(id, content));
    let round = Round::from(0);
    let graft = plumtree::Message::Graft(Graft {
        id: Some(id),
        round,
    });
    let grafts = frame(Message::Gossip(graft)).repeat(10_000);
    foe.take_payloads(topic(0));
    for _ in 0..10 {
        foe.write(&mut world, topic(0), grafts.clone().into());
    }
    let answers = foe.take_payloads(topic(0)).len() as u64;
    // Two units for the question, three for the answer.
    assert!(answers <= (AT_ONCE + 11 * RATE) / 5, "{answers} answers");
    assert!(answers > 1000, "{answers} answers");
}

#[test]
fn keys_that_take_long_to_check_are_checked_a_few_at_a_time() {
    let mut world = pair();
    let mut foe = Raw::joined(&mut world, 10, 0, topic(0));
    let nodes = (20..28).map(|n| PeerInfo {
        id: id(n),
        data: None,
    });
    let shuffle = membership(hyparview::Message::Shuffle(Shuffle {
        origin: id(10),
        nodes: nodes.collect(),
        ttl: Ttl(6),
    }));
    foe.write(&mut world, topic(0), shuffle.repeat(3000).into());
    world.run_until("it is held", secs(10), |world| held(world) > 0);
    world.run_for(ms(100));
    let before = handled(&world);
    for _ in 0..500 {
        let so_far = handled(&world);
        world.run_for(ms(1));
        let portion = handled(&world) - so_far;
        assert!(portion <= 4, "{portion} Shuffles at a time");
    }
    assert!(handled(&world) > before, "some are read");
}

#[test]
fn those_who_are_held_share() {
    let mut world = pair();
    let mut foes: Vec<Raw> = (10..13)
        .map(|n| Raw::joined(&mut world, n, 0, topic(0)))
        .collect();
    for foe in &mut foes {
        foe.write(&mut world, topic(0), prune().repeat(100_000).into());
    }
    let before = handled(&world);
    world.run_for(secs(10));
    let handled = handled(&world) - before;
    assert!(handled <= 2 * 11 * RATE, "{handled} frames of three");
    assert!(handled >= 10 * RATE / 2, "{handled} frames of three");
}

#[test]
fn coming_and_going_puts_nobody_out() {
    let mut world = World::new(7);
    world.start_all(6);
    for n in 0..6 {
        world.join(n, 0, &[0, 1, 2, 3, 4, 5]);
    }
    world.run_for(secs(60));
    assert_eq!(world.neighbors(0, 0).len(), 5);
    let mut foe = Raw::new(&mut world, 10, 0);
    let put_out = |world: &World| {
        let subscription = world.subscription_to(0, 0).expect("it is there");
        let changes = subscription.changes.iter();
        let downs = changes.filter(|(_, peer, up)| *peer != 10 && !up);
        downs.count() as u64
    };
    let heard = |world: &World| world.nodes[&1].metrics.msgs_ctrl_recv.get();
    let (put_out_before, heard_before) = (put_out(&world), heard(&world));
    let comes = membership(hyparview::Message::Join(None));
    let goes = membership(hyparview::Message::Disconnect(Disconnect::new(true)));
    let flaps = [comes, goes].concat().repeat(1000);
    for _ in 0..20 {
        foe.write(&mut world, topic(0), flaps.clone().into());
    }
    assert!(world.nodes[&0].metrics.joins_limited.get() > 1000);
    // So many of its visits may put one out; and a view that has lost one goes on to look around.
    let visits = 8 + 1 + 25 / 5;
    let put_out = put_out(&world) - put_out_before;
    assert!(put_out <= visits + 10, "{put_out} were put out");
    let heard = heard(&world) - heard_before;
    assert!(heard < 500, "others heard {heard} messages of it");
    // There it is told where else to go, and that is all.
    world.run_for(secs(120));
    assert!(world.neighbors(0, 0).len() >= 4);
}

/// Opens streams of one topic, writes the same to each, and leaves them open. Says how many it could.
fn open_streams(world: &mut World, count: usize, bytes: Bytes) -> usize {
    world.network.introduce(id(10), id(0));
    let connection = raw::dial(world, 10, 0);
    let opened = Rc::new(Cell::new(0));
    let counted = opened.clone();
    world.spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..count {
            let Ok(mut stream) = connection.open_stream().await else {
                return;
            };
            let header = StreamHeader { topic_id: topic(0) }.encode();
            if stream
                .write_all(&mut [header, bytes.clone()])
                .await
                .is_err()
            {
                return;
            }
            streams.push(stream);
            counted.set(streams.len());
        }
        std::future::pending::<()>().await;
    });
    world.run_for(secs(1));
    opened.get()
}

#[test]
fn streams_of_one_topic_that_wait_for_each_other_are_bounded() {
    for (count, invalid) in [(20, 0), (60, 1)] {
        let mut world = pair();
        open_streams(&mut world, count, prune());
        assert_eq!(
            world.nodes[&0].metrics.frames_invalid.get(),
            invalid,
            "{count}"
        );
        let links = world.nodes[&0].node.links.len();
        assert_eq!(links, 2 - invalid as usize, "{count}");
        assert_eq!(world.neighbors(0, 0), [1]);
    }
}

#[test]
fn too_many_streams_of_other_topics_end_with_the_connection() {
    let mut world = pair();
    world.network.introduce(id(10), id(0));
    let connection = raw::dial(&mut world, 10, 0);
    let flooding = connection.clone();
    world.spawn(async move {
        let mut streams = Vec::new();
        for n in 0..120 {
            let topic_id = topic(100 + n);
            let Ok(mut stream) = flooding.open_stream().await else {
                return;
            };
            let header = StreamHeader { topic_id }.encode();
            if stream.write_all(&mut [header]).await.is_err() {
                return;
            }
            streams.push(stream);
        }
        loop {
            for stream in &mut streams {
                let frames = Bytes::from(prune().repeat(100));
                if stream.write_all(&mut [frames]).await.is_err() {
                    return;
                }
            }
        }
    });
    let metrics = world.nodes[&0].metrics.clone();
    let dropped = |_: &mut World| metrics.floods_dropped.get() == 1;
    world.run_until("dropped", secs(10), dropped);
    // It is not even connected to for a while, and then it is again.
    raw::dial(&mut world, 10, 0);
    assert_eq!(metrics.connections_refused.get(), 1);
    assert_eq!(world.nodes[&0].node.links.len(), 1);
    world.run_for(secs(5));
    raw::dial(&mut world, 10, 0);
    assert_eq!(world.nodes[&0].node.links.len(), 2);
    assert_eq!(metrics.connections_refused.get(), 1);
}

#[test]
fn what_is_no_message_is_refused_at_the_door_in_the_end() {
    let mut world = pair();
    for n in 0..60 {
        let connection = raw::dial(&mut world, 10, 0);
        world.spawn(async move {
            let Ok(mut stream) = connection.open_stream().await else {
                return;
            };
            let header = StreamHeader { topic_id: topic(0) }.encode();
            // Refused in this or the next step.
            let _ = stream.write_all(&mut [header, "\0\0\0\u{1}~".into()]).await;
            connection.closed().await;
        });
        world.run_for(ms(if n < 30 { 1 } else { 0 }));
    }
    world.run_for(secs(1));
    let metrics = &world.nodes[&0].metrics;
    let invalid = metrics.frames_invalid.get();
    assert!(invalid > 10, "{invalid}");
    // A second passes with each dial, so there is one more each time, at four a second.
    assert_eq!(invalid, 60 - metrics.connections_refused.get());
}

#[test]
fn a_node_that_holds_peers_ends_at_once() {
    let mut world = pair();
    let mut foes: Vec<Raw> = (10..13)
        .map(|n| Raw::joined(&mut world, n, 0, topic(0)))
        .collect();
    for foe in &mut foes {
        foe.write(&mut world, topic(0), prune().repeat(100_000).into());
    }
    assert!(world.nodes[&0].node.burdens.held() > 0);
    // Nor are those waited for who have been too much until just now, and are not there any more.
    for n in 10..13 {
        world.network.crash(id(n));
    }
    let _answer = world.shutdown(0);
    let gone = |world: &mut World| world.ended.contains(&0);
    let took = world.run_until("ended", secs(10), gone);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn what_is_left_of_a_flood_ends_with_its_connection() {
    let mut world = pair();
    let mut foe = Raw::joined(&mut world, 10, 0, topic(0));
    let mut frames = payload(MessageId::from_content(b"else"), message(1, 100)).repeat(400);
    frames.extend_from_slice(&new_payload(77, 100));
    foe.write(&mut world, topic(0), frames.into());
    assert!(world.nodes[&0].node.burdens.held() > 0);
    assert_eq!(world.neighbors(0, 0), [1, 10]);
    foe.connection.close("gone");
    world.run_for(ms(500));
    assert_eq!(world.neighbors(0, 0), [1]);
    assert_eq!(world.nodes[&0].node.links.len(), 1);
    world.run_for(secs(10));
    assert!(world.received(0, 0, 77).is_none());
    assert!(world.nodes[&0].node.ready.is_empty());
}
