//! Shuffles, peer data, and what fits into a frame.

use super::*;

#[test]
fn an_idle_node_has_one_shuffle_deadline() {
    let mut node = node_with(1..=5);
    assert!(Node::new(0, 1).state.next_deadline().get().is_none());
    for _ in 0..10 {
        node.handle(Input::Join(vec![1]));
    }
    let mut wakes = 0;
    let mut told = Vec::new();
    let end = node.now + secs(6000);
    while let Some(deadline) = node.state.next_deadline().get().filter(|at| *at < end) {
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
fn a_neighbor_has_a_bounded_number_of_shuffles_sent_on() {
    let mut node = node_with(1..=5);
    let flood = |node: &mut Node| {
        let told: Vec<_> = (0..1000)
            .flat_map(|_| node.recv(1, shuffle(1, [1, 9], 6)))
            .collect();
        let relayed = sends(&told).into_iter();
        relayed
            .filter(|(_, message)| matches!(message, Message::Shuffle(_)))
            .count()
    };
    assert_eq!(flood(&mut node), 64);
    assert_eq!(node.counters.shuffle_not_relayed, 936);
    // There is room again after our own next one.
    node.now = node.state.next_deadline().get().expect("it shuffles");
    node.timeout();
    assert_eq!(flood(&mut node), 64);
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

#[test]
fn what_a_stranger_says_of_others_puts_nobody_out() {
    let mut node = full_node();
    let before = node.passive();
    for round in 0..50 {
        let made_up = 1000 + 10 * round;
        let nodes = std::iter::once(900).chain(made_up..made_up + 7);
        let told = node.recv(900, shuffle(900, nodes, 1));
        if round == 0 {
            let [Message::ShuffleReply(reply)] = sent_to(&told, 900)[..] else {
                panic!("{told:?}");
            };
            assert_eq!(reply.nodes.len(), 8, "it is answered all the same");
        }
    }
    let after = node.passive();
    let stayed = before.iter().filter(|id| after.contains(id)).count();
    assert!(stayed >= before.len() - 1, "{before:?}, {after:?}");
}

#[test]
fn what_others_say_of_a_peer_is_passed_on_and_not_remembered_in_place_of_its_own_word() {
    let mut node = node_with(2..=3);
    let introduced = ForwardJoin {
        peer: PeerInfo {
            id: 1,
            data: Some(data(8)),
        },
        ttl: Ttl(0),
    };
    let told = node.recv(2, Message::ForwardJoin(introduced));
    assert!(told.contains(&Told::Data(1, data(8))));
    let neighbor = Neighbor {
        priority: Priority::High,
        data: Some(data(8)),
    };
    let told = node.recv(1, Message::Neighbor(neighbor));
    assert!(
        told.contains(&Told::Data(1, data(8))),
        "this is its own word"
    );
    node.recv(1, disconnect(true));
    assert!(node.passive().contains(&1));
    let misleading = Shuffle {
        origin: 2,
        nodes: vec![PeerInfo {
            id: 1,
            data: Some(data(9)),
        }],
        ttl: Ttl(0),
    };
    let told = node.recv(2, Message::Shuffle(misleading));
    assert!(told.contains(&Told::Data(1, data(9))), "a dial tries it");
    assert_eq!(
        node.state.data.get(&1),
        Some(&data(8)),
        "others are told this"
    );
    node.recv(1, Message::Join(Some(data(10))));
    assert_eq!(node.state.data.get(&1), Some(&data(10)));
}
