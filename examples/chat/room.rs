//! A room, as seen by one who is in it.

use std::{
    collections::BTreeMap,
    fmt, io,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use smol::{
    Timer, Unblock,
    io::{AsyncBufReadExt, BufReader},
    stream::{self, StreamExt},
};
use smol_gossip::{
    api::ApiError,
    signed::{Author, Received, Refused, SignedEvent, SignedReceiver, SignedSender, Stamp},
};

use crate::{
    MAX_NAME, name,
    support::{Outcome, interrupted, line},
};

/// The most people who are remembered. Anybody can make up any number of them.
const MAX_PEOPLE: usize = 1000;

/// After this many periods without a word, somebody is gone.
const SILENT_PERIODS: u32 = 3;

/// How long to wait for more of what was said before, to show it in order.
const SETTLING: Duration = Duration::from_millis(500);

/// The payload of a message: what one of the people in a room has to say.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The nickname. Anybody can take any; it is the author that is proven.
    name: String,
    said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// "I have come, who is there?"
    Hello,
    /// "I am here", in answer to the above and every now and then.
    Here,
    /// Something for everyone to read.
    Text(String),
    /// "I am going."
    Bye,
}

pub(crate) struct Room {
    name: String,
    sender: SignedSender,
    /// When we came. What was said before is history.
    came: Stamp,
    people: BTreeMap<Author, Person>,
    refused: Refused,
    /// How many lines of history to show.
    history: usize,
    /// History that was not shown yet, in the order in which it was said.
    earlier: BTreeMap<(Stamp, Author), String>,
    /// Whether more history came since the last look.
    settling: bool,
    neighbors: usize,
}

/// Somebody who was heard of and has not gone.
struct Person {
    name: String,
    /// Periods since the last word.
    silent: u32,
}

/// What can happen in a room.
enum Happening {
    Typed(io::Result<String>),
    TypedLast,
    Event(Result<SignedEvent, ApiError>, Refused),
    Closed,
    Look,
    Period,
    Interrupted(Outcome),
}

