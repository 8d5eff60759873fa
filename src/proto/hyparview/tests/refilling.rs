//! Replacing lost neighbors.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_candidate_is_tried_after_the_loss_of_neighbors() {
    let candidates: BTreeSet<u32> = (100..108).collect();
    for failure in 0..4 {
        let mut node = node_with(1..=5);
        node.recv(1, reply(candidates.clone()));
        let mut asked = BTreeSet::new();
        let mut told = Vec::new();
        for id in 1..=5 {
            told.extend(node.handle(Input::PeerDisconnected(id)));
        }
        for _ in 0..40 {
            asked.extend(sends(&told).into_iter().map(|(to, _)| to));
            told = match failure {
                0 => node.pass(ms(500)),
                kind => {
                    let held = node.record.held.iter().copied().collect::<Vec<_>>();
                    held.into_iter()
                        .flat_map(|id| match kind {
                            1 => node.handle(Input::DialFailed(id)),
                            2 => node.handle(Input::PeerDisconnected(id)),
                            _ => node.recv(id, disconnect(true)),
                        })
                        .collect()
                }
            };
        }
        assert!(asked.is_superset(&candidates), "{failure}: {asked:?}");
    }
}

#[test]
fn requests_that_are_not_answered_do_not_block_a_refill() {
    let mut node = node_with(1..=4);
    let mut asked = BTreeSet::new();
    for round in 0..6 {
        let first = 100 + round * 8;
        let mut told = node.recv(1, reply(first..first + 8));
        told.extend(node.pass(secs(1)));
        asked.extend(sends(&told).into_iter().map(|(to, _)| to));
    }
    // One slot, half a second each, no matter how many stay unanswered.
    assert!(asked.len() >= 10, "{asked:?}");
    assert!(node.record.held.len() <= 4 + 16);
    node.pass(secs(600));
    assert!(node.record.held.len() <= 4 + 16);
}

#[test]
fn free_slots_are_filled_at_the_same_time() {
    let mut node = node_with([1]);
    node.recv(1, reply(100..108));
    assert_eq!(node.record.held.len(), 5);
    for id in node.record.held.clone() {
        if id >= 100 {
            node.recv(id, neighbor(Priority::Low));
        }
    }
    assert_eq!(node.active().len(), 5);
}

#[test]
fn refusals_do_not_lead_to_a_storm() {
    let mut node = node_with([1]);
    let mut asked = 0;
    let mut told = node.recv(1, reply(100..108));
    let end = node.now + secs(600);
    while node.now < end {
        let requests: Vec<u32> = sends(&told)
            .into_iter()
            .filter(|(_, message)| is_neighbor(message))
            .map(|(to, _)| to)
            .collect();
        asked += requests.len();
        told = if requests.is_empty() {
            node.pass(secs(1))
        } else {
            let refusals = requests.into_iter();
            refusals
                .flat_map(|id| node.recv(id, disconnect(true)))
                .collect()
        };
    }
    // Eight candidates, ten minutes.
    assert!((60..200).contains(&asked), "{asked}");
}

#[test]
fn a_lost_neighbor_is_kept_and_asked_again_but_not_told_of() {
    let mut node = node_with(1..=5);
    node.handle(Input::PeerDisconnected(3));
    assert_eq!(node.passive(), [3]);
    let told = node.recv(1, shuffle(1, [1, 7], 1));
    let [Message::ShuffleReply(reply)] = sent_to(&told, 1)[..] else {
        panic!("{told:?}");
    };
    assert!(reply.nodes.iter().all(|node| node.id != 3));
    let told = node.pass(secs(3));
    assert!(sent_to(&told, 3).into_iter().any(is_neighbor));
}

#[test]
fn a_lost_neighbor_is_asked_urgently_at_the_next_shuffle() {
    let mut node = node_with(1..=5);
    node.handle(Input::PeerDisconnected(3));
    node.recv(6, neighbor(Priority::High));
    let told = node.pass(secs(63));
    assert!(matches!(
        sent_to(&told, 3)[..],
        [Message::Neighbor(Neighbor {
            priority: Priority::High,
            ..
        })]
    ));
}

#[test]
fn a_peer_that_is_never_reached_is_forgotten_in_the_end() {
    let mut node = node_with(1..=5);
    node.handle(Input::PeerDisconnected(3));
    for _ in 0..100 {
        node.pass(secs(30));
        node.handle(Input::DialFailed(3));
    }
    assert_eq!(node.passive(), []);
    assert_eq!(node.state.data.iter().len(), 0);
}

