//! What the event loop asks of its surroundings: the time, one sleep, and a context.

use std::task::{Context, Poll};
use std::time::Instant;

#[cfg(feature = "test-utils")]
mod virtual_clock;

#[cfg(feature = "test-utils")]
pub use virtual_clock::{VirtualClock, VirtualRuntime, VirtualSleep};

/// Tells the time.
pub trait Clock {
    /// The present, never earlier than what was told before.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{task::{Context, Poll, Waker}, time::Duration};
    /// use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime};
    ///
    /// let runtime = VirtualRuntime::new();
    /// let before = runtime.now();
    /// runtime.clock().advance(Duration::from_secs(1));
    /// assert_eq!(runtime.now() - before, Duration::from_secs(1));
    /// # }
    /// ```
    fn now(&self) -> Instant;
}

/// One sleep that is armed again and again.
///
/// A sleep wakes; it does not decide what is due, the [`Clock`] does. It may be late, and it may
/// elapse early.
pub trait Sleep: Unpin {
    /// Arms the sleep, in place of any deadline before. A deadline in the past elapses at once.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{task::{Context, Poll, Waker}, time::Duration};
    /// use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime};
    ///
    /// let runtime = VirtualRuntime::new();
    /// let mut sleep = runtime.sleep();
    /// sleep.reset(runtime.now());
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert_eq!(sleep.poll_elapsed(&mut cx), Poll::Ready(()));
    /// # }
    /// ```
    fn reset(&mut self, deadline: Instant);

    /// Forgets the deadline: pending until the next [`reset`](Self::reset).
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{task::{Context, Poll, Waker}, time::Duration};
    /// use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime};
    ///
    /// let runtime = VirtualRuntime::new();
    /// let mut sleep = runtime.sleep();
    /// sleep.reset(runtime.now());
    /// sleep.disarm();
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert_eq!(sleep.poll_elapsed(&mut cx), Poll::Pending);
    /// # }
    /// ```
    fn disarm(&mut self);

    /// Ready once the deadline has passed, and then until it is reset or disarmed. Registers the
    /// waker of `cx` while it is armed and pending; a reset needs a poll to register again.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{task::{Context, Poll, Waker}, time::Duration};
    /// use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime};
    ///
    /// let runtime = VirtualRuntime::new();
    /// let mut sleep = runtime.sleep();
    /// sleep.reset(runtime.now() + Duration::from_secs(1));
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert_eq!(sleep.poll_elapsed(&mut cx), Poll::Pending);
    /// runtime.clock().advance(Duration::from_secs(1));
    /// assert_eq!(sleep.poll_elapsed(&mut cx), Poll::Ready(()));
    /// # }
    /// ```
    fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What an event loop needs of the program it runs in.
///
/// Implemented for tokio, for a background context thread, and for a virtual clock, each behind a
/// feature. Another executor needs no support at all: the event loop is a plain future there, and
/// only its sleep comes from somewhere.
///
/// ```
/// use std::task::{Context, Poll};
/// use std::time::Instant;
/// use smol_gossip_runtime::{Clock, EventLoop, Runtime, Sleep};
///
/// /// A runtime for a caller that polls often enough by itself.
/// struct BusyRuntime;
///
/// struct BusySleep(Option<Instant>);
///
/// impl Clock for BusyRuntime {
///     fn now(&self) -> Instant {
///         Instant::now()
///     }
/// }
///
/// impl Runtime for BusyRuntime {
///     type Sleep = BusySleep;
///
///     fn sleep(&self) -> BusySleep {
///         BusySleep(None)
///     }
/// }
///
/// impl Sleep for BusySleep {
///     fn reset(&mut self, deadline: Instant) {
///         self.0 = Some(deadline);
///     }
///
///     fn disarm(&mut self) {
///         self.0 = None;
///     }
///
///     fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
///         match self.0 {
///             Some(deadline) if deadline <= Instant::now() => return Poll::Ready(()),
///             Some(_) => cx.waker().wake_by_ref(),
///             None => {}
///         }
///         Poll::Pending
///     }
/// }
///
/// EventLoop::<_, (), std::future::Ready<()>>::new(BusyRuntime);
/// ```
pub trait Runtime: Clock + Send + 'static {
    /// The sleep of this runtime.
    type Sleep: Sleep + Send + 'static;

    /// Makes a sleep, disarmed.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{task::{Context, Poll, Waker}, time::Duration};
    /// use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime};
    ///
    /// let runtime = VirtualRuntime::new();
    /// let mut sleep = runtime.sleep();
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert_eq!(sleep.poll_elapsed(&mut cx), Poll::Pending, "nothing is armed");
    /// # }
    /// ```
    fn sleep(&self) -> Self::Sleep;

    /// Runs `f` with the surroundings that IO objects need, such as an entered tokio context.
    ///
    /// To be held around every poll of what does IO, and around its drop. By default `f` is only
    /// called.
    ///
    /// ```
    /// # #[cfg(feature = "test-utils")] {
    /// # use std::{task::{Context, Poll, Waker}, time::Duration};
    /// use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime};
    ///
    /// let runtime = VirtualRuntime::new();
    /// assert_eq!(runtime.enter(|| 7), 7);
    /// # }
    /// ```
    fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        f()
    }
}
