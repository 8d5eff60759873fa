//! A small set of simulations, held against the figures in `simulations/baseline.txt`.
//!
//! A figure that is worse beyond its tolerance fails, with the table printed. After a change that is
//! meant to move them: `SIM_BASELINE=write cargo test --features test-utils --test sim`.
#![cfg(feature = "test-utils")]

use std::{
    collections::BTreeMap, env, fmt::Write, fs, path::PathBuf, sync::LazyLock, time::Instant,
};

use smol_gossip::sim::{
    NetworkConfig, Noticed,
    compare::{Verdict, compare},
    paper::{SetUp, one_by_one},
    scenario::{Bootstrap, Kind, Round, Scenario, Summary},
};

fn epoch() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin: no figure depends on it"
    )]
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    *EPOCH
}

fn scenarios() -> Vec<Scenario> {
    let small = |sim, nodes, rounds| Scenario {
        rounds,
        ..Scenario::new(sim, nodes)
    };
    vec![
        small(Kind::GossipSingle, 200, 20),
        small(Kind::GossipMulti, 200, 40),
        small(Kind::GossipAll, 50, 5),
        Scenario {
            cycles: 3,
            warmup: 5,
            fail: 0.5,
            ..small(Kind::GossipMulti, 300, 20)
        },
        Scenario {
            cycles: 1,
            churn: 0.02,
            ..small(Kind::GossipMulti, 150, 20)
        },
    ]
}

fn play(scenario: &Scenario) -> Round {
    let runs = [1, 2, 3].map(|seed| scenario.run(seed, epoch(), |_| ()).unwrap());
    Summary::together(&runs).mean
}

fn baseline_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("simulations/baseline.txt")
}

fn read_baseline() -> BTreeMap<String, Round> {
    let text = fs::read_to_string(baseline_path()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let label = words.next().unwrap().to_string();
            let figures: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
            let [rmr, ldh, missed, duration_ms, reliability, control] = figures[..] else {
                panic!("{line}: six figures are wanted");
            };
            let round = Round {
                rmr,
                ldh,
                missed,
                duration_ms,
                reliability,
                control,
            };
            (label, round)
        })
        .collect()
}

fn write_baseline(rounds: &[(String, Round)]) {
    let mut text = String::from("# Written by tests/sim.rs.\n# scenario");
    for (name, _) in Round::default().figures() {
        let _ = write!(text, " {name}");
    }
    for (label, round) in rounds {
        let _ = write!(text, "\n{label}");
        for (_, figure) in round.figures() {
            let _ = write!(text, " {figure:.6}");
        }
    }
    fs::write(baseline_path(), text + "\n").unwrap();
}

#[test]
fn no_figure_is_worse_than_the_baseline() {
    let rounds: Vec<(String, Round)> = scenarios().iter().map(|s| (s.label(), play(s))).collect();
    if env::var_os("SIM_BASELINE").is_some_and(|what| what == "write") {
        write_baseline(&rounds);
    }
    let baseline = read_baseline();
    let mut table = format!(
        "{:<26}{:<13}{:>12}{:>12}\n",
        "scenario", "figure", "before", "after"
    );
    let mut worse = 0;
    for (label, round) in &rounds {
        let before = baseline
            .get(label)
            .unwrap_or_else(|| panic!("{label} is not in the baseline"));
        for one in compare(before, round) {
            let mark = match one.verdict {
                Verdict::Better => "  better",
                Verdict::Same => "",
                Verdict::Worse => "  WORSE",
            };
            worse += usize::from(one.verdict == Verdict::Worse);
            let (figure, before, after) = (one.figure, one.before, one.after);
            let _ = writeln!(
                table,
                "{label:<26}{figure:<13}{before:>12.4}{after:>12.4}{mark}"
            );
        }
    }
    assert_eq!(
        worse,
        0,
        "{worse} figures are worse than {}:\n{table}",
        baseline_path().display()
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario {
        rounds: 5,
        churn: 0.05,
        ..Scenario::new(Kind::GossipMulti, 60)
    };
    let run = |seed| scenario.run(seed, epoch(), |_| ()).unwrap();
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
        epoch: epoch(),
    };
    for bootstrap in [one_by_one(), Bootstrap::Single] {
        let (network, membership) = set_up.stable(&bootstrap, NetworkConfig::default()).unwrap();
        let overlay = &membership.overlay;
        assert!(
            overlay.full >= 0.97 && overlay.mean_degree >= 4.97,
            "{overlay:?}"
        );
        assert_eq!((overlay.connected, overlay.symmetric), (1.0, 1.0));
        // A few more than in a large swarm, where fewer of those who are named are known already.
        assert!(membership.messages_per_cycle <= 10.5, "{membership:?}");
        for (noticed, least) in [(Noticed::AtOnce, 0.999), (Noticed::OnSend, 0.98)] {
            let failure = set_up.failure(network.clone(), 0.7, noticed);
            assert!(failure.mean_reliability() >= least, "{failure:?}");
            assert_eq!(failure.healed_after, Some(1), "{failure:?}");
        }
    }
}
