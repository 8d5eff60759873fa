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

    /// Takes over what the application published, which is the owner of its own allocation: worth
    /// keeping only where a copy would cost more.
    pub(crate) fn adopt(&mut self, content: Bytes) -> Bytes {
        if content.len() > WORTH_COPYING {
            return content;
        }
        self.copy(&content)
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
    use super::*;

    #[test]
    fn contents_stay_apart() {
        let mut blocks = Blocks::default();
        let contents: Vec<Vec<u8>> = (0..3000usize).map(|n| vec![n as u8; n % 2300]).collect();
        let copies: Vec<_> = contents.iter().map(|one| blocks.copy(one)).collect();
        assert_eq!(copies, contents);
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
