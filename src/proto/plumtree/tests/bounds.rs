//! Everything that a peer can make grow has a bound.

use super::*;

fn fake_ihaves(numbers: std::ops::Range<u64>) -> Message {
    Message::IHave(
        numbers
            .map(|number| IHave {
                id: fake_id(number),
                round: Round::from(0),
            })
            .collect(),
    )
}

#[test]
fn ten_thousand_fake_announcements_leave_room_for_honest_ones() {
    let limits = Limits::default();
    let mut node = Node::among([1, 2, 3, 4, 5]);
    for start in (0..10_000).step_by(100) {
        node.recv(1, fake_ihaves(start..start + 100));
    }
    let waited_for = node.state.missing_ids();
    let share = limits.missing_ids / 2 / 5;
    assert_eq!(waited_for, limits.missing_ids / 2);
    assert_eq!(node.counters.missing_full, 10_000 - waited_for as u64);

    for peer in 2..=5u32 {
        let start = u64::from(peer) * 100_000;
        node.recv(peer, fake_ihaves(start..start + share as u64));
    }
    assert_eq!(
        node.state.missing_ids(),
        waited_for + 4 * share,
        "every other neighbor has its share"
    );
    assert!(node.state.missing_ids() <= limits.missing_ids);

    let output = node.wait(Duration::from_secs(10));
    let grafts = output.grafts().iter().filter(|(to, _)| *to == 1).count();
    assert_eq!(grafts, waited_for, "each is asked for once");
    assert_eq!(node.state.missing_ids(), 0);
    assert_eq!(node.eager().len(), 5);
    assert_eq!(node.state.next_deadline().get(), None);
}

