//! Who is polled, and who is woken, when wakes come at every possible time.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use common::{CountingWaker, Script};
use smol_gossip_runtime::TaskSlab;

/// Polls until pending and returns what finished.
fn drain(tasks: &mut TaskSlab<Script>, waker: &Waker) -> Vec<u32> {
    let mut cx = Context::from_waker(waker);
    std::iter::from_fn(|| match tasks.poll_next(&mut cx) {
        Poll::Ready((_, output)) => Some(output),
        Poll::Pending => None,
    })
    .collect()
}

#[test]
fn an_empty_slab_is_pending_and_insert_wakes_it() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    assert_eq!(drain(&mut tasks, &waker), []);
    assert_eq!(wakes.take(), 0);

    let (_, first) = Script::new(1);
    let (_, second) = Script::new(2);
    tasks.insert(first);
    assert_eq!(wakes.take(), 1);
    tasks.insert(second);
    assert_eq!(wakes.take(), 0, "one wake is enough until the next poll");
}

#[test]
fn a_slab_never_polled_wakes_nobody_on_insert() {
    let mut tasks = TaskSlab::new();
    let (script, task) = Script::new(1);
    tasks.insert(task);
    let (wakes, waker) = CountingWaker::new();
    script.finish();
    assert_eq!(drain(&mut tasks, &waker), [1]);
    assert_eq!(wakes.take(), 0);
}

#[test]
fn only_woken_tasks_are_polled() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let (scripts, ids): (Vec<_>, Vec<_>) = (0..100)
        .map(|n| {
            let (script, task) = Script::new(n);
            (script, tasks.insert(task))
        })
        .unzip();
    assert_eq!(drain(&mut tasks, &waker), []);
    assert!(scripts.iter().all(|script| script.polls() == 1));

    scripts[40].finish();
    scripts[40].wake();
    assert_eq!(wakes.take(), 1);
    assert_eq!(drain(&mut tasks, &waker), [40]);
    assert_eq!(
        scripts.iter().map(|script| script.polls()).sum::<u32>(),
        101
    );
    assert_eq!(scripts[40].drops(), 1);
    assert!(!tasks.contains(ids[40]));
    assert!(tasks.contains(ids[41]));
    assert_eq!(tasks.len(), 99);
}

#[test]
fn tasks_finish_in_the_order_they_were_woken() {
    let mut tasks = TaskSlab::new();
    let (_, waker) = CountingWaker::new();
    let scripts: Vec<_> = (0..5)
        .map(|n| {
            let (script, task) = Script::new(n);
            tasks.insert(task);
            script
        })
        .collect();
    drain(&mut tasks, &waker);
    for n in [3, 0, 4] {
        scripts[n].finish();
        scripts[n].wake();
    }
    assert_eq!(drain(&mut tasks, &waker), [3, 0, 4]);
}

#[test]
fn many_wakes_make_one_poll() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let (script, task) = Script::new(1);
    tasks.insert(task);
    drain(&mut tasks, &waker);
    for _ in 0..10 {
        script.wake();
    }
    assert_eq!(wakes.take(), 1);
    drain(&mut tasks, &waker);
    assert_eq!(script.polls(), 2);
}

#[test]
fn a_task_that_wakes_itself_is_polled_once_a_turn_and_starves_nobody() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let (busy, task) = Script::new(1);
    busy.wakes_itself();
    tasks.insert(task);
    let (other, task) = Script::new(2);
    tasks.insert(task);

    assert_eq!(drain(&mut tasks, &waker), []);
    assert_eq!((busy.polls(), other.polls()), (1, 1));
    assert_eq!(wakes.take(), 1, "the rest is announced");

    other.finish();
    other.wake();
    assert_eq!(drain(&mut tasks, &waker), [2]);
    assert!(busy.polls() <= 4);
}

#[test]
fn a_wake_during_the_poll_counts_for_the_next() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let (script, task) = Script::new(1);
    script.wakes_itself();
    tasks.insert(task);
    for turn in 1..=3 {
        assert_eq!(drain(&mut tasks, &waker), []);
        assert_eq!(script.polls(), turn);
        assert!(wakes.take() > 0);
    }
}

