//! All topics of a node, and which peers any of them still needs.
//!
//! Topics are independent of each other, but connections are shared: a connection is needed as
//! long as one topic needs it. Here the topics are told apart, their timers are named, and the
//! needs are counted.

mod look;
mod outlet;
mod parameters;
mod peers;
mod sensible;
mod slots;
#[cfg(test)]
pub(crate) mod swarm;
#[cfg(test)]
mod tests;

use std::time::Instant;

use rand::Rng;
use slab::Slab;
use tracing::{debug_span, level_filters::LevelFilter, span::EnteredSpan};

use self::{outlet::Post, peers::Peers, slots::Slots};

pub(crate) use self::outlet::Outlet;
pub use self::{parameters::Parameters, sensible::ConfigError};
pub use super::TopicId;
use super::{
    Command, Config, Counters, Event, InEvent, Limits, Message, MessageId, Outbox, Payload,
    PeerData, PeerIdentity, Scope, TimerId,
    clock::{At, Clock, MaybeAt},
    hash::Keyed,
    hyparview,
    topic::{self, Received},
};

/// The protocol state of a node: all the topics that it takes part in.
///
/// [`Self::handle`] is the one way in. It appends to the outbox what follows, and the caller
/// carries that out in order:
///
/// - messages of one topic to one peer stay in order;
///   [`OutEvent::DisconnectPeer`](super::OutEvent::DisconnectPeer) comes after all messages of the same
///   call, and only when no topic needs the peer;
/// - every topic has at most one timer. A timer that goes off early is set again; one of a topic
///   that is gone does nothing.
///
/// Nothing is left to poll: once the outbox is empty and no timer is due, nothing will happen
/// until the next event.
///
/// ```
/// # use std::time::Instant;
/// # use rand::{SeedableRng, rngs::StdRng};
/// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, OutEvent, State, TopicId};
/// # fn now() -> Instant { Instant::now() }
/// let mut rng = StdRng::seed_from_u64(1);
/// let mut state = State::new(1u64, Default::default(), Config::default(), Limits::default(), &mut rng)?;
/// let mut outbox = Outbox::new();
/// let topic = TopicId::from_bytes([7; 32]);
/// state.handle(InEvent::Command(topic, Command::Join(vec![2])), now(), &mut rng, &mut outbox);
/// assert!(outbox.iter().any(|out| matches!(out, OutEvent::SendMessage { to: 2, .. })));
/// # Ok::<_, smol_gossip::proto::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct State<PI> {
    me: PI,
    me_data: PeerData,
    parameters: Parameters,
    keyed: Keyed,
    clock: Clock,
    topics: Slab<Topic<PI>>,
    /// Where each topic is, in the order in which they were joined.
    slots: Slots,
    /// How many topics have been joined so far. Tells the timers of topics in one slot apart.
    generation: u32,
    peers: Peers<PI>,
    counters: Counters,
    /// What of that has been told to topics.
    counted: topic::Before,
}

/// A topic that the node takes part in.
#[derive(Clone, Debug)]
struct Topic<PI> {
    id: TopicId,
    generation: u32,
    state: topic::State<PI>,
    /// What the timer is set to.
    armed: MaybeAt,
}

