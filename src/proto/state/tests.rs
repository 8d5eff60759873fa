//! The state of a node against the requirements that cross its layers. The numbers are those of
//! the design's list of what is done better.

mod config;
mod random;
mod swarms;

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};

use super::{
    swarm::{Peer, check, ms, start, topic},
    *,
};
use crate::proto::{
    Command, Event, LinkId, Message, MessageId, OutEvent, Scope, TimerId,
    hyparview::{self, Neighbor, Priority},
    plumtree::{DeliveryScope, Gossip, Message as Broadcast},
};

/// One node, and nobody at the other ends.
struct Node {
    state: State<Peer>,
    rng: StdRng,
    now: Instant,
}

impl Node {
    fn new() -> Self {
        Self::with_config(Config::default())
    }

    fn with_config(config: Config) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let limits = Limits::default();
        let state = State::new(1, PeerData::default(), config, limits, &mut rng).unwrap();
        Self {
            state,
            rng,
            now: start(),
        }
    }

    fn feed(&mut self, event: InEvent<Peer>) -> Outbox<Peer> {
        let mut out = Outbox::new();
        self.state.handle(event, self.now, &mut self.rng, &mut out);
        check(&self.state, &out);
        out
    }

    fn command(&mut self, topic: TopicId, command: Command<Peer>) -> Outbox<Peer> {
        self.feed(InEvent::Command(topic, command))
    }

    fn recv(&mut self, from: Peer, topic: TopicId, message: Message<Peer>) -> Outbox<Peer> {
        self.feed(InEvent::RecvMessage {
            from,
            link: LinkId(from.into()),
            topic,
            message,
        })
    }

    /// Joins a topic, and takes peers that join it for neighbors.
    fn join_with(&mut self, topic: TopicId, peers: &[Peer]) {
        self.command(topic, Command::Join(Vec::new()));
        for peer in peers {
            let join = Message::Swarm(hyparview::Message::Join(None));
            self.recv(*peer, topic, join);
        }
        assert!(self.state.neighbors(&topic).eq(peers));
    }
}

fn payload(content: impl Into<Bytes>, scope: DeliveryScope) -> Message<Peer> {
    let content = content.into();
    let id = MessageId::from_content(&content);
    Message::Gossip(Broadcast::Gossip(Gossip { id, content, scope }))
}

fn neighbor(priority: Priority) -> Message<Peer> {
    let data = None;
    Message::Swarm(hyparview::Message::Neighbor(Neighbor { priority, data }))
}

/// What a node without addresses asks with.
fn neighbor_with_data() -> Message<Peer> {
    Message::Swarm(hyparview::Message::Neighbor(Neighbor {
        priority: Priority::High,
        data: Some(PeerData::default()),
    }))
}

fn disconnects(out: &Outbox<Peer>) -> Vec<Peer> {
    let disconnected = |event: &OutEvent<Peer>| match event {
        OutEvent::DisconnectPeer(peer) => Some(*peer),
        _ => None,
    };
    out.iter().filter_map(disconnected).collect()
}

fn sent(out: &Outbox<Peer>) -> Vec<(Peer, TopicId, &Message<Peer>)> {
    let mut sent = Vec::new();
    for event in out {
        if let OutEvent::SendMessage { to, topic, message } = event {
            sent.push((*to, *topic, message));
        }
    }
    sent
}

fn timer_set(out: &Outbox<Peer>) -> Option<(TimerId, Instant)> {
    let set = |event: &OutEvent<Peer>| match event {
        OutEvent::SetTimer(timer, deadline) => Some((*timer, *deadline)),
        _ => None,
    };
    out.iter().find_map(set)
}

fn cancelled(out: &Outbox<Peer>) -> Vec<TimerId> {
    let cancelled = |event: &OutEvent<Peer>| match event {
        OutEvent::CancelTimer(timer) => Some(*timer),
        _ => None,
    };
    out.iter().filter_map(cancelled).collect()
}

