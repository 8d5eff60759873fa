//! The two layers of a topic together, and what passes between them.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use hyparview::Sink as _;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::proto::{Limits, MessageId, wire};

type Peer = u32;

/// What a topic put out, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Sent(Peer, Message<Peer>),
    Event(Event<Peer>),
    PeerData(Peer),
    Hold(Peer),
    Release(Peer),
}

#[derive(Default)]
struct Recorder(Vec<Told>);

impl Sink<Peer> for Recorder {
    fn send(&mut self, to: Peer, message: Message<Peer>) {
        self.0.push(Told::Sent(to, message));
    }

    fn emit(&mut self, event: Event<Peer>) {
        self.0.push(Told::Event(event));
    }

    fn peer_data(&mut self, peer: Peer, _data: PeerData) {
        self.0.push(Told::PeerData(peer));
    }

    fn hold(&mut self, peer: Peer) {
        self.0.push(Told::Hold(peer));
    }

    fn release(&mut self, peer: Peer) {
        self.0.push(Told::Release(peer));
    }
}

struct Topic {
    state: State<Peer>,
    rng: StdRng,
    counters: Counters,
    now: At,
}

impl Topic {
    fn new() -> Self {
        Self::with_active_view(5)
    }

    fn with_active_view(capacity: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let mut config = Config::default();
        config.membership.active_view_capacity = capacity;
        let keyed = Keyed::new(&mut rng);
        let parameters = Parameters::new(config, Limits::default()).unwrap();
        Self {
            state: State::new(1, PeerData::default(), &parameters, keyed),
            rng,
            counters: Counters::default(),
            now: At(1_000_000_000),
        }
    }

    fn feed(&mut self, input: Input<Peer>) -> Vec<Told> {
        let mut told = Recorder::default();
        let Self {
            state,
            rng,
            counters,
            now,
        } = self;
        state.handle(input, *now, rng, counters, &mut told);
        told.0
    }

    fn broadcast(&mut self, content: &'static [u8]) -> Vec<Told> {
        let mut told = Recorder::default();
        let (now, counters) = (self.now, &mut self.counters);
        let payload = &mut Bytes::from_static(content).into();
        self.state
            .broadcast(payload, Scope::Swarm, now, counters, &mut told);
        told.0
    }

    fn recv(&mut self, from: Peer, message: Message<Peer>) -> Vec<Told> {
        self.recv_over(LinkId(from.into()), from, message)
    }

    fn recv_over(&mut self, link: LinkId, from: Peer, message: Message<Peer>) -> Vec<Told> {
        let mut told = Recorder::default();
        let Self {
            state,
            rng,
            counters,
            now,
        } = self;
        let received = Received {
            from,
            link,
            message,
            is_hashed: false,
        };
        state.receive(received, *now, rng, counters, &mut told);
        told.0
    }

    fn wait(&mut self, time: Duration) -> Vec<Told> {
        self.now += time;
        let mut told = Recorder::default();
        self.state
            .handle_timeout(self.now, &mut self.rng, &mut self.counters, &mut told);
        told.0
    }

    fn eager(&self) -> BTreeSet<Peer> {
        self.state.eager().copied().collect()
    }
}

fn join() -> Message<Peer> {
    Message::Swarm(hyparview::Message::Join(None))
}

fn payload(content: &'static [u8]) -> Message<Peer> {
    Message::Gossip(plumtree::Message::Gossip(plumtree::Gossip {
        id: MessageId::from_content(content),
        content: Bytes::from_static(content),
        scope: plumtree::DeliveryScope::Swarm(0.into()),
    }))
}

fn position(told: &[Told], what: impl Fn(&Told) -> bool) -> usize {
    told.iter().position(what).expect("it is told")
}

#[test]
fn a_neighbor_is_in_the_tree_as_long_as_it_is_one() {
    let mut topic = Topic::new();
    let told = topic.recv(2, join());
    assert!(told.contains(&Told::Event(Event::NeighborUp(2))));
    assert!(topic.state.is_neighbor(&2));
    assert_eq!(topic.eager(), [2].into());
    let told = topic.feed(Input::PeerDisconnected(2));
    assert!(told.contains(&Told::Event(Event::NeighborDown(2))));
    assert!(!topic.state.is_neighbor(&2));
    assert_eq!(topic.eager(), [].into());
}

#[test]
fn who_has_to_go_for_another_is_no_link_of_the_tree() {
    for lazy in [4, 5, 6] {
        let mut topic = Topic::new();
        for peer in 2..=6 {
            topic.recv(peer, join());
        }
        topic.recv(lazy, Message::Gossip(plumtree::Message::Prune));
        let told = topic.recv(7, join());
        let down = |t: &Told| match t {
            Told::Event(Event::NeighborDown(peer)) => Some(*peer),
            _ => None,
        };
        assert_eq!(told.iter().find_map(down), Some(lazy));
        assert!(topic.state.is_neighbor(&7));
        // Where all are, one of them goes.
        topic.recv(8, join());
        assert!(topic.state.is_neighbor(&8));
    }
}

#[test]
fn the_settled_stay_even_where_the_tree_could_do_without_them() {
    let mut topic = Topic::new();
    for peer in 2..=6 {
        topic.recv(peer, join());
    }
    for settled in [2, 3] {
        topic.recv(settled, Message::Gossip(plumtree::Message::Prune));
    }
    for peer in 7..=20 {
        topic.recv(peer, join());
    }
    assert!(topic.state.is_neighbor(&2) && topic.state.is_neighbor(&3));
}

