//! Timers and tasks behind one poll.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::{Runtime, Sleep, TaskId, TaskSlab, TimerKey, TimerWheel};

/// How often in one poll a sleep may say that it has elapsed while the clock says it has not.
const EARLY_SLEEPS: usize = 2;

/// A timer wheel, a task slab, and the one sleep that wakes for both.
///
/// Everything an owner waits for comes out of [`poll_wakeup`](EventLoop::poll_wakeup), one
/// [`Wakeup`] at a time. Timers carry a value `T`; tasks are futures `F`.
///
/// Ready tasks and expired timers take turns, so a flood of one never starves the other. The clock
/// decides what has expired; the sleep only wakes. Without a timer there is no sleep armed, and an
/// idle loop is not polled at all.
///
/// The loop does not enter the context of its runtime: its owner does, by [`Runtime::enter`],
/// around the poll and the drop of everything it owns.
///
/// ```
/// # #[cfg(feature = "test-utils")] {
/// use std::future::{Ready, ready};
/// use std::task::{Context, Poll, Waker};
/// use std::time::Duration;
/// use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime, Wakeup};
///
/// let runtime = VirtualRuntime::new();
/// let clock = runtime.clock().clone();
/// let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
/// let task = events.spawn(ready(7));
/// events.schedule(clock.now() + Duration::from_millis(80), "graft");
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Task(task, 7)));
/// assert_eq!(events.poll_wakeup(&mut cx), Poll::Pending);
/// clock.advance(Duration::from_millis(80));
/// assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Timer("graft")));
/// # }
/// ```
pub struct EventLoop<R: Runtime, T, F: Future + Unpin> {
    timers: TimerWheel<T>,
    tasks: TaskSlab<F>,
    sleep: R::Sleep,
    /// What the sleep is armed for.
    armed: Option<Instant>,
    /// Whose turn it is when both are ready.
    timers_first: bool,
    // Last, and so dropped last: what the others hold may live in its context.
    runtime: R,
}

/// Why an [`EventLoop`] woke its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup<T, O> {
    /// A timer has expired.
    Timer(T),
    /// A task has finished with this output.
    Task(TaskId, O),
}

impl<R: Runtime, T, F: Future + Unpin> EventLoop<R, T, F> {
    /// Creates a loop with no timer and no task. Its timers count from now.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// use std::future::Ready;
    /// use smol_gossip_runtime::{EventLoop, VirtualRuntime};
    ///
    /// let events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(VirtualRuntime::new());
    /// assert_eq!(events.task_count(), 0);
    /// # }
    /// ```
    pub fn new(runtime: R) -> Self {
        Self {
            timers: TimerWheel::new(runtime.now()),
            tasks: TaskSlab::new(),
            sleep: runtime.sleep(),
            armed: None,
            timers_first: false,
            runtime,
        }
    }

    /// What the runtime's clock shows.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// let deadline = events.now() + Duration::from_millis(80);
    /// events.schedule(deadline, "graft");
    /// # }
    /// ```
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// The runtime given to [`new`](Self::new).
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// assert_eq!(events.runtime().now(), events.now());
    /// # }
    /// ```
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// The timers, for whatever [`schedule`](Self::schedule) and its siblings do not offer.
    ///
    /// Changing a timer wakes nobody: the owner polls again before it rests.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// let key = events.schedule(events.now(), "graft");
    /// assert_eq!(events.timers().get(key), Some(&"graft"));
    /// # }
    /// ```
    pub fn timers(&mut self) -> &mut TimerWheel<T> {
        &mut self.timers
    }

    /// Adds a timer, as [`TimerWheel::insert`]. Poll again before resting.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// events.schedule(events.now() + Duration::from_secs(60), "shuffle");
    /// assert_eq!(events.timers().len(), 1);
    /// # }
    /// ```
    pub fn schedule(&mut self, deadline: Instant, value: T) -> TimerKey {
        self.timers.insert(deadline, value)
    }

    /// Moves a timer, as [`TimerWheel::reset`]. Poll again before resting.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// let key = events.schedule(events.now(), "shuffle");
    /// assert!(events.reschedule(key, events.now() + Duration::from_secs(60)));
    /// # }
    /// ```
    pub fn reschedule(&mut self, key: TimerKey, deadline: Instant) -> bool {
        self.timers.reset(key, deadline)
    }

