//! Joining, leaving and coming back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    check,
    world::{World, id, message, ms, secs, topic},
};
use crate::net::{address_lookup::Teller, transport::memory::DialFault};

/// The peer comes to us while we dial it in vain, and goes again before all it said is read.
#[test]
fn a_dial_that_fails_while_a_lost_connection_is_read_hides_no_loss() {
    let mut world = World::new(3);
    world.start_all(2);
    world.network.set_dials_to(id(1), Some(DialFault::Hangs));
    world.join(0, 0, &[1]);
    world.run_for(ms(100));
    world.join(1, 0, &[0]);
    let joined = |world: &mut World| world.neighbors(0, 0) == [1];
    world.run_until("joined", secs(2), joined);
    let node = &mut world.running(0).node;
    assert!(node.dials.active == 1, "it is still being dialed");
    let key = *node.links.keys().next().unwrap();
    node.link_lost(key);
    assert_eq!(node.peers[&id(1)].draining, 1, "something is still read");
    node.dial_expired(id(1));
    world.crash(1);
    world.run_for(secs(20));
    assert_eq!(world.neighbors(0, 0), [0; 0]);
    let changes = &world.subscription_to(0, 0).unwrap().changes;
    assert!(
        changes.iter().any(|(_, _, up)| !up),
        "and the application is told"
    );
}

#[test]
fn what_a_lost_connection_has_not_carried_is_told_again_while_the_rest_is_read() {
    let mut world = World::new(3);
    world.start_all(2);
    for n in 0..2 {
        world.join(n, 0, &[0]);
    }
    world.run_for(secs(15));
    assert_eq!(world.neighbors(0, 0), [1]);
    world.broadcast(0, 0, message(1, 100));
    world.run_for(Duration::ZERO);
    let node = &mut world.running(0).node;
    let key = *node.links.keys().next().unwrap();
    node.link_lost(key);
    node.work_off();
    let peer = &node.peers[&id(1)];
    assert_eq!(peer.draining, 1, "something is still read");
    // Or it would be missing for good on a connection that comes before that is over.
    let waits: Vec<_> = peer.queue.topics().collect();
    assert_eq!(waits, [topic(0)]);
    world.run_for(secs(20));
    assert!(world.received(1, 0, 1).is_some());
}

#[test]
fn what_a_peer_says_itself_is_recalled_as_that() {
    let mut world = World::new(3);
    world.start_all(2);
    for n in 0..2 {
        world.join(n, 0, &[0]);
    }
    world.run_for(secs(3));
    let knows = |world: &mut World| {
        let book = &world.running(0).node.transport.book;
        [Teller::Itself, Teller::Others].map(|teller| book.knows(&id(1), teller))
    };
    assert_eq!(knows(&mut world), [true, false]);
    world.run_for(secs(400));
    assert_eq!(knows(&mut world), [false, false], "it has expired");
    world.running(0).node.recall_addresses(id(1));
    assert_eq!(knows(&mut world), [true, false]);
}

#[test]
fn item_6_bootstrap_dials_are_repeated_until_joined() {
    for fault in [DialFault::Impossible, DialFault::Refused, DialFault::Hangs] {
        let mut world = World::new(6);
        world.start_all(2);
        world.network.set_dials_to(id(0), Some(fault));
        world.join(0, 0, &[]);
        world.join(1, 0, &[0]);
        world.run_for(secs(60));
        assert_eq!(world.neighbors(1, 0), [0; 0]);
        // Not in a busy loop.
        assert!(world.nodes[&1].polls < 200, "{}", world.nodes[&1].polls);
        world.network.set_dials_to(id(0), None);
        // A dial that hangs is given up after 15 s.
        world.run_until("joined", secs(20), |world| world.neighbors(1, 0) == [0]);
    }
}

#[test]
fn item_6_joining_again_after_a_failed_dial_dials_again() {
    let mut world = World::new(6);
    world.start_all(3);
    world
        .network
        .set_dials_to(id(0), Some(DialFault::Impossible));
    world.join(0, 0, &[]);
    world.join(2, 0, &[]);
    world.join(1, 0, &[0]);
    world.run_for(secs(30));
    world.network.set_dials_to(id(0), None);
    let sender = world.subscription_to(1, 0).unwrap().sender.clone();
    world.network.introduce(id(1), id(2));
    world.spawn(async move {
        sender.join_peers(vec![id(0), id(2)]).await.unwrap();
    });
    let both = |world: &mut World| world.neighbors(1, 0).len() == 2;
    world.run_until("joined through both", secs(1), both);
}

