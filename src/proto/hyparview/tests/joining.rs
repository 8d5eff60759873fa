//! Joins and ForwardJoins: what one node does, and what it does not let itself be talked into.

use super::*;

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
            node.now = node.state.next_deadline().get().unwrap();
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
    assert!(node.state.next_deadline().get().unwrap() > node.now + secs(30));
}

/// It was met, and has begun anew since, where it knows nobody: nobody else may ever come to it.
#[test]
fn a_contact_that_is_named_again_is_looked_for_as_if_never_met() {
    let mut node = node_with([1, 2]);
    node.handle(Input::Join(vec![1]));
    node.handle(Input::PeerDisconnected(1));
    node.handle(Input::DialFailed(1));
    node.handle(Input::Join(vec![1]));
    node.handle(Input::DialFailed(1));
    let told = node.pass(secs(62));
    let sent = sent_to(&told, 1);
    assert!(sent.iter().any(|one| matches!(one, Message::Join(_))));
}

#[test]
fn ten_thousand_contacts_are_joined_a_few_at_a_time_and_not_all_remembered() {
    let mut node = Node::new(0, 1);
    let told = node.handle(Input::Join((1..=10_000).collect()));
    assert_eq!(sends(&told).len(), 128);
    let tried = (1..=10_000).filter(|one| node.state.joins.contains(one));
    assert_eq!(tried.count(), 1024);
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
    let mut node = node_with([1]);
    let told = node.recv(1, forward_join(9, 6));
    assert!(matches!(sent_to(&told, 9)[..], [m] if is_neighbor(m)));
}

/// A peer that comes and goes has nobody put out for it, nor told of it, but a few times.
#[test]
fn who_comes_and_goes_is_soon_taken_in_only_where_there_is_room() {
    let mut node = node_with(1..=5);
    let (mut put_out, mut told_of, mut refused) = (0, 0, 0);
    for _ in 0..100 {
        let told = node.recv(9, join());
        put_out += told.iter().filter(|t| matches!(t, Told::Down(_))).count();
        let sent = sends(&told);
        let forwards = sent
            .iter()
            .filter(|(_, message)| matches!(message, Message::ForwardJoin(_)));
        told_of += usize::from(forwards.count() > 0);
        refused += usize::from(sent_to(&told, 9).into_iter().any(is_disconnect));
        node.recv(9, disconnect(true));
        // Someone else takes the place that it leaves.
        for id in 1..=5 {
            node.recv(id, neighbor(Priority::Low));
        }
    }
    assert_eq!((put_out, told_of), (8, 8));
    assert_eq!(refused, 92);
    assert_eq!(node.counters.joins_limited, 92);

    // With room it is taken in, and nobody hears of it.
    let mut node = node_with(1..=3);
    for visit in 0..100 {
        let told = node.recv(9, join());
        assert!(node.state.is_active(&9));
        assert!(sent_to(&told, 9).into_iter().any(is_neighbor));
        assert_eq!(sent_to(&told, 1).len(), usize::from(visit < 8));
        node.recv(9, disconnect(true));
    }
    // And after a while it is as good as new.
    node.pass(secs(600));
    let told = node.recv(9, join());
    assert_eq!(sent_to(&told, 1).len(), 1);
}

#[test]
fn urgent_requests_again_and_again_put_nobody_out_either() {
    let mut node = node_with(1..=5);
    let mut put_out = 0;
    for _ in 0..100 {
        let told = node.recv(9, neighbor(Priority::High));
        put_out += told.iter().filter(|t| matches!(t, Told::Down(_))).count();
        node.recv(9, disconnect(true));
        for id in 1..=5 {
            node.recv(id, neighbor(Priority::Low));
        }
    }
    assert_eq!(put_out, 8);
    assert_eq!(node.active().len(), 5);
}

#[test]
fn a_neighbor_that_joins_on_and_on_is_answered_a_few_times() {
    let mut node = node_with([1, 2]);
    let answers = (0..100).filter(|_| !sends(&node.recv(1, join())).is_empty());
    assert_eq!(answers.count(), 7, "it came once before");
}
