//! Whole swarms.

use super::{network::*, *};

const SEEDS: std::ops::Range<u64> = 0..3;

/// A swarm of `count` nodes that joined through node 0 one after the other.
fn swarm(seed: u64, count: u32) -> Network {
    let mut net = Network::new(seed);
    net.start(0, []);
    for id in 1..count {
        net.start(id, [0]);
        net.pass(ms(50));
    }
    net.pass(secs(300));
    assert!(net.is_whole());
    net
}

#[test]
fn thirty_nodes_join_through_one_at_once() {
    for seed in SEEDS {
        let mut net = Network::new(seed);
        for id in 0..30 {
            net.start(id, (id > 0).then_some(0));
        }
        let whole = net.wait(secs(5), Network::is_whole);
        println!("whole after {whole:?}, {} messages", net.messages());
        assert!(whole.is_some());
        net.pass(secs(5));
        println!(
            "after 10 s: degree {:.2}, {:?}",
            net.mean_degree(),
            net.sent
        );
        assert!(net.is_whole());
        assert!(net.mean_degree() > 4.0);
        net.pass(secs(600));
        println!("after 10 cycles: degree {:.2}", net.mean_degree());
        assert!(net.is_whole());
        assert_eq!(net.one_sided(), []);
        assert!(net.mean_degree() >= 4.8);
    }
}

#[test]
fn a_stable_swarm_costs_at_most_nine_messages_per_node_and_cycle() {
    for seed in SEEDS {
        let mut net = swarm(seed, 60);
        net.pass(secs(20 * 60));
        let before = net.messages();
        net.pass(secs(10 * 60));
        let per_cycle = (net.messages() - before) as f64 / 60.0 / 10.0;
        println!(
            "{per_cycle:.2} messages per node and cycle, degree {:.3}, {:?}",
            net.mean_degree(),
            net.sent
        );
        assert!(per_cycle <= 9.0);
        assert!(net.mean_degree() >= 4.9);
        assert_eq!(net.one_sided(), []);
    }
}

#[test]
fn a_joiner_that_comes_first_is_joined_within_five_seconds_of_its_contact() {
    for seed in SEEDS {
        for late in [100, 900, 4_000, 17_300, 60_000, 301_700] {
            let mut net = Network::new(seed);
            net.start(1, [0]);
            net.pass(ms(late));
            net.start(0, []);
            let joined = net.wait(secs(5), Network::is_whole);
            assert!(joined.is_some(), "contact late by {late} ms");
        }
    }
}

#[test]
fn a_joiner_whose_contact_is_reachable_but_not_subscribed_is_joined_within_five_seconds() {
    // The contact is connected, for another topic, and ignores Joins until it subscribes.
    for seed in SEEDS {
        let mut node = Node::new(1, seed);
        node.handle(Input::Join(vec![0]));
        let mut last = base();
        for _ in 0..100 {
            let deadline = node.state.next_deadline().get().unwrap();
            node.now = deadline;
            if !sent_to(&node.timeout(), 0).is_empty() {
                assert!(deadline - last < ms(4500));
                last = deadline;
            }
        }
        assert!(node.record.held.contains(&0));
    }
}

#[test]
fn a_killed_node_comes_back_whoever_dials() {
    for seed in SEEDS {
        for contact_dies in [false, true] {
            let mut net = Network::new(seed);
            net.start(0, []);
            net.start(1, [0]);
            net.pass(secs(100));
            assert!(net.is_whole());
            // Restarted at once, and it dials: long before the old connection times out.
            let (dead, alive) = if contact_dies { (0, 1) } else { (1, 0) };
            net.kill(dead, PATH_TIMEOUT);
            net.pass(ms(300));
            net.start(dead, [alive]);
            assert!(net.wait(secs(5), Network::is_whole).is_some());
            net.pass(secs(30));
            assert!(net.is_whole());
            // Restarted, and waits to be found.
            net.kill(dead, PATH_TIMEOUT);
            net.pass(ms(300));
            net.start(dead, []);
            net.pass(PATH_TIMEOUT - ms(300));
            assert!(net.wait(secs(5), Network::is_whole).is_some());
            assert_eq!(net.one_sided(), []);
        }
    }
}

#[test]
fn ten_minutes_offline_erase_nothing_and_the_swarm_is_whole_within_a_minute() {
    for seed in SEEDS {
        let mut net = swarm(seed, 30);
        for id in 0..30 {
            net.place(id, 255);
        }
        net.split();
        net.pass(secs(600));
        for node in net.nodes.values() {
            assert_eq!(node.active(), []);
            assert!(node.passive().len() >= 20, "{:?}", node.passive());
        }
        for id in 0..30 {
            net.place(id, 0);
        }
        let whole = net.wait(secs(60), Network::is_whole);
        println!("whole after {whole:?}");
        assert!(whole.is_some());
        net.pass(secs(60));
        assert!(net.is_whole());
        assert!(net.mean_degree() > 4.0, "{}", net.mean_degree());
    }
}

#[test]
fn one_node_offline_for_ten_minutes_is_back_within_a_minute() {
    for seed in SEEDS {
        let mut net = swarm(seed, 30);
        net.place(7, 255);
        net.split();
        net.pass(secs(600));
        assert!(net.nodes[&7].passive().len() >= 20);
        net.place(7, 0);
        let whole = net.wait(secs(60), Network::is_whole);
        println!("back after {whole:?}");
        assert!(whole.is_some());
    }
}

