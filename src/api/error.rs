//! Why calls of handles fail.

use n0_error::{e, stack_error};

use super::mailbox::Closed;

/// Why a call did nothing.
#[stack_error(derive, add_meta, from_sources)]
#[non_exhaustive]
pub enum ApiError {
    /// The node is in another process, and talking to it failed.
    ///
    /// There is no subscription, or it is of no more use: the stream of events ends after this,
    /// and senders answer [`Closed`](Self::Closed). What was sent last may have been lost. The
    /// [`GossipApi`](super::GossipApi) connects again when it is next used. Handles to a node in
    /// this process never answer this.
    #[error(transparent)]
    Rpc {
        /// What failed.
        source: irpc::Error,
    },
    /// The subscription has ended. As a rule the node has stopped: its driver ended or was dropped. It may
    /// also be in as many topics already as `net::Limits::topics` allows; or it is in another process, and the
    /// connection to it was lost.
    ///
    /// Nothing was sent, and every further call on the same subscription answers the same. Only where
    /// [`publish`](super::GossipSender::publish) was waiting for its answer, the message may have gone.
    #[error("the subscription has ended: the node has stopped, or is in too many topics")]
    Closed,
    /// The message does not fit into a frame, and was not sent.
    ///
    /// Nothing else has changed: the topic and its connections are as they were.
    #[error("a message of {len} bytes is too large, the largest that fits has {max} bytes")]
    TooLarge {
        /// The length of the message, in bytes.
        len: usize,
        /// The length of the largest message that is accepted, in bytes.
        max: usize,
    },
}

impl From<irpc::channel::SendError> for ApiError {
    fn from(error: irpc::channel::SendError) -> Self {
        Self::from(irpc::Error::from(error))
    }
}

impl From<irpc::channel::mpsc::RecvError> for ApiError {
    fn from(error: irpc::channel::mpsc::RecvError) -> Self {
        Self::from(irpc::Error::from(error))
    }
}

impl From<irpc::channel::oneshot::RecvError> for ApiError {
    fn from(error: irpc::channel::oneshot::RecvError) -> Self {
        Self::from(irpc::Error::from(error))
    }
}

impl From<Closed> for ApiError {
    fn from(Closed: Closed) -> Self {
        e!(ApiError::Closed)
    }
}
