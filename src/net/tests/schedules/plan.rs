//! Schedules, made up from a seed.

use std::{collections::BTreeSet, fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{is_member, small::Small};
use crate::{
    net::{
        Limits,
        tests::world::{World, ms, secs},
        transport::memory::DialFault,
    },
    proto::{Config, plumtree},
};

/// Messages that a new neighbor is told of, where it is told of any.
pub(super) const HISTORY: usize = 1024;

/// What is done to the swarm.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Start(usize),
    Join {
        n: usize,
        topic: usize,
        through: Vec<usize>,
    },
    Leave {
        n: usize,
        topic: usize,
    },
    /// `count` messages at once.
    Broadcast {
        n: usize,
        topic: usize,
        size: usize,
        count: usize,
    },
    Crash(usize),
    Shutdown(usize),
    /// The last handle is dropped.
    Stop(usize),
    Split(Vec<usize>),
    Heal,
    /// The others hear nothing from these, but these hear the others.
    Muffle(Vec<usize>),
    Lose {
        a: (usize, bool),
        b: (usize, bool),
    },
    /// One way.
    Cut {
        from: usize,
        to: usize,
    },
    Mend {
        from: usize,
        to: usize,
    },
    StopReads {
        n: usize,
        millis: u64,
    },
    SlowReads {
        n: usize,
        rate: Option<u32>,
    },
    Latency {
        from: u64,
        to: u64,
    },
    Far {
        n: usize,
        millis: u64,
    },
    Dials {
        to: usize,
        fault: Option<DialFault>,
    },
    Jump {
        millis: u64,
    },
    /// The machine of a node is suspended.
    Sleep(usize),
    Wake(usize),
    /// The application does not read what happens in a topic, or does so again.
    Read {
        n: usize,
        topic: usize,
        reads: bool,
    },
    ChangeAddress(usize),
    /// Peers may open so many streams towards a node, on connections made from now on.
    Streams {
        n: usize,
        limit: u64,
    },
}

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) topics: usize,
    /// Whether neighbors that come up are told of earlier messages.
    pub(super) history: bool,
    pub(super) shuffle_secs: u64,
    /// How many events wait for an application.
    pub(super) capacity: usize,
    max_message_size: usize,
    pub(super) small: Small,
    pub(super) ops: Vec<(Duration, Op)>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            nodes,
            topics,
            history,
            shuffle_secs,
            capacity,
            max_message_size,
            small,
            ops,
        } = self;
        writeln!(
            f,
            "seed {seed}: {nodes} nodes, {topics} topics, history {history}, a shuffle in \
             {shuffle_secs} s, {capacity} events, frames of {max_message_size}"
        )?;
        write!(f, "{small}")?;
        ops.iter()
            .try_for_each(|(at, op)| writeln!(f, "  {:>8.3} {op:?}", at.as_secs_f64()))
    }
}

struct Maker {
    rng: StdRng,
    plan: Plan,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut plan = Self {
            seed,
            nodes: rng.random_range(3..=12),
            topics: rng.random_range(1..=3),
            history: rng.random_bool(0.5),
            shuffle_secs: [3, 5, 8, 13, 20][rng.random_range(0..5)],
            capacity: if rng.random_bool(0.2) { 16 } else { 2048 },
            max_message_size: if rng.random_bool(0.2) { 512 } else { 4096 },
            small: Small::default(),
            ops: Vec::new(),
        };
        plan.small = Small::draw(seed, plan.nodes, plan.topics);
        let mut maker = Maker { rng, plan };
        maker.make();
        let mut plan = maker.plan;
        let before = plan.ops.last().map_or(Duration::ZERO, |(at, _)| *at);
        let size = (plan.nodes, plan.topics);
        let storms = plan.small.storms(seed, size, plan.max_content(), before);
        plan.ops.extend(storms);
        plan.ops.sort_by_key(|(at, _)| *at);
        plan
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Config {
            max_message_size: self.max_message_size,
            ..Config::default()
        };
        config.membership.shuffle_interval = secs(self.shuffle_secs);
        config
    }

    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.protocol.late_join_history = if self.history { HISTORY } else { 0 };
        limits
    }

    pub(super) fn max_content(&self) -> usize {
        plumtree::max_content_size(self.max_message_size)
    }

    /// How long it takes until everything is as it should be again: until no old connection is taken
    /// for sound any more, and at the most.
    pub(super) fn settling(&self) -> (Duration, Duration) {
        (secs(35), secs(40 + 8 * self.shuffle_secs))
    }
}

