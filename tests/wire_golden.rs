//! What upstream writes is read, field by field, and written again to the same bytes.

mod golden;

use bytes::Bytes;
use golden::*;
use iroh::PublicKey;
use smol_gossip::proto::{
    Message, MessageId, PeerData, PeerInfo,
    hyparview::{self, Disconnect, ForwardJoin, Neighbor, Priority, Shuffle, ShuffleReply, Ttl},
    plumtree::{self, DeliveryScope, Gossip, Graft, IHave, Round},
    wire::{self, DecodeError, FrameError, FrameParser, StreamHeader},
};

/// Upstream's default, and ours.
const MAX: usize = 4096;

/// The address of the node in the vectors: no relay, and 127.0.0.1 at some port.
fn addresses() -> PeerData {
    PeerData::new(&[0, 1, 0, 127, 0, 0, 1, 0xa1, 0xd4, 3][..])
}

fn payload(content: &'static [u8], scope: DeliveryScope) -> plumtree::Message {
    plumtree::Message::Gossip(Gossip {
        id: MessageId::from_content(content),
        content: Bytes::from_static(content),
        scope,
    })
}

fn peer(of: u8, data: Option<PeerData>) -> PeerInfo<PublicKey> {
    PeerInfo { id: id(of), data }
}

fn neighbor(priority: Priority) -> hyparview::Message<PublicKey> {
    hyparview::Message::Neighbor(Neighbor {
        priority,
        data: Some(addresses()),
    })
}

/// What a vector says; `None` for the header, which is no message.
fn expected(kind: &str) -> Option<Message<PublicKey>> {
    let b_data = Some(PeerData::new(&b"b is here"[..]));
    let swarm = |round: u16| DeliveryScope::Swarm(Round::from(round));
    let membership = match kind {
        "join" => hyparview::Message::Join(Some(addresses())),
        "forward_join" => hyparview::Message::ForwardJoin(ForwardJoin {
            peer: peer(B, b_data),
            ttl: Ttl(6),
        }),
        "shuffle" => hyparview::Message::Shuffle(Shuffle {
            origin: id(UPSTREAM),
            nodes: vec![peer(B, b_data), peer(UPSTREAM, Some(addresses()))],
            ttl: Ttl(6),
        }),
        "shuffle_reply" => hyparview::Message::ShuffleReply(ShuffleReply {
            nodes: vec![peer(C, None), peer(A, None)],
        }),
        "neighbor_high" => neighbor(Priority::High),
        "neighbor_low" => neighbor(Priority::Low),
        "disconnect_alive" => hyparview::Message::Disconnect(Disconnect::new(true)),
        "disconnect_leaving" => hyparview::Message::Disconnect(Disconnect::new(false)),
        _ => {
            let broadcast = match kind {
                "header" => return None,
                "gossip_swarm" => payload(TO_SWARM, swarm(0)),
                "gossip_forwarded" => payload(FROM_A, swarm(1)),
                "gossip_neighbors" => payload(TO_NEIGHBORS, DeliveryScope::Neighbors),
                "prune" => plumtree::Message::Prune,
                "graft" => plumtree::Message::Graft(Graft {
                    id: Some(MessageId::from_content(NEVER_SENT)),
                    round: Round::from(NEVER_SENT_ROUND),
                }),
                "graft_without_id" => plumtree::Message::Graft(Graft {
                    id: None,
                    round: Round::from(0),
                }),
                "ihave" => plumtree::Message::IHave(
                    [IHave {
                        id: MessageId::from_content(ANNOUNCED),
                        round: Round::from(0),
                    }]
                    .into(),
                ),
                _ => panic!("no expectation for {kind}"),
            };
            return Some(Message::Gossip(broadcast));
        }
    };
    Some(Message::Swarm(membership))
}

/// A body as a frame, the way it was on the stream.
fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [&len.to_be_bytes(), body].concat()
}

#[test]
fn every_vector_says_what_it_should() {
    for kind in KINDS {
        let body = Bytes::from(load(kind));
        match expected(kind) {
            Some(message) => assert_eq!(wire::decode(body), Ok(message), "{kind}"),
            None => assert_eq!(
                StreamHeader::decode(&body),
                Ok(StreamHeader { topic_id: TOPIC }),
                "{kind}"
            ),
        }
    }
}

#[test]
fn every_vector_is_written_to_the_same_bytes() {
    for kind in KINDS {
        let written = match expected(kind) {
            Some(message) => {
                assert_eq!(wire::encoded_len(&message), load(kind).len(), "{kind}");
                wire::encode(&message, MAX).unwrap()
            }
            None => StreamHeader { topic_id: TOPIC }.encode(),
        };
        assert_eq!(written, frame(&load(kind)), "{kind}");
    }
}

#[test]
fn every_prefix_of_a_vector_needs_more() {
    for kind in KINDS {
        let body = Bytes::from(load(kind));
        for end in 0..body.len() {
            let prefix = body.slice(..end);
            let error = match expected(kind) {
                Some(_) => wire::decode::<PublicKey>(prefix).unwrap_err(),
                None => StreamHeader::decode(&prefix).unwrap_err(),
            };
            assert_eq!(error, DecodeError::Truncated, "{kind} up to {end}");
        }
        let frame = Bytes::from(frame(&body));
        for end in 0..frame.len() {
            let mut parser = FrameParser::new(MAX);
            let mut chunk = frame.slice(..end);
            assert_eq!(
                parser.take_frame(&mut chunk),
                Ok(None),
                "{kind} up to {end}"
            );
            let clean = if end == 0 {
                Ok(())
            } else {
                Err(FrameError::Unfinished)
            };
            assert_eq!(parser.finish(), clean, "{kind} up to {end}");
            let mut rest = frame.slice(end..);
            assert_eq!(parser.take_frame(&mut rest), Ok(Some(body.clone())));
        }
    }
}
