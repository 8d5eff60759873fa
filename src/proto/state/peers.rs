//! Which peers any topic still needs.

use super::Outlet;
use crate::proto::PeerIdentity;

/// Counts the topics that need a peer, and finds out at the end of every call whom to disconnect.
#[derive(Clone, Debug)]
pub(super) struct Peers<PI> {
    /// How many topics need each peer. They are as many as there are connections, and change seldom.
    ///
    /// Invariant: in order of the peers, and no count is zero.
    holds: Vec<(PI, u32)>,
    /// Peers that nobody needed at some moment of this call, after a message was sent to them or
    /// a need of them ended. Empty between calls.
    candidates: Vec<PI>,
    /// The peer that this call says is unreachable: there is nothing left to disconnect.
    gone: Option<PI>,
}

impl<PI: PeerIdentity> Peers<PI> {
    pub(super) fn new() -> Self {
        Self {
            holds: Vec::new(),
            candidates: Vec::new(),
            gone: None,
        }
    }

    /// Where the peer is, or would be.
    fn place(&self, peer: &PI) -> Result<usize, usize> {
        self.holds.binary_search_by(|(held, _)| held.cmp(peer))
    }

    pub(super) fn is_held(&self, peer: &PI) -> bool {
        self.place(peer).is_ok()
    }

    /// Says for the rest of this call that the last connection to the peer is gone.
    pub(super) fn set_gone(&mut self, peer: PI) {
        self.gone = Some(peer);
    }

    pub(super) fn hold(&mut self, peer: PI) {
        match self.place(&peer) {
            Ok(place) => self.holds[place].1 += 1,
            Err(place) => {
                self.holds.reserve_exact(1);
                self.holds.insert(place, (peer, 1));
            }
        }
    }

    pub(super) fn release(&mut self, peer: PI) {
        let Ok(place) = self.place(&peer) else {
            debug_assert!(false, "release of {peer:?}, which is not held");
            return;
        };
        let count = &mut self.holds[place].1;
        *count -= 1;
        if *count == 0 {
            self.holds.remove(place);
            if self.gone != Some(peer) {
                self.candidates.push(peer);
            }
        }
    }

    /// Notes a message that may open a connection that nobody needs for more than this message. Who is
    /// gone may still be held by topics that have not heard of it.
    pub(super) fn sent(&mut self, to: PI) {
        if !self.is_held(&to) || self.gone == Some(to) {
            self.candidates.push(to);
        }
    }

    /// Ends the call: disconnects every peer once that was let go or written to and is not needed.
    #[inline]
    pub(super) fn disconnect_unneeded(&mut self, out: &mut impl Outlet<PI>) {
        if self.gone.is_some() {
            self.gone = None;
        }
        if !self.candidates.is_empty() {
            self.disconnect_candidates(out);
        }
    }

    fn disconnect_candidates(&mut self, out: &mut impl Outlet<PI>) {
        // Few calls have any, so the room for them is not kept.
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_unstable();
        candidates.dedup();
        for peer in candidates {
            if !self.is_held(&peer) {
                out.disconnect(peer);
            }
        }
    }
}
