//! One topic: its membership and its broadcast tree, joined together.
//!
//! The two layers do not know each other. What one has to know of the other passes through here:
//! a peer that the membership takes for a neighbor becomes a peer of the broadcast tree, and one
//! that it drops is none any more.
//!
//! **Invariants:** a peer of the broadcast tree is a neighbor, always. To the application the
//! event that a peer is a neighbor comes before any message that the broadcast layer handled with
//! the peer as its neighbor, and the event that it is none any more after all of them.

#[cfg(test)]
mod tests;

use rand::Rng;

pub use super::{Command, Config, Event};
use super::{
    Counters, GossipEvent, LinkId, Message, MessageId, Parameters, Payload, PeerData, PeerIdentity,
    Scope,
    clock::{At, MaybeAt},
    hash::Keyed,
    hyparview, plumtree,
};

/// A message of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Received<PI> {
    /// Who sent it, neighbor or not.
    pub(crate) from: PI,
    /// The connection that it came over.
    pub(crate) link: LinkId,
    pub(crate) message: Message<PI>,
    /// Whether it is known that the id of a payload is the hash of its content.
    pub(crate) is_hashed: bool,
}

/// Input to [`State::handle`]: all but messages of peers and of the application.
#[derive(Clone, Debug)]
pub(crate) enum Input<PI> {
    /// Keep trying to join through these peers until joined.
    Join(Vec<PI>),
    /// The last connection to a peer is gone.
    PeerDisconnected(PI),
    /// What was sent to a peer lately may not have arrived.
    StreamLost(PI),
    /// A connection to a peer could not be made.
    DialFailed(PI),
    /// Our own addresses changed.
    UpdatePeerData(PeerData),
    /// Take leave of everyone. Nothing may be put in after this.
    Quit,
}

/// Where a topic puts what follows from its input, in the order in which it has to be carried
/// out.
pub(crate) trait Sink<PI> {
    /// Send a message, connecting to the peer first where there is no connection.
    fn send(&mut self, to: PI, message: Message<PI>);
    /// Send a payload that others get as well.
    fn push(&mut self, to: PI, gossip: &plumtree::Gossip) {
        self.send(to, Message::payload(gossip.clone()));
    }
    /// Tell the application.
    fn emit(&mut self, event: Event<PI>);
    /// A peer was introduced with this data.
    fn peer_data(&mut self, peer: PI, data: PeerData);
    /// From now on the connection to the peer is needed. Alternates with [`Self::release`].
    fn hold(&mut self, peer: PI);
    /// The connection to the peer is not needed any more.
    fn release(&mut self, peer: PI);
}

/// What was counted in all topics before something was handled in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    duplicates: u64,
    dropped: u64,
}

/// The protocol state of one topic.
#[derive(Clone, Debug)]
pub struct State<PI> {
    membership: hyparview::State<PI>,
    broadcast: plumtree::State<PI>,
    duplicates: u64,
    dropped: u64,
}

impl<PI: PeerIdentity> State<PI> {
    pub(crate) fn new(me: PI, me_data: PeerData, parameters: &Parameters, keyed: Keyed) -> Self {
        Self {
            membership: hyparview::State::new(me, me_data, parameters.membership().clone()),
            broadcast: plumtree::State::new(me, parameters.broadcast().clone(), keyed),
            duplicates: 0,
            dropped: 0,
        }
    }

    /// The neighbors: the peers that we keep connections to.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn is_alone<PI: PeerIdentity>(topic: &topic::State<PI>) -> bool {
    ///     topic.active_view().next().is_none()
    /// }
    /// ```
    pub fn active_view(&self) -> impl Iterator<Item = &PI> {
        self.membership.active_view()
    }

    /// The peers that are remembered, to take the place of neighbors that go.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn known<PI: PeerIdentity>(topic: &topic::State<PI>) -> usize {
    ///     topic.active_view().chain(topic.passive_view()).count()
    /// }
    /// ```
    pub fn passive_view(&self) -> impl Iterator<Item = &PI> {
        self.membership.passive_view()
    }

