//! One node at a time: what it answers, and what it does not let itself be talked into.

use super::*;

/// A node whose active view holds `neighbors`.
fn node_with(neighbors: impl IntoIterator<Item = u32>) -> Node {
    node_with_seed(0, neighbors)
}

fn node_with_seed(seed: u64, neighbors: impl IntoIterator<Item = u32>) -> Node {
    let mut node = Node::new(0, seed);
    node.handle(Input::Join(vec![]));
    for id in neighbors {
        node.recv(id, neighbor(Priority::High));
        assert!(node.state.is_active(&id));
    }
    node
}

fn data(len: usize) -> PeerData {
    PeerData::new(vec![7; len])
}

fn is_neighbor(message: &Message<u32>) -> bool {
    matches!(message, Message::Neighbor(_))
}

fn is_disconnect(message: &Message<u32>) -> bool {
    matches!(message, Message::Disconnect(_))
}

fn shuffles(told: &[Told]) -> usize {
    let sends = sends(told);
    let own = sends
        .iter()
        .filter(|(_, m)| matches!(m, Message::Shuffle(s) if s.origin == 0));
    own.count()
}

// --- joining ---

#[test]
fn a_failed_dial_is_retried_with_growing_waits_until_joined() {
    let mut node = Node::new(0, 1);
    let told = node.handle(Input::Join(vec![1]));
    assert!(matches!(sent_to(&told, 1)[..], [Message::Join(Some(_))]));
    let mut waits = Vec::new();
    for _ in 0..10 {
        let told = node.handle(Input::DialFailed(1));
        assert_eq!(told, [Told::Release(1)]);
        let failed = node.now;
        while sent_to(&node.timeout(), 1).is_empty() {
            node.now = node.state.next_deadline().unwrap();
        }
        waits.push(node.now - failed);
    }
    assert!(waits[0] < ms(500));
    assert!(waits.iter().all(|wait| *wait < secs(4)), "{waits:?}");
    assert!(waits[9] > 4 * waits[0], "{waits:?}");
    node.recv(1, neighbor(Priority::High));
    let told = node.pass(secs(600));
    assert!(
        !sends(&told)
            .iter()
            .any(|(_, m)| matches!(m, Message::Join(_)))
    );
}

#[test]
fn joining_again_after_a_failed_dial_dials_again_at_once() {
    let mut node = Node::new(0, 1);
    node.handle(Input::Join(vec![1]));
    for _ in 0..5 {
        node.handle(Input::DialFailed(1));
        let told = node.handle(Input::Join(vec![1]));
        assert!(matches!(sent_to(&told, 1)[..], [Message::Join(_)]));
    }
    // Also when there are other neighbors.
    node.recv(2, neighbor(Priority::High));
    node.handle(Input::DialFailed(1));
    let told = node.handle(Input::Join(vec![1]));
    assert!(matches!(sent_to(&told, 1)[..], [Message::Join(_)]));
}

#[test]
fn joining_through_a_neighbor_or_oneself_sends_nothing() {
    let mut node = node_with([1]);
    assert_eq!(node.handle(Input::Join(vec![1, 0])), []);
}

#[test]
fn a_contact_that_was_missed_is_looked_for_at_every_shuffle() {
    let mut node = Node::new(0, 1);
    node.handle(Input::Join(vec![1, 2]));
    node.recv(2, neighbor(Priority::High));
    node.handle(Input::DialFailed(1));
    let told = node.pass(secs(62));
    assert!(matches!(sent_to(&told, 1)[..], [Message::Join(_)]));
    node.handle(Input::DialFailed(1));
    assert!(node.state.next_deadline().unwrap() > node.now + secs(30));
}

