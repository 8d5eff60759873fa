//! What is announced and missed is asked for.

use super::*;

#[test]
fn an_announced_message_is_asked_for_after_the_timeout() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.recv(2, ihave(b"hello", 3));
    assert!(node.wait(ms(79)).sent.is_empty());
    let output = node.wait(ms(1));
    assert_eq!(output.grafts(), [(2, Some(id(b"hello")))]);
    assert_eq!(node.eager(), [1, 2]);
    let output = node.recv(2, payload(b"hello", 3));
    assert_eq!(output.delivered.len(), 1);
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn claimants_are_asked_in_turn_and_then_the_message_is_forgotten() {
    let mut node = Node::among([1, 2, 3]);
    for peer in [3, 1, 2, 3] {
        node.recv(peer, ihave(b"hello", 0));
    }
    let hello = Some(id(b"hello"));
    assert_eq!(node.wait(ms(80)).grafts(), [(3, hello)]);
    assert_eq!(node.wait(ms(40)).grafts(), [(1, hello)]);
    assert_eq!(node.wait(ms(40)).grafts(), [(2, hello)]);
    assert_eq!(node.state.missing_ids(), 1);
    assert!(node.wait(ms(40)).sent.is_empty());
    assert_eq!(node.state.missing_ids(), 0);
    node.recv(1, ihave(b"hello", 0));
    assert_eq!(node.wait(ms(80)).grafts(), [(1, hello)], "it starts anew");
}

