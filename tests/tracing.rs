//! What a node says to those who trace it: nothing at `info`, and enough at `debug`.
#![cfg(feature = "net")]

mod common;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
};

use common::*;
use iroh::address_lookup::memory::MemoryLookup;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

struct Writer<'a>(MutexGuard<'a, Vec<u8>>);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(self.0.lock().unwrap())
    }
}

/// Two nodes meet, talk and part, all on this thread. What was said meanwhile.
async fn said_at(level: &str) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("smol_gossip={level}")))
        .with_ansi(false)
        .without_time()
        .with_writer(lines.clone())
        .finish();
    let subscriber = tracing::subscriber::set_default(subscriber);
    let book = MemoryLookup::new();
    let one = Node::start(1, &book).await;
    let two = Node::start(2, &book).await;
    let mut here = one.subscribe(topic(1), &[]).await;
    let there = two.subscribe(topic(1), &[one.id()]).await;
    here.events.up(two.id()).await;
    there.broadcast("hello").await;
    here.events.message().await;
    two.stop().await;
    here.events.down(id(2)).await;
    // Nobody is there to be joined any more.
    here.sender.join_peers(vec![id(9)]).await.expect("open");
    one.stop().await;
    drop(subscriber);
    let lines = lines.0.lock().unwrap();
    String::from_utf8(lines.clone()).expect("text")
}

#[tokio::test]
async fn quiet_at_info_and_useful_at_debug() {
    assert_eq!(said_at("info").await, "");
    let said = said_at("debug").await;
    let (one, two) = (id(1).fmt_short().to_string(), id(2).fmt_short().to_string());
    let topic = topic(1).fmt_short();
    for line in [
        format!("DEBUG gossip{{me={one}}}: smol_gossip::net::orders: subscribe topic={topic}"),
        format!("DEBUG gossip{{me={two}}}: smol_gossip::net::dial: dial peer={one}"),
        format!("DEBUG gossip{{me={two}}}: smol_gossip::net::links: connected peer={one}"),
        format!("DEBUG gossip{{me={one}}}:peer{{id={two}}}:topic{{id={topic}}}: "),
        format!("topic={topic} peer={two} reason=Left"),
    ] {
        assert!(said.contains(&line), "{line}\nis not in\n{said}");
    }
}
