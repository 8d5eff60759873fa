//! Broadcast trees, after PlumTree ([SRDS'07][paper]; the sections named here are those of the
//! report DI-FCUL TR-07-14).
//!
//! Every neighbor is either *eager* or *lazy*. An eager one gets payloads at once; a lazy one gets
//! announcements (IHave) a moment later, and asks (Graft) for what did not reach it otherwise. A
//! payload that comes twice makes its sender lazy (Prune), so the eager links become a tree.
//!
//! The membership layer says who the neighbors are.
//!
//! **Invariant:** eager and lazy peers are neighbors, always. A stranger's Graft, Prune or IHave
//! changes nothing; its payload is validated and delivered, and changes no set.
//!
//! **Invariant:** everything is decided by the time that the caller passes in. Deadlines are kept
//! here; the caller sets one timer to the next of them, and may call too early.
//!
//! # Where this is not the paper
//!
//! - A payload that is new makes its sender eager (section 3.7), but not while our Prune is on its
//!   way: the sender is about to see us as lazy, and a link with two opinions costs duplicates.
//! - Where several messages are under way at once, a link is pruned for several duplicates only, and
//!   not all links within the same moment: of each message another link is the one too many, and
//!   without all of these there is no tree (`neighbors`).
//! - A peer that keeps pushing to us after it was pruned is pruned again, at most once a second: it
//!   must have missed the first one, and nothing else would heal the link.
//! - Who announced a message to us is not sent it, neither the payload nor an announcement.
//! - What is published without any neighbor is announced to each that comes up, until someone is
//!   seen to have it.
//! - Announcements of messages that follow each other are held and sent together, and only one end of a
//!   link sends them, as a rule (`lazy`).
//! - The two timeouts follow what is measured; those of the paper are only their least (`delay`).
//! - A neighbor that has been in the swarm for a while is told of the latest messages as it comes up:
//!   they may have gone by on links that are no more (`catch_up`).
//! - What a Graft asks for comes at a limited rate, and so do our own Grafts.
//!
//! [paper]: https://asc.di.fct.unl.pt/~jleitao/pdf/srds07-leitao.pdf

use std::sync::Arc;

use self::{
    delay::Delays,
    departed::Departed,
    history::{History, Retention},
    lazy::{Holding, LazyPush},
    missing::Missing,
    neighbors::{Neighbor, Neighbors, Serial},
    questions::Questions,
    silence::SILENCE,
    size::ihaves_per_frame,
};
use super::{
    Counters, GossipEvent, Limits, MessageId, PeerIdentity,
    clock::{At, MaybeAt, nanos},
    hash::Keyed,
    peer::is_same,
};

mod allowance;
mod catch_up;
mod config;
mod delay;
mod departed;
mod history;
mod index;
mod lazy;
mod message;
mod missing;
mod neighbors;
mod push;
mod questions;
mod repair;
mod silence;
mod size;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use message::{DeliveryScope, Gossip, Graft, IHave, IHaves, Message, Round, Scope};
pub use size::max_content_size;

/// How many cache retentions long ids are remembered where new neighbors are told of earlier
/// messages. Each that was late keeps a message for one more retention, and may tell the next one.
const OUTLIVES: u64 = 10;

/// Where the broadcast layer puts what follows from its input.
pub(crate) trait Sink<PI> {
    /// Sends a message to a peer.
    fn send(&mut self, to: PI, message: Message);
    /// Sends a payload that others get as well.
    fn push(&mut self, to: PI, gossip: &Gossip) {
        self.send(to, Message::Gossip(gossip.clone()));
    }
    /// Hands a message to the application.
    fn deliver(&mut self, event: GossipEvent<PI>);
}

/// What the broadcast layer is told, other than messages of peers and of the application.
#[derive(Debug)]
pub(crate) enum Input<PI> {
    /// A peer became our neighbor, or is one that started anew.
    NeighborUp(PI),
    /// A peer is not our neighbor any more.
    NeighborDown(PI),
    /// What was sent to a peer lately may not have arrived.
    StreamLost(PI),
}

