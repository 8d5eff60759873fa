//! Who is ready, told from any thread: the only concurrent part of the crate.
//!
//! A [`Signal`] stands behind the wakers of one task and enters the task's [`Token`] into the
//! [`ReadyQueue`] at most once until the task is polled again. The owner of the queue takes all
//! tokens at once. Under `cfg(loom)` the building blocks are loom's, and the test below runs
//! through every interleaving.
#![allow(
    unexpected_cfgs,
    reason = "`--cfg loom` is set by whoever runs the loom test"
)]

use std::sync::Arc;
use std::task::{Wake, Waker};

use sync::{AtomicBool, AtomicU32, AtomicWaker, Mutex, MutexGuard, Ordering};

/// One task in one slot of the slab. The generation tells it from later tasks of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// The tokens of tasks that were woken, and the waker of the queue's owner.
pub(crate) struct ReadyQueue {
    tokens: Mutex<Vec<Token>>,
    /// Whether `tokens` holds any; spares the owner the lock when it does not.
    filled: AtomicBool,
    owner: AtomicWaker,
}

impl ReadyQueue {
    pub(crate) fn new() -> Self {
        Self {
            tokens: Mutex::new(Vec::new()),
            filled: AtomicBool::new(false),
            owner: AtomicWaker::new(),
        }
    }

    /// Moves all tokens to the end of `into`.
    pub(crate) fn take(&self, into: &mut impl Extend<Token>) {
        if self.filled.load(Ordering::Acquire) {
            let mut tokens = self.lock();
            self.filled.store(false, Ordering::Relaxed);
            into.extend(tokens.drain(..));
        }
    }

    /// Registers the owner's waker. Answers whether tokens are waiting already: then the owner must
    /// not rest, since whoever entered them may have woken the waker registered before.
    #[must_use]
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        sync::register(&self.owner, waker);
        self.filled.load(Ordering::Acquire)
    }

    pub(crate) fn wake_owner(&self) {
        self.owner.wake();
    }

    /// Forgets the owner's waker, which may hold what holds this queue.
    pub(crate) fn forget_owner(&self) {
        sync::forget(&self.owner);
    }

    fn push(&self, token: Token) {
        let mut tokens = self.lock();
        let first = tokens.is_empty();
        tokens.push(token);
        if first {
            self.filled.store(true, Ordering::Release);
        }
        drop(tokens);
        // Whoever found the queue filled leaves the wake to the one who filled it.
        if first {
            self.owner.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Token>> {
        // Nothing in here panics with the lock held, and a list of tokens is never half changed.
        self.tokens
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

    pub(super) use atomic_waker::AtomicWaker;

    pub(super) fn register(owner: &AtomicWaker, waker: &std::task::Waker) {
        owner.register(waker);
    }

    pub(super) fn forget(owner: &AtomicWaker) {
        drop(owner.take());
    }
}

#[cfg(loom)]
mod sync {
    pub(super) use loom::future::AtomicWaker;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};

    pub(super) fn register(owner: &AtomicWaker, waker: &std::task::Waker) {
        owner.register_by_ref(waker);
    }

    pub(super) fn forget(owner: &AtomicWaker) {
        drop(owner.take_waker());
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
