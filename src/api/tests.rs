//! The handles against a driver that is played by hand.

use std::{pin::pin, sync::LazyLock};

use futures_lite::{
    FutureExt, StreamExt,
    future::{block_on, poll_fn, poll_once},
};
use iroh_base::SecretKey;

use super::{
    mailbox::{Closed, Inbox, SubscriptionId, Work},
    *,
};
use crate::{api::events::EventSender, proto::DeliveryScope};

pub(super) const MAX: usize = 100;
pub(super) const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

/// One of sixteen peers.
pub(super) fn peer(index: usize) -> EndpointId {
    static PEERS: LazyLock<[EndpointId; 16]> = LazyLock::new(|| {
        std::array::from_fn(|seed| SecretKey::from_bytes(&[seed as u8; 32]).public())
    });
    PEERS[index]
}

pub(super) fn received(content: impl Into<Bytes>) -> Event {
    Event::Received(Message {
        content: content.into(),
        scope: DeliveryScope::Neighbors,
        delivered_from: peer(0),
    })
}

pub(super) fn node() -> (GossipApi, Inbox) {
    let (mailbox, inbox) = mailbox::channel(MAX);
    (GossipApi::local(mailbox), inbox)
}

pub(super) fn subscribe(api: &GossipApi) -> GossipTopic {
    block_on(api.subscribe(TOPIC, vec![])).expect("the node runs")
}

/// The next work, or `None` if there is none now.
pub(super) fn next(inbox: &mut Inbox) -> Option<Work> {
    block_on(poll_once(poll_fn(|cx| inbox.poll_work(cx))))
}

/// Takes the `Subscribe` that has to come next.
pub(super) fn accept(inbox: &mut Inbox) -> (SubscriptionId, EventSender) {
    match next(inbox) {
        Some(Work::Subscribe {
            id,
            topic: TOPIC,
            events,
            ..
        }) => (id, events),
        other => panic!("not a subscription: {other:?}"),
    }
}

fn node_with_topic() -> (GossipTopic, Inbox, SubscriptionId, EventSender) {
    let (api, mut inbox) = node();
    let topic = subscribe(&api);
    let (id, events) = accept(&mut inbox);
    (topic, inbox, id, events)
}

fn events_now(topic: &mut GossipTopic) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(Some(event)) = block_on(poll_once(topic.next())) {
        events.push(event.expect("a node in this process"));
    }
    events
}

fn neighbors(topic: &GossipTopic) -> Vec<EndpointId> {
    topic.neighbors().collect()
}

#[test]
fn handles_can_be_shared_between_threads_and_need_no_pinning() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    fn check_future<T: Send>(_: T) {}
    check::<GossipApi>();
    check::<GossipTopic>();
    check::<GossipSender>();
    check::<GossipReceiver>();
    check::<Inbox>();
    check::<EventSender>();
    let (api, _inbox) = node();
    check_future(api.subscribe_and_join(TOPIC, vec![]));
    let (sender, mut receiver) = subscribe(&api).split();
    check_future(sender.broadcast(Bytes::new()));
    check_future(sender.publish(Bytes::new()));
    check_future(receiver.joined());
}

