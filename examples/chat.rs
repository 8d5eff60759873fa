//! A chat: a topic is the room, and every message is signed by who wrote it.
//!
//! ```sh
//! cargo run --features examples --example chat -- open --name ann
//! cargo run --features examples --example chat -- join --name bob TICKET
//! ```
//!
//! With `--no-relay` at both ends it works between two terminals of one machine, without internet.

use std::{
    collections::BTreeMap, error::Error, fmt, io, iter::successors, net::Ipv4Addr,
    process::ExitCode, time::Duration,
};

use clap::{Args, Parser, Subcommand};
use iroh::{Endpoint, RelayMode, address_lookup::memory::MemoryLookup, endpoint::presets};
use serde::{Deserialize, Serialize};
use smol::{
    Timer, Unblock, future,
    io::{AsyncBufReadExt, BufReader},
    stream::{self, StreamExt},
};
use smol_gossip::{
    ALPN, Gossip, TopicId,
    api::{ApiError, Event, GossipReceiver, GossipSender, Message},
    net::transport_config,
    runtime::SmolRuntime,
    signed::{Author, SignedMessage, Signer},
    ticket::Ticket,
};

/// How long to wait for a relay, and for somebody who is in the room already.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest nickname, in characters.
const MAX_NAME: usize = 24;

/// The most people who are remembered. Anybody can make up any number of them.
const MAX_PEOPLE: usize = 1000;

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
    /// Stay on this machine: no relay, no internet
    #[arg(long)]
    no_relay: bool,
    /// The UDP port to bind; 0 is any
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    bind_port: u16,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match chat(cli.entrance) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = successors(error.source(), |&cause| cause.source());
            let reason = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            eprintln!("chat: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn chat(entrance: Entrance) -> Result<(), Box<dyn Error>> {
    let runtime = SmolRuntime::start()?;
    smol::block_on(async {
        let (topic, options, ticket) = match entrance {
            Entrance::Open { topic, options } => (topic, options, None),
            Entrance::Join { ticket, options } => (None, options, Some(ticket)),
        };
        let lookup = MemoryLookup::new();
        let endpoint = bind(&runtime, &options, lookup.clone()).await?;
        let (topic, bootstrap) = match ticket {
            Some(ticket) => {
                let (topic, peers) = ticket.into_parts();
                let ids = peers.iter().map(|peer| peer.id).collect();
                for peer in peers {
                    lookup.add_endpoint_info(peer);
                }
                (topic, ids)
            }
            None => {
                let topic = match topic {
                    Some(name) => blake3::hash(name.as_bytes()).into(),
                    // Our own id is a name that nobody else thinks of.
                    None => TopicId::from_bytes(*endpoint.id().as_bytes()),
                };
                let ticket = Ticket::new(topic, vec![endpoint.addr()])?;
                println!("* the room is open; join it with this ticket:");
                println!("{ticket}");
                (topic, vec![])
            }
        };

        let (gossip, driver) = Gossip::builder()
            .accept_incoming(true)
            .build(endpoint.clone(), runtime.clone())?;
        let driver = runtime.spawn_driver(driver);
        let joining = !bootstrap.is_empty();
        let (sender, mut receiver) = gossip.subscribe(topic, bootstrap).await?.split();
        let mut outcome = Ok(());
        if joining {
            println!("* joining ...");
            outcome = joined(&mut receiver).await;
        }
        if outcome.is_ok() {
            let room = Room {
                topic,
                signer: Signer::from(endpoint.secret_key()),
                name: options.name,
                sender,
                lines: 0,
                people: BTreeMap::new(),
            };
            outcome = room.talk(receiver).await;
        }

        // Whatever came before, nobody is to wait for us.
        gossip.shutdown().await?;
        driver.await?;
        runtime.context().wrap(endpoint.close()).await;
        outcome
    })
}

async fn bind(
    runtime: &SmolRuntime,
    options: &Options,
    lookup: MemoryLookup,
) -> Result<Endpoint, Box<dyn Error>> {
    let builder = match options.no_relay {
        true => Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, options.bind_port))?,
        false => {
            Endpoint::builder(presets::N0).bind_addr((Ipv4Addr::UNSPECIFIED, options.bind_port))?
        }
    };
    let builder = builder
        .address_lookup(lookup)
        .transport_config(transport_config())
        .alpns(vec![ALPN.to_vec()]);
    let endpoint = runtime.context().wrap(builder.bind()).await?;
    if !options.no_relay {
        // Without a relay the ticket would be of no use outside of our network.
        let online = async {
            runtime.context().wrap(endpoint.online()).await;
            Ok(())
        };
        let offline = after(
            PATIENCE,
            "no relay can be reached: is there internet? (--no-relay)",
        );
        future::or(online, offline).await?;
    }
    Ok(endpoint)
}

async fn joined(receiver: &mut GossipReceiver) -> Result<(), Box<dyn Error>> {
    let joined = async { Ok(receiver.joined().await?) };
    future::or(joined, after(PATIENCE, "nobody of the ticket is there")).await
}

async fn after(time: Duration, reason: &str) -> Result<(), Box<dyn Error>> {
    Timer::after(time).await;
    Err(reason.into())
}

