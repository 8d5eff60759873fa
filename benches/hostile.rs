//! What honest nodes notice of hostile ones: how long messages take, and what is lost.
//!
//! Four honest nodes, all neighbors of each other, say something fifty times a second each. One of
//! them is attacked, by raw endpoints on a thread of their own, with each of the attacks that
//! `tests/hostile` has. A row compares the time from a broadcast to its deliveries while the attack
//! lasts with the time just before it, on the same nodes. Where there are two processors, the honest
//! nodes have one to themselves: an attacker on the same machine is woken by each packet to it, on
//! the processor that sent it, and would have the honest nodes wait for its own work, some
//! milliseconds at a time. What is left of that, in the kernel and in the caches, shows the
//! control: the same attack on an endpoint, on one more thread, that reads everything and does
//! nothing with it. Where the machine is busy with other things, times say little; how busy the
//! thread of the honest nodes was says more.
//!
//! ```sh
//! cargo bench --bench hostile
//! cargo bench --bench hostile -- --quick --markdown --only made_up
//! ```
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../tests/hostile/attacks/mod.rs"]
mod attacks;
mod support;

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use iroh::{Endpoint, EndpointId, address_lookup::memory::MemoryLookup};
use tokio::{sync::oneshot, task::JoinHandle};

use attacks::{Assault, Attack, Target};
use support::{
    Args, kernel,
    node::{Node, Ours, Windows, bind, on_one_thread},
    processors::Processors,
    quantile,
};

const TOPIC: [u8; 32] = [1; 32];

const NODES: usize = 4;

/// Between two messages of one node.
const INTERVAL: Duration = Duration::from_millis(20);

/// The size of a message, in bytes.
const SIZE: usize = 200;

/// How long messages may be late. Later ones are lost.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let args = Args::from_env();
    let time = args.time(Duration::from_secs(2), Duration::from_secs(5));
    if args.markdown {
        println!(
            "| attack | before: p50, p99 | control: p50, p99 | during: p50, p99 | p50 | p99 \
             | p99, to control | busy: before, control, during | lost | MiB | stopped in |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
    } else {
        println!("p50 and p99 in ms before, in the control, and during; how many times longer");
        println!(
            "than before (p50, p99) and than in the control (p99); how busy the thread of the"
        );
        println!("honest nodes was, in %; lost; MiB grown; s to stop");
    }
    let mut lost = 0;
    for attack in attacks::ALL.iter().filter(|one| args.wants(one.name)) {
        let runs: Vec<Run> = (0..args.repetitions())
            .map(|_| on_one_thread(run(*attack, time)))
            .collect();
        lost += runs.iter().map(|run| run.lost).sum::<usize>();
        print(&args, *attack, &runs);
    }
    assert_eq!(lost, 0, "nothing that honest nodes say is lost");
}

/// Deliveries of one phase, and the milliseconds that they took.
struct Phase {
    p50: f64,
    p99: f64,
    /// How busy the thread of the honest nodes was, in percent.
    busy: f64,
}

struct Run {
    before: Phase,
    /// While the same attack is at someone else.
    control: Phase,
    during: Phase,
    lost: usize,
    /// Memory of the process afterwards, attackers gone, against that before, in MiB.
    grown: f64,
    /// How long it took to stop all nodes, in seconds.
    stopped: f64,
}

