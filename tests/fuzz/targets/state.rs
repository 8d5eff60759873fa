//! The protocol state, fed anything at any time.
//!
//! Input: parameters and bounds, and then steps: messages as they were decoded, commands, lost
//! connections, and time that passes. What holds after every step is in `check`.

mod check;
mod steps;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use smol_gossip::proto::{
    Command, Config, InEvent, Limits, Outbox, PeerData, State, TimerId, TopicId,
};

use self::check::Observed;
use super::bytes::Bytes;

/// A peer: few enough that they meet again in all roles.
type Peer = u8;

/// The node itself.
const ME: Peer = 0;

/// How many peers send messages. Others are only heard of.
const SENDERS: u8 = 16;

const TOPICS: u8 = 3;

/// Steps of one run. More of them find little, and take long.
const STEPS: usize = 400;

/// How often timers may go off without any time passing.
const AT_ONCE: usize = 1_000;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut node = Node::new(&mut bytes);
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        node.step(&mut bytes);
    }
    node.end();
}

fn topic(name: u8) -> TopicId {
    TopicId::from_bytes([name % TOPICS; 32])
}

/// A node, and its surroundings.
struct Node {
    state: State<Peer>,
    rng: StdRng,
    now: Instant,
    observed: Observed,
}

impl Node {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let mut rng = StdRng::seed_from_u64(bytes.u8().into());
        let (config, limits) = settings(bytes);
        let state = State::new(ME, PeerData::default(), config, limits, &mut rng);
        Self {
            state: state.expect("within range"),
            rng,
            now: start(),
            observed: Observed::default(),
        }
    }

    fn feed(&mut self, event: InEvent<Peer>) {
        self.observed.before(&event, self.now);
        let mut out = Outbox::new();
        self.state
            .handle(event.clone(), self.now, &mut self.rng, &mut out);
        self.observed.after(&event, &self.state, out, self.now);
    }

    /// Lets time pass, and timers go off that are due.
    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        for turn in 0.. {
            let Some(timer) = self.observed.take_due(self.now) else {
                break;
            };
            assert!(turn < AT_ONCE, "timers come to rest");
            self.feed(InEvent::TimerExpired(timer));
        }
    }

    /// Lets a timer go off, due or not.
    fn expire(&mut self, timer: TimerId) {
        self.observed.forget(timer);
        self.feed(InEvent::TimerExpired(timer));
    }

    /// Leaves everything, and holds that nothing is left.
    fn end(mut self) {
        for name in 0..TOPICS {
            self.feed(InEvent::Command(topic(name), Command::Quit));
        }
        self.observed.nothing_left(&self.state);
    }
}

/// Parameters and bounds, of which small ones are the more interesting.
fn settings(bytes: &mut Bytes<'_>) -> (Config, Limits) {
    let mut config = Config::default();
    let mut limits = Limits::default();
    let choice = bytes.u8();
    let is_set = |bit: u8| choice & (1 << bit) != 0;
    if is_set(0) {
        config.membership.active_view_capacity = usize::from(bytes.below(4));
        config.membership.passive_view_capacity = usize::from(bytes.below(8));
    }
    if is_set(1) {
        config.max_message_size = 512 + usize::from(bytes.u8());
    }
    if is_set(2) {
        config.broadcast.message_cache_retention = Duration::from_millis(bytes.u16().into());
        config.broadcast.message_id_retention = Duration::from_millis(bytes.u16().into());
    }
    if is_set(3) {
        config.broadcast.graft_timeout_1 = Duration::from_millis(bytes.u8().into());
        config.broadcast.graft_timeout_2 = Duration::from_millis(bytes.u8().into());
        config.broadcast.dispatch_timeout = Duration::from_millis(bytes.u8().into());
        config.broadcast.optimization_threshold = u16::from(bytes.u8()).into();
    }
    if is_set(4) {
        limits.cache_bytes = bytes.u16().into();
        limits.seen_ids = bytes.u8().into();
    }
    if is_set(5) {
        limits.missing_ids = bytes.u8().into();
        limits.claims_per_id = usize::from(bytes.below(4));
        limits.lazy_queue = bytes.u8().into();
    }
    if is_set(6) {
        limits.graft_replies_per_second = bytes.u8().into();
        limits.peer_data_bytes = bytes.u8().into();
        limits.pending_requests = usize::from(bytes.below(8));
    }
    if is_set(7) {
        limits.late_join_history = bytes.u8().into();
    }
    (config, limits)
}

/// The beginning of time.
fn start() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "nothing waits for this clock")]
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}