/// Whether those who take part in a topic know of each other, over any number of corners: who
/// joins later is told of who is there. A node that left and came back may be unknown to all.
/// Whoever has no room for peers that it does not need may have had none for who wants to join, and
/// then does not count where `closed` says so.
pub(super) fn could_be_whole(world: &World, topic: usize, closed: bool) -> bool {
    let members = world.nodes.keys().copied();
    let members: BTreeSet<usize> = members.filter(|n| is_member(world, *n, topic)).collect();
    let of = |n: usize| {
        let subscriptions = world.nodes[&n].subscriptions.iter();
        subscriptions.filter(move |one| one.topic == topic && !one.ended)
    };
    let knows = |a: usize, b: usize| {
        let since = of(b).map(|one| one.since).min();
        // What happens at one instant, after a jump of the clock, may have been in any order.
        let refused = world.refused.get(&b);
        let is_closed = closed && refused.is_some_and(|at| *at + secs(30) > world.now());
        !is_closed && of(a).any(|one| one.through.contains(&b) && Some(one.since) > since)
    };
    let mut reached = BTreeSet::new();
    let mut next: Vec<usize> = members.first().copied().into_iter().collect();
    while let Some(n) = next.pop() {
        if reached.insert(n) {
            let others = members.iter().copied();
            next.extend(others.filter(|other| knows(n, *other) || knows(*other, n)));
        }
    }
    reached == members
}

impl Maker {
    fn make(&mut self) {
        let nodes = self.plan.nodes;
        let mut at = Duration::ZERO;
        for n in 0..nodes {
            self.push(at, Op::Start(n));
            for topic in 0..self.plan.topics {
                if self.rng.random_bool(0.85) {
                    let later = ms(self.rng.random_range(0..2000));
                    let through = self.draw_contacts(n);
                    self.push(at + later, Op::Join { n, topic, through });
                }
            }
            at += ms(self.rng.random_range(0..500));
        }
        if self.rng.random_bool(0.3) {
            let (from, to) = *self.draw_from(&[(1, 2), (0, 1), (50, 100), (5, 300), (150, 250)]);
            self.push(Duration::ZERO, Op::Latency { from, to });
        }
        let faults = self.rng.random_bool(0.85);
        if self.rng.random_bool(0.3) {
            for n in 0..nodes {
                // Each topic needs one, and that is all that can be counted on.
                let limit = self.plan.topics as u64 + self.rng.random_range(0..4);
                if self.rng.random_bool(0.5) {
                    self.push(Duration::ZERO, Op::Streams { n, limit });
                }
            }
        }
        let end = at + secs(self.rng.random_range(10..60));
        while at < end {
            at += ms(self.rng.random_range(1..1500));
            match self.rng.random_range(0..100) {
                0..55 => self.broadcast(at),
                55..75 => self.come_or_go(at),
                _ if faults => self.fault(at),
                _ => {}
            }
        }
        self.end_faults(end + secs(20));
    }

    fn push(&mut self, at: Duration, op: Op) {
        self.plan.ops.push((at, op));
    }

