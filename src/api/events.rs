//! From the driver to one receiver: a bounded queue of events that never makes the driver wait.
//!
//! When the queue is full, what is oldest in it makes room. A message that goes is lost, and an
//! [`Event::Lagged`] stands where it was. A neighbor event that goes is remembered as a change, so
//! that nothing is lost of *who* the neighbors are: the changes that do not cancel out are handed
//! over as neighbor events in the place of those that went. As the oldest goes first, the gap is
//! always at the head of the queue and there is never more than one.
//!
//! **Invariant:** the neighbors after what the receiver holds, plus `changed`, plus `waiting`, are
//! the neighbors after everything that was pushed.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use iroh_base::EndpointId;

use super::{
    Event,
    sync::{lock, wake_all},
};

/// Buffers with room for more events than this are not kept when they are empty.
const KEPT_CAPACITY: usize = 8;

/// What is allocated at once for events to come, at the most.
const ALLOCATED_AT_ONCE: usize = 64;

/// From this share of the capacity on, and this many events, a neighbor that comes and goes again
/// before the receiver has seen it leaves nothing in the queue: else a peer that does so without
/// end would drive out the messages of others.
const CROWDED: (usize, usize) = (2, 16);

/// How far back in the queue a neighbor is looked for that goes again.
const LOOK_BACK: usize = 64;

/// A queue that holds up to `capacity` events, at least one.
///
/// The receiver takes all of them at once, and what it has taken makes room for as many again.
/// Changes of neighbors that were dropped for room come on top, at most one for each peer that
/// is a neighbor on one side of the gap and not on the other.
pub(super) fn channel(capacity: usize) -> (EventSender, EventReceiver) {
    let queue = Arc::new(Queue {
        capacity: capacity.max(1),
        state: Mutex::default(),
    });
    let sender = EventSender {
        queue: queue.clone(),
    };
    (
        sender,
        EventReceiver {
            queue,
            taken: Events::default(),
        },
    )
}

#[derive(Debug)]
struct Queue {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Events were dropped that nothing else stands for.
    lost: bool,
    /// Who became a neighbor (`true`) or ceased to be one in the events that were dropped.
    changed: BTreeMap<EndpointId, bool>,
    waiting: Events,
    /// How many the receiver took the last time that there were any: about as many will wait the
    /// next time.
    usual: usize,
    /// No more will be pushed.
    ended: bool,
    /// Nobody will take any more.
    abandoned: bool,
    /// Why it ended, if not because the node did.
    failure: Option<Box<irpc::Error>>,
    receiver: Option<Waker>,
}

/// How many events make a queue crowded.
fn crowded_from(capacity: usize) -> usize {
    let (share, least) = CROWDED;
    least.max(capacity / share)
}

/// Closes `queue`: its receiver ends after what is queued.
fn end(queue: &Queue) {
    let mut state = lock(&queue.state);
    state.ended = true;
    let waker = state.receiver.take();
    drop(state);
    wake_all(waker);
}

/// What became of an event.
#[cfg(any(test, feature = "rpc"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It will be taken.
    Queued,
    /// It will be taken, and a message was dropped to make room for it.
    Displaced,
    /// Nobody will take it.
    Unwanted,
}

/// The driver's end. Dropping it ends the receiver's stream after what is queued.
#[derive(Debug)]
pub(crate) struct EventSender {
    queue: Arc<Queue>,
}

impl EventSender {
    /// Queues `event`. Never waits, and never wakes the receiver: call [`wake`](Self::wake) when
    /// all is pushed that there is to push now.
    #[cfg(any(test, feature = "rpc"))]
    pub(crate) fn push(&self, event: Event) -> Pushed {
        let mut state = lock(&self.queue.state);
        if state.ended || state.abandoned {
            return Pushed::Unwanted;
        }
        let dropped = state.push(event, self.queue.capacity);
        drop(state);
        match dropped {
            // Freeing it may run code of whoever made its bytes, so not under the lock.
            Some(Event::Received(_)) => Pushed::Displaced,
            Some(_) | None => Pushed::Queued,
        }
    }

    /// Queues all of `events`, which are then gone, and wakes the receiver if it waits. Never waits. Returns how
    /// many messages were dropped to make room.
    #[cfg(feature = "net")]
    pub(crate) fn push_all(&self, events: &mut Events) -> u64 {
        let mut state = lock(&self.queue.state);
        if state.ended || state.abandoned {
            drop(state);
            events.queue.clear();
            events.ups = 0;
            return 0;
        }
        let capacity = self.queue.capacity;
        let mut dropped = Vec::new();
        if state.waiting.len() + events.len() <= crowded_from(capacity).min(capacity) {
            state.allocate(events.len());
            state.waiting.append(events);
        } else {
            while let Some(event) = events.pop_front() {
                dropped.extend(state.push(event, capacity));
            }
        }
        let waker = state.receiver.take();
        drop(state);
        wake_all(waker);
        let messages = dropped
            .iter()
            .filter(|one| matches!(one, Event::Received(_)));
        messages.count() as u64
    }

