//! Two nodes: how many messages a second, at what cost, and how soon an answer.
//!
//! One side publishes, the other receives. With a window, as many messages are under way at once,
//! from the application to the application; without one, the publisher goes as fast as it may.
//! Not one message may be lost. All runs on one thread, or on a runtime of two.
//!
//! ```sh
//! cargo bench --bench pair -- --quick
//! cargo bench --bench pair -- --once ours 1024 3     # one contestant for 3 s, for a profiler
//! cargo bench --bench pair -- --once ours 1024 3 2   # the same on two threads
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use iroh::address_lookup::memory::MemoryLookup;
use support::{
    Args, Better, Table, kernel,
    node::{Node, Ours, Threads, Upstream, Windows, bind, message, number},
    quantile,
    raw::{Pair, Reader, Writer},
};
use tokio::sync::{Notify, Semaphore};

const TOPIC: [u8; 32] = [7; 32];

/// Messages before the measurement begins.
const WARM_UP: u64 = 500;

/// How long nothing may arrive until what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether anything has arrived.
const LOOK: Duration = Duration::from_millis(20);

/// Permits where there is no window.
const NO_WINDOW: usize = usize::MAX >> 4;

#[derive(Clone, Copy, Debug)]
struct Load {
    size: usize,
    window: Option<usize>,
    time: Duration,
    windows: Windows,
    /// Both sides publish.
    both: bool,
    threads: Threads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Ours,
    Upstream,
    Raw,
    Floor,
}

const CONTESTANTS: [Contestant; 4] = [
    Contestant::Ours,
    Contestant::Upstream,
    Contestant::Raw,
    Contestant::Floor,
];
const NAMES: [&str; 4] = ["ours", "upstream", "raw iroh", "floor"];

impl Contestant {
    fn named(name: &str) -> Option<Self> {
        let names = ["ours", "upstream", "raw", "floor"];
        let index = names.iter().position(|known| *known == name)?;
        CONTESTANTS.get(index).copied()
    }

    fn run(self, load: Load) -> Outcome {
        let outcome = load.threads.run(async {
            match self {
                Self::Ours => gossip::<Ours>(load).await,
                Self::Upstream => gossip::<Upstream>(load).await,
                Self::Raw => raw(load, false).await,
                Self::Floor => raw(load, true).await,
            }
        });
        // Upstream's losses are told, ours are a failure.
        assert!(
            outcome.lost == 0 || self == Self::Upstream,
            "{self:?} lost {} of {} messages under {load:?}",
            outcome.lost,
            outcome.received,
        );
        outcome
    }

    fn ping_pong(self, threads: Threads, rounds: u64) -> Vec<f64> {
        threads.run(async {
            match self {
                Self::Ours => gossip_ping_pong::<Ours>(rounds).await,
                Self::Upstream => gossip_ping_pong::<Upstream>(rounds).await,
                Self::Raw => raw_ping_pong(rounds, false).await,
                Self::Floor => raw_ping_pong(rounds, true).await,
            }
        })
    }
}

struct Outcome {
    received: u64,
    lost: u64,
    elapsed: Duration,
    cpu: Duration,
}

fn main() {
    let args = Args::from_env();
    if let [mode, contestant, size, seconds, threads @ ..] = &args.rest[..]
        && mode == "--once"
    {
        let threads = match threads {
            [] => Threads::One,
            [two] if two == "2" => Threads::Two,
            _ => panic!("after the seconds comes 2, for two threads, or nothing"),
        };
        return once(contestant, size, seconds, threads);
    }
    let table = Table::new(&args, "A pair, on one thread if not on two", &NAMES);
    let time = args.time(Duration::from_millis(300), Duration::from_secs(1));
    let sizes = [64, 1024, 4000];
    let usual = Load {
        size: 1024,
        window: Some(64),
        time,
        windows: Windows::Tuned,
        both: false,
        threads: Threads::One,
    };
    for windows in [Windows::Tuned, Windows::Default] {
        for window in [Some(64), None] {
            if args.quick && windows == Windows::Default && window.is_none() {
                continue;
            }
            for size in sizes {
                let load = Load {
                    size,
                    window,
                    windows,
                    ..usual
                };
                throughput(&args, &table, load);
            }
        }
    }
    for windows in [Windows::Tuned, Windows::Default] {
        let load = Load {
            windows,
            both: true,
            ..usual
        };
        throughput(&args, &table, load);
    }
    for window in [Some(64), None] {
        for size in sizes {
            let load = Load {
                size,
                window,
                threads: Threads::Two,
                ..usual
            };
            throughput(&args, &table, load);
        }
    }
    ping_pong(&args, &table, Threads::One);
    ping_pong(&args, &table, Threads::Two);
}

