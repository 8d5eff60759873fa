//! Where the surroundings of a loop come from, each behind a feature.
//!
//! Invariant: tokio, async-io and async-executor are named here and nowhere else in the crate.

#[cfg(feature = "tokio")]
mod context;
#[cfg(feature = "tokio")]
mod driver;
#[cfg(feature = "edge")]
pub mod edge;
#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use self::context::{Context, InContext, NoContext};
#[cfg(feature = "tokio")]
pub use self::driver::{DriverHandle, DriverLost};
#[cfg(feature = "smol")]
pub use self::smol::SmolRuntime;
#[cfg(feature = "async-io")]
pub use self::smol::{AsyncIoRuntime, AsyncIoSleep};
#[cfg(feature = "tokio")]
pub use self::tokio::{TokioRuntime, TokioSleep};

/// The current-thread tokio runtime that a context thread and the edge start turn.
///
/// One blocking thread, for name resolution, and that only while it is needed: by default an idle
/// one stays for ten seconds, and there may be hundreds.
#[cfg(any(feature = "smol", feature = "edge"))]
fn current_thread() -> std::io::Result<::tokio::runtime::Runtime> {
    ::tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_keep_alive(std::time::Duration::from_millis(100))
        .build()
}

/// How long a tokio runtime of ours waits, at its end, for work on its blocking thread.
#[cfg(any(feature = "smol", feature = "edge"))]
const BLOCKING_GRACE: std::time::Duration = std::time::Duration::from_secs(1);
