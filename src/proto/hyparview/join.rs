//! Joining the swarm (section 4.2), from both sides.
//!
//! The paper sends one Join and is done. Here a joiner goes on, with growing and jittered waits,
//! until it has a neighbor: the contact may be down, or up without having subscribed yet, in which
//! case it ignores the Join. The contacts are kept after that, and used again when the node has
//! lost all its neighbors.

use std::time::Duration;

use rand::{Rng, RngExt};
use tracing::debug;

use super::{
    ForwardJoin, Message, PeerIdentity, Priority, Sink, State, Ttl, Turn,
    data::Word,
    time::{after, doubled, jittered, part},
    view::{self, Sent},
};
use crate::proto::{LinkId, PeerData, PeerInfo, clock::At, peer::is_same};

/// How long a Join may go unanswered before it is sent again: at first, and at most.
///
/// Together with the dial this stays under the 5 s within which a joiner is to be joined once its
/// contact has subscribed.
const ANSWER_WAIT: (Duration, Duration) =
    (Duration::from_millis(1500), Duration::from_millis(3500));

/// The wait after a failed dial: at first, and at most.
const REDIAL_WAIT: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(3000));

/// A node that has lost all its neighbors turns to its contacts after this time, since its passive
/// view usually helps it sooner.
const REJOIN_WAIT: Duration = Duration::from_millis(1000);

/// How many contacts are remembered after they are no longer needed to join.
const CONTACTS_KEPT: usize = 32;

/// How many contacts the application can have us try. Beyond that the oldest are given up.
const CONTACTS_TRIED: usize = 1024;

/// How many Joins are under way at once. The others wait for their turn.
const JOINS_UNDER_WAY: usize = 128;

/// A contact that never answers is no longer looked for after this many Joins, while there are
/// other neighbors.
const JOINS_UNTIL_GIVEN_UP: u8 = 60;

/// A peer that the application has named to join through.
#[derive(Clone, Debug)]
struct Contact<PI> {
    id: PI,
    /// The application asks for it: it is tried even when there are neighbors.
    wanted: bool,
    /// A Join was sent, and is waited for.
    under_way: bool,
    /// It has been a neighbor.
    met: bool,
    failures: u8,
    /// When to send a Join, or to send it again. `None` while there is no reason to.
    due: Option<At>,
}

/// The contacts, oldest first.
///
/// Invariant: no peer twice, never ourselves, at most [`CONTACTS_TRIED`].
#[derive(Clone, Debug)]
pub(super) struct Joins<PI> {
    contacts: Vec<Contact<PI>>,
}

impl<PI: Copy + Ord> Joins<PI> {
    pub(super) fn new() -> Self {
        Self {
            contacts: Vec::new(),
        }
    }

    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self) {
        assert!(self.contacts.len() <= CONTACTS_TRIED, "contacts");
        assert!(
            self.under_way().count() <= JOINS_UNDER_WAY,
            "Joins under way"
        );
    }

    fn contact(&mut self, id: &PI) -> Option<&mut Contact<PI>> {
        self.contacts
            .iter_mut()
            .find(|contact| is_same(&contact.id, id))
    }

    pub(super) fn contains(&self, id: &PI) -> bool {
        self.contacts.iter().any(|contact| is_same(&contact.id, id))
    }

    #[cfg(all(test, feature = "net"))]
    pub(super) fn ids(&self) -> impl Iterator<Item = &PI> {
        self.contacts.iter().map(|contact| &contact.id)
    }

    /// Whether a Join to the peer may still be answered.
    pub(super) fn is_under_way(&self, id: &PI) -> bool {
        self.contacts
            .iter()
            .any(|c| is_same(&c.id, id) && c.under_way)
    }

    pub(super) fn under_way(&self) -> impl Iterator<Item = &PI> {
        let under_way = self.contacts.iter().filter(|contact| contact.under_way);
        under_way.map(|contact| &contact.id)
    }

    fn has_room(&self) -> bool {
        self.under_way().count() < JOINS_UNDER_WAY
    }

    /// The next contact that has something due.
    fn due(&self, now: At) -> Option<usize> {
        let room = self.has_room();
        self.contacts
            .iter()
            .position(|c| (c.under_way || room) && c.due.is_some_and(|due| due <= now))
    }

    pub(super) fn next_deadline(&self) -> Option<At> {
        let room = self.has_room();
        let waiting = self.contacts.iter().filter(|c| c.under_way || room);
        waiting.filter_map(|contact| contact.due).min()
    }

    /// Takes out the oldest contacts beyond what may be remembered.
    fn trim(&mut self) -> Option<Contact<PI>> {
        let oldest = if self.contacts.len() > CONTACTS_TRIED {
            Some(0)
        } else if self.contacts.len() > CONTACTS_KEPT {
            self.contacts.iter().position(|c| c.due.is_none())
        } else {
            None
        };
        Some(self.contacts.remove(oldest?))
    }
}

