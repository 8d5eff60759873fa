//! What nodes cost that have nothing to do: memory, wake-ups and time.
//!
//! Memory that one contestant has freed would be used by the next, so each run is a process of its
//! own: this program again.
//!
//! ```sh
//! cargo bench --bench idle -- --quick
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use iroh::address_lookup::memory::MemoryLookup;
use support::{
    Args, Better, Table, kernel,
    node::{Node, Ours, Upstream, Windows, bind, on_one_thread},
};
use tokio::time::{sleep, timeout};

/// Nodes in a process, to divide by.
const NODES: usize = 20;

/// How long a thousand topics may take to join.
const PATIENCE: Duration = Duration::from_secs(30);

const CONTESTANTS: [&str; 3] = ["ours", "upstream", "raw"];

fn main() {
    let args = Args::from_env();
    if let [mode, what, contestant, seconds] = &args.rest[..]
        && mode == "--child"
    {
        let time = Duration::from_secs_f64(seconds.parse().expect("a time in seconds"));
        let figures = on_one_thread(async {
            match (what.parse::<usize>(), contestant.as_str()) {
                (Ok(topics), "ours") => topics_of_a_pair::<Ours>(topics, time).await,
                (Ok(topics), _) => topics_of_a_pair::<Upstream>(topics, time).await,
                (Err(_), "ours") => alone::<Ours>(time).await,
                (Err(_), "upstream") => alone::<Upstream>(time).await,
                (Err(_), _) => endpoints(time).await,
            }
        });
        let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
        println!("{}", figures.join(" "));
        return;
    }

    let table = Table::new(&args, "At rest", &["ours", "upstream", "bare endpoint"]);
    let nodes = ["KiB RSS a node", "sleeps/s a node", "CPU µs/s a node"];
    rows(
        &args,
        &table,
        "nodes",
        "a node in one topic, alone, with its endpoint",
        &nodes,
        3,
    );
    let topics = [
        "KiB RSS a topic and node",
        "ms until all have joined",
        "topics joined",
        "sleeps/s in all",
        "CPU µs/s in all",
    ];
    for count in [1, 100, 1000] {
        let name = format!("{count} topics between two nodes");
        rows(&args, &table, &count.to_string(), &name, &topics, 2);
    }
}

/// Runs the contestants in processes of their own, and prints a row for each figure.
fn rows(args: &Args, table: &Table, what: &str, name: &str, units: &[&str], contestants: usize) {
    if !args.wants(name) {
        return;
    }
    let time = args.time(Duration::from_secs(2), Duration::from_secs(10));
    let mut samples = vec![vec![Vec::new(); 3]; units.len()];
    for _ in 0..args.repetitions().min(3) {
        for (index, contestant) in CONTESTANTS.iter().enumerate().take(contestants) {
            let figures = child(what, contestant, time);
            for (unit, figure) in figures.into_iter().enumerate() {
                samples[unit][index].push(figure);
            }
        }
    }
    for (unit, samples) in units.iter().zip(&samples) {
        let better = match *unit {
            "topics joined" => Better::Higher,
            _ => Better::Lower,
        };
        table.row(name, unit, better, samples);
    }
}

fn child(what: &str, contestant: &str, time: Duration) -> Vec<f64> {
    let program = std::env::current_exe().expect("a program");
    let seconds = time.as_secs_f64().to_string();
    let output = Command::new(program)
        .args(["--child", what, contestant, &seconds])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Sleeps and CPU time of a while in which nothing happens.
async fn rest(time: Duration) -> [f64; 2] {
    let (begin, sleeps, cpu) = (Instant::now(), kernel::voluntary_switches(), kernel::cpu());
    sleep(time).await;
    let seconds = begin.elapsed().as_secs_f64();
    let sleeps = kernel::voluntary_switches() - sleeps;
    let cpu = kernel::cpu() - cpu;
    [sleeps as f64 / seconds, cpu.as_secs_f64() * 1e6 / seconds]
}

fn per_node(grown: u64, rest: [f64; 2]) -> Vec<f64> {
    let nodes = NODES as f64;
    vec![
        grown as f64 / 1024.0 / nodes,
        rest[0] / nodes,
        rest[1] / nodes,
    ]
}

async fn endpoints(time: Duration) -> Vec<f64> {
    let lookup = MemoryLookup::new();
    let _first = bind(&lookup, Windows::Tuned).await;
    let before = kernel::resident();
    let mut endpoints = Vec::new();
    for _ in 0..NODES {
        endpoints.push(bind(&lookup, Windows::Tuned).await);
    }
    sleep(Duration::from_secs(1)).await;
    let grown = kernel::resident().saturating_sub(before);
    per_node(grown, rest(time).await)
}

/// Nodes that know nobody, with their endpoints.
async fn alone<N: Node>(time: Duration) -> Vec<f64> {
    let lookup = MemoryLookup::new();
    let _first = N::start(bind(&lookup, Windows::Tuned).await);
    let before = kernel::resident();
    let mut nodes = Vec::new();
    let mut topics = Vec::new();
    for _ in 0..NODES {
        let node = N::start(bind(&lookup, Windows::Tuned).await);
        topics.push(node.subscribe([7; 32], vec![]).await);
        nodes.push(node);
    }
    sleep(Duration::from_secs(1)).await;
    let grown = kernel::resident().saturating_sub(before);
    per_node(grown, rest(time).await)
}

async fn topics_of_a_pair<N: Node>(count: usize, time: Duration) -> Vec<f64> {
    let lookup = MemoryLookup::new();
    let a = N::start(bind(&lookup, Windows::Wide).await);
    let b = N::start(bind(&lookup, Windows::Wide).await);
    // One topic connects the two, so that what is measured is the others.
    let (_kept_a, mut first_a) = a.subscribe([255; 32], vec![]).await;
    let (_kept_b, mut first_b) = b.subscribe([255; 32], vec![a.id()]).await;
    N::joined(&mut first_a).await;
    N::joined(&mut first_b).await;
    sleep(Duration::from_millis(500)).await;

    let before = kernel::resident();
    let begin = Instant::now();
    let mut topics = Vec::new();
    let mut joined = 0;
    let join = async {
        for n in 0..count {
            let topic = *blake3::hash(&n.to_le_bytes()).as_bytes();
            topics.push(a.subscribe(topic, vec![]).await);
            topics.push(b.subscribe(topic, vec![a.id()]).await);
        }
        for (_, receiver) in &mut topics {
            N::joined(receiver).await;
            joined += 1;
        }
    };
    let _in_time = timeout(PATIENCE, join).await;
    let elapsed = begin.elapsed().as_secs_f64() * 1e3;
    sleep(Duration::from_secs(1)).await;
    let grown = kernel::resident().saturating_sub(before);
    let [sleeps, cpu] = rest(time).await;
    vec![
        grown as f64 / 1024.0 / count as f64 / 2.0,
        elapsed,
        (joined / 2) as f64,
        sleeps,
        cpu,
    ]
}
