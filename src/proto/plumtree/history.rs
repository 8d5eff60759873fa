//! What was received or sent before: message ids, to recognise duplicates, and payloads, to
//! answer Grafts.
//!
//! Both are queues in order of arrival, and so in order of expiry. Every payload belongs to an id,
//! and the payloads are always those of the youngest ids; so one lookup finds both. The index into
//! the queue is a table of buckets: 64 bytes for five ids at the most, as a mean. A general map would hold every id a second time: 31
//! instead of 15 MB at the default limit of ids.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    index::Index,
    message::{IHave, Round},
};
use crate::proto::{Counters, MessageId, clock::At, hash::Keyed};

/// What a cached payload takes beyond its content, in bytes: its place in the queue, what the
/// allocator and the shared ownership of the content need, and the head of the frame it came in.
/// Counted, so that many tiny messages do not outgrow a limit that is meant for memory.
pub(super) const PAYLOAD_OVERHEAD: usize = 136;

/// How many ids or payloads are forgotten at once where there are too many, so that the waits for memory
/// overlap.
const FORGOTTEN_TOGETHER: usize = 64;

/// The part of a full cache that may be freed at once, beyond what has to go.
const FREED_TOGETHER: usize = 128;

/// Contents from this size on are taken to have memory of their own. Smaller ones share it with others that go
/// at the same time.
const OWN_MEMORY: usize = 512;

/// The bounds of a [`History`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Payload bytes, [`PAYLOAD_OVERHEAD`] included.
    pub(super) cache_bytes: usize,
    /// Message ids.
    pub(super) seen_ids: usize,
    /// Nanoseconds for which a payload is kept.
    pub(super) payloads_for: u64,
    /// Nanoseconds for which an id is kept.
    pub(super) ids_for: u64,
}

#[derive(Clone, Debug)]
struct Seen {
    id: MessageId,
    at: At,
}

#[derive(Clone, Debug)]
struct Payload {
    /// `None` where the message is too large to be sent on.
    content: Option<Bytes>,
    /// The round that it is sent with.
    round: Round,
    /// Whether we know of nobody else who has it.
    unshared: bool,
}

impl Payload {
    fn cost(&self) -> usize {
        PAYLOAD_OVERHEAD + self.content.as_ref().map_or(0, Bytes::len)
    }

    /// Brings in what dropping it will look at: the count of references, and both ends of the memory.
    fn touch(&self) {
        if let Some(content) = &self.content {
            std::hint::black_box(content.is_unique());
            if content.len() >= OWN_MEMORY {
                std::hint::black_box((content.first().copied(), content.last().copied()));
            }
        }
    }
}

/// A message that is known, by its place in the history. Good until the history changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known(usize);

/// What is remembered of earlier messages.
#[derive(Clone, Debug)]
pub(super) struct History {
    retention: Arc<Retention>,
    index: Index,
    seen: VecDeque<Seen>,
    /// The number of the oldest id, counting all that were ever remembered.
    first: u64,
    /// Invariant: the payloads of the last ids in `seen`, in the same order.
    payloads: VecDeque<Payload>,
    /// Invariant: the sum of the costs of `payloads`.
    cache_bytes: usize,
    /// Invariant: the number of `payloads` that are unshared.
    unshared: usize,
}

impl Retention {
    /// The same, with what makes no sense put right.
    pub(super) fn sensible(self) -> Self {
        Self {
            // The index holds 32 bits of a message's number.
            seen_ids: self.seen_ids.clamp(1, 1 << 30),
            ids_for: self.ids_for.max(self.payloads_for),
            ..self
        }
    }
}

impl History {
    pub(super) fn new(retention: Arc<Retention>, keyed: &Keyed) -> Self {
        Self {
            retention,
            index: Index::new(keyed),
            seen: VecDeque::new(),
            first: 0,
            payloads: VecDeque::new(),
            cache_bytes: 0,
            unshared: 0,
        }
    }

    /// Message ids remembered.
    pub(super) fn ids(&self) -> usize {
        self.seen.len()
    }

    /// What the cached payloads take, in bytes.
    pub(super) fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// The number that the next message will have.
    pub(super) fn next_number(&self) -> u64 {
        self.first + self.seen.len() as u64
    }

    /// The number of a known message.
    pub(super) fn number(&self, known: Known) -> u64 {
        self.first + known.0 as u64
    }

    /// Whether some payload is known to nobody else.
    pub(super) fn has_unshared(&self) -> bool {
        self.unshared > 0
    }

    /// Whether any payload is cached.
    pub(super) fn has_payloads(&self) -> bool {
        !self.payloads.is_empty()
    }

    /// How many payloads came since a time, counting no further than `most`.
    pub(super) fn payloads_since(&self, since: At, most: usize) -> usize {
        let latest = self.seen.iter().rev().take(self.payloads.len().min(most));
        latest.take_while(|seen| seen.at >= since).count()
    }

    /// When the latest message came, not counting this one.
    pub(super) fn latest_other(&self, known: Known) -> Option<At> {
        let mut places = (0..self.seen.len()).rev();
        let place = places.find(|place| *place != known.0)?;
        Some(self.seen.get(place)?.at)
    }

    /// Looks a message up.
    pub(super) fn find(&self, id: &MessageId) -> Option<Known> {
        let is_it = |place| {
            self.seen
                .get(place)
                .is_some_and(|seen: &Seen| seen.id == *id)
        };
        self.index.find(id, is_it).map(Known)
    }

    /// Brings in what [`Self::find`] and [`Self::remember`] will look at for these ids. One wait for
    /// memory is most of what a small message costs; those of many messages overlap here.
    pub(super) fn anticipate(&self, ids: impl Iterator<Item = MessageId>) {
        self.index.touch(ids);
    }

