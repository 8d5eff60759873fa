//! Ten and thirty nodes: what a delivery costs and how long it takes.
//!
//! All nodes join through the first. Loaded means that 32 messages are under way at once, each
//! until every node has it; calm means 50 messages a second. On two threads the nodes share these,
//! and the application has a third.
//!
//! UDP sends are counted for the whole network namespace. Where anything else uses the network,
//! run this in one of its own:
//!
//! ```sh
//! cargo bench --bench swarm -- --quick
//! cargo bench --bench swarm -- --once ours 30 5   # one contestant, 5 s of calm, for a profiler
//! unshare --net sh -c 'ip link set lo up; cargo bench --offline --bench swarm'
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod support;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::address_lookup::memory::MemoryLookup;
use support::{
    Args, Better, Table, kernel,
    node::{Node, Ours, Threads, Upstream, Windows, bind, message, number},
    quantile,
};
use tokio::{
    sync::Notify,
    task::LocalSet,
    time::{interval, sleep, timeout},
};

const TOPIC: [u8; 32] = [7; 32];

/// Messages under way at once under load.
const WINDOW: u64 = 32;

/// Messages a second in calm.
const CALM_RATE: u64 = 50;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was measured in one run of one contestant.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Until every node has a neighbor.
    joined_ms: f64,
    /// Until a first message has reached every node.
    reached_ms: f64,
    /// Until one node and its endpoint are closed.
    left_ms: f64,
    calm: Phase,
    loaded: Phase,
}

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    deliveries_per_second: f64,
    cpu_us_per_delivery: f64,
    sends_per_broadcast: f64,
    hops: f64,
    p50_ms: f64,
    p99_ms: f64,
    missing: u64,
}

fn main() {
    let args = Args::from_env();
    if let [mode, contestant, nodes, seconds] = &args.rest[..]
        && mode == "--once"
    {
        return once(contestant, nodes, seconds);
    }
    let title = "A swarm, on one thread if not on two, 64 B";
    let table = Table::new(&args, title, &["ours", "upstream"]);
    let times = Times::of(args.quick);
    for threads in [Threads::One, Threads::Two] {
        for count in [10, 30] {
            let name = format!("{count} nodes{}", threads.note());
            if !args.wants(&name) {
                continue;
            }
            let mut runs = [Vec::new(), Vec::new()];
            for _ in 0..args.repetitions() {
                runs[0].push(run::<Ours>(times, threads, count));
                runs[1].push(run::<Upstream>(times, threads, count));
            }
            report(&table, &name, &runs);
        }
    }
}

/// Runs one contestant, with nothing but calm once the swarm is there, for a profiler to look at.
fn once(contestant: &str, nodes: &str, seconds: &str) {
    let nodes = nodes.parse().expect("a number of nodes");
    let calm = seconds.parse().expect("a time in seconds");
    let times = Times {
        calm: Duration::from_secs_f64(calm),
        loaded: Duration::ZERO,
        ..Times::of(true)
    };
    let figures = match contestant {
        "ours" => run::<Ours>(times, Threads::One, nodes),
        "upstream" => run::<Upstream>(times, Threads::One, nodes),
        _ => panic!("ours or upstream"),
    };
    println!("{:?}", figures.calm);
}

