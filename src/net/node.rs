//! The node: everything that it owns.
//!
//! What it does is in the modules around: `driver` polls it, `receive` and `orders` feed the
//! protocol, `send` works off what the protocol says, and `links`, `streams` and `dial` look after
//! the connections.

use std::{pin::Pin, sync::Arc, time::Instant};

use async_channel::Receiver;
use futures_lite::StreamExt;
use indexmap::{IndexMap, IndexSet};
use iroh::EndpointId;
use rand::{SeedableRng, rngs::StdRng};
use smol_gossip_runtime::{EventLoop, Runtime, TimerKey};

use super::{
    burden::Burdens,
    connection::{ConnectionKey, Done, Reader},
    encoder::Encoder,
    frames::Frames,
    handshakes::Handshakes,
    inspect::{DownReason, Request, Watchers},
    limits::Limits,
    news::Decoded,
    peer::{Dials, Link, Peer},
    ready::Ready,
    topics::Topics,
    transport::{BoxFuture, BoxStream, Connection, Transport},
};
use crate::{
    api::mailbox::{Inbox, SubscriptionId},
    metrics::{Metrics, Traffic},
    proto::{Counters, InEvent, LinkId, Outbox, PeerData, State, TimerId, TopicId, hash::Keyed},
};

/// Items of one source that a pass of the loop takes.
pub(crate) const SHARE: usize = 64;

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
    pub(crate) requests: Receiver<Request>,
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
    pub(crate) rng: StdRng,
    pub(crate) outbox: Outbox<EndpointId>,
    /// Frames that are about to be handled. Empty between two streams; kept for its memory.
    pub(crate) frames: Vec<Frames>,
    /// The messages of these frames, with the lengths of the frames. Kept for its memory, too.
    pub(crate) messages: Vec<Decoded>,
    /// The timers of topics, by their slot.
    pub(crate) topic_timers: Vec<Option<TopicTimer>>,
    /// Timers of topics that have expired in this pass.
    pub(crate) expired: Vec<TimerId>,

    pub(crate) topics: Topics,
    pub(crate) inbox: Option<Inbox>,
    /// The topic of the latest order in this pass, where its neighbors read as fast as need be, and how many
    /// bytes there may be until that is looked into again.
    pub(crate) at_ease: Option<(TopicId, usize)>,
    /// Subscriptions whose messages wait until a neighbor reads.
    pub(crate) paused: IndexMap<SubscriptionId, TopicId>,
    pub(crate) connections: Pin<Box<Receiver<T::Connection>>>,
    pub(crate) requests: Pin<Box<Receiver<Request>>>,
    pub(crate) watchers: Watchers,
    /// Who says, with the message that is being handled, that it is a neighbor no more.
    pub(crate) parting: Option<(EndpointId, TopicId, DownReason)>,
    /// How many messages of ours had their ids worked out.
    #[cfg(test)]
    pub(crate) identified: usize,
    /// Whose message is handled.
    pub(crate) speaker: Option<EndpointId>,

    pub(crate) peers: IndexMap<EndpointId, Peer<T>, Keyed>,
    pub(crate) links: IndexMap<ConnectionKey, Link<T>>,
    /// Peers to flush at the end of the pass.
    pub(crate) dirty: IndexSet<EndpointId>,
    /// Streams with frames to handle.
    pub(crate) ready: Ready<ReadyStream<T>>,
    /// What peers have burdened us with, and who is held for it.
    pub(crate) burdens: Burdens,
    /// Units that the peer whose frames are being handled is to be charged, and to be credited.
    pub(crate) toll: (u32, u32),
    /// Neighbors that came up, ever.
    pub(crate) ups: u64,
    pub(crate) dials: Dials,
    pub(crate) handshakes: Handshakes,
    pub(crate) accept: Accept,
    pub(crate) encoder: Encoder,
    pub(crate) counted: Counters,
    /// What was counted in this poll.
    pub(crate) traffic: Traffic,
    pub(crate) forget_timer: Option<TimerKey>,
    pub(crate) last_key: u64,
    pub(crate) next_serial: u64,
    pub(crate) stopping: Option<Stopping>,
    /// Whose queues were so full that a payload was announced, or something dropped, since somebody
    /// looked.
    #[cfg(test)]
    pub(crate) crowded: Vec<(EndpointId, Crowded)>,
}