impl Room {
    pub(crate) fn new(name: String, history: usize, sender: SignedSender) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is a program")]
        let came = Stamp::from_system_time(SystemTime::now());
        Self {
            name,
            sender,
            came,
            people: BTreeMap::new(),
            refused: Refused::default(),
            history,
            earlier: BTreeMap::new(),
            settling: false,
            neighbors: 0,
        }
    }

    /// Talks until there is nothing more to read from the keyboard, or Ctrl-C.
    pub(crate) async fn talk(mut self, receiver: SignedReceiver, presence: Duration) -> Outcome {
        line(format_args!(
            "* you are {}; /peers shows who is here, /nick renames you, /quit leaves",
            Shown(&self.name, self.sender.author())
        ))?;
        // Reading blocks, so a thread of smol's pool does it.
        let typed = BufReader::new(Unblock::new(io::stdin())).lines();
        let typed = typed.map(Happening::Typed);
        let events = Box::pin(stream::unfold(receiver, |mut receiver| async {
            let event = receiver.next().await?;
            Some((Happening::Event(event, receiver.refused()), receiver))
        }));
        let interrupted = Box::pin(stream::once_future(interrupted()));
        let mut happenings = stream::or(
            stream::or(
                interrupted.map(Happening::Interrupted),
                events.chain(stream::once(Happening::Closed)),
            ),
            stream::or(
                stream::or(
                    Timer::interval(SETTLING).map(|_| Happening::Look),
                    Timer::interval(presence).map(|_| Happening::Period),
                ),
                typed.chain(stream::once(Happening::TypedLast)),
            ),
        );
        self.say(Said::Hello).await?;
        let mut outcome = Ok(());
        while let Some(happening) = happenings.next().await {
            match self.live_through(happening).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // Also when there is nobody any more to read what we would show.
        let farewell = self.say(Said::Bye).await;
        outcome.and(farewell)
    }

    /// Whether to go on.
    async fn live_through(&mut self, happening: Happening) -> Outcome<bool> {
        match happening {
            Happening::Typed(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                line("* not sent, as it is not text")?;
            }
            Happening::Typed(typed) => return self.obey(typed?.trim()).await,
            Happening::TypedLast => return Ok(false),
            Happening::Event(event, refused) => {
                self.warn_of(refused)?;
                self.follow(event?).await?;
            }
            Happening::Closed => return Err("the node has stopped".into()),
            Happening::Look => self.show_earlier()?,
            Happening::Period => {
                self.say(Said::Here).await?;
                self.miss_silent()?;
            }
            Happening::Interrupted(interrupted) => {
                interrupted?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn obey(&mut self, typed: &str) -> Outcome<bool> {
        let (command, rest) = typed.split_once(' ').unwrap_or((typed, ""));
        match command {
            "/quit" => return Ok(false),
            "/peers" => self.show_people()?,
            "/nick" => match name(rest) {
                Ok(name) => {
                    self.name = name;
                    self.say(Said::Here).await?;
                    line(format_args!("* you are {} now", Plain(&self.name)))?;
                }
                Err(reason) => line(format_args!("* {reason}"))?,
            },
            command if command.starts_with('/') => line(format_args!(
                "* there are /peers, /nick NAME and /quit, and no {}",
                Plain(command)
            ))?,
            _ if typed.is_empty() => {}
            _ => self.say(Said::Text(typed.to_owned())).await?,
        }
        Ok(true)
    }

    async fn say(&mut self, said: Said) -> Outcome {
        let name = self.name.clone();
        let payload = postcard::to_stdvec(&Line { name, said })?;
        match self.sender.broadcast(&payload).await {
            Err(ApiError::TooLarge { len, max, .. }) => {
                line(format_args!(
                    "* not sent, as it is too long by {} bytes",
                    len - max
                ))?;
                Ok(())
            }
            sent => Ok(sent.map(drop)?),
        }
    }

    fn warn_of(&mut self, refused: Refused) -> Outcome {
        let Refused { invalid, .. } = self.refused;
        if refused.invalid > invalid {
            let count = refused.invalid - invalid;
            line(format_args!(
                "* not shown, since nobody has signed them: {count} messages"
            ))?;
        }
        self.refused = refused;
        Ok(())
    }

    async fn follow(&mut self, event: SignedEvent) -> Outcome {
        match event {
            SignedEvent::Received(message) => self.hear(message).await?,
            SignedEvent::Lagged => line("* some messages are missing here")?,
            // Neighbors are not people: most of a large room are none of ours.
            SignedEvent::NeighborUp(_) => {
                if self.neighbors == 0 {
                    line("* connected")?;
                }
                self.neighbors += 1;
            }
            SignedEvent::NeighborDown(_) => {
                self.neighbors = self.neighbors.saturating_sub(1);
                if self.neighbors == 0 {
                    line("* nobody is connected; what you say is kept for who comes next")?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn hear(&mut self, message: Received) -> Outcome {
        let author = message.author;
        let Ok(Line { name, said }) = postcard::from_bytes(&message.payload) else {
            line(format_args!(
                "* what {} says cannot be read",
                Shown("somebody", author)
            ))?;
            return Ok(());
        };
        if message.stamp < self.came {
            if let (Said::Text(text), 1..) = (said, self.history) {
                let text = format!("{}: {}", Shown(&name, author), Plain(&text));
                self.earlier.insert((message.stamp, author), text);
                if self.earlier.len() > self.history {
                    self.earlier.pop_first();
                }
                self.settling = true;
            }
            return Ok(());
        }
        let shown = Shown(&name, author);
        let known = self.people.get(&author);
        match &said {
            Said::Hello | Said::Here if known.is_none() => {
                line(format_args!("* {shown} is here"))?;
            }
            Said::Hello => line(format_args!("* {shown} is back"))?,
            Said::Here => {}
            Said::Text(text) => line(format_args!("{shown}: {}", Plain(text)))?,
            Said::Bye => line(format_args!("* {shown} has left"))?,
        }
        if let Some(known) = known.filter(|known| known.name != name)
            && !matches!(said, Said::Bye)
        {
            line(format_args!("* {} is {shown} now", Plain(&known.name)))?;
        }
        match said {
            Said::Bye => {
                self.people.remove(&author);
            }
            Said::Hello | Said::Here | Said::Text(_) => self.remember(author, &name),
        }
        if let Said::Hello = said {
            self.say(Said::Here).await?;
        }
        Ok(())
    }

    fn remember(&mut self, author: Author, name: &str) {
        if self.people.len() < MAX_PEOPLE || self.people.contains_key(&author) {
            let name = name.chars().take(MAX_NAME).collect();
            self.people.insert(author, Person { name, silent: 0 });
        }
    }

    /// Those who went without a word.
    fn miss_silent(&mut self) -> Outcome {
        for person in self.people.values_mut() {
            person.silent += 1;
        }
        let gone = |_: &Author, person: &mut Person| person.silent > SILENT_PERIODS;
        for (author, person) in self.people.extract_if(.., gone) {
            line(format_args!("* {} is gone", Shown(&person.name, author)))?;
        }
        Ok(())
    }

    fn show_earlier(&mut self) -> Outcome {
        if self.settling || self.earlier.is_empty() {
            self.settling = false;
            return Ok(());
        }
        line("* said before you came:")?;
        for text in std::mem::take(&mut self.earlier).into_values() {
            line(format_args!("  {text}"))?;
        }
        Ok(())
    }

    fn show_people(&self) -> Outcome {
        match self.people.len() {
            0 => line("* nobody else has been heard of")?,
            count => line(format_args!("* {count} besides you:"))?,
        }
        for (author, person) in &self.people {
            line(format_args!("*   {}", Shown(&person.name, *author)))?;
        }
        Ok(())
    }
}

/// A nickname and the beginning of the key behind it.
struct Shown<'a>(&'a str, Author);

impl fmt::Display for Shown<'_> {
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
            .map(|character| match character {
                // Those of Unicode that turn the direction of writing.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
                character if character.is_control() => char::REPLACEMENT_CHARACTER,
                character => character,
            })
            .try_for_each(|character| fmt::Write::write_char(f, character))
    }
}
