//! Where payloads are kept: those that come one after the other share an allocation.
//!
//! What comes from the network is a slice of a read buffer, and would hold all of it for as long as
//! the message is remembered, or kept by the application; so a payload is copied, once, before the
//! protocol sees it. An allocation for each would cost more than all else that is done for it, most
//! of all when it is freed long after it was last touched. Neighbors in time are forgotten together,
//! so they are put into one block; a block is small, since whoever keeps one message of it keeps
//! all.

use bytes::{Buf, Bytes, BytesMut};

use crate::proto::wire::{self, Bodies};

/// Frames and contents up to this many bytes share blocks.
const SHARING: usize = 2048;

/// How many of them a block is for.
const FRAMES_IN_BLOCK: usize = 16;

/// The bounds for the size of a block.
const SMALLEST_BLOCK: usize = 512;
const LARGEST_BLOCK: usize = 8192;

/// What the application published is copied up to this length.
const WORTH_COPYING: usize = 256;

/// Hands out places for payloads.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// What is left of the last block. Nothing is allocated at first.
    open: BytesMut,
}

impl Blocks {
    /// An empty buffer with room for `len` bytes, which pins no more than a block.
    pub(crate) fn room(&mut self, len: usize) -> BytesMut {
        if len > SHARING {
            return BytesMut::with_capacity(len);
        }
        if self.open.capacity() < len {
            let size = (len * FRAMES_IN_BLOCK).clamp(SMALLEST_BLOCK, LARGEST_BLOCK);
            self.open = BytesMut::with_capacity(size);
        }
        let rest = self.open.split_off(len);
        std::mem::replace(&mut self.open, rest)
    }

    /// The same bytes, which pin no more than a block.
    pub(crate) fn copy(&mut self, content: &[u8]) -> Bytes {
        let mut copy = self.room(content.len());
        copy.extend_from_slice(content);
        copy.freeze()
    }

    /// Copies the frames at the beginning of a chunk that lies between frames, as far as they are payloads
    /// that share blocks, into one block; and takes them out of the chunk. Nothing where there are not several.
    /// A frame that is too large is left to the parser.
    ///
    /// A block has nothing else in it, so it is no larger than the payloads for which it is kept.
    pub(crate) fn run(chunk: &mut Bytes, max_message_size: usize) -> Run {
        let (mut end, mut count) = (0, 0);
        while let Some((prefix, rest)) = chunk[end..].split_first_chunk()
            && let len = u32::from_be_bytes(*prefix) as usize
            && len <= SHARING.min(max_message_size)
            && let Some(frame) = rest.get(..len)
            && wire::payload_id(frame).is_some()
            && end + prefix.len() + len <= LARGEST_BLOCK
        {
            end += prefix.len() + len;
            count += 1;
        }
        if count < 2 {
            return Run::default();
        }
        let block = Bytes::copy_from_slice(&chunk[..end]);
        chunk.advance(end);
        Run(block)
    }

    /// Takes over what the application published, which is the owner of its own allocation: worth
    /// keeping only where a copy would cost more.
    pub(crate) fn adopt(&mut self, content: Bytes) -> Bytes {
        if content.len() > WORTH_COPYING {
            return content;
        }
        self.copy(&content)
    }
}

/// Whole frames that share a block.
#[derive(Debug, Default)]
pub(crate) struct Run(Bytes);

impl Run {
    /// The body of the next frame.
    pub(crate) fn take_frame(&mut self) -> Option<Bytes> {
        let prefix = *self.0.first_chunk()?;
        self.0.advance(prefix.len());
        let len = u32::from_be_bytes(prefix) as usize;
        // There are whole frames only.
        Some(self.0.split_to(len.min(self.0.len())))
    }
}

impl Bodies<Bytes> for Blocks {
    fn take_whole(&mut self, chunk: &mut Bytes, len: usize) -> Bytes {
        // Nothing but payloads is kept.
        if wire::payload_id(&chunk[..len]).is_none() {
            return chunk.split_to(len);
        }
        let body = self.copy(&chunk[..len]);
        chunk.advance(len);
        body
    }

    fn buffer(&mut self, len: usize) -> BytesMut {
        self.room(len)
    }
}

#[cfg(test)]
mod tests {
    use iroh::EndpointId;

