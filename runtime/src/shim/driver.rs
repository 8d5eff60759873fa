//! A future that was handed to a tokio context to run there.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::runtime::Handle;
use ::tokio::task::{JoinError, JoinHandle, unconstrained};

/// Awaits a future that runs in a tokio context; can be awaited on any executor.
///
/// Dropping the handle detaches the future, which runs on. Awaiting is cancel-safe. After the
/// outcome was returned, it is pending for ever.
#[must_use = "dropped, it detaches the future; say so with `detach`"]
pub struct DriverHandle<T> {
    task: Option<JoinHandle<T>>,
}

/// Why a future that was handed to a tokio context has no output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverLost {
    /// It was cancelled, or its context ended first. The future was dropped inside the context.
    Stopped,
    /// It panicked, with this message if there was one.
    Panicked(String),
}

/// Runs `future` as a task of its own: that is faster than in the runtime's root future.
///
/// Unconstrained, since tokio's cooperative budget is per task, and a driver polls in one task what
/// would be many.
pub(super) fn spawn<F>(handle: &Handle, future: F) -> DriverHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    DriverHandle {
        task: Some(handle.spawn(unconstrained(future))),
    }
}

impl<T> DriverHandle<T> {
    /// Lets the future run on unobserved.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// runtime.spawn_driver(async { println!("nobody looks") }).detach();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn detach(self) {}

    /// Asks for the future to be dropped, inside its context. It is gone when awaiting the handle
    /// answers.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// use smol_gossip_runtime::DriverLost;
    ///
    /// let driver = runtime.spawn_driver(std::future::pending::<()>());
    /// driver.cancel();
    /// assert_eq!(tokio.block_on(driver), Err(DriverLost::Stopped));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }

    /// Whether the future has finished, panicked or was dropped.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// let driver = runtime.spawn_driver(std::future::pending::<()>());
    /// assert!(!driver.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<T> Future for DriverHandle<T> {
    type Output = Result<T, DriverLost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = &mut self.task else {
            return Poll::Pending;
        };
        let outcome = std::task::ready!(Pin::new(task).poll(cx));
        self.task = None;
        Poll::Ready(outcome.map_err(DriverLost::from))
    }
}

impl<T> fmt::Debug for DriverHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}

impl From<JoinError> for DriverLost {
    fn from(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::Panicked(
                panic
                    .downcast::<String>()
                    .map(|message| *message)
                    .or_else(|panic| panic.downcast::<&str>().map(|message| message.to_string()))
                    .unwrap_or_default(),
            ),
            Err(_) => Self::Stopped,
        }
    }
}

impl fmt::Display for DriverLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the future was stopped before it finished"),
            Self::Panicked(message) => write!(f, "the future panicked: {message}"),
        }
    }
}

impl std::error::Error for DriverLost {}
