//! What goes into the protocol state and what comes out of it.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ids::{LinkId, TopicId},
    message::Message,
    peer::PeerData,
    plumtree::{DeliveryScope, Scope},
};

/// The one timer of a topic. It carries a generation, so the timer of a topic that is gone is
/// never mistaken for that of a topic which took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl TimerId {
    /// A small number that no other living topic has: an index for the caller's own table.
    ///
    /// ```
    /// # use std::{collections::BTreeMap, time::Instant};
    /// # use smol_gossip::proto::TimerId;
    /// /// When the timer of each topic is due.
    /// struct Timers(BTreeMap<usize, (TimerId, Instant)>);
    ///
    /// impl Timers {
    ///     fn set(&mut self, timer: TimerId, deadline: Instant) {
    ///         self.0.insert(timer.slot(), (timer, deadline));
    ///     }
    /// }
    /// ```
    pub fn slot(&self) -> usize {
        self.slot as usize
    }
}

/// Input to [`State::handle`](super::State::handle).
#[derive(Clone, Debug)]
pub enum InEvent<PI> {
    /// A message arrived.
    RecvMessage {
        /// Who sent it.
        from: PI,
        /// The connection that it came over.
        link: LinkId,
        /// The topic of the stream that it came over.
        topic: TopicId,
        /// The message. The content of a payload is kept as it is for as long as the message is
        /// remembered, so it had better not be part of something much larger.
        message: Message<PI>,
    },
    /// The application wants something of a topic.
    Command(TopicId, Command<PI>),
    /// The deadline of a timer has passed.
    TimerExpired(TimerId),
    /// The last connection to a peer is gone.
    PeerDisconnected(PI),
    /// What was sent to a peer lately in a topic may not have arrived: the connection that it went
    /// over is lost, or does not answer any more. There is another one to the peer.
    StreamLost {
        /// To whom.
        to: PI,
        /// In which topic.
        topic: TopicId,
    },
    /// A connection to a peer could not be made.
    DialFailed(PI),
    /// Our own addresses changed.
    UpdatePeerData(PeerData),
}

/// What the application wants of a topic.
#[derive(Clone, derive_more::Debug)]
pub enum Command<PI> {
    /// Take part in the topic, and keep trying to join through these peers until joined.
    ///
    /// Without peers the node waits to be joined by others.
    Join(Vec<PI>),
    /// Send a message. The content is kept as it is for as long as the message is remembered.
    Broadcast(#[debug("{} bytes", _0.len())] Bytes, Scope),
    /// Leave the topic and forget its state.
    Quit,
}

/// Where [`State::handle`](super::State::handle) puts what follows, in the order in which it has
/// to be carried out.
pub type Outbox<PI> = VecDeque<OutEvent<PI>>;

/// Output of [`State::handle`](super::State::handle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutEvent<PI> {
    /// Send a message, connecting to the peer first where there is no connection.
    SendMessage {
        /// To whom.
        to: PI,
        /// In which topic.
        topic: TopicId,
        /// What.
        message: Message<PI>,
    },
    /// Tell the application.
    EmitEvent(TopicId, Event<PI>),
    /// Set the timer, or move it when it is set already.
    SetTimer(TimerId, Instant),
    /// Forget the timer.
    CancelTimer(TimerId),
    /// No topic needs the connection to this peer any more. What is queued for it still goes out.
    DisconnectPeer(PI),
    /// A peer was introduced with this data (never empty).
    PeerData(PI, PeerData),
}

/// What a topic tells the application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event<PI> {
    /// A peer is our direct neighbor now.
    NeighborUp(PI),
    /// A peer is not our direct neighbor any more.
    NeighborDown(PI),
    /// A message arrived.
    Received(GossipEvent<PI>),
}

/// A message as it is handed to the application.
#[derive(Clone, derive_more::Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GossipEvent<PI> {
    /// What was sent.
    #[debug("{} bytes", content.len())]
    pub content: Bytes,
    /// The peer that handed it to us, which need not be its author.
    pub delivered_from: PI,
    /// How it was sent, and how far it has come.
    pub scope: DeliveryScope,
}
