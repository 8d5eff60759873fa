//! What applications hold: handles to subscribe to topics, to send, and to receive.
//!
//! [`GossipApi`] subscribes. A subscription is a [`GossipTopic`], which is a stream of [`Event`]s
//! and can send; it splits into a [`GossipSender`] that can be cloned and a [`GossipReceiver`].
//!
//! ```
//! use bytes::Bytes;
//! use n0_future::StreamExt;
//! use smol_gossip::{
//!     TopicId,
//!     api::{ApiError, Event, GossipApi},
//! };
//!
//! async fn greet(gossip: &GossipApi, topic: TopicId) -> Result<(), ApiError> {
//!     let mut topic = gossip.subscribe(topic, vec![]).await?;
//!     topic.joined().await?;
//!     topic.broadcast(Bytes::from_static(b"hello")).await?;
//!     while let Some(event) = topic.next().await {
//!         match event? {
//!             Event::Received(message) => println!("{:?}", message.content),
//!             Event::Lagged => println!("some messages are missing here"),
//!             Event::NeighborUp(_) | Event::NeighborDown(_) => {}
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! No method here does any work of the protocol: handles put orders into bounded queues, and the
//! node's driver takes them out. So nothing happens unless the driver is polled, and a handle
//! waits only where it says so.
//!
//! A topic stays open while any [`GossipSender`] or the [`GossipReceiver`] of any subscription to
//! it lives, and is left when the last one is dropped.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use iroh_base::EndpointId;
use n0_error::e;
use n0_future::Stream;

use crate::proto::TopicId;

mod error;
pub(crate) mod events;
pub(crate) mod mailbox;
pub(crate) mod peer_set;
#[cfg(feature = "rpc")]
pub(crate) mod remote;
mod sync;
mod types;

pub use error::ApiError;
pub use types::{Command, Event, JoinOptions, Message, Published};

use events::EventReceiver;
use mailbox::{Lease, Mailbox, Order};
use peer_set::PeerSet;

/// Subscribes to topics.
///
/// It is cheap to clone, and clones do the same. It does not keep the node alive.
#[derive(Clone, Debug)]
pub struct GossipApi {
    node: Node,
}

/// Whatever answers an inbox is a node to the handles.
#[derive(Clone, Debug)]
enum Node {
    /// The driver in this process, with one mailbox for all subscriptions.
    Local(Mailbox),
    /// A node in another process, with a mailbox for each.
    #[cfg(feature = "rpc")]
    Remote(Arc<dyn remote::Remote>),
}

impl Node {
    async fn subscribe(
        &self,
        topic_id: TopicId,
        opts: JoinOptions,
    ) -> Result<(Lease, EventReceiver), ApiError> {
        match self {
            Self::Local(mailbox) => Ok(mailbox.subscribe(topic_id, opts).await?),
            #[cfg(feature = "rpc")]
            Self::Remote(node) => {
                let (mailbox, inbox) = mailbox::channel(node.max_content());
                let handles = mailbox.subscribe(topic_id, opts).await?;
                node.open(inbox).await?;
                Ok(handles)
            }
        }
    }
}

impl GossipApi {
    pub(crate) fn local(mailbox: Mailbox) -> Self {
        let node = Node::Local(mailbox);
        Self { node }
    }

    #[cfg(feature = "rpc")]
    pub(crate) fn remote(node: impl remote::Remote + 'static) -> Self {
        let node = Node::Remote(Arc::new(node));
        Self { node }
    }

