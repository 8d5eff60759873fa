//! A daemon: a gossip node that serves its topics to other programs on this machine.
//!
//! ```sh
//! cargo run --features rpc --example rpc_daemon
//! ```
//!
//! It prints how a client connects; see `rpc_client`. A second daemon joins the first, so that
//! there is someone to talk to:
//!
//! ```sh
//! cargo run --features rpc --example rpc_daemon -- --join TICKET
//! ```

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use iroh::{
    Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets, protocol::Router,
};
use irpc::util::make_server_endpoint;
use smol_gossip::{ALPN, Gossip, TopicId, net::transport_config, ticket::Ticket};

#[derive(Parser)]
struct Args {
    /// Where to listen for clients.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where to put the certificate that clients have to trust.
    #[arg(long, default_value = "gossip-rpc.der")]
    cert: PathBuf,
    /// The ticket of another daemon, to join it.
    #[arg(long)]
    join: Option<Ticket>,
    /// Stop after this many seconds. Runs until it is killed otherwise.
    #[arg(long)]
    seconds: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();

    let topic: TopicId = blake3::hash(b"a quiet corner").into();
    // Whoever a ticket of another topic names is not to be found in this one.
    if let Some(ticket) = &args.join
        && ticket.topic() != topic
    {
        let other = ticket.topic();
        return Err(
            format!("--join: the ticket is one to topic {other}, and this is {topic}").into(),
        );
    }

    // Loopback and no relay, since this is to work without a network.
    let lookup = MemoryLookup::new();
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .address_lookup(lookup.clone())
        .transport_config(transport_config())
        .bind()
        .await?;
    let gossip = Gossip::builder().try_spawn(endpoint.clone())?;
    let router = Router::builder(endpoint)
        .incoming_filter(gossip.incoming_filter())
        .accept(ALPN, gossip.clone())
        .spawn();

    let peers = args.join.iter().flat_map(|ticket| ticket.peers().iter());
    let mut bootstrap = Vec::new();
    for peer in peers {
        bootstrap.push(peer.id);
        lookup.add_endpoint_info(peer.clone());
    }
    // Keeps the daemon in the topic while no client is.
    let _topic = gossip.subscribe(topic, bootstrap).await?;
    println!(
        "ticket: {}",
        Ticket::fitting(topic, vec![router.endpoint().addr()])
    );

    let (listening, cert) = make_server_endpoint(args.listen)?;
    std::fs::write(&args.cert, cert)?;
    println!(
        "to talk: cargo run --features rpc --example rpc_client -- --cert {} --connect {} \
         --message hello",
        args.cert.display(),
        listening.local_addr()?
    );

    let serving = tokio::spawn(gossip.listen(listening.clone()));
    match args.seconds {
        None => std::future::pending().await,
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
    }
    // Says farewell to the neighbors, and closes the endpoint. The streams of clients end with it.
    router.shutdown().await?;
    // Clients that do not read fast have a moment for what they were told before.
    let _ = tokio::time::timeout(Duration::from_millis(500), listening.wait_idle()).await;
    listening.close(0u8.into(), b"stopped");
    serving.await?;
    listening.wait_idle().await;
    Ok(())
}
