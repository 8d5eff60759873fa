//! The driver as applications spawn it, in place of the node that `world` polls by itself.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures_lite::StreamExt;
use smol_gossip_runtime::{Clock, Runtime, Sleep, VirtualRuntime, VirtualSleep};
use tracing::Span;

use super::{
    check,
    world::{Made, World, id, message, ms, secs, topic},
};
use crate::{
    api::{Event, GossipApi, GossipSender},
    net::{driver::Driver, inspect::Request},
};

/// A virtual runtime that is only of use where it was entered.
#[derive(Clone)]
struct Entered {
    runtime: VirtualRuntime,
    depth: Arc<AtomicUsize>,
}

struct EnteredSleep {
    sleep: VirtualSleep,
    depth: Arc<AtomicUsize>,
}

fn check_entered(depth: &AtomicUsize) {
    let entered = depth.load(Ordering::Relaxed) > 0;
    assert!(entered || std::thread::panicking(), "not entered");
}

impl Clock for Entered {
    fn now(&self) -> Instant {
        check_entered(&self.depth);
        self.runtime.now()
    }
}

impl Runtime for Entered {
    type Sleep = EnteredSleep;

    fn sleep(&self) -> EnteredSleep {
        check_entered(&self.depth);
        EnteredSleep {
            sleep: self.runtime.sleep(),
            depth: self.depth.clone(),
        }
    }

    fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        self.depth.fetch_add(1, Ordering::Relaxed);
        let result = f();
        self.depth.fetch_sub(1, Ordering::Relaxed);
        result
    }
}

impl Sleep for EnteredSleep {
    fn reset(&mut self, deadline: Instant) {
        check_entered(&self.depth);
        self.sleep.reset(deadline);
    }

    fn disarm(&mut self) {
        check_entered(&self.depth);
        self.sleep.disarm();
    }

    fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        check_entered(&self.depth);
        self.sleep.poll_elapsed(cx)
    }
}

impl Drop for EnteredSleep {
    fn drop(&mut self) {
        check_entered(&self.depth);
    }
}

/// What the application of a driven node has seen.
#[derive(Default)]
struct Seen {
    sender: RefCell<Option<GossipSender>>,
    received: RefCell<Vec<Bytes>>,
    events_ended: Cell<bool>,
    driver_ended: Cell<bool>,
    polls: Cell<usize>,
}

/// Node 0, driven by its driver, with an application that takes part in topic 0.
struct Driven {
    driver: Rc<RefCell<Option<Driver>>>,
    api: GossipApi,
    requests: async_channel::Sender<Request>,
    mailbox: crate::api::mailbox::Mailbox,
    seen: Rc<Seen>,
}

/// Starts node 0 with its driver, and two others that join through it.
fn start(world: &mut World) -> Driven {
    let runtime = Entered {
        runtime: VirtualRuntime::from(world.clock.clone()),
        depth: Arc::default(),
    };
    let Made {
        node,
        mailbox,
        requests,
        ..
    } = world.make(0, runtime.clone());
    let driver = Driver::new(node, runtime, Span::none());
    let driver = Rc::new(RefCell::new(Some(driver)));
    let (driven, seen) = (driver.clone(), Rc::new(Seen::default()));
    let over = seen.clone();
    world.spawn(async move {
        poll_fn(|cx| {
            over.polls.update(|polls| polls + 1);
            match driven.borrow_mut().as_mut() {
                Some(driver) => Pin::new(driver).poll(cx),
                None => Poll::Ready(()),
            }
        })
        .await;
        over.driver_ended.set(true);
        // There is nothing more to do for it, whoever polls it again.
        poll_fn(|cx| match driven.borrow_mut().as_mut() {
            Some(driver) => {
                assert!(Pin::new(driver).poll(cx).is_ready());
                Poll::Ready(())
            }
            None => Poll::Ready(()),
        })
        .await;
    });
    let api = GossipApi::local(mailbox.clone());
    let (handle, application) = (api.clone(), seen.clone());
    world.spawn(async move {
        let subscribed = handle.subscribe(topic(0), Vec::new()).await;
        let (sender, mut receiver) = subscribed.expect("the node runs").split();
        *application.sender.borrow_mut() = Some(sender);
        while let Some(event) = receiver.next().await {
            if let Event::Received(message) = event.expect("a local node does not fail") {
                application.received.borrow_mut().push(message.content);
            }
        }
        application.events_ended.set(true);
    });
    for n in [1, 2] {
        world.start(n);
        world.join(n, 0, &[0]);
    }
    world.run_for(secs(3));
    assert!(world.neighbors(1, 0).contains(&0) && world.neighbors(2, 0).contains(&0));
    Driven {
        driver,
        api,
        requests,
        mailbox,
        seen,
    }
}

