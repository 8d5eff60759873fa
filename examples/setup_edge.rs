//! The shortest start on one thread that runs everything: sockets, nodes and the application.
//!
//! ```sh
//! cargo run --example setup_edge
//! ```

use std::{error::Error, net::Ipv4Addr};

use bytes::Bytes;
use futures_lite::StreamExt;
use iroh::{Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets};
use smol_gossip::{
    ALPN, Gossip, TopicId,
    api::Event,
    net::transport_config,
    runtime::edge::{self, Edge},
};

fn main() -> Result<(), Box<dyn Error>> {
    edge::block_on(|edge| async move {
        let lookup = MemoryLookup::new();
        let (alice, alice_endpoint) = start(&edge, &lookup).await?;
        let (bob, bob_endpoint) = start(&edge, &lookup).await?;
        // Where Alice is to be found. In a larger swarm, gossip passes on the addresses of all
        // others.
        lookup.add_endpoint_info(alice_endpoint.addr());

        let topic: TopicId = blake3::hash(b"a quiet corner").into();
        let mut heard = alice.subscribe(topic, vec![]).await?;
        // Tasks of the application share the thread, and need not be `Send`.
        let listener = edge.spawn_local(async move {
            while let Some(Ok(event)) = heard.next().await {
                if let Event::Received(message) = event {
                    println!("received {:?}", message.content);
                    break;
                }
            }
        });
        let bootstrap = vec![alice_endpoint.id()];
        let mut said = bob.subscribe_and_join(topic, bootstrap).await?;
        said.broadcast(Bytes::from_static(b"hello")).await?;
        listener.await;

        // Says farewell to the neighbors. The endpoint is ours to close.
        bob.shutdown().await?;
        alice.shutdown().await?;
        bob_endpoint.close().await;
        alice_endpoint.close().await;
        Ok(())
    })?
}

async fn start(edge: &Edge, lookup: &MemoryLookup) -> Result<(Gossip, Endpoint), Box<dyn Error>> {
    // Loopback and no relay, since this is to work without a network.
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .address_lookup(lookup.clone())
        .transport_config(transport_config())
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await?;
    // Nothing else uses the endpoint, so the driver may accept its connections.
    let (gossip, driver) = Gossip::builder()
        .accept_incoming(true)
        .build(endpoint.clone(), edge.runtime())?;
    edge.spawn(driver).detach();
    Ok((gossip, endpoint))
}