#[test]
fn two_nodes_with_a_free_slot_are_brought_together() {
    let mut full = node_with(1..=5);
    let told = full.recv(8, neighbor(Priority::Low));
    assert!(matches!(&told[..], [Told::Send(8, m)] if is_disconnect(m)));
    let told = full.recv(9, neighbor(Priority::Low));
    let [Told::Send(9, hint), Told::Send(9, last)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(*hint, reply([8]));
    assert!(is_disconnect(last));
    // Old news is no hint.
    full.pass(secs(61));
    let told = full.recv(7, neighbor(Priority::Low));
    assert_eq!(sent_to(&told, 7).len(), 1);

    let mut seeker = node_with(1..=4);
    seeker.recv(1, reply([10]));
    seeker.recv(1, reply(20..28));
    seeker.recv(10, reply([27]));
    let told = seeker.recv(10, disconnect(true));
    assert!(matches!(sent_to(&told, 27)[..], [m] if is_neighbor(m)));
}

#[test]
fn a_full_view_is_mixed_while_young_and_left_alone_later() {
    let swaps = |hours: u64| {
        let mut swaps = 0;
        for seed in 0..10 {
            let mut node = node_with_seed(seed, 1..=5);
            node.recv(1, reply(100..108));
            // An idle node has one deadline per shuffle interval.
            for interval in 0..60 * hours + 50 {
                node.now = node.state.next_deadline().get().unwrap();
                let told = node.timeout();
                let asked = sends(&told).into_iter().filter(|(_, m)| is_neighbor(m));
                for (id, _) in asked {
                    swaps += u32::from(interval >= 60 * hours);
                    node.recv(id, disconnect(true));
                }
            }
        }
        swaps
    };
    let (young, old) = (swaps(0), swaps(100));
    assert!((4..=20).contains(&young), "{young}");
    assert!(old <= 2, "{old}");
}

#[test]
fn a_young_node_does_without_a_neighbor_that_is_a_neighbors_neighbor() {
    let mut node = full_node();
    let told = node.recv(1, shuffle(1, [1, 3, 200], 1));
    let asked: Vec<u32> = sends(&told)
        .into_iter()
        .filter(|(_, message)| is_neighbor(message))
        .map(|(to, _)| to)
        .collect();
    let [other] = asked[..] else {
        panic!("one is asked: {asked:?}");
    };
    assert_eq!(node.active(), [1, 2, 3, 4, 5], "until it has answered");
    node.recv(other, neighbor(Priority::High));
    assert_eq!(node.active(), [1, 2, 4, 5, other]);
}

#[test]
fn neighbors_change_no_faster_than_others_shuffle() {
    let mut node = full_node();
    let mut asked = 0;
    for _ in 0..100 {
        for named in node.active() {
            let told = node.recv(5, shuffle(5, [5, named, 200], 1));
            let others = sends(&told).into_iter();
            asked += others.filter(|(_, message)| is_neighbor(message)).count();
        }
    }
    assert!((1..=6).contains(&asked), "{asked}");
}

#[test]
fn nobody_can_talk_us_out_of_our_neighbors() {
    let mut node = full_node();
    node.pass(secs(60 * 40));
    let mut asked = Vec::new();
    for _ in 0..100 {
        // Whoever is asked is a friend, and takes the place.
        for named in [1, 2, 3, 4] {
            let told = node.recv(5, shuffle(5, [5, named, 200], 1));
            let others = sends(&told).into_iter();
            let others = others.filter(|(_, message)| is_neighbor(message));
            for (to, _) in others.collect::<Vec<_>>() {
                node.recv(to, neighbor(Priority::High));
                asked.push(to);
            }
        }
    }
    assert!(asked.len() <= 6, "{asked:?}");
    assert_eq!(node.active()[..2], [1, 2], "the oldest stay");
}

/// Whom full nodes part with for a peer that they ask for a place at their next deadlines.
fn parted_with(seeds: u64, prepare: impl Fn(&mut Node)) -> BTreeSet<u32> {
    let parted = (0..seeds).filter_map(|seed| {
        let mut node = node_with_seed(seed, 1..=5);
        prepare(&mut node);
        let before: BTreeSet<u32> = node.active().into_iter().collect();
        assert_eq!(before.len(), 5);
        let asked = (0..50).find_map(|_| {
            node.now = node.state.next_deadline().get().unwrap();
            let told = node.timeout();
            let asked = sends(&told).into_iter().find(|(_, m)| is_neighbor(m));
            asked.map(|(id, _)| id)
        })?;
        node.recv(asked, neighbor(Priority::High));
        let now: BTreeSet<u32> = node.active().into_iter().collect();
        assert!(now.contains(&asked));
        before.difference(&now).next().copied()
    });
    parted.collect()
}

#[test]
fn anyone_may_go_for_whom_we_picked_ourselves() {
    let parted = parted_with(40, |node| {
        node.recv(1, reply(100..108));
    });
    assert_eq!(parted, BTreeSet::from([1, 2, 3, 4, 5]));
}

#[test]
fn the_oldest_stay_in_a_node_that_is_grown_up() {
    let parted = parted_with(200, |node| {
        node.recv(1, reply(100..108));
        node.pass(secs(60 * 40));
    });
    assert!(parted.is_subset(&BTreeSet::from([3, 4, 5])), "{parted:?}");
    assert!(!parted.is_empty(), "it still mixes, now and then");
}

#[test]
fn whoever_was_away_for_a_while_puts_out_none_of_the_oldest() {
    let parted = parted_with(40, |node| {
        node.handle(Input::PeerDisconnected(3));
        node.recv(6, neighbor(Priority::High));
    });
    assert_eq!(parted, BTreeSet::from([4, 5, 6]));
}

#[test]
fn a_node_that_knows_hardly_anyone_leaves_triangles_alone() {
    let mut node = node_with(1..=5);
    let told = node.recv(1, shuffle(1, [1, 3, 200], 1));
    assert!(!sends(&told).iter().any(|(_, message)| is_neighbor(message)));
}

#[test]
fn introduced_peers_that_refuse_us_do_not_keep_the_view_short() {
    let mut node = node_with(1..=4);
    node.recv(4, shuffle(4, 50..60, 0));
    let asked = |told: &[Told]| {
        let neighbors = sends(told).into_iter().filter(|(_, m)| is_neighbor(m));
        neighbors.map(|(to, _)| to).collect::<Vec<_>>()
    };
    let mut chosen = 0;
    // One of them is always under way.
    let mut under_way = asked(&node.recv(4, forward_join(999, 0)));
    for id in 1000..1025 {
        let mut refusing =
            std::mem::replace(&mut under_way, asked(&node.recv(4, forward_join(id, 0))));
        refusing.extend(asked(&node.pass(ms(400))));
        while let Some(one) = refusing.pop() {
            chosen += usize::from(one < 999);
            refusing.extend(asked(&node.recv(one, disconnect(true))));
        }
    }
    assert!(chosen >= 5, "{chosen} were asked of our own choice");
}
