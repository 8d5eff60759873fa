//! Looking into a running node: what a topic holds, and what goes wrong with peers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use async_channel::{Receiver, Sender, TrySendError};
use futures_lite::Stream;
use iroh::EndpointId;
use smol_gossip_runtime::Runtime;
use tracing::debug;

use super::{node::Node, transport::Transport};
use crate::proto::TopicId;

/// Diagnostics that wait for one who listens. Further ones are lost, and counted.
const DIAGNOSTICS: usize = 256;

/// What a node is asked for, besides what concerns a topic.
#[derive(Debug)]
pub(crate) enum Request {
    /// Leave all topics and end, and answer then.
    Shutdown(Sender<()>),
    /// What a topic holds, if there is such a topic.
    TopicStats(TopicId, Sender<Option<TopicStats>>),
    /// What the node holds.
    NodeStats(Sender<NodeStats>),
    /// Someone listens to diagnostics from now on.
    Watch(Watcher),
}

/// What a topic holds at one moment.
///
/// What was counted in all topics, since the node began, is in [`Metrics`](crate::metrics::Metrics).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStats {
    /// The neighbors: the peers that a connection is kept to.
    pub neighbors: Vec<NeighborStats>,
    /// Peers that are remembered, to take the place of neighbors that go.
    pub passive: usize,
    /// What the payloads take that are kept for peers who missed them, in bytes.
    pub cache_bytes: usize,
    /// Message ids that are remembered to recognise duplicates.
    pub seen_ids: usize,
    /// Messages that were announced and have not come yet.
    pub missing_ids: usize,
    /// Payloads that came a second time, since the topic was joined.
    pub duplicates: u64,
    /// How often since then a bound of the protocol was reached, and something was forgotten or
    /// ignored for it. The counters of [`Metrics`](crate::metrics::Metrics) tell what, in all topics.
    pub dropped: u64,
    /// Messages that subscriptions lost since then because they were not read in time; one for each
    /// subscription that lost it.
    pub events_dropped: u64,
    /// Subscriptions that there are here, those of other processes included.
    pub subscriptions: usize,
}

/// A neighbor in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighborStats {
    /// Who it is.
    pub id: EndpointId,
    /// Whether it gets payloads at once (eager), or announcements only (lazy).
    pub eager: bool,
    /// What waits to be written to it, in bytes, in all topics together.
    pub queued_bytes: usize,
    /// What of that is of this topic.
    pub queued_bytes_in_topic: usize,
}

/// What a node holds at one moment, in all topics together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Topics joined.
    pub topics: usize,
    /// Peers that are connected, dialed, or that something waits for.
    pub peers: usize,
    /// Connections, whoever made them.
    pub connections: usize,
    /// Streams of ours to peers.
    pub streams_out: usize,
    /// Streams of peers to us that have named their topic.
    pub streams_in: usize,
    /// Dials that are under way, and that wait.
    pub dials: usize,
    /// What waits to be written to peers, in bytes.
    pub queued_bytes: usize,
    /// Steps of IO that are under way: reads, writes, dials and the like.
    pub tasks: usize,
    /// Timers that are set.
    pub timers: usize,
}

/// Something that went wrong with a peer, or that may explain what an application sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnostic {
    /// A peer could not be reached that a topic wants to join through, or to have as a neighbor.
    ///
    /// Peers to join through are tried again, at growing intervals.
    JoinFailed {
        /// Who was dialed.
        peer: EndpointId,
        /// What went wrong, for people to read.
        reason: String,
    },
    /// A peer has so much to read that it gets announcements in place of payloads.
    ///
    /// This is said once, until the peer has caught up.
    SlowPeer {
        /// Who is slow.
        peer: EndpointId,
        /// What waits to be written to it, in bytes.
        queued_bytes: usize,
    },
    /// The connection to a peer was dropped because it took nothing for too long, or because so
    /// much waited for it that there was no room for what it must know.
    StuckPeer {
        /// Who was stuck.
        peer: EndpointId,
    },
    /// A peer is not our neighbor any more.
    NeighborDown {
        /// In which topic.
        topic: TopicId,
        /// Who.
        peer: EndpointId,
        /// Why.
        reason: DownReason,
    },
}

/// Why a peer is not our neighbor any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// It said that it leaves: the topic, or us for another neighbor.
    Left,
    /// The connection to it was lost, or dropped because it was stuck.
    Lost,
    /// It began anew. It comes up as a neighbor again at once.
    Restarted,
    /// We let it go, for another neighbor.
    Replaced,
}

/// A stream of [`Diagnostic`]s; see [`Gossip::diagnostics`](super::Gossip::diagnostics).
///
/// It ends when the node does.
#[derive(Debug)]
pub struct Diagnostics {
    waiting: Pin<Box<Receiver<Diagnostic>>>,
    lost: Arc<AtomicU64>,
}

