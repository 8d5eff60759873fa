//! Catching up: what two members tell each other when a link between them comes up.
//!
//! A message may pass by a part of the swarm: the links that led there are lost while it spreads, and
//! what waited to be announced over them is void. So whoever lost them has to hear of it over the links
//! that come up instead. The paper has nothing for this; it counts on the lazy links that are left.
//!
//! Only a node itself knows when it has joined, and what was said before that is not for it. So it is
//! asked for: a node that has been a member for longer than the [`WINDOW`] announces *nothing* to each new
//! neighbor (an empty IHave, which is in order at any time), and the neighbor answers with announcements
//! of what came to it within the window. A joiner does not ask. But where it sends a new neighbor a sign of life, since
//! others have failed, that looks the same: it may hear then of what was said up to a window before it joined. A peer
//! that takes the empty announcement for what it is answers nothing, and never asks.
//!
//! A link that comes up costs no more than one such question and one answer in each direction, and one more question
//! where what was sent over it may be lost; while links stay, nothing is said.

use super::{
    Message, Sink, State, announce,
    neighbors::{Neighbor, Serial},
};
use crate::proto::{
    PeerIdentity,
    clock::{At, MaybeAt},
};

/// What came within this time is told of.
///
/// It has to cover the time that a message needs to find its way around many failures at once: a few
/// seconds, where it has to be asked for at each hop. And it has to stay far below the time for which ids
/// are remembered. A message that comes late is new to whoever gets it, who may tell of it for as long
/// again: the longer that is, the more members there are who have joined since the message was published
/// and take it for new as well.
const WINDOW: u64 = 10_000_000_000;

/// The most messages that are told of.
const AT_MOST: usize = 64;

/// Only a new neighbor is answered: later on, an empty announcement is a sign of life and no more.
const WITHIN: u64 = 5_000_000_000;

impl<PI: PeerIdentity> State<PI> {
    /// Asks a new neighbor for what we may have missed.
    pub(super) fn ask_for_latest(&mut self, to: Serial, now: At, sink: &mut impl Sink<PI>) {
        let since = self.member_since.get().unwrap_or(now);
        self.member_since = MaybeAt::some(since);
        if since.after(WINDOW) <= now
            && let Some(neighbor) = self.neighbors.by_serial(to)
        {
            sink.send(neighbor.peer, Message::nothing());
        }
    }

    /// Asks once more where the first time may have been in vain: of what was sent to it, some may not have arrived.
    pub(super) fn ask_for_latest_again(&mut self, peer: &PI, now: At, sink: &mut impl Sink<PI>) {
        if let Some(neighbor) = self.neighbors.find(peer)
            && neighbor.is_new(now)
        {
            let serial = neighbor.serial;
            self.ask_for_latest(serial, now, sink);
        }
    }

    /// A neighbor announces nothing: if it is new, it asks for what it may have missed.
    pub(super) fn tell_latest(&mut self, from: PI, now: At, sink: &mut impl Sink<PI>) {
        let Some(neighbor) = self.neighbors.find(&from) else {
            return;
        };
        if neighbor.told || !neighbor.is_new(now) {
            return;
        }
        neighbor.told = true;
        let since = At(now.0.saturating_sub(WINDOW));
        let count = self.history.payloads_since(since, AT_MOST);
        let latest = self
            .history
            .announcements(self.history.next_number(), count);
        announce(from, latest, &self.settings, sink);
    }
}

impl<PI> Neighbor<PI> {
    fn is_new(&self, now: At) -> bool {
        now < self.up_at.after(WITHIN)
    }
}

/// Since when a neighbor was sent what came to us, earlier messages that it was told of included.
pub(super) fn told_since<PI>(neighbor: &Neighbor<PI>) -> At {
    let earlier = if neighbor.told { WINDOW } else { 0 };
    At(neighbor.up_at.0.saturating_sub(earlier))
}
