//! Nodes, their applications, and the loop that runs them all in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    future::Future,
    hash::{Hash, Hasher},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use smol_gossip_runtime::{Clock, VirtualClock, VirtualRuntime};

use super::check;
use crate::{
    api::{GossipApi, JoinOptions, mailbox::Mailbox},
    metrics::Metrics,
    net::{
        Limits,
        inspect::Request,
        node::{Crowded, Node},
        transport::memory::{MemoryNetwork, MemoryTransport},
    },
    proto::{Config, TopicId},
};

mod ids;
mod made;
mod subscription;
mod woken;

pub(super) use ids::{id, number};
pub(super) use made::Made;
pub(super) use subscription::Subscription;
use woken::{Flag, Woken};

/// Polls of one node without any time passing: enough for whatever can be there to do at once.
const POLLS_AT_ONCE: usize = 2000;

pub(super) type MemoryNode = Node<MemoryTransport, VirtualRuntime>;

pub(super) fn topic(n: usize) -> TopicId {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
    TopicId::from_bytes(bytes)
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A message with a number, so that it can be told apart.
pub(super) fn message(number: u64, size: usize) -> Bytes {
    let mut content = vec![0xa5; size.max(8)];
    content[..8].copy_from_slice(&number.to_le_bytes());
    content.into()
}

/// A future of an application, and whether it was woken.
type Task = (Pin<Box<dyn Future<Output = ()>>>, Arc<Flag>);

/// All nodes, and the time.
pub(super) struct World {
    pub(super) clock: VirtualClock,
    pub(super) network: MemoryNetwork,
    pub(super) start: Instant,
    pub(super) config: Config,
    pub(super) limits: Limits,
    /// Those of nodes that have others.
    pub(super) limits_of: BTreeMap<usize, Limits>,
    /// Of all nodes that ever ran.
    pub(super) all_metrics: Vec<Arc<Metrics>>,
    /// When a node last announced a payload, or dropped something, because the queue of a peer was
    /// too full.
    pub(super) announced: BTreeMap<(usize, usize), Instant>,
    pub(super) dropped: BTreeMap<(usize, usize), Instant>,
    /// When a node last refused a connection.
    pub(super) refused: BTreeMap<usize, Instant>,
    pub(super) nodes: BTreeMap<usize, Running>,
    /// The nodes that ever ran: it takes a while until others notice that one does no more.
    known: BTreeSet<usize>,
    /// Nodes whose machines are suspended.
    asleep: BTreeSet<usize>,
    tasks: BTreeMap<u64, Task>,
    woken: Arc<Woken>,
    last_key: u64,
    rng: StdRng,
    trace: DefaultHasher,
    /// How many polls there were.
    pub(super) polls: u64,
    /// Polls of each since time last passed.
    polls_at_once: BTreeMap<u64, usize>,
    /// Nodes that have ended by themselves.
    pub(super) ended: Vec<usize>,
}

/// A node and its application.
pub(super) struct Running {
    flag: Arc<Flag>,
    pub(super) node: Box<MemoryNode>,
    pub(super) api: GossipApi,
    mailbox: Mailbox,
    requests: async_channel::Sender<Request>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) since: Instant,
    pub(super) polls: u64,
}

