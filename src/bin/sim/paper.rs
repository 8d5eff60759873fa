//! `paper`: the papers' set-ups, ours beside theirs.

use std::process::ExitCode;

use clap::ValueEnum;
use rayon::prelude::*;
use smol_gossip::sim::{
    NetworkConfig, Noticed,
    paper::{Membership, STABLE_CYCLES, SetUp, one_by_one, steps},
    scenario::{Bootstrap, Kind},
};

use crate::{Outcome, progress, table::Table};

/// Arguments of `paper`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which paper.
    paper: Paper,
    /// How many nodes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    nodes: u32,
    /// Chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A fifth of the cycles and messages.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Paper {
    /// Membership: the overlay, mass failures, healing.
    Hyparview,
    /// Broadcast trees: redundancy and hops.
    Plumtree,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let set_up = SetUp {
            nodes: self.nodes,
            cycles: if self.quick {
                STABLE_CYCLES / 5
            } else {
                STABLE_CYCLES
            },
            messages: if self.quick { 20 } else { 100 },
            seed: self.seed,
        };
        match self.paper {
            Paper::Hyparview => hyparview(&set_up)?,
            Paper::Plumtree => plumtree(&set_up)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The mean reliability after a failure: the share, the paper's, upstream's when failures are
/// reported, and when they are noticed on send.
const RELIABILITY: [(f64, &str, &str, &str); 7] = [
    (0.1, "100", "", ""),
    (0.3, "100", "", ""),
    (0.5, "100", "98", "93"),
    (0.7, "99.9", "99.9", "64"),
    (0.8, "99.9", "99.9", "26"),
    (0.9, "99.65", "97", "0.2"),
    (0.95, "90.9", "85", "0.3"),
];

fn hyparview(set_up: &SetUp) -> Result<(), String> {
    let started = progress::now();
    let overlays = [one_by_one(), Bootstrap::Single];
    let mut stable: Vec<_> = overlays
        .par_iter()
        .map(|bootstrap| set_up.stable(bootstrap, NetworkConfig::default()))
        .collect::<Result<_, _>>()?;
    let (_, burst) = stable.pop().expect("two were made");
    let (network, grown) = stable.pop().expect("two were made");
    println!(
        "{} nodes, {} cycles, seed {}\n",
        set_up.nodes, set_up.cycles, set_up.seed
    );
    let mut table = Table::new([
        "overlay",
        "one by one",
        "burst",
        "paper",
        "upstream",
        "goal",
    ]);
    let mut row = |name: &str, value: &dyn Fn(&Membership) -> String, rest: [&str; 3]| {
        let ours = [value(&grown), value(&burst)];
        let cells = std::iter::once(name.to_string()).chain(ours);
        table.row(cells.chain(rest.map(str::to_string)));
    };
    row(
        "active view full, %",
        &|m| format!("{:.1}", m.overlay.full * 100.0),
        ["≈ 100", "63", "≥ 97"],
    );
    row(
        "mean degree",
        &|m| format!("{:.3}", m.overlay.mean_degree),
        ["", "4.53", "≥ 4.97"],
    );
    row(
        "symmetric links, %",
        &|m| format!("{:.2}", m.overlay.symmetric * 100.0),
        ["100", "", ""],
    );
    row(
        "connected, %",
        &|m| format!("{:.2}", m.overlay.connected * 100.0),
        ["100", "", ""],
    );
    row(
        "shortest path",
        &|m| format!("{:.3}", m.overlay.shortest_path),
        ["6.385", "6.80; burst 12.7", "≤ 6.39; burst ≤ 6.5"],
    );
    row(
        "diameter",
        &|m| m.overlay.diameter.to_string(),
        ["", "", ""],
    );
    row(
        "clustering",
        &|m| format!("{:.5}", m.overlay.clustering),
        ["0.00092", "0.00038; burst 0.065", "≤ 0.00092"],
    );
    row(
        "passive view",
        &|m| format!("{:.1}", m.overlay.mean_passive),
        ["30", "", ""],
    );
    row(
        "messages per node and cycle",
        &|m| format!("{:.2}", m.messages_per_cycle),
        ["", "8.0", "≤ 9"],
    );
    row(
        "dials per node and cycle",
        &|m| format!("{:.2}", m.dials_per_cycle),
        ["", "", ""],
    );
    table.print();

    let jobs: Vec<_> = RELIABILITY
        .iter()
        .flat_map(|row| [Noticed::AtOnce, Noticed::OnSend].map(|noticed| (row.0, noticed)))
        .collect();
    let bar = progress::bar(jobs.len() as u64);
    let failures: Vec<_> = jobs
        .into_par_iter()
        .map(|(share, noticed)| {
            let failure = set_up.failure(network.clone(), share, noticed);
            bar.inc(1);
            failure
        })
        .collect();
    bar.finish_and_clear();
    println!();
    let mut table = Table::new([
        "failed",
        "at once: reliability, %",
        "upstream",
        "heals",
        "on send: reliability, %",
        "upstream",
        "heals",
        "paper",
        "connected, %",
    ]);
    for (pair, (share, paper, upstream, upstream_on_send)) in failures.chunks(2).zip(RELIABILITY) {
        let heals = |index: usize| {
            let failure = &pair[index];
            match failure.healed_after {
                Some(cycles) => cycles.to_string(),
                None => format!("> {}", failure.by_cycle.len()),
            }
        };
        let reliability = |index: usize| format!("{:.2}", pair[index].mean_reliability() * 100.0);
        table.row([
            format!("{:.0} %", share * 100.0),
            reliability(0),
            upstream.into(),
            heals(0),
            reliability(1),
            upstream_on_send.into(),
            heals(1),
            paper.into(),
            format!(
                "{:.1} / {:.1}",
                pair[0].overlay.connected * 100.0,
                pair[1].overlay.connected * 100.0
            ),
        ]);
    }
    table.print();
    if std::env::var_os("SIM_VERBOSE").is_some() {
        for failure in &failures {
            println!(
                "{:?} {:.2}: {:.3?} then {:.4?}",
                failure.noticed, failure.share, failure.reliability, failure.by_cycle
            );
        }
    }
    eprintln!("took {:.1?}", started.elapsed());
    Ok(())
}

fn plumtree(set_up: &SetUp) -> Result<(), String> {
    let started = progress::now();
    let networks = [
        ("one step a hop", steps()),
        ("10–100 ms", NetworkConfig::default()),
    ];
    let stable: Vec<_> = networks
        .par_iter()
        .map(|(_, config)| set_up.stable(&one_by_one(), config.clone()))
        .collect::<Result<_, _>>()?;
    let jobs: Vec<_> = (0..2)
        .flat_map(|index| [Kind::GossipSingle, Kind::GossipMulti].map(|kind| (index, kind)))
        .collect();
    let bar = progress::bar(jobs.len() as u64);
    let warmup = set_up.messages / 4;
    let summaries: Vec<_> = jobs
        .into_par_iter()
        .map(|(index, kind): (usize, Kind)| {
            let network = stable[index].0.clone();
            let summary = set_up.trees(network, kind, warmup);
            bar.inc(1);
            (networks[index].0, kind, summary)
        })
        .collect();
    bar.finish_and_clear();
    println!(
        "{} nodes, {} cycles, seed {}; {} messages after {warmup} others\n",
        set_up.nodes, set_up.cycles, set_up.seed, set_up.messages
    );
    let mut table = Table::new([
        "latency",
        "sender",
        "RMR",
        "first",
        "last",
        "LDH",
        "max",
        "time ms",
        "max",
        "reliability",
        "control",
        "paper",
        "upstream",
        "goal",
    ]);
    for (name, kind, summary) in summaries {
        let (sender, paper, upstream, goal) = match kind {
            Kind::GossipSingle => ("one", "0 / 8.3–10", "0.000 / 14", "≤ 0.001 / ≤ 10"),
            _ => ("changing", "0 / 17.2", "0.485 / 24", "≤ 0.01 / ≤ 17"),
        };
        let rounds = &summary.rounds;
        let tenth = (rounds.len() / 10).max(1);
        let part = |rounds: &[smol_gossip::sim::scenario::Round]| {
            rounds.iter().map(|r| r.rmr).sum::<f64>() / rounds.len() as f64
        };
        table.row([
            name.to_string(),
            sender.into(),
            format!("{:.4}", summary.mean.rmr),
            format!("{:.4}", part(&rounds[..tenth])),
            format!("{:.4}", part(&rounds[rounds.len() - tenth..])),
            format!("{:.1}", summary.mean.ldh),
            format!("{:.0}", summary.max.ldh),
            format!("{:.0}", summary.mean.duration_ms),
            format!("{:.0}", summary.max.duration_ms),
            format!("{:.5}", summary.mean.reliability),
            format!("{:.2}", summary.mean.control),
            paper.into(),
            upstream.into(),
            goal.into(),
        ]);
    }
    table.print();
    eprintln!("took {:.1?}", started.elapsed());
    Ok(())
}
