//! What waits to be written to one peer.
//!
//! The driver pushes and never waits; the streams of the peer take batches as fast as it reads.
//! Within a topic, control messages go before our own payloads, those before forwarded ones, and
//! announcements last. A Disconnect is the last message of its stream: what was pushed before it
//! goes before it, and what is pushed after it waits for the next stream.

use std::collections::VecDeque;

use bytes::Bytes;
use indexmap::IndexMap;
use iroh::EndpointId;

use crate::proto::{
    Message, TopicId,
    hash::Local,
    plumtree::{self, IHave},
    wire,
};

/// Bytes that are given to one write at the most.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// Frames up to this many bytes are copied together; larger ones are handed on as they are.
/// A copy of this much costs less than an allocation of this size, which an allocator does not
/// keep at hand, and than one chunk more that QUIC steps over for each packet until it is acknowledged.
pub(crate) const COALESCE_BYTES: usize = 8192;

/// Small frames are copied together up to about this many bytes.
const CHUNK_BYTES: usize = BATCH_BYTES;

/// What is allocated for the first small frames, at least.
const FIRST_CHUNK_BYTES: usize = 512;

/// Farewells are queued while something waits for fewer topics than this. What keeps track of a topic takes far more
/// memory than a farewell, and who asks about topics that we are not in gets one for each.
const TOPICS_WITH_FAREWELLS: usize = 1024;

/// What an announcement is charged with: its size on the wire.
const IHAVE_BYTES: usize = 35;

/// How urgent a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Membership, Prune and Graft.
    Control = 0,
    /// Payloads that begin here.
    Own = 1,
    /// Payloads of others.
    Forwarded = 2,
    /// Announcements.
    Announce = 3,
}

const LANES: usize = 4;

/// Frames for one peer, by topic.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    topics: IndexMap<TopicId, VecDeque<Segment>, Local>,
    bytes: usize,
    /// Bytes of the last batch: the next one is likely to be of that size too.
    usual: usize,
}

/// What goes over one stream.
#[derive(Debug, Default)]
struct Segment {
    lanes: [VecDeque<Chunk>; LANES],
    /// Announcements that are not frames yet.
    ihaves: Vec<IHave>,
    /// The Disconnect.
    last: Option<Bytes>,
}

impl Segment {
    fn bytes(&self) -> usize {
        let chunks = self.lanes.iter().flatten().map(Chunk::len).sum::<usize>();
        let last = self.last.as_ref().map_or(0, Bytes::len);
        chunks + self.ihaves.len() * IHAVE_BYTES + last
    }
}

/// One or more whole frames.
#[derive(Debug)]
enum Chunk {
    /// Small frames, copied together as they come: that costs less than keeping track of each.
    Small(Vec<u8>),
    /// A large frame, whose bytes may be shared with the queues of other peers.
    Large(Bytes),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Self::Small(frames) => frames.len(),
            Self::Large(frame) => frame.len(),
        }
    }
}

/// A frame as it is pushed.
#[derive(Clone, Debug)]
pub(crate) enum Frame<'a> {
    /// Up to [`COALESCE_BYTES`], to be copied.
    Small(&'a [u8]),
    /// The same in three parts: the content of a payload, and what stands before and behind it.
    Around(&'a [u8], &'a [u8], &'a [u8]),
    /// More than that, to be shared.
    Large(Bytes),
}

impl Frame<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(frame) => frame.len(),
            Self::Around(head, content, tail) => head.len() + content.len() + tail.len(),
            Self::Large(frame) => frame.len(),
        }
    }
}

/// What one write takes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Whole frames, some of them joined.
    pub(crate) chunks: Vec<Bytes>,
    /// Bytes in all chunks.
    pub(crate) bytes: usize,
    /// Whether the stream is to be finished after it.
    pub(crate) last: bool,
}

