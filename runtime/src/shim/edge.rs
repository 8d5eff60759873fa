//! One OS thread for everything: tokio's IO driver, a `LocalExecutor`, and the node.
//!
//! ```
//! use smol_gossip_runtime::edge;
//!
//! let sum = edge::block_on(|edge| async move {
//!     let local = edge.spawn_local(async { 3 });
//!     let driver = edge.spawn(async { 4 });
//!     local.await + driver.await.unwrap()
//! })?;
//! assert_eq!(sum, 7);
//! # Ok::<(), edge::EdgeError>(())
//! ```

use std::fmt;
use std::io;
use std::rc::{Rc, Weak};

use ::tokio::runtime::Handle;
use ::tokio::task::unconstrained;
use async_executor::LocalExecutor;

use super::context::Context;
use super::driver::{self, DriverHandle};
use super::tokio::TokioRuntime;
use super::{BLOCKING_GRACE, current_thread};

pub use async_executor::Task;

/// Runs a program on the calling thread until its future finishes, and returns its output.
///
/// The future is polled in a tokio context, so it may bind, connect and drop iroh's objects as it
/// stands. What was spawned and has not finished at its end is dropped, inside the context: first
/// the local tasks, then the others.
///
/// No other thread is started, save one for name resolution while that is asked for.
///
/// ```
/// use smol_gossip_runtime::edge;
///
/// let name = edge::block_on(|_edge| async { std::thread::current().id() })?;
/// assert_eq!(name, std::thread::current().id());
/// # Ok::<(), edge::EdgeError>(())
/// ```
///
/// # Errors
///
/// Inside a tokio runtime, or with one entered, since two cannot share a thread; and if the system
/// gives no IO driver.
pub fn block_on<F, Fut>(start: F) -> Result<Fut::Output, EdgeError>
where
    F: FnOnce(Edge) -> Fut,
    Fut: Future,
{
    if Handle::try_current().is_ok() {
        return Err(EdgeError::InsideTokio);
    }
    let runtime = current_thread().map_err(EdgeError::Io)?;
    let output = {
        // Also around the drops at the end of this block, and those of a panic.
        let _entered = runtime.enter();
        let executor = Rc::new(LocalExecutor::new());
        let edge = Edge {
            executor: Rc::downgrade(&executor),
            handle: runtime.handle().clone(),
        };
        // Unconstrained, since the executor polls in one task of tokio's what are many of its own.
        runtime.block_on(unconstrained(executor.run(async { start(edge).await })))
    };
    runtime.shutdown_timeout(BLOCKING_GRACE);
    Ok(output)
}

/// A handle on the running program of [`block_on`]. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Edge {
    // Weak, since tasks on the executor hold clones of this.
    executor: Weak<LocalExecutor<'static>>,
    handle: Handle,
}

/// Why [`block_on`] could not start. Nothing of the program was run.
#[derive(Debug)]
#[non_exhaustive]
pub enum EdgeError {
    /// The calling thread is in a tokio context already.
    InsideTokio,
    /// The system gave no IO driver.
    Io(io::Error),
}

impl Edge {
    /// Spawns a future of the application on the `LocalExecutor`; it need not be [`Send`].
    ///
    /// Dropping the task cancels the future; [`Task::detach`] lets it run on.
    ///
    /// After the end of [`block_on`] the future is dropped unpolled, and its task is cancelled.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use smol_gossip_runtime::edge;
    ///
    /// let length = edge::block_on(|edge| async move {
    ///     let local = Rc::new("not Send");
    ///     edge.spawn_local(async move { local.len() }).await
    /// })?;
    /// assert_eq!(length, 8);
    /// # Ok::<(), edge::EdgeError>(())
    /// ```
    pub fn spawn_local<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        match self.executor.upgrade() {
            Some(executor) => executor.spawn(future),
            // Dropped with its executor, at the end of this statement.
            None => LocalExecutor::new().spawn(future),
        }
    }

    /// Spawns a driver next to the application, as a task of tokio's: that is faster than on the
    /// `LocalExecutor`. Dropping the handle detaches it.
    ///
    /// ```
    /// use smol_gossip_runtime::edge;
    ///
    /// let answer = edge::block_on(|edge| async move { edge.spawn(async { 7 }).await })?;
    /// assert_eq!(answer, Ok(7));
    /// # Ok::<(), edge::EdgeError>(())
    /// ```
    pub fn spawn<F>(&self, future: F) -> DriverHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        driver::spawn(&self.handle, future)
    }

    /// The surroundings for an event loop on this thread.
    ///
    /// ```
    /// use smol_gossip_runtime::{Clock, edge};
    ///
    /// let now = edge::block_on(|edge| async move { edge.runtime().now() })?;
    /// # let _ = now;
    /// # Ok::<(), edge::EdgeError>(())
    /// ```
    pub fn runtime(&self) -> TokioRuntime {
        TokioRuntime::from_handle(self.handle.clone())
    }

    /// The context, for futures that leave this thread.
    ///
    /// ```
    /// use smol_gossip_runtime::edge;
    ///
    /// let answer = edge::block_on(|edge| async move {
    ///     let context = edge.context();
    ///     // On another executor of another thread.
    ///     let there = std::thread::spawn(move || {
    ///         context.enter(|| tokio::runtime::Handle::try_current().is_ok())
    ///     });
    ///     there.join()
    /// })?;
    /// assert!(answer.unwrap());
    /// # Ok::<(), edge::EdgeError>(())
    /// ```
    pub fn context(&self) -> Context {
        Context::new(self.handle.clone())
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge")
            .field("running", &(self.executor.strong_count() > 0))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InsideTokio => f.write_str(
                "this thread is in a tokio context already: use `TokioRuntime::current` here, or \
                 call `edge::block_on` from a thread of its own",
            ),
            Self::Io(_) => f.write_str("the system gave no IO driver"),
        }
    }
}

impl std::error::Error for EdgeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InsideTokio => None,
            Self::Io(error) => Some(error),
        }
    }
}
