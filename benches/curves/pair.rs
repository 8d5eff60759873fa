//! Two nodes on one thread: one publishes to topics in turn, the other has subscribers.
//!
//! Processor time is that of both nodes, iroh and the application.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use iroh::address_lookup::memory::MemoryLookup;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::support::{
    kernel,
    node::{Node, Settings, Windows, bind, message, on_one_thread},
};

/// The most messages under way at once.
const WINDOW: usize = 64;

/// The most bytes under way at once, where messages are large.
const WINDOW_BYTES: usize = 256 * 1024;

/// Messages before the measurement, at the least.
const WARM_UP: u64 = 500;

/// How long joining may take, and how long nothing may arrive until what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What two nodes do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) topics: usize,
    /// Of every topic.
    pub(crate) subscribers: usize,
    /// Of a message, in bytes.
    pub(crate) size: usize,
    /// The largest frame, in bytes.
    pub(crate) max_message_size: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            topics: 1,
            subscribers: 1,
            size: 64,
            max_message_size: Settings::default().max_message_size,
        }
    }
}

/// Microseconds of processor time for a message, or what went wrong.
pub(crate) fn run<N: Node>(shape: Shape, time: Duration) -> Result<f64, String> {
    on_one_thread(async {
        let lookup = MemoryLookup::new();
        let settings = Settings {
            max_message_size: shape.max_message_size,
            ..Settings::default()
        };
        let a = N::start_with(bind(&lookup, Windows::Wide).await, settings);
        let b = N::start_with(bind(&lookup, Windows::Wide).await, settings);
        let figure = cost(&a, &b, shape, time).await;
        b.stop().await;
        a.stop().await;
        figure
    })
}

/// What is under way. A message is complete when it has come to all subscribers of its topic.
struct Flow {
    subscribers: u64,
    permits: Semaphore,
    delivered: AtomicU64,
    published: AtomicU64,
    stop: AtomicBool,
}

impl Flow {
    fn arrived(&self) {
        let delivered = self.delivered.fetch_add(1, Relaxed) + 1;
        if delivered.is_multiple_of(self.subscribers) {
            self.permits.add_permits(1);
        }
    }

    fn messages(&self) -> u64 {
        self.delivered.load(Relaxed) / self.subscribers
    }

    fn is_complete(&self) -> bool {
        self.delivered.load(Relaxed) == self.published.load(Relaxed) * self.subscribers
    }

    /// Waits for `done`; fails when nothing arrives any more.
    async fn wait(&self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let mut before = None;
        let mut waited = Duration::ZERO;
        while !done(self) {
            let delivered = Some(self.delivered.load(Relaxed));
            if before != delivered {
                (before, waited) = (delivered, Duration::ZERO);
            } else if waited > PATIENCE {
                let expected = self.published.load(Relaxed) * self.subscribers;
                let missing = expected.saturating_sub(self.delivered.load(Relaxed));
                return Err(format!("{missing} of {expected} deliveries are missing"));
            }
            let step = Duration::from_millis(5);
            sleep(step).await;
            waited += step;
        }
        Ok(())
    }
}

async fn cost<N: Node>(a: &N, b: &N, shape: Shape, time: Duration) -> Result<f64, String> {
    let mut senders = Vec::new();
    let mut unread = Vec::new();
    let mut receivers = Vec::new();
    // Nobody publishes on these, or reads what comes; a topic is open as long as they are.
    let mut kept = Vec::new();
    for number in 0..shape.topics {
        let topic = *blake3::hash(&number.to_le_bytes()).as_bytes();
        for _ in 0..shape.subscribers {
            let (sender, receiver) = a.subscribe(topic, vec![]).await;
            kept.push(sender);
            receivers.push(receiver);
        }
        let (sender, receiver) = b.subscribe(topic, vec![a.id()]).await;
        senders.push(sender);
        unread.push(receiver);
    }
    let joined = async {
        for receiver in receivers.iter_mut().chain(&mut unread) {
            N::joined(receiver).await;
        }
    };
    if timeout(PATIENCE, joined).await.is_err() {
        return Err("not all have joined".into());
    }

    let flow = Arc::new(Flow {
        subscribers: shape.subscribers as u64,
        permits: Semaphore::new((WINDOW_BYTES / shape.size).clamp(1, WINDOW)),
        delivered: AtomicU64::new(0),
        published: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut tasks = Vec::new();
    for mut receiver in receivers {
        let flow = flow.clone();
        tasks.push(tokio::spawn(async move {
            while N::receive(&mut receiver).await.is_some() {
                flow.arrived();
            }
        }));
    }
    let publisher = flow.clone();
    tasks.push(tokio::spawn(async move {
        for sender in senders.iter().cycle() {
            let permit = publisher.permits.acquire().await;
            permit.expect("never closed").forget();
            if publisher.stop.load(Relaxed) {
                break;
            }
            let number = publisher.published.fetch_add(1, Relaxed);
            N::broadcast(sender, message(number, shape.size)).await;
        }
        // The topics stay open until the run is over.
        std::future::pending::<()>().await;
    }));

    let warm_up = WARM_UP.max(4 * shape.topics as u64);
    let figure = measure(&flow, warm_up, time).await;
    for task in tasks {
        task.abort();
    }
    drop((kept, unread));
    figure
}

async fn measure(flow: &Flow, warm_up: u64, time: Duration) -> Result<f64, String> {
    flow.wait(|flow| flow.messages() >= warm_up).await?;
    let (before, cpu) = (flow.messages(), kernel::cpu());
    sleep(time).await;
    let (messages, cpu) = (flow.messages() - before, kernel::cpu() - cpu);
    flow.stop.store(true, Relaxed);
    flow.wait(Flow::is_complete).await?;
    Ok(cpu.as_secs_f64() * 1e6 / messages as f64)
}