impl Diagnostics {
    /// How many are missing, because 256 others waited to be read.
    ///
    /// ```
    /// # use smol_gossip::net::Diagnostics;
    /// fn warn(diagnostics: &Diagnostics) {
    ///     if diagnostics.lost() > 0 {
    ///         eprintln!("{} diagnostics were not read in time", diagnostics.lost());
    ///     }
    /// }
    /// ```
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Stream for Diagnostics {
    type Item = Diagnostic;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Diagnostic>> {
        self.waiting.as_mut().poll_next(cx)
    }
}

/// The node's end of a [`Diagnostics`].
#[derive(Debug)]
pub(crate) struct Watcher {
    waiting: Sender<Diagnostic>,
    lost: Arc<AtomicU64>,
}

/// Both ends of a stream of diagnostics.
pub(super) fn watch() -> (Watcher, Diagnostics) {
    let (sender, receiver) = async_channel::bounded(DIAGNOSTICS);
    let lost = Arc::new(AtomicU64::new(0));
    let watcher = Watcher {
        waiting: sender,
        lost: lost.clone(),
    };
    let diagnostics = Diagnostics {
        waiting: Box::pin(receiver),
        lost,
    };
    (watcher, diagnostics)
}

/// All who listen to diagnostics.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Vec<Watcher>);

impl Watchers {
    pub(crate) fn add(&mut self, watcher: Watcher) {
        // Else those who went would pile up while there is nothing to tell.
        self.0.retain(|one| !one.waiting.is_closed());
        self.0.push(watcher);
    }

    /// Tells everyone. It costs nothing where nobody listens.
    pub(crate) fn tell(&mut self, diagnostic: impl FnOnce() -> Diagnostic) {
        if self.0.is_empty() {
            return;
        }
        let diagnostic = diagnostic();
        self.0.retain(
            |watcher| match watcher.waiting.try_send(diagnostic.clone()) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    watcher.lost.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            },
        );
    }
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// What a topic holds, if there is such a topic.
    pub(crate) fn topic_stats(&self, id: &TopicId) -> Option<TopicStats> {
        let topic = self.state.topic(id)?;
        let neighbors = topic.active_view().map(|neighbor| {
            let queue = self.peers.get(neighbor).map(|peer| &peer.queue);
            NeighborStats {
                id: *neighbor,
                eager: topic.eager().any(|peer| peer == neighbor),
                queued_bytes: queue.map_or(0, |queue| queue.bytes()),
                queued_bytes_in_topic: queue.map_or(0, |queue| queue.bytes_of(id)),
            }
        });
        Some(TopicStats {
            neighbors: neighbors.collect(),
            passive: topic.passive_view().count(),
            cache_bytes: topic.cache_bytes(),
            seen_ids: topic.seen_ids(),
            missing_ids: topic.missing_ids(),
            duplicates: topic.duplicates(),
            dropped: topic.dropped(),
            events_dropped: self.topics.events_dropped(id),
            subscriptions: self.topics.subscriptions(id),
        })
    }

    /// What the node holds.
    pub(crate) fn node_stats(&mut self) -> NodeStats {
        let peers = self.peers.values();
        let links = self.links.values();
        NodeStats {
            topics: self.topics.len(),
            peers: self.peers.len(),
            connections: self.links.len(),
            streams_out: peers.clone().map(|peer| peer.streams.len()).sum(),
            streams_in: links
                .flat_map(|link| link.readers.values())
                .map(|waiting| 1 + waiting.len())
                .sum(),
            dials: self.dials.active + self.dials.waiting.len(),
            queued_bytes: peers.map(|peer| peer.queue.bytes()).sum(),
            tasks: self.events.task_count(),
            timers: self.events.timers().len(),
        }
    }

    /// Tells those who listen why a peer is not a neighbor any more.
    pub(crate) fn tell_neighbor_down(&mut self, topic: TopicId, peer: EndpointId) {
        let connected = |peer: &super::peer::Peer<T>| !peer.connections.is_empty();
        let reason = match self.parting {
            Some((from, at, reason)) if from == peer && at == topic => reason,
            _ if self.peers.get(peer.as_bytes()).is_some_and(connected) => DownReason::Replaced,
            _ => DownReason::Lost,
        };
        debug!(topic = %topic.fmt_short(), peer = %peer.fmt_short(), ?reason, "no neighbor any more");
        self.watchers.tell(|| Diagnostic::NeighborDown {
            topic,
            peer,
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::{StreamExt, future::block_on};
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn whoever_reads_slowly_is_told_how_much_is_missing() {
        let peer = SecretKey::from_bytes(&[1; 32]).public();
        let mut watchers = Watchers::default();
        let (watcher, mut slow) = watch();
        watchers.add(watcher);
        let (watcher, gone) = watch();
        watchers.add(watcher);
        drop(gone);
        for _ in 0..DIAGNOSTICS + 3 {
            watchers.tell(|| Diagnostic::StuckPeer { peer });
        }
        assert_eq!(slow.lost(), 3);
        assert_eq!(watchers.0.len(), 1);
        drop(watchers);
        let read = block_on(async {
            let mut read = 0;
            while slow.next().await.is_some() {
                read += 1;
            }
            read
        });
        assert_eq!(read, DIAGNOSTICS);
    }

    #[test]
    fn those_who_went_do_not_pile_up_while_there_is_nothing_to_tell() {
        let mut watchers = Watchers::default();
        for _ in 0..100 {
            let (watcher, gone) = watch();
            watchers.add(watcher);
            drop(gone);
        }
        assert_eq!(watchers.0.len(), 1, "the last one");
    }
}
