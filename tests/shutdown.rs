//! Shutting down ends, however often and from wherever it is asked for.

mod common;

use common::{Node, id, topic, within};
use iroh::address_lookup::memory::MemoryLookup;

/// Rounds; each has the driver end somewhere else between the calls.
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_caller_gets_an_answer() {
    for round in 0..ROUNDS {
        let book = MemoryLookup::new();
        let first = Node::start(1, &book).await;
        let second = Node::start(2, &book).await;
        let mut there = first.subscribe(topic(1), &[]).await;
        let mut here = second.subscribe(topic(1), &[id(1)]).await;
        here.events.joined().await;
        there.events.joined().await;

        // Whoever was answered asks again at once, while the node may still be on its way out.
        let mut callers = Vec::new();
        for _ in 0..4 {
            let gossip = second.gossip.clone();
            callers.push(tokio::spawn(async move {
                let mut answers = 0;
                while gossip.shutdown().await.is_ok() {
                    answers += 1;
                }
                answers
            }));
        }
        let mut answers = 0;
        for caller in callers {
            let answered = within(format!("an answer in round {round}"), caller).await;
            answers += answered.expect("shutdown does not panic");
        }
        assert!(answers >= 1, "nobody was told in round {round}");
        within("the router", second.router.shutdown())
            .await
            .expect("the router ends");
        within("the farewell", there.events.down(id(2))).await;
        first.stop().await;
    }
}
