//! A signed subscription against a driver that is played by hand.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Wake, Waker},
};

use futures_lite::{
    StreamExt,
    future::{block_on, poll_fn, poll_once},
};
use iroh_base::SecretKey;

use super::*;
use crate::api::{
    Event, GossipApi, Message,
    events::EventSender,
    mailbox::{self, Inbox, Order, Work},
};
use crate::{proto::DeliveryScope, signed::SignedMessage};

const TOPIC: TopicId = TopicId::from_bytes([2; 32]);
const NOW: Stamp = Stamp::from_micros(1_700_000_000_000_000);

fn peer(seed: u8) -> EndpointId {
    SecretKey::from_bytes(&[seed; 32]).public()
}

fn signer(seed: u8) -> Signer {
    Signer::from_bytes(&[seed; 32])
}

fn at(offset: u64) -> Stamp {
    Stamp::from_micros(NOW.micros() + offset)
}

fn envelope(seed: u8, offset: u64, payload: &[u8]) -> Bytes {
    signer(seed).sign_stamped(TOPIC, at(offset), payload)
}

struct Driver {
    inbox: Inbox,
    events: EventSender,
}

impl Driver {
    fn deliver(&self, content: Bytes) {
        self.events.push(Event::Received(Message {
            content,
            scope: DeliveryScope::Neighbors,
            delivered_from: peer(9),
        }));
    }

    fn sent(&mut self) -> Order {
        match block_on(poll_fn(|cx| self.inbox.poll_work(cx))) {
            Work::Command(_, order) => order,
            other => panic!("not an order: {other:?}"),
        }
    }
}

fn subscription() -> (SignedTopic, Driver) {
    let (mailbox, mut inbox) = mailbox::channel(500);
    let topic = block_on(GossipApi::local(mailbox).subscribe(TOPIC, vec![])).expect("it runs");
    let work = block_on(poll_fn(|cx| inbox.poll_work(cx)));
    let Work::Subscribe { events, .. } = work else {
        panic!("not a subscription: {work:?}")
    };
    let mut topic = SignedTopic::new(topic, TOPIC, signer(1));
    topic.receiver.clock = || NOW;
    (topic, Driver { inbox, events })
}

/// All that can be read now: the first byte of messages, and other events.
fn read(topic: &mut SignedTopic) -> Vec<Result<u8, SignedEvent>> {
    let mut read = Vec::new();
    while let Some(Some(event)) = block_on(poll_once(topic.next())) {
        read.push(match event.expect("a node in this process") {
            SignedEvent::Received(message) => Ok(message.payload[0]),
            other => Err(other),
        });
    }
    read
}

#[test]
fn what_is_sent_is_signed_and_each_is_newer() {
    let (mut topic, mut driver) = subscription();
    let mut last = None;
    for _ in 0..100 {
        let stamp = block_on(topic.broadcast(b"the same")).expect("it runs");
        let Order::Broadcast(envelope) = driver.sent() else {
            panic!("not a broadcast")
        };
        let message = SignedMessage::verify(TOPIC, &envelope.into_content()).expect("it is good");
        assert_eq!(message.author(), signer(1).author());
        assert_eq!(message.stamp(), Some(stamp));
        assert_eq!(&message.payload()[..], b"the same");
        assert!(last < Some(stamp));
        last = Some(stamp);
    }
    block_on(topic.sender.broadcast_neighbors(b"close by")).expect("it runs");
    assert!(matches!(driver.sent(), Order::BroadcastNeighbors(_)));
}

#[test]
fn what_is_too_large_is_measured_without_the_envelope() {
    let (mut topic, _driver) = subscription();
    let largest = 500 - STAMPED_OVERHEAD;
    block_on(topic.broadcast(vec![0; largest])).expect("it fits");
    let error = block_on(topic.broadcast(vec![0; largest + 1])).expect_err("it does not");
    match error {
        ApiError::TooLarge { len, max, .. } => assert_eq!((len, max), (largest + 1, largest)),
        other => panic!("unexpected: {other}"),
    }
}

#[test]
fn only_what_is_good_and_new_is_received() {
    let (mut topic, driver) = subscription();
    driver.deliver(envelope(3, 0, b"a"));
    driver.deliver(Bytes::from_static(b"not an envelope"));
    driver.deliver(signer(3).sign(TOPIC, b"b"));
    driver.deliver(signer(3).sign_stamped(TopicId::from_bytes([4; 32]), at(1), b"c"));
    driver.deliver(envelope(3, 0, b"d: the same stamp"));
    driver.deliver(envelope(4, 0, b"e: another author"));
    assert_eq!(read(&mut topic), [Ok(b'a'), Ok(b'e')]);

    driver.deliver(envelope(3, 0, b"a"));
    driver.deliver(envelope(3, 61_000_000, b"f: ahead"));
    driver.deliver(signer(3).sign_stamped(TOPIC, Stamp::from_micros(1), b"g: stale"));
    assert_eq!(read(&mut topic), []);
    let refused = Refused {
        invalid: 2,
        unstamped: 1,
        repeated: 2,
        stale: 1,
        ahead: 1,
        crowded: 0,
    };
    assert_eq!(topic.refused(), refused);
}

