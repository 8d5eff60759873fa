//! What the application has to say, on its way into the broadcast layer.

use bytes::Bytes;

use super::MessageId;

/// The content of a message to send, and its id where that is known already.
///
/// The id of a large message is most of the work that is done for it, and needs no state. So who
/// publishes can work it out before the state machine, which all topics share, has its turn.
#[derive(Clone, derive_more::Debug)]
#[debug("{} bytes", content.len())]
pub(crate) struct Payload {
    content: Bytes,
    /// Invariant: the id of `content`.
    id: Option<MessageId>,
}

impl Payload {
    /// With its id.
    #[cfg(any(feature = "net", feature = "rpc"))]
    pub(crate) fn identified(content: Bytes) -> Self {
        let id = Some(MessageId::from_content(&content));
        Self { content, id }
    }

    /// How long the content is, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// The id, if it is known already.
    #[cfg(any(feature = "net", feature = "rpc"))]
    pub(crate) fn known_id(&self) -> Option<MessageId> {
        self.id
    }

    /// The content.
    #[cfg(any(feature = "rpc", all(test, feature = "net")))]
    pub(crate) fn into_content(self) -> Bytes {
        self.content
    }

    /// The content and its id.
    pub(crate) fn into_parts(self) -> (Bytes, MessageId) {
        let id = self
            .id
            .unwrap_or_else(|| MessageId::from_content(&self.content));
        (self.content, id)
    }

    /// The same, with a content that was moved to another place in memory.
    #[cfg(feature = "net")]
    pub(crate) fn moved(self, to: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self {
            content: to(self.content),
            id: self.id,
        }
    }
}

/// Without its id.
impl From<Bytes> for Payload {
    fn from(content: Bytes) -> Self {
        Self { content, id: None }
    }
}