/// Messages come to the driven node and from it.
fn check_service(world: &mut World, driven: &Driven) {
    world.broadcast(1, 0, message(1, 100));
    let sender = driven.seen.sender.borrow().clone();
    let sender = sender.expect("it is subscribed");
    world.spawn(async move {
        let sent = sender.broadcast(message(2, 4000)).await;
        sent.expect("the node runs");
    });
    world.run_for(secs(2));
    assert_eq!(*driven.seen.received.borrow(), [message(1, 100)]);
    assert!([1, 2].iter().all(|n| world.received(*n, 0, 2).is_some()));
}

/// Node 0 is gone for everyone, and the others go on.
fn check_gone(world: &mut World, driven: &Driven) {
    assert!(driven.seen.events_ended.get(), "its receivers end with it");
    assert!(driven.mailbox.is_closed(), "it takes no more orders");
    let api = driven.api.clone();
    world.spawn(async move {
        let subscribed = api.subscribe(topic(0), Vec::new()).await;
        assert!(subscribed.is_err(), "there is nobody to subscribe with");
    });
    world.run_for(secs(3));
    assert_eq!(
        (world.neighbors(1, 0), world.neighbors(2, 0)),
        (vec![2], vec![1])
    );
    let open = world.network.open_connections();
    let of_driven = open.iter().filter(|(_, a, b)| [*a, *b].contains(&id(0)));
    assert_eq!(of_driven.count(), 0, "connections");
    world.broadcast(1, 0, message(3, 100));
    world.run_for(secs(2));
    assert!(world.received(2, 0, 3).is_some());
    check::quiet(world);
}

#[test]
fn a_driver_runs_to_its_shutdown() {
    let mut world = World::new(1);
    let driven = start(&mut world);
    check_service(&mut world, &driven);
    let (reply, done) = async_channel::bounded(1);
    driven.requests.try_send(Request::Shutdown(reply)).unwrap();
    let ended = driven.seen.clone();
    let timeout = world.limits.shutdown_timeout;
    world.run_until("the driver ends", timeout, |_| ended.driver_ended.get());
    done.try_recv().expect("who asked is answered");
    assert!(driven.requests.is_closed(), "nobody waits for answers");
    check_gone(&mut world, &driven);
}

#[test]
fn a_driver_that_has_written_does_not_wake_itself() {
    let mut world = World::new(4);
    let driven = start(&mut world);
    check_service(&mut world, &driven);
    let sender = driven.seen.sender.borrow().clone();
    let sender = sender.expect("it is subscribed");
    let before = driven.seen.polls.get();
    world.spawn(async move {
        let sent = sender.broadcast(message(5, 100)).await;
        sent.expect("the node runs");
    });
    world.run_for(ms(100));
    assert!([1, 2].iter().all(|n| world.received(*n, 0, 5).is_some()));
    assert_eq!(driven.seen.polls.get() - before, 1);
}

#[test]
fn a_driver_ends_with_the_last_handle() {
    let mut world = World::new(2);
    let driven = start(&mut world);
    check_service(&mut world, &driven);
    driven.mailbox.stop();
    let ended = driven.seen.clone();
    let timeout = world.limits.shutdown_timeout;
    world.run_until("the driver ends", timeout, |_| ended.driver_ended.get());
    check_gone(&mut world, &driven);
}

#[test]
fn a_driver_that_is_dropped_closes_everything_at_once() {
    let mut world = World::new(3);
    let driven = start(&mut world);
    check_service(&mut world, &driven);
    let driver = driven.driver.borrow_mut().take();
    drop(driver);
    world.run_for(secs(1));
    check_gone(&mut world, &driven);
}