impl Running {
    /// Whether the node has more to do, without any time passing.
    pub(super) fn is_woken(&self) -> bool {
        self.flag.is_set()
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        log();
        let clock = VirtualClock::new();
        Self {
            network: MemoryNetwork::new(clock.clone(), seed),
            start: clock.now(),
            clock,
            config: Config::default(),
            limits: Limits::default(),
            limits_of: BTreeMap::new(),
            all_metrics: Vec::new(),
            announced: BTreeMap::new(),
            dropped: BTreeMap::new(),
            refused: BTreeMap::new(),
            nodes: BTreeMap::new(),
            known: BTreeSet::new(),
            asleep: BTreeSet::new(),
            tasks: BTreeMap::new(),
            woken: Arc::default(),
            last_key: 0,
            rng: StdRng::seed_from_u64(seed),
            trace: DefaultHasher::new(),
            polls: 0,
            polls_at_once: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Time since the beginning.
    pub(super) fn time(&self) -> Duration {
        self.now() - self.start
    }

    /// Adds up everything that happened.
    pub(super) fn trace(&self) -> u64 {
        let mut all = self.trace.clone();
        (self.network.trace(), self.polls).hash(&mut all);
        all.finish()
    }

    /// Starts a node, which may have run before.
    pub(super) fn start(&mut self, n: usize) {
        let made = self.make(n, VirtualRuntime::from(self.clock.clone()));
        let running = Running {
            flag: self.new_flag(),
            node: Box::new(made.node),
            api: GossipApi::local(made.mailbox.clone()),
            mailbox: made.mailbox,
            requests: made.requests,
            metrics: made.metrics,
            subscriptions: Vec::new(),
            since: self.now(),
            polls: 0,
        };
        tracing::info!(n, id = %id(n).fmt_short(), "start");
        self.known.insert(n);
        let before = self.nodes.insert(n, running);
        assert!(before.is_none(), "node {n} runs already");
    }

    /// Starts nodes `0..count`.
    pub(super) fn start_all(&mut self, count: usize) {
        (0..count).for_each(|n| self.start(n));
    }

    /// Ends a node without a word to anyone.
    pub(super) fn crash(&mut self, n: usize) {
        self.network.crash(id(n));
        self.nodes.remove(&n);
        self.wake(n);
    }

    /// Suspends the machine of a node: it does nothing, and neither hears nor is heard. To itself,
    /// all the time until it wakes passes at once.
    pub(super) fn sleep(&mut self, n: usize) {
        if self.nodes.contains_key(&n) {
            self.asleep.insert(n);
            self.network.set_asleep(id(n), true);
        }
    }

    /// Wakes the machine of a node.
    pub(super) fn wake(&mut self, n: usize) {
        self.network.set_asleep(id(n), false);
        if self.asleep.remove(&n)
            && let Some(running) = self.nodes.get(&n)
            && running.is_woken()
        {
            self.woken.push(running.flag.key);
        }
    }

    /// Takes part in a topic. Returns a key for [`Self::subscription`].
    pub(super) fn join(&mut self, n: usize, topic_number: usize, bootstrap: &[usize]) -> u64 {
        self.try_join(n, topic_number, bootstrap)
            .expect("the node runs")
    }

    /// Takes part in a topic, unless the node is about to end.
    pub(super) fn try_join(
        &mut self,
        n: usize,
        topic_number: usize,
        bootstrap: &[usize],
    ) -> Option<u64> {
        let capacity = JoinOptions::with_bootstrap([]).subscription_capacity;
        self.try_join_with(n, topic_number, bootstrap, capacity)
    }

    /// Takes part in a topic, with room for so many events that are not read.
    pub(super) fn try_join_with(
        &mut self,
        n: usize,
        topic_number: usize,
        bootstrap: &[usize],
        capacity: usize,
    ) -> Option<u64> {
        for peer in bootstrap {
            self.network.introduce(id(n), id(*peer));
        }
        let through = bootstrap.to_vec();
        let bootstrap = bootstrap.iter().map(|peer| id(*peer)).collect();
        let now = self.now();
        self.last_key += 1;
        let key = self.last_key;
        let running = self.running(n);
        let options = JoinOptions {
            bootstrap,
            subscription_capacity: capacity,
        };
        let subscribe = running
            .api
            .subscribe_with_opts(topic(topic_number), options);
        let subscribed = poll_once(subscribe).expect("there is room for a subscription");
        let (sender, receiver) = subscribed.ok()?.split();
        running.subscriptions.push(Subscription {
            key,
            topic: topic_number,
            sender,
            receiver,
            through,
            since: now,
            received: BTreeMap::new(),
            changes: Vec::new(),
            lagged: 0,
            ended: false,
            reading: true,
        });
        Some(key)
    }

    /// Has the application of a node read what happens in a topic, or not.
    pub(super) fn set_reading(&mut self, n: usize, topic_number: usize, reading: bool) {
        let now = self.now();
        let Some(running) = self.nodes.get_mut(&n) else {
            return;
        };
        let subscriptions = running.subscriptions.iter_mut();
        for subscription in subscriptions.filter(|one| one.topic == topic_number) {
            subscription.reading = reading;
            subscription.read(now, n, &mut self.trace);
        }
    }

    /// Drops all subscriptions to a topic.
    pub(super) fn leave(&mut self, n: usize, topic_number: usize) {
        let subscriptions = &mut self.running(n).subscriptions;
        subscriptions.retain(|subscription| subscription.topic != topic_number);
    }

    /// Publishes a message, waiting in the background where there is no room.
    pub(super) fn broadcast(&mut self, n: usize, topic_number: usize, content: Bytes) -> bool {
        let Some(subscription) = self.subscription_to(n, topic_number) else {
            return false;
        };
        let sender = subscription.sender.clone();
        self.spawn(async move {
            // A node that ends may not take it any more.
            let _ = sender.broadcast(content).await;
        });
        true
    }

    /// Asks a node to shut down, and says when it has answered.
    pub(super) fn shutdown(&mut self, n: usize) -> async_channel::Receiver<()> {
        let (reply, done) = async_channel::bounded(1);
        // Full where many others have asked just now, and then this one is answered by the end.
        let _ = self.running(n).requests.try_send(Request::Shutdown(reply));
        done
    }

    /// Drops the last handle of a node.
    pub(super) fn stop(&mut self, n: usize) {
        self.running(n).mailbox.stop();
    }

    pub(super) fn running(&mut self, n: usize) -> &mut Running {
        self.nodes.get_mut(&n).expect("the node runs")
    }

    pub(super) fn subscription_to(&self, n: usize, topic: usize) -> Option<&Subscription> {
        let subscriptions = self.nodes.get(&n)?.subscriptions.iter();
        let of_topic = subscriptions.filter(|one| one.topic == topic);
        // The first one, but for those that found no room.
        of_topic.min_by_key(|one| one.ended)
    }

    /// When a node received a message, in its present subscription.
    pub(super) fn received(&self, n: usize, topic: usize, number: u64) -> Option<Instant> {
        let subscription = self.subscription_to(n, topic)?;
        subscription.received.get(&number).copied()
    }

    pub(super) fn neighbors(&self, n: usize, topic_number: usize) -> Vec<usize> {
        let Some(running) = self.nodes.get(&n) else {
            return Vec::new();
        };
        let topic = topic(topic_number);
        let neighbors = running.node.state.neighbors(&topic);
        neighbors.map(number).collect()
    }

    /// Runs something beside the nodes.
    pub(super) fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        let flag = self.new_flag();
        self.tasks.insert(flag.key, (Box::pin(future), flag));
    }

    fn new_flag(&mut self) -> Arc<Flag> {
        self.last_key += 1;
        let flag = Arc::new(Flag::new(self.last_key, self.woken.clone()));
        flag.wake_by_ref();
        flag
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.step(end) {}
    }

    /// Lets time pass until something is so, and says after how long. Fails after `limit`.
    pub(super) fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let (begin, end) = (self.now(), self.now() + limit);
        loop {
            self.poll_woken();
            if is_so(self) {
                return self.now() - begin;
            }
            assert!(self.step(end), "not within {limit:?}: {what}");
        }
    }

