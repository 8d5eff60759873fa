//! How many OS threads a node takes: with edge and with tokio's current-thread runtime none but
//! the one that it runs on, with smol one more.
//!
//! The threads of a process are counted in a child process of one test, before there is a node and
//! while two of them are connected and idle; the test harness has its own, and they are the same
//! both times.
#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::{fs, time::Duration};

use common::{child::in_child, *};
use futures_lite::future;
use iroh::address_lookup::memory::MemoryLookup;
use smol_gossip::{
    Gossip,
    net::Driver,
    runtime::{Context, Runtime, SmolRuntime, TokioRuntime, edge},
};

/// OS threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task")
        .expect("this is Linux")
        .count()
}

/// Runs two nodes that meet, and waits until there are only `count` threads, since tokio keeps a
/// thread for blocking work for a moment after that is done.
async fn meet_on_threads(
    count: usize,
    context: Context,
    runtime: impl Runtime + Clone + Unpin,
    spawn: impl Fn(Driver),
) {
    let book = MemoryLookup::new();
    let mut nodes = Vec::new();
    let mut topics = Vec::new();
    for n in 1..=2 {
        let endpoint = context.wrap(bind(n, &book)).await;
        let builder = Gossip::builder().accept_incoming(true);
        let node = builder.build(endpoint.clone(), runtime.clone());
        let (gossip, driver) = node.expect("a context");
        spawn(driver);
        let bootstrap = (n > 1).then_some(id(1));
        topics.push(
            context
                .wrap(subscribe(&gossip, topic(1), bootstrap.as_slice()))
                .await,
        );
        nodes.push((gossip, endpoint));
    }
    for (topic, other) in topics.iter_mut().zip([id(2), id(1)]) {
        context.wrap(topic.events.up(other)).await;
        topic.broadcast(format!("to {other}")).await;
    }
    for topic in &mut topics {
        context.wrap(topic.events.message()).await;
    }
    let settled = async {
        while threads() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let what = format!("{count} threads; there are {}", threads());
    context.wrap(within(what, settled)).await;
    for (gossip, endpoint) in nodes {
        let shutdown = within("shutdown", gossip.shutdown());
        context.wrap(shutdown).await.expect("it runs");
        context.wrap(endpoint.close()).await;
    }
}

#[test]
fn edge_takes_one_thread() {
    in_child("edge_takes_one_thread", || {
        let before = threads();
        let program = async |edge: edge::Edge| {
            let spawn = |driver| edge.spawn(driver).detach();
            meet_on_threads(before, edge.context(), edge.runtime(), spawn).await;
        };
        edge::block_on(program).expect("not inside of tokio");
    });
}

#[test]
fn tokio_takes_one_thread() {
    in_child("tokio_takes_one_thread", || {
        let before = threads();
        // Without these two settings a thread for blocking work stays for ten seconds.
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::from_millis(100))
            .build()
            .expect("there is an IO driver");
        tokio.block_on(async {
            let runtime = TokioRuntime::current().expect("this is tokio");
            let spawn = |driver| runtime.spawn_driver(driver).detach();
            meet_on_threads(before, runtime.context(), runtime.clone(), spawn).await;
        });
    });
}

#[test]
fn smol_takes_its_own_and_one_more() {
    in_child("smol_takes_its_own_and_one_more", || {
        // What smol takes without us, for its executor and its timers.
        smol::block_on(smol::spawn(async {
            smol::Timer::after(Duration::from_millis(1)).await;
        }));
        let before = threads();
        let runtime = SmolRuntime::start().expect("there is a thread");
        let context = runtime.context();
        let spawn = |driver| smol::spawn(driver).detach();
        smol::block_on(meet_on_threads(before + 1, context, runtime, spawn));
    });
}

#[test]
fn the_context_thread_can_be_the_only_one_more() {
    in_child("the_context_thread_can_be_the_only_one_more", || {
        let before = threads();
        let runtime = SmolRuntime::start().expect("there is a thread");
        let context = runtime.context();
        let spawn = |driver| runtime.spawn_driver(driver).detach();
        future::block_on(meet_on_threads(before + 1, context, runtime.clone(), spawn));
    });
}