/// Item 16: strangers change nothing, and their payloads count.
#[test]
fn item_16_the_tree_does_not_change_for_strangers() {
    let mut topic = Topic::new();
    topic.recv(2, join());
    let graft = plumtree::Graft {
        id: None,
        round: 0.into(),
    };
    for message in [
        plumtree::Message::Graft(graft),
        plumtree::Message::Prune,
        plumtree::Message::IHave(plumtree::IHaves::new()),
    ] {
        assert_eq!(topic.recv(9, Message::Gossip(message)), []);
    }
    let told = topic.recv(9, payload(b"from a stranger"));
    let delivered = |t: &Told| matches!(t, Told::Event(Event::Received(_)));
    assert!(told.iter().any(delivered));
    assert!(
        told.iter().any(|t| matches!(t, Told::Sent(2, _))),
        "and sent on"
    );
    assert_eq!(topic.eager(), [2].into());
    assert_eq!(topic.state.lazy().count(), 0);
    assert_eq!(topic.counters.stranger_control, 3);
}

#[test]
fn a_restarted_neighbor_is_new_to_the_tree() {
    let mut topic = Topic::new();
    topic.recv(2, join());
    topic.recv(2, Message::Gossip(plumtree::Message::Prune));
    assert_eq!(topic.eager(), [].into());
    let told = topic.recv_over(LinkId(77), 2, join());
    let down = position(&told, |t| *t == Told::Event(Event::NeighborDown(2)));
    let up = position(&told, |t| *t == Told::Event(Event::NeighborUp(2)));
    assert!(down < up);
    assert_eq!(topic.eager(), [2].into());
}

#[test]
fn the_last_message_to_a_dropped_neighbor_is_a_disconnect() {
    let mut topic = Topic::with_active_view(1);
    topic.recv(2, join());
    topic.broadcast(b"a");
    let told = topic.recv(3, join());
    let to_2 = told.iter().filter_map(|t| match t {
        Told::Sent(2, message) => Some(message),
        _ => None,
    });
    assert!(to_2.last().is_some_and(Message::is_disconnect));
    assert_eq!(topic.eager(), [3].into());
    let later = topic.wait(Duration::from_secs(1));
    assert!(!later.iter().any(|t| matches!(t, Told::Sent(2, _))));
}

#[test]
fn a_neighbor_that_goes_as_it_came_never_was_in_the_tree() {
    let mut told = Recorder::default();
    let topic = Topic::new();
    let mut sink = MembershipSink::new(&mut told, &topic.state.broadcast);
    sink.neighbor_down(2);
    sink.neighbor_up(2);
    sink.neighbor_up(3);
    sink.neighbor_down(2);
    assert_eq!(sink.changes, [Change::Down(2), Change::Up(3)]);
    assert_eq!(
        told.0,
        [
            Told::Event(Event::NeighborDown(2)),
            Told::Event(Event::NeighborUp(2)),
            Told::Event(Event::NeighborUp(3)),
            Told::Event(Event::NeighborDown(2)),
        ],
        "the application is told all the same"
    );
}

#[test]
fn the_deadline_is_that_of_either_layer() {
    let mut topic = Topic::new();
    assert_eq!(
        topic.state.next_deadline().get(),
        None,
        "a new topic is at rest"
    );
    topic.feed(Input::Join(Vec::new()));
    topic.recv(2, join());
    let shuffle = topic.state.next_deadline().get().expect("a shuffle is due");
    topic.recv(2, Message::Gossip(plumtree::Message::Prune));
    topic.broadcast(b"a");
    let announcement = topic
        .state
        .next_deadline()
        .get()
        .expect("an announcement is due");
    assert!(announcement < shuffle);
    let early = topic.wait(Duration::ZERO);
    assert_eq!(early, [], "nothing is due yet");
    let told = topic.wait(announcement - topic.now);
    let announced = |t: &Told| {
        matches!(
            t,
            Told::Sent(2, Message::Gossip(plumtree::Message::IHave(_)))
        )
    };
    assert!(told.iter().any(announced));
    assert!(topic.state.next_deadline().get() > Some(announcement));
}

#[test]
fn a_neighbor_is_held_and_let_go_when_the_topic_is_left() {
    let mut topic = Topic::new();
    let told = topic.recv(2, join());
    assert!(told.contains(&Told::Hold(2)));
    let told = topic.feed(Input::Quit);
    let last = position(
        &told,
        |t| matches!(t, Told::Sent(2, m) if m.is_disconnect()),
    );
    assert!(position(&told, |t| *t == Told::Release(2)) > last);
    assert!(!told.iter().any(|t| matches!(t, Told::Event(_))));
}

/// Item 3: what we send about ourselves and others fits a frame.
#[test]
fn item_03_introductions_fit_a_frame() {
    let mut topic = Topic::new();
    let huge = || Some(PeerData::new(vec![1; 1_000]));
    topic.feed(Input::UpdatePeerData(PeerData::new(vec![1; 100_000])));
    for peer in 2..30 {
        let join = Message::Swarm(hyparview::Message::Join(huge()));
        topic.recv(peer, join);
    }
    let mut told = topic.wait(Duration::from_secs(3_600));
    told.extend(topic.feed(Input::Join(vec![40])));
    told.extend(topic.feed(Input::Quit));
    let mut sent = 0;
    for one in &told {
        if let Told::Sent(_, message) = one {
            sent += 1;
            assert!(wire::encoded_len(message) < Config::default().max_message_size);
        }
    }
    assert!(sent > 5);
}
