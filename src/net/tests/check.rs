//! What has to hold of a node, always and when all is quiet.

use std::collections::BTreeSet;

use iroh::EndpointId;

use super::world::{Running, World, number, secs, topic};
use crate::{
    net::{
        builder::REQUEST_QUEUE,
        burden,
        peer::{Dial, OutStream},
        queue::BATCH_BYTES,
        streams::MAX_OPEN_STREAMS,
    },
    proto::TopicId,
};

/// What has to hold of a node after every poll.
pub(super) fn bounds(n: usize, running: &mut Running, nodes: usize) {
    let is_woken = running.is_woken();
    let node = &mut running.node;
    let config = node.state.config();
    let protocol = &node.limits.protocol;
    for name in node.state.topics() {
        let Some(state) = node.state.topic(name) else {
            panic!("node {n}: a topic that is listed is there");
        };
        // They are few, and this is done after every poll.
        let active: Vec<_> = state.active_view().map(EndpointId::as_bytes).collect();
        let tree = state.eager().chain(state.lazy());
        let tree: Vec<_> = tree.map(EndpointId::as_bytes).collect();
        for (place, id) in tree.iter().enumerate() {
            let twice = tree[..place].contains(id);
            assert!(!twice, "node {n}: nobody is in the tree twice");
            assert!(active.contains(id), "node {n}: the tree is of neighbors");
        }
        assert!(active.len() <= config.membership.active_view_capacity);
        assert!(state.passive_view().count() <= config.membership.passive_view_capacity);
        assert!(state.cache_bytes() <= protocol.cache_bytes);
        assert!(state.seen_ids() <= protocol.seen_ids);
        assert!(state.missing_ids() <= protocol.missing_ids);
        state.check_bounds();
    }

    let own = running.subscriptions.len();
    let ended = running.subscriptions.iter().filter(|one| one.ended);
    assert!(
        ended.count() as u64 <= running.metrics.topics_refused.get() || node.is_stopping(),
        "node {n}: a subscription ends only where there are too many topics"
    );
    for subscription in &running.subscriptions {
        subscription.check_bounds(nodes + 64);
    }
    if let Some(inbox) = &node.inbox {
        inbox.check_bounds(own, node.paused.keys());
    }
    node.transport.book.check_bounds();

    let limits = &node.limits;
    let (mut links, mut streams, mut readers, mut dials) = (0, 0, 0, 0);
    let mut idle_peers = 0;
    assert!(node.peers.len() <= nodes + 64, "node {n}: peers");
    for (peer, entry) in &node.peers {
        let name = peer.fmt_short();
        assert!(
            entry.connections.len() <= limits.connections_per_peer,
            "node {n}: connections of {name}"
        );
        assert!(
            entry.queue.bytes() <= limits.send_queue_bytes + 2 * config.max_message_size,
            "node {n}: queue of {name}"
        );
        assert!(entry.streams.len() <= MAX_OPEN_STREAMS, "node {n}: streams");
        let writing: usize = entry.streams.values().map(OutStream::writing).sum();
        assert_eq!(writing, entry.writing, "node {n}: bytes in writes");
        assert!(
            writing <= limits.send_queue_bytes + BATCH_BYTES + config.max_message_size,
            "node {n}: bytes in writes to {name}"
        );
        // What came over its last connection may take a few polls to be read.
        let draining = entry.is_draining() && is_woken;
        let idle = entry.connections.is_empty() && entry.dial == Dial::None && !draining;
        assert!(!idle, "node {n}: {name} is neither connected nor dialed");
        assert!(
            !entry.wanted || node.state.is_needed(peer),
            "node {n}: {name} is wanted, and no topic needs it"
        );
        idle_peers += usize::from(!entry.wanted && !entry.connections.is_empty());
        streams += entry.streams.len();
        dials += usize::from(matches!(entry.dial, Dial::Active(..)));
    }
    for topic in node.topics.iter() {
        for neighbor in node.topics.neighbors(&topic) {
            let is_known = node.peers.contains_key(&neighbor);
            assert!(
                is_known,
                "node {n}: nothing would tell that a neighbor is lost"
            );
        }
    }
    for link in node.links.values() {
        links += 1;
        let of_link: usize = link.readers.values().map(|more| 1 + more.len()).sum();
        // Those that the peer has finished but that were not handled yet come on top.
        let allowed = limits.streams_per_connection as usize;
        let bound = allowed + allowed.max(8);
        assert!(of_link <= bound, "node {n}: {of_link} streams of a peer");
        readers += of_link;
    }
    assert!(dials <= limits.dials, "node {n}: dials");
    assert_eq!(node.dials.active, dials, "node {n}: dials are counted");
    assert!(node.dials.waiting.len() <= limits.waiting_dials);
    assert!(
        node.handshakes.len() <= limits.handshakes,
        "node {n}: handshakes"
    );
    // Those that were needed until just now are closed one after the other.
    assert!(idle_peers <= limits.idle_peers + nodes, "node {n}: idle");
    let is_flushed = node.dirty.is_empty() || is_woken;
    assert!(is_flushed, "node {n}: all is handed on");
    assert!(
        node.burdens.len() <= burden::ACCOUNTS,
        "node {n}: burden accounts"
    );
    let (held, ready) = (node.ready.held(), node.ready.peers());
    assert_eq!(held, node.burdens.held(), "node {n}: those held");
    assert!(held + ready <= nodes + 64, "node {n}: peers in line");
    assert!(node.requests.len() <= REQUEST_QUEUE, "node {n}: requests");
    if !is_woken {
        // It would have to be woken for what it left.
        assert_eq!(ready, 0, "node {n}: all frames are handled");
        assert!(node.outbox.is_empty(), "node {n}: all is worked off");
        assert!(node.requests.is_empty(), "node {n}: requests left");
    }
    let topics = node.state.topics().len();
    assert!(topics <= limits.topics, "node {n}: topics");
    let armed: Vec<_> = node.topic_timers.iter().flatten().collect();
    assert!(
        armed.iter().all(|timer| node.state.owns_timer(timer.id)),
        "node {n}: a timer of a topic that is gone"
    );
    assert!(armed.len() <= topics, "node {n}: one timer a topic");
    let peers = node.peers.len();
    // Streams that were given up are still being finished, some of them on each connection.
    let finishing = 16 + 4 * links;
    let tasks = 2 + node.handshakes.len() + dials + 3 * links + 2 * streams + readers + finishing;
    // Those of a connection that was closed just now end in the next polls.
    assert!(
        node.events.task_count() <= tasks || is_woken,
        "node {n}: {} tasks with {links} links, {streams} streams, {readers} readers",
        node.events.task_count()
    );
    let timers = topics + 3 * peers + dials + links + node.burdens.held() + 3;
    let scheduled = node.events.timers().len();
    assert!(scheduled <= timers, "node {n}: {scheduled} timers");
}

