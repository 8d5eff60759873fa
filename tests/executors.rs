//! A node does the same on every executor.
//!
//! One suite, and one module of tests for each way to run a driver. The node's own accept loop
//! takes the connections, since iroh's router would need tokio.
#![cfg(feature = "net")]

mod common;

use std::{pin::Pin, rc::Rc};

use bytes::Bytes;
use common::{Topic, contents, topic, within};
use futures_lite::future;
use iroh::{Endpoint, EndpointId, address_lookup::memory::MemoryLookup};
use smol_gossip::{
    Gossip,
    api::{ApiError, GossipSender},
    net::{BuildError, Builder, Driver, Error},
    runtime::{Context, SmolRuntime, TokioRuntime, edge},
};

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

type Build = dyn Fn(Builder, Endpoint) -> Result<(Gossip, Driver), BuildError>;

/// Where a test runs.
#[derive(Clone)]
struct Surroundings {
    /// For iroh's own futures.
    context: Context,
    build: Rc<Build>,
    /// Runs a driver.
    spawn: Rc<dyn Fn(BoxFuture)>,
}

impl Surroundings {
    fn smol(runtime: SmolRuntime, spawn: impl Fn(BoxFuture) + 'static) -> Self {
        Self {
            context: runtime.context(),
            build: Rc::new(move |builder, endpoint| builder.build(endpoint, runtime.clone())),
            spawn: Rc::new(spawn),
        }
    }

    fn tokio(runtime: TokioRuntime, spawn: impl Fn(BoxFuture) + 'static) -> Self {
        Self {
            context: runtime.context(),
            build: Rc::new(move |builder, endpoint| builder.build(endpoint, runtime.clone())),
            spawn: Rc::new(spawn),
        }
    }

    /// Starts a node that all who ask `book` can find.
    async fn start(&self, n: u8, book: &MemoryLookup) -> Node {
        let bind = self.context.wrap(common::bind(n, book));
        let endpoint = within("bind", bind).await;
        let builder = Gossip::builder().accept_incoming(true).seed(n.into());
        let (gossip, driver) = (self.build)(builder, endpoint.clone()).expect("a context");
        let (kill, killed) = async_channel::bounded::<()>(1);
        let (ending, ended) = async_channel::bounded::<()>(1);
        (self.spawn)(Box::pin(async move {
            let kill = async {
                // Told so, or nobody is left who could.
                let _ = killed.recv().await;
            };
            future::or(driver, kill).await;
            drop(ending);
        }));
        Node {
            context: self.context.clone(),
            endpoint,
            gossip,
            kill,
            ended,
        }
    }
}

/// A node whose driver runs on the executor under test.
struct Node {
    context: Context,
    endpoint: Endpoint,
    gossip: Gossip,
    kill: async_channel::Sender<()>,
    ended: async_channel::Receiver<()>,
}

impl Node {
    fn id(&self) -> EndpointId {
        self.endpoint.id()
    }

    async fn subscribe(&self, n: u8, bootstrap: &[EndpointId]) -> Topic {
        common::subscribe(&self.gossip, topic(n), bootstrap).await
    }

    /// Has the executor drop the driver.
    async fn kill(&self) {
        self.kill.send(()).await.expect("the driver runs");
        self.ended().await;
    }

    /// Waits until the driver is gone.
    async fn ended(&self) {
        let ended = within("the end of the driver", self.ended.recv());
        ended
            .await
            .expect_err("the sender is dropped with the driver");
    }

    async fn stop(self) {
        within("shutdown", self.gossip.shutdown())
            .await
            .expect("it runs");
        self.ended().await;
        self.close().await;
    }

    /// Closes the endpoint of a node that has ended.
    async fn close(self) {
        within("close", self.context.wrap(self.endpoint.close())).await;
    }
}

/// Two nodes, the second of which has joined the first in topic 1.
async fn pair(here: &Surroundings) -> [(Node, Topic); 2] {
    let book = MemoryLookup::new();
    let first = here.start(1, &book).await;
    let second = here.start(2, &book).await;
    let mut there = first.subscribe(1, &[]).await;
    let mut here = second.subscribe(1, &[first.id()]).await;
    here.events.up(first.id()).await;
    there.events.up(second.id()).await;
    [(first, there), (second, here)]
}

