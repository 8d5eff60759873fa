//! What a quiet node takes on an edge device: memory, threads, wakeups and the size of the program.
//!
//! A node with some topics and one neighbor in all of them, which is another process, is left alone
//! for a while and measured. Then `footprint_upstream`, the same program on `iroh-gossip`, is run if
//! it has been built. Linux only, since the figures are read from `/proc`.
//!
//! ```sh
//! cargo build --release --example footprint --example footprint_upstream
//! target/release/examples/footprint --topics 100
//! ```
//!
//! As small as it gets, with the program optimized for its size:
//!
//! ```sh
//! cargo build --profile small --example footprint --example footprint_upstream
//! target/small/examples/footprint --topics 100
//! ```

mod program;

use std::process::Command;

use iroh::Endpoint;
use program::{Args, Failure};
use smol_gossip::{net::transport_config, runtime::edge};

pub(crate) use smol_gossip as gossip;

const NAME: &str = "smol-gossip";

fn main() -> Result<(), Failure> {
    let args = Args::from_env()?;
    if !args.peer {
        program::print_head(&args);
    }
    let rest = args.clone();
    // Everything on this one thread: sockets, the node, and the application.
    edge::block_on(|edge| async move {
        let endpoint = program::bind(Some(transport_config())).await?;
        let (gossip, driver) = smol_gossip::Gossip::builder()
            .accept_incoming(true)
            .build(endpoint.clone(), edge.runtime())?;
        edge.spawn(driver).detach();
        program::run(NAME, &args, &gossip, &endpoint).await?;
        gossip.shutdown().await?;
        close(endpoint).await
    })??;
    if rest.peer {
        return Ok(());
    }
    let upstream = std::env::current_exe()?.with_file_name("footprint_upstream");
    if !upstream.exists() {
        println!("(for comparison, build the example footprint_upstream in the same way)");
        return Ok(());
    }
    match Command::new(upstream).args(rest.to_text()).status()? {
        status if status.success() => Ok(()),
        status => Err(format!("footprint_upstream: {status}").into()),
    }
}

async fn close(endpoint: Endpoint) -> Result<(), Failure> {
    endpoint.close().await;
    Ok(())
}
