//! The one poll loop: the whole node as a single future.
//!
//! A pass of the loop takes a share of each source in turn: finished tasks and expired timers,
//! frames that were read, what handles ask for, new connections. After every item the protocol's
//! output is worked off to the end. At the end of a pass everything that has gathered for a peer
//! is handed to its streams at once, and subscribers are woken. Passes follow each other while
//! there is progress, up to a budget; then the loop wakes itself and yields.
//!
//! **Invariant:** nothing in here waits. What takes time is a task in the slab, and comes back as
//! a [`Done`](super::connection::Done).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_lite::StreamExt;
use smol_gossip_runtime::{Runtime, Wakeup};
use tracing::{Span, debug};

use super::{
    burden,
    inspect::Request,
    node::{Accept, Node, SHARE, Stopping, Timer},
    topics::Topics,
    transport::{Connection, Transport},
};
use crate::{
    api::mailbox::Inbox,
    proto::{Command, InEvent, TimerId},
};

/// Items that one poll handles at the most, give or take a pass, before it yields.
const WORK_PER_POLL: usize = 512;

/// A poll that has taken this long begins no further pass. Connections are looked after by others,
/// on the same thread perhaps.
const TIME_PER_POLL: Duration = Duration::from_millis(1);

/// The clock is looked at once for so many results and timers.
const LOOKS_AT_CLOCK: usize = 8;

/// A timer of a topic that expires later than this was held up.
const LATE: Duration = Duration::from_millis(10);

/// How long a timer that was held up is put off.
const PUT_OFF: Duration = Duration::from_millis(20);

/// The whole node as one future. Spawn it on any executor, or poll it yourself.
///
/// It does nothing until it is polled, and ends after [`Gossip::shutdown`](super::Gossip::shutdown)
/// or when the last [`Gossip`](super::Gossip) is dropped. Dropping it closes all handles and
/// connections at once, without a farewell.
#[must_use = "the node does nothing unless its driver is polled: spawn it"]
pub struct Driver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Driver {
    pub(crate) fn new<T: Transport + Unpin, R: Runtime + Clone + Unpin>(
        node: Node<T, R>,
        runtime: R,
        span: Span,
    ) -> Self {
        Self(Box::pin(InContext {
            node: Some(Box::new(node)),
            runtime,
            span,
        }))
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

/// Enters the context that the network needs on every poll, and to drop what lives in it.
struct InContext<T: Transport, R: Runtime> {
    node: Option<Box<Node<T, R>>>,
    runtime: R,
    span: Span,
}

impl<T: Transport + Unpin, R: Runtime + Unpin> Future for InContext<T, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            node,
            runtime,
            span,
        } = &mut *self;
        runtime.enter(|| {
            let _span = span.enter();
            if let Some(running) = node {
                ready!(running.poll_node(cx));
                *node = None;
            }
            Poll::Ready(())
        })
    }
}

impl<T: Transport, R: Runtime> Drop for InContext<T, R> {
    fn drop(&mut self) {
        let node = self.node.take();
        self.runtime.enter(|| drop(node));
    }
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Runs until there is nothing left to do.
    pub(crate) fn poll_node(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut budget = WORK_PER_POLL;
        self.now = self.events.now();
        let until = self.now + TIME_PER_POLL;
        self.metrics.actor_tick_main.inc();
        let state = loop {
            let tasks = self.poll_tasks_and_timers(cx, until);
            let progress = tasks
                + self.handle_frames(tasks == SHARE)
                + self.handle_expired()
                + self.poll_inbox(cx)
                + self.poll_connections(cx)
                + self.poll_requests(cx);
            // It may set timers that are due sooner than the one that is waited for.
            let output = !self.outbox.is_empty();
            self.work_off();
            self.flush();
            self.wake_subscribers();
            if self.is_gone() {
                break Poll::Ready(());
            }
            let resumed = self.resume_orders();
            let leaves = self.has_said_all();
            if leaves {
                self.leave();
            }
            let flushed = self.outbox.is_empty() && self.dirty.is_empty();
            let idle = !output && flushed && !self.events.has_unpolled_tasks();
            if progress == 0 && !resumed && !leaves && idle {
                break Poll::Pending;
            }
            budget = budget.saturating_sub(progress);
            self.now = self.events.now();
            if budget == 0 || self.now > until {
                cx.waker().wake_by_ref();
                break Poll::Pending;
            }
        };
        self.publish_counters();
        if state.is_ready() {
            self.end();
        }
        state
    }

