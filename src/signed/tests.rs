//! Envelopes that are good, and every way in which they are not.

use ed25519_dalek::Verifier;
use proptest::prelude::*;

use super::*;

const TOPIC: TopicId = TopicId::from_bytes([2; 32]);
const STAMP: Stamp = Stamp::from_micros(1_700_000_000_123_456);

fn signer() -> Signer {
    Signer::from_bytes(&[1; 32])
}

fn changed(envelope: &Bytes, index: usize, mask: u8) -> Bytes {
    let mut bytes = envelope.to_vec();
    bytes[index] ^= mask;
    bytes.into()
}

#[test]
fn the_envelope_is_what_the_documentation_says() {
    // Version, author, signature, payload; made with another implementation of ed25519
    // (Python's `cryptography`).
    let expected = [
        "01",
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
        "74fd67ea96452e06c9b74960a41d5ebbd50462997d549ee68780b16c5756d177",
        "b6623959460614909755e5011516e4d9808edb5c6ed84ba9ef1002ff11e2db0b",
        "68656c6c6f",
    ];
    let envelope = signer().sign(TOPIC, b"hello");
    assert_eq!(data_encoding::HEXLOWER.encode(&envelope), expected.concat());
}

#[test]
fn the_envelope_with_a_stamp_is_what_the_documentation_says() {
    // Version, author, signature, stamp, payload; made with the same other implementation.
    let expected = [
        "02",
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
        "707ea290a3d9f48c0634ceb704c85cc9e04dff5ae6a3da0acbf2ec4308ec71ca",
        "c283e8a2b04b5d805da7fa214e220fdce3e5fa3488cc3e320ec26951ecb96d09",
        "00060a2418202240",
        "68656c6c6f",
    ];
    let envelope = signer().sign_stamped(TOPIC, STAMP, b"hello");
    assert_eq!(data_encoding::HEXLOWER.encode(&envelope), expected.concat());
}

#[test]
fn what_was_signed_comes_out() {
    for payload in [&b""[..], b"hello", &[0; 4000]] {
        let envelope = signer().sign(TOPIC, payload);
        assert_eq!(envelope.len(), payload.len() + OVERHEAD);
        let message = SignedMessage::verify(TOPIC, &envelope).expect("it is good");
        assert_eq!(
            (message.author(), message.stamp()),
            (signer().author(), None)
        );
        assert_eq!(message.into_payload(), payload);

        let envelope = signer().sign_stamped(TOPIC, STAMP, payload);
        assert_eq!(envelope.len(), payload.len() + STAMPED_OVERHEAD);
        let message = SignedMessage::verify(TOPIC, &envelope).expect("it is good");
        assert_eq!(message.author(), signer().author());
        assert_eq!(message.stamp(), Some(STAMP));
        assert_eq!(message.into_payload(), payload);
    }
}

#[test]
fn many_are_judged_as_each_alone() {
    let sign = |n: u8| match n % 2 {
        0 => Signer::from_bytes(&[n; 32]).sign(TOPIC, &[n]),
        _ => Signer::from_bytes(&[n; 32]).sign_stamped(TOPIC, STAMP, &[n]),
    };
    for count in [0, 1, 3, 4, 5, 16, 17, 40] {
        let good: Vec<_> = (0..count).map(sign).collect();
        for bad in [None, Some(0), Some(3), Some(16)] {
            let mut envelopes = good.clone();
            let len = envelopes.len();
            if let Some(index) = bad.filter(|index| *index < len) {
                envelopes[index] = changed(&envelopes[index], 50, 1);
                envelopes.push(Bytes::from_static(b"no envelope"));
            }
            let alone = envelopes
                .iter()
                .map(|one| SignedMessage::verify(TOPIC, one));
            let alone: Vec<_> = alone.collect();
            assert_eq!(SignedMessage::verify_batch(TOPIC, &envelopes), alone);
        }
    }
}

#[test]
fn a_key_that_signs_everything_is_refused_among_many() {
    let mut neutral = [0; KEY_LEN];
    neutral[0] = 1;
    let forged = [&[VERSION][..], &neutral, &neutral, &[0; 32], b"anything"].concat();
    let mut envelopes: Vec<_> = (0..8u8).map(|n| signer().sign(TOPIC, &[n])).collect();
    envelopes.push(forged.into());
    let verdicts = SignedMessage::verify_batch(TOPIC, &envelopes);
    assert!(verdicts[..8].iter().all(Result::is_ok));
    assert_eq!(verdicts[8], Err(VerifyError::BadSignature));
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let plain = signer().sign(TOPIC, b"hello");
    let stamped = signer().sign_stamped(TOPIC, STAMP, b"hello");
    for (envelope, of) in [(plain, VERSION), (stamped, STAMPED_VERSION)] {
        for (index, mask) in (0..envelope.len()).flat_map(|index| [(index, 1), (index, 0x80)]) {
            let error = SignedMessage::verify(TOPIC, &changed(&envelope, index, mask));
            match (index, error.expect_err("it was changed")) {
                (0, VerifyError::UnknownVersion { version }) => assert_eq!(version, of ^ mask),
                (1..=32, VerifyError::InvalidAuthor | VerifyError::BadSignature) => {}
                (33.., VerifyError::BadSignature) => {}
                (_, error) => panic!("byte {index}: {error}"),
            }
        }
    }
}

