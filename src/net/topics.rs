//! Who listens to what: the subscriptions of each topic, and its neighbors as told to them.

use indexmap::IndexMap;
use iroh::EndpointId;

use crate::{
    api::{
        Event,
        events::{EventSender, Pushed},
        mailbox::SubscriptionId,
        peer_set::PeerSet,
    },
    proto::{TopicId, hash::Local},
};

/// All topics that anyone here is subscribed to.
#[derive(Default)]
pub(crate) struct Topics {
    topics: IndexMap<TopicId, Topic, Local>,
    subscriptions: IndexMap<SubscriptionId, TopicId, Local>,
    /// Subscriptions that were pushed to, but not woken yet. They may have ended since.
    unwoken: Vec<(TopicId, SubscriptionId)>,
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
    /// Whether it is listed to be woken.
    unwoken: bool,
}

impl Subscriber {
    /// Queues an event, and counts the messages that made room for it. Says whether the subscriber
    /// has to be listed to be woken.
    fn push(&mut self, event: Event, dropped: &mut u64) -> bool {
        match self.events.push(event) {
            Pushed::Queued => {}
            Pushed::Displaced => *dropped += 1,
            // Its senders alone may keep a subscription going.
            Pushed::Unwanted => return false,
        }
        !std::mem::replace(&mut self.unwoken, true)
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
        for neighbor in entry.neighbors.iter() {
            events.push(Event::NeighborUp(neighbor));
        }
        let subscriber = Subscriber {
            events,
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

    /// Hands an event to all subscribers of a topic. They are woken by [`Self::wake`]. Returns how
    /// many messages were dropped to make room, where subscribers do not keep up.
    pub(crate) fn emit(&mut self, id: &TopicId, event: Event) -> u64 {
        let mut dropped = 0;
        let Some(topic) = self.topics.get_mut(id) else {
            return dropped;
        };
        match &event {
            Event::NeighborUp(peer) => {
                topic.neighbors.insert(*peer);
            }
            Event::NeighborDown(peer) => {
                topic.neighbors.remove(peer);
            }
            Event::Received(_) | Event::Lagged => {}
        }
        let mut others = topic.subscriptions.iter_mut();
        let last = others.next_back();
        for (subscription, subscriber) in others {
            if subscriber.push(event.clone(), &mut dropped) {
                self.unwoken.push((*id, *subscription));
            }
        }
        if let Some((subscription, subscriber)) = last
            && subscriber.push(event, &mut dropped)
        {
            self.unwoken.push((*id, *subscription));
        }
        topic.events_dropped += dropped;
        dropped
    }

    /// Wakes every subscriber that was pushed to since.
    pub(crate) fn wake(&mut self) {
        for (topic, id) in self.unwoken.drain(..) {
            let topic = self.topics.get_mut(&topic);
            if let Some(subscriber) = topic.and_then(|topic| topic.subscriptions.get_mut(&id)) {
                subscriber.unwoken = false;
                subscriber.events.wake();
            }
        }
    }
}
