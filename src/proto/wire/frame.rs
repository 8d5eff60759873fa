//! Frames out of a stream of bytes.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::LENGTH_PREFIX;

/// Up to this length the buffer for a scattered frame is allocated at once, on the word of its
/// length; beyond it the buffer grows with what has really come.
const TRUSTED_LEN: usize = 64 * 1024;

/// Cuts what a stream brings into the bodies of frames.
///
/// The parser is handed every chunk of the stream in order, and takes one frame at a time out of
/// it. A frame that lies within one chunk is a slice of it, without a copy; only a frame that is
/// scattered over several is put together in a buffer. So the parser never holds more than one
/// unfinished frame, and never pins a chunk; the bodies that it hands out may.
///
/// A length beyond the maximum is refused as soon as it is known, and with it the stream: there
/// is no telling where the next frame would begin.
///
/// ```
/// # use bytes::Bytes;
/// # use smol_gossip::proto::wire::{FrameParser, FrameError};
/// let mut parser = FrameParser::new(4096);
/// for mut chunk in [&[0, 0, 0, 2, 1][..], &[1, 0, 0]].map(Bytes::from_static) {
///     while let Some(body) = parser.take_frame(&mut chunk)? {
///         assert_eq!(body[..], [1, 1]);
///     }
///     assert!(chunk.is_empty());
/// }
/// assert_eq!(parser.finish(), Err(FrameError::Unfinished));
/// # Ok::<_, FrameError>(())
/// ```
#[derive(Debug)]
pub struct FrameParser {
    max_message_size: usize,
    /// The beginning of a frame that has not come to its end, without its length.
    ///
    /// Invariant: empty, and without an allocation, while `expected` is not `Expected::Body`.
    partial: BytesMut,
    expected: Expected,
}

/// How bodies that lie within a chunk are taken out of it. Those that are scattered have memory of their own.
pub(crate) trait Bodies<C> {
    /// Takes a whole body out of a chunk, which has at least `len` bytes.
    fn take_whole(&mut self, chunk: &mut C, len: usize) -> Bytes;
}

/// Bodies are slices of chunks.
struct Sliced;

impl Bodies<Bytes> for Sliced {
    fn take_whole(&mut self, chunk: &mut Bytes, len: usize) -> Bytes {
        chunk.split_to(len)
    }
}

/// Every body is an allocation of its own.
struct Copied;

impl Bodies<&[u8]> for Copied {
    fn take_whole(&mut self, chunk: &mut &[u8], len: usize) -> Bytes {
        let (body, rest) = chunk.split_at(len);
        *chunk = rest;
        Bytes::copy_from_slice(body)
    }
}

/// What comes next in the stream.
#[derive(Debug)]
enum Expected {
    /// A length, of which `known` bytes have come.
    Length {
        prefix: [u8; LENGTH_PREFIX],
        known: usize,
    },
    /// A body of `len` bytes.
    Body { len: usize },
    /// Nothing of use: a frame of this length was refused.
    Refused { len: usize },
}

impl Expected {
    const NEW_FRAME: Self = Self::Length {
        prefix: [0; LENGTH_PREFIX],
        known: 0,
    };
}

impl FrameParser {
    /// A parser for a stream from its beginning, for bodies of up to `max_message_size` bytes.
    ///
    /// ```
    /// # use smol_gossip::proto::wire::FrameParser;
    /// let parser = FrameParser::new(4096);
    /// assert!(parser.finish().is_ok(), "nothing has begun");
    /// ```
    pub fn new(max_message_size: usize) -> Self {
        Self {
            max_message_size,
            partial: BytesMut::new(),
            expected: Expected::NEW_FRAME,
        }
    }

    /// Takes the body of the next frame out of `chunk`, and leaves the rest in it.
    ///
    /// `None` means that the chunk is used up and the next one is needed. Once this has failed it
    /// fails again on every call, and takes nothing.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use smol_gossip::proto::wire::{FrameError, FrameParser};
    /// let mut parser = FrameParser::new(4096);
    /// let mut chunk = Bytes::from_static(&[0, 0, 0, 2, 1, 1, 0, 0]);
    /// assert_eq!(parser.take_frame(&mut chunk)?.as_deref(), Some(&[1, 1][..]));
    /// assert_eq!(parser.take_frame(&mut chunk)?, None);
    /// # Ok::<_, FrameError>(())
    /// ```
    pub fn take_frame(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        self.take(chunk, &mut Sliced)
    }

    /// Does the same for bytes that are only lent: each body is copied, once.
    ///
    /// ```
    /// # use smol_gossip::proto::wire::{FrameError, FrameParser};
    /// let mut parser = FrameParser::new(4096);
    /// let mut chunk = &[0, 0, 0, 2, 1, 1][..];
    /// assert_eq!(parser.take_frame_copied(&mut chunk)?.as_deref(), Some(&[1, 1][..]));
    /// assert!(chunk.is_empty());
    /// # Ok::<_, FrameError>(())
    /// ```
    pub fn take_frame_copied(&mut self, chunk: &mut &[u8]) -> Result<Option<Bytes>, FrameError> {
        self.take(chunk, &mut Copied)
    }

