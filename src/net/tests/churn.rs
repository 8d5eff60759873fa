//! Messages under steady churn: who stays connected gets everything.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IteratorRandom};

use super::{
    recovery::swarm,
    schedules::number_from_env,
    world::{World, message, secs},
};

/// How long a message is cached, which is how long it may take.
const WINDOW: u64 = 30;

/// How long an author has to stay to have handed its message on.
const HANDED_ON: u64 = 5;

/// Nodes that are killed every minute, of a hundred.
const KILLED: usize = 30;

struct Sent {
    number: u64,
    from: usize,
    at: Instant,
    /// Whether its author was gone before it could hand it on.
    left: bool,
}

/// Those who are in the largest piece of the swarm: links that both ends know of, between nodes
/// that run.
fn largest_piece(world: &World) -> BTreeSet<usize> {
    let links: BTreeMap<usize, BTreeSet<usize>> = world
        .nodes
        .keys()
        .map(|n| (*n, world.neighbors(*n, 0).into_iter().collect()))
        .collect();
    let mut left: BTreeSet<usize> = links.keys().copied().collect();
    let mut largest = BTreeSet::new();
    while let Some(first) = left.pop_first() {
        let mut piece = BTreeSet::from([first]);
        let mut next = vec![first];
        while let Some(n) = next.pop() {
            for peer in &links[&n] {
                let mutual = links.get(peer).is_some_and(|back| back.contains(&n));
                if mutual && piece.insert(*peer) {
                    left.remove(peer);
                    next.push(*peer);
                }
            }
        }
        if piece.len() > largest.len() {
            largest = piece;
        }
    }
    largest
}

/// Kills and restarts a part of the nodes every minute while somebody says something every second.
/// Returns how many messages had to reach how many nodes.
fn churn(seed: u64, nodes: usize, minutes: u64) -> (usize, usize) {
    let mut world = swarm(seed, nodes, secs(60));
    let mut rng = StdRng::seed_from_u64(seed);
    // Since when each node has been connected.
    let mut connected: BTreeMap<usize, Instant> = BTreeMap::new();
    let mut restarts: VecDeque<(u64, usize)> = VecDeque::new();
    let mut sent: VecDeque<Sent> = VecDeque::new();
    let (mut messages, mut deliveries) = (0, 0);
    let mut missed = Vec::new();
    for second in 0..minutes * 60 {
        if second % 60 == 0 {
            let running = world.nodes.keys().copied();
            for n in running.sample(&mut rng, nodes * KILLED / 100) {
                world.crash(n);
                connected.remove(&n);
                restarts.push_back((second + rng.random_range(2..20), n));
            }
        }
        restarts.retain(|(at, n)| {
            let due = *at <= second;
            if due {
                let through = world.nodes.keys().copied().sample(&mut rng, 3);
                world.start(*n);
                world.join(*n, 0, &through);
            }
            !due
        });
        let piece = largest_piece(&world);
        let now = world.now();
        connected.retain(|n, _| piece.contains(n));
        for n in piece {
            connected.entry(n).or_insert(now);
        }
        let author = connected.keys().copied().choose(&mut rng);
        let from = author.expect("somebody is connected");
        world.broadcast(from, 0, message(second, 500));
        sent.push_back(Sent {
            number: second,
            from,
            at: now,
            left: false,
        });
        for one in &mut sent {
            let stays = connected
                .get(&one.from)
                .is_some_and(|since| *since <= one.at);
            one.left |= !stays && now <= one.at + secs(HANDED_ON);
        }
        let old = sent.partition_point(|one| one.at + secs(WINDOW) <= now);
        for one in sent.drain(..old) {
            if one.left {
                continue;
            }
            messages += 1;
            for (n, since) in &connected {
                if *since > one.at || *n == one.from {
                    continue;
                }
                deliveries += 1;
                if world.received(*n, 0, one.number).is_none() {
                    let (number, from) = (one.number, one.from);
                    let connected = one.at - *since;
                    let miss = format!(
                        "node {n}, connected for {connected:?}: message {number} of {from}"
                    );
                    println!("seed {seed}: {miss}");
                    missed.push(miss);
                }
            }
        }
        world.run_for(secs(1));
    }
    assert_eq!(missed, [""; 0], "seed {seed}: of {deliveries} deliveries");
    (messages, deliveries)
}

#[test]
fn who_stays_connected_under_churn_gets_everything() {
    let (messages, deliveries) = churn(1, 40, 4);
    println!("{messages} messages, {deliveries} deliveries");
    assert!(messages > 60 && deliveries > 20 * messages);
}

#[test]
#[ignore = "takes minutes: cargo test --profile seeds --lib under_churn -- --ignored --nocapture"]
fn two_hundred_nodes_under_churn_for_an_hour_lose_nothing() {
    let seed = number_from_env("SMOL_GOSSIP_SEED").unwrap_or(6);
    let (messages, deliveries) = churn(seed, 200, 60);
    println!("{messages} messages, {deliveries} deliveries");
    assert!(messages > 60 * 30);
}
