//! What comes out of a signed subscription: messages whose author is proven, each of them once.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use iroh_base::EndpointId;
use n0_error::e;
use n0_future::Stream;

use super::{
    Author, Claim, LARGEST_BATCH, Replay, ReplayGuard, ReplayLimits, SMALLEST_BATCH, SignedMessage,
    Stamp, are_all_proven, sent::Sent,
};
use crate::{
    api::{ApiError, Event, GossipReceiver, Message},
    proto::{DeliveryScope, TopicId},
};

/// After messages that failed together and had to be verified one by one, so many more are verified
/// one by one at once: who sends forgeries is not to make us do everything twice.
const SINGLY_AFTER_FAILURE: u32 = 256;

/// So often more messages are taken in one poll where none of them is for the application: there
/// may be no end to them, and others in the task or on the thread want their turn.
const BATCHES_PER_POLL: usize = 64 / LARGEST_BATCH;

/// What happened in a topic in which every message is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignedEvent {
    /// A peer has become our direct neighbor.
    NeighborUp(EndpointId),
    /// A peer is no longer our direct neighbor.
    NeighborDown(EndpointId),
    /// A message, for the first time.
    Received(Received),
    /// Events are missing here. See [`Event::Lagged`].
    Lagged,
}

/// A message that its author has signed for this topic, and that did not come before.
#[derive(Clone, derive_more::Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Who wrote it.
    pub author: Author,
    /// When, by the author's clock. It tells messages of an author apart, and says in which order
    /// they were written.
    pub stamp: Stamp,
    /// What was signed.
    #[debug("{} bytes", payload.len())]
    pub payload: Bytes,
    /// Whether it was sent to the whole swarm or only to neighbors, and how far it has come. This
    /// is not signed.
    pub scope: DeliveryScope,
    /// The neighbor that handed it to us. It need not be the author.
    pub delivered_from: EndpointId,
}

/// How many messages a [`SignedReceiver`] has kept from the application, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Without a good signature: not signed, forged, damaged, or meant for another topic.
    pub invalid: u64,
    /// Signed, but without a stamp.
    pub unstamped: u64,
    /// Received before, or sent by ourselves.
    pub repeated: u64,
    /// Too old to be sure that they were not received before.
    pub stale: u64,
    /// From further in the future than clocks may differ.
    pub ahead: u64,
    /// From an author that there is no room for: too many are ahead of our clock. See
    /// [`ReplayLimits::authors`].
    pub crowded: u64,
}

impl Refused {
    fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Invalid => &mut self.invalid,
            Reason::Unstamped => &mut self.unstamped,
            Reason::Replay(Replay::Repeated) => &mut self.repeated,
            Reason::Replay(Replay::Stale) => &mut self.stale,
            Reason::Replay(Replay::Ahead) => &mut self.ahead,
            Reason::Replay(Replay::Crowded) => &mut self.crowded,
        } += 1;
    }
}

/// Why a message is not for the application.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Invalid,
    Unstamped,
    Replay(Replay),
}

/// Receives from a topic in which every message is signed.
///
/// The stream ends as that of a [`GossipReceiver`] does. What has arrived already is verified
/// together, up to sixteen messages at a time; see [`SignedMessage::verify_batch`] for what that
/// means.
#[derive(Debug)]
pub struct SignedReceiver {
    receiver: GossipReceiver,
    topic_id: TopicId,
    guard: ReplayGuard,
    /// What we have sent ourselves. Neighbors may send it back when the swarm has forgotten it,
    /// which is before it is too old.
    sent: Arc<Sent>,
    /// What the system's clock says, but in tests.
    pub(super) clock: fn() -> Stamp,
    refused: Refused,
    /// As of the events that were yielded.
    neighbors: BTreeSet<EndpointId>,
    /// Verified, and to be yielded first.
    ready: VecDeque<Received>,
    /// What came behind them and is not a message.
    then: Option<Option<Result<SignedEvent, ApiError>>>,
    /// How many messages are verified one by one from here on.
    pub(super) singly: u32,
}

impl SignedReceiver {
    pub(super) fn new(
        receiver: GossipReceiver,
        topic_id: TopicId,
        limits: ReplayLimits,
        sent: Arc<Sent>,
    ) -> Self {
        Self {
            receiver,
            topic_id,
            guard: ReplayGuard::new(limits),
            sent,
            clock: Stamp::now,
            refused: Refused::default(),
            neighbors: BTreeSet::new(),
            ready: VecDeque::new(),
            then: None,
            singly: 0,
        }
    }

