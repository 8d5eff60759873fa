//! Messages to frames, each payload once.

use bytes::Bytes;
use iroh::EndpointId;

use crate::proto::{
    DeliveryScope, Message, MessageId, plumtree,
    wire::{self, EncodeError},
};

/// Writes messages as frames. A payload goes to several peers in a row: it is written once, and
/// the bytes are shared.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    latest: Option<(MessageId, DeliveryScope, Bytes)>,
}

impl Encoder {
    /// The frame of a message; its body stays below `max`.
    pub(crate) fn encode(
        &mut self,
        message: &Message<EndpointId>,
        max: usize,
    ) -> Result<Bytes, EncodeError> {
        let Message::Gossip(plumtree::Message::Gossip(gossip)) = message else {
            return wire::encode(message, max);
        };
        if let Some((id, scope, frame)) = &self.latest
            && *id == gossip.id
            && *scope == gossip.scope
        {
            return Ok(frame.clone());
        }
        let frame = wire::encode(message, max)?;
        self.latest = Some((gossip.id, gossip.scope, frame.clone()));
        Ok(frame)
    }

    /// Lets go of the payload.
    pub(crate) fn forget(&mut self) {
        self.latest = None;
    }
}