    use super::*;
    use crate::proto::{Message, MessageId, plumtree};

    #[test]
    fn contents_stay_apart() {
        let mut blocks = Blocks::default();
        let contents: Vec<Vec<u8>> = (0..3000usize).map(|n| vec![n as u8; n % 2300]).collect();
        let copies: Vec<_> = contents.iter().map(|one| blocks.copy(one)).collect();
        assert_eq!(copies, contents);
    }

    const MAX: usize = 4096;

    /// A payload as a frame.
    fn payload(content: &[u8]) -> Bytes {
        let gossip = plumtree::Gossip {
            id: MessageId::from_content(content),
            content: Bytes::copy_from_slice(content),
            scope: plumtree::DeliveryScope::Neighbors,
        };
        let message = Message::Gossip(plumtree::Message::Gossip(gossip));
        wire::encode::<EndpointId>(&message, 1 << 20).unwrap()
    }

    fn frames_of(mut run: Run) -> Vec<Bytes> {
        std::iter::from_fn(|| run.take_frame()).collect()
    }

    #[test]
    fn a_run_is_of_small_payloads_that_follow_each_other() {
        let prune = Message::Gossip(plumtree::Message::Prune);
        let prune = wire::encode::<EndpointId>(&prune, 1 << 20).unwrap();
        let [one, two] = [b"one", b"two"].map(|content| payload(content));
        let large = payload(&[7; SHARING]);
        for after in [
            &prune,
            &large,
            &one.slice(..5),
            &one.slice(..3),
            &Bytes::new(),
        ] {
            let mut chunk = Bytes::from([&one[..], &two, &one, after].concat());
            let run = frames_of(Blocks::run(&mut chunk, MAX));
            assert_eq!(run, [&one, &two, &one].map(|frame| frame.slice(4..)));
            assert_eq!(chunk, after);
        }
        for frames in [
            vec![&one],
            vec![&one, &prune, &two],
            vec![&prune, &one, &two],
            vec![],
        ] {
            let mut chunk = Bytes::from(frames.into_iter().flatten().copied().collect::<Vec<_>>());
            let before = chunk.clone();
            assert_eq!(frames_of(Blocks::run(&mut chunk, MAX)).len(), 0);
            assert_eq!(chunk, before);
        }
        let mut chunk = Bytes::from([&one[..], &two].concat());
        assert_eq!(frames_of(Blocks::run(&mut chunk, one.len() - 5)).len(), 0);
    }

    #[test]
    fn a_run_is_no_larger_than_a_block_and_pins_nothing_else() {
        let contents: Vec<Vec<u8>> = (0..300u16).map(|n| vec![n as u8; 100]).collect();
        let frames: Vec<_> = contents.iter().map(|content| payload(content)).collect();
        let mut chunk = Bytes::from(frames.concat());
        let mut bodies = Vec::new();
        while !chunk.is_empty() {
            let before = chunk.len();
            let run = Blocks::run(&mut chunk, MAX);
            let taken = before - chunk.len();
            assert!(taken <= LARGEST_BLOCK && taken > LARGEST_BLOCK / 2 || chunk.is_empty());
            bodies.extend(frames_of(run));
        }
        assert!(chunk.is_unique(), "all were copied");
        let expected: Vec<_> = frames.iter().map(|frame| frame.slice(4..)).collect();
        assert_eq!(bodies, expected);
    }

    #[test]
    fn contents_share_blocks_that_are_small() {
        let mut blocks = Blocks::default();
        let mut last = blocks.copy(&[0; 64]);
        let mut in_block = 1;
        for number in 1..1000 {
            let next = blocks.copy(&[number as u8; 64]);
            let together = next.as_ptr() as usize == last.as_ptr() as usize + 64;
            in_block = if together { in_block + 1 } else { 1 };
            assert!(in_block <= LARGEST_BLOCK / 64);
            last = next;
        }
        assert!(blocks.open.capacity() < LARGEST_BLOCK);
        assert!(in_block > 1);
    }

    #[test]
    fn a_buffer_has_the_room_that_was_asked_for() {
        let mut blocks = Blocks::default();
        for len in [0, 1, 100, SHARING, SHARING + 1, 100_000] {
            let buffer = blocks.room(len);
            assert!(buffer.is_empty() && buffer.capacity() >= len);
        }
    }
}
