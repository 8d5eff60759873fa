//! A pipe into a topic and out of it: lines of stdin are sent, what others send goes to stdout.
//!
//! ```sh
//! cargo run --features examples --example gossip_cat -- open > heard.txt
//! ls | cargo run --features examples --example gossip_cat -- join TICKET
//! ```
//!
//! The ticket, and all else that is not data, goes to stderr. When stdin ends, and all of it is on
//! its way, the program ends; with `--stay` it goes on to listen, and so does who opens a topic without
//! any stdin. A connection that is lost is made again.
//!
//! Lines are signed with the node's key, so equal lines are different messages and the output says
//! who wrote them; `--raw` sends and shows bytes as they are, for topics of other programs.
//!
//! | exit code | |
//! |---|---|
//! | 0 | all that was read was sent, or nobody reads the output any more, or Ctrl-C |
//! | 1 | something failed; stderr says what |
//! | 2 | the command line is wrong |
//! | 3 | nobody of the ticket was there within `--timeout` |
//! | 4 | some lines were not sent, as they are too long; all others were |

mod support;

use std::{cell::Cell, io, process::ExitCode, str, time::Duration};

use clap::{Args, Parser, Subcommand};
use iroh::EndpointId;
use serde_json::{Value, json};
use smol::{
    Timer, Unblock, future,
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader},
    stream::{Stream, StreamExt},
};
use smol_gossip::{
    Gossip,
    api::{ApiError, Event, GossipSender, Published},
    signed::{SignedEvent, SignedSender, SignedTopic, Signer},
    ticket::Ticket,
};

use support::{Node, NodeOptions, Outcome, interrupted, line, note, topic_of};

/// Nobody of the ticket was there in time.
const NOBODY: u8 = 3;

/// Some lines were too long.
const NOT_ALL: u8 = 4;

const EXIT_CODES: &str = "\
Exit codes:
  0  all that was read was sent, or nobody reads the output any more, or Ctrl-C
  1  something failed; stderr says what
  2  the command line is wrong
  3  nobody of the ticket was there within --timeout
  4  some lines were not sent, as they are too long; all others were";

/// More than any node takes in a message. No more of a line is read into memory.
const MAX_LINE: u64 = 1 << 20;

/// Pipe lines into a topic, and out of it.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    entrance: Entrance,
}