#[test]
fn a_wake_for_a_neighbour_during_the_poll_counts_for_the_next() {
    let mut tasks = TaskSlab::new();
    let (_, waker) = CountingWaker::new();
    let (sleeper, task) = Script::new(1);
    tasks.insert(task);
    drain(&mut tasks, &waker);

    let (caller, task) = Script::new(2);
    caller.wakes(&sleeper);
    tasks.insert(task);
    drain(&mut tasks, &waker);
    assert_eq!(sleeper.polls(), 1);
    drain(&mut tasks, &waker);
    assert_eq!(sleeper.polls(), 2);
}

#[test]
fn a_wake_after_the_end_is_harmless() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let (finished, task) = Script::new(1);
    tasks.insert(task);
    let (cancelled, task) = Script::new(2);
    let id = tasks.insert(task);
    drain(&mut tasks, &waker);

    finished.finish();
    finished.wake();
    assert_eq!(drain(&mut tasks, &waker), [1]);
    assert!(tasks.cancel(id));
    assert_eq!(cancelled.drops(), 1);
    assert!(!tasks.cancel(id));
    wakes.take();

    finished.wake();
    cancelled.wake();
    assert_eq!(drain(&mut tasks, &waker), []);
    assert_eq!((finished.polls(), cancelled.polls()), (2, 1));
}

#[test]
fn the_waker_of_an_earlier_task_does_not_poll_the_next_in_its_place() {
    let mut tasks = TaskSlab::new();
    let (_, waker) = CountingWaker::new();
    let (old, task) = Script::new(1);
    let old_id = tasks.insert(task);
    drain(&mut tasks, &waker);
    // Once woken before it goes, once after: neither may reach its successor.
    old.wake();
    assert!(tasks.cancel(old_id));

    let (new, task) = Script::new(2);
    let new_id = tasks.insert(task);
    assert_ne!(old_id, new_id);
    assert!(!tasks.cancel(old_id));
    drain(&mut tasks, &waker);
    assert_eq!(new.polls(), 1);
    old.wake();
    drain(&mut tasks, &waker);
    assert_eq!(new.polls(), 1);

    new.finish();
    new.wake();
    assert_eq!(drain(&mut tasks, &waker), [2]);
}

#[test]
fn a_reused_slot_forgets_a_wake_of_its_last_task() {
    let mut tasks = TaskSlab::new();
    let (_, waker) = CountingWaker::new();
    let (old, task) = Script::new(1);
    let id = tasks.insert(task);
    drain(&mut tasks, &waker);
    old.wake();
    old.forget_waker();
    assert!(tasks.cancel(id));

    let (new, task) = Script::new(2);
    tasks.insert(task);
    drain(&mut tasks, &waker);
    drain(&mut tasks, &waker);
    assert_eq!(new.polls(), 1);
    new.wake();
    drain(&mut tasks, &waker);
    assert_eq!(new.polls(), 2);
}

#[test]
fn a_task_cancelled_before_its_first_poll_is_never_polled() {
    let mut tasks = TaskSlab::new();
    let (_, waker) = CountingWaker::new();
    let (script, task) = Script::new(1);
    let id = tasks.insert(task);
    assert!(tasks.cancel(id));
    drain(&mut tasks, &waker);
    assert_eq!((script.polls(), script.drops()), (0, 1));
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_woken() {
    let mut tasks = TaskSlab::new();
    let (first, waker) = CountingWaker::new();
    let (script, task) = Script::new(1);
    tasks.insert(task);
    drain(&mut tasks, &waker);
    let (second, waker) = CountingWaker::new();
    drain(&mut tasks, &waker);
    script.wake();
    assert_eq!((first.take(), second.take()), (0, 1));
}

#[test]
fn dropping_the_slab_drops_the_tasks_and_lets_go_of_the_owner() {
    let mut tasks = TaskSlab::new();
    let (wakes, waker) = CountingWaker::new();
    let (script, task) = Script::new(1);
    tasks.insert(task);
    drain(&mut tasks, &waker);
    drop(tasks);
    drop(waker);
    assert_eq!(script.drops(), 1);
    script.wake();
    assert_eq!(wakes.take(), 0);
    assert!(wakes.is_last());
}

#[test]
fn futures_need_not_be_send() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut tasks: TaskSlab<std::pin::Pin<Box<dyn Future<Output = ()>>>> = TaskSlab::new();
    for n in 0..3 {
        let seen = seen.clone();
        tasks.insert(Box::pin(async move { seen.borrow_mut().push(n) }));
    }
    let mut cx = Context::from_waker(Waker::noop());
    while tasks.poll_next(&mut cx).is_ready() {}
    assert_eq!(*seen.borrow(), [0, 1, 2]);
    assert!(tasks.is_empty());
}