#[test]
fn who_leaves_and_comes_back_has_no_second_share() {
    let limits = Limits::default();
    let mut node = Node::among([1, 2, 3, 4, 5]);
    for round in 0..20u64 {
        let start = round * 10_000;
        for start in (start..start + 3000).step_by(100) {
            node.recv(1, fake_ihaves(start..start + 100));
        }
        if round % 2 == 1 {
            // It has a friend, which announces the same.
            for start in (start..start + 3000).step_by(100) {
                node.recv(2, fake_ihaves(start..start + 100));
            }
        }
        node.down(1);
        node.up(1);
        assert!(node.state.missing_ids() <= limits.missing_ids);
        let first = [1, 2].map(|peer| {
            let neighbor = node.state.neighbors.find(&peer);
            neighbor.map_or(0, |one| one.announced_first as usize)
        });
        node.state.check_bounds();
        assert!(
            first[0] == 0 && first[1] <= limits.missing_ids / 2,
            "{first:?}"
        );
    }
    let before = node.counters.missing_full;
    for peer in 3..=5u32 {
        let start = 1_000_000 * u64::from(peer);
        for start in (start..start + 400).step_by(100) {
            node.recv(peer, fake_ihaves(start..start + 100));
        }
    }
    assert_eq!(
        node.counters.missing_full, before,
        "each other neighbor has its share"
    );
    node.wait(Duration::from_secs(10));
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn a_flood_of_fake_announcements_does_not_make_us_ask_without_end() {
    let limits = Limits {
        graft_replies_per_second: 100,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node.up(2);
    let mut to_liar = 0;
    let mut to_honest = Vec::new();
    for round in 0..100u64 {
        node.recv(1, fake_ihaves(round * 100..(round + 1) * 100));
        if round == 50 {
            node.recv(1, ihave(b"real", 0));
            node.recv(2, ihave(b"real", 0));
        }
        for (to, id) in node.wait(ms(10)).grafts() {
            match to {
                1 => to_liar += 1,
                _ => to_honest.push(id),
            }
        }
    }
    assert!((100..=200).contains(&to_liar), "{to_liar} in a second");
    assert_eq!(
        to_honest,
        [Some(id(b"real"))],
        "the honest one is not kept waiting behind it"
    );
}

#[test]
fn claims_per_message_are_bounded() {
    let limits = Limits {
        claims_per_id: 3,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    for peer in 1..=10 {
        node.up(peer);
    }
    for peer in 1..=10 {
        node.recv(peer, ihave(b"hello", 0));
        node.recv(peer, ihave(b"hello", 0));
    }
    assert_eq!(node.counters.claims_full, 14);
    assert_eq!(node.wait(Duration::from_secs(1)).grafts().len(), 3);
}

#[test]
fn claims_of_neighbors_that_have_left_make_room() {
    let mut node = Node::among([1, 2, 3, 4]);
    for _ in 0..5 {
        for peer in 1..=3 {
            node.recv(peer, ihave(b"hello", 0));
            node.down(peer);
            node.up(peer);
        }
    }
    for peer in 1..=3 {
        node.down(peer);
    }
    node.recv(4, ihave(b"hello", 0));
    assert_eq!(
        node.wait(Duration::from_secs(1)).grafts(),
        [(4, Some(id(b"hello")))]
    );
    assert_eq!(node.counters.claims_full, 0);
}

#[test]
fn a_room_for_one_is_room_for_one() {
    let limits = Limits {
        missing_ids: 1,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node.up(2);
    node.recv(1, fake_ihaves(0..5));
    node.recv(2, fake_ihaves(5..10));
    assert_eq!(node.state.missing_ids(), 1);
    assert_eq!(node.counters.missing_full, 9);
}

#[test]
fn a_thousand_grafts_of_strangers_cost_nothing() {
    let mut node = Node::among([1]);
    node.broadcast(b"hello", Scope::Swarm);
    for stranger in 100..1100 {
        assert!(node.recv(stranger, graft(b"hello")).sent.is_empty());
    }
    assert_eq!(node.counters.stranger_control, 1000);
    assert_eq!(node.eager(), [1]);
}

#[test]
fn answers_to_grafts_are_limited_for_each_neighbor() {
    let limits = Limits {
        graft_replies_per_second: 10,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node.up(2);
    node.broadcast(b"hello", Scope::Swarm);
    let answered = |node: &mut Node, peer| {
        let answers = (0..50).map(|_| node.recv(peer, graft(b"hello")).payloads().len());
        answers.sum::<usize>()
    };
    assert_eq!(answered(&mut node, 1), 10);
    assert_eq!(node.counters.graft_limited, 40);
    node.recv(1, Message::Prune);
    let output = node.recv(1, graft(b"hello"));
    assert_eq!(
        output.sent,
        [(1, ihave(b"hello", 0))],
        "it may ask again later"
    );
    assert_eq!(node.eager(), [1, 2], "without a payload, but eager");
    assert_eq!(answered(&mut node, 2), 10, "others have their own");
    node.down(1);
    node.up(1);
    assert_eq!(answered(&mut node, 1), 0, "coming up again buys nothing");
    node.wait(ms(500));
    assert_eq!(answered(&mut node, 1), 5);
}

#[test]
fn announcements_that_wait_are_bounded_and_the_oldest_give_way() {
    let limits = Limits {
        lazy_queue: 10,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    for peer in 1..=3 {
        node.up(peer);
    }
    node.recv(1, Message::Prune);
    for number in 0..20u8 {
        if number == 5 {
            node.recv(2, Message::Prune);
        }
        node.broadcast(&[number], Scope::Swarm);
    }
    assert_eq!(node.counters.lazy_queue_full, 10 + 5);
    let output = node.wait(ms(5));
    let expected: Vec<_> = (10..20u8).map(|number| id(&[number])).collect();
    for peer in [1, 2] {
        let announced: Vec<_> = output.announced(peer).iter().map(|one| one.id).collect();
        assert_eq!(announced, expected);
    }
}

#[test]
fn a_neighbor_that_comes_and_goes_leaves_nothing_behind() {
    let mut node = Node::new();
    node.broadcast(b"hello", Scope::Swarm);
    for _ in 0..1000 {
        node.up(1);
        node.up(1);
        node.recv(1, ihave(b"other", 0));
        node.down(1);
    }
    assert!(node.state.introductions.is_empty());
    node.up(1);
    assert_eq!(node.wait(ms(5)).announced(1).len(), 1);
    node.wait(ms(100));
    assert_eq!(node.state.missing_ids(), 0);
}

#[test]
fn who_may_not_be_asked_now_is_not_thought_of_all_the_time() {
    let limits = Limits {
        graft_replies_per_second: 100,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    for first in (0..4000).step_by(100) {
        node.recv(1, fake_ihaves(first..first + 100));
    }
    let missing = node.state.missing_ids();
    assert!(missing >= 2000);
    node.wait(ms(3_000));
    let tries = node.state.missing.put_off;
    assert!(tries <= 8 * missing, "{tries} tries for {missing} messages");
}

#[test]
fn what_waits_for_who_may_not_be_asked_does_not_wait_where_another_has_it() {
    let limits = Limits {
        graft_replies_per_second: 100,
        ..Limits::default()
    };
    let mut node = Node::with(Config::default(), &limits);
    node.up(1);
    node.up(2);
    for first in (0..400).step_by(100) {
        node.recv(1, fake_ihaves(first..first + 100));
    }
    node.recv(1, ihave(b"hello", 0));
    // All that may be asked of the first is used up with what it makes up.
    node.wait(ms(150));
    node.recv(2, ihave(b"hello", 0));
    let output = node.wait(ms(100));
    let asked = output.grafts().into_iter();
    assert!(
        asked
            .map(|(_, wanted)| wanted)
            .any(|one| one == Some(id(b"hello")))
    );
}
