//! What it costs to run a node on one executor or another: latency through it, and to its application.
//!
//! Two nodes on a thread of their own, with tokio, talk over a third one in the middle, which runs in
//! each of the ways there are. *Forwarding* is a message from one end to the other and one back, halved:
//! only the node in the middle is in it, not its application. *Answering* is a message from one end to
//! the application in the middle, and its answer. The ends are the same for all, and in the figures.
//!
//! ```sh
//! cargo bench --bench executors
//! ```
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod support;

use std::{
    pin::Pin,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_lite::{StreamExt, future};
use iroh::{Endpoint, EndpointId, address_lookup::memory::MemoryLookup};
use smol_gossip::{
    Gossip,
    api::{Event, GossipReceiver, GossipSender},
    net::{Builder, Driver},
    proto::HyparviewConfig,
    runtime::{Context, SmolRuntime, TokioRuntime, edge},
};
use support::{
    Args, Better, Table, kernel,
    node::{Windows, bind, message, number, on_one_thread},
    quantile,
};

/// All three are in it.
const FORWARDING: [u8; 32] = [1; 32];

/// One end and the middle are in it.
const ANSWERING: [u8; 32] = [2; 32];

/// The size of a message, in bytes.
const SIZE: usize = 64;

/// Ways to run a node, the first of which is what the guide for smol recommends.
const NAMES: [&str; 5] = [
    "smol, node on the context thread",
    "smol, node on smol's executor",
    "one thread (`edge`)",
    "tokio, one thread",
    "tokio, two threads",
];

const WAYS: [fn(Middle); 5] = [
    on_context_thread,
    on_smol,
    on_edge,
    |middle| on_tokio(tokio::runtime::Builder::new_current_thread(), middle),
    |middle| {
        let mut two = tokio::runtime::Builder::new_multi_thread();
        two.worker_threads(2);
        on_tokio(two, middle);
    },
];

fn main() {
    let args = Args::from_env();
    let rounds = if args.quick { 1_000 } else { 10_000 };
    let table = Table::new(&args, "Through a node, by what runs it", &NAMES);
    let mut figures = vec![vec![Vec::new(); WAYS.len()]; 6];
    for _ in 0..args.repetitions() {
        for (way, run) in WAYS.iter().enumerate() {
            for (figure, value) in measure(*run, rounds).into_iter().enumerate() {
                figures[figure][way].push(value);
            }
        }
    }
    let rows = [
        ("forwarding, p50", "µs"),
        ("forwarding, p99", "µs"),
        ("forwarding, processor time of all three", "µs"),
        ("answering, p50", "µs"),
        ("answering, p99", "µs"),
        ("answering, processor time of both", "µs"),
    ];
    for ((what, unit), samples) in rows.iter().zip(&figures) {
        table.row(what, unit, Better::Lower, samples);
    }
}

/// What the node in the middle is told.
struct Middle {
    book: MemoryLookup,
    ends: [EndpointId; 2],
    stop: async_channel::Receiver<()>,
}

/// Where the node in the middle runs.
struct Surroundings<'a> {
    context: Context,
    build: &'a dyn Fn(Builder, Endpoint) -> (Gossip, Driver),
    spawn: &'a dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Middle {
    /// Passes on, and answers, until it is told to stop.
    async fn run(self, here: Surroundings<'_>) {
        let bind = bind(&self.book, Windows::Tuned);
        let endpoint = here.context.wrap(bind).await;
        let builder = Gossip::builder().accept_incoming(true);
        let (gossip, driver) = (here.build)(builder, endpoint.clone());
        (here.spawn)(Box::pin(driver));
        let passing = gossip.subscribe(FORWARDING.into(), self.ends.to_vec());
        let (_in_it, mut passing) = passing.await.expect("it runs").split();
        let answering = gossip.subscribe(ANSWERING.into(), self.ends[..1].to_vec());
        let (sender, receiver) = answering.await.expect("it runs").split();
        let listen = async { while passing.next().await.is_some() {} };
        let talk = future::or(listen, answer(sender, receiver));
        let stopped = async {
            self.stop.recv().await.expect_err("nothing is ever sent");
        };
        future::or(stopped, talk).await;
        gossip.shutdown().await.expect("it runs");
        here.context.wrap(endpoint.close()).await;
    }
}

/// Answers each message with the next number.
async fn answer(sender: GossipSender, mut receiver: GossipReceiver) {
    while let Some(event) = receiver.next().await {
        if let Ok(Event::Received(said)) = event {
            let answer = message(number(&said.content) + 1, said.content.len());
            if sender.broadcast(answer).await.is_err() {
                return;
            }
        }
    }
}

