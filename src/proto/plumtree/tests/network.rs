//! A small swarm in virtual time: everybody gets everything exactly once, and trees form and heal.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, seq::SliceRandom};

use super::*;

/// A swarm on a fixed overlay. Links are reliable and in order, each with its own delay, until they
/// are cut.
struct Swarm {
    nodes: Vec<State<u32>>,
    counters: Counters,
    links: BTreeMap<(u32, u32), Duration>,
    /// Links that swallow everything, in both directions.
    dead: BTreeSet<(u32, u32)>,
    flying: BTreeMap<(At, u64), (u32, u32, Message)>,
    sent: u64,
    now: At,
    /// Deliveries by content and node.
    delivered: BTreeMap<(Bytes, u32), usize>,
    payloads: usize,
    last_hop: u16,
}

impl Swarm {
    fn new(size: u32, degree: usize, seed: u64) -> Self {
        println!("seed {seed}, {size} nodes");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut links = BTreeSet::new();
        // A ring, so that it hangs together, and chords.
        for node in 0..size {
            links.insert((node, (node + 1) % size));
        }
        while links.len() < size as usize * degree / 2 {
            let (a, b) = (rng.random_range(0..size), rng.random_range(0..size));
            if a != b && !links.contains(&(a, b)) && !links.contains(&(b, a)) {
                links.insert((a, b));
            }
        }
        let mut swarm = Self {
            nodes: (0..size)
                .map(|me| {
                    let keyed = Keyed::new(&mut rng);
                    State::new(
                        me,
                        settings(&Config::default(), &Limits::default(), 4096),
                        keyed,
                    )
                })
                .collect(),
            counters: Counters::default(),
            links: BTreeMap::new(),
            dead: BTreeSet::new(),
            flying: BTreeMap::new(),
            sent: 0,
            now: start(),
            delivered: BTreeMap::new(),
            payloads: 0,
            last_hop: 0,
        };
        let mut links: Vec<_> = links.into_iter().collect();
        links.shuffle(&mut rng);
        for (a, b) in links {
            let delay = ms(rng.random_range(1..20));
            swarm.links.insert((a, b), delay);
            swarm.links.insert((b, a), delay);
            swarm.input(a, Input::NeighborUp(b));
            swarm.input(b, Input::NeighborUp(a));
        }
        swarm
    }

    fn input(&mut self, node: u32, input: Input<u32>) {
        let mut output = Output::default();
        self.nodes[node as usize].handle(input, self.now, &mut self.counters, &mut output);
        self.carry_out(node, output);
    }

    fn broadcast(&mut self, node: u32, content: Bytes) {
        let mut output = Output::default();
        let (now, counters) = (self.now, &mut self.counters);
        self.nodes[node as usize].broadcast(
            &mut content.into(),
            Scope::Swarm,
            now,
            counters,
            &mut output,
        );
        self.carry_out(node, output);
    }

    fn carry_out(&mut self, node: u32, output: Output) {
        for (to, message) in output.sent {
            let Some(delay) = self.links.get(&(node, to)) else {
                continue;
            };
            self.payloads += usize::from(matches!(message, Message::Gossip(_)));
            self.sent += 1;
            self.flying
                .insert((self.now + *delay, self.sent), (node, to, message));
        }
        for event in output.delivered {
            if let DeliveryScope::Swarm(round) = event.scope {
                self.last_hop = self.last_hop.max(round.hops() + 1);
            }
            *self.delivered.entry((event.content, node)).or_default() += 1;
        }
    }