    /// Does the same, with bodies that are put where `bodies` has room for them.
    #[cfg(feature = "net")]
    pub(crate) fn take_frame_into(
        &mut self,
        chunk: &mut Bytes,
        bodies: &mut impl Bodies<Bytes>,
    ) -> Result<Option<Bytes>, FrameError> {
        self.take(chunk, bodies)
    }

    /// The length of the largest body that is accepted.
    #[cfg(feature = "net")]
    pub(crate) fn max_message_size(&self) -> usize {
        self.max_message_size
    }

    /// Whether nothing of a frame has come that is not whole.
    #[cfg(feature = "net")]
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.expected, Expected::Length { known: 0, .. })
    }

    /// Whether the stream may end here: between two frames.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use smol_gossip::proto::wire::{FrameError, FrameParser};
    /// let mut parser = FrameParser::new(4096);
    /// let mut chunk = Bytes::from_static(&[0, 0, 0, 2, 1]);
    /// assert_eq!(parser.take_frame(&mut chunk)?, None);
    /// assert_eq!(parser.finish(), Err(FrameError::Unfinished));
    /// # Ok::<_, FrameError>(())
    /// ```
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.expected {
            Expected::Length { known: 0, .. } => Ok(()),
            Expected::Length { .. } | Expected::Body { .. } => Err(FrameError::Unfinished),
            Expected::Refused { len } => Err(self.too_large(len)),
        }
    }

    fn take<C: Buf>(
        &mut self,
        chunk: &mut C,
        bodies: &mut impl Bodies<C>,
    ) -> Result<Option<Bytes>, FrameError> {
        if let Expected::Length { prefix, known } = &mut self.expected {
            let missing = &mut prefix[*known..];
            let count = missing.len().min(chunk.remaining());
            chunk.copy_to_slice(&mut missing[..count]);
            *known += count;
            if *known < LENGTH_PREFIX {
                return Ok(None);
            }
            let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            self.expected = if len > self.max_message_size {
                Expected::Refused { len }
            } else {
                Expected::Body { len }
            };
        }
        let len = match self.expected {
            Expected::Body { len } => len,
            Expected::Refused { len } => return Err(self.too_large(len)),
            Expected::Length { .. } => return Ok(None),
        };
        if self.partial.is_empty() && chunk.remaining() >= len {
            self.expected = Expected::NEW_FRAME;
            return Ok(Some(bodies.take_whole(chunk, len)));
        }
        let count = (len - self.partial.len()).min(chunk.remaining());
        self.make_room(count, len);
        self.partial.extend_from_slice(&chunk.chunk()[..count]);
        chunk.advance(count);
        if self.partial.len() < len {
            return Ok(None);
        }
        self.expected = Expected::NEW_FRAME;
        Ok(Some(std::mem::take(&mut self.partial).freeze()))
    }

    /// Makes room for `count` more bytes of a body of `len`, and never for more than that.
    fn make_room(&mut self, count: usize, len: usize) {
        let needed = self.partial.len() + count;
        if needed <= self.partial.capacity() {
            return;
        }
        let doubled = 2 * self.partial.capacity();
        let mut larger = BytesMut::with_capacity(needed.max(doubled).max(TRUSTED_LEN).min(len));
        larger.extend_from_slice(&self.partial);
        self.partial = larger;
    }

    fn too_large(&self, len: usize) -> FrameError {
        FrameError::TooLarge {
            len,
            max: self.max_message_size,
        }
    }
}

/// Why a stream could not be cut into frames. What was taken out of it before is whole; there is
/// nothing more to be had from it. A node drops the connection, and counts it (`frames_invalid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame is longer than is accepted.
    TooLarge {
        /// The length of its body.
        len: usize,
        /// The largest that is accepted.
        max: usize,
    },
    /// The stream ended within a frame.
    Unfinished,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => {
                write!(
                    f,
                    "frame of {len} bytes is larger than the {max} that are accepted"
                )
            }
            Self::Unfinished => f.write_str("stream ended within a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_alone_allocates_no_more_than_a_small_frame() {
        let mut parser = FrameParser::new(usize::MAX);
        let mut chunk = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 1]);
        assert_eq!(parser.take_frame(&mut chunk), Ok(None));
        assert!(parser.partial.capacity() <= TRUSTED_LEN);
        // More only as it comes.
        for n in 1..=200 {
            let mut chunk = Bytes::from_static(&[7; 1024]);
            assert_eq!(parser.take_frame(&mut chunk), Ok(None));
            let trusted = TRUSTED_LEN.max(2 * (n * 1024 + 1));
            assert!(parser.partial.capacity() <= trusted, "after {n} KiB");
        }
        assert_eq!(parser.finish(), Err(FrameError::Unfinished));
    }
}