fn print(args: &Args, attack: Attack, runs: &[Run]) {
    let median =
        |figure: fn(&Run) -> f64| quantile(&mut runs.iter().map(figure).collect::<Vec<_>>(), 0.5);
    let before = (median(|run| run.before.p50), median(|run| run.before.p99));
    let control = (median(|run| run.control.p50), median(|run| run.control.p99));
    let during = (median(|run| run.during.p50), median(|run| run.during.p99));
    let ratios = (
        median(|run| run.during.p50 / run.before.p50),
        median(|run| run.during.p99 / run.before.p99),
        median(|run| run.during.p99 / run.control.p99),
    );
    let busy = [
        median(|run| run.before.busy),
        median(|run| run.control.busy),
        median(|run| run.during.busy),
    ];
    let lost: usize = runs.iter().map(|run| run.lost).sum();
    let grown = median(|run| run.grown);
    let stopped = median(|run| run.stopped);
    let name = attack.name.replace('_', " ");
    let [before_busy, control_busy, during_busy] = busy;
    let ((a50, a99), (b50, b99), (c50, c99)) = (before, control, during);
    let (r50, r99, to_control) = ratios;
    if args.markdown {
        println!(
            "| {name} | {a50:.2}, {a99:.2} ms | {b50:.2}, {b99:.2} ms | {c50:.2}, {c99:.2} ms \
             | {r50:.2}× | **{r99:.2}×** | {to_control:.2}× \
             | {before_busy:.0}, {control_busy:.0}, {during_busy:.0} % \
             | {lost} | {grown:.1} | {stopped:.2} s |"
        );
    } else {
        println!(
            "{name:<32} {a50:>6.2} {a99:>7.2}   {b50:>6.2} {b99:>7.2}   {c50:>6.2} {c99:>7.2}   \
             {r50:>5.2}× {r99:>5.2}× {to_control:>5.2}×   \
             {before_busy:>3.0} {control_busy:>3.0} {during_busy:>3.0}   \
             {lost:>4} {grown:>6.1} {stopped:>5.2}"
        );
    }
}

/// What was delivered, and where.
type Deliveries = Arc<Mutex<Vec<(u64, Duration)>>>;

struct Arena {
    nodes: Vec<Ours>,
    senders: Vec<<Ours as Node>::Sender>,
    listening: Vec<JoinHandle<()>>,
    deliveries: Deliveries,
    epoch: Instant,
    next: u64,
    book: MemoryLookup,
    processors: Processors,
}

impl Arena {
    async fn new() -> Self {
        let processors = Processors::divide();
        let book = MemoryLookup::new();
        let epoch = Instant::now();
        let deliveries = Deliveries::default();
        let mut nodes: Vec<Ours> = Vec::new();
        let mut senders = Vec::new();
        let mut listening = Vec::new();
        for _ in 0..NODES {
            let node = Ours::start(bind(&book, Windows::Default).await);
            let others = nodes.iter().map(Node::id).collect::<Vec<_>>();
            let alone = others.is_empty();
            let (sender, mut receiver) = node.subscribe(TOPIC, others).await;
            if !alone {
                Ours::joined(&mut receiver).await;
            }
            let deliveries = deliveries.clone();
            listening.push(tokio::spawn(async move {
                while let Some(content) = Ours::receive(&mut receiver).await {
                    if let Some((number, sent)) = read(&content) {
                        let took = epoch.elapsed().saturating_sub(sent);
                        let mut deliveries = deliveries.lock().expect("nothing panics in here");
                        deliveries.push((number, took));
                    }
                }
            }));
            nodes.push(node);
            senders.push(sender);
        }
        Self {
            nodes,
            senders,
            listening,
            deliveries,
            epoch,
            next: 0,
            book,
            processors,
        }
    }

    /// All talk for a while. Returns how long deliveries took, and how many there never were.
    async fn talk(&mut self, time: Duration) -> (Phase, usize) {
        let (began, ran) = (Instant::now(), kernel::cpu_of_this_thread());
        let first = self.next;
        let mut ticks = tokio::time::interval(INTERVAL);
        let end = Instant::now() + time;
        while Instant::now() < end {
            ticks.tick().await;
            for sender in &self.senders {
                Ours::broadcast(sender, write(self.next, self.epoch.elapsed())).await;
                self.next += 1;
            }
        }
        let ran = kernel::cpu_of_this_thread() - ran;
        let busy = 100.0 * ran.as_secs_f64() / began.elapsed().as_secs_f64();
        let expected = (self.next - first) as usize * (NODES - 1);
        let late = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        while taken.len() < expected && Instant::now() < late {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut deliveries = self.deliveries.lock().expect("nothing panics in here");
            let these = deliveries.extract_if(.., |(number, _)| *number >= first);
            taken.extend(these.map(|(_, took)| took.as_secs_f64() * 1000.0));
        }
        let lost = expected.saturating_sub(taken.len());
        let phase = Phase {
            p50: quantile(&mut taken, 0.5),
            p99: quantile(&mut taken, 0.99),
            busy,
        };
        (phase, lost)
    }

