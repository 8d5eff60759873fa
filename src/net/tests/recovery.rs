//! Coming back after crashes, lost connections and lost networks.

use std::time::Duration;

use super::{
    check,
    world::{World, id, message, ms, secs},
};

fn joined(world: &World, a: usize, b: usize) -> bool {
    world.neighbors(a, 0).contains(&b) && world.neighbors(b, 0).contains(&a)
}

/// A swarm in one piece, some shuffles old. Everyone joins through node 0.
pub(super) fn swarm(seed: u64, nodes: usize, shuffle: Duration) -> World {
    let mut world = World::new(seed);
    world.config.membership.shuffle_interval = shuffle;
    for n in 0..nodes {
        world.start(n);
        world.join(n, 0, if n == 0 { &[] } else { &[0] });
        world.run_for(ms(100));
    }
    world.run_for(10 * shuffle);
    assert!(check::is_connected(&world, 0));
    world
}

/// Publishes from a few nodes, and fails where somebody does not get everything.
pub(super) fn delivers(world: &mut World, first: u64) {
    let nodes: Vec<usize> = world.nodes.keys().copied().collect();
    let senders: Vec<usize> = nodes.iter().copied().step_by(nodes.len() / 3).collect();
    for (number, &n) in (first..).zip(&senders) {
        world.broadcast(n, 0, message(number, 500));
    }
    world.run_for(secs(10));
    for (number, &from) in (first..).zip(&senders) {
        for &n in &nodes {
            assert!(
                n == from || world.received(n, 0, number).is_some(),
                "node {n} did not get message {number} of {from}"
            );
        }
    }
}

#[test]
fn item_8_a_crashed_node_that_dials_is_back_within_5_s() {
    for other_connection in [false, true] {
        let mut world = World::new(8);
        world.start_all(2);
        for topic in 0..if other_connection { 2 } else { 1 } {
            world.join(0, topic, &[]);
            world.join(1, topic, &[0]);
        }
        world.run_for(secs(2));
        world.crash(1);
        world.run_for(ms(100));
        world.start(1);
        world.join(1, 0, &[0]);
        let before = world.subscription_to(0, 0).unwrap().changes.len();
        let back = |world: &mut World| {
            joined(world, 0, 1) && world.subscription_to(0, 0).unwrap().changes.len() > before
        };
        world.run_until("back", secs(5), back);
        let changes = &world.subscription_to(0, 0).unwrap().changes[before..];
        let ups: Vec<bool> = changes.iter().map(|(_, _, up)| *up).collect();
        assert_eq!(ups, [false, true], "it went, and came back");
        world.broadcast(0, 0, message(1, 100));
        world.run_for(secs(1));
        assert!(world.received(1, 0, 1).is_some());
        world.run_for(secs(120));
        check::quiet(&world);
        assert_eq!(world.neighbors(0, 1), [0; 0], "no dead entry survives");
    }
}

#[test]
fn item_8_a_crashed_node_that_waits_is_found_within_5_s_of_its_loss() {
    let mut world = World::new(8);
    world.start_all(2);
    world.join(0, 0, &[]);
    world.join(1, 0, &[0]);
    world.run_for(secs(2));
    world.crash(0);
    world.run_for(ms(100));
    world.start(0);
    world.join(0, 0, &[]);
    world.run_until("found", secs(20), |world| joined(world, 0, 1));
}

#[test]
fn item_8_a_dead_entry_of_a_quiet_topic_goes_with_its_connection() {
    let mut world = World::new(8);
    world.start_all(2);
    for topic in 0..2 {
        world.join(0, topic, &[]);
        world.join(1, topic, &[0]);
    }
    world.run_for(secs(2));
    world.crash(1);
    world.start(1);
    // It comes back in one topic only, and nobody says anything in the other.
    world.join(1, 0, &[0]);
    let gone = |world: &mut World| world.neighbors(0, 1).is_empty();
    world.run_until("gone", secs(20), gone);
    assert_eq!(world.neighbors(0, 0), [1]);
}

#[test]
fn a_connection_that_only_one_side_loses_loses_no_message() {
    for notices in [(true, false), (false, true), (true, true)] {
        let mut world = World::new(9);
        world.limits.protocol.late_join_history = 64;
        world.start_all(2);
        world.join(0, 0, &[]);
        world.join(1, 0, &[0]);
        world.run_for(secs(2));
        let lose = |world: &World| {
            let (a, b) = notices;
            world.network.lose_connections((id(0), a), (id(1), b));
        };
        lose(&world);
        for number in 0..20 {
            let from = usize::from(number % 2 == 0);
            world.broadcast(from, 0, message(number, 100));
            world.run_for(ms(50));
        }
        world.run_for(secs(25));
        for number in 0..20 {
            let to = usize::from(number % 2 != 0);
            assert!(
                world.received(to, 0, number).is_some(),
                "{notices:?}: node {to} did not get message {number}"
            );
        }
        check::quiet(&world);
    }
}

