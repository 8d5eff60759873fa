//! The iroh-gossip protocol from one poll loop, on any executor.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "net")]
pub mod api;
pub mod proto;
#[cfg(feature = "signed")]
pub mod signed;
#[cfg(feature = "net")]
pub mod ticket;

pub use proto::TopicId;