    /// The payload of a known message and the round to send it with, if it is still cached.
    pub(super) fn payload(&self, known: Known) -> Option<(Bytes, Round)> {
        let payload = self.payloads.get(self.payload_place(known)?)?;
        Some((payload.content.clone()?, payload.round))
    }

    /// Notes that someone else has a known message.
    #[inline]
    pub(super) fn mark_shared(&mut self, known: Known) {
        if self.unshared == 0 {
            return;
        }
        if let Some(place) = self.payload_place(known)
            && let Some(payload) = self.payloads.get_mut(place)
            && std::mem::take(&mut payload.unshared)
        {
            self.unshared -= 1;
        }
    }

    /// Remembers a message that [`Self::find`] did not find, forgetting the oldest where the
    /// bounds ask for it.
    ///
    /// The payload is `None` for a message that will never be sent on.
    #[inline]
    pub(super) fn remember(
        &mut self,
        id: MessageId,
        content: Option<Bytes>,
        round: Round,
        unshared: bool,
        now: At,
        counters: &mut Counters,
    ) {
        if self.seen.len() >= self.retention.seen_ids {
            let count = (self.retention.seen_ids / 1024).clamp(1, FORGOTTEN_TOGETHER);
            self.forget_oldest(count);
            counters.seen_evicted += count as u64;
        }
        self.index.insert(&id, |place| &self.seen[place].id);
        self.seen.push_back(Seen { id, at: now });
        let payload = Payload {
            content,
            round,
            unshared,
        };
        self.cache_bytes += payload.cost();
        self.unshared += usize::from(unshared);
        self.payloads.push_back(payload);
        let evicted = self.shrink_cache();
        // Mostly there is nothing to count, and what was just written is read slowly together with its neighbors.
        if evicted > 0 {
            counters.cache_evicted += evicted;
        }
    }

    /// Forgets what is too old, and gives back memory that is no longer needed.
    pub(super) fn expire(&mut self, now: At) {
        let retention = *self.retention;
        let outdated = |seen: &Seen, nanos| seen.at.after(nanos) <= now;
        while let Some(seen) = self.seen.get(self.seen.len() - self.payloads.len())
            && outdated(seen, retention.payloads_for)
            && self.drop_oldest_payload()
        {}
        loop {
            let oldest = self.seen.iter().take(FORGOTTEN_TOGETHER);
            let count = oldest.take_while(|one| outdated(one, retention.ids_for));
            match count.count() {
                0 => break,
                count => self.forget_oldest(count),
            }
        }
        shrink(&mut self.payloads);
        shrink(&mut self.seen);
        self.index.shrink(|place| &self.seen[place].id);
    }

    /// When the latest message came.
    pub(super) fn latest(&self) -> Option<At> {
        Some(self.seen.back()?.at)
    }

    /// When everything that is remembered now will have expired: first the payloads, then the ids.
    /// `None` when there is nothing.
    pub(super) fn last_expiry(&self) -> Option<At> {
        Some(self.latest()?.after(if self.payloads.is_empty() {
            self.retention.ids_for
        } else {
            self.retention.payloads_for
        }))
    }

    /// Announcements for a peer that became a neighbor when the next message had number `before`:
    /// of every payload that nobody else is known to have, and of the `recent` latest.
    pub(super) fn announcements(&self, before: u64, recent: usize) -> Vec<IHave> {
        let first_payload = self.seen.len() - self.payloads.len();
        let end = usize::try_from(before.saturating_sub(self.first))
            .unwrap_or(usize::MAX)
            .min(self.seen.len());
        let recent_from = end.saturating_sub(recent).max(first_payload);
        let places: Range<usize> = if self.unshared > 0 {
            first_payload..end
        } else {
            recent_from..end
        };
        places
            .filter_map(|place| {
                let payload = self.payloads.get(place.checked_sub(first_payload)?)?;
                let wanted = payload.unshared || place >= recent_from;
                (wanted && payload.content.is_some()).then_some(IHave {
                    id: self.seen.get(place)?.id,
                    round: payload.round,
                })
            })
            .collect()
    }

    fn payload_place(&self, known: Known) -> Option<usize> {
        known.0.checked_sub(self.seen.len() - self.payloads.len())
    }

    /// Drops payloads until the others fit, and some more where many are kept; says how many.
    #[inline]
    fn shrink_cache(&mut self) -> u64 {
        let limit = self.retention.cache_bytes;
        let excess = self.cache_bytes.saturating_sub(limit);
        if excess == 0 {
            return 0;
        }
        let (mut count, mut freed) = (0, 0);
        for payload in &self.payloads {
            let next = freed + payload.cost();
            if freed >= excess
                && (next > excess + limit / FREED_TOGETHER || count >= FORGOTTEN_TOGETHER)
            {
                break;
            }
            payload.touch();
            (count, freed) = (count + 1, next);
        }
        for _ in 0..count {
            self.drop_oldest_payload();
        }
        count as u64
    }

    fn drop_oldest_payload(&mut self) -> bool {
        let Some(payload) = self.payloads.pop_front() else {
            return false;
        };
        self.cache_bytes -= payload.cost();
        self.unshared -= usize::from(payload.unshared);
        true
    }

    fn forget_oldest(&mut self, count: usize) {
        let count = count.min(self.seen.len());
        while self.payloads.len() > self.seen.len() - count {
            self.drop_oldest_payload();
        }
        self.seen.drain(..count);
        self.first += count as u64;
        self.index.forget(count);
    }
}

/// Gives memory back once a quarter of it would do.
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() {
        *queue = VecDeque::new();
    } else if queue.len() < queue.capacity() / 4 {
        queue.shrink_to(queue.len() * 2);
    }
}
