//! Who is eager and who is lazy, and what is sent to whom.

use super::*;

#[test]
fn a_new_message_is_delivered_and_pushed_to_all_but_its_sender() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(3, Message::Prune);
    let output = node.recv(1, payload(b"hello", 4));
    assert_eq!(output.payloads(), [2]);
    let forwarded = payload(b"hello", 5);
    assert!(output.sent.contains(&(2, forwarded)));
    assert_eq!(output.delivered.len(), 1);
    assert_eq!(output.delivered[0].delivered_from, 1);
    assert_eq!(
        output.delivered[0].scope,
        DeliveryScope::Swarm(Round::from(4))
    );
    let later = node.wait(ms(5));
    assert_eq!(
        later.sent,
        [(3, ihave(b"hello", 5))],
        "announced with the round it would arrive with"
    );
}

#[test]
fn an_own_message_starts_at_round_zero() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    let output = node.broadcast(b"mine", Scope::Swarm);
    assert_eq!(output.sent, [(1, payload(b"mine", 0))]);
    assert!(output.delivered.is_empty());
    assert_eq!(node.wait(ms(5)).sent, [(2, ihave(b"mine", 0))]);
}

#[test]
fn a_duplicate_makes_its_sender_lazy_and_prunes_once() {
    let mut node = Node::among([1, 2]);
    node.recv(1, payload(b"hello", 0));
    let output = node.recv(2, payload(b"hello", 3));
    assert_eq!(output.sent, [(2, Message::Prune)]);
    assert!(output.delivered.is_empty());
    assert_eq!(node.lazy(), [2]);
    let more = node.recv(2, payload(b"hello", 3));
    assert!(more.sent.is_empty(), "the Prune is on its way");
    node.wait(ms(1000));
    let still = node.recv(2, payload(b"hello", 3));
    assert_eq!(still.prunes(), [2], "it must have missed the Prune");
    assert_eq!(node.counters.duplicates, 3);
}

/// Item 17: what is known is not hashed, so its content does not matter.
#[test]
fn item_17_a_duplicate_is_recognised_before_it_is_hashed() {
    let mut node = Node::among([1]);
    node.recv(1, payload(b"hello", 0));
    let Message::Gossip(mut gossip) = payload(b"hello", 0) else {
        unreachable!("a payload");
    };
    gossip.content = Bytes::from_static(b"other");
    node.recv(1, Message::Gossip(gossip));
    assert_eq!(node.counters.duplicates, 1);
    assert_eq!(node.counters.invalid_id, 0);
}

#[test]
fn a_payload_with_a_false_id_changes_nothing() {
    let mut node = Node::among([1, 2]);
    node.recv(1, Message::Prune);
    let Message::Gossip(mut gossip) = payload(b"hello", 0) else {
        unreachable!("a payload");
    };
    gossip.content = Bytes::from_static(b"other");
    for scope in [
        DeliveryScope::Swarm(Round::from(0)),
        DeliveryScope::Neighbors,
    ] {
        gossip.scope = scope;
        let output = node.recv(1, Message::Gossip(gossip.clone()));
        assert!(output.sent.is_empty() && output.delivered.is_empty());
    }
    assert_eq!(node.counters.invalid_id, 2);
    assert_eq!((node.eager(), node.lazy()), (vec![2], vec![1]));
    assert_eq!(node.state.seen_ids(), 0);
    assert_eq!(node.recv(2, payload(b"hello", 0)).delivered.len(), 1);
}

#[test]
fn the_sender_of_a_new_message_becomes_eager() {
    let mut node = Node::among([1]);
    node.recv(1, Message::Prune);
    assert_eq!(node.lazy(), [1]);
    node.recv(1, payload(b"hello", 0));
    assert_eq!(node.eager(), [1]);
}

#[test]
fn a_sender_that_our_prune_has_not_reached_stays_lazy() {
    let mut node = Node::among([1, 2]);
    node.recv(1, payload(b"one", 0));
    node.recv(2, payload(b"one", 0));
    assert_eq!(node.recv(2, payload(b"two", 0)).delivered.len(), 1);
    assert_eq!(node.lazy(), [2], "it will be lazy on both sides");
    node.wait(ms(1000));
    node.recv(2, payload(b"three", 0));
    assert_eq!(node.eager(), [1, 2], "it evidently pushes to us");
}

#[test]
fn a_neighbor_that_starts_anew_is_eager_again() {
    let mut node = Node::among([1, 2]);
    node.recv(1, Message::Prune);
    node.broadcast(b"queued", Scope::Swarm);
    node.down(1);
    assert!(
        node.up(1).sent.is_empty(),
        "what waited was for whom it was before"
    );
    assert_eq!(node.eager(), [2, 1]);
    assert!(node.wait(ms(10)).sent.is_empty());
}