/// The parameters and bounds that are looked at along the way.
#[derive(Debug)]
pub(crate) struct Settings {
    graft_timeouts: [u64; 2],
    dispatch_timeout: u64,
    cache_evict_interval: u64,
    optimization_threshold: Round,
    max_content_size: usize,
    ihaves_per_frame: usize,
    grafts_per_second: u32,
    late_join_history: usize,
    announced_again: usize,
    retention: Arc<Retention>,
    missing_ids: usize,
    claims_per_id: usize,
    holding: Holding,
}

impl Settings {
    pub(crate) fn new(config: &Config, limits: &Limits, max_message_size: usize) -> Self {
        let payloads_for = nanos(config.message_cache_retention);
        let mut ids_for = nanos(config.message_id_retention);
        if limits.late_join_history > 0 {
            ids_for = ids_for.max(payloads_for.saturating_mul(OUTLIVES));
        }
        Self {
            graft_timeouts: [config.graft_timeout_1, config.graft_timeout_2].map(nanos),
            dispatch_timeout: nanos(config.dispatch_timeout),
            cache_evict_interval: nanos(config.cache_evict_interval),
            optimization_threshold: config.optimization_threshold,
            max_content_size: max_content_size(max_message_size),
            ihaves_per_frame: ihaves_per_frame(max_message_size),
            grafts_per_second: limits.graft_replies_per_second,
            late_join_history: limits.late_join_history,
            announced_again: limits.lazy_queue,
            retention: Arc::new(
                Retention {
                    cache_bytes: limits.cache_bytes,
                    seen_ids: limits.seen_ids,
                    payloads_for,
                    ids_for,
                }
                .sensible(),
            ),
            missing_ids: limits.missing_ids,
            claims_per_id: limits.claims_per_id.max(1),
            holding: Holding::new(
                limits.lazy_queue,
                ihaves_per_frame(max_message_size),
                nanos(config.dispatch_timeout),
            ),
        }
    }
}

/// The broadcast layer of one topic.
///
/// After any call, [`Self::next_deadline`] says when [`Self::handle_timeout`] wants to be called.
#[derive(Clone, Debug)]
pub(crate) struct State<PI> {
    me: PI,
    settings: Arc<Settings>,
    neighbors: Neighbors<PI>,
    departed: Departed<PI>,
    history: History,
    missing: Missing,
    questions: Questions,
    delays: Delays,
    lazy_push: LazyPush,
    /// New neighbors that are to hear of earlier messages, and when.
    introductions: Vec<Introduction>,
    last_sweep: At,
    /// When the first neighbor came up.
    member_since: MaybeAt,
    /// Set while anything is kept that will expire, or silence may have to be noticed: when to look next. Not
    /// moved by every message, so a busy topic does not reset its timer all the time; a quiet one wakes two or
    /// three times.
    idle_sweep: MaybeAt,
    /// Whether a message has come since it was last made sure that somebody is there.
    unchecked: bool,
}

/// Earlier messages are to be announced to a new neighbor.
#[derive(Clone, Debug)]
struct Introduction {
    due: At,
    to: Serial,
    /// The number of the first message that the neighbor gets in the ordinary way.
    before: u64,
}

impl<PI: PeerIdentity> State<PI> {
    /// The layer without neighbors and without memories. It allocates nothing.
    pub(crate) fn new(me: PI, settings: Arc<Settings>, keyed: Keyed) -> Self {
        Self {
            me,
            neighbors: Neighbors::new(),
            departed: Departed::new(),
            history: History::new(settings.retention.clone(), &keyed),
            missing: Missing::new(keyed),
            questions: Questions::default(),
            delays: Delays::new(settings.graft_timeouts),
            lazy_push: LazyPush::default(),
            introductions: Vec::new(),
            last_sweep: At::default(),
            member_since: MaybeAt::NONE,
            idle_sweep: MaybeAt::NONE,
            unchecked: false,
            settings,
        }
    }

    /// Neighbors that get payloads.
    pub(crate) fn eager(&self) -> impl Iterator<Item = &PI> {
        self.neighbors
            .iter()
            .filter(|one| one.eager)
            .map(|one| &one.peer)
    }

