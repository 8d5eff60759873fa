//! The program of `footprint` on `iroh-gossip`, with all of it on one thread too.

mod program;

use iroh::protocol::Router;
use program::{Args, Failure};

pub(crate) use iroh_gossip as gossip;

const NAME: &str = "iroh-gossip";

fn main() -> Result<(), Failure> {
    let args = Args::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()?;
    runtime.block_on(async move {
        let endpoint = program::bind(None).await?;
        let gossip = iroh_gossip::net::Gossip::builder().spawn(endpoint.clone());
        let router = Router::builder(endpoint.clone())
            .accept(iroh_gossip::ALPN, gossip.clone())
            .spawn();
        program::run(NAME, &args, &gossip, &endpoint).await?;
        router.shutdown().await?;
        Ok(())
    })
}