#[test]
fn ten_thousand_contacts_are_joined_a_few_at_a_time_and_not_all_remembered() {
    let mut node = Node::new(0, 1);
    let told = node.handle(Input::Join((1..=10_000).collect()));
    assert_eq!(sends(&told).len(), 128);
    for id in node.record.held.clone() {
        node.handle(Input::DialFailed(id));
    }
    assert!(node.record.held.len() <= 128);
    node.recv(20_000, neighbor(Priority::High));
    for _ in 0..2_000 {
        for id in node.record.held.clone() {
            node.handle(Input::DialFailed(id));
        }
        node.pass(secs(1));
    }
    assert!(!node.state.joins.contains(&1));
}

#[test]
fn a_join_is_answered_and_passed_on() {
    let mut node = node_with([1, 2]);
    let told = node.recv(3, Message::Join(Some(data(8))));
    assert!(told.contains(&Told::Up(3)));
    assert!(matches!(
        sent_to(&told, 3)[..],
        [Message::Neighbor(Neighbor {
            priority: Priority::High,
            data: Some(_)
        })]
    ));
    for id in [1, 2] {
        let Message::ForwardJoin(forward) = sent_to(&told, id)[0] else {
            panic!("{told:?}");
        };
        assert_eq!(forward.ttl, Ttl(6));
        assert_eq!(forward.peer.data, Some(data(8)));
    }
}

#[test]
fn a_join_over_a_younger_link_is_a_restart() {
    let mut node = node_with([1, 2]);
    let told = node.recv_over(1, 1, join());
    assert!(matches!(&told[..], [Told::Send(1, m)] if is_neighbor(m)));
    let told = node.recv_over(0, 1, join());
    assert!(matches!(&told[..], [Told::Send(1, m)] if is_neighbor(m)));
    let told = node.recv_over(2, 1, join());
    assert_eq!(told[..2], [Told::Down(1), Told::Up(1)]);
    assert!(sent_to(&told, 1).into_iter().any(is_neighbor));
    let told = node.recv_over(2, 1, join());
    assert!(matches!(&told[..], [Told::Send(1, m)] if is_neighbor(m)));
}

#[test]
fn a_neighbor_dropped_for_a_joiner_learns_where_to_go() {
    let mut node = node_with(1..=5);
    let told = node.recv(6, join());
    let down = told.iter().find_map(|t| match t {
        Told::Down(id) => Some(*id),
        Told::Send(..) | Told::Up(_) | Told::Data(..) | Told::Hold(_) | Told::Release(_) => None,
    });
    let down = down.unwrap();
    assert!(matches!(
        sent_to(&told, down)[..],
        [
            Message::ShuffleReply(_),
            Message::Disconnect(Disconnect { alive: true, .. })
        ]
    ));
    assert!(node.passive().contains(&down));
}

#[test]
fn twenty_sybil_joins_leave_two_honest_neighbors() {
    for seed in 0..20 {
        for honest in 2..=5 {
            let mut node = node_with_seed(seed, 1..=honest);
            let mut dials = BTreeSet::new();
            for sybil in 100..120 {
                for told in node.recv(sybil, join()) {
                    if let Told::Hold(id) = told {
                        dials.insert(id);
                    }
                }
            }
            let left = node.active().into_iter().filter(|id| *id <= honest).count();
            assert!(left >= 2);
            assert!(dials.iter().all(|id| (100..120).contains(id)));
        }
    }
}

#[test]
fn forward_joins_that_name_the_receiver_or_come_from_strangers_do_nothing() {
    let mut node = node_with(1..=5);
    assert_eq!(node.recv(1, forward_join(0, 6)), []);
    assert_eq!(node.recv(1, forward_join(0, 0)), []);
    let told = node.recv(9, forward_join(8, 0));
    assert!(matches!(&told[..], [Told::Send(9, m)] if is_disconnect(m)));
    assert_eq!(node.counters.bogus_introduction, 3);
    assert_eq!(node.passive(), []);
}

