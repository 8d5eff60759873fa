//! Nodes come together, and come together again, without help from the application.
#![cfg(feature = "net")]

mod common;

use std::time::Duration;

use common::*;
use iroh::address_lookup::memory::MemoryLookup;
use smol_gossip::Gossip;

/// What a node may take to come together with another that is there.
const SOON: Duration = Duration::from_secs(5);

/// Who is dialed in vain is dialed again.
#[tokio::test]
async fn a_bootstrap_node_may_come_late() {
    let book = MemoryLookup::new();
    let second = Node::start(2, &book).await;
    let mut here = second.subscribe(topic(1), &[id(1)]).await;
    let failed = async {
        while second.gossip.metrics().actor_tick_dialer_failure.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a dial that fails", failed).await;
    let first = Node::start(1, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    here.events.up(id(1)).await;
    there.events.up(id(2)).await;
    talk(&mut here, &mut there, "coming late").await;
    end([(first, there), (second, here)]).await;
}

/// Asking for a peer again is not lost on a failed dial.
#[tokio::test]
async fn peers_can_be_joined_later() {
    let book = MemoryLookup::new();
    let second = Node::start(2, &book).await;
    let mut here = second.subscribe(topic(1), &[]).await;
    here.sender.join_peers(vec![id(1)]).await.expect("open");
    let failed = async {
        while second.gossip.metrics().actor_tick_dialer_failure.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a dial that fails", failed).await;
    let first = Node::start(1, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    here.sender.join_peers(vec![id(1)]).await.expect("open");
    before(SOON, "joined", here.events.up(id(1))).await;
    there.events.up(id(2)).await;
    end([(first, there), (second, here)]).await;
}

/// The joiner, or the one that it joins through.
#[tokio::test]
async fn either_may_subscribe_first() {
    for joiner_first in [false, true] {
        let book = MemoryLookup::new();
        let first = Node::start(1, &book).await;
        let second = Node::start(2, &book).await;
        let (mut there, mut here);
        if joiner_first {
            here = second.subscribe(topic(1), &[id(1)]).await;
            // The join has come, for a topic that is not there.
            let refused = async {
                while first.gossip.metrics().unknown_topic.get() == 0 {
                    tokio::task::yield_now().await;
                }
            };
            within("a join for nothing", refused).await;
            there = first.subscribe(topic(1), &[]).await;
        } else {
            there = first.subscribe(topic(1), &[]).await;
            here = second.subscribe(topic(1), &[id(1)]).await;
        }
        before(SOON, "joined", here.events.up(id(1))).await;
        before(SOON, "joined", there.events.up(id(2))).await;
        talk(&mut here, &mut there, "the order").await;
        end([(first, there), (second, here)]).await;
    }
}

/// A bootstrap node that leaves in peace and comes back is joined again, and the application of
/// the one that stayed does nothing for it.
#[tokio::test]
async fn a_bootstrap_node_may_come_back() {
    let [(first, there), (second, mut here)] = pair().await;
    drop(there);
    here.events.down(id(1)).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    before(SOON, "up", here.events.up(id(1))).await;
    before(SOON, "up", there.events.up(id(2))).await;
    talk(&mut here, &mut there, "coming back").await;
    end([(first, there), (second, here)]).await;
}

/// A node that misses a silent peer, and is missed by those that dial it, after two seconds.
async fn attentive_node(n: u8, book: &MemoryLookup) -> Node {
    let endpoint = endpoint(n, book).transport_config(attentive());
    let endpoint = endpoint.bind().await.expect("loopback is there");
    announce(&endpoint, book);
    Node::on(endpoint, Gossip::builder())
}

/// A node that is killed. It binds with the key of node 2 and joins the first where told so.
fn doomed(book: &MemoryLookup, joins: bool) -> Doomed {
    let book = book.clone();
    Doomed::start(async move || {
        let node = attentive_node(2, &book).await;
        let bootstrap = joins.then_some(id(1));
        let topic = node.subscribe(topic(1), bootstrap.as_slice()).await;
        (node, topic)
    })
}

/// The one that restarts dials, before QUIC would tell the other of the loss.
#[tokio::test]
async fn a_restart_is_noticed_before_the_loss() {
    let book = MemoryLookup::new();
    let first = Node::start(1, &book).await;
    let mut there = first.subscribe(topic(1), &[]).await;
    let second = doomed(&book, true);
    there.events.up(id(2)).await;
    second.kill();

    // The first does not know yet: QUIC would take fifteen seconds.
    let second = Node::start(2, &book).await;
    let mut here = second.subscribe(topic(1), &[id(1)]).await;
    before(SOON, "down", there.events.down(id(2))).await;
    before(SOON, "up", there.events.up(id(2))).await;
    before(SOON, "joined", here.events.up(id(1))).await;
    talk(&mut here, &mut there, "the restart").await;
    end([(first, there), (second, here)]).await;
}

/// The one that restarts does not dial, whoever had joined the other before.
#[tokio::test]
async fn a_restart_is_followed_by_who_stayed() {
    for restarted_had_joined in [true, false] {
        println!("the one that restarts had joined: {restarted_had_joined}");
        let book = MemoryLookup::new();
        let first = attentive_node(1, &book).await;
        let second = doomed(&book, restarted_had_joined);
        let bootstrap = (!restarted_had_joined).then_some(id(2));
        let mut there = first.subscribe(topic(1), bootstrap.as_slice()).await;
        there.events.up(id(2)).await;
        second.kill();

        let second = Node::start(2, &book).await;
        let mut here = second.subscribe(topic(1), &[]).await;
        there.events.down(id(2)).await;
        before(SOON, "up", there.events.up(id(2))).await;
        before(SOON, "up", here.events.up(id(1))).await;
        talk(&mut here, &mut there, "the restart").await;
        end([(first, there), (second, here)]).await;
    }
}