impl SendQueue {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that wait for one topic. It takes time in proportion to what waits.
    pub(crate) fn bytes_of(&self, topic: &TopicId) -> usize {
        let segments = self.topics.get(topic).into_iter().flatten();
        segments.map(Segment::bytes).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The topics that something waits for, longest waiting first.
    pub(crate) fn topics(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.topics.keys().copied()
    }

    /// Adds a frame.
    pub(crate) fn push(&mut self, topic: TopicId, lane: Lane, frame: Frame<'_>) {
        // Only where nothing waits: else each of many topics would have room for what is usual for all.
        let usual = if self.bytes == 0 { self.usual } else { 0 };
        self.bytes += frame.len();
        self.segment(topic).push(lane, frame, usual);
    }

    /// Adds an announcement; announcements that wait together share frames.
    pub(crate) fn announce(&mut self, topic: TopicId, ihave: IHave) {
        self.bytes += IHAVE_BYTES;
        self.segment(topic).ihaves.push(ihave);
    }

    /// Whether a Disconnect of the topic may be added.
    pub(crate) fn has_room_for_farewell(&self, topic: &TopicId) -> bool {
        self.topics.len() < TOPICS_WITH_FAREWELLS || self.topics.contains_key(topic)
    }

    /// Adds the Disconnect of the topic. One that would directly follow another is left out.
    pub(crate) fn push_last(&mut self, topic: TopicId, frame: Frame<'_>) {
        let newest = self.topics.get(&topic).and_then(VecDeque::back);
        if newest.is_some_and(|segment| segment.last.is_some()) {
            return;
        }
        self.bytes += frame.len();
        self.segment(topic).last = Some(match frame {
            Frame::Small(frame) => Bytes::copy_from_slice(frame),
            Frame::Around(head, content, tail) => [head, content, tail].concat().into(),
            Frame::Large(frame) => frame,
        });
    }

    /// Takes back the Disconnect of a topic that has nothing else to say.
    pub(crate) fn take_back_disconnect(&mut self, topic: &TopicId) {
        if let Some(segments) = self.topics.get_mut(topic)
            && let [segment] = segments.make_contiguous()
            && segment.lanes.iter().all(VecDeque::is_empty)
            && segment.ihaves.is_empty()
            && let Some(frame) = &segment.last
        {
            self.bytes = self.bytes.saturating_sub(frame.len());
            self.topics.shift_remove(topic);
        }
    }

    /// Takes what one write to the stream of `topic` can carry. Frames stay below
    /// `max_message_size`.
    pub(crate) fn take(&mut self, topic: &TopicId, max_message_size: usize) -> Batch {
        let mut joiner = Joiner::default();
        let mut last = false;
        if let Some(segments) = self.topics.get_mut(topic)
            && let Some(segment) = segments.front_mut()
        {
            segment.frame_announcements(&mut self.bytes, max_message_size);
            'lanes: for lane in &mut segment.lanes {
                while let Some(chunk) = lane.pop_front() {
                    if joiner.bytes > 0 && joiner.bytes + chunk.len() > BATCH_BYTES {
                        lane.push_front(chunk);
                        break 'lanes;
                    }
                    joiner.push(chunk);
                }
            }
            if segment.lanes.iter().all(VecDeque::is_empty) {
                if let Some(frame) = segment.last.take() {
                    joiner.push(Chunk::Large(frame));
                    last = true;
                }
                segments.pop_front();
                if segments.is_empty() {
                    self.topics.shift_remove(topic);
                }
            }
        }
        let batch = joiner.finish(last);
        self.usual = batch.bytes;
        self.bytes = self.bytes.saturating_sub(batch.bytes);
        batch
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn segment(&mut self, topic: TopicId) -> &mut Segment {
        // As a rule, one message after the other is of the same topic.
        let place = match self.topics.last() {
            Some((latest, _)) if *latest == topic => self.topics.len() - 1,
            Some(_) | None => {
                let entry = self.topics.entry(topic);
                let place = entry.index();
                entry.or_default();
                place
            }
        };
        let segments = &mut self.topics[place];
        if segments.back().is_none_or(|segment| segment.last.is_some()) {
            // As a rule there is no second one, and room for four is not needed.
            segments.reserve_exact(1);
            segments.push_back(Segment::default());
        }
        let newest = segments.len() - 1;
        &mut segments[newest]
    }
}

impl Segment {
    /// Adds a frame, where about so many bytes of frames are usual.
    fn push(&mut self, lane: Lane, frame: Frame<'_>, usual: usize) {
        let lane = &mut self.lanes[lane as usize];
        let len = frame.len();
        let (head, content, tail) = match frame {
            Frame::Small(frame) => (frame, &[][..], &[][..]),
            Frame::Around(head, content, tail) => (head, content, tail),
            Frame::Large(frame) => return lane.push_back(Chunk::Large(frame)),
        };
        let frames = match lane.back_mut() {
            Some(Chunk::Small(frames)) if frames.len() + len <= CHUNK_BYTES => frames,
            before => {
                // Where one was filled, another will be.
                let size = match before {
                    Some(Chunk::Small(_)) => CHUNK_BYTES,
                    Some(Chunk::Large(_)) | None => usual.clamp(FIRST_CHUNK_BYTES, CHUNK_BYTES),
                };
                lane.push_back(Chunk::Small(Vec::with_capacity(len.max(size))));
                let Some(Chunk::Small(frames)) = lane.back_mut() else {
                    return;
                };
                frames
            }
        };
        frames.reserve(len);
        for part in [head, content, tail] {
            frames.extend_from_slice(part);
        }
    }