fn throughput(args: &Args, table: &Table, load: Load) {
    let window = match load.window {
        Some(window) => format!("window {window}"),
        None => "no window".into(),
    };
    let both = if load.both { " both ways" } else { "" };
    let name = format!(
        "{} B{both}, {window}, {}{}",
        load.size,
        load.windows.name(),
        load.threads.note(),
    );
    if !args.wants(&name) {
        return;
    }
    let mut rates = vec![Vec::new(); CONTESTANTS.len()];
    let mut costs = rates.clone();
    let mut lost = 0;
    for _ in 0..args.repetitions() {
        for (index, contestant) in CONTESTANTS.iter().enumerate() {
            let outcome = contestant.run(load);
            let received = outcome.received as f64;
            rates[index].push(received / outcome.elapsed.as_secs_f64());
            costs[index].push(outcome.cpu.as_secs_f64() * 1e6 / received);
            lost += outcome.lost;
        }
    }
    table.row(&name, "msg/s", Better::Higher, &rates);
    table.row(&name, "CPU µs/msg", Better::Lower, &costs);
    if lost > 0 {
        table.note(&format!("{name}: upstream lost {lost} messages"));
    }
}

fn ping_pong(args: &Args, table: &Table, threads: Threads) {
    let name = format!("ping-pong 64 B{}", threads.note());
    if !args.wants(&name) {
        return;
    }
    let rounds = if args.quick { 1_000 } else { 5_000 };
    let mut halves = vec![Vec::new(); CONTESTANTS.len()];
    let mut tails = halves.clone();
    for _ in 0..args.repetitions() {
        for (index, contestant) in CONTESTANTS.iter().enumerate() {
            let mut trips = contestant.ping_pong(threads, rounds);
            halves[index].push(quantile(&mut trips, 0.5));
            tails[index].push(quantile(&mut trips, 0.99));
        }
    }
    table.row(&format!("{name}, p50"), "µs", Better::Lower, &halves);
    table.row(&format!("{name}, p99"), "µs", Better::Lower, &tails);
}

/// Runs one contestant, for a profiler to look at.
fn once(contestant: &str, size: &str, seconds: &str, threads: Threads) {
    let contestant = Contestant::named(contestant).expect("ours, upstream, raw or floor");
    let load = Load {
        size: size.parse().expect("a size in bytes"),
        window: Some(64),
        time: Duration::from_secs_f64(seconds.parse().expect("a time in seconds")),
        windows: Windows::Tuned,
        both: false,
        threads,
    };
    let outcome = contestant.run(load);
    println!(
        "{} messages in {:?}: {:.0} msg/s, {:.3} CPU µs/msg, {} lost",
        outcome.received,
        outcome.elapsed,
        outcome.received as f64 / outcome.elapsed.as_secs_f64(),
        outcome.cpu.as_secs_f64() * 1e6 / outcome.received as f64,
        outcome.lost,
    );
}

/// One direction: what was sent, what has arrived, and what may be sent.
struct Flow {
    permits: Semaphore,
    received: AtomicU64,
    /// How many messages there are, once that is known.
    total: AtomicU64,
    complete: Notify,
}