#[test]
fn who_announces_what_it_was_asked_for_is_asked_again() {
    let mut node = Node::among([1, 2]);
    for peer in [1, 2] {
        node.recv(peer, ihave(b"hello", 0));
    }
    let hello = Some(id(b"hello"));
    assert_eq!(node.wait(ms(80)).grafts(), [(1, hello)]);
    // It has a backlog of ours, and sends an announcement in place of the payload.
    node.recv(1, ihave(b"hello", 0));
    assert_eq!(node.wait(ms(40)).grafts(), [(2, hello)]);
    assert_eq!(node.wait(ms(40)).grafts(), [(1, hello)]);
    for _ in 0..20 {
        node.recv(1, ihave(b"hello", 0));
        assert_eq!(node.wait(ms(40)).grafts(), [(1, hello)]);
    }
    assert!(node.wait(ms(40)).sent.is_empty(), "once for each");
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn a_question_that_may_be_lost_is_asked_again() {
    let mut node = Node::among([1, 2]);
    for peer in [1, 2] {
        node.recv(peer, ihave(b"hello", 0));
    }
    node.recv(1, ihave(b"other", 0));
    let (hello, other) = (Some(id(b"hello")), Some(id(b"other")));
    assert_eq!(node.wait(ms(80)).grafts(), [(1, hello), (1, other)]);
    node.handle(Input::StreamLost(1));
    assert_eq!(node.wait(ms(40)).grafts(), [(2, hello), (1, other)]);
    assert_eq!(node.wait(ms(40)).grafts(), [(1, hello)]);
    assert!(node.wait(ms(40)).sent.is_empty(), "once for each loss");
    assert_eq!(node.state.missing_ids(), 0);
    // Also where nobody was left to ask, but not for what came meanwhile, or was asked long ago.
    node.handle(Input::StreamLost(1));
    assert_eq!(node.wait(ms(80)).grafts(), [(1, other), (1, hello)]);
    node.recv(2, payload(b"other", 0));
    node.handle(Input::StreamLost(1));
    assert_eq!(node.state.missing_ids(), 1);
    assert_eq!(node.wait(ms(2500)).grafts(), [(1, hello)]);
    node.wait(ms(5000));
    node.handle(Input::StreamLost(1));
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn item_17_one_graft_timer_per_id() {
    let mut node = Node::among([1, 2]);
    node.recv(1, ihave(b"hello", 0));
    let deadline = node.state.next_deadline().get();
    node.wait(ms(30));
    node.recv(2, ihave(b"hello", 0));
    assert_eq!(node.state.next_deadline().get(), deadline);
    assert_eq!(node.wait(ms(50)).grafts().len(), 1);
}

#[test]
fn item_17_a_message_that_arrived_leaves_no_deadline() {
    let mut node = Node::among([1, 2]);
    node.recv(1, ihave(b"one", 0));
    let of_one = node.state.next_deadline().get();
    node.wait(ms(10));
    node.recv(1, ihave(b"two", 0));
    node.recv(2, payload(b"one", 0));
    let of_two = node.state.next_deadline().get();
    assert_eq!(of_two, of_one.map(|due| due + ms(10)));
    node.recv(2, payload(b"two", 0));
    // Nothing but the sign of life of a topic that falls silent.
    assert!(node.state.next_deadline().get() >= Some(node.now + ms(4_999)));
    assert!(node.wait(ms(4_999)).sent.is_empty());
    assert!(node.wait(Duration::from_secs(20)).grafts().is_empty());
    assert!(node.state.next_deadline().get() > Some(node.now + ms(4_000)));
}

#[test]
fn a_seen_message_is_not_waited_for() {
    let mut node = Node::among([1, 2]);
    node.recv(1, payload(b"hello", 0));
    node.recv(2, ihave(b"hello", 0));
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn announcements_of_a_neighbor_that_left_are_void() {
    let mut node = Node::among([1, 2]);
    node.recv(1, ihave(b"hello", 0));
    node.recv(2, ihave(b"hello", 0));
    node.recv(1, ihave(b"other", 0));
    node.down(1);
    node.up(1);
    assert_eq!(
        node.wait(ms(80)).grafts(),
        [(2, Some(id(b"hello")))],
        "its earlier stay does not count"
    );
    node.wait(ms(40));
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn a_graft_is_answered_from_the_cache_with_the_cached_round() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node.recv(1, payload(b"hello", 6));
    node.wait(ms(5));
    let output = node.recv(2, graft(b"hello"));
    assert_eq!(output.sent, [(2, payload(b"hello", 7))]);
    assert_eq!(node.eager(), [1, 2]);
    assert!(node.recv(2, graft(b"unknown")).sent.is_empty());
    assert_eq!(node.counters.graft_unknown, 1);
}

#[test]
fn item_15_what_was_published_alone_is_announced_to_the_first_neighbor() {
    let mut node = Node::new();
    node.broadcast(b"one", Scope::Swarm);
    node.broadcast(b"two", Scope::Swarm);
    assert!(node.wait(ms(500)).sent.is_empty());
    assert!(node.up(1).sent.is_empty());
    assert!(node.wait(ms(4)).sent.is_empty(), "it may not know us yet");
    let announced = node.wait(ms(1)).announced(1);
    assert_eq!(
        announced.iter().map(|one| one.id).collect::<Vec<_>>(),
        [id(b"one"), id(b"two")]
    );
    assert_eq!(node.recv(1, graft(b"one")).payloads(), [1]);

    node.up(2);
    let announced = node.wait(ms(5)).announced(2);
    assert_eq!(announced.len(), 1, "nobody is known to have this one");
    assert_eq!(announced[0].id, id(b"two"));
    node.recv(2, ihave(b"two", 1));
    node.up(3);
    assert!(node.wait(ms(5)).sent.is_empty(), "now both are shared");
}

#[test]
fn item_15_a_node_of_ours_takes_the_announcements_of_a_fresh_neighbor() {
    let mut author = Node::new();
    author.broadcast(b"early", Scope::Swarm);
    author.up(1);
    let mut joiner = Node::among([7]);
    for (_, message) in author.wait(ms(5)).sent {
        joiner.recv(7, message);
    }
    let graft = joiner.wait(ms(80)).sent.remove(0).1;
    let answer = author.recv(1, graft).sent.remove(0).1;
    assert_eq!(joiner.recv(7, answer).delivered.len(), 1);
}

#[test]
fn item_15_late_joiners_hear_of_recent_messages_if_so_configured() {
    let limits = Limits {
        late_join_history: 3,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    for number in 0..10u8 {
        node.broadcast(&[number], Scope::Swarm);
    }
    node.up(2);
    node.broadcast(b"pushed", Scope::Swarm);
    let announced = node.wait(ms(5)).announced(2);
    assert_eq!(
        announced.iter().map(|one| one.id).collect::<Vec<_>>(),
        [7u8, 8, 9].map(|number| id(&[number]))
    );

    let mut node = Node::among([1]);
    node.broadcast(b"one", Scope::Swarm);
    node.up(2);
    assert!(node.wait(ms(50)).sent.is_empty(), "off by default");
}

#[test]
fn a_graft_waits_for_as_long_as_the_tree_takes() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    for number in 0..1000u16 {
        let message = number.to_le_bytes();
        node.recv(2, ihave(&message, 0));
        let output = node.wait(ms(300));
        assert!(output.grafts().is_empty() || number == 0, "{number}");
        node.recv(1, payload(&message, 0));
    }
    node.recv(2, ihave(b"late", 0));
    assert!(node.wait(ms(300)).grafts().is_empty());
    assert_eq!(node.wait(ms(100)).grafts(), [(2, Some(id(b"late")))]);
}

#[test]
fn a_graft_does_not_wait_when_there_is_silence() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(2, Message::Prune);
    node.recv(1, payload(b"one", 0));
    node.recv(2, ihave(b"two", 0));
    node.recv(2, ihave(b"three", 0));
    assert!(node.wait(ms(100)).grafts().is_empty());
    node.recv(1, payload(b"two", 0));
    for missing in [&b"four"[..], b"five"] {
        node.recv(2, ihave(missing, 0));
        assert!(
            node.wait(ms(50)).grafts().is_empty(),
            "the tree may be slow"
        );
    }
    let mut asked = node.recv(2, ihave(b"six", 0)).grafts();
    asked.extend(node.wait(ms(1)).grafts());
    let all = [&b"three"[..], b"four", b"five", b"six"].map(|one| (2, Some(id(one))));
    assert_eq!(asked, all);
}

#[test]
fn a_graft_does_not_wait_when_a_link_of_the_tree_was_lost() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(2, Message::Prune);
    node.recv(1, payload(b"one", 0));
    node.recv(2, ihave(b"two", 0));
    assert!(node.wait(ms(500)).grafts().is_empty());
    node.recv(1, payload(b"two", 0));
    node.down(1);
    node.recv(2, ihave(b"three", 0));
    assert_eq!(node.wait(ms(80)).grafts(), [(2, Some(id(b"three")))]);
}

#[test]
fn a_lost_link_of_a_busy_tree_is_replaced_at_once() {
    let mut node = Node::among([1, 2, 3]);
    for peer in [2, 3] {
        node.recv(peer, Message::Prune);
    }
    node.recv(1, payload(b"before", 0));
    node.recv(2, ihave(b"announced", 0));
    let output = node.down(1);
    assert_eq!(output.grafts(), [(2, None), (3, None)]);
    assert_eq!(node.eager(), [2, 3]);
    let announced = Some(id(b"announced"));
    assert_eq!(node.wait(ms(0)).grafts(), [(2, announced)]);
    // It has not heard yet that it should push.
    node.recv(3, ihave(b"meanwhile", 0));
    let meanwhile = Some(id(b"meanwhile"));
    assert_eq!(node.wait(ms(0)).grafts(), [(3, meanwhile)]);
    node.recv(2, payload(b"announced", 0));
    node.recv(3, payload(b"meanwhile", 0));
    node.wait(ms(40));
    node.recv(3, ihave(b"later", 0));
    assert!(node.wait(ms(40)).sent.is_empty(), "by now it pushes");
}

#[test]
fn a_lost_link_of_a_tree_at_rest_is_not_replaced_before_something_is_missing() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(2, Message::Prune);
    node.recv(1, payload(b"before", 0));
    // One that was busy before, and one that never brought anything.
    assert!(node.down(3).sent.is_empty());
    node.wait(ms(1000));
    assert!(node.down(1).sent.is_empty());
    assert_eq!(node.lazy(), [2]);
}

