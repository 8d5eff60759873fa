//! Wakes from other threads: none is lost, and none reaches a task that took the place of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_lite::future;
use smol_gossip_runtime::TaskSlab;

/// Asks a thread once to set a flag and wake.
struct Asks {
    asked: Option<Arc<AtomicBool>>,
    wakers: Sender<(Arc<AtomicBool>, Waker)>,
}

impl Future for Asks {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(asked) = &self.asked {
            // There is no other reason for a poll than the wake, which comes after the flag.
            assert!(asked.load(SeqCst), "polled, but not by its own waker");
            return Poll::Ready(());
        }
        let asked = Arc::new(AtomicBool::new(false));
        self.asked = Some(asked.clone());
        self.wakers
            .send((asked, cx.waker().clone()))
            .expect("the waking thread lives as long as its sender");
        Poll::Pending
    }
}

#[test]
fn every_wake_from_another_thread_arrives() {
    const TASKS: u32 = 2_000;
    let wakers: Vec<_> = (0..3)
        .map(|_| {
            let (sender, receiver) = channel::<(Arc<AtomicBool>, Waker)>();
            let thread = thread::spawn(move || {
                let mut kept = Vec::new();
                for (asked, waker) in receiver {
                    asked.store(true, SeqCst);
                    waker.wake_by_ref();
                    // Kept for a while, so that it outlives its task, and then used once more.
                    kept.push(waker);
                    if kept.len() == 20 {
                        kept.drain(..).for_each(Waker::wake);
                    }
                }
            });
            (sender, thread)
        })
        .collect();

    let mut tasks = TaskSlab::new();
    let mut started = 0;
    let mut finished = 0;
    while finished < TASKS {
        while started < TASKS && tasks.len() < 16 {
            let wakers = wakers[started as usize % wakers.len()].0.clone();
            tasks.insert(Asks {
                asked: None,
                wakers,
            });
            started += 1;
        }
        future::block_on(future::poll_fn(|cx| tasks.poll_next(cx)));
        finished += 1;
    }
    assert!(tasks.is_empty());
    for (sender, thread) in wakers {
        drop(sender);
        thread.join().expect("the waking thread has not panicked");
    }
}