fn received(out: &Outbox<Peer>) -> usize {
    let is_received =
        |event: &&OutEvent<Peer>| matches!(event, OutEvent::EmitEvent(_, Event::Received(_)));
    out.iter().filter(is_received).count()
}

#[test]
fn item_01_an_oversize_broadcast_leaves_links_untouched() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2, 3]);
    let max = node.state.max_content_size();
    assert_eq!(max, 4_055);
    let broadcast = |len| Command::Broadcast(vec![1; len].into(), Scope::Swarm);
    for len in [max - 1, max] {
        let out = node.command(topic(1), broadcast(len));
        assert_eq!(sent(&out).len(), 2);
    }
    for scope in [Scope::Swarm, Scope::Neighbors] {
        let too_large = Command::Broadcast(vec![1; max + 1].into(), scope);
        assert!(node.command(topic(1), too_large).is_empty());
    }
    assert_eq!(node.state.counters().broadcast_too_large, 2);
    assert!(node.state.neighbors(&topic(1)).eq(&[2, 3]));
}

#[test]
fn item_02_what_cannot_be_forwarded_in_bounds_is_delivered() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2, 3]);
    let max = node.state.max_message_size();
    let message = payload(vec![1; 4_058], DeliveryScope::Swarm(5.into()));
    assert_eq!(super::super::wire::encoded_len(&message), max);
    let out = node.recv(2, topic(1), message);
    assert_eq!(received(&out), 1);
    assert!(sent(&out).is_empty());
    assert_eq!(node.state.counters().not_forwarded_too_large, 1);
}

#[test]
fn item_12_leaving_a_topic_keeps_the_neighbors_of_another() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2, 3]);
    node.join_with(topic(2), &[2]);
    let out = node.command(topic(1), Command::Quit);
    assert_eq!(disconnects(&out), [3]);
    assert!(node.state.is_needed(&2));
    assert!(!node.state.is_needed(&3));
    assert!(node.state.neighbors(&topic(2)).eq(&[2]));
    let out = node.command(topic(2), Command::Quit);
    assert_eq!(disconnects(&out), [2]);
    assert!(!node.state.is_needed(&2));
    assert_eq!(node.state.topics().len(), 0);
}

#[test]
fn item_12_a_neighbor_that_leaves_one_topic_is_kept_in_another() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2]);
    node.join_with(topic(2), &[2]);
    let leave = || {
        Message::Swarm(hyparview::Message::Disconnect(hyparview::Disconnect::new(
            false,
        )))
    };
    let out = node.recv(2, topic(1), leave());
    assert_eq!(disconnects(&out), []);
    assert!(node.state.is_needed(&2));
    let out = node.recv(2, topic(2), leave());
    assert_eq!(disconnects(&out), [2]);
}

#[test]
fn item_12_disconnect_and_join_of_a_quick_rejoin_stay_in_order() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2]);
    let quit = node.command(topic(1), Command::Quit);
    let rejoin = node.command(topic(1), Command::Join(vec![2]));
    let (quit, rejoin) = (sent(&quit), sent(&rejoin));
    let (to, _, last) = quit.last().unwrap();
    assert_eq!((*to, last.is_disconnect()), (2, true));
    assert!(quit.iter().filter(|(_, _, m)| m.is_disconnect()).count() == 1);
    let join = |m: &Message<Peer>| matches!(m, Message::Swarm(hyparview::Message::Join(_)));
    assert!(matches!(rejoin[..], [(2, _, message)] if join(message)));
    assert_eq!(
        node.state.neighbors(&topic(1)).count(),
        0,
        "the state is new"
    );
}

#[test]
fn a_one_off_message_is_followed_by_one_disconnect() {
    let mut node = Node::with_config(Config {
        membership: hyparview::Config {
            active_view_capacity: 1,
            ..Default::default()
        },
        ..Default::default()
    });
    node.join_with(topic(1), &[2]);
    let out = node.recv(3, topic(1), neighbor(Priority::Low));
    let (refusal, probes): (Vec<_>, Vec<_>) = sent(&out).into_iter().partition(|one| one.0 == 3);
    assert!(matches!(probes[..], [(2, _, Message::Gossip(_))]));
    assert!(refusal.last().unwrap().2.is_disconnect());
    assert_eq!(disconnects(&out), [3]);
    assert_eq!(out.back(), Some(&OutEvent::DisconnectPeer(3)));
    assert!(node.state.is_needed(&2));
}

