//! Dialing: so many at once, the rest in a queue, each within a time.

use std::fmt::Display;

use iroh::EndpointId;
use smol_gossip_runtime::Runtime;
use tracing::debug;

use super::{
    connection::Done,
    inspect::Diagnostic,
    node::{Node, Timer},
    peer::Dial,
    transport::{Broken, Transport},
};
use crate::proto::InEvent;

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Dials a peer that is not dialed yet, as soon as there is room.
    pub(crate) fn dial(&mut self, id: EndpointId) {
        if self.is_stopping() {
            // Nobody is told goodbye who is not connected.
            self.dial_over(id, &"leaving");
        } else if self.dials.active < self.limits.dials {
            self.start_dial(id);
        } else if self.dials.waiting.len() < self.limits.waiting_dials {
            self.dials.waiting.push_back(id);
            self.set_dial(id, Dial::Waiting);
        } else {
            self.metrics.dials_refused.inc();
            self.dial_over(id, &"too many others are dialed");
        }
    }

    fn start_dial(&mut self, id: EndpointId) {
        debug!(peer = %id.fmt_short(), "dial");
        self.recall_addresses(id);
        let connect = self.transport.connect(id);
        let task = self
            .events
            .spawn(Box::pin(async move { Done::Dialed(id, connect.await) }));
        let deadline = self.now + self.limits.dial_timeout;
        let timer = self.events.schedule(deadline, Timer::Dial(id));
        self.dials.active += 1;
        self.set_dial(id, Dial::Active(task, timer));
    }

    /// A dial has ended by itself.
    pub(crate) fn dialed(&mut self, id: EndpointId, result: Result<T::Connection, Broken>) {
        self.metrics.actor_tick_dialer.inc();
        self.end_dial(id);
        match result {
            Ok(connection) => {
                self.metrics.actor_tick_dialer_success.inc();
                self.link_up(connection);
            }
            Err(reason) => {
                self.metrics.actor_tick_dialer_failure.inc();
                debug!(peer = %id.fmt_short(), %reason, "dial failed");
                self.dial_over(id, &reason);
            }
        }
        self.start_waiting_dials();
    }

    /// A dial took too long.
    pub(crate) fn dial_expired(&mut self, id: EndpointId) {
        self.metrics.actor_tick_dialer_failure.inc();
        debug!(peer = %id.fmt_short(), "dial timed out");
        self.end_dial(id);
        self.dial_over(id, &"timed out");
        self.start_waiting_dials();
    }

    /// Stops dialing a peer, without telling anyone.
    pub(crate) fn cancel_dial(&mut self, id: EndpointId) {
        self.end_dial(id);
        self.start_waiting_dials();
    }

    /// Gives the place of a dial free.
    fn end_dial(&mut self, id: EndpointId) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        match std::mem::replace(&mut peer.dial, Dial::None) {
            Dial::Active(task, timer) => {
                self.events.cancel_task(task);
                self.events.cancel_timer(timer);
                self.dials.active = self.dials.active.saturating_sub(1);
            }
            Dial::Waiting => self.dials.waiting.retain(|other| *other != id),
            Dial::None => {}
        }
    }

    /// Gives up on a peer that could not be dialed, unless it has come to us meanwhile.
    fn dial_over(&mut self, id: EndpointId, reason: &dyn Display) {
        let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
            return;
        };
        // The end of a connection that is still read is told when it has been.
        if !peer.connections.is_empty() || peer.draining > 0 {
            return;
        }
        let wanted = peer.wanted;
        self.peers.swap_remove(&id);
        self.take_back(id);
        if wanted || self.state.is_needed(&id) {
            self.watchers.tell(|| Diagnostic::JoinFailed {
                peer: id,
                reason: reason.to_string(),
            });
            self.handle(InEvent::DialFailed(id));
        }
    }

    fn start_waiting_dials(&mut self) {
        while self.dials.active < self.limits.dials
            && let Some(id) = self.dials.waiting.pop_front()
        {
            let Some(peer) = self.peers.get_mut(id.as_bytes()) else {
                continue;
            };
            peer.dial = Dial::None;
            // It may have come to us while it waited.
            if peer.connections.is_empty() {
                self.start_dial(id);
            }
        }
    }

    fn set_dial(&mut self, id: EndpointId, dial: Dial) {
        if let Some(peer) = self.peers.get_mut(id.as_bytes()) {
            peer.dial = dial;
        }
    }
}