impl<PI: PeerIdentity> State<PI> {
    /// A node without topics. What makes no sense in `config` and `limits` is put right, or
    /// refused: see [`Parameters::new`].
    ///
    /// ```
    /// # use smol_gossip::proto::{Config, Limits, State};
    /// use rand::{SeedableRng, rngs::StdRng};
    ///
    /// let mut rng = StdRng::seed_from_u64(1);
    /// let state = State::new(1u64, Default::default(), Config::default(), Limits::default(), &mut rng)?;
    /// assert_eq!(state.me(), &1);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn new(
        me: PI,
        me_data: PeerData,
        config: Config,
        limits: Limits,
        rng: &mut impl Rng,
    ) -> Result<Self, ConfigError> {
        let parameters = Parameters::new(config, limits)?;
        Ok(Self::with_parameters(me, me_data, parameters, rng))
    }

    /// A node without topics, which shares its parameters with others.
    ///
    /// ```
    /// # use smol_gossip::proto::{Config, Limits, Parameters, State};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// let parameters = Parameters::new(Config::default(), Limits::default())?;
    /// let state = State::with_parameters(1u64, Default::default(), parameters.clone(), &mut rng);
    /// # drop(state);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn with_parameters(
        me: PI,
        me_data: PeerData,
        parameters: Parameters,
        rng: &mut impl Rng,
    ) -> Self {
        let keyed = Keyed::new(rng);
        Self {
            me,
            me_data,
            parameters,
            keyed,
            clock: Clock::default(),
            topics: Slab::new(),
            slots: Slots::new(),
            generation: 0,
            peers: Peers::new(),
            counters: Counters::default(),
            counted: topic::Before::default(),
        }
    }

    /// Whether a timer is that of a topic which the node is in.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn owns_timer(&self, timer: TimerId) -> bool {
        let topic = self.topics.get(timer.slot());
        topic.is_some_and(|topic| topic.generation == timer.generation)
    }

    /// Says that payloads with these ids are about to come in a topic: what [`Self::handle`] will
    /// look at is brought into the processor's cache for all of them at once. It changes nothing,
    /// and need not be true.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// # let (topic, mut out) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// # let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// # state.handle(join, std::time::Instant::now(), &mut rng, &mut out);
    /// use smol_gossip::proto::MessageId;
    ///
    /// let coming = [b"one", b"two"].map(|content| MessageId::from_content(content));
    /// state.anticipate(&topic, coming.into_iter());
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn anticipate(&self, topic: &TopicId, ids: impl Iterator<Item = MessageId>) {
        if let Some(topic) = self.topic(topic) {
            topic.anticipate(ids);
        }
    }

    /// Whether a payload with this id would be looked at: the node is in the topic, and has not got
    /// it yet.
    #[cfg(feature = "net")]
    pub(crate) fn is_news(&self, topic: &TopicId, id: &MessageId) -> bool {
        self.topic(topic).is_some_and(|topic| topic.is_news(id))
    }

    /// Takes an event in, and appends what follows to the outbox.
    ///
    /// `now` must not go back from one call to the next.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// use std::time::Instant;
    /// use smol_gossip::proto::OutEvent;
    ///
    /// let (topic, mut outbox) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// state.handle(join, Instant::now(), &mut rng, &mut outbox);
    /// while let Some(event) = outbox.pop_front() {
    ///     match event {
    ///         OutEvent::SendMessage { to, .. } => println!("to {to}: a message"),
    ///         OutEvent::SetTimer(timer, deadline) => println!("{timer:?} is due at {deadline:?}"),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn handle(
        &mut self,
        event: InEvent<PI>,
        now: Instant,
        rng: &mut impl Rng,
        out: &mut Outbox<PI>,
    ) {
        let now = self.clock.read(now);
        let clock = self.clock;
        self.take(event, now, rng, &mut Post { clock, out });
    }

    /// Takes a message in: what [`Self::handle`] does with [`InEvent::RecvMessage`].
    #[cfg(feature = "net")]
    pub(crate) fn receive(
        &mut self,
        topic: TopicId,
        received: Received<PI>,
        now: Instant,
        rng: &mut impl Rng,
        out: &mut Outbox<PI>,
    ) {
        let now = self.clock.read(now);
        let clock = self.clock;
        self.take_message(topic, received, now, rng, &mut Post { clock, out });
    }

    /// What [`Command::Broadcast`] asks for.
    #[cfg(feature = "net")]
    pub(crate) fn broadcast(
        &mut self,
        topic: TopicId,
        payload: Payload,
        scope: Scope,
        now: Instant,
        rng: &mut impl Rng,
        out: &mut Outbox<PI>,
    ) {
        let now = self.clock.read(now);
        let clock = self.clock;
        self.take_broadcast(topic, payload, scope, now, rng, &mut Post { clock, out });
    }

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
                self.counters.unknown_topic += 1;
                self.answer_for_unknown_topic(received.from, topic, &received.message, out);
            }
        }
        self.peers.disconnect_unneeded(out);
    }

    /// Tells a peer that takes us for a neighbor in a topic that we are not in it.
    ///
    /// It may have had one connection to us from before we started anew, and see only the new
    /// one: nothing else would ever tell it that this topic is over.
    fn answer_for_unknown_topic(
        &mut self,
        from: PI,
        topic: TopicId,
        message: &Message<PI>,
        out: &mut impl Outlet<PI>,
    ) {
        let between_neighbors = match message {
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
        };
        if between_neighbors && from != self.me {
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
                self.take_broadcast(topic, content.into(), scope, now, rng, out);
            }
            (Command::Quit, Some(slot)) => self.quit_topic(slot, now, rng, out),
            (Command::Quit, None) => {}
        }
    }

    fn take_broadcast(
        &mut self,
        topic: TopicId,
        payload: Payload,
        scope: Scope,
        now: At,
        rng: &mut impl Rng,
        out: &mut impl Outlet<PI>,
    ) {
        let Some(slot) = self.slots.find(&topic) else {
            self.counters.unknown_topic += 1;
            return;
        };
        let input = topic::Input::Broadcast(payload, scope);
        self.handle_topic(slot, input, now, rng, out);
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
                let _span;
                if is_traced() {
                    _span = topic_span(&topic.id);
                }
                topic.armed = MaybeAt::NONE;
                let mut sink = TopicSink {
                    topic: topic.id,
                    peers: &mut self.peers,
                    out,
                };
                topic
                    .state
                    .handle_timeout(now, rng, &mut self.counters, &mut sink);
                topic.state.count_since(&mut self.counted, &self.counters);
                topic.set_timer(timer.slot(), out);
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
        topic
            .state
            .handle(input, now, rng, &mut self.counters, &mut sink);
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
        let mut topic = self.topics.remove(slot);
        let _span;
        if is_traced() {
            _span = topic_span(&topic.id);
        }
        self.slots.remove(&topic.id);
        let mut sink = TopicSink {
            topic: topic.id,
            peers: &mut self.peers,
            out,
        };
        let quit = topic::Input::Quit;
        topic
            .state
            .handle(quit, now, rng, &mut self.counters, &mut sink);
        topic.state.count_since(&mut self.counted, &self.counters);
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