/// Ten minutes without any network, and then a minute to be whole again. Returns how long it took.
fn blackout(seed: u64) -> Duration {
    let mut world = swarm(seed, 50, secs(60));
    let islands = (0..50).map(|n| (id(n), n as u32));
    world.network.set_islands(islands);
    world.run_for(secs(600));
    assert!((0..50).all(|n| world.neighbors(n, 0).is_empty()));
    world.network.set_islands([]);
    let whole = |world: &mut World| check::is_connected(world, 0);
    let took = world.run_until("whole", secs(60), whole);
    world.run_for(secs(60));
    assert!(check::is_connected(&world, 0));
    check::mostly_quiet(&mut world);
    delivers(&mut world, 1);
    took
}

/// Ten minutes in two halves, and then two shuffle intervals to merge. Returns how long it took.
fn halves(seed: u64, nodes: usize) -> Duration {
    let shuffle = secs(60);
    let mut world = swarm(seed, nodes, shuffle);
    let islands = (0..nodes).map(|n| (id(n), n as u32 % 2));
    world.network.set_islands(islands);
    world.run_for(secs(600));
    assert!(!check::is_connected(&world, 0));
    world.network.set_islands([]);
    let whole = |world: &mut World| check::is_connected(world, 0);
    let took = world.run_until("one swarm", 2 * shuffle, whole);
    world.run_for(secs(60));
    assert!(check::is_connected(&world, 0));
    delivers(&mut world, 1);
    took
}

#[test]
fn item_9_a_swarm_is_whole_again_60_s_after_a_blackout_of_10_minutes() {
    println!("whole again after {:?}", blackout(9));
}

#[test]
fn item_9_addresses_that_gossip_taught_are_good_for_as_long_as_the_peer_is_known() {
    let mut world = swarm(9, 20, secs(60));
    // Nobody was told of anyone but this one.
    world.crash(0);
    world.run_for(secs(600));
    assert!(check::is_connected(&world, 0));
    let islands = (1..20).map(|n| (id(n), n as u32));
    world.network.set_islands(islands);
    world.run_for(secs(600));
    world.network.set_islands([]);
    let whole = |world: &mut World| check::is_connected(world, 0);
    let took = world.run_until("whole", secs(60), whole);
    println!("whole again after {took:?}");
    world.run_for(secs(60));
    delivers(&mut world, 1);
}

#[test]
fn item_10_two_halves_merge_within_two_shuffle_intervals() {
    println!("merged after {:?}", halves(10, 40));
}

#[test]
#[ignore = "takes minutes: cargo test --profile seeds --lib recover_from -- --ignored --nocapture"]
fn swarms_recover_from_blackouts_and_splits() {
    for seed in 0..50 {
        let (blackout, halves) = (blackout(seed), halves(seed, 50));
        println!("seed {seed}: whole after {blackout:?}, merged after {halves:?}");
    }
}

#[test]
fn who_was_cut_off_for_a_moment_hears_of_what_it_missed() {
    let mut world = swarm(12, 4, secs(10));
    world
        .network
        .set_islands((0..4).map(|n| (id(n), n as u32 / 2)));
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        let (a, b) = ((id(a), true), (id(b), true));
        world.network.lose_connections(a, b);
    }
    world.run_for(secs(6));
    assert!(!check::is_connected(&world, 0));
    world.broadcast(0, 0, message(1, 500));
    world.broadcast(2, 0, message(2, 500));
    world.run_for(secs(1));
    world.network.set_islands([]);
    let whole = |world: &mut World| check::is_connected(world, 0);
    world.run_until("whole", secs(5), whole);
    world.run_for(secs(2));
    for (n, number) in [(1, 1), (2, 1), (3, 1), (0, 2), (1, 2), (3, 2)] {
        assert!(
            world.received(n, 0, number).is_some(),
            "node {n} did not get message {number}"
        );
    }
}

#[test]
fn item_11_after_a_loss_every_candidate_is_tried() {
    let mut world = swarm(11, 12, secs(10));
    let me = 11;
    // All but one of those whom it knows are gone.
    let survivor = (1..11).find(|n| !world.neighbors(me, 0).contains(n));
    let survivor = survivor.expect("the view is smaller than the swarm");
    for n in 0..11 {
        if n != survivor {
            world.crash(n);
        }
    }
    // Loss is noticed after 15 s; a dial to a dead node takes as long.
    let found = |world: &mut World| joined(world, me, survivor);
    let took = world.run_until("the survivor is found", secs(60), found);
    println!("found after {took:?}");
}
