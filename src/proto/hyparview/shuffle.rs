//! Keeping the passive view fresh (section 4.4).

use std::time::Duration;

use postcard::experimental::serialized_size;
use rand::Rng;

use super::{
    Message, PeerIdentity, Shuffle, ShuffleReply, Sink, State, Ttl, Turn,
    data::Word,
    time::{after, part},
    view::Sent,
};
use crate::proto::{PeerInfo, clock::At};

/// How many Shuffles of peers that are not neighbors are answered between two of our own.
///
/// One is what an honest swarm brings on average. The origin of a Shuffle is not authenticated,
/// and every answer is a connection to whom it names.
const REPLIES_PER_INTERVAL: u16 = 16;

/// How many Shuffles are sent on between two of our own. The walks of others end here instead.
///
/// An honest swarm brings as many as a walk has hops, six by default, and hardly ever twenty. What
/// a hostile neighbor says would go through as many nodes otherwise, each time.
const RELAYS_PER_INTERVAL: u16 = 64;

/// What comes around a message of this layer: the enum of the topic, and the length of the list
/// growing by a byte or two.
const FRAMING: usize = 4;

/// The Shuffles we take part in.
#[derive(Clone, Debug)]
pub(super) struct Shuffles<PI> {
    /// When our next one is due. `None` until the topic has begun.
    next: Option<At>,
    /// Whom our last one named, while it is not answered.
    unanswered: Option<Box<[PI]>>,
    /// How many were due so far.
    count: u32,
    /// How many more answers may go to peers that are not neighbors.
    replies_left: u16,
    /// How many more may be sent on.
    relays_left: u16,
    /// How many more may show us a triangle.
    pub(super) untangles_left: u16,
}

