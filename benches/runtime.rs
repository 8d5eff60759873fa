//! The parts of the event loop against what else there is.
//!
//! Timers: the wheel, a binary heap that skips what was cancelled, and tokio-util's `DelayQueue`.
//! Tasks: the slab, `FuturesUnordered` and tokio's `JoinSet`.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod support;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::{Future, poll_fn},
    hint::black_box,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, Stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use smol_gossip::runtime::{TaskSlab, TimerKey, TimerWheel};
use support::{Args, Better, Table, node::on_one_thread};
use tokio::task::JoinSet;
use tokio_util::time::{DelayQueue, delay_queue};

fn main() {
    let args = Args::from_env();
    timers(&args);
    tasks(&args);
}

/// A collection of timers.
trait Timers {
    type Key;

    fn new() -> Self;
    fn insert(&mut self, deadline: Instant) -> Self::Key;
    fn cancel(&mut self, key: Self::Key);
    /// When something is due next; `None` where that is not public.
    fn next_deadline(&mut self) -> Option<Instant>;
    /// Takes out everything, all of which is due.
    fn expire(&mut self, now: Instant) -> impl Future<Output = usize>;
}

struct Wheel(TimerWheel<u32>);

impl Timers for Wheel {
    type Key = TimerKey;

    fn new() -> Self {
        Self(TimerWheel::new(Instant::now()))
    }

    fn insert(&mut self, deadline: Instant) -> TimerKey {
        self.0.insert(deadline, 1)
    }

    fn cancel(&mut self, key: TimerKey) {
        black_box(self.0.cancel(key));
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        self.0.next_deadline()
    }

    async fn expire(&mut self, now: Instant) -> usize {
        std::iter::from_fn(|| self.0.pop_expired(now)).count()
    }
}

/// The usual way with a heap: a cancelled timer stays in it until it is due.
struct Heap {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    cancelled: Vec<bool>,
}

impl Timers for Heap {
    type Key = usize;

    fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            cancelled: Vec::new(),
        }
    }

    fn insert(&mut self, deadline: Instant) -> usize {
        let key = self.cancelled.len();
        self.cancelled.push(false);
        self.heap.push(Reverse((deadline, key)));
        key
    }

    fn cancel(&mut self, key: usize) {
        self.cancelled[key] = true;
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, key))) = self.heap.peek() {
            if !self.cancelled[*key] {
                return Some(*deadline);
            }
            self.heap.pop();
        }
        None
    }

    async fn expire(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.heap.pop();
            count += 1;
        }
        count
    }
}

struct Delays(DelayQueue<u32>);

impl Timers for Delays {
    type Key = delay_queue::Key;

    fn new() -> Self {
        Self(DelayQueue::new())
    }

    fn insert(&mut self, deadline: Instant) -> delay_queue::Key {
        self.0.insert_at(1, deadline.into())
    }

    fn cancel(&mut self, key: delay_queue::Key) {
        black_box(self.0.remove(&key));
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let key = self.0.peek()?;
        Some(self.0.deadline(&key).into())
    }

    async fn expire(&mut self, _now: Instant) -> usize {
        let mut count = 0;
        while poll_fn(|cx| self.0.poll_expired(cx)).await.is_some() {
            count += 1;
        }
        count
    }
}

/// How far the timers reach that are to expire.
const SOON: Duration = Duration::from_millis(50);

/// Nanoseconds for each of: insert, next deadline, cancel, expire.
async fn time<T: Timers>(count: usize) -> [f64; 4] {
    let mut rng = StdRng::seed_from_u64(count as u64);
    let per = |begin: Instant| begin.elapsed().as_secs_f64() * 1e9 / count as f64;

    // Between a millisecond and a minute from now, as protocols have them.
    let now = Instant::now();
    let deadlines: Vec<_> = (0..count)
        .map(|_| now + Duration::from_micros(rng.random_range(1_000..60_000_000)))
        .collect();
    let mut timers = T::new();
    let begin = Instant::now();
    let mut keys: Vec<_> = deadlines.iter().map(|at| timers.insert(*at)).collect();
    let insert = per(begin);

    // After every change, as an event loop asks.
    let mut next = Duration::ZERO;
    for deadline in deadlines.iter().take(count.min(1000)) {
        let key = timers.insert(*deadline);
        let begin = Instant::now();
        black_box(timers.next_deadline());
        next += begin.elapsed();
        timers.cancel(key);
    }
    let next = next.as_secs_f64() * 1e9 / count.min(1000) as f64;

    // Not in the order in which they came.
    for index in (1..keys.len()).rev() {
        keys.swap(index, rng.random_range(0..=index));
    }
    let begin = Instant::now();
    for key in keys {
        timers.cancel(key);
    }
    let cancel = per(begin);

    let mut timers = T::new();
    let now = Instant::now();
    for _ in 0..count {
        timers
            .insert(now + Duration::from_micros(rng.random_range(1_000..SOON.as_micros() as u64)));
    }
    std::thread::sleep(SOON + Duration::from_millis(10));
    let begin = Instant::now();
    let expired = timers.expire(begin).await;
    let expire = per(begin);
    assert_eq!(expired, count);
    [insert, next, cancel, expire]
}

