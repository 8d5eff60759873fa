//! The simulated network itself: what it promises about time, failures and splits.
#![cfg(feature = "test-utils")]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use smol_gossip::sim::{Latency, Loss, Network, NetworkConfig, NodeId, Noticed, Overlay};

fn epoch() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin: nothing depends on it"
    )]
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    *EPOCH
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn joined(config: NetworkConfig, count: u32) -> (Network, Vec<NodeId>) {
    let mut network = Network::new(config, 1, epoch()).unwrap();
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
    assert_eq!(network.message(message).delivered, 1);
    network.run_for(Duration::from_millis(1));
    let message = network.message(message);
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
    assert_eq!(network.message(inside).delivered, 15);
    network.heal();
    network.run_for(secs(240));
    let after = network.broadcast(nodes[0], 64);
    network.run_for(secs(10));
    assert_eq!(network.message(after).reliability(), 1.0);
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
    assert_eq!(network.message(message).reliability(), 1.0);
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
    assert!(
        Network::new(config, 1, epoch())
            .unwrap_err()
            .contains("loss")
    );
    let mut config = NetworkConfig::default();
    config.proto.max_message_size = 1;
    assert!(
        Network::new(config, 1, epoch())
            .unwrap_err()
            .contains("proto")
    );
}
