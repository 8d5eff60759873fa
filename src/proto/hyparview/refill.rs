//! Asking peers for a place in their active view: to replace lost neighbors (section 4.3), for
//! peers introduced by a ForwardJoin, and to find peers again that were lost.
//!
//! Where this departs from the paper:
//!
//! - As many candidates are asked at once as there are free slots, not one after the other, and
//!   every refusal, failed dial or timeout leads to the next candidate at once. A request that was
//!   not answered in time frees its slot, but is remembered as *late* for a while: a dial may take
//!   longer than the timeout, and an answer that still finds room is welcome.
//! - A peer that cannot be reached is not erased but suspected, and asked again after a growing
//!   time. A node that was offline has only failures to tell of, and must not lose its memory over
//!   them. A peer that refused is asked again after a growing time as well: without that, the last
//!   nodes to find a full view would never stop asking.
//! - Once per shuffle interval one lost peer is asked urgently even when the active view is full.
//!   Two halves of a split swarm have no other reason to look for each other again.
//! - A young node now and then asks a random peer urgently, and both drop a neighbor for it. Views
//!   that are full never change again otherwise, and those of nodes that joined through one
//!   contact at once are full of each other: the swarm would stay clustered, and its paths long. So
//!   does a young node whose neighbor names another of its neighbors in a Shuffle; that one goes.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::{
    Message, Neighbor, PeerIdentity, Priority, Sink, State, Turn,
    data::Word,
    neighbors::SETTLED_NEIGHBORS,
    time::{after, doubled, jittered, part},
    view::Sent,
};
use crate::proto::{PeerInfo, clock::At, peer::is_same};

/// The wait before a peer that could not be reached is tried again: first, and at most.
const UNREACHABLE_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The most that wait may be while there is no neighbor at all.
const ISOLATED_WAIT: Duration = Duration::from_secs(20);

/// A peer that has lost all neighbors starts over with everyone it knows within this time.
const HASTENED_WAIT: Duration = Duration::from_secs(1);

/// Late requests are given up, and Neighbor messages are no longer taken for an answer, after this
/// many times [`Config::neighbor_request_timeout`](super::Config::neighbor_request_timeout).
const LATE: u32 = 10;

/// How likely a node with a full active view is to swap a neighbor for a random peer at its n-th
/// Shuffle: 1 in `MIX.0 + n² / MIX.1`. Of three nodes two swap once while they are young, and hardly
/// any later, since a mixed overlay gains nothing and every swap may cost the broadcast trees a link.
const MIX: (u32, u32) = (16, 4);

/// How likely a node with a full active view is to do without a neighbor that it has in common with
/// another, when it hears of that after its n-th Shuffle: as [`MIX`].
const UNTANGLE: (u32, u32) = (1, 16);

/// After so many Shuffles of its own, the oldest neighbors of a node are not taken for part of a triangle. Until
/// then the overlay is made, and would keep the triangles that it began with.
const GROWN_UP: u32 = 32;

/// The share of all requests under way that one introducer can cause, as a divisor.
const INTRODUCER_SHARE: usize = 4;

/// A Neighbor message that was sent and not answered yet.
#[derive(Clone, Debug)]
struct Request<PI> {
    id: PI,
    priority: Priority,
    /// Who introduced the peer with a ForwardJoin.
    introducer: Option<PI>,
    /// The timeout has passed: the slot is free for another request.
    late: bool,
    deadline: At,
}

/// The requests under way.
///
/// Invariant: no peer twice, no neighbor, at most [`Limits::pending_requests`].
///
/// [`Limits::pending_requests`]: crate::proto::Limits::pending_requests
#[derive(Clone, Debug)]
pub(super) struct Requests<PI>(Vec<Request<PI>>);

