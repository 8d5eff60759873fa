//! Order, backpressure, fairness and the end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
    thread,
};

use bytes::Bytes;
use futures_lite::{
    FutureExt, StreamExt,
    future::{block_on, poll_fn, poll_once},
};

use super::*;
use crate::api::{
    ApiError, Event,
    tests::{TOPIC, accept, next, node, peer, received, subscribe},
};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (wakes.clone(), wakes.into())
}

fn number(index: usize) -> Bytes {
    Bytes::from(index.to_string())
}

/// The content of the broadcast that has to come next.
fn broadcast(inbox: &mut Inbox) -> Bytes {
    match next(inbox) {
        Some(Work::Command(_, Order::Broadcast(payload))) => payload.into_content(),
        other => panic!("not a broadcast: {other:?}"),
    }
}

#[cfg(feature = "net")]
#[test]
fn orders_are_handed_out_by_themselves_when_it_is_their_turn() {
    let (api, mut inbox) = node();
    let mut topic = block_on(api.subscribe(TOPIC, vec![])).expect("the node runs");
    for index in 0..3 {
        block_on(topic.broadcast(number(index))).expect("the node runs");
    }
    drop(topic);
    assert!(inbox.next_order().is_none(), "nothing was taken yet");
    let Some(Work::Subscribe { id, .. }) = next(&mut inbox) else {
        panic!("the subscription comes before its orders")
    };
    for index in [0, 1] {
        let order = inbox.next_order();
        let Some((of, Order::Broadcast(payload))) = order else {
            panic!("not a broadcast: {order:?}");
        };
        assert_eq!((of, payload.into_content()), (id, number(index)));
    }
    assert_eq!(broadcast(&mut inbox), number(2), "either way, in order");
    assert!(inbox.next_order().is_none(), "that was all");
    assert!(matches!(next(&mut inbox), Some(Work::Unsubscribe(of)) if of == id));
}

#[cfg(feature = "net")]
#[test]
fn messages_of_a_batch_are_shown_once_after_its_first_order() {
    let (api, mut inbox) = node();
    let mut topic = block_on(api.subscribe(TOPIC, vec![])).expect("the node runs");
    let shown = |inbox: &mut Inbox| {
        let payloads = inbox.upcoming()?;
        Some(
            payloads
                .map(|one| one.content().to_vec())
                .collect::<Vec<_>>(),
        )
    };
    for index in 0..3 {
        block_on(topic.broadcast(number(index))).expect("the node runs");
    }
    assert!(matches!(next(&mut inbox), Some(Work::Subscribe { .. })));
    let first = next(&mut inbox);
    assert!(matches!(first, Some(Work::Command(..))));
    let expected = [1, 2].map(|index| number(index).to_vec());
    assert_eq!(shown(&mut inbox).as_deref(), Some(&expected[..]));
    assert_eq!(shown(&mut inbox), None);

    // What is set aside is a batch again when it is resumed.
    let Some(Work::Command(id, order)) = next(&mut inbox) else {
        panic!("there are two left")
    };
    inbox.set_aside(id, order);
    inbox.resume(id);
    broadcast(&mut inbox);
    assert_eq!(shown(&mut inbox).as_deref(), Some(&expected[1..]));
    broadcast(&mut inbox);
    assert_eq!(shown(&mut inbox), None);
}

#[test]
fn everything_comes_in_the_order_in_which_it_was_accepted() {
    let (api, mut inbox) = node();
    let options = JoinOptions::with_bootstrap([peer(2), peer(1)]);
    let expected: Vec<_> = options.bootstrap.iter().copied().collect();
    let topic = block_on(api.subscribe_with_opts(TOPIC, options)).expect("the node runs");
    let (sender, receiver) = topic.split();
    block_on(async {
        sender.broadcast(number(0)).await?;
        sender.broadcast_neighbors(number(1)).await?;
        sender.join_peers(vec![peer(3)]).await?;
        sender.broadcast(number(2)).await
    })
    .expect("the node runs");
    drop((sender, receiver));

    let mut works = std::iter::from_fn(|| next(&mut inbox));
    let id = match works.next() {
        Some(Work::Subscribe {
            id,
            topic: TOPIC,
            bootstrap,
            events,
        }) => {
            assert_eq!(bootstrap, expected);
            assert!(events.is_abandoned());
            id
        }
        other => panic!("{other:?}"),
    };
    let rest: Vec<_> = works.map(|work| format!("{work:?}")).collect();
    assert_eq!(
        rest,
        [
            format!("Command({id:?}, Broadcast(1 bytes))"),
            format!("Command({id:?}, BroadcastNeighbors(1 bytes))"),
            format!("Command({id:?}, JoinPeers({:?}))", [peer(3)]),
            format!("Command({id:?}, Broadcast(1 bytes))"),
            format!("Unsubscribe({id:?})"),
        ]
    );
}

#[test]
fn a_subscription_that_nobody_noticed_and_that_did_nothing_leaves_no_trace() {
    let (api, mut inbox) = node();
    drop(subscribe(&api));
    assert!(next(&mut inbox).is_none());
}

