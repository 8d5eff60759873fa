//! What the programs here share that people use in a terminal: a node on smol with the way in and
//! the way out, and writing to whoever reads.
#![allow(dead_code, reason = "each program uses its own part")]

use std::{
    error::Error,
    fmt, fs,
    io::{self, Write},
    iter::successors,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use async_signal::{Signal, Signals};
use clap::Args;
use iroh::{
    Endpoint, EndpointId, RelayMode, SecretKey, address_lookup::memory::MemoryLookup,
    endpoint::presets,
};
use smol::{Timer, future, stream::StreamExt};
use smol_gossip::{
    ALPN, Gossip, TopicId,
    net::{Builder, Diagnostic, transport_config},
    runtime::{DriverHandle, SmolRuntime},
    ticket::Ticket,
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// How long to wait for a relay. Without one, a ticket is good for the network that we are in.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Options of everything that has a node.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeOptions {
    /// Stay on this machine: no relay, no internet
    #[arg(long)]
    pub(crate) no_relay: bool,
    /// The UDP port to bind; 0 is any
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) bind_port: u16,
    /// A file with the node's secret key, made if it is not there. With it, and the same port, a
    /// node that is started again is still the one that its ticket names
    #[arg(long, value_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,
}

/// A node on smol, and all that it needs.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) gossip: Gossip,
    /// Whether a relay was reached, so that the ticket is good anywhere.
    pub(crate) online: bool,
    runtime: SmolRuntime,
    driver: DriverHandle<()>,
    lookup: MemoryLookup,
}

impl Node {
    pub(crate) async fn start(options: &NodeOptions, gossip: Builder) -> Outcome<Self> {
        // What `RUST_LOG` asks for, to stderr.
        tracing_subscriber::fmt()
            .with_env_filter(
                EnvFilter::builder()
                    .with_default_directive(LevelFilter::OFF.into())
                    .from_env_lossy(),
            )
            .with_writer(io::stderr)
            .init();
        let runtime = SmolRuntime::start()?;
        let lookup = MemoryLookup::new();
        let builder = match options.no_relay {
            true => Endpoint::builder(presets::Minimal)
                .relay_mode(RelayMode::Disabled)
                .clear_ip_transports()
                .bind_addr((Ipv4Addr::LOCALHOST, options.bind_port))?,
            false => Endpoint::builder(presets::N0)
                .bind_addr((Ipv4Addr::UNSPECIFIED, options.bind_port))?,
        };
        let builder = match &options.secret {
            Some(path) => builder.secret_key(secret_key(path)?),
            None => builder,
        };
        let builder = builder
            .address_lookup(lookup.clone())
            .transport_config(transport_config())
            .alpns(vec![ALPN.to_vec()]);
        let context = runtime.context();
        let endpoint = context.wrap(builder.bind()).await?;
        let online = match options.no_relay {
            true => false,
            false => {
                let online = async {
                    context.wrap(endpoint.online()).await;
                    true
                };
                let alone = async {
                    Timer::after(RELAY_PATIENCE).await;
                    false
                };
                future::or(online, alone).await
            }
        };
        let (gossip, driver) = gossip
            .accept_incoming(true)
            .build(endpoint.clone(), runtime.clone())?;
        let driver = runtime.spawn_driver(driver);
        Ok(Self {
            endpoint,
            gossip,
            online,
            runtime,
            driver,
            lookup,
        })
    }

    /// A ticket to `topic` that leads to this node.
    pub(crate) fn ticket(&self, topic: TopicId) -> Ticket {
        Ticket::fitting(topic, vec![self.endpoint.addr()])
    }

    /// Waits until somebody whom we want to join through cannot be reached, and says so; or until the node
    /// ends.
    pub(crate) async fn warn_if_nobody_answers(&self) {
        let Ok(mut diagnostics) = self.gossip.diagnostics().await else {
            return;
        };
        while let Some(diagnostic) = diagnostics.next().await {
            if let Diagnostic::JoinFailed { peer, reason } = diagnostic {
                let peer = peer.fmt_short();
                note(format_args!(
                    "{peer} does not answer ({reason}); still trying"
                ));
                break;
            }
        }
    }

    /// The topic of a ticket, and whom to join it through.
    pub(crate) fn admit(&self, ticket: Ticket) -> (TopicId, Vec<EndpointId>) {
        let (topic, peers) = ticket.into_parts();
        let ids = peers.iter().map(|peer| peer.id).collect();
        for peer in peers {
            self.lookup.add_endpoint_info(peer);
        }
        (topic, ids)
    }

    /// Says farewell to the neighbors, and waits until they have taken it, and what was sent
    /// before, or for two seconds.
    pub(crate) async fn close(self) -> Outcome {
        self.gossip.shutdown().await?;
        self.driver.await?;
        self.runtime.context().wrap(self.endpoint.close()).await;
        Ok(())
    }
}

/// The topic that a name stands for, or else one that nobody thinks of: that of our own id.
pub(crate) fn topic_of(name: Option<&str>, endpoint: &Endpoint) -> TopicId {
    match name {
        Some(name) => blake3::hash(name.as_bytes()).into(),
        None => TopicId::from_bytes(*endpoint.id().as_bytes()),
    }
}

/// Reads a secret key, as 64 hexadecimal digits, or makes one.
pub(crate) fn secret_key(path: &Path) -> Outcome<SecretKey> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    match fs::read_to_string(path) {
        Ok(text) => {
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes());
            let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
            let bytes = bytes.ok_or_else(|| format!("{}: not a secret key", path.display()))?;
            Ok(SecretKey::from_bytes(&bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SecretKey::generate();
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path).map_err(failed)?;
            let text = data_encoding::HEXLOWER.encode(&key.to_bytes());
            writeln!(file, "{text}").map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error).into()),
    }
}

/// Comes when the program is told to end: Ctrl-C, or `kill`.
pub(crate) async fn interrupted() -> Outcome {
    #[cfg(unix)]
    let signals = [Signal::Int, Signal::Term, Signal::Hup];
    #[cfg(not(unix))]
    let signals = [Signal::Int];
    match Signals::new(signals)?.next().await {
        Some(signal) => drop(signal?),
        None => future::pending().await,
    }
    Ok(())
}

/// Writes a line at once.
///
/// # Errors
///
/// When nobody reads any more, for one; that is no failure of the program, see [`exit`].
/// (`println!` would panic.)
pub(crate) fn line(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Tells the person, where the output is for programs. It does not matter if nobody reads it.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How the program `name` ends. Quietly, when all that has happened is that nobody reads any more.
pub(crate) fn exit(name: &str, outcome: Outcome<ExitCode>) -> ExitCode {
    let error = match outcome {
        Ok(code) => return code,
        Err(error) => error,
    };
    let first: &(dyn Error + 'static) = &*error;
    let causes: Vec<_> = successors(Some(first), |&cause| cause.source()).collect();
    let mut io = causes.iter().filter_map(|cause| cause.downcast_ref());
    if io.any(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let texts: Vec<_> = causes.iter().map(ToString::to_string).collect();
    note(format_args!("{name}: {}", texts.join(": ")));
    ExitCode::FAILURE
}
