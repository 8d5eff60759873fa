//! What introduces a peer to others. To this layer it is cargo, and bounded.

use rand::Rng;

use super::{PeerIdentity, Sink, State, Turn, view::Sent};
use crate::proto::{PeerData, PeerInfo};

/// The share of a frame that one peer's data may take, as a divisor.
const SHARE_OF_FRAME: usize = 4;

/// The largest peer data that is sent or taken, for a largest frame.
pub(super) fn largest_in_frame(max_message_size: usize) -> usize {
    max_message_size / SHARE_OF_FRAME
}

/// Whose word data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// That of the peer itself, which others do not replace by theirs.
    Own,
    /// That of somebody else.
    Told,
}

/// What introduces the peers that are known. They are few, and in order.
#[derive(Clone, Debug)]
pub(super) struct Introductions<PI>(Vec<(PI, PeerData, Word)>);

impl<PI: Copy + Ord> Introductions<PI> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn get(&self, id: &PI) -> Option<&PeerData> {
        let place = self.place(id).ok()?;
        self.0.get(place).map(|(_, data, _)| data)
    }

    /// A peer was not to be reached by what it said itself: from now on what others say counts as much.
    pub(super) fn doubt(&mut self, id: &PI) {
        if let Ok(place) = self.place(id) {
            self.0[place].2 = Word::Told;
        }
    }

    /// Whether the data of a peer is what it says itself.
    pub(super) fn is_own(&self, id: &PI) -> bool {
        let place = self.place(id).ok();
        let known = place.and_then(|place| self.0.get(place));
        known.is_some_and(|(_, _, word)| *word == Word::Own)
    }

    fn insert(&mut self, id: PI, data: PeerData, word: Word) {
        match self.place(&id) {
            Ok(place) => self.0[place] = (id, data, word),
            Err(place) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(place, (id, data, word));
            }
        }
    }

    fn remove(&mut self, id: &PI) {
        if let Ok(place) = self.place(id) {
            self.0.remove(place);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, id: &PI) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, ..)| known.cmp(id))
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&PI, &PeerData)> {
        self.0.iter().map(|(id, data, _)| (id, data))
    }
}

impl<PI: PeerIdentity> State<PI> {
    /// Sets our own data; too much of it is left out.
    pub(super) fn set_own_data(&mut self, data: PeerData) {
        let max = largest_in_frame(self.settings.max_message_size);
        let len = data.as_bytes().len();
        self.me_data = if len <= max {
            data
        } else {
            tracing::warn!(len, max, "our own peer data is too large to be sent");
            PeerData::default()
        };
    }

    /// Drops peer data that is too large, and counts it.
    pub(super) fn bound_data<R: Rng, S: Sink<PI>>(
        &self,
        data: &mut Option<PeerData>,
        turn: &mut Turn<'_, R, S>,
    ) {
        if data
            .as_ref()
            .is_some_and(|data| data.as_bytes().len() > self.settings.data_limit)
        {
            turn.counters.peer_data_too_large += 1;
            *data = None;
        }
    }

    /// Remembers the data of a peer that is known, or is about to be. What others say of it is passed on, for
    /// dials, and remembered only where it has not said anything itself by which it
    /// can be reached.
    pub(super) fn learn_data<R: Rng, S: Sink<PI>>(
        &mut self,
        id: PI,
        mut data: Option<PeerData>,
        word: Word,
        turn: &mut Turn<'_, R, S>,
    ) {
        self.bound_data(&mut data, turn);
        let Some(data) = data.filter(|data| !data.as_bytes().is_empty()) else {
            return;
        };
        let (is_own, says_itself) = (self.data.is_own(&id), word == Word::Own);
        let is_known = self.data.get(&id) == Some(&data);
        if is_known && (is_own || !says_itself) {
            return;
        }
        turn.sink.peer_data(id, data.clone());
        if says_itself || !is_own {
            self.data.insert(id, data, word);
        }
    }

    /// Drops the data of a peer that is known no more.
    pub(super) fn forget_data(&mut self, id: &PI) {
        if self.data.is_empty() {
            return;
        }
        let known = self.active.contains(id)
            || self.passive.contains(id)
            || self.requests.contains(id)
            || self.joins.contains(id);
        if !known {
            self.data.remove(id);
        }
    }

    /// Adds a peer that others told of, or that was a neighbor, to the passive view.
    pub(super) fn insert_passive<R: Rng, S: Sink<PI>>(
        &mut self,
        peer: PeerInfo<PI>,
        sent: &mut Sent<'_, PI>,
        turn: &mut Turn<'_, R, S>,
    ) {
        let PeerInfo { id, data } = peer;
        // What a neighbor says of itself counts, not what others say of it.
        if id == self.me || self.active.contains(&id) {
            return;
        }
        if let Some(dropped) = self.passive.insert(id, sent, turn.rng) {
            self.forget_data(&dropped);
        }
        if data.is_some() && self.passive.contains(&id) {
            self.learn_data(id, data, Word::Told, turn);
        }
    }

    /// How to introduce a peer.
    pub(super) fn introduction(&self, id: PI) -> PeerInfo<PI> {
        let data = if id == self.me {
            Some(&self.me_data).filter(|data| !data.as_bytes().is_empty())
        } else {
            self.data.get(&id)
        };
        PeerInfo {
            id,
            data: data.cloned(),
        }
    }
}