#[test]
fn a_peer_that_is_gone_is_not_disconnected() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2]);
    node.join_with(topic(2), &[2]);
    let out = node.feed(InEvent::PeerDisconnected(2));
    for id in [topic(1), topic(2)] {
        let down = OutEvent::EmitEvent(id, Event::NeighborDown(2));
        assert!(out.contains(&down));
    }
    assert_eq!(disconnects(&out), []);
}

/// Item 5, as far as it is ours.
#[test]
fn item_05_a_thousand_topics_share_a_neighbor() {
    let mut node = Node::new();
    let topics: Vec<TopicId> = (0..1_000u32)
        .map(|n| TopicId::from_bytes(*MessageId::from_content(&n.to_be_bytes()).as_bytes()))
        .collect();
    for id in &topics {
        node.join_with(*id, &[2]);
    }
    let (last, others) = topics.split_last().unwrap();
    for id in others {
        assert_eq!(disconnects(&node.command(*id, Command::Quit)), []);
    }
    assert!(node.state.topics().eq([last]));
    assert_eq!(disconnects(&node.command(*last, Command::Quit)), [2]);
}

#[test]
fn item_13_a_topic_has_one_timer() {
    let mut node = Node::new();
    let joined = node.command(topic(1), Command::Join(vec![2]));
    let sets = joined
        .iter()
        .filter(|e| matches!(e, OutEvent::SetTimer(..)));
    assert_eq!(sets.count(), 1);
    let again = node.command(topic(1), Command::Join(vec![2]));
    let first = timer_set(&joined).unwrap();
    if let Some((timer, deadline)) = timer_set(&again) {
        assert_eq!(timer, first.0);
        assert_ne!(deadline, first.1, "set only to change it");
    }
    let quit = node.command(topic(1), Command::Quit);
    assert_eq!(cancelled(&quit), [first.0]);
}

#[test]
fn item_17_the_timer_of_a_topic_that_is_gone_does_nothing() {
    let mut node = Node::new();
    let joined = node.command(topic(1), Command::Join(vec![2]));
    let (stale, deadline) = timer_set(&joined).unwrap();
    node.command(topic(1), Command::Quit);
    node.now = deadline;
    assert!(node.feed(InEvent::TimerExpired(stale)).is_empty());
    let joined = node.command(topic(3), Command::Join(vec![2]));
    let (fresh, deadline) = timer_set(&joined).unwrap();
    assert_eq!(fresh.slot(), stale.slot(), "the place is used again");
    assert_ne!(fresh, stale);
    node.now = deadline;
    assert!(node.feed(InEvent::TimerExpired(stale)).is_empty());
    assert!(!node.feed(InEvent::TimerExpired(fresh)).is_empty());
}

#[test]
fn a_timer_that_goes_off_early_is_set_again() {
    let mut node = Node::new();
    let joined = node.command(topic(1), Command::Join(vec![2]));
    let (timer, deadline) = timer_set(&joined).unwrap();
    node.now = deadline - ms(1);
    let out = node.feed(InEvent::TimerExpired(timer));
    assert_eq!(out, [OutEvent::SetTimer(timer, deadline)]);
}

#[test]
fn item_18_a_neighbor_comes_before_its_messages() {
    let mut node = Node::new();
    node.command(topic(1), Command::Join(Vec::new()));
    let join = Message::Swarm(hyparview::Message::Join(None));
    let mut out = node.recv(2, topic(1), join);
    out.extend(node.recv(2, topic(1), payload("a", DeliveryScope::Neighbors)));
    let events: Vec<_> = out
        .iter()
        .filter(|event| matches!(event, OutEvent::EmitEvent(..)))
        .collect();
    assert!(matches!(
        events[..],
        [
            OutEvent::EmitEvent(_, Event::NeighborUp(2)),
            OutEvent::EmitEvent(_, Event::Received(_)),
        ]
    ));
}