impl<PI: PeerIdentity> State<PI> {
    /// The application names contacts.
    pub(super) fn join<R: Rng, S: Sink<PI>>(&mut self, peers: Vec<PI>, turn: &mut Turn<'_, R, S>) {
        self.begin(turn);
        let room = peers.len().min(CONTACTS_TRIED);
        self.joins.contacts.reserve_exact(room);
        for id in peers {
            if id == self.me {
                continue;
            }
            let active = self.active.contains(&id);
            let now = turn.now;
            match self.joins.contact(&id) {
                Some(contact) if active => contact.met = true,
                // The answer may come any moment; if it does not, the next Join is not far.
                Some(contact) if contact.under_way => {
                    let soon = after(now, ANSWER_WAIT.0);
                    contact.wanted = true;
                    contact.met = false;
                    contact.failures = 0;
                    contact.due = Some(contact.due.map_or(soon, |due| due.min(soon)));
                }
                // It may have been met before, but has not since: it may have begun anew, and know nobody.
                Some(contact) => {
                    contact.wanted = true;
                    contact.met = false;
                    contact.failures = 0;
                    contact.due = Some(now);
                }
                None => self.joins.contacts.push(Contact {
                    id,
                    wanted: !active,
                    under_way: false,
                    met: active,
                    failures: 0,
                    due: (!active).then_some(now),
                }),
            }
            self.trim_contacts(turn);
        }
    }

