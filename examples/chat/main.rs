//! A chat: a topic is the room, and every message is signed by who wrote it.
//!
//! ```sh
//! cargo run --features examples --example chat -- open --name ann
//! cargo run --features examples --example chat -- join --name bob TICKET
//! ```
//!
//! It works between two terminals of one machine, between machines of one network, and over the
//! internet. `--no-relay` at both ends keeps it on the machine.

#[path = "../support/mod.rs"]
mod support;

mod room;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use smol::future;
use smol_gossip::{
    Gossip,
    net::{Builder, Limits},
    proto::PlumtreeConfig,
    signed::{ReplayLimits, SignedTopic, Signer},
    ticket::Ticket,
};

use room::Room;
use support::{Node, NodeOptions, Outcome, interrupted, line, topic_of};

/// The longest nickname, in characters.
const MAX_NAME: usize = 24;

/// How long a node keeps what was said, for those who come later.
const HISTORY: Duration = Duration::from_secs(10 * 60);

/// The most messages that a node offers to who comes later. Not all are something to read.
const HISTORY_MESSAGES: usize = 1000;

/// Chat over gossip, every message signed by who wrote it.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    entrance: Entrance,
}

#[derive(Debug, Subcommand)]
enum Entrance {
    /// Open a room, and print the ticket that others join with
    Open {
        /// What the room is named after; without it, its ticket is the only way in
        #[arg(long)]
        topic: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Join a room
    Join {
        /// What `chat open` printed
        ticket: Ticket,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// The nickname to go by
    #[arg(long, default_value = "somebody", value_parser = name)]
    name: String,
    /// How many lines that were said before we came to show, and whether to keep them for those
    /// who come later; 0 is none
    #[arg(long, value_name = "LINES", default_value_t = 20)]
    history: usize,
    /// How often to say that we are still here
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = period)]
    presence: Duration,
    #[command(flatten)]
    node: NodeOptions,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = smol::block_on(chat(cli.entrance));
    support::exit("chat", outcome.map(|()| ExitCode::SUCCESS))
}

async fn chat(entrance: Entrance) -> Outcome {
    let (name_of_topic, options, ticket) = match entrance {
        Entrance::Open { topic, options } => (topic, options, None),
        Entrance::Join { ticket, options } => (None, options, Some(ticket)),
    };
    // Whoever is impatient may go at any time.
    let entering = async {
        let node = Node::start(&options.node, gossip(options.history)).await?;
        Ok(Some(node))
    };
    let leaving = async {
        interrupted().await?;
        Ok(None)
    };
    let entered: Outcome<Option<Node>> = future::or(entering, leaving).await;
    let Some(node) = entered? else {
        return Ok(());
    };
    let outcome = converse(&node, name_of_topic.as_deref(), options, ticket).await;
    // Whatever came before, nobody is to wait for us.
    node.close().await?;
    outcome
}

async fn converse(
    node: &Node,
    name_of_topic: Option<&str>,
    options: Options,
    ticket: Option<Ticket>,
) -> Outcome {
    let (topic, bootstrap) = match ticket {
        Some(ticket) => node.admit(ticket),
        None => {
            let topic = topic_of(name_of_topic, &node.endpoint);
            line("* the room is open; join it with this ticket:")?;
            line(node.ticket(topic))?;
            (topic, vec![])
        }
    };
    if !node.online && !options.node.no_relay {
        line("* no relay can be reached: this is between machines of one network")?;
    }
    if !bootstrap.is_empty() {
        line("* joining ...")?;
    }
    let subscription = node.gossip.subscribe(topic, bootstrap).await?;
    let mut limits = ReplayLimits::default();
    limits.max_age = HISTORY;
    let signer = Signer::from(node.endpoint.secret_key());
    let (sender, receiver) = SignedTopic::with_limits(subscription, topic, signer, limits).split();
    let room = Room::new(options.name, options.history, sender);
    let warning = async {
        node.warn_if_nobody_answers().await;
        future::pending().await
    };
    future::or(room.talk(receiver, options.presence), warning).await
}

/// A node that keeps what was said, if anybody is to see it later.
fn gossip(history: usize) -> Builder {
    if history == 0 {
        return Gossip::builder();
    }
    let broadcast = PlumtreeConfig {
        message_cache_retention: HISTORY,
        message_id_retention: HISTORY * 2,
        ..PlumtreeConfig::default()
    };
    let mut limits = Limits::default();
    limits.protocol.late_join_history = HISTORY_MESSAGES;
    Gossip::builder().broadcast_config(broadcast).limits(limits)
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    match name.chars().count() {
        1..=MAX_NAME => Ok(name.to_owned()),
        _ => Err(format!("a nickname has from 1 to {MAX_NAME} characters")),
    }
}

fn period(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("from 1 to 3600 seconds".into()),
    }
}
