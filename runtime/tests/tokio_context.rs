//! A tokio context is entered on every poll and on the drop, on any executor.
#![cfg(feature = "tokio")]

use std::future::{Ready, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::future;
use smol_gossip_runtime::{EventLoop, NoContext, Runtime, Sleep, TokioRuntime, Wakeup};
use tokio::runtime::{Builder, Handle};

/// Counts polls and drops that happen inside a tokio context, and fails on others.
struct Probe {
    inside: Arc<AtomicU32>,
    polls_left: u32,
}

impl Probe {
    fn new(polls: u32) -> (Arc<AtomicU32>, Self) {
        let inside = Arc::new(AtomicU32::new(0));
        let probe = Self {
            inside: inside.clone(),
            polls_left: polls,
        };
        (inside, probe)
    }

    fn note(&self) {
        if Handle::try_current().is_ok() {
            self.inside.fetch_add(1, SeqCst);
        }
    }
}

impl Future for Probe {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.note();
        self.polls_left -= 1;
        if self.polls_left == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.note();
    }
}

fn multi_thread() -> tokio::runtime::Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a tokio runtime")
}

fn paused() -> tokio::runtime::Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a tokio runtime")
}

#[test]
fn no_context_is_an_error_that_says_what_to_do() {
    assert_eq!(TokioRuntime::current().unwrap_err(), NoContext);
    let message = NoContext.to_string();
    assert!(message.contains("TokioRuntime::from_handle"));
    assert!(message.contains("SmolRuntime::start"));
}

#[test]
fn every_poll_and_the_drop_at_the_end_are_inside() {
    let tokio = multi_thread();
    let context = TokioRuntime::from_handle(tokio.handle().clone()).context();
    let (inside, probe) = Probe::new(3);
    let mut wrapped = context.wrap(probe);
    future::block_on(&mut wrapped);
    assert_eq!(inside.load(SeqCst), 4, "three polls and the drop");
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut wrapped).poll(&mut cx).is_pending());
}

#[test]
fn a_drop_before_the_end_is_inside() {
    let tokio = multi_thread();
    let context = TokioRuntime::from_handle(tokio.handle().clone()).context();
    let (inside, probe) = Probe::new(3);
    let mut wrapped = context.wrap(probe);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut wrapped).poll(&mut cx).is_pending());
    drop(wrapped);
    assert_eq!(inside.load(SeqCst), 2);
    let (inside, probe) = Probe::new(1);
    drop(context.wrap(probe));
    assert_eq!(inside.load(SeqCst), 1, "also when it was never polled");
    assert!(Handle::try_current().is_err(), "nothing stays entered");
}

#[test]
fn the_loop_sleeps_on_tokio_time() {
    paused().block_on(async {
        let runtime = TokioRuntime::current().expect("inside of tokio");
        let mut events: EventLoop<_, u32, Ready<()>> = EventLoop::new(runtime);
        let start = events.now();
        for (value, seconds) in [(1, 5), (2, 3600), (3, 86_400)] {
            events.schedule(start + Duration::from_secs(seconds), value);
        }
        for (value, seconds) in [(1, 5), (2, 3600), (3, 86_400)] {
            let wakeup = poll_fn(|cx| events.poll_wakeup(cx)).await;
            assert_eq!(wakeup, Wakeup::Timer(value));
            assert!(events.now() >= start + Duration::from_secs(seconds));
        }
    });
}

#[test]
fn a_sleep_is_made_outside_of_the_context_and_can_be_disarmed() {
    let tokio = multi_thread();
    let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    let mut sleep = runtime.sleep();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sleep.poll_elapsed(&mut cx).is_pending());
    sleep.reset(smol_gossip_runtime::Clock::now(&runtime));
    future::block_on(poll_fn(|cx| sleep.poll_elapsed(cx)));
    assert!(sleep.poll_elapsed(&mut cx).is_ready(), "and stays so");
    sleep.disarm();
    assert!(sleep.poll_elapsed(&mut cx).is_pending());
}

#[test]
fn a_driver_is_awaited_cancelled_and_reported() {
    use smol_gossip_runtime::DriverLost;

    let tokio = multi_thread();
    let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    assert_eq!(future::block_on(runtime.spawn_driver(async { 7 })), Ok(7));

    let (inside, probe) = Probe::new(u32::MAX);
    let driver = runtime.spawn_driver(probe);
    driver.cancel();
    assert_eq!(future::block_on(driver), Err(DriverLost::Stopped));
    assert!(inside.load(SeqCst) >= 1, "dropped inside");

    let panics = async { std::panic::resume_unwind(Box::new("as told")) };
    let lost: Result<(), _> = future::block_on(runtime.spawn_driver(panics));
    assert_eq!(lost, Err(DriverLost::Panicked("as told".to_owned())));
}

#[test]
fn a_driver_outlived_by_nothing_is_stopped() {
    let tokio = multi_thread();
    let runtime = TokioRuntime::from_handle(tokio.handle().clone());
    let driver = runtime.spawn_driver(pending::<()>());
    assert!(!driver.is_finished());
    drop(tokio);
    assert!(future::block_on(driver).is_err());
}