    fn trim_contacts<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        while let Some(contact) = self.joins.trim() {
            if contact.under_way {
                self.release(contact.id, turn);
            }
            self.forget_data(&contact.id);
        }
    }

    /// Sends the Joins that are due.
    pub(super) fn send_joins<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        while let Some(index) = self.joins.due(turn.now) {
            let id = self.joins.contacts[index].id;
            let neighbor = self.active.contains(&id);
            let joined = !self.active.is_empty();
            let contact = &mut self.joins.contacts[index];
            if neighbor || (joined && !contact.wanted) {
                // Joined: from here on the shuffle timer looks after the contacts that are left.
                contact.met |= neighbor;
                contact.due = None;
                if std::mem::take(&mut contact.under_way) {
                    self.release(id, turn);
                }
                continue;
            }
            let (first, cap) = ANSWER_WAIT;
            let wait = doubled(first, contact.failures, cap);
            let wait = part(wait, 208..=256, turn.rng);
            contact.due = Some(after(turn.now, wait));
            contact.failures = contact.failures.saturating_add(1);
            contact.wanted = false;
            let holds = contact.under_way;
            if !holds {
                self.hold(id, turn);
                self.joins.contacts[index].under_way = true;
            }
            let message = Message::Join(Some(self.me_data.clone()));
            turn.sink.send(id, message);
        }
        self.trim_contacts(turn);
    }

    /// A Join has come to nothing: the contact could not be reached, or has no room.
    pub(super) fn join_failed<R: Rng, S: Sink<PI>>(&mut self, id: &PI, turn: &mut Turn<'_, R, S>) {
        let isolated = self.active.is_empty();
        let Some(contact) = self.joins.contact(id) else {
            return;
        };
        if !std::mem::take(&mut contact.under_way) {
            return;
        }
        let (first, cap) = REDIAL_WAIT;
        // The Join that failed has been counted when it was sent.
        let wait = doubled(first, contact.failures.saturating_sub(1), cap);
        let retry = isolated || contact.wanted;
        contact.due = retry.then(|| after(turn.now, jittered(wait, turn.rng)));
        self.release(*id, turn);
        self.trim_contacts(turn);
    }

    /// A peer has become a neighbor, which is what a Join to it was for.
    pub(super) fn join_granted(&mut self, id: &PI) {
        if let Some(contact) = self.joins.contact(id) {
            contact.met = true;
            contact.wanted = false;
            contact.under_way = false;
            contact.failures = 0;
            contact.due = None;
        }
    }

    /// The last neighbor is gone: back to the contacts.
    pub(super) fn rejoin<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        for contact in &mut self.joins.contacts {
            let wait = part(REJOIN_WAIT, 128..=256, turn.rng);
            if !contact.under_way {
                contact.failures = 0;
                contact.due = Some(after(turn.now, wait));
            }
        }
    }

    /// Tries a contact that has never been met, see [`explore`](Self::explore).
    pub(super) fn explore_contact<R: Rng, S: Sink<PI>>(
        &mut self,
        turn: &mut Turn<'_, R, S>,
    ) -> bool {
        let missed: Vec<usize> = (0..self.joins.contacts.len())
            .filter(|index| {
                let contact = &self.joins.contacts[*index];
                !contact.met && contact.due.is_none() && contact.failures < JOINS_UNTIL_GIVEN_UP
            })
            .collect();
        if missed.is_empty() {
            return false;
        }
        let index = missed[turn.rng.random_range(0..missed.len())];
        let contact = &mut self.joins.contacts[index];
        contact.wanted = true;
        contact.due = Some(turn.now);
        true
    }

    /// A Join came.
    pub(super) fn on_join<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        link: LinkId,
        data: Option<PeerData>,
        turn: &mut Turn<'_, R, S>,
    ) {
        let welcome = self.is_welcome(&from, turn);
        if let Some(neighbor) = self.active.neighbor(&from) {
            let restarted = link > neighbor.link;
            if !restarted && !welcome {
                return;
            }
            if !restarted {
                // It has not heard our first answer, or has given up on it.
                self.active.set_asked(from, turn.now);
                self.learn_data(from, data, Word::Own, turn);
                self.send_neighbor(from, Priority::High, turn);
                return;
            }
            // It has lost all it knew, with us among it: to everyone above it is a new neighbor.
            debug!(peer = ?from, "neighbor has started anew");
            self.active.remove(&from);
            turn.sink.neighbor_down(from);
            turn.sink.neighbor_up(from);
            self.active.insert(view::Neighbor { id: from, link });
        } else {
            if !self.make_room_for(welcome, turn) {
                self.refuse(from, turn);
                return;
            }
            // "A node that receives a join request will start by adding the new node to its
            // active view, even if it has to drop a random node from it."
            self.add_neighbor(from, link, turn);
        }
        self.learn_data(from, data.clone(), Word::Own, turn);
        self.answer(from, Priority::High, turn);
        if !welcome {
            return;
        }
        let others: Vec<PI> = self
            .active
            .ids()
            .copied()
            .filter(|id| *id != from)
            .collect();
        // What is too large to be kept is not passed on either.
        let data = data.filter(|data| data.as_bytes().len() <= self.settings.data_limit);
        for other in others {
            let peer = PeerInfo {
                id: from,
                data: data.clone(),
            };
            let ttl = self.settings.config.active_random_walk_length;
            let message = Message::ForwardJoin(ForwardJoin { peer, ttl });
            turn.sink.send(other, message);
        }
    }

    /// A ForwardJoin came: a new node is on its way through the swarm.
    pub(super) fn on_forward_join<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        forward: ForwardJoin<PI>,
        turn: &mut Turn<'_, R, S>,
    ) {
        let ForwardJoin { mut peer, ttl } = forward;
        if !self.active.contains(&from) {
            turn.counters.bogus_introduction += 1;
            self.set_stranger_right(from, turn);
            return;
        }
        if peer.id == self.me {
            turn.counters.bogus_introduction += 1;
            return;
        }
        self.bound_data(&mut peer.data, turn);
        // A larger time to live than anybody here would give it buys no longer walk.
        let ttl = ttl.0.min(self.settings.config.active_random_walk_length.0);
        let window = self.answer_window();
        if self.active.contains(&peer.id) {
            // The neighbor joins anew, through someone else. If it does not know us any more, it
            // learns of us by this, and our views agree again; else this costs one answer.
            let asked = self.active.asked_at(&peer.id);
            if asked.is_none_or(|at| turn.now.passed_since(at) >= window) {
                self.active.set_asked(peer.id, turn.now);
                self.send_neighbor(peer.id, Priority::High, turn);
            }
            return;
        }
        // "If the time to live is equal to zero or if the number of nodes in p's active view is
        // equal to one, it will add the new node to its active view."
        if ttl == 0 || self.active.len() <= 1 {
            self.introduce(peer, from, turn);
            return;
        }
        // "If the time to live is equal to PRWL, p will insert the new node into its passive view."
        if ttl == self.settings.config.passive_random_walk_length.0 {
            self.insert_passive(peer.clone(), &mut Sent::new(&[]), turn);
        }
        if self.requests.contains(&peer.id) {
            return;
        }
        // "p will forward the request to a random node in its active view (different from the one
        // from which the request was received)."
        match self.active.pick_except(&[from, peer.id], turn.rng) {
            Some(next) => {
                let ttl = Ttl(ttl).next();
                let message = Message::ForwardJoin(ForwardJoin { peer, ttl });
                turn.sink.send(next, message);
            }
            None => self.introduce(peer, from, turn),
        }
    }
}
