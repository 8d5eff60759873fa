//! Who was woken, and is to be polled.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

/// Whom to poll, in the order in which they were woken.
#[derive(Default)]
pub(super) struct Woken(Mutex<VecDeque<u64>>);

impl Woken {
    pub(super) fn push(&self, key: u64) {
        self.lock().push_back(key);
    }

    pub(super) fn pop(&self) -> Option<u64> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What wakes somebody.
pub(super) struct Flag {
    pub(super) key: u64,
    set: AtomicBool,
    woken: Arc<Woken>,
}

impl Flag {
    pub(super) fn new(key: u64, woken: Arc<Woken>) -> Self {
        Self {
            key,
            set: AtomicBool::new(false),
            woken,
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// To be called before whoever was woken is polled.
    pub(super) fn clear(&self) {
        self.set.store(false, Ordering::Relaxed);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.set.swap(true, Ordering::Relaxed) {
            self.woken.push(self.key);
        }
    }
}
