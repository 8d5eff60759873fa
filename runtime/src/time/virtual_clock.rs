//! A clock that stands still until it is advanced.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use super::{Clock, Runtime, Sleep};

/// A clock advanced by hand, for tests. Clones are handles on the same clock.
///
/// Its sleeps elapse and wake when it is advanced to their deadline or past it, never by
/// themselves.
///
/// ```
/// use std::time::Duration;
/// use smol_gossip_runtime::{Clock, VirtualClock};
///
/// let clock = VirtualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now() - start, Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct VirtualClock {
    state: Arc<Mutex<State>>,
}

/// A [`Runtime`] in virtual time. Clones share one clock.
///
/// ```
/// use std::task::{Context, Poll, Waker};
/// use std::time::Duration;
/// use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime, Wakeup};
///
/// let runtime = VirtualRuntime::new();
/// let clock = runtime.clock().clone();
/// let mut events = EventLoop::<_, _, std::future::Ready<()>>::new(runtime);
/// events.schedule(clock.now() + Duration::from_secs(60), "shuffle");
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(events.poll_wakeup(&mut cx), Poll::Pending);
/// assert!(clock.advance_to_next());
/// assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Timer("shuffle")));
/// ```
#[derive(Debug, Clone, Default)]
pub struct VirtualRuntime {
    clock: VirtualClock,
}

/// The sleep of a [`VirtualRuntime`].
pub struct VirtualSleep {
    state: Arc<Mutex<State>>,
    key: usize,
}

struct State {
    now: Instant,
    sleeps: Slab<Armed>,
}

#[derive(Default)]
struct Armed {
    deadline: Option<Instant>,
    waker: Option<Waker>,
}

impl VirtualClock {
    /// Creates a clock that shows some instant.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let clock = VirtualClock::new();
    /// assert_eq!(clock.now(), clock.now());
    /// ```
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a virtual clock has to begin somewhere, and there is no other instant"
        )]
        let now = Instant::now();
        let state = State {
            now,
            sleeps: Slab::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets time pass, and wakes every sleep that elapses by it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let clock = VirtualClock::new();
    /// let start = clock.now();
    /// clock.advance(Duration::from_millis(5));
    /// assert_eq!(clock.now(), start + Duration::from_millis(5));
    /// ```
    pub fn advance(&self, time: Duration) {
        let now = self.now();
        self.advance_to(now.checked_add(time).unwrap_or(now));
    }

    /// Lets time pass until `instant`; does nothing if that has passed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let clock = VirtualClock::new();
    /// let noon = clock.now() + Duration::from_secs(3600);
    /// clock.advance_to(noon);
    /// assert_eq!(clock.now(), noon);
    /// ```
    pub fn advance_to(&self, instant: Instant) {
        let mut state = lock(&self.state);
        state.now = state.now.max(instant);
        let now = state.now;
        let wakers: Vec<_> = state
            .sleeps
            .iter_mut()
            .filter(|(_, sleep)| sleep.deadline.is_some_and(|deadline| deadline <= now))
            .filter_map(|(_, sleep)| sleep.waker.take())
            .collect();
        // Not under the lock: a waker may run anything.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The earliest deadline of an armed sleep that has not elapsed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let runtime = VirtualRuntime::new();
    /// let (clock, mut sleep) = (runtime.clock(), runtime.sleep());
    /// let deadline = clock.now() + Duration::from_secs(60);
    /// sleep.reset(deadline);
    /// assert_eq!(clock.next_deadline(), Some(deadline));
    /// ```
    pub fn next_deadline(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let deadlines = state.sleeps.iter().filter_map(|(_, sleep)| sleep.deadline);
        deadlines.filter(|deadline| *deadline > state.now).min()
    }

    /// Jumps to [`next_deadline`](Self::next_deadline); `false` if no sleep is armed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let runtime = VirtualRuntime::new();
    /// let (clock, mut sleep) = (runtime.clock(), runtime.sleep());
    /// let deadline = clock.now() + Duration::from_secs(60);
    /// sleep.reset(deadline);
    /// assert!(clock.advance_to_next());
    /// assert_eq!(clock.now(), deadline);
    /// assert!(!clock.advance_to_next());
    /// ```
    pub fn advance_to_next(&self) -> bool {
        let next = self.next_deadline();
        next.inspect(|next| self.advance_to(*next)).is_some()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        lock(&self.state).now
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualRuntime {
    /// Creates a runtime with a clock of its own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let runtime = VirtualRuntime::new();
    /// let same_clock = runtime.clone();
    /// runtime.clock().advance(Duration::from_secs(1));
    /// assert_eq!(same_clock.now(), runtime.now());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock, to be advanced.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};
    /// let runtime = VirtualRuntime::new();
    /// assert_eq!(runtime.clock().now(), runtime.now());
    /// ```
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }
}

impl From<VirtualClock> for VirtualRuntime {
    /// A runtime that shares a clock with others.
    fn from(clock: VirtualClock) -> Self {
        Self { clock }
    }
}

impl Clock for VirtualRuntime {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Runtime for VirtualRuntime {
    type Sleep = VirtualSleep;

    fn sleep(&self) -> VirtualSleep {
        let state = self.clock.state.clone();
        let key = lock(&state).sleeps.insert(Armed::default());
        VirtualSleep { state, key }
    }
}

impl Sleep for VirtualSleep {
    fn reset(&mut self, deadline: Instant) {
        self.with_armed(|armed, _| armed.deadline = Some(deadline));
    }

    fn disarm(&mut self) {
        // The waker is dropped outside of the lock: that may run anything.
        drop(self.with_armed(|armed, _| std::mem::take(armed)));
    }

    fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let (poll, before) = self.with_armed(|armed, now| match armed.deadline {
            Some(deadline) if deadline <= now => (Poll::Ready(()), armed.waker.take()),
            Some(_) => (Poll::Pending, armed.waker.replace(waker)),
            None => (Poll::Pending, None),
        });
        drop(before);
        poll
    }
}

impl VirtualSleep {
    fn with_armed<T>(&self, f: impl FnOnce(&mut Armed, Instant) -> T) -> T {
        let mut state = lock(&self.state);
        let now = state.now;
        f(&mut state.sleeps[self.key], now)
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        let armed = lock(&self.state).sleeps.remove(self.key);
        drop(armed);
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualClock")
            .field("now", &self.now())
            .field("next_deadline", &self.next_deadline())
            .finish()
    }
}

impl fmt::Debug for VirtualSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.with_armed(|armed, _| armed.deadline);
        f.debug_struct("VirtualSleep")
            .field("deadline", &deadline)
            .finish()
    }
}

/// A test that panicked elsewhere must not turn into a panic here.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
