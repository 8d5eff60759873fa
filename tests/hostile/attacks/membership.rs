//! Introductions that are false.

use std::time::Duration;

use iroh::{EndpointAddr, EndpointId, PublicKey, SecretKey};
use smol_gossip::proto::{
    Message, PeerData, PeerInfo,
    hyparview::{self, ForwardJoin, Neighbor, Priority, Shuffle, ShuffleReply, Ttl},
    wire,
};

use super::{
    Target,
    foe::{Foe, Member, foe_id, frame},
};

/// Introductions are small, and each of them can lead to a dial: a thousand a second are many.
const PAUSE: Duration = Duration::from_millis(10);

/// Introduces itself, and the node, as if they were new.
pub(super) async fn self_naming_forward_joins(target: Target) {
    let foe = Foe::new(0, &target).await;
    let frames: Vec<u8> = [target.id, foe_id(0)]
        .into_iter()
        .flat_map(|id| {
            [0, 1, 6, u16::MAX].map(|ttl| {
                let peer = PeerInfo { id, data: None };
                frame(&Message::Swarm(hyparview::Message::ForwardJoin(
                    ForwardJoin {
                        peer,
                        ttl: Ttl(ttl),
                    },
                )))
            })
        })
        .flatten()
        .collect();
    foe.as_member(async |member| {
        loop {
            member.write(&frames).await?;
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Introduces peers that there are not, at addresses where nobody is.
pub(super) async fn made_up_forward_joins(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0u64.. {
            for k in 0..10 {
                let peer = black_hole(10 * n + k);
                let ttl = Ttl((n % 3) as u16);
                let introduction = ForwardJoin { peer, ttl };
                let message = hyparview::Message::ForwardJoin(introduction);
                member.say(&Message::Swarm(message)).await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
    .await;
}

/// Shuffles in the name of others: of honest peers, of the node, of nobody.
pub(super) async fn spoofed_shuffles(target: Target) {
    let foe = Foe::new(0, &target).await;
    let mut origins = target.honest.clone();
    origins.push(target.id);
    origins.push(made_up(1));
    foe.as_member(async |member| {
        for n in 0u64.. {
            for origin in &origins {
                let shuffle = Shuffle {
                    origin: *origin,
                    nodes: (0..20).map(|k| black_hole(20 * n + k)).collect(),
                    ttl: Ttl((n % 3) as u16),
                };
                let message = hyparview::Message::Shuffle(shuffle);
                member.say(&Message::Swarm(message)).await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
    .await;
}

/// A Shuffle that names 32 bytes which are no key.
pub(super) async fn shuffles_with_invalid_keys(target: Target) {
    let foe = Foe::new(0, &target).await;
    let no_key = (0..=u8::MAX)
        .map(|byte| [byte; 32])
        .find(|bytes| PublicKey::from_bytes(bytes).is_err())
        .expect("half of all bytes are no key");
    let shuffle: Message<[u8; 32]> = Message::Swarm(hyparview::Message::Shuffle(Shuffle {
        origin: *foe.endpoint.id().as_bytes(),
        nodes: vec![PeerInfo {
            id: no_key,
            data: None,
        }],
        ttl: Ttl(6),
    }));
    let frame = wire::encode(&shuffle, usize::MAX).expect("it has a frame");
    foe.as_member(async |member| {
        member.write(&frame).await?;
        member.connection.closed().await;
        Err(super::foe::Expelled)
    })
    .await;
}

/// Answers that nobody asked for, with as many peers as fit, of one who is no neighbor.
pub(super) async fn unsolicited_shuffle_replies(target: Target) {
    let foe = Foe::new(0, &target).await;
    let nodes = (0..120).map(|n| PeerInfo {
        id: made_up(n),
        data: None,
    });
    let reply = Message::Swarm(hyparview::Message::ShuffleReply(ShuffleReply {
        nodes: nodes.collect(),
    }));
    foe.again_and_again(async |connection| {
        let mut stranger = Member::silent(connection, target.topic).await?;
        loop {
            stranger.say(&reply).await?;
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// The same, of a neighbor.
pub(super) async fn shuffle_replies_of_a_neighbor(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0u64.. {
            let nodes = (0..120).map(|k| PeerInfo {
                id: made_up(20 * n + k),
                data: None,
            });
            let message = hyparview::Message::ShuffleReply(ShuffleReply {
                nodes: nodes.collect(),
            });
            member.say(&Message::Swarm(message)).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
    .await;
}

/// Shuffles in its own name, full of peers that there are not.
pub(super) async fn shuffles_to_black_holes(target: Target) {
    let foe = Foe::new(0, &target).await;
    let origin = foe.endpoint.id();
    foe.as_member(async |member| {
        for n in 0u64.. {
            let shuffle = Shuffle {
                origin,
                nodes: (0..8).map(|k| black_hole(8 * n + k)).collect(),
                ttl: Ttl(6),
            };
            let message = hyparview::Message::Shuffle(shuffle);
            member.say(&Message::Swarm(message)).await?;
            if n % 10 == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    })
    .await;
}

/// Asks to be a neighbor with peer data from nothing to what fills a frame.
pub(super) async fn peer_data_of_all_sizes(target: Target) {
    let foe = Foe::new(0, &target).await;
    foe.as_member(async |member| {
        for n in 0.. {
            let len = (n * 97) % 4000;
            let message = hyparview::Message::Neighbor(Neighbor {
                priority: Priority::High,
                data: Some(PeerData::new(vec![n as u8; len])),
            });
            member.say(&Message::Swarm(message)).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
    .await;
}

/// Asks to be a neighbor at other addresses each time, as many as are let in.
pub(super) async fn peer_data_always_new(target: Target) {
    let foe = Foe::new(0, &target).await;
    let id = foe.endpoint.id();
    foe.as_member(async |member| {
        for n in 0u32.. {
            let ports = (0..100).map(|k| 1 + ((100 * n + k) % 60_000) as u16);
            let addr = ports.fold(EndpointAddr::new(id), |addr, port| {
                addr.with_ip_addr(([127, 0, 0, 1], port).into())
            });
            let message = hyparview::Message::Neighbor(Neighbor {
                priority: Priority::High,
                data: Some(address(&addr)),
            });
            member.say(&Message::Swarm(message)).await?;
        }
        Ok(())
    })
    .await;
}

fn made_up(n: u64) -> EndpointId {
    SecretKey::from_bytes(blake3::hash(&n.to_be_bytes()).as_bytes()).public()
}

/// A peer that there is not, at an address where nobody listens.
fn black_hole(n: u64) -> PeerInfo<EndpointId> {
    let id = made_up(n);
    let port = 1 + (n % 1000) as u16;
    let addr = EndpointAddr::new(id).with_ip_addr(([127, 0, 0, 1], port).into());
    let data = address(&addr);
    PeerInfo {
        id,
        data: Some(data),
    }
}

/// Peer data as it is on the wire: no relay, and one IPv4 address.
fn address(addr: &EndpointAddr) -> PeerData {
    let addrs: std::collections::BTreeSet<_> = addr.ip_addrs().copied().collect();
    let data = (Option::<&str>::None, addrs);
    PeerData::new(postcard::to_stdvec(&data).expect("serializes to memory"))
}