#[test]
fn made_up_introductions_dial_a_bounded_number_of_peers() {
    let mut node = node_with(1..=5);
    for id in 1000..2000 {
        node.recv(1, forward_join(id, 0));
    }
    assert_eq!(node.record.held.len(), 5 + 4);
    assert_eq!(node.counters.pending_full, 996);
    for from in 2..=5 {
        for id in 2000..3000 {
            node.recv(from, forward_join(id + from * 1000, 0));
        }
    }
    assert_eq!(node.record.held.len(), 5 + 16);
    // None of them ever answers: nothing stays behind.
    node.pass(secs(30));
    assert_eq!(node.record.held.len(), 5);
}

#[test]
fn a_forward_join_walks_on_and_never_back() {
    let mut node = node_with(1..=5);
    for _ in 0..50 {
        let told = node.recv(1, forward_join(9, u16::MAX));
        let [(to, Message::ForwardJoin(forward))] = sends(&told)[..] else {
            panic!("{told:?}");
        };
        assert!([2, 3, 4, 5].contains(&to));
        assert_eq!(forward.ttl, Ttl(5), "a larger time to live buys nothing");
    }
    assert_eq!(node.passive(), []);
    node.recv(1, forward_join(9, 3));
    assert_eq!(node.passive(), [9]);
    // At the end of the walk the new node is asked, and is no neighbor before it answers.
    let told = node.recv(1, forward_join(9, 0));
    assert!(matches!(sent_to(&told, 9)[..], [m] if is_neighbor(m)));
    assert!(!node.state.is_active(&9));
    node.recv(9, neighbor(Priority::High));
    assert!(node.state.is_active(&9));
}

#[test]
fn a_forward_join_with_nowhere_to_go_ends_the_walk() {
    let mut config = Config::default();
    config.active_random_walk_length = Ttl(6);
    let mut node = Node::with(0, 1, config, Limits::default(), 4096);
    node.handle(Input::Join(vec![]));
    node.recv(1, neighbor(Priority::High));
    let told = node.recv(1, forward_join(9, 6));
    assert!(matches!(sent_to(&told, 9)[..], [m] if is_neighbor(m)));
}

// --- neighbors ---

#[test]
fn only_urgent_requests_displace_a_neighbor() {
    let mut node = node_with(1..=5);
    let told = node.recv(6, neighbor(Priority::Low));
    assert!(matches!(
        &told[..],
        [Told::Send(
            6,
            Message::Disconnect(Disconnect { alive: true, .. })
        )]
    ));
    let told = node.recv(6, neighbor(Priority::High));
    assert!(told.contains(&Told::Up(6)));
    assert_eq!(node.active().len(), 5);
}

#[test]
fn two_nodes_never_answer_each_other_for_ever() {
    // The slowest and the fastest answers, late or not, from either side.
    for delay in [1, 400, 600, 3_000, 6_000, 60_000] {
        let mut node = node_with([1]);
        let mut answers = 0;
        for _ in 0..100 {
            let told = node.recv(2, neighbor(Priority::Low));
            let count = sent_to(&told, 2).len();
            answers += count;
            if count == 0 {
                break;
            }
            node.pass(ms(delay));
        }
        assert!(
            answers == 1 || delay > 5_000,
            "{answers} answers at {delay} ms"
        );
    }
}

#[test]
fn a_disconnect_is_never_answered() {
    let mut node = node_with(1..=2);
    for alive in [true, false] {
        for id in [1, 2, 3] {
            let told = node.recv(id, disconnect(alive));
            assert!(sent_to(&told, id).is_empty());
        }
    }
}

#[test]
fn a_peer_that_leaves_is_forgotten_and_one_that_parts_is_remembered() {
    let mut node = node_with(1..=5);
    node.recv(1, disconnect(true));
    assert_eq!(node.passive(), [1]);
    node.recv(2, disconnect(false));
    assert_eq!(node.passive(), [1]);
    node.recv(1, disconnect(false));
    assert_eq!(node.passive(), []);
}

#[test]
fn a_low_request_granted_too_late_is_undone() {
    let mut node = node_with(1..=4);
    node.recv(1, reply([10]));
    assert!(node.record.held.contains(&10));
    node.recv(6, neighbor(Priority::High));
    let told = node.recv(10, neighbor(Priority::Low));
    assert!(sent_to(&told, 10).into_iter().any(is_disconnect));
    assert!(!node.record.held.contains(&10));
}

