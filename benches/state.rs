//! The protocol state without IO, ours and upstream's, fed with the same bytes.
//!
//! Each case prepares a state and a list of events, and measures only the events: nanoseconds
//! here, instructions under callgrind.
//!
//! ```sh
//! cargo bench --bench state -- --quick
//! cargo bench --bench state -- --instructions      # needs valgrind
//! cargo bench --bench state -- --memory
//! # One case alone, 500 events of it, for valgrind or perf:
//! cargo bench --bench state -- --callgrind new_100 ours 500
//! ```

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod support;

use std::{
    process::Command as Process,
    time::{Duration, Instant},
};

use smol_gossip::proto::{
    Message, MessageId, PeerInfo, Round,
    hyparview::{self, ForwardJoin, Shuffle, Ttl},
    plumtree::{self, Graft, IHave},
};
use support::{
    Args, Better, Table, kernel,
    machine::{Id, Machine, Ours, Upstream, gossip, neighbor, peer, populated, receive},
};

/// Time between events.
const STEP: Duration = Duration::from_millis(1);

/// Steps that are measured, after steps that are not.
struct Case {
    name: &'static str,
    what: &'static str,
    neighbors: u64,
    before: fn(u64) -> Option<Message<Id>>,
    event: fn(u64) -> (u64, Message<Id>),
    /// Events for one state, so that no bound of ours makes them cheap.
    count: u64,
}

const CASES: &[Case] = &[
    Case {
        name: "new_100",
        what: "new message of 100 B, 2 eager peers",
        neighbors: 2,
        before: |_| None,
        event: |n| (1, gossip(n, 100)),
        count: 10_000,
    },
    Case {
        name: "new_1k",
        what: "new message of 1 KiB, 2 eager peers",
        neighbors: 2,
        before: |_| None,
        event: |n| (1, gossip(n, 1024)),
        count: 5_000,
    },
    Case {
        name: "new_4k",
        what: "new message of 4,000 B, 2 eager peers",
        neighbors: 2,
        before: |_| None,
        event: |n| (1, gossip(n, 4000)),
        count: 2_000,
    },
    Case {
        name: "duplicate_100",
        what: "duplicate of 100 B",
        neighbors: 2,
        before: |n| (n == 0).then(|| gossip(0, 100)),
        event: |_| (2, gossip(0, 100)),
        count: 10_000,
    },
    Case {
        name: "duplicate_4k",
        what: "duplicate of 4,000 B",
        neighbors: 2,
        before: |n| (n == 0).then(|| gossip(0, 4000)),
        event: |_| (2, gossip(0, 4000)),
        count: 5_000,
    },
    Case {
        name: "ihave_1_known",
        what: "IHave of 1 known id",
        neighbors: 2,
        before: |n| (n == 0).then(|| gossip(0, 100)),
        event: |_| (2, ihave(0..1, true)),
        count: 10_000,
    },
    Case {
        name: "ihave_1_new",
        what: "IHave of 1 new id",
        neighbors: 2,
        before: |_| None,
        event: |n| (2, ihave(n..n + 1, false)),
        count: 4_000,
    },
    Case {
        name: "ihave_100_known",
        what: "IHave of 100 known ids",
        neighbors: 2,
        before: |n| (n < 100).then(|| gossip(n, 100)),
        event: |_| (2, ihave(0..100, true)),
        count: 1_000,
    },
    Case {
        name: "ihave_100_new",
        what: "IHave of 100 new ids",
        neighbors: 2,
        before: |_| None,
        event: |n| (2, ihave(n * 100..(n + 1) * 100, false)),
        count: 40,
    },
    Case {
        name: "prune",
        what: "Prune",
        neighbors: 5,
        before: |_| None,
        event: |n| (1 + n % 5, Message::Gossip(plumtree::Message::Prune)),
        count: 10_000,
    },
    Case {
        name: "graft",
        what: "Graft of a cached message of 100 B",
        neighbors: 5,
        before: |n| (n == 0).then(|| gossip(0, 100)),
        event: |n| (1 + n % 5, graft(0)),
        count: 5_000,
    },
    Case {
        name: "forward_join",
        what: "ForwardJoin, kept as passive and walking on",
        neighbors: 5,
        before: |_| None,
        event: |n| {
            let join = ForwardJoin {
                peer: info(100 + n),
                ttl: Ttl(3),
            };
            (
                1 + n % 5,
                Message::Swarm(hyparview::Message::ForwardJoin(join)),
            )
        },
        count: 5_000,
    },
    Case {
        name: "shuffle",
        what: "Shuffle of 8 nodes at the end of its walk",
        neighbors: 5,
        before: |_| None,
        event: |n| {
            let shuffle = Shuffle {
                origin: peer(100 + n % 50),
                nodes: (0..8).map(|k| info(200 + (n * 3 + k) % 100)).collect(),
                ttl: Ttl(0),
            };
            (
                1 + n % 5,
                Message::Swarm(hyparview::Message::Shuffle(shuffle)),
            )
        },
        count: 2_000,
    },
    Case {
        name: "neighbor",
        what: "Neighbor of high priority to a full view",
        neighbors: 5,
        before: |_| None,
        event: |n| (100 + n, neighbor()),
        count: 2_000,
    },
];

fn info(n: u64) -> PeerInfo<Id> {
    PeerInfo {
        id: peer(n),
        data: None,
    }
}

