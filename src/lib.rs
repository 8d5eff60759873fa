//! The iroh-gossip protocol from one poll loop, on any executor.
//!
//! Nodes that know a topic, any 32 bytes, meet in a swarm and send each other messages. The swarm
//! is kept together after HyParView, and messages spread along trees after PlumTree. The wire is
//! that of [iroh-gossip](https://docs.rs/iroh-gossip) 0.101, and so are the names.
//!
//! A node is a handle and a driver: [`Gossip`], which is where topics are subscribed to, and
//! [`net::Driver`], a future that is the whole node and runs wherever you poll it.
//!
#![cfg_attr(feature = "net", doc = "```no_run")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use futures_lite::StreamExt;
//! use iroh::{Endpoint, endpoint::presets};
//! use smol_gossip::{ALPN, Gossip, TopicId, api::Event, runtime::TokioRuntime};
//!
//! # async fn node(executor: &smol::Executor<'static>) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::builder(presets::N0)
//!     .alpns(vec![ALPN.to_vec()])
//!     .bind()
//!     .await?;
//! let (gossip, driver) = Gossip::builder()
//!     .accept_incoming(true)
//!     .build(endpoint, TokioRuntime::current()?)?;
//! executor.spawn(driver).detach();
//!
//! let mut topic = gossip.subscribe(TopicId::from_bytes([7; 32]), vec![]).await?;
//! topic.joined().await?;
//! topic.broadcast("hello".into()).await?;
//! while let Some(event) = topic.next().await {
//!     if let Event::Received(message) = event? {
//!         println!("{:?}", message.content);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | topics: joining, sending, receiving |
//! | [`net`] | the node over iroh |
//! | [`proto`] | the protocol as a state machine without IO |
//! | [`metrics`] | what a node counts |
//! | [`signed`] | messages signed by their author (feature `signed`) |
//! | [`ticket`] | a topic and addresses, as text |
//! | `sim` | a simulated network (feature `test-utils`) |
//! | [`runtime`] | the event loop, and the starts for tokio, smol and one thread |
//!
//! With the feature `rpc`, a node serves its topics to other processes ([`Gossip::listen`]), and
//! [`GossipApi::connect`](api::GossipApi::connect) subscribes to topics of such a node.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The overview links to all that there is. With all features the links are checked.
#![cfg_attr(
    not(all(
        feature = "net",
        feature = "metrics",
        feature = "rpc",
        feature = "signed"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(feature = "net")]
pub use self::net::{GOSSIP_ALPN as ALPN, Gossip};
pub use self::proto::TopicId;
#[cfg(feature = "net")]
pub use smol_gossip_runtime as runtime;

#[cfg(any(feature = "net", feature = "rpc"))]
#[cfg_attr(
    not(feature = "net"),
    allow(dead_code, reason = "part of it is for the node in this process")
)]
pub mod api;
#[cfg(any(feature = "net", feature = "metrics"))]
pub mod metrics;
#[cfg(feature = "net")]
pub mod net;
pub mod proto;
#[cfg(feature = "rpc")]
mod rpc;
#[cfg(feature = "signed")]
pub mod signed;
#[cfg(feature = "test-utils")]
pub mod sim;
#[cfg(any(feature = "net", feature = "rpc"))]
pub mod ticket;

/// The examples in the README and the guides are compiled as tests.
#[cfg(all(doctest, feature = "net", feature = "signed"))]
mod guides {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/smol.md")]
    mod smol {}
    #[doc = include_str!("../docs/tokio.md")]
    mod tokio {}
    #[doc = include_str!("../docs/edge.md")]
    mod edge {}
    #[doc = include_str!("../docs/limits.md")]
    mod limits {}
    #[doc = include_str!("../docs/joining.md")]
    mod joining {}
    #[doc = include_str!("../docs/protocols.md")]
    mod protocols {}
}
