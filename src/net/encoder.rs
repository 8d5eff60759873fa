//! Messages to frames, each payload once.

use bytes::Bytes;
use iroh::EndpointId;

use super::queue::{COALESCE_BYTES, Frame};
use crate::proto::{
    DeliveryScope, Message, MessageId, plumtree,
    wire::{self, EncodeError},
};

/// Writes messages as frames. A payload goes to several peers in a row: it is written once, and
/// the bytes are shared where they are many.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The payload that was written last.
    latest: Option<(MessageId, DeliveryScope)>,
    /// The frame that was written last, if it is small. Used again and again.
    small: Vec<u8>,
    /// The frame that was written last, if it is large.
    large: Option<Bytes>,
}

impl Encoder {
    /// The frame of a message; its body stays below `max`.
    pub(crate) fn encode(
        &mut self,
        message: &Message<EndpointId>,
        max: usize,
    ) -> Result<Frame<'_>, EncodeError> {
        let payload = match message {
            Message::Gossip(plumtree::Message::Gossip(gossip)) => Some((gossip.id, gossip.scope)),
            Message::Gossip(_) | Message::Swarm(_) => None,
        };
        if payload.is_none() || payload != self.latest {
            self.forget();
            self.small.clear();
            wire::encode_into(message, max, &mut self.small)?;
            if self.small.len() > COALESCE_BYTES {
                self.large = Some(std::mem::take(&mut self.small).into());
            }
            self.latest = payload;
        }
        Ok(match &self.large {
            Some(frame) => Frame::Large(frame.clone()),
            None => Frame::Small(&self.small),
        })
    }

    /// Lets go of the payload.
    pub(crate) fn forget(&mut self) {
        self.latest = None;
        self.large = None;
    }
}
