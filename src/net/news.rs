//! Payloads that are new: their ids are checked, many at a time, and what will be remembered gets a
//! place where it can stay.
//!
//! A message is a slice of what was read until then. So nothing is copied of one that was here before, that is not
//! what it claims to be, or of what a frame has beyond its message; and nothing of the sort is held in memory by
//! what is kept.

use bytes::Bytes;
use iroh::EndpointId;
use smol_gossip_runtime::Runtime;

use super::{
    blocks::{Block, SHARING},
    digest,
    node::Node,
    transport::Transport,
};
use crate::proto::{DeliveryScope, Message, MessageId, TopicId, plumtree};

/// The most messages that are looked at together.
pub(super) const AT_ONCE: usize = 32;

/// The most that a frame needs besides the content of its payload, in bytes, however its numbers are written.
const HEAD: usize = 64;

/// The length of a frame's body, and what it says.
pub(crate) type Decoded = (usize, Message<EndpointId>);

impl<T: Transport, R: Runtime> Node<T, R> {
    /// Says which of these messages of a topic, up to [`AT_ONCE`], are payloads that are new here and have the id
    /// that they should have. These have memory of their own from then on. Nothing is said of the others.
    pub(super) fn check_news(&self, topic: &TopicId, messages: &mut [Decoded]) -> [bool; AT_ONCE] {
        let is_news = |id: &MessageId| self.state.is_news(topic, id);
        check(messages, is_news, self.state.max_content_size())
    }
}

/// The payload that a message is, if it is one.
pub(super) fn payload<PI>(message: &Message<PI>) -> Option<&plumtree::Gossip> {
    match message {
        Message::Gossip(plumtree::Message::Gossip(gossip)) => Some(gossip),
        Message::Gossip(_) | Message::Swarm(_) => None,
    }
}

/// Gives a payload memory of its own.
pub(super) fn set_apart(message: &mut Message<EndpointId>) {
    if let Message::Gossip(plumtree::Message::Gossip(gossip)) = message {
        gossip.content = Bytes::copy_from_slice(&gossip.content);
    }
}

/// Payloads of up to `kept` bytes are remembered.
fn check(
    messages: &mut [Decoded],
    is_news: impl Fn(&MessageId) -> bool,
    kept: usize,
) -> [bool; AT_ONCE] {
    let mut checked = [false; AT_ONCE];
    // By news: where it stands, its content, and the beginning of its id.
    let mut places = [0; AT_ONCE];
    let mut contents = [&[][..]; AT_ONCE];
    let mut beginnings = [0; AT_ONCE];
    let mut count = 0;
    for (place, (_, message)) in messages.iter().enumerate().take(AT_ONCE) {
        if let Some(gossip) = payload(message)
            && is_news(&gossip.id)
        {
            places[count] = place;
            contents[count] = &gossip.content;
            count += 1;
        }
    }
    if count == 0 {
        return checked;
    }
    let ids = digest::message_ids(&contents[..count]);
    // What has no share in the block of the others is empty from here on.
    for (news, id) in ids.iter().enumerate() {
        let place = places[news];
        let Some(gossip) = payload(&messages[place].1) else {
            continue;
        };
        checked[place] = gossip.id == *id;
        beginnings[news] = beginning(id);
        let is_remembered = matches!(gossip.scope, DeliveryScope::Swarm(_))
            && gossip.content.len() <= kept
            // The second time it is not new any more.
            && !beginnings[..news].contains(&beginnings[news]);
        if !checked[place] || !is_remembered || gossip.content.len() > SHARING {
            contents[news] = &[];
        }
    }
    let shares = contents.map(<[u8]>::len);
    let mut block = Block::of(contents[..count].iter().copied());
    for (place, share) in places.into_iter().zip(shares).take(count) {
        let (size, message) = &mut messages[place];
        let Message::Gossip(plumtree::Message::Gossip(gossip)) = message else {
            continue;
        };
        let len = gossip.content.len();
        if share > 0 {
            gossip.content = block.take(share);
        } else if checked[place] && (len <= SHARING || *size > len + HEAD) {
            set_apart(message);
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
            let all = Bytes::from(frames.iter().flat_map(Frame::body).collect::<Vec<_>>());
            let known: Vec<_> = frames.iter().filter(|one| one.known).map(Frame::id).collect();
            let mut rest = all.clone();
            let mut messages: Vec<Decoded> = frames
                .iter()
                .map(|frame| {
                    let mut body = rest.split_to(frame.body().len());
                    if body.len() > SHARING {
                        body = Bytes::copy_from_slice(&body);
                    }
                    (body.len(), wire::decode(body).unwrap())
                })
                .collect();
            let checked = check(&mut messages, |id| !known.contains(id), kept);
            let mut remembered = Vec::new();
            for (place, (frame, (_, message))) in frames.iter().zip(messages).enumerate() {
                let Message::Gossip(plumtree::Message::Gossip(gossip)) = message else {
                    unreachable!("only payloads were sent")
                };
                prop_assert_eq!(&gossip.content[..], &frame.content());
                let is_news = !known.contains(&gossip.id);
                let is_genuine = gossip.id == MessageId::from_content(&gossip.content);
                prop_assert_eq!(checked[place], is_news && is_genuine);
                let fits = gossip.content.len() <= kept;
                let is_swarm = matches!(gossip.scope, DeliveryScope::Swarm(_));
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
