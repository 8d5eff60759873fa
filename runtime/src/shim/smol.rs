//! A thread of our own that turns a tokio context, for programs on another executor.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ::tokio::runtime::{self, Handle};
use atomic_waker::AtomicWaker;

use super::context::Context;
use super::driver::{self, DriverHandle};
use super::tokio::TokioSleep;
use super::{BLOCKING_GRACE, current_thread};
use crate::{Clock, Runtime};

#[cfg(feature = "async-io")]
mod async_io_sleep;

#[cfg(feature = "async-io")]
pub use self::async_io_sleep::{AsyncIoRuntime, AsyncIoSleep};

/// The name of a context thread.
const THREAD_NAME: &str = "smol-gossip-io";

/// A background thread with a tokio context, as the surroundings of an event loop on any executor.
/// Cheap to clone; clones share the thread.
///
/// The loop runs where its owner polls it, and every packet then crosses threads. Handed to
/// [`spawn_driver`](SmolRuntime::spawn_driver) it runs on the context thread, and only what the
/// application sees crosses. A program that can give up its own threads does better with
/// `edge::block_on`.
///
/// The thread ends with the last clone, and the last [`Context`] of it: dropping that drops
/// what still runs on the thread, inside the context, and joins it, which blocks for the poll
/// under way there, and for a second at the most where a name is being resolved. Dropped on the
/// context thread itself, or on a thread working for it, the last one only ends the thread. A driver
/// that holds a clone keeps the thread until it finishes.
///
/// ```
/// use std::time::Duration;
/// use futures_lite::future;
/// use smol_gossip_runtime::SmolRuntime;
///
/// let runtime = SmolRuntime::start()?;
/// let nap = async { tokio::time::sleep(Duration::from_millis(1)).await };
/// // On this thread, in the context of the other.
/// future::block_on(runtime.context().wrap(nap));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SmolRuntime {
    thread: Arc<ContextThread>,
}

impl SmolRuntime {
    /// Starts the thread, named `smol-gossip-io`.
    ///
    /// ```
    /// use smol_gossip_runtime::SmolRuntime;
    ///
    /// let runtime = SmolRuntime::start()?;
    /// let same_thread = runtime.clone();
    /// # drop(same_thread);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the system gives no thread, or no IO driver.
    pub fn start() -> io::Result<Self> {
        let thread = Arc::new(ContextThread::start()?);
        Ok(Self { thread })
    }

    /// The context, for the application's own futures. It keeps the thread alive.
    ///
    /// ```
    /// use smol_gossip_runtime::SmolRuntime;
    ///
    /// let context = SmolRuntime::start()?.context();
    /// let bound = context.wrap(tokio::net::UdpSocket::bind("127.0.0.1:0"));
    /// assert!(futures_lite::future::block_on(bound).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn context(&self) -> Context {
        Context::new(self.thread.handle.clone()).keeping(self.thread.clone())
    }

    /// Runs a future on the context thread, outside of tokio's cooperative budget.
    ///
    /// The handle can be awaited on any executor; dropping it detaches the future. The handle does
    /// not keep the thread alive: when that ends first, the future is dropped on it.
    ///
    /// ```
    /// use futures_lite::future;
    /// use smol_gossip_runtime::SmolRuntime;
    ///
    /// let runtime = SmolRuntime::start()?;
    /// let driver = runtime.spawn_driver(async {
    ///     std::thread::current().name().map(str::to_owned)
    /// });
    /// let name = future::block_on(driver).expect("the thread is alive");
    /// assert_eq!(name.as_deref(), Some("smol-gossip-io"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_driver<F>(&self, future: F) -> DriverHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        driver::spawn(&self.thread.handle, future)
    }

    /// The same surroundings with async-io's timer: about a millisecond more punctual than
    /// tokio's, at the price of async-io's own thread, which a smol program has anyway.
    ///
    /// ```
    /// use smol_gossip_runtime::{EventLoop, SmolRuntime};
    ///
    /// let runtime = SmolRuntime::start()?.with_async_io_sleep();
    /// let events: EventLoop<_, (), std::future::Ready<()>> = EventLoop::new(runtime);
    /// # drop(events);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "async-io")]
    pub fn with_async_io_sleep(self) -> AsyncIoRuntime {
        AsyncIoRuntime::new(self)
    }
}

impl Clock for SmolRuntime {
    fn now(&self) -> Instant {
        ::tokio::time::Instant::now().into_std()
    }
}

impl Runtime for SmolRuntime {
    type Sleep = TokioSleep;

    fn sleep(&self) -> TokioSleep {
        // Without the thread kept: a sleep is of use only next to its runtime.
        TokioSleep::new(&Context::new(self.thread.handle.clone()))
    }

    fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.thread.handle.enter();
        f()
    }
}

impl fmt::Debug for SmolRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmolRuntime")
            .field("handle", &self.thread.handle)
            .finish_non_exhaustive()
    }
}

/// The thread; ended, and joined where that is possible, when this is dropped.
struct ContextThread {
    handle: Handle,
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread to end.
#[derive(Default)]
struct End {
    asked: AtomicBool,
    waker: AtomicWaker,
}

impl ContextThread {
    fn start() -> io::Result<Self> {
        let runtime = current_thread()?;
        let handle = runtime.handle().clone();
        let end = Arc::new(End::default());
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned()).spawn({
            let end = end.clone();
            move || turn(runtime, &end)
        })?;
        Ok(Self {
            handle,
            end,
            thread: Some(thread),
        })
    }

    /// Whether waiting for the thread here would be waiting for ourselves.
    fn is_inside(&self, thread: &JoinHandle<()>) -> bool {
        let on_it = thread.thread().id() == thread::current().id();
        // A blocking thread of the runtime: the runtime waits for it at its end. Anybody else who
        // has entered the context is let off as well, which only means that nobody waits.
        let in_its_context =
            Handle::try_current().is_ok_and(|current| current.id() == self.handle.id());
        on_it || in_its_context
    }
}

impl Drop for ContextThread {
    fn drop(&mut self) {
        self.end.asked.store(true, Ordering::Release);
        self.end.waker.wake();
        if let Some(thread) = self.thread.take()
            && !self.is_inside(&thread)
        {
            // It fails if the thread has panicked, which has been reported there.
            let _ = thread.join();
        }
    }
}

/// What the context thread does.
fn turn(runtime: runtime::Runtime, end: &End) {
    runtime.block_on(std::future::poll_fn(|cx| {
        end.waker.register(cx.waker());
        match end.asked.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
    // What still runs is dropped here, on this thread and inside the context.
    let handle = runtime.handle().clone();
    let _entered = handle.enter();
    runtime.shutdown_timeout(BLOCKING_GRACE);
}