#[test]
fn a_full_queue_makes_the_next_sender_wait_until_it_is_drained() {
    let (api, mut inbox) = node();
    let (sender, _receiver) = subscribe(&api).split();
    for index in 0..COMMAND_QUEUE {
        let sent = block_on(poll_once(sender.broadcast(number(index))));
        sent.expect("there is room").expect("the node runs");
    }
    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    let mut waiting = sender.broadcast(number(COMMAND_QUEUE)).boxed();
    assert!(waiting.poll(&mut cx).is_pending());
    assert!(waiting.poll(&mut cx).is_pending());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);

    let (_, _events) = accept(&mut inbox);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(waiting.poll(&mut cx).is_ready());
    for index in 0..=COMMAND_QUEUE {
        assert_eq!(broadcast(&mut inbox), number(index));
    }
    assert!(next(&mut inbox).is_none());
}

#[test]
fn a_send_that_was_dropped_while_waiting_has_sent_nothing() {
    let (api, mut inbox) = node();
    let (sender, _receiver) = subscribe(&api).split();
    for index in 0..COMMAND_QUEUE {
        block_on(sender.broadcast(number(index))).expect("the node runs");
    }
    assert!(block_on(poll_once(sender.broadcast(number(1000)))).is_none());
    let (_, _events) = accept(&mut inbox);
    block_on(sender.broadcast(number(COMMAND_QUEUE))).expect("the node runs");
    for index in 0..=COMMAND_QUEUE {
        assert_eq!(broadcast(&mut inbox), number(index));
    }
    assert!(next(&mut inbox).is_none());
}

#[test]
fn whoever_waits_longest_goes_first_and_who_gives_up_passes_its_turn_on() {
    let (api, mut inbox) = node();
    let (sender, _receiver) = subscribe(&api).split();
    for index in 0..COMMAND_QUEUE {
        block_on(sender.broadcast(number(index))).expect("the node runs");
    }
    let mut waiting: VecDeque<_> = (0..COMMAND_QUEUE + 1)
        .map(|index| sender.broadcast(number(1000 + index)).boxed())
        .collect();
    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(
        waiting
            .iter_mut()
            .all(|send| send.poll(&mut cx).is_pending())
    );
    let (_, _events) = accept(&mut inbox);
    assert_eq!(
        wakes.0.load(Ordering::Relaxed),
        COMMAND_QUEUE,
        "as many as there is room for"
    );

    let last = waiting.back_mut().expect("not empty");
    assert!(
        last.poll(&mut cx).is_pending(),
        "the room belongs to those ahead"
    );
    assert!(
        block_on(poll_once(sender.broadcast(number(5000)))).is_none(),
        "and to no newcomer"
    );
    drop(waiting.pop_front());
    assert_eq!(wakes.0.load(Ordering::Relaxed), COMMAND_QUEUE + 1);
    assert!(waiting.iter_mut().all(|send| send.poll(&mut cx).is_ready()));
    let contents: Vec<_> = (0..2 * COMMAND_QUEUE)
        .map(|_| broadcast(&mut inbox))
        .collect();
    let expected = (0..COMMAND_QUEUE)
        .chain((1001..).take(COMMAND_QUEUE))
        .map(number);
    assert!(contents.into_iter().eq(expected));
    assert!(next(&mut inbox).is_none());
}

#[test]
fn a_flooded_subscription_holds_up_no_other() {
    const OTHERS: usize = 999;
    let (api, mut inbox) = node();
    let topics: Vec<_> = (0..=OTHERS).map(|_| subscribe(&api)).collect();
    let senders: Vec<_> = topics.into_iter().map(|topic| topic.split()).collect();
    let events: Vec<_> = (0..=OTHERS).map(|_| accept(&mut inbox)).collect();
    let flood = &senders[0].0;
    block_on(flood.broadcast(number(0))).expect("the node runs");
    for (sender, _) in &senders[1..] {
        block_on(sender.broadcast(number(1))).expect("the node runs");
    }
    // Whenever the driver looks, the flooded queue has been filled up again.
    let mut heard = VecDeque::new();
    let mut taken = 0;
    while heard.len() < OTHERS {
        while let Some(Ok(())) = block_on(poll_once(flood.broadcast(number(0)))) {}
        match next(&mut inbox) {
            Some(Work::Command(id, _)) if id == events[0].0 => {}
            Some(Work::Command(id, _)) => heard.push_back(id),
            other => panic!("{other:?}"),
        }
        taken += 1;
    }
    assert!(heard.iter().eq(events[1..].iter().map(|(id, _)| id)));
    assert!(
        taken <= OTHERS + COMMAND_QUEUE,
        "{taken} pieces of work for {OTHERS}"
    );
}

#[test]
fn the_driver_is_woken_once_for_many_orders() {
    let (api, mut inbox) = node();
    let (sender, _receiver) = subscribe(&api).split();
    let (_, _events) = accept(&mut inbox);
    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(inbox.poll_work(&mut cx).is_pending());
    for index in 0..10 {
        block_on(sender.broadcast(number(index))).expect("the node runs");
    }
    let other = subscribe(&api);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    while inbox.poll_work(&mut cx).is_ready() {}
    drop((sender, other));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
}