    /// The neighbors that get payloads.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn payloads_per_message<PI: PeerIdentity>(topic: &topic::State<PI>) -> usize {
    ///     topic.eager().count()
    /// }
    /// ```
    pub fn eager(&self) -> impl Iterator<Item = &PI> {
        self.broadcast.eager()
    }

    /// The neighbors that get announcements.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn are_all_neighbors<PI: PeerIdentity>(topic: &topic::State<PI>) -> bool {
    ///     topic.eager().chain(topic.lazy()).all(|peer| topic.is_neighbor(peer))
    /// }
    /// ```
    pub fn lazy(&self) -> impl Iterator<Item = &PI> {
        self.broadcast.lazy()
    }

    /// Whether a peer is a neighbor.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn are_neighbors<PI: PeerIdentity>(topic: &topic::State<PI>, peers: &[PI]) -> bool {
    ///     peers.iter().all(|peer| topic.is_neighbor(peer))
    /// }
    /// ```
    pub fn is_neighbor(&self, peer: &PI) -> bool {
        self.membership.is_active(peer)
    }

    /// What introduces a peer that is known.
    #[cfg(feature = "net")]
    pub(crate) fn peer_data(&self, peer: &PI) -> Option<(&PeerData, bool)> {
        self.membership.peer_data(peer)
    }

    /// What the payloads that are kept to answer Grafts take, in bytes.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn print<PI: PeerIdentity>(topic: &topic::State<PI>) {
    ///     println!("{} KiB are kept for Grafts", topic.cache_bytes() / 1024);
    /// }
    /// ```
    pub fn cache_bytes(&self) -> usize {
        self.broadcast.cache_bytes()
    }

    /// How many message ids are remembered to recognise duplicates.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn print<PI: PeerIdentity>(topic: &topic::State<PI>) {
    ///     println!("{} messages are remembered", topic.seen_ids());
    /// }
    /// ```
    pub fn seen_ids(&self) -> usize {
        self.broadcast.seen_ids()
    }

    /// How many messages were announced and have not come yet.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn is_complete<PI: PeerIdentity>(topic: &topic::State<PI>) -> bool {
    ///     topic.missing_ids() == 0
    /// }
    /// ```
    pub fn missing_ids(&self) -> usize {
        self.broadcast.missing_ids()
    }

    /// How many payloads came a second time since the topic was joined.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn print<PI: PeerIdentity>(topic: &topic::State<PI>) {
    ///     println!("{} payloads for nothing", topic.duplicates());
    /// }
    /// ```
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How often since the topic was joined there was no room for something, or something made room
    /// for something else: payloads and ids that were forgotten before their time, announcements,
    /// Grafts and introductions that were ignored. [`Counters`] has them one by one, of all topics.
    ///
    /// ```
    /// # use smol_gossip::proto::{PeerIdentity, topic};
    /// fn has_room<PI: PeerIdentity>(topic: &topic::State<PI>) -> bool {
    ///     topic.dropped() == 0
    /// }
    /// ```
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds what was counted in all topics since `before`, which happened in this one. From then on
    /// it is counted since now.
    pub(crate) fn count_since(&mut self, before: &mut Before, counters: &Counters) {
        let now = Before {
            duplicates: counters.duplicates,
            dropped: counters.dropped(),
        };
        if now == *before {
            return;
        }
        self.duplicates += now.duplicates - before.duplicates;
        self.dropped += now.dropped - before.dropped;
        *before = now;
    }