    /// Lets everything happen that happens in the next `duration`.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let deadlines = self.nodes.iter_mut().enumerate();
            let deadline = deadlines
                .filter_map(|(node, state)| Some((state.next_deadline().get()?, node)))
                .min();
            let next = arrival.into_iter().chain(deadline.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = next;
            if arrival == Some(next) {
                if let Some((_, (from, to, message))) = self.flying.pop_first()
                    && self.links.contains_key(&(from, to))
                    && !self.dead.contains(&(from, to))
                {
                    let mut output = Output::default();
                    let node = &mut self.nodes[to as usize];
                    node.receive(
                        from,
                        message,
                        false,
                        self.now,
                        &mut self.counters,
                        &mut output,
                    );
                    self.carry_out(to, output);
                }
            } else if let Some((_, node)) = deadline {
                let mut output = Output::default();
                self.nodes[node].handle_timeout(next, &mut self.counters, &mut output);
                self.carry_out(node as u32, output);
            }
        }
        self.now = end;
    }

    fn swallow(&mut self, a: u32, b: u32) {
        self.dead.extend([(a, b), (b, a)]);
    }

    fn cut(&mut self, a: u32, b: u32) {
        self.links.remove(&(a, b));
        self.links.remove(&(b, a));
        self.input(a, Input::NeighborDown(b));
        self.input(b, Input::NeighborDown(a));
    }

    /// Publishes a message and gives it time to spread. Returns its payloads beyond the necessary
    /// ones, per node.
    fn publish(&mut self, from: u32, content: &str) -> f64 {
        let before = self.payloads;
        let bytes = Bytes::copy_from_slice(content.as_bytes());
        self.broadcast(from, bytes);
        self.run(Duration::from_secs(5));
        (self.payloads - before) as f64 / (self.nodes.len() - 1) as f64 - 1.0
    }

    fn assert_everyone_has(&self, from: u32, content: &str) {
        let content = Bytes::copy_from_slice(content.as_bytes());
        for node in (0..self.nodes.len() as u32).filter(|node| *node != from) {
            let times = self.delivered.get(&(content.clone(), node)).copied();
            assert_eq!(times, Some(1), "node {node}, {content:?}");
        }
    }

    /// The links over which payloads go.
    fn eager_links(&self) -> BTreeSet<(u32, u32)> {
        let nodes = self.nodes.iter().zip(0u32..);
        nodes
            .flat_map(|(state, node)| state.eager().map(move |peer| (node, *peer)))
            .collect()
    }
}

#[test]
fn a_single_sender_gets_a_tree() {
    for seed in 0..10 {
        let mut swarm = Swarm::new(40, 5, seed);
        for number in 0..20 {
            let content = format!("message {number}");
            let redundancy = swarm.publish(3, &content);
            swarm.assert_everyone_has(3, &content);
            if number >= 10 {
                assert!(redundancy.abs() < 0.001, "{redundancy} at {number}");
            }
        }
        let eager = swarm.eager_links();
        let one_sided = eager.iter().filter(|(a, b)| !eager.contains(&(*b, *a)));
        assert_eq!(one_sided.count(), 0, "both ends see a link alike");
        assert_eq!(eager.len(), 2 * 39, "a spanning tree");
    }
}

#[test]
fn many_senders_at_once_reach_everyone_exactly_once() {
    for seed in 100..105 {
        let mut swarm = Swarm::new(30, 5, seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut published = Vec::new();
        for number in 0..200 {
            let from = rng.random_range(0..30);
            let content = format!("{number} of {from}");
            let bytes = Bytes::copy_from_slice(content.as_bytes());
            swarm.broadcast(from, bytes);
            swarm.run(ms(rng.random_range(0..30)));
            published.push((from, content));
        }
        swarm.run(Duration::from_secs(3));
        for (from, content) in &published {
            swarm.assert_everyone_has(*from, content);
        }
        let redundancy = swarm.payloads as f64 / (200.0 * 29.0) - 1.0;
        println!("redundancy {redundancy:.3}, last hop {}", swarm.last_hop);
        assert!(redundancy < 0.6, "{redundancy}");
    }
}

#[test]
fn what_a_dead_link_swallowed_comes_by_another_one() {
    for seed in 200..210 {
        let mut swarm = Swarm::new(30, 5, seed);
        let mut rng = StdRng::seed_from_u64(seed);
        for number in 0..8 {
            swarm.publish(0, &format!("before {number}"));
        }
        for cut in 0..10 {
            // Any link of the tree that is not needed to keep the overlay in one piece.
            let links: Vec<_> = swarm.eager_links().into_iter().collect();
            let bridges = |(a, b): &(u32, u32)| !swarm.holds_without(*a, *b);
            let links: Vec<_> = links.into_iter().filter(|link| !bridges(link)).collect();
            let (a, b) = links[rng.random_range(0..links.len())];
            swarm.swallow(a, b);
            let content = format!("unnoticed {cut}");
            swarm.publish(0, &content);
            swarm.assert_everyone_has(0, &content);
            swarm.cut(a, b);
            let content = format!("noticed {cut}");
            swarm.publish(0, &content);
            swarm.assert_everyone_has(0, &content);
        }
    }
}

impl Swarm {
    /// Whether the overlay is in one piece without a link.
    fn holds_without(&self, a: u32, b: u32) -> bool {
        let mut reached = BTreeSet::from([0]);
        let mut todo = vec![0];
        while let Some(node) = todo.pop() {
            for (_, next) in self.links.keys().filter(|(from, _)| *from == node) {
                let without = [(a, b), (b, a)].contains(&(node, *next));
                if !without && reached.insert(*next) {
                    todo.push(*next);
                }
            }
        }
        reached.len() == self.nodes.len()
    }
}
