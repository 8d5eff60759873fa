//! What the parts cost: `cargo run --release -p smol-gossip-runtime --features test-utils --example
//! cost`. Prints nanoseconds an operation, the best of five rounds.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smol_gossip_runtime::{Clock, EventLoop, TaskSlab, TimerWheel, VirtualRuntime};

const ROUNDS: u32 = 5;
const COUNT: u32 = 1_000_000;

fn main() {
    slab();
    wheel();
    event_loop();
}

fn slab() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut tasks: TaskSlab<Ready<u32>> = TaskSlab::new();
    measure("slab: insert and complete, inline future", |n| {
        tasks.insert(ready(n));
        black_box(tasks.poll_next(&mut cx).is_ready());
    });

    let mut tasks: TaskSlab<Pin<Box<dyn Future<Output = u32> + Send>>> = TaskSlab::new();
    measure("slab: the same, boxed future", |n| {
        tasks.insert(Box::pin(ready(n)));
        black_box(tasks.poll_next(&mut cx).is_ready());
    });

    let mut tasks: TaskSlab<Pin<Box<dyn Future<Output = u32> + Send>>> = TaskSlab::new();
    measure("slab: the same, woken once before it completes", |n| {
        tasks.insert(Box::pin(WakesOnce(Some(n))));
        assert!(tasks.poll_next(&mut cx).is_pending());
        black_box(tasks.poll_next(&mut cx).is_ready());
    });

    let mut tasks: TaskSlab<Echo> = TaskSlab::new();
    for _ in 0..1_000 {
        tasks.insert(Echo(None));
    }
    assert!(tasks.poll_next(&mut cx).is_pending());
    tasks.insert(Echo(Some(())));
    measure("slab: one self-waking task among a thousand idle", |_| {
        black_box(tasks.poll_next(&mut cx).is_pending());
    });
}

fn wheel() {
    let start = Instant::now();
    let mut wheel = TimerWheel::new(start);
    measure("wheel: insert and cancel, 1 s", |n| {
        let key = wheel.insert(start + Duration::from_secs(1), n);
        black_box(wheel.cancel(key));
    });

    let mut wheel = TimerWheel::new(start);
    let key = wheel.insert(start, 0);
    measure("wheel: reset", |n| {
        wheel.reset(key, start + Duration::from_millis(u64::from(n % 100_000)));
    });

    let mut wheel = TimerWheel::new(start);
    let mut now = start;
    let mut state = 1u32;
    for n in 0..10_000 {
        wheel.insert(now + random(&mut state), n);
    }
    measure(
        "wheel: sleep, fire, insert; 10,000 waiting, up to 65 s",
        |n| {
            now = now.max(wheel.next_deadline().expect("some wait"));
            if wheel.pop_expired(now).is_some() {
                wheel.insert(now + random(&mut state), n);
            }
        },
    );
}

fn event_loop() {
    let runtime = VirtualRuntime::new();
    let clock = runtime.clock().clone();
    let mut cx = Context::from_waker(Waker::noop());
    let mut events: EventLoop<_, u32, Ready<u32>> = EventLoop::new(runtime);
    events.schedule(clock.now() + Duration::from_secs(60), 0);
    measure("loop: spawn and complete, one timer waiting", |n| {
        events.spawn(ready(n));
        black_box(events.poll_wakeup(&mut cx).is_ready());
    });
}

fn measure(what: &str, mut step: impl FnMut(u32)) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..COUNT).for_each(&mut step);
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!(
        "{:7.1} ns  {what}",
        best.as_nanos() as f64 / f64::from(COUNT)
    );
}

/// Up to 65 s, by a linear congruence.
fn random(state: &mut u32) -> Duration {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    Duration::from_millis(u64::from(*state >> 16))
}

struct WakesOnce(Option<u32>);

impl Future for WakesOnce {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        match self.0.take() {
            Some(n) => {
                cx.waker().wake_by_ref();
                black_box(n);
                Poll::Pending
            }
            None => Poll::Ready(0),
        }
    }
}

/// Wakes itself for ever, if it holds anything.
struct Echo(Option<()>);

impl Future for Echo {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_some() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
