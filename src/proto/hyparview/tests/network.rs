//! A network of a few dozen nodes in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Until a connection is noticed to be dead.
pub(super) const PATH_TIMEOUT: Duration = secs(15);
/// Until a dial into nowhere is given up.
const DIAL_TIMEOUT: Duration = secs(5);

#[derive(Debug)]
enum Happening {
    /// `.1` dials `.2`, `.0` its incarnation.
    Dialed(u64, u32, u32),
    DialFailed(u64, u32, u32),
    Arrived {
        link: LinkId,
        from: u32,
        to: u32,
        message: Message<u32>,
    },
    /// The first notices that its connection to the second is gone.
    Lost(u32, u32),
}

pub(super) struct Network {
    pub(super) nodes: BTreeMap<u32, Node>,
    incarnations: BTreeMap<u32, u64>,
    /// Which part of a split network a node is in. 255: nowhere.
    parts: BTreeMap<u32, u8>,
    links: BTreeMap<(u32, u32), LinkId>,
    dialing: BTreeMap<(u32, u32), Vec<Message<u32>>>,
    happenings: BTreeMap<(At, u64), Happening>,
    sequence: u64,
    pub(super) now: At,
    seed: u64,
    /// One way between any two nodes.
    pub(super) latency: Duration,
    /// Messages sent, by kind.
    pub(super) sent: BTreeMap<&'static str, u64>,
}

