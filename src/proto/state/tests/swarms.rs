//! Many nodes together.

use std::{collections::BTreeSet, time::Duration};

use rand::RngExt;

use super::*;
use crate::proto::state::swarm::Swarm;

/// Nodes that all joined through the first, and had time to find each other.
fn joined(seed: u64, nodes: Peer) -> Swarm {
    let mut swarm = Swarm::new(seed);
    swarm.start(0);
    swarm.join(0, topic(1), &[]);
    for peer in 1..nodes {
        swarm.start(peer);
        swarm.join(peer, topic(1), &[0]);
        swarm.run_for(ms(100));
    }
    swarm.run_for(Duration::from_secs(10));
    swarm
}

/// Everyone broadcasts once, and everyone else gets each message exactly once.
#[track_caller]
fn assert_whole(swarm: &mut Swarm, peers: &BTreeSet<Peer>, round: &str) {
    for peer in peers {
        swarm.take_events(*peer, topic(1));
    }
    for peer in peers {
        swarm.broadcast(*peer, topic(1), format!("{round} {peer}"));
        swarm.run_for(ms(100));
    }
    swarm.run_for(Duration::from_secs(5));
    for peer in peers {
        let mut received = swarm.take_received(*peer, topic(1));
        received.sort();
        let others = peers.iter().filter(|other| *other != peer);
        let mut expected: Vec<Bytes> = others.map(|p| format!("{round} {p}").into()).collect();
        expected.sort();
        assert_eq!(received, expected, "received by {peer}");
    }
}

#[test]
fn thirty_nodes_receive_every_broadcast_exactly_once() {
    for seed in 0..5 {
        let mut swarm = joined(seed, 30);
        assert_whole(&mut swarm, &(0..30).collect(), "first");
        assert_whole(&mut swarm, &(0..30).collect(), "second");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut swarm = joined(seed, 12);
        assert_whole(&mut swarm, &(0..12).collect(), "all");
        swarm.kill(3);
        swarm.quit(4, topic(1));
        swarm.run_for(Duration::from_secs(90));
        swarm.trace().to_vec()
    };
    let trace = run(7);
    assert!(trace == run(7));
    assert!(trace != run(8));
}

#[test]
fn the_others_go_on_when_some_leave_and_rejoin() {
    let mut swarm = joined(1, 20);
    let mut peers: BTreeSet<Peer> = (0..20).collect();
    for peer in [0, 5, 11] {
        swarm.quit(peer, topic(1));
        peers.remove(&peer);
    }
    swarm.run_for(Duration::from_secs(10));
    for gone in [0, 5, 11] {
        for peer in &peers {
            assert!(!swarm.neighbors(*peer, topic(1)).contains(&gone));
        }
    }
    assert_whole(&mut swarm, &peers, "without");
    for peer in [0, 5, 11] {
        swarm.join(peer, topic(1), &[7]);
        peers.insert(peer);
    }
    swarm.run_for(Duration::from_secs(10));
    assert_whole(&mut swarm, &peers, "again");
}

#[test]
fn the_others_go_on_when_some_are_killed_and_restarted() {
    let mut swarm = joined(2, 20);
    let mut peers: BTreeSet<Peer> = (0..20).collect();
    for peer in [0, 5, 11] {
        swarm.kill(peer);
        peers.remove(&peer);
    }
    swarm.run_for(Duration::from_secs(10));
    assert_whole(&mut swarm, &peers, "without");
    for peer in [0, 5, 11] {
        swarm.start(peer);
        swarm.join(peer, topic(1), &[7]);
        peers.insert(peer);
    }
    swarm.run_for(Duration::from_secs(10));
    assert_whole(&mut swarm, &peers, "again");
}

/// The seeds of a test: `usual` from zero on, or what the environment asks for.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let first = number("SMOL_GOSSIP_FIRST_SWARM").unwrap_or(0);
    first..first + number("SMOL_GOSSIP_SWARMS").unwrap_or(usual)
}

/// Items 8, 9 and 10 at once, and all the invariants on the way.
#[test]
fn a_swarm_is_whole_again_after_chaos() {
    for seed in seeds(8) {
        eprintln!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut swarm = joined(seed, 16);
        let mut running: BTreeSet<Peer> = (0..16).collect();
        for _ in 0..40 {
            let peer = rng.random_range(0..16);
            match rng.random_range(0..5) {
                0 if running.remove(&peer) => swarm.kill(peer),
                1 if running.insert(peer) => {
                    swarm.start(peer);
                    let through = *running.iter().find(|other| **other != peer).unwrap();
                    swarm.join(peer, topic(1), &[through]);
                }
                2 => swarm.split(0..peer),
                3 => swarm.heal(),
                _ if running.contains(&peer) => swarm.broadcast(peer, topic(1), vec![1; 20]),
                _ => {}
            }
            swarm.run_for(ms(rng.random_range(0..3_000)));
        }
        swarm.heal();
        swarm.run_for(2 * Config::default().membership.shuffle_interval);
        assert_whole(&mut swarm, &running, "after");
    }
}