    /// Removes a timer, as [`TimerWheel::cancel`].
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// let key = events.schedule(events.now(), "shuffle");
    /// assert_eq!(events.cancel_timer(key), Some("shuffle"));
    /// assert_eq!(events.cancel_timer(key), None);
    /// # }
    /// ```
    pub fn cancel_timer(&mut self, key: TimerKey) -> Option<T> {
        self.timers.cancel(key)
    }

    /// Adds a task, which runs within [`poll_wakeup`](Self::poll_wakeup). Unlike
    /// [`TaskSlab::insert`] this wakes nobody: poll again before resting, as after a change of timers.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// use std::{future::ready, task::{Context, Poll, Waker}};
    /// use smol_gossip_runtime::Wakeup;
    ///
    /// let task = events.spawn(ready(7));
    /// let wakeup = events.poll_wakeup(&mut Context::from_waker(Waker::noop()));
    /// assert_eq!(wakeup, Poll::Ready(Wakeup::Task(task, 7)));
    /// # }
    /// ```
    pub fn spawn(&mut self, future: F) -> TaskId {
        self.tasks.insert_quietly(future)
    }

    /// Drops a task now, as [`TaskSlab::cancel`].
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// let task = events.spawn(std::future::ready(7));
    /// assert!(events.cancel_task(task));
    /// assert!(!events.cancel_task(task));
    /// # }
    /// ```
    pub fn cancel_task(&mut self, id: TaskId) -> bool {
        self.tasks.cancel(id)
    }

    /// Whether there are tasks that the next poll has to look at, added since the last one for
    /// example: then the owner must not rest.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// events.spawn(std::future::ready(7));
    /// assert!(events.has_unpolled_tasks());
    /// # }
    /// ```
    pub fn has_unpolled_tasks(&self) -> bool {
        self.tasks.has_unpolled()
    }

    /// How many tasks have not finished.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// events.spawn(std::future::ready(7));
    /// assert_eq!(events.task_count(), 1);
    /// # }
    /// ```
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// The next finished task or expired timer.
    ///
    /// Poll it until it is pending: only then is the owner woken for what comes next. It reads the
    /// clock at most once, unless the sleep has just elapsed, and not at all without a timer.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{future::Ready, time::Duration};
    /// # use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime};
    /// # let runtime = VirtualRuntime::new();
    /// # let mut events: EventLoop<_, &str, Ready<u32>> = EventLoop::new(runtime);
    /// use std::future::poll_fn;
    /// use smol_gossip_runtime::Wakeup;
    ///
    /// let clock = events.runtime().clock().clone();
    /// events.schedule(events.now() + Duration::from_millis(5), "due");
    /// clock.advance(Duration::from_millis(5));
    /// let wakeup = futures_lite::future::block_on(poll_fn(|cx| events.poll_wakeup(cx)));
    /// assert_eq!(wakeup, Wakeup::Timer("due"));
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Passes on the panic of a task, as [`TaskSlab::poll_next`].
    pub fn poll_wakeup(&mut self, cx: &mut Context<'_>) -> Poll<Wakeup<T, F::Output>> {
        if self.timers_first
            && let Some(value) = self.pop_timer()
        {
            return Poll::Ready(Wakeup::Timer(value));
        }
        let timers_looked_at = self.timers_first;
        if let Poll::Ready((id, output)) = self.tasks.poll_next(cx) {
            self.timers_first = true;
            return Poll::Ready(Wakeup::Task(id, output));
        }
        if !timers_looked_at && let Some(value) = self.pop_timer() {
            return Poll::Ready(Wakeup::Timer(value));
        }
        self.poll_sleep(cx).map(Wakeup::Timer)
    }
}

impl<R: Runtime, T, F: Future + Unpin> fmt::Debug for EventLoop<R, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("timers", &self.timers)
            .field("tasks", &self.tasks)
            .field("armed", &self.armed)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, T, F: Future + Unpin> EventLoop<R, T, F> {
    fn pop_timer(&mut self) -> Option<T> {
        if self.timers.is_empty() {
            return None;
        }
        let value = self.timers.pop_expired(self.runtime.now())?;
        self.timers_first = false;
        Some(value)
    }

    /// Sleeps until the next deadline.
    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        for _ in 0..EARLY_SLEEPS {
            let Some(deadline) = self.timers.next_deadline() else {
                if self.armed.take().is_some() {
                    self.sleep.disarm();
                }
                return Poll::Pending;
            };
            if self.armed != Some(deadline) {
                self.sleep.reset(deadline);
                self.armed = Some(deadline);
            }
            if self.sleep.poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if let Some(value) = self.pop_timer() {
                return Poll::Ready(value);
            }
        }
        // A sleep that insists on being early must not hold the executor.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
