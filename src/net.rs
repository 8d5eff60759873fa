//! The node on the network: one future over an iroh endpoint.
//!
//! [`Gossip`] is the handle, [`Driver`] is the node. Everything between them and the protocol is
//! private, and laid out along the way of a message:
//!
//! | module | what it does |
//! |---|---|
//! | `node` | everything that a node owns |
//! | `driver` | the poll loop |
//! | `ready` | whose frames are handled next |
//! | `receive` | results of tasks, frames of peers → protocol |
//! | `orders` | what handles ask for → protocol |
//! | `digest` | ids of many messages at once |
//! | `send`, `encoder` | protocol → queues of peers, subscribers, timers |
//! | `peer`, `queue` | what is known of a peer, and what waits for it |
//! | `streams` | queues → streams |
//! | `admission` | who may begin a connection |
//! | `links`, `dial` | connections: when they begin and end |
//! | `connection` | the steps of a connection, as tasks for the slab |
//! | `topics` | subscriptions |
//! | `inspect` | what a topic holds, and what goes wrong with peers, for those who ask |
//! | `transport` | the little that all this asks of a network, and iroh doing it |
//! | `addr_info`, `address_lookup` | addresses on the wire, and those learnt from it |

use std::{ops::Deref, sync::Arc};

use iroh::{
    PublicKey,
    endpoint::{Connection, QuicTransportConfig},
    protocol::{AcceptError, IncomingFilter, ProtocolHandler},
};
use n0_error::{e, stack_error};
use tracing::debug;

use self::{admission::Admission, inspect::Request};
pub use self::{
    builder::{BuildError, Builder},
    driver::Driver,
    inspect::{Diagnostic, Diagnostics, DownReason, NeighborStats, NodeStats, TopicStats},
    limits::Limits,
};
use crate::{
    api::{GossipApi, mailbox::Mailbox},
    metrics::Metrics,
    proto,
};

mod addr_info;
mod address_lookup;
mod admission;
mod blocks;
mod builder;
mod burden;
mod connection;
mod dial;
mod digest;
mod direct;
mod driver;
mod encoder;
mod frames;
mod handshakes;
mod hold;
mod inspect;
mod limits;
mod links;
mod news;
mod node;
mod orders;
mod peer;
mod queue;
mod ready;
mod receive;
mod send;
mod streams;
#[cfg(test)]
mod tests;
mod topics;
mod transport;

/// What is not for programs, but for those who test what goes over the wire.
#[cfg(feature = "test-utils")]
#[doc(hidden)]
pub mod testing {
    use iroh::{EndpointAddr, EndpointId};

    use super::addr_info::AddrInfo;
    use crate::proto::PeerData;

    /// The addresses that peer data holds, if it can be read.
    pub fn addresses(peer: EndpointId, data: &PeerData) -> Option<EndpointAddr> {
        Some(AddrInfo::decode(data).ok()?.0.into_addr(peer))
    }

    /// The peer data that says where a peer is.
    pub fn peer_data(addr: EndpointAddr) -> PeerData {
        AddrInfo::from(addr).encode()
    }
}

/// The ALPN of the gossip protocol.
pub const GOSSIP_ALPN: &[u8] = b"/iroh-gossip/1";

/// What a topic reports, in the protocol's own terms.
pub type ProtoEvent = proto::Event<PublicKey>;

/// What a topic is asked for, in the protocol's own terms.
pub type ProtoCommand = proto::Command<PublicKey>;

/// QUIC parameters that suit gossip, for the application's endpoint.
///
/// The driver dials with them; an endpoint bound with them uses them for the connections that it
/// accepts too. iroh's own flow-control windows are so large that a node under load in both
/// directions drops its own packets. A peer may open 128 unidirectional streams at first; a node allows it more as
/// it uses them, for gossip and not for other protocols of the endpoint.
///
/// ```no_run
/// # async fn bind() -> Result<(), iroh::endpoint::BindError> {
/// use iroh::{Endpoint, endpoint::presets};
///
/// let endpoint = Endpoint::builder(presets::Minimal)
///     .transport_config(smol_gossip::net::transport_config())
///     .bind()
///     .await?;
/// # drop(endpoint);
/// # Ok(())
/// # }
/// ```
pub fn transport_config() -> QuicTransportConfig {
    transport::iroh::transport_config(Limits::default().streams_per_connection)
}

