//! Envelopes: only what its author signed is opened.
//!
//! Input: whether the rest is an envelope, or a payload to be signed and damaged.

use bytes::Bytes;
use smol_gossip::{
    TopicId,
    signed::{OVERHEAD, SignedMessage, Signer},
};

use super::bytes::Bytes as Choices;

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.flag() {
        let envelope = Bytes::copy_from_slice(choices.rest());
        if let Ok(message) = SignedMessage::verify(TOPIC, &envelope) {
            assert_eq!(message.payload()[..], envelope[OVERHEAD..]);
        }
        return;
    }
    let (at, change) = (choices.u16(), choices.u8());
    let signer = Signer::from_bytes(&[choices.u8(); 32]);
    let other_topic = choices.flag();
    let payload = choices.rest();
    let mut envelope = signer.sign(TOPIC, payload).to_vec();
    assert_eq!(envelope.len(), OVERHEAD + payload.len());
    let at = usize::from(at) % envelope.len();
    envelope[at] ^= change;
    let topic = if other_topic {
        TopicId::from_bytes([8; 32])
    } else {
        TOPIC
    };
    let opened = SignedMessage::verify(topic, &envelope.into());
    assert_eq!(opened.is_ok(), change == 0 && !other_topic, "{opened:?}");
    if let Ok(message) = opened {
        assert_eq!(message.author(), signer.author());
        assert_eq!(message.payload()[..], payload[..]);
    }
}