    /// Neighbors that get announcements.
    pub(crate) fn lazy(&self) -> impl Iterator<Item = &PI> {
        self.neighbors
            .iter()
            .filter(|one| !one.eager)
            .map(|one| &one.peer)
    }

    /// Whether a peer is a neighbor that gets announcements.
    pub(crate) fn is_lazy(&self, peer: &PI) -> bool {
        self.lazy().any(|one| is_same(one, peer))
    }

    /// What the payloads kept for Grafts take, in bytes.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.history.cache_bytes()
    }

    /// Message ids remembered.
    pub(crate) fn seen_ids(&self) -> usize {
        self.history.ids()
    }

    /// Announced messages that did not arrive yet.
    pub(crate) fn missing_ids(&self) -> usize {
        self.missing.len()
    }

    /// Whether a message has come, or is our own.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn has_seen(&self, id: &MessageId) -> bool {
        self.history.find(id).is_some()
    }

    /// Whether a Graft for a message would be answered with it.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn has_cached(&self, id: &MessageId) -> bool {
        let known = self.history.find(id);
        known.is_some_and(|known| self.history.payload(known).is_some())
    }

    /// Checks that everything is within its bounds.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn check_bounds(&self) {
        self.lazy_push.check(&self.settings.holding);
        self.missing
            .check(self.settings.missing_ids, self.settings.claims_per_id);
        self.questions.check();
        self.departed.check();
        assert!(
            self.introductions.len() <= self.neighbors.len(),
            "one introduction for each neighbor"
        );
        let first = self
            .neighbors
            .iter()
            .map(|one| one.announced_first as usize);
        assert!(
            first.sum::<usize>() <= self.missing.len(),
            "the shares of missing messages"
        );
    }

    /// Says that payloads with these ids are about to come. Changes nothing but the time they take.
    pub(crate) fn anticipate(&self, ids: impl Iterator<Item = MessageId>) {
        self.history.anticipate(ids);
    }

    /// Whether a payload with this id has not come yet.
    #[cfg(feature = "net")]
    pub(crate) fn is_news(&self, id: &MessageId) -> bool {
        self.history.find(id).is_none()
    }

    /// When [`Self::handle_timeout`] has something to do. None when the layer is at rest.
    pub(crate) fn next_deadline(&self) -> MaybeAt {
        let introduction = self.introductions.first().map(|one| one.due);
        let next = self.lazy_push.due().earlier(introduction.into());
        let next = next.earlier(self.missing.next_due().into());
        next.earlier(self.idle_sweep)
    }

    /// Takes a message from a peer, neighbor or not; `is_hashed` where it is known that the id of a
    /// payload is the hash of its content.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        from: PI,
        message: Message,
        is_hashed: bool,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        self.begin(now);
        match message {
            Message::Gossip(mut gossip) => {
                self.receive_payload(from, &mut gossip, is_hashed, now, counters, sink);
            }
            Message::Prune => self.handle_prune(from, now, counters),
            Message::Graft(graft) => self.handle_graft(from, &graft, now, counters, sink),
            Message::IHave(ref ihaves) => self.handle_ihave(from, ihaves, now, counters, sink),
        }
    }

    /// Now and then forgets what is too old.
    #[inline]
    pub(crate) fn begin(&mut self, now: At) {
        if now >= self.last_sweep.after(self.settings.cache_evict_interval) {
            self.sweep(now);
        }
    }

    /// Takes one input.
    pub(crate) fn handle(
        &mut self,
        input: Input<PI>,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        self.begin(now);
        match input {
            Input::NeighborUp(peer) => self.handle_neighbor_up(peer, now, sink),
            Input::NeighborDown(peer) => {
                if let Some(lost) = self.remove_neighbor(&peer) {
                    self.replace_link(&lost, now, sink);
                    self.departed.note(lost, now);
                }
                let timeout = self.settings.dispatch_timeout;
                self.lazy_push.hurry(&mut self.neighbors, timeout, now);
            }
            Input::StreamLost(peer) => {
                self.announce_again(&peer, sink);
                self.ask_again(peer, now, counters, sink);
                self.ask_for_latest_again(&peer, now, sink);
            }
        }
    }

    /// Does everything that is due by `now`.
    pub(crate) fn handle_timeout(
        &mut self,
        now: At,
        counters: &mut Counters,
        sink: &mut impl Sink<PI>,
    ) {
        self.dispatch_announcements(now, sink);
        self.introduce_earlier_messages(now, sink);
        self.send_grafts(now, counters, sink);
        if self.idle_sweep.is_due(now) {
            let next = self.check_on_silence(now, sink);
            if next.is_none() {
                self.sweep(now);
                self.missing.shrink();
                self.delays.rest();
                self.lazy_push.rest();
            }
            self.idle_sweep = next.or_else(|| self.history.last_expiry()).into();
        }
    }

    /// A new neighbor is eager (section 3.9, "Dynamic Membership").
    fn handle_neighbor_up(&mut self, peer: PI, now: At, sink: &mut impl Sink<PI>) {
        if peer == self.me {
            return;
        }
        // As if it had left first.
        if let Some(before) = self.remove_neighbor(&peer) {
            self.departed.note(before, now);
        }
        let allowances = self.departed.take(&peer);
        let serial = self.neighbors.add(peer, allowances, now);
        self.ask_for_latest(serial, now, sink);
        let has_news = self.history.has_unshared()
            || (self.settings.late_join_history > 0 && self.history.has_payloads());
        if has_news {
            self.introductions.push(Introduction {
                due: now.after(self.settings.dispatch_timeout),
                to: serial,
                before: self.history.next_number(),
            });
        }
    }

    /// Forgets a neighbor. What it announced is void from now on, since nobody will have its serial
    /// again (section 3.9).
    fn remove_neighbor(&mut self, peer: &PI) -> Option<Neighbor<PI>> {
        let removed = self.neighbors.remove(peer)?;
        self.introductions.retain(|one| one.to != removed.serial);
        self.delays.broken |= removed.eager;
        if removed.announced_first > 0 {
            self.missing.orphan();
        }
        Some(removed)
    }

    /// Sees to it that what is remembered will be forgotten one day, and that silence is noticed, now that a
    /// message has come.
    fn schedule_idle_sweep(&mut self, now: At) {
        if std::mem::replace(&mut self.unchecked, true) {
            // A message before this one has seen to it.
            return;
        }
        let soon = self.settings.retention.payloads_for.max(SILENCE);
        if self
            .idle_sweep
            .get()
            .is_none_or(|due| due > now.after(soon))
        {
            self.idle_sweep = MaybeAt::some(now.after(SILENCE));
        }
    }

    /// Forgets what is too old. That happens along with the traffic, and once it has ended.
    fn sweep(&mut self, now: At) {
        self.history.expire(now);
        self.questions.forget_old(now);
        self.departed.forget_old(now);
        self.last_sweep = now;
    }
}