    /// Takes part in a topic, joining through `bootstrap`, and does not wait until it has joined.
    ///
    /// The same as [`subscribe_with_opts`](Self::subscribe_with_opts) with
    /// [`JoinOptions::with_bootstrap`].
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipApi, JoinOptions}};
    /// # async fn example(gossip: &GossipApi, topic: TopicId, friend: iroh_base::EndpointId) -> Result<(), ApiError> {
    /// let topic = gossip.subscribe(topic, vec![friend]).await?;
    /// # drop(topic);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::Closed`] when the node has stopped.
    pub async fn subscribe(
        &self,
        topic_id: TopicId,
        bootstrap: Vec<EndpointId>,
    ) -> Result<GossipTopic, ApiError> {
        self.subscribe_with_opts(topic_id, JoinOptions::with_bootstrap(bootstrap))
            .await
    }

    /// Takes part in a topic and waits for the first neighbor.
    ///
    /// The node tries the `bootstrap` peers again and again, so this waits for as long as none of
    /// them is there; put a timeout around it where that is not wanted. Dropping the future gives
    /// the subscription up.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipApi, JoinOptions}};
    /// # async fn example(gossip: &GossipApi, topic: TopicId, friend: iroh_base::EndpointId) -> Result<(), ApiError> {
    /// let topic = gossip.subscribe_and_join(topic, vec![friend]).await?;
    /// assert!(topic.is_joined());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::Closed`] when the node has stopped or stops meanwhile.
    pub async fn subscribe_and_join(
        &self,
        topic_id: TopicId,
        bootstrap: Vec<EndpointId>,
    ) -> Result<GossipTopic, ApiError> {
        let mut topic = self.subscribe(topic_id, bootstrap).await?;
        topic.joined().await?;
        Ok(topic)
    }

    /// Takes part in a topic, and does not wait until it has joined.
    ///
    /// Messages can be sent at once: what is [broadcast](GossipSender::broadcast) to the swarm before there is a
    /// neighbor is kept, within bounds, and offered to the first one.
    ///
    /// There may be several subscriptions to a topic; each receives every event from when it
    /// began, starting with the neighbors that are there already.
    ///
    /// This waits only while a thousand other subscriptions are new to the driver; or, with a node in another
    /// process, for the connection to it, and for another subscription to end where there are as many as its
    /// endpoint allows streams (100 unless configured). Dropping the future means that there is no subscription.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipApi, JoinOptions}};
    /// # async fn example(gossip: &GossipApi, topic: TopicId, friend: iroh_base::EndpointId) -> Result<(), ApiError> {
    /// let options = JoinOptions {
    ///     subscription_capacity: 16,
    ///     ..JoinOptions::with_bootstrap([friend])
    /// };
    /// let topic = gossip.subscribe_with_opts(topic, options).await?;
    /// # drop(topic);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::Closed`] when the node has stopped, [`ApiError::Rpc`] when it is in another
    /// process and cannot be reached.
    pub async fn subscribe_with_opts(
        &self,
        topic_id: TopicId,
        opts: JoinOptions,
    ) -> Result<GossipTopic, ApiError> {
        let (lease, events) = self.node.subscribe(topic_id, opts).await?;
        let lease = Arc::new(lease);
        Ok(GossipTopic {
            sender: GossipSender {
                lease: lease.clone(),
            },
            receiver: GossipReceiver {
                events,
                neighbors: PeerSet::default(),
                _lease: lease,
            },
        })
    }
}

/// Sends to a topic. Clones send to the same one.
///
/// Orders of one subscription are carried out in the order in which they were accepted. Up to 64
/// wait for the driver, and as many that it has taken wait for neighbors to read; with as many waiting,
/// the next call waits until there is room, and calls get their turn in the order in which they came.
///
/// All methods are cancel-safe: a future that is dropped before it is done has sent nothing
/// (with the one exception that [`publish`](Self::publish) mentions).
#[derive(Clone, Debug)]
pub struct GossipSender {
    lease: Arc<Lease>,
}

#[cfg(test)]
impl GossipSender {
    /// Checks that the orders that wait are within their bounds.
    pub(crate) fn check_bounds(&self) {
        self.lease.check_bounds();
    }
}

impl GossipSender {
    /// Sends a message to the whole swarm.
    ///
    /// `Ok` means that the node has it. The very same bytes within a short while are sent only
    /// once, since to the protocol they are one message; [`publish`](Self::publish) tells.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipSender, Published}};
    /// # async fn example(sender: &GossipSender) -> Result<(), ApiError> {
    /// match sender.broadcast("it rains".into()).await {
    ///     Err(ApiError::TooLarge { len, max, .. }) => println!("{len} bytes, of {max}"),
    ///     sent => sent?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::TooLarge`] when the message does not fit into a frame, [`ApiError::Closed`]
    /// when the node has stopped. Nothing was sent then, and nothing else has changed.
    ///
    /// How large a frame is, a node in another process does not tell: it counts what is too large
    /// and drops it. Only what could not even be carried there is an error here.
    pub async fn broadcast(&self, message: Bytes) -> Result<(), ApiError> {
        self.check_len(&message)?;
        let order = || Order::Broadcast(message.into());
        Ok(self.lease.send(order).await?)
    }