fn report(table: &Table, name: &str, runs: &[Vec<Figures>; 2]) {
    type Figure = fn(&Figures) -> f64;
    let rows: [(&str, &str, Better, Figure); 14] = [
        (
            "join through one: first neighbor for all",
            "ms",
            Better::Lower,
            |f| f.joined_ms,
        ),
        (
            "join through one: first message reached all",
            "ms",
            Better::Lower,
            |f| f.reached_ms,
        ),
        ("calm: UDP sends", "per broadcast", Better::Lower, |f| {
            f.calm.sends_per_broadcast
        }),
        ("calm: CPU", "µs/delivery", Better::Lower, |f| {
            f.calm.cpu_us_per_delivery
        }),
        ("calm: links on the way", "mean", Better::Lower, |f| {
            f.calm.hops
        }),
        ("calm: delivery p50", "ms", Better::Lower, |f| f.calm.p50_ms),
        ("calm: delivery p99", "ms", Better::Lower, |f| f.calm.p99_ms),
        ("loaded: deliveries", "per s", Better::Higher, |f| {
            f.loaded.deliveries_per_second
        }),
        ("loaded: CPU", "µs/delivery", Better::Lower, |f| {
            f.loaded.cpu_us_per_delivery
        }),
        ("loaded: UDP sends", "per broadcast", Better::Lower, |f| {
            f.loaded.sends_per_broadcast
        }),
        ("loaded: delivery p50", "ms", Better::Lower, |f| {
            f.loaded.p50_ms
        }),
        ("loaded: delivery p99", "ms", Better::Lower, |f| {
            f.loaded.p99_ms
        }),
        ("one node leaves", "ms", Better::Lower, |f| f.left_ms),
        ("missing deliveries", "in all", Better::Lower, |f| {
            (f.calm.missing + f.loaded.missing) as f64
        }),
    ];
    for (what, unit, better, figure) in rows {
        let samples = runs
            .each_ref()
            .map(|runs| runs.iter().map(figure).collect::<Vec<_>>());
        if what.starts_with("missing") {
            let missing = samples
                .each_ref()
                .map(|samples| samples.iter().sum::<f64>());
            if missing != [0.0, 0.0] {
                let [ours, upstream] = missing;
                table.note(&format!(
                    "{name}: deliveries missing: ours {ours}, upstream {upstream}"
                ));
            }
            continue;
        }
        table.row(&format!("{name}, {what}"), unit, better, &samples);
    }
}

/// How long the phases of a run take.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Until the tree has taken shape.
    settling: Duration,
    calm: Duration,
    loaded: Duration,
}

impl Times {
    fn of(quick: bool) -> Self {
        let [settling, calm, loaded] = if quick {
            [200, 1000, 500]
        } else {
            [1000, 5000, 2000]
        }
        .map(Duration::from_millis);
        Self {
            settling,
            calm,
            loaded,
        }
    }
}

fn run<N: Node>(times: Times, threads: Threads, count: usize) -> Figures {
    threads.run(LocalSet::new().run_until(swarm::<N>(times, count)))
}

/// A message that one node has received.
struct Delivery {
    number: u64,
    delay_ms: f64,
    hops: u16,
}

/// Who has received what.
struct Tally {
    nodes: usize,
    /// By message: when it was published, and how many nodes have it.
    messages: RefCell<Vec<(Instant, usize)>>,
    deliveries: RefCell<Vec<Delivery>>,
    changed: Notify,
}

impl Tally {
    fn new(nodes: usize) -> Rc<Self> {
        Rc::new(Self {
            nodes,
            messages: RefCell::default(),
            deliveries: RefCell::default(),
            changed: Notify::new(),
        })
    }

    fn publish(&self) -> u64 {
        let mut messages = self.messages.borrow_mut();
        messages.push((Instant::now(), 0));
        messages.len() as u64 - 1
    }

    fn received(&self, content: &[u8], hops: u16) {
        let mut messages = self.messages.borrow_mut();
        let number = number(content);
        let Some((published, count)) = messages.get_mut(number as usize) else {
            return;
        };
        *count += 1;
        self.deliveries.borrow_mut().push(Delivery {
            number,
            delay_ms: published.elapsed().as_secs_f64() * 1e3,
            hops,
        });
        if *count == self.nodes - 1 {
            self.changed.notify_one();
        }
    }

    /// How many messages are not with everyone yet, among those from `first` on.
    fn under_way(&self, first: u64) -> u64 {
        let messages = self.messages.borrow();
        let open = messages.iter().skip(first as usize);
        open.filter(|(_, count)| *count < self.nodes - 1).count() as u64
    }

    /// Whether any message has reached everyone.
    fn is_complete(&self) -> bool {
        let messages = self.messages.borrow();
        messages.iter().any(|(_, count)| *count == self.nodes - 1)
    }

    /// Waits until at most so many are under way; says whether it came to that.
    async fn settled(&self, first: u64, most: u64) -> bool {
        let wait = async {
            while self.under_way(first) > most {
                self.changed.notified().await;
            }
        };
        timeout(PATIENCE, wait).await.is_ok()
    }
}

