//! `scale`: swarms of growing size.

use std::{
    env,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use smol_gossip::sim::{
    Chance, Network, NetworkConfig, Overlay,
    scenario::{Bootstrap, Summary, fail, play, random_node},
};

use crate::{Outcome, progress, table::Table};

/// Has glibc's allocator ask for huge pages. The nodes of a large swarm are visited in no order that a
/// processor could foresee, and with small pages it looks for the page before it waits for the memory.
const HUGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// Arguments of `scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many nodes; may be given more than once.
    #[arg(long, default_values_t = [100, 1_000, 10_000, 100_000], value_parser = clap::value_parser!(u32).range(2..))]
    nodes: Vec<u32>,
    /// Cycles before the first message.
    #[arg(long, default_value_t = 50)]
    cycles: u32,
    /// Messages, by a different sender each, after one that is not counted.
    #[arg(long, default_value_t = 10)]
    messages: u32,
    /// The share of nodes that fail in the end.
    #[arg(long, default_value_t = 0.5)]
    fail: f64,
    /// Chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A JSON file to which the figures are added, for `curve`.
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Print the figures as JSON, and nothing else.
    #[arg(long, hide = true)]
    json: bool,
}

/// What a swarm of some size is like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) nodes: u32,
    /// The mean number of neighbors.
    pub(crate) degree: f64,
    /// The mean shortest path.
    pub(crate) path: f64,
    pub(crate) rmr: f64,
    pub(crate) ldh: f64,
    /// Until everyone had a message, in virtual milliseconds.
    pub(crate) time_ms: f64,
    pub(crate) reliability: f64,
    /// The reliability of a message five seconds after the failure.
    pub(crate) after_failure: f64,
    pub(crate) events: u64,
    /// Seconds of this machine.
    pub(crate) seconds: f64,
    /// The most memory that the process ever had, in MiB.
    pub(crate) peak_mib: u64,
    /// Memory per node when the overlay was stable, in bytes.
    pub(crate) bytes_per_node: u64,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        if !(0.0..1.0).contains(&self.fail) {
            return Err("--fail: must be a share, at least 0 and less than 1".into());
        }
        if let ([nodes], true) = (&self.nodes[..], self.json) {
            let measured = self.measure(*nodes)?;
            let text = serde_json::to_string(&measured).map_err(|error| error.to_string())?;
            println!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        let mut all = Vec::new();
        for nodes in &self.nodes {
            let measured = self.measure_apart(*nodes)?;
            if let Some(out) = &self.out {
                add(out, &measured)?;
            }
            all.push(measured);
        }
        print(&all);
        Ok(ExitCode::SUCCESS)
    }

    /// Measures in a process of its own: the memory that an earlier swarm has left behind would be
    /// taken for none.
    fn measure_apart(&self, nodes: u32) -> Result<Measured, String> {
        let failed = |error: &dyn Display| format!("{nodes} nodes: {error}");
        let program = env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        let (tunables, huge_pages) = HUGE_PAGES;
        if env::var_os(tunables).is_none() {
            command.env(tunables, huge_pages);
        }
        let output = command
            .args(["scale", "--json"])
            .args(["--nodes", &nodes.to_string()])
            .args(["--cycles", &self.cycles.to_string()])
            .args(["--messages", &self.messages.to_string()])
            .args(["--fail", &self.fail.to_string()])
            .args(["--seed", &self.seed.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(&error))?;
        if !output.status.success() {
            return Err(failed(&output.status));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))
    }

    fn measure(&self, nodes: u32) -> Result<Measured, String> {
        let idle = resident_kib("VmRSS:");
        let started = progress::now();
        let mut network = Network::new(NetworkConfig::default(), self.seed)?;
        let mut rng = Chance::new(self.seed);
        // About half a minute for all to join, however many.
        let every = Duration::from_secs(30) / nodes;
        Bootstrap::Growing { every }.run(&mut network, nodes, &mut rng);
        let cycle = network.config().proto.membership.shuffle_interval;
        let bar = progress::bar(u64::from(self.cycles + self.messages));
        bar.set_message(format!("{nodes} nodes"));
        for _ in 0..self.cycles {
            network.run_for(cycle);
            bar.inc(1);
        }
        let overlay = Overlay::of(&network);
        let resident = resident_kib("VmRSS:").saturating_sub(idle);
        // The first message floods the overlay and leaves the tree behind.
        let sender = random_node(&network, &mut rng);
        play(&mut network, sender.as_slice(), 64, Duration::from_secs(20));
        let mut rounds = Vec::new();
        for _ in 0..self.messages {
            let sender = random_node(&network, &mut rng);
            rounds.push(play(
                &mut network,
                sender.as_slice(),
                64,
                Duration::from_secs(20),
            ));
            bar.inc(1);
        }
        let mean = Summary::of(&rounds).mean;
        fail(&mut network, self.fail, &mut rng);
        network.run_for(Duration::from_secs(5));
        let sender = random_node(&network, &mut rng);
        let after = play(&mut network, sender.as_slice(), 64, Duration::from_secs(20));
        bar.finish_and_clear();
        Ok(Measured {
            nodes,
            degree: overlay.mean_degree,
            path: overlay.shortest_path,
            rmr: mean.rmr,
            ldh: mean.ldh,
            time_ms: mean.duration_ms,
            reliability: mean.reliability,
            after_failure: after.reliability,
            events: network.traffic().events,
            seconds: started.elapsed().as_secs_f64(),
            peak_mib: resident_kib("VmHWM:") / 1024,
            bytes_per_node: resident * 1024 / u64::from(nodes),
        })
    }
}

/// What `scale` has put into a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Measured>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Puts figures into a file, in place of earlier ones for the same size.
fn add(path: &Path, measured: &Measured) -> Result<(), String> {
    let mut all = if path.exists() {
        read(path)?
    } else {
        Vec::new()
    };
    all.retain(|one| one.nodes != measured.nodes);
    all.push(measured.clone());
    all.sort_by_key(|one| one.nodes);
    let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn print(all: &[Measured]) {
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
    for one in all {
        table.row([
            one.nodes.to_string(),
            format!("{:.3}", one.degree),
            format!("{:.3}", one.path),
            format!("{:.4}", one.rmr),
            format!("{:.1}", one.ldh),
            format!("{:.0}", one.time_ms),
            format!("{:.6}", one.reliability),
            format!("{:.6}", one.after_failure),
            one.events.to_string(),
            format!("{:.0}", one.seconds * 1e9 / one.events as f64),
            format!("{:.1}", one.seconds),
            one.peak_mib.to_string(),
            one.bytes_per_node.to_string(),
        ]);
    }
    table.print();
}

/// What the operating system says of our memory, in KiB; zero where it does not.
fn resident_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}
