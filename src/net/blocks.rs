//! Where payloads are kept: those that come together share an allocation.
//!
//! What comes from the network is a slice of a read buffer, and would hold all of it for as long as
//! the message is remembered, or kept by the application; so a content is copied, once, when it is
//! known that it will stay. An allocation for each would cost more than all else that is done for
//! it, most of all when it is freed long after it was last touched. What comes together is forgotten
//! together, so it is put into one block, which has room for that and for nothing else. A block is
//! small, since whoever keeps one message of it keeps all.

use bytes::Bytes;

/// Contents up to this many bytes share blocks.
pub(crate) const SHARING: usize = 2048;

/// What is left of a block that is handed out.
#[derive(Debug)]
pub(crate) struct Block(Bytes);

impl Block {
    /// Copies some contents, which are all to be kept for as long as each other.
    pub(crate) fn of<'a>(contents: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let size = contents.clone().map(<[u8]>::len).sum();
        let mut block = Vec::with_capacity(size);
        for content in contents {
            block.extend_from_slice(content);
        }
        Self(block.into())
    }

    /// The next content, which has so many bytes.
    pub(crate) fn take(&mut self, len: usize) -> Bytes {
        self.0.split_to(len.min(self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_share_a_block_that_has_nothing_else() {
        let contents: Vec<Vec<u8>> = (0..30usize).map(|n| vec![n as u8; n * n]).collect();
        let mut block = Block::of(contents.iter().map(|one| &one[..]));
        let size = contents.iter().map(Vec::len).sum::<usize>();
        let mut copies: Vec<_> = contents.iter().map(|one| block.take(one.len())).collect();
        assert_eq!(copies, contents);
        assert!(block.take(1).is_empty(), "that was all");
        drop(block);
        let first = copies.swap_remove(1);
        drop(copies);
        let memory = first.try_into_mut().expect("nobody else holds the block");
        assert_eq!(memory.capacity(), size);
    }
}
