//! Swarm membership, after HyParView (Leitão, Pereira, Rodrigues; DSN'07, and report
//! DI-FCUL TR-07-13). Sections are those of the paper.
//!
//! Every node keeps a small *active view* of neighbors to which it holds connections, and a larger
//! *passive view* of peers to fall back on. `State` decides who is in which; it is fed
//! `Input`s and the time, and tells a `Sink` what follows.
//!
//! | where | what |
//! |---|---|
//! | `view` | the two views, and whom to pick of them (4.1) |
//! | `join` | contacts, Join and ForwardJoin (4.2) |
//! | `refill` | asking for a place when a neighbor was lost (4.3) |
//! | `neighbors` | becoming neighbors and parting (4.3) |
//! | `alarm` | when many may have failed |
//! | `visits` | how often peers come |
//! | `shuffle` | exchanging samples (4.4) |
//! | `data` | what introduces a peer |
//! | `time` | waits, jittered and growing |
//!
//! Each of them says where it departs from the paper, and why.
//!
//! # Invariants
//!
//! - The views never exceed their capacities, nobody is in both, and we are in neither.
//! - A peer is held exactly while it is a neighbor, or a request or Join to it is under way.
//! - A joined node with a full active view has one deadline, the next Shuffle.

mod alarm;
mod config;
mod data;
mod join;
mod message;
mod neighbors;
mod refill;
mod shuffle;
mod time;
mod view;
mod visits;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use rand::Rng;

pub(crate) use config::Settings;
pub use config::{Config, Ttl};
pub use message::{Disconnect, ForwardJoin, Message, Neighbor, Priority, Shuffle, ShuffleReply};

use self::{
    alarm::Alarm,
    data::Introductions,
    join::Joins,
    refill::Requests,
    shuffle::Shuffles,
    view::{ActiveView, PassiveView},
    visits::Visits,
};
use super::{
    clock::{At, MaybeAt},
    counters::Counters,
    ids::LinkId,
    peer::{PeerData, PeerIdentity, PeerInfo},
};

/// What the membership layer tells its surroundings, in the order in which it is to be done.
pub(crate) trait Sink<PI> {
    /// Send a message. To a peer that is not held this is a one-off: the connection is of no more
    /// use once the message is out.
    fn send(&mut self, to: PI, message: Message<PI>);
    /// Send a neighbor anything at all, to find out whether it is still there.
    fn probe(&mut self, neighbor: PI);
    /// Whether a neighbor is one that nothing depends on for now.
    fn is_spare(&self, neighbor: &PI) -> bool;
    /// The peer is a neighbor now.
    fn neighbor_up(&mut self, peer: PI);
    /// The peer is not a neighbor any more.
    fn neighbor_down(&mut self, peer: PI);
    /// The peer is introduced with this data: never empty, within bounds, and new.
    fn peer_data(&mut self, peer: PI, data: PeerData);
    /// A connection to the peer is needed from now on. For each peer this alternates with
    /// [`Sink::release`], and comes first.
    fn hold(&mut self, peer: PI);
    /// The connection to the peer is not needed any more. What was sent still goes out.
    fn release(&mut self, peer: PI);
}

/// What the membership layer is told.
#[derive(Clone, Debug)]
pub(crate) enum Input<PI> {
    /// A message came.
    RecvMessage {
        /// Who sent it.
        from: PI,
        /// The connection that it came over.
        link: LinkId,
        /// The message.
        message: Message<PI>,
    },
    /// The last connection to a peer is gone.
    PeerDisconnected(PI),
    /// What was sent to a peer lately may not have arrived.
    StreamLost(PI),
    /// A connection to a peer could not be made.
    DialFailed(PI),
    /// The application takes part in the topic, through these peers.
    Join(Vec<PI>),
    /// Our own peer data has changed.
    UpdatePeerData(PeerData),
    /// The application leaves the topic. Nothing may be fed to the state after that.
    Quit,
}

/// What every handler needs besides the state.
struct Turn<'a, R, S> {
    now: At,
    rng: &'a mut R,
    counters: &'a mut Counters,
    sink: &'a mut S,
}

/// The membership of one topic.
#[derive(Clone, Debug)]
pub(crate) struct State<PI> {
    me: PI,
    /// Our own peer data; empty when there is none.
    me_data: PeerData,
    settings: Arc<Settings>,
    active: ActiveView<PI>,
    passive: PassiveView<PI>,
    requests: Requests<PI>,
    joins: Joins<PI>,
    shuffles: Shuffles<PI>,
    visits: Visits<PI>,
    /// The last peer that was refused a place, and when.
    seeker: Option<Box<(PeerInfo<PI>, At)>>,
    /// What introduces the peers that are known.
    data: Introductions<PI>,
    deadline: MaybeAt,
    alarm: Alarm<PI>,
    /// Whether a peer that we were to ask has come to nothing since we last asked one of our own choice.
    introduced_in_vain: bool,
}

impl<PI: PeerIdentity> State<PI> {
    /// A node that has not joined yet.
    pub(crate) fn new(me: PI, me_data: PeerData, settings: Arc<Settings>) -> Self {
        let config = &settings.config;
        let mut state = Self {
            me,
            me_data: PeerData::default(),
            active: ActiveView::new(config.active_view_capacity),
            passive: PassiveView::new(config.passive_view_capacity),
            requests: Requests::new(),
            joins: Joins::new(),
            shuffles: Shuffles::new(),
            visits: Visits::new(),
            seeker: None,
            data: Introductions::new(),
            deadline: MaybeAt::NONE,
            alarm: Alarm::new(),
            introduced_in_vain: false,
            settings,
        };
        state.set_own_data(me_data);
        state
    }

