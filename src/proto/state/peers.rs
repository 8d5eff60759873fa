//! Which peers any topic still needs.

use std::collections::HashMap;

use crate::proto::{OutEvent, Outbox, PeerIdentity, hash::Keyed};

/// Counts the topics that need a peer, and finds out at the end of every call whom to disconnect.
#[derive(Clone, Debug)]
pub(super) struct Peers<PI> {
    /// Invariant: no count is zero.
    holds: HashMap<PI, u32, Keyed>,
    /// Peers that nobody needed at some moment of this call, after a message was sent to them or
    /// a need of them ended. Empty between calls.
    candidates: Vec<PI>,
    /// The peer that this call says is unreachable: there is nothing left to disconnect.
    gone: Option<PI>,
}

impl<PI: PeerIdentity> Peers<PI> {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self {
            holds: HashMap::with_hasher(keyed),
            candidates: Vec::new(),
            gone: None,
        }
    }

    pub(super) fn is_held(&self, peer: &PI) -> bool {
        self.holds.contains_key(peer)
    }

    /// Says for the rest of this call that the last connection to the peer is gone.
    pub(super) fn set_gone(&mut self, peer: PI) {
        self.gone = Some(peer);
    }

    pub(super) fn hold(&mut self, peer: PI) {
        *self.holds.entry(peer).or_default() += 1;
    }

    pub(super) fn release(&mut self, peer: PI) {
        let Some(count) = self.holds.get_mut(&peer) else {
            debug_assert!(false, "release of {peer:?}, which is not held");
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.holds.remove(&peer);
            if self.gone != Some(peer) {
                self.candidates.push(peer);
            }
        }
    }

    /// Notes a message that may open a connection that nobody needs for more than this message.
    pub(super) fn sent(&mut self, to: PI) {
        if !self.is_held(&to) {
            self.candidates.push(to);
        }
    }

    /// Ends the call: disconnects every peer once that was let go or written to and is not needed.
    pub(super) fn disconnect_unneeded(&mut self, out: &mut Outbox<PI>) {
        self.gone = None;
        if self.candidates.is_empty() {
            return;
        }
        self.candidates.sort_unstable();
        self.candidates.dedup();
        for peer in self.candidates.drain(..) {
            if !self.holds.contains_key(&peer) {
                out.push_back(OutEvent::DisconnectPeer(peer));
            }
        }
    }
}
