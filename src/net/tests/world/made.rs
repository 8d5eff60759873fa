//! Putting a node together, as the builder does it but on the network in memory.

use std::sync::Arc;

use rand::{SeedableRng, rngs::StdRng};
use smol_gossip_runtime::Runtime;

use super::{World, id};
use crate::{
    api::mailbox::{self, Mailbox},
    metrics::Metrics,
    net::{
        builder::REQUEST_QUEUE,
        inspect::Request,
        node::{Node, Parts},
        transport::{Transport, memory::MemoryTransport},
    },
    proto::State,
};

/// A node that was not polled yet, and its handles.
pub(in crate::net::tests) struct Made<R: Runtime> {
    pub(in crate::net::tests) node: Node<MemoryTransport, R>,
    pub(in crate::net::tests) mailbox: Mailbox,
    pub(in crate::net::tests) requests: async_channel::Sender<Request>,
    pub(in crate::net::tests) metrics: Arc<Metrics>,
}

impl World {
    /// Makes a node with the configuration of the time, on any runtime that has the time of this
    /// world.
    pub(in crate::net::tests) fn make<R: Runtime + Clone>(
        &mut self,
        n: usize,
        runtime: R,
    ) -> Made<R> {
        let limits = self.limits_of.get(&n).unwrap_or(&self.limits).clone();
        let limits = limits.sensible(self.config.max_message_size);
        let transport = self.network.attach(id(n), limits.known_addresses);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let state = State::new(
            id(n),
            transport.local_data(),
            self.config.clone(),
            limits.protocol.clone(),
            &mut rng,
        );
        let state = state.expect("the configuration is valid");
        let (mailbox, inbox) = mailbox::channel(state.max_content_size());
        // It accepts connections itself.
        let (_, connections) = async_channel::bounded(1);
        let (requests, requests_of_node) = async_channel::bounded(REQUEST_QUEUE);
        let metrics = Arc::new(Metrics::default());
        self.all_metrics.push(metrics.clone());
        let context = runtime.clone();
        let node = context.enter(|| {
            Node::new(Parts {
                transport,
                runtime,
                state,
                rng,
                limits,
                metrics: metrics.clone(),
                inbox,
                connections,
                requests: requests_of_node,
                accept: true,
            })
        });
        Made {
            node,
            mailbox,
            requests,
            metrics,
        }
    }
}
