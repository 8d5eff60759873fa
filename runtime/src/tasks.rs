//! A slab of futures that polls only those that were woken.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};

use crate::ready::{ReadyQueue, Signal, Token};

/// Many futures of one type, polled by one owner, each only after it was woken.
///
/// Futures are stored inline and must be [`Unpin`]; one that is not goes in a box, as in
/// `TaskSlab<Pin<Box<dyn Future<Output = u32> + Send>>>`.
///
/// - Wakes may come from any thread, before, during and after the poll of a task. The waker of a
///   task that is gone wakes nobody, also when another task took its place.
/// - [`poll_next`](TaskSlab::poll_next) looks only at tasks that were ready when it was called, in
///   the order they became so. A task that wakes itself starves nobody.
/// - A task that panics is removed, the panic goes to the caller, and the slab stays usable.
///
/// Memory of finished tasks is kept for the next ones. Where there were many more tasks than there
/// are, it is given back.
///
/// Absent on purpose: there is no handle that awaits one task, and no way to insert without
/// `&mut`. The slab has one owner, which learns of every result.
///
/// ```
/// use futures_lite::future;
/// use smol_gossip_runtime::TaskSlab;
///
/// let mut tasks = TaskSlab::new();
/// let id = tasks.insert(future::ready("done"));
/// let finished = future::block_on(future::poll_fn(|cx| tasks.poll_next(cx)));
/// assert_eq!(finished, (id, "done"));
/// ```
pub struct TaskSlab<F> {
    queue: Arc<ReadyQueue>,
    /// Tokens taken over from the queue and of tasks never polled, oldest first. Those of tasks
    /// that are gone by now are skipped.
    ready: VecDeque<Token>,
    slots: Vec<Slot<F>>,
    vacant: Vec<u32>,
    /// Tasks removed since memory was last given back.
    removed: usize,
    /// What a new slot begins with: later than any generation of a slot that was given back.
    first_generation: u32,
    /// Whether the last poll answered pending, so that an insert must wake the owner.
    resting: bool,
}

/// Vacant slots that are always kept.
const SLOTS_KEPT: usize = 1024;

/// Names one task of a [`TaskSlab`].
///
/// An id goes stale when its task finishes, panics or is cancelled, and stays so when another task
/// takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId {
    index: u32,
    generation: u32,
}

impl<F: Future + Unpin> TaskSlab<F> {
    /// Creates an empty slab.
    ///
    /// ```
    /// use std::future::Ready;
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// assert!(TaskSlab::<Ready<()>>::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self {
            queue: Arc::new(ReadyQueue::new()),
            ready: VecDeque::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            removed: 0,
            first_generation: 0,
            resting: false,
        }
    }

    /// How many tasks have not finished.
    ///
    /// ```
    /// use std::future::ready;
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// let mut tasks = TaskSlab::new();
    /// tasks.insert(ready(()));
    /// assert_eq!(tasks.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether there is no task.
    ///
    /// ```
    /// use std::future::ready;
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// let mut tasks = TaskSlab::new();
    /// assert!(tasks.is_empty());
    /// tasks.insert(ready(()));
    /// assert!(!tasks.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a future, to be polled by the next [`poll_next`](Self::poll_next); wakes the owner if
    /// that last answered pending.
    ///
    /// ```
    /// use std::future::ready;
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// let mut tasks = TaskSlab::new();
    /// let id = tasks.insert(ready(7));
    /// assert!(tasks.contains(id));
    /// ```
    ///
    /// # Panics
    ///
    /// If the slab already holds 2^32 tasks.
    pub fn insert(&mut self, future: F) -> TaskId {
        let id = self.insert_quietly(future);
        if std::mem::take(&mut self.resting) {
            self.queue.wake_owner();
        }
        id
    }

    /// As [`insert`](Self::insert), for an owner that polls again before it rests: wakes nobody.
    pub(crate) fn insert_quietly(&mut self, future: F) -> TaskId {
        let token = match self.vacant.pop() {
            Some(index) => self.slots[index as usize].fill(&self.queue, index, future),
            None => {
                let index = u32::try_from(self.slots.len())
                    .expect("a task slab holds no more than 2^32 tasks");
                let token = Token {
                    index,
                    generation: self.first_generation,
                };
                self.slots.push(Slot::new(&self.queue, token, future));
                token
            }
        };
        self.ready.push_back(token);
        token.into()
    }

    /// Drops a task's future now. Returns `false` if the id is stale.
    ///
    /// ```
    /// use std::future::pending;
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// let mut tasks = TaskSlab::new();
    /// let id = tasks.insert(pending::<()>());
    /// assert!(tasks.cancel(id));
    /// assert!(!tasks.cancel(id));
    /// ```
    pub fn cancel(&mut self, id: TaskId) -> bool {
        let future = self.remove(id);
        // The future's own drop code runs after the slab is whole again, here at the end.
        future.is_some()
    }

    /// Whether a task has not finished and was not cancelled.
    ///
    /// ```
    /// use std::future::ready;
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// let mut tasks = TaskSlab::new();
    /// let id = tasks.insert(ready(7));
    /// tasks.cancel(id);
    /// assert!(!tasks.contains(id));
    /// ```
    pub fn contains(&self, id: TaskId) -> bool {
        self.slots
            .get(id.index as usize)
            .is_some_and(|slot| slot.generation == id.generation && slot.future.is_some())
    }

    /// Whether there are tasks that the next poll has to look at: they were added since the last
    /// one, or it came to another that had finished before it came to them.
    pub(crate) fn has_unpolled(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Polls the tasks that are ready until one finishes, and returns its output.
    ///
    /// Pending if none of them finished, also when the slab is empty: then the owner is woken by
    /// the next wake or insert. If tasks became ready meanwhile, it is woken at once. After an
    /// output nothing is registered: call it again until it is pending. Nothing is lost by not
    /// doing so at once.
    ///
    /// ```
    /// use std::future::ready;
    /// use std::task::{Context, Poll, Waker};
    /// use smol_gossip_runtime::TaskSlab;
    ///
    /// let mut tasks = TaskSlab::new();
    /// let id = tasks.insert(ready(7));
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert_eq!(tasks.poll_next(&mut cx), Poll::Ready((id, 7)));
    /// assert_eq!(tasks.poll_next(&mut cx), Poll::Pending);
    /// ```
    ///
    /// # Panics
    ///
    /// Passes on the panic of a task. That task is removed; all others are unharmed.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(TaskId, F::Output)> {
        self.resting = false;
        self.queue.take(&mut self.ready);
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                break;
            };
            if let Poll::Ready(output) = self.poll_task(token) {
                return Poll::Ready((token.into(), output));
            }
        }
        self.resting = true;
        if self.queue.register(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<F: Future + Unpin> Default for TaskSlab<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Drop for TaskSlab<F> {
    fn drop(&mut self) {
        // A waker kept by somebody holds the queue, and must not hold the owner through it.
        drop(self.queue.forget_owner());
    }
}

impl<F> fmt::Debug for TaskSlab<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSlab")
            .field("len", &(self.slots.len() - self.vacant.len()))
            .finish_non_exhaustive()
    }
}

