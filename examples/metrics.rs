//! A node whose counters can be scraped: Prometheus text over HTTP on loopback.
//!
//! ```sh
//! cargo run --example metrics
//! curl http://127.0.0.1:9090/metrics
//! ```
//!
//! Two nodes in one process talk to each other, so that there is something to count. Point a
//! Prometheus server at the address to see more of it.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use clap::Parser;
use iroh::{
    Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets, protocol::Router,
};
use iroh_metrics::{MetricsSource, Registry};
use smol_gossip::{ALPN, Gossip, TopicId, net::transport_config};

#[derive(Parser)]
struct Args {
    /// Where to answer.
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Stop after this many seconds. Runs until it is killed otherwise.
    #[arg(long, default_value_t = u64::MAX)]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let lookup = MemoryLookup::new();
    let (alice, alice_router) = start(&lookup).await?;
    let (bob, bob_router) = start(&lookup).await?;
    lookup.add_endpoint_info(alice_router.endpoint().addr());

    // One registry for the whole program, and each node under a label of its own. The metrics of
    // iroh's endpoints, with its feature of that name, go here as well.
    let mut registry = Registry::default();
    for (name, gossip) in [("alice", &alice), ("bob", &bob)] {
        let node = registry.sub_registry_with_label("node", name);
        node.register(gossip.metrics().clone());
    }
    let listener = TcpListener::bind(args.listen)?;
    println!("curl http://{}/metrics", listener.local_addr()?);
    let registry = Arc::new(registry);
    // A scrape reads atomics and nothing else, so a thread that blocks does for this.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Err(error) = answer(stream, &registry) {
                eprintln!("a scrape failed: {error}");
            }
        }
    });

    let topic: TopicId = blake3::hash(b"a quiet corner").into();
    let _heard = alice.subscribe(topic, vec![]).await?;
    let bootstrap = vec![alice_router.endpoint().id()];
    let mut said = bob.subscribe_and_join(topic, bootstrap).await?;
    for second in 0..args.seconds {
        said.broadcast(format!("{second} s").into()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bob_router.shutdown().await?;
    alice_router.shutdown().await?;
    Ok(())
}

/// Answers one request, and closes the connection.
fn answer(mut stream: TcpStream, registry: &Arc<Registry>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, kind, body) = if request.starts_with("GET /metrics ") {
        let text = registry.encode_openmetrics_to_string();
        let text = text.map_err(io::Error::other)?;
        // Prometheus asks for either; curl takes any.
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ("200 OK", kind, text)
    } else {
        ("404 Not Found", "text/plain", "see /metrics\n".into())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
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
    let gossip = Gossip::builder().try_spawn(endpoint.clone())?;
    let router = Router::builder(endpoint)
        .incoming_filter(gossip.incoming_filter())
        .accept(ALPN, gossip.clone());
    Ok((gossip, router.spawn()))
}
