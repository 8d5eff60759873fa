//! Who is ready, told from any thread: the only concurrent part of the crate.
//!
//! A [`Signal`] stands behind the wakers of one task and enters the task's [`Token`] into the
//! [`ReadyQueue`] at most once until the task is polled again. The owner of the queue takes all
//! tokens at once. Under `cfg(loom)` the building blocks are loom's, and `loom_tests` runs
//! through every interleaving.

use std::sync::Arc;
use std::task::{Wake, Waker};

use sync::{AtomicBool, AtomicU32, Mutex, MutexGuard, Ordering};

/// One task in one slot of the slab. The generation tells it from later tasks of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The tokens of tasks that were woken, and the waker of the queue's owner.
///
/// Both lie under one lock: then whoever enters a token finds the owner's waker, or the owner finds
/// the token when it registers, and nothing is woken twice.
pub(crate) struct ReadyQueue {
    shared: Mutex<Shared>,
    /// Whether there are tokens; written under the lock, and read without to spare the owner that.
    /// Read so, a `false` may be out of date: before the owner rests, `register` looks again.
    filled: AtomicBool,
}

struct Shared {
    tokens: Vec<Token>,
    /// Taken by whoever wakes it.
    owner: Option<Waker>,
}

impl ReadyQueue {
    pub(crate) fn new() -> Self {
        Self {
            shared: Mutex::new(Shared {
                tokens: Vec::new(),
                owner: None,
            }),
            filled: AtomicBool::new(false),
        }
    }

    /// Moves all tokens to the end of `into`.
    pub(crate) fn take(&self, into: &mut impl Extend<Token>) {
        if self.filled.load(Ordering::Relaxed) {
            let mut shared = self.lock();
            self.filled.store(false, Ordering::Relaxed);
            into.extend(shared.tokens.drain(..));
        }
    }

    /// Registers the owner's waker, unless tokens are waiting: then it answers `true`, and the
    /// owner must not rest.
    #[must_use]
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        if self.filled.load(Ordering::Relaxed) {
            return true;
        }
        let mut shared = self.lock();
        if !shared.tokens.is_empty() {
            return true;
        }
        match &mut shared.owner {
            Some(owner) if owner.will_wake(waker) => {}
            owner => {
                let before = owner.replace(waker.clone());
                // Not under the lock: dropping a waker may run anything.
                drop(shared);
                drop(before);
            }
        }
        false
    }

    pub(crate) fn wake_owner(&self) {
        let owner = self.forget_owner();
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Takes the owner's waker away, which may hold what holds this queue.
    pub(crate) fn forget_owner(&self) -> Option<Waker> {
        self.lock().owner.take()
    }

    fn push(&self, token: Token) {
        let mut shared = self.lock();
        shared.tokens.push(token);
        self.filled.store(true, Ordering::Relaxed);
        let owner = shared.owner.take();
        drop(shared);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // What is under the lock is never half changed, so a panic there would leave no harm.
        self.shared
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What the wakers of a task share.
pub(crate) struct Signal {
    queue: Arc<ReadyQueue>,
    index: u32,
    generation: AtomicU32,
    /// Whether the token is in the queue, or is about to be.
    entered: AtomicBool,
}

impl Signal {
    /// A signal for a task whose token its owner has listed as ready by itself.
    pub(crate) fn new(queue: Arc<ReadyQueue>, token: Token) -> Self {
        Self {
            queue,
            index: token.index,
            generation: AtomicU32::new(token.generation),
            entered: AtomicBool::new(true),
        }
    }

    /// Hands the signal to the next task of its slot, as in [`new`](Self::new). Only for a signal
    /// nobody else holds.
    pub(crate) fn renew(&self, generation: u32) {
        self.generation.store(generation, Ordering::Relaxed);
        self.entered.store(true, Ordering::Relaxed);
    }

    /// To be called before the task is polled: from here on a wake counts for the next poll.
    pub(crate) fn clear(&self) {
        // Also acquires what a waker that found the token entered did before it woke.
        self.entered.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn raise(&self) {
        if !self.entered.swap(true, Ordering::AcqRel) {
            self.queue.push(Token {
                index: self.index,
                generation: self.generation.load(Ordering::Relaxed),
            });
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard};
}

#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

#[cfg(all(test, loom))]
mod loom_tests;