    fn wake_subscribers(&mut self) {
        let dropped = self.topics.wake();
        if dropped > 0 {
            self.metrics.events_dropped.inc_by(dropped);
        }
    }

    /// Handles results and timers, a share of them, and says how many. The rest counts as handled once it is late:
    /// the loss of a peer, for one, is work in each of many topics.
    fn poll_tasks_and_timers(&mut self, cx: &mut Context<'_>, until: Instant) -> usize {
        for done in 0..SHARE {
            if done % LOOKS_AT_CLOCK == LOOKS_AT_CLOCK - 1 && self.events.now() > until {
                break;
            }
            match self.events.poll_wakeup(cx) {
                Poll::Ready(Wakeup::Task(_, result)) => self.task_done(result),
                Poll::Ready(Wakeup::Timer(timer)) => self.timer_expired(timer),
                Poll::Pending => return done,
            }
            self.work_off();
        }
        SHARE
    }

    fn timer_expired(&mut self, timer: Timer) {
        self.metrics.actor_tick_timers.inc();
        match timer {
            Timer::Topic(id) => self.topic_timer_expired(id),
            Timer::Retire(peer) => self.retire_expired(peer),
            Timer::Stuck(peer) => self.stuck_expired(peer),
            Timer::Idle(peer) => self.idle_expired(peer),
            Timer::Header(key) => {
                self.metrics.headers_timed_out.inc();
                self.drop_link(key, "a stream did not name its topic");
            }
            Timer::Held(peer) => self.held_expired(peer),
            Timer::Dial(peer) => self.dial_expired(peer),
            Timer::Handshake => self.handshake_expired(),
            Timer::ForgetAddresses => {
                self.forget_timer = None;
                self.forget_addresses();
            }
            Timer::Shutdown if self.is_stopping() => {
                if let Some(stopping) = &mut self.stopping {
                    stopping.overdue = true;
                }
            }
            Timer::Shutdown => self.leave(),
        }
    }

    /// The timer of a topic has expired. It is handled after the frames of this pass.
    ///
    /// If it is late, the loop was held up, and what peers have sent meanwhile may still be on its
    /// way through the sockets. It is put off once, so that they are not held to have been silent:
    /// else a moment's delay would have everyone ask everyone else for messages that are there.
    fn topic_timer_expired(&mut self, id: TimerId) {
        let Some(slot) = self.topic_timers.get_mut(id.slot()) else {
            return;
        };
        if let Some(timer) = slot
            && timer.id == id
            && !timer.put_off
            && self.now > timer.deadline + LATE
        {
            timer.put_off = true;
            timer.key = self.events.schedule(self.now + PUT_OFF, Timer::Topic(id));
            return;
        }
        *slot = None;
        self.expired.push(id);
    }

    fn handle_expired(&mut self) -> usize {
        let expired = std::mem::take(&mut self.expired);
        for id in &expired {
            self.handle(InEvent::TimerExpired(*id));
            self.work_off();
        }
        expired.len()
    }

    fn poll_connections(&mut self, cx: &mut Context<'_>) -> usize {
        for done in 0..SHARE {
            match self.connections.poll_next(cx) {
                Poll::Ready(Some(connection)) => self.accepted(connection),
                Poll::Ready(None) | Poll::Pending => return done,
            }
            self.work_off();
        }
        SHARE
    }

