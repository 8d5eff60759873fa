//! Paths that carry packets in one direction only, so that one side hears and is not heard.

use std::time::Duration;

use super::{
    check,
    recovery::{delivers, swarm},
    world::{World, id, message, ms, secs},
};
use crate::net::transport::memory::PATH_TIMEOUT;

/// A connection is gone when its deaf end has heard nothing for long enough, and then the other one has.
const BOTH_NOTICE: Duration = Duration::from_secs(2 * PATH_TIMEOUT.as_secs() + 1);

fn are_neighbors(world: &World, a: usize, b: usize) -> bool {
    world.neighbors(a, 0).contains(&b) || world.neighbors(b, 0).contains(&a)
}

#[test]
fn neighbors_on_a_half_open_path_part_and_come_back() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = swarm(21, 3, secs(10));
        assert!(are_neighbors(&world, 0, 1));
        world.network.set_cut(id(from), id(to), true);
        let apart = |world: &mut World| !are_neighbors(world, 0, 1);
        world.run_until("both sides have noticed", BOTH_NOTICE, apart);
        let dialed = |world: &World| -> u64 {
            let nodes = world.nodes.values();
            nodes.map(|one| one.metrics.actor_tick_dialer.get()).sum()
        };
        let before = dialed(&world);
        for minute in 0..10 {
            world.broadcast(0, 0, message(2 * minute, 100));
            world.broadcast(1, 0, message(2 * minute + 1, 100));
            world.run_for(secs(60));
            assert!(!are_neighbors(&world, 0, 1), "a Hello alone is no contact");
            assert!(world.received(1, 0, 2 * minute).is_some(), "through node 2");
            assert!(world.received(0, 0, 2 * minute + 1).is_some());
        }
        // Each try holds a dial for 15 s; they become less frequent.
        let dials = dialed(&world) - before;
        assert!(dials <= 2 * 10 * 4, "{dials} dials in ten minutes");
        world.network.set_cut(id(from), id(to), false);
        let back = |world: &mut World| {
            world.neighbors(0, 0).contains(&1) && world.neighbors(1, 0).contains(&0)
        };
        world.run_until("neighbors again", secs(60), back);
        world.run_for(secs(5));
        check::quiet(&world);
    }
}

/// Until the network is back, and everybody has found everybody, the messages are still cached.
#[test]
fn a_path_that_is_half_open_for_a_while_loses_no_message() {
    for cut_for in [secs(3), secs(14), secs(18), secs(24)] {
        for (from, to) in [(0, 1), (1, 0)] {
            let mut world = World::new(22);
            world.limits.protocol.late_join_history = 64;
            world.start_all(2);
            world.join(0, 0, &[]);
            world.join(1, 0, &[0]);
            world.run_for(secs(2));
            world.network.set_cut(id(from), id(to), true);
            for number in 0..20 {
                let author = usize::from(number % 2 == 0);
                world.broadcast(author, 0, message(number, 100));
                world.run_for(ms(50));
            }
            world.run_for(cut_for - secs(1));
            world.network.set_cut(id(from), id(to), false);
            world.run_for(secs(40));
            for number in 0..20 {
                let reader = usize::from(number % 2 != 0);
                assert!(
                    world.received(reader, 0, number).is_some(),
                    "cut from {from} to {to} for {cut_for:?}: node {reader} did not get {number}"
                );
            }
            check::quiet(&world);
        }
    }
}

#[test]
fn a_swarm_of_which_one_half_is_not_heard_by_the_other_splits_and_merges() {
    let (nodes, shuffle) = (20, secs(60));
    let mut world = swarm(23, nodes, shuffle);
    let muffled = (0..nodes).filter(|n| n % 2 == 1);
    world.network.set_muffled(muffled.map(id));
    world.run_for(BOTH_NOTICE);
    for minute in 0..10 {
        let first = 1000 + 2 * minute;
        world.broadcast(0, 0, message(first, 300));
        world.broadcast(1, 0, message(first + 1, 300));
        world.run_for(secs(60));
        for n in 0..nodes {
            let across = world.neighbors(n, 0).into_iter();
            let across: Vec<_> = across.filter(|peer| peer % 2 != n % 2).collect();
            assert_eq!(across, [0; 0], "node {n} takes these for neighbors");
            let number = first + n as u64 % 2;
            let got = n < 2 || world.received(n, 0, number).is_some();
            assert!(got, "node {n} did not get message {number} of its half");
        }
    }
    world.network.set_muffled([]);
    let whole = |world: &mut World| check::is_connected(world, 0);
    let took = world.run_until("one swarm", 2 * shuffle, whole);
    println!("merged after {took:?}");
    world.run_for(secs(60));
    check::quiet(&world);
    delivers(&mut world, 1);
}
