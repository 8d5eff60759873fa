//! Nodes on loopback, and waiting for what happens to them.
//!
//! Nothing here leaves the machine: endpoints are bound to 127.0.0.1, without a relay, and find
//! each other through a [`MemoryLookup`] that the test fills. Nothing here is decided by time
//! either: [`within`] only makes a test fail that would hang.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Display,
    net::Ipv4Addr,
    pin::Pin,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_lite::{Stream, StreamExt, future};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey,
    address_lookup::memory::MemoryLookup,
    endpoint::{self, QuicTransportConfig, presets},
    protocol::Router,
};
use smol_gossip::{
    Gossip, TopicId,
    api::{ApiError, Event, GossipReceiver, GossipSender, GossipTopic, Message},
    net::{Builder, GOSSIP_ALPN},
};
use tokio::runtime::Handle;
use tracing_subscriber::EnvFilter;

pub mod child;

/// Longer than anything takes that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits `future`, and panics where a healthy run would have been done long ago.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    before(PATIENCE, what, future).await
}

/// Awaits `future`, and panics if it takes longer than `limit`.
///
/// By tokio's timer where there is one: smol's has a thread of its own, and some tests count.
pub async fn before<T>(limit: Duration, what: impl Display, future: impl Future<Output = T>) -> T {
    let done = async { Some(future.await) };
    let elapsed = async {
        match Handle::try_current() {
            Ok(_) => tokio::time::sleep(limit).await,
            Err(_) => drop(smol::Timer::after(limit).await),
        }
        None
    };
    match future::or(done, elapsed).await {
        Some(output) => output,
        None => panic!("not within {limit:?}: {what}"),
    }
}

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

pub fn id(n: u8) -> EndpointId {
    key(n).public()
}

pub fn topic(n: u8) -> TopicId {
    TopicId::from_bytes([n; 32])
}

/// Settings of an endpoint that cannot be reached from outside, and asks `book` for addresses.
///
/// What it and its node do is logged where `RUST_LOG` asks for it.
pub fn endpoint(n: u8, book: &MemoryLookup) -> endpoint::Builder {
    // The second endpoint finds that it is logged already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_ansi(false)
        .with_test_writer()
        .try_init();
    Endpoint::builder(presets::Minimal)
        .secret_key(key(n))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))
        .expect("loopback is an address")
        .address_lookup(book.clone())
        .alpns(vec![GOSSIP_ALPN.to_vec()])
}

/// Binds an endpoint that all who ask `book` can find.
pub async fn bind(n: u8, book: &MemoryLookup) -> Endpoint {
    let endpoint = endpoint(n, book).bind().await.expect("loopback is there");
    announce(&endpoint, book);
    endpoint
}

/// Notes in `book` where an endpoint is, in place of where it was.
pub fn announce(endpoint: &Endpoint, book: &MemoryLookup) {
    let addr = endpoint
        .bound_sockets()
        .into_iter()
        .fold(EndpointAddr::new(endpoint.id()), EndpointAddr::with_ip_addr);
    book.set_endpoint_info(addr);
}

/// QUIC parameters of an endpoint on whose connections a silent peer is missed after two seconds
/// instead of fifteen, whoever made the connection.
pub fn attentive() -> QuicTransportConfig {
    let timeout = Duration::from_secs(2).try_into().expect("in QUIC's range");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(timeout))
        .keep_alive_interval(Duration::from_millis(500))
        .build()
}

/// A node of ours on the tokio runtime of the test, with a router that accepts for it.
pub struct Node {
    pub gossip: Gossip,
    pub router: Router,
}

impl Node {
    /// A node that all who ask `book` can find.
    pub async fn start(n: u8, book: &MemoryLookup) -> Self {
        Self::on(bind(n, book).await, Gossip::builder())
    }

    pub fn on(endpoint: Endpoint, builder: Builder) -> Self {
        let gossip = builder
            .try_spawn(endpoint.clone())
            .expect("a tokio context");
        let router = Router::builder(endpoint)
            .accept(GOSSIP_ALPN, gossip.clone())
            .spawn();
        Self { gossip, router }
    }

    pub fn id(&self) -> EndpointId {
        self.router.endpoint().id()
    }

    pub async fn subscribe(&self, topic: TopicId, bootstrap: &[EndpointId]) -> Topic {
        subscribe(&self.gossip, topic, bootstrap).await
    }

    /// Says goodbye to everyone.
    pub async fn stop(self) {
        within("shutdown", self.router.shutdown())
            .await
            .expect("nothing panicked");
    }
}

/// Something on a tokio runtime of its own that ends as if the process were killed: nothing more
/// is polled or sent, and nobody is told.
pub struct Doomed {
    kill: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Doomed {
    /// Awaits what `start` makes, and keeps it until the end.
    pub fn start<T, F: Future<Output = T>>(start: impl FnOnce() -> F + Send + 'static) -> Self {
        let (kill, killed) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("there is a thread");
            let kept = runtime.block_on(start());
            // Told so, or the test has panicked.
            let _ = killed.recv();
            // Stopped before the handles are dropped, or there would be a goodbye after all.
            runtime.shutdown_timeout(PATIENCE);
            drop(kept);
        });
        Self { kill, thread }
    }

    pub fn kill(self) {
        drop(self.kill);
        self.thread.join().expect("nothing panicked");
    }
}

/// A subscription.
pub struct Topic {
    pub sender: GossipSender,
    pub events: Events,
}

