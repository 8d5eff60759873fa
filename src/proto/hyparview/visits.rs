//! How often peers come of their own accord.
//!
//! The paper takes in whoever joins, drops a neighbor for it if need be, and sends word of it
//! through the swarm. So who comes, goes and comes again has everyone work for it, and puts honest
//! neighbors out. Here each peer may come a few times in a row
//! ([`Limits::joins_per_peer`](crate::proto::Limits::joins_per_peer)), and once more every
//! [`EVERY`]. Beyond that it is still taken in where there is a free slot, since nobody has to go
//! for it; but nobody else is told.

use std::time::Duration;

use super::time::after;
use crate::proto::{clock::At, peer::is_same};

/// How long it takes until a peer may come once more.
const EVERY: Duration = Duration::from_secs(5);

/// Peers that are remembered. When there are more, the one is forgotten that was there the least.
const REMEMBERED: usize = 64;

/// When each peer that came lately will be as good as new.
///
/// Invariant: no peer twice, at most [`REMEMBERED`].
#[derive(Clone, Debug)]
pub(super) struct Visits<PI> {
    visitors: Vec<(PI, At)>,
}

impl<PI: Copy + Ord> Visits<PI> {
    pub(super) fn new() -> Self {
        Self {
            visitors: Vec::new(),
        }
    }

    /// A peer comes, which may do so `at_once` times in a row. Says whether it is welcome, or has
    /// come too often.
    pub(super) fn note(&mut self, id: &PI, at_once: u32, now: At) -> bool {
        let place = self
            .visitors
            .iter()
            .position(|(visitor, _)| is_same(visitor, id));
        let until = place.map_or(now, |place| self.visitors[place].1.max(now));
        let until = after(until, EVERY);
        if until > after(now, EVERY.saturating_mul(at_once)) {
            return false;
        }
        match place {
            Some(place) => self.visitors[place].1 = until,
            None if self.visitors.len() < REMEMBERED => {
                if self.visitors.len() == self.visitors.capacity() {
                    // Before it grows.
                    self.forget(now);
                }
                if self.visitors.is_empty() {
                    self.visitors.reserve_exact(1);
                }
                self.visitors.push((*id, until));
            }
            None => {
                let least = self.visitors.iter_mut().min_by_key(|visitor| visitor.1);
                if let Some(least) = least {
                    *least = (*id, until);
                }
            }
        }
        true
    }

    /// Forgets those who have not come for long.
    pub(super) fn forget(&mut self, now: At) {
        self.visitors.retain(|(_, until)| *until > now);
        if self.visitors.is_empty() {
            self.visitors = Vec::new();
        }
    }

    /// Checks the bounds.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.visitors.len() <= REMEMBERED, "visitors");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_may_come_a_few_times_and_then_now_and_again() {
        let mut visits = Visits::new();
        let start = crate::proto::hyparview::tests::base();
        let welcome = |visits: &mut Visits<u32>, peer: u32, at: At| {
            (0..100).filter(|_| visits.note(&peer, 8, at)).count()
        };
        assert_eq!(welcome(&mut visits, 1, start), 8);
        assert_eq!(welcome(&mut visits, 2, start), 8);
        assert_eq!(welcome(&mut visits, 1, start + EVERY), 1);
        assert_eq!(welcome(&mut visits, 1, start + EVERY * 4), 3);
        visits.forget(start + EVERY * 20);
        assert!(visits.visitors.is_empty());
        assert_eq!(welcome(&mut visits, 1, start + EVERY * 20), 8);
    }

    #[test]
    fn visitors_are_bounded_and_the_restless_stay() {
        let mut visits = Visits::new();
        let start = crate::proto::hyparview::tests::base();
        assert!(visits.note(&0, 2, start) && visits.note(&0, 2, start));
        for peer in 1..1000u32 {
            assert!(visits.note(&peer, 2, start));
            visits.check();
        }
        assert!(!visits.note(&0, 2, start), "it is remembered");
    }
}