/// A node that takes part in topics. Clones are the same node.
///
/// It derefs to [`GossipApi`], which is where topics are subscribed to.
///
/// A node needs connections to be handed to it: by registering it as a protocol with iroh's
/// [`Router`](iroh::protocol::Router), by calling [`Self::handle_connection`] from an accept loop,
/// or by [`Builder::accept_incoming`]. It makes connections to others by itself.
///
/// When the last clone is dropped, the node leaves its topics and ends.
#[derive(Debug, Clone)]
pub struct Gossip {
    node: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    api: GossipApi,
    mailbox: Mailbox,
    connections: async_channel::Sender<Connection>,
    requests: async_channel::Sender<Request>,
    max_message_size: usize,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
}

/// Why a call to [`Gossip`] failed.
#[stack_error(derive, add_meta)]
#[non_exhaustive]
pub enum Error {
    /// The node has ended. Nothing was changed; a connection that was handed over is closed.
    #[error("the gossip node has ended")]
    ActorDropped {},
}

impl Gossip {
    /// Settings for a new node.
    ///
    /// ```
    /// # use smol_gossip::Gossip;
    /// let builder = Gossip::builder().max_message_size(8192);
    /// # drop(builder);
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(
        mailbox: Mailbox,
        connections: async_channel::Sender<Connection>,
        requests: async_channel::Sender<Request>,
        max_message_size: usize,
        metrics: Arc<Metrics>,
        admission: Arc<Admission>,
    ) -> Self {
        let node = Arc::new(Handle {
            api: GossipApi::local(mailbox.clone()),
            mailbox,
            connections,
            requests,
            max_message_size,
            metrics,
            admission,
        });
        Self { node }
    }

    /// A node that has ended before it began.
    fn closed(max_message_size: usize) -> Self {
        let (mailbox, _) = crate::api::mailbox::channel(max_message_size);
        let (connections, _) = async_channel::bounded(1);
        let (requests, _) = async_channel::bounded(1);
        let metrics = Arc::<Metrics>::default();
        let rate = Limits::default().handshakes_per_second;
        let admission = Arc::new(Admission::new(rate, metrics.clone()));
        Self::new(
            mailbox,
            connections,
            requests,
            max_message_size,
            metrics,
            admission,
        )
    }

