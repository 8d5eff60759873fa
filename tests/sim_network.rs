//! The simulated network itself: what it promises about time, failures and splits.
#![cfg(feature = "test-utils")]

use std::time::Duration;

use smol_gossip::sim::{
    Broadcast, Chance, Latency, Loss, MessageIndex, Network, NetworkConfig, NodeId, Noticed,
    Overlay, Traffic, paper,
    scenario::{Bootstrap, Kind, Scenario, fail, play, random_node},
};

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn outcome(network: &Network, message: MessageIndex) -> &Broadcast {
    network.message(message).expect("it was sent")
}

fn joined(config: NetworkConfig, count: u32) -> (Network, Vec<NodeId>) {
    let mut network = Network::new(config, 1).unwrap();
    let nodes = network.add(count);
    for node in &nodes {
        network.join(*node, &nodes[..1]);
    }
    network.run_for(secs(20));
    (network, nodes)
}

#[test]
fn a_message_takes_its_latency_per_hop() {
    let config = NetworkConfig {
        latency: Latency::Static(Duration::from_millis(40)),
        ..Default::default()
    };
    let (mut network, nodes) = joined(config, 2);
    let message = network.broadcast(nodes[0], 64);
    network.run_for(Duration::from_millis(39));
    assert_eq!(outcome(&network, message).delivered, 1);
    network.run_for(Duration::from_millis(1));
    let message = outcome(&network, message);
    assert_eq!((message.delivered, message.last_hop), (2, 1));
    assert_eq!(message.duration, Duration::from_millis(40));
    assert_eq!((message.rmr(), message.reliability()), (0.0, 1.0));
}

#[test]
fn failures_are_noticed_as_configured() {
    for noticed in [Noticed::AtOnce, Noticed::OnSend, Noticed::Never] {
        let (mut network, nodes) = joined(NetworkConfig::default(), 20);
        network.set_noticed(noticed);
        let gone = nodes[7];
        let knew: Vec<NodeId> = nodes
            .iter()
            .copied()
            .filter(|n| network.neighbors(*n).any(|o| o == gone))
            .collect();
        assert!(!knew.is_empty());
        network.kill(gone);
        // Long enough for the news to arrive, and too short for a Shuffle to be likely.
        network.run_for(Duration::from_millis(101));
        let count = |network: &Network| {
            knew.iter()
                .filter(|n| network.neighbors(**n).any(|o| o == gone))
                .count()
        };
        let expected = if noticed == Noticed::AtOnce {
            0
        } else {
            knew.len()
        };
        assert_eq!(count(&network), expected, "{noticed:?}");
        // Of two connections between the same nodes, each is found out by a message of its own.
        for _ in 0..2 {
            network.broadcast(nodes[0], 64);
            network.run_for(secs(2));
        }
        let expected = if noticed == Noticed::Never {
            knew.len()
        } else {
            0
        };
        assert_eq!(count(&network), expected, "{noticed:?}");
        assert_eq!(network.running(), 19);
    }
}

#[test]
fn a_split_keeps_messages_in_and_heals() {
    let (mut network, nodes) = joined(NetworkConfig::default(), 40);
    network.split(nodes[..15].iter().copied(), 1);
    network.run_for(secs(30));
    let inside = network.broadcast(nodes[0], 64);
    network.run_for(secs(10));
    assert_eq!(outcome(&network, inside).delivered, 15);
    network.heal();
    network.run_for(secs(240));
    let after = network.broadcast(nodes[0], 64);
    network.run_for(secs(10));
    assert_eq!(outcome(&network, after).reliability(), 1.0);
}

