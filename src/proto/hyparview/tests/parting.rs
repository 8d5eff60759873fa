//! Becoming neighbors, parting, leaving.

use super::*;

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
        // Those that are far apart are requests of their own.
        let most = if delay > 5_000 { 100 } else { 1 };
        assert!(
            (1..=most).contains(&answers),
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
            node.now = node.state.next_deadline().get().unwrap();
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
        let Some(deadline) = node.state.next_deadline().get() else {
            break;
        };
        node.now = deadline;
        node.timeout();
    }
    assert!(node.state.is_active(&1));
}
