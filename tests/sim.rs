//! What holds for simulated swarms, whatever the figures are.
#![cfg(feature = "test-utils")]

use std::time::Duration;

use smol_gossip::sim::{
    NetworkConfig, Noticed, Overlay,
    paper::{SetUp, one_by_one},
    scenario::{Bootstrap, Kind, Scenario},
};

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario {
        rounds: 5,
        churn: 0.05,
        ..Scenario::new(Kind::GossipMulti, 60)
    };
    let run = |seed| scenario.run(seed, |_| ()).unwrap();
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn an_overlay_forms_and_survives_its_nodes() {
    let set_up = SetUp {
        nodes: 500,
        cycles: 40,
        messages: 10,
        seed: 3,
    };
    for bootstrap in [one_by_one(), Bootstrap::Single] {
        let (network, membership) = set_up.stable(&bootstrap, NetworkConfig::default()).unwrap();
        let overlay = &membership.overlay;
        assert!(
            overlay.full >= 0.97 && overlay.mean_degree >= 4.97,
            "{overlay:?}"
        );
        assert!(overlay.connected >= 1.0, "{overlay:?}");
        // The farewell of a neighbor that is given up just then is still on its way, but not for long.
        assert!(overlay.symmetric >= 0.998, "{overlay:?}");
        let mut later = network.clone();
        let agrees = (0..5).any(|_| {
            later.run_for(Duration::from_secs(2));
            Overlay::of(&later).symmetric == 1.0
        });
        assert!(agrees, "one side of a link does not know of it");
        // A few more than in a large swarm, where fewer of those who are named are known already.
        assert!(membership.messages_per_cycle <= 10.5, "{membership:?}");
        for (noticed, least) in [(Noticed::AtOnce, 0.999), (Noticed::OnSend, 0.98)] {
            let failure = set_up.failure(network.clone(), 0.7, noticed);
            assert!(failure.mean_reliability() >= least, "{failure:?}");
            assert_eq!(failure.healed_after, Some(1), "{failure:?}");
        }
    }
}