#[test]
fn item_7_a_joiner_may_come_before_the_bootstrap_node_has_subscribed() {
    for wait in [ms(0), ms(1), ms(700), secs(3), secs(17), secs(100)] {
        for joiner_dialed_too in [false, true] {
            let mut world = World::new(7);
            world.start_all(2);
            world.join(1, 0, &[0]);
            world.run_for(wait);
            world.join(0, 0, if joiner_dialed_too { &[1] } else { &[] });
            let joined =
                |world: &mut World| world.neighbors(0, 0) == [1] && world.neighbors(1, 0) == [0];
            world.run_until("joined", secs(5), joined);
            world.run_for(secs(30));
            check::quiet(&world);
        }
    }
}

#[test]
fn item_7_both_may_join_through_each_other_at_once() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.start_all(2);
        world.join(0, 0, &[1]);
        world.join(1, 0, &[0]);
        let joined =
            |world: &mut World| world.neighbors(0, 0) == [1] && world.neighbors(1, 0) == [0];
        world.run_until("joined", secs(1), joined);
        world.run_for(secs(30));
        check::quiet(&world);
    }
}

#[test]
fn item_12_leaving_one_topic_keeps_the_connection_that_another_needs() {
    let mut world = World::new(12);
    world.start_all(2);
    for topic in 0..2 {
        world.join(0, topic, &[]);
        world.join(1, topic, &[0]);
    }
    world.run_for(secs(2));
    let before = world.network.open_connections();
    assert_eq!(before.len(), 1);
    world.leave(1, 0);
    world.run_for(secs(60));
    assert_eq!(world.network.open_connections(), before);
    assert_eq!(world.neighbors(0, 0), [0; 0]);
    assert_eq!(world.neighbors(0, 1), [1]);
    let changes = &world.subscription_to(0, 1).unwrap().changes;
    assert_eq!(changes.len(), 1, "nobody noticed in the other topic");
    world.broadcast(1, 1, message(1, 100));
    world.run_for(secs(1));
    assert!(world.received(0, 1, 1).is_some());
}

#[test]
fn item_12_leaving_and_coming_back_at_once_keeps_its_order() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        world.start_all(3);
        for n in 0..3 {
            world.join(n, 0, &[0, 1, 2]);
        }
        world.run_for(secs(2));
        for round in 0..10 {
            world.leave(1, 0);
            if round % 3 == 1 {
                world.run_for(ms(round));
            }
            world.join(1, 0, &[0, 2]);
            if round % 2 == 0 {
                world.run_for(ms(7 * round));
            }
        }
        let joined = |world: &mut World| (0..3).all(|n| world.neighbors(n, 0).len() == 2);
        world.run_until("all are neighbors again", secs(5), joined);
        world.run_for(secs(30));
        check::quiet(&world);
        assert!((0..3).all(|n| world.neighbors(n, 0).len() == 2));
    }
}

#[test]
fn item_13_ten_thousand_joins_and_leaves_leave_nothing_behind() {
    const CYCLES: usize = 10_000;
    let mut world = World::new(13);
    world.start_all(3);
    world.join(0, 0, &[]);
    world.join(2, 0, &[0]);
    for cycle in 0..CYCLES {
        world.join(1, 0, &[0]);
        world.run_for(ms(if cycle % 4 == 0 { 0 } else { 150 }));
        assert!(world.network.open_connections().len() <= 6);
        world.leave(1, 0);
        world.run_for(ms(if cycle % 3 == 0 { 0 } else { 60 }));
        let node = &mut world.running(1).node;
        assert!(node.events.task_count() <= 40, "cycle {cycle}: tasks");
        assert!(node.events.timers().len() <= 20, "cycle {cycle}: timers");
    }
    world.run_for(secs(30));
    assert_eq!(world.neighbors(0, 0), [2]);
    world.leave(0, 0);
    world.leave(2, 0);
    world.run_for(secs(60));
    check::idle(&mut world);
}