#[test]
fn we_are_not_our_own_neighbor() {
    let mut node = Node::new();
    node.up(0);
    assert!(node.eager().is_empty());
}

#[test]
fn a_neighbor_that_is_gone_gets_nothing() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.broadcast(b"one", Scope::Swarm);
    node.down(1);
    node.down(2);
    assert!(node.wait(ms(10)).sent.is_empty());
    assert!(node.broadcast(b"two", Scope::Swarm).sent.is_empty());
    assert!(node.eager().is_empty() && node.lazy().is_empty());
}

#[test]
fn what_waits_for_a_lazy_neighbor_is_announced_when_it_becomes_eager() {
    let mut node = Node::among([1]);
    node.recv(1, Message::Prune);
    node.broadcast(b"one", Scope::Swarm);
    let output = node.recv(
        1,
        Message::Graft(Graft {
            id: None,
            round: Round::from(0),
        }),
    );
    assert_eq!(output.sent, [(1, ihave(b"one", 0))]);
    assert!(node.wait(ms(10)).sent.is_empty(), "and only once");
}

#[test]
fn what_was_pushed_is_not_announced_too() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.broadcast(b"one", Scope::Swarm);
    node.recv(1, Message::Prune);
    node.broadcast(b"two", Scope::Swarm);
    let output = node.wait(ms(10));
    assert_eq!(output.announced(1).len(), 1);
    assert_eq!(output.announced(2).len(), 2);
}

#[test]
fn those_who_announced_a_message_are_sent_neither_it_nor_an_announcement() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(3, Message::Prune);
    node.recv(2, ihave(b"hello", 1));
    node.recv(3, ihave(b"hello", 1));
    let output = node.recv(1, payload(b"hello", 1));
    assert!(output.sent.is_empty());
    assert!(node.wait(ms(10)).sent.is_empty());
}

#[test]
fn item_14_a_repeated_swarm_broadcast_is_not_sent() {
    let mut node = Node::among([1]);
    assert_eq!(node.broadcast(b"hi", Scope::Swarm).payloads(), [1]);
    assert!(node.broadcast(b"hi", Scope::Swarm).sent.is_empty());
    node.recv(1, payload(b"theirs", 0));
    assert!(node.broadcast(b"theirs", Scope::Swarm).sent.is_empty());
    assert_eq!(node.counters.broadcast_duplicate, 2);
    node.wait(Duration::from_secs(92));
    assert_eq!(
        node.broadcast(b"hi", Scope::Swarm).payloads(),
        [1],
        "after the retention it is a new message"
    );
}

#[test]
fn item_14_a_broadcast_to_neighbors_reaches_lazy_ones_and_may_be_repeated() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    for _ in 0..3 {
        let output = node.broadcast(b"hi", Scope::Neighbors);
        assert_eq!(output.sent, [(1, direct(b"hi")), (2, direct(b"hi"))]);
    }
    assert_eq!(node.state.seen_ids(), 0);
    assert_eq!(node.state.cache_bytes(), 0);
    assert_eq!(node.broadcast(b"hi", Scope::Swarm).payloads(), [1]);
}

#[test]
fn item_14_a_message_from_a_neighbor_alone_is_delivered_every_time_and_not_sent_on() {
    let mut node = Node::among([1, 2]);
    node.recv(1, payload(b"hi", 0));
    for from in [1, 1, 2, 9] {
        let output = node.recv(from, direct(b"hi"));
        assert!(output.sent.is_empty());
        assert_eq!(output.delivered.len(), 1);
        assert_eq!(output.delivered[0].scope, DeliveryScope::Neighbors);
    }
    assert_eq!(node.counters.duplicates, 0);
}

#[test]
fn item_16_a_stranger_changes_no_set() {
    let mut node = Node::among([1]);
    node.recv(9, Message::Prune);
    node.recv(9, ihave(b"hello", 0));
    node.recv(9, graft(b"hello"));
    assert_eq!(node.counters.stranger_control, 3);
    assert_eq!(node.state.missing_ids(), 0);

    let output = node.recv(9, payload(b"hello", 0));
    assert_eq!(output.payloads(), [1], "sent on");
    assert_eq!(output.delivered.len(), 1, "delivered");
    let output = node.recv(9, payload(b"hello", 0));
    assert!(output.sent.is_empty() && output.delivered.is_empty());
    assert_eq!((node.eager(), node.lazy()), (vec![1], vec![]));
    assert_eq!(node.counters.duplicates, 1);
}

