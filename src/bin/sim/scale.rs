//! `scale`: swarms of growing size.

use std::{fs, process::ExitCode, time::Duration};

use smol_gossip::sim::{
    Chance, Network, NetworkConfig, Overlay,
    scenario::{Bootstrap, fail, play, random_node},
};

use crate::{Outcome, progress, table::Table};

/// Arguments of `scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many nodes; may be given more than once.
    #[arg(long, default_values_t = [100, 1_000, 10_000, 100_000])]
    nodes: Vec<u32>,
    /// Cycles before the first message.
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// Messages, by a different sender each.
    #[arg(long, default_value_t = 10)]
    messages: u32,
    /// The share of nodes that fail in the end.
    #[arg(long, default_value_t = 0.5)]
    fail: f64,
    /// Chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut table = Table::new([
            "nodes",
            "degree",
            "path",
            "RMR",
            "LDH",
            "time ms",
            "reliability",
            "after failure",
            "events",
            "ns/event",
            "seconds",
            "peak MiB",
            "B/node",
        ]);
        let idle = resident_kib("VmRSS:");
        for nodes in self.nodes {
            let started = progress::now();
            let mut network = Network::new(NetworkConfig::default(), self.seed, started)?;
            let mut rng = Chance::new(self.seed);
            // About half a minute for all to join, however many.
            let every = Duration::from_secs(30) / nodes;
            Bootstrap::Growing { every }.run(&mut network, nodes, &mut rng);
            let cycle = network.config().proto.membership.shuffle_interval;
            for count in 0..self.cycles {
                network.run_for(cycle);
                eprintln!(
                    "{nodes} nodes: cycle {} after {:.0?}",
                    count + 1,
                    started.elapsed()
                );
            }
            let overlay = Overlay::of(&network);
            let rss = resident_kib("VmRSS:").saturating_sub(idle);
            let mut rounds = Vec::new();
            for _ in 0..self.messages {
                let sender = random_node(&network, &mut rng);
                rounds.push(play(&mut network, &[sender], 64, Duration::from_secs(20)));
            }
            let mean = smol_gossip::sim::scenario::Summary::of(&rounds).mean;
            fail(&mut network, self.fail, &mut rng);
            network.run_for(Duration::from_secs(5));
            let sender = random_node(&network, &mut rng);
            let after = play(&mut network, &[sender], 64, Duration::from_secs(20));
            let took = started.elapsed();
            let events = network.traffic().events;
            table.row([
                nodes.to_string(),
                format!("{:.3}", overlay.mean_degree),
                format!("{:.3}", overlay.shortest_path),
                format!("{:.4}", mean.rmr),
                format!("{:.1}", mean.ldh),
                format!("{:.0}", mean.duration_ms),
                format!("{:.6}", mean.reliability),
                format!("{:.6}", after.reliability),
                events.to_string(),
                format!("{:.0}", took.as_nanos() as f64 / events as f64),
                format!("{:.1}", took.as_secs_f64()),
                format!("{}", resident_kib("VmHWM:") / 1024),
                format!("{}", rss * 1024 / u64::from(nodes)),
            ]);
        }
        table.print();
        Ok(ExitCode::SUCCESS)
    }
}

/// What the operating system says of our memory, in KiB; zero where it does not.
fn resident_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}
