//! An event loop that any executor can poll: a timer wheel, a slab of tasks, and one sleep.
//!
//! [`EventLoop`] holds the timers and the small futures of a protocol node, and answers one
//! question, [`poll_wakeup`](EventLoop::poll_wakeup): what happened next? It spawns nothing and
//! needs no particular executor, and an idle one does not wake.
//!
//! Its parts stand alone as well: [`TimerWheel`] and [`TaskSlab`]. What it asks of its surroundings
//! are the traits [`Clock`], [`Sleep`] and [`Runtime`]; implementations come with the features
//! `tokio` (`TokioRuntime`), `smol` (`SmolRuntime`, a background thread with a tokio context),
//! `async-io` (the same with async-io's timer), `edge` (one OS thread for everything) and
//! `test-utils` (`VirtualRuntime`, time advanced by hand). None is on by default.
//!
//! ```
//! # #[cfg(feature = "test-utils")] {
//! use std::pin::Pin;
//! use std::task::{Context, Poll, Waker};
//! use std::time::Duration;
//! use smol_gossip_runtime::{Clock, EventLoop, VirtualRuntime, Wakeup};
//!
//! type Task = Pin<Box<dyn Future<Output = &'static str> + Send>>;
//!
//! let runtime = VirtualRuntime::new();
//! let clock = runtime.clock().clone();
//! let mut events: EventLoop<_, &str, Task> = EventLoop::new(runtime);
//! let task = events.spawn(Box::pin(async { "connected" }));
//! events.schedule(events.now() + Duration::from_secs(60), "shuffle");
//!
//! let mut cx = Context::from_waker(Waker::noop());
//! assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Task(task, "connected")));
//! assert_eq!(events.poll_wakeup(&mut cx), Poll::Pending);
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Timer("shuffle")));
//! # }
//! ```
#![forbid(unsafe_code)]

mod event_loop;
mod ready;
mod shim;
mod tasks;
mod time;
mod wheel;

pub use event_loop::{EventLoop, Wakeup};
#[cfg(feature = "smol")]
pub use shim::SmolRuntime;
#[cfg(feature = "edge")]
pub use shim::edge;
#[cfg(feature = "async-io")]
pub use shim::{AsyncIoRuntime, AsyncIoSleep};
#[cfg(feature = "tokio")]
pub use shim::{Context, DriverHandle, DriverLost, InContext, NoContext, TokioRuntime, TokioSleep};
pub use tasks::{TaskId, TaskSlab};
pub use time::{Clock, Runtime, Sleep};
#[cfg(feature = "test-utils")]
pub use time::{VirtualClock, VirtualRuntime, VirtualSleep};
pub use wheel::{TimerKey, TimerWheel};

/// The example in the README is run as a test.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
