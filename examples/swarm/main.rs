//! A swarm in one process, on loopback: nodes meet through one of them, each broadcasts, and a
//! table shows what arrived.
//!
//! ```sh
//! cargo run --release --example swarm
//! cargo run --release --example swarm -- --nodes 30 --executor edge
//! ```
//!
//! The program ends with an error if a message was lost or came twice.

use std::{error::Error, iter::successors, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum, error::ErrorKind};
use smol_gossip::runtime::{SmolRuntime, TokioRuntime, edge};

use self::{
    host::{EdgeHost, SmolHost, TokioHost},
    run::{Outcome, run},
};

mod host;
mod message;
mod run;
mod table;
mod tally;

/// The most deliveries in a run, since each is remembered.
const MAX_DELIVERIES: usize = 20_000_000;

/// Runs a swarm of nodes in this process, on loopback. Each broadcasts; a table shows what arrived.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many nodes
    #[arg(long, default_value_t = 8, value_parser = nodes)]
    nodes: usize,
    /// How many messages each node broadcasts
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// The size of a message, in bytes
    #[arg(long, default_value_t = 64, value_parser = size)]
    size: usize,
    /// How many messages each node broadcasts in a second
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    rate: f64,
    /// What everything runs on
    #[arg(long, value_enum, default_value_t = Executor::Smol)]
    executor: Executor,
    /// How many seconds all may take
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Also show what the nodes counted, those of all nodes added up
    #[arg(long)]
    counters: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Executor {
    /// The application on smol, the nodes next to the sockets on a thread of their own
    Smol,
    /// A multi-threaded tokio runtime, with iroh's router
    Tokio,
    /// Everything on one thread
    Edge,
}

impl Args {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// From one message of a node to its next.
    fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// How many messages all other nodes together send to each.
    fn expected(&self) -> usize {
        (self.nodes - 1) * self.messages as usize
    }

    /// What no option alone can tell.
    fn check(self) -> Result<Self, clap::Error> {
        let deliveries = self.nodes.saturating_mul(self.expected());
        if deliveries > MAX_DELIVERIES {
            let text = format!(
                "{} nodes with {} messages each are {deliveries} deliveries, and no more than \
                 {MAX_DELIVERIES} can be counted\n",
                self.nodes, self.messages
            );
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        }
        let seconds = f64::from(self.messages) / self.rate;
        if seconds >= self.timeout as f64 {
            let text = format!(
                "{} messages at a rate of {} take {seconds:.0} seconds, and --timeout is {}\n",
                self.messages, self.rate, self.timeout
            );
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        }
        Ok(self)
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse().and_then(Args::check) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run_on(args) {
        Ok(outcome) => {
            print!("{}", table::render(&outcome));
            match outcome.failure() {
                None => ExitCode::SUCCESS,
                Some(failure) => fail(&failure),
            }
        }
        Err(error) => fail(&with_causes(&*error)),
    }
}

/// An error, and in the same line what led to it.
fn with_causes(error: &dyn Error) -> String {
    let causes = successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("swarm: {reason}");
    ExitCode::FAILURE
}

fn run_on(args: Args) -> Result<Outcome, Box<dyn Error>> {
    match args.executor {
        Executor::Smol => {
            let host = SmolHost::new(SmolRuntime::start()?);
            smol::block_on(run(&host, &args))
        }
        Executor::Tokio => {
            let tokio = tokio::runtime::Runtime::new()?;
            tokio.block_on(async {
                let host = TokioHost::new(TokioRuntime::current()?);
                run(&host, &args).await
            })
        }
        Executor::Edge => edge::block_on(|edge| async move {
            let host = EdgeHost::new(edge);
            run(&host, &args).await
        })?,
    }
}

fn nodes(text: &str) -> Result<usize, String> {
    bounded(text, 2, 500)
}

fn size(text: &str) -> Result<usize, String> {
    bounded(text, message::MIN_SIZE, message::max_size())
}

fn bounded(text: &str, min: usize, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("it has to be a number from {min} to {max}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("it has to be a number from 0.01 to 100000".to_owned()),
    }
}