impl<PI> Shuffles<PI> {
    pub(super) fn new() -> Self {
        Self {
            next: None,
            unanswered: None,
            count: 0,
            replies_left: REPLIES_PER_INTERVAL,
            relays_left: RELAYS_PER_INTERVAL,
            untangles_left: 4,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<At> {
        self.next
    }

    /// How many were due so far: the age of the node, in shuffle intervals.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

impl<PI: PeerIdentity> State<PI> {
    pub(super) fn shuffle_interval(&self) -> Duration {
        let interval = self.settings.config.shuffle_interval;
        interval.max(Duration::from_millis(1))
    }

    /// How many peers a sample may name: ourselves, and as many of both views as is configured.
    pub(super) fn sample_size(&self) -> usize {
        let named = self.settings.config.shuffle_active_view_count;
        named
            .saturating_add(self.settings.config.shuffle_passive_view_count)
            .saturating_add(1)
    }

    pub(super) fn began(&self) -> bool {
        self.shuffles.next.is_some()
    }

    /// The topic begins. The first Shuffle comes after a part of the interval, so that nodes that
    /// were started together do not shuffle together.
    pub(super) fn begin<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        if self.shuffles.next.is_none() {
            let wait = part(self.shuffle_interval(), 128..=256, turn.rng);
            self.shuffles.next = Some(after(turn.now, wait));
        }
    }

    /// Sends our Shuffle when it is due.
    pub(super) fn shuffle<R: Rng, S: Sink<PI>>(&mut self, turn: &mut Turn<'_, R, S>) {
        if self.shuffles.next.is_none_or(|next| next > turn.now) {
            return;
        }
        let wait = part(self.shuffle_interval(), 244..=268, turn.rng);
        self.shuffles.next = Some(after(turn.now, wait.max(Duration::from_millis(1))));
        self.shuffles.replies_left = REPLIES_PER_INTERVAL;
        self.shuffles.relays_left = RELAYS_PER_INTERVAL;
        // One of each neighbor, as honest ones send.
        self.shuffles.untangles_left = u16::try_from(self.active.len()).unwrap_or(u16::MAX);
        self.shuffles.count = self.shuffles.count.saturating_add(1);
        self.alarm.rest();
        self.visits.forget(turn.now);
        let window = self.answer_window();
        let is_over = |at| turn.now.passed_since(at) >= window;
        self.active.forget_asked_before(is_over);
        let interval = self.shuffle_interval();
        let is_over = |at: At| turn.now.passed_since(at) >= interval;
        self.seeker.take_if(|seeker| is_over(seeker.1));
        if let Some(to) = self.active.pick_except(&[], turn.rng) {
            let mut ids = self.shuffle_sample(&to, turn);
            let nodes = ids.iter().map(|id| self.introduction(*id)).collect();
            self.shuffles.unanswered = Some(ids.split_off(1).into_boxed_slice());
            let ttl = self.settings.config.shuffle_random_walk_length;
            self.send_shuffle(to, self.me, nodes, ttl, turn);
        }
        self.explore(turn);
    }

    /// Whom a Shuffle names: ourselves, ka neighbors and kp peers of the passive view.
    pub(super) fn shuffle_sample<R: Rng, S: Sink<PI>>(
        &self,
        to: &PI,
        turn: &mut Turn<'_, R, S>,
    ) -> Vec<PI> {
        let (ka, kp) = (
            self.settings.config.shuffle_active_view_count,
            self.settings.config.shuffle_passive_view_count,
        );
        let mut ids = vec![self.me];
        ids.extend(self.active.sample_except(ka, &[*to], turn.rng));
        ids.extend(self.passive.sample_except(kp, &[*to], turn.rng));
        ids
    }

    pub(super) fn send_shuffle<R: Rng, S: Sink<PI>>(
        &self,
        to: PI,
        origin: PI,
        nodes: Vec<PeerInfo<PI>>,
        ttl: Ttl,
        turn: &mut Turn<'_, R, S>,
    ) {
        let mut shuffle = Shuffle {
            origin,
            nodes: Vec::new(),
            ttl,
        };
        let empty = Message::Shuffle(shuffle.clone());
        shuffle.nodes = self.trim(&empty, nodes);
        turn.sink.send(to, Message::Shuffle(shuffle));
    }

    /// Sends up to `count` peers that are not `to`.
    pub(super) fn send_reply<R: Rng, S: Sink<PI>>(
        &self,
        to: PI,
        count: usize,
        turn: &mut Turn<'_, R, S>,
    ) -> Vec<PI> {
        let mut ids = self.passive.sample_except(count, &[to], turn.rng);
        // Not in the paper: a young node has hardly anyone in its passive view yet.
        let missing = count.saturating_sub(ids.len());
        ids.extend(self.active.sample_except(missing, &[to], turn.rng));
        let nodes = ids.iter().map(|id| self.introduction(*id)).collect();
        let empty = Message::ShuffleReply(ShuffleReply { nodes: Vec::new() });
        let nodes = self.trim(&empty, nodes);
        turn.sink
            .send(to, Message::ShuffleReply(ShuffleReply { nodes }));
        ids
    }

    /// Leaves out what does not fit into a frame together with the rest of the message: first a
    /// peer's data, then the peer.
    fn trim(&self, empty: &Message<PI>, nodes: Vec<PeerInfo<PI>>) -> Vec<PeerInfo<PI>> {
        // Frames of the very largest size are read, but never written.
        let frame = self.settings.max_message_size.saturating_sub(1);
        let Ok(around) = serialized_size(empty) else {
            return Vec::new();
        };
        let mut left = frame.saturating_sub(around.saturating_add(FRAMING));
        let mut kept = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let mut len = serialized_size(&node).unwrap_or(usize::MAX);
            if len > left {
                node.data = None;
                len = serialized_size(&node).unwrap_or(usize::MAX);
            }
            if len <= left {
                left -= len;
                kept.push(node);
            }
        }
        kept
    }

    /// Cuts a received sample down to what is ever asked for.
    fn bound_sample<R: Rng, S: Sink<PI>>(
        &self,
        nodes: &mut Vec<PeerInfo<PI>>,
        turn: &mut Turn<'_, R, S>,
    ) {
        let excess = nodes.len().saturating_sub(self.sample_size());
        turn.counters.shuffle_excess += excess as u64;
        nodes.truncate(self.sample_size());
        for node in nodes {
            self.bound_data(&mut node.data, turn);
        }
    }

    /// A Shuffle came.
    pub(super) fn on_shuffle<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        shuffle: Shuffle<PI>,
        turn: &mut Turn<'_, R, S>,
    ) {
        let Shuffle {
            origin,
            mut nodes,
            ttl,
        } = shuffle;
        let neighbor = self.active.contains(&from);
        if !neighbor && ttl.0 <= 1 && origin == from {
            // A survey.
            self.probe_neighbors(turn);
        } else if !neighbor {
            self.set_stranger_right(from, turn);
        }
        // Nobody but a neighbor may have us act for someone else.
        if origin == self.me || (!neighbor && origin != from) {
            turn.counters.bogus_introduction += 1;
            return;
        }
        self.bound_sample(&mut nodes, turn);
        if neighbor && origin == from {
            // What a neighbor says of itself reaches us here when it has changed.
            let own = nodes.iter().find(|node| node.id == origin);
            let data = own.and_then(|node| node.data.clone());
            self.learn_data(from, data, Word::Own, turn);
            self.untangle(from, &nodes, turn);
        }
        // "A node q that receives a Shuffle request will first decrease its time to live. If the
        // time to live of the message is greater than zero and the number of nodes in q's active
        // view is greater than 1, the node will select a random node from its active view,
        // different from the one he received this shuffle message from, and simply forwards the
        // Shuffle request."
        let ttl = Ttl(ttl.0.min(self.settings.config.shuffle_random_walk_length.0)).next();
        if neighbor
            && !ttl.expired()
            && self.active.len() > 1
            && let Some(next) = self.active.pick_except(&[from, origin], turn.rng)
        {
            if self.shuffles.relays_left > 0 {
                self.shuffles.relays_left -= 1;
                self.send_shuffle(next, origin, nodes, ttl, turn);
                return;
            }
            turn.counters.shuffle_not_relayed += 1;
        }
        let count = nodes.len();
        if !neighbor && !self.passive.has_room_for_failed() {
            // What a stranger says of others puts nobody out: it could say it again and again.
            nodes.retain(|node| node.id == origin);
        }
        self.accept_shuffle(origin, nodes, count, turn);
    }

