//! How an event is taken in: which topics it is about, and what becomes of their timers.

use rand::Rng;
use tracing::{debug_span, level_filters::LevelFilter, span::EnteredSpan};

use super::{Outlet, State, Topic, peers::Peers, slots};
use crate::proto::{
    Command, Counters, Event, InEvent, Message, Payload, PeerData, PeerIdentity, Scope, TimerId,
    TopicId,
    clock::{At, MaybeAt},
    hyparview, plumtree,
    topic::{self, Received},
};

impl<PI: PeerIdentity> State<PI> {
    /// [`Self::handle`] for who keeps the time as the protocol does, and carries out at once what
    /// follows. One state takes events in one of the two ways.
    pub(crate) fn take(
        &mut self,
        event: InEvent<PI>,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        match event {
            InEvent::RecvMessage {
                from,
                link,
                topic,
                message,
            } => {
                let received = Received {
                    from,
                    link,
                    message,
                    is_hashed: false,
                };
                return self.take_message(topic, received, now, rng, out);
            }
            InEvent::Command(topic, command) => self.handle_command(topic, command, now, rng, out),
            InEvent::TimerExpired(timer) => self.handle_timer(timer, now, rng, out),
            InEvent::PeerDisconnected(peer) => {
                self.peers.set_gone(peer);
                let input = topic::Input::PeerDisconnected(peer);
                self.handle_all_topics(input, now, rng, out);
            }
            InEvent::StreamLost { to, topic } => {
                if let Some(slot) = self.slots.find(&topic) {
                    self.handle_topic(slot, topic::Input::StreamLost(to), now, rng, out);
                }
            }
            InEvent::DialFailed(peer) => {
                self.peers.set_gone(peer);
                let input = topic::Input::DialFailed(peer);
                self.handle_all_topics(input, now, rng, out);
            }
            InEvent::UpdatePeerData(data) => {
                self.me_data = data.clone();
                let input = topic::Input::UpdatePeerData(data);
                self.handle_all_topics(input, now, rng, out);
            }
        }
        self.peers.disconnect_unneeded(out);
    }

    /// What [`Self::take`] does with [`InEvent::RecvMessage`].
    pub(crate) fn take_message(
        &mut self,
        topic: TopicId,
        received: Received<PI>,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        let slot = self.slots.find(&topic);
        match slot.and_then(|slot| Some((slot, self.topics.get_mut(slot)?))) {
            Some((slot, topic)) => {
                let _span;
                if is_traced() {
                    _span = topic_span(&topic.id);
                }
                let mut sink = TopicSink {
                    topic: topic.id,
                    peers: &mut self.peers,
                    out,
                };
                topic
                    .state
                    .receive(received, now, rng, &mut self.counters, &mut sink);
                topic.state.count_since(&mut self.counted, &self.counters);
                topic.set_timer(slot, out);
            }
            None => {
                let of_neighbors = is_between_neighbors(&received.message);
                self.refuse_for_unknown_topic(received.from, topic, of_neighbors, out);
            }
        }
        self.peers.disconnect_unneeded(out);
    }

    /// The same of a payload, which may be known to have the id that it should have. It is left where it is, without
    /// its content.
    #[cfg(feature = "net")]
    pub(crate) fn take_payload(
        &mut self,
        topic: TopicId,
        from: PI,
        gossip: &mut plumtree::Gossip,
        is_hashed: bool,
        now: At,
        out: &mut impl Outlet<PI>,
    ) {
        match self.slots.find(&topic) {
            Some(slot) => self.visit(slot, out, |topic, counters, sink| {
                topic.receive_payload(from, gossip, is_hashed, now, counters, sink);
            }),
            None => self.refuse_for_unknown_topic(from, topic, true, out),
        }
        self.peers.disconnect_unneeded(out);
    }

    /// Tells a peer that takes us for a neighbor in a topic that we are not in it: by a message as there are
    /// between neighbors.
    ///
    /// It may have had one connection to us from before we started anew, and see only the new
    /// one: nothing else would ever tell it that this topic is over.
    #[cold]
    fn refuse_for_unknown_topic(
        &mut self,
        from: PI,
        topic: TopicId,
        of_neighbors: bool,
        out: &mut impl Outlet<PI>,
    ) {
        self.counters.unknown_topic += 1;
        if of_neighbors && from != self.me {
            self.peers.sent(from);
            let message = Message::Swarm(hyparview::Message::Disconnect(
                hyparview::Disconnect::new(false),
            ));
            out.send(from, topic, message);
        }
    }

    fn handle_command(
        &mut self,
        topic: TopicId,
        command: Command<PI>,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        let known = self.slots.find(&topic);
        match (command, known) {
            (Command::Join(peers), known) => {
                let slot = known.unwrap_or_else(|| self.insert_topic(topic));
                self.handle_topic(slot, topic::Input::Join(peers), now, rng, out);
            }
            (Command::Broadcast(content, scope), _) => {
                self.take_broadcast(topic, &mut content.into(), scope, now, out);
            }
            (Command::Quit, Some(slot)) => self.quit_topic(slot, now, rng, out),
            (Command::Quit, None) => {}
        }
    }

    /// What [`Self::take`] does with [`Command::Broadcast`]. The content is taken out.
    pub(crate) fn take_broadcast(
        &mut self,
        topic: TopicId,
        payload: &mut Payload,
        scope: Scope,
        now: At,
        out: &mut impl Outlet<PI>,
    ) {
        let Some(slot) = self.slots.find(&topic) else {
            self.counters.unknown_topic += 1;
            return;
        };
        self.visit(slot, out, |topic, counters, sink| {
            topic.broadcast(payload, scope, now, counters, sink);
        });
    }

