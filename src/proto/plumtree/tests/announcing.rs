//! When announcements go out.

use super::*;

/// What waits at most, where messages follow each other.
const HELD: Duration = Duration::from_millis(200);

/// A node with an eager and a lazy neighbor, 1 and 2.
fn node() -> Node {
    let mut node = Node::among([1, 2]);
    node.recv(2, Message::Prune);
    node
}

/// Broadcasts messages with these numbers, one every `pause`, and counts the announcements.
fn stream(node: &mut Node, numbers: std::ops::Range<u32>, pause: Duration) -> (usize, usize) {
    let mut output = Output::default();
    for number in numbers {
        node.broadcast(&number.to_be_bytes(), Scope::Swarm);
        output.sent.extend(node.wait(pause).sent);
    }
    output.sent.extend(node.wait(HELD).sent);
    (output.sent.len(), output.announced(2).len())
}

#[test]
fn a_message_after_a_pause_is_announced_at_once() {
    let mut node = node();
    for number in 0..10u32 {
        node.broadcast(&number.to_be_bytes(), Scope::Swarm);
        assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
        node.wait(HELD);
    }
}

#[test]
fn announcements_of_a_stream_are_sent_together() {
    let mut node = node();
    let (frames, announced) = stream(&mut node, 0..500, ms(20));
    assert_eq!(announced, 500);
    // Ten seconds, a frame with every eighth message.
    assert!((60..=65).contains(&frames), "{frames} frames");
}

#[test]
fn what_is_held_goes_out_behind_a_message_or_in_the_end_without_one() {
    let mut node = node();
    stream(&mut node, 0..1, ms(5));
    node.broadcast(b"one", Scope::Swarm);
    node.wait(ms(5));
    node.broadcast(b"two", Scope::Swarm);
    assert!(node.wait(ms(150)).announced(2).is_empty(), "held");
    node.broadcast(b"three", Scope::Swarm);
    assert_eq!(node.wait(ms(5)).announced(2).len(), 2);
    node.broadcast(b"four", Scope::Swarm);
    assert!(node.wait(HELD - ms(5)).announced(2).is_empty(), "held");
    assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
}

#[test]
fn a_full_frame_is_not_held() {
    let mut node = node();
    stream(&mut node, 0..1, ms(5));
    node.broadcast(b"again", Scope::Swarm);
    assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
    for number in 1..=200u32 {
        node.broadcast(&number.to_be_bytes(), Scope::Swarm);
    }
    assert_eq!(node.wait(ms(5)).announced(2).len(), 200);
}

#[test]
fn nothing_is_dropped_for_having_been_held() {
    let limits = Limits {
        lazy_queue: 8,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node.up(2);
    node.recv(2, Message::Prune);
    let (_, announced) = stream(&mut node, 0..1000, ms(2));
    assert_eq!(announced, 1000);
    assert_eq!(node.counters.lazy_queue_full, 0);
}

#[test]
fn nothing_is_held_once_a_neighbor_is_lost() {
    let mut node = node();
    node.up(3);
    stream(&mut node, 0..1, ms(5));
    node.broadcast(b"one", Scope::Swarm);
    node.wait(ms(5));
    node.broadcast(b"two", Scope::Swarm);
    assert!(node.wait(ms(10)).announced(2).is_empty(), "held");
    node.down(3);
    assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
    node.broadcast(b"three", Scope::Swarm);
    node.wait(HELD);
    node.broadcast(b"four", Scope::Swarm);
    node.down(1);
    assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
}