impl Flow {
    fn new(window: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(window.unwrap_or(NO_WINDOW)),
            received: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            complete: Notify::new(),
        })
    }

    /// Waits until something may be sent, and says how much.
    async fn next(&self, most: usize) -> usize {
        let permits = self.permits.acquire().await;
        permits.expect("never closed").forget();
        let more = self.permits.available_permits().min(most - 1);
        match self.permits.try_acquire_many(more as u32) {
            Ok(permits) => permits.forget(),
            Err(_) => return 1,
        }
        1 + more
    }

    fn arrived(&self, count: u64) {
        let received = self.received.fetch_add(count, Relaxed) + count;
        self.permits.add_permits(count as usize);
        if received == self.total.load(Relaxed) {
            self.complete.notify_one();
        }
    }

    fn sent_all(&self, total: u64) {
        self.total.store(total, Relaxed);
        if self.received.load(Relaxed) == total {
            self.complete.notify_one();
        }
    }

    /// Waits until all has arrived, or nothing does any more. Returns how much never did, and when the
    /// last was seen to arrive.
    async fn finish(&self) -> (u64, Instant) {
        let mut received = self.received.load(Relaxed);
        let mut last = Instant::now();
        loop {
            let complete = tokio::time::timeout(LOOK, self.complete.notified()).await;
            let now = Instant::now();
            if complete.is_ok() {
                return (0, now);
            }
            let before = std::mem::replace(&mut received, self.received.load(Relaxed));
            if received != before {
                last = now;
            } else if now > last + PATIENCE {
                return (self.total.load(Relaxed).saturating_sub(received), last);
            }
        }
    }
}