fn pair(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self {
            nodes: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            parts: BTreeMap::new(),
            links: BTreeMap::new(),
            dialing: BTreeMap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            now: base(),
            seed,
            latency: ms(20),
            sent: BTreeMap::new(),
        }
    }

    /// Starts a node that joins through `contacts`.
    pub(super) fn start(&mut self, id: u32, contacts: impl IntoIterator<Item = u32>) {
        let incarnation = self.incarnations.entry(id).or_default();
        *incarnation += 1;
        let node = Node::with(
            id,
            self.seed.wrapping_add(*incarnation),
            Config::default(),
            Limits::default(),
            DEFAULT_MAX_MESSAGE_SIZE,
        );
        self.nodes.insert(id, node);
        self.feed(id, Input::Join(contacts.into_iter().collect()));
    }

    /// Kills a node. Its peers notice after `notice`.
    pub(super) fn kill(&mut self, id: u32, notice: Duration) {
        self.nodes.remove(&id);
        self.dialing.retain(|(from, _), _| *from != id);
        self.break_links(notice, |a, b| a == id || b == id);
    }

    pub(super) fn quit(&mut self, id: u32) {
        self.feed(id, Input::Quit);
        self.nodes.remove(&id);
    }

    /// Puts a node into a part of the network.
    pub(super) fn place(&mut self, id: u32, part: u8) {
        self.parts.insert(id, part);
    }

    /// Breaks the connections between parts; both ends notice after [`PATH_TIMEOUT`].
    pub(super) fn split(&mut self) {
        let parts = self.parts.clone();
        let part = |id: u32| parts.get(&id).copied().unwrap_or(0);
        self.break_links(PATH_TIMEOUT, |a, b| part(a) != part(b) || part(a) == 255);
    }

    fn break_links(&mut self, notice: Duration, broken: impl Fn(u32, u32) -> bool) {
        let links: Vec<_> = self.links.keys().copied().collect();
        for (a, b) in links {
            if broken(a, b) {
                self.links.remove(&(a, b));
                self.schedule(notice, Happening::Lost(a, b));
                self.schedule(notice, Happening::Lost(b, a));
            }
        }
    }

    fn reachable(&self, a: u32, b: u32) -> bool {
        let part = |id: u32| self.parts.get(&id).copied().unwrap_or(0);
        part(a) == part(b) && part(a) != 255
    }

    fn schedule(&mut self, wait: Duration, happening: Happening) {
        self.sequence += 1;
        self.happenings
            .insert((self.now + wait, self.sequence), happening);
    }

    pub(super) fn feed(&mut self, id: u32, input: Input<u32>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.now = self.now;
            let told = node.handle(input);
            self.carry_out(id, told);
        }
    }

    fn carry_out(&mut self, id: u32, told: Vec<Told>) {
        for told in told {
            match told {
                Told::Send(to, message) => self.send(id, to, message),
                Told::Release(peer) => self.close_if_unneeded(id, peer),
                Told::Up(_) | Told::Down(_) | Told::Data(..) | Told::Hold(_) => {}
            }
        }
    }

    fn send(&mut self, from: u32, to: u32, message: Message<u32>) {
        let kind = match &message {
            Message::Join(_) => "join",
            Message::ForwardJoin(_) => "forward_join",
            Message::Shuffle(_) => "shuffle",
            Message::ShuffleReply(_) => "shuffle_reply",
            Message::Neighbor(_) => "neighbor",
            Message::Disconnect(_) => "disconnect",
        };
        *self.sent.entry(kind).or_default() += 1;
        if let Some(link) = self.links.get(&pair(from, to)).copied() {
            let arrived = Happening::Arrived {
                link,
                from,
                to,
                message,
            };
            self.schedule(self.latency, arrived);
        } else if let Some(waiting) = self.dialing.get_mut(&(from, to)) {
            waiting.push(message);
        } else {
            self.dialing.insert((from, to), vec![message]);
            let incarnation = self.incarnations[&from];
            self.schedule(2 * self.latency, Happening::Dialed(incarnation, from, to));
        }
    }

    fn holds(&self, id: u32, peer: u32) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| node.record.held.contains(&peer))
    }

    fn close_if_unneeded(&mut self, a: u32, b: u32) {
        if !self.holds(a, b) && !self.holds(b, a) {
            self.links.remove(&pair(a, b));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Dialed(incarnation, from, to) => {
                // What a node sent before it left still goes out.
                let Some(waiting) = self.dialing.remove(&(from, to)) else {
                    return;
                };
                if !self.reachable(from, to) {
                    self.dialing.insert((from, to), waiting);
                    let failed = Happening::DialFailed(incarnation, from, to);
                    self.schedule(DIAL_TIMEOUT, failed);
                } else if !self.nodes.contains_key(&to) {
                    self.happen(Happening::DialFailed(incarnation, from, to));
                } else {
                    self.sequence += 1;
                    let link = LinkId(self.sequence);
                    self.links.entry(pair(from, to)).or_insert(link);
                    for message in waiting {
                        let arrived = Happening::Arrived {
                            link,
                            from,
                            to,
                            message,
                        };
                        self.schedule(self.latency, arrived);
                    }
                }
            }
            Happening::DialFailed(incarnation, from, to) => {
                self.dialing.remove(&(from, to));
                if self.incarnations[&from] == incarnation {
                    self.feed(from, Input::DialFailed(to));
                }
            }
            Happening::Arrived {
                link,
                from,
                to,
                message,
            } => {
                if self.reachable(from, to) {
                    self.feed(
                        to,
                        Input::RecvMessage {
                            from,
                            link,
                            message,
                        },
                    );
                    self.close_if_unneeded(from, to);
                }
            }
            Happening::Lost(id, peer) => {
                if !self.links.contains_key(&pair(id, peer)) {
                    self.feed(id, Input::PeerDisconnected(peer));
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.pass_until(end, |_| false);
    }

    /// Lets time pass until `done`, and says how long that took; `None` if it did not happen.
    pub(super) fn wait(
        &mut self,
        at_most: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        let end = start + at_most;
        self.pass_until(end, &done);
        done(self).then(|| self.now - start)
    }

    fn pass_until(&mut self, end: At, done: impl Fn(&Self) -> bool) {
        let mut steps = 0u64;
        while !done(self) {
            steps += 1;
            assert!(steps < 20_000_000, "a storm");
            let timer = self
                .nodes
                .iter()
                .filter_map(|(id, node)| Some((node.state.next_deadline().get()?, *id)))
                .min();
            let happening = self.happenings.keys().next().map(|(at, _)| *at);
            let next = timer.map(|(at, _)| at).into_iter().chain(happening).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if happening == Some(next) {
                let (_, happening) = self.happenings.pop_first().unwrap();
                self.happen(happening);
            } else if let Some((_, id)) = timer {
                let node = self.nodes.get_mut(&id).unwrap();
                node.now = self.now;
                let told = node.timeout();
                self.carry_out(id, told);
            }
        }
    }

    /// Whether all nodes are reachable from the first over links that both sides know of.
    pub(super) fn is_whole(&self) -> bool {
        self.components() == 1
    }

    pub(super) fn components(&self) -> usize {
        let mut left: BTreeSet<u32> = self.nodes.keys().copied().collect();
        let mut components = 0;
        while let Some(first) = left.pop_first() {
            components += 1;
            let mut open = vec![first];
            while let Some(id) = open.pop() {
                for peer in self.nodes[&id].active() {
                    if self.linked(peer, id) && left.remove(&peer) {
                        open.push(peer);
                    }
                }
            }
        }
        components
    }

    fn linked(&self, a: u32, b: u32) -> bool {
        self.nodes.get(&a).is_some_and(|a| a.state.is_active(&b))
    }

    /// Links that only one side knows of.
    pub(super) fn one_sided(&self) -> Vec<(u32, u32)> {
        let links = self
            .nodes
            .iter()
            .flat_map(|(id, node)| node.active().into_iter().map(move |peer| (*id, peer)));
        links
            .filter(|(id, peer)| !self.linked(*peer, *id))
            .collect()
    }

    pub(super) fn mean_degree(&self) -> f64 {
        let links: usize = self.nodes.values().map(|node| node.active().len()).sum();
        links as f64 / self.nodes.len() as f64
    }

    pub(super) fn messages(&self) -> u64 {
        self.sent.values().sum()
    }
}

impl Network {
    /// The average shortest path, and the clustering coefficient.
    pub(super) fn shape(&self) -> (f64, f64) {
        let (mut hops, mut pairs, mut clustering) = (0u64, 0u64, 0.0);
        for (id, node) in &self.nodes {
            let mut distance = BTreeMap::from([(*id, 0u64)]);
            let mut open = std::collections::VecDeque::from([*id]);
            while let Some(at) = open.pop_front() {
                for peer in self.nodes[&at].active() {
                    if self.nodes.contains_key(&peer) && !distance.contains_key(&peer) {
                        distance.insert(peer, distance[&at] + 1);
                        open.push_back(peer);
                    }
                }
            }
            hops += distance.values().sum::<u64>();
            pairs += distance.len() as u64 - 1;
            let near = node.active();
            let linked = near
                .iter()
                .flat_map(|a| near.iter().map(move |b| (*a, *b)))
                .filter(|(a, b)| a != b && self.linked(*a, *b))
                .count();
            if near.len() > 1 {
                clustering += linked as f64 / (near.len() * (near.len() - 1)) as f64;
            }
        }
        (
            hops as f64 / pairs as f64,
            clustering / self.nodes.len() as f64,
        )
    }
}