/// What has to hold when nothing is wrong any more and nothing has happened for a while.
pub(super) fn quiet(world: &World) {
    let one_sided = one_sided(world);
    assert!(
        one_sided.is_empty(),
        "neighbors that do not know it: {one_sided:?}"
    );
    let unwritten = unwritten(world);
    assert!(unwritten.is_empty(), "not all is written: {unwritten:?}");
    settled(world);
}

/// The same where neighbors still change places, as they do in large swarms: of those who do so at this very
/// moment one side hears first, and a Shuffle may be about to be written; but not for long.
pub(super) fn mostly_quiet(world: &mut World) {
    let before = (one_sided(world), unwritten(world));
    world.run_for(secs(3));
    let stayed: Vec<_> = before.0.intersection(&one_sided(world)).copied().collect();
    assert!(
        stayed.is_empty(),
        "neighbors that do not know it: {stayed:?}"
    );
    let stayed: Vec<_> = before.1.intersection(&unwritten(world)).copied().collect();
    assert!(stayed.is_empty(), "not all is written: {stayed:?}");
    settled(world);
}

/// Who takes whom for a neighbor in which topic, without being taken for one.
pub(super) fn one_sided(world: &World) -> BTreeSet<(usize, usize, TopicId)> {
    let takes = |n: usize, other: usize, name: &TopicId| {
        let running = world.nodes.get(&n);
        running.is_some_and(|running| {
            let mut neighbors = running.node.state.neighbors(name);
            neighbors.any(|peer| number(peer) == other)
        })
    };
    let mut found = BTreeSet::new();
    for (&n, running) in &world.nodes {
        for name in running.node.state.topics() {
            let neighbors = running.node.state.neighbors(name).map(number);
            let unaware = neighbors.filter(|other| !takes(*other, n, name));
            found.extend(unaware.map(|other| (n, other, *name)));
        }
    }
    found
}

