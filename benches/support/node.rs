//! Nodes on loopback without a relay, of whoever's code.

use std::{future::Future, net::Ipv4Addr};

use bytes::Bytes;
use futures_lite::StreamExt;
use iroh::{
    Endpoint, EndpointId, RelayMode,
    address_lookup::memory::MemoryLookup,
    endpoint::{QuicTransportConfig, presets},
    protocol::Router,
};
use serde::Serialize;
use smol_gossip::proto::DeliveryScope;

/// How much an endpoint lets a peer send ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// iroh's own.
    Default,
    /// What this crate recommends.
    Tuned,
    /// The same, and a stream for each of a thousand topics from the beginning, which a node that does not allow more
    /// as they are used would wait for.
    Wide,
}

impl Windows {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default windows",
            Self::Tuned => "tuned windows",
            Self::Wide => "tuned windows, 1,024 streams",
        }
    }
}

/// Binds an endpoint that all others on `lookup` can reach.
pub(crate) async fn bind(lookup: &MemoryLookup, windows: Windows) -> Endpoint {
    bind_for(lookup, windows, smol_gossip::ALPN).await
}

/// Binds an endpoint for another protocol.
pub(crate) async fn bind_for(lookup: &MemoryLookup, windows: Windows, alpn: &[u8]) -> Endpoint {
    let mut builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))
        .expect("a loopback address")
        .address_lookup(lookup.clone())
        .alpns(vec![alpn.to_vec()]);
    builder = match windows {
        Windows::Default => builder,
        Windows::Tuned => builder.transport_config(smol_gossip::net::transport_config()),
        Windows::Wide => builder.transport_config(wide()),
    };
    let endpoint = builder.bind().await.expect("a free port");
    lookup.add_endpoint_info(endpoint.addr());
    endpoint
}

/// As [`smol_gossip::net::transport_config`], with more streams.
fn wide() -> QuicTransportConfig {
    let window = 128 * 1024u32;
    QuicTransportConfig::builder()
        .receive_window(window.into())
        .stream_receive_window(window.into())
        .max_concurrent_uni_streams(1024u32.into())
        .build()
}

/// What a node may be given that is not by default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The most neighbors that a node has in a topic.
    pub(crate) active_view: usize,
    /// The largest frame, in bytes.
    pub(crate) max_message_size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            active_view: smol_gossip::proto::HyparviewConfig::default().active_view_capacity,
            max_message_size: smol_gossip::proto::DEFAULT_MAX_MESSAGE_SIZE,
        }
    }
}

/// A gossip node, ours or upstream's. Both have the same interface, but not the same types.
pub(crate) trait Node: Sized + Send + Sync + 'static {
    type Sender: Clone + Send + Sync + 'static;
    type Receiver: Send + 'static;

    /// Starts a node behind a router.
    fn start(endpoint: Endpoint) -> Self {
        Self::start_with(endpoint, Settings::default())
    }

    /// The same, not by default.
    fn start_with(endpoint: Endpoint, settings: Settings) -> Self;

    fn id(&self) -> EndpointId;

    /// Subscribes with room for as many events as any run has under way.
    fn subscribe(
        &self,
        topic: [u8; 32],
        bootstrap: Vec<EndpointId>,
    ) -> impl Future<Output = (Self::Sender, Self::Receiver)> + Send;

    fn joined(receiver: &mut Self::Receiver) -> impl Future<Output = ()> + Send;

    fn broadcast(sender: &Self::Sender, content: Bytes) -> impl Future<Output = ()> + Send;

    /// The next message; `None` when messages were lost or the topic is closed.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<Bytes>> + Send;

    /// The same, with the number of links that it came over.
    fn receive_with_hops(
        receiver: &mut Self::Receiver,
    ) -> impl Future<Output = Option<(Bytes, u16)>> + Send;

    /// Closes everything.
    fn stop(self) -> impl Future<Output = ()> + Send;
}

