//! The protocol state without IO, ours and upstream's, fed with the same bytes.

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use smol_gossip::proto::{
    DeliveryScope, Message, MessageId, Round,
    hyparview::{self, Neighbor, Priority},
    plumtree::{self, Gossip},
    wire,
};

use super::node;

/// As long as a real identity, and as cheap to compare and hash.
pub(crate) type Id = [u8; 32];

pub(crate) const TOPIC: [u8; 32] = [7; 32];
/// The largest frame of the defaults, in bytes.
pub(crate) const MAX: usize = 4096;

/// What happens to a state.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A message arrives: the body of a frame.
    Receive(Id, Bytes),
    /// The application takes part.
    Join,
}

/// A state that is fed with steps.
pub(crate) trait Machine: Sized {
    type Event;

    /// A state with room for so many neighbors, or for as many as by default.
    fn new(active_view: Option<usize>) -> Self;

    /// Turns a step into the state's own type, which is not measured.
    fn event(step: &Step) -> Self::Event;

    fn handle(&mut self, event: Self::Event, now: Instant);

    /// Gives back what is not the state's own.
    fn rest(&mut self);
}

/// The state of this crate.
pub(crate) struct Ours {
    state: smol_gossip::proto::State<Id>,
    rng: StdRng,
    outbox: smol_gossip::proto::Outbox<Id>,
}

impl Machine for Ours {
    type Event = smol_gossip::proto::InEvent<Id>;

    fn new(active_view: Option<usize>) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let mut config = smol_gossip::proto::Config::default();
        if let Some(capacity) = active_view {
            config.membership.active_view_capacity = capacity;
        }
        let state = smol_gossip::proto::State::new(
            peer(0),
            Default::default(),
            config,
            Default::default(),
            &mut rng,
        );
        Self {
            state: state.expect("the defaults make sense"),
            rng,
            outbox: Default::default(),
        }
    }

    fn event(step: &Step) -> Self::Event {
        use smol_gossip::proto::{Command, InEvent, LinkId};
        match step {
            Step::Receive(from, body) => InEvent::RecvMessage {
                from: *from,
                link: LinkId(1),
                topic: TOPIC.into(),
                message: wire::decode(body.clone()).expect("a valid message"),
            },
            Step::Join => InEvent::Command(TOPIC.into(), Command::Join(vec![])),
        }
    }

    fn handle(&mut self, event: Self::Event, now: Instant) {
        self.state
            .handle(event, now, &mut self.rng, &mut self.outbox);
        // Looked at where they are: moving them about is no part of an event.
        for out in &self.outbox {
            black_box(out);
        }
        self.outbox.clear();
    }

    fn rest(&mut self) {
        // A node has one for all its topics.
        self.outbox = Default::default();
    }
}

/// The state of `iroh-gossip` 0.101.
pub(crate) struct Upstream {
    state: iroh_gossip::proto::State<Id, StdRng>,
}

impl Machine for Upstream {
    type Event = iroh_gossip::proto::InEvent<Id>;

    fn new(active_view: Option<usize>) -> Self {
        let mut config = iroh_gossip::proto::Config::default();
        if let Some(capacity) = active_view {
            config.membership.active_view_capacity = capacity;
        }
        Self {
            state: iroh_gossip::proto::State::new(
                peer(0),
                Default::default(),
                config,
                StdRng::seed_from_u64(1),
            ),
        }
    }

    fn event(step: &Step) -> Self::Event {
        use iroh_gossip::proto::{Command, InEvent};
        match step {
            Step::Receive(from, body) => {
                // Its message type is private but for its encoding, in which the topic leads.
                let bytes = [&TOPIC[..], body].concat();
                let message = postcard::from_bytes(&bytes).expect("a valid message");
                InEvent::RecvMessage(*from, message)
            }
            Step::Join => InEvent::Command(TOPIC.into(), Command::Join(vec![])),
        }
    }

    fn handle(&mut self, event: Self::Event, now: Instant) {
        for out in self.state.handle(event, now.into(), None) {
            black_box(&out);
        }
    }

    fn rest(&mut self) {}
}

/// The identity of a peer.
pub(crate) fn peer(n: u64) -> Id {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

/// A message that arrives over three hops.
pub(crate) fn gossip(n: u64, size: usize) -> Message<Id> {
    let content = node::message(n, size);
    Message::Gossip(plumtree::Message::Gossip(Gossip {
        id: MessageId::from_content(&content),
        content,
        scope: DeliveryScope::Swarm(Round::from(3)),
    }))
}

/// A request that is always granted.
pub(crate) fn neighbor() -> Message<Id> {
    Message::Swarm(hyparview::Message::Neighbor(Neighbor {
        priority: Priority::High,
        data: None,
    }))
}

/// A message from a peer, as its frame.
pub(crate) fn receive((from, message): (u64, Message<Id>)) -> Step {
    // Written with room, since no frame here is meant to be refused.
    let frame = wire::encode(&message, 2 * MAX).expect("it fits");
    Step::Receive(peer(from), frame.slice(wire::LENGTH_PREFIX..))
}

/// A state with neighbors, and room for them.
pub(crate) fn populated<M: Machine>(neighbors: u64, now: Instant) -> M {
    // Few leave the room that there is by default.
    let room = usize::try_from(neighbors).ok().filter(|count| *count > 5);
    let mut machine = M::new(room);
    machine.handle(M::event(&Step::Join), now);
    for n in 1..=neighbors {
        machine.handle(M::event(&receive((n, neighbor()))), now);
    }
    machine
}
