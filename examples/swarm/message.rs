//! What the nodes send: who, how many before, and when.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use smol_gossip::proto::{DEFAULT_MAX_MESSAGE_SIZE, plumtree};

/// What the first fields take.
pub(crate) const MIN_SIZE: usize = 4 + 4 + 8;

/// What fits into a frame of a node with default settings.
pub(crate) fn max_size() -> usize {
    plumtree::max_content_size(DEFAULT_MAX_MESSAGE_SIZE)
}

/// A message. No two are alike, since equal ones would be the same to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The index of the author.
    pub(crate) author: u32,
    /// How many the author has sent before.
    pub(crate) number: u32,
    /// When it was sent, by [`elapsed`].
    pub(crate) sent: Duration,
}

impl Message {
    pub(crate) fn encode(self, size: usize) -> Bytes {
        let mut content = BytesMut::with_capacity(size);
        content.put_u32(self.author);
        content.put_u32(self.number);
        content.put_u64(self.sent.as_nanos() as u64);
        content.resize(size, 0);
        content.freeze()
    }

    pub(crate) fn decode(mut content: &[u8]) -> Option<Self> {
        Some(Self {
            author: content.try_get_u32().ok()?,
            number: content.try_get_u32().ok()?,
            sent: Duration::from_nanos(content.try_get_u64().ok()?),
        })
    }
}

/// Since the program began: all nodes share this clock, so that times can be compared.
#[expect(
    clippy::disallowed_methods,
    reason = "an example may look at the clock; nothing in the library depends on it"
)]
pub(crate) fn elapsed() -> Duration {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed()
}
