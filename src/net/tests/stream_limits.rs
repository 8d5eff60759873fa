//! More topics than streams.

use super::{
    check,
    raw::Raw,
    world::{World, id, message, ms, secs, topic},
};
use crate::{
    net::streams::MAX_OPEN_STREAMS,
    proto::{
        Message,
        hyparview::{self, Disconnect},
    },
};

/// Joins two nodes in so many topics, with a limit to the streams each way.
fn joined(topics: usize, limit: u64) -> World {
    let mut world = World::new(5);
    world.network.pin_stream_limit(id(0), limit);
    world.network.pin_stream_limit(id(1), limit);
    world.start_all(2);
    for (n, bootstrap) in [(0, &[][..]), (1, &[0])] {
        for topic in 0..topics {
            world.join(n, topic, bootstrap);
            if topic % 512 == 511 {
                // No more subscriptions are taken at once.
                world.run_for(ms(1));
            }
        }
    }
    let all = |world: &mut World| {
        (0..topics).all(|topic| {
            let of = |n| {
                world
                    .subscription_to(n, topic)
                    .is_some_and(|one| one.neighbors().count() == 1)
            };
            of(0) && of(1)
        })
    };
    let took = world.run_until("all are joined", secs(10), all);
    println!("{topics} topics joined after {took:?}");
    world
}

#[test]
fn item_5_a_thousand_topics_between_two_nodes() {
    let topics = 1000;
    let mut world = joined(topics, 100);
    for round in 0..2 {
        for topic in 0..topics {
            let number = (round * topics + topic) as u64;
            world.broadcast(topic % 2, topic, message(number, 300));
        }
        let delivered = |world: &mut World| {
            (0..topics).all(|topic| {
                let number = (round * topics + topic) as u64;
                world.received(1 - topic % 2, topic, number).is_some()
            })
        };
        let took = world.run_until("all is delivered", secs(20), delivered);
        println!("delivered after {took:?}");
    }
    world.run_for(secs(30));
    check::quiet(&world);
    for (n, topic) in (0..topics).map(|topic| (topic % 2, topic)) {
        let changes = &world.subscription_to(n, topic).unwrap().changes;
        assert_eq!(changes.len(), 1, "node {n} stayed in topic {topic}");
    }
    for topic in 0..topics {
        world.leave(0, topic);
        world.leave(1, topic);
    }
    world.run_for(secs(60));
    check::idle(&mut world);
}

#[test]
fn as_many_streams_stay_open_as_the_peer_allows() {
    let mut world = joined(100, 100);
    world.run_for(secs(1));
    for (n, other) in [(0, 1), (1, 0)] {
        let node = &world.running(n).node;
        let peer = node.peers.get(id(other).as_bytes()).expect("a neighbor");
        assert_eq!(peer.streams.len(), 100, "node {n} finished none");
    }
}

#[test]
fn no_more_streams_are_open_to_a_peer_than_are_kept() {
    let topics = MAX_OPEN_STREAMS + 76;
    let mut world = joined(topics, 4096);
    for topic in 0..topics {
        world.broadcast(0, topic, message(topic as u64, 300));
    }
    world.run_until("all is delivered", secs(20), |world| {
        (0..topics).all(|topic| world.received(1, topic, topic as u64).is_some())
    });
    let node = &world.running(0).node;
    let peer = node.peers.get(id(1).as_bytes()).expect("a neighbor");
    assert_eq!(peer.streams.len(), MAX_OPEN_STREAMS);
}

#[test]
fn topics_take_turns_with_the_few_streams_that_a_peer_allows() {
    let mut world = joined(20, 3);
    for number in 0..100 {
        world.broadcast(0, number % 20, message(number as u64, 300));
    }
    world.run_until("all is delivered", secs(20), |world| {
        (0..100).all(|number| world.received(1, number % 20, number as u64).is_some())
    });
    world.run_for(secs(30));
    check::quiet(&world);
}

/// What says that the stream of one that leaves has arrived goes out at once, for it waits for that:
/// it comes with the end of the stream in the other direction. One that stays in the swarm may have
/// more to hear, and one that leaves a topic is still a neighbor in others.
#[test]
fn the_stream_to_one_that_has_left_is_finished_at_once() {
    let mut world = World::new(5);
    world.start_all(1);
    world.join(0, 0, &[]);
    world.join(0, 1, &[]);
    let mut raw = Raw::joined(&mut world, 10, 0, topic(0));
    let join = Message::Swarm(hyparview::Message::Join(None));
    raw.send(&mut world, topic(1), join.clone());
    for (alive, ended) in [(true, 0), (false, 1)] {
        let leave = Message::Swarm(hyparview::Message::Disconnect(Disconnect::new(alive)));
        raw.send(&mut world, topic(0), leave);
        assert_eq!(raw.ended(), ended);
        raw.send(&mut world, topic(0), join.clone());
    }
}