/// Who has something for whom that is not written, in spite of a connection.
pub(super) fn unwritten(world: &World) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    for (&n, running) in &world.nodes {
        for (peer, entry) in &running.node.peers {
            if !entry.queue.is_empty() && !entry.connections.is_empty() {
                found.insert((n, number(peer)));
            }
        }
    }
    found
}

/// No connection is without use, and subscribers know who the neighbors are.
fn settled(world: &World) {
    for (&n, running) in &world.nodes {
        // And a while for the other side to hear of it.
        let spare_for = running.node.limits.idle_timeout + secs(1);
        for (peer, entry) in &running.node.peers {
            let other = number(peer);
            // Both may have dialed, and each may send on the one that the other did not choose.
            for key in &entry.connections {
                let link = &running.node.links[key];
                let ours = entry
                    .streams
                    .values()
                    .any(|stream| stream.key.connection == *key);
                let used = ours || !link.readers.is_empty();
                let silent = world.now().saturating_duration_since(link.used);
                assert!(
                    entry.connections.len() == 1 || used || silent <= spare_for,
                    "node {n}: nobody uses one of {} connections to {other}",
                    entry.connections.len()
                );
            }
        }
        for subscription in running.subscriptions.iter().filter(|one| !one.ended) {
            let told: BTreeSet<_> = subscription.neighbors().collect();
            let name = topic(subscription.topic);
            let state = running.node.state.neighbors(&name);
            assert_eq!(
                told,
                state.copied().collect(),
                "node {n}: the application knows its neighbors"
            );
        }
    }
}

/// The connections that neither side needs. Answers to shuffles are sent over such, so they are a
/// fault only where they stay.
pub(super) fn unneeded_connections(world: &World) -> BTreeSet<u64> {
    let needs = |a: usize, b: &EndpointId| {
        let node = world.nodes.get(&a);
        node.is_some_and(|running| running.node.state.is_needed(b))
    };
    let open = world.network.open_connections().into_iter();
    open.filter(|(_, a, b)| !needs(number(a), b) && !needs(number(b), a))
        .map(|(connection, _, _)| connection)
        .collect()
}

/// What has to hold when every topic was left a while ago.
pub(super) fn idle(world: &mut World) {
    assert_eq!(world.network.open_connections(), [], "connections");
    for (n, running) in &mut world.nodes {
        let node = &mut running.node;
        assert_eq!(node.state.topics().len(), 0, "node {n}: topics");
        assert!(node.peers.is_empty(), "node {n}: peers");
        assert!(node.links.is_empty(), "node {n}: links");
        // The next connection, and the next change of addresses.
        assert_eq!(node.events.task_count(), 2, "node {n}: tasks");
        // Addresses expire later.
        let forget = usize::from(node.forget_timer.is_some());
        assert_eq!(node.events.timers().len(), forget, "node {n}: timers");
        assert!(node.paused.is_empty() && node.ready.is_empty());
    }
}

/// The neighbors of each member.
pub(super) fn neighbors_of_all(world: &World, topic_number: usize) -> Vec<(usize, Vec<usize>)> {
    let name = topic(topic_number);
    let members = world.nodes.iter();
    let members = members.filter(|(_, running)| running.node.state.contains(&name));
    members
        .map(|(n, _)| (*n, world.neighbors(*n, topic_number)))
        .collect()
}

/// Whether all nodes that take part in a topic are in one piece.
pub(super) fn is_connected(world: &World, topic_number: usize) -> bool {
    let name = topic(topic_number);
    let members = world.nodes.iter();
    let members: BTreeSet<usize> = members
        .filter(|(_, running)| running.node.state.contains(&name))
        .map(|(n, _)| *n)
        .collect();
    let mut reached = BTreeSet::new();
    let mut next: Vec<usize> = members.first().copied().into_iter().collect();
    while let Some(n) = next.pop() {
        if reached.insert(n) {
            let neighbors = world.neighbors(n, topic_number);
            next.extend(neighbors.into_iter().filter(|peer| members.contains(peer)));
        }
    }
    reached == members
}