    /// Sends a message to the direct neighbors, who do not pass it on.
    ///
    /// It is sent however often the same bytes were sent before, and to those who are neighbors now: nothing is
    /// kept for later ones, and without any it reaches nobody.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipSender, Published}};
    /// # async fn example(sender: &GossipSender) -> Result<(), ApiError> {
    /// sender.broadcast_neighbors("who else is there?".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`broadcast`](Self::broadcast).
    pub async fn broadcast_neighbors(&self, message: Bytes) -> Result<(), ApiError> {
        self.check_len(&message)?;
        let order = || Order::BroadcastNeighbors(message.into());
        Ok(self.lease.send(order).await?)
    }

    /// Sends a message to the whole swarm, and waits until the node has looked at it.
    ///
    /// Where [`broadcast`](Self::broadcast) is silent about it, this answers
    /// [`Published::Duplicate`] when the same bytes were seen a short while ago and were therefore
    /// not sent. A node in another process does not tell: see [`Published::HandedOver`].
    ///
    /// A future that is dropped while it waits for room has sent nothing; one that is dropped
    /// while it waits for the answer has sent the message.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipSender, Published}};
    /// # async fn example(sender: &GossipSender) -> Result<(), ApiError> {
    /// if sender.publish("it rains".into()).await? == Published::Duplicate {
    ///     println!("that was said a short while ago");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`broadcast`](Self::broadcast); when the node stops before it answers,
    /// [`ApiError::Closed`] leaves open whether the message was sent.
    pub async fn publish(&self, message: Bytes) -> Result<Published, ApiError> {
        let (reply, answer) = async_channel::bounded(1);
        self.check_len(&message)?;
        let order = || Order::Publish(message.into(), reply);
        self.lease.send(order).await?;
        answer.recv().await.map_err(|_| e!(ApiError::Closed))
    }

    /// Joins the topic through these peers too.
    ///
    /// `Ok` means that the node will try, not that it has joined.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipSender}};
    /// # async fn example(sender: &GossipSender, friend: iroh_base::EndpointId) -> Result<(), ApiError> {
    /// sender.join_peers(vec![friend]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::Closed`] when the node has stopped.
    pub async fn join_peers(&self, peers: Vec<EndpointId>) -> Result<(), ApiError> {
        Ok(self.lease.send(|| Order::JoinPeers(peers)).await?)
    }

    fn check_len(&self, message: &Bytes) -> Result<(), ApiError> {
        let (len, max) = (message.len(), self.lease.max_content());
        if len > max {
            return Err(e!(ApiError::TooLarge { len, max }));
        }
        Ok(())
    }
}

/// A subscription to a topic: a stream of its [`Event`]s that can also send.
///
/// [`split`](Self::split) it to send from several places, or to send while receiving.
#[derive(Debug)]
pub struct GossipTopic {
    sender: GossipSender,
    receiver: GossipReceiver,
}

impl GossipTopic {
    /// The two halves. The topic stays open while either lives.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipTopic}};
    /// # async fn example(topic: GossipTopic) -> Result<(), ApiError> {
    /// let (sender, mut receiver) = topic.split();
    /// receiver.joined().await?;
    /// sender.broadcast("hello".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> (GossipSender, GossipReceiver) {
        (self.sender, self.receiver)
    }

    /// Sends a message to the whole swarm. See [`GossipSender::broadcast`].
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipTopic}};
    /// # async fn example(topic: &mut GossipTopic) -> Result<(), ApiError> {
    /// topic.broadcast("it rains".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn broadcast(&mut self, message: Bytes) -> Result<(), ApiError> {
        self.sender.broadcast(message).await
    }

    /// Sends a message to the direct neighbors. See [`GossipSender::broadcast_neighbors`].
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipTopic}};
    /// # async fn example(topic: &mut GossipTopic) -> Result<(), ApiError> {
    /// topic.broadcast_neighbors("who else is there?".into()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn broadcast_neighbors(&mut self, message: Bytes) -> Result<(), ApiError> {
        self.sender.broadcast_neighbors(message).await
    }

    /// The direct neighbors. See [`GossipReceiver::neighbors`].
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipTopic}};
    /// # async fn example(topic: &mut GossipTopic) -> Result<(), ApiError> {
    /// for neighbor in topic.neighbors() {
    ///     println!("{}", neighbor.fmt_short());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn neighbors(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.receiver.neighbors()
    }

    /// Waits for the first neighbor. See [`GossipReceiver::joined`].
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipTopic}};
    /// # async fn example(topic: &mut GossipTopic) -> Result<(), ApiError> {
    /// topic.joined().await?;
    /// assert!(topic.is_joined());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn joined(&mut self) -> Result<(), ApiError> {
        self.receiver.joined().await
    }

    /// Whether there is a neighbor. See [`GossipReceiver::is_joined`].
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipTopic}};
    /// # async fn example(topic: &mut GossipTopic) -> Result<(), ApiError> {
    /// if !topic.is_joined() {
    ///     println!("nobody is here yet");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_joined(&self) -> bool {
        self.receiver.is_joined()
    }
}