/// Four nodes join through one; each says something; one leaves; the others say more.
async fn a_swarm_loses_nothing_and_repeats_nothing(here: Surroundings) {
    let book = MemoryLookup::new();
    let mut swarm: Vec<(Node, Topic)> = Vec::new();
    for n in 1..=4 {
        let node = here.start(n, &book).await;
        let bootstrap = swarm.first().map(|(node, _)| node.id());
        let mut topic = node.subscribe(1, bootstrap.as_slice()).await;
        if let Some(bootstrap) = bootstrap {
            topic.events.up(bootstrap).await;
            swarm[0].1.events.up(node.id()).await;
        }
        swarm.push((node, topic));
    }
    say_and_hear(&mut swarm, "all").await;

    let (leaver, topic) = swarm.pop().expect("there are four");
    drop(topic);
    for (_, topic) in &mut swarm {
        topic.events.down(leaver.id()).await;
    }
    say_and_hear(&mut swarm, "three").await;

    leaver.stop().await;
    for (node, topic) in swarm {
        node.stop().await;
        drop(topic.sender);
        topic.events.end().await;
    }
}

/// Every node says ten things, and hears what the others say.
async fn say_and_hear(swarm: &mut [(Node, Topic)], when: &str) {
    let said = |node: &Node| contents((0..10).map(|n| format!("{} {when} {n}", node.id())));
    for (node, topic) in swarm.iter() {
        for content in said(node) {
            topic.broadcast(content).await;
        }
    }
    let all: Vec<_> = swarm.iter().map(|(node, _)| said(node)).collect();
    for (me, (_, topic)) in swarm.iter_mut().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != me);
        let expected = others.flat_map(|(_, said)| said.clone()).collect();
        topic.events.receive(&expected).await;
    }
}

/// Shutdown says goodbye, ends the driver, and closes the handles.
async fn shutdown_is_the_end(here: Surroundings) {
    let [(first, mut there), (second, here)] = pair(&here).await;
    within("shutdown", second.gossip.shutdown())
        .await
        .expect("it runs");
    second.ended().await;
    there.events.down(second.id()).await;
    here.events.end().await;
    is_closed(&second.gossip, &here.sender).await;
    second.close().await;
    first.stop().await;
}

/// A driver that is dropped closes the handles.
async fn handles_end_with_the_driver(here: Surroundings) {
    let [(first, mut there), (second, here)] = pair(&here).await;
    second.kill().await;
    here.events.end().await;
    is_closed(&second.gossip, &here.sender).await;
    there.events.down(second.id()).await;
    second.close().await;
    first.stop().await;
}

async fn is_closed(gossip: &Gossip, sender: &GossipSender) {
    let subscribed = within("an answer", gossip.subscribe(topic(2), vec![])).await;
    assert!(
        matches!(subscribed, Err(ApiError::Closed { .. })),
        "{subscribed:?}"
    );
    let joined = within("an answer", gossip.subscribe_and_join(topic(2), vec![])).await;
    assert!(matches!(joined, Err(ApiError::Closed { .. })), "{joined:?}");
    let content = Bytes::from_static(b"late");
    let sent = within("an answer", sender.broadcast(content.clone())).await;
    assert!(matches!(sent, Err(ApiError::Closed { .. })), "{sent:?}");
    let published = within("an answer", sender.publish(content)).await;
    assert!(
        matches!(published, Err(ApiError::Closed { .. })),
        "{published:?}"
    );
    let shutdown = within("an answer", gossip.shutdown()).await;
    assert!(
        matches!(shutdown, Err(Error::ActorDropped { .. })),
        "{shutdown:?}"
    );
}

/// A node lives as long as a handle of it, and topics do not count.
async fn the_last_handle_ends_the_driver(here: Surroundings) {
    let [(first, mut there), (second, here)] = pair(&here).await;
    let Node {
        context,
        endpoint,
        gossip,
        kill: _kill,
        ended,
    } = second;
    let clone = gossip.clone();
    drop(gossip);
    here.broadcast("a clone lives").await;
    assert_eq!(there.events.message().await.content, "a clone lives");
    drop(clone);
    let ended = within("the end of the driver", ended.recv()).await;
    ended.expect_err("the sender is dropped with the driver");
    there.events.down(endpoint.id()).await;
    here.events.end().await;
    within("close", context.wrap(endpoint.close())).await;
    first.stop().await;
}

/// Every subscription gets everything, and only the last one takes the topic along.
async fn a_topic_has_many_subscribers(here: Surroundings) {
    let [(first, mut there), (second, mut here)] = pair(&here).await;
    // A later one learns at once who is there.
    let mut another = second.subscribe(1, &[]).await;
    another.events.up(first.id()).await;
    there.broadcast("both").await;
    assert_eq!(here.events.message().await.content, "both");
    assert_eq!(another.events.message().await.content, "both");
    drop(here);
    there.broadcast("one").await;
    assert_eq!(another.events.message().await.content, "one");
    assert!(there.events.neighbors().contains(&second.id()));
    drop(another);
    there.events.down(second.id()).await;
    first.stop().await;
    second.stop().await;
    drop(there.sender);
    there.events.end().await;
}

