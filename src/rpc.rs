//! Topics of a node in another process: the handles of [`api`](crate::api) over a QUIC connection.
//!
//! A daemon serves its node with `Gossip::listen`, and programs on the same machine subscribe
//! through [`GossipApi::connect`](crate::api::GossipApi::connect). The wire is that of
//! `iroh_gossip`, so either side may be one of its programs.
//!
//! Each subscription is a stream in both directions of one connection: a [`JoinRequest`], framed by
//! irpc; then commands one way and events the other, until each side has finished its own. To
//! finish or lose the commands is to drop the senders, to stop the events is to drop the receiver.

use std::collections::BTreeSet;

use iroh_base::EndpointId;
use irpc::{channel::mpsc, rpc_requests};
use serde::{Deserialize, Serialize};

use crate::{
    api::{Command, Event},
    proto::TopicId,
};

mod client;
mod frames;
#[cfg(feature = "net")]
mod server;

/// Frames that are ready are written at once until they come to this many bytes.
const BATCH: usize = 64 * 1024;

/// What a command takes besides the message: its kind, and the length of the message.
const COMMAND_OVERHEAD: usize = 1 + 5;

/// The longest command that a node takes, in bytes, unless messages may be longer. Longer ones are passed over, and
/// counted.
#[cfg(any(feature = "net", test))]
const MAX_COMMAND: usize = 64 * 1024;

/// What a client asks for.
#[rpc_requests(message = RequestMessage)]
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Take part in a topic.
    #[rpc(tx = mpsc::Sender<Event>, rx = mpsc::Receiver<Command>)]
    Join(JoinRequest),
}

/// A subscription.
#[derive(Debug, Serialize, Deserialize)]
struct JoinRequest {
    topic_id: TopicId,
    bootstrap: BTreeSet<EndpointId>,
}