#[test]
fn subscriptions_wait_while_too_many_are_new() {
    let (api, mut inbox) = node();
    let topics: Vec<_> = (0..SUBSCRIBE_QUEUE).map(|_| subscribe(&api)).collect();
    assert!(block_on(poll_once(api.subscribe(TOPIC, vec![]))).is_none());
    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    let mut waiting = api.subscribe(TOPIC, vec![]).boxed();
    assert!(waiting.poll(&mut cx).is_pending());
    let (_, _events) = accept(&mut inbox);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(matches!(waiting.poll(&mut cx), Poll::Ready(Ok(_))));
    drop(topics);
}

#[test]
fn stop_comes_once_and_after_what_was_accepted() {
    let (mailbox, mut inbox) = channel(10);
    let api = crate::api::GossipApi::local(mailbox.clone());
    let (sender, _receiver) = subscribe(&api).split();
    block_on(sender.broadcast(number(0))).expect("the node runs");
    mailbox.stop();
    mailbox.stop();
    let (_, _events) = accept(&mut inbox);
    assert_eq!(broadcast(&mut inbox), number(0));
    assert!(matches!(next(&mut inbox), Some(Work::Stop)));
    assert!(next(&mut inbox).is_none());
    assert!(!mailbox.is_closed());
    drop(inbox);
    assert!(mailbox.is_closed());
}

#[test]
fn dropping_the_inbox_ends_every_wait() {
    let (api, mut inbox) = node();
    let (known, mut known_receiver) = subscribe(&api).split();
    let (_, events) = accept(&mut inbox);
    let (unknown, mut unknown_receiver) = subscribe(&api).split();
    let more: Vec<_> = (1..SUBSCRIBE_QUEUE).map(|_| subscribe(&api)).collect();
    for sender in [&known, &unknown] {
        while let Some(Ok(())) = block_on(poll_once(sender.broadcast(number(0)))) {}
    }
    events.push(received("last words"));

    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    let mut sends = [&known, &unknown].map(|sender| sender.broadcast(number(1)).boxed());
    assert!(sends.iter_mut().all(|send| send.poll(&mut cx).is_pending()));
    let mut subscribing = api.subscribe(TOPIC, vec![]).boxed();
    assert!(subscribing.poll(&mut cx).is_pending());
    assert!(unknown_receiver.poll_next(&mut cx).is_pending());
    assert!(matches!(
        known_receiver.poll_next(&mut cx),
        Poll::Ready(Some(Ok(Event::Received(_))))
    ));
    assert!(known_receiver.poll_next(&mut cx).is_pending());

    drop(inbox);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 5);
    for send in &mut sends {
        assert!(matches!(
            send.poll(&mut cx),
            Poll::Ready(Err(ApiError::Closed { .. }))
        ));
    }
    assert!(matches!(
        subscribing.poll(&mut cx),
        Poll::Ready(Err(ApiError::Closed { .. }))
    ));
    assert!(unknown_receiver.poll_next(&mut cx).is_ready());
    assert!(
        known_receiver.poll_next(&mut cx).is_ready(),
        "though the driver has the other end"
    );
    assert!(matches!(
        block_on(known.broadcast(number(2))),
        Err(ApiError::Closed { .. })
    ));
    assert!(matches!(
        block_on(api.subscribe(TOPIC, vec![])),
        Err(ApiError::Closed { .. })
    ));
    drop(more);
}

#[test]
fn nothing_is_lost_or_reordered_between_threads() {
    const SENDERS: usize = 4;
    const EACH: usize = 2000;
    let (api, mut inbox) = node();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let api = api.clone();
            thread::spawn(move || {
                // Two to a subscription.
                let (a, _receiver) = subscribe(&api).split();
                let b = a.clone();
                let send = |half: usize, through: crate::api::GossipSender| async move {
                    for index in 0..EACH {
                        let content = format!("{} {index}", 2 * sender + half);
                        through
                            .broadcast(content.into())
                            .await
                            .expect("the node runs");
                    }
                };
                block_on(futures_lite::future::zip(send(0, a), send(1, b)));
            })
        })
        .collect();
    let mut expected = [0; 2 * SENDERS];
    let mut unsubscribed = 0;
    block_on(async {
        while unsubscribed < SENDERS {
            match poll_fn(|cx| inbox.poll_work(cx)).await {
                Work::Command(_, Order::Broadcast(payload)) => {
                    let text =
                        String::from_utf8(payload.into_content().into()).expect("we wrote it");
                    let (sender, index) = text.split_once(' ').expect("two numbers");
                    let next = &mut expected[sender.parse::<usize>().expect("a number")];
                    assert_eq!(index, next.to_string());
                    *next += 1;
                }
                Work::Subscribe { .. } => {}
                Work::Unsubscribe(_) => unsubscribed += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(expected, [EACH; 2 * SENDERS]);
    for sender in senders {
        sender.join().expect("the sender did not panic");
    }
}