    fn draw_from<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.rng.random_range(0..list.len())]
    }

    fn draw_node(&mut self) -> usize {
        self.rng.random_range(0..self.plan.nodes)
    }

    fn draw_topic(&mut self) -> usize {
        self.rng.random_range(0..self.plan.topics)
    }

    fn draw_pair(&mut self) -> (usize, usize) {
        let a = self.draw_node();
        let b = (a + self.rng.random_range(1..self.plan.nodes)) % self.plan.nodes;
        (a, b)
    }

    /// Whom to join through: most often node 0, and some others.
    fn draw_contacts(&mut self, n: usize) -> Vec<usize> {
        let mut contacts = BTreeSet::new();
        if self.rng.random_bool(0.85) {
            contacts.insert(0);
        }
        for _ in 0..self.rng.random_range(0..3) {
            let other = self.draw_node();
            contacts.insert(other);
        }
        contacts.remove(&n);
        contacts.into_iter().collect()
    }

    fn broadcast(&mut self, at: Duration) {
        let (n, topic) = (self.draw_node(), self.draw_topic());
        let max = self.plan.max_content();
        let size = match self.rng.random_range(0..4) {
            0 => max,
            1 => self.rng.random_range(8..max),
            _ => self.rng.random_range(8..200),
        };
        let count = if self.rng.random_bool(0.15) {
            self.rng.random_range(2..80)
        } else {
            1
        };
        let op = Op::Broadcast {
            n,
            topic,
            size,
            count,
        };
        self.push(at, op);
    }

    fn come_or_go(&mut self, at: Duration) {
        let (n, topic) = (self.draw_node(), self.draw_topic());
        let through = self.draw_contacts(n);
        let later = match self.rng.random_range(0..3) {
            0 => Duration::ZERO,
            1 => ms(self.rng.random_range(1..100)),
            _ => ms(self.rng.random_range(100..10_000)),
        };
        match self.rng.random_range(0..11) {
            0..6 => {
                self.push(at, Op::Leave { n, topic });
                self.push(at + later, Op::Join { n, topic, through });
            }
            10 => self.meet(at, topic),
            6 => self.push(at, Op::Leave { n, topic }),
            7 => self.push(at, Op::Join { n, topic, through }),
            kind => {
                let end = if kind == 8 {
                    Op::Shutdown(n)
                } else {
                    Op::Stop(n)
                };
                self.push(at, end);
                self.restart(at + later + secs(3), n);
            }
        }
    }

    /// Two nodes join through each other at the same moment, and so dial each other at once.
    fn meet(&mut self, at: Duration, topic: usize) {
        let (a, b) = self.draw_pair();
        for n in [a, b] {
            self.push(at, Op::Leave { n, topic });
        }
        // Long enough for the connection to be closed, sometimes.
        let at = at + ms(self.rng.random_range(0..4) * 500);
        for (n, through) in [(a, vec![b]), (b, vec![a, 0])] {
            let through = through.into_iter().filter(|other| *other != n).collect();
            self.push(at, Op::Join { n, topic, through });
        }
    }

    fn restart(&mut self, at: Duration, n: usize) {
        self.push(at, Op::Start(n));
        for topic in 0..self.plan.topics {
            if self.rng.random_bool(0.9) {
                let through = self.draw_contacts(n);
                self.push(at, Op::Join { n, topic, through });
            }
        }
    }

    fn fault(&mut self, at: Duration) {
        let n = self.draw_node();
        let (a, b) = self.draw_pair();
        let later = at + ms(self.rng.random_range(10..25_000));
        match self.rng.random_range(0..18) {
            0 | 1 => {
                self.push(at, Op::Crash(n));
                self.restart(later, n);
            }
            2 => {
                let nodes = 0..self.plan.nodes;
                let island = nodes.filter(|_| self.rng.random_bool(0.4)).collect();
                self.push(at, Op::Split(island));
                self.push(later, Op::Heal);
            }
            3 | 4 => {
                let (a_notices, b_notices) = (self.rng.random(), self.rng.random());
                let op = Op::Lose {
                    a: (a, a_notices),
                    b: (b, b_notices),
                };
                self.push(at, op);
            }
            5 => {
                self.push(at, Op::Cut { from: a, to: b });
                self.push(later, Op::Mend { from: a, to: b });
            }
            6 => {
                let millis = self.rng.random_range(10..20_000);
                self.push(at, Op::StopReads { n, millis });
            }
            7 => {
                let rate = Some(self.rng.random_range(500..50_000));
                self.push(at, Op::SlowReads { n, rate });
                self.push(later, Op::SlowReads { n, rate: None });
            }
            8 => {
                let millis = self.rng.random_range(10..400);
                self.push(at, Op::Far { n, millis });
                self.push(later, Op::Far { n, millis: 0 });
            }
            9 | 10 => {
                let faults = [DialFault::Impossible, DialFault::Refused, DialFault::Hangs];
                let fault = Some(*self.draw_from(&faults));
                self.push(at, Op::Dials { to: n, fault });
                self.push(later, Op::Dials { to: n, fault: None });
            }
            11 => {
                let nodes = 0..self.plan.nodes;
                let muffled = nodes.filter(|_| self.rng.random_bool(0.4)).collect();
                self.push(at, Op::Muffle(muffled));
                self.push(later, Op::Muffle(Vec::new()));
            }
            12 | 13 => {
                self.push(at, Op::Sleep(n));
                self.push(later, Op::Wake(n));
            }
            14 => self.crash_in_a_jump(at, n),
            15 | 16 => {
                let topic = self.draw_topic();
                let read = |reads| Op::Read { n, topic, reads };
                self.push(at, read(false));
                self.push(later, read(true));
            }
            _ => {
                let op = if self.rng.random_bool(0.5) {
                    let millis = self.rng.random_range(100..40_000);
                    Op::Jump { millis }
                } else {
                    Op::ChangeAddress(n)
                };
                self.push(at, op);
            }
        }
    }

    /// A node crashes and comes back, and the clock jumps in between, or while it joins again.
    fn crash_in_a_jump(&mut self, at: Duration, n: usize) {
        let millis = self.rng.random_range(100..40_000);
        let jump = Op::Jump { millis };
        let later = at + ms(self.rng.random_range(0..1000));
        self.push(at, Op::Crash(n));
        if self.rng.random_bool(0.5) {
            self.push(at, jump);
            self.restart(later, n);
        } else {
            self.restart(at, n);
            self.push(later, jump);
        }
    }

    /// Nothing that was done lasts longer than this.
    fn end_faults(&mut self, at: Duration) {
        self.plan.ops.retain(|(when, _)| *when < at);
        self.push(at, Op::Heal);
        self.push(at, Op::Muffle(Vec::new()));
        self.push(at, Op::Latency { from: 5, to: 40 });
        for n in 0..self.plan.nodes {
            self.push(at, Op::SlowReads { n, rate: None });
            self.push(at, Op::Far { n, millis: 0 });
            self.push(at, Op::Dials { to: n, fault: None });
            self.push(at, Op::Wake(n));
            for topic in 0..self.plan.topics {
                let reads = true;
                self.push(at, Op::Read { n, topic, reads });
            }
            for to in 0..self.plan.nodes {
                self.push(at, Op::Mend { from: n, to });
            }
        }
        self.plan.ops.sort_by_key(|(at, _)| *at);
        // What never began need not end.
        let (mut cut, mut slept, mut unread) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        self.plan.ops.retain(|(_, op)| match op {
            Op::Cut { from, to } => {
                cut.insert((*from, *to));
                true
            }
            Op::Mend { from, to } => cut.contains(&(*from, *to)),
            Op::Sleep(n) => {
                slept.insert(*n);
                true
            }
            Op::Wake(n) => slept.contains(n),
            Op::Read { n, topic, reads } => {
                if !reads {
                    unread.insert((*n, *topic));
                }
                unread.contains(&(*n, *topic))
            }
            _ => true,
        });
    }
}
