//! What nodes do while nobody wants anything of them.

use std::collections::BTreeMap;

use crate::net::tests::world::World;

/// What a node has done since it started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    polls: u64,
    sent: u64,
    received: u64,
    timers: u64,
    /// Connections that were dialed or accepted, or that came to nothing.
    connections: u64,
}

impl Work {
    fn since(self, before: Self) -> Self {
        Self {
            polls: self.polls - before.polls,
            sent: self.sent - before.sent,
            received: self.received - before.received,
            timers: self.timers - before.timers,
            connections: self.connections - before.connections,
        }
    }

    /// The polls for which there is a reason. A message may have a stream of its own, as those have to
    /// someone who is not in the topic: it is opened, written and finished on one side, and named, read
    /// and ended on the other. A timer expires. A connection is dialed or announced, made, and closed,
    /// and a stream in each direction is opened and ended. What happens at the same time needs one poll
    /// only, so most nodes stay far below.
    fn explained(self) -> u64 {
        3 * self.sent + 3 * self.received + self.timers + 9 * self.connections
    }
}

/// What every node has done.
pub(super) fn of_all(world: &World) -> BTreeMap<usize, Work> {
    let nodes = world.nodes.iter();
    let work = nodes.map(|(n, running)| {
        let metrics = &running.metrics;
        let work = Work {
            polls: running.polls,
            sent: metrics.msgs_ctrl_sent.get() + metrics.msgs_data_sent.get(),
            received: metrics.msgs_ctrl_recv.get() + metrics.msgs_data_recv.get(),
            timers: metrics.actor_tick_timers.get(),
            connections: metrics.actor_tick_endpoint.get() + metrics.actor_tick_dialer.get(),
        };
        (*n, work)
    });
    work.collect()
}

/// Checks what was done in a quiet while, in which there were so many Shuffles of each node.
pub(super) fn check_quiet(
    before: &BTreeMap<usize, Work>,
    after: &BTreeMap<usize, Work>,
    shuffles: u64,
) {
    let mut sent = 0;
    for (n, after) in after {
        let work = after.since(before[n]);
        // Something may just have been under way at the beginning.
        assert!(
            work.polls <= work.explained() + 16,
            "node {n} was woken for nothing: {work:?}"
        );
        // A timer explains a poll, and itself only where there is a reason for it.
        assert!(
            work.timers <= 16 * shuffles + 4 * work.connections + 64,
            "node {n}: timers in a quiet while of {shuffles} Shuffles: {work:?}"
        );
        sent += work.sent;
    }
    // A Shuffle walks six hops and is answered; the rest is for asking around once an interval where
    // a view is not full, and for what is refused. What retries without end is far above.
    let nodes = after.len() as u64;
    assert!(
        sent <= 24 * nodes * shuffles,
        "{sent} messages of {nodes} nodes in a quiet while of {shuffles} Shuffles each"
    );
}
