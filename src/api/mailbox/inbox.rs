//! The driver's end of the mailbox.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Item, Order, Request, SUBSCRIBE_QUEUE, Shared, Subscription, SubscriptionId, Work};
use crate::api::sync::{lock, wake_all};
#[cfg(feature = "net")]
use crate::proto::Payload;

/// Order buffers with room for more than this are not kept when they are empty.
const KEPT_CAPACITY: usize = 8;

/// Hands out the work. Dropping it closes every handle: senders get an error, and receivers end
/// after what is queued for them.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    /// What the driver has heard of and not been told the end of.
    taken: BTreeMap<SubscriptionId, Arc<Subscription>>,
    in_hand: Batch,
    /// What the driver could not take, and all that follows from the same subscriptions.
    aside: BTreeMap<SubscriptionId, Aside>,
    /// Subscriptions whose batch is taken from `aside` next.
    resumed: VecDeque<SubscriptionId>,
}

struct Aside {
    batch: Batch,
    /// The subscription, where it has queued more since.
    listed: Option<Arc<Subscription>>,
}

/// All that one subscription had queued, and thereby off its queue: its senders have room again
/// while the driver works this off.
#[derive(Default)]
struct Batch {
    subscribe: Option<Work>,
    orders: VecDeque<Order>,
    unsubscribe: bool,
    id: SubscriptionId,
    /// None of the orders was handed out yet.
    whole: bool,
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            taken: BTreeMap::new(),
            in_hand: Batch::default(),
            aside: BTreeMap::new(),
            resumed: VecDeque::new(),
        }
    }

    /// The next thing to do. Subscriptions take turns; in a turn comes all that one had queued,
    /// [`COMMAND_QUEUE`](super::COMMAND_QUEUE) orders at most.
    ///
    /// The task of `cx` is woken for new work only after this returned `Pending`.
    pub(crate) fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Work> {
        loop {
            if let Some(work) = self.in_hand.next() {
                if let Work::Unsubscribe(id) = &work {
                    self.taken.remove(id);
                }
                return Poll::Ready(work);
            }
            if let Some(id) = self.resumed.pop_front() {
                self.take_from_aside(id);
                continue;
            }
            match self.poll_item(cx) {
                Poll::Ready(Item::Subscription(subscription)) => {
                    match self.aside.get_mut(&subscription.id) {
                        Some(aside) => aside.listed = Some(subscription),
                        None => self.take(subscription),
                    }
                }
                Poll::Ready(Item::Stop) => return Poll::Ready(Work::Stop),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What [`Self::poll_work`] would hand out next, if that is an order. The hot way to it: here an order
    /// is moved once.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn next_order(&mut self) -> Option<(SubscriptionId, Order)> {
        let Batch {
            subscribe,
            orders,
            id,
            ..
        } = &mut self.in_hand;
        match subscribe {
            None => Some((*id, orders.pop_front()?)),
            Some(_) => None,
        }
    }

    /// Takes no new subscriptions and orders from here on. Those that were accepted are still handed out.
    pub(crate) fn refuse(&mut self) {
        let mut agenda = lock(&self.shared.agenda);
        agenda.refusing = true;
        let subscribing = agenda.subscribing.dissolve();
        let listed = agenda.listed.iter().filter_map(|item| match item {
            Item::Subscription(subscription) => Some(subscription.clone()),
            Item::Stop => None,
        });
        let listed: Vec<_> = listed.collect();
        drop(agenda);
        wake_all(subscribing);
        for subscription in self.taken.values().chain(&listed) {
            subscription.refuse();
        }
    }

    /// Whether nothing is left of what was accepted.
    pub(crate) fn is_done(&self) -> bool {
        self.in_hand.is_empty()
            && self.aside.is_empty()
            && self.resumed.is_empty()
            && lock(&self.shared.agenda).listed.is_empty()
    }

    /// The messages that are about to be handed out, once for each batch: after its first order.
    #[cfg(feature = "net")]
    pub(crate) fn upcoming(&mut self) -> Option<impl Iterator<Item = &mut Payload>> {
        let whole = mem::take(&mut self.in_hand.whole);
        let orders = &mut self.in_hand.orders;
        (whole && !orders.is_empty()).then(|| orders.iter_mut().filter_map(Order::payload))
    }

    /// Checks that everything is within its bounds, where there are so many subscriptions that the
    /// application may still use, and these are paused.
    #[cfg(test)]
    pub(crate) fn check_bounds<'a>(
        &self,
        subscriptions: usize,
        mut paused: impl Iterator<Item = &'a SubscriptionId>,
    ) {
        assert!(
            paused.all(|id| self.aside.contains_key(id)),
            "who is paused has something set aside"
        );
        let batches = self.aside.values().map(|aside| &aside.batch);
        for batch in batches.chain([&self.in_hand]) {
            assert!(batch.orders.len() <= super::COMMAND_QUEUE, "orders in hand");
        }
        assert!(self.aside.len() <= self.taken.len(), "set aside");
        assert!(self.resumed.len() <= self.aside.len(), "resumed");
        let agenda = lock(&self.shared.agenda);
        assert!(agenda.untaken <= SUBSCRIBE_QUEUE, "new subscriptions");
        assert!(agenda.untaken <= agenda.listed.len(), "new ones are listed");
        // Those that nobody uses any more are listed to be ended.
        let listed = agenda.listed.iter().filter_map(|item| match item {
            Item::Subscription(subscription) => Some(subscription),
            Item::Stop => None,
        });
        let used = listed.filter(|subscription| !lock(&subscription.state).released);
        assert!(used.count() <= subscriptions, "each is listed once");
    }

    /// Takes back the order that was handed out last. It comes again, with all that follows from
    /// its subscription, after [`Self::resume`]; other subscriptions go on. Meanwhile senders of
    /// this one find their queue filling up, and wait.
    pub(crate) fn set_aside(&mut self, id: SubscriptionId, order: Order) {
        debug_assert_eq!(self.in_hand.id, id, "only the last order can be set aside");
        let mut batch = mem::take(&mut self.in_hand);
        batch.orders.push_front(order);
        self.aside.insert(
            id,
            Aside {
                batch,
                listed: None,
            },
        );
    }

    /// Hands out again what was set aside. The caller has to poll once more for it.
    pub(crate) fn resume(&mut self, id: SubscriptionId) {
        if self.aside.contains_key(&id) && !self.resumed.contains(&id) {
            self.resumed.push_back(id);
        }
    }

    /// Ends the subscription that was handed out last, where nothing can be done for it: its senders get an
    /// error from here on, and its receiver ends.
    pub(crate) fn close(&mut self, id: SubscriptionId) {
        debug_assert_eq!(self.in_hand.id, id, "what it has ordered is in hand");
        self.in_hand = Batch::default();
        if let Some(subscription) = self.taken.remove(&id) {
            subscription.close();
        }
    }

    fn take_from_aside(&mut self, id: SubscriptionId) {
        let Some(Aside { batch, listed }) = self.aside.remove(&id) else {
            return;
        };
        self.in_hand = batch;
        self.in_hand.whole = true;
        if let Some(subscription) = listed {
            lock(&self.shared.agenda)
                .listed
                .push_front(Item::Subscription(subscription));
        }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Item> {
        let mut agenda = lock(&self.shared.agenda);
        if let Some(item) = agenda.listed.pop_front() {
            return Poll::Ready(item);
        }
        let replaced = match &agenda.driver {
            Some(noted) if noted.will_wake(cx.waker()) => None,
            Some(_) | None => agenda.driver.replace(cx.waker().clone()),
        };
        drop(agenda);
        drop(replaced);
        Poll::Pending
    }

    /// Takes what `subscription` has queued in hand, which is empty.
    fn take(&mut self, subscription: Arc<Subscription>) {
        let mut state = lock(&subscription.state);
        state.listed = false;
        state.usual = state.orders.len();
        if state.orders.capacity() > KEPT_CAPACITY {
            self.in_hand.orders = mem::take(&mut state.orders);
        } else {
            self.in_hand.orders.append(&mut state.orders);
        }
        let request = state.request.take();
        let released = state.released;
        let room = state.room();
        let admitted = state.sending.admitted(room);
        drop(state);
        wake_all(admitted);

        let id = subscription.id;
        self.in_hand.id = id;
        self.in_hand.whole = true;
        self.in_hand.unsubscribe = released;
        if let Some(Request { bootstrap, events }) = request {
            self.make_room_for_subscription();
            if released && self.in_hand.orders.is_empty() {
                // Gone before anyone noticed, and it left nothing to do.
                self.in_hand.unsubscribe = false;
                return;
            }
            let topic = subscription.topic;
            self.in_hand.subscribe = Some(Work::Subscribe {
                id,
                topic,
                bootstrap,
                events,
            });
            self.taken.insert(id, subscription);
        }
    }

    fn make_room_for_subscription(&self) {
        let mut agenda = lock(&self.shared.agenda);
        agenda.untaken -= 1;
        let room = SUBSCRIBE_QUEUE - agenda.untaken;
        let admitted = agenda.subscribing.admitted(room);
        drop(agenda);
        wake_all(admitted);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut agenda = lock(&self.shared.agenda);
        agenda.closed = true;
        let listed = mem::take(&mut agenda.listed);
        let subscribing = agenda.subscribing.dissolve();
        let driver = agenda.driver.take();
        drop(agenda);
        drop(driver);
        wake_all(subscribing);
        for item in listed {
            match item {
                Item::Subscription(subscription) => subscription.close(),
                Item::Stop => {}
            }
        }
        for subscription in mem::take(&mut self.taken).into_values() {
            subscription.close();
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.subscribe.is_none() && self.orders.is_empty() && !self.unsubscribe
    }

    fn next(&mut self) -> Option<Work> {
        if let Some(subscribe) = self.subscribe.take() {
            return Some(subscribe);
        }
        if let Some(order) = self.orders.pop_front() {
            return Some(Work::Command(self.id, order));
        }
        mem::take(&mut self.unsubscribe).then_some(Work::Unsubscribe(self.id))
    }
}