    /// The neighbors, the oldest first.
    pub(crate) fn active_view(&self) -> impl Iterator<Item = &PI> {
        self.active.ids()
    }

    /// The peers to fall back on.
    pub(crate) fn passive_view(&self) -> impl Iterator<Item = &PI> {
        self.passive.ids()
    }

    /// Whether the peer is a neighbor.
    pub(crate) fn is_active(&self, id: &PI) -> bool {
        self.active.contains(id)
    }

    /// What introduces a peer that is known, and whether it says so itself.
    #[cfg(feature = "net")]
    pub(crate) fn peer_data(&self, id: &PI) -> Option<(&PeerData, bool)> {
        Some((self.data.get(id)?, self.data.is_own(id)))
    }

    /// Checks that everything is within its bounds.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn check_bounds(&self) {
        self.requests.check(self.settings.pending_requests);
        self.joins.check();
        self.visits.check();
        self.alarm.check(self.settings.config.passive_view_capacity);
        let views = self.active.ids().chain(self.passive.ids());
        let known = views.chain(self.requests.ids()).chain(self.joins.ids());
        let mut known: Vec<&PI> = known.collect();
        known.sort_unstable();
        for (id, data) in self.data.iter() {
            assert!(
                data.as_bytes().len() <= self.settings.data_limit,
                "peer data"
            );
            assert!(
                known.binary_search(&id).is_ok(),
                "peer data of someone who is not known"
            );
        }
    }

    /// When [`Self::handle_timeout`] is to be called next, if nothing else happens before.
    pub(crate) fn next_deadline(&self) -> MaybeAt {
        self.deadline
    }

    /// Takes in one input.
    pub(crate) fn handle<R: Rng, S: Sink<PI>>(
        &mut self,
        input: Input<PI>,
        now: At,
        rng: &mut R,
        counters: &mut Counters,
        sink: &mut S,
    ) {
        let mut turn = Turn {
            now,
            rng,
            counters,
            sink,
        };
        let turn = &mut turn;
        match input {
            Input::RecvMessage {
                from,
                link,
                message,
            } => self.on_message(from, link, message, turn),
            Input::PeerDisconnected(id) => self.on_connection_lost(&id, turn),
            Input::StreamLost(id) => self.on_stream_lost(id, turn),
            Input::DialFailed(id) => self.on_dial_failed(&id, turn),
            Input::Join(peers) => self.join(peers, turn),
            Input::UpdatePeerData(data) => self.set_own_data(data),
            Input::Quit => {
                self.quit(turn);
                return;
            }
        }
        self.settle(turn);
    }

    /// Does what is due by `now`; a call before [`Self::next_deadline`] does nothing.
    pub(crate) fn handle_timeout<R: Rng, S: Sink<PI>>(
        &mut self,
        now: At,
        rng: &mut R,
        counters: &mut Counters,
        sink: &mut S,
    ) {
        if !self.deadline.is_due(now) {
            return;
        }
        let mut turn = Turn {
            now,
            rng,
            counters,
            sink,
        };
        self.expire_requests(&mut turn);
        self.shuffle(&mut turn);
        self.settle(&mut turn);
    }

    /// Draws the consequences of whatever has changed.
    fn settle<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        self.send_joins(turn);
        self.refill(turn);
        self.survey(turn);
        let next = MaybeAt::from(self.shuffles.next_deadline());
        let next = next.earlier(self.joins.next_deadline().into());
        let next = next.earlier(self.next_refill(turn.now).into());
        self.deadline = next.earlier(self.alarm.next_deadline().into());
    }

    fn on_message<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        link: LinkId,
        message: Message<PI>,
        turn: &mut Turn<'_, R, S>,
    ) {
        if from == self.me {
            turn.counters.bogus_introduction += 1;
            return;
        }
        self.passive.heard(&from);
        match message {
            Message::Join(data) => self.on_join(from, link, data, turn),
            Message::ForwardJoin(forward) => self.on_forward_join(from, forward, turn),
            Message::Shuffle(shuffle) => self.on_shuffle(from, shuffle, turn),
            Message::ShuffleReply(reply) => self.on_shuffle_reply(from, reply, turn),
            Message::Neighbor(neighbor) => self.on_neighbor(from, link, neighbor, turn),
            Message::Disconnect(disconnect) => self.on_disconnect(from, disconnect, turn),
        }
    }

    /// Takes leave of everyone who has us for a neighbor, or soon might.
    fn quit<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        let neighbors: Vec<PI> = self.active.ids().copied().collect();
        let mut held = neighbors.clone();
        held.extend(self.requests.ids());
        held.extend(self.joins.under_way());
        for (index, id) in held.iter().enumerate() {
            if held[..index].contains(id) {
                continue;
            }
            if neighbors.contains(id) {
                turn.sink.neighbor_down(*id);
                // Its passive view is what the neighbor replaces us from.
                self.send_reply(*id, self.sample_size(), turn);
            }
            self.send_disconnect(*id, false, turn);
            turn.sink.release(*id);
        }
        self.deadline = MaybeAt::NONE;
    }
}
