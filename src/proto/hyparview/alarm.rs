//! What a node does when it has reason to fear that many others have failed.
//!
//! None of this is in the paper, where a failure is found when the next message is sent. After a
//! mass failure few messages get anywhere. Whoever gets none keeps a view full of the dead, and
//! turns away those who look for the living.
//!
//! - A node *probes* its neighbors, by sending them anything at all, when one was lost, and when a
//!   stranger finds it with a full view.
//! - A node that has lost two neighbors within a short time *surveys* its passive view: it sends each
//!   peer there a Shuffle, one after the other. That tells the dead from the living, makes the
//!   living probe their neighbors, and makes known to each other those who are left.
//!
//! In a swarm that has lost nobody this costs nothing.

use std::time::Duration;

use rand::Rng;

use super::{
    PeerIdentity, Sink, State, Ttl, Turn,
    time::{after, jittered},
};
use crate::proto::clock::{At, MaybeAt};

/// The time between two Shuffles of a survey.
const SURVEY_STEP: Duration = Duration::from_millis(200);

/// What is known of failures.
#[derive(Clone, Debug)]
pub(super) struct Alarm<PI> {
    /// When the neighbors were last probed.
    probed_at: MaybeAt,
    /// When a neighbor was last lost.
    lost_at: MaybeAt,
    survey: Option<Box<Survey<PI>>>,
}

/// A survey, until the next Shuffle is due.
#[derive(Clone, Debug)]
struct Survey<PI> {
    /// When the next peer is asked.
    next: Option<At>,
    left: Vec<PI>,
    asked: Vec<PI>,
}

impl<PI: Copy + Eq> Alarm<PI> {
    pub(super) fn new() -> Self {
        Self {
            probed_at: MaybeAt::NONE,
            lost_at: MaybeAt::NONE,
            survey: None,
        }
    }

    /// Checks the bounds.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self, passive_view_capacity: usize) {
        let survey = self.survey.iter();
        let peers: usize = survey.map(|one| one.left.len() + one.asked.len()).sum();
        assert!(peers <= passive_view_capacity, "peers of a survey");
    }

    pub(super) fn next_deadline(&self) -> Option<At> {
        self.survey.as_ref()?.next
    }

    /// Whether a ShuffleReply of the peer is one to our survey. There is one such at most.
    pub(super) fn take_reply(&mut self, from: &PI) -> bool {
        let Some(survey) = &mut self.survey else {
            return false;
        };
        let place = survey.asked.iter().position(|id| id == from);
        place.map(|place| survey.asked.swap_remove(place)).is_some()
    }

    /// A survey that is over counts for nothing any more.
    pub(super) fn rest(&mut self) {
        self.survey.take_if(|survey| survey.next.is_none());
    }
}

impl<PI: PeerIdentity> State<PI> {
    /// Makes sure that all neighbors are still there.
    pub(super) fn probe_neighbors<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        let gap = self.answer_window();
        let due = |at| turn.now.passed_since(at) >= gap;
        if self.alarm.probed_at.get().is_none_or(due) {
            self.alarm.probed_at = MaybeAt::some(turn.now);
            for id in self.active.ids() {
                turn.sink.probe(*id);
            }
        }
    }

    /// Whether a neighbor has failed a moment ago.
    pub(super) fn failed_lately<R: Rng, S: Sink<PI>>(&self, turn: &Turn<'_, R, S>) -> bool {
        let since = |at| turn.now.passed_since(at);
        let lost_at = self.alarm.lost_at.get();
        lost_at.is_some_and(|at| since(at) < self.answer_window())
    }

    /// A neighbor has failed.
    pub(super) fn on_neighbor_failed<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        self.probe_neighbors(turn);
        let second = self.failed_lately(turn);
        self.alarm.lost_at = MaybeAt::some(turn.now);
        if second && self.alarm.survey.is_none() {
            let mut left: Vec<PI> = self.passive.ids().copied().collect();
            // The latest to come are the likeliest to live.
            left.reverse();
            left.sort_by_key(|id| self.passive.is_suspect(id));
            left.reverse();
            self.alarm.survey = Some(Box::new(Survey {
                next: Some(turn.now),
                left,
                asked: Vec::new(),
            }));
        }
    }

    /// Takes the next step of a survey.
    pub(super) fn survey<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        let Some(survey) = &mut self.alarm.survey else {
            return;
        };
        if survey.next.is_none_or(|next| next > turn.now) {
            return;
        }
        survey.next = None;
        while let Some(id) = survey.left.pop() {
            // Those who are asked for a place find out all the same. Those who have had to go for others
            // meanwhile are asked: they may live, and know nobody who does.
            if !self.active.contains(&id) && !self.requests.contains(&id) {
                survey.asked.push(id);
                survey.next = Some(after(turn.now, jittered(SURVEY_STEP, turn.rng)));
                let ids = self.shuffle_sample(&id, turn);
                let nodes = ids.iter().map(|id| self.introduction(*id)).collect();
                self.send_shuffle(id, self.me, nodes, Ttl(1), turn);
                return;
            }
        }
    }
}
