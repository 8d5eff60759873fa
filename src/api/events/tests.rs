//! What a slow receiver sees.

use std::collections::BTreeSet;

use futures_lite::future::{block_on, poll_fn, poll_once};
use proptest::prelude::*;

use super::*;
use crate::api::tests::{peer, received};

fn up(index: usize) -> Event {
    Event::NeighborUp(peer(index))
}

fn down(index: usize) -> Event {
    Event::NeighborDown(peer(index))
}

fn next(receiver: &mut EventReceiver) -> Option<Event> {
    block_on(poll_once(poll_fn(|cx| receiver.poll_next(cx)))).flatten()
}

fn first_up(receiver: &mut EventReceiver) -> Option<EndpointId> {
    block_on(poll_once(poll_fn(|cx| receiver.poll_first_up(cx)))).flatten()
}

/// What a receiver with a queue of `capacity` sees of `events` when it reads none meanwhile.
fn seen(capacity: usize, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let (sender, mut receiver) = channel(capacity);
    for event in events {
        sender.push(event);
    }
    std::iter::from_fn(|| next(&mut receiver)).collect()
}

#[test]
fn a_queue_that_is_just_full_loses_nothing() {
    let events = [up(1), received("a"), received("b"), down(1)];
    assert_eq!(seen(4, events.clone()), events);
}

#[test]
fn the_oldest_messages_go_and_one_lagged_stands_for_them() {
    let events = ["a", "b", "c", "d", "e"].map(received);
    assert_eq!(
        seen(2, events),
        [Event::Lagged, received("d"), received("e")]
    );
}

#[test]
fn neighbors_that_were_dropped_are_made_up_for_behind_the_gap() {
    let (sender, mut receiver) = channel(2);
    sender.push(up(1));
    assert_eq!(next(&mut receiver), Some(up(1)));
    for event in [received("a"), down(1), up(2), received("b"), received("c")] {
        sender.push(event);
    }
    let rest: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    let expected = [Event::Lagged, up(2), down(1), received("b"), received("c")];
    assert_eq!(rest, expected);
}

#[test]
fn neighbors_alone_lose_nothing_while_they_do_not_cancel_out() {
    let mut peers = [1, 2, 3];
    peers.sort_by_key(|index| peer(*index));
    assert_eq!(seen(1, peers.map(up)), peers.map(up));
}

#[test]
fn a_neighbor_that_came_and_went_unseen_leaves_a_lagged() {
    assert_eq!(
        seen(1, [up(1), down(1), received("a")]),
        [Event::Lagged, received("a")]
    );
}

#[test]
fn a_neighbor_that_went_and_came_back_unseen_leaves_a_lagged() {
    let (sender, mut receiver) = channel(1);
    sender.push(up(1));
    assert_eq!(next(&mut receiver), Some(up(1)));
    for event in [down(1), up(1), down(2), received("a")] {
        sender.push(event);
    }
    let rest: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    assert_eq!(rest, [Event::Lagged, down(2), received("a")]);
}

#[test]
fn peers_that_come_and_go_without_end_drive_out_no_message() {
    let honest = (0..40).map(|n| received(["a", "b", "c"][n % 3]));
    // Two peers come and go many times between any two messages.
    let flood = (0..100).flat_map(|_| [up(1), up(2), down(1), down(2)]);
    let events = honest.flat_map(|message| flood.clone().chain([message]));
    let seen = seen(100, events);
    let messages = seen.iter().filter(|e| matches!(e, Event::Received(_)));
    assert_eq!(messages.count(), 40, "{seen:?}");
    assert!(!seen.contains(&Event::Lagged));
    let mut neighbors = BTreeSet::new();
    for event in &seen {
        match event {
            Event::NeighborUp(peer) => assert!(neighbors.insert(*peer), "up twice"),
            Event::NeighborDown(peer) => assert!(neighbors.remove(peer), "down twice"),
            Event::Received(_) | Event::Lagged => {}
        }
    }
    assert!(neighbors.is_empty());
}

#[test]
fn a_capacity_of_zero_is_one() {
    assert_eq!(seen(0, [received("a")]), [received("a")]);
    assert_eq!(
        seen(0, ["a", "b"].map(received)),
        [Event::Lagged, received("b")]
    );
}

#[test]
fn the_stream_goes_on_after_a_gap() {
    let (sender, mut receiver) = channel(1);
    for round in 0..3 {
        sender.push(received("lost"));
        sender.push(received(format!("{round}")));
        assert_eq!(next(&mut receiver), Some(Event::Lagged));
        assert_eq!(next(&mut receiver), Some(received(format!("{round}"))));
        assert_eq!(next(&mut receiver), None);
    }
}

#[test]
fn a_first_neighbor_whose_event_was_dropped_is_found_too() {
    let (sender, mut receiver) = channel(1);
    sender.push(up(1));
    sender.push(received("lost"));
    sender.push(received("a"));
    assert_eq!(first_up(&mut receiver), Some(peer(1)));
    assert_eq!(first_up(&mut receiver), None);
    assert_eq!(next(&mut receiver), Some(Event::Lagged));
    assert_eq!(next(&mut receiver), Some(received("a")));
    assert_eq!(next(&mut receiver), None);
}

#[test]
fn waiting_for_a_first_neighbor_makes_no_room() {
    let (sender, mut receiver) = channel(2);
    for content in ["a", "b", "c"] {
        sender.push(received(content));
        assert_eq!(first_up(&mut receiver), None);
    }
    let rest: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    assert_eq!(rest, [Event::Lagged, received("b"), received("c")]);
}