    /// Whether a message has come, or is our own.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn has_seen(&self, id: &MessageId) -> bool {
        self.broadcast.has_seen(id)
    }

    /// Whether a Graft for a message would be answered with it.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn has_cached(&self, id: &MessageId) -> bool {
        self.broadcast.has_cached(id)
    }

    /// Checks that everything in both layers is within its bounds.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn check_bounds(&self) {
        self.membership.check_bounds();
        self.broadcast.check_bounds();
    }

    /// Says that payloads with these ids are about to come.
    pub(crate) fn anticipate(&self, ids: impl Iterator<Item = MessageId>) {
        self.broadcast.anticipate(ids);
    }

    /// Forgets messages that are too old, if that is due.
    #[cfg(feature = "net")]
    pub(crate) fn begin(&mut self, now: At) {
        self.broadcast.begin(now);
    }

    /// Whether a payload with this id has not come yet.
    #[cfg(feature = "net")]
    pub(crate) fn is_news(&self, id: &MessageId) -> bool {
        self.broadcast.is_news(id)
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn next_deadline(&self) -> MaybeAt {
        let membership = self.membership.next_deadline();
        membership.earlier(self.broadcast.next_deadline())
    }

    /// A message arrived.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        received: Received<PI>,
        now: At,
        rng: &mut impl Rng,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let Received {
            from,
            link,
            message,
            is_hashed,
        } = received;
        match message {
            Message::Gossip(message) => {
                let mut sink = BroadcastSink(sink);
                self.broadcast
                    .receive(from, message, is_hashed, now, counters, &mut sink);
            }
            Message::Swarm(message) => {
                let input = hyparview::Input::RecvMessage {
                    from,
                    link,
                    message,
                };
                self.handle_membership(input, now, rng, counters, sink);
            }
        }
    }

    /// A peer, neighbor or not, sends a payload. The id may be known to be the hash of the content.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn receive_payload(
        &mut self,
        from: PI,
        gossip: &mut plumtree::Gossip,
        is_hashed: bool,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let mut sink = BroadcastSink(sink);
        self.broadcast
            .receive_payload(from, gossip, is_hashed, now, counters, &mut sink);
    }

    /// The application sends a message.
    #[inline]
    pub(crate) fn broadcast(
        &mut self,
        payload: &mut Payload,
        scope: Scope,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let mut sink = BroadcastSink(sink);
        self.broadcast
            .broadcast(payload, scope, now, counters, &mut sink);
    }

    pub(crate) fn handle(
        &mut self,
        input: Input<PI>,
        now: At,
        rng: &mut impl Rng,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let input = match input {
            Input::Quit => {
                let mut sink = LeavingSink(sink);
                let input = hyparview::Input::Quit;
                return self.membership.handle(input, now, rng, counters, &mut sink);
            }
            Input::Join(peers) => hyparview::Input::Join(peers),
            Input::PeerDisconnected(peer) => hyparview::Input::PeerDisconnected(peer),
            Input::StreamLost(peer) => {
                let input = plumtree::Input::StreamLost(peer);
                let mut sink = BroadcastSink(sink);
                self.broadcast.handle(input, now, counters, &mut sink);
                hyparview::Input::StreamLost(peer)
            }
            Input::DialFailed(peer) => hyparview::Input::DialFailed(peer),
            Input::UpdatePeerData(data) => hyparview::Input::UpdatePeerData(data),
        };
        self.handle_membership(input, now, rng, counters, sink);
    }

    fn handle_membership(
        &mut self,
        input: hyparview::Input<PI>,
        now: At,
        rng: &mut impl Rng,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        let mut membership_sink = MembershipSink::new(sink, &self.broadcast);
        self.membership
            .handle(input, now, rng, counters, &mut membership_sink);
        let changes = membership_sink.changes;
        self.follow(changes, now, counters, sink);
    }

    /// Does what is due. Doing it early does no harm.
    pub(crate) fn handle_timeout(
        &mut self,
        now: At,
        rng: &mut impl Rng,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        if self.membership.next_deadline().is_due(now) {
            let mut membership_sink = MembershipSink::new(sink, &self.broadcast);
            self.membership
                .handle_timeout(now, rng, counters, &mut membership_sink);
            let changes = membership_sink.changes;
            self.follow(changes, now, counters, sink);
        }
        if self.broadcast.next_deadline().is_due(now) {
            self.broadcast
                .handle_timeout(now, counters, &mut BroadcastSink(sink));
        }
    }

    /// Lets the broadcast layer follow what the membership layer has decided.
    fn follow(
        &mut self,
        changes: Vec<Change<PI>>,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        for change in changes {
            let input = match change {
                Change::Up(peer) => plumtree::Input::NeighborUp(peer),
                Change::Down(peer) => plumtree::Input::NeighborDown(peer),
            };
            self.broadcast
                .handle(input, now, counters, &mut BroadcastSink(sink));
        }
    }
}

