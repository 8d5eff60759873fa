//! Messages to frames.

use bytes::Bytes;
use iroh::EndpointId;

use super::queue::{COALESCE_BYTES, Frame};
use crate::proto::{
    DeliveryScope, Message, MessageId,
    plumtree::{self, Gossip},
    wire::{self, EncodeError},
};

/// Writes messages as frames. A payload goes to several peers in a row: what stands around its content is
/// written once, and the bytes of the whole frame are shared where they are many.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The payload that was written last.
    latest: Option<(MessageId, DeliveryScope)>,
    /// What stands around its content.
    around: wire::Around,
    /// Another message. Used again and again.
    written: Vec<u8>,
    /// The frame of that payload, if it is large.
    large: Option<Bytes>,
}

impl Encoder {
    /// The frame of a message; its body stays below `max`.
    pub(crate) fn encode<'a>(
        &'a mut self,
        message: &'a Message<EndpointId>,
        max: usize,
    ) -> Result<Frame<'a>, EncodeError> {
        if let Message::Gossip(plumtree::Message::Gossip(gossip)) = message {
            return self.encode_payload(gossip, max);
        }
        self.forget();
        self.written.clear();
        wire::encode_into(message, max, &mut self.written)?;
        Ok(if self.written.len() > COALESCE_BYTES {
            Frame::Large(std::mem::take(&mut self.written).into())
        } else {
            Frame::Small(&self.written)
        })
    }

    /// The frame of a payload; its body stays below `max`.
    #[inline]
    pub(crate) fn encode_payload<'a>(
        &'a mut self,
        gossip: &'a Gossip,
        max: usize,
    ) -> Result<Frame<'a>, EncodeError> {
        let payload = Some((gossip.id, gossip.scope));
        if payload != self.latest {
            self.forget();
            self.around.write(gossip, max)?;
            let (head, tail) = self.around.parts();
            if head.len() + gossip.content.len() + tail.len() > COALESCE_BYTES {
                self.large = Some([head, &gossip.content, tail].concat().into());
            }
            self.latest = payload;
        }
        if let Some(frame) = &self.large {
            return Ok(Frame::Large(frame.clone()));
        }
        let (head, tail) = self.around.parts();
        Ok(Frame::Around(head, &gossip.content, tail))
    }

    /// Lets go of the payload.
    pub(crate) fn forget(&mut self) {
        self.latest = None;
        self.large = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Round;

    fn flat(frame: Frame<'_>) -> Vec<u8> {
        match frame {
            Frame::Small(frame) => frame.to_vec(),
            Frame::Around(head, content, tail) => [head, content, tail].concat(),
            Frame::Large(frame) => frame.to_vec(),
        }
    }

    fn payload(len: usize, scope: DeliveryScope) -> Message<EndpointId> {
        let content = Bytes::from(vec![5; len]);
        let id = MessageId::from_content(&content);
        Message::Gossip(plumtree::Message::Gossip(Gossip { id, content, scope }))
    }

    #[test]
    fn frames_are_the_same_in_whatever_parts() {
        let mut encoder = Encoder::default();
        let lens = [0, 1, 127, 128, COALESCE_BYTES - 50, COALESCE_BYTES, 1 << 17];
        let scopes = [0, 1, 127, 128, u16::MAX].map(|hops| DeliveryScope::Swarm(Round::from(hops)));
        let scopes = scopes.into_iter().chain([DeliveryScope::Neighbors]);
        let payloads = scopes.flat_map(|scope| lens.map(|len| payload(len, scope)));
        for message in payloads.chain([Message::Gossip(plumtree::Message::Prune)]) {
            let whole = wire::encode(&message, 1 << 20).unwrap();
            // To several peers, and nothing else in between.
            for _ in 0..3 {
                let frame = encoder.encode(&message, 1 << 20).unwrap();
                assert_eq!(frame.len(), whole.len());
                assert!(flat(frame) == whole[..]);
            }
        }
    }

    #[test]
    fn what_is_too_large_leaves_nothing_behind() {
        let mut encoder = Encoder::default();
        let small = payload(20, DeliveryScope::Neighbors);
        let large = payload(90, DeliveryScope::Neighbors);
        let whole = wire::encode(&small, 90).unwrap();
        for _ in 0..2 {
            assert_eq!(flat(encoder.encode(&small, 90).unwrap()), whole);
            assert!(matches!(
                encoder.encode(&large, 90),
                Err(EncodeError::TooLarge { .. })
            ));
        }
    }
}