#[test]
fn answers_that_come_late_are_measured_all_the_same() {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    // The tree brings everything at once.
    for number in 0..200u8 {
        node.recv(1, payload(&[number], 0));
        node.wait(ms(10));
    }
    let lag = node.state.delays.lag.timeout();
    for number in 0..20u16 {
        let message = [b"asked for".as_slice(), &number.to_le_bytes()].concat();
        node.recv(2, ihave(&message, 0));
        let asked = (0..2000).find(|_| node.wait(ms(1)).grafts() == [(2, Some(id(&message)))]);
        assert!(asked.is_some(), "{number}");
        node.wait(ms(60));
        node.recv(2, payload(&message, 0));
    }
    assert!(node.state.delays.answer.timeout() >= ms(60).as_nanos() as u64);
    assert_eq!(
        node.state.delays.lag.timeout(),
        lag,
        "this was not the tree"
    );
}

#[test]
fn the_answer_of_one_who_was_asked_before_others_is_an_answer() {
    let mut node = Node::among([1, 2, 3, 4]);
    for number in 0..200u8 {
        node.recv(4, payload(&[number], 0));
        node.wait(ms(10));
    }
    let lag = node.state.delays.lag.timeout();
    for number in 0..20u16 {
        let message = [b"asked for".as_slice(), &number.to_le_bytes()].concat();
        for peer in [1, 2, 3] {
            node.recv(peer, ihave(&message, 0));
        }
        // Everyone who is asked answers after as long.
        let mut asked = Vec::new();
        for step in 0..1000 {
            let grafts = node.wait(ms(1)).grafts();
            asked.extend(grafts.into_iter().map(|(peer, _)| (step + 100, peer)));
            for (_, peer) in asked.extract_if(.., |(answer, _)| *answer == step) {
                node.recv(peer, payload(&message, 0));
            }
        }
        assert!(asked.is_empty());
        assert!(node.state.has_seen(&id(&message)), "{number}");
    }
    assert!(node.state.delays.answer.timeout() >= ms(100).as_nanos() as u64);
    assert_eq!(
        node.state.delays.lag.timeout(),
        lag,
        "this was not the tree"
    );
}
