//! The little that the driver asks of a network.
//!
//! Everything in `net` is written against these traits, not against iroh: connections between
//! named peers, one-way streams on them, and what is known about addresses. Each method is a call
//! that the driver really makes. [`iroh`] is the implementation that users get; tests run on a network
//! in memory, with faults on demand.
//!
//! **Invariant:** once a connection is closed or lost, every pending future of it resolves. The
//! driver relies on that instead of tracking which tasks belong to a connection. What had arrived
//! before can still be accepted and read; then come the errors.

use std::{future::Future, pin::Pin, time::Instant};

use ::iroh::EndpointId;
use bytes::Bytes;
use futures_lite::Stream;

use super::address_lookup::Teller;
use crate::proto::PeerData;

pub(crate) mod iroh;
#[cfg(test)]
pub(crate) mod memory;

/// A boxed future as the task slab keeps it.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A boxed stream.
pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// A connection that is being made.
pub(crate) type Handshake<C> = BoxFuture<Result<C, Broken>>;

/// Why a connection, a stream or a dial is of no use any more. For people: the driver treats all
/// reasons alike.
#[derive(Clone, Debug, derive_more::Display)]
#[display("{_0}")]
pub(crate) struct Broken(pub(crate) String);

impl Broken {
    /// Takes the reason from an error.
    pub(crate) fn from_error(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What remembering the addresses of a peer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// Other peers that were forgotten for it.
    pub(crate) evicted: usize,
    /// Addresses of the peer beyond those that are kept of one.
    pub(crate) left_out: usize,
}

/// A network that one node is attached to.
pub(crate) trait Transport: Send + 'static {
    /// A connection to a peer.
    type Connection: Connection;

    /// Who we are.
    fn local_id(&self) -> EndpointId;

    /// What others need to reach us, as of now.
    fn local_data(&self) -> PeerData;

    /// What others need to reach us, whenever it changes.
    fn local_data_changes(&self) -> BoxStream<PeerData>;

    /// Dials a peer.
    fn connect(&self, peer: EndpointId) -> Handshake<Self::Connection>;

    /// Waits for the next connection that others make to us, and begins its handshake. `None`
    /// means that there will not be any more.
    fn accept(&self) -> BoxFuture<Option<Handshake<Self::Connection>>>;

    /// Remembers how to reach a peer, for later dials. `None` where it was of no use.
    fn learn(
        &mut self,
        peer: EndpointId,
        data: &PeerData,
        teller: Teller,
        now: Instant,
    ) -> Option<Learnt>;

    /// Whether anything that was learnt of a peer from this teller is still remembered.
    fn knows(&self, peer: EndpointId, teller: Teller) -> bool;

    /// Whether it is crowded: from then on, whoever connects has to prove its address first.
    fn set_crowded(&mut self, crowded: bool);

    /// Forgets what was learnt too long ago; returns when to call again, if at all.
    fn forget_stale(&mut self, now: Instant) -> Option<Instant>;
}

/// A connection to one peer. Clones are the same connection.
pub(crate) trait Connection: Clone + Send + Sync + 'static {
    /// A stream that we write.
    type Send: SendStream;
    /// A stream that the peer writes.
    type Recv: RecvStream;

    /// The peer, authenticated.
    fn remote_id(&self) -> EndpointId;

    /// Sets how many streams the peer may have open towards us at once.
    fn allow_streams(&self, count: u32);

    /// Opens a stream; waits while the peer allows no more of them.
    fn open_stream(&self) -> impl Future<Output = Result<Self::Send, Broken>> + Send + 'static;

    /// Waits for the next stream of the peer, in the order in which they were opened.
    fn accept_stream(&self) -> impl Future<Output = Result<Self::Recv, Broken>> + Send + 'static;

    /// Resolves when the connection is gone, whoever closed it.
    fn closed(&self) -> impl Future<Output = Broken> + Send + 'static;

    /// Closes the connection at once; what was not delivered is lost.
    fn close(&self, reason: &'static str);
}

/// A stream that we write.
pub(crate) trait SendStream: Send + 'static {
    /// Writes all chunks. Not cancel-safe: the stream is of no use after a cancelled write.
    fn write_all(
        &mut self,
        chunks: &mut [Bytes],
    ) -> impl Future<Output = Result<(), Broken>> + Send;

    /// Says that nothing more follows, and waits until the peer's transport has it all.
    fn finish(self) -> impl Future<Output = Result<(), Broken>> + Send;
}

/// A stream that the peer writes.
pub(crate) trait RecvStream: Send + 'static {
    /// Waits for data, and fills a leading part of `chunks` with it. Zero means that the stream
    /// ended cleanly. Cancel-safe: nothing is lost where the future is dropped, and its waker is still
    /// woken when there is data.
    fn read(&mut self, chunks: &mut [Bytes]) -> impl Future<Output = Result<usize, Broken>> + Send;

    /// Tells the peer that we read no further.
    fn stop(&mut self);
}