fn ihave(numbers: std::ops::Range<u64>, known: bool) -> Message<Id> {
    let ids = numbers.map(|n| IHave {
        id: match known {
            true => MessageId::from_content(&support::node::message(n, 100)),
            false => MessageId::from_bytes(peer(n)),
        },
        round: Round::from(3),
    });
    Message::Gossip(plumtree::Message::IHave(ids.collect()))
}

fn graft(n: u64) -> Message<Id> {
    Message::Gossip(plumtree::Message::Graft(Graft {
        id: Some(MessageId::from_content(&support::node::message(n, 100))),
        round: Round::from(3),
    }))
}

/// Events that are made ready at once. A node has just read what it handles, so it is in the processor's
/// cache; thousands of large messages would not be.
const READY: usize = 32;

/// A state that is ready for the first event of a case, and all its events.
fn prepare<M: Machine>(case: &Case, now: Instant) -> (M, impl Iterator<Item = M::Event>) {
    let mut machine = populated::<M>(case.neighbors, now);
    for message in (0..).map_while(case.before) {
        machine.handle(M::event(&receive((1, message))), now);
    }
    let events = (0..case.count).map(|n| M::event(&receive((case.event)(n))));
    (machine, events)
}

/// Nanoseconds for an event.
fn time<M: Machine>(case: &Case) -> f64 {
    let mut now = Instant::now();
    let (mut machine, mut all) = prepare::<M>(case, now);
    let mut events = Vec::with_capacity(READY);
    let mut taken = Duration::ZERO;
    loop {
        events.extend(all.by_ref().take(READY));
        if events.is_empty() {
            return taken.as_secs_f64() * 1e9 / case.count as f64;
        }
        let begin = Instant::now();
        for event in events.drain(..) {
            now += STEP;
            machine.handle(event, now);
        }
        taken += begin.elapsed();
    }
}

/// Handles some of the events of a case.
fn run<M: Machine>(case: &Case, count: usize) {
    let mut now = Instant::now();
    let (mut machine, events) = prepare::<M>(case, now);
    // All are made, also where fewer are handled: two runs differ by the events alone.
    let events: Vec<_> = events.collect();
    events.into_iter().take(count).for_each(|event| {
        now += STEP;
        machine.handle(event, now);
    });
    // Taking things down is not part of an event.
    std::mem::forget(machine);
}

fn main() {
    let args = Args::from_env();
    match args.rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--callgrind", name, contestant, count] => {
            let case = CASES.iter().find(|case| case.name == name);
            let case = case.expect("the name of a case");
            let count = count.parse().expect("a count of events");
            match contestant {
                "ours" => run::<Ours>(case, count),
                _ => run::<Upstream>(case, count),
            }
        }
        ["--instructions"] => instructions(&args),
        ["--memory"] => memory(&args),
        _ => {
            // First, or what it takes is what the others have freed.
            memory(&args);
            nanoseconds(&args);
        }
    }
}

fn nanoseconds(args: &Args) {
    let table = Table::new(args, "The protocol state, by event", &["ours", "upstream"]);
    for case in CASES.iter().filter(|case| args.wants(case.name)) {
        let mut samples = vec![Vec::new(); 2];
        for _ in 0..args.repetitions() {
            samples[0].push(time::<Ours>(case));
            samples[1].push(time::<Upstream>(case));
        }
        table.row(case.what, "ns", Better::Lower, &samples);
    }
}

/// Counts instructions by running this program again, twice for each figure: what two runs of
/// different length differ by is the events alone.
fn instructions(args: &Args) {
    let title = "The protocol state, by event, under callgrind";
    let table = Table::new(args, title, &["ours", "upstream"]);
    for case in CASES.iter().filter(|case| args.wants(case.name)) {
        let (few, many) = (case.count / 4, case.count / 2);
        let samples = ["ours", "upstream"].map(|contestant| {
            let (Some(few_cost), Some(many_cost)) = (
                callgrind(case.name, contestant, few),
                callgrind(case.name, contestant, many),
            ) else {
                return Vec::new();
            };
            let events = (many - few) as f64;
            vec![many_cost.saturating_sub(few_cost) as f64 / events]
        });
        table.row(case.what, "instructions", Better::Lower, &samples);
    }
}

fn callgrind(case: &str, contestant: &str, count: u64) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let output = Process::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--callgrind", case, contestant, &count.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What an idle state with a full active view takes.
fn memory(args: &Args) {
    const STATES: u64 = 10_000;
    fn grow<M: Machine>(now: Instant) -> (f64, Vec<M>) {
        let before = kernel::resident();
        let states: Vec<M> = (0..STATES)
            .map(|_| {
                let mut machine: M = populated(5, now);
                machine.rest();
                machine
            })
            .collect();
        let grown = kernel::resident().saturating_sub(before);
        (grown as f64 / STATES as f64, states)
    }
    let table = Table::new(args, "The protocol state, at rest", &["ours", "upstream"]);
    let now = Instant::now();
    // Both are kept: what the one frees would be given to the other.
    let (ours, _kept_ours) = grow::<Ours>(now);
    let (upstream, _kept_upstream) = grow::<Upstream>(now);
    let samples = [vec![ours], vec![upstream]];
    table.row(
        "idle topic with 5 neighbors",
        "bytes",
        Better::Lower,
        &samples,
    );
}
