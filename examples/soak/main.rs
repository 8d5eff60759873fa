//! Nodes that come and go, for an hour: what they hold has to be the same at the end as it was
//! after a while.
//!
//! ```sh
//! cargo run --release --example soak                      # an hour
//! cargo run --release --example soak -- --seconds 45 --nodes 8
//! ```
//!
//! Twenty nodes in one process, each on a thread of its own, speak over QUIC on loopback. Again and
//! again one of them leaves a topic and joins it again, says goodbye and comes back, or is killed
//! without a word and comes back under the same key, while others broadcast messages of all sizes.
//! A curve shows memory, sockets, connections, tasks and timers. The program ends with an error
//! if one of them still grew in the end, or if nodes that have all come back do not hear each other.
//! What the allocator holds for twenty nodes settles within some fifteen minutes: a run of less than
//! half an hour may say that memory grew.

#![expect(
    clippy::disallowed_methods,
    reason = "it runs for a time, on a thread of its own"
)]

use std::{
    error::Error,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use iroh::address_lookup::memory::MemoryLookup;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use self::{
    curve::{Curve, Point},
    node::{Heard, Node, TOPICS, id},
};

mod curve;
mod node;

/// Lets nodes come and go, and watches what they hold.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(20..))]
    seconds: u64,
    /// How many nodes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(3..=100))]
    nodes: u8,
    /// How many of them come or go in a second
    #[arg(long, default_value_t = 1.0, value_parser = per_second)]
    churn: f64,
    /// How many messages they broadcast in a second, all together
    #[arg(long, default_value_t = 50.0, value_parser = per_second)]
    rate: f64,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How often something happens in a second, where the time in between can be waited for.
fn per_second(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(often) if (0.01..=100_000.0).contains(&often) => Ok(often),
        _ => Err("it has to be a number from 0.01 to 100000".to_owned()),
    }
}

/// How many points the curve has.
const POINTS: u64 = 40;

/// How long the nodes may take in the end until they hear each other.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let mut soak = Soak::new(&args);
    soak.run(&args);
    let whole = soak.come_together();
    if let Err(missing) = &whole {
        println!("not whole: {missing}");
    }
    let flat = soak.curve.verdict();
    for finding in &flat {
        println!("not flat: {finding}");
    }
    for node in soak.nodes.into_iter().flatten() {
        node.stop();
    }
    Ok(if flat.is_empty() && whole.is_ok() {
        println!("flat");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Soak {
    nodes: Vec<Option<Node>>,
    book: MemoryLookup,
    heard: Arc<Heard>,
    rng: StdRng,
    started: Instant,
    curve: Curve,
    sent: u64,
    /// How often a node came back.
    returns: u64,
}

impl Soak {
    fn new(args: &Args) -> Self {
        let mut soak = Self {
            nodes: (0..args.nodes).map(|_| None).collect(),
            book: MemoryLookup::new(),
            heard: Arc::default(),
            rng: StdRng::seed_from_u64(args.seed),
            started: now(),
            curve: Curve::default(),
            sent: 0,
            returns: 0,
        };
        for n in 0..args.nodes {
            soak.start(n);
        }
        soak
    }

    fn run(&mut self, args: &Args) {
        let end = self.started + Duration::from_secs(args.seconds);
        let between_points = Duration::from_secs(args.seconds) / POINTS as u32;
        let mut next_point = self.started + between_points;
        let mut next_change = self.started + Duration::from_secs(1);
        let mut next_message = self.started;
        Curve::head();
        loop {
            let next = next_point.min(next_change).min(next_message);
            if next >= end {
                break;
            }
            std::thread::sleep(next.saturating_duration_since(now()));
            if next == next_message {
                self.broadcast();
                next_message += Duration::from_secs_f64(1.0 / args.rate);
            } else if next == next_change {
                self.change();
                next_change += Duration::from_secs_f64(1.0 / args.churn);
            } else {
                self.measure();
                next_point += between_points;
            }
        }
    }

    /// Starts a node that joins all topics.
    fn start(&mut self, n: u8) {
        let node = Node::start(n, self.book.clone(), self.heard.clone());
        for topic in 0..TOPICS {
            node.join(topic, self.contacts(n));
        }
        self.nodes[usize::from(n)] = Some(node);
        self.returns += 1;
    }

    /// Three others to join through, whether they live or not.
    fn contacts(&mut self, n: u8) -> Vec<iroh::EndpointId> {
        let others: Vec<u8> = (0..self.nodes.len() as u8).filter(|k| *k != n).collect();
        others.sample(&mut self.rng, 3).map(|k| id(*k)).collect()
    }

    fn broadcast(&mut self) {
        let live: Vec<&Node> = self.nodes.iter().flatten().collect();
        let Some(node) = live.choose(&mut self.rng) else {
            return;
        };
        let len = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(2000..4000),
            1..=3 => self.rng.random_range(200..2000),
            _ => self.rng.random_range(16..200),
        };
        let mut content = vec![0x5a; len];
        content[..8].copy_from_slice(&self.sent.to_be_bytes());
        node.broadcast(self.rng.random_range(0..TOPICS), content.into());
        self.sent += 1;
    }

    /// Something comes or goes.
    fn change(&mut self) {
        let n = self.rng.random_range(0..self.nodes.len() as u8);
        let Some(node) = self.nodes[usize::from(n)].take() else {
            self.start(n);
            return;
        };
        match self.rng.random_range(0..6) {
            0 => node.stop(),
            1 => node.kill(),
            _ => {
                let topic = self.rng.random_range(0..TOPICS);
                node.leave(topic);
                node.join(topic, self.contacts(n));
                self.nodes[usize::from(n)] = Some(node);
            }
        }
    }

    fn measure(&mut self) {
        let stats: Vec<_> = self
            .nodes
            .iter()
            .flatten()
            .filter_map(Node::stats)
            .collect();
        let point = Point::new(self.started, &stats, self.heard.count(), self.returns);
        point.print();
        self.curve.add(point);
    }

    /// Starts all nodes that are gone, and waits until each hears all others in every topic.
    fn come_together(&mut self) -> Result<(), String> {
        for n in 0..self.nodes.len() as u8 {
            if self.nodes[usize::from(n)].is_none() {
                self.start(n);
            }
        }
        let deadline = now() + PATIENCE;
        let mut attempt = 0_u8;
        loop {
            // Who was not there yet has missed what was said before.
            for n in 0..self.nodes.len() as u8 {
                for topic in 0..TOPICS {
                    if let Some(node) = &self.nodes[usize::from(n)] {
                        node.broadcast(topic, Bytes::from(vec![node::ROLL_CALL, attempt, n]));
                    }
                }
            }
            std::thread::sleep(Duration::from_secs(5));
            let missing = self.heard.missing(attempt, self.nodes.len() as u8);
            if missing.is_empty() {
                println!("whole again at the end, after {} calls", attempt + 1);
                return Ok(());
            }
            if now() > deadline {
                return Err(format!("(node, topic, from) {missing:?}"));
            }
            attempt += 1;
        }
    }
}

fn now() -> Instant {
    Instant::now()
}
