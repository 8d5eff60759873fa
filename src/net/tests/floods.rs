//! What is left of a flood once it is over: nothing.

use bytes::Bytes;
use iroh::EndpointId;

use super::{
    raw::{self, Raw},
    world::{World, id, secs, topic},
};
use crate::{
    net::{
        inspect::NodeStats,
        transport::{Connection, SendStream, memory::DialFault},
    },
    proto::{
        Message, MessageId, PeerData, PeerInfo, Round,
        hyparview::{self, Disconnect, Neighbor, Priority, ShuffleReply},
        plumtree::{self, DeliveryScope, Gossip, IHave},
        wire::{self, StreamHeader},
    },
};

/// What a node holds that peers can make grow.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    node: NodeStats,
    cache_bytes: usize,
    seen_ids: usize,
    missing_ids: usize,
    waiting: usize,
}

fn held(world: &mut World) -> Held {
    let node = &mut world.running(0).node;
    let stats = node.topic_stats(&topic(0)).expect("it is in the topic");
    let mut held = Held {
        node: node.node_stats(),
        cache_bytes: stats.cache_bytes,
        seen_ids: stats.seen_ids,
        missing_ids: stats.missing_ids,
        waiting: node.ready.len()
            + node.ready.waiting()
            + node.paused.len()
            + node.outbox.len()
            + node.handshakes.len(),
    };
    // How many there are at the most follows from the rest, and is checked after every poll.
    held.node.timers = 0;
    held
}

/// Nodes 0, 1 and 2 are neighbors. Lets others flood node 0, twice, makes them vanish, and waits
/// until it holds what it held before.
fn leaves_nothing(flood: impl Fn(&mut World)) {
    for gone_silently in [false, true] {
        let mut world = World::new(11);
        world.start_all(3);
        for n in 0..3 {
            world.join(n, 0, &[0, 1, 2]);
        }
        world.run_for(secs(60));
        let before = held(&mut world);
        for n in FOES {
            // The node goes on to look for those that it remembers, but does not hang on them.
            let fault = Some(DialFault::Impossible);
            world.network.set_dials_to(id(n), fault);
        }
        for _ in 0..2 {
            flood(&mut world);
            let during = held(&mut world);
            for n in FOES {
                if gone_silently {
                    world.network.crash(id(n));
                } else {
                    world.network.lose_connections((id(0), true), (id(n), true));
                }
            }
            let is_over = |world: &mut World| held(world) == before;
            world.run_until(&format!("over: {during:?}"), secs(1200), is_over);
            assert_eq!(world.neighbors(0, 0), [1, 2]);
        }
    }
}

const FOES: std::ops::Range<usize> = 10..60;

fn frame(message: Message<EndpointId>) -> Bytes {
    wire::encode(&message, 4096).expect("it fits")
}

fn payload(number: u64) -> Bytes {
    let mut content = vec![0xee; 1000];
    content[..8].copy_from_slice(&number.to_le_bytes());
    let content = Bytes::from(content);
    frame(Message::Gossip(plumtree::Message::Gossip(Gossip {
        id: MessageId::from_content(&content),
        content,
        scope: DeliveryScope::Swarm(Round::from(1)),
    })))
}

#[test]
fn of_new_messages() {
    leaves_nothing(|world| {
        let mut foe = Raw::joined(world, 10, 0, topic(0));
        // The second flood is of others.
        let first = world.time().as_secs() * 10_000;
        for batch in 0..20 {
            let numbers = (0..100).map(|n| first + 100 * batch + n);
            let frames: Vec<Bytes> = numbers.map(payload).collect();
            foe.write(world, topic(0), frames.concat().into());
        }
        assert!(held(world).seen_ids >= 2000);
    });
}

#[test]
fn of_announcements() {
    leaves_nothing(|world| {
        let mut foe = Raw::joined(world, 10, 0, topic(0));
        for n in 0..100u64 {
            let ihaves = (0..100).map(|k| IHave {
                id: MessageId::from_content(&(100 * n + k).to_le_bytes()),
                round: Round::from(1),
            });
            let message = plumtree::Message::IHave(ihaves.collect());
            foe.write(world, topic(0), frame(Message::Gossip(message)));
        }
    });
}

#[test]
fn of_peer_data() {
    leaves_nothing(|world| {
        let mut foe = Raw::joined(world, 10, 0, topic(0));
        for n in 0..100u64 {
            let data = |k: u64| Some(PeerData::new((100 * n + k).to_le_bytes().repeat(100)));
            let neighbor = hyparview::Message::Neighbor(Neighbor {
                priority: Priority::High,
                data: data(0),
            });
            let nodes = (1..4).map(|k| PeerInfo {
                id: id(1000 + (4 * n + k) as usize),
                data: data(k),
            });
            let reply = hyparview::Message::ShuffleReply(ShuffleReply {
                nodes: nodes.collect(),
            });
            let frames = [neighbor, reply].map(|message| frame(Message::Swarm(message)));
            foe.write(world, topic(0), frames.concat().into());
        }
    });
}

#[test]
fn of_made_up_members() {
    leaves_nothing(|world| {
        let mut foes: Vec<Raw> = FOES.map(|n| Raw::joined(world, n, 0, topic(0))).collect();
        assert_eq!(world.neighbors(0, 0).len(), 5);
        let leave = hyparview::Message::Disconnect(Disconnect::new(true));
        let join = hyparview::Message::Join(None);
        let flaps = [leave, join].map(|message| frame(Message::Swarm(message)));
        let flaps = Bytes::from(flaps.concat().repeat(500));
        foes[0].write(world, topic(0), flaps);
    });
}

#[test]
fn of_topics() {
    leaves_nothing(|world| {
        let prune = frame(Message::Gossip(plumtree::Message::Prune));
        streams(world, prune);
    });
}

#[test]
fn of_half_frames() {
    leaves_nothing(|world| {
        // 100 of 4,000 bytes.
        let mut half = 4000u32.to_be_bytes().to_vec();
        half.resize(104, 0);
        streams(world, half.into());
    });
}

/// Opens many streams, each for a topic of its own, and writes the same to all.
fn streams(world: &mut World, bytes: Bytes) {
    let connection = raw::dial(world, 10, 0);
    world.spawn(async move {
        let mut streams = Vec::new();
        for n in 0..120 {
            let topic_id = topic(100 + n);
            let header = StreamHeader { topic_id }.encode();
            let Ok(mut stream) = connection.open_stream().await else {
                return;
            };
            let written = stream.write_all(&mut [header, bytes.clone()]).await;
            if written.is_err() {
                return;
            }
            streams.push(stream);
        }
        connection.closed().await;
    });
    let filled = |world: &mut World| held(world).node.streams_in > 120;
    world.run_until("the streams are there", secs(60), filled);
}