impl<PI: Copy + Ord> Requests<PI> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn contains(&self, id: &PI) -> bool {
        self.0.iter().any(|request| is_same(&request.id, id))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PI> {
        self.0.iter().map(|request| &request.id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How urgently the peer was asked, when it was.
    pub(super) fn priority(&self, id: &PI) -> Option<Priority> {
        let request = self.0.iter().find(|request| is_same(&request.id, id))?;
        Some(request.priority)
    }

    /// Whether the peer was asked because someone else wants us to.
    pub(super) fn is_introduced(&self, id: &PI) -> bool {
        let request = self.0.iter().find(|request| is_same(&request.id, id));
        request.is_some_and(|request| request.introducer.is_some())
    }

    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self, limit: usize) {
        assert!(self.0.len() <= limit, "requests under way");
        let share = (limit / INTRODUCER_SHARE).max(1);
        for introducer in self.0.iter().filter_map(|one| one.introducer) {
            assert!(
                self.introduced_by(&introducer) <= share,
                "requests by one introducer"
            );
        }
    }

    fn in_time(&self) -> usize {
        self.0.iter().filter(|r| !r.late).count()
    }

    fn in_time_of_our_choice(&self) -> usize {
        let ours = self.0.iter().filter(|r| !r.late && r.introducer.is_none());
        ours.count()
    }

    fn introduced_by(&self, introducer: &PI) -> usize {
        let introduced = self.0.iter().filter(|r| r.introducer == Some(*introducer));
        introduced.count()
    }

    fn oldest_late(&self) -> Option<PI> {
        Some(self.0.iter().find(|request| request.late)?.id)
    }

    fn expired(&mut self, now: At) -> Option<&mut Request<PI>> {
        self.0.iter_mut().find(|r| r.deadline <= now)
    }

    fn next_deadline(&self) -> Option<At> {
        self.0.iter().map(|request| request.deadline).min()
    }

    /// Forgets a request; the peer stays held.
    pub(super) fn cancel(&mut self, id: &PI) {
        self.remove(id);
    }

    fn remove(&mut self, id: &PI) -> Option<Request<PI>> {
        let index = self.0.iter().position(|r| is_same(&r.id, id))?;
        let removed = self.0.remove(index);
        if self.0.is_empty() {
            // A node with a full view never has any.
            self.0 = Vec::new();
        }
        Some(removed)
    }
}

impl<PI: PeerIdentity> State<PI> {
    /// How long a Neighbor message counts as the answer to one of ours.
    ///
    /// Longer than the request timeout: were an answer taken for a request after a slow round
    /// trip, and answered in turn, two nodes would go on answering each other for ever.
    pub(super) fn answer_window(&self) -> Duration {
        self.request_timeout().saturating_mul(LATE)
    }

    pub(super) fn request_timeout(&self) -> Duration {
        let timeout = self.settings.config.neighbor_request_timeout;
        timeout.max(Duration::from_millis(1))
    }

    /// How many of the free slots those may take who have been asked. Who was introduced counts for nothing once
    /// such a one has come to nothing, until somebody else was asked: or a neighbor that goes on introducing peers
    /// which refuse us would keep the view short.
    fn awaited(&self) -> usize {
        if self.introduced_in_vain {
            self.requests.in_time_of_our_choice()
        } else {
            self.requests.in_time()
        }
    }

    /// Whether no more requests are under way than may be.
    fn may_request(&self) -> bool {
        self.requests.in_time() < self.settings.pending_requests
    }

    /// Asks a peer, unless too many requests are under way.
    fn request<R: Rng, S: Sink<PI>>(
        &mut self,
        id: PI,
        priority: Priority,
        introducer: Option<PI>,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        if self.requests.contains(&id) || self.active.contains(&id) || !self.may_request() {
            return false;
        }
        if self.requests.len() >= self.settings.pending_requests
            && let Some(late) = self.requests.oldest_late()
        {
            self.request_failed(&late, turn);
        }
        self.hold(id, turn);
        let deadline = after(turn.now, self.request_timeout());
        self.requests.0.push(Request {
            id,
            priority,
            introducer,
            late: false,
            deadline,
        });
        self.send_neighbor(id, priority, turn);
        true
    }

