//! An application's end of a subscription.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures_lite::Stream;
use iroh::EndpointId;

use super::number;
use crate::{
    api::{Event, GossipReceiver, GossipSender},
    proto::{Config, DeliveryScope},
};

/// What the application has of a subscription, and has seen of it.
pub(in crate::net::tests) struct Subscription {
    pub(in crate::net::tests) key: u64,
    pub(in crate::net::tests) topic: usize,
    pub(in crate::net::tests) sender: GossipSender,
    pub(super) receiver: GossipReceiver,
    pub(in crate::net::tests) through: Vec<usize>,
    pub(in crate::net::tests) since: Instant,
    /// When each message came.
    pub(in crate::net::tests) received: BTreeMap<u64, Instant>,
    /// Neighbors that came (`true`) and went.
    pub(in crate::net::tests) changes: Vec<(Instant, usize, bool)>,
    pub(in crate::net::tests) lagged: usize,
    pub(in crate::net::tests) ended: bool,
    pub(in crate::net::tests) reading: bool,
}

impl Subscription {
    /// Takes all events that there are.
    pub(super) fn read(&mut self, now: Instant, n: usize, trace: &mut DefaultHasher) {
        if !self.reading || self.ended {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(event) = Pin::new(&mut self.receiver).poll_next(&mut cx) {
            let Some(event) = event else {
                self.ended = true;
                return;
            };
            let event = event.expect("a local node does not fail");
            (n, &self.key).hash(trace);
            match event {
                Event::NeighborUp(peer) => {
                    (peer, true).hash(trace);
                    self.changes.push((now, number(&peer), true));
                }
                Event::NeighborDown(peer) => {
                    (peer, false).hash(trace);
                    self.changes.push((now, number(&peer), false));
                }
                Event::Received(message) => {
                    let number = number_of(&message.content);
                    (number, message.delivered_from).hash(trace);
                    let before = self.received.insert(number, now);
                    // Ids are forgotten, and clocks jump: what was held up for longer is new again.
                    let remembered = Config::default().broadcast.message_id_retention;
                    let may_come_again = message.scope == DeliveryScope::Neighbors;
                    assert!(
                        may_come_again || before.is_none_or(|before| now >= before + remembered),
                        "message {number} came twice to a subscription of node {n}: after {:?}",
                        before.map(|before| now - before)
                    );
                }
                Event::Lagged => self.lagged += 1,
            }
        }
    }

    pub(in crate::net::tests) fn check_bounds(&self, peers: usize) {
        self.sender.check_bounds();
        self.receiver.check_bounds(peers);
    }

    pub(in crate::net::tests) fn neighbors(&self) -> impl Iterator<Item = EndpointId> + '_ {
        self.receiver.neighbors()
    }
}

fn number_of(content: &[u8]) -> u64 {
    let first = content.get(..8).and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(first.expect("every message has a number"))
}