/// p50, p99 and processor time of forwarding, and of answering, in µs.
fn measure(run: fn(Middle), rounds: u64) -> [f64; 6] {
    on_one_thread(async {
        let book = MemoryLookup::new();
        let (near, near_endpoint) = end(&book).await;
        let (far, far_endpoint) = end(&book).await;
        let ends = [near_endpoint.id(), far_endpoint.id()];
        let mut asking = Vec::new();
        for topic in [FORWARDING, ANSWERING] {
            asking.push(near.subscribe(topic.into(), vec![]).await.expect("it runs"));
        }
        let echo = far.subscribe(FORWARDING.into(), vec![]).await;
        let (sender, mut receiver) = echo.expect("it runs").split();

        let (go_on, stop) = async_channel::bounded(1);
        let middle = Middle { book, ends, stop };
        let (tell, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            run(middle);
            tell.send(()).expect("it is waited for");
        });
        receiver.joined().await.expect("it runs");
        let echo = tokio::spawn(answer(sender, receiver));

        let mut figures = [0.0; 6];
        for (topic, figures) in asking.into_iter().zip(figures.chunks_exact_mut(3)) {
            figures.copy_from_slice(&ask(topic, rounds).await);
        }
        // There and back through the middle is forwarding twice; the answer comes out of the middle.
        figures[..3].iter_mut().for_each(|figure| *figure /= 2.0);

        drop(go_on);
        while ended.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        thread.join().expect("it has not panicked");
        echo.abort();
        for (gossip, endpoint) in [(near, near_endpoint), (far, far_endpoint)] {
            gossip.shutdown().await.expect("it runs");
            endpoint.close().await;
        }
        figures
    })
}

/// A node at one end. It has room for one neighbor, so that all goes through the middle.
async fn end(book: &MemoryLookup) -> (Gossip, Endpoint) {
    let endpoint = bind(book, Windows::Tuned).await;
    let runtime = TokioRuntime::from_handle(tokio::runtime::Handle::current());
    let config = HyparviewConfig {
        active_view_capacity: 1,
        ..HyparviewConfig::default()
    };
    let builder = Gossip::builder().accept_incoming(true);
    let built = builder
        .membership_config(config)
        .build(endpoint.clone(), runtime.clone());
    let (gossip, driver) = built.expect("there is a context");
    runtime.spawn_driver(driver).detach();
    (gossip, endpoint)
}

/// p50 and p99 of the time until a message is answered, and the processor time of all, in µs.
async fn ask(mut topic: smol_gossip::api::GossipTopic, rounds: u64) -> [f64; 3] {
    topic.joined().await.expect("it runs");
    let (sender, mut receiver) = topic.split();
    // Both ends know the middle by now; it may not know both.
    let again = Duration::from_millis(100);
    let mut probe = 1 << 32;
    while tokio::time::timeout(again, answered(&sender, &mut receiver, probe))
        .await
        .is_err()
    {
        probe += 2;
    }
    let mut trips = Vec::new();
    let warm = rounds / 10;
    let mut before = kernel::cpu();
    for round in 0..warm + rounds {
        if round == warm {
            before = kernel::cpu();
        }
        let begin = Instant::now();
        answered(&sender, &mut receiver, round * 2).await;
        if round >= warm {
            trips.push(begin.elapsed().as_secs_f64() * 1e6);
        }
    }
    let ran = (kernel::cpu() - before).as_secs_f64() * 1e6 / rounds as f64;
    [quantile(&mut trips, 0.5), quantile(&mut trips, 0.99), ran]
}

/// Says something, and waits for the answer.
async fn answered(sender: &GossipSender, receiver: &mut GossipReceiver, said: u64) {
    sender
        .broadcast(message(said, SIZE))
        .await
        .expect("it runs");
    loop {
        let event = receiver.next().await.expect("it runs").expect("it runs");
        if matches!(event, Event::Received(answer) if number(&answer.content) == said + 1) {
            return;
        }
    }
}

fn on_context_thread(middle: Middle) {
    let runtime = SmolRuntime::start().expect("there is a thread");
    smol::block_on(middle.run(Surroundings {
        context: runtime.context(),
        build: &|builder, endpoint| built(builder.build(endpoint, runtime.clone())),
        spawn: &|driver| runtime.spawn_driver(driver).detach(),
    }));
}

fn on_smol(middle: Middle) {
    let runtime = SmolRuntime::start().expect("there is a thread");
    smol::block_on(middle.run(Surroundings {
        context: runtime.context(),
        build: &|builder, endpoint| built(builder.build(endpoint, runtime.clone())),
        spawn: &|driver| smol::spawn(driver).detach(),
    }));
}

fn on_edge(middle: Middle) {
    let ran = edge::block_on(|edge| async move {
        let runtime = edge.runtime();
        let here = Surroundings {
            context: runtime.context(),
            build: &|builder, endpoint| built(builder.build(endpoint, runtime.clone())),
            spawn: &|driver| edge.spawn(driver).detach(),
        };
        middle.run(here).await;
    });
    ran.expect("not inside of tokio");
}

fn on_tokio(mut tokio: tokio::runtime::Builder, middle: Middle) {
    let tokio = tokio.enable_all().build().expect("there is a thread");
    let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    // As a task, like most of what runs there.
    let here = async move {
        let here = Surroundings {
            context: runtime.context(),
            build: &|builder, endpoint| built(builder.build(endpoint, runtime.clone())),
            spawn: &|driver| runtime.spawn_driver(driver).detach(),
        };
        middle.run(here).await;
    };
    tokio.block_on(here);
}

fn built<E: std::fmt::Debug>(built: Result<(Gossip, Driver), E>) -> (Gossip, Driver) {
    built.expect("there is a context")
}