impl Topic {
    pub async fn broadcast(&self, content: impl Into<Bytes>) {
        self.sender.broadcast(content.into()).await.expect("open");
    }
}

impl From<GossipTopic> for Topic {
    fn from(topic: GossipTopic) -> Self {
        let (sender, receiver) = topic.split();
        Self {
            sender,
            events: receiver.into(),
        }
    }
}

pub async fn subscribe(gossip: &Gossip, topic: TopicId, bootstrap: &[EndpointId]) -> Topic {
    let topic = gossip.subscribe(topic, bootstrap.to_vec());
    within("subscribe", topic).await.expect("open").into()
}

/// Two nodes, and topic 1, in which the second has joined the first.
pub async fn pair() -> [(Node, Topic); 2] {
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let second = Node::start(2, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    let mut here = second.subscribe(topic(1), &[id(1)]).await;
    here.events.up(id(1)).await;
    there.events.up(id(2)).await;
    [(first, there), (second, here)]
}

/// Holds that messages pass both ways, once.
pub async fn talk(here: &mut Topic, there: &mut Topic, about: impl Display) {
    let [to, fro] = ["to", "fro"].map(|way| Bytes::from(format!("{way} {about}")));
    here.broadcast(to.clone()).await;
    assert_eq!(there.events.message().await.content, to);
    there.broadcast(fro.clone()).await;
    assert_eq!(here.events.message().await.content, fro);
}

/// Ends both nodes, and holds that nothing came that was not taken.
pub async fn end(nodes: [(Node, Topic); 2]) {
    for (node, topic) in nodes {
        node.stop().await;
        drop(topic.sender);
        topic.events.end().await;
    }
}

/// What happens in a topic, taken in the order of the test's interest: while it waits for a
/// neighbor, messages are set aside, and the other way round neighbors are noted.
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
    neighbors: BTreeSet<EndpointId>,
    messages: VecDeque<Message>,
}

impl Events {
    pub fn new(stream: impl Stream<Item = Event> + Send + 'static) -> Self {
        Self {
            stream: Box::pin(stream),
            neighbors: BTreeSet::new(),
            messages: VecDeque::new(),
        }
    }

    /// The neighbors, as of the events taken.
    pub fn neighbors(&self) -> &BTreeSet<EndpointId> {
        &self.neighbors
    }

    /// Takes an event; `false` at the end.
    async fn take(&mut self) -> bool {
        match self.stream.next().await {
            Some(Event::NeighborUp(peer)) => {
                assert!(self.neighbors.insert(peer), "{peer} is up twice");
            }
            Some(Event::NeighborDown(peer)) => {
                assert!(self.neighbors.remove(&peer), "{peer} is down twice");
            }
            Some(Event::Received(message)) => self.messages.push_back(message),
            Some(Event::Lagged) => panic!("the test does not keep up"),
            None => return false,
        }
        true
    }

    /// Waits until `enough` holds of the neighbors.
    pub async fn neighbors_until(
        &mut self,
        what: &str,
        enough: impl Fn(&BTreeSet<EndpointId>) -> bool,
    ) {
        let taken = async {
            while !enough(&self.neighbors) {
                assert!(self.take().await, "the end before: {what}");
            }
        };
        within(what, taken).await;
    }

    /// Waits until there is a neighbor.
    pub async fn joined(&mut self) {
        let enough = |neighbors: &BTreeSet<_>| !neighbors.is_empty();
        self.neighbors_until("a neighbor", enough).await;
    }

    /// Waits until a peer is a neighbor.
    pub async fn up(&mut self, peer: EndpointId) {
        let what = format!("{} up", peer.fmt_short());
        let enough = |neighbors: &BTreeSet<_>| neighbors.contains(&peer);
        self.neighbors_until(&what, enough).await;
    }

    /// Waits until a peer is no neighbor.
    pub async fn down(&mut self, peer: EndpointId) {
        let what = format!("{} down", peer.fmt_short());
        let enough = |neighbors: &BTreeSet<_>| !neighbors.contains(&peer);
        self.neighbors_until(&what, enough).await;
    }

    /// The next message.
    pub async fn message(&mut self) -> Message {
        let taken = async {
            loop {
                if let Some(message) = self.messages.pop_front() {
                    return message;
                }
                assert!(self.take().await, "the end before a message");
            }
        };
        within("a message", taken).await
    }

    /// Takes as many messages as are expected, in any order, and compares. So none of them may
    /// come twice, unless another one is missing.
    pub async fn receive(&mut self, expected: &BTreeSet<Bytes>) {
        let mut received = BTreeSet::new();
        for _ in expected {
            let content = self.message().await.content;
            assert!(expected.contains(&content), "unexpected: {content:?}");
            assert!(received.insert(content.clone()), "twice: {content:?}");
        }
    }

    /// Reads to the end, which comes when the node has ended, and takes no message on the way.
    pub async fn end(mut self) {
        within("the end", async { while self.take().await {} }).await;
        assert_eq!(self.messages, [], "nothing more than was taken");
    }
}

impl From<GossipReceiver> for Events {
    fn from(receiver: GossipReceiver) -> Self {
        Self::new(receiver.map(|event: Result<_, ApiError>| event.expect("no rpc")))
    }
}

/// Distinct contents.
pub fn contents<T: Display>(of: impl IntoIterator<Item = T>) -> BTreeSet<Bytes> {
    of.into_iter()
        .map(|who| Bytes::from(format!("message of {who}")))
        .collect()
}
