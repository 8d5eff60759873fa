//! The one poll loop: the whole node as a single future.
//!
//! A pass of the loop takes a share of each source in turn: finished tasks and expired timers,
//! frames that were read, what handles ask for, new connections. After every item the protocol's
//! output is worked off to the end. At the end of a pass everything that has gathered for a peer
//! is handed to its streams at once, and subscribers are woken. Passes follow each other while
//! there is progress, up to a budget; then the loop wakes itself and yields.
//!
//! **Invariant:** nothing in here waits. What takes time is a task in the slab, and comes back as
//! a [`Done`].

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use async_channel::Receiver;
use futures_lite::StreamExt;
use indexmap::{IndexMap, IndexSet};
use iroh::EndpointId;
use rand::{SeedableRng, rngs::StdRng};
use smol_gossip_runtime::{EventLoop, Runtime, TimerKey, Wakeup};
use tracing::{Span, debug};

use super::{
    connection::{ConnectionKey, Done, Reader},
    dial::Dials,
    limits::Limits,
    peers::{Link, Peer},
    topics::Topics,
    transport::{BoxFuture, BoxStream, Connection, Transport},
};
use crate::{
    api::mailbox::{Inbox, SubscriptionId},
    metrics::Metrics,
    net::send::Encoder,
    proto::{Command, InEvent, LinkId, Outbox, State, TimerId, TopicId, hash::Keyed},
};

/// Items that one poll handles at the most, give or take a pass, before it yields.
const WORK_PER_POLL: usize = 512;

/// Items of one source in a pass.
pub(crate) const SHARE: usize = 64;

/// The whole node as one future. Spawn it on any executor, or poll it yourself.
///
/// It does nothing until it is polled, and ends after [`Gossip::shutdown`](super::Gossip::shutdown)
/// or when the last [`Gossip`](super::Gossip) is dropped. Dropping it closes all handles and
/// connections at once, without a farewell.
#[must_use = "the node does nothing unless its driver is polled: spawn it"]
pub struct Driver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Driver {
    pub(crate) fn new<T: Transport + Unpin, R: Runtime + Clone + Unpin>(
        node: Node<T, R>,
        runtime: R,
        span: Span,
    ) -> Self {
        Self(Box::pin(InContext {
            node: Some(Box::new(node)),
            runtime,
            span,
        }))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

/// Enters the context that the network needs on every poll, and to drop what lives in it.
struct InContext<T: Transport, R: Runtime> {
    node: Option<Box<Node<T, R>>>,
    runtime: R,
    span: Span,
}

impl<T: Transport + Unpin, R: Runtime + Unpin> Future for InContext<T, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            node,
            runtime,
            span,
        } = &mut *self;
        runtime.enter(|| {
            let _span = span.enter();
            if let Some(running) = node {
                ready!(running.poll_node(cx));
                *node = None;
            }
            Poll::Ready(())
        })
    }
}

impl<T: Transport, R: Runtime> Drop for InContext<T, R> {
    fn drop(&mut self) {
        let node = self.node.take();
        self.runtime.enter(|| drop(node));
    }
}

/// What a node is made with.
pub(crate) struct Parts<T: Transport, R: Runtime> {
    pub(crate) transport: T,
    pub(crate) runtime: R,
    pub(crate) state: State<EndpointId>,
    pub(crate) rng: StdRng,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) inbox: Inbox,
    pub(crate) connections: Receiver<T::Connection>,
    pub(crate) shutdowns: Receiver<async_channel::Sender<()>>,
    /// Whether to accept connections from the endpoint.
    pub(crate) accept: bool,
}

/// A node: everything that it owns.
pub(crate) struct Node<T: Transport, R: Runtime> {
    pub(crate) transport: T,
    pub(crate) events: EventLoop<R, Timer, BoxFuture<Done<T>>>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) max_message_size: usize,
    /// The time of this pass.
    pub(crate) now: Instant,

    pub(crate) state: State<EndpointId>,
    rng: StdRng,
    pub(crate) outbox: Outbox<EndpointId>,
    /// The timers of topics, by their slot.
    topic_timers: Vec<Option<(TimerId, TimerKey)>>,

    pub(crate) topics: Topics,
    pub(crate) inbox: Option<Inbox>,
    /// Subscriptions whose messages wait until a neighbor reads.
    pub(crate) paused: IndexMap<SubscriptionId, TopicId>,
    connections: Pin<Box<Receiver<T::Connection>>>,
    shutdowns: Pin<Box<Receiver<async_channel::Sender<()>>>>,

    pub(crate) peers: IndexMap<EndpointId, Peer<T>, Keyed>,
    pub(crate) links: IndexMap<ConnectionKey, Link<T>>,
    /// Peers to flush at the end of the pass.
    pub(crate) dirty: IndexSet<EndpointId>,
    /// Streams with frames to handle.
    pub(crate) ready: VecDeque<ReadyStream<T>>,
    pub(crate) dials: Dials,
    pub(crate) handshakes: usize,
    pub(crate) accept: Accept,
    pub(crate) encoder: Encoder,
    pub(crate) counted: crate::proto::Counters,
    pub(crate) forget_timer: Option<TimerKey>,
    last_key: u64,
    pub(crate) next_serial: u64,
    stopping: Option<Stopping>,
}