/// Lets `flows` run, warms them up, and measures until what was sent then has arrived.
async fn measure(load: Load, flows: &[Arc<Flow>], stop: &Arc<AtomicU64>) -> Outcome {
    let received = || {
        flows
            .iter()
            .map(|flow| flow.received.load(Relaxed))
            .sum::<u64>()
    };
    while received() < WARM_UP {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (begin, before, cpu) = (Instant::now(), received(), kernel::cpu());
    tokio::time::sleep(load.time).await;
    stop.store(1, Relaxed);
    let (mut lost, mut last) = (0, begin);
    for flow in flows {
        let (missing, at) = flow.finish().await;
        lost += missing;
        last = last.max(at);
    }
    Outcome {
        received: received() - before,
        lost,
        elapsed: last - begin,
        cpu: kernel::cpu() - cpu,
    }
}

async fn gossip<N: Node>(load: Load) -> Outcome {
    let lookup = MemoryLookup::new();
    let a = N::start(bind(&lookup, load.windows).await);
    let b = N::start(bind(&lookup, load.windows).await);
    let (a_sender, mut a_receiver) = a.subscribe(TOPIC, vec![]).await;
    let (b_sender, mut b_receiver) = b.subscribe(TOPIC, vec![a.id()]).await;
    N::joined(&mut a_receiver).await;
    N::joined(&mut b_receiver).await;

    let stop = Arc::new(AtomicU64::new(0));
    let mut ends = vec![(b_sender, a_receiver)];
    if load.both {
        ends.push((a_sender, b_receiver));
    }
    let mut flows = Vec::new();
    let mut tasks = Vec::new();
    for (side, (sender, mut receiver)) in ends.into_iter().enumerate() {
        let flow = Flow::new(load.window);
        let (sending, receiving, stop) = (flow.clone(), flow.clone(), stop.clone());
        let publisher = tokio::spawn(async move {
            let mut sent = 0u64;
            while stop.load(Relaxed) == 0 {
                sending.next(1).await;
                let number = sent * 2 + side as u64;
                N::broadcast(&sender, message(number, load.size)).await;
                sent += 1;
            }
            sending.sent_all(sent);
            // The topic stays open until the run is over.
            std::future::pending::<()>().await;
            drop(sender);
        });
        let subscriber = tokio::spawn(async move {
            loop {
                if N::receive(&mut receiver).await.is_some() {
                    receiving.arrived(1);
                }
            }
        });
        tasks.extend([publisher, subscriber]);
        flows.push(flow);
    }
    let outcome = measure(load, &flows, &stop).await;
    for task in tasks {
        task.abort();
    }
    b.stop().await;
    a.stop().await;
    outcome
}

async fn raw(load: Load, floor: bool) -> Outcome {
    let pair = Pair::connect(load.windows).await;
    let stop = Arc::new(AtomicU64::new(0));
    let mut flows = Vec::new();
    let mut tasks = Vec::new();
    let mut ends = vec![(&pair.dialed, &pair.accepted)];
    if load.both {
        ends.push((&pair.accepted, &pair.dialed));
    }
    for (side, (from, to)) in ends.into_iter().enumerate() {
        let flow = Flow::new(load.window);
        let stream = from.open_uni().await.expect("room for a stream");
        let to = to.clone();
        let (sending, receiving, stop) = (flow.clone(), flow.clone(), stop.clone());
        let publisher = tokio::spawn(async move {
            let mut writer = Writer::new(stream, floor);
            let mut sent = 0u64;
            while stop.load(Relaxed) == 0 {
                let mut room = sending.next(1024).await;
                while room > 0 {
                    while room > 0 && !writer.is_full() {
                        writer.push(&message(sent * 2 + side as u64, load.size));
                        sent += 1;
                        room -= 1;
                    }
                    writer.write().await;
                }
            }
            sending.sent_all(sent);
            std::future::pending::<()>().await;
            drop(writer);
        });
        let subscriber = tokio::spawn(async move {
            let stream = to.accept_uni().await.expect("a stream");
            let mut reader = Reader::new(stream, floor);
            loop {
                let mut count = 0;
                if !reader.read(|_| count += 1).await {
                    break;
                }
                if count > 0 {
                    receiving.arrived(count);
                }
            }
        });
        tasks.extend([publisher, subscriber]);
        flows.push(flow);
    }
    let outcome = measure(load, &flows, &stop).await;
    for task in tasks {
        task.abort();
    }
    pair.close().await;
    outcome
}

/// Round trips in microseconds, without the first ones.
async fn gossip_ping_pong<N: Node>(rounds: u64) -> Vec<f64> {
    let lookup = MemoryLookup::new();
    let a = N::start(bind(&lookup, Windows::Tuned).await);
    let b = N::start(bind(&lookup, Windows::Tuned).await);
    let (a_sender, mut a_receiver) = a.subscribe(TOPIC, vec![]).await;
    let (b_sender, mut b_receiver) = b.subscribe(TOPIC, vec![a.id()]).await;
    N::joined(&mut a_receiver).await;
    N::joined(&mut b_receiver).await;
    let echo = tokio::spawn(async move {
        while let Some(content) = N::receive(&mut a_receiver).await {
            let answer = message(number(&content) + 1, content.len());
            N::broadcast(&a_sender, answer).await;
        }
    });
    let asking = tokio::spawn(async move {
        let mut trips = Vec::new();
        for round in 0..rounds {
            let begin = Instant::now();
            N::broadcast(&b_sender, message(round * 2, 64)).await;
            N::receive(&mut b_receiver).await.expect("an answer");
            trips.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        trips
    });
    let mut trips = asking.await.expect("no panic");
    echo.abort();
    b.stop().await;
    a.stop().await;
    trips.split_off(trips.len() / 10)
}

async fn raw_ping_pong(rounds: u64, floor: bool) -> Vec<f64> {
    let pair = Pair::connect(Windows::Tuned).await;
    let there = pair.dialed.open_uni().await.expect("room for a stream");
    let back = pair.accepted.open_uni().await.expect("room for a stream");
    let (dialed, accepted) = (pair.dialed.clone(), pair.accepted.clone());
    let echo = tokio::spawn(async move {
        let stream = accepted.accept_uni().await.expect("a stream");
        let (mut reader, mut writer) = (Reader::new(stream, floor), Writer::new(back, floor));
        loop {
            let mut asked = None;
            if !reader.read(|content| asked = Some(number(content))).await {
                break;
            }
            if let Some(asked) = asked {
                writer.push(&message(asked + 1, 64));
                writer.write().await;
            }
        }
    });
    let asking = tokio::spawn(async move {
        let mut writer = Writer::new(there, floor);
        let mut reader = None;
        let mut trips = Vec::new();
        for round in 0..rounds {
            let begin = Instant::now();
            writer.push(&message(round * 2, 64));
            writer.write().await;
            if reader.is_none() {
                let stream = dialed.accept_uni().await.expect("a stream");
                reader = Some(Reader::new(stream, floor));
            }
            let mut answered = false;
            while let Some(reader) = &mut reader
                && !answered
            {
                assert!(reader.read(|_| answered = true).await, "an answer");
            }
            trips.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        trips
    });
    let mut trips = asking.await.expect("no panic");
    echo.abort();
    pair.close().await;
    trips.split_off(trips.len() / 10)
}
