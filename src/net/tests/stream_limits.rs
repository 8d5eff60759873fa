//! More topics than streams.

use super::{
    check,
    world::{World, id, message, secs},
};

/// Joins two nodes in so many topics, with a limit of 100 streams each way.
fn joined(topics: usize) -> World {
    let mut world = World::new(5);
    world.network.pin_stream_limit(id(0), 100);
    world.network.pin_stream_limit(id(1), 100);
    world.start_all(2);
    for topic in 0..topics {
        world.join(0, topic, &[]);
    }
    for topic in 0..topics {
        world.join(1, topic, &[0]);
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
    let mut world = joined(topics);
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