#[test]
fn a_piece_of_an_envelope_is_none() {
    let envelope = signer().sign(TOPIC, b"hello");
    for len in 0..envelope.len() {
        let error = SignedMessage::verify(TOPIC, &envelope.slice(..len)).expect_err("cut off");
        let expected = match len {
            0..OVERHEAD => VerifyError::TooShort { len },
            OVERHEAD.. => VerifyError::BadSignature,
        };
        assert_eq!(error, expected);
    }
    let mut longer = envelope.to_vec();
    longer.push(0);
    assert_eq!(
        SignedMessage::verify(TOPIC, &longer.into()),
        Err(VerifyError::BadSignature)
    );
    let stamped = signer().sign_stamped(TOPIC, STAMP, b"");
    for len in OVERHEAD..STAMPED_OVERHEAD {
        let error = SignedMessage::verify(TOPIC, &stamped.slice(..len)).expect_err("cut off");
        assert_eq!(error, VerifyError::TooShort { len });
    }
}

#[test]
fn an_envelope_of_one_version_is_none_of_another() {
    for (mut envelope, other) in [
        (signer().sign(TOPIC, &[0; 20]).to_vec(), STAMPED_VERSION),
        (
            signer().sign_stamped(TOPIC, STAMP, &[0; 20]).to_vec(),
            VERSION,
        ),
    ] {
        envelope[0] = other;
        let error = SignedMessage::verify(TOPIC, &envelope.into());
        assert_eq!(error, Err(VerifyError::BadSignature));
    }
}

#[test]
fn a_message_for_another_topic_is_refused() {
    let envelope = signer().sign(TOPIC, b"hello");
    let other = TopicId::from_bytes([3; 32]);
    assert_eq!(
        SignedMessage::verify(other, &envelope),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn a_message_cannot_be_passed_off_as_someone_elses() {
    let mut envelope = signer().sign(TOPIC, b"hello").to_vec();
    let other = Signer::from_bytes(&[9; 32]).author();
    envelope[1..33].copy_from_slice(other.as_bytes());
    assert_eq!(
        SignedMessage::verify(TOPIC, &envelope.into()),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn a_key_that_signs_everything_is_refused() {
    // The neutral element as a public key, and a signature of nothing but it: ordinary
    // verification accepts this for any message.
    let mut neutral = [0; KEY_LEN];
    neutral[0] = 1;
    let signature: [u8; SIGNATURE_LEN] = [neutral, [0; 32]].concat().try_into().expect("64 bytes");
    let key = VerifyingKey::from_bytes(&neutral).expect("it is on the curve");
    key.verify(b"anything", &Signature::from_bytes(&signature))
        .expect("that is the point");

    let envelope = [&[VERSION][..], &neutral, &signature, b"anything"].concat();
    assert_eq!(
        SignedMessage::verify(TOPIC, &envelope.into()),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn another_form_of_the_same_signature_is_refused() {
    // The group's order, little-endian. Adding it to the second half changes nothing in the
    // equation that is checked.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut envelope = signer().sign(TOPIC, b"hello").to_vec();
    let mut carry = 0;
    for (byte, add) in envelope[OVERHEAD - 32..OVERHEAD].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(
        SignedMessage::verify(TOPIC, &envelope.into()),
        Err(VerifyError::BadSignature)
    );
}

#[test]
fn debug_output_does_not_show_the_secret() {
    let shown = format!("{:?}", signer());
    assert!(shown.contains(&signer().author().to_string()));
    assert!(!shown.contains("01010101"));
}

#[cfg(feature = "net")]
#[test]
fn a_node_can_sign_with_its_own_key() {
    let secret = iroh_base::SecretKey::from_bytes(&[1; 32]);
    let envelope = Signer::from(&secret).sign(TOPIC, b"hello");
    assert_eq!(envelope, signer().sign(TOPIC, b"hello"));
    let author = SignedMessage::verify(TOPIC, &envelope)
        .expect("it is good")
        .author();
    assert_eq!(author, Author::from(secret.public()));
    assert_eq!(
        iroh_base::EndpointId::try_from(author).expect("a key"),
        secret.public()
    );
}

proptest! {
    // Curve arithmetic is slow where it is not optimized.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_can_come_in(bytes: Vec<u8>) {
        prop_assert!(SignedMessage::verify(TOPIC, &bytes.into()).is_err());
    }

    #[test]
    fn anything_can_come_in_behind_a_good_beginning(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        keep in 1..OVERHEAD,
    ) {
        let envelope = signer().sign(TOPIC, b"hello");
        let bytes = [&envelope[..keep], &bytes].concat();
        prop_assert!(SignedMessage::verify(TOPIC, &bytes.into()).is_err());
    }

    #[test]
    fn every_payload_survives(secret: [u8; 32], topic: [u8; 32], payload: Vec<u8>) {
        let (signer, topic) = (Signer::from_bytes(&secret), TopicId::from_bytes(topic));
        let envelope = signer.sign(topic, &payload);
        prop_assert_eq!(&envelope, &signer.sign(topic, &payload));
        let message = SignedMessage::verify(topic, &envelope).expect("it is good");
        prop_assert_eq!(message.author(), signer.author());
        prop_assert_eq!(&message.payload()[..], payload);
    }
}
