//! Handshakes of connections that are made to us, where the driver accepts them itself.
//!
//! QUIC gives up on a handshake only where nothing at all is heard of the other end, so how long one
//! may take is up to us. It is less where all places are taken: whoever means to connect is done
//! after a few round trips, and waits no longer than that for those who do not. And of the places the last half is
//! for those whose address is proven, of which everyone has [so many a second](super::admission).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use smol_gossip_runtime::{Runtime, TaskId, TimerKey};
use tracing::debug;

use super::{
    connection::Done,
    node::{Accept, Node, Timer, wait_for_connection},
    transport::{Broken, Handshake, Transport},
};

/// How long a handshake may take where others wait for its place.
const PATIENCE: Duration = Duration::from_secs(1);

/// Those under way, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    under_way: BTreeMap<u64, UnderWay>,
    last: u64,
    /// For the oldest.
    timer: Option<(Instant, TimerKey)>,
}

#[derive(Debug)]
struct UnderWay {
    task: TaskId,
    began: Instant,
}

impl Handshakes {
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Somebody connects.
    pub(crate) fn handshake_begins(&mut self, handshake: Handshake<T::Connection>) {
        self.handshakes.last += 1;
        let number = self.handshakes.last;
        let task = Box::pin(async move { Done::Accepted(number, handshake.await) });
        let task = self.events.spawn(task);
        let began = self.now;
        let under_way = &mut self.handshakes.under_way;
        under_way.insert(number, UnderWay { task, began });
        self.accept = Accept::Full;
        self.accept_more();
    }

    /// A handshake has ended by itself.
    pub(crate) fn handshake_over(&mut self, number: u64, result: Result<T::Connection, Broken>) {
        self.handshakes.under_way.remove(&number);
        match result {
            Ok(connection) => self.accepted(connection),
            Err(reason) => debug!(%reason, "handshake failed"),
        }
        self.accept_more();
    }

    /// The oldest handshake has taken too long.
    pub(crate) fn handshake_expired(&mut self) {
        self.handshakes.timer = None;
        if self
            .next_handshake_expiry()
            .is_some_and(|due| due <= self.now)
            && let Some((_, oldest)) = self.handshakes.under_way.pop_first()
        {
            debug!("handshake timed out");
            self.metrics.handshakes_timed_out.inc();
            self.events.cancel_task(oldest.task);
        }
        self.accept_more();
    }

    /// Waits for the next connection where the accept loop paused and there is room again.
    fn accept_more(&mut self) {
        let under_way = self.handshakes.len();
        let is_crowded = under_way > 0 && 2 * under_way >= self.limits.handshakes;
        self.transport.set_crowded(is_crowded);
        if self.accept == Accept::Full && self.handshakes.len() < self.limits.handshakes {
            self.accept = Accept::Waiting;
            self.events.spawn(wait_for_connection(&self.transport));
        }
        let due = self.next_handshake_expiry();
        if due == self.handshakes.timer.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.handshakes.timer.take() {
            self.events.cancel_timer(timer);
        }
        let schedule = |due| (due, self.events.schedule(due, Timer::Handshake));
        self.handshakes.timer = due.map(schedule);
    }

    /// When the oldest handshake will have taken too long.
    fn next_handshake_expiry(&self) -> Option<Instant> {
        let (_, oldest) = self.handshakes.under_way.first_key_value()?;
        let most = self.limits.dial_timeout;
        let is_full = self.handshakes.len() >= self.limits.handshakes;
        Some(oldest.began + if is_full { most.min(PATIENCE) } else { most })
    }
}
