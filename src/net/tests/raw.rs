//! Peers that do with their connection what a test wants.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use iroh::EndpointId;

use super::world::{World, id, secs};
use crate::{
    net::transport::{Connection, RecvStream, SendStream, Transport, memory::MemoryConnection},
    proto::{
        Message, TopicId, hyparview, plumtree,
        wire::{self, FrameParser, StreamHeader},
    },
};

/// Frames as large as these peers take.
const MAX: usize = 1 << 20;

/// A connection from `n`, which is no node of ours, to a node.
pub(super) fn dial(world: &mut World, n: usize, to: usize) -> MemoryConnection {
    let transport = world.network.attach(id(n), 1);
    world.network.introduce(id(n), id(to));
    let made = Rc::new(RefCell::new(None));
    let slot = made.clone();
    world.spawn(async move {
        let connection = transport.connect(id(to)).await.unwrap();
        *slot.borrow_mut() = Some(connection);
    });
    world.run_for(secs(1));
    made.borrow().clone().unwrap()
}

/// Messages, each with its topic.
type Heard = RefCell<Vec<(TopicId, Message<EndpointId>)>>;

/// A peer that writes what it is told to, and keeps all that it reads.
pub(super) struct Raw {
    pub(super) connection: MemoryConnection,
    heard: Rc<Heard>,
    ended: Rc<Cell<usize>>,
    /// What goes into the stream of each topic.
    streams: BTreeMap<TopicId, async_channel::Sender<Bytes>>,
}

impl Raw {
    pub(super) fn new(world: &mut World, n: usize, to: usize) -> Self {
        let connection = dial(world, n, to);
        let heard: Rc<Heard> = Rc::default();
        let ended: Rc<Cell<usize>> = Rc::default();
        let accepting = connection.clone();
        let (streams, opened) = async_channel::unbounded();
        world.spawn(async move {
            while let Ok(stream) = accepting.accept_stream().await {
                streams.send(stream).await.unwrap();
            }
        });
        // One task for all of them, which is enough for tests that open a few.
        for _ in 0..8 {
            let (opened, all, ended) = (opened.clone(), heard.clone(), ended.clone());
            world.spawn(async move {
                while let Ok(stream) = opened.recv().await {
                    if read_all(stream, &all).await {
                        ended.set(ended.get() + 1);
                    }
                }
            });
        }
        Self {
            connection,
            heard,
            ended,
            streams: BTreeMap::new(),
        }
    }

    /// One that has joined a topic, and is a neighbor.
    pub(super) fn joined(world: &mut World, n: usize, to: usize, topic: TopicId) -> Self {
        let mut this = Self::new(world, n, to);
        this.send(world, topic, Message::Swarm(hyparview::Message::Join(None)));
        this
    }

    /// Writes bytes to the stream of a topic, which begins with a header, and gives them a second.
    pub(super) fn write(&mut self, world: &mut World, topic: TopicId, bytes: Bytes) {
        self.begin_to_write(world, topic, bytes);
        world.run_for(secs(1));
    }

    /// The same, before any time passes.
    pub(super) fn begin_to_write(&mut self, world: &mut World, topic: TopicId, bytes: Bytes) {
        let connection = self.connection.clone();
        let stream = self.streams.entry(topic).or_insert_with(|| {
            let (sender, receiver) = async_channel::unbounded();
            world.spawn(async move {
                let mut next = Some(StreamHeader { topic_id: topic }.encode());
                // Until the node hangs up.
                let Ok(mut stream) = connection.open_stream().await else {
                    return;
                };
                while let Some(bytes) = next
                    && stream.write_all(&mut [bytes]).await.is_ok()
                {
                    next = receiver.recv().await.ok();
                }
            });
            sender
        });
        // Fails where the node has hung up.
        let _ = stream.try_send(bytes);
    }

    pub(super) fn send(&mut self, world: &mut World, topic: TopicId, message: Message<EndpointId>) {
        let frame = wire::encode(&message, MAX).unwrap();
        self.write(world, topic, frame);
    }

    /// All that it read in a topic since the last time.
    pub(super) fn take_heard(&self, topic: TopicId) -> Vec<Message<EndpointId>> {
        let mut heard = self.heard.borrow_mut();
        let of_topic = heard.extract_if(.., |(of, _)| *of == topic);
        of_topic.map(|(_, message)| message).collect()
    }

    /// How many streams of the node have come to a clean end.
    pub(super) fn ended(&self) -> usize {
        self.ended.get()
    }

    /// The payloads that it read in a topic since the last time.
    pub(super) fn take_payloads(&self, topic: TopicId) -> Vec<plumtree::Gossip> {
        let payload = |message| match message {
            Message::Gossip(plumtree::Message::Gossip(gossip)) => Some(gossip),
            Message::Gossip(_) | Message::Swarm(_) => None,
        };
        self.take_heard(topic)
            .into_iter()
            .filter_map(payload)
            .collect()
    }
}

/// Reads a stream. Says whether it came to a clean end.
async fn read_all(mut stream: <MemoryConnection as Connection>::Recv, heard: &Heard) -> bool {
    let mut parser = FrameParser::new(MAX);
    let mut topic = None;
    loop {
        let mut chunks = [const { Bytes::new() }; 8];
        let count = match stream.read(&mut chunks).await {
            Ok(0) => return true,
            Ok(count) => count,
            Err(_) => return false,
        };
        for mut chunk in chunks.into_iter().take(count) {
            while let Some(frame) = parser.take_frame(&mut chunk).unwrap() {
                let Some(topic) = topic else {
                    topic = Some(StreamHeader::decode(&frame).unwrap().topic_id);
                    continue;
                };
                let message = wire::decode(frame).unwrap();
                heard.borrow_mut().push((topic, message));
            }
        }
    }
}
