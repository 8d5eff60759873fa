//! Made-up schedules: whole swarms under joins, leaves, broadcasts and faults.
//!
//! See [`super`] for how to repeat a seed, and how to run many.

use std::{
    collections::BTreeSet,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use bytes::Bytes;
use indexmap::IndexSet;

use super::{
    check,
    world::{World, message, ms, secs, topic},
};
use crate::proto::MessageId;
use delivery::Delivery;
use plan::Plan;
use small::Met;

mod apply;
mod delivery;
mod plan;
mod small;
mod work;

/// Seeds of an ordinary test run, over all threads. The gate asks for more.
const SEEDS: u64 = 100;

/// Tests that share the seeds, so that several threads have something to do.
const SHARES: u64 = 4;

/// How often everything is looked at.
const SAMPLE: Duration = ms(500);

/// How long all has to look well before it is believed.
const STEADY: Duration = secs(8);

/// Messages sent once all is well have numbers from here on.
const LAST_MESSAGES: u64 = 1 << 32;

/// What is counted of messages that had to have arrived.
const OWED: &str = "messages owed";

/// Says what was tried when it fails.
struct Failing<'a>(&'a Plan);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let plan = self.0;
            eprintln!("{plan}");
            eprintln!(
                "failed; again: SMOL_GOSSIP_SEED={} cargo test --lib net::tests::schedules -- --nocapture",
                plan.seed
            );
        }
    }
}

/// Runs a schedule from beginning to end. Returns the trace, and the bounds that were met.
fn run(plan: &Plan) -> (u64, Met) {
    let _failing = Failing(plan);
    let mut world = World::new(plan.seed);
    world.config = plan.config();
    world.limits = plan.limits();
    plan.small.apply(&mut world);
    if plan.seed % 2 == 1 {
        world.network.set_ack_delay(ms(25));
    }
    // A thousand announcements at once are more than a queue of some frames carries in a known time.
    let mut delivery = Delivery::new(plan.history && plan.small.is_empty());
    let verbose = env::var_os("SMOL_GOSSIP_SEED").is_some();
    for (at, op) in &plan.ops {
        while world.time() < *at {
            let left = *at - world.time();
            world.run_for(left.min(SAMPLE));
            delivery.sample(&world);
        }
        if verbose {
            eprintln!("{:?} {op:?}", world.time());
        }
        op.apply(&mut world, &mut delivery, plan.capacity);
        // Everybody looks at it before it is looked at.
        world.run_for(Duration::ZERO);
        delivery.sample(&world);
    }
    settle(plan, &mut world, &mut delivery);
    part(plan, &mut world);
    let mut met = small::met(&world);
    met.insert(OWED, delivery.owed());
    (world.trace(), met)
}