/// From now on the neighbor gets payloads. What waits to be announced to it is announced now.
fn make_eager<PI: PeerIdentity>(
    neighbor: &mut Neighbor<PI>,
    lazy_push: &LazyPush,
    settings: &Settings,
    sink: &mut impl Sink<PI>,
) {
    if !neighbor.eager {
        let waiting = lazy_push.waiting_for(neighbor);
        announce(neighbor.peer, waiting, settings, sink);
        neighbor.eager = true;
        neighbor.announces = false;
        neighbor.pruned_at = MaybeAt::NONE;
    }
}

/// From now on the neighbor gets announcements.
fn make_lazy<PI>(neighbor: &mut Neighbor<PI>, lazy_push: &LazyPush) {
    if neighbor.eager {
        neighbor.eager = false;
        neighbor.lazy_since = lazy_push.end();
    }
}

/// Sends announcements, in as many frames as they need.
fn announce<PI: PeerIdentity>(
    to: PI,
    ihaves: impl IntoIterator<Item = IHave>,
    settings: &Settings,
    sink: &mut impl Sink<PI>,
) {
    let mut frame = IHaves::new();
    for ihave in ihaves {
        if frame.len() >= settings.ihaves_per_frame {
            sink.send(to, Message::IHave(std::mem::take(&mut frame)));
        }
        frame.push(ihave);
    }
    if !frame.is_empty() {
        sink.send(to, Message::IHave(frame));
    }
}
