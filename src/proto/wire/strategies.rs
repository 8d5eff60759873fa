//! Arbitrary messages, for property tests.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use crate::proto::{
    Message, MessageId, PeerData, PeerIdentity, PeerInfo,
    hyparview::{self, Disconnect, ForwardJoin, Neighbor, Priority, Shuffle, ShuffleReply, Ttl},
    plumtree::{self, DeliveryScope, Gossip, Graft, IHave, Round},
};

/// Any message, with peers out of `peer`.
pub(crate) fn message<PI: PeerIdentity>(
    peer: impl Strategy<Value = PI> + Clone + 'static,
) -> impl Strategy<Value = Message<PI>> {
    prop_oneof![
        membership(peer).prop_map(Message::Swarm),
        broadcast().prop_map(Message::Gossip),
    ]
}

fn membership<PI: PeerIdentity>(
    peer: impl Strategy<Value = PI> + Clone + 'static,
) -> impl Strategy<Value = hyparview::Message<PI>> {
    use hyparview::Message;
    let info = (peer.clone(), peer_data()).prop_map(|(id, data)| PeerInfo { id, data });
    let nodes = vec(info.clone(), 0..20);
    let ttl = number().prop_map(Ttl);
    prop_oneof![
        peer_data().prop_map(Message::Join),
        (info, ttl.clone()).prop_map(|(peer, ttl)| Message::ForwardJoin(ForwardJoin { peer, ttl })),
        (peer, nodes.clone(), ttl)
            .prop_map(|(origin, nodes, ttl)| { Message::Shuffle(Shuffle { origin, nodes, ttl }) }),
        nodes.prop_map(|nodes| Message::ShuffleReply(ShuffleReply { nodes })),
        (any::<bool>(), peer_data()).prop_map(|(high, data)| {
            let priority = if high { Priority::High } else { Priority::Low };
            Message::Neighbor(Neighbor { priority, data })
        }),
        (any::<bool>(), any::<bool>())
            .prop_map(|(alive, _respond)| { Message::Disconnect(Disconnect { alive, _respond }) }),
    ]
}

fn broadcast() -> impl Strategy<Value = plumtree::Message> {
    use plumtree::Message;
    let payload =
        (content(), any::<bool>(), id(), scope()).prop_map(|(content, valid, id, scope)| {
            let id = if valid {
                MessageId::from_content(&content)
            } else {
                id
            };
            Message::Gossip(Gossip { id, content, scope })
        });
    let announcement = (id(), round()).prop_map(|(id, round)| IHave { id, round });
    prop_oneof![
        3 => payload,
        1 => Just(Message::Prune),
        2 => (option::of(id()), round())
            .prop_map(|(id, round)| Message::Graft(Graft { id, round })),
        2 => vec(announcement, 0..150).prop_map(|all| Message::IHave(all.into())),
    ]
}

fn scope() -> impl Strategy<Value = DeliveryScope> {
    prop_oneof![
        3 => round().prop_map(DeliveryScope::Swarm),
        1 => Just(DeliveryScope::Neighbors),
    ]
}

fn round() -> impl Strategy<Value = Round> + Clone {
    number().prop_map(Round::from)
}

/// Numbers around the places where their encoding grows by a byte.
fn number() -> impl Strategy<Value = u16> + Clone {
    prop_oneof![0..10u16, 120..136u16, 16_380..16_390u16, 65_530..=u16::MAX]
}

/// Ids out of a few, so that they meet again, and out of all.
fn id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        (0..4u8).prop_map(|byte| MessageId::from_content(&[byte; 3])),
        any::<[u8; 32]>().prop_map(MessageId::from_bytes),
    ]
}

/// Content out of little, so that it comes again, and long enough for the largest frames.
fn content() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (0..4u8).prop_map(|byte| Bytes::from(vec![byte; 3])),
        (0..300usize).prop_map(|len| Bytes::from(vec![7; len])),
        (4_000..4_100usize).prop_map(|len| Bytes::from(vec![8; len])),
    ]
}

fn peer_data() -> impl Strategy<Value = Option<PeerData>> + Clone {
    let len = prop_oneof![0..200usize, 1_000..1_100usize];
    option::of(len.prop_map(|len| PeerData::new(vec![9; len])))
}