async fn swarm<N: Node>(times: Times, count: usize) -> Figures {
    let lookup = MemoryLookup::new();
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(N::start(bind(&lookup, Windows::Tuned).await));
    }
    let begin = Instant::now();
    let first = nodes[0].id();
    let mut topics = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let bootstrap = if index == 0 { vec![] } else { vec![first] };
        topics.push(node.subscribe(TOPIC, bootstrap).await);
    }
    for (_, receiver) in &mut topics {
        N::joined(receiver).await;
    }
    let joined_ms = begin.elapsed().as_secs_f64() * 1e3;

    let tally = Tally::new(count);
    let mut senders = Vec::new();
    let mut listeners = Vec::new();
    for (sender, mut receiver) in topics {
        senders.push(sender);
        let tally = tally.clone();
        listeners.push(tokio::task::spawn_local(async move {
            loop {
                if let Some((content, hops)) = N::receive_with_hops(&mut receiver).await {
                    tally.received(&content, hops);
                }
            }
        }));
    }
    // A message finds those who are neighbors of someone when it comes by. What matters is when the
    // first one finds all.
    while !tally.is_complete() && begin.elapsed() < PATIENCE {
        N::broadcast(&senders[0], content(tally.publish())).await;
        sleep(Duration::from_millis(5)).await;
    }
    let reached_ms = begin.elapsed().as_secs_f64() * 1e3;

    // The tree takes shape before anything is measured.
    load::<N>(&senders[0], &tally, times.settling).await;
    sleep(Duration::from_millis(500)).await;
    let calm = phase(&tally, calm::<N>(&senders[0], &tally, times.calm)).await;
    let loaded = phase(&tally, load::<N>(&senders[0], &tally, times.loaded)).await;
    for listener in listeners {
        listener.abort();
    }
    let begin = Instant::now();
    if let Some(last) = nodes.pop() {
        last.stop().await;
    }
    let left_ms = begin.elapsed().as_secs_f64() * 1e3;
    futures_util::future::join_all(nodes.into_iter().map(N::stop)).await;
    Figures {
        joined_ms,
        reached_ms,
        left_ms,
        calm,
        loaded,
    }
}

fn content(number: u64) -> Bytes {
    message(number, 64)
}

/// Measures what happens while `load` publishes, until all of it has arrived.
async fn phase(tally: &Tally, load: impl Future<Output = ()>) -> Phase {
    let first = tally.messages.borrow().len() as u64;
    tally.deliveries.borrow_mut().clear();
    let (begin, cpu, sends) = (Instant::now(), kernel::cpu(), kernel::datagrams_sent());
    load.await;
    tally.settled(first, 0).await;
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = (kernel::cpu() - cpu).as_secs_f64();
    let sends = kernel::datagrams_sent() - sends;
    let messages = tally.messages.borrow().len() as u64 - first;
    // Without those of earlier messages, which reach some only now: they joined after these were sent.
    let deliveries = tally.deliveries.borrow();
    let of_phase = || deliveries.iter().filter(|one| one.number >= first);
    let mut delays: Vec<f64> = of_phase().map(|one| one.delay_ms).collect();
    let hops: f64 = of_phase().map(|one| f64::from(one.hops)).sum();
    let deliveries = delays.len() as f64;
    Phase {
        deliveries_per_second: deliveries / elapsed,
        cpu_us_per_delivery: cpu * 1e6 / deliveries,
        sends_per_broadcast: sends as f64 / messages as f64,
        hops: hops / deliveries,
        p50_ms: quantile(&mut delays, 0.5),
        p99_ms: quantile(&mut delays, 0.99),
        missing: messages * (tally.nodes as u64 - 1) - delays.len() as u64,
    }
}

/// Publishes at a steady low rate.
async fn calm<N: Node>(sender: &N::Sender, tally: &Tally, time: Duration) {
    let mut ticks = interval(Duration::from_millis(1000 / CALM_RATE));
    let begin = Instant::now();
    while begin.elapsed() < time {
        ticks.tick().await;
        N::broadcast(sender, content(tally.publish())).await;
    }
}

/// Publishes as soon as fewer than [`WINDOW`] messages are under way.
async fn load<N: Node>(sender: &N::Sender, tally: &Tally, time: Duration) {
    let begin = Instant::now();
    let first = tally.messages.borrow().len() as u64;
    let mut settled = first;
    while begin.elapsed() < time {
        // Only the last few can be under way, so only they are looked at.
        if !tally.settled(settled, WINDOW - 1).await {
            break;
        }
        let published = tally.messages.borrow().len() as u64;
        while settled < published && tally.messages.borrow()[settled as usize].1 == tally.nodes - 1
        {
            settled += 1;
        }
        N::broadcast(sender, content(tally.publish())).await;
    }
}