/// A topic is left when all senders and the receiver are gone, and no sooner.
async fn a_topic_is_open_while_a_handle_lives(here: Surroundings) {
    let [(first, mut there), (second, here)] = pair(&here).await;
    let Topic { sender, events } = here;
    let clone = sender.clone();
    drop((sender, events));
    clone
        .broadcast("a sender lives".into())
        .await
        .expect("open");
    assert_eq!(there.events.message().await.content, "a sender lives");
    drop(clone);
    there.events.down(second.id()).await;

    let Topic { sender, mut events } = second.subscribe(1, &[first.id()]).await;
    drop(sender);
    events.up(first.id()).await;
    there.events.up(second.id()).await;
    there.broadcast("a receiver lives").await;
    assert_eq!(events.message().await.content, "a receiver lives");
    drop(events);
    there.events.down(second.id()).await;

    first.stop().await;
    second.stop().await;
}

/// Instantiates the suite: one module for each way to run a driver.
macro_rules! suite {
    ($($(#[$doc:meta])+ $name:ident: $run:expr;)+) => {$(
        $(#[$doc])+
        mod $name {
            use super::*;

            suite!(@tests $run;
                a_swarm_loses_nothing_and_repeats_nothing
                shutdown_is_the_end
                handles_end_with_the_driver
                the_last_handle_ends_the_driver
                a_topic_has_many_subscribers
                a_topic_is_open_while_a_handle_lives
            );
        }
    )+};
    (@tests $run:expr; $($test:ident)+) => {$(
        #[test]
        fn $test() {
            ($run)(super::$test);
        }
    )+};
}

/// Runs a test with smol, the driver on its global executor.
fn on_smol<F: Future<Output = ()>>(test: impl FnOnce(Surroundings) -> F) {
    let runtime = SmolRuntime::start().expect("there is a thread");
    let spawn = |driver| smol::spawn(driver).detach();
    smol::block_on(test(Surroundings::smol(runtime, spawn)));
}

/// Runs a test with smol, the driver on the context thread.
fn on_context_thread<F: Future<Output = ()>>(test: impl FnOnce(Surroundings) -> F) {
    let runtime = SmolRuntime::start().expect("there is a thread");
    let context = runtime.clone();
    let spawn = move |driver| context.spawn_driver(driver).detach();
    smol::block_on(test(Surroundings::smol(runtime, spawn)));
}

/// Runs a test on one thread, the driver next to a `LocalExecutor`.
fn on_edge<F: Future<Output = ()>>(test: impl FnOnce(Surroundings) -> F) {
    let program = |edge: edge::Edge| {
        let runtime = edge.runtime();
        test(Surroundings::tokio(runtime, move |driver| {
            edge.spawn(driver).detach()
        }))
    };
    edge::block_on(program).expect("not inside of tokio");
}

/// Runs a test on one thread, the driver on a `LocalExecutor`.
fn on_local_executor<F: Future<Output = ()>>(test: impl FnOnce(Surroundings) -> F) {
    let program = |edge: edge::Edge| {
        let runtime = edge.runtime();
        let spawn = move |driver| edge.spawn_local(driver).detach();
        test(Surroundings::tokio(runtime, spawn))
    };
    edge::block_on(program).expect("not inside of tokio");
}

/// Runs a test with tokio.
fn on_tokio<F: Future<Output = ()>>(
    mut tokio: tokio::runtime::Builder,
    test: impl FnOnce(Surroundings) -> F,
) {
    let tokio = tokio.enable_all().build().expect("there is a thread");
    let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    let context = runtime.clone();
    let spawn = move |driver| context.spawn_driver(driver).detach();
    tokio.block_on(test(Surroundings::tokio(runtime, spawn)));
}

suite! {
    /// smol's executor and a context thread.
    smol_executor: on_smol;
    /// smol's executor for the application, the context thread for the node.
    smol_context_thread: on_context_thread;
    /// One thread for all, where the driver is a task of tokio's.
    edge_task: on_edge;
    /// One thread for all, where the driver is a task of the `LocalExecutor`.
    edge_local: on_local_executor;
    /// tokio on one thread.
    tokio_current_thread: |test| on_tokio(tokio::runtime::Builder::new_current_thread(), test);
    /// tokio on several threads.
    tokio_multi_thread: |test| on_tokio(tokio::runtime::Builder::new_multi_thread(), test);
}