#[test]
fn errors_match_with_and_without_their_call_site() {
    let closed: ApiError = Closed.into();
    assert!(matches!(closed, ApiError::Closed { .. }));
    let rpc: ApiError = irpc::channel::SendError::from(std::io::Error::other("gone")).into();
    assert!(matches!(
        rpc,
        ApiError::Rpc {
            source: irpc::Error::Send { .. },
            ..
        }
    ));
    let large = e!(ApiError::TooLarge {
        len: 5000,
        max: 4055
    });
    assert_eq!(
        large.to_string(),
        "a message of 5000 bytes is too large, the largest that fits has 4055 bytes"
    );
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_sent() {
    let (topic, mut inbox, _, _events) = node_with_topic();
    let (sender, _receiver) = topic.split();
    let large = Bytes::from(vec![0; MAX + 1]);
    for result in [
        block_on(sender.broadcast(large.clone())),
        block_on(sender.broadcast_neighbors(large.clone())),
        block_on(sender.publish(large)).map(|_| ()),
    ] {
        match result {
            Err(ApiError::TooLarge { len, max, .. }) => assert_eq!((len, max), (MAX + 1, MAX)),
            other => panic!("{other:?}"),
        }
    }
    assert!(next(&mut inbox).is_none());
    block_on(sender.broadcast(Bytes::from(vec![0; MAX]))).expect("the largest fits");
    assert!(matches!(
        next(&mut inbox),
        Some(Work::Command(_, Order::Broadcast(_)))
    ));
}

#[test]
fn publish_hands_on_the_answer() {
    let (topic, mut inbox, id, _events) = node_with_topic();
    let (sender, _receiver) = topic.split();
    for answer in [Published::Sent, Published::Duplicate] {
        let publishing = sender.publish(Bytes::from_static(b"news"));
        let driver = poll_fn(|cx| inbox.poll_work(cx));
        let (result, ()) = block_on(futures_lite::future::zip(publishing, async {
            match driver.await {
                Work::Command(of, Order::Publish(payload, reply)) => {
                    assert_eq!((of, &payload.into_content()[..]), (id, &b"news"[..]));
                    reply
                        .try_send(answer)
                        .expect("there is room for one answer");
                }
                other => panic!("{other:?}"),
            }
        }));
        assert_eq!(result.expect("answered"), answer);
    }
}

#[test]
fn publish_fails_when_the_node_stops_before_it_answers() {
    let (topic, inbox, _, _events) = node_with_topic();
    let (sender, _receiver) = topic.split();
    let mut publishing = pin!(sender.publish(Bytes::new()));
    assert!(block_on(poll_once(&mut publishing)).is_none());
    drop(inbox);
    assert!(matches!(block_on(publishing), Err(ApiError::Closed { .. })));
}

#[test]
fn neighbors_are_those_of_the_events_received_so_far() {
    let (mut topic, _inbox, _, events) = node_with_topic();
    events.push(Event::NeighborUp(peer(1)));
    events.push(Event::NeighborUp(peer(2)));
    events.push(Event::NeighborDown(peer(1)));
    assert!(!topic.is_joined());
    block_on(topic.next());
    assert_eq!(neighbors(&topic), [peer(1)]);
    assert_eq!(events_now(&mut topic).len(), 2);
    assert_eq!(neighbors(&topic), [peer(2)]);
}

#[test]
fn joined_takes_the_first_neighbor_up_and_nothing_else() {
    let (mut topic, _inbox, _, events) = node_with_topic();
    events.push(received("one"));
    events.push(received("two"));
    assert!(
        block_on(poll_once(topic.joined())).is_none(),
        "there is no neighbor yet"
    );
    events.push(Event::NeighborUp(peer(1)));
    events.push(Event::NeighborUp(peer(2)));
    events.push(Event::NeighborDown(peer(1)));
    assert!(
        !topic.is_joined(),
        "a future that was dropped has taken nothing"
    );
    block_on(topic.joined()).expect("a neighbor came up");
    assert_eq!(neighbors(&topic), [peer(1)]);
    block_on(topic.joined()).expect("there is a neighbor");
    let rest = [
        received("one"),
        received("two"),
        Event::NeighborUp(peer(2)),
        Event::NeighborDown(peer(1)),
    ];
    assert_eq!(events_now(&mut topic), rest);
}

#[test]
fn joined_finds_what_the_stream_has_taken_but_not_handed_over() {
    let (mut topic, _inbox, _, events) = node_with_topic();
    events.push(received("one"));
    events.push(received("two"));
    events.push(Event::NeighborUp(peer(1)));
    block_on(topic.next());
    block_on(topic.joined()).expect("a neighbor came up");
    assert_eq!(events_now(&mut topic), [received("two")]);
}

#[test]
fn joined_fails_when_the_stream_ends_without_a_neighbor() {
    let (mut topic, inbox, _, events) = node_with_topic();
    events.push(received("one"));
    drop((inbox, events));
    assert!(matches!(
        block_on(topic.joined()),
        Err(ApiError::Closed { .. })
    ));
    assert_eq!(events_now(&mut topic), [received("one")]);
}

#[test]
fn subscribe_and_join_waits_for_a_neighbor() {
    let (api, mut inbox) = node();
    let mut subscribing = api.subscribe_and_join(TOPIC, vec![peer(1)]).boxed();
    assert!(block_on(poll_once(&mut subscribing)).is_none());
    let (_, events) = accept(&mut inbox);
    assert!(block_on(poll_once(&mut subscribing)).is_none());
    events.push(Event::NeighborUp(peer(1)));
    events.wake();
    assert!(block_on(subscribing).expect("joined").is_joined());
}

#[test]
fn dropping_subscribe_and_join_gives_the_subscription_up() {
    let (api, mut inbox) = node();
    let mut subscribing = api.subscribe_and_join(TOPIC, vec![]).boxed();
    assert!(block_on(poll_once(&mut subscribing)).is_none());
    let (id, events) = accept(&mut inbox);
    drop(subscribing);
    assert!(events.is_abandoned());
    assert!(matches!(next(&mut inbox), Some(Work::Unsubscribe(gone)) if gone == id));
}

#[test]
fn a_topic_stays_open_while_a_sender_or_the_receiver_lives() {
    let (topic, mut inbox, id, events) = node_with_topic();
    let (sender, receiver) = topic.split();
    let clone = sender.clone();
    drop(sender);
    drop(receiver);
    assert!(events.is_abandoned());
    assert!(next(&mut inbox).is_none(), "a sender lives");
    block_on(clone.broadcast(Bytes::new())).expect("the topic is open");
    drop(clone);
    assert!(matches!(
        next(&mut inbox),
        Some(Work::Command(_, Order::Broadcast(_)))
    ));
    assert!(matches!(next(&mut inbox), Some(Work::Unsubscribe(gone)) if gone == id));

    let (topic, mut inbox, id, events) = node_with_topic();
    let (sender, receiver) = topic.split();
    drop(sender);
    assert!(next(&mut inbox).is_none(), "the receiver lives");
    assert!(!events.is_abandoned());
    drop(receiver);
    assert!(matches!(next(&mut inbox), Some(Work::Unsubscribe(gone)) if gone == id));
}

#[test]
fn the_stream_ends_after_what_is_queued() {
    let (mut topic, _inbox, _, events) = node_with_topic();
    events.push(received("one"));
    drop(events);
    assert!(matches!(
        block_on(topic.next()),
        Some(Ok(Event::Received(_)))
    ));
    assert!(block_on(topic.next()).is_none());
    assert!(block_on(topic.next()).is_none());
}
