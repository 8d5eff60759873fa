//! A tokio context that futures of any executor can be polled and dropped in.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use ::tokio::runtime::Handle;

/// A tokio context, to be entered from any executor and any thread. Cheap to clone.
///
/// iroh's objects need one wherever they are bound, connected, closed or dropped:
/// [`wrap`](Context::wrap) the future that does so.
///
/// A context of a `SmolRuntime` keeps its thread alive. Any other does not keep the tokio runtime
/// alive, and is of no use after its end.
///
/// ```
/// use smol_gossip_runtime::TokioRuntime;
///
/// let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let context = TokioRuntime::from_handle(tokio.handle().clone()).context();
/// assert!(tokio::runtime::Handle::try_current().is_err());
/// context.enter(|| assert!(tokio::runtime::Handle::try_current().is_ok()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Context {
    handle: Handle,
    /// Whatever has to live as long as the context is in use.
    keep_alive: Option<Arc<dyn Any + Send + Sync>>,
}

/// A future that is polled and dropped inside a tokio context; made by [`Context::wrap`].
///
/// The inner future is dropped as soon as it has finished. Polled again after that, it is pending
/// for ever.
#[must_use = "futures do nothing unless polled"]
pub struct InContext<F> {
    /// Taken out only inside the context.
    future: Option<Pin<Box<F>>>,
    context: Context,
}

/// The calling thread is in no tokio context. Nothing was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoContext;

impl Context {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            keep_alive: None,
        }
    }

    #[cfg(feature = "smol")]
    pub(super) fn keeping(self, keep_alive: Arc<dyn Any + Send + Sync>) -> Self {
        Self {
            keep_alive: Some(keep_alive),
            ..self
        }
    }

    /// Wraps a future so that it is polled and dropped inside this context, on whatever executor.
    ///
    /// It is boxed, and as cancel-safe as the future is. It runs where it is awaited; only the
    /// context comes along, which costs tens of nanoseconds a poll.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_lite::future;
    /// use smol_gossip_runtime::TokioRuntime;
    ///
    /// let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    /// let context = TokioRuntime::from_handle(tokio.handle().clone()).context();
    /// // A timer of tokio, awaited outside of it.
    /// future::block_on(context.wrap(async { tokio::time::sleep(Duration::from_millis(1)).await }));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wrap<F: Future>(&self, future: F) -> InContext<F> {
        InContext {
            future: Some(Box::pin(future)),
            context: self.clone(),
        }
    }

    /// Calls `f` inside this context.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// let inside = runtime.context().enter(|| tokio::runtime::Handle::try_current().is_ok());
    /// assert!(inside);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        f()
    }

    /// The handle of the tokio runtime.
    ///
    /// ```
    /// # use smol_gossip_runtime::TokioRuntime;
    /// #
    /// # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    /// let task = runtime.context().handle().spawn(async { 7 });
    /// assert_eq!(tokio.block_on(task).unwrap(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("handle", &self.handle)
            .field("keeps_thread", &self.keep_alive.is_some())
            .finish()
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let Self { future, context } = &mut *self;
        context.enter(|| {
            let Some(inner) = future else {
                return Poll::Pending;
            };
            let poll = inner.as_mut().poll(cx);
            if poll.is_ready() {
                *future = None;
            }
            poll
        })
    }
}

impl<F> Drop for InContext<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.context.enter(|| drop(future));
        }
    }
}

impl<F> fmt::Debug for InContext<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InContext")
            .field("finished", &self.future.is_none())
            .field("context", &self.context)
            .finish()
    }
}

impl fmt::Display for NoContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no tokio context on this thread: call this inside a tokio runtime, give the handle of \
             one to `TokioRuntime::from_handle`, run the program in `edge::block_on`, or start a \
             context thread with `SmolRuntime::start`",
        )
    }
}

impl std::error::Error for NoContext {}
