//! Whether everybody gets what they have to get.
//!
//! Who has a message owes it to everyone whom it shares a sound link with: both take each other
//! for neighbors, have an open connection on a sound path, and read. Once that has lasted for
//! [`PATIENCE`], the other side has to have the message. Links that come up later count as well
//! where new neighbors are told of earlier messages; elsewhere only those that were there when the
//! message was published, which is all that is promised then. What is forgiven is what a bound has
//! cost, to the one link that it has cost it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smol_gossip_runtime::Clock;

use super::plan::HISTORY;
use crate::{
    net::tests::world::{Subscription, World, id, ms, secs, topic},
    proto::MessageId,
};

/// How long a link has to be sound for a message to have gone over it. Covers grafts that are
/// asked of others first, and retransmissions.
const PATIENCE: Duration = ms(6000);

/// A message is still in the cache of whoever has it for so long.
const KEPT: Duration = secs(20);

/// A message that was accepted by the publishing node.
struct Published {
    number: u64,
    id: MessageId,
    topic: usize,
    /// The node, and since when it had been running.
    author: (usize, Instant),
    subscription: u64,
    at: Instant,
}

/// A link in a topic, the lower number first.
type Link = (usize, usize, usize);

pub(super) struct Delivery {
    history: bool,
    last_number: u64,
    published: Rc<RefCell<Vec<Published>>>,
    /// Since when each link has been sound, for which subscriptions.
    links: BTreeMap<Link, (Instant, [u64; 2])>,
    /// What each node ever received, in any subscription since it started.
    ever: BTreeSet<(usize, Instant, u64)>,
    /// How often a message was looked for that had to have gone over a link.
    owed: Cell<u64>,
}

impl Delivery {
    pub(super) fn new(history: bool) -> Self {
        Self {
            history,
            last_number: 0,
            published: Rc::default(),
            links: BTreeMap::new(),
            ever: BTreeSet::new(),
            owed: Cell::new(0),
        }
    }

    /// Has a node publish a message, if it takes part in the topic.
    pub(super) fn publish(
        &mut self,
        world: &mut World,
        n: usize,
        topic: usize,
        content: impl FnOnce(u64) -> Bytes,
    ) {
        let Some(subscription) = world.subscription_to(n, topic) else {
            return;
        };
        self.last_number += 1;
        let number = self.last_number;
        let (sender, key) = (subscription.sender.clone(), subscription.key);
        let author = (n, world.nodes[&n].since);
        let (published, clock) = (self.published.clone(), world.clock.clone());
        let content = content(number);
        let id = MessageId::from_content(&content);
        world.spawn(async move {
            // A node that ends may not take it any more.
            if sender.publish(content).await.is_ok() {
                published.borrow_mut().push(Published {
                    number,
                    id,
                    topic,
                    author,
                    subscription: key,
                    at: clock.now(),
                });
            }
        });
    }

    /// All that was owed is forgiven: time was skipped.
    pub(super) fn forget(&mut self) {
        self.links.clear();
        self.published.borrow_mut().clear();
    }

    /// How often a message was looked for that had to have gone over a link. Not at all would prove nothing.
    pub(super) fn owed(&self) -> u64 {
        self.owed.get()
    }

    /// Looks at all links and all messages.
    pub(super) fn sample(&mut self, world: &World) {
        let now = world.now();
        self.note_received(world);
        self.note_links(world);
        let mut published = self.published.borrow_mut();
        published.retain(|one| one.at + KEPT + PATIENCE > now);
        for message in published.iter() {
            for (&(topic, a, b), &(since, keys)) in &self.links {
                if topic == message.topic && (self.history || since <= message.at) {
                    let published = &published[..];
                    self.check_link(world, published, message, (a, b), since, keys);
                    let keys = [keys[1], keys[0]];
                    self.check_link(world, published, message, (b, a), since, keys);
                }
            }
        }
    }

    fn check_link(
        &self,
        world: &World,
        published: &[Published],
        message: &Published,
        (from, to): (usize, usize),
        since: Instant,
        keys: [u64; 2],
    ) {
        let Some(had) = holds_since(world, message, from, keys[0]) else {
            return;
        };
        // What was announced in place of sent is asked for once there is room, and sent then.
        let announced = world.announced.get(&(from, to)).copied();
        let owed = had.max(since).max(announced.unwrap_or(had));
        let in_time = owed < had + KEPT && owed + PATIENCE <= world.now();
        if !in_time {
            return;
        }
        self.owed.set(self.owed.get() + 1);
        if holds_since(world, message, to, keys[1]).is_some() {
            return;
        }
        if !keeps_up(world, to, keys[1]) || came_before(world, message, to, keys[1]) {
            return;
        }
        let life = world.nodes[&to].since;
        if message.author == (to, life) {
            // Its own node does not hear of it, in whichever subscription.
            return;
        }
        if is_excused(world, (from, to), message.topic, &message.id, message.at) {
            return;
        }
        let is_news = since <= message.at;
        if self.ever.contains(&(to, life, message.number))
            || !(is_news || is_history(published, message, since))
        {
            return;
        }
        panic!(
            "node {to} did not get message {} of topic {}, published at {:?}, which node {from} \
             has had since {:?}, over a link that has been sound since {:?}",
            message.number,
            message.topic,
            message.at - world.start,
            had - world.start,
            since - world.start,
        );
    }