#[test]
fn a_late_answer_that_finds_room_is_welcome() {
    let mut node = node_with([1]);
    node.recv(1, reply([10]));
    node.pass(ms(1700));
    let told = node.recv(10, neighbor(Priority::Low));
    assert!(told.contains(&Told::Up(10)));
    assert!(sent_to(&told, 10).is_empty(), "{told:?}");
}

// --- refill ---

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
    assert_eq!(node.state.data.len(), 0);
}

// --- shuffling ---

#[test]
fn an_idle_node_has_one_shuffle_deadline() {
    let mut node = node_with(1..=5);
    assert!(Node::new(0, 1).state.next_deadline().is_none());
    for _ in 0..10 {
        node.handle(Input::Join(vec![1]));
    }
    let mut wakes = 0;
    let mut told = Vec::new();
    let end = node.now + secs(6000);
    while let Some(deadline) = node.state.next_deadline().filter(|at| *at < end) {
        node.now = deadline;
        told.extend(node.timeout());
        wakes += 1;
    }
    assert!((97..=103).contains(&wakes), "{wakes}");
    assert_eq!(shuffles(&told), wakes);
}

#[test]
fn a_call_too_early_does_nothing() {
    let mut node = node_with([1]);
    node.recv(1, reply(100..108));
    node.now += ms(499);
    assert_eq!(node.timeout(), []);
    node.now += ms(1);
    assert_ne!(node.timeout(), []);
}

#[test]
fn shuffles_walk_on_and_are_answered_at_the_end() {
    let mut node = node_with(1..=3);
    let told = node.recv(1, shuffle(9, [9, 10], u16::MAX));
    let [(to, Message::Shuffle(forwarded))] = sends(&told)[..] else {
        panic!("{told:?}");
    };
    assert!([2, 3].contains(&to));
    assert_eq!(forwarded.ttl, Ttl(5));
    for ttl in [0, 1] {
        let told = node.recv(1, shuffle(9, [9, 10], ttl));
        assert!(matches!(
            sent_to(&told, 9)[..],
            [Message::ShuffleReply(_), ..]
        ));
    }
    assert!(node.passive().contains(&10));
}

#[test]
fn spoofed_shuffle_origins_cause_a_bounded_number_of_dials() {
    let mut node = node_with(1..=5);
    let mut replies = 0;
    for origin in 1000..2000 {
        let told = node.recv(1, shuffle(origin, [], 1));
        replies += sends(&told).len();
    }
    assert_eq!(replies, 16);
    assert_eq!(node.counters.shuffle_excess, 984);
    // Our own name, and names that come from strangers, go nowhere.
    assert_eq!(node.recv(1, shuffle(0, [1], 1)), []);
    let told = node.recv(77, shuffle(78, [78], 1));
    assert!(matches!(&told[..], [Told::Send(77, m)] if is_disconnect(m)));
    assert_eq!(node.counters.bogus_introduction, 2);
}

#[test]
fn a_reply_nobody_asked_for_is_ignored_and_a_long_one_is_cut() {
    let mut node = node_with(1..=5);
    assert_eq!(node.recv(99, reply(1000..1120)), []);
    assert_eq!(node.passive(), []);
    assert_eq!(node.counters.shuffle_unsolicited, 1);
    node.recv(1, reply(1000..1120));
    assert_eq!(node.passive().len(), 8);
    assert_eq!(node.counters.shuffle_excess, 112);
    // One stranger may answer each of our Shuffles.
    node.pass(secs(61));
    node.recv(98, reply(2000..2001));
    node.recv(99, reply(3000..3001));
    assert!(node.passive().contains(&2000));
    assert!(!node.passive().contains(&3000));
}

