//! Messages to bytes and back.
//!
//! A connection carries one unidirectional stream per topic and direction. A stream is a sequence
//! of frames: a big-endian `u32` length, and a body of that many bytes. The body of the first
//! frame is a [`StreamHeader`]; all others are [`Message`]s in [postcard] encoding. The topic is
//! not repeated.
//!
//! What travels most, the broadcast layer, is written and read by hand here: a payload is read as
//! a slice of the body that it came in, without a copy. The membership layer goes through serde.
//! Both speak the same postcard, and the tests hold the first against the second.
//!
//! Reading is as lenient as other nodes of the network are, and no more: bytes after the end of a
//! message are ignored, and a number may be written longer than it need be. Everything else that
//! is out of order is a [`DecodeError`]. On the word of a length alone no more is allocated than a frame may have, and
//! 64 KiB at the most; a list of peers may have room for as many as it has bytes until it turns out to have fewer.
//!
//! A frame is accepted up to *and including* the maximum message size, but written only *below*
//! it: other nodes on the network refuse to write a frame of exactly the maximum, so a message
//! of that size could not be passed on.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

mod broadcast;
mod frame;
#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod tests;
mod varint;

use std::{fmt, ops::Range};

use bytes::{Buf, BufMut, Bytes};

use self::varint::Reader;
use super::{Message, MessageId, PeerIdentity, TopicId, hyparview, plumtree};

#[cfg(feature = "net")]
pub(crate) use self::frame::Bodies;
pub use self::frame::{FrameError, FrameParser};

/// Bytes of the length in front of every frame.
pub const LENGTH_PREFIX: usize = 4;

/// What stands before a membership message, and before a broadcast message.
const SWARM: u8 = 0;
const GOSSIP: u8 = 1;

/// The first frame of a stream: the topic that all others belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// The topic.
    pub topic_id: TopicId,
}

impl StreamHeader {
    /// The whole frame, with its length in front.
    ///
    /// ```
    /// # use smol_gossip::proto::{TopicId, wire::StreamHeader};
    /// let topic_id = TopicId::from_bytes([7; 32]);
    /// let frame = StreamHeader { topic_id }.encode();
    /// assert_eq!(frame[..5], [0, 0, 0, 32, 7]);
    /// ```
    pub fn encode(&self) -> Bytes {
        let body = self.topic_id.as_bytes();
        let mut frame = Vec::with_capacity(LENGTH_PREFIX + body.len());
        begin_frame(body.len(), &mut frame);
        frame.extend_from_slice(body);
        frame.into()
    }

    /// Reads the body of a frame.
    ///
    /// ```
    /// # use smol_gossip::proto::{TopicId, wire::StreamHeader};
    /// let header = StreamHeader::decode(&[7; 32])?;
    /// assert_eq!(header.topic_id, TopicId::from_bytes([7; 32]));
    /// assert!(StreamHeader::decode(&[7; 31]).is_err());
    /// # Ok::<_, smol_gossip::proto::wire::DecodeError>(())
    /// ```
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match body.first_chunk() {
            Some(topic) => Ok(Self {
                topic_id: TopicId::from_bytes(*topic),
            }),
            None => Err(DecodeError::Truncated),
        }
    }
}

/// The length of the body that `message` is written as, without the length in front.
///
/// `usize::MAX` when the peer identity has no fixed form in bytes, so that it fits nowhere.
///
/// ```
/// # use smol_gossip::proto::{Message, plumtree, wire};
/// let message: Message<u64> = Message::Gossip(plumtree::Message::Prune);
/// assert_eq!(wire::encoded_len(&message), 2);
/// ```
pub fn encoded_len<PI: PeerIdentity>(message: &Message<PI>) -> usize {
    match message {
        Message::Swarm(message) => {
            postcard::experimental::serialized_size(message).map_or(usize::MAX, |len| 1 + len)
        }
        Message::Gossip(message) => 1 + broadcast::encoded_len(message),
    }
}

/// Writes `message` as a whole frame, with its length in front, in one allocation.
///
/// The body stays below `max_message_size`, or nothing is written.
///
/// ```
/// # use smol_gossip::proto::{Message, plumtree, wire};
/// let message: Message<u64> = Message::Gossip(plumtree::Message::Prune);
/// let frame = wire::encode(&message, 4096)?;
/// assert_eq!(frame[..], [0, 0, 0, 2, 1, 1]);
/// # Ok::<_, wire::EncodeError>(())
/// ```
pub fn encode<PI: PeerIdentity>(
    message: &Message<PI>,
    max_message_size: usize,
) -> Result<Bytes, EncodeError> {
    let mut frame = Vec::new();
    encode_into(message, max_message_size, &mut frame)?;
    Ok(frame.into())
}