#[test]
fn a_shutdown_reaches_the_neighbors_and_ends_in_time() {
    let mut world = World::new(1);
    world.start_all(4);
    for n in 0..4 {
        world.join(n, 0, &[0, 1]);
    }
    world.run_for(secs(3));
    for number in 0..50 {
        world.broadcast(1, 0, message(number, 3000));
    }
    let done = world.shutdown(1);
    let took = world.run_until("ended", secs(2), |world| !world.nodes.contains_key(&1));
    done.try_recv().unwrap();
    assert!(took < secs(1), "{took:?}");
    world.run_for(secs(1));
    for n in [0, 2, 3] {
        assert!(!world.neighbors(n, 0).contains(&1));
    }
    // A peer that does not read cannot hold a shutdown up.
    world.network.stop_reads(id(3), world.now() + secs(100));
    for n in [0, 2] {
        for number in 100..200 {
            world.broadcast(n, 0, message(number * 10 + n as u64, 4000));
        }
        let done = world.shutdown(n);
        world.run_until("ended", ms(2010), |world| !world.nodes.contains_key(&n));
        done.try_recv().unwrap();
    }
}

/// QUIC acknowledges a single packet after a while; the answer of the peer comes sooner.
#[test]
fn who_leaves_does_not_wait_for_acknowledgements() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.network.set_ack_delay(secs(1000));
        world.start_all(4);
        for n in 0..4 {
            world.join(n, 0, &[0]);
            world.join(n, 1, &[0]);
        }
        world.run_for(secs(3));
        // Both ways, so that streams are busy.
        world.broadcast(0, 0, message(0, 3000));
        world.broadcast(1, 0, message(1, 3000));
        let done = world.shutdown(1);
        // There and back, and to wait for nobody takes as long.
        let took = world.run_until("ended", secs(2), |world| !world.nodes.contains_key(&1));
        done.try_recv().unwrap();
        assert!(took < ms(200), "seed {seed}: {took:?}");
        world.run_for(secs(1));
        for n in [0, 2, 3] {
            assert!(!world.neighbors(n, 0).contains(&1), "seed {seed}: {n}");
            assert!(world.received(n, 0, 1).is_some(), "seed {seed}: {n}");
        }
    }
}

/// Nodes 0 and 1 in a topic, of which 0 does not read for a while.
fn with_slow_reader(pause: Duration) -> World {
    let mut world = World::new(1);
    world.start_all(2);
    world.join(0, 0, &[]);
    world.join(1, 0, &[0]);
    world.run_for(secs(1));
    world.network.stop_reads(id(0), world.now() + pause);
    world
}

#[test]
fn what_was_said_before_a_shutdown_arrives_also_at_a_slow_reader() {
    for pause in [500, 1800] {
        let mut world = with_slow_reader(ms(pause));
        for number in 0..50 {
            world.broadcast(1, 0, message(number, 4000));
        }
        world.run_for(ms(1));
        drop(world.shutdown(1));
        world.run_until("ended", ms(2010), |world| !world.nodes.contains_key(&1));
        world.run_for(secs(2));
        for number in 0..50 {
            assert!(world.received(0, 0, number).is_some(), "{pause}: {number}");
        }
    }
}

#[test]
fn what_was_accepted_before_a_shutdown_is_sent() {
    for by_request in [true, false] {
        let mut world = with_slow_reader(ms(500));
        let accepted = Arc::new(Mutex::new(Vec::new()));
        for number in 0..400 {
            let subscription = world.subscription_to(1, 0).expect("it has joined");
            let (sender, accepted) = (subscription.sender.clone(), accepted.clone());
            world.spawn(async move {
                let is_accepted = sender.broadcast(message(number, 4000)).await.is_ok();
                if is_accepted {
                    accepted.lock().expect("nobody panics").push(number);
                }
            });
        }
        world.run_for(ms(1));
        if by_request {
            drop(world.shutdown(1));
        } else {
            world.stop(1);
        }
        world.run_until("ended", secs(4), |world| !world.nodes.contains_key(&1));
        world.run_for(secs(2));
        let accepted = accepted.lock().expect("nobody panics");
        // More than the queue of a neighbor takes before senders have to wait.
        assert!((100..400).contains(&accepted.len()), "{}", accepted.len());
        for number in accepted.iter() {
            assert!(world.received(0, 0, *number).is_some(), "{number}");
        }
    }
}

#[test]
fn of_two_connections_that_only_one_side_needs_one_goes() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.start_all(2);
        // Both dial at once. The one who has to close needs the other no more, and is asked on.
        let (asks, left) = if id(0) > id(1) { (0, 1) } else { (1, 0) };
        world.join(asks, 5, &[left]);
        world.join(left, 6, &[asks]);
        world.run_for(ms(300));
        world.leave(left, 6);
        world.run_for(secs(60));
        let open = world.network.open_connections().len();
        assert_eq!(open, 1, "seed {seed}");
    }
}