#[test]
fn the_passive_view_makes_room_as_the_paper_says() {
    let mut node = node_with(1..=5);
    for first in [100, 108, 116, 124] {
        node.recv(1, reply(first..(first + 8).min(130)));
    }
    assert_eq!(node.passive().len(), 30);
    // What we have just told the other side goes first.
    let told = node.recv(1, shuffle(1, [1, 500, 501, 502], 1));
    let [Message::ShuffleReply(sent)] = sent_to(&told, 1)[..] else {
        panic!("{told:?}");
    };
    let gone = sent
        .nodes
        .iter()
        .filter(|n| !node.passive().contains(&n.id));
    assert_eq!(gone.count(), 3);
    assert!([500, 501, 502].iter().all(|id| node.passive().contains(id)));
}

#[test]
fn suspects_make_room_first_but_not_all_of_them() {
    let mut node = node_with(1..=5);
    for first in [100, 108, 116, 124] {
        node.recv(1, reply(first..(first + 8).min(130)));
    }
    for id in 2..=5 {
        node.handle(Input::PeerDisconnected(id));
    }
    for _ in 0..20 {
        for id in node.record.held.clone() {
            if id != 1 {
                node.handle(Input::DialFailed(id));
            }
        }
    }
    for round in 0..20 {
        node.pass(ms(10));
        node.recv(1, reply((0..8).map(|n| 1000 + round * 8 + n)));
    }
    let old = node.passive().iter().filter(|id| **id < 1000).count();
    assert!((5..=10).contains(&old), "{old}");
}

// --- peer data and frames ---

#[test]
fn peer_data_is_bounded_and_told_when_it_is_new() {
    let mut node = node_with([1]);
    let told = node.recv(2, Message::Join(Some(data(1024))));
    assert!(told.contains(&Told::Data(2, data(1024))));
    let told = node.recv(2, Message::Join(Some(data(1024))));
    assert!(!told.iter().any(|t| matches!(t, Told::Data(..))));
    let told = node.recv(2, Message::Join(Some(data(1025))));
    assert!(!told.iter().any(|t| matches!(t, Told::Data(..))));
    assert_eq!(node.counters.peer_data_too_large, 1);
    let told = node.recv(3, Message::Join(Some(data(4000))));
    let Message::ForwardJoin(forward) = sent_to(&told, 1)[0] else {
        panic!("{told:?}");
    };
    assert_eq!(forward.peer.data, None);
    assert!(node.state.is_active(&3), "only the data is refused");
    assert!(
        node.recv(4, Message::Join(Some(data(0))))
            .iter()
            .all(|t| !matches!(t, Told::Data(..)))
    );
}

#[test]
fn samples_are_trimmed_to_a_frame() {
    // The record fails on any message that does not fit.
    for max_message_size in [512, 600, 4096] {
        let limits = Limits {
            peer_data_bytes: usize::MAX,
            ..Default::default()
        };
        let mut node = Node::with(0, 1, Config::default(), limits, max_message_size);
        let large = data(max_message_size / 4);
        node.handle(Input::UpdatePeerData(large.clone()));
        node.handle(Input::Join(vec![]));
        for id in 1..=5 {
            node.recv(id, Message::Join(Some(large.clone())));
        }
        let nodes = (100..108).map(|id| PeerInfo {
            id,
            data: Some(large.clone()),
        });
        let nodes: Vec<_> = nodes.collect();
        node.recv(
            1,
            Message::ShuffleReply(ShuffleReply {
                nodes: nodes.clone(),
            }),
        );
        let told = node.pass(secs(61));
        let own = sends(&told)
            .into_iter()
            .find_map(|(_, message)| match message {
                Message::Shuffle(shuffle) => Some(shuffle.clone()),
                Message::Join(_)
                | Message::ForwardJoin(_)
                | Message::ShuffleReply(_)
                | Message::Neighbor(_)
                | Message::Disconnect(_) => None,
            });
        let own = own.unwrap();
        assert_eq!(own.nodes[0].id, 0, "the origin is always named");
        assert_eq!(own.nodes.len(), 8, "data goes before peers");
        for ttl in [6, 1] {
            let message = Message::Shuffle(Shuffle {
                origin: 100,
                nodes: nodes.clone(),
                ttl: Ttl(ttl),
            });
            let told = node.recv(1, message);
            assert!(!sends(&told).is_empty());
        }
        node.handle(Input::Quit);
    }
}