/// All is well again: the swarm has to be whole.
fn settle(plan: &Plan, world: &mut World, delivery: &mut Delivery) {
    let (soonest, latest) = plan.settling();
    let (soonest, latest) = (world.time() + soonest, world.time() + latest);
    let mut well_since = None;
    while world.time() < latest {
        world.run_for(SAMPLE);
        delivery.sample(world);
        if !looks_well(plan, world) {
            well_since = None;
        } else if *well_since.get_or_insert(world.time()) + STEADY <= world.time()
            && world.time() >= soonest
        {
            break;
        }
    }
    check::mostly_quiet(world);
    for topic_number in 0..plan.topics {
        if plan::could_be_whole(world, topic_number, true) {
            assert!(
                check::is_connected(world, topic_number),
                "topic {topic_number} is in pieces: {:?}",
                check::neighbors_of_all(world, topic_number)
            );
        }
    }
    let whole: Vec<usize> = (0..plan.topics)
        .filter(|topic_number| check::is_connected(world, *topic_number))
        .collect();
    let unneeded = check::unneeded_connections(world);
    let before = work::of_all(world);
    world.run_for(secs(60));
    let shuffles = plan.topics as u64 * (60 / plan.shuffle_secs + 2);
    work::check_quiet(&before, &work::of_all(world), shuffles);
    for topic_number in whole {
        assert!(
            check::is_connected(world, topic_number),
            "topic {topic_number} fell to pieces in a quiet while"
        );
    }
    let unneeded_before = unneeded;
    let unneeded = check::unneeded_connections(world);
    let stayed: Vec<_> = unneeded.intersection(&unneeded_before).collect();
    assert!(
        stayed.is_empty(),
        "connections that nobody needs: {stayed:?}"
    );

    let members: Vec<(usize, usize)> = world
        .nodes
        .iter()
        .flat_map(|(n, running)| {
            let live = running.subscriptions.iter().filter(|one| !one.ended);
            live.map(|one| (*n, one.topic))
        })
        .collect();
    let members: IndexSet<_> = members.into_iter().collect();
    // A node that nobody knew may be found at any time: what was said before is not for it.
    let whole: Vec<usize> = (0..plan.topics)
        .filter(|topic_number| check::is_connected(world, *topic_number))
        .collect();
    for (number, &(n, topic_number)) in (LAST_MESSAGES..).zip(&members) {
        world.broadcast(n, topic_number, last_message(plan, number));
    }
    let sent = world.now();
    // Where queues are small, what they had no room for is asked for in several rounds.
    world.run_for(secs(if plan.small.is_empty() { 10 } else { 25 }));
    delivery.sample(world);
    for topic_number in whole {
        if !check::is_connected(world, topic_number) {
            continue;
        }
        for (number, &(from, of_topic)) in (LAST_MESSAGES..).zip(&members) {
            if of_topic != topic_number {
                continue;
            }
            let id = MessageId::from_content(&last_message(plan, number));
            for &(n, to_topic) in &members {
                if to_topic == topic_number && n != from {
                    assert!(
                        world.received(n, topic_number, number).is_some()
                            || is_lost(world, (n, topic_number), (number, from), &id, sent),
                        "node {n} did not get message {number} of node {from} in topic {topic_number}"
                    );
                }
            }
        }
    }
    for (n, running) in &world.nodes {
        let held = running.metrics.peers_held.get();
        assert_eq!(
            held, 0,
            "node {n}: whoever keeps to the protocol is no burden"
        );
    }
}

fn last_message(plan: &Plan, number: u64) -> Bytes {
    let size = if number.is_multiple_of(2) {
        100
    } else {
        plan.max_content()
    };
    message(number, size)
}

/// Whether a message of a whole topic did not come to a member because each neighbor that has it has
/// an excuse. Where none has it, the same is asked for those neighbors.
fn is_lost(
    world: &World,
    (n, topic_number): (usize, usize),
    (number, author): (u64, usize),
    id: &MessageId,
    sent: Instant,
) -> bool {
    let neighbors = world.neighbors(n, topic_number);
    let mut having = neighbors
        .into_iter()
        .filter(|other| *other == author || world.received(*other, topic_number, number).is_some());
    having.all(|other| delivery::is_excused(world, (other, n), topic_number, id, sent))
}

/// Whether there is nothing left to put right, at a glance.
fn looks_well(plan: &Plan, world: &World) -> bool {
    let whole = |topic_number: usize| {
        check::is_connected(world, topic_number)
            || !plan::could_be_whole(world, topic_number, false)
    };
    check::one_sided(world).is_empty()
        && check::unwritten(world).is_empty()
        && (0..plan.topics).all(whole)
}

/// Everybody leaves, one way or the other.
fn part(plan: &Plan, world: &mut World) {
    let nodes: Vec<usize> = world.nodes.keys().copied().collect();
    let timeout = world.limits.shutdown_timeout + ms(50);
    for &n in &nodes {
        if (n as u64 + plan.seed).is_multiple_of(3) {
            let done = world.shutdown(n);
            world.run_until("shutdown", timeout, |world| !world.nodes.contains_key(&n));
            done.try_recv().expect("who asked is answered");
        }
    }
    let nodes: Vec<usize> = world.nodes.keys().copied().collect();
    for &n in &nodes {
        for topic_number in 0..plan.topics {
            world.leave(n, topic_number);
        }
    }
    // A path times out after 15 s, and what is idle is closed 10 s after it was last heard.
    world.run_for(secs(60));
    check::idle(world);
    for &n in &nodes {
        world.stop(n);
    }
    world.run_until("all end", timeout, |world| world.nodes.is_empty());
}

pub(super) fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("it is a number"))
}

