//! From the handles to the driver: what is asked of each topic, in order and bounded.
//!
//! Every subscription has a queue of its own, so one that is flooded makes only its own senders
//! wait. The driver hears of many through one list, in which a subscription stands at most once,
//! and takes all that a subscription has queued before it turns to the next one.
//!
//! **Invariant:** a lock is held for a push or a swap and never while anything is woken, dropped
//! or awaited; no two are held at once.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use iroh_base::EndpointId;

mod inbox;

pub(crate) use inbox::Inbox;

use super::{
    JoinOptions, Published,
    events::{self, Closer, EventReceiver, EventSender},
    sync::{Line, Ticket, lock, wake_all},
};
use crate::proto::{Payload, TopicId};

/// Orders that wait in one subscription's queue; further senders wait for room.
pub(super) const COMMAND_QUEUE: usize = 64;

/// Subscriptions that wait for the driver to hear of them; further ones wait for room.
pub(super) const SUBSCRIBE_QUEUE: usize = 1024;

/// A mailbox for messages of up to `max_content` bytes.
pub(crate) fn channel(max_content: usize) -> (Mailbox, Inbox) {
    let shared = Arc::new(Shared {
        max_content,
        agenda: Mutex::default(),
    });
    let mailbox = Mailbox {
        shared: shared.clone(),
    };
    (mailbox, Inbox::new(shared))
}

/// Names a subscription to a topic. A topic may have many, and no two ever have the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriptionId(u64);

/// What there is to do for the driver.
#[derive(Debug)]
pub(crate) enum Work {
    /// Someone wants to take part in a topic.
    Subscribe {
        /// Comes with everything else that concerns this subscription.
        id: SubscriptionId,
        /// Which topic.
        topic: TopicId,
        /// Peers to join through.
        bootstrap: Vec<EndpointId>,
        /// Where to put what happens in the topic.
        events: EventSender,
    },
    /// A sender of the subscription wants something.
    Command(SubscriptionId, Order),
    /// Every sender and the receiver of the subscription are gone, and all its orders were handed
    /// out before.
    Unsubscribe(SubscriptionId),
    /// The node is to stop. What was accepted before was handed out before.
    Stop,
}

/// What a sender wants.
#[derive(Debug)]
pub(crate) enum Order {
    /// Send to everyone in the topic.
    Broadcast(Payload),
    /// Send to the direct neighbors.
    BroadcastNeighbors(Payload),
    /// Join through these peers.
    JoinPeers(Vec<EndpointId>),
    /// Send to everyone in the topic, and say what became of it.
    Publish(Payload, async_channel::Sender<Published>),
}

impl Order {
    /// The message to send, if that is what is wanted.
    #[cfg(feature = "net")]
    pub(crate) fn payload(&mut self) -> Option<&mut Payload> {
        match self {
            Self::Broadcast(payload)
            | Self::BroadcastNeighbors(payload)
            | Self::Publish(payload, _) => Some(payload),
            Self::JoinPeers(_) => None,
        }
    }
}

/// The driver is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

struct Shared {
    max_content: usize,
    agenda: Mutex<Agenda>,
}

/// What the driver has to look at.
#[derive(Default)]
struct Agenda {
    listed: VecDeque<Item>,
    last_id: u64,
    /// Subscriptions in `listed` that the driver has not heard of.
    untaken: usize,
    subscribing: Line,
    stopped: bool,
    /// No more subscriptions are taken.
    refusing: bool,
    closed: bool,
    driver: Option<Waker>,
}

enum Item {
    Subscription(Arc<Subscription>),
    Stop,
}

struct Subscription {
    id: SubscriptionId,
    topic: TopicId,
    events: Closer,
    state: Mutex<State>,
}

struct State {
    /// Taken when the driver hears of the subscription.
    request: Option<Request>,
    orders: VecDeque<Order>,
    /// How many the driver took the last time: about as many will wait the next time.
    usual: usize,
    sending: Line,
    /// Invariant: in the agenda, or about to be put there by whoever set it.
    listed: bool,
    /// All handles are gone.
    released: bool,
    closed: bool,
}

struct Request {
    bootstrap: Vec<EndpointId>,
    events: EventSender,
}

impl State {
    fn room(&self) -> usize {
        COMMAND_QUEUE.saturating_sub(self.orders.len())
    }
}

impl Shared {
    /// Puts `item` on the list and wakes the driver if it waits.
    fn list(&self, item: Item) {
        let mut agenda = lock(&self.agenda);
        let (refused, driver) = if agenda.closed {
            (Some(item), None)
        } else {
            agenda.listed.push_back(item);
            (None, agenda.driver.take())
        };
        drop(agenda);
        wake_all(driver);
        if let Some(Item::Subscription(subscription)) = refused {
            subscription.close();
        }
    }
}

impl Subscription {
    /// Lets go of everyone who waits. What was accepted stays.
    fn refuse(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waiting = state.sending.dissolve();
        drop(state);
        wake_all(waiting);
    }

    /// Lets go of everyone who waits, and of everything that the driver will not take any more.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let orders = mem::take(&mut state.orders);
        let request = state.request.take();
        let waiting = state.sending.dissolve();
        drop(state);
        self.events.close();
        wake_all(waiting);
        drop((orders, request));
    }
}

