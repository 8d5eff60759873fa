//! Questions that may be lost: the Grafts that were sent lately.
//!
//! A Graft is sent once. Where two nodes dial each other at the same moment, each may close the
//! connection that the other has just asked over; the neighbor stays, and so does its announcement,
//! which may be the only one that there will be. The paper counts on TCP here. So the latest
//! questions are remembered for a moment: when the connection that may have carried them is lost,
//! what the neighbor was asked for counts as announced once more.

use std::collections::VecDeque;

use super::{clock::At, message::IHave, neighbors::Serial};

/// A loss is heard of within this time, or goes with the neighbor.
const WITHIN: u64 = 3_000_000_000;

/// The most questions that are remembered.
const AT_MOST: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Question {
    at: At,
    to: Serial,
    wanted: IHave,
}

/// The latest questions, oldest first.
///
/// Invariant: at most [`AT_MOST`].
#[derive(Clone, Debug, Default)]
pub(super) struct Questions(VecDeque<Question>);

impl Questions {
    /// Notes that a neighbor is asked for what it announced.
    pub(super) fn note(&mut self, to: Serial, wanted: IHave, now: At) {
        self.forget_old(now);
        if self.0.len() >= AT_MOST {
            self.0.pop_front();
        }
        self.0.push_back(Question {
            at: now,
            to,
            wanted,
        });
    }

    /// What a neighbor was asked for lately. It is forgotten here.
    pub(super) fn take_of(&mut self, to: Serial, now: At) -> Vec<IHave> {
        self.forget_old(now);
        let of_it = self.0.iter().filter(|one| one.to == to);
        let wanted = of_it.map(|one| one.wanted).collect();
        self.0.retain(|one| one.to != to);
        wanted
    }

    /// Forgets what is too old, and gives the memory back once nothing is left.
    pub(super) fn forget_old(&mut self, now: At) {
        while self
            .0
            .front()
            .is_some_and(|one| one.at.after(WITHIN) <= now)
        {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }

    /// Checks the bound.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn check(&self) {
        assert!(self.0.len() <= AT_MOST, "questions");
    }
}