/// Does the same, behind what is in `out` already. When nothing is written, `out` is as it was.
///
/// ```
/// # use smol_gossip::proto::{Message, plumtree, wire};
/// let message: Message<u64> = Message::Gossip(plumtree::Message::Prune);
/// let mut frames = Vec::new();
/// wire::encode_into(&message, 4096, &mut frames)?;
/// wire::encode_into(&message, 4096, &mut frames)?;
/// assert_eq!(frames, [0, 0, 0, 2, 1, 1, 0, 0, 0, 2, 1, 1]);
/// # Ok::<_, wire::EncodeError>(())
/// ```
pub fn encode_into<PI: PeerIdentity>(
    message: &Message<PI>,
    max_message_size: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let len = encoded_len(message);
    if len == usize::MAX {
        return Err(EncodeError::Identity);
    }
    check_len(len, max_message_size)?;
    let start = out.len();
    out.reserve_exact(LENGTH_PREFIX + len);
    begin_frame(len, out);
    match message {
        Message::Swarm(message) => {
            out.push(SWARM);
            let body = out.len();
            out.resize(start + LENGTH_PREFIX + len, 0);
            if postcard::to_slice(message, &mut out[body..]).is_err() {
                out.truncate(start);
                return Err(EncodeError::Identity);
            }
        }
        Message::Gossip(message) => {
            out.push(GOSSIP);
            broadcast::encode(message, out);
        }
    }
    debug_assert_eq!(out.len() - start, LENGTH_PREFIX + len);
    Ok(())
}

/// What stands around the content in the frame of a payload.
#[cfg(feature = "net")]
#[derive(Debug)]
pub(crate) struct Around {
    bytes: [u8; LENGTH_PREFIX + 1 + broadcast::MOST_AROUND],
    /// How much of it stands before the content.
    before: usize,
    len: usize,
}

#[cfg(feature = "net")]
impl Default for Around {
    fn default() -> Self {
        Self {
            bytes: [0; LENGTH_PREFIX + 1 + broadcast::MOST_AROUND],
            before: 0,
            len: 0,
        }
    }
}

#[cfg(feature = "net")]
impl Around {
    /// Writes it anew. When nothing is written, it is as it was.
    #[inline]
    pub(crate) fn write(
        &mut self,
        gossip: &plumtree::Gossip,
        max_message_size: usize,
    ) -> Result<(), EncodeError> {
        let len = 1 + broadcast::payload_len(gossip);
        check_len(len, max_message_size)?;
        let room = self.bytes.len();
        let mut rest = &mut self.bytes[..];
        begin_frame(len, &mut rest);
        rest.put_u8(GOSSIP);
        broadcast::encode_head(gossip, &mut rest);
        self.before = room - rest.len();
        broadcast::encode_tail(gossip, &mut rest);
        self.len = room - rest.len();
        debug_assert_eq!(self.len + gossip.content.len(), LENGTH_PREFIX + len);
        Ok(())
    }

    /// What stands before the content, and what behind it.
    #[inline]
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes[..self.len].split_at(self.before)
    }
}

/// Reads the body of a frame.
///
/// The content of a payload is a slice of `body`: whoever keeps it for long, while `body` is part
/// of a larger read, should copy it. Everything else is copied out.
///
/// ```
/// # use bytes::Bytes;
/// # use smol_gossip::proto::{Message, plumtree, wire};
/// let message: Message<u64> = wire::decode(Bytes::from_static(&[1, 1]))?;
/// assert_eq!(message, Message::Gossip(plumtree::Message::Prune));
/// # Ok::<_, wire::DecodeError>(())
/// ```
pub fn decode<PI: PeerIdentity>(mut body: Bytes) -> Result<Message<PI>, DecodeError> {
    let (mut message, content) = decode_apart(&body)?;
    if let Message::Gossip(plumtree::Message::Gossip(gossip)) = &mut message {
        // To cut it down costs less than to share it.
        body.truncate(content.end);
        body.advance(content.start);
        gossip.content = body;
    }
    Ok(message)
}

