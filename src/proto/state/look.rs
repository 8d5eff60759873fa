//! What can be seen of the state of a node from outside. Nothing here changes anything.

use super::{State, topic};
#[cfg(feature = "net")]
use crate::proto::PeerData;
use crate::proto::{Config, Counters, Limits, PeerIdentity, TopicId, plumtree};

impl<PI: PeerIdentity> State<PI> {
    /// Our own identity.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// assert_eq!(state.me(), &1);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn me(&self) -> &PI {
        &self.me
    }

    /// The parameters that hold.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// assert_eq!(state.config().max_message_size, 4096);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn config(&self) -> &Config {
        self.parameters.config()
    }

    /// The bounds that hold.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// assert_eq!(state.limits().seen_ids, Limits::default().seen_ids);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn limits(&self) -> &Limits {
        self.parameters.limits()
    }

    /// The largest frame that is accepted. Those that are written stay below it.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// assert_eq!(state.max_message_size(), 4096);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn max_message_size(&self) -> usize {
        self.config().max_message_size
    }

    /// The largest content that can be broadcast.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// assert_eq!(state.max_content_size(), 4055);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn max_content_size(&self) -> usize {
        plumtree::max_content_size(self.config().max_message_size)
    }

    /// What was refused, dropped or noticed so far, in all topics.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// assert_eq!(state.counters().duplicates, 0);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The topics that the node takes part in, in the order in which they were joined.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// # let (topic, mut out) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// # let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// # state.handle(join, std::time::Instant::now(), &mut rng, &mut out);
    /// assert!(state.topics().eq([&topic]));
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &TopicId> {
        self.slots.iter().map(|(topic, _)| topic)
    }

    /// Whether the node takes part in a topic.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// # let (topic, mut out) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// # let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// # state.handle(join, std::time::Instant::now(), &mut rng, &mut out);
    /// assert!(state.contains(&topic));
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn contains(&self, topic: &TopicId) -> bool {
        self.slots.find(topic).is_some()
    }

    /// The state of a topic, to look at.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// # let (topic, mut out) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// # let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// # state.handle(join, std::time::Instant::now(), &mut rng, &mut out);
    /// let topic = state.topic(&topic).expect("it was joined");
    /// assert_eq!(topic.cache_bytes(), 0);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn topic(&self, topic: &TopicId) -> Option<&topic::State<PI>> {
        let slot = self.slots.find(topic)?;
        self.topics.get(slot).map(|topic| &topic.state)
    }

    /// The neighbors in a topic. None in a topic that the node is not in.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// # let (topic, mut out) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// # let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// # state.handle(join, std::time::Instant::now(), &mut rng, &mut out);
    /// // Nobody has answered yet.
    /// assert_eq!(state.neighbors(&topic).count(), 0);
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn neighbors(&self, topic: &TopicId) -> impl Iterator<Item = &PI> {
        let topic = self.topic(topic).into_iter();
        topic.flat_map(topic::State::active_view)
    }

    /// Whether any topic needs the connection to a peer: because the peer is a neighbor, or is
    /// asked to become one.
    ///
    /// ```
    /// # use smol_gossip::proto::{Command, Config, InEvent, Limits, Outbox, State, TopicId};
    /// # let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    /// # let (me, config, limits) = (1u64, Config::default(), Limits::default());
    /// # let mut state = State::new(me, Default::default(), config, limits, &mut rng)?;
    /// # let (topic, mut out) = (TopicId::from_bytes([7; 32]), Outbox::new());
    /// # let join = InEvent::Command(topic, Command::Join(vec![2]));
    /// # state.handle(join, std::time::Instant::now(), &mut rng, &mut out);
    /// assert!(state.is_needed(&2), "it was asked to take us in");
    /// assert!(!state.is_needed(&3));
    /// # Ok::<_, smol_gossip::proto::ConfigError>(())
    /// ```
    pub fn is_needed(&self, peer: &PI) -> bool {
        self.peers.is_held(peer)
    }

    /// What introduces a peer, and whether it says so itself: as the first topic knows where it does, or else as
    /// the first that knows anything.
    #[cfg(feature = "net")]
    pub(crate) fn peer_data(&self, peer: &PI) -> Option<(&PeerData, bool)> {
        let known = || {
            let topics = self.topics.iter();
            topics.filter_map(|(_, topic)| topic.state.peer_data(peer))
        };
        known()
            .find(|(_, is_own)| *is_own)
            .or_else(|| known().next())
    }
}