#[test]
fn item_16_a_neighbor_that_left_is_a_stranger() {
    let mut node = Node::among([1, 2]);
    node.down(2);
    for message in [
        Message::Prune,
        graft(b"x"),
        ihave(b"x", 0),
        payload(b"x", 0),
    ] {
        node.recv(2, message.clone());
        node.recv(2, message);
    }
    assert_eq!((node.eager(), node.lazy()), (vec![1], vec![]));
}

#[test]
fn a_much_shorter_way_takes_the_place_of_the_longer_one() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    for number in 0..2u8 {
        node.recv(2, ihave(&[number], 3));
        let output = node.recv(1, payload(&[number], 10));
        assert!(output.sent.is_empty(), "not yet");
    }
    node.recv(2, ihave(b"hello", 3));
    let output = node.recv(1, payload(b"hello", 10));
    assert_eq!(output.grafts(), [(2, None)]);
    assert_eq!(output.prunes(), [1]);
    assert_eq!((node.eager(), node.lazy()), (vec![2], vec![1]));
}

#[test]
fn a_way_that_is_shorter_now_and_then_changes_nothing() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    for number in 0..100u8 {
        if number % 3 != 0 {
            node.recv(2, ihave(&[number], 3));
        }
        let output = node.recv(1, payload(&[number], 10));
        assert!(output.grafts().is_empty() && output.prunes().is_empty());
    }
}

#[test]
fn a_link_of_a_busy_tree_is_pruned_for_many_duplicates_only() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(2, payload(b"news", 0));
    assert_eq!(node.recv(3, payload(b"news", 0)).prunes(), [3], "idle");
    let duplicates = (0..200u8).find(|number| {
        node.recv(1, payload(&[*number], 0));
        node.recv(2, payload(&[*number], 0)).prunes() == [2]
    });
    // It was useful once, and one of eight is drawn.
    let duplicates = duplicates.expect("it is pruned in the end");
    assert!((5..100).contains(&duplicates), "{duplicates}");
    node.wait(ms(500));
    assert_eq!(node.recv(1, payload(b"news", 0)).prunes(), [1], "idle");
}

#[test]
fn a_link_that_brings_duplicates_of_one_of_many_messages_is_not_pruned_at_once() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(1, payload(b"one", 0));
    node.recv(2, payload(b"another", 0));
    // It has brought nothing new yet, and may be who brings the next.
    assert!(node.recv(3, payload(b"one", 0)).sent.is_empty());
    assert!(node.recv(3, payload(b"another", 0)).sent.is_empty());
}

#[test]
fn a_slightly_shorter_way_has_to_be_so_many_times() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    for number in 0..6u8 {
        node.recv(2, ihave(&[number], 9));
        let output = node.recv(1, payload(&[number], 10));
        assert!(output.sent.is_empty());
    }
    node.recv(2, ihave(b"hello", 9));
    let output = node.recv(1, payload(b"hello", 10));
    assert_eq!(
        (output.grafts(), output.prunes()),
        (vec![(2, None)], vec![1])
    );
}

#[test]
fn messages_that_wait_for_each_other_do_not_change_the_tree() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.recv(2, ihave(b"waited for", 3));
    for number in 0..10u8 {
        node.recv(2, ihave(&[number], 3));
        let output = node.recv(1, payload(&[number], 10));
        assert!(output.grafts().is_empty() && output.prunes().is_empty());
    }
}

#[test]
fn optimization_touches_neighbors_only() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.recv(2, ihave(b"one", 0));
    assert!(node.recv(9, payload(b"one", 8)).grafts().is_empty());
    for number in 0..9u8 {
        node.recv(2, ihave(&[number], 0));
        if number == 1 {
            node.down(2);
        }
        let output = node.recv(1, payload(&[number], 8));
        assert!(output.sent.is_empty());
    }
    assert_eq!(node.eager(), [1]);
}

/// Item 19.
#[test]
fn item_19_rounds_saturate() {
    let mut node = Node::among([1, 2]);
    node.recv(2, ihave(b"hello", u16::MAX));
    let output = node.recv(1, payload(b"hello", u16::MAX));
    assert_eq!(output.delivered.len(), 1);
    node.recv(2, Message::Prune);
    node.recv(1, payload(b"other", u16::MAX));
    assert_eq!(
        node.wait(ms(5)).announced(2)[0].round,
        Round::from(u16::MAX)
    );
}

#[test]
fn a_shorter_way_is_asked_to_push_even_if_it_seems_to() {
    let mut node = Node::among([1, 2]);
    for number in 0..2u8 {
        node.recv(2, ihave(&[number], 3));
        node.recv(1, payload(&[number], 10));
    }
    node.recv(2, ihave(b"hello", 3));
    let output = node.recv(1, payload(b"hello", 10));
    assert_eq!(output.prunes(), [1]);
    assert_eq!(output.grafts(), [(2, None)], "or nobody would push to us");
}