#[test]
fn a_restarted_node_comes_back_without_memory() {
    let (mut network, nodes) = joined(NetworkConfig::default(), 30);
    network.kill(nodes[3]);
    network.restart(nodes[3]);
    assert_eq!(network.neighbors(nodes[3]).count(), 0);
    network.join(nodes[3], &nodes[..1]);
    network.run_for(secs(10));
    assert!(network.neighbors(nodes[3]).count() > 0);
    let message = network.broadcast(nodes[3], 64);
    network.run_for(secs(5));
    assert_eq!(outcome(&network, message).reliability(), 1.0);
}

/// A message counts on those who ran when it was sent, and on each of them until it fails: not on who
/// comes later, nor on who comes back, which remembers nothing.
#[test]
fn who_fails_and_comes_back_is_counted_once() {
    let (mut network, nodes) = joined(NetworkConfig::default(), 4);
    network.kill(nodes[3]);
    let message = network.broadcast(nodes[0], 64);
    let count = |network: &Network| {
        let message = outcome(network, message);
        (message.delivered, message.nodes)
    };
    network.run_for(secs(5));
    assert_eq!(count(&network), (3, 3));
    for round in 0..5 {
        for node in [nodes[1], nodes[3]] {
            network.kill(node);
            network.restart(node);
            network.join(node, &nodes[..1]);
        }
        network.run_for(secs(5));
        assert_eq!(count(&network), (2, 2), "round {round}");
    }
    let late = network.add(1);
    network.join(late[0], &nodes[..1]);
    network.run_for(secs(5));
    network.kill(late[0]);
    assert_eq!(count(&network), (2, 2));

    // Who does not run says nothing, and nobody has heard it.
    network.kill(nodes[1]);
    let silence = network.broadcast(nodes[1], 64);
    network.run_for(secs(5));
    let silence = outcome(&network, silence);
    assert_eq!((silence.delivered, silence.nodes), (0, 3));
}

#[test]
fn lost_messages_and_connections_are_made_up_for() {
    let config = NetworkConfig {
        jitter: Duration::from_millis(20),
        loss: Loss {
            message: 0.01,
            connection: 0.002,
            ..Default::default()
        },
        ..Default::default()
    };
    let (mut network, nodes) = joined(config, 100);
    let before = network.messages().len();
    for round in 0..20 {
        network.broadcast(nodes[round * 5], 64);
        network.run_for(secs(5));
    }
    let messages = &network.messages()[before..];
    let mean = messages.iter().map(|m| m.reliability()).sum::<f64>() / messages.len() as f64;
    assert!(mean > 0.995, "{mean}");
    assert!(network.traffic().lost > 0);
    let overlay = Overlay::of(&network);
    assert!(
        overlay.connected == 1.0 && overlay.mean_degree > 4.5,
        "{overlay:?}"
    );
}

#[test]
fn nonsense_is_refused() {
    let mut config = NetworkConfig::default();
    config.loss.message = 2.0;
    assert!(Network::new(config, 1).unwrap_err().contains("loss"));
    let mut config = NetworkConfig::default();
    config.proto.max_message_size = 1;
    assert!(Network::new(config, 1).unwrap_err().contains("proto"));
}

#[test]
fn nothing_happens_after_the_end_of_time() {
    let mut network = Network::new(NetworkConfig::default(), 1).unwrap();
    network.run_for(Duration::MAX);
    let end = network.elapsed();
    assert!(end >= secs(100 * 365 * 24 * 3600));
    let nodes = network.add(5);
    for node in &nodes {
        network.join(*node, &nodes[..1]);
    }
    network.run_for(Duration::MAX);
    assert_eq!(network.elapsed(), end);
    assert_eq!(network.neighbors(nodes[0]).count(), 0);
}

