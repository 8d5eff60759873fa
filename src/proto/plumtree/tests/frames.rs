//! No frame that we write is as large as the largest that may be read.

use postcard::experimental::serialized_size;

use super::*;
use crate::proto::MIN_MAX_MESSAGE_SIZE;

fn frame_len(message: &Message) -> usize {
    serialized_size(&crate::proto::Message::<u32>::Gossip(message.clone())).expect("it encodes")
}

#[test]
fn item_1_the_largest_content_fits_and_one_byte_more_does_not() {
    for max in (MIN_MAX_MESSAGE_SIZE..600)
        .chain(4090..4100)
        .chain(16_400..16_440)
        .chain([100_000, 1 << 21, (1 << 21) + 41])
    {
        let largest = max_content_size(max);
        assert!(frame_len(&payload(&vec![0; largest], u16::MAX)) < max);
        assert!(frame_len(&payload(&vec![0; largest + 1], u16::MAX)) >= max);
    }
    assert_eq!(max_content_size(DEFAULT_MAX_MESSAGE_SIZE), 4055);
    for tiny in 0..64 {
        assert!(max_content_size(tiny) <= tiny);
    }
}

#[test]
fn item_1_an_oversize_broadcast_changes_nothing() {
    let mut node = Node::among([1]);
    for scope in [Scope::Swarm, Scope::Neighbors] {
        assert!(node.broadcast(&[0; 4056], scope).sent.is_empty());
    }
    assert_eq!(node.counters.broadcast_too_large, 2);
    assert_eq!(node.state.seen_ids(), 0);
    assert_eq!(node.broadcast(&[0; 4055], Scope::Swarm).payloads(), [1]);
    assert_eq!(node.broadcast(&[0; 4054], Scope::Swarm).payloads(), [1]);
}

#[test]
fn item_1_a_round_that_grows_longer_does_not_outgrow_the_frame() {
    for round in [126, 127, 128, 16_383, 16_384, u16::MAX] {
        let mut node = Node::among([1, 2]);
        let output = node.recv(1, payload(&[0; 4055], round));
        assert_eq!(output.payloads(), [2]);
        assert!(frame_len(&output.sent[0].1) < DEFAULT_MAX_MESSAGE_SIZE);
    }
}

#[test]
fn item_2_what_cannot_be_sent_on_is_delivered_all_the_same() {
    let mut node = Node::among([1, 2, 3]);
    node.recv(3, Message::Prune);
    // The content of a frame of exactly the largest size.
    let content = [0; 4058];
    let message = payload(&content, 0);
    assert_eq!(frame_len(&message), DEFAULT_MAX_MESSAGE_SIZE);
    let output = node.recv(1, message.clone());
    assert_eq!(output.delivered.len(), 1);
    assert!(output.sent.is_empty());
    assert!(node.wait(ms(10)).sent.is_empty(), "nor announced");
    assert_eq!(node.counters.not_forwarded_too_large, 1);
    assert!(node.recv(2, graft(&content)).sent.is_empty());
    assert_eq!(node.counters.graft_unknown, 1);
    assert!(node.recv(2, message).delivered.is_empty(), "seen");
}

#[test]
fn announcements_are_cut_to_frames() {
    for max in [MIN_MAX_MESSAGE_SIZE, DEFAULT_MAX_MESSAGE_SIZE, 65_536] {
        let limits = Limits::default();
        let mut node = Node::new();
        node.state = State::new(0, settings(&Config::default(), &limits, max), keyed());
        node.up(1);
        node.up(2);
        node.recv(1, Message::Prune);
        for number in 0..2000u16 {
            node.recv(2, payload(&number.to_le_bytes(), u16::MAX));
        }
        let output = node.wait(ms(5));
        assert_eq!(output.announced(1).len(), 2000);
        let longest = output.sent.iter().map(|(_, message)| frame_len(message));
        let longest = longest.max().unwrap_or(0);
        assert!(
            longest < max && longest + 36 + 3 >= max,
            "{longest} of {max}"
        );
    }
}
