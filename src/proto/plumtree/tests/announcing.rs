//! When announcements go out.

use std::collections::VecDeque;

use super::*;

/// What waits at most, where messages follow each other.
const HELD: Duration = Duration::from_millis(200);

/// A node with an eager and a lazy neighbor, 1 and 2.
fn node() -> Node {
    node_at(start())
}

/// The same, where the neighbors came up at this time.
fn node_at(now: At) -> Node {
    let mut node = Node::new();
    node.now = now;
    node.up(1);
    node.up(2);
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

/// Messages with these numbers, as 1 brings them.
fn brought(node: &mut Node, numbers: std::ops::Range<u32>) {
    for number in numbers {
        node.recv(1, payload(&number.to_be_bytes(), 3));
    }
}

fn all_ihaves(numbers: std::ops::Range<u32>) -> Message {
    let ihaves = numbers.map(|number| IHave {
        id: id(&number.to_be_bytes()),
        round: Round::from(3),
    });
    Message::IHave(ihaves.collect())
}

#[test]
fn what_a_neighbor_has_announced_is_not_announced_to_it() {
    let mut node = node();
    node.up(3);
    node.recv(3, Message::Prune);
    brought(&mut node, 0..10);
    node.recv(2, all_ihaves(0..9));
    let output = node.wait(HELD + HELD);
    assert_eq!(output.announced(3).len(), 10);
    assert_eq!(
        output.announced(2),
        [IHave {
            id: id(&9u32.to_be_bytes()),
            round: Round::from(4)
        }]
    );
}

#[test]
fn who_announces_first_is_left_to_it_until_it_does_not() {
    let mut node = node();
    let mut frames = 0;
    for number in 0..100u32 {
        brought(&mut node, number..number + 1);
        frames += node.wait(ms(20)).announced(2).len();
        if number % 8 == 7 {
            node.recv(2, all_ihaves(number - 7..number + 1));
        }
        if number == 7 {
            frames = 0;
        }
    }
    assert_eq!(frames, 0, "the neighbor was always the first");
    // From here on it says nothing.
    for number in 100..200u32 {
        brought(&mut node, number..number + 1);
        let announced = node.wait(ms(20)).announced(2).len();
        frames += usize::from(announced > 0);
    }
    node.wait(HELD);
    assert!((10..=13).contains(&frames), "{frames} frames");
}

#[test]
fn one_of_two_whose_announcements_cross_gives_way() {
    let mut nodes = [0, 12_345].map(|nanos| node_at(start() + Duration::from_nanos(nanos)));
    let mut sent = Vec::new();
    for number in 0..500u32 {
        for node in &mut nodes {
            brought(node, number..number + 1);
        }
        let said = nodes.each_mut().map(|node| node.wait(ms(20)).sent);
        for (from, said) in said.into_iter().enumerate() {
            for (to, message) in said {
                assert_eq!(to, 2);
                sent.push((number, from));
                nodes[1 - from].recv(2, message);
            }
        }
    }
    let late = sent.iter().filter(|(number, _)| *number >= 100).count();
    // Eight seconds, one frame from one of them with every eighth message.
    assert!((48..=54).contains(&late), "{late} frames");
}

/// Messages come in pairs, with pauses in which what is held goes out, and announcements are on their way for
/// a while.
#[test]
fn one_of_two_gives_way_where_links_are_long() {
    let (step, latency, between) = (ms(2), 15, 500);
    let mut nodes = [0, 12_345].map(|nanos| node_at(start() + Duration::from_nanos(nanos)));
    let mut under_way: VecDeque<(u32, usize, Message)> = VecDeque::new();
    let mut late = 0;
    for tick in 0..60 * between {
        let pair = tick / between;
        let number = match tick % between {
            0 => Some(2 * pair),
            3 => Some(2 * pair + 1),
            _ => None,
        };
        while under_way.front().is_some_and(|(due, ..)| *due <= tick)
            && let Some((_, to, message)) = under_way.pop_front()
        {
            let node: &mut Node = &mut nodes[to];
            node.recv(2, message);
        }
        for (from, node) in nodes.iter_mut().enumerate() {
            if let Some(number) = number {
                brought(node, number..number + 1);
            }
            for (_, message) in node.wait(step).sent {
                under_way.push_back((tick + latency, 1 - from, message));
                late += usize::from(pair >= 30);
            }
        }
    }
    // Two frames for each pair.
    assert!((60..=66).contains(&late), "{late} frames");
}

#[test]
fn nothing_is_held_for_longer_than_its_payload_is_kept() {
    let config = Config {
        dispatch_timeout: Duration::from_secs(1),
        ..Config::default()
    };
    let mut node = Node::with(config, &Limits::default());
    node.up(1);
    node.up(2);
    node.recv(2, Message::Prune);
    brought(&mut node, 0..1);
    assert_eq!(node.wait(Duration::from_secs(1)).announced(2).len(), 1);
    brought(&mut node, 1..2);
    assert_eq!(node.wait(Duration::from_secs(1)).announced(2).len(), 1);
    node.recv(2, all_ihaves(0..1));
    brought(&mut node, 2..3);
    assert_eq!(node.wait(Duration::from_secs(2)).announced(2).len(), 1);
}

#[test]
fn who_was_eager_meanwhile_has_to_announce_anew() {
    let mut node = node();
    brought(&mut node, 0..5);
    node.recv(2, all_ihaves(0..5));
    node.recv(
        2,
        Message::Graft(Graft {
            id: None,
            round: Round::from(0),
        }),
    );
    node.recv(2, Message::Prune);
    brought(&mut node, 5..6);
    assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
}

#[test]
fn who_has_sent_a_payload_is_not_told_of_it() {
    let mut node = node();
    brought(&mut node, 0..3);
    node.recv(2, payload(&1u32.to_be_bytes(), 3));
    let told: Vec<_> = node
        .wait(HELD)
        .announced(2)
        .iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(told, [0u32, 2].map(|number| id(&number.to_be_bytes())));
}

#[test]
fn who_is_left_to_announce_is_told_at_once_when_a_neighbor_is_lost() {
    let mut node = node();
    node.up(3);
    brought(&mut node, 0..5);
    node.recv(2, all_ihaves(0..5));
    brought(&mut node, 5..6);
    assert!(node.wait(ms(100)).announced(2).is_empty(), "left to it");
    node.down(3);
    assert_eq!(node.wait(ms(5)).announced(2).len(), 1);
    assert!(node.wait(HELD + HELD).sent.is_empty());
}

#[test]
fn what_is_left_to_others_is_bounded() {
    let limits = Limits {
        lazy_queue: 64,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node.up(2);
    node.recv(2, Message::Prune);
    brought(&mut node, 0..8);
    node.recv(2, all_ihaves(0..8));
    let mut announced = 0;
    for number in 8..1000 {
        brought(&mut node, number..number + 1);
        announced += node.wait(ms(1)).announced(2).len();
    }
    announced += node.wait(HELD).announced(2).len();
    assert_eq!(announced, 1000 - 8);
    assert_eq!(node.counters.lazy_queue_full, 0);
}

#[test]
fn what_was_left_to_a_neighbor_is_told_when_it_is_not_left_to_it_any_more() {
    for crossing in 0..8 {
        let mut node = node();
        brought(&mut node, 0..8);
        node.recv(2, all_ihaves(0..8));
        brought(&mut node, 8..9);
        assert!(node.wait(ms(100)).announced(2).is_empty(), "left to it");
        // Whether it stays so is drawn.
        node.recv(2, all_ihaves(crossing..crossing + 1));
        assert_eq!(node.wait(HELD).announced(2).len(), 1);
    }
}

#[test]
fn nothing_is_due_once_all_was_announced_by_others() {
    let mut node = node();
    node.up(3);
    brought(&mut node, 0..8);
    node.recv(2, all_ihaves(0..8));
    node.wait(HELD);
    brought(&mut node, 8..9);
    // In a hurry, since a neighbor is lost; but what there is to say is said by the other end.
    node.down(3);
    node.recv(2, all_ihaves(8..9));
    let due = node.state.lazy_push.due();
    assert_eq!(due.get(), None);
    assert!(node.wait(HELD + HELD).announced(2).is_empty());
}