    /// Wakes the receiver if it waits.
    #[cfg(any(test, feature = "rpc"))]
    pub(crate) fn wake(&self) {
        let waker = lock(&self.queue.state).receiver.take();
        wake_all(waker);
    }

    /// Whether the receiver is gone. Senders of the same subscription may still live.
    #[cfg(test)]
    pub(crate) fn is_abandoned(&self) -> bool {
        lock(&self.queue.state).abandoned
    }

    /// Ends the receiver's stream after what is queued, with an error.
    #[cfg(feature = "rpc")]
    pub(crate) fn fail(self, failure: irpc::Error) {
        lock(&self.queue.state).failure = Some(Box::new(failure));
    }

    /// Something that can end the stream while the driver still has this end of it.
    pub(super) fn closer(&self) -> Closer {
        Closer {
            queue: self.queue.clone(),
        }
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        end(&self.queue);
    }
}

/// See [`EventSender::closer`].
#[derive(Debug)]
pub(super) struct Closer {
    queue: Arc<Queue>,
}

impl Closer {
    /// Ends the receiver's stream after what is queued; what is pushed from now on is dropped.
    pub(super) fn close(&self) {
        end(&self.queue);
    }
}

impl State {
    /// Queues an event. Returns one that was dropped to make room.
    fn push(&mut self, event: Event, capacity: usize) -> Option<Event> {
        if self.waiting.len() >= crowded_from(capacity)
            && let Event::NeighborDown(peer) = &event
            && self.waiting.take_up_of(peer)
        {
            return None;
        }
        let dropped = if self.waiting.len() >= capacity {
            self.drop_oldest()
        } else {
            None
        };
        self.allocate(1);
        self.waiting.push_back(event);
        dropped
    }

    /// Has room for so many events, or more where that is usual.
    fn allocate(&mut self, count: usize) {
        if self.waiting.queue.capacity() == 0 {
            // Exactly, for most topics have one event now and then.
            let usual = self.usual.clamp(1, ALLOCATED_AT_ONCE).max(count);
            self.waiting.queue.reserve_exact(usual);
        }
    }

    fn drop_oldest(&mut self) -> Option<Event> {
        let oldest = self.waiting.pop_front()?;
        match oldest {
            Event::NeighborUp(peer) => self.fold(peer, true),
            Event::NeighborDown(peer) => self.fold(peer, false),
            Event::Received(_) | Event::Lagged => self.lost = true,
        }
        Some(oldest)
    }

    fn fold(&mut self, peer: EndpointId, up: bool) {
        match self.changed.insert(peer, up) {
            Some(before) if before != up => {
                // Up and down again, or the other way round. The application will not see that
                // it happened, so it has to learn that something is missing.
                self.changed.remove(&peer);
                self.lost = true;
            }
            Some(_) | None => {}
        }
    }

    /// Moves everything to `taken`, which is empty.
    fn take(&mut self, taken: &mut Events) {
        debug_assert_eq!(taken.len(), 0);
        if taken.queue.capacity() > KEPT_CAPACITY {
            *taken = Events::default();
        }
        mem::swap(&mut self.waiting, taken);
        if !taken.is_empty() {
            self.usual = taken.len();
        }
        let changed = mem::take(&mut self.changed);
        // To the front, last first: what is lost, who came, who went, and what was waiting. Who
        // came is before who went so that a swarm which changed is not mistaken for an empty one.
        for (peer, _) in changed.iter().rev().filter(|&(_, &up)| !up) {
            taken.push_front(Event::NeighborDown(*peer));
        }
        for (peer, _) in changed.iter().rev().filter(|&(_, &up)| up) {
            taken.push_front(Event::NeighborUp(*peer));
        }
        if mem::take(&mut self.lost) {
            taken.push_front(Event::Lagged);
        }
    }

    /// Takes the first NeighborUp, from among the changes or else from what waits.
    fn take_first_up(&mut self) -> Option<EndpointId> {
        let changed = self
            .changed
            .iter()
            .find(|&(_, &up)| up)
            .map(|(peer, _)| *peer);
        if let Some(peer) = changed {
            self.changed.remove(&peer);
            return Some(peer);
        }
        self.waiting.take_first_up()
    }

    /// Notes whom to wake. Hands back what was noted before, to be dropped outside the lock.
    fn register(&mut self, waker: &Waker) -> Option<Waker> {
        match &self.receiver {
            Some(noted) if noted.will_wake(waker) => None,
            Some(_) | None => self.receiver.replace(waker.clone()),
        }
    }
}

/// The receiver's end. Dropping it makes the driver's pushes do nothing.
#[derive(Debug)]
pub(super) struct EventReceiver {
    queue: Arc<Queue>,
    /// Taken out of the queue, all at once, and not handed over yet.
    taken: Events,
}

