//! Timers and tasks in one poll, in virtual time.
#![cfg(feature = "test-utils")]

mod common;

use std::task::{Context, Poll};
use std::time::Duration;

use common::{Control, CountingWaker, Script};
use smol_gossip_runtime::{Clock, EventLoop, VirtualClock, VirtualRuntime, Wakeup};

type Loop = EventLoop<VirtualRuntime, u32, Script>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn event_loop() -> (Loop, VirtualClock) {
    let runtime = VirtualRuntime::new();
    let clock = runtime.clock().clone();
    (EventLoop::new(runtime), clock)
}

fn finished(output: u32) -> (std::sync::Arc<Control>, Script) {
    let (control, script) = Script::new(output);
    control.finish();
    (control, script)
}

/// What comes out until pending: `T3` for timer 3, `t4` for task 4.
fn drain(events: &mut Loop, cx: &mut Context<'_>) -> Vec<String> {
    std::iter::from_fn(|| match events.poll_wakeup(cx) {
        Poll::Ready(Wakeup::Timer(value)) => Some(format!("T{value}")),
        Poll::Ready(Wakeup::Task(_, output)) => Some(format!("t{output}")),
        Poll::Pending => None,
    })
    .collect()
}

#[test]
fn an_idle_loop_arms_no_sleep() {
    let (mut events, clock) = event_loop();
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert_eq!(clock.next_deadline(), None);
    clock.advance(ms(1_000_000));
    assert_eq!(wakes.take(), 0);
}

#[test]
fn the_sleep_is_armed_for_the_earliest_timer_and_follows_it() {
    let (mut events, clock) = event_loop();
    let start = clock.now();
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let mut armed = |events: &mut Loop| {
        assert!(events.poll_wakeup(&mut cx).is_pending());
        clock.next_deadline().map(|next| next - start)
    };

    events.schedule(start + ms(60_000), 1);
    assert_eq!(armed(&mut events), Some(ms(60_000)));
    let early = events.schedule(start + ms(500), 2);
    assert_eq!(armed(&mut events), Some(ms(500)));
    assert!(events.reschedule(early, start + ms(700)));
    // The wheel may look a little early after a change, never late.
    assert!(armed(&mut events).is_some_and(|next| next <= ms(700)));
    assert_eq!(events.cancel_timer(early), Some(2));
    assert!(armed(&mut events).is_some_and(|next| next <= ms(60_000)));

    assert_eq!(wakes.take(), 0);
    while clock.now() < start + ms(60_000) {
        assert!(events.poll_wakeup(&mut cx).is_pending());
        assert!(clock.advance_to_next());
        assert_eq!(wakes.take(), 1);
    }
    assert_eq!(drain(&mut events, &mut cx), ["T1"]);
    assert_eq!(clock.next_deadline(), None, "disarmed with the last timer");
}

#[test]
fn the_clock_decides_without_a_wake_of_the_sleep() {
    let (mut events, clock) = event_loop();
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    events.schedule(clock.now() + ms(5), 1);
    // Never polled, so the sleep was never armed.
    clock.advance(ms(5));
    assert_eq!(drain(&mut events, &mut cx), ["T1"]);
}

#[test]
fn tasks_and_timers_take_turns() {
    let (mut events, clock) = event_loop();
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    for n in 1..=4 {
        events.schedule(clock.now(), n);
        events.spawn(finished(n).1);
    }
    events.spawn(finished(5).1);
    assert_eq!(
        drain(&mut events, &mut cx),
        ["t1", "T1", "t2", "T2", "t3", "T3", "t4", "T4", "t5"]
    );
}

#[test]
fn a_flood_of_tasks_does_not_hold_up_a_timer() {
    let (mut events, clock) = event_loop();
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    events.schedule(clock.now() + ms(10), 0);
    events.spawn(finished(1).1);
    let mut results = 0;
    loop {
        match events.poll_wakeup(&mut cx) {
            Poll::Ready(Wakeup::Timer(_)) => break,
            Poll::Ready(Wakeup::Task(..)) => {
                clock.advance(ms(1));
                results += 1;
                events.spawn(finished(1).1);
            }
            Poll::Pending => panic!("a task was ready"),
        }
    }
    assert_eq!(results, 10);
}

#[test]
fn a_flood_of_timers_does_not_hold_up_a_task() {
    let (mut events, clock) = event_loop();
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    events.schedule(clock.now(), 1);
    assert_eq!(events.poll_wakeup(&mut cx), Poll::Ready(Wakeup::Timer(1)));
    events.schedule(clock.now(), 2);
    let id = events.spawn(finished(3).1);
    assert_eq!(
        events.poll_wakeup(&mut cx),
        Poll::Ready(Wakeup::Task(id, 3))
    );
}

#[test]
fn a_task_that_wakes_itself_does_not_hold_up_a_timer() {
    let (mut events, clock) = event_loop();
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let (busy, task) = Script::new(1);
    busy.wakes_itself();
    events.spawn(task);
    events.schedule(clock.now(), 2);
    assert_eq!(drain(&mut events, &mut cx), ["T2"]);
    assert!(wakes.take() > 0, "and the task is not forgotten");
}

#[test]
fn a_wake_of_a_task_wakes_the_owner() {
    let (mut events, clock) = event_loop();
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let (control, task) = Script::new(1);
    let id = events.spawn(task);
    events.schedule(clock.now() + ms(1_000), 2);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    control.finish();
    control.wake();
    assert_eq!(wakes.take(), 1);
    assert_eq!(
        events.poll_wakeup(&mut cx),
        Poll::Ready(Wakeup::Task(id, 1))
    );
    assert_eq!(events.task_count(), 0);
}

#[test]
fn a_cancelled_task_is_dropped_at_once() {
    let (mut events, _) = event_loop();
    let (control, task) = Script::new(1);
    let id = events.spawn(task);
    assert!(events.cancel_task(id));
    assert!(!events.cancel_task(id));
    assert_eq!(control.drops(), 1);
}

#[test]
fn who_spawns_is_not_woken_but_told() {
    let (mut events, _) = event_loop();
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert!(!events.has_unpolled_tasks());
    events.spawn(finished(1).1);
    let (control, waiting) = Script::new(2);
    events.spawn(waiting);
    assert_eq!(wakes.take(), 0);
    assert!(events.has_unpolled_tasks());
    assert!(events.poll_wakeup(&mut cx).is_ready());
    assert!(events.has_unpolled_tasks(), "the second one");
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert!(!events.has_unpolled_tasks());
    assert_eq!((control.polls(), wakes.take()), (1, 0));
}

#[test]
fn timers_of_years_wake_only_when_due() {
    let (mut events, clock) = event_loop();
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let start = clock.now();
    let year = Duration::from_secs(365 * 24 * 3600);
    events.schedule(start + year * 10, 1);
    assert!(events.poll_wakeup(&mut cx).is_pending());
    assert_eq!(clock.next_deadline(), Some(start + year * 10));
    assert!(clock.advance_to_next());
    assert_eq!(drain(&mut events, &mut cx), ["T1"]);
}
