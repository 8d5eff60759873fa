//! Payloads that are new: their ids are checked, many at a time, and what will be remembered gets a
//! place where it can stay.
//!
//! A payload has its content lent until then, by what was read. So nothing is copied of one that was here before or
//! of what a frame has beyond its message, and nothing of the sort is held in memory by what is kept.

use bytes::Bytes;
use iroh::EndpointId;
use smol_gossip_runtime::Runtime;

use super::{
    blocks::{Block, SHARING},
    digest,
    frames::Frames,
    node::Node,
    transport::Transport,
};
use crate::proto::{DeliveryScope, Message, MessageId, TopicId, plumtree};

/// The most messages that are looked at together.
pub(super) const AT_ONCE: usize = 32;

/// The most that a frame needs besides the content of its payload, in bytes, however its numbers are written.
const HEAD: usize = 64;

/// The length of a frame's body, and what it says; but the content of a payload is [lent](Lent).
pub(crate) type Decoded = (usize, Message<EndpointId>);

/// The content of a payload, where it was read.
pub(super) struct Lent<'a> {
    pub(super) content: &'a [u8],
    pub(super) frames: &'a Frames,
}

impl Lent<'_> {
    /// Gives a payload its content, as a copy.
    pub(super) fn give_to(&self, message: &mut Message<EndpointId>) {
        if let Message::Gossip(plumtree::Message::Gossip(gossip)) = message {
            gossip.content = Bytes::copy_from_slice(self.content);
        }
    }
}

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Says which of these messages of a topic, up to [`AT_ONCE`], are payloads that are new here and have the id
    /// that they should have. Nothing is said of the others. All payloads that are new have their contents from
    /// then on.
    pub(super) fn check_news(
        &self,
        topic: &TopicId,
        messages: &mut [Decoded],
        lent: &[Lent<'_>],
    ) -> [bool; AT_ONCE] {
        let is_news = |id: &MessageId| self.state.is_news(topic, id);
        check(messages, lent, is_news, self.state.max_content_size())
    }
}

/// The payload that a message is, if it is one.
pub(super) fn payload<PI>(message: &Message<PI>) -> Option<&plumtree::Gossip> {
    match message {
        Message::Gossip(plumtree::Message::Gossip(gossip)) => Some(gossip),
        Message::Gossip(_) | Message::Swarm(_) => None,
    }
}

