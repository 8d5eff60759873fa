//! Where payloads are kept: small ones share an allocation.
//!
//! What comes from the network is a slice of a read buffer, and would hold all of it for as long as
//! the message is remembered, or kept by the application; so a payload is copied, once, before the
//! protocol sees it. An allocation for each small one would cost more than all else that is done for
//! it, most of all when it is freed long after it was last touched. Neighbors in time are forgotten
//! together, so they are put into one block; a block is small, since whoever keeps one message of it
//! keeps all.

use bytes::{Bytes, BytesMut};

/// Frames and contents up to this many bytes share blocks.
const SMALL: usize = 320;

/// The size of the first block.
const FIRST_BLOCK: usize = 512;

/// The size that blocks grow to.
const LARGEST_BLOCK: usize = 2048;

/// Copies payloads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    /// What is left of the last block. Nothing is allocated at first.
    open: BytesMut,
    /// The size of the last block.
    size: usize,
}

impl Blocks {
    /// The same bytes, which pin no more than a block.
    pub(crate) fn copy(&mut self, content: &[u8]) -> Bytes {
        if content.len() > SMALL {
            return Bytes::copy_from_slice(content);
        }
        if self.open.capacity() < content.len() {
            self.size = (self.size * 2).clamp(FIRST_BLOCK, LARGEST_BLOCK);
            self.open = BytesMut::with_capacity(self.size);
        }
        self.open.extend_from_slice(content);
        self.open.split().freeze()
    }

    /// Takes over what the application published, which is the owner of its own allocation: worth
    /// keeping only where a copy would cost more.
    pub(crate) fn adopt(&mut self, content: Bytes) -> Bytes {
        if content.len() > SMALL {
            return content;
        }
        self.copy(&content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay_apart() {
        let mut blocks = Blocks::default();
        let contents: Vec<Vec<u8>> = (0..1000usize).map(|n| vec![n as u8; n % 300]).collect();
        let copies: Vec<_> = contents.iter().map(|one| blocks.copy(one)).collect();
        assert_eq!(copies, contents);
    }

    #[test]
    fn blocks_begin_small_and_are_shared() {
        let mut blocks = Blocks::default();
        let first = blocks.copy(&[1; 64]);
        assert!(blocks.open.capacity() <= FIRST_BLOCK - 64);
        let second = blocks.copy(&[2; 64]);
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 64);
        for _ in 0..1000 {
            blocks.copy(&[3; 64]);
        }
        assert_eq!(blocks.size, LARGEST_BLOCK);
    }
}