#[test]
fn our_own_data_is_left_out_when_it_is_too_large() {
    let mut node = Node::new(0, 1);
    node.handle(Input::UpdatePeerData(data(1025)));
    let told = node.handle(Input::Join(vec![1]));
    assert_eq!(
        sent_to(&told, 1),
        [&Message::Join(Some(PeerData::default()))]
    );
}

#[test]
fn changed_data_reaches_a_neighbor_with_the_next_shuffle() {
    let mut node = node_with([1]);
    let own = PeerInfo {
        id: 1,
        data: Some(data(9)),
    };
    let message = Message::Shuffle(Shuffle {
        origin: 1,
        nodes: vec![own],
        ttl: Ttl(6),
    });
    let told = node.recv(1, message);
    assert!(told.contains(&Told::Data(1, data(9))));
}

// --- leaving ---

#[test]
fn quitting_takes_leave_of_everyone_and_holds_nobody() {
    let mut node = node_with(1..=3);
    node.recv(1, reply([10, 11]));
    node.handle(Input::Join(vec![20]));
    let told = node.handle(Input::Quit);
    assert!(node.record.held.is_empty());
    assert!(node.record.neighbors.is_empty());
    for id in [1, 2, 3, 10, 11, 20] {
        let sent = sent_to(&told, id);
        let Some(Message::Disconnect(last)) = sent.last() else {
            panic!("{id}: {sent:?}");
        };
        assert!(!last.alive);
    }
}

#[test]
fn tiny_views_work() {
    for (active, passive) in [(0, 0), (1, 0), (1, 1), (2, 1), (0, 5)] {
        let config = Config {
            active_view_capacity: active,
            passive_view_capacity: passive,
            shuffle_interval: Duration::ZERO,
            neighbor_request_timeout: Duration::ZERO,
            ..Default::default()
        };
        let mut node = Node::with(0, 1, config, Limits::default(), 4096);
        node.handle(Input::Join(vec![1]));
        for id in 1..5 {
            node.recv(id, join());
            node.recv(id, neighbor(Priority::High));
            node.recv(id, forward_join(id + 10, 0));
            node.recv(id, shuffle(id, [id, id + 20], 6));
        }
        for _ in 0..100 {
            node.now = node.state.next_deadline().unwrap();
            node.timeout();
        }
    }
}

#[test]
fn views_agree_after_quick_leaving_and_coming_back() {
    let mut node = node_with([1]);
    for link in 2..100 {
        node.recv_over(link, 1, disconnect(false));
        assert!(!node.state.is_active(&1));
        let told = node.recv_over(link, 1, join());
        assert!(told.contains(&Told::Up(1)));
    }
    assert_eq!(node.record.held.len(), 1);
}

#[test]
fn times_saturate() {
    let config = Config {
        shuffle_interval: Duration::MAX,
        neighbor_request_timeout: Duration::MAX,
        active_random_walk_length: Ttl(u16::MAX),
        shuffle_random_walk_length: Ttl(u16::MAX),
        shuffle_active_view_count: usize::MAX,
        shuffle_passive_view_count: usize::MAX,
        ..Default::default()
    };
    let mut node = Node::with(0, 1, config, Limits::default(), 4096);
    node.handle(Input::Join(vec![1]));
    node.recv(1, neighbor(Priority::High));
    node.recv(1, reply(100..120));
    node.recv(100, disconnect(true));
    node.recv(1, forward_join(3, u16::MAX));
    node.recv(1, shuffle(3, [4], u16::MAX));
    for _ in 0..10 {
        node.now = node.state.next_deadline().unwrap();
        node.timeout();
    }
}
