//! The iroh-gossip protocol as an IO-free state machine.
//!
//! The entry point is [`State`]: the membership and the broadcast tree of every topic a node has
//! joined. It is driven by calling [`State::handle`] with one [`InEvent`] at a time; whatever
//! follows from it is appended to an [`Outbox`] that the caller works off. Nothing here knows a
//! socket, a clock, a runtime or a global random number generator: the time and the generator are
//! arguments, and the same events at the same times with the same seed give the same output.
//!
//! | module | what it is |
//! |---|---|
//! | [`state`] | all topics of a node, and which peers any of them still needs |
//! | [`topic`] | one topic: its membership and its broadcast tree joined together |
//! | [`hyparview`] | swarm membership, after [HyParView (DSN'07)][hpv] |
//! | [`plumtree`] | broadcast trees, after [PlumTree (SRDS'07)][plt] |
//! | [`wire`] | messages to bytes and back |
//!
//! `hyparview` and `plumtree` do not know each other; only `topic` knows both.
//!
//! [hpv]: https://asc.di.fct.unl.pt/~jleitao/pdf/dsn07-leitao.pdf
//! [plt]: https://asc.di.fct.unl.pt/~jleitao/pdf/srds07-leitao.pdf

pub mod config;
pub mod counters;
pub mod event;
pub mod hyparview;
pub mod ids;
pub mod limits;
pub mod message;
pub mod peer;
pub mod plumtree;
pub mod state;
pub mod topic;
pub mod wire;

pub(crate) mod clock;
pub(crate) mod hash;
pub(crate) mod payload;

pub use config::{Config, DEFAULT_MAX_MESSAGE_SIZE, MIN_MAX_MESSAGE_SIZE};
pub use counters::Counters;
pub use event::{Command, Event, GossipEvent, InEvent, OutEvent, Outbox, TimerId};
pub use hyparview::Config as HyparviewConfig;
pub use ids::{LinkId, MessageId, TopicId};
pub use limits::Limits;
pub use message::Message;
pub(crate) use payload::Payload;
pub use peer::{PeerData, PeerIdentity, PeerInfo};
pub use plumtree::{Config as PlumtreeConfig, DeliveryScope, Round, Scope};
pub use state::{ConfigError, Parameters, State};