    fn note_received(&mut self, world: &World) {
        let now = world.now();
        for (&n, running) in &world.nodes {
            for subscription in &running.subscriptions {
                let received = subscription.received.iter();
                let lately = received.filter(|(_, at)| **at + secs(2) > now);
                self.ever
                    .extend(lately.map(|(number, _)| (n, running.since, *number)));
            }
        }
    }

    fn note_links(&mut self, world: &World) {
        let mut sound = BTreeMap::new();
        for (&a, running) in &world.nodes {
            for of_a in oldest_subscriptions(&running.subscriptions) {
                let topic = of_a.topic;
                for b in world.neighbors(a, topic) {
                    let Some(of_b) = world.nodes.get(&b).and_then(|other| {
                        oldest_subscriptions(&other.subscriptions).find(|one| one.topic == topic)
                    }) else {
                        continue;
                    };
                    let mutual = a < b && world.neighbors(b, topic).contains(&a);
                    if mutual && world.network.is_healthy(id(a), id(b)) {
                        let keys = [of_a.key, of_b.key];
                        let (up_a, up_b) = (last_change(of_a, b), last_change(of_b, a));
                        let known = self.links.get(&(topic, a, b));
                        let known = known.filter(|(_, of)| *of == keys).map(|(since, _)| *since);
                        let since = known.unwrap_or(world.now()).max(up_a).max(up_b);
                        sound.insert((topic, a, b), (since, keys));
                    }
                }
            }
        }
        self.links = sound;
    }
}

/// Whether a bound was met that cost a node a message of another one: there was no room for it in the
/// queue of that peer, or, by the time that it asked, the message was not cached any more.
pub(super) fn is_excused(
    world: &World,
    link: (usize, usize),
    topic_number: usize,
    id: &MessageId,
    published: Instant,
) -> bool {
    let running = &world.nodes[&link.0];
    let dropped = world.dropped.get(&link);
    let state = running.node.state.topic(&topic(topic_number));
    let is_cached = state.is_some_and(|state| state.has_cached(id));
    let evicted = running.metrics.cache_evicted.get() > 0 && !is_cached;
    evicted || dropped.is_some_and(|at| *at >= published)
}

/// One subscription of each topic, the one that has seen the most.
fn oldest_subscriptions(subscriptions: &[Subscription]) -> impl Iterator<Item = &Subscription> {
    let mut topics = BTreeSet::new();
    subscriptions
        .iter()
        .filter(|subscription| !subscription.ended)
        .filter(move |subscription| topics.insert(subscription.topic))
}

fn last_change(subscription: &Subscription, peer: usize) -> Instant {
    let changes = subscription.changes.iter().rev();
    let mut of_peer = changes.filter(|(_, other, _)| *other == peer);
    of_peer.next().map_or(subscription.since, |(at, _, _)| *at)
}

/// Whether an application reads what happens in a subscription, and always did in time. One that did
/// not may have lost messages.
fn keeps_up(world: &World, n: usize, key: u64) -> bool {
    let mut subscriptions = world.nodes[&n].subscriptions.iter();
    let subscription = subscriptions.find(|one| one.key == key);
    subscription.is_some_and(|one| one.reading && one.lagged == 0)
}

/// Whether a node has a message of a time before it had the subscription. It came when the application
/// had other subscriptions, or none that anybody read: one that is given up stays until the node hears
/// of that.
fn came_before(world: &World, message: &Published, n: usize, key: u64) -> bool {
    let running = &world.nodes[&n];
    let subscription = running.subscriptions.iter().find(|one| one.key == key);
    let state = running.node.state.topic(&topic(message.topic));
    subscription.is_some_and(|one| one.since > message.at)
        && state.is_some_and(|state| state.has_seen(&message.id))
}

/// Whether those who come at a time are still told of a message: it is one of the latest of its topic, in
/// whatever order they came.
fn is_history(published: &[Published], message: &Published, came: Instant) -> bool {
    let times = message.at - PATIENCE..=came;
    let among = |one: &&Published| one.topic == message.topic && times.contains(&one.at);
    published.iter().filter(among).count() <= HISTORY
}

/// Since when a node has a message, in one subscription.
fn holds_since(world: &World, message: &Published, n: usize, key: u64) -> Option<Instant> {
    if message.subscription == key {
        return Some(message.at);
    }
    let subscriptions = &world.nodes.get(&n)?.subscriptions;
    let subscription = subscriptions.iter().find(|one| one.key == key)?;
    subscription.received.get(&message.number).copied()
}
