//! Becoming neighbors and parting again (section 4.3).
//!
//! Links are symmetric: each side has to know. A request is answered with a Neighbor message, and
//! on the wire the answer looks just like a request. What tells them apart is whether we have
//! asked that peer ourselves; what keeps two nodes from answering each other's answers is that a
//! Neighbor message we have sent uses up the next one that comes back.

use rand::Rng;
use tracing::debug;

use super::{
    Disconnect, Message, Neighbor, PeerIdentity, Priority, ShuffleReply, Sink, State, Turn,
    data::Word,
    view::{self, Sent},
};
use crate::proto::{LinkId, PeerInfo};

/// How many neighbors, the longest-standing ones, are never dropped at someone else's wish.
///
/// The paper drops a random neighbor for every Join and every urgent request, so whoever sends
/// enough of them can replace a whole active view. Ordinary joins never notice the difference: they
/// are always taken in, only that one of the younger neighbors has to go. And of these rather one that
/// brings no payloads ([`Sink::is_spare`]): with a link of the broadcast tree a part of the swarm
/// loses its place, and what it finds instead is hardly ever as good.
pub(super) const SETTLED_NEIGHBORS: usize = 2;

impl<PI: PeerIdentity> State<PI> {
    /// Whether the topic needs a connection to the peer.
    fn needs(&self, id: &PI) -> bool {
        self.active.contains(id) || self.requests.contains(id) || self.joins.is_under_way(id)
    }

    /// To be called before a peer is needed.
    pub(super) fn hold<R: Rng, S: Sink<PI>>(&self, id: PI, turn: &mut Turn<'_, R, S>) {
        if !self.needs(&id) {
            turn.sink.hold(id);
        }
    }

    /// To be called after a peer was needed.
    pub(super) fn release<R: Rng, S: Sink<PI>>(&self, id: PI, turn: &mut Turn<'_, R, S>) {
        if !self.needs(&id) {
            turn.sink.release(id);
        }
    }

    /// Adds a neighbor, for which there is room.
    pub(super) fn add_neighbor<R: Rng, S: Sink<PI>>(
        &mut self,
        id: PI,
        link: LinkId,
        turn: &mut Turn<'_, R, S>,
    ) {
        self.hold(id, turn);
        if self.passive.was_lost(&id) {
            // One link across is enough: the rest follows by shuffling.
            self.passive.nobody_lost();
        }
        self.passive.remove(&id);
        let added = self.active.insert(view::Neighbor { id, link });
        debug_assert!(added, "there is room for the neighbor");
        self.requests.cancel(&id);
        self.join_granted(&id);
        debug!(peer = ?id, "neighbor up");
        turn.sink.neighbor_up(id);
    }

    /// Removes a neighbor, and says whether it was one. It stays held for [`Self::release`].
    fn remove_neighbor<R: Rng, S: Sink<PI>>(&mut self, id: &PI, turn: &mut Turn<'_, R, S>) -> bool {
        if self.active.remove(id).is_none() {
            return false;
        }
        debug!(peer = ?id, "neighbor down");
        turn.sink.neighbor_down(*id);
        if self.active.is_empty() {
            self.hasten_refill(turn);
            self.rejoin(turn);
        }
        true
    }