#[test]
fn nobody_is_a_node_that_does_not_run() {
    let (mut network, nodes) = joined(NetworkConfig::default(), 3);
    for nobody in [NodeId(3), NodeId(u32::MAX)] {
        network.join(nobody, &nodes);
        network.join(nodes[0], &[nobody]);
        network.quit(nobody);
        network.kill(nobody);
        network.restart(nobody);
        network.split([nobody], 1);
        let message = network.broadcast(nobody, usize::MAX);
        let too_long = network.broadcast(nodes[0], usize::MAX);
        network.run_for(secs(2));
        assert_eq!(outcome(&network, message).payloads, 0);
        assert_eq!(outcome(&network, too_long).payloads, 0);
        assert!(!network.is_running(nobody) && network.state(nobody).is_none());
        let known = network.neighbors(nobody).count() + network.passive_view(nobody).count();
        assert_eq!(known + network.eager(nobody).count(), 0);
    }
    assert_eq!((network.running(), network.len()), (3, 3));
    assert!(network.message(usize::MAX).is_none());
    assert!(!network.run_until_quiet(usize::MAX, Duration::ZERO));
    assert_eq!(
        Traffic::default().since(network.traffic()),
        Traffic::default()
    );
}

#[test]
fn networks_of_nobody_and_times_without_end() {
    let mut rng = Chance::new(1);
    for bootstrap in [
        Bootstrap::Single,
        Bootstrap::Set { count: 0 },
        Bootstrap::Set { count: u32::MAX },
        paper::one_by_one(),
    ] {
        let mut network = Network::new(NetworkConfig::default(), 1).unwrap();
        assert!(bootstrap.run(&mut network, 0, &mut rng).is_empty());
        assert_eq!(random_node(&network, &mut rng), None);
        fail(&mut network, 0.5, &mut rng);
        let round = play(&mut network, &[], 64, secs(1));
        assert_eq!(round.missed, 0.0);
        assert_eq!(Overlay::of(&network).nodes, 0);
        network.run_for(Duration::MAX);
        network.run_for(Duration::MAX);
        let late = network.add(1)[0];
        network.join(late, &[NodeId(7)]);
        network.broadcast(late, 0);
        assert_eq!(network.running(), 1);
    }
    let nothing = paper::SetUp {
        nodes: 0,
        cycles: u32::MAX,
        messages: 2,
        seed: 1,
    };
    let (network, membership) = nothing
        .stable(&Bootstrap::Single, paper::steps())
        .expect("the network makes sense");
    assert_eq!(membership.overlay.mean_degree, 0.0);
    let failure = nothing.failure(network.clone(), f64::NAN, Noticed::OnSend);
    assert_eq!(failure.mean_reliability(), 0.0);
    assert_eq!(nothing.trees(network, Kind::GossipMulti, 1).len, 2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let configs = [
        NetworkConfig {
            latency: Latency::Static(Duration::MAX),
            ..Default::default()
        },
        NetworkConfig {
            jitter: Duration::MAX,
            ..Default::default()
        },
        NetworkConfig {
            handshake: u32::MAX,
            ..Default::default()
        },
        NetworkConfig {
            loss: Loss {
                noticed_after: Duration::MAX,
                ..Default::default()
            },
            ..Default::default()
        },
        NetworkConfig {
            loss: Loss {
                message: f64::NAN,
                ..Default::default()
            },
            ..Default::default()
        },
    ];
    for config in configs {
        assert!(Network::new(config, 1).is_err());
    }
    let scenario = |change: fn(&mut Scenario)| {
        let mut scenario = Scenario::new(Kind::GossipSingle, 4);
        change(&mut scenario);
        scenario.run(1, |_| {})
    };
    assert!(scenario(|s| s.rounds = 1).is_ok());
    assert!(scenario(|s| s.nodes = 0).is_err());
    assert!(scenario(|s| s.warmup = u32::MAX).is_err());
    assert!(scenario(|s| s.fail = f64::NAN).is_err());
    // The largest views that there can be.
    let mut config = NetworkConfig::default();
    config.proto.membership.active_view_capacity = usize::MAX;
    config.proto.membership.passive_view_capacity = usize::MAX;
    let (network, _) = joined(config, 5);
    assert_eq!(Overlay::of(&network).connected, 1.0);
}
