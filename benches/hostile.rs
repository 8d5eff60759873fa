//! What honest nodes notice of hostile ones: how long messages take, and what is lost.
//!
//! Four honest nodes, all neighbors of each other, say something fifty times a second each. One of
//! them is attacked, by raw endpoints on a thread of their own, with each of the attacks that
//! `tests/hostile` has. A row compares the time from a broadcast to its deliveries while the attack
//! lasts with the time just before it, on the same nodes. The attackers share the processors with
//! the honest nodes: on a machine with few of them a flood costs its own processor time, too.
//!
//! ```sh
//! cargo bench --bench hostile
//! cargo bench --bench hostile -- --quick --markdown --only made_up
//! ```
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../tests/hostile/attacks/mod.rs"]
mod attacks;
mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::address_lookup::memory::MemoryLookup;
use tokio::task::JoinHandle;

use attacks::{Assault, Attack, Target};
use support::{
    Args, kernel,
    node::{Node, Ours, Windows, bind, on_one_thread},
    quantile,
};

const TOPIC: [u8; 32] = [1; 32];

const NODES: usize = 4;

/// Between two messages of one node.
const INTERVAL: Duration = Duration::from_millis(20);

/// The size of a message, in bytes.
const SIZE: usize = 200;

/// How long messages may be late. Later ones are lost.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let args = Args::from_env();
    let time = args.time(Duration::from_secs(2), Duration::from_secs(5));
    if args.markdown {
        println!("| attack | before: p50, p99 | during: p50, p99 | p50 | p99 | lost | MiB |");
        println!("|---|---|---|---|---|---|---|");
    } else {
        println!("times in ms, before and during; how many times longer; lost; MiB grown");
    }
    let mut lost = 0;
    for attack in attacks::ALL.iter().filter(|one| args.wants(one.name)) {
        let runs: Vec<Run> = (0..args.repetitions())
            .map(|_| on_one_thread(run(*attack, time)))
            .collect();
        lost += runs.iter().map(|run| run.lost).sum::<usize>();
        print(&args, *attack, &runs);
    }
    assert_eq!(lost, 0, "nothing that honest nodes say is lost");
}

/// Deliveries of one phase, each the milliseconds that it took.
struct Phase {
    p50: f64,
    p99: f64,
}

struct Run {
    before: Phase,
    during: Phase,
    lost: usize,
    /// Memory of the process afterwards, attackers gone, against that before, in MiB.
    grown: f64,
}

fn print(args: &Args, attack: Attack, runs: &[Run]) {
    let median =
        |figure: fn(&Run) -> f64| quantile(&mut runs.iter().map(figure).collect::<Vec<_>>(), 0.5);
    let before = (median(|run| run.before.p50), median(|run| run.before.p99));
    let during = (median(|run| run.during.p50), median(|run| run.during.p99));
    let ratios = (
        median(|run| run.during.p50 / run.before.p50),
        median(|run| run.during.p99 / run.before.p99),
    );
    let lost: usize = runs.iter().map(|run| run.lost).sum();
    let grown = median(|run| run.grown);
    let name = attack.name.replace('_', " ");
    if args.markdown {
        println!(
            "| {name} | {:.2}, {:.2} ms | {:.2}, {:.2} ms | {:.2}× | **{:.2}×** | {lost} | {grown:.1} |",
            before.0, before.1, during.0, during.1, ratios.0, ratios.1
        );
    } else {
        println!(
            "{name:<32} {:>6.2} {:>7.2}   {:>6.2} {:>7.2}   {:>5.2}× {:>5.2}× {lost:>4} {grown:>6.1}",
            before.0, before.1, during.0, during.1, ratios.0, ratios.1
        );
    }
}

/// What was delivered, and where.
type Deliveries = Arc<Mutex<Vec<(u64, Duration)>>>;

struct Arena {
    nodes: Vec<Ours>,
    senders: Vec<<Ours as Node>::Sender>,
    listening: Vec<JoinHandle<()>>,
    deliveries: Deliveries,
    epoch: Instant,
    next: u64,
    book: MemoryLookup,
}

