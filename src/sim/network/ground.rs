//! What is between the nodes: time, connections, what is under way, and what is counted.

use slab::Slab;

use super::super::{
    Broadcast, Chance, NetworkConfig, NodeId, Time, Traffic,
    broadcast::{Flags, message_of},
    links::Links,
    micros,
    queue::Queue,
};
use crate::proto::{
    Event, Message, PeerData, TimerId, TopicId, clock::At, plumtree::DeliveryScope, state::Outlet,
    topic::Received,
};

/// Nanoseconds in a unit of virtual time.
const NANOS: u64 = 1000;

/// All of a network but the states of its nodes.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) config: NetworkConfig,
    /// The longest jitter.
    pub(super) jitter: Time,
    pub(super) seed: u64,
    pub(super) now: Time,
    pub(super) queue: Queue<Occurrence>,
    /// What is under way about connections.
    pub(super) news: Slab<News>,
    pub(super) places: Vec<Place>,
    /// Which nodes run.
    pub(super) runs: Flags,
    /// Messages under way.
    pub(super) parcels: Slab<Parcel>,
    /// How many of them belong to the broadcast layer.
    pub(super) gossip_under_way: u64,
    pub(super) next_link: u32,
    /// Decides about jitter and loss.
    pub(super) rng: Chance,
    pub(super) traffic: Traffic,
    pub(super) messages: Vec<Broadcast>,
}

/// What is kept of a node besides its state. It outlives a failure.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) links: Links,
    /// The one timer.
    timer: TimerId,
    /// When it is due, and `Time::MAX` while it is not set.
    pub(super) due: Time,
    wakeups: Wakeups,
    /// The side of a split network that it is on.
    pub(super) side: u8,
}

/// When the queue has events for the timer of a node, the latest first and `Time::MAX` where there
/// is none. A timer that is moved to a later time is not taken out of the queue, it just finds nothing
/// to do. Of more events than there is room for, the latest are not remembered.
#[derive(Clone, Copy, Debug)]
struct Wakeups([Time; 3]);

impl Wakeups {
    const NONE: Self = Self([Time::MAX; 3]);

    /// Notes an event before all others, and says whether it was not there.
    fn add(&mut self, at: Time) -> bool {
        let [_, second, earliest] = self.0;
        let adds = at < earliest;
        if adds {
            self.0 = [second, earliest, at];
        }
        adds
    }

    /// An event has happened. Returns whether it was remembered.
    fn take(&mut self, at: Time) -> bool {
        let [latest, second, earliest] = self.0;
        let known = at == earliest;
        if known {
            self.0 = [Time::MAX, latest, second];
        }
        known
    }
}

/// What is going to happen. There are millions, so this is small.
#[derive(Clone, Copy, Debug)]
pub(super) enum Occurrence {
    /// A timer may be due.
    Wakeup(NodeId),
    /// A message arrives: its place among the parcels.
    Parcel(u32),
    /// News of a connection arrives: its place among the news.
    News(u32),
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    /// A dial arrives.
    Dial { from: NodeId, to: NodeId, link: u32 },
    /// A node notices the end of a connection.
    Closed {
        at: NodeId,
        other: NodeId,
        link: u32,
    },
    /// A node notices that a dial has come to nothing.
    Refused {
        at: NodeId,
        other: NodeId,
        link: u32,
    },
}

/// A message under way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) to: NodeId,
    pub(super) received: Received<NodeId>,
}

impl Place {
    fn new() -> Self {
        Self {
            links: Links::default(),
            timer: TimerId {
                slot: 0,
                generation: 0,
            },
            due: Time::MAX,
            wakeups: Wakeups::NONE,
            side: 0,
        }
    }
}

impl Ground {
    pub(super) fn new(config: NetworkConfig, seed: u64, rng: Chance) -> Self {
        Self {
            jitter: micros(config.jitter),
            config,
            seed,
            now: 0,
            queue: Queue::new(),
            news: Slab::new(),
            places: Vec::new(),
            runs: Flags::default(),
            parcels: Slab::new(),
            gossip_under_way: 0,
            next_link: 0,
            rng,
            traffic: Traffic::default(),
            messages: Vec::new(),
        }
    }

    /// Makes room for so many nodes.
    pub(super) fn grow(&mut self, count: usize) {
        self.places.reserve_exact(count);
        let len = self.places.len() + count;
        self.places.resize_with(len, Place::new);
        self.runs.grow(len);
    }

    /// Now, as nodes keep the time.
    pub(super) fn clock(&self) -> At {
        At(self.now * NANOS)
    }

    /// Lets news of a connection arrive at some time.
    pub(super) fn announce(&mut self, at: Time, news: News) {
        let place = self.news.insert(news);
        self.queue.push(at, Occurrence::News(place as u32));
    }

    /// An event for the timer of a node has come. Says which timer is due, if it is.
    pub(super) fn take_due(&mut self, at: NodeId) -> Option<TimerId> {
        let place = &mut self.places[at.index()];
        let known = place.wakeups.take(self.now);
        let due = place.due;
        if !known || due == Time::MAX {
            return None;
        }
        if due > self.now {
            self.schedule_wakeup(at, due);
            return None;
        }
        place.due = Time::MAX;
        Some(place.timer)
    }

    /// Sees to it that there is an event for the timer at `due` or before.
    fn schedule_wakeup(&mut self, at: NodeId, due: Time) {
        if self.places[at.index()].wakeups.add(due) {
            self.queue.push(due, Occurrence::Wakeup(at));
        }
    }
}

/// Carries out what a node wants.
pub(super) struct Exit<'a> {
    pub(super) ground: &'a mut Ground,
    pub(super) node: NodeId,
}

impl Outlet<NodeId> for Exit<'_> {
    fn send(&mut self, to: NodeId, _: TopicId, message: Message<NodeId>) {
        self.ground.send(self.node, to, message);
    }

    fn emit(&mut self, _: TopicId, event: Event<NodeId>) {
        match event {
            Event::Received(event) => {
                let ground = &mut *self.ground;
                if let DeliveryScope::Swarm(round) = event.scope
                    && let Some(message) = message_of(&event.content)
                    && let Some(message) = ground.messages.get_mut(message)
                {
                    let hop = round.hops() + 1;
                    message.deliver(self.node, event.delivered_from, hop, ground.now);
                }
            }
            Event::NeighborUp(_) | Event::NeighborDown(_) => {}
        }
    }

    fn set_timer(&mut self, timer: TimerId, deadline: At) {
        // Rounded up, since a timer must not be early.
        let due = deadline.0.div_ceil(NANOS);
        let place = &mut self.ground.places[self.node.index()];
        (place.timer, place.due) = (timer, due);
        self.ground.schedule_wakeup(self.node, due);
    }

    fn cancel_timer(&mut self, _: TimerId) {
        self.ground.places[self.node.index()].due = Time::MAX;
    }

    fn disconnect(&mut self, peer: NodeId) {
        self.ground.close(self.node, peer);
    }

    fn peer_data(&mut self, _: NodeId, _: PeerData) {}
}
