//! Members tell each other what they may have missed, and joiners are told nothing.

use super::*;

fn nothing() -> Message {
    Message::IHave(IHaves::new())
}

fn told(output: &Output, peer: u32) -> Vec<MessageId> {
    output.announced(peer).iter().map(|one| one.id).collect()
}

#[test]
fn a_member_asks_new_neighbors_and_a_joiner_does_not() {
    let mut node = Node::new();
    assert!(node.up(1).sent.is_empty());
    node.wait(ms(9_999));
    assert!(node.up(2).sent.is_empty());
    node.wait(ms(1));
    assert_eq!(node.up(3).sent, [(3, nothing())]);
    node.wait(ms(60_000));
    assert_eq!(node.up(1).sent, [(1, nothing())], "one that starts anew");
}

#[test]
fn who_asks_is_told_of_the_last_ten_seconds_once() {
    let mut node = Node::among([1]);
    node.recv(1, payload(b"old", 3));
    node.wait(ms(5_000));
    node.recv(1, payload(b"new", 7));
    node.broadcast(b"own", Scope::Swarm);
    node.wait(ms(6_000));
    node.up(2);
    let output = node.recv(2, nothing());
    assert_eq!(told(&output, 2), [id(b"new"), id(b"own")]);
    assert_eq!(node.recv(2, graft(b"new")).sent, [(2, payload(b"new", 8))]);
    assert!(node.recv(2, nothing()).sent.is_empty(), "once is enough");
    assert!(node.recv(9, nothing()).sent.is_empty(), "a stranger");
    assert_eq!(node.counters.stranger_control, 1);
}

#[test]
fn a_new_neighbor_that_does_not_ask_is_told_nothing() {
    let mut node = Node::among([1, 2]);
    node.recv(1, payload(b"hello", 0));
    // Not even where it comes in place of one that was lost.
    node.down(2);
    let up = node.up(3);
    let later = node.wait(ms(4_999));
    assert!(up.sent.is_empty() && later.sent.is_empty());
}

#[test]
fn a_sign_of_life_is_no_question() {
    let mut node = Node::among([1]);
    node.wait(ms(5_000));
    node.broadcast(b"hello", Scope::Swarm);
    assert!(node.recv(1, nothing()).sent.is_empty());
}

#[test]
fn no_more_than_64_are_told_of() {
    let mut node = Node::among([1]);
    for number in 0..100u8 {
        node.recv(1, payload(&[number], 0));
    }
    node.up(2);
    let latest: Vec<_> = (36..100u8).map(|number| id(&[number])).collect();
    assert_eq!(told(&node.recv(2, nothing()), 2), latest);
}

#[test]
fn a_lost_stream_is_made_up_for_since_the_neighbor_came() {
    let mut node = Node::among([1]);
    node.recv(1, payload(b"before", 0));
    node.wait(ms(1_000));
    node.up(2);
    node.recv(1, payload(b"after", 0));
    assert_eq!(
        told(&node.handle(Input::StreamLost(2)), 2),
        [id(b"after")],
        "it may have joined just then"
    );
}

#[test]
fn what_was_told_into_a_lost_stream_is_told_again() {
    let limits = Limits {
        late_join_history: 1,
        ..Limits::default()
    };
    for history in [false, true] {
        let limits = if history { &limits } else { &Limits::default() };
        let mut node = Node::with(Config::default(), limits);
        node.up(1);
        node.recv(1, payload(b"before", 0));
        node.wait(ms(1_000));
        node.up(2);
        if !history {
            assert_eq!(told(&node.recv(2, nothing()), 2), [id(b"before")]);
        }
        let again = node.handle(Input::StreamLost(2));
        assert_eq!(told(&again, 2), [id(b"before")], "history: {history}");
    }
}

#[test]
fn in_silence_who_brought_the_latest_message_gets_one_sign_of_life() {
    let mut node = Node::among([1, 2, 3]);
    assert!(
        node.wait(ms(60_000)).sent.is_empty(),
        "nothing was ever said"
    );
    for (number, from) in [1, 3, 2].into_iter().enumerate() {
        node.recv(from, payload(&[number as u8], 0));
        assert!(
            node.wait(ms(4_000))
                .sent
                .iter()
                .all(|one| one.1 != nothing())
        );
    }
    assert_eq!(node.wait(ms(1_000)).sent, [(2, nothing())]);
    assert!(node.wait(ms(600_000)).sent.is_empty(), "once is enough");
    assert_eq!(node.state.next_deadline().get(), None);
}

#[test]
fn signs_of_life_are_few_where_messages_come_now_and_then() {
    let mut node = Node::among([1, 2]);
    let mut signs = 0;
    for number in 0..100u8 {
        node.recv(1, payload(&[number], 0));
        let output = node.wait(ms(6_000));
        signs += output.sent.iter().filter(|one| one.1 == nothing()).count();
    }
    assert!((15..=30).contains(&signs), "{signs} in ten minutes");
}

#[test]
fn a_question_in_a_lost_stream_is_asked_again() {
    let mut node = Node::among([1]);
    node.handle(Input::StreamLost(1));
    assert!(
        node.handle(Input::StreamLost(1)).sent.is_empty(),
        "a joiner"
    );
    node.wait(ms(10_000));
    assert_eq!(node.up(2).sent, [(2, nothing())]);
    assert_eq!(node.handle(Input::StreamLost(2)).sent, [(2, nothing())]);
    node.wait(ms(5_000));
    assert!(node.handle(Input::StreamLost(2)).sent.is_empty());
}