/// A stream with frames that were read but not handled.
pub(crate) type ReadyStream<T> = (
    ConnectionKey,
    TopicId,
    Reader<<<T as Transport>::Connection as Connection>::Recv>,
);

/// The driver's own accept loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// Someone else's business, or the endpoint is closed.
    Off,
    /// Waiting for the next connection.
    Waiting,
    /// Not waiting, because too many handshakes are under way.
    Full,
}

/// A node that is leaving.
struct Stopping {
    replies: Vec<async_channel::Sender<()>>,
    overdue: bool,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    /// The protocol.
    Topic(TimerId),
    /// Streams on the older connections of a peer.
    Retire(EndpointId),
    /// Writes to a peer.
    Stuck(EndpointId),
    /// A connection that no topic needs.
    Idle(EndpointId),
    /// A stream that has not named its topic.
    Header(ConnectionKey),
    /// A dial.
    Dial(EndpointId),
    /// Addresses that were not heard of for long.
    ForgetAddresses,
    /// The farewell.
    Shutdown,
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Puts a node together. Nothing happens before it is polled.
    pub(crate) fn new(parts: Parts<T, R>) -> Self {
        let Parts {
            transport,
            runtime,
            state,
            mut rng,
            limits,
            metrics,
            inbox,
            connections,
            shutdowns,
            accept,
        } = parts;
        let keyed = Keyed::new(&mut rng);
        let mut events = EventLoop::new(runtime);
        let changes = transport.local_data_changes();
        events.spawn(watch_local_data::<T>(changes));
        if accept {
            events.spawn(wait_for_connection(&transport));
        }
        let now = events.now();
        Self {
            max_message_size: state.max_message_size(),
            transport,
            events,
            limits,
            metrics,
            now,
            state,
            rng: StdRng::from_rng(&mut rng),
            outbox: Outbox::new(),
            topic_timers: Vec::new(),
            topics: Topics::default(),
            inbox: Some(inbox),
            paused: IndexMap::new(),
            connections: Box::pin(connections),
            shutdowns: Box::pin(shutdowns),
            peers: IndexMap::with_hasher(keyed),
            links: IndexMap::new(),
            dirty: IndexSet::new(),
            ready: VecDeque::new(),
            dials: Dials::default(),
            handshakes: 0,
            accept: if accept { Accept::Waiting } else { Accept::Off },
            encoder: Encoder::default(),
            counted: Default::default(),
            forget_timer: None,
            last_key: 0,
            next_serial: 0,
            stopping: None,
        }
    }

    /// Runs until there is nothing left to do.
    pub(crate) fn poll_node(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut budget = WORK_PER_POLL;
        self.metrics.actor_tick_main.inc();
        let state = loop {
            self.now = self.events.now();
            let progress = self.poll_tasks_and_timers(cx)
                + self.handle_frames()
                + self.poll_inbox(cx)
                + self.poll_connections(cx)
                + self.poll_shutdowns(cx);
            self.work_off();
            self.flush();
            self.topics.wake();
            if self.is_gone() {
                break Poll::Ready(());
            }
            let resumed = self.resume_orders();
            if progress == 0 && !resumed && self.outbox.is_empty() {
                break Poll::Pending;
            }
            budget = budget.saturating_sub(progress);
            if budget == 0 {
                cx.waker().wake_by_ref();
                break Poll::Pending;
            }
        };
        self.publish_counters();
        if state.is_ready() {
            self.end();
        }
        state
    }

    /// Puts an event into the protocol state. What follows is worked off later.
    pub(crate) fn handle(&mut self, event: InEvent<EndpointId>) {
        self.state
            .handle(event, self.now, &mut self.rng, &mut self.outbox);
    }

    fn poll_tasks_and_timers(&mut self, cx: &mut Context<'_>) -> usize {
        for done in 0..SHARE {
            match self.events.poll_wakeup(cx) {
                Poll::Ready(Wakeup::Task(_, result)) => self.task_done(result),
                Poll::Ready(Wakeup::Timer(timer)) => self.timer_expired(timer),
                Poll::Pending => return done,
            }
            self.work_off();
        }
        SHARE
    }

