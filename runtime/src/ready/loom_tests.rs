//! Every interleaving of wakers and owner. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p smol-gossip-runtime --lib --release loom`.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use loom::thread;

use super::*;

const TOKEN: Token = Token {
    index: 3,
    generation: 7,
};

/// Counts wakes with a plain atomic, which adds no interleavings.
#[derive(Default)]
struct Owner(AtomicUsize);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A signal that was entered by its owner and taken, as before a poll.
fn signal(queue: &Arc<ReadyQueue>) -> Arc<Signal> {
    let signal = Arc::new(Signal::new(queue.clone(), TOKEN));
    signal.clear();
    signal
}

fn taken(queue: &ReadyQueue) -> Vec<Token> {
    let mut tokens = Vec::new();
    queue.take(&mut tokens);
    tokens
}

#[test]
fn loom_a_wake_is_seen_or_wakes_the_owner() {
    loom::model(|| {
        let queue = Arc::new(ReadyQueue::new());
        let owner = Arc::new(Owner::default());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let signal = signal(&queue);
                thread::spawn(move || signal.raise())
            })
            .collect();

        let mut seen = taken(&queue);
        let must_look = queue.register(&Waker::from(owner.clone()));
        for thread in threads {
            thread.join().unwrap();
        }
        let rest = taken(&queue);
        if !rest.is_empty() {
            assert!(must_look || owner.0.load(SeqCst) > 0, "a wake was lost");
        }
        seen.extend(rest);
        assert_eq!(seen, [TOKEN, TOKEN]);
    });
}

#[test]
fn loom_what_happened_before_a_wake_is_seen_by_the_poll() {
    loom::model(|| {
        let queue = Arc::new(ReadyQueue::new());
        let signal = signal(&queue);
        let facts = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let (signal, facts) = (signal.clone(), facts.clone());
                thread::spawn(move || {
                    facts[n].store(true, Ordering::Relaxed);
                    signal.raise();
                })
            })
            .collect();

        // The owner polls for every token it finds, now and when both have woken.
        let mut known = [false; 2];
        let mut poll = || {
            for _ in taken(&queue) {
                signal.clear();
                for (known, fact) in known.iter_mut().zip(facts.iter()) {
                    *known |= fact.load(Ordering::Relaxed);
                }
            }
        };
        poll();
        for thread in threads {
            thread.join().unwrap();
        }
        poll();
        assert_eq!(known, [true; 2], "a wake was lost");
    });
}

#[test]
fn loom_two_wakes_enter_one_token() {
    loom::model(|| {
        let queue = Arc::new(ReadyQueue::new());
        let signal = signal(&queue);
        let other = {
            let signal = signal.clone();
            thread::spawn(move || signal.raise())
        };
        signal.raise();
        other.join().unwrap();
        assert_eq!(taken(&queue), [TOKEN]);
    });
}

#[test]
fn loom_a_changing_owner_is_found() {
    loom::model(|| {
        let queue = Arc::new(ReadyQueue::new());
        let (first, second) = (Arc::new(Owner::default()), Arc::new(Owner::default()));
        let must_look = queue.register(&Waker::from(first.clone()));
        assert!(!must_look);
        let thread = {
            let signal = signal(&queue);
            thread::spawn(move || signal.raise())
        };
        let must_look = queue.register(&Waker::from(second.clone()));
        thread.join().unwrap();
        assert!(must_look || second.0.load(SeqCst) > 0, "a wake was lost");
        assert_eq!(taken(&queue), [TOKEN]);
    });
}