    /// Takes a connection that was made to us.
    pub(crate) fn accepted(&mut self, connection: T::Connection) {
        self.metrics.actor_tick_endpoint.inc();
        let peer = connection.remote_id();
        if self.is_stopping() {
            connection.close("leaving");
        } else if self.burdens.is_deep(&peer, self.now) {
            self.metrics.connections_refused.inc();
            connection.close("too much of a burden");
            self.charge(peer, burden::CONNECTION);
        } else {
            self.link_up(connection);
            self.charge(peer, burden::CONNECTION);
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> usize {
        let Poll::Ready(Some(request)) = self.requests.poll_next(cx) else {
            return 0;
        };
        match request {
            Request::Shutdown(reply) => {
                self.stop();
                if let Some(stopping) = &mut self.stopping {
                    stopping.replies.push(reply);
                }
            }
            Request::TopicStats(topic, reply) => {
                // Whoever asked may not wait any more.
                let _ = reply.try_send(self.topic_stats(&topic));
            }
            Request::NodeStats(reply) => {
                let _ = reply.try_send(self.node_stats());
            }
            Request::Watch(watcher) => self.watchers.add(watcher),
        }
        1
    }

    /// Takes no more orders, and leaves all topics once those that were taken are carried out: until then they may
    /// have to wait for neighbors to read, for half of the time that there is.
    pub(crate) fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        debug!("taking no more orders");
        let timeout = self.limits.shutdown_timeout;
        let patience = self
            .events
            .schedule(self.now + timeout / 2, Timer::Shutdown);
        if let Some(inbox) = &mut self.inbox {
            inbox.refuse();
        }
        self.stopping = Some(Stopping {
            replies: Vec::new(),
            has_left: false,
            deadline: self.now + timeout,
            patience: Some(patience),
            overdue: false,
        });
    }

    /// Whether the node stops, and all that it was to say before is on its way.
    fn has_said_all(&self) -> bool {
        self.stopping.is_some()
            && !self.is_stopping()
            && self.inbox.as_ref().is_none_or(Inbox::is_done)
    }

    /// Leaves all topics, and ends once that has reached the peers, or took too long.
    fn leave(&mut self) {
        debug!("leaving all topics");
        if let Some(stopping) = &mut self.stopping {
            if let Some(timer) = stopping.patience.take() {
                self.events.cancel_timer(timer);
            }
            self.events.schedule(stopping.deadline, Timer::Shutdown);
        }
        for topic in self.topics.iter().collect::<Vec<_>>() {
            self.handle(InEvent::Command(topic, Command::Quit));
        }
        self.work_off();
        if let Some(stopping) = &mut self.stopping {
            stopping.has_left = true;
        }
        self.release_all();
        self.topics = Topics::default();
        self.inbox = None;
        self.accept = Accept::Off;
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for id in peers {
            let connected = self
                .peers
                .get(id.as_bytes())
                .is_some_and(|peer| !peer.connections.is_empty());
            if connected && self.burdens.is_burden(&id, self.now) {
                // Nobody waits for such a one to take leave.
                self.close_peer(id, "leaving");
            } else if connected {
                self.dirty.insert(id);
            } else {
                self.cancel_dial(id);
                self.peers.swap_remove(&id);
            }
        }
    }

    /// Whether the farewell is over.
    fn is_gone(&self) -> bool {
        self.stopping
            .as_ref()
            .is_some_and(|stopping| stopping.overdue || stopping.has_left && self.links.is_empty())
    }

    /// Closes what is left, and answers those who wait for that.
    fn end(&mut self) {
        for link in self.links.values() {
            link.connection.close("leaving");
        }
        self.close_channels();
        for reply in self.stopping.iter().flat_map(|stopping| &stopping.replies) {
            // Whoever asked may not wait any more.
            let _ = reply.try_send(());
        }
        debug!("stopped");
    }

    /// Takes nothing more from handles. What they had handed over is not left lying in the
    /// channels, where they would wait for it as long as they live themselves.
    fn close_channels(&mut self) {
        self.connections.close();
        while let Ok(connection) = self.connections.try_recv() {
            connection.close("leaving");
        }
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            match (request, &mut self.stopping) {
                (Request::Shutdown(reply), Some(stopping)) => stopping.replies.push(reply),
                // Dropping it says that the node has ended.
                (request, _) => drop(request),
            }
        }
    }

    /// Adds what was counted since the last time to the metrics.
    fn publish_counters(&mut self) {
        let counters = self.state.counters();
        self.traffic.move_to(&self.metrics);
        if *counters != self.counted {
            self.metrics.add_protocol(&self.counted, counters);
            self.counted.clone_from(counters);
        }
    }
}

impl<T: Transport, R: Runtime> Drop for Node<T, R> {
    fn drop(&mut self) {
        self.close_channels();
    }
}