/// What the broadcast layer has yet to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change<PI> {
    Up(PI),
    Down(PI),
}

/// Takes the output of the membership layer.
struct MembershipSink<'a, PI, S> {
    sink: &'a mut S,
    /// As it was before the membership layer had its input.
    broadcast: &'a plumtree::State<PI>,
    changes: Vec<Change<PI>>,
}

impl<'a, PI, S> MembershipSink<'a, PI, S> {
    fn new(sink: &'a mut S, broadcast: &'a plumtree::State<PI>) -> Self {
        Self {
            sink,
            broadcast,
            changes: Vec::new(),
        }
    }
}

impl<PI: PeerIdentity, S: Sink<PI>> hyparview::Sink<PI> for MembershipSink<'_, PI, S> {
    fn send(&mut self, to: PI, message: hyparview::Message<PI>) {
        self.sink.send(to, Message::Swarm(message));
    }

    fn probe(&mut self, neighbor: PI) {
        let nothing = plumtree::Message::nothing();
        self.sink.send(neighbor, Message::Gossip(nothing));
    }

    fn is_spare(&self, neighbor: &PI) -> bool {
        self.broadcast.is_lazy(neighbor)
    }

    fn neighbor_up(&mut self, peer: PI) {
        self.changes.push(Change::Up(peer));
        self.sink.emit(Event::NeighborUp(peer));
    }

    fn neighbor_down(&mut self, peer: PI) {
        // A neighbor that went as it came never was one to the broadcast layer. Else announcements
        // to it would go out behind the Disconnect, which must be the last that it gets.
        match self.changes.iter().position(|c| *c == Change::Up(peer)) {
            Some(came) => {
                self.changes.remove(came);
            }
            None => self.changes.push(Change::Down(peer)),
        }
        self.sink.emit(Event::NeighborDown(peer));
    }

    fn peer_data(&mut self, peer: PI, data: PeerData) {
        self.sink.peer_data(peer, data);
    }

    fn hold(&mut self, peer: PI) {
        self.sink.hold(peer);
    }

    fn release(&mut self, peer: PI) {
        self.sink.release(peer);
    }
}

/// Takes the output of the membership layer as it takes leave: nobody listens to events any more.
struct LeavingSink<'a, S>(&'a mut S);

impl<PI: PeerIdentity, S: Sink<PI>> hyparview::Sink<PI> for LeavingSink<'_, S> {
    fn send(&mut self, to: PI, message: hyparview::Message<PI>) {
        self.0.send(to, Message::Swarm(message));
    }

    fn probe(&mut self, _neighbor: PI) {}

    fn is_spare(&self, _neighbor: &PI) -> bool {
        false
    }

    fn neighbor_up(&mut self, _peer: PI) {}

    fn neighbor_down(&mut self, _peer: PI) {}

    fn peer_data(&mut self, peer: PI, data: PeerData) {
        self.0.peer_data(peer, data);
    }

    fn hold(&mut self, peer: PI) {
        self.0.hold(peer);
    }

    fn release(&mut self, peer: PI) {
        self.0.release(peer);
    }
}

/// Takes the output of the broadcast layer.
struct BroadcastSink<'a, S>(&'a mut S);

impl<PI: PeerIdentity, S: Sink<PI>> plumtree::Sink<PI> for BroadcastSink<'_, S> {
    fn send(&mut self, to: PI, message: plumtree::Message) {
        self.0.send(to, Message::Gossip(message));
    }

    #[inline]
    fn push(&mut self, to: PI, gossip: &plumtree::Gossip) {
        self.0.push(to, gossip);
    }

    fn deliver(&mut self, event: GossipEvent<PI>) {
        self.0.emit(Event::Received(event));
    }
}