/// Runs some seeds. Returns those that failed, and in how many each bound was met.
fn run_seeds(seeds: impl Iterator<Item = u64>) -> (Vec<u64>, Met) {
    let (mut failed, mut reached) = (Vec::new(), Met::new());
    for seed in seeds {
        let run = || run(&Plan::new(seed));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok((_, met)) => {
                for (bound, times) in met {
                    *reached.entry(bound).or_default() += u64::from(times > 0);
                }
            }
            Err(_) => failed.push(seed),
        }
    }
    (failed, reached)
}

fn run_share(share: u64) {
    if let Some(seed) = number_from_env("SMOL_GOSSIP_SEED") {
        if share == 0 {
            run(&Plan::new(seed));
        }
        return;
    }
    let count = number_from_env("SMOL_GOSSIP_SEEDS").unwrap_or(SEEDS);
    let first = number_from_env("SMOL_GOSSIP_FIRST_SEED").unwrap_or(0);
    let seeds = (first..first + count).filter(|seed| seed % SHARES == share);
    let tried = seeds.clone().count() as u64;
    let (failed, reached) = run_seeds(seeds);
    assert_eq!(failed, [0; 0], "seeds of {count} that failed");
    let proving = reached.get(OWED).copied().unwrap_or(0);
    assert!(
        proving >= tried / 2,
        "messages were owed in {proving} of {tried} seeds"
    );
}

/// As many seeds as are asked for, and all that there are where none is: until it is stopped. It
/// goes on after a failure, and says after every thousand which have failed so far.
#[test]
#[ignore = "takes an hour: cargo test --profile seeds --lib many_schedules -- --ignored --nocapture"]
fn many_schedules() {
    const BATCH: u64 = 1000;
    let first = number_from_env("SMOL_GOSSIP_FIRST_SEED").unwrap_or(0);
    let count = match number_from_env("SMOL_GOSSIP_SEEDS") {
        Some(0) => u64::MAX - first,
        Some(count) => count,
        None => 100_000,
    };
    let end = first + count;
    let (mut failed, mut reached) = (Vec::new(), Met::new());
    let mut begin = first;
    while begin < end {
        let batch = begin..end.min(begin + BATCH);
        begin = batch.end;
        let shares = (0..SHARES).map(|share| {
            let seeds = batch.clone().filter(move |seed| seed % SHARES == share);
            std::thread::spawn(|| run_seeds(seeds))
        });
        // All are started before the first one is waited for.
        for share in shares.collect::<Vec<_>>() {
            let (of_share, met) = share.join().expect("failures are caught");
            failed.extend(of_share);
            for (bound, seeds) in met {
                *reached.entry(bound).or_default() += seeds;
            }
        }
        eprintln!("seeds {first}..{begin}: failed {failed:?}; with {reached:?}");
    }
    assert_eq!(failed, [0; 0], "seeds that failed");
}

#[test]
fn schedules_of_share_0() {
    run_share(0);
}

#[test]
fn schedules_of_share_1() {
    run_share(1);
}

#[test]
fn schedules_of_share_2() {
    run_share(2);
}

#[test]
fn schedules_of_share_3() {
    run_share(3);
}

/// Else all that is promised where a bound is met would be promised in vain.
#[test]
fn schedules_meet_every_small_bound() {
    const MOST: u64 = 300;
    let mut unmet: Option<BTreeSet<&str>> = None;
    for seed in 0..MOST {
        let plan = Plan::new(seed);
        if plan.small.is_empty() {
            continue;
        }
        let (_, met) = run(&plan);
        let unmet = unmet.get_or_insert_with(|| met.keys().copied().collect());
        unmet.retain(|bound| met[bound] == 0);
        if unmet.is_empty() {
            return;
        }
    }
    panic!("not met by any of {MOST} seeds: {unmet:?}");
}

#[test]
fn a_seed_has_one_trace() {
    let with_small = (3..).filter(|seed| !Plan::new(*seed).small.is_empty());
    for seed in [3, 4, 5].into_iter().chain(with_small.take(2)) {
        let plan = Plan::new(seed);
        let (first, _) = run(&plan);
        assert_eq!(first, run(&plan).0, "seed {seed}");
        assert_ne!(first, run(&Plan::new(seed + 100)).0, "seed {seed}");
    }
}

/// The nodes that a member of a topic was told to join through.
pub(super) fn is_member(world: &World, n: usize, topic_number: usize) -> bool {
    let name = topic(topic_number);
    world
        .nodes
        .get(&n)
        .is_some_and(|running| running.node.state.contains(&name))
}
