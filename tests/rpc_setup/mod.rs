//! Daemons and clients, of ours and of `iroh-gossip`, on loopback.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use futures_lite::{Stream, StreamExt};
use iroh::{EndpointId, address_lookup::memory::MemoryLookup, protocol::Router};
use irpc::util::{make_insecure_client_endpoint, make_server_endpoint};
use smol_gossip::{
    TopicId,
    api::{Event, GossipApi},
    net::GOSSIP_ALPN,
};
use tokio::task::JoinHandle;

use crate::common::{Events, bind, within};

/// Whose code a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Upstream,
}

/// Who connects to whom.
pub const PAIRS: [[Kind; 2]; 3] = [
    [Kind::Ours, Kind::Ours],
    [Kind::Ours, Kind::Upstream],
    [Kind::Upstream, Kind::Ours],
];

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A node that listens for clients.
pub struct Daemon {
    pub router: Router,
    /// The node, if it is one of ours.
    pub gossip: Option<smol_gossip::Gossip>,
    pub endpoint: noq::Endpoint,
    pub listening: JoinHandle<()>,
}

impl Daemon {
    pub async fn start(kind: Kind, n: u8, book: &MemoryLookup) -> Self {
        let iroh = bind(n, book).await;
        let (endpoint, _) = make_server_endpoint(LOOPBACK).expect("loopback is there");
        let router = Router::builder(iroh.clone());
        let (router, gossip, listening) = match kind {
            Kind::Ours => {
                let gossip = smol_gossip::Gossip::builder().spawn(iroh);
                let router = router.accept(GOSSIP_ALPN, gossip.clone());
                let listening = tokio::spawn(gossip.clone().listen(endpoint.clone()));
                (router, Some(gossip), listening)
            }
            Kind::Upstream => {
                let gossip = iroh_gossip::Gossip::builder().spawn(iroh);
                let router = router.accept(GOSSIP_ALPN, gossip.clone());
                let listening = tokio::spawn(gossip.listen(endpoint.clone()));
                (router, None, listening)
            }
        };
        Self {
            router: router.spawn(),
            gossip,
            endpoint,
            listening,
        }
    }

    /// One of ours.
    pub async fn ours(n: u8, book: &MemoryLookup) -> (Self, smol_gossip::Gossip) {
        let daemon = Self::start(Kind::Ours, n, book).await;
        let gossip = daemon.gossip.clone().expect("one of ours");
        (daemon, gossip)
    }

    pub fn id(&self) -> EndpointId {
        self.router.endpoint().id()
    }

    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("it is bound")
    }

    /// A client of ours.
    pub fn client(&self) -> GossipApi {
        GossipApi::connect(client_endpoint(), self.addr())
    }

    /// Ends the node, and then the listening.
    pub async fn stop(self) {
        within("shutdown", self.router.shutdown())
            .await
            .expect("nothing panicked");
        self.endpoint.close(0u8.into(), b"");
        within("listening to end", self.listening)
            .await
            .expect("nothing panicked");
    }
}

/// An endpoint to connect from.
pub fn client_endpoint() -> noq::Endpoint {
    make_insecure_client_endpoint(LOOPBACK).expect("loopback is there")
}

/// A program in another process, as far as the daemon can tell.
pub enum AnyClient {
    Ours(GossipApi),
    Upstream(iroh_gossip::api::GossipApi),
}

/// A subscription of such a program.
pub struct AnyTopic {
    pub sender: AnySender,
    pub events: Events,
}

pub enum AnySender {
    Ours(smol_gossip::api::GossipSender),
    Upstream(iroh_gossip::api::GossipSender),
}

impl AnyClient {
    pub fn connect(kind: Kind, daemon: &Daemon) -> Self {
        Self::connect_from(client_endpoint(), kind, daemon)
    }

    pub fn connect_from(endpoint: noq::Endpoint, kind: Kind, daemon: &Daemon) -> Self {
        let addr = daemon.addr();
        match kind {
            Kind::Ours => Self::Ours(GossipApi::connect(endpoint, addr)),
            Kind::Upstream => Self::Upstream(iroh_gossip::api::GossipApi::connect(endpoint, addr)),
        }
    }

    pub async fn subscribe(&self, topic: TopicId, bootstrap: &[EndpointId]) -> AnyTopic {
        let bootstrap = bootstrap.to_vec();
        match self {
            Self::Ours(api) => {
                let topic = within("subscribe", api.subscribe(topic, bootstrap)).await;
                let (sender, receiver) = topic.expect("the daemon runs").split();
                AnyTopic {
                    sender: AnySender::Ours(sender),
                    events: Events::new(receiver.map(|event| event.expect("still connected"))),
                }
            }
            Self::Upstream(api) => {
                let topic = (*topic.as_bytes()).into();
                let topic = within("subscribe", api.subscribe(topic, bootstrap)).await;
                let (sender, receiver) = topic.expect("the daemon runs").split();
                AnyTopic {
                    sender: AnySender::Upstream(sender),
                    events: Events::new(from_upstream(receiver)),
                }
            }
        }
    }
}

impl AnySender {
    pub async fn broadcast(&self, content: impl Into<Bytes>) {
        let content = content.into();
        match self {
            Self::Ours(sender) => sender.broadcast(content).await.expect("open"),
            Self::Upstream(sender) => sender.broadcast(content).await.expect("open"),
        }
    }

    pub async fn broadcast_neighbors(&self, content: impl Into<Bytes>) {
        let content = content.into();
        match self {
            Self::Ours(sender) => sender.broadcast_neighbors(content).await.expect("open"),
            Self::Upstream(sender) => sender.broadcast_neighbors(content).await.expect("open"),
        }
    }

    pub async fn join_peers(&self, peers: Vec<EndpointId>) {
        match self {
            Self::Ours(sender) => sender.join_peers(peers).await.expect("open"),
            Self::Upstream(sender) => sender.join_peers(peers).await.expect("open"),
        }
    }
}

/// Upstream's events as ours. Both are written alike, as they have to be.
pub fn from_upstream(
    receiver: iroh_gossip::api::GossipReceiver,
) -> impl Stream<Item = Event> + Send + 'static {
    receiver.map(|event| {
        let bytes = postcard::to_stdvec(&event.expect("still connected"));
        let bytes = bytes.expect("an event can be written");
        postcard::from_bytes(&bytes).expect("an event of ours reads the same")
    })
}