/// The handles' end.
#[derive(Clone)]
pub(crate) struct Mailbox {
    shared: Arc<Shared>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl Mailbox {
    /// Tells the driver to stop, after what was accepted so far.
    pub(crate) fn stop(&self) {
        if !mem::replace(&mut lock(&self.shared.agenda).stopped, true) {
            self.shared.list(Item::Stop);
        }
    }

    /// Whether the driver is gone, or takes nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        let agenda = lock(&self.shared.agenda);
        agenda.closed || agenda.refusing
    }

    /// Subscribes to a topic. Waits while too many subscriptions are new to the driver; a future
    /// that is dropped has not subscribed.
    pub(super) async fn subscribe(
        &self,
        topic: TopicId,
        options: JoinOptions,
    ) -> Result<(Lease, EventReceiver), Closed> {
        let JoinOptions {
            bootstrap,
            subscription_capacity,
        } = options;
        let id = self.claim_id().await?;
        let (sender, receiver) = events::channel(subscription_capacity);
        let subscription = Arc::new(Subscription {
            id,
            topic,
            events: sender.closer(),
            state: Mutex::new(State {
                request: Some(Request {
                    bootstrap: bootstrap.into_iter().collect(),
                    events: sender,
                }),
                orders: VecDeque::new(),
                usual: 0,
                sending: Line::default(),
                listed: true,
                released: false,
                closed: false,
            }),
        });
        self.shared.list(Item::Subscription(subscription.clone()));
        let lease = Lease {
            shared: self.shared.clone(),
            subscription,
        };
        Ok((lease, receiver))
    }

    /// Waits for room for a new subscription and counts it. There must be no await between this
    /// and listing the subscription.
    async fn claim_id(&self) -> Result<SubscriptionId, Closed> {
        let mut place = SubscribePlace {
            shared: &self.shared,
            ticket: None,
        };
        poll_fn(|cx| place.poll(cx)).await
    }
}

/// A future's place among those that want to subscribe.
struct SubscribePlace<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
}

impl SubscribePlace<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<SubscriptionId, Closed>> {
        let mut agenda = lock(&self.shared.agenda);
        if agenda.closed || agenda.refusing {
            return Poll::Ready(Err(Closed));
        }
        let room = SUBSCRIBE_QUEUE.saturating_sub(agenda.untaken);
        let admitted = agenda.subscribing.admit(&mut self.ticket, room, cx.waker());
        match admitted {
            Ok(()) => {
                agenda.untaken += 1;
                agenda.last_id += 1;
                Poll::Ready(Ok(SubscriptionId(agenda.last_id)))
            }
            Err(replaced) => {
                drop(agenda);
                drop(replaced);
                Poll::Pending
            }
        }
    }
}

impl Drop for SubscribePlace<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut agenda = lock(&self.shared.agenda);
        let mine = agenda.subscribing.leave(ticket);
        let room = SUBSCRIBE_QUEUE.saturating_sub(agenda.untaken);
        let next = agenda.subscribing.admitted(room);
        drop(agenda);
        drop(mine);
        wake_all(next);
    }
}

/// Keeps a subscription open: all its handles share one, and dropping it unsubscribes.
pub(super) struct Lease {
    shared: Arc<Shared>,
    subscription: Arc<Subscription>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.subscription.id)
            .field("topic", &self.subscription.topic)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// The largest content that a message may have, in bytes.
    pub(super) fn max_content(&self) -> usize {
        self.shared.max_content
    }

    /// Queues an order, waiting for room. A future that is dropped has queued nothing. It is written where it
    /// will lie as soon as there is room, since it is large: what it is made of is moved until then.
    pub(super) fn send<F: FnOnce() -> Order + Unpin>(&self, order: F) -> Sending<'_, F> {
        Sending {
            lease: self,
            order: Some(order),
            ticket: None,
        }
    }
}

#[cfg(test)]
impl Lease {
    /// Checks that what was ordered is within its bounds.
    pub(super) fn check_bounds(&self) {
        let state = lock(&self.subscription.state);
        assert!(state.orders.len() <= COMMAND_QUEUE, "orders that wait");
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = lock(&self.subscription.state);
        state.released = true;
        let list = !state.closed && !mem::replace(&mut state.listed, true);
        drop(state);
        if list {
            self.shared
                .list(Item::Subscription(self.subscription.clone()));
        }
    }
}

/// See [`Lease::send`].
#[must_use = "futures do nothing unless polled"]
pub(super) struct Sending<'a, F> {
    lease: &'a Lease,
    order: Option<F>,
    ticket: Option<Ticket>,
}

impl<F: FnOnce() -> Order + Unpin> Future for Sending<'_, F> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let subscription = &this.lease.subscription;
        let mut state = lock(&subscription.state);
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        let room = state.room();
        if let Err(replaced) = state.sending.admit(&mut this.ticket, room, cx.waker()) {
            drop(state);
            drop(replaced);
            return Poll::Pending;
        }
        if state.orders.capacity() == 0 {
            let usual = state.usual;
            state.orders.reserve(usual);
        }
        if let Some(order) = this.order.take() {
            state.orders.push_back(order());
        }
        let list = !mem::replace(&mut state.listed, true);
        drop(state);
        if list {
            this.lease
                .shared
                .list(Item::Subscription(subscription.clone()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<F> Drop for Sending<'_, F> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut state = lock(&self.lease.subscription.state);
        let mine = state.sending.leave(ticket);
        let room = state.room();
        let next = state.sending.admitted(room);
        drop(state);
        drop(mine);
        wake_all(next);
    }
}

#[cfg(test)]
mod tests;
