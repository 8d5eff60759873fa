//! What both queues between handles and driver share: a lock that cannot be poisoned, and the
//! line of futures that wait for room.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

/// Locks `mutex`. Nothing panics between two consistent states here, so poison means nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes all of them. Call it without holding a lock: a waker may run anything.
pub(super) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Futures that wait for room in a bounded queue, first come, first served.
///
/// Who was woken keeps its place until it has come back for it, so nobody can overtake it; a
/// future that gives up has to leave the line, so that the next one gets its turn.
#[derive(Debug, Default)]
pub(super) struct Line {
    next: u64,
    /// The waker is taken when it is woken, and put back when the future is polled too early.
    waiting: BTreeMap<Ticket, Option<Waker>>,
}

impl Line {
    /// Whether whoever holds `ticket` (`None` when it has just come) may take one of `room` free
    /// places. On yes its place in the line is given up, else it is in the line with `waker`.
    ///
    /// Hands back a waker that was replaced, to be dropped outside the lock.
    pub(super) fn admit(
        &mut self,
        ticket: &mut Option<Ticket>,
        room: usize,
        waker: &Waker,
    ) -> Result<(), Option<Waker>> {
        // Everyone ahead has a claim to a free place of its own.
        let admitted = match *ticket {
            None => self.waiting.len() < room,
            Some(mine) => self.waiting.keys().take(room).any(|&other| other == mine),
        };
        if admitted {
            if let Some(mine) = ticket.take() {
                self.waiting.remove(&mine);
            }
            return Ok(());
        }
        let mine = *ticket.get_or_insert_with(|| {
            self.next += 1;
            Ticket(self.next)
        });
        let slot = self.waiting.entry(mine).or_default();
        if slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            return Err(None);
        }
        Err(slot.replace(waker.clone()))
    }

    /// Gives up a place in the line.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        self.waiting.remove(&ticket).flatten()
    }

    /// Takes the wakers of those that may have one of `room` free places.
    pub(super) fn admitted(&mut self, room: usize) -> Vec<Waker> {
        self.waiting
            .values_mut()
            .take(room)
            .filter_map(Option::take)
            .collect()
    }

    /// Takes the wakers of all: there is nothing to wait for any more.
    pub(super) fn dissolve(&mut self) -> Vec<Waker> {
        mem::take(&mut self.waiting)
            .into_values()
            .flatten()
            .collect()
    }
}
