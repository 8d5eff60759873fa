//! Where what follows from an event goes to.

use crate::proto::{
    Event, Message, OutEvent, Outbox, PeerData, TimerId, TopicId,
    clock::{At, Clock},
    plumtree,
};

/// Takes what follows from an event, in the order in which it has to be carried out. Each method is
/// an [`OutEvent`].
///
/// Who can carry that out at once needs no queue between.
pub(crate) trait Outlet<PI> {
    /// [`OutEvent::SendMessage`].
    fn send(&mut self, to: PI, topic: TopicId, message: Message<PI>);
    /// The same, of a payload that others get as well: whoever writes it at once needs no share in it.
    fn push(&mut self, to: PI, topic: TopicId, gossip: &plumtree::Gossip) {
        self.send(to, topic, Message::payload(gossip.clone()));
    }
    /// [`OutEvent::EmitEvent`].
    fn emit(&mut self, topic: TopicId, event: Event<PI>);
    /// [`OutEvent::SetTimer`].
    fn set_timer(&mut self, timer: TimerId, deadline: At);
    /// [`OutEvent::CancelTimer`].
    fn cancel_timer(&mut self, timer: TimerId);
    /// [`OutEvent::DisconnectPeer`].
    fn disconnect(&mut self, peer: PI);
    /// [`OutEvent::PeerData`].
    fn peer_data(&mut self, peer: PI, data: PeerData);
}

/// Appends everything to the caller's outbox, in the caller's time.
pub(crate) struct Post<'a, PI> {
    pub(super) clock: Clock,
    pub(super) out: &'a mut Outbox<PI>,
}

#[cfg(feature = "net")]
impl<PI> Post<'_, PI> {
    /// Whether nothing waits in the outbox.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

impl<PI> Outlet<PI> for Post<'_, PI> {
    fn send(&mut self, to: PI, topic: TopicId, message: Message<PI>) {
        self.out
            .push_back(OutEvent::SendMessage { to, topic, message });
    }

    fn emit(&mut self, topic: TopicId, event: Event<PI>) {
        self.out.push_back(OutEvent::EmitEvent(topic, event));
    }

    fn set_timer(&mut self, timer: TimerId, deadline: At) {
        self.out.push_back(match self.clock.instant(deadline) {
            Some(deadline) => OutEvent::SetTimer(timer, deadline),
            // Nobody will live to see it.
            None => OutEvent::CancelTimer(timer),
        });
    }

    fn cancel_timer(&mut self, timer: TimerId) {
        self.out.push_back(OutEvent::CancelTimer(timer));
    }

    fn disconnect(&mut self, peer: PI) {
        self.out.push_back(OutEvent::DisconnectPeer(peer));
    }

    fn peer_data(&mut self, peer: PI, data: PeerData) {
        self.out.push_back(OutEvent::PeerData(peer, data));
    }
}
