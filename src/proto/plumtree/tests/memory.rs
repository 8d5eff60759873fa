//! What is remembered: bounded in size and in time, and nothing wakes a quiet node for long.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{super::history::PAYLOAD_OVERHEAD, *};

fn node_with(limits: Limits) -> Node {
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node
}

#[test]
fn the_cache_is_bounded_by_bytes() {
    let mut node = node_with(Limits {
        cache_bytes: 10 * (1000 + PAYLOAD_OVERHEAD),
        ..Limits::default()
    });
    for number in 0..25u8 {
        node.recv(1, payload(&[number; 1000], 0));
    }
    assert_eq!(node.state.cache_bytes(), 10 * (1000 + PAYLOAD_OVERHEAD));
    assert_eq!(node.counters.cache_evicted, 15);
    assert!(node.recv(1, graft(&[14; 1000])).sent.is_empty());
    assert_eq!(node.recv(1, graft(&[15; 1000])).payloads(), [1]);
    assert_eq!(node.state.seen_ids(), 25, "ids are kept all the same");
    node.recv(1, payload(&[0; 1000], 0));
    assert_eq!(node.counters.duplicates, 1);
}

/// Payloads are dropped some at a time, but nearly all that fits is kept.
#[test]
fn a_large_cache_is_full_but_for_a_hundredth() {
    const LIMIT: usize = 256 * 1024;
    let mut node = node_with(Limits {
        cache_bytes: LIMIT,
        ..Limits::default()
    });
    let mut kept = 0;
    for number in 0..5000u32 {
        node.recv(1, payload(&number.to_be_bytes(), 0));
        let cached = node.state.cache_bytes();
        assert!(cached <= LIMIT);
        if node.counters.cache_evicted > 0 {
            assert!(cached >= LIMIT - LIMIT / 100, "{cached} of {LIMIT}");
        } else {
            kept += 1;
        }
    }
    assert!(kept > 1000, "dropped from {kept} on");
}

#[test]
fn a_cache_of_nothing_holds_nothing() {
    let mut node = node_with(Limits {
        cache_bytes: 0,
        ..Limits::default()
    });
    assert_eq!(node.broadcast(b"hello", Scope::Swarm).payloads(), [1]);
    assert_eq!(node.state.cache_bytes(), 0);
}

#[test]
fn empty_contents_count_too() {
    let mut node = node_with(Limits {
        cache_bytes: 5 * PAYLOAD_OVERHEAD + 40,
        ..Limits::default()
    });
    for number in 0..200u8 {
        node.recv(1, payload(&[number], 0));
    }
    assert_eq!(node.state.cache_bytes(), 5 * (PAYLOAD_OVERHEAD + 1));
}

#[test]
fn payloads_expire_before_ids() {
    let mut node = Node::among([1]);
    node.recv(1, payload(b"hello", 0));
    node.wait(Duration::from_secs(29));
    assert_eq!(node.recv(1, graft(b"hello")).payloads(), [1]);
    node.wait(Duration::from_secs(2));
    assert!(node.recv(1, graft(b"hello")).sent.is_empty());
    assert_eq!(node.state.cache_bytes(), 0);
    node.wait(Duration::from_secs(58));
    assert!(node.recv(1, payload(b"hello", 0)).delivered.is_empty());
    node.wait(Duration::from_secs(2));
    assert_eq!(node.state.seen_ids(), 0);
    assert_eq!(node.recv(1, payload(b"hello", 0)).delivered.len(), 1);
}

#[test]
fn ids_outlive_a_message_that_goes_round_among_late_joiners() {
    let limits = Limits {
        late_join_history: 16,
        ..Limits::default()
    };
    let mut node = node_with(limits);
    node.recv(1, payload(b"hello", 0));
    // Each of three others joined when the one before it was about to forget.
    node.wait(Duration::from_secs(4 * 29));
    assert!(node.recv(1, payload(b"hello", 9)).delivered.is_empty());
    node.wait(Duration::from_secs(300));
    assert_eq!(node.state.seen_ids(), 0);
}

#[test]
fn ids_expire_while_traffic_goes_on() {
    let mut node = Node::among([1]);
    for second in 0..300u32 {
        node.recv(1, payload(&second.to_le_bytes(), 0));
        node.wait(Duration::from_secs(1));
        assert!(node.state.seen_ids() <= 92);
        assert!(node.state.cache_bytes() <= 32 * (4 + PAYLOAD_OVERHEAD));
    }
    assert_eq!(node.counters.seen_evicted + node.counters.cache_evicted, 0);
}

