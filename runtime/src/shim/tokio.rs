//! Inside a tokio runtime, or with a handle on one.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use ::tokio::runtime::Handle;
use ::tokio::time;

use super::context::{Context, NoContext};
use super::driver::{self, DriverHandle};
use crate::{Clock, Runtime, Sleep};

/// As good as never, and no trouble to add to any instant.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// A tokio runtime as the surroundings of an event loop. Cheap to clone.
///
/// The loop itself may run on any executor: it enters the tokio context when it is polled. The
/// tokio runtime has to be driven by somebody meanwhile, or its sleeps and sockets never wake; a
/// current-thread one runs only within its `block_on`. It has to outlive the loop.
///
/// The tokio runtime must have been built with `enable_all`. Whether it was cannot be asked of a
/// handle: without time, tokio panics when the loop is made, and without IO, when a socket is.
///
/// The clock is tokio's, so that a paused one is followed.
#[derive(Debug, Clone)]
pub struct TokioRuntime {
    context: Context,
}

/// The sleep of a [`TokioRuntime`]: fires up to about a millisecond late, and needs no thread.
pub struct TokioSleep {
    sleep: Pin<Box<time::Sleep>>,
    /// What the sleep is set to while disarmed, so that it does not wake the runtime for nothing.
    far: time::Instant,
    armed: bool,
}

impl TokioRuntime {
    /// The tokio runtime this is called in.
    ///
    /// # Errors
    ///
    /// [`NoContext`] outside of one.
    ///
    /// ```
    /// use smol_gossip_runtime::{NoContext, TokioRuntime};
    ///
    /// assert_eq!(TokioRuntime::current().unwrap_err(), NoContext);
    ///
    /// let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// tokio.block_on(async { assert!(TokioRuntime::current().is_ok()) });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn current() -> Result<Self, NoContext> {
        Handle::try_current()
            .map(Self::from_handle)
            .map_err(|_| NoContext)
    }

    /// The tokio runtime of a handle.
    ///
    /// ```
    /// use smol_gossip_runtime::TokioRuntime;
    ///
    /// let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// # drop(runtime);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_handle(handle: Handle) -> Self {
        Self {
            context: Context::new(handle),
        }
    }

    /// The context, for the application's own futures.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// let context = runtime.context();
    /// assert!(context.enter(|| tokio::runtime::Handle::try_current().is_ok()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// The handle of the tokio runtime.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// assert_eq!(runtime.handle().id(), tokio.handle().id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn handle(&self) -> &Handle {
        self.context.handle()
    }

    /// Runs a future as a task of the tokio runtime, outside of tokio's cooperative budget.
    ///
    /// ```
    /// use smol_gossip_runtime::TokioRuntime;
    ///
    /// let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// tokio.block_on(async {
    ///     let driver = TokioRuntime::current().unwrap().spawn_driver(async { 7 });
    ///     assert_eq!(driver.await, Ok(7));
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_driver<F>(&self, future: F) -> DriverHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        driver::spawn(self.handle(), future)
    }
}

impl Clock for TokioRuntime {
    fn now(&self) -> Instant {
        time::Instant::now().into_std()
    }
}

impl Runtime for TokioRuntime {
    type Sleep = TokioSleep;

    fn sleep(&self) -> TokioSleep {
        TokioSleep::new(&self.context)
    }

    fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        self.context.enter(f)
    }
}

impl TokioSleep {
    pub(super) fn new(context: &Context) -> Self {
        let sleep = context.enter(|| Box::pin(time::sleep(FAR)));
        Self {
            far: sleep.deadline(),
            sleep,
            armed: false,
        }
    }
}

impl Sleep for TokioSleep {
    fn reset(&mut self, deadline: Instant) {
        // Tokio's own range ends before an instant's does.
        let deadline = time::Instant::from_std(deadline).min(self.far);
        self.sleep.as_mut().reset(deadline);
        self.armed = true;
    }

    fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.sleep.as_mut().reset(self.far);
        }
    }

    fn poll_elapsed(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if !self.armed {
            return Poll::Pending;
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl fmt::Debug for TokioSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.armed.then(|| self.sleep.deadline().into_std());
        f.debug_struct("TokioSleep")
            .field("deadline", &deadline)
            .finish()
    }
}