/// Payloads of up to `kept` bytes are remembered.
fn check(
    messages: &mut [Decoded],
    lent: &[Lent<'_>],
    is_news: impl Fn(&MessageId) -> bool,
    kept: usize,
) -> [bool; AT_ONCE] {
    let mut checked = [false; AT_ONCE];
    // By news: where it stands, its content, and the beginning of its id.
    let mut places = [0; AT_ONCE];
    let mut contents = [&[][..]; AT_ONCE];
    let mut beginnings = [0; AT_ONCE];
    let mut count = 0;
    for (place, ((_, message), lent)) in messages.iter().zip(lent).enumerate().take(AT_ONCE) {
        // What is for neighbors may come again.
        if let Some(gossip) = payload(message)
            && (gossip.scope == DeliveryScope::Neighbors || is_news(&gossip.id))
        {
            places[count] = place;
            contents[count] = lent.content;
            count += 1;
        }
    }
    if count == 0 {
        return checked;
    }
    let ids = digest::message_ids(&contents[..count]);
    for (news, id) in ids.iter().enumerate() {
        let place = places[news];
        let Some(gossip) = payload(&messages[place].1) else {
            continue;
        };
        checked[place] = gossip.id == *id;
        beginnings[news] = beginning(id);
        let is_remembered = checked[place]
            && gossip.scope != DeliveryScope::Neighbors
            && contents[news].len() <= kept
            // The second time it is not new any more.
            && !beginnings[..news].contains(&beginnings[news]);
        if !is_remembered || contents[news].len() > SHARING {
            // It has no share in the block of the others.
            contents[news] = &[];
        }
    }
    let shares = &contents[..count];
    let mut block = Block::of(shares.iter().copied());
    for (place, share) in places.into_iter().zip(shares) {
        let ((size, message), lent) = (&mut messages[place], &lent[place]);
        let is_padded = *size > lent.content.len() + HEAD;
        if !checked[place] || is_padded && share.is_empty() {
            lent.give_to(message);
        } else if let Message::Gossip(plumtree::Message::Gossip(gossip)) = message {
            gossip.content = if share.is_empty() {
                lent.frames.share(lent.content)
            } else {
                block.take(share.len())
            };
        }
    }
    checked
}

/// As good as the id, to tell a few apart.
fn beginning(id: &MessageId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::{Round, wire};

    const MAX: usize = 4096;

    /// What a payload is charged with in the cache, in bytes, besides its content.
    const OVERHEAD: usize = 136;

    /// A frame as a peer may send it.
    #[derive(Clone, Debug)]
    struct Frame {
        /// Frames of the same number have the same content.
        number: u8,
        len: usize,
        scope: DeliveryScope,
        /// Behind the message.
        padding: usize,
        genuine: bool,
        /// Whether it was here before.
        known: bool,
    }

    impl Frame {
        fn content(&self) -> Vec<u8> {
            vec![self.number; self.len]
        }

        fn id(&self) -> MessageId {
            let content = self.content();
            MessageId::from_content(if self.genuine {
                &content
            } else {
                &content[1..]
            })
        }

        fn body(&self) -> Vec<u8> {
            let gossip = plumtree::Gossip {
                id: self.id(),
                content: self.content().into(),
                scope: self.scope,
            };
            let message = Message::<EndpointId>::Gossip(plumtree::Message::Gossip(gossip));
            let frame = wire::encode(&message, 1 << 20).unwrap();
            [&frame[wire::LENGTH_PREFIX..], &vec![0xee; self.padding]].concat()
        }
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let len = prop_oneof![4 => 1..300usize, 2 => 1..2100usize, 1 => 2000..4096usize];
        let padding = prop_oneof![3 => Just(0), 1 => 1..3000usize];
        let scope = prop_oneof![
            3 => any::<u16>().prop_map(|hops| DeliveryScope::Swarm(Round::from(hops))),
            1 => Just(DeliveryScope::Neighbors),
        ];
        let (rarely, mostly) = (prop::bool::weighted(0.2), prop::bool::weighted(0.9));
        (0..20u8, len, scope, padding, mostly, rarely).prop_map(
            |(number, len, scope, padding, genuine, known)| Frame {
                number,
                len,
                scope,
                padding,
                genuine,
                known,
            },
        )
    }

    proptest! {
        /// Whatever is sent: what is remembered of it holds no more memory than it is charged with.
        #[test]
        fn what_stays_holds_nothing_else(
            frames in prop::collection::vec(frame(), 1..=AT_ONCE),
            kept in prop_oneof![4 => Just(MAX), 1 => 1..2100usize],
        ) {
            // As it is read: all of it in one allocation.
            let bodies: Vec<_> = frames.iter().map(Frame::body).collect();
            let mut all = Vec::new();
            for body in &bodies {
                all.extend_from_slice(&(body.len() as u32).to_be_bytes());
                all.extend_from_slice(body);
            }
            let all = Bytes::from(all);
            let mut rest = all.clone();
            let read: Vec<_> = bodies
                .iter()
                .map(|body| {
                    let frame = rest.split_to(4 + body.len());
                    if body.len() > SHARING {
                        Frames::One(Bytes::copy_from_slice(body))
                    } else {
                        Frames::Run(frame)
                    }
                })
                .collect();
            let (mut messages, lent): (Vec<Decoded>, Vec<_>) = read
                .iter()
                .flat_map(|frames| frames.bodies().map(move |body| (frames, body)))
                .map(|(frames, body)| {
                    let (message, content) = wire::decode_apart(body).unwrap();
                    ((body.len(), message), Lent { content: &body[content], frames })
                })
                .unzip();
            let known: Vec<_> = frames.iter().filter(|one| one.known).map(Frame::id).collect();
            let checked = check(&mut messages, &lent, |id| !known.contains(id), kept);
            drop(lent);
            drop((read, rest));
            let mut remembered = Vec::new();
            for (place, (frame, (_, message))) in frames.iter().zip(messages).enumerate() {
                let Message::Gossip(plumtree::Message::Gossip(gossip)) = message else {
                    unreachable!("only payloads were sent")
                };
                let is_swarm = matches!(gossip.scope, DeliveryScope::Swarm(_));
                let is_news = !is_swarm || !known.contains(&gossip.id);
                prop_assert_eq!(&gossip.content[..], if is_news { frame.content() } else { vec![] });
                let is_genuine = gossip.id == MessageId::from_content(&gossip.content);
                prop_assert_eq!(checked[place], is_news && is_genuine);
                let fits = gossip.content.len() <= kept;
                let again = remembered.iter().any(|(id, _)| *id == gossip.id);
                if checked[place] && is_swarm && fits && !again {
                    remembered.push((gossip.id, gossip.content));
                }
            }
            prop_assert!(all.try_into_mut().is_ok(), "nobody holds what was read");
            // What shares an allocation lies one behind the other, and goes at the same time.
            let mut contents: VecDeque<_> = remembered.into_iter().map(|(_, content)| content).collect();
            contents.make_contiguous().sort_by_key(|content| content.as_ptr());
            while let Some(first) = contents.pop_front() {
                let mut charge = first.len() + OVERHEAD;
                let mut end = first.as_ptr().wrapping_add(first.len());
                while contents.front().is_some_and(|next| next.as_ptr() == end)
                    && let Some(next) = contents.pop_front()
                {
                    charge += next.len() + OVERHEAD;
                    end = end.wrapping_add(next.len());
                }
                let memory = first.try_into_mut().map(|memory| memory.capacity());
                prop_assert!(memory.as_ref().is_ok_and(|memory| *memory <= charge), "{memory:?} for {charge}");
            }
        }
    }
}