    /// All time at once, as when a machine wakes up.
    pub(super) fn jump(&mut self, time: Duration) {
        self.poll_woken();
        self.clock.advance(time);
        self.network.deliver();
    }

    /// Polls who was woken, and then lets time pass until the next thing happens. Says whether
    /// that was before `end`.
    fn step(&mut self, end: Instant) -> bool {
        self.poll_woken();
        let next = self.network.next_event().into_iter();
        let next = next.chain(self.clock.next_deadline()).min();
        let more = next.is_some_and(|next| next < end);
        let next = next.map_or(end, |next| next.min(end));
        if next > self.now() {
            self.polls_at_once.clear();
        }
        self.clock.advance_to(next);
        self.network.deliver();
        if !more {
            self.poll_woken();
        }
        more
    }

    fn poll_woken(&mut self) {
        loop {
            let Some(key) = self.woken.pop() else {
                return;
            };
            self.poll(key);
        }
    }

    fn poll(&mut self, key: u64) {
        self.polls += 1;
        let at_once = self.polls_at_once.entry(key).or_default();
        *at_once += 1;
        assert!(
            *at_once < POLLS_AT_ONCE,
            "polled again and again, and no time passes"
        );
        if let Some((task, flag)) = self.tasks.get_mut(&key) {
            flag.clear();
            let waker = Waker::from(flag.clone());
            let ended = task.as_mut().poll(&mut Context::from_waker(&waker));
            if ended.is_ready() {
                self.tasks.remove(&key);
            }
            return;
        }
        let found = self.nodes.iter_mut().find(|(_, node)| node.flag.key == key);
        let Some((&n, running)) = found else {
            return;
        };
        if self.asleep.contains(&n) {
            // It stays woken, and is polled when its machine wakes up.
            return;
        }
        let now = self.clock.now();
        running.flag.clear();
        running.polls += 1;
        let waker = Waker::from(running.flag.clone());
        let span = tracing::info_span!("poll", at = ?now - self.start, n);
        let _span = span.enter();
        let refused = running.metrics.connections_refused.get();
        let ended = running.node.poll_node(&mut Context::from_waker(&waker));
        for (peer, crowded) in running.node.crowded.drain(..) {
            let link = (n, number(&peer));
            match crowded {
                Crowded::Announced => self.announced.insert(link, now),
                Crowded::Dropped => self.dropped.insert(link, now),
            };
        }
        if running.metrics.connections_refused.get() > refused {
            self.refused.insert(n, now);
        }
        for subscription in &mut running.subscriptions {
            subscription.read(now, n, &mut self.trace);
        }
        if ended.is_ready() {
            self.end(n);
        } else {
            let nodes = self.known.len();
            check::bounds(n, self.running(n), nodes);
            let due = self.running(n).node.events.timers().next_deadline();
            let is_woken = self.running(n).is_woken();
            let next = self.clock.next_deadline();
            assert!(
                is_woken || due.is_none_or(|due| next.is_some_and(|next| next <= due)),
                "node {n}: a timer is due before anyone wakes the node"
            );
        }
    }

    /// A node has ended: so do all its handles.
    fn end(&mut self, n: usize) {
        let Some(Running {
            node,
            mut subscriptions,
            mailbox,
            ..
        }) = self.nodes.remove(&n)
        else {
            return;
        };
        drop(node);
        assert!(mailbox.is_closed(), "node {n} has ended");
        let now = self.now();
        for subscription in &mut subscriptions {
            subscription.reading = true;
            subscription.read(now, n, &mut self.trace);
            assert!(subscription.ended, "a receiver of node {n} ends with it");
        }
        self.ended.push(n);
    }
}

/// Writes the log of the nodes where `RUST_LOG` asks for it.
fn log() {
    use tracing_subscriber::EnvFilter;
    static ONCE: std::sync::Once = std::sync::Once::new();
    if std::env::var_os("RUST_LOG").is_some() {
        ONCE.call_once(|| {
            let log = tracing_subscriber::fmt().without_time().with_ansi(false);
            log.with_env_filter(EnvFilter::from_default_env())
                .with_writer(std::io::stderr)
                .init();
        });
    }
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