/// What became of a message because the queue of its peer was too full.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// A payload was announced in place of sent.
    Announced,
    /// It was dropped.
    Dropped,
}

/// The timer of a topic, as it is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicTimer {
    pub(crate) id: TimerId,
    pub(crate) key: TimerKey,
    pub(crate) deadline: Instant,
    /// Whether it has expired, and was put off.
    pub(crate) put_off: bool,
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

/// A node that stops.
pub(crate) struct Stopping {
    pub(crate) replies: Vec<async_channel::Sender<()>>,
    /// Whether it has left its topics. Until then it carries out what was ordered before.
    pub(crate) has_left: bool,
    /// When it ends, whatever is left to do.
    pub(crate) deadline: Instant,
    /// Set until it has left its topics: when it does so at the latest.
    pub(crate) patience: Option<TimerKey>,
    pub(crate) overdue: bool,
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
    /// A peer that is held.
    Held(EndpointId),
    /// A dial.
    Dial(EndpointId),
    /// The oldest handshake of a connection that is made to us.
    Handshake,
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
            requests,
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
        let burden_per_second = limits.burden_per_second;
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
            frames: Vec::new(),
            messages: Vec::new(),
            topic_timers: Vec::new(),
            expired: Vec::new(),
            topics: Topics::default(),
            inbox: Some(inbox),
            at_ease: None,
            paused: IndexMap::new(),
            connections: Box::pin(connections),
            requests: Box::pin(requests),
            watchers: Watchers::default(),
            parting: None,
            #[cfg(test)]
            identified: 0,
            speaker: None,
            peers: IndexMap::with_hasher(keyed),
            links: IndexMap::new(),
            dirty: IndexSet::new(),
            ready: Ready::new(),
            burdens: Burdens::new(burden_per_second, keyed),
            toll: (0, 0),
            ups: 0,
            dials: Dials::default(),
            handshakes: Handshakes::default(),
            accept: if accept { Accept::Waiting } else { Accept::Off },
            encoder: Encoder::default(),
            counted: Default::default(),
            traffic: Traffic::default(),
            forget_timer: None,
            last_key: 0,
            next_serial: 0,
            stopping: None,
            #[cfg(test)]
            crowded: Vec::new(),
        }
    }

    /// Puts an event into the protocol state. What follows is worked off later.
    pub(crate) fn handle(&mut self, event: InEvent<EndpointId>) {
        self.state
            .handle(event, self.now, &mut self.rng, &mut self.outbox);
    }

    /// Sets, moves or clears the timer of a topic.
    pub(crate) fn set_topic_timer(&mut self, id: TimerId, deadline: Option<Instant>) {
        if self.topic_timers.len() <= id.slot() {
            self.topic_timers.resize(id.slot() + 1, None);
        }
        let Some(slot) = self.topic_timers.get_mut(id.slot()) else {
            return;
        };
        let set = match (*slot, deadline) {
            (Some(old), Some(deadline)) if old.id == id => {
                self.events.reschedule(old.key, deadline);
                Some((old.key, deadline))
            }
            (old, deadline) => {
                if let Some(old) = old {
                    self.events.cancel_timer(old.key);
                }
                deadline.map(|at| (self.events.schedule(at, Timer::Topic(id)), at))
            }
        };
        *slot = set.map(|(key, deadline)| TopicTimer {
            id,
            key,
            deadline,
            put_off: false,
        });
    }

    /// Whether the node has left its topics, and waits for that to reach its peers.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
            .as_ref()
            .is_some_and(|stopping| stopping.has_left)
    }

    pub(crate) fn next_connection_key(&mut self) -> ConnectionKey {
        self.last_key += 1;
        LinkId(self.last_key)
    }
}

/// Waits for the next change of our own addresses.
pub(crate) fn watch_local_data<T: Transport>(
    mut changes: BoxStream<PeerData>,
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
