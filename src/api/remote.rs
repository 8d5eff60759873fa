//! A node in another process, as the handles see it.

use std::{fmt, future::Future, pin::Pin};

use super::{ApiError, mailbox::Inbox};

/// A future on the heap.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Carries subscriptions to a node in another process, and back.
///
/// Every subscription has a mailbox of its own there. So whoever carries it need not read on while
/// it writes: its senders wait, as they would for a driver, and no others do.
pub(crate) trait Remote: fmt::Debug + Send + Sync {
    /// The largest content that can be carried, in bytes. The node itself may take less.
    fn max_content(&self) -> usize;

    /// Opens the subscription that is the first work of `inbox`, and carries it from then on, until
    /// its last handle is gone or the other side is. Dropping the inbox closes the handles.
    ///
    /// The future is done when the request is on its way. Nothing depends on it being polled.
    fn open(&self, inbox: Inbox) -> BoxFuture<Result<(), ApiError>>;
}
