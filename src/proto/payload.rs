//! What the application has to say, on its way into the broadcast layer.

use bytes::Bytes;

use super::MessageId;

/// The content of a message to send, and its id where that is known already.
///
/// The id of a large message is most of the work that is done for it. Those of several messages are
/// sooner worked out together.
#[derive(Clone, derive_more::Debug)]
#[debug("{} bytes", content.len())]
pub(crate) struct Payload {
    content: Bytes,
    /// Invariant: the id of `content`.
    id: Option<MessageId>,
}

impl Payload {
    /// How long the content is, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// The id, if it is known already.
    #[cfg(feature = "net")]
    pub(crate) fn known_id(&self) -> Option<MessageId> {
        self.id
    }

    /// Notes the id, which is that of the content.
    #[cfg(feature = "net")]
    pub(crate) fn set_id(&mut self, id: MessageId) {
        debug_assert_eq!(id, MessageId::from_content(&self.content));
        self.id = Some(id);
    }

    /// The content, to look at.
    #[cfg(feature = "net")]
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
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

    /// Moves the content to another place in memory.
    #[cfg(feature = "net")]
    pub(crate) fn move_to(&mut self, content: Bytes) {
        debug_assert_eq!(self.content, content);
        self.content = content;
    }
}

/// Without its id.
impl From<Bytes> for Payload {
    fn from(content: Bytes) -> Self {
        Self { content, id: None }
    }
}