#[test]
fn leaving_tells_the_application_nothing() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2, 3]);
    let out = node.command(topic(1), Command::Quit);
    let is_event = |event: &OutEvent<Peer>| matches!(event, OutEvent::EmitEvent(..));
    assert!(!out.iter().any(is_event));
}

#[test]
fn what_comes_for_an_unknown_topic_is_counted() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2]);
    node.recv(2, topic(9), payload("a", DeliveryScope::Neighbors));
    let broadcast = Command::Broadcast("a".into(), Scope::Swarm);
    assert!(node.command(topic(9), broadcast).is_empty());
    assert!(node.command(topic(9), Command::Quit).is_empty());
    assert_eq!(node.state.counters().unknown_topic, 2);
    assert!(!node.state.contains(&topic(9)));
}

#[test]
fn a_topic_counts_its_own_duplicates() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2, 3]);
    node.join_with(topic(2), &[2]);
    for from in [2, 3, 3] {
        node.recv(from, topic(1), payload("a", DeliveryScope::Swarm(0.into())));
    }
    node.recv(2, topic(2), payload("a", DeliveryScope::Swarm(0.into())));
    let duplicates = |id| node.state.topic(&topic(id)).map(|topic| topic.duplicates());
    assert_eq!((duplicates(1), duplicates(2)), (Some(2), Some(0)));
    assert_eq!(node.state.counters().duplicates, 2);
}

#[test]
fn item_8_who_is_not_in_a_topic_says_so_to_neighbors_in_it() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2]);
    let goodbye = Message::Swarm(hyparview::Message::Disconnect(hyparview::Disconnect::new(
        false,
    )));
    for message in [
        payload("a", DeliveryScope::Neighbors),
        neighbor(Priority::Low),
    ] {
        let out = node.recv(2, topic(9), message.clone());
        assert_eq!(sent(&out), [(2, topic(9), &goodbye)]);
        assert_eq!(disconnects(&out), [], "another topic needs it");
        let out = node.recv(3, topic(9), message);
        assert_eq!(disconnects(&out), [3]);
    }
    for message in [
        hyparview::Message::Join(None),
        hyparview::Message::Disconnect(hyparview::Disconnect::new(true)),
    ] {
        assert!(node.recv(2, topic(9), Message::Swarm(message)).is_empty());
    }
}

#[test]
fn a_neighbor_whose_stream_was_lost_is_asked_and_told_again() {
    let mut node = Node::new();
    node.join_with(topic(1), &[2]);
    let broadcast = Command::Broadcast("a".into(), Scope::Swarm);
    node.command(topic(1), broadcast);
    let lost = |to| InEvent::StreamLost {
        to,
        topic: topic(1),
    };
    let out = node.feed(lost(2));
    let sent = sent(&out);
    let asked = sent
        .iter()
        .any(|(to, _, message)| *to == 2 && **message == neighbor_with_data());
    assert!(asked, "{sent:?}");
    let id = MessageId::from_content(b"a");
    let told = sent.iter().any(|(to, _, message)| match message {
        Message::Gossip(Broadcast::IHave(ihaves)) => *to == 2 && ihaves[0].id == id,
        _ => false,
    });
    assert!(told, "{sent:?}");
    assert!(node.feed(lost(3)).is_empty(), "not a neighbor");
    let unknown = InEvent::StreamLost {
        to: 2,
        topic: topic(9),
    };
    assert!(node.feed(unknown).is_empty());
}

#[test]
fn topics_are_listed_in_the_order_in_which_they_were_joined() {
    let mut node = Node::new();
    for name in [5, 3, 9, 1] {
        node.join_with(topic(name), &[]);
    }
    node.command(topic(3), Command::Quit);
    node.join_with(topic(3), &[]);
    let expected = [5, 9, 1, 3].map(topic);
    assert!(node.state.topics().eq(&expected));
}
