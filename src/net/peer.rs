//! What the node knows of each peer: its connections, our streams to it, what waits for it.

use std::{collections::VecDeque, time::Instant};

use indexmap::IndexMap;
use iroh::EndpointId;
use smol_gossip_runtime::{TaskId, TimerKey};

use super::{
    connection::{ConnectionKey, Reader, StreamKey},
    queue::SendQueue,
    transport::{Connection, Transport},
};
use crate::proto::TopicId;

/// A peer that we are connected to, or want to be.
pub(crate) struct Peer<T: Transport> {
    /// Whether a topic needs it.
    pub(crate) wanted: bool,
    /// Only while it is among those to flush, though it may be there without. Spares a busy peer
    /// the look.
    pub(crate) dirty: bool,
    /// Whether we ever sent it anything.
    pub(crate) served: bool,
    /// Whether it has left us, and not we it. Then it is the one that knows whether it needs the
    /// connection again in a moment, and closes it.
    pub(crate) left_us: bool,
    /// Whether those who listen were told that it is slow.
    pub(crate) slow: bool,
    /// Its connections, the newest last.
    pub(crate) connections: Vec<ConnectionKey>,
    /// Connections that are lost, but that are still read.
    pub(crate) draining: usize,
    pub(crate) dial: Dial,
    pub(crate) queue: SendQueue,
    /// Our streams.
    pub(crate) streams: IndexMap<TopicId, OutStream<T>>,
    /// Invariant: the bytes that they are busy writing.
    pub(crate) writing: usize,
    /// When something last came from it.
    pub(crate) heard: Instant,
    pub(crate) retire_timer: Option<TimerKey>,
    pub(crate) stuck_timer: Option<TimerKey>,
    pub(crate) idle_timer: Option<TimerKey>,
}

/// How far the dialing of a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// It is not dialed.
    None,
    /// It waits for other dials to end.
    Waiting,
    /// It is dialed.
    Active(TaskId, TimerKey),
}

/// A connection.
pub(crate) struct Link<T: Transport> {
    pub(crate) peer: EndpointId,
    pub(crate) connection: T::Connection,
    /// The streams of the peer, by topic. One of each topic is being read; those that the peer
    /// opened after it wait here until it ends, so that they are read in order.
    pub(crate) readers: IndexMap<TopicId, VecDeque<Reader<<T::Connection as Connection>::Recv>>>,
    /// The stream that has not named its topic yet.
    pub(crate) header: Option<(TaskId, TimerKey)>,
    /// Whether further streams of the peer are waited for. If neither that nor a header is, the peer
    /// is held.
    pub(crate) accepting: bool,
    /// Streams that the peer may have open.
    pub(crate) allowed: u32,
    /// Streams that it has opened since it was last allowed more, for topics that we are in.
    pub(crate) opened: u32,
    /// Whether it can carry nothing more. What arrived before is still read, so that the last
    /// words of a peer are heard even if they come together with its hanging up.
    pub(crate) lost: bool,
    /// When it was made.
    pub(crate) made: Instant,
    /// When a stream was last read or closed on it.
    pub(crate) used: Instant,
}

impl<T: Transport> Peer<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            wanted: false,
            dirty: false,
            served: false,
            left_us: false,
            slow: false,
            connections: Vec::new(),
            draining: 0,
            dial: Dial::None,
            queue: SendQueue::default(),
            streams: IndexMap::new(),
            writing: 0,
            heard: now,
            retire_timer: None,
            stuck_timer: None,
            idle_timer: None,
        }
    }

    /// Notes that something is sent to it. Says whether it has to be put among those to flush.
    pub(crate) fn serve(&mut self) -> bool {
        self.wanted = true;
        self.served = true;
        self.left_us = false;
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Whether all that is left of it is a lost connection that is still read.
    pub(crate) fn is_draining(&self) -> bool {
        self.connections.is_empty() && self.draining > 0
    }
}

impl<T: Transport> Link<T> {
    /// Whether it can carry nothing more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }
}

/// A stream of ours.
pub(crate) struct OutStream<T: Transport> {
    pub(crate) key: StreamKey,
    pub(crate) state: OutState<<T::Connection as Connection>::Send>,
    /// When the state began.
    pub(crate) since: Instant,
    /// Whether it has not named its topic yet.
    pub(crate) fresh: bool,
    /// Whether the last that was written is that we have left the topic.
    pub(crate) said_farewell: bool,
    /// Whether the peer has left the topic, and waits for this stream to end.
    pub(crate) over: bool,
}

/// What a stream of ours is busy with.
pub(crate) enum OutState<S> {
    /// Being opened; `held_up` when the peer has to allow it first.
    Opening { held_up: bool },
    /// With nothing.
    Idle(S),
    /// With a write of so many bytes.
    Writing(usize),
    /// Being finished.
    Finishing(Farewell),
}

/// What a stream that is being finished has said at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Nothing of the kind.
    None,
    /// That we have left the topic, or let the peer go.
    Said,
    /// The same, and the peer has answered with the end of its own stream.
    Answered,
}

impl<T: Transport> OutStream<T> {
    /// How many bytes it is busy writing.
    pub(crate) fn writing(&self) -> usize {
        match self.state {
            OutState::Writing(bytes) => bytes,
            OutState::Opening { .. } | OutState::Idle(_) | OutState::Finishing(_) => 0,
        }
    }

    pub(crate) fn opening(key: StreamKey, now: Instant) -> Self {
        Self {
            key,
            state: OutState::Opening { held_up: false },
            since: now,
            fresh: true,
            said_farewell: false,
            over: false,
        }
    }
}

impl<S> OutState<S> {
    /// Whether the stream is being opened.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self, Self::Opening { .. })
    }

    /// Whether the stream waits for the peer to allow it.
    pub(crate) fn is_held_up(&self) -> bool {
        matches!(self, Self::Opening { held_up: true })
    }

    /// Whether the peer is known to have read all there was.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self, Self::Finishing(Farewell::Answered))
    }

    /// Whether the peer has to do its part for this to go on.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Opening { .. } | Self::Writing(_) | Self::Finishing(_) => true,
            Self::Idle(_) => false,
        }
    }
}

/// How many peers are dialed, and which ones wait to be.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    pub(crate) active: usize,
    pub(crate) waiting: VecDeque<EndpointId>,
}