/// Does the same, but for the content of a payload: that is left empty, and said where it is in the body.
pub(crate) fn decode_apart<PI: PeerIdentity>(
    body: &[u8],
) -> Result<(Message<PI>, Range<usize>), DecodeError> {
    if let Some(payload) = decode_payload(body) {
        return payload.map(|(gossip, content)| (Message::payload(gossip), content));
    }
    let mut reader = Reader::new(body);
    match reader.read_u32()? {
        0 => {
            let message: hyparview::Message<PI> = postcard::from_bytes(reader.remaining())?;
            Ok((Message::Swarm(message), 0..0))
        }
        1 => {
            let (message, content) = broadcast::decode(&mut reader)?;
            Ok((Message::Gossip(message), content))
        }
        _ => Err(DecodeError::Invalid),
    }
}

/// The same of what is a payload, with its kind written as everyone writes it. Of others nothing is said.
#[inline]
pub(crate) fn decode_payload(
    body: &[u8],
) -> Option<Result<(plumtree::Gossip, Range<usize>), DecodeError>> {
    let mut reader = Reader::behind(&[GOSSIP, broadcast::PAYLOAD], body)?;
    Some(broadcast::decode_payload(&mut reader))
}

/// The id in the body of a frame, where that looks like a payload. Nothing is checked.
///
/// ```
/// # use smol_gossip::proto::{Message, MessageId, plumtree, wire};
/// let prune: Message<u64> = Message::Gossip(plumtree::Message::Prune);
/// let frame = wire::encode(&prune, 4096)?;
/// assert_eq!(wire::payload_id(&frame[wire::LENGTH_PREFIX..]), None);
/// // A payload begins with its kind and its id.
/// let body = [&[1, 0][..], &[7; 32], b"..."].concat();
/// assert_eq!(wire::payload_id(&body), Some(MessageId::from_bytes([7; 32])));
/// # Ok::<_, wire::EncodeError>(())
/// ```
pub fn payload_id(body: &[u8]) -> Option<MessageId> {
    let id = body.strip_prefix(&[GOSSIP, broadcast::PAYLOAD])?;
    id.first_chunk().copied().map(MessageId::from_bytes)
}

/// Whether the body of a frame may be a message about membership: its kind is one byte, as everyone writes it, but
/// a longer form is read as well.
#[cfg(feature = "net")]
pub(crate) fn is_membership(body: &[u8]) -> bool {
    body.first() != Some(&GOSSIP)
}

/// Whether a body of `len` bytes may be written.
fn check_len(len: usize, max_message_size: usize) -> Result<(), EncodeError> {
    if len >= max_message_size || u32::try_from(len).is_err() {
        return Err(EncodeError::TooLarge {
            len,
            max: max_message_size.saturating_sub(1),
        });
    }
    Ok(())
}

/// Writes the length of a body, which fits into `u32`.
#[inline]
fn begin_frame(len: usize, out: &mut impl BufMut) {
    out.put_u32(len as u32);
}

/// Why a message was not written. Nothing was: what was in the buffer before is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message is larger than a frame may be.
    TooLarge {
        /// The length of its body.
        len: usize,
        /// The largest length of a body that is written.
        max: usize,
    },
    /// The type of the peer identity cannot be written in postcard encoding. This is a matter of
    /// the type, and does not happen with iroh's public keys.
    Identity,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => {
                write!(
                    f,
                    "message of {len} bytes is larger than the {max} that fit a frame"
                )
            }
            Self::Identity => f.write_str("peer identity cannot be written in postcard encoding"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why the body of a frame could not be read.
///
/// Nothing was taken from it. The frames before and behind it are not affected, so it is up to the
/// caller what to think of a peer that sends such; a node counts it (`frames_invalid`)
/// and drops the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body ends before the message does.
    Truncated,
    /// A number is larger than its field.
    Number,
    /// A yes or no is neither.
    Flag,
    /// A kind of message that is not known, or a peer identity that is none.
    Invalid,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "frame ends before its message does",
            Self::Number => "number in a message is too large for its field",
            Self::Flag => "flag in a message is neither set nor unset",
            Self::Invalid => "unknown kind of message, or invalid peer identity",
        })
    }
}

impl std::error::Error for DecodeError {}

impl From<postcard::Error> for DecodeError {
    fn from(error: postcard::Error) -> Self {
        match error {
            postcard::Error::DeserializeUnexpectedEnd => Self::Truncated,
            postcard::Error::DeserializeBadVarint => Self::Number,
            postcard::Error::DeserializeBadBool | postcard::Error::DeserializeBadOption => {
                Self::Flag
            }
            _ => Self::Invalid,
        }
    }
}