/// The payload of a signed message: what one of the people in a room has to say.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// How many lines its author sent before. It makes equal lines differ: to the protocol, equal
    /// messages are one.
    number: u64,
    /// The nickname. Anybody can take any; it is the author that is proven.
    name: String,
    said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// "I have come, who is there?"
    Hello,
    /// "I am here", in answer to the above.
    Here,
    /// Something for everyone to read.
    Text(String),
    /// "I am going."
    Bye,
}

/// A room, as seen by one who is in it.
struct Room {
    topic: TopicId,
    signer: Signer,
    name: String,
    sender: GossipSender,
    /// How many lines we sent.
    lines: u64,
    /// Nicknames of those that were heard of and have not gone.
    people: BTreeMap<Author, String>,
}

/// What can happen in a room.
enum Happening {
    Typed(io::Result<String>),
    TypedLast,
    Event(Result<Event, ApiError>),
    Closed,
}

impl Room {
    /// Talks until there is nothing more to read from the keyboard.
    async fn talk(mut self, receiver: GossipReceiver) -> Result<(), Box<dyn Error>> {
        println!(
            "* you are {}; /peers shows who is here, /quit leaves",
            Person(&self.name, self.signer.author())
        );
        // Reading blocks, so a thread of smol's pool does it.
        let typed = BufReader::new(Unblock::new(io::stdin())).lines();
        let typed = typed.map(Happening::Typed);
        let events = receiver.map(Happening::Event);
        let mut happenings = stream::or(
            events.chain(stream::once(Happening::Closed)),
            typed.chain(stream::once(Happening::TypedLast)),
        );
        self.say(Said::Hello).await?;
        while let Some(happening) = happenings.next().await {
            match happening {
                Happening::Typed(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    println!("* not sent, as it is not text");
                }
                Happening::Typed(line) => match line?.trim() {
                    "" => {}
                    "/quit" => break,
                    "/peers" => self.show_people(),
                    command if command.starts_with('/') => {
                        println!("* there are /peers and /quit, and no {}", Plain(command));
                    }
                    text => self.say(Said::Text(text.to_owned())).await?,
                },
                Happening::TypedLast => break,
                Happening::Event(event) => self.follow(event?).await?,
                Happening::Closed => return Err("the node has stopped".into()),
            }
        }
        self.say(Said::Bye).await
    }

    async fn say(&mut self, said: Said) -> Result<(), Box<dyn Error>> {
        let line = Line {
            number: self.lines,
            name: self.name.clone(),
            said,
        };
        self.lines += 1;
        let line = postcard::to_stdvec(&line)?;
        let envelope = self.signer.sign(self.topic, &line);
        match self.sender.broadcast(envelope).await {
            Err(ApiError::TooLarge { len, max, .. }) => {
                println!("* not sent, as it is too long by {} bytes", len - max);
                Ok(())
            }
            sent => Ok(sent?),
        }
    }

    async fn follow(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Received(message) => self.hear(&message).await?,
            Event::Lagged => println!("* some messages are missing here"),
            // Neighbors are not people: most of a large room are none of ours.
            Event::NeighborUp(_) | Event::NeighborDown(_) => {}
        }
        Ok(())
    }

    async fn hear(&mut self, message: &Message) -> Result<(), Box<dyn Error>> {
        let from = message.delivered_from.fmt_short();
        let message = match SignedMessage::verify(self.topic, &message.content) {
            Ok(message) => message,
            Err(error) => {
                println!("* a message that {from} passed on is not to be trusted: {error}");
                return Ok(());
            }
        };
        let author = message.author();
        let Ok(line) = postcard::from_bytes::<Line>(message.payload()) else {
            println!("* what {} says cannot be read", Person("somebody", author));
            return Ok(());
        };
        let person = Person(&line.name, author);
        match &line.said {
            Said::Hello | Said::Here if !self.people.contains_key(&author) => {
                println!("* {person} is here");
            }
            Said::Hello | Said::Here => {}
            Said::Text(text) => println!("{person}: {}", Plain(text)),
            Said::Bye => println!("* {person} has left"),
        }
        match line.said {
            Said::Bye => {
                self.people.remove(&author);
            }
            Said::Hello | Said::Here | Said::Text(_) => self.remember(author, &line.name),
        }
        if let Said::Hello = line.said {
            self.say(Said::Here).await?;
        }
        Ok(())
    }

    fn remember(&mut self, author: Author, name: &str) {
        if self.people.len() < MAX_PEOPLE || self.people.contains_key(&author) {
            let name = name.chars().take(MAX_NAME).collect();
            self.people.insert(author, name);
        }
    }

    fn show_people(&self) {
        match self.people.len() {
            0 => println!("* nobody else has been heard of"),
            count => println!("* {count} besides you:"),
        }
        for (author, name) in &self.people {
            println!("*   {}", Person(name, *author));
        }
    }
}

/// A nickname and the beginning of the key behind it.
struct Person<'a>(&'a str, Author);

impl fmt::Display for Person<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.0.chars().take(MAX_NAME).collect();
        let author = self.1.to_string();
        write!(f, "{} ({})", Plain(&name), &author[..10])
    }
}

/// Text of others, without what would command the terminal.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .map(|character| match character.is_control() {
                true => char::REPLACEMENT_CHARACTER,
                false => character,
            })
            .try_for_each(|character| fmt::Write::write_char(f, character))
    }
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    match name.chars().count() {
        1..=MAX_NAME => Ok(name.to_owned()),
        _ => Err(format!("a nickname has from 1 to {MAX_NAME} characters")),
    }
}
