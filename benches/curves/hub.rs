//! A node with many neighbors, on a thread of its own.
//!
//! The neighbors are bare connections on another thread: they join, read, and say nothing, so that
//! nothing but the number of neighbors grows, and so that both contestants have the same ones. What
//! counts is the processor time of the node's thread: the node, its iroh endpoint, and the
//! application that publishes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use iroh::{Endpoint, EndpointId, address_lookup::memory::MemoryLookup, endpoint::SendStream};
use smol_gossip::proto::{
    Message, hyparview,
    wire::{self, StreamHeader},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::support::{
    kernel,
    machine::{Id, MAX, TOPIC},
    node::{Node, Settings, Windows, bind, message, on_one_thread},
    raw::Reader,
};

/// Messages that are published together, once all neighbors have those before. Were each to follow
/// as soon as there is room, they would go out in larger batches to few neighbors than to many.
const ROUND: u64 = 64;

/// The size of a message, in bytes.
const SIZE: usize = 64;

/// Messages before the measurement.
const WARM_UP: u64 = 4 * ROUND;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the body of a payload begins: a broadcast message, and the first kind of these.
const PAYLOAD: [u8; 2] = [1, 0];

/// What has come to the neighbors.
struct Flow {
    neighbors: u64,
    delivered: AtomicU64,
    permits: Semaphore,
}

impl Flow {
    fn arrived(&self, count: u64) {
        let before = self.delivered.fetch_add(count, Relaxed);
        let round = ROUND * self.neighbors;
        let complete = (before + count) / round - before / round;
        self.permits.add_permits((complete * ROUND) as usize);
    }

    fn deliveries(&self) -> u64 {
        self.delivered.load(Relaxed)
    }
}

/// Microseconds of processor time for a message, or what went wrong.
pub(crate) fn run<N: Node>(neighbors: usize, time: Duration) -> Result<f64, String> {
    let flow = Arc::new(Flow {
        neighbors: neighbors as u64,
        delivered: AtomicU64::new(0),
        permits: Semaphore::new(0),
    });
    on_one_thread(async {
        let lookup = MemoryLookup::new();
        let settings = Settings {
            active_view: neighbors,
            ..Settings::default()
        };
        let hub = N::start_with(bind(&lookup, Windows::Tuned).await, settings);
        // The node is in the topic before anybody joins through it.
        let (sender, _receiver) = hub.subscribe(TOPIC, vec![]).await;
        let (stop, stopped) = oneshot::channel();
        let (id, counting) = (hub.id(), flow.clone());
        let others = thread::spawn(move || on_one_thread(surround(lookup, id, counting, stopped)));
        let figure = cost::<N>(&sender, &flow, time).await;
        hub.stop().await;
        let _gone = stop.send(());
        others.join().expect("no panic");
        figure
    })
}

async fn cost<N: Node>(
    sender: &N::Sender,
    flow: &Arc<Flow>,
    time: Duration,
) -> Result<f64, String> {
    // Complete is a message that comes to all; the earlier ones come to those who are there.
    let begin = Instant::now();
    let mut number = 0;
    loop {
        let before = flow.deliveries();
        N::broadcast(sender, message(number, SIZE)).await;
        number += 1;
        sleep(Duration::from_millis(50)).await;
        match flow.deliveries() - before {
            all if all == flow.neighbors => break,
            some if begin.elapsed() > PATIENCE => {
                return Err(format!("{some} of {} are reached", flow.neighbors));
            }
            _ => {}
        }
    }
    // Nothing is under way now, and rounds are counted from here.
    flow.delivered.store(0, Relaxed);
    while let Ok(permit) = flow.permits.try_acquire() {
        permit.forget();
    }
    flow.permits.add_permits(ROUND as usize);
    let stop = Arc::new(AtomicBool::new(false));
    let (publishing, stopping, sender) = (flow.clone(), stop.clone(), sender.clone());
    let publisher = tokio::spawn(async move {
        let mut published = 0;
        while !stopping.load(Relaxed) {
            let round = publishing.permits.acquire_many(ROUND as u32).await;
            round.expect("never closed").forget();
            for _ in 0..ROUND {
                N::broadcast(&sender, message(number + published, SIZE)).await;
                published += 1;
            }
        }
        published
    });
    let warm = async {
        while flow.deliveries() < WARM_UP * flow.neighbors {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(PATIENCE, warm).await.is_err() {
        publisher.abort();
        return Err("nothing arrives any more".into());
    }
    let (from, cpu) = (flow.deliveries(), kernel::cpu_of_this_thread());
    sleep(time).await;
    let deliveries = flow.deliveries() - from;
    let cpu = kernel::cpu_of_this_thread() - cpu;
    stop.store(true, Relaxed);
    let rest = async {
        let published = publisher.await.expect("no panic");
        while flow.deliveries() < published * flow.neighbors {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(PATIENCE, rest).await.is_err() {
        return Err("deliveries are missing".into());
    }
    let messages = deliveries as f64 / flow.neighbors as f64;
    Ok(cpu.as_secs_f64() * 1e6 / messages)
}

/// Joins through the hub as many times as it has room for, until `stopped`.
async fn surround(
    lookup: MemoryLookup,
    hub: EndpointId,
    flow: Arc<Flow>,
    stopped: oneshot::Receiver<()>,
) {
    let mut neighbors = Vec::new();
    for _ in 0..flow.neighbors {
        neighbors.push(neighbor(&lookup, hub, flow.clone()).await);
    }
    // An error says the same.
    let _stopped = stopped.await;
    futures_util::future::join_all(neighbors.iter().map(|(endpoint, _)| endpoint.close())).await;
}

/// Joins, and counts the payloads that come.
async fn neighbor(
    lookup: &MemoryLookup,
    hub: EndpointId,
    flow: Arc<Flow>,
) -> (Endpoint, SendStream) {
    let endpoint = bind(lookup, Windows::Tuned).await;
    let connection = endpoint.connect(hub, smol_gossip::ALPN).await;
    let connection = connection.expect("the hub accepts");
    let mut stream = connection.open_uni().await.expect("room for a stream");
    let topic_id = TOPIC.into();
    let join: Message<Id> = Message::Swarm(hyparview::Message::Join(None));
    let join = wire::encode(&join, MAX).expect("it fits");
    for frame in [StreamHeader { topic_id }.encode(), join] {
        stream.write_chunk(frame).await.expect("the hub reads");
    }
    tokio::spawn(async move {
        while let Ok(stream) = connection.accept_uni().await {
            let mut reader = Reader::new(stream, false);
            let flow = flow.clone();
            tokio::spawn(async move {
                loop {
                    let mut count = 0;
                    let open = reader.read(|frame| count += u64::from(frame.starts_with(&PAYLOAD)));
                    if !open.await {
                        break;
                    }
                    if count > 0 {
                        flow.arrived(count);
                    }
                }
            });
        }
    });
    (endpoint, stream)
}
