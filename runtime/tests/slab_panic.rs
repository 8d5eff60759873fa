//! A task that panics takes only itself along.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use common::{CountingWaker, Script};
use smol_gossip_runtime::TaskSlab;

#[test]
fn the_panic_is_passed_on_and_the_others_are_unharmed() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let (bad, task) = Script::new(1);
    let bad_id = tasks.insert(task);
    let (good, task) = Script::new(2);
    let good_id = tasks.insert(task);

    bad.panics();
    good.finish();
    let panic = catch_unwind(AssertUnwindSafe(|| tasks.poll_next(&mut cx).is_ready()));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"as told"));
    assert_eq!(bad.drops(), 1);
    assert!(!tasks.contains(bad_id));
    assert!(!tasks.cancel(bad_id));
    assert_eq!(tasks.len(), 1);

    assert_eq!(tasks.poll_next(&mut cx), Poll::Ready((good_id, 2)));
    assert!(tasks.poll_next(&mut cx).is_pending());

    // The place of the panicked task serves again, and its waker stays harmless.
    wakes.take();
    let (next, task) = Script::new(3);
    let next_id = tasks.insert(task);
    assert_eq!(wakes.take(), 1);
    assert!(tasks.poll_next(&mut cx).is_pending());
    bad.wake();
    assert!(tasks.poll_next(&mut cx).is_pending());
    assert_eq!(next.polls(), 1);
    next.finish();
    next.wake();
    assert_eq!(tasks.poll_next(&mut cx), Poll::Ready((next_id, 3)));
}

/// Panics when dropped.
struct BadDrop;

impl Drop for BadDrop {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

#[test]
fn a_panic_in_a_drop_leaves_the_slab_whole() {
    let mut tasks: TaskSlab<std::pin::Pin<Box<dyn Future<Output = ()>>>> = TaskSlab::new();
    let bad = BadDrop;
    let id = tasks.insert(Box::pin(async move {
        let _bad = bad;
        std::future::pending::<()>().await;
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| tasks.cancel(id))).is_err());
    assert!(tasks.is_empty());
    tasks.insert(Box::pin(async {}));
    let (_, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    assert!(tasks.poll_next(&mut cx).is_ready());
}
