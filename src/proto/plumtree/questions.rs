//! Questions that may be lost: the Grafts that were sent lately.
//!
//! A Graft is sent once. Where two nodes dial each other at the same moment, each may close the
//! connection that the other has just asked over; the neighbor stays, and so does its announcement,
//! which may be the only one that there will be. The paper counts on TCP here. So the latest
//! questions are remembered for a moment: when the connection that may have carried them is lost,
//! what the neighbor was asked for counts as announced once more.
//!
//! They also tell an answer from what the tree brings, however late it comes: the next neighbor may have been
//! asked meanwhile, or nobody may be left to ask.

use std::collections::VecDeque;

use super::{message::IHave, neighbors::Serial};
use crate::proto::{MessageId, clock::At};

/// A loss is heard of within this time, or goes with the neighbor.
const WITHIN: u64 = 3_000_000_000;

/// The most questions that are remembered.
const AT_MOST: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Question {
    at: At,
    to: Serial,
    wanted: IHave,
    /// When the message was announced first.
    announced: At,
}

/// The latest questions, oldest first.
///
/// Invariant: at most [`AT_MOST`].
/// Most nodes have not asked anyone lately: then nothing is kept but a pointer to nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions(Option<Box<Latest>>);

#[derive(Clone, Debug, Default)]
struct Latest(VecDeque<Question>);

impl Questions {
    /// Whether nobody was asked lately.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Notes that a neighbor is asked for what it announced, and when anyone did first.
    pub(super) fn note(&mut self, to: Serial, wanted: IHave, announced: At, now: At) {
        self.forget_old(now);
        let Latest(latest) = &mut **self.0.get_or_insert_default();
        if latest.len() >= AT_MOST {
            latest.pop_front();
        }
        latest.push_back(Question {
            at: now,
            to,
            wanted,
            announced,
        });
    }

    /// A neighbor has sent a message. If it was asked for it, says when, and when that was announced first.
    #[inline]
    pub(super) fn answered(&mut self, id: &MessageId, by: Serial) -> Option<(At, At)> {
        let latest = self.0.as_mut()?;
        let is_it = |one: &Question| one.to == by && one.wanted.id == *id;
        let place = latest.0.iter().position(is_it)?;
        let question = latest.0.remove(place)?;
        if latest.0.is_empty() {
            self.0 = None;
        }
        Some((question.at, question.announced))
    }

    /// What a neighbor was asked for lately. It is forgotten here.
    pub(super) fn take_of(&mut self, to: Serial, now: At) -> Vec<IHave> {
        self.forget_old(now);
        let Some(latest) = &mut self.0 else {
            return Vec::new();
        };
        let of_it = latest.0.iter().filter(|one| one.to == to);
        let wanted = of_it.map(|one| one.wanted).collect();
        latest.0.retain(|one| one.to != to);
        wanted
    }

    /// Forgets what is too old, and gives the memory back once nothing is left.
    pub(super) fn forget_old(&mut self, now: At) {
        let Some(latest) = &mut self.0 else {
            return;
        };
        let is_old = |one: &Question| one.at.after(WITHIN) <= now;
        while latest.0.front().is_some_and(is_old) {
            latest.0.pop_front();
        }
        if latest.0.is_empty() {
            self.0 = None;
        }
    }

    /// Checks the bound.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self) {
        let asked = self.0.as_ref().map_or(0, |latest| latest.0.len());
        assert!(asked <= AT_MOST, "questions");
    }
}
