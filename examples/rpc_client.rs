//! A client: speaks and listens in a topic through the node of a daemon.
//!
//! Start `rpc_daemon` first; it prints the rest of this line:
//!
//! ```sh
//! cargo run --features rpc --example rpc_client -- --connect 127.0.0.1:PORT --message hello
//! ```
//!
//! It says its message once there is a neighbor, and then prints what it hears.

use std::{error::Error, net::SocketAddr, path::PathBuf};

use clap::Parser;
use futures_lite::StreamExt;
use irpc::util::make_client_endpoint;
use smol_gossip::{
    TopicId,
    api::{Event, GossipApi},
};

#[derive(Parser)]
struct Args {
    /// Where the daemon listens.
    #[arg(long)]
    connect: SocketAddr,
    /// The certificate that the daemon has written.
    #[arg(long, default_value = "gossip-rpc.der")]
    cert: PathBuf,
    /// What to say.
    #[arg(long)]
    message: Option<String>,
    /// Leave after hearing this many messages.
    #[arg(long)]
    count: Option<usize>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let cert = std::fs::read(&args.cert)?;
    let endpoint = make_client_endpoint("127.0.0.1:0".parse()?, &[&cert])?;
    let gossip = GossipApi::connect(endpoint.clone(), args.connect);

    let topic: TopicId = blake3::hash(b"a quiet corner").into();
    let mut topic = gossip.subscribe(topic, vec![]).await?;
    println!("connected, waiting for a neighbor");
    topic.joined().await?;
    for neighbor in topic.neighbors() {
        println!("+ {}", neighbor.fmt_short());
    }
    if let Some(message) = args.message {
        topic.broadcast(message.into()).await?;
    }

    let mut heard = 0;
    while args.count.is_none_or(|count| heard < count) {
        let Some(event) = topic.next().await else {
            println!("the daemon has stopped");
            break;
        };
        match event? {
            Event::Received(message) => {
                heard += 1;
                println!("{}", String::from_utf8_lossy(&message.content));
            }
            Event::NeighborUp(peer) => println!("+ {}", peer.fmt_short()),
            Event::NeighborDown(peer) => println!("- {}", peer.fmt_short()),
            Event::Lagged => println!("(some messages are missing here)"),
        }
    }
    // What was said last still goes out, and then the connection ends.
    drop((topic, gossip));
    endpoint.wait_idle().await;
    Ok(())
}
