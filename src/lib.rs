//! The iroh-gossip protocol from one poll loop, on any executor.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "net")]
pub use self::net::{GOSSIP_ALPN as ALPN, Gossip};
pub use self::proto::TopicId;
#[cfg(feature = "net")]
pub use smol_gossip_runtime as runtime;

#[cfg(feature = "net")]
pub mod api;
#[cfg(any(feature = "net", feature = "metrics"))]
pub mod metrics;
#[cfg(feature = "net")]
pub mod net;
pub mod proto;
#[cfg(feature = "signed")]
pub mod signed;
#[cfg(feature = "net")]
pub mod ticket;
