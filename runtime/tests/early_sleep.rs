//! A sleep that elapses too early, or always, fires no timer before its time and holds no thread.
#![cfg(feature = "test-utils")]

mod common;

use std::future::Ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use common::CountingWaker;
use smol_gossip_runtime::{Clock, EventLoop, Runtime, Sleep, VirtualClock, Wakeup};

/// What was asked of the sleep.
#[derive(Default)]
struct Asked {
    resets: AtomicU32,
    polls: AtomicU32,
}

struct Early {
    clock: VirtualClock,
    /// How many polls of the sleep say it has elapsed.
    lies: u32,
    asked: Arc<Asked>,
}

struct EarlySleep {
    lies: u32,
    asked: Arc<Asked>,
}

impl Clock for Early {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Runtime for Early {
    type Sleep = EarlySleep;

    fn sleep(&self) -> EarlySleep {
        EarlySleep {
            lies: self.lies,
            asked: self.asked.clone(),
        }
    }
}

impl Sleep for EarlySleep {
    fn reset(&mut self, _: Instant) {
        self.asked.resets.fetch_add(1, SeqCst);
    }

    fn disarm(&mut self) {}

    fn poll_elapsed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        self.asked.polls.fetch_add(1, SeqCst);
        if self.lies == 0 {
            return Poll::Pending;
        }
        self.lies -= 1;
        Poll::Ready(())
    }
}

fn event_loop(lies: u32) -> (EventLoop<Early, u32, Ready<()>>, Arc<Asked>, VirtualClock) {
    let clock = VirtualClock::new();
    let asked = Arc::<Asked>::default();
    let runtime = Early {
        clock: clock.clone(),
        lies,
        asked: asked.clone(),
    };
    (EventLoop::new(runtime), asked, clock)
}

#[test]
fn an_early_sleep_is_armed_again() {
    let (mut events, asked, clock) = event_loop(1);
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    events.schedule(clock.now() + Duration::from_secs(1), 1);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert_eq!(asked.resets.load(SeqCst), 2);
    assert_eq!(asked.polls.load(SeqCst), 2, "registered after the re-arm");
    assert_eq!(wakes.take(), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Timer(1)));
}

#[test]
fn a_sleep_that_never_sleeps_yields_to_the_executor() {
    let (mut events, asked, clock) = event_loop(u32::MAX);
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    events.schedule(clock.now() + Duration::from_secs(1), 1);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert!(asked.polls.load(SeqCst) < 5);
    assert_eq!(wakes.take(), 1);
}

#[test]
fn the_sleep_is_reset_only_for_another_deadline() {
    let (mut events, asked, clock) = event_loop(0);
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let start = clock.now();
    events.schedule(start + Duration::from_secs(1), 1);
    for _ in 0..5 {
        assert!(events.poll_wakeup(&mut cx).is_pending());
    }
    assert_eq!(asked.resets.load(SeqCst), 1);
    events.schedule(start + Duration::from_secs(2), 2);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert_eq!(asked.resets.load(SeqCst), 1);
    assert_eq!(asked.polls.load(SeqCst), 6, "every rest registers anew");
}
