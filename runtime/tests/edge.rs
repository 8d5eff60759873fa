//! The single-thread start: who runs where, what is dropped when, and misuse.
#![cfg(feature = "edge")]

use std::cell::RefCell;
use std::future::{Ready, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_lite::future;
use smol_gossip_runtime::edge::{self, EdgeError};
use smol_gossip_runtime::{DriverLost, EventLoop, Wakeup};
use tokio::runtime::Handle;

/// Notes, when dropped, its name and whether that was inside a context.
struct NotesDrop(&'static str, Rc<RefCell<Vec<(&'static str, bool)>>>);

impl Drop for NotesDrop {
    fn drop(&mut self) {
        let inside = Handle::try_current().is_ok();
        self.1.borrow_mut().push((self.0, inside));
    }
}

#[test]
fn everything_runs_on_the_calling_thread() {
    let here = thread::current().id();
    edge::block_on(|edge| async move {
        let local = edge.spawn_local(async { thread::current().id() });
        let driver = edge.spawn(async { thread::current().id() });
        assert_eq!(local.await, here);
        assert_eq!(driver.await, Ok(here));
        assert_eq!(thread::current().id(), here);
    })
    .expect("not inside of tokio");
}

#[test]
fn a_loop_runs_in_the_program_and_in_a_driver() {
    edge::block_on(|edge| async move {
        let mut events: EventLoop<_, u32, Ready<()>> = EventLoop::new(edge.runtime());
        events.schedule(events.now() + Duration::from_millis(2), 1);
        let wakeup = poll_fn(|cx| events.poll_wakeup(cx)).await;
        assert_eq!(wakeup, Wakeup::Timer(1));

        events.schedule(events.now() + Duration::from_millis(2), 2);
        let driver = edge.spawn(async move { poll_fn(|cx| events.poll_wakeup(cx)).await });
        assert_eq!(driver.await, Ok(Wakeup::Timer(2)));
    })
    .expect("not inside of tokio");
}

#[test]
fn busy_local_tasks_do_not_hold_up_a_driver_or_a_timer() {
    edge::block_on(|edge| async move {
        edge.spawn_local(async {
            loop {
                future::yield_now().await;
            }
        })
        .detach();
        let driver = edge.spawn(async { tokio::time::sleep(Duration::from_millis(2)).await });
        assert_eq!(driver.await, Ok(()));
    })
    .expect("not inside of tokio");
}

#[test]
fn tasks_left_over_are_dropped_inside_the_context() {
    let drops = Rc::new(RefCell::new(Vec::new()));
    let root = NotesDrop("root", drops.clone());
    let local = NotesDrop("local", drops.clone());
    edge::block_on(|edge| async move {
        let _root = root;
        let clone = edge.clone();
        edge.spawn_local(async move {
            let _local = local;
            // A task that holds the edge must not keep itself alive by it.
            let _edge = clone;
            pending::<()>().await;
        })
        .detach();
        future::yield_now().await;
    })
    .expect("not inside of tokio");
    assert_eq!(*drops.borrow(), [("root", true), ("local", true)]);
}

#[test]
fn tasks_left_over_by_a_panic_are_dropped_inside_the_context() {
    let drops = Rc::new(RefCell::new(Vec::new()));
    let local = NotesDrop("local", drops.clone());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        edge::block_on(|edge| async move {
            edge.spawn_local(async move {
                let _local = local;
                pending::<()>().await;
            })
            .detach();
            future::yield_now().await;
            std::panic::resume_unwind(Box::new("as told"));
        })
    }));
    assert!(panic.is_err());
    assert_eq!(*drops.borrow(), [("local", true)]);
    assert!(Handle::try_current().is_err(), "nothing stays entered");
}

#[test]
fn a_driver_left_over_is_stopped() {
    let (driver,) = edge::block_on(|edge| async move { (edge.spawn(pending::<()>()),) })
        .expect("not inside of tokio");
    assert_eq!(future::block_on(driver), Err(DriverLost::Stopped));
}

#[test]
fn inside_of_tokio_is_an_error() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a tokio runtime");
    let start = || edge::block_on(|_| async {});
    let error = tokio.block_on(async { start() }).unwrap_err();
    assert!(matches!(error, EdgeError::InsideTokio));
    assert!(error.to_string().contains("TokioRuntime::current"));
    {
        let _entered = tokio.enter();
        assert!(matches!(start(), Err(EdgeError::InsideTokio)));
    }
    let nested = edge::block_on(|_| async { start() });
    assert!(matches!(nested, Ok(Err(EdgeError::InsideTokio))));
}

#[test]
fn an_edge_that_outlives_the_program_drops_what_it_is_given() {
    let edge = edge::block_on(|edge| async move { edge }).expect("not inside of tokio");
    let drops = Rc::new(RefCell::new(Vec::new()));
    let local = NotesDrop("local", drops.clone());
    let task = edge.spawn_local(async move { drop(local) });
    assert_eq!(drops.borrow().len(), 1);
    assert_eq!(future::block_on(task.fallible()), None);
}
