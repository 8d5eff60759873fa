//! Messages of the broadcast layer. The order of variants and fields is the wire format.

use std::ops::{Add, Sub};

use bytes::Bytes;
use derive_more::From;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::proto::MessageId;

/// How many hops a message has come. Zero on the way from its author.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, From,
)]
pub struct Round(u16);

impl Round {
    /// One hop more. Stays at the largest value once there.
    ///
    /// ```
    /// # use smol_gossip::proto::Round;
    /// assert_eq!(Round::from(6).next().hops(), 7);
    /// assert_eq!(Round::from(u16::MAX).next().hops(), u16::MAX);
    /// ```
    pub fn next(&self) -> Round {
        Round(self.0.saturating_add(1))
    }

    /// The number of hops.
    ///
    /// ```
    /// # use smol_gossip::proto::Round;
    /// assert_eq!(Round::from(6).hops(), 6);
    /// ```
    pub fn hops(&self) -> u16 {
        self.0
    }
}

/// Stays within bounds: rounds come from peers, and any may be the largest.
impl Add for Round {
    type Output = Self;

    fn add(self, hops: Self) -> Self {
        Self(self.0.saturating_add(hops.0))
    }
}

/// Stays at zero once there.
impl Sub for Round {
    type Output = Self;

    fn sub(self, hops: Self) -> Self {
        Self(self.0.saturating_sub(hops.0))
    }
}

/// Who is to get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Everyone in the swarm.
    Swarm,
    /// Our direct neighbors, and nobody beyond them.
    Neighbors,
}

/// How a message was sent, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeliveryScope {
    /// To everyone in the swarm; it has come this many hops.
    Swarm(Round),
    /// To the direct neighbors of its author.
    Neighbors,
}

impl DeliveryScope {
    /// Whether the message came straight from its author.
    ///
    /// ```
    /// # use smol_gossip::proto::DeliveryScope;
    /// assert!(DeliveryScope::Neighbors.is_direct());
    /// assert!(!DeliveryScope::Swarm(3.into()).is_direct());
    /// ```
    pub fn is_direct(&self) -> bool {
        match self {
            Self::Neighbors => true,
            Self::Swarm(round) => round.0 == 0,
        }
    }
}

/// A message of the broadcast layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A payload.
    Gossip(Gossip),
    /// The sender wants announcements from us, not payloads.
    Prune,
    /// The sender wants payloads from us, and perhaps one in particular.
    Graft(Graft),
    /// The sender has these payloads.
    IHave(IHaves),
}

impl Message {
    /// An announcement of no message, the smallest there is. To a new neighbor it is a question for what came
    /// lately; else it is a sign of life, and asks for no answer.
    pub(crate) fn nothing() -> Self {
        Self::IHave(IHaves::new())
    }
}

/// What an IHave message announces: most often one message, for which no memory is asked.
pub type IHaves = SmallVec<[IHave; 1]>;

/// See [`Message::Gossip`].
#[derive(Clone, derive_more::Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// The hash of the content.
    pub id: MessageId,
    /// The payload.
    #[debug("{} bytes", content.len())]
    pub content: Bytes,
    /// To whom, and how far it has come.
    pub scope: DeliveryScope,
}

/// See [`Message::Graft`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graft {
    /// The payload that is asked for, if any.
    pub id: Option<MessageId>,
    /// The round of the announcement that led to this.
    pub round: Round,
}

/// One announcement. See [`Message::IHave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IHave {
    /// The message that the sender has.
    pub id: MessageId,
    /// The round that the message would arrive with.
    pub round: Round,
}
