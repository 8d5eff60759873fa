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
    /// Invariant: the id of `content`, if it is known. Not an `Option`: behind its tag an id would lie askew in
    /// memory, and right after it was moved the processor would have to wait for it.
    id: MessageId,
    is_known: bool,
}

impl Payload {
    /// How long the content is, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// The id, if it is known already.
    #[cfg(feature = "net")]
    pub(crate) fn known_id(&self) -> Option<MessageId> {
        self.is_known.then_some(self.id)
    }

    /// Notes the id, which is that of the content.
    #[cfg(feature = "net")]
    pub(crate) fn set_id(&mut self, id: MessageId) {
        debug_assert_eq!(id, MessageId::from_content(&self.content));
        self.id = id;
        self.is_known = true;
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

    /// Takes the content out, and says its id. Empty content is left.
    pub(crate) fn take(&mut self) -> (Bytes, MessageId) {
        let id = if std::mem::take(&mut self.is_known) {
            self.id
        } else {
            MessageId::from_content(&self.content)
        };
        (std::mem::take(&mut self.content), id)
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
        Self {
            content,
            id: MessageId::from_bytes([0; 32]),
            is_known: false,
        }
    }
}
