//! async-io's timer in place of tokio's.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Instant;

use async_io::Timer;

use super::{Context, DriverHandle, SmolRuntime};
use crate::{Clock, Runtime, Sleep};

/// A [`SmolRuntime`] whose sleep is async-io's; made by
/// [`with_async_io_sleep`](SmolRuntime::with_async_io_sleep). Cheap to clone.
///
/// ```
/// use std::future::Ready;
/// use std::time::Duration;
/// use futures_lite::future;
/// use smol_gossip_runtime::{EventLoop, SmolRuntime, Wakeup};
///
/// let runtime = SmolRuntime::start()?.with_async_io_sleep();
/// let mut events: EventLoop<_, _, Ready<()>> = EventLoop::new(runtime);
/// events.schedule(events.now() + Duration::from_millis(2), "due");
/// let wakeup = future::block_on(future::poll_fn(|cx| events.poll_wakeup(cx)));
/// assert_eq!(wakeup, Wakeup::Timer("due"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AsyncIoRuntime {
    context: SmolRuntime,
}

/// The sleep of an [`AsyncIoRuntime`].
#[derive(Debug)]
pub struct AsyncIoSleep {
    timer: Timer,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Disarmed,
    Armed,
    Elapsed,
}

impl AsyncIoRuntime {
    pub(super) fn new(context: SmolRuntime) -> Self {
        Self { context }
    }

    /// As [`SmolRuntime::context`].
    ///
    /// ```
    /// use smol_gossip_runtime::SmolRuntime;
    ///
    /// let context = SmolRuntime::start()?.with_async_io_sleep().context();
    /// assert!(context.enter(|| tokio::runtime::Handle::try_current().is_ok()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn context(&self) -> Context {
        self.context.context()
    }

    /// As [`SmolRuntime::spawn_driver`].
    ///
    /// ```
    /// use smol_gossip_runtime::SmolRuntime;
    ///
    /// let runtime = SmolRuntime::start()?.with_async_io_sleep();
    /// let driver = runtime.spawn_driver(async { 7 });
    /// assert_eq!(futures_lite::future::block_on(driver), Ok(7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_driver<F>(&self, future: F) -> DriverHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.context.spawn_driver(future)
    }
}

impl Clock for AsyncIoRuntime {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Runtime for AsyncIoRuntime {
    type Sleep = AsyncIoSleep;

    fn sleep(&self) -> AsyncIoSleep {
        AsyncIoSleep {
            timer: Timer::never(),
            state: State::Disarmed,
        }
    }

    fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        self.context.enter(f)
    }
}

impl Sleep for AsyncIoSleep {
    fn reset(&mut self, deadline: Instant) {
        self.timer.set_at(deadline);
        self.state = State::Armed;
    }

    fn disarm(&mut self) {
        self.timer = Timer::never();
        self.state = State::Disarmed;
    }

    fn poll_elapsed(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.state == State::Armed && Pin::new(&mut self.timer).poll(cx).is_ready() {
            // The timer itself answers only once.
            self.state = State::Elapsed;
        }
        match self.state {
            State::Elapsed => Poll::Ready(()),
            State::Armed | State::Disarmed => Poll::Pending,
        }
    }
}