    /// All talk while an attack goes on.
    async fn under(
        &mut self,
        attack: Attack,
        target: Target,
        time: Duration,
        lost: &mut usize,
    ) -> Phase {
        let assault = self.processors.elsewhere(|| Assault::start(attack, target));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (took, lost_meanwhile) = self.talk(time).await;
        *lost += lost_meanwhile;
        assert!(assault.goes_on(), "{attack:?} goes on");
        tokio::task::spawn_blocking(|| drop(assault))
            .await
            .expect("the attack has not panicked");
        took
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
        for listening in self.listening {
            listening.await.expect("nothing panics");
        }
    }
}

async fn run(attack: Attack, time: Duration) -> Run {
    let mut arena = Arena::new().await;
    // The tree takes shape, and memory is what it will be.
    arena.talk(Duration::from_secs(1)).await;
    let memory = kernel::resident();
    let (before, mut lost) = arena.talk(time).await;

    let ids: Vec<_> = arena.nodes.iter().map(Node::id).collect();
    let target = |id| Target {
        id,
        topic: TOPIC.into(),
        book: arena.book.clone(),
        honest: ids[1..].to_vec(),
        foes: Arc::default(),
    };
    let start = || Ignoring::start(arena.book.clone());
    let (elsewhere, here) = (arena.processors.elsewhere(start), target(ids[0]));
    let there = target(elsewhere.id);
    let control = arena.under(attack, there, time, &mut lost).await;
    drop(elsewhere);
    let during = arena.under(attack, here, time, &mut lost).await;
    lost += arena.talk(Duration::from_secs(1)).await.1;
    let grown = kernel::resident() as f64 - memory as f64;
    let stopping = Instant::now();
    arena.stop().await;
    Run {
        before,
        control,
        during,
        lost,
        grown: grown / (1024.0 * 1024.0),
        stopped: stopping.elapsed().as_secs_f64(),
    }
}

/// An endpoint on a thread of its own that reads everything, and does nothing with it.
struct Ignoring {
    id: EndpointId,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ignoring {
    fn start(book: MemoryLookup) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            on_one_thread(async {
                let endpoint = bind(&book, Windows::Default).await;
                tell.send(endpoint.id()).expect("it is waited for");
                tokio::select! {
                    () = ignore(endpoint) => panic!("the endpoint is closed"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            id: told.recv().expect("it is bound"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Ignoring {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "it has panicked");
        }
    }
}

async fn ignore(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async {
            let Ok(connection) = incoming.await else {
                return;
            };
            while let Ok(mut stream) = connection.accept_uni().await {
                tokio::spawn(async move {
                    let mut chunks = [const { Bytes::new() }; 32];
                    while let Ok(Some(1..)) = stream.read_many_chunks(&mut chunks).await {}
                });
            }
        });
    }
}

/// What the messages of honest nodes begin with.
const HONEST: u8 = 0x01;

/// A message that says when it was sent.
fn write(number: u64, sent: Duration) -> Bytes {
    let mut content = vec![HONEST; SIZE];
    content[1..9].copy_from_slice(&number.to_be_bytes());
    content[9..17].copy_from_slice(&(sent.as_nanos() as u64).to_be_bytes());
    content.into()
}

fn read(content: &[u8]) -> Option<(u64, Duration)> {
    let (HONEST, rest) = content.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    let number = u64::from_be_bytes(*rest.first_chunk()?);
    let sent = u64::from_be_bytes(*rest.get(8..)?.first_chunk()?);
    Some((number, Duration::from_nanos(sent)))
}
