//! Machines that sleep, and clocks that jump, also around a crash.

use std::time::Duration;

use bytes::Bytes;
use iroh_base::EndpointId;

use super::{
    check,
    raw::Raw,
    recovery::{delivers, swarm},
    world::{World, message, ms, secs, topic},
};
use crate::proto::{
    DeliveryScope, Message, MessageId, Round,
    plumtree::{self, Gossip, IHave},
    wire,
};

/// Long enough to be noticed by nobody, by the network, by a topic, and by all that expires.
const JUMPS: [Duration; 4] = [secs(1), secs(20), secs(3600), secs(24 * 3600)];

fn is_whole(world: &mut World) -> bool {
    let neighbors = |n: &usize| !world.neighbors(*n, 0).is_empty();
    world.nodes.keys().all(neighbors) && check::is_connected(world, 0)
}

#[test]
fn a_jump_of_the_clock_harms_nobody() {
    let mut world = swarm(1, 10, secs(10));
    for jump in JUMPS {
        world.jump(jump);
        world.run_for(secs(30));
        assert!(is_whole(&mut world));
        delivers(&mut world, jump.as_secs() * 10);
    }
    check::mostly_quiet(&mut world);
}

/// A node that is in a topic, and a peer that has announced a message to it.
fn announced(content: &Bytes) -> (World, Raw) {
    let mut world = World::new(33);
    world.network.set_latency(ms(1)..ms(2));
    world.start_all(1);
    world.join(0, 0, &[]);
    let mut raw = Raw::joined(&mut world, 10, 0, topic(0));
    let id = MessageId::from_content(content);
    let round = Round::from(1);
    let announcement = plumtree::Message::IHave([IHave { id, round }].into());
    let frame = wire::encode::<EndpointId>(&Message::Gossip(announcement), 4096);
    raw.begin_to_write(&mut world, topic(0), frame.expect("it fits"));
    (world, raw)
}

/// What was sent while the loop was held up is on its way: nobody is asked for it.
#[test]
fn a_loop_that_was_held_up_waits_for_what_is_on_its_way() {
    let content = message(1, 100);
    let (mut world, raw) = announced(&content);
    let begin = world.now();
    let is_asked = |_: &mut World| raw.take_heard(topic(0)).iter().any(is_graft);
    world.run_until("it is asked for", secs(5), is_asked);
    let timeout = world.now() - begin;

    for comes in [true, false] {
        let (mut world, mut raw) = announced(&content);
        world.run_for(timeout - ms(10));
        // The Graft is due in a moment, and the payload comes a moment after the machine has stood still.
        world.network.set_latency(ms(60)..ms(61));
        if comes {
            let gossip = plumtree::Message::Gossip(Gossip {
                id: MessageId::from_content(&content),
                content: content.clone(),
                scope: DeliveryScope::Swarm(Round::from(1)),
            });
            let frame = wire::encode::<EndpointId>(&Message::Gossip(gossip), 4096);
            raw.begin_to_write(&mut world, topic(0), frame.expect("it fits"));
        }
        world.jump(ms(50));
        world.run_for(ms(200));
        assert_eq!(world.received(0, 0, 1).is_some(), comes);
        let asked = raw.take_heard(topic(0)).iter().any(is_graft);
        assert_eq!(asked, !comes, "what does not come is asked for");
    }
}

fn is_graft(message: &Message<EndpointId>) -> bool {
    matches!(message, Message::Gossip(plumtree::Message::Graft(_)))
}

#[test]
fn a_crash_and_a_jump_of_the_clock_harm_nobody_in_any_order() {
    for (n, contact) in [(4, 0), (0, 4)] {
        let mut world = swarm(31, 10, secs(10));
        let mut number = 1;
        for jump in JUMPS {
            // How long the clock goes on before it jumps: between the two, in the middle of the first
            // handshakes, before and after the answers to the first Joins.
            for jumps_after in [None, Some(0), Some(30), Some(100), Some(2000)] {
                world.crash(n);
                if jumps_after.is_none() {
                    world.jump(jump);
                }
                world.start(n);
                world.join(n, 0, &[contact]);
                if let Some(after) = jumps_after {
                    world.run_for(ms(after));
                    world.jump(jump);
                }
                let took = world.run_until("whole", secs(30), is_whole);
                println!("a jump of {jump:?}, {jumps_after:?}: whole after {took:?}");
                // The last word on old connections is their timeout.
                world.run_for(secs(20));
                delivers(&mut world, number);
                number += 10;
            }
        }
        world.run_for(secs(10));
        check::quiet(&world);
    }
}

#[test]
fn a_machine_that_slept_is_back_soon_after_it_wakes() {
    let mut world = swarm(32, 10, secs(10));
    for (number, slept) in [secs(2), secs(14), secs(16), secs(60), secs(1200)]
        .into_iter()
        .enumerate()
    {
        world.sleep(3);
        world.run_for(slept);
        let noticed = (0..10).all(|n| !world.neighbors(n, 0).contains(&3));
        assert!(noticed || slept < secs(30), "nobody counts on who sleeps");
        world.wake(3);
        let took = world.run_until("whole", secs(30), |world| {
            is_whole(world) && check::one_sided(world).is_empty()
        });
        println!("slept for {slept:?}: back after {took:?}");
        world.run_for(secs(20));
        delivers(&mut world, 1 + 10 * number as u64);
    }
    world.run_for(secs(10));
    check::quiet(&world);
}

#[test]
fn all_machines_but_one_sleep_and_wake_one_after_the_other() {
    let mut world = swarm(33, 10, secs(10));
    (1..10).for_each(|n| world.sleep(n));
    world.run_for(secs(900));
    assert_eq!(world.neighbors(0, 0), [0; 0]);
    for n in 1..10 {
        world.wake(n);
        world.run_for(secs(7));
    }
    let took = world.run_until("whole", secs(60), is_whole);
    println!("whole after {took:?}");
    world.run_for(secs(30));
    check::quiet(&world);
    delivers(&mut world, 1);
}
