//! What a node has received, and who is its neighbor.

use std::{collections::BTreeSet, time::Duration};

use iroh::EndpointId;
use smol_gossip::{api, proto::DeliveryScope};

use crate::message::{Message, elapsed};

/// What one node has received so far.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) id: EndpointId,
    /// Our direct neighbors.
    pub(crate) neighbors: BTreeSet<EndpointId>,
    /// When a neighbor last came or went, by [`elapsed`].
    pub(crate) neighbors_changed: Duration,
    /// Different messages that others sent.
    pub(crate) arrived: usize,
    /// Messages that were received once more.
    pub(crate) twice: usize,
    /// What nobody sent, or what we sent ourselves.
    pub(crate) stray: usize,
    /// Times that events were missing because we were slow to take them.
    pub(crate) lagged: usize,
    pub(crate) hops: Hops,
    /// From being sent to being received, of every message that arrived.
    pub(crate) latencies: Vec<Duration>,
    /// When a message arrived last, by [`elapsed`].
    pub(crate) last_arrival: Duration,
    author: usize,
    size: usize,
    /// Whether the message with this number has arrived, by author.
    seen: Vec<Vec<bool>>,
}

/// How far messages came. Straight from their author is one hop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hops {
    pub(crate) sum: usize,
    pub(crate) max: usize,
}

impl Tally {
    /// For the node with index `author` in a swarm of `nodes`, each of which sends `messages`
    /// of `size` bytes.
    pub(crate) fn new(
        id: EndpointId,
        author: usize,
        nodes: usize,
        messages: u32,
        size: usize,
    ) -> Self {
        Self {
            id,
            neighbors: BTreeSet::new(),
            neighbors_changed: elapsed(),
            arrived: 0,
            twice: 0,
            stray: 0,
            lagged: 0,
            hops: Hops::default(),
            latencies: Vec::new(),
            last_arrival: Duration::ZERO,
            author,
            size,
            seen: vec![vec![false; messages as usize]; nodes],
        }
    }

    /// Counts an event. Answers whether a message arrived that was missing.
    pub(crate) fn count(&mut self, event: api::Event) -> bool {
        match event {
            api::Event::NeighborUp(peer) => {
                self.neighbors.insert(peer);
                self.neighbors_changed = elapsed();
            }
            api::Event::NeighborDown(peer) => {
                self.neighbors.remove(&peer);
                self.neighbors_changed = elapsed();
            }
            api::Event::Lagged => self.lagged += 1,
            api::Event::Received(message) => return self.count_message(&message),
        }
        false
    }

    fn count_message(&mut self, received: &api::Message) -> bool {
        let now = elapsed();
        let (Some(message), DeliveryScope::Swarm(round)) =
            (Message::decode(&received.content), received.scope)
        else {
            self.stray += 1;
            return false;
        };
        let (author, number) = (message.author as usize, message.number as usize);
        let seen = self
            .seen
            .get_mut(author)
            .and_then(|numbers| numbers.get_mut(number));
        match seen {
            Some(seen) if author != self.author && received.content.len() == self.size => {
                if std::mem::replace(seen, true) {
                    self.twice += 1;
                    return false;
                }
            }
            _ => {
                self.stray += 1;
                return false;
            }
        }
        let hops = usize::from(round.hops()) + 1;
        self.arrived += 1;
        self.hops.sum += hops;
        self.hops.max = self.hops.max.max(hops);
        self.last_arrival = now;
        self.latencies.push(now.saturating_sub(message.sent));
        true
    }
}
