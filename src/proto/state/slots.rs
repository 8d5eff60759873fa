//! Where each topic of a node is.

use indexmap::IndexMap;

use crate::proto::{TopicId, hash::Local};

/// So many topics are compared one by one. Most nodes are in few, and a table takes more room than
/// all that is in it then.
pub(super) const FEW: usize = 8;

/// The slots of topics, in the order in which the topics were joined.
#[derive(Clone, Debug)]
pub(super) enum Slots {
    Few(Vec<(TopicId, u32)>),
    Many(Box<IndexMap<TopicId, u32, Local>>),
}

impl Slots {
    pub(super) fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(slots) => slots.len(),
            Self::Many(slots) => slots.len(),
        }
    }

    /// The slot of a topic.
    #[inline]
    pub(super) fn find(&self, topic: &TopicId) -> Option<usize> {
        let slot = match self {
            Self::Few(slots) => slots.iter().find(|(one, _)| one == topic)?.1,
            Self::Many(slots) => *slots.get(topic)?,
        };
        Some(slot as usize)
    }

    /// All topics and their slots.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&TopicId, usize)> {
        (0..self.len()).map(move |index| {
            let (topic, slot) = match self {
                Self::Few(slots) => (&slots[index].0, slots[index].1),
                Self::Many(slots) => {
                    let (topic, slot) = slots
                        .get_index(index)
                        .expect("the index is below the length");
                    (topic, *slot)
                }
            };
            (topic, slot as usize)
        })
    }

    /// Notes where a topic is that was not known before.
    pub(super) fn insert(&mut self, topic: TopicId, slot: usize) {
        let slot = slot as u32;
        match self {
            Self::Few(slots) if slots.len() < FEW => {
                slots.reserve_exact(1);
                slots.push((topic, slot));
            }
            Self::Few(slots) => {
                let mut many: IndexMap<_, _, _> = slots.drain(..).collect();
                many.insert(topic, slot);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(slots) => {
                slots.insert(topic, slot);
            }
        }
    }

    /// Forgets a topic; the others stay in order.
    pub(super) fn remove(&mut self, topic: &TopicId) {
        match self {
            Self::Few(slots) => slots.retain(|(one, _)| one != topic),
            Self::Many(slots) => {
                slots.shift_remove(topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_found_in_the_order_in_which_they_were_joined() {
        let topic = |number: u8| TopicId::from_bytes([number; 32]);
        for count in [1, FEW as u8, FEW as u8 + 1, 40] {
            let mut slots = Slots::new();
            for number in 0..count {
                slots.insert(topic(number), usize::from(number) + 100);
            }
            slots.remove(&topic(0));
            slots.insert(topic(0), 7);
            let all: Vec<_> = slots.iter().collect();
            let last = all.last().copied();
            assert_eq!(last, Some((&topic(0), 7)));
            assert_eq!(all.len(), usize::from(count));
            assert!(all[..all.len() - 1].is_sorted());
            for (one, slot) in &all {
                assert_eq!(slots.find(one), Some(*slot));
            }
            assert_eq!(slots.find(&topic(200)), None);
        }
    }
}
