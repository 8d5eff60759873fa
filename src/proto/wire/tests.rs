//! The codec, held against serde and against damage.

use bytes::Bytes;
use iroh::PublicKey;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::proto::{
    MessageId,
    hyparview::{Disconnect, ForwardJoin, Ttl},
    peer::PeerInfo,
    plumtree::{self, DeliveryScope, Gossip, Graft, IHave, Round},
};

/// Larger than any message of the strategies.
const UNBOUNDED: usize = 1 << 20;

fn body(message: &Message<u16>) -> Bytes {
    encode(message, UNBOUNDED).unwrap().slice(LENGTH_PREFIX..)
}

fn payload(len: usize, scope: DeliveryScope) -> Message<u16> {
    let content = Bytes::from(vec![1; len]);
    Message::Gossip(plumtree::Message::Gossip(Gossip {
        id: MessageId::from_content(&content),
        content,
        scope,
    }))
}

fn peer() -> impl Strategy<Value = u16> + Clone {
    any::<u16>()
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(message in strategies::message(peer())) {
        let frame = encode(&message, UNBOUNDED).unwrap();
        let (prefix, body) = frame.split_at(LENGTH_PREFIX);
        prop_assert_eq!(u32::from_be_bytes(prefix.try_into().unwrap()) as usize, body.len());
        prop_assert_eq!(encoded_len(&message), body.len());
        prop_assert_eq!(decode(Bytes::copy_from_slice(body)), Ok(message));
    }

    #[test]
    fn writes_what_serde_writes(message in strategies::message(peer())) {
        prop_assert_eq!(&body(&message)[..], postcard::to_allocvec(&message).unwrap());
    }

    #[test]
    fn reads_what_serde_reads(bytes in prop_oneof![
        vec(any::<u8>(), 0..200),
        (0..2u8, 0..5u8, vec(any::<u8>(), 0..200)).prop_map(|(a, b, rest)| {
            [vec![a, b], rest].concat()
        }),
    ]) {
        let serde = postcard::from_bytes::<Message<u16>>(&bytes).map_err(DecodeError::from);
        prop_assert_eq!(decode(Bytes::from(bytes)), serde);
    }

    #[test]
    fn reads_what_serde_reads_of_damaged_messages(
        message in strategies::message(peer()),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = body(&message).to_vec();
        let at = at.index(bytes.len().min(60));
        bytes[at] = byte;
        let serde = postcard::from_bytes::<Message<u16>>(&bytes).map_err(DecodeError::from);
        prop_assert_eq!(decode(Bytes::from(bytes)), serde);
    }

    #[test]
    fn a_shortened_message_is_truncated(
        message in strategies::message(peer()),
        at in any::<proptest::sample::Index>(),
    ) {
        let body = body(&message);
        let prefix = body.slice(..at.index(body.len()));
        prop_assert_eq!(decode::<u16>(prefix), Err(DecodeError::Truncated));
    }

    #[test]
    fn bytes_after_a_message_are_ignored(
        message in strategies::message(peer()),
        more in vec(any::<u8>(), 1..20),
    ) {
        let bytes = [&body(&message)[..], &more].concat();
        prop_assert_eq!(decode(Bytes::from(bytes)), Ok(message));
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream(
        messages in vec(strategies::message(peer()), 0..8),
        cuts in vec(1..3_000usize, 0..40),
        copied in any::<bool>(),
    ) {
        let frames: Vec<Bytes> = messages.iter().map(|m| encode(m, UNBOUNDED).unwrap()).collect();
        let mut stream = Bytes::from(frames.concat());
        let mut parser = FrameParser::new(UNBOUNDED);
        let mut cuts = cuts.into_iter().chain(std::iter::repeat(1_000));
        let mut bodies = Vec::new();
        while !stream.is_empty() {
            let cut = cuts.next().unwrap().min(stream.len());
            let mut chunk = stream.split_to(cut);
            if copied {
                let mut chunk = &chunk[..];
                while let Some(body) = parser.take_frame_copied(&mut chunk).unwrap() {
                    bodies.push(body);
                }
                prop_assert!(chunk.is_empty());
            } else {
                while let Some(body) = parser.take_frame(&mut chunk).unwrap() {
                    bodies.push(body);
                }
                prop_assert!(chunk.is_empty());
            }
        }
        prop_assert_eq!(parser.finish(), Ok(()));
        let read: Vec<_> = bodies.into_iter().map(|body| decode(body).unwrap()).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn any_stream_is_cut_without_a_panic(bytes in vec(any::<u8>(), 0..300), len in 0..40usize) {
        let mut parser = FrameParser::new(64);
        let mut stream = Bytes::from([&[0, 0, 0, len as u8], &bytes[..]].concat());
        while let Ok(Some(body)) = parser.take_frame(&mut stream) {
            prop_assert!(body.len() <= 64);
            let _ = decode::<u16>(body);
        }
    }
}

#[test]
fn content_is_a_slice_of_the_body() {
    let body = body(&payload(1_000, DeliveryScope::Neighbors));
    let range = body.as_ptr_range();
    let Ok(Message::Gossip(plumtree::Message::Gossip(gossip))) = decode::<u16>(body) else {
        panic!("a payload");
    };
    assert!(range.contains(&gossip.content.as_ptr()));
}

#[test]
fn a_frame_within_a_chunk_is_a_slice_of_it() {
    let frame = encode(&payload(100, DeliveryScope::Neighbors), 4096).unwrap();
    let mut chunk = Bytes::from([&frame[..], &frame[..]].concat());
    let range = chunk.as_ptr_range();
    let mut parser = FrameParser::new(4096);
    for _ in 0..2 {
        let body = parser.take_frame(&mut chunk).unwrap().unwrap();
        assert!(range.contains(&body.as_ptr()));
        assert_eq!(body, frame[LENGTH_PREFIX..]);
    }
    assert_eq!(parser.take_frame(&mut chunk), Ok(None));
}

/// Item 1: the largest content is 4,055 bytes at 4,096, and stays below through all its hops.
#[test]
fn nothing_of_the_maximum_size_is_written() {
    let swarm = |round: u16| DeliveryScope::Swarm(round.into());
    for round in [0, 127, 128, 16_383, 16_384, u16::MAX] {
        let frame = encode(&payload(4_055, swarm(round)), 4_096).unwrap();
        assert!(frame.len() - LENGTH_PREFIX < 4_096);
    }
    assert_eq!(
        encode(&payload(4_056, swarm(u16::MAX)), 4_096),
        Err(EncodeError::TooLarge {
            len: 4_096,
            max: 4_095
        })
    );
    assert!(encode(&payload(4_056, swarm(16_383)), 4_096).is_ok());
    assert!(encode(&payload(4_057, swarm(127)), 4_096).is_ok());
    assert!(encode(&payload(4_057, swarm(128)), 4_096).is_err());
}

/// Item 2: a frame of exactly the maximum is read.
#[test]
fn a_frame_of_the_maximum_size_is_read() {
    let mut stream = Bytes::from([&[0, 0, 0x10, 0], &[0; 4_096][..]].concat());
    let mut parser = FrameParser::new(4_096);
    let body = parser.take_frame(&mut stream).unwrap().unwrap();
    assert_eq!(body.len(), 4_096);
}

#[test]
fn a_longer_frame_is_refused_before_its_body_comes() {
    let error = FrameError::TooLarge {
        len: 4_097,
        max: 4_096,
    };
    let mut parser = FrameParser::new(4_096);
    let mut chunk = Bytes::from_static(&[0, 0, 0x10]);
    assert_eq!(parser.take_frame(&mut chunk), Ok(None));
    let mut chunk = Bytes::from_static(&[1, 0, 0, 0, 0]);
    assert_eq!(parser.take_frame(&mut chunk), Err(error));
    assert_eq!(parser.take_frame(&mut chunk), Err(error));
    assert_eq!(chunk.len(), 4, "nothing more is taken");
    assert_eq!(parser.finish(), Err(error));
}

#[test]
fn a_count_alone_allocates_nothing() {
    let bytes = [&[1, 3, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 32]].concat();
    assert_eq!(
        decode::<u16>(Bytes::from(bytes)),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn numbers_may_be_written_longer_than_need_be() {
    let short = decode::<u16>(Bytes::from_static(&[1, 2, 0, 5]));
    let graft = Graft {
        id: None,
        round: Round::from(5),
    };
    assert_eq!(short, Ok(Message::Gossip(plumtree::Message::Graft(graft))));
    for long in [
        &[0x81, 0x00, 2, 0, 5][..],
        &[1, 0x82, 0x80, 0x00, 0, 5],
        &[1, 2, 0, 0x85, 0x80, 0x00],
    ] {
        assert_eq!(decode::<u16>(Bytes::from_static(long)), short, "{long:?}");
    }
    for too_long in [
        &[1, 2, 0, 0x85, 0x80, 0x04][..],
        &[1, 2, 0, 0x85, 0x80, 0x80, 0x00],
        &[0x81, 0x80, 0x80, 0x80, 0x10, 2, 0, 5],
    ] {
        assert_eq!(
            decode::<u16>(Bytes::from_static(too_long)),
            Err(DecodeError::Number),
            "{too_long:?}"
        );
    }
}

#[test]
fn unknown_kinds_and_flags_are_errors() {
    for (bytes, error) in [
        (&[2, 0][..], DecodeError::Invalid),
        (&[0, 6], DecodeError::Invalid),
        (&[1, 4], DecodeError::Invalid),
        (&[0, 5, 2, 0], DecodeError::Flag),
        (&[0, 0, 2], DecodeError::Flag),
        (&[1, 2, 7, 0], DecodeError::Flag),
        (&[], DecodeError::Truncated),
    ] {
        assert_eq!(
            decode::<u16>(Bytes::from_static(bytes)),
            Err(error),
            "{bytes:?}"
        );
    }
}

#[test]
fn an_identity_that_is_no_public_key_is_an_error() {
    let message = |id: [u8; 32]| {
        let peer = PeerInfo { id, data: None };
        let message = hyparview::Message::ForwardJoin(ForwardJoin { peer, ttl: Ttl(3) });
        encode(&Message::Swarm(message), 4096)
            .unwrap()
            .slice(LENGTH_PREFIX..)
    };
    let valid = *iroh::SecretKey::from_bytes(&[3; 32]).public().as_bytes();
    assert!(decode::<PublicKey>(message(valid)).is_ok());
    // Two is not the y coordinate of any point of the curve.
    let mut invalid = [0; 32];
    invalid[0] = 2;
    assert_eq!(
        decode::<PublicKey>(message(invalid)),
        Err(DecodeError::Invalid)
    );
}

#[test]
fn the_unused_flag_of_disconnect_is_read_and_written() {
    let message = decode::<u16>(Bytes::from_static(&[0, 5, 1, 1])).unwrap();
    assert_eq!(body(&message)[..], [0, 5, 1, 1]);
    let ours = Message::Swarm(hyparview::Message::Disconnect(Disconnect::new(true)));
    assert_eq!(body(&ours)[..], [0, 5, 1, 0]);
}

#[test]
fn headers() {
    let header = StreamHeader {
        topic_id: TopicId::from_bytes([5; 32]),
    };
    let mut frame = header.encode();
    let body = FrameParser::new(512)
        .take_frame(&mut frame)
        .unwrap()
        .unwrap();
    assert_eq!(StreamHeader::decode(&body), Ok(header));
    assert_eq!(
        StreamHeader::decode(&body[1..]),
        Err(DecodeError::Truncated)
    );
    let longer = [&body[..], &[1]].concat();
    assert_eq!(StreamHeader::decode(&longer), Ok(header));
}

#[test]
fn an_announcement_list_of_any_length_reads_back() {
    for count in [0, 1, 127, 128, 300] {
        let announced = (0..count)
            .map(|n: u16| IHave {
                id: MessageId::from_content(&n.to_be_bytes()),
                round: Round::from(n),
            })
            .collect();
        let message = Message::Gossip(plumtree::Message::IHave(announced));
        assert_eq!(decode(body(&message)), Ok(message));
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let error = EncodeError::TooLarge { len: 9, max: 8 };
    assert_eq!(
        error.to_string(),
        "message of 9 bytes is larger than the 8 that fit a frame"
    );
    let error = FrameError::TooLarge { len: 9, max: 8 };
    assert_eq!(
        error.to_string(),
        "frame of 9 bytes is larger than the 8 that are accepted"
    );
}
