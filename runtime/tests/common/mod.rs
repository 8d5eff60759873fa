//! Futures and wakers that do as they are told and count.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// Counts wakes.
pub struct CountingWaker(AtomicU32);

impl CountingWaker {
    pub fn new() -> (Arc<Self>, Waker) {
        let counter = Arc::new(Self(AtomicU32::new(0)));
        (counter.clone(), counter.into())
    }

    /// Wakes since the last call.
    pub fn take(&self) -> u32 {
        self.0.swap(0, SeqCst)
    }

    /// Whether nobody else holds it any more.
    pub fn is_last(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The remote end of a [`Script`].
#[derive(Default)]
pub struct Control {
    polls: AtomicU32,
    drops: AtomicU32,
    finished: AtomicBool,
    panics: AtomicBool,
    wakes_itself: AtomicBool,
    wakes: Mutex<Option<Arc<Control>>>,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    pub fn polls(&self) -> u32 {
        self.polls.load(SeqCst)
    }

    pub fn drops(&self) -> u32 {
        self.drops.load(SeqCst)
    }

    /// Makes the next poll the last; wakes nobody.
    pub fn finish(&self) {
        self.finished.store(true, SeqCst);
    }

    /// Makes the next poll panic.
    pub fn panics(&self) {
        self.panics.store(true, SeqCst);
    }

    /// Makes every poll wake the task itself.
    pub fn wakes_itself(&self) {
        self.wakes_itself.store(true, SeqCst);
    }

    /// Makes every poll wake another task.
    pub fn wakes(&self, other: &Arc<Control>) {
        *self.wakes.lock().unwrap() = Some(other.clone());
    }

    /// Wakes through the waker of the last poll, and keeps that.
    pub fn wake(&self) {
        let waker = self.waker.lock().unwrap().clone();
        waker.expect("polled before").wake();
    }

    pub fn forget_waker(&self) {
        *self.waker.lock().unwrap() = None;
    }
}

/// A future that is pending, and keeps its waker, until told otherwise.
pub struct Script {
    control: Arc<Control>,
    output: u32,
}

impl Script {
    pub fn new(output: u32) -> (Arc<Control>, Self) {
        let control = Arc::new(Control::default());
        let script = Self {
            control: control.clone(),
            output,
        };
        (control, script)
    }
}

impl Future for Script {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        let control = &self.control;
        control.polls.fetch_add(1, SeqCst);
        *control.waker.lock().unwrap() = Some(cx.waker().clone());
        if control.panics.load(SeqCst) {
            std::panic::resume_unwind(Box::new("as told"));
        }
        if control.wakes_itself.load(SeqCst) {
            cx.waker().wake_by_ref();
        }
        if let Some(other) = &*control.wakes.lock().unwrap() {
            other.wake();
        }
        if control.finished.load(SeqCst) {
            return Poll::Ready(self.output);
        }
        Poll::Pending
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.control.drops.fetch_add(1, SeqCst);
    }
}