    fn timer_expired(&mut self, timer: Timer) {
        self.metrics.actor_tick_timers.inc();
        match timer {
            Timer::Topic(id) => {
                if let Some(slot) = self.topic_timers.get_mut(id.slot()) {
                    *slot = None;
                }
                self.handle(InEvent::TimerExpired(id));
            }
            Timer::Retire(peer) => self.retire_expired(peer),
            Timer::Stuck(peer) => self.stuck_expired(peer),
            Timer::Idle(peer) => self.idle_expired(peer),
            Timer::Header(key) => {
                self.metrics.headers_timed_out.inc();
                self.drop_link(key, "a stream did not name its topic");
            }
            Timer::Dial(peer) => self.dial_expired(peer),
            Timer::ForgetAddresses => {
                self.forget_timer = None;
                self.forget_addresses();
            }
            Timer::Shutdown => {
                if let Some(stopping) = &mut self.stopping {
                    stopping.overdue = true;
                }
            }
        }
    }

    /// Sets, moves or clears the timer of a topic.
    pub(crate) fn set_topic_timer(&mut self, id: TimerId, deadline: Option<Instant>) {
        if self.topic_timers.len() <= id.slot() {
            self.topic_timers.resize(id.slot() + 1, None);
        }
        let Some(slot) = self.topic_timers.get_mut(id.slot()) else {
            return;
        };
        match (*slot, deadline) {
            (Some((owner, key)), Some(deadline)) if owner == id => {
                self.events.reschedule(key, deadline);
            }
            (old, deadline) => {
                if let Some((_, key)) = old {
                    self.events.cancel_timer(key);
                }
                *slot =
                    deadline.map(|deadline| (id, self.events.schedule(deadline, Timer::Topic(id))));
            }
        }
    }

    fn poll_connections(&mut self, cx: &mut Context<'_>) -> usize {
        for done in 0..SHARE {
            match self.connections.poll_next(cx) {
                Poll::Ready(Some(connection)) => self.accepted(connection),
                Poll::Ready(None) | Poll::Pending => return done,
            }
            self.work_off();
        }
        SHARE
    }

    /// Takes a connection that was made to us.
    pub(crate) fn accepted(&mut self, connection: T::Connection) {
        self.metrics.actor_tick_endpoint.inc();
        if self.is_stopping() {
            connection.close("leaving");
        } else {
            self.link_up(connection);
        }
    }

    fn poll_shutdowns(&mut self, cx: &mut Context<'_>) -> usize {
        let Poll::Ready(Some(reply)) = self.shutdowns.poll_next(cx) else {
            return 0;
        };
        self.stop();
        if let Some(stopping) = &mut self.stopping {
            stopping.replies.push(reply);
        }
        1
    }

    /// Leaves all topics, and ends once that has reached the peers, or took too long.
    pub(crate) fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        debug!("leaving all topics");
        let deadline = self.now + self.limits.shutdown_timeout;
        self.events.schedule(deadline, Timer::Shutdown);
        for topic in self.topics.iter().collect::<Vec<_>>() {
            self.handle(InEvent::Command(topic, Command::Quit));
        }
        self.work_off();
        self.stopping = Some(Stopping {
            replies: Vec::new(),
            overdue: false,
        });
        self.topics = Topics::default();
        self.inbox = None;
        self.accept = Accept::Off;
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for id in peers {
            let connected = self
                .peers
                .get(&id)
                .is_some_and(|peer| !peer.connections.is_empty());
            if connected {
                self.dirty.insert(id);
            } else {
                self.cancel_dial(id);
                self.peers.swap_remove(&id);
            }
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether the farewell is over.
    fn is_gone(&self) -> bool {
        self.stopping
            .as_ref()
            .is_some_and(|stopping| stopping.overdue || self.links.is_empty())
    }

    /// Closes what is left, and answers those who wait for that.
    fn end(&mut self) {
        for link in self.links.values() {
            link.connection.close("leaving");
        }
        for reply in self.stopping.iter().flat_map(|stopping| &stopping.replies) {
            // Whoever asked may not wait any more.
            let _ = reply.try_send(());
        }
        debug!("stopped");
    }

    pub(crate) fn next_connection_key(&mut self) -> ConnectionKey {
        self.last_key += 1;
        LinkId(self.last_key)
    }

    /// Adds what the protocol state has counted since the last time to the metrics.
    fn publish_counters(&mut self) {
        let counters = self.state.counters();
        if *counters != self.counted {
            self.metrics.add_protocol(&self.counted, counters);
            self.counted.clone_from(counters);
        }
    }
}

/// Waits for the next change of our own addresses.
pub(crate) fn watch_local_data<T: Transport>(
    mut changes: BoxStream<crate::proto::PeerData>,
) -> BoxFuture<Done<T>> {
    Box::pin(async move {
        let data = changes.next().await;
        Done::LocalData(changes, data)
    })
}

/// Waits for the next connection to us.
pub(crate) fn wait_for_connection<T: Transport>(transport: &T) -> BoxFuture<Done<T>> {
    let accept = transport.accept();
    Box::pin(async move { Done::Incoming(accept.await) })
}