    /// Makes sure of a free slot at someone else's wish, by dropping a neighbor if need be, but
    /// none of the [`SETTLED_NEIGHBORS`]. Fails only where the configuration allows no neighbor
    /// at all.
    pub(super) fn make_room<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) -> bool {
        self.make_room_without(None, SETTLED_NEIGHBORS, turn)
    }

    /// Makes sure of a free slot for a peer that we have asked ourselves: whoever is dispensable goes
    /// first, and then any neighbor, as in the paper. But for one that was lost none of the
    /// [`SETTLED_NEIGHBORS`] goes, since peers can see to it that we ask them, by being away for a
    /// while; and once the node is grown up none goes for anyone.
    fn make_room_for_ours<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        let dispensable = self.active.take_dispensable();
        let settled = if self.passive.was_lost(id) || self.is_grown_up() {
            SETTLED_NEIGHBORS
        } else {
            0
        };
        self.make_room_without(dispensable, settled, turn)
    }

    /// Whether a peer that comes of its own accord has not come too often lately.
    pub(super) fn is_welcome<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        let at_once = self.settings.joins_per_peer;
        let welcome = self.visits.note(id, at_once, turn.now);
        turn.counters.joins_limited += u64::from(!welcome);
        welcome
    }

    /// Makes sure of a free slot for one who is [welcome](Self::is_welcome). For one who is not
    /// there has to be one already.
    pub(super) fn make_room_for<R: Rng, S: Sink<PI>>(
        &mut self,
        welcome: bool,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        if welcome {
            self.make_room(turn)
        } else {
            self.active.free() > 0
        }
    }

    fn make_room_without<R: Rng, S: Sink<PI>>(
        &mut self,
        dispensable: Option<PI>,
        settled: usize,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        if self.active.free() > 0 {
            return true;
        }
        let sink = &*turn.sink;
        let is_spare = |id: &PI| sink.is_spare(id);
        let dropped = dispensable.or_else(|| self.active.pick_to_drop(settled, is_spare, turn.rng));
        let Some(dropped) = dropped else {
            return false;
        };
        self.active.remove(&dropped);
        debug!(peer = ?dropped, "neighbor dropped for another");
        turn.sink.neighbor_down(dropped);
        // Not in the paper: whoever is turned away learns where else to go. A node that has just
        // joined may know nobody but us.
        self.send_reply(dropped, self.sample_size(), turn);
        self.send_disconnect(dropped, true, turn);
        self.release(dropped, turn);
        self.keep(dropped, turn);
        self.peer_refused(&dropped, turn);
        true
    }

    /// Moves a peer that was a neighbor to the passive view.
    fn keep<R: Rng, S: Sink<PI>>(&mut self, id: PI, turn: &mut Turn<'_, R, S>) {
        let peer = PeerInfo { id, data: None };
        self.insert_passive(peer, &mut Sent::new(&[]), turn);
        self.forget_data(&id);
    }

    pub(super) fn send_disconnect<R: Rng, S: Sink<PI>>(
        &self,
        to: PI,
        alive: bool,
        turn: &mut Turn<'_, R, S>,
    ) {
        turn.sink
            .send(to, Message::Disconnect(Disconnect::new(alive)));
    }

    /// Turns away a peer in need, with a hint where else to go.
    pub(super) fn refuse<R: Rng, S: Sink<PI>>(&mut self, id: PI, turn: &mut Turn<'_, R, S>) {
        self.send_reply(id, self.sample_size(), turn);
        self.send_disconnect(id, true, turn);
    }

    /// Tells a peer that looks for a neighbor, and is about to be refused, of the one that was
    /// refused before it.
    ///
    /// Not in the paper. When nearly all views are full, the few nodes with a free slot hardly ever
    /// find each other by asking around; but those they ask can bring them together.
    fn introduce_seekers<R: Rng, S: Sink<PI>>(
        &mut self,
        mut peer: PeerInfo<PI>,
        turn: &mut Turn<'_, R, S>,
    ) {
        self.bound_data(&mut peer.data, turn);
        let id = peer.id;
        if !self.passive.is_full() {
            // We may be glad of it one day; but nobody has to go for it.
            self.insert_passive(peer.clone(), &mut Sent::new(&[]), turn);
        }
        let seeker = Box::new((peer, turn.now));
        let Some(before) = self.seeker.replace(seeker) else {
            return;
        };
        let (other, at) = *before;
        let recent = turn.now.passed_since(at) < self.shuffle_interval();
        if recent && other.id != id && !self.active.contains(&other.id) {
            let nodes = vec![other];
            let hint = Message::ShuffleReply(ShuffleReply { nodes });
            turn.sink.send(id, hint);
        }
    }

    /// Tells a peer that takes us for its neighbor that it is not ours.
    ///
    /// Not in the paper. Without it, a link that only one side knows of could stay for ever.
    pub(super) fn set_stranger_right<R: Rng, S: Sink<PI>>(
        &mut self,
        id: PI,
        turn: &mut Turn<'_, R, S>,
    ) {
        if !self.needs(&id) {
            self.send_disconnect(id, true, turn);
        }
    }

    /// Answers a neighbor's request.
    pub(super) fn answer<R: Rng, S: Sink<PI>>(
        &mut self,
        id: PI,
        priority: Priority,
        turn: &mut Turn<'_, R, S>,
    ) {
        self.active.set_asked(id, turn.now);
        self.send_neighbor(id, priority, turn);
    }

    /// A Neighbor message came: a request, or the answer to one.
    pub(super) fn on_neighbor<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        link: LinkId,
        message: Neighbor,
        turn: &mut Turn<'_, R, S>,
    ) {
        let Neighbor { priority, data } = message;
        let window = self.answer_window();
        if self.active.contains(&from) {
            let asked = self.active.take_asked(&from);
            let answered = asked.is_some_and(|at| turn.now.passed_since(at) < window);
            self.learn_data(from, data, Word::Own, turn);
            if !answered {
                self.answer(from, priority, turn);
            }
            return;
        }
        if let Some(asked) = self.requests.priority(&from) {
            let room = match asked {
                Priority::High if self.requests.is_introduced(&from) => {
                    let welcome = self.is_welcome(&from, turn);
                    self.make_room_for(welcome, turn)
                }
                Priority::High => self.make_room_for_ours(&from, turn),
                Priority::Low => self.active.free() > 0,
            };
            if room {
                self.add_neighbor(from, link, turn);
                self.learn_data(from, data, Word::Own, turn);
            } else {
                // The view has filled up in between.
                self.send_disconnect(from, true, turn);
                self.end_request(&from, turn);
            }
            return;
        }
        if self.joins.is_under_way(&from) {
            if self.make_room(turn) {
                self.add_neighbor(from, link, turn);
                self.learn_data(from, data, Word::Own, turn);
                // The peer counts its own message as a request: the other implementation holds
                // one of its slots until it is answered. Should it have dropped us since, then
                // nobody has to go for us again.
                self.send_neighbor(from, Priority::Low, turn);
            } else {
                self.send_disconnect(from, true, turn);
                self.join_failed(&from, turn);
            }
            return;
        }
        // "A node q that receives a high priority neighbor request will always accept the
        // request, even if it has to drop a random member from its active view [...]. If a node q
        // receives a low priority Neighbor request, it will only accept the request if it has a
        // free slot in its active view, otherwise it will refuse the request."
        let room = if priority == Priority::High || self.active.free() > 0 {
            let welcome = self.is_welcome(&from, turn);
            self.make_room_for(welcome && priority == Priority::High, turn)
        } else {
            false
        };
        if room {
            self.add_neighbor(from, link, turn);
            self.learn_data(from, data, Word::Own, turn);
            self.answer(from, priority, turn);
        } else if priority == Priority::High {
            self.refuse(from, turn);
        } else {
            self.probe_neighbors(turn);
            self.introduce_seekers(PeerInfo { id: from, data }, turn);
            self.send_disconnect(from, true, turn);
        }
    }

    /// A Disconnect came. It is never answered.
    pub(super) fn on_disconnect<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        message: Disconnect,
        turn: &mut Turn<'_, R, S>,
    ) {
        let Disconnect { alive, _respond: _ } = message;
        let asked = self.requests.priority(&from);
        let known = self.remove_neighbor(&from, turn) || asked.is_some();
        self.introduced_in_vain |= self.requests.is_introduced(&from);
        self.requests.cancel(&from);
        if known {
            self.release(from, turn);
        }
        self.join_failed(&from, turn);
        if alive {
            if known {
                self.keep(from, turn);
            }
            self.peer_refused(&from, turn);
            if asked == Some(Priority::High) {
                self.passive.not_lost(&from);
            }
        } else {
            self.passive.remove(&from);
        }
        self.forget_data(&from);
    }

    /// The last connection to a peer is gone.
    pub(super) fn on_connection_lost<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) {
        if self.remove_neighbor(id, turn) {
            self.release(*id, turn);
            // The paper forgets a failed neighbor. It may be us who failed, or the network.
            if self.passive.has_room_for_failed() || !self.failed_lately(turn) {
                self.keep(*id, turn);
            } else {
                self.forget_data(id);
            }
            self.on_neighbor_failed(turn);
            self.peer_unreachable(id, turn);
            self.join_failed(id, turn);
            return;
        }
        self.on_dial_failed(id, turn);
    }

    /// What was sent to a peer lately may not have arrived.
    ///
    /// The peer may have started anew, in other topics. It is asked whether it still takes us for
    /// a neighbor; if it does not, it will become one again or turn us away.
    pub(super) fn on_stream_lost<R: Rng, S: Sink<PI>>(
        &mut self,
        id: PI,
        turn: &mut Turn<'_, R, S>,
    ) {
        if self.active.contains(&id) {
            self.answer(id, Priority::High, turn);
        }
    }

    /// A connection to a peer could not be made.
    pub(super) fn on_dial_failed<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) {
        // A neighbor may be connected the other way round: its loss is reported as such.
        if !self.request_failed(id, turn) {
            self.peer_unreachable(id, turn);
        }
        self.join_failed(id, turn);
    }
}
