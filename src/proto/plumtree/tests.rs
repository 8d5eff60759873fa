//! Tests of the broadcast layer, with what they share.

use std::time::Duration;

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::proto::{DEFAULT_MAX_MESSAGE_SIZE, MessageId};

mod announcing;
mod bounds;
mod catching_up;
mod frames;
mod memory;
mod model;
mod network;
mod repair;
mod tree;

/// The beginning of time in all tests.
pub(super) fn start() -> At {
    At(1_000_000_000)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn keyed() -> Keyed {
    Keyed::new(&mut StdRng::seed_from_u64(7))
}

/// What a state put out.
#[derive(Debug, Default)]
struct Output {
    sent: Vec<(u32, Message)>,
    delivered: Vec<GossipEvent<u32>>,
}

impl Sink<u32> for Output {
    fn send(&mut self, to: u32, message: Message) {
        self.sent.push((to, message));
    }

    fn deliver(&mut self, event: GossipEvent<u32>) {
        self.delivered.push(event);
    }
}

impl Output {
    /// Who was sent a payload.
    fn payloads(&self) -> Vec<u32> {
        self.to(|message| matches!(message, Message::Gossip(_)))
    }

    fn prunes(&self) -> Vec<u32> {
        self.to(|message| matches!(message, Message::Prune))
    }

    fn grafts(&self) -> Vec<(u32, Option<MessageId>)> {
        self.sent
            .iter()
            .filter_map(|(to, message)| match message {
                Message::Graft(graft) => Some((*to, graft.id)),
                Message::Gossip(_) | Message::Prune | Message::IHave(_) => None,
            })
            .collect()
    }

    /// What was announced to a peer.
    fn announced(&self, peer: u32) -> Vec<IHave> {
        self.sent
            .iter()
            .filter_map(|(to, message)| match message {
                Message::IHave(ihaves) if *to == peer => Some(ihaves.clone()),
                Message::IHave(_) | Message::Gossip(_) | Message::Prune | Message::Graft(_) => None,
            })
            .flatten()
            .collect()
    }

    fn to(&self, which: impl Fn(&Message) -> bool) -> Vec<u32> {
        let matching = self.sent.iter().filter(|(_, message)| which(message));
        matching.map(|(to, _)| *to).collect()
    }
}

/// One state under test, at a time that only the test moves.
#[derive(Debug)]
struct Node {
    state: State<u32>,
    counters: Counters,
    now: At,
}

fn settings(config: &Config, limits: &Limits, max_message_size: usize) -> Arc<Settings> {
    Arc::new(Settings::new(config, limits, max_message_size))
}

impl Node {
    fn new() -> Self {
        Self::with(Config::default(), &Limits::default())
    }

    fn with(config: Config, limits: &Limits) -> Self {
        Self {
            state: State::new(
                0,
                settings(&config, limits, DEFAULT_MAX_MESSAGE_SIZE),
                keyed(),
            ),
            counters: Counters::default(),
            now: start(),
        }
    }

    /// A node with these eager neighbors.
    fn among(peers: impl IntoIterator<Item = u32>) -> Self {
        let mut node = Self::new();
        for peer in peers {
            node.up(peer);
        }
        node
    }

    fn handle(&mut self, input: Input<u32>) -> Output {
        let mut output = Output::default();
        self.state
            .handle(input, self.now, &mut self.counters, &mut output);
        output
    }

    fn up(&mut self, peer: u32) -> Output {
        self.handle(Input::NeighborUp(peer))
    }

    fn down(&mut self, peer: u32) -> Output {
        self.handle(Input::NeighborDown(peer))
    }

    fn recv(&mut self, from: u32, message: Message) -> Output {
        let mut output = Output::default();
        self.state.receive(
            from,
            message,
            false,
            self.now,
            &mut self.counters,
            &mut output,
        );
        output
    }

    fn broadcast(&mut self, content: &[u8], scope: Scope) -> Output {
        let mut output = Output::default();
        let payload = &mut Bytes::copy_from_slice(content).into();
        self.state
            .broadcast(payload, scope, self.now, &mut self.counters, &mut output);
        output
    }

    /// Lets time pass, with every deadline met on its way.
    fn wait(&mut self, duration: Duration) -> Output {
        let mut output = Output::default();
        let end = self.now + duration;
        while let Some(deadline) = self.state.next_deadline().get().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            self.state
                .handle_timeout(self.now, &mut self.counters, &mut output);
        }
        self.now = end;
        output
    }

    fn eager(&self) -> Vec<u32> {
        self.state.eager().copied().collect()
    }

    fn lazy(&self) -> Vec<u32> {
        self.state.lazy().copied().collect()
    }
}

fn id(content: &[u8]) -> MessageId {
    MessageId::from_content(content)
}

fn payload(content: &[u8], round: u16) -> Message {
    Message::Gossip(Gossip {
        id: id(content),
        content: Bytes::copy_from_slice(content),
        scope: DeliveryScope::Swarm(Round::from(round)),
    })
}

fn direct(content: &[u8]) -> Message {
    Message::Gossip(Gossip {
        id: id(content),
        content: Bytes::copy_from_slice(content),
        scope: DeliveryScope::Neighbors,
    })
}

fn ihave(content: &[u8], round: u16) -> Message {
    Message::IHave(
        [IHave {
            id: id(content),
            round: Round::from(round),
        }]
        .into(),
    )
}

fn graft(content: &[u8]) -> Message {
    Message::Graft(Graft {
        id: Some(id(content)),
        round: Round::from(0),
    })
}

/// An id that no content has, as far as anyone knows.
fn fake_id(number: u64) -> MessageId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    MessageId::from_bytes(bytes)
}
