//! Envelopes: only what its author signed is opened.
//!
//! Input: whether the rest is an envelope, or a payload to be signed and damaged.

use bytes::Bytes;
use smol_gossip::{
    TopicId,
    signed::{OVERHEAD, STAMPED_OVERHEAD, SignedMessage, Signer, Stamp},
};

use super::bytes::Bytes as Choices;

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.flag() {
        let envelope = Bytes::copy_from_slice(choices.rest());
        if let Ok(message) = SignedMessage::verify(TOPIC, &envelope) {
            let overhead = overhead(message.stamp());
            assert_eq!(message.payload()[..], envelope[overhead..]);
        }
        return;
    }
    let (at, change) = (choices.u16(), choices.u8());
    let signer = Signer::from_bytes(&[choices.u8(); 32]);
    let other_topic = choices.flag();
    let stamp = choices
        .flag()
        .then(|| Stamp::from_micros(choices.u16().into()));
    let payload = choices.rest();
    let envelope = match stamp {
        Some(stamp) => signer.sign_stamped(TOPIC, stamp, payload),
        None => signer.sign(TOPIC, payload),
    };
    let mut envelope = envelope.to_vec();
    assert_eq!(envelope.len(), overhead(stamp) + payload.len());
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
        assert_eq!(message.stamp(), stamp);
        assert_eq!(message.payload()[..], payload[..]);
    }
}

/// What stands before the payload.
fn overhead(stamp: Option<Stamp>) -> usize {
    stamp.map_or(OVERHEAD, |_| STAMPED_OVERHEAD)
}