#[test]
fn what_we_sent_does_not_come_back() {
    let (mut topic, mut driver) = subscription();
    let mut sent = Vec::new();
    for _ in 0..3 {
        block_on(topic.broadcast(b"ours")).expect("it runs");
        let Order::Broadcast(envelope) = driver.sent() else {
            panic!("not a broadcast")
        };
        sent.push(envelope.into_content());
    }
    let stamps: Vec<_> = sent
        .iter()
        .filter_map(|envelope| SignedMessage::verify(TOPIC, envelope).ok()?.stamp())
        .collect();
    // Stamps come of the system's clock.
    topic.receiver.clock = Stamp::now;
    for envelope in sent {
        driver.deliver(envelope);
    }
    // Signed with the same key in another process, just before.
    let elsewhere = Stamp::from_micros(stamps[0].micros() - 1);
    driver.deliver(signer(1).sign_stamped(TOPIC, elsewhere, b"elsewhere"));
    assert_eq!(read(&mut topic), [Ok(b'e')]);
    assert_eq!(topic.refused().repeated, 3);
}

#[test]
fn what_is_refused_without_end_leaves_others_their_turn() {
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (mut topic, driver) = subscription();
    for _ in 0..200 {
        driver.deliver(Bytes::from_static(b"not an envelope"));
    }
    driver.deliver(envelope(3, 0, b"a"));
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    for polls in 1..=3 {
        assert!(topic.poll_next(&mut cx).is_pending());
        assert_eq!(topic.refused().invalid, 64 * polls);
        assert_eq!(woken.0.load(Ordering::Relaxed) as u64, polls);
    }
    assert_eq!(read(&mut topic), [Ok(b'a')]);
}

#[test]
fn what_came_together_is_judged_as_if_it_came_alone() {
    for forged in [None, Some(3), Some(30)] {
        let (mut topic, driver) = subscription();
        let mut expected = Vec::new();
        for n in 0..100u8 {
            let good = envelope(3 + n % 3, n.into(), &[n]);
            if forged == Some(n) {
                let mut bytes = good.to_vec();
                *bytes.last_mut().expect("it is not empty") ^= 1;
                driver.deliver(bytes.into());
            }
            driver.deliver(good);
            expected.push(Ok(n));
        }
        assert_eq!(read(&mut topic), expected);
        assert_eq!(topic.refused().invalid, forged.is_some().into());
        assert_eq!(topic.receiver.singly > 0, forged.is_some());
    }
}

#[test]
fn events_stay_in_order_and_neighbors_are_those_that_were_read() {
    let (mut topic, driver) = subscription();
    let up = |n| Event::NeighborUp(peer(n));
    driver.deliver(envelope(3, 0, b"a"));
    driver.events.push(up(5));
    driver.deliver(envelope(3, 1, b"b"));
    driver.events.push(Event::NeighborDown(peer(5)));
    driver.events.push(up(6));

    let first = block_on(topic.next()).expect("open").expect("local");
    assert!(matches!(first, SignedEvent::Received(_)));
    assert_eq!(topic.neighbors().count(), 0);
    // Taken out of the order, and nothing else is.
    block_on(topic.joined()).expect("there is one");
    assert_eq!(topic.neighbors().collect::<Vec<_>>(), [peer(5)]);
    let rest = read(&mut topic);
    let down = SignedEvent::NeighborDown(peer(5));
    let up = SignedEvent::NeighborUp(peer(6));
    assert_eq!(rest, [Ok(b'b'), Err(down), Err(up)]);
    assert_eq!(topic.neighbors().collect::<Vec<_>>(), [peer(6)]);
}

#[test]
fn the_end_comes_behind_what_is_there() {
    let (mut topic, driver) = subscription();
    driver.deliver(envelope(3, 0, b"a"));
    drop(driver);
    assert_eq!(read(&mut topic), [Ok(b'a')]);
    for _ in 0..2 {
        assert!(block_on(topic.next()).is_none());
        let error = block_on(topic.joined()).expect_err("nobody comes");
        assert!(matches!(error, ApiError::Closed { .. }));
    }
}
