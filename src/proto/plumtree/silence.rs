//! Silence: a topic on which nothing more comes.
//!
//! Nothing may have been said, or all neighbors may be gone, and with them whoever would announce what was.
//! After a mass failure there are survivors whom no other survivor knows. The paper finds failures when
//! the next message is sent; who is cut off sends none until its next Shuffle. So once there is silence after
//! messages, a node sends a sign of life to one neighbor, that which brought the latest. If it cannot be
//! delivered, the membership layer looks for others ([`alarm`](crate::proto::hyparview)), and these tell of
//! what was missed ([`catch_up`](super::catch_up)).
//!
//! That is one empty announcement for each silence, and where messages come now and then, one in twenty
//! seconds at most while payloads are kept for half a minute: it waits for the sweep of what has expired.
//! Nothing is sent where there never was a message.

use super::{Message, Sink, State};
use crate::proto::{PeerIdentity, clock::At};

/// So long after the latest message there is silence. Less than what [`catch_up`](super::catch_up) covers, with
/// time to find another neighbor.
pub(super) const SILENCE: u64 = 5_000_000_000;

impl<PI: PeerIdentity> State<PI> {
    /// Sends the sign of life if there is silence that has not had one. Returns when to look again, where a
    /// message has come too lately for that.
    pub(super) fn check_on_silence(&mut self, now: At, sink: &mut impl Sink<PI>) -> Option<At> {
        if !self.unchecked {
            return None;
        }
        let silent_from = self.history.latest().map(|latest| latest.after(SILENCE));
        if silent_from.is_some_and(|from| from > now) {
            return silent_from;
        }
        self.unchecked = false;
        // Of what was forgotten meanwhile nobody is waiting for a sign.
        silent_from?;
        if let Some(neighbor) = self.neighbors.latest_to_bring() {
            sink.send(neighbor.peer, Message::nothing());
        }
        None
    }
}