fn timers(args: &Args) {
    let names = ["wheel", "BinaryHeap", "DelayQueue"];
    let table = Table::new(args, "Timers", &names);
    let counts: &[usize] = match args.quick {
        true => &[100, 10_000, 100_000],
        false => &[100, 1_000, 10_000, 100_000, 1_000_000],
    };
    for &count in counts
        .iter()
        .filter(|count| args.wants(&format!("{count} timers")))
    {
        let mut samples: [Vec<Vec<f64>>; 4] = std::array::from_fn(|_| vec![Vec::new(); 3]);
        for _ in 0..args.repetitions() {
            let runs = on_one_thread(async {
                [
                    time::<Wheel>(count).await,
                    time::<Heap>(count).await,
                    time::<Delays>(count).await,
                ]
            });
            for (contestant, run) in runs.iter().enumerate() {
                for (what, figure) in run.iter().enumerate() {
                    samples[what][contestant].push(*figure);
                }
            }
        }
        for (what, samples) in ["insert", "next deadline", "cancel", "expire"]
            .iter()
            .zip(&samples)
        {
            table.row(
                &format!("{count} timers: {what}"),
                "ns",
                Better::Lower,
                samples,
            );
        }
    }
}

/// A task that waits until its gate opens.
struct Waiting(Arc<Gate>);

#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn open(&self) {
        let mut gate = self.0.lock().expect("no panic");
        gate.0 = true;
        let waker = gate.1.take();
        drop(gate);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.0.0.lock().expect("no panic");
        if gate.0 {
            return Poll::Ready(());
        }
        gate.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A collection of tasks.
trait Tasks {
    fn new() -> Self;
    fn insert(&mut self, task: Waiting);
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

struct Slab(TaskSlab<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Tasks for Slab {
    fn new() -> Self {
        Self(TaskSlab::new())
    }

    fn insert(&mut self, task: Waiting) {
        self.0.insert(Box::pin(task));
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_next(cx).map(|_| ())
    }
}

struct Unordered(FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Tasks for Unordered {
    fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    fn insert(&mut self, task: Waiting) {
        self.0.push(Box::pin(task));
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.0).poll_next(cx) {
            Poll::Ready(Some(())) => Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

struct Set(JoinSet<()>);

impl Tasks for Set {
    fn new() -> Self {
        Self(JoinSet::new())
    }

    fn insert(&mut self, task: Waiting) {
        self.0.spawn(task);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.poll_join_next(cx) {
            Poll::Ready(Some(_)) => Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Wakes `ready` of `count` tasks at a time and waits for them, each of which makes room for the
/// next. Nanoseconds for a task.
async fn turn<T: Tasks>(count: usize, ready: usize) -> f64 {
    let mut tasks = T::new();
    let mut gates = std::collections::VecDeque::new();
    let insert = |tasks: &mut T, gates: &mut std::collections::VecDeque<_>| {
        let gate = Arc::new(Gate::default());
        tasks.insert(Waiting(gate.clone()));
        gates.push_back(gate);
    };
    for _ in 0..count {
        insert(&mut tasks, &mut gates);
    }
    // Everyone is polled once, and waits from then on.
    let mut settled = 0;
    poll_fn(|cx| {
        let pending = tasks.poll_next(cx).is_pending();
        assert!(pending, "no gate is open");
        settled += 1;
        if settled > 2 + count / 32 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    let rounds = (20_000 / ready).max(3);
    let begin = Instant::now();
    for _ in 0..rounds {
        for gate in gates.drain(..ready) {
            gate.open();
        }
        for _ in 0..ready {
            poll_fn(|cx| tasks.poll_next(cx)).await;
        }
        for _ in 0..ready {
            insert(&mut tasks, &mut gates);
        }
    }
    begin.elapsed().as_secs_f64() * 1e9 / (rounds * ready) as f64
}

fn tasks(args: &Args) {
    let names = ["slab", "FuturesUnordered", "JoinSet"];
    let table = Table::new(args, "Tasks", &names);
    let counts: &[usize] = match args.quick {
        true => &[10, 1_000],
        false => &[10, 1_000, 100_000],
    };
    for &count in counts {
        for (ready, share) in [(1, "one ready at a time"), (count, "all ready at once")] {
            let name = format!("{count} tasks, {share}");
            if !args.wants(&name) {
                continue;
            }
            let mut samples = vec![Vec::new(); 3];
            for _ in 0..args.repetitions() {
                on_one_thread(async {
                    samples[0].push(turn::<Slab>(count, ready).await);
                    samples[1].push(turn::<Unordered>(count, ready).await);
                    samples[2].push(turn::<Set>(count, ready).await);
                });
            }
            table.row(&name, "ns a task", Better::Lower, &samples);
        }
    }
}