impl Stream for GossipTopic {
    type Item = Result<Event, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

/// Receives from a topic: a stream of its [`Event`]s.
///
/// The stream ends when the node stops, after what was queued, and at once where the node is in as many topics
/// as it may be. It never ends for being read
/// slowly: then it goes on behind an [`Event::Lagged`]. The only error that it ever yields is
/// [`ApiError::Rpc`], as its last item, when the connection to a node in another process is lost.
#[derive(Debug)]
pub struct GossipReceiver {
    events: EventReceiver,
    neighbors: PeerSet,
    /// The topic stays open while this lives.
    _lease: Arc<Lease>,
}

#[cfg(test)]
impl GossipReceiver {
    /// Checks that the events that wait are within their bounds, with so many peers.
    pub(crate) fn check_bounds(&self, peers: usize) {
        self.events.check_bounds(peers);
    }
}

impl GossipReceiver {
    /// The direct neighbors, as of the events that were received so far.
    ///
    /// A neighbor whose [`Event::NeighborUp`] is still in the stream is not among them yet. What
    /// [`joined`](Self::joined) has seen is.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipReceiver}};
    /// # async fn example(receiver: &mut GossipReceiver) -> Result<(), ApiError> {
    /// let count = receiver.neighbors().count();
    /// # drop(count);
    /// # Ok(())
    /// # }
    /// ```
    pub fn neighbors(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.neighbors.iter()
    }

    /// Waits until there is a neighbor; returns at once when there is one.
    ///
    /// It takes the first [`Event::NeighborUp`] out of the stream, and nothing else: events before
    /// it will still be received, in order.
    ///
    /// Cancel-safe: a future that is dropped before it is done has taken nothing.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipReceiver}};
    /// # async fn example(receiver: &mut GossipReceiver) -> Result<(), ApiError> {
    /// receiver.joined().await?;
    /// assert!(receiver.neighbors().next().is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::Closed`] when the node stops without a neighbor having come up,
    /// [`ApiError::Rpc`] when the connection to a node in another process is lost before.
    pub async fn joined(&mut self) -> Result<(), ApiError> {
        if self.is_joined() {
            return Ok(());
        }
        match poll_fn(|cx| self.events.poll_first_up(cx)).await {
            Some(first) => {
                self.neighbors.insert(first);
                Ok(())
            }
            None => Err(match self.events.take_failure() {
                Some(failure) => failure.into(),
                None => e!(ApiError::Closed),
            }),
        }
    }

    /// Whether there is a neighbor, as of the events that were received so far.
    ///
    /// ```
    /// # use smol_gossip::{api::{ApiError, GossipReceiver}};
    /// # async fn example(receiver: &mut GossipReceiver) -> Result<(), ApiError> {
    /// assert_eq!(receiver.is_joined(), receiver.neighbors().count() > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_joined(&self) -> bool {
        !self.neighbors.is_empty()
    }
}

impl Stream for GossipReceiver {
    type Item = Result<Event, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // As it is most often: an event is large, and is best moved once.
        if let Some(message) = self.events.next_message() {
            return Poll::Ready(Some(Ok(message)));
        }
        let event = ready!(self.events.poll_next(cx));
        match &event {
            Some(Event::NeighborUp(peer)) => {
                self.neighbors.insert(*peer);
            }
            Some(Event::NeighborDown(peer)) => {
                self.neighbors.remove(peer);
            }
            Some(Event::Received(_) | Event::Lagged) => {}
            None => {
                let failure = self.events.take_failure();
                return Poll::Ready(failure.map(|failure| Err(failure.into())));
            }
        }
        Poll::Ready(event.map(Ok))
    }
}

#[cfg(test)]
mod tests;
