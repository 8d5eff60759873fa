//! A program for a small device: it tells others a reading every few seconds, keeps what the others
//! tell, and does all that on one thread.
//!
//! ```sh
//! cargo run --example edge -- open --name kitchen
//! cargo run --example edge -- join --name cellar TICKET
//! ```
//!
//! The reading is the load average of the machine where there is one; put your sensor into
//! `reading`. Tasks share what they know without a lock, since they are on one thread: sockets, the
//! node, and the application.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Write},
    net::Ipv4Addr,
    process::ExitCode,
    rc::Rc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use futures_lite::{StreamExt, future};
use iroh::{Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets};
use smol_gossip::{
    ALPN, Gossip, TopicId,
    api::{ApiError, Event, GossipReceiver, GossipSender},
    net::transport_config,
    runtime::edge::{self, Edge},
    ticket::Ticket,
};

/// The most devices that are remembered.
const MAX_DEVICES: usize = 100;

/// Readings of devices, told by gossip, on one thread.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    entrance: Entrance,
}

#[derive(Debug, Subcommand)]
enum Entrance {
    /// Be the first device, and print the ticket for the others
    Open(Options),
    /// Be one more device
    Join {
        /// What the first device printed
        ticket: Ticket,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// What this device is called
    #[arg(long, default_value = "device")]
    name: String,
    /// Seconds between readings
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// End after this many readings; it runs until Ctrl-C otherwise
    #[arg(long)]
    readings: Option<u64>,
    /// Stay on this machine: no relay, no internet
    #[arg(long)]
    no_relay: bool,
}

/// The last reading of every device. `Rc` and `RefCell` are enough on one thread.
type Known = Rc<RefCell<BTreeMap<String, String>>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = edge::block_on(|edge| run(edge, cli.entrance));
    let error: Box<dyn Error> = match outcome {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    };
    if let Some(error) = error.downcast_ref::<io::Error>()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        // Nobody reads any more.
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "edge: {error}");
    ExitCode::FAILURE
}

async fn run(edge: Edge, entrance: Entrance) -> Result<(), Box<dyn Error>> {
    let (options, ticket) = match entrance {
        Entrance::Open(options) => (options, None),
        Entrance::Join { ticket, options } => (options, Some(ticket)),
    };
    let lookup = MemoryLookup::new();
    let builder = match options.no_relay {
        true => Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))?,
        false => Endpoint::builder(presets::N0),
    };
    // This thread is in the context that iroh needs, so nothing has to be wrapped.
    let endpoint = builder
        .address_lookup(lookup.clone())
        .transport_config(transport_config())
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await?;
    let (gossip, driver) = Gossip::builder()
        .accept_incoming(true)
        .build(endpoint.clone(), edge.runtime())?;
    edge.spawn(driver).detach();

    let topic: TopicId = blake3::hash(b"readings of devices").into();
    let (topic, bootstrap) = match ticket {
        None => {
            line(format_args!(
                "ticket: {}",
                Ticket::fitting(topic, vec![endpoint.addr()])
            ))?;
            (topic, vec![])
        }
        Some(ticket) => {
            let (topic, peers) = ticket.into_parts();
            let ids = peers.iter().map(|peer| peer.id).collect();
            for peer in peers {
                lookup.add_endpoint_info(peer);
            }
            (topic, ids)
        }
    };
    let (sender, receiver) = gossip.subscribe(topic, bootstrap).await?.split();

    // Tasks of our own, on the same thread.
    let known = Known::default();
    let telling = edge.spawn_local(tell(sender, options, known.clone()));
    let listening = edge.spawn_local(listen(receiver, known.clone()));
    let outcome = future::or(future::or(telling, listening), interrupted()).await;

    // Says farewell to the neighbors, and lets what was sent last arrive.
    gossip.shutdown().await?;
    endpoint.close().await;
    outcome
}

/// Sends our reading every now and then.
async fn tell(sender: GossipSender, options: Options, known: Known) -> Result<(), Box<dyn Error>> {
    let mut left = options.readings;
    let mut interval = tokio::time::interval(Duration::from_secs(options.every));
    // The number makes messages differ: to the protocol, equal messages are one.
    for number in 0u64.. {
        if left == Some(0) {
            break;
        }
        left = left.map(|left| left - 1);
        interval.tick().await;
        let text = format!("{number} {} {}", options.name, reading());
        match sender.broadcast(text.into()).await {
            Err(error @ ApiError::TooLarge { .. }) => line(error)?,
            sent => sent?,
        }
        let devices = known.borrow().len();
        line(format_args!("told {devices} others our reading"))?;
    }
    Ok(())
}

/// Keeps and shows what others tell.
async fn listen(mut receiver: GossipReceiver, known: Known) -> Result<(), Box<dyn Error>> {
    while let Some(event) = receiver.next().await {
        match event? {
            Event::Received(message) => {
                let text = String::from_utf8_lossy(&message.content).into_owned();
                let mut words = text.splitn(3, ' ').skip(1);
                let (Some(name), Some(reading)) = (words.next(), words.next()) else {
                    continue;
                };
                let mut known = known.borrow_mut();
                if known.len() < MAX_DEVICES || known.contains_key(name) {
                    known.insert(name.to_owned(), reading.to_owned());
                }
                line(format_args!(
                    "{}: {}",
                    name.escape_default(),
                    reading.escape_default()
                ))?;
            }
            Event::NeighborUp(peer) => line(format_args!("connected to {}", peer.fmt_short()))?,
            Event::NeighborDown(peer) => line(format_args!("lost {}", peer.fmt_short()))?,
            Event::Lagged => line("some readings are missing here")?,
        }
    }
    Err("the node has stopped".into())
}

/// What this device measures.
fn reading() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    match load.split(' ').next() {
        Some(load) if !load.is_empty() => format!("load {load}"),
        _ => "awake".into(),
    }
}

/// Comes with Ctrl-C or `kill`, through a socket that the handler writes to: so no thread is needed.
#[cfg(unix)]
async fn interrupted() -> Result<(), Box<dyn Error>> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        low_level::pipe,
    };

    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    pipe::register(SIGINT, theirs.try_clone()?)?;
    pipe::register(SIGTERM, theirs)?;
    ours.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(ours)?.readable().await?;
    Ok(())
}

#[cfg(not(unix))]
async fn interrupted() -> Result<(), Box<dyn Error>> {
    future::pending().await
}

/// Writes a line at once. (`println!` would panic where nobody reads it any more.)
fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
