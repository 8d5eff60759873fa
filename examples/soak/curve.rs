//! What all nodes held, over time, and whether it still grew in the end.

use std::{fs, time::Instant};

use smol_gossip::net::NodeStats;

/// All nodes at one moment. Sums are divided by the nodes that live.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    seconds: u64,
    nodes: usize,
    heard: u64,
    returns: u64,
    /// Of the process.
    memory_mib: f64,
    /// Open files of the process, which are sockets for the most part, for each node.
    files: f64,
    peers: f64,
    connections: f64,
    streams: f64,
    tasks: f64,
    timers: f64,
}

/// A figure, how it is called, and how much it may grow in addition to a fifth.
type Column = (&'static str, fn(&Point) -> f64, f64);

const COLUMNS: &[Column] = &[
    ("MiB", |point| point.memory_mib, 24.0),
    ("files", |point| point.files, 3.0),
    ("peers", |point| point.peers, 2.0),
    ("conns", |point| point.connections, 2.0),
    ("streams", |point| point.streams, 8.0),
    ("tasks", |point| point.tasks, 8.0),
    ("timers", |point| point.timers, 6.0),
];

impl Point {
    pub(crate) fn new(started: Instant, stats: &[NodeStats], heard: u64, returns: u64) -> Self {
        let nodes = stats.len();
        let each = |count: fn(&NodeStats) -> usize| {
            stats.iter().map(count).sum::<usize>() as f64 / nodes.max(1) as f64
        };
        Self {
            seconds: started.elapsed().as_secs(),
            nodes,
            heard,
            returns,
            memory_mib: memory() as f64 / 1024.0,
            files: open_files() as f64 / nodes.max(1) as f64,
            peers: each(|stats| stats.peers),
            connections: each(|stats| stats.connections),
            streams: each(|stats| stats.streams_in + stats.streams_out),
            tasks: each(|stats| stats.tasks),
            timers: each(|stats| stats.timers),
        }
    }

    pub(crate) fn print(&self) {
        print!(
            "{:>6} {:>5} {:>8} {:>7}",
            self.seconds, self.nodes, self.heard, self.returns
        );
        for (_, figure, _) in COLUMNS {
            print!(" {:>8.1}", figure(self));
        }
        println!();
    }
}

/// The points so far.
#[derive(Debug, Default)]
pub(crate) struct Curve(Vec<Point>);

impl Curve {
    pub(crate) fn head() {
        print!("{:>6} {:>5} {:>8} {:>7}", "s", "nodes", "heard", "starts");
        for (name, ..) in COLUMNS {
            print!(" {name:>8}");
        }
        println!();
    }

    pub(crate) fn add(&mut self, point: Point) {
        self.0.push(point);
    }

    /// What has grown from the second quarter to the last.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let quarter = self.0.len() / 4;
        let (Some(early), Some(late)) = (
            self.0.get(quarter..2 * quarter),
            self.0.get(self.0.len() - quarter..),
        ) else {
            return vec!["there are too few points".into()];
        };
        if quarter < 2 {
            return vec!["there are too few points".into()];
        }
        let mut grown = Vec::new();
        for (name, figure, more) in COLUMNS {
            let mean = |points: &[Point]| points.iter().map(figure).sum::<f64>() / quarter as f64;
            let (before, after) = (mean(early), mean(late));
            if after > before * 1.2 + more {
                grown.push(format!("{name} grew from {before:.1} to {after:.1}"));
            }
        }
        grown
    }
}

/// Memory in use, in KiB.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