    /// Makes frames of the announcements, and charges their true size.
    fn frame_announcements(&mut self, bytes: &mut usize, max_message_size: usize) {
        if self.ihaves.is_empty() {
            return;
        }
        let ihaves = std::mem::take(&mut self.ihaves);
        *bytes = bytes.saturating_sub(ihaves.len() * IHAVE_BYTES);
        let per_frame = (max_message_size.saturating_sub(8) / IHAVE_BYTES).max(1);
        for chunk in ihaves.chunks(per_frame) {
            let message = plumtree::Message::IHave(chunk.into());
            // Cannot fail: the chunk was cut to fit, and no peer identity is in it.
            if let Ok(frame) =
                wire::encode(&Message::<EndpointId>::Gossip(message), max_message_size)
            {
                *bytes += frame.len();
                self.push(Lane::Announce, Frame::Large(frame), 0);
            }
        }
    }
}

/// Joins what is small, so that a write has few chunks to go through.
#[derive(Default)]
struct Joiner {
    chunks: Vec<Bytes>,
    small: Vec<u8>,
    bytes: usize,
}

impl Joiner {
    fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.len();
        match chunk {
            Chunk::Small(frames) if self.small.is_empty() => self.small = frames,
            Chunk::Small(frames) if frames.len() <= COALESCE_BYTES => {
                self.small.extend_from_slice(&frames);
            }
            Chunk::Small(frames) => {
                self.flush();
                self.small = frames;
            }
            Chunk::Large(frame) if frame.len() <= COALESCE_BYTES => {
                self.small.extend_from_slice(&frame);
            }
            Chunk::Large(frame) => {
                self.flush();
                self.chunks.push(frame);
            }
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(std::mem::take(&mut self.small).into());
        }
    }

