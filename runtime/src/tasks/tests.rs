//! What only the inside can see; the promises are tested in `tests/`.

use std::future::{pending, ready};

use super::*;

#[test]
fn a_slot_and_its_signal_are_used_again() {
    let mut tasks = TaskSlab::new();
    let first = tasks.insert(pending::<()>());
    let signal = Arc::as_ptr(&tasks.slots[0].signal);
    assert!(tasks.cancel(first));
    let second = tasks.insert(pending());
    assert_eq!((first.index, second.index), (0, 0));
    assert_ne!(first, second);
    assert_eq!(Arc::as_ptr(&tasks.slots[0].signal), signal);
}

#[test]
fn a_kept_waker_costs_the_next_task_a_new_signal() {
    let mut tasks = TaskSlab::new();
    let first = tasks.insert(pending::<()>());
    let kept = tasks.slots[0].waker.clone();
    assert!(tasks.cancel(first));
    tasks.insert(pending());
    assert!(!kept.will_wake(&tasks.slots[0].waker));
}

#[test]
fn nothing_piles_up() {
    let mut tasks = TaskSlab::new();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        tasks.insert(ready(()));
        assert!(tasks.poll_next(&mut cx).is_ready());
    }
    assert_eq!(tasks.slots.len(), 1);
    assert_eq!(tasks.vacant.len(), 1);
    assert!(tasks.ready.is_empty());
}
