//! The iroh-gossip protocol from one poll loop, on any executor.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod proto;

pub use proto::TopicId;
