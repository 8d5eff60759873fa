//! What can happen to a node.

use std::time::Duration;

use bytes::Bytes as Content;
use smol_gossip::proto::{
    Command, InEvent, LinkId, Message, MessageId, PeerData, PeerInfo, Scope,
    hyparview::{self, Disconnect, ForwardJoin, Neighbor, Priority, Shuffle, ShuffleReply, Ttl},
    plumtree::{self, DeliveryScope, Gossip, Graft, IHave, Round},
    wire,
};

use super::{Node, Peer, SENDERS, topic};
use crate::targets::bytes::Bytes;

impl Node {
    pub(super) fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(24) {
            0 => {
                let len = usize::from(bytes.u8()) * 4;
                let body = Content::copy_from_slice(bytes.take(len));
                if let Ok(message) = wire::decode(body) {
                    self.receive(message, bytes);
                }
            }
            1..=12 => {
                let message = message(bytes);
                self.receive(message, bytes);
            }
            13 => {
                let count = bytes.below(8);
                let peers = (0..count).map(|_| bytes.u8()).collect();
                self.command(Command::Join(peers), bytes);
            }
            14..=15 => {
                let scope = if bytes.flag() {
                    Scope::Swarm
                } else {
                    Scope::Neighbors
                };
                let content = content(bytes);
                self.command(Command::Broadcast(content, scope), bytes);
            }
            16 => self.command(Command::Quit, bytes),
            17 => self.feed(InEvent::PeerDisconnected(bytes.u8())),
            18 => self.feed(InEvent::DialFailed(bytes.u8())),
            19 => {
                let to = bytes.below(SENDERS);
                let topic = topic(bytes.u8());
                self.feed(InEvent::StreamLost { to, topic });
            }
            20 => {
                let data = PeerData::new(vec![1; bytes.u16().into()]);
                self.feed(InEvent::UpdatePeerData(data));
            }
            21 => {
                if let Some(timer) = self.observed.any_timer(bytes.u8()) {
                    self.expire(timer);
                }
            }
            22 => self.wait(Duration::from_millis(bytes.u8().into())),
            _ => {
                // From a millisecond to a year.
                let millis = 1_u64 << bytes.below(35);
                self.wait(Duration::from_millis(millis));
            }
        }
    }

    fn receive(&mut self, message: Message<Peer>, bytes: &mut Bytes<'_>) {
        self.feed(InEvent::RecvMessage {
            from: bytes.below(SENDERS),
            link: LinkId(bytes.u8().into()),
            topic: topic(bytes.u8()),
            message,
        });
    }

    fn command(&mut self, command: Command<Peer>, bytes: &mut Bytes<'_>) {
        self.feed(InEvent::Command(topic(bytes.u8()), command));
    }
}

fn message(bytes: &mut Bytes<'_>) -> Message<Peer> {
    use hyparview::Message as Swarm;
    use plumtree::Message as Broadcast;
    match bytes.below(10) {
        0 => Message::Swarm(Swarm::Join(peer_data(bytes))),
        1 => Message::Swarm(Swarm::ForwardJoin(ForwardJoin {
            peer: PeerInfo {
                id: bytes.u8(),
                data: peer_data(bytes),
            },
            ttl: Ttl(number(bytes)),
        })),
        2 => Message::Swarm(Swarm::Shuffle(Shuffle {
            origin: bytes.u8(),
            ttl: Ttl(number(bytes)),
            nodes: peers(bytes),
        })),
        3 => Message::Swarm(Swarm::ShuffleReply(ShuffleReply {
            nodes: peers(bytes),
        })),
        4 => Message::Swarm(Swarm::Neighbor(Neighbor {
            priority: if bytes.flag() {
                Priority::High
            } else {
                Priority::Low
            },
            data: peer_data(bytes),
        })),
        5 => Message::Swarm(Swarm::Disconnect(Disconnect::new(bytes.flag()))),
        6 => {
            let content = content(bytes);
            let id = if bytes.below(8) == 0 {
                id(bytes)
            } else {
                MessageId::from_content(&content)
            };
            let scope = if bytes.below(4) == 0 {
                DeliveryScope::Neighbors
            } else {
                DeliveryScope::Swarm(Round::from(number(bytes)))
            };
            Message::Gossip(Broadcast::Gossip(Gossip { id, content, scope }))
        }
        7 => Message::Gossip(Broadcast::Prune),
        8 => {
            let id = bytes.flag().then(|| id(bytes));
            let round = Round::from(number(bytes));
            Message::Gossip(Broadcast::Graft(Graft { id, round }))
        }
        _ => {
            let first = bytes.u16();
            let count = bytes.u8().into();
            let round = Round::from(number(bytes));
            let known = id(bytes);
            let unknown = (0..count).map(|number| made_up(first.wrapping_add(number)));
            let ids = std::iter::once(known).chain(unknown);
            Message::Gossip(Broadcast::IHave(
                ids.map(|id| IHave { id, round }).collect(),
            ))
        }
    }
}

/// Content out of little, so that it comes again, and up to what no frame can carry.
fn content(bytes: &mut Bytes<'_>) -> Content {
    let len = match bytes.below(4) {
        0 => 0,
        1 => 3,
        2 => usize::from(bytes.u8()) * 3,
        _ => 4_000 + usize::from(bytes.u8()),
    };
    vec![bytes.below(16); len].into()
}

/// Ids of content, or of nothing.
fn id(bytes: &mut Bytes<'_>) -> MessageId {
    if bytes.below(8) == 0 {
        made_up(bytes.u16())
    } else {
        MessageId::from_content(&content(bytes))
    }
}

fn made_up(number: u16) -> MessageId {
    let mut id = [0xee; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(id)
}

fn number(bytes: &mut Bytes<'_>) -> u16 {
    match bytes.u8() {
        0xff => u16::MAX,
        0xfe => u16::MAX - 1,
        few => few.into(),
    }
}

fn peer_data(bytes: &mut Bytes<'_>) -> Option<PeerData> {
    match bytes.below(4) {
        0 => None,
        1 => Some(PeerData::default()),
        2 => Some(PeerData::new(vec![bytes.u8(); 10])),
        _ => Some(PeerData::new(vec![9; usize::from(bytes.u8()) * 8])),
    }
}

/// Peers in a row, all with the same data.
fn peers(bytes: &mut Bytes<'_>) -> Vec<PeerInfo<Peer>> {
    let first = bytes.u8();
    let data = peer_data(bytes);
    (0..bytes.u8())
        .map(|number| PeerInfo {
            id: first.wrapping_add(number),
            data: data.clone(),
        })
        .collect()
}