    /// The direct neighbors, as of the events that were received so far.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(receiver: &mut SignedReceiver) -> Result<(), ApiError> {
    /// for neighbor in receiver.neighbors() {
    ///     println!("{}", neighbor.fmt_short());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn neighbors(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.neighbors.iter().copied()
    }

    /// Whether there is a neighbor, as of the events that were received so far.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(receiver: &mut SignedReceiver) -> Result<(), ApiError> {
    /// if !receiver.is_joined() {
    ///     println!("nobody is here yet");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_joined(&self) -> bool {
        !self.neighbors.is_empty()
    }

    /// Waits until there is a neighbor; returns at once when there is one.
    ///
    /// It takes the first [`SignedEvent::NeighborUp`] out of the stream, and nothing else.
    /// Cancel-safe.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(receiver: &mut SignedReceiver) -> Result<(), ApiError> {
    /// receiver.joined().await?;
    /// assert!(receiver.is_joined());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`GossipReceiver::joined`].
    pub async fn joined(&mut self) -> Result<(), ApiError> {
        if self.is_joined() {
            return Ok(());
        }
        if let Some(Some(Ok(SignedEvent::NeighborUp(peer)))) = self.then {
            self.then = None;
            self.neighbors.insert(peer);
            return Ok(());
        }
        if let Some(Some(Err(_)) | None) = self.then {
            return Err(match self.then.replace(None) {
                Some(Some(Err(error))) => error,
                _ => e!(ApiError::Closed),
            });
        }
        self.receiver.joined().await?;
        self.neighbors.extend(self.receiver.neighbors());
        Ok(())
    }

    /// What was kept from the application so far.
    ///
    /// ```
    /// # use smol_gossip::{TopicId, api::{ApiError, GossipTopic}};
    /// # use smol_gossip::signed::{ReplayLimits, SignedReceiver, SignedSender, SignedTopic, Signer};
    /// # async fn example(receiver: &mut SignedReceiver) -> Result<(), ApiError> {
    /// let refused = receiver.refused();
    /// println!("{} replays", refused.repeated + refused.stale);
    /// # Ok(())
    /// # }
    /// ```
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Takes what is there up to the first event that is not a message, and verifies it.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut messages = Vec::new();
        while messages.len() < LARGEST_BATCH {
            let event = match Pin::new(&mut self.receiver).poll_next(cx) {
                Poll::Ready(Some(Ok(Event::Received(message)))) => {
                    messages.push(message);
                    continue;
                }
                Poll::Ready(Some(Ok(Event::NeighborUp(peer)))) => Ok(SignedEvent::NeighborUp(peer)),
                Poll::Ready(Some(Ok(Event::NeighborDown(peer)))) => {
                    Ok(SignedEvent::NeighborDown(peer))
                }
                Poll::Ready(Some(Ok(Event::Lagged))) => Ok(SignedEvent::Lagged),
                Poll::Ready(Some(Err(error))) => Err(error),
                Poll::Ready(None) => {
                    self.then = Some(None);
                    break;
                }
                Poll::Pending if messages.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            };
            self.then = Some(Some(event));
            break;
        }
        self.verify(messages);
        Poll::Ready(())
    }

    fn verify(&mut self, messages: Vec<Message>) {
        let now = (self.clock)();
        // Before anything is proven, which is where the time goes. Nobody has to be believed for
        // this: whatever a forgery says, it is refused.
        let mut claims = Vec::with_capacity(messages.len());
        for message in messages {
            match self.claim(&message, now) {
                Ok(claim) => claims.push((message, claim)),
                Err(reason) => self.refused.count(reason),
            }
        }
        let proven = self.are_all_proven(&claims);
        for (message, claim) in claims {
            let signed = match proven {
                true => Ok(claim.message),
                false => claim.prove(self.topic_id).map_err(|_| Reason::Invalid),
            };
            match signed.and_then(|signed| self.accept(signed, &message, now)) {
                Ok(received) => self.ready.push_back(received),
                Err(reason) => self.refused.count(reason),
            }
        }
    }

    fn claim(&self, message: &Message, now: Stamp) -> Result<Claim, Reason> {
        let claim = Claim::read(&message.content).map_err(|_| Reason::Invalid)?;
        let stamp = claim.message.stamp.ok_or(Reason::Unstamped)?;
        let author = claim.message.author;
        let looked = self.sent.look(author, stamp);
        let looked = looked.and_then(|()| self.guard.look(author, stamp, now));
        looked.map_err(Reason::Replay)?;
        Ok(claim)
    }

    /// `false` also where it does not pay to look at them together.
    fn are_all_proven(&mut self, claims: &[(Message, Claim)]) -> bool {
        if self.singly > 0 {
            self.singly = self.singly.saturating_sub(claims.len() as u32);
            return false;
        }
        let all: Vec<&Claim> = claims.iter().map(|(_, claim)| claim).collect();
        let proven = are_all_proven(self.topic_id, &all);
        if !proven && all.len() >= SMALLEST_BATCH {
            self.singly = SINGLY_AFTER_FAILURE;
        }
        proven
    }

    fn accept(
        &mut self,
        signed: SignedMessage,
        message: &Message,
        now: Stamp,
    ) -> Result<Received, Reason> {
        let stamp = signed.stamp.ok_or(Reason::Unstamped)?;
        let accepted = self.guard.accept(signed.author, stamp, now);
        accepted.map_err(Reason::Replay)?;
        Ok(Received {
            author: signed.author,
            stamp,
            payload: signed.payload,
            scope: message.scope,
            delivered_from: message.delivered_from,
        })
    }
}

impl Stream for SignedReceiver {
    type Item = Result<SignedEvent, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut batches = 0;
        loop {
            if let Some(received) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(SignedEvent::Received(received))));
            }
            match self.then.take() {
                Some(Some(Ok(event))) => {
                    match &event {
                        SignedEvent::NeighborUp(peer) => {
                            self.neighbors.insert(*peer);
                        }
                        SignedEvent::NeighborDown(peer) => {
                            self.neighbors.remove(peer);
                        }
                        SignedEvent::Received(_) | SignedEvent::Lagged => {}
                    }
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(last) => {
                    self.then = Some(None);
                    return Poll::Ready(last);
                }
                None if batches == BATCHES_PER_POLL => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    ready!(self.poll_fill(cx));
                    batches += 1;
                }
            }
        }
    }
}