impl From<Token> for TaskId {
    fn from(token: Token) -> Self {
        Self {
            index: token.index,
            generation: token.generation,
        }
    }
}

impl<F: Future + Unpin> TaskSlab<F> {
    fn poll_task(&mut self, token: Token) -> Poll<F::Output> {
        if !self.contains(token.into()) {
            return Poll::Pending;
        }
        // Removes the task when it has finished, and also when it panics.
        let task = Polling {
            tasks: self,
            id: token.into(),
        };
        let slot = &mut task.tasks.slots[token.index as usize];
        let Some(future) = &mut slot.future else {
            return Poll::Pending;
        };
        slot.signal.clear();
        let poll = Pin::new(future).poll(&mut Context::from_waker(&slot.waker));
        if poll.is_pending() {
            std::mem::forget(task);
        }
        poll
    }
}

impl<F> TaskSlab<F> {
    fn remove(&mut self, id: TaskId) -> Option<F> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let future = slot.future.take()?;
        self.vacant.push(id.index);
        self.removed += 1;
        let vacant = self.vacant.len();
        if vacant > SLOTS_KEPT && vacant > self.slots.len() / 4 * 3 && self.removed > vacant / 8 {
            self.give_back();
        }
        Some(future)
    }

    /// Gives back the slots after the last task. From here on the first vacant slots are filled
    /// first, so that the last ones become vacant.
    fn give_back(&mut self) {
        self.removed = 0;
        while let Some(slot) = self.slots.pop_if(|slot| slot.future.is_none()) {
            let next = slot.generation.wrapping_add(1);
            self.first_generation = self.first_generation.max(next);
        }
        let slots = self.slots.len();
        self.vacant.retain(|index| (*index as usize) < slots);
        self.vacant.sort_unstable_by(|a, b| b.cmp(a));
        self.slots.shrink_to(2 * slots);
        self.vacant.shrink_to(2 * slots);
        self.ready.shrink_to(2 * self.ready.len());
    }
}

/// A task being polled; removed when this is dropped.
struct Polling<'a, F> {
    tasks: &'a mut TaskSlab<F>,
    id: TaskId,
}

impl<F> Drop for Polling<'_, F> {
    fn drop(&mut self) {
        drop(self.tasks.remove(self.id));
    }
}

/// The place of a task, and what the next task there can use again.
struct Slot<F> {
    /// Of the present task, or of the last one.
    generation: u32,
    future: Option<F>,
    signal: Arc<Signal>,
    /// A waker of `signal`, so that a poll need not make one.
    waker: Waker,
}

impl<F> Slot<F> {
    fn new(queue: &Arc<ReadyQueue>, token: Token, future: F) -> Self {
        let signal = Arc::new(Signal::new(queue.clone(), token));
        Self {
            generation: token.generation,
            future: Some(future),
            waker: signal.clone().into(),
            signal,
        }
    }

    /// Puts the next task in a vacant slot.
    fn fill(&mut self, queue: &Arc<ReadyQueue>, index: u32, future: F) -> Token {
        let token = Token {
            index,
            generation: self.generation.wrapping_add(1),
        };
        // Two references are ours. A third is the waker of an earlier task, kept by somebody: it
        // keeps its signal, whose generation is over, and this task gets one of its own.
        if Arc::strong_count(&self.signal) == 2 {
            // Orders what the last foreign waker did before ours, as `Arc::get_mut` would.
            fence(Ordering::Acquire);
            self.signal.renew(token.generation);
            self.generation = token.generation;
            self.future = Some(future);
        } else {
            *self = Self::new(queue, token, future);
        }
        token
    }
}

#[cfg(test)]
mod tests;
