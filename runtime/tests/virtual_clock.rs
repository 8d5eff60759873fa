//! The virtual clock wakes whom it passes, and nobody else.
#![cfg(feature = "test-utils")]

mod common;

use std::task::Context;
use std::time::Duration;

use common::CountingWaker;
use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualClock, VirtualRuntime};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn sleeps_elapse_when_the_clock_passes_them() {
    let runtime = VirtualRuntime::new();
    let clock = runtime.clock().clone();
    let start = clock.now();
    let (mut first, mut second) = (runtime.sleep(), runtime.sleep());
    let (first_wakes, waker) = CountingWaker::new();
    let mut first_cx = Context::from_waker(&waker);
    let (second_wakes, waker) = CountingWaker::new();
    let mut second_cx = Context::from_waker(&waker);

    assert!(first.poll_elapsed(&mut first_cx).is_pending(), "disarmed");
    first.reset(start + SECOND * 2);
    second.reset(start + SECOND * 5);
    assert_eq!(clock.next_deadline(), Some(start + SECOND * 2));
    assert!(first.poll_elapsed(&mut first_cx).is_pending());
    assert!(second.poll_elapsed(&mut second_cx).is_pending());

    clock.advance(SECOND);
    assert_eq!((first_wakes.take(), second_wakes.take()), (0, 0));
    assert!(clock.advance_to_next());
    assert_eq!((first_wakes.take(), second_wakes.take()), (1, 0));
    assert!(first.poll_elapsed(&mut first_cx).is_ready());
    assert!(first.poll_elapsed(&mut first_cx).is_ready(), "and stays so");
    assert_eq!(clock.next_deadline(), Some(start + SECOND * 5));

    first.disarm();
    assert!(first.poll_elapsed(&mut first_cx).is_pending());
    drop(second);
    assert!(!clock.advance_to_next());
    assert_eq!(second_wakes.take(), 0);
}

#[test]
fn a_deadline_in_the_past_elapses_at_once() {
    let runtime = VirtualRuntime::new();
    let (_, waker) = CountingWaker::new();
    let mut sleep = runtime.sleep();
    sleep.reset(runtime.now());
    assert!(
        sleep
            .poll_elapsed(&mut Context::from_waker(&waker))
            .is_ready()
    );
}

#[test]
fn one_clock_serves_several_runtimes_on_several_threads() {
    let clock = VirtualClock::new();
    let runtimes = [
        VirtualRuntime::from(clock.clone()),
        VirtualRuntime::from(clock.clone()),
    ];
    let start = clock.now();
    std::thread::spawn(move || clock.advance(SECOND))
        .join()
        .expect("advancing does not panic");
    for runtime in runtimes {
        assert_eq!(runtime.now(), start + SECOND);
    }
}