impl EventReceiver {
    /// The next event, or `None` once the stream has ended.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.taken.pop_front() {
            return Poll::Ready(Some(event));
        }
        let mut state = lock(&self.queue.state);
        state.take(&mut self.taken);
        if let Some(event) = self.taken.pop_front() {
            return Poll::Ready(Some(event));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let replaced = state.register(cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// The next event, if that is a message and was taken already: what [`Self::poll_next`] would say, at once.
    #[inline]
    pub(super) fn next_message(&mut self) -> Option<Event> {
        self.taken.pop_message()
    }

    /// Checks that no more waits than may, with so many peers.
    #[cfg(test)]
    pub(super) fn check_bounds(&self, peers: usize) {
        let state = lock(&self.queue.state);
        assert!(state.waiting.len() <= self.queue.capacity, "events");
        assert!(state.changed.len() <= peers, "changes that were dropped");
        let taken = self.queue.capacity + 1 + peers;
        assert!(self.taken.len() <= taken, "events that were taken");
    }

    /// Why the stream ended, if not because the node did. Says it once.
    pub(super) fn take_failure(&mut self) -> Option<irpc::Error> {
        lock(&self.queue.state)
            .failure
            .take()
            .map(|failure| *failure)
    }

    /// Takes the first NeighborUp out of the events to come and leaves all others where they are,
    /// or returns `None` if the stream has ended without one.
    ///
    /// Only for a receiver that has consumed no neighbor: then there is no NeighborDown before
    /// the first NeighborUp that taking it out of order could contradict.
    pub(super) fn poll_first_up(&mut self, cx: &mut Context<'_>) -> Poll<Option<EndpointId>> {
        if let Some(peer) = self.taken.take_first_up() {
            return Poll::Ready(Some(peer));
        }
        // What waits is searched where it is: taking it would make room for more each time.
        let mut state = lock(&self.queue.state);
        if let Some(peer) = state.take_first_up() {
            return Poll::Ready(Some(peer));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let replaced = state.register(cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        let nothing = State {
            abandoned: true,
            ended: state.ended,
            ..State::default()
        };
        let unread = mem::replace(&mut *state, nothing);
        drop(state);
        drop(unread);
    }
}

/// Events in order, and how many of them are NeighborUps.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    ups: usize,
}

impl Events {
    fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many there is room for.
    #[cfg(feature = "net")]
    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Moves all of `others` to the end.
    #[cfg(feature = "net")]
    fn append(&mut self, others: &mut Self) {
        self.ups += mem::take(&mut others.ups);
        self.queue.append(&mut others.queue);
    }

    /// Adds an event at the end.
    #[inline]
    pub(crate) fn push_back(&mut self, event: Event) {
        self.ups += usize::from(matches!(event, Event::NeighborUp(_)));
        self.queue.push_back(event);
    }

    fn push_front(&mut self, event: Event) {
        self.ups += usize::from(matches!(event, Event::NeighborUp(_)));
        self.queue.push_front(event);
    }

    fn pop_front(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.ups -= usize::from(matches!(event, Event::NeighborUp(_)));
        Some(event)
    }

    /// Takes the first event, if it is a message.
    #[inline]
    fn pop_message(&mut self) -> Option<Event> {
        match self.queue.front()? {
            Event::Received(_) => self.queue.pop_front(),
            Event::NeighborUp(_) | Event::NeighborDown(_) | Event::Lagged => None,
        }
    }

    /// Takes out the event that `peer` came, if only the coming and going of neighbors was queued
    /// since.
    fn take_up_of(&mut self, peer: &EndpointId) -> bool {
        let latest = self.queue.iter().enumerate().rev().take(LOOK_BACK);
        let up = latest
            .map_while(|(index, event)| match event {
                Event::NeighborUp(other) => Some((index, other == peer)),
                Event::NeighborDown(other) if other == peer => None,
                Event::NeighborDown(_) => Some((index, false)),
                Event::Received(_) | Event::Lagged => None,
            })
            .find_map(|(index, found)| found.then_some(index));
        let Some(index) = up else {
            return false;
        };
        self.queue.remove(index);
        self.ups -= 1;
        true
    }

    /// Searches only when there is something to find, so that waiting is cheap with many messages
    /// queued.
    fn take_first_up(&mut self) -> Option<EndpointId> {
        if self.ups == 0 {
            return None;
        }
        let (index, peer) =
            self.queue
                .iter()
                .enumerate()
                .find_map(|(index, event)| match event {
                    Event::NeighborUp(peer) => Some((index, *peer)),
                    Event::NeighborDown(_) | Event::Received(_) | Event::Lagged => None,
                })?;
        self.queue.remove(index);
        self.ups -= 1;
        Some(peer)
    }
}

#[cfg(test)]
mod tests;