    /// Forgets a request, and lets go of the peer.
    pub(super) fn end_request<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        let request = self.requests.remove(id);
        let ended = request.is_some();
        if let Some(request) = request {
            self.introduced_in_vain |= request.introducer.is_some();
            self.release(*id, turn);
            self.forget_data(id);
        }
        ended
    }

    /// A request was not answered, or could not even be made. Returns whether there was one.
    pub(super) fn request_failed<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        let failed = self.end_request(id, turn);
        if failed {
            self.data.doubt(id);
            self.peer_unreachable(id, turn);
        }
        failed
    }

    pub(super) fn send_neighbor<R: Rng, S: Sink<PI>>(
        &mut self,
        to: PI,
        priority: Priority,
        turn: &mut Turn<'_, R, S>,
    ) {
        let data = Some(self.me_data.clone());
        let message = Message::Neighbor(Neighbor { priority, data });
        turn.sink.send(to, message);
    }

    /// Asks a peer that a ForwardJoin has brought to us (section 4.2). Unlike in the paper it is
    /// not a neighbor before it has answered, so that nobody fills our view with made-up peers.
    pub(super) fn introduce<R: Rng, S: Sink<PI>>(
        &mut self,
        peer: PeerInfo<PI>,
        introducer: PI,
        turn: &mut Turn<'_, R, S>,
    ) {
        if self.requests.contains(&peer.id) || self.joins.is_under_way(&peer.id) {
            return;
        }
        let share = (self.settings.pending_requests / INTRODUCER_SHARE).max(1);
        let allowed = self.may_request() && self.requests.introduced_by(&introducer) < share;
        if allowed {
            self.learn_data(peer.id, peer.data, Word::Told, turn);
            self.request(peer.id, Priority::High, Some(introducer), turn);
        } else {
            turn.counters.pending_full += 1;
            self.insert_passive(peer, &mut Sent::new(&[]), turn);
        }
    }

    /// Fills free slots of the active view (section 4.3).
    pub(super) fn refill<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        if !self.began() {
            return;
        }
        while self.active.free() > self.awaited() && self.may_request() {
            let candidate = self
                .passive
                .pick_candidate(turn.now, &self.requests, turn.rng);
            let Some(candidate) = candidate else { return };
            // Only who has nobody at all may push someone else aside.
            let priority = if self.active.is_empty() {
                Priority::High
            } else {
                Priority::Low
            };
            if !self.request(candidate, priority, None, turn) {
                return;
            }
            self.introduced_in_vain = false;
        }
    }

    /// Looks for one peer that was lost, once per shuffle interval.
    ///
    /// It is asked urgently, so the link comes about even between two full views: this is what
    /// joins the halves of a split swarm again. One success is enough for a node, and in a swarm
    /// that has lost nobody this costs nothing.
    pub(super) fn explore<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        if self.active.is_empty() {
            return;
        }
        let lost = self.passive.longest_lost(&self.requests);
        if lost.is_none() && self.active.free() == 0 && self.is_young(MIX, turn) {
            let asked: Vec<PI> = self.requests.ids().copied().collect();
            for other in self.passive.sample_except(1, &asked, turn.rng) {
                self.request(other, Priority::High, None, turn);
            }
        }
        let turn_of_lost = lost.is_some() && turn.rng.random_bool(0.5);
        if !turn_of_lost && self.explore_contact(turn) {
            return;
        }
        if let Some(lost) = lost {
            self.request(lost, Priority::High, None, turn);
        }
    }

    /// Decides by chance, more and more seldom the older the node is.
    fn is_young<R: Rng, S: Sink<PI>>(
        &self,
        (first, growth): (u32, u32),
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        let age = self.shuffles.count().saturating_sub(1);
        let odds = (age.saturating_mul(age) / growth).saturating_add(first);
        turn.rng.random_ratio(1, odds)
    }

    /// Whether the neighbors that were there the longest have been tried long enough to stay.
    pub(super) fn is_grown_up(&self) -> bool {
        self.shuffles.count() > GROWN_UP
    }

    /// Takes a random peer in place of a neighbor that is a neighbor of `from` as well, as its Shuffle
    /// says: what goes around in such a triangle comes to nobody else. That happens no faster than honest
    /// neighbors shuffle; and once a node is [grown up](GROWN_UP), the neighbors that were there the longest stay,
    /// whatever anybody says of them.
    pub(super) fn untangle<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        named: &[PeerInfo<PI>],
        turn: &mut Turn<'_, R, S>,
    ) {
        let settled = if self.is_grown_up() {
            SETTLED_NEIGHBORS
        } else {
            0
        };
        let mut named = named.iter().map(|one| one.id);
        let any_spare = self.active.ids().any(|id| turn.sink.is_spare(id));
        let common = named.find(|id| {
            *id != from
                && self.active.contains(id)
                && !self.active.is_settled(id, settled)
                && (!any_spare || turn.sink.is_spare(id))
        });
        let Some(common) = common else { return };
        if self.shuffles.untangles_left == 0 {
            return;
        }
        self.shuffles.untangles_left -= 1;
        // Where everyone is in the passive view, there are triangles whatever is done.
        if self.active.free() > 0 || !self.passive.is_full() || !self.is_young(UNTANGLE, turn) {
            return;
        }
        let asked: Vec<PI> = self.requests.ids().copied().collect();
        for other in self.passive.sample_except(1, &asked, turn.rng) {
            if self.request(other, Priority::High, None, turn) {
                self.active.set_dispensable(common);
            }
        }
    }

    /// A peer could not be reached, or did not answer.
    pub(super) fn peer_unreachable<R: Rng, S: Sink<PI>>(
        &mut self,
        id: &PI,
        turn: &mut Turn<'_, R, S>,
    ) {
        let isolated = self.active.is_empty();
        let (first, mut cap) = UNREACHABLE_WAIT;
        if isolated {
            cap = ISOLATED_WAIT;
        }
        let (now, rng) = (turn.now, &mut *turn.rng);
        let forgotten = self.passive.unreachable(id, isolated, |failures| {
            after(now, jittered(doubled(first, failures, cap), rng))
        });
        if forgotten {
            self.forget_data(id);
        }
    }

    /// A peer is there, but had no place for us or needed it for someone else.
    pub(super) fn peer_refused<R: Rng, S: Sink<PI>>(&mut self, id: &PI, turn: &mut Turn<'_, R, S>) {
        let (first, cap) = if self.active.is_empty() {
            (HASTENED_WAIT, ISOLATED_WAIT)
        } else {
            (self.shuffle_interval() / 4, self.shuffle_interval())
        };
        let (now, rng) = (turn.now, &mut *turn.rng);
        self.passive.refused(id, |failures| {
            after(now, jittered(doubled(first, failures, cap), rng))
        });
    }

    /// The last neighbor is gone: nobody has to wait for long any more.
    pub(super) fn hasten_refill<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        let (now, rng) = (turn.now, &mut *turn.rng);
        self.passive
            .hasten(|| after(now, part(HASTENED_WAIT, 64..=256, rng)));
    }

    pub(super) fn expire_requests<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        let give_up = after(turn.now, self.answer_window());
        while let Some(request) = self.requests.expired(turn.now) {
            if request.late {
                let id = request.id;
                self.request_failed(&id, turn);
            } else {
                request.late = true;
                request.deadline = give_up;
            }
        }
    }

    pub(super) fn next_refill(&self, now: At) -> Option<At> {
        let wants = self.began() && self.active.free() > self.awaited() && self.may_request();
        let retry = if wants {
            self.passive.next_retry(now, &self.requests)
        } else {
            None
        };
        [retry, self.requests.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