#[derive(Debug, Subcommand)]
enum Entrance {
    /// Open a topic, and print the ticket that others join with to stderr
    Open {
        /// What the topic is named after; without it, its ticket is the only way in
        #[arg(long)]
        topic: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Join a topic
    Join {
        /// What `gossip_cat open` printed
        ticket: Ticket,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Write a JSON object a line, also for what is not a message
    #[arg(long)]
    json: bool,
    /// Send and show bytes as they are, without signatures
    #[arg(long)]
    raw: bool,
    /// Go on listening when stdin has ended
    #[arg(long)]
    stay: bool,
    /// End after this many messages were received
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// Give up if nobody is there after this time
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    node: NodeOptions,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (name, ticket, options) = match cli.entrance {
        Entrance::Open { topic, options } => (topic, None, options),
        Entrance::Join { ticket, options } => (None, Some(ticket), options),
    };
    let outcome = smol::block_on(async {
        let interrupted = async {
            interrupted().await?;
            Ok(None)
        };
        let started = async { Ok(Some(Node::start(&options.node, Gossip::builder()).await?)) };
        let started: Outcome<Option<Node>> = future::or(started, interrupted).await;
        let Some(node) = started? else {
            return Ok(ExitCode::SUCCESS);
        };
        let outcome = pipe(&node, name.as_deref(), ticket, &options).await;
        // Waits until the neighbors have what was sent last.
        node.close().await?;
        outcome
    });
    support::exit("gossip_cat", outcome)
}

async fn pipe(
    node: &Node,
    name: Option<&str>,
    ticket: Option<Ticket>,
    options: &Options,
) -> Outcome<ExitCode> {
    let (topic, bootstrap) = match ticket {
        Some(ticket) => node.admit(ticket),
        None => {
            let topic = topic_of(name, &node.endpoint);
            note(format_args!("ticket: {}", node.ticket(topic)));
            (topic, vec![])
        }
    };
    let opens = bootstrap.is_empty();
    if !node.online && !options.node.no_relay {
        note("gossip_cat: no relay can be reached: this is between machines of one network");
    }
    if !opens {
        note("joining ...");
    }
    let subscription = node.gossip.subscribe(topic, bootstrap).await?;
    let (sender, heard) = if options.raw {
        let (sender, receiver) = subscription.split();
        (Sender::Raw(sender), receiver.map(heard_raw).boxed_local())
    } else {
        let signer = Signer::from(node.endpoint.secret_key());
        let (sender, receiver) = SignedTopic::new(subscription, topic, signer).split();
        let heard = receiver.map(heard_signed).boxed_local();
        (Sender::Signed(sender), heard)
    };
    let (up, joined) = async_channel::bounded::<()>(1);

    // Whichever of the two comes to its end first.
    let sent = Cell::new(Sent::Nothing);
    let receiving = async {
        receive(heard, options, up).await?;
        Ok(sent.get().exit_code())
    };
    let sending = async {
        let in_time = wait_until_joined(&joined, options.timeout).await;
        if !in_time {
            note("gossip_cat: nobody is there");
            return Ok(ExitCode::from(NOBODY));
        }
        send(&sender, BufReader::new(Unblock::new(io::stdin())), &sent).await?;
        // Who opens a topic and says nothing wants to hear.
        if options.stay || options.count.is_some() || (opens && sent.get() == Sent::Nothing) {
            future::pending::<()>().await;
        }
        Ok(sent.get().exit_code())
    };
    let warning = async {
        node.warn_if_nobody_answers().await;
        future::pending().await
    };
    let interrupted = async {
        interrupted().await?;
        Ok(ExitCode::SUCCESS)
    };
    let piping = future::or(receiving, sending);
    future::or(future::or(piping, warning), interrupted).await
}

/// Whether anybody came in time.
async fn wait_until_joined(joined: &async_channel::Receiver<()>, timeout: Option<u64>) -> bool {
    let came = async { joined.recv().await.is_ok() };
    let late = async {
        match timeout {
            Some(seconds) => drop(Timer::after(Duration::from_secs(seconds)).await),
            None => future::pending::<()>().await,
        }
        false
    };
    future::or(came, late).await
}

/// What came out of the topic.
enum Heard {
    Up(EndpointId),
    Down(EndpointId),
    Lagged,
    /// The content, and what is known of it besides.
    Message(Vec<u8>, Value),
}

fn heard_raw(event: Result<Event, ApiError>) -> Result<Heard, ApiError> {
    Ok(match event? {
        Event::NeighborUp(peer) => Heard::Up(peer),
        Event::NeighborDown(peer) => Heard::Down(peer),
        Event::Lagged => Heard::Lagged,
        Event::Received(message) => {
            let known = json!({ "from": message.delivered_from.to_string() });
            Heard::Message(message.content.into(), known)
        }
    })
}

fn heard_signed(event: Result<SignedEvent, ApiError>) -> Result<Heard, ApiError> {
    Ok(match event? {
        SignedEvent::NeighborUp(peer) => Heard::Up(peer),
        SignedEvent::NeighborDown(peer) => Heard::Down(peer),
        SignedEvent::Received(message) => {
            let known = json!({
                "author": message.author.to_string(),
                "from": message.delivered_from.to_string(),
                "signed_at_us": message.stamp.micros(),
            });
            Heard::Message(message.payload.into(), known)
        }
        _ => Heard::Lagged,
    })
}

async fn receive(
    mut heard: impl Stream<Item = Result<Heard, ApiError>> + Unpin,
    options: &Options,
    up: async_channel::Sender<()>,
) -> Outcome<()> {
    let mut left = options.count;
    while left != Some(0) {
        let Some(event) = heard.next().await else {
            return Err("the node has stopped".into());
        };
        let event = event?;
        match &event {
            // Full means that it was said before.
            Heard::Up(_) => drop(up.try_send(())),
            Heard::Message(..) => left = left.map(|left| left - 1),
            Heard::Down(_) | Heard::Lagged => {}
        }
        if options.json {
            line(as_json(event))?;
            continue;
        }
        match event {
            Heard::Up(peer) => note(format_args!("connected to {}", peer.fmt_short())),
            Heard::Down(peer) => note(format_args!("disconnected from {}", peer.fmt_short())),
            Heard::Lagged => note("some messages are missing here"),
            Heard::Message(content, _) => write_line(&content)?,
        }
    }
    Ok(())
}

/// The bytes as they are: they may be no text.
fn write_line(content: &[u8]) -> io::Result<()> {
    use io::Write;

    let mut out = io::stdout().lock();
    out.write_all(content)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn as_json(heard: Heard) -> Value {
    match heard {
        Heard::Up(peer) => json!({ "event": "neighbor_up", "peer": peer.to_string() }),
        Heard::Down(peer) => json!({ "event": "neighbor_down", "peer": peer.to_string() }),
        Heard::Lagged => json!({ "event": "lagged" }),
        Heard::Message(content, mut known) => {
            known["event"] = "message".into();
            match str::from_utf8(&content) {
                Ok(text) => known["text"] = text.into(),
                Err(_) => known["hex"] = data_encoding::HEXLOWER.encode(&content).into(),
            }
            known
        }
    }
}

enum Sender {
    Signed(SignedSender),
    Raw(GossipSender),
}

impl Sender {
    /// Whether it was sent.
    async fn send(&self, content: Vec<u8>) -> Outcome<bool> {
        let sent = match self {
            Self::Signed(sender) => sender.broadcast(&content).await.map(drop),
            Self::Raw(sender) => sender.publish(content.into()).await.map(|published| {
                if published == Published::Duplicate {
                    note("gossip_cat: a line was sent a short while ago, and is not sent again");
                }
            }),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(ApiError::TooLarge { len, max, .. }) => {
                note(format_args!(
                    "gossip_cat: a line of {len} bytes is not sent, the longest has {max}"
                ));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What has become of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There were none.
    Nothing,
    All,
    NotAll,
}

impl Sent {
    fn exit_code(self) -> ExitCode {
        match self {
            Self::All | Self::Nothing => ExitCode::SUCCESS,
            Self::NotAll => ExitCode::from(NOT_ALL),
        }
    }
}

async fn send(
    sender: &Sender,
    mut lines: impl AsyncBufRead + Unpin,
    sent: &Cell<Sent>,
) -> Outcome<()> {
    loop {
        let mut content = Vec::new();
        let read = (&mut lines)
            .take(MAX_LINE)
            .read_until(b'\n', &mut content)
            .await?;
        if read == 0 {
            return Ok(());
        }
        if content.last() == Some(&b'\n') {
            content.pop();
        } else if read as u64 == MAX_LINE {
            // The rest of it is read and forgotten, piece by piece.
            let mut rest = Vec::new();
            while (&mut lines)
                .take(MAX_LINE)
                .read_until(b'\n', &mut rest)
                .await? as u64
                == MAX_LINE
                && rest.last() != Some(&b'\n')
            {
                rest.clear();
            }
        }
        sent.set(match (sender.send(content).await?, sent.get()) {
            (false, _) | (_, Sent::NotAll) => Sent::NotAll,
            (true, _) => Sent::All,
        });
    }
}
