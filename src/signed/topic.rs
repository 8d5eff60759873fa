//! A subscription that yields nothing but messages whose author is proven, each of them once.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use iroh_base::EndpointId;
use n0_error::e;
use n0_future::Stream;

use super::{
    Author, Refused, ReplayLimits, STAMPED_OVERHEAD, SignedEvent, SignedReceiver, Signer, Stamp,
    sent::Sent,
};
use crate::{
    api::{ApiError, GossipSender, GossipTopic},
    proto::TopicId,
};

/// A subscription in which every message is signed, with a [`Stamp`].
///
/// It is a stream of [`SignedEvent`]s: what is not signed, forged, was received before, or was sent
/// here is not among them, and [counted](SignedReceiver::refused). Everybody in the topic has to
/// send in this way.
///
/// ```no_run
/// # use futures_lite::StreamExt;
/// # use smol_gossip::{TopicId, api::{ApiError, GossipApi}};
/// use smol_gossip::signed::{SignedEvent, SignedTopic, Signer};
///
/// # async fn talk(gossip: GossipApi, topic: TopicId) -> Result<(), ApiError> {
/// let signer = Signer::from_bytes(&[1; 32]);
/// let subscription = gossip.subscribe(topic, vec![]).await?;
/// let (sender, mut receiver) = SignedTopic::new(subscription, topic, signer).split();
/// receiver.joined().await?;
/// sender.broadcast(b"it rains").await?;
/// while let Some(event) = receiver.next().await {
///     if let SignedEvent::Received(message) = event? {
///         println!("{}: {:?}", message.author, message.payload);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SignedTopic {
    sender: SignedSender,
    receiver: SignedReceiver,
}