    fn handle_timer(
        &mut self,
        timer: TimerId,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        let topic = self.topics.get_mut(timer.slot());
        let Some(topic) = topic.filter(|topic| topic.generation == timer.generation) else {
            return;
        };
        match topic.armed.get() {
            Some(deadline) if deadline <= now => {
                topic.armed = MaybeAt::NONE;
                self.visit(timer.slot(), out, |topic, counters, sink| {
                    topic.handle_timeout(now, rng, counters, sink);
                });
            }
            Some(deadline) => out.set_timer(timer, deadline),
            None => {}
        }
    }

    fn handle_topic(
        &mut self,
        slot: usize,
        input: topic::Input<PI>,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        self.visit(slot, out, |topic, counters, sink| {
            topic.handle(input, now, rng, counters, sink);
        });
    }

    /// Lets a topic do something, and sets its timer to what comes of that. Messages do the same for
    /// themselves: they would be copied once more.
    #[inline]
    fn visit<O: Outlet<PI>>(
        &mut self,
        slot: usize,
        out: &mut O,
        act: impl FnOnce(&mut topic::State<PI>, &mut Counters, &mut TopicSink<'_, PI, O>),
    ) {
        let Some(topic) = self.topics.get_mut(slot) else {
            return;
        };
        let _span;
        if is_traced() {
            _span = topic_span(&topic.id);
        }
        let mut sink = TopicSink {
            topic: topic.id,
            peers: &mut self.peers,
            out,
        };
        act(&mut topic.state, &mut self.counters, &mut sink);
        topic.state.count_since(&mut self.counted, &self.counters);
        topic.set_timer(slot, out);
    }

    fn handle_all_topics(
        &mut self,
        input: topic::Input<PI>,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        let slots: Vec<usize> = self.slots.iter().map(|(_, slot)| slot).collect();
        for slot in slots {
            self.handle_topic(slot, input.clone(), now, rng, out);
        }
    }

    fn insert_topic(&mut self, id: TopicId) -> usize {
        self.generation = self.generation.wrapping_add(1);
        let state = topic::State::new(self.me, self.me_data.clone(), &self.parameters, self.keyed);
        // Most nodes are in few topics, and a topic takes more than a kilobyte.
        if self.topics.len() < slots::FEW {
            self.topics.reserve_exact(1);
        }
        let slot = self.topics.insert(Topic {
            id,
            generation: self.generation,
            state,
            armed: MaybeAt::NONE,
        });
        self.slots.insert(id, slot);
        slot
    }

    fn quit_topic(&mut self, slot: usize, now: At, rng: &mut impl Rng, out: &mut impl Outlet<PI>) {
        self.handle_topic(slot, topic::Input::Quit, now, rng, out);
        let topic = self.topics.remove(slot);
        self.slots.remove(&topic.id);
        if topic.armed.get().is_some() {
            out.cancel_timer(topic.timer(slot));
        }
    }
}

impl<PI: PeerIdentity> Topic<PI> {
    fn timer(&self, slot: usize) -> TimerId {
        TimerId {
            slot: slot as u32,
            generation: self.generation,
        }
    }

    /// Sets the timer to when the topic wants to be woken, if it is not set to that already.
    fn set_timer(&mut self, slot: usize, out: &mut impl Outlet<PI>) {
        let deadline = self.state.next_deadline();
        if deadline == self.armed {
            return;
        }
        self.armed = deadline;
        let timer = self.timer(slot);
        match deadline.get() {
            Some(deadline) => out.set_timer(timer, deadline),
            None => out.cancel_timer(timer),
        }
    }
}

/// Whether a message is one as there are between neighbors.
fn is_between_neighbors<PI>(message: &Message<PI>) -> bool {
    match message {
        Message::Gossip(_) => true,
        Message::Swarm(message) => match message {
            hyparview::Message::ForwardJoin(_)
            | hyparview::Message::Shuffle(_)
            | hyparview::Message::Neighbor(_) => true,
            // A joiner tries again by itself, and we may be in the topic by then.
            hyparview::Message::Join(_)
            | hyparview::Message::ShuffleReply(_)
            | hyparview::Message::Disconnect(_) => false,
        },
    }
}

/// Whether someone may look at what is traced.
#[inline]
fn is_traced() -> bool {
    LevelFilter::current() >= LevelFilter::DEBUG
}

/// What is traced from here on is about this topic.
#[cold]
fn topic_span(id: &TopicId) -> EnteredSpan {
    debug_span!("topic", id = %id.fmt_short()).entered()
}

/// Takes the output of one topic.
struct TopicSink<'a, PI, O> {
    topic: TopicId,
    peers: &'a mut Peers<PI>,
    out: &'a mut O,
}

impl<PI: PeerIdentity, O: Outlet<PI>> topic::Sink<PI> for TopicSink<'_, PI, O> {
    #[inline]
    fn send(&mut self, to: PI, message: Message<PI>) {
        match &message {
            Message::Swarm(_) => self.peers.sent(to),
            // Goes to neighbors only, and those are held.
            Message::Gossip(_) => debug_assert!(self.peers.is_held(&to), "{to:?} is held"),
        }
        self.out.send(to, self.topic, message);
    }

    #[inline]
    fn push(&mut self, to: PI, gossip: &plumtree::Gossip) {
        debug_assert!(self.peers.is_held(&to), "{to:?} is held");
        self.out.push(to, self.topic, gossip);
    }

    fn emit(&mut self, event: Event<PI>) {
        self.out.emit(self.topic, event);
    }

    fn peer_data(&mut self, peer: PI, data: PeerData) {
        self.out.peer_data(peer, data);
    }

    fn hold(&mut self, peer: PI) {
        self.peers.hold(peer);
    }

    fn release(&mut self, peer: PI) {
        self.peers.release(peer);
    }
}