macro_rules! node {
    ($(#[$doc:meta])* $name:ident, $gossip:ident, $router:expr) => {
        $(#[$doc])*
        pub(crate) struct $name {
            gossip: $gossip::Gossip,
            router: Router,
        }

        impl Node for $name {
            type Sender = $gossip::api::GossipSender;
            type Receiver = $gossip::api::GossipReceiver;

            fn start_with(endpoint: Endpoint, settings: Settings) -> Self {
                let membership = $gossip::proto::HyparviewConfig {
                    active_view_capacity: settings.active_view,
                    ..Default::default()
                };
                let gossip = $gossip::Gossip::builder()
                    .membership_config(membership)
                    .max_message_size(settings.max_message_size)
                    .spawn(endpoint.clone());
                let router = $router(endpoint, &gossip)
                    .accept($gossip::ALPN, gossip.clone())
                    .spawn();
                Self { gossip, router }
            }

            fn id(&self) -> EndpointId {
                self.router.endpoint().id()
            }

            async fn subscribe(
                &self,
                topic: [u8; 32],
                bootstrap: Vec<EndpointId>,
            ) -> (Self::Sender, Self::Receiver) {
                let options = $gossip::api::JoinOptions {
                    subscription_capacity: 1 << 14,
                    ..$gossip::api::JoinOptions::with_bootstrap(bootstrap)
                };
                let topic = self.gossip.subscribe_with_opts(topic.into(), options);
                topic.await.expect("the node runs").split()
            }

            async fn joined(receiver: &mut Self::Receiver) {
                receiver.joined().await.expect("the node runs");
            }

            async fn broadcast(sender: &Self::Sender, content: Bytes) {
                sender.broadcast(content).await.expect("the node runs");
            }

            async fn receive(receiver: &mut Self::Receiver) -> Option<Bytes> {
                Some(Self::next_message(receiver).await?.content)
            }

            async fn receive_with_hops(receiver: &mut Self::Receiver) -> Option<(Bytes, u16)> {
                let message = Self::next_message(receiver).await?;
                let hops = hops(&message.scope);
                Some((message.content, hops))
            }

            async fn stop(self) {
                self.router.shutdown().await.expect("the router runs");
            }
        }

        impl $name {
            async fn next_message(
                receiver: &mut $gossip::api::GossipReceiver,
            ) -> Option<$gossip::api::Message> {
                use $gossip::api::Event;
                loop {
                    match receiver.next().await? {
                        Ok(Event::Received(message)) => return Some(message),
                        Ok(Event::NeighborUp(_) | Event::NeighborDown(_)) => {}
                        Ok(Event::Lagged) | Err(_) => return None,
                    }
                }
            }
        }
    };
}

node! {
    /// A node of this crate.
    Ours, smol_gossip, |endpoint, gossip: &smol_gossip::Gossip| {
        Router::builder(endpoint).incoming_filter(gossip.incoming_filter())
    }
}

node! {
    /// A node of `iroh-gossip` 0.101.
    Upstream, iroh_gossip, |endpoint, _| Router::builder(endpoint)
}

/// Runs a future on a runtime of one thread, which is then gone with all that was started on it.
pub(crate) fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    Threads::One.run(future)
}

/// The runtime that everything of a run shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One thread, on which the bench runs too.
    One,
    /// Two threads that share the tasks; the bench waits on a third.
    Two,
}

impl Threads {
    /// What the name of a row has of them.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Two => ", two threads",
        }
    }

    /// Runs a future on a runtime, which is then gone with all that was started on it.
    pub(crate) fn run<T>(self, future: impl Future<Output = T>) -> T {
        let mut runtime = match self {
            Self::One => tokio::runtime::Builder::new_current_thread(),
            Self::Two => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime.worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }
}

/// The number of links that a message came over. The two crates share no type that says it, but how it is written.
fn hops(scope: &impl Serialize) -> u16 {
    let bytes = postcard::to_allocvec(scope).expect("a few bytes");
    match postcard::from_bytes(&bytes).expect("the same on the wire") {
        DeliveryScope::Swarm(round) => round.next().hops(),
        DeliveryScope::Neighbors => 1,
    }
}

/// A message that no other is equal to: its number, and filler up to its size.
pub(crate) fn message(number: u64, size: usize) -> Bytes {
    let mut content = vec![0x5a; size];
    content[..8].copy_from_slice(&number.to_le_bytes());
    content.into()
}

/// The number of a message.
pub(crate) fn number(content: &[u8]) -> u64 {
    content
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