impl Arena {
    async fn new() -> Self {
        let book = MemoryLookup::new();
        let epoch = Instant::now();
        let deliveries = Deliveries::default();
        let mut nodes: Vec<Ours> = Vec::new();
        let mut senders = Vec::new();
        let mut listening = Vec::new();
        for _ in 0..NODES {
            let node = Ours::start(bind(&book, Windows::Default).await);
            let others = nodes.iter().map(Node::id).collect::<Vec<_>>();
            let alone = others.is_empty();
            let (sender, mut receiver) = node.subscribe(TOPIC, others).await;
            if !alone {
                Ours::joined(&mut receiver).await;
            }
            let deliveries = deliveries.clone();
            listening.push(tokio::spawn(async move {
                while let Some(content) = Ours::receive(&mut receiver).await {
                    if let Some((number, sent)) = read(&content) {
                        let took = epoch.elapsed().saturating_sub(sent);
                        let mut deliveries = deliveries.lock().expect("nothing panics in here");
                        deliveries.push((number, took));
                    }
                }
            }));
            nodes.push(node);
            senders.push(sender);
        }
        Self {
            nodes,
            senders,
            listening,
            deliveries,
            epoch,
            next: 0,
            book,
        }
    }

    /// All talk for a while. Returns how long deliveries took, and how many there never were.
    async fn talk(&mut self, time: Duration) -> (Vec<f64>, usize) {
        let first = self.next;
        let mut ticks = tokio::time::interval(INTERVAL);
        let end = Instant::now() + time;
        while Instant::now() < end {
            ticks.tick().await;
            for sender in &self.senders {
                Ours::broadcast(sender, write(self.next, self.epoch.elapsed())).await;
                self.next += 1;
            }
        }
        let expected = (self.next - first) as usize * (NODES - 1);
        let late = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        while taken.len() < expected && Instant::now() < late {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut deliveries = self.deliveries.lock().expect("nothing panics in here");
            let these = deliveries.extract_if(.., |(number, _)| *number >= first);
            taken.extend(these.map(|(_, took)| took.as_secs_f64() * 1000.0));
        }
        let lost = expected.saturating_sub(taken.len());
        (taken, lost)
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
        for listening in self.listening {
            listening.await.expect("nothing panics");
        }
    }
}

async fn run(attack: Attack, time: Duration) -> Run {
    let mut arena = Arena::new().await;
    // The tree takes shape, and memory is what it will be.
    arena.talk(Duration::from_secs(1)).await;
    let memory = kernel::resident();
    let (before, lost_before) = arena.talk(time).await;

    let ids: Vec<_> = arena.nodes.iter().map(Node::id).collect();
    let assault = Assault::start(
        attack,
        Target {
            id: ids[0],
            topic: TOPIC.into(),
            book: arena.book.clone(),
            honest: ids[1..].to_vec(),
            expelled: Arc::default(),
        },
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (during, lost_during) = arena.talk(time).await;
    assert!(assault.goes_on(), "{attack:?} goes on");
    tokio::task::spawn_blocking(|| drop(assault))
        .await
        .expect("the attack has not panicked");
    let (_, lost_after) = arena.talk(Duration::from_secs(1)).await;
    let grown = kernel::resident() as f64 - memory as f64;
    arena.stop().await;
    Run {
        before: phase(before),
        during: phase(during),
        lost: lost_before + lost_during + lost_after,
        grown: grown / (1024.0 * 1024.0),
    }
}

fn phase(mut took: Vec<f64>) -> Phase {
    Phase {
        p50: quantile(&mut took, 0.5),
        p99: quantile(&mut took, 0.99),
    }
}

/// What the messages of honest nodes begin with.
const HONEST: u8 = 0x01;

/// A message that says when it was sent.
fn write(number: u64, sent: Duration) -> Bytes {
    let mut content = vec![HONEST; SIZE];
    content[1..9].copy_from_slice(&number.to_be_bytes());
    content[9..17].copy_from_slice(&(sent.as_nanos() as u64).to_be_bytes());
    content.into()
}

fn read(content: &[u8]) -> Option<(u64, Duration)> {
    let (HONEST, rest) = content.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    let number = u64::from_be_bytes(*rest.first_chunk()?);
    let sent = u64::from_be_bytes(*rest.get(8..)?.first_chunk()?);
    Some((number, Duration::from_nanos(sent)))
}
