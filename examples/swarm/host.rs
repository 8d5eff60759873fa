//! The three executors. All that differs between them is in this file.

use std::{future::Future, time::Duration};

use futures_lite::future::Boxed;
use iroh::{Endpoint, protocol::Router};
use smol_gossip::{
    ALPN, Gossip,
    net::{BuildError, Driver},
    runtime::{Context, DriverHandle, SmolRuntime, TokioRuntime, edge::Edge},
};

/// An executor, as far as the swarm needs one.
pub(crate) trait Host: 'static {
    /// The tokio context in which endpoints are bound.
    fn context(&self) -> Context;

    /// Makes the node of an endpoint, and lets it run.
    fn start(&self, endpoint: Endpoint) -> Result<Node, BuildError>;

    /// Lets a future of the application run.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static);

    /// Waits. To be awaited in a task of this executor.
    fn sleep(duration: Duration) -> Boxed<()>;
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) gossip: Gossip,
    /// Says farewell to the neighbors, ends the driver, and closes the endpoint.
    pub(crate) stop: Boxed<Result<(), String>>,
}

/// The application on smol, and the drivers on a context thread, where the sockets are too.
pub(crate) struct SmolHost {
    runtime: SmolRuntime,
}

impl SmolHost {
    pub(crate) fn new(runtime: SmolRuntime) -> Self {
        Self { runtime }
    }
}

impl Host for SmolHost {
    fn context(&self) -> Context {
        self.runtime.context()
    }

    fn start(&self, endpoint: Endpoint) -> Result<Node, BuildError> {
        let (gossip, driver) = Gossip::builder()
            .accept_incoming(true)
            .build(endpoint.clone(), self.runtime.clone())?;
        let driver = self.runtime.spawn_driver(driver);
        Ok(Node::accepting(gossip, driver, endpoint, self.context()))
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(future).detach();
    }

    fn sleep(duration: Duration) -> Boxed<()> {
        Box::pin(async move {
            smol::Timer::after(duration).await;
        })
    }
}

/// Everything as tasks of tokio's, and iroh's router in front of the nodes: the way of programs
/// that speak other protocols on their endpoint too.
pub(crate) struct TokioHost {
    runtime: TokioRuntime,
}

impl TokioHost {
    pub(crate) fn new(runtime: TokioRuntime) -> Self {
        Self { runtime }
    }
}

impl Host for TokioHost {
    fn context(&self) -> Context {
        self.runtime.context()
    }

    fn start(&self, endpoint: Endpoint) -> Result<Node, BuildError> {
        let gossip = Gossip::builder().try_spawn(endpoint.clone())?;
        let router = Router::builder(endpoint)
            .accept(ALPN, gossip.clone())
            .spawn();
        let stop = async move { router.shutdown().await.map_err(|error| error.to_string()) };
        Ok(Node {
            gossip,
            stop: Box::pin(stop),
        })
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }

    fn sleep(duration: Duration) -> Boxed<()> {
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

/// Everything on the calling thread.
pub(crate) struct EdgeHost {
    edge: Edge,
}

impl EdgeHost {
    pub(crate) fn new(edge: Edge) -> Self {
        Self { edge }
    }
}

impl Host for EdgeHost {
    fn context(&self) -> Context {
        self.edge.context()
    }

    fn start(&self, endpoint: Endpoint) -> Result<Node, BuildError> {
        let (gossip, driver) = Gossip::builder()
            .accept_incoming(true)
            .build(endpoint.clone(), self.edge.runtime())?;
        let driver = self.edge.spawn(driver);
        Ok(Node::accepting(gossip, driver, endpoint, self.context()))
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.edge.spawn_local(future).detach();
    }

    fn sleep(duration: Duration) -> Boxed<()> {
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

impl Node {
    /// A node whose driver accepts connections itself.
    fn accepting(
        gossip: Gossip,
        driver: DriverHandle<<Driver as Future>::Output>,
        endpoint: Endpoint,
        context: Context,
    ) -> Self {
        let farewell = gossip.clone();
        let stop = async move {
            farewell
                .shutdown()
                .await
                .map_err(|error| error.to_string())?;
            driver.await.map_err(|error| error.to_string())?;
            context.wrap(endpoint.close()).await;
            Ok(())
        };
        Self {
            gossip,
            stop: Box::pin(stop),
        }
    }
}
