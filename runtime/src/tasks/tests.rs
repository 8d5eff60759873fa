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

#[test]
fn memory_of_many_tasks_is_given_back() {
    let mut tasks = TaskSlab::new();
    let first = tasks.insert(pending::<()>());
    let many: Vec<_> = (0..100_000).map(|_| tasks.insert(pending())).collect();
    let last = tasks.insert(pending());
    for id in &many {
        assert!(tasks.cancel(*id));
    }
    assert_eq!(tasks.len(), 2);
    // It has the last slot, so all of them stay.
    assert_eq!(tasks.slots.len(), 100_002);
    assert!(tasks.cancel(last));
    let mut gone = many;
    gone.push(last);
    // Tasks that come and go now take the first slots.
    for _ in 0..20_000 {
        let id = tasks.insert(pending());
        assert!(tasks.cancel(id));
        gone.push(id);
    }
    assert!(
        tasks.slots.capacity() <= 4 * SLOTS_KEPT,
        "{}",
        tasks.slots.capacity()
    );
    assert!(tasks.vacant.capacity() <= 4 * SLOTS_KEPT);
    // Ids of tasks that are gone name none of those that came into their slots.
    let again: Vec<_> = (0..3_000).map(|_| tasks.insert(pending())).collect();
    assert!(
        gone.iter()
            .all(|id| !tasks.contains(*id) && !tasks.cancel(*id))
    );
    assert!(again.iter().all(|id| tasks.contains(*id)));
    assert!(tasks.contains(first));
}