#[test]
fn seen_ids_are_bounded_by_count() {
    let mut node = node_with(Limits {
        seen_ids: 100,
        ..Limits::default()
    });
    for number in 0..1000u32 {
        node.recv(1, payload(&number.to_le_bytes(), 0));
        assert!(node.state.seen_ids() <= 100);
    }
    assert_eq!(node.counters.seen_evicted, 900);
    assert_eq!(
        node.state.cache_bytes(),
        100 * (4 + PAYLOAD_OVERHEAD),
        "no payload without its id"
    );
    node.recv(1, payload(&999u32.to_le_bytes(), 0));
    node.recv(1, payload(&900u32.to_le_bytes(), 0));
    assert_eq!(node.counters.duplicates, 2);
    assert_eq!(
        node.recv(1, payload(&0u32.to_le_bytes(), 0))
            .delivered
            .len(),
        1
    );
}

#[test]
fn an_idle_state_has_no_deadline() {
    let mut node = Node::among([1, 2, 3]);
    assert_eq!(node.state.next_deadline().get(), None);
    node.recv(1, direct(b"hello"));
    node.broadcast(b"hello", Scope::Neighbors);
    node.recv(1, Message::Prune);
    node.recv(1, graft(b"hello"));
    assert_eq!(node.state.next_deadline().get(), None);
}

#[test]
fn a_quiet_node_wakes_a_few_times_for_eviction_and_then_never() {
    let mut node = Node::among([1]);
    for number in 0..600u32 {
        node.recv(1, payload(&number.to_le_bytes(), 0));
        node.wait(ms(100));
    }
    let mut wakes = 0;
    while let Some(deadline) = node.state.next_deadline().get() {
        wakes += 1;
        node.now = deadline;
        node.wait(Duration::ZERO);
    }
    assert!(wakes <= 4, "{wakes}");
    assert_eq!((node.state.seen_ids(), node.state.cache_bytes()), (0, 0));
    assert!(node.now <= start() + Duration::from_secs(60 + 91));
}

#[test]
fn a_message_does_not_move_the_deadline_of_a_busy_node() {
    let mut node = Node::among([1]);
    node.recv(1, payload(b"first", 0));
    let deadline = node.state.next_deadline().get();
    for number in 0..100u8 {
        node.wait(ms(10));
        node.recv(1, payload(&[number], 0));
        assert_eq!(node.state.next_deadline().get(), deadline);
    }
}

#[test]
fn a_timeout_that_comes_too_early_does_nothing() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.broadcast(b"hello", Scope::Swarm);
    node.recv(2, ihave(b"other", 0));
    let deadline = node.state.next_deadline().get();
    let mut output = Output::default();
    for _ in 0..3 {
        node.now += ms(1);
        node.state
            .handle_timeout(node.now, &mut node.counters, &mut output);
    }
    assert!(output.sent.is_empty());
    assert_eq!(node.state.next_deadline().get(), deadline);
    let settings = settings(&Config::default(), &Limits::default(), 4096);
    State::<u32>::new(0, settings, keyed()).handle_timeout(
        node.now,
        &mut node.counters,
        &mut output,
    );
}

proptest! {
    /// The history finds what a plain list finds, through growth, eviction and expiry.
    #[test]
    fn the_history_agrees_with_a_model(
        limit in 1usize..40,
        steps in prop::collection::vec((0u8..60, 0u64..40), 1..150),
    ) {
        let retention = history::Retention {
            cache_bytes: 20 * (PAYLOAD_OVERHEAD + 1),
            seen_ids: limit,
            payloads_for: 100,
            ids_for: 300,
        };
        let mut history = History::new(retention.sensible().into(), &keyed());
        let mut counters = Counters::default();
        let mut model: Vec<(u8, u64)> = Vec::new();
        let mut now = 0;
        let ids: HashMap<u8, MessageId> = (0..60).map(|number| (number, id(&[number]))).collect();
        for (number, pause) in steps {
            now += pause;
            history.expire(At(now));
            model.retain(|(_, at)| at + 300 > now);
            if history.find(&ids[&number]).is_none() {
                let content = Some(Bytes::copy_from_slice(&[number]));
                let round = Round::from(0);
                history.remember(ids[&number], content, round, number % 2 == 0, At(now), &mut counters);
                model.push((number, now));
                if model.len() > limit {
                    model.remove(0);
                }
            }
            prop_assert_eq!(history.ids(), model.len());
            for number in 0..60 {
                let at = model.iter().find(|(one, _)| *one == number).map(|(_, at)| *at);
                let known = history.find(&ids[&number]);
                prop_assert_eq!(known.is_some(), at.is_some());
                let payload = known.and_then(|known| history.payload(known));
                let newer = model.iter().rev().take(20).any(|(one, _)| *one == number);
                prop_assert_eq!(payload.is_some(), newer && at.is_some_and(|at| at + 100 > now));
                if let Some((content, _)) = payload {
                    prop_assert_eq!(&content[..], &[number]);
                }
            }
            let unshared = history.announcements(u64::MAX, 0).len();
            prop_assert_eq!(unshared > 0, history.has_unshared());
        }
    }
}