    /// The largest frame that this node reads, in bytes.
    ///
    /// The largest content of a message is some 40 bytes less; see
    /// [`ApiError::TooLarge`](crate::api::ApiError::TooLarge).
    ///
    /// ```
    /// # use smol_gossip::{Gossip, net::Error};
    /// # async fn example(gossip: Gossip) -> Result<(), Error> {
    /// assert_eq!(gossip.max_message_size(), 4096);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_message_size(&self) -> usize {
        self.node.max_message_size
    }

    /// Hands over a connection that a peer made to us. Check its ALPN before.
    ///
    /// Waits while many others have not been looked at. Cancel-safe: a cancelled call drops the
    /// connection.
    ///
    /// ```
    /// # use smol_gossip::{Gossip, net::Error};
    /// # async fn example(gossip: Gossip, connection: iroh::endpoint::Connection) -> Result<(), Error> {
    /// // In an accept loop of your own:
    /// if connection.alpn() == smol_gossip::ALPN {
    ///     gossip.handle_connection(connection).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ActorDropped`] when the node has ended.
    pub async fn handle_connection(&self, conn: Connection) -> Result<(), Error> {
        let sent = self.node.connections.send(conn).await;
        sent.map_err(|_| e!(Error::ActorDropped))
    }

    /// A filter for the router of the node's endpoint, which keeps each source of connections to
    /// [`Limits::handshakes_per_second`].
    ///
    /// A handshake takes longer than anything else that a stranger can ask for, and before it nothing but an
    /// address is known of who wants it. Without the filter, one source can have the endpoint do nothing else.
    /// With it, what comes too often is ignored or has to prove its address, and is counted as
    /// `handshakes_limited`. It holds for all protocols of the endpoint. Nodes that
    /// [accept connections themselves](Builder::accept_incoming) do not need it.
    ///
    /// ```no_run
    /// # use smol_gossip::{ALPN, Gossip};
    /// # fn accept(endpoint: iroh::Endpoint, gossip: Gossip) -> iroh::protocol::Router {
    /// use iroh::protocol::Router;
    ///
    /// let router = Router::builder(endpoint)
    ///     .incoming_filter(gossip.incoming_filter())
    ///     .accept(ALPN, gossip.clone())
    ///     .spawn();
    /// # router
    /// # }
    /// ```
    pub fn incoming_filter(&self) -> IncomingFilter {
        let admission = self.node.admission.clone();
        Arc::new(move |incoming| admission.decide(incoming))
    }

    /// Leaves all topics, tells the neighbors, and ends the node.
    ///
    /// Returns once the neighbors have taken the farewell and what was broadcast before, but no later
    /// than [`Limits::shutdown_timeout`] after the driver got to it. What no neighbor has taken by then is
    /// lost; that is all of it where there was no neighbor. A cancelled call does not stop the shutdown.
    ///
    /// Close the endpoint after this, and not before: a node whose endpoint is closed goes on, alone, and
    /// nobody hears what it broadcasts.
    ///
    /// ```
    /// # use smol_gossip::{Gossip, net::Error};
    /// # async fn example(gossip: Gossip) -> Result<(), Error> {
    /// gossip.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ActorDropped`] when the node has ended already.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (reply, done) = async_channel::bounded(1);
        self.request(Request::Shutdown(reply)).await?;
        done.recv().await.map_err(|_| e!(Error::ActorDropped))
    }

    /// What a topic holds right now, or `None` if the node is not in it.
    ///
    /// The driver answers between two passes over its work. Cancel-safe, and it changes nothing.
    ///
    /// ```no_run
    /// # use smol_gossip::{Gossip, TopicId, net::Error};
    /// # async fn look(gossip: Gossip, topic: TopicId) -> Result<(), Error> {
    /// if let Some(stats) = gossip.topic_stats(topic).await? {
    ///     let eager = stats.neighbors.iter().filter(|neighbor| neighbor.eager);
    ///     println!("{} of {} get payloads", eager.count(), stats.neighbors.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ActorDropped`] when the node has ended.
    pub async fn topic_stats(&self, topic: proto::TopicId) -> Result<Option<TopicStats>, Error> {
        let (reply, answer) = async_channel::bounded(1);
        self.request(Request::TopicStats(topic, reply)).await?;
        answer.recv().await.map_err(|_| e!(Error::ActorDropped))
    }

    /// What the node holds right now, in all topics together.
    ///
    /// It takes time in proportion to the peers, and changes nothing. Cancel-safe. A node that is
    /// in one topic, and at rest, holds no more than a handful of everything: what grows and stays
    /// is worth a report.
    ///
    /// ```no_run
    /// # use smol_gossip::{Gossip, net::Error};
    /// # async fn look(gossip: Gossip) -> Result<(), Error> {
    /// let stats = gossip.node_stats().await?;
    /// println!("{stats:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ActorDropped`] when the node has ended.
    pub async fn node_stats(&self) -> Result<NodeStats, Error> {
        let (reply, answer) = async_channel::bounded(1);
        self.request(Request::NodeStats(reply)).await?;
        answer.recv().await.map_err(|_| e!(Error::ActorDropped))
    }

    /// Listens to what goes wrong with peers from now on, in all topics.
    ///
    /// It is for people who look for a cause. Nothing is slowed down when it is not read: what
    /// there is no room for is lost, and [counted](Diagnostics::lost).
    ///
    /// ```no_run
    /// # use smol_gossip::{Gossip, net::Error};
    /// # async fn listen(gossip: Gossip) -> Result<(), Error> {
    /// use futures_lite::StreamExt;
    ///
    /// let mut diagnostics = gossip.diagnostics().await?;
    /// while let Some(diagnostic) = diagnostics.next().await {
    ///     eprintln!("{diagnostic:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ActorDropped`] when the node has ended.
    pub async fn diagnostics(&self) -> Result<Diagnostics, Error> {
        let (watcher, diagnostics) = inspect::watch();
        self.request(Request::Watch(watcher)).await?;
        Ok(diagnostics)
    }

    async fn request(&self, request: Request) -> Result<(), Error> {
        let sent = self.node.requests.send(request).await;
        sent.map_err(|_| e!(Error::ActorDropped))
    }

    /// What the node has counted.
    ///
    /// ```
    /// # use smol_gossip::{Gossip, net::Error};
    /// # async fn example(gossip: Gossip) -> Result<(), Error> {
    /// println!("{} messages came twice", gossip.metrics().duplicates.get());
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.node.metrics
    }
}

impl Deref for Gossip {
    type Target = GossipApi;

    fn deref(&self) -> &GossipApi {
        &self.node.api
    }
}

impl ProtocolHandler for Gossip {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        self.handle_connection(connection)
            .await
            .map_err(AcceptError::from_err)
    }

    async fn shutdown(&self) {
        if let Err(error) = Gossip::shutdown(self).await {
            debug!(%error, "nothing to shut down");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.mailbox.stop();
    }
}
