//! The context thread: what runs there, what is dropped there, and how it ends.
#![cfg(feature = "smol")]

use std::future::{Ready, pending, poll_fn};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use futures_lite::future;
use smol_gossip_runtime::{DriverLost, EventLoop, SmolRuntime, Wakeup};
use tokio::runtime::Handle;

const THREAD_NAME: &str = "smol-gossip-io";

/// Tells, when dropped, on which thread and whether inside a context.
struct TellsDrop(Sender<(Option<String>, bool)>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        let name = thread::current().name().map(str::to_owned);
        let _ = self.0.send((name, Handle::try_current().is_ok()));
    }
}

/// Spawns a driver that never ends and waits until it runs.
fn spawn_endless(runtime: &SmolRuntime, held: TellsDrop) -> smol_gossip_runtime::DriverHandle<()> {
    let (started, starts) = channel();
    let driver = runtime.spawn_driver(async move {
        let _held = held;
        let _ = started.send(());
        pending::<()>().await;
    });
    starts.recv().expect("the driver starts");
    driver
}

#[test]
fn a_loop_on_this_thread_sleeps_through_the_other() {
    let runtime = SmolRuntime::start().expect("a thread");
    let mut events: EventLoop<_, u32, Ready<()>> = EventLoop::new(runtime);
    events.schedule(events.now() + Duration::from_millis(3), 1);
    let wakeup = future::block_on(poll_fn(|cx| events.poll_wakeup(cx)));
    assert_eq!(wakeup, Wakeup::Timer(1));
}

#[test]
fn a_driver_runs_on_the_context_thread() {
    let runtime = SmolRuntime::start().expect("a thread");
    let mut events: EventLoop<_, u32, Ready<()>> = EventLoop::new(runtime.clone());
    let driver = runtime.spawn_driver(async move {
        events.schedule(events.now() + Duration::from_millis(3), 1);
        let wakeup = poll_fn(|cx| events.poll_wakeup(cx)).await;
        assert_eq!(wakeup, Wakeup::Timer(1));
        thread::current().name().map(str::to_owned)
    });
    let name = future::block_on(driver).expect("the driver finishes");
    assert_eq!(name.as_deref(), Some(THREAD_NAME));
}

#[test]
fn the_end_drops_what_runs_there_inside_the_context() {
    let runtime = SmolRuntime::start().expect("a thread");
    let (sender, dropped) = channel();
    let driver = spawn_endless(&runtime, TellsDrop(sender));
    drop(runtime);
    // The thread is joined by now, so this is there already.
    let (name, inside) = dropped.try_recv().expect("dropped before the join");
    assert_eq!(name.as_deref(), Some(THREAD_NAME));
    assert!(inside);
    assert_eq!(future::block_on(driver), Err(DriverLost::Stopped));
}

#[test]
fn dropping_the_handle_detaches_the_driver() {
    let runtime = SmolRuntime::start().expect("a thread");
    let (sender, finished) = channel();
    let (go, wait) = channel();
    let (started, starts) = channel();
    runtime
        .spawn_driver(async move {
            let _ = started.send(());
            future::yield_now().await;
            let _: Result<(), _> = wait.recv();
            let _ = sender.send("finished");
        })
        .detach();
    starts.recv().expect("the driver starts");
    go.send(()).expect("the driver waits");
    assert_eq!(finished.recv(), Ok("finished"));
}

#[test]
fn a_context_keeps_the_thread() {
    let context = SmolRuntime::start().expect("a thread").context();
    let nap = async { tokio::time::sleep(Duration::from_millis(1)).await };
    future::block_on(context.wrap(nap));
}

#[test]
fn the_last_clone_may_go_on_the_context_thread() {
    let runtime = SmolRuntime::start().expect("a thread");
    let (sender, dropped) = channel();
    let held = TellsDrop(sender);
    let clone = runtime.clone();
    let (go, wait) = channel::<()>();
    runtime
        .spawn_driver(async move {
            let _held = held;
            let _clone = clone;
            let _ = wait.recv();
        })
        .detach();
    drop(runtime);
    drop(go);
    let (name, inside) = dropped.recv().expect("the driver ends");
    assert_eq!(name.as_deref(), Some(THREAD_NAME));
    assert!(inside);
}

#[test]
fn the_last_clone_may_go_on_a_blocking_thread_of_the_context() {
    let runtime = SmolRuntime::start().expect("a thread");
    let (sender, done) = channel();
    let context = runtime.context();
    context.enter(|| {
        tokio::task::spawn_blocking(move || {
            drop(runtime);
            let _ = sender.send(());
        });
    });
    drop(context);
    done.recv().expect("the drop returns");
}

#[test]
fn the_last_clone_may_go_inside_of_another_tokio_runtime() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime");
    tokio.block_on(async {
        let runtime = SmolRuntime::start().expect("a thread");
        let driver = runtime.spawn_driver(async { 1 });
        assert_eq!(driver.await, Ok(1));
        drop(runtime);
    });
}

#[cfg(feature = "async-io")]
#[test]
fn the_sleep_of_async_io_can_be_armed_and_disarmed() {
    use smol_gossip_runtime::{Clock, Runtime, Sleep};
    use std::task::{Context, Waker};

    let runtime = SmolRuntime::start()
        .expect("a thread")
        .with_async_io_sleep();
    let mut sleep = runtime.sleep();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sleep.poll_elapsed(&mut cx).is_pending());
    sleep.reset(runtime.now());
    future::block_on(poll_fn(|cx| sleep.poll_elapsed(cx)));
    assert!(sleep.poll_elapsed(&mut cx).is_ready(), "and stays so");
    sleep.reset(runtime.now() + Duration::from_secs(3600));
    assert!(sleep.poll_elapsed(&mut cx).is_pending());
    sleep.disarm();
    assert!(sleep.poll_elapsed(&mut cx).is_pending());
}
