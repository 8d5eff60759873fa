//! A node on a thread and runtime of its own, so that it can be killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_lite::StreamExt;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey, address_lookup::memory::MemoryLookup,
    endpoint::presets, protocol::Router,
};
use smol_gossip::{
    ALPN, Gossip, TopicId,
    api::{Event, GossipReceiver, GossipSender},
    net::NodeStats,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

/// How many topics there are.
pub(crate) const TOPICS: u8 = 3;

/// What the messages begin with that nodes find each other by in the end.
pub(crate) const ROLL_CALL: u8 = 0xca;

/// Longer than a node takes to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all nodes have heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    messages: AtomicU64,
    /// In which call a node has heard another in a topic.
    calls: Mutex<BTreeSet<(u8, u8, u8, u8)>>,
}

impl Heard {
    pub(crate) fn count(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    fn note(&self, node: u8, topic: u8, content: &[u8]) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        if let [ROLL_CALL, call, from] = *content {
            let mut calls = self.calls.lock().expect("nothing panics in here");
            calls.insert((call, node, topic, from));
        }
    }

    /// Who has not heard whom in a call.
    pub(crate) fn missing(&self, call: u8, nodes: u8) -> Vec<(u8, u8, u8)> {
        let calls = self.calls.lock().expect("nothing panics in here");
        let mut missing = Vec::new();
        for node in 0..nodes {
            for topic in 0..TOPICS {
                for from in (0..nodes).filter(|from| *from != node) {
                    if !calls.contains(&(call, node, topic, from)) {
                        missing.push((node, topic, from));
                    }
                }
            }
        }
        missing
    }
}

enum Order {
    Join(u8, Vec<EndpointId>),
    Leave(u8),
    Broadcast(u8, Bytes),
    Stats(mpsc::Sender<NodeStats>),
    Stop,
    Kill,
}

/// A node that lives.
pub(crate) struct Node {
    orders: UnboundedSender<Order>,
    thread: thread::JoinHandle<()>,
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n + 1; 32])
}

pub(crate) fn id(n: u8) -> EndpointId {
    key(n).public()
}

impl Node {
    pub(crate) fn start(n: u8, book: MemoryLookup, heard: Arc<Heard>) -> Self {
        let (orders, to_do) = unbounded_channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(1)
                .build()
                .expect("there is a runtime");
            let kept = runtime.block_on(live(n, book, heard, to_do));
            // Stopped before the handles are dropped, or one that is killed would say goodbye.
            runtime.shutdown_background();
            drop(kept);
        });
        Self { orders, thread }
    }

    pub(crate) fn join(&self, topic: u8, contacts: Vec<EndpointId>) {
        self.order(Order::Join(topic, contacts));
    }

    pub(crate) fn leave(&self, topic: u8) {
        self.order(Order::Leave(topic));
    }

    pub(crate) fn broadcast(&self, topic: u8, content: Bytes) {
        self.order(Order::Broadcast(topic, content));
    }

    /// What it holds; `None` when it does not answer.
    pub(crate) fn stats(&self) -> Option<NodeStats> {
        let (reply, answer) = mpsc::channel();
        self.order(Order::Stats(reply));
        answer.recv_timeout(PATIENCE).ok()
    }

    /// Says goodbye.
    pub(crate) fn stop(self) {
        self.order(Order::Stop);
        self.thread.join().expect("no node panics");
    }

    /// Ends without a word.
    pub(crate) fn kill(self) {
        self.order(Order::Kill);
        self.thread.join().expect("no node panics");
    }

    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "the node lives");
    }
}

/// What is dropped only once nothing runs any more.
type Kept = (Router, Gossip, BTreeMap<u8, Subscription>);

/// What a topic is left by dropping.
type Subscription = (GossipSender, JoinHandle<()>);

async fn live(
    n: u8,
    book: MemoryLookup,
    heard: Arc<Heard>,
    mut orders: UnboundedReceiver<Order>,
) -> Option<Kept> {
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(key(n))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))
        .expect("loopback is an address")
        .address_lookup(book.clone())
        .transport_config(smol_gossip::net::transport_config())
        .bind()
        .await
        .expect("loopback is there");
    let addr = endpoint
        .bound_sockets()
        .into_iter()
        .fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr);
    book.set_endpoint_info(addr);
    let gossip = Gossip::builder()
        .try_spawn(endpoint.clone())
        .expect("a tokio context");
    let router = Router::builder(endpoint)
        .accept(ALPN, gossip.clone())
        .spawn();
    let mut topics = BTreeMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Join(topic, contacts) => {
                let id = TopicId::from_bytes([topic; 32]);
                let (sender, receiver) = gossip
                    .subscribe(id, contacts)
                    .await
                    .expect("it runs")
                    .split();
                let listening = tokio::spawn(listen(n, topic, receiver, heard.clone()));
                topics.insert(topic, (sender, listening));
            }
            Order::Leave(topic) => {
                if let Some((_, listening)) = topics.remove(&topic) {
                    listening.abort();
                }
            }
            Order::Broadcast(topic, content) => {
                if let Some((sender, _)) = topics.get(&topic) {
                    sender.broadcast(content).await.expect("it runs");
                }
            }
            Order::Stats(reply) => {
                let stats = gossip.node_stats().await.expect("it runs");
                let _ = reply.send(stats);
            }
            Order::Stop => {
                drop(topics);
                router.shutdown().await.expect("nothing panics");
                return None;
            }
            Order::Kill => break,
        }
    }
    Some((router, gossip, topics))
}

async fn listen(n: u8, topic: u8, mut receiver: GossipReceiver, heard: Arc<Heard>) {
    while let Some(Ok(event)) = receiver.next().await {
        if let Event::Received(message) = event {
            heard.note(n, topic, &message.content);
        }
    }
}