#[test]
fn pushing_does_not_wake_and_waking_does_once() {
    let (sender, mut receiver) = channel(8);
    let waker = std::sync::Arc::new(WakeCount::default());
    let counted = waker.clone().into();
    let mut cx = Context::from_waker(&counted);
    assert!(receiver.poll_next(&mut cx).is_pending());
    sender.push(received("a"));
    sender.push(received("b"));
    assert_eq!(waker.count(), 0);
    sender.wake();
    sender.wake();
    assert_eq!(waker.count(), 1);
    while receiver.poll_next(&mut cx).is_ready() {}
    drop(sender);
    assert_eq!(waker.count(), 2);
    assert_eq!(receiver.poll_next(&mut cx), Poll::Ready(None));
}

#[test]
fn nothing_is_kept_for_a_receiver_that_is_gone() {
    let (sender, receiver) = channel(8);
    let content = bytes::Bytes::from(vec![0; 10]);
    sender.push(received(content.clone()));
    assert!(!content.is_unique());
    drop(receiver);
    assert!(sender.is_abandoned());
    assert!(content.is_unique());
    sender.push(received(content.clone()));
    assert!(content.is_unique());
}

#[test]
fn an_idle_queue_keeps_no_large_buffer() {
    let (sender, mut receiver) = channel(2048);
    for _ in 0..3 {
        for _ in 0..2048 {
            sender.push(received("a"));
        }
        while next(&mut receiver).is_some() {}
    }
    assert!(receiver.taken.queue.capacity() <= KEPT_CAPACITY);
    assert!(lock(&receiver.queue.state).waiting.queue.capacity() <= KEPT_CAPACITY);
}

#[test]
fn a_queue_that_was_found_empty_still_knows_how_much_is_usual() {
    let (sender, mut receiver) = channel(2048);
    for _ in 0..ALLOCATED_AT_ONCE {
        sender.push(received("a"));
    }
    while next(&mut receiver).is_some() {}
    sender.push(received("a"));
    assert!(lock(&receiver.queue.state).waiting.queue.capacity() >= ALLOCATED_AT_ONCE);
    while next(&mut receiver).is_some() {}
    sender.push(received("a"));
    assert!(lock(&receiver.queue.state).waiting.queue.capacity() <= KEPT_CAPACITY);
}

#[derive(Default)]
struct WakeCount(std::sync::atomic::AtomicUsize);

impl WakeCount {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl std::task::Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A neighbor comes, or goes if it is one.
    Toggle(usize),
    Receive,
    Consume(u8),
    Join,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6usize).prop_map(Step::Toggle),
        4 => Just(Step::Receive),
        2 => (0..12u8).prop_map(Step::Consume),
        1 => Just(Step::Join),
    ]
}

/// What the application knows, and what it was told.
#[derive(Default)]
struct Application {
    neighbors: BTreeSet<EndpointId>,
    /// Number of the last message.
    last: Option<usize>,
    /// There was a gap since the last message.
    lagged: bool,
    /// There was a gap, and nothing since.
    at_gap: bool,
    /// Since the last message a NeighborUp was taken ahead of its turn, and it may have been all
    /// that stood between two gaps.
    joined: bool,
}

impl Application {
    /// Checks `event` against what is known.
    fn consume(&mut self, event: Event) {
        let after_gap = std::mem::replace(&mut self.at_gap, event == Event::Lagged);
        match event {
            Event::NeighborUp(peer) => assert!(self.neighbors.insert(peer), "up twice"),
            Event::NeighborDown(peer) => assert!(self.neighbors.remove(&peer), "down twice"),
            Event::Lagged => {
                assert!(!after_gap || self.joined, "one gap, announced twice");
                self.lagged = true;
            }
            Event::Received(message) => {
                let text = std::str::from_utf8(&message.content).expect("we wrote it");
                let number = text.parse().expect("a number");
                let next = self.last.map_or(0, |last| last + 1);
                assert!(number >= next, "out of order");
                assert!(number == next || self.lagged, "lost without a word");
                self.last = Some(number);
                self.lagged = false;
                self.joined = false;
            }
        }
    }
}

proptest! {
    #[test]
    fn the_neighbors_are_exact_and_messages_in_order_however_slow_the_receiver(
        capacity in 1..8usize,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let (sender, mut receiver) = channel(capacity);
        let mut truth = BTreeSet::new();
        let mut messages = 0;
        let mut application = Application::default();
        for step in steps {
            match step {
                Step::Toggle(index) => {
                    let peer = peer(index);
                    if truth.remove(&peer) {
                        sender.push(Event::NeighborDown(peer));
                    } else {
                        truth.insert(peer);
                        sender.push(Event::NeighborUp(peer));
                    }
                }
                Step::Receive => {
                    sender.push(received(messages.to_string()));
                    messages += 1;
                }
                Step::Consume(count) => {
                    for _ in 0..count {
                        let Some(event) = next(&mut receiver) else { break };
                        application.consume(event);
                    }
                }
                Step::Join if application.neighbors.is_empty() => {
                    if let Some(peer) = first_up(&mut receiver) {
                        application.neighbors.insert(peer);
                        application.joined = true;
                    }
                }
                Step::Join => {}
            }
            let state = lock(&receiver.queue.state);
            prop_assert!(state.waiting.len() <= capacity);
            prop_assert!(state.changed.len() <= 6);
            let ups = |events: &Events| {
                events.queue.iter().filter(|event| matches!(event, Event::NeighborUp(_))).count()
            };
            prop_assert_eq!(ups(&state.waiting), state.waiting.ups);
            prop_assert_eq!(ups(&receiver.taken), receiver.taken.ups);
        }
        drop(sender);
        while let Some(event) = next(&mut receiver) {
            application.consume(event);
        }
        prop_assert_eq!(application.neighbors, truth);
        let last = application.last.map_or(0, |last| last + 1);
        prop_assert!(last == messages || application.lagged, "lost at the end, without a word");
    }
}