    /// The walk of a Shuffle ends here: it is answered with a sample of our own passive view, as
    /// large as the one that came, of `count` peers, sent straight to the origin.
    fn accept_shuffle<R: Rng, S: Sink<PI>>(
        &mut self,
        origin: PI,
        nodes: Vec<PeerInfo<PI>>,
        count: usize,
        turn: &mut Turn<'_, R, S>,
    ) {
        let connected = self.active.contains(&origin);
        let sent = if connected || self.shuffles.replies_left > 0 {
            if !connected {
                self.shuffles.replies_left -= 1;
                // How to reach it, in case that it is not kept.
                let own = nodes.iter().find(|node| node.id == origin);
                if let Some(data) = own.and_then(|node| node.data.clone())
                    && !data.as_bytes().is_empty()
                    && self.data.get(&origin) != Some(&data)
                {
                    turn.sink.peer_data(origin, data);
                }
            }
            self.send_reply(origin, count, turn)
        } else {
            turn.counters.shuffle_excess += 1;
            Vec::new()
        };
        self.integrate(nodes, &sent, turn);
    }

    /// A ShuffleReply came.
    pub(super) fn on_shuffle_reply<R: Rng, S: Sink<PI>>(
        &mut self,
        from: PI,
        reply: ShuffleReply<PI>,
        turn: &mut Turn<'_, R, S>,
    ) {
        let ShuffleReply { mut nodes } = reply;
        // A peer that parts from us or turns us away sends one unasked.
        let related = self.active.contains(&from)
            || self.requests.contains(&from)
            || self.joins.is_under_way(&from);
        let sent = if related {
            self.shuffles.unanswered.clone()
        } else {
            self.shuffles.unanswered.take()
        };
        let surveyed = sent.is_none() && !related && self.alarm.take_reply(&from);
        if sent.is_none() && !related && !surveyed {
            turn.counters.shuffle_unsolicited += 1;
            return;
        }
        if surveyed {
            // It lives, whatever has become of its place in the view meanwhile.
            let peer = PeerInfo {
                id: from,
                data: None,
            };
            self.insert_passive(peer, &mut Sent::new(&[]), turn);
        }
        self.bound_sample(&mut nodes, turn);
        // Whom we have asked for a place has none, but knows one other who looks for one.
        let seeker = match &nodes[..] {
            [other] if self.requests.contains(&from) => Some(other.id),
            _ => None,
        };
        self.integrate(nodes, &sent.unwrap_or_default(), turn);
        if let Some(seeker) = seeker {
            self.passive.looking(&seeker);
        }
    }

    fn integrate<R: Rng, S: Sink<PI>>(
        &mut self,
        nodes: Vec<PeerInfo<PI>>,
        sent: &[PI],
        turn: &mut Turn<'_, R, S>,
    ) {
        let mut sent = Sent::new(sent);
        for node in nodes {
            self.insert_passive(node, &mut sent, turn);
        }
    }
}