/// Item 8, as far as it is ours: a node that is back before its loss was noticed.
#[test]
fn item_08_a_quick_restart_is_seen_as_down_and_up() {
    let mut swarm = joined(3, 2);
    swarm.take_events(0, topic(1));
    swarm.kill(1);
    swarm.start(1);
    swarm.join(1, topic(1), &[0]);
    swarm.run_for(ms(500));
    assert_eq!(
        swarm.take_events(0, topic(1)),
        [Event::NeighborDown(1), Event::NeighborUp(1)]
    );
    swarm.run_for(Duration::from_secs(5));
    assert_whole(&mut swarm, &[0, 1].into(), "again");
}

/// Item 10.
#[test]
fn item_10_two_halves_merge_within_two_shuffle_intervals() {
    let mut swarm = joined(4, 16);
    swarm.split(0..8);
    swarm.run_for(Duration::from_secs(30));
    assert_whole(&mut swarm, &(0..8).collect(), "apart");
    assert_whole(&mut swarm, &(8..16).collect(), "apart");
    swarm.heal();
    swarm.run_for(2 * Config::default().membership.shuffle_interval);
    assert_whole(&mut swarm, &(0..16).collect(), "together");
}

#[test]
fn item_12_leaving_one_of_two_topics_keeps_the_connection() {
    let mut swarm = Swarm::new(5);
    for peer in 0..2 {
        swarm.start(peer);
        for name in [1, 2] {
            swarm.join(peer, topic(name), &[0][..peer as usize]);
        }
    }
    swarm.run_for(Duration::from_secs(2));
    for peer in 0..2 {
        swarm.quit(peer, topic(1));
    }
    swarm.run_for(Duration::from_secs(2));
    assert!(swarm.connected(0, 1));
    assert_eq!(swarm.neighbors(0, topic(2)), [1].into());
    for peer in 0..2 {
        swarm.quit(peer, topic(2));
    }
    swarm.run_for(Duration::from_secs(2));
    assert!(!swarm.connected(0, 1));
}

#[test]
fn item_12_quick_leave_and_rejoin_end_up_joined() {
    let mut swarm = joined(6, 2);
    for _ in 0..20 {
        swarm.quit(1, topic(1));
        swarm.join(1, topic(1), &[0]);
        swarm.run_for(ms(7));
    }
    swarm.run_for(Duration::from_secs(5));
    assert_eq!(swarm.neighbors(0, topic(1)), [1].into());
    assert_whole(&mut swarm, &[0, 1].into(), "after");
}

#[test]
fn item_13_join_and_leave_cycles_leave_nothing_behind() {
    let mut swarm = Swarm::new(7);
    for peer in 0..2 {
        swarm.start(peer);
    }
    swarm.join(0, topic(1), &[]);
    for _ in 0..1_000 {
        swarm.join(1, topic(1), &[0]);
        swarm.run_for(ms(300));
        assert_eq!(swarm.neighbors(1, topic(1)), [0].into());
        swarm.quit(1, topic(1));
        swarm.run_for(ms(300));
        assert!(!swarm.connected(0, 1));
        assert!(!swarm.state(0).is_needed(&1));
        assert!(!swarm.state(1).is_needed(&0));
    }
}

#[test]
fn item_15_what_was_published_alone_reaches_the_first_neighbor() {
    let mut swarm = Swarm::new(8);
    swarm.start(0);
    swarm.join(0, topic(1), &[]);
    swarm.broadcast(0, topic(1), "early");
    swarm.run_for(Duration::from_secs(3));
    swarm.start(1);
    swarm.join(1, topic(1), &[0]);
    swarm.run_for(Duration::from_secs(2));
    assert_eq!(swarm.take_received(1, topic(1)), ["early"]);
}

/// Item 18: what the application was told adds up to the neighbors that there are.
#[test]
fn item_18_neighbor_events_add_up() {
    let mut swarm = joined(9, 20);
    for peer in [2, 3] {
        swarm.kill(peer);
        swarm.run_for(Duration::from_secs(20));
    }
    for peer in (0..20).filter(|peer| ![2, 3].contains(peer)) {
        let mut neighbors = BTreeSet::new();
        for event in swarm.take_events(peer, topic(1)) {
            match event {
                Event::NeighborUp(other) => assert!(neighbors.insert(other), "{other} was up"),
                Event::NeighborDown(other) => assert!(neighbors.remove(&other), "{other} was down"),
                Event::Received(_) => panic!("nobody sent anything"),
            }
        }
        assert_eq!(neighbors, swarm.neighbors(peer, topic(1)));
    }
}