    fn finish(mut self, last: bool) -> Batch {
        self.flush();
        Batch {
            chunks: self.chunks,
            bytes: self.bytes,
            last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{MessageId, Round};

    const MAX: usize = 512;

    fn topic(n: u8) -> TopicId {
        TopicId::from_bytes([n; 32])
    }

    fn frame(text: &'static str) -> Frame<'static> {
        Frame::Small(text.as_bytes())
    }

    fn text(batch: &Batch) -> String {
        String::from_utf8(batch.chunks.concat()).unwrap()
    }

    #[test]
    fn urgent_frames_go_first() {
        let mut queue = SendQueue::default();
        queue.push(topic(1), Lane::Announce, frame("d"));
        queue.push(topic(1), Lane::Forwarded, frame("c"));
        queue.push(topic(1), Lane::Own, frame("b"));
        queue.push(topic(1), Lane::Control, frame("a"));
        queue.push(topic(2), Lane::Control, frame("x"));
        assert_eq!(queue.bytes_of(&topic(1)), 4);
        let batch = queue.take(&topic(1), MAX);
        assert_eq!(text(&batch), "abcd");
        assert_eq!(queue.bytes_of(&topic(1)), 0);
        assert_eq!(queue.bytes_of(&topic(2)), 1);
        assert_eq!(
            (batch.chunks.len(), batch.last, queue.bytes()),
            (1, false, 1)
        );
    }

    #[test]
    fn nothing_passes_a_disconnect() {
        let mut queue = SendQueue::default();
        queue.push(topic(1), Lane::Own, frame("payload "));
        queue.push_last(topic(1), frame("disconnect"));
        queue.push(topic(1), Lane::Control, frame("join"));
        let batch = queue.take(&topic(1), MAX);
        assert_eq!(
            (text(&batch).as_str(), batch.last),
            ("payload disconnect", true)
        );
        let batch = queue.take(&topic(1), MAX);
        assert_eq!((text(&batch).as_str(), batch.last), ("join", false));
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let mut queue = SendQueue::default();
        let large = Bytes::from(vec![7; 4000]);
        for _ in 0..100 {
            queue.push(topic(1), Lane::Forwarded, Frame::Large(large.clone()));
            queue.push(topic(1), Lane::Forwarded, Frame::Small(&large[..10]));
        }
        let mut total = 0;
        queue.push_last(topic(1), frame("bye"));
        while !queue.is_empty() {
            assert_eq!(queue.bytes_of(&topic(1)), queue.bytes());
            let batch = queue.take(&topic(1), MAX);
            assert!(batch.bytes <= BATCH_BYTES);
            assert_eq!(batch.bytes, batch.chunks.iter().map(Bytes::len).sum());
            total += batch.bytes;
        }
        assert_eq!((total, queue.bytes()), (100 * 4010 + 3, 0));
    }

    #[test]
    fn announcements_share_frames_within_bounds() {
        let mut queue = SendQueue::default();
        for n in 0..100u8 {
            let id = MessageId::from_content(&[n]);
            queue.announce(
                topic(1),
                IHave {
                    id,
                    round: Round::from(u16::MAX),
                },
            );
        }
        assert_eq!(queue.bytes_of(&topic(1)), queue.bytes());
        let mut parser = wire::FrameParser::new(MAX - 1);
        let mut data = Bytes::from(queue.take(&topic(1), MAX).chunks.concat());
        let mut count = 0;
        while let Some(body) = parser.take_frame(&mut data).unwrap() {
            match wire::decode::<EndpointId>(body).unwrap() {
                Message::Gossip(plumtree::Message::IHave(ihaves)) => count += ihaves.len(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((count, queue.bytes(), queue.is_empty()), (100, 0, true));
    }

    #[test]
    fn what_waits_takes_about_as_much_memory_as_it_is() {
        let mut queue = SendQueue::default();
        let large = vec![7; COALESCE_BYTES];
        for _ in 0..20 {
            queue.push(topic(0), Lane::Own, Frame::Small(&large));
        }
        queue.take(&topic(0), MAX);
        for n in 0..=255 {
            for _ in 0..10 {
                queue.push(topic(n), Lane::Own, Frame::Small(&large[..100]));
                queue.push(topic(n), Lane::Control, frame("a"));
            }
        }
        let segments = queue.topics.values().flatten();
        let chunks = segments.flat_map(|segment| segment.lanes.iter().flatten());
        let memory = chunks.map(|chunk| match chunk {
            Chunk::Small(frames) => frames.capacity(),
            Chunk::Large(frame) => frame.len(),
        });
        let memory: usize = memory.sum();
        let lanes = 2 * 256 * FIRST_CHUNK_BYTES;
        assert!(
            memory <= 2 * queue.bytes() + lanes + CHUNK_BYTES,
            "{memory}"
        );
    }

    #[test]
    fn a_disconnect_is_taken_back_where_it_is_alone() {
        let mut queue = SendQueue::default();
        queue.take_back_disconnect(&topic(1));
        for n in 1..5 {
            if n == 2 {
                queue.push(topic(n), Lane::Own, frame("payload"));
            }
            if n == 3 {
                let id = MessageId::from_content(&[]);
                let round = Round::from(1);
                queue.announce(topic(n), IHave { id, round });
            }
            queue.push_last(topic(n), frame("bye"));
            if n == 4 {
                queue.push(topic(n), Lane::Control, frame("join"));
            }
            let before = queue.bytes();
            queue.take_back_disconnect(&topic(n));
            let taken = before - queue.bytes();
            assert_eq!(taken, if n == 1 { 3 } else { 0 }, "{n}");
        }
        assert_eq!(
            queue.topics().collect::<Vec<_>>(),
            [topic(2), topic(3), topic(4)]
        );
    }

    #[test]
    fn farewells_of_ever_more_topics_are_bounded() {
        let topic = |n: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            TopicId::from_bytes(bytes)
        };
        let mut queue = SendQueue::default();
        for n in 0..5000 {
            if queue.has_room_for_farewell(&topic(n)) {
                queue.push_last(topic(n), frame("bye"));
            }
        }
        assert_eq!(queue.topics().count(), TOPICS_WITH_FAREWELLS);
        // What is to be said is said, and taken leave of.
        queue.push(topic(6000), Lane::Own, frame("payload"));
        assert!(queue.has_room_for_farewell(&topic(6000)));
        assert!(!queue.has_room_for_farewell(&topic(6001)));
        queue.take(&topic(0), MAX);
        queue.take(&topic(1), MAX);
        assert!(queue.has_room_for_farewell(&topic(6001)));
    }

    #[test]
    fn a_lone_disconnect_ends_the_stream() {
        let mut queue = SendQueue::default();
        queue.push_last(topic(1), frame("bye"));
        queue.push_last(topic(1), frame("bye"));
        assert_eq!(queue.bytes(), 3, "said once");
        assert!(queue.take(&topic(1), MAX).last);
        assert!(queue.is_empty());
        assert_eq!(queue.take(&topic(1), MAX).bytes, 0);
    }
}
