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
mod take;
#[cfg(test)]
mod tests;

use std::time::Instant;

use rand::Rng;
use slab::Slab;

use self::{peers::Peers, slots::Slots};

pub(crate) use self::outlet::{Outlet, Post};
pub use self::{parameters::Parameters, sensible::ConfigError};
pub use super::TopicId;
#[cfg(feature = "net")]
use super::clock::At;
use super::{
    Config, Counters, InEvent, Limits, MessageId, Outbox, PeerData, PeerIdentity,
    clock::{Clock, MaybeAt},
    hash::Keyed,
    topic,
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
    pub(crate) fn owns_timer(&self, timer: super::TimerId) -> bool {
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

    /// Forgets what is too old in a topic, if that is due: for who looks into it before an event is handled, which
    /// would do so first.
    #[cfg(feature = "net")]
    pub(crate) fn begin(&mut self, topic: &TopicId, now: Instant) {
        let now = self.clock.read(now);
        if let Some(slot) = self.slots.find(topic)
            && let Some(topic) = self.topics.get_mut(slot)
        {
            topic.state.begin(now);
        }
    }

    /// Reads the caller's clock, and has the outbox ready for what happens then: for who carries out most of it
    /// at once, and calls [`Self::take_message`] or [`Self::take_broadcast`].
    #[cfg(feature = "net")]
    pub(crate) fn at<'a>(&mut self, now: Instant, out: &'a mut Outbox<PI>) -> (At, Post<'a, PI>) {
        let now = self.clock.read(now);
        let clock = self.clock;
        (now, Post { clock, out })
    }
}
