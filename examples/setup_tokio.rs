//! The shortest start in a tokio program: two nodes in one process, and one message.
//!
//! ```sh
//! cargo run --example setup_tokio
//! ```

use std::{error::Error, net::Ipv4Addr};

use bytes::Bytes;
use futures_lite::StreamExt;
use iroh::{
    Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets, protocol::Router,
};
use smol_gossip::{ALPN, Gossip, TopicId, api::Event, net::transport_config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let lookup = MemoryLookup::new();
    let (alice, alice_router) = start(&lookup).await?;
    let (bob, bob_router) = start(&lookup).await?;
    // Where Alice is to be found. In a larger swarm, gossip passes on the addresses of all others.
    lookup.add_endpoint_info(alice_router.endpoint().addr());

    let topic: TopicId = blake3::hash(b"a quiet corner").into();
    let mut heard = alice.subscribe(topic, vec![]).await?;
    let bootstrap = vec![alice_router.endpoint().id()];
    let mut said = bob.subscribe_and_join(topic, bootstrap).await?;
    said.broadcast(Bytes::from_static(b"hello")).await?;
    while let Some(event) = heard.next().await {
        if let Event::Received(message) = event? {
            println!("received {:?}", message.content);
            break;
        }
    }

    // Says farewell to the neighbors, and closes the endpoint.
    bob_router.shutdown().await?;
    alice_router.shutdown().await?;
    Ok(())
}

async fn start(lookup: &MemoryLookup) -> Result<(Gossip, Router), Box<dyn Error>> {
    // Loopback and no relay, since this is to work without a network.
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .address_lookup(lookup.clone())
        .transport_config(transport_config())
        .bind()
        .await?;
    // Its driver becomes a task of the runtime that we are in.
    let gossip = Gossip::builder().try_spawn(endpoint.clone())?;
    // The router accepts connections, so many a second from each source, and hands those for us over.
    let router = Router::builder(endpoint)
        .incoming_filter(gossip.incoming_filter())
        .accept(ALPN, gossip.clone());
    Ok((gossip, router.spawn()))
}