impl SignedTopic {
    /// Signs what is sent to a subscription, and verifies what comes from it.
    ///
    /// `topic_id` has to be what was subscribed to: with another, no message is good.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: GossipTopic, id: TopicId, signer: Signer) -> Result<(), ApiError> {
    /// let mut topic = SignedTopic::new(topic, id, signer);
    /// topic.broadcast(b"it rains").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(topic: GossipTopic, topic_id: TopicId, signer: Signer) -> Self {
        Self::with_limits(topic, topic_id, signer, ReplayLimits::default())
    }

    /// As [`new`](Self::new), with other bounds for what is remembered of messages.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: GossipTopic, id: TopicId, signer: Signer) -> Result<(), ApiError> {
    /// let mut limits = ReplayLimits::default();
    /// limits.authors = 50;
    /// let topic = SignedTopic::with_limits(topic, id, signer, limits);
    /// # drop(topic);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_limits(
        topic: GossipTopic,
        topic_id: TopicId,
        signer: Signer,
        limits: ReplayLimits,
    ) -> Self {
        let (sender, receiver) = topic.split();
        let sent = Arc::new(Sent::new(signer.author()));
        Self {
            receiver: SignedReceiver::new(receiver, topic_id, limits, sent.clone()),
            sender: SignedSender {
                sender,
                topic_id,
                signer: Arc::new(signer),
                sent,
            },
        }
    }

    /// The two halves. The topic stays open while either lives.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: SignedTopic) -> Result<(), ApiError> {
    /// let (sender, mut receiver) = topic.split();
    /// receiver.joined().await?;
    /// sender.broadcast(b"hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> (SignedSender, SignedReceiver) {
        (self.sender, self.receiver)
    }

    /// Signs a message and sends it to the whole swarm. See [`SignedSender::broadcast`].
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: &mut SignedTopic) -> Result<(), ApiError> {
    /// let stamp = topic.broadcast(b"it rains").await?;
    /// println!("sent at {} µs", stamp.micros());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn broadcast(&mut self, payload: impl AsRef<[u8]>) -> Result<Stamp, ApiError> {
        self.sender.broadcast(payload).await
    }

    /// Waits for the first neighbor. See [`SignedReceiver::joined`].
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: &mut SignedTopic) -> Result<(), ApiError> {
    /// topic.joined().await?;
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

    /// The direct neighbors. See [`SignedReceiver::neighbors`].
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: &mut SignedTopic) -> Result<(), ApiError> {
    /// let count = topic.neighbors().count();
    /// # drop(count);
    /// # Ok(())
    /// # }
    /// ```
    pub fn neighbors(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.receiver.neighbors()
    }

    /// What was kept from the application so far. See [`SignedReceiver::refused`].
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(topic: &mut SignedTopic) -> Result<(), ApiError> {
    /// println!("{} forgeries", topic.refused().invalid);
    /// # Ok(())
    /// # }
    /// ```
    pub fn refused(&self) -> Refused {
        self.receiver.refused()
    }
}

impl Stream for SignedTopic {
    type Item = Result<SignedEvent, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

/// Signs and sends. Clones send to the same topic in the same name.
///
/// No stamp is given twice over all clones, and each is larger than those before, unless the clock
/// was set back by more than five seconds: then stamps go back with it, or nobody would accept them.
/// The same key in two processes at once is fine too, as long as they do not sign within the same
/// microsecond.
#[derive(Clone, Debug)]
pub struct SignedSender {
    sender: GossipSender,
    topic_id: TopicId,
    /// Shared, so that the secret is in one place.
    signer: Arc<Signer>,
    /// Shared with the receiver too.
    sent: Arc<Sent>,
}

impl SignedSender {
    /// In whose name this sends.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(sender: &SignedSender) -> Result<(), ApiError> {
    /// println!("we are {}", sender.author());
    /// # Ok(())
    /// # }
    /// ```
    pub fn author(&self) -> Author {
        self.signer.author()
    }

    /// Signs a message and sends it to the whole swarm. The answer is the stamp that it has.
    ///
    /// No two messages are the same to the protocol, since their stamps differ. Cancel-safe, as
    /// [`GossipSender::broadcast`] is.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(sender: &SignedSender) -> Result<(), ApiError> {
    /// sender.broadcast(b"it rains").await?;
    /// sender.broadcast("it still rains").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ApiError::TooLarge`], in which both lengths are of payloads, and as for
    /// [`GossipSender::broadcast`].
    pub async fn broadcast(&self, payload: impl AsRef<[u8]>) -> Result<Stamp, ApiError> {
        let (stamp, envelope) = self.seal(payload.as_ref());
        self.sender.broadcast(envelope).await.map_err(of_payload)?;
        Ok(stamp)
    }

    /// Signs a message and sends it to the direct neighbors, who do not pass it on.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(sender: &SignedSender) -> Result<(), ApiError> {
    /// sender.broadcast_neighbors(b"who else is there?").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`broadcast`](Self::broadcast).
    pub async fn broadcast_neighbors(&self, payload: impl AsRef<[u8]>) -> Result<Stamp, ApiError> {
        let (stamp, envelope) = self.seal(payload.as_ref());
        let sent = self.sender.broadcast_neighbors(envelope).await;
        sent.map_err(of_payload)?;
        Ok(stamp)
    }

    /// Joins the topic through these peers too. See [`GossipSender::join_peers`].
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(sender: &SignedSender, friend: iroh_base::EndpointId) -> Result<(), ApiError> {
    /// sender.join_peers(vec![friend]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn join_peers(&self, peers: Vec<EndpointId>) -> Result<(), ApiError> {
        self.sender.join_peers(peers).await
    }

    fn seal(&self, payload: &[u8]) -> (Stamp, Bytes) {
        let stamp = self.sent.stamp(Stamp::now());
        (
            stamp,
            self.signer.sign_stamped(self.topic_id, stamp, payload),
        )
    }
}

fn of_payload(error: ApiError) -> ApiError {
    match error {
        ApiError::TooLarge { len, max, .. } => e!(ApiError::TooLarge {
            len: len.saturating_sub(STAMPED_OVERHEAD),
            max: max.saturating_sub(STAMPED_OVERHEAD),
        }),
        error => error,
    }
}

#[cfg(all(test, feature = "net"))]
mod tests;
