//! The shortest start in a smol program: two nodes in one process, and one message.
//!
//! ```sh
//! cargo run --example setup_smol
//! ```

use std::{error::Error, net::Ipv4Addr};

use bytes::Bytes;
use iroh::{Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets};
use smol::stream::StreamExt;
use smol_gossip::{ALPN, Gossip, TopicId, api::Event, net::transport_config, runtime::SmolRuntime};

fn main() -> Result<(), Box<dyn Error>> {
    // iroh cannot do without a tokio context. This is a thread that turns one, and nothing else of
    // the program needs to know of tokio.
    let runtime = SmolRuntime::start()?;
    smol::block_on(async {
        let lookup = MemoryLookup::new();
        let (alice, alice_endpoint) = start(&runtime, &lookup).await?;
        let (bob, bob_endpoint) = start(&runtime, &lookup).await?;
        // Where Alice is to be found. In a larger swarm, gossip passes on the addresses of all
        // others.
        lookup.add_endpoint_info(alice_endpoint.addr());

        let topic: TopicId = blake3::hash(b"a quiet corner").into();
        let mut heard = alice.subscribe(topic, vec![]).await?;
        let bootstrap = vec![alice_endpoint.id()];
        let mut said = bob.subscribe_and_join(topic, bootstrap).await?;
        said.broadcast(Bytes::from_static(b"hello")).await?;
        while let Some(event) = heard.next().await {
            if let Event::Received(message) = event? {
                println!("received {:?}", message.content);
                break;
            }
        }

        // Says farewell to the neighbors. The endpoint is ours to close, in the context again.
        bob.shutdown().await?;
        alice.shutdown().await?;
        runtime.context().wrap(bob_endpoint.close()).await;
        runtime.context().wrap(alice_endpoint.close()).await;
        Ok(())
    })
}

async fn start(
    runtime: &SmolRuntime,
    lookup: &MemoryLookup,
) -> Result<(Gossip, Endpoint), Box<dyn Error>> {
    // Loopback and no relay, since this is to work without a network.
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .address_lookup(lookup.clone())
        .transport_config(transport_config())
        .alpns(vec![ALPN.to_vec()]);
    let endpoint = runtime.context().wrap(endpoint.bind()).await?;
    // Nothing else uses the endpoint, so the driver may accept its connections.
    let (gossip, driver) = Gossip::builder()
        .accept_incoming(true)
        .build(endpoint.clone(), runtime.clone())?;
    // The driver is a future for any executor: `smol::spawn(driver)` would do. Next to the sockets
    // it is faster, since packets then do not cross threads.
    runtime.spawn_driver(driver).detach();
    Ok((gossip, endpoint))
}
