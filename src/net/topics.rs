//! Who listens to what: the subscriptions of each topic, and its neighbors as told to them.

use indexmap::IndexMap;
use iroh::EndpointId;

use crate::{
    api::{
        Event, Message,
        events::{EventSender, Events},
        mailbox::SubscriptionId,
        peer_set::PeerSet,
    },
    proto::{self, GossipEvent, TopicId, hash::Local},
};

/// Room for more events than this is not kept from one pass to the next.
const KEPT_CAPACITY: usize = 256;

/// All topics that anyone here is subscribed to.
#[derive(Default)]
pub(crate) struct Topics {
    topics: IndexMap<TopicId, Topic, Local>,
    subscriptions: IndexMap<SubscriptionId, TopicId, Local>,
    /// Subscriptions that were pushed to, but not woken yet. They may have ended since.
    unwoken: Vec<(TopicId, SubscriptionId)>,
    /// Room for the next pass's events, kept here and not with each of many subscribers.
    spare: Events,
}

#[derive(Default)]
struct Topic {
    neighbors: PeerSet,
    subscriptions: IndexMap<SubscriptionId, Subscriber, Local>,
    /// Messages that subscriptions lost, those that have ended included.
    events_dropped: u64,
}

struct Subscriber {
    events: EventSender,
    /// What has happened in this pass. The subscriber is handed all of it at once, and woken. No more than a pass
    /// handles: a share of each source.
    pending: Events,
    /// Whether it is listed to be woken.
    unwoken: bool,
}

impl Subscriber {
    /// Adds an event. Says whether the subscriber has to be listed to be woken.
    #[inline]
    fn push(&mut self, event: Event, spare: &mut Events) -> bool {
        if self.pending.capacity() == 0 {
            self.pending = std::mem::take(spare);
        }
        self.pending.push_back(event);
        !std::mem::replace(&mut self.unwoken, true)
    }

    /// Hands over what there is, and wakes the subscriber. Returns how many messages were dropped to make room.
    fn hand_over(&mut self, spare: &mut Events) -> u64 {
        self.unwoken = false;
        let dropped = self.events.push_all(&mut self.pending);
        let empty = std::mem::take(&mut self.pending);
        if (spare.capacity()..=KEPT_CAPACITY).contains(&empty.capacity()) {
            *spare = empty;
        }
        dropped
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.hand_over(&mut Events::default());
        }
    }
}

impl Topics {
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    /// How many subscriptions a topic has.
    pub(crate) fn subscriptions(&self, topic: &TopicId) -> usize {
        let topic = self.topics.get(topic);
        topic.map_or(0, |topic| topic.subscriptions.len())
    }

    /// How many messages were lost by subscriptions of a topic that did not keep up.
    pub(crate) fn events_dropped(&self, topic: &TopicId) -> u64 {
        self.topics
            .get(topic)
            .map_or(0, |topic| topic.events_dropped)
    }

    pub(crate) fn contains(&self, topic: &TopicId) -> bool {
        self.topics.contains_key(topic)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.topics.keys().copied()
    }

    /// The topic of a subscription.
    pub(crate) fn topic_of(&self, id: SubscriptionId) -> Option<TopicId> {
        self.subscriptions.get(&id).copied()
    }

    /// The peers that subscribers of the topic know as neighbors.
    pub(crate) fn neighbors(&self, topic: &TopicId) -> impl Iterator<Item = EndpointId> + '_ {
        let topic = self.topics.get(topic);
        topic.into_iter().flat_map(|topic| topic.neighbors.iter())
    }

    /// Adds a subscription, and tells it the neighbors that there are.
    pub(crate) fn subscribe(&mut self, id: SubscriptionId, topic: TopicId, events: EventSender) {
        let entry = self.topics.entry(topic).or_default();
        let mut pending = Events::default();
        for neighbor in entry.neighbors.iter() {
            pending.push_back(Event::NeighborUp(neighbor));
        }
        let subscriber = Subscriber {
            events,
            pending,
            unwoken: true,
        };
        entry.subscriptions.insert(id, subscriber);
        self.subscriptions.insert(id, topic);
        self.unwoken.push((topic, id));
    }

    /// Removes a subscription. Returns its topic if that was the last one, which removes the
    /// topic too.
    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId) -> Option<TopicId> {
        let topic = self.subscriptions.swap_remove(&id)?;
        let entry = self.topics.get_mut(&topic)?;
        entry.subscriptions.shift_remove(&id);
        if entry.subscriptions.is_empty() {
            self.topics.shift_remove(&topic);
            return Some(topic);
        }
        None
    }

    /// Hands an event to all subscribers of a topic, as soon as they are woken by [`Self::wake`].
    pub(crate) fn emit(&mut self, id: &TopicId, event: proto::Event<EndpointId>) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        match event {
            proto::Event::NeighborUp(peer) => {
                topic.neighbors.insert(peer);
            }
            proto::Event::NeighborDown(peer) => {
                topic.neighbors.remove(&peer);
            }
            proto::Event::Received(message) => return self.deliver(id, message),
        }
        let event = Event::from(event);
        for (subscription, subscriber) in &mut topic.subscriptions {
            if subscriber.push(event.clone(), &mut self.spare) {
                self.unwoken.push((*id, *subscription));
            }
        }
    }

    /// The same of a message: it is put together where it will lie, field by field. What is moved as a whole right
    /// after it was written in parts keeps the processor waiting.
    #[inline]
    pub(crate) fn deliver(&mut self, id: &TopicId, message: GossipEvent<EndpointId>) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        let GossipEvent {
            content,
            delivered_from,
            scope,
        } = message;
        let event = |content| {
            Event::Received(Message {
                content,
                scope,
                delivered_from,
            })
        };
        let mut others = topic.subscriptions.iter_mut();
        let last = others.next_back();
        for (subscription, subscriber) in others {
            if subscriber.push(event(content.clone()), &mut self.spare) {
                self.unwoken.push((*id, *subscription));
            }
        }
        if let Some((subscription, subscriber)) = last
            && subscriber.push(event(content), &mut self.spare)
        {
            self.unwoken.push((*id, *subscription));
        }
    }

    /// Hands every subscriber what has happened since the last time, and wakes it. Returns how many messages
    /// were dropped to make room, where subscribers do not keep up.
    pub(crate) fn wake(&mut self) -> u64 {
        let mut dropped = 0;
        for (topic, id) in self.unwoken.drain(..) {
            if let Some(topic) = self.topics.get_mut(&topic)
                && let Some(subscriber) = topic.subscriptions.get_mut(&id)
            {
                let of_this = subscriber.hand_over(&mut self.spare);
                topic.events_dropped += of_this;
                dropped += of_this;
            }
        }
        dropped
    }
}
