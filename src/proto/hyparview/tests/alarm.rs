//! When many may have failed.

use super::*;

fn probed(node: &mut Node) -> Vec<u32> {
    std::mem::take(&mut node.record.probed)
}

#[test]
fn a_stranger_in_need_makes_a_full_view_probe_its_neighbors_once() {
    let mut node = node_with(1..=5);
    node.recv(9, neighbor(Priority::Low));
    assert_eq!(probed(&mut node), [1, 2, 3, 4, 5]);
    node.recv(10, neighbor(Priority::Low));
    assert!(probed(&mut node).is_empty(), "not every time");
    node.pass(secs(5));
    node.recv(10, neighbor(Priority::Low));
    assert_eq!(probed(&mut node).len(), 5);
}

#[test]
fn the_loss_of_a_neighbor_makes_a_node_probe_the_others() {
    let mut node = node_with(1..=5);
    node.handle(Input::PeerDisconnected(3));
    assert_eq!(probed(&mut node), [1, 2, 4, 5]);
}

#[test]
fn the_loss_of_two_neighbors_leads_to_one_survey_of_the_passive_view() {
    let mut node = node_with(1..=5);
    for first in [100, 110, 120] {
        node.recv(1, shuffle(1, first..first + 7, 1));
    }
    node.handle(Input::PeerDisconnected(4));
    assert_eq!(shuffles(&node.pass(secs(5))), 0, "one loss is no alarm");
    node.handle(Input::PeerDisconnected(2));
    let mut told = node.handle(Input::PeerDisconnected(3));
    told.extend(node.pass(secs(10)));
    let mut surveyed: Vec<u32> = sends(&told)
        .into_iter()
        .filter(|(_, m)| matches!(m, Message::Shuffle(s) if s.origin == 0 && s.ttl == Ttl(1)))
        .map(|(to, _)| to)
        .collect();
    let count = surveyed.len();
    surveyed.sort_unstable();
    surveyed.dedup();
    assert!(surveyed.len() == count && count >= 4, "{surveyed:?}");
    let known = node.passive().len();
    // Whoever is asked for a place as well may send one unasked.
    let asked = surveyed
        .iter()
        .find(|id| node.passive().contains(id) && !node.record.held.contains(id));
    node.recv(*asked.unwrap(), reply(200..204));
    assert!(node.passive().len() > known, "its answer is taken");
    node.recv(*asked.unwrap(), reply(300..304));
    assert!(!node.passive().contains(&300), "and no other");
}

#[test]
fn a_survey_is_answered_and_makes_us_probe() {
    let mut node = node_with(1..=5);
    let told = node.recv(9, shuffle(9, [9, 10, 11], 1));
    assert!(sent_to(&told, 9).iter().all(|m| !is_disconnect(m)));
    assert!(matches!(sent_to(&told, 9)[..], [Message::ShuffleReply(_)]));
    assert_eq!(probed(&mut node).len(), 5);
    assert!(node.passive().contains(&9));
}

#[test]
fn a_quiet_swarm_is_not_probed() {
    let mut node = node_with(1..=5);
    node.pass(secs(600));
    node.recv(1, disconnect(true));
    node.recv(2, shuffle(1, [1, 7, 8], 3));
    assert!(probed(&mut node).is_empty());
}

#[test]
fn many_failed_neighbors_do_not_push_out_who_may_live() {
    let mut node = full_node();
    let before = node.passive();
    for id in 1..=5 {
        node.handle(Input::PeerDisconnected(id));
    }
    let now = node.passive();
    let gone = before.iter().filter(|id| !now.contains(id));
    assert_eq!(gone.count(), 1, "for the first that failed");
}

#[test]
fn a_survey_asks_those_too_who_had_to_go_meanwhile() {
    let mut node = full_node();
    let mut told = node.handle(Input::PeerDisconnected(2));
    let before = node.passive();
    told.extend(node.handle(Input::PeerDisconnected(3)));
    for first in [200, 210, 220] {
        node.recv(1, shuffle(1, first..first + 7, 1));
    }
    let now = node.passive();
    assert!(before.iter().any(|id| !now.contains(id)));
    told.extend(node.pass(secs(15)));
    for id in before {
        assert!(!sent_to(&told, id).is_empty(), "{id} was forgotten");
    }
}