#[test]
fn two_halves_that_remember_each_other_merge_within_two_shuffle_intervals() {
    for seed in SEEDS {
        for (count, minutes) in [(4, 10), (20, 10), (40, 20)] {
            let mut net = swarm(seed, count);
            for id in 0..count {
                net.place(id, (id % 2) as u8);
            }
            net.split();
            net.pass(secs(60 * minutes));
            assert_eq!(net.components(), 2);
            for id in 0..count {
                net.place(id, 0);
            }
            let whole = net.wait(secs(120), Network::is_whole);
            println!("{count} nodes, {minutes} min: whole after {whole:?}");
            assert!(whole.is_some());
            net.sent.clear();
            net.pass(secs(600));
            println!(
                "then {:.2} messages per node and cycle, degree {:.2}",
                net.messages() as f64 / f64::from(count) / 10.0,
                net.mean_degree()
            );
            assert!(net.is_whole());
            assert_eq!(net.one_sided(), []);
        }
    }
}

#[test]
fn a_swarm_heals_after_most_nodes_die_at_once() {
    for seed in SEEDS {
        for (dead, cycles) in [(30, 1), (48, 2)] {
            let mut net = swarm(seed, 60);
            for id in 0..dead {
                net.kill(id, ms(100));
            }
            let whole = net.wait(secs(60 * cycles), Network::is_whole);
            println!("{dead} of 60 dead: whole after {whole:?}");
            assert!(whole.is_some());
            net.pass(secs(300));
            println!("degree {:.2}", net.mean_degree());
            assert!(net.is_whole());
            assert!(net.mean_degree() > 4.0, "{}", net.mean_degree());
            assert_eq!(net.one_sided(), []);
        }
    }
}

#[test]
fn nodes_that_quit_are_forgotten() {
    for seed in SEEDS {
        let mut net = swarm(seed, 20);
        for id in 0..10 {
            net.quit(id);
            net.pass(ms(500));
        }
        assert!(net.wait(secs(60), Network::is_whole).is_some());
        net.pass(secs(60));
        assert_eq!(net.one_sided(), []);
        for node in net.nodes.values() {
            assert!(node.active().iter().all(|id| *id >= 10));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_swarm() {
    let trace = || {
        let net = swarm(7, 20);
        let views: Vec<_> = net
            .nodes
            .values()
            .map(|n| (n.active(), n.passive()))
            .collect();
        (views, net.sent)
    };
    assert_eq!(trace(), trace());
}

#[test]
fn nodes_that_join_through_each_other_at_once_agree() {
    for seed in SEEDS {
        let mut net = Network::new(seed);
        for id in 0..6 {
            net.start(id, 0..6);
        }
        assert!(net.wait(secs(1), Network::is_whole).is_some());
        net.pass(secs(5));
        assert_eq!(net.one_sided(), []);
        assert_eq!(net.mean_degree(), 5.0);
        assert!(net.messages() < 400, "{:?}", net.sent);
    }
}

#[test]
fn answers_that_take_longer_than_the_timeout_cause_no_storm() {
    for seed in SEEDS {
        for latency in [300, 700] {
            let mut net = Network::new(seed);
            net.latency = ms(latency);
            for id in 0..20 {
                net.start(id, (id > 0).then_some(0));
            }
            net.pass(secs(600));
            assert!(net.is_whole());
            assert!(net.mean_degree() > 4.5, "{}", net.mean_degree());
            net.sent.clear();
            net.pass(secs(600));
            let per_cycle = net.messages() as f64 / 20.0 / 10.0;
            println!("{latency} ms: {per_cycle:.2} messages per node and cycle");
            assert!(per_cycle < 15.0, "{:?}", net.sent);
            assert!(net.one_sided().len() <= 1, "{:?}", net.one_sided());
        }
    }
}

#[test]
fn ten_thousand_joins_and_leaves_leave_nothing_behind() {
    let mut net = swarm(1, 8);
    for _ in 0..10_000 / 8 {
        for id in 1..8 {
            net.quit(id);
            net.start(id, [0, (id % 7) + 1]);
            net.pass(ms(100));
        }
    }
    net.pass(secs(30));
    assert!(net.is_whole());
    assert_eq!(net.one_sided(), []);
    for node in net.nodes.values() {
        assert_eq!(node.record.held.len(), node.active().len());
    }
}

#[test]
#[ignore = "measures, and takes a minute: cargo test --lib overlay_of_a_burst_join -- --ignored --nocapture"]
fn overlay_of_a_burst_join() {
    let mut net = Network::new(1);
    let count = 600;
    for id in 0..count {
        net.start(id, (id > 0).then_some(0));
    }
    for cycles in [0, 1, 4, 15, 30] {
        net.sent.clear();
        net.pass(secs(cycles.max(1) * 60));
        assert!(cycles == 0 || net.is_whole(), "after {cycles} cycles");
        let (path, clustering) = net.shape();
        println!(
            "+{cycles}: whole {} degree {:.3} full {:.3} path {path:.2} clustering {clustering:.4} messages {:.2}",
            net.is_whole(),
            net.mean_degree(),
            net.nodes.values().filter(|n| n.active().len() == 5).count() as f64 / f64::from(count),
            net.messages() as f64 / f64::from(count) / cycles.max(1) as f64,
        );
    }
    println!("{} bytes", size_of::<State<u32>>());
}
