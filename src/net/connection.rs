//! The sequential work on one connection, as futures for the task slab.
//!
//! Each future does one step and gives back what it worked with, so that the driver decides
//! about the next: a stream is not read while frames of the last read still wait to be handled.
//! That is all the flow control there is, and QUIC passes it on to the peer.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use futures_lite::future::poll_once;
use iroh::EndpointId;

use super::{
    blocks::SHARING,
    frames::{Frames, Portion},
    queue::Batch,
    transport::{
        BoxFuture, BoxStream, Broken, Connection, Handshake, RecvStream, SendStream, Transport,
    },
};
use crate::proto::{
    LinkId, PeerData, TopicId,
    wire::{Bodies, FrameParser, StreamHeader},
};

/// Chunks of received data taken over in one read.
const CHUNKS_PER_READ: usize = 32;

/// A connection of ours. The number is never used again, so a result of a task that outlived its
/// connection finds nothing.
pub(crate) type ConnectionKey = LinkId;

type Sender<T> = <<T as Transport>::Connection as Connection>::Send;
type Receiver<T> = <<T as Transport>::Connection as Connection>::Recv;

/// A stream of ours that the peer has to allow first.
pub(crate) type Opening<T> = BoxFuture<Result<Sender<T>, Broken>>;

/// What a task has done.
pub(crate) enum Done<T: Transport> {
    /// A dial has ended.
    Dialed(EndpointId, Result<T::Connection, Broken>),
    /// Someone begins a connection to us; `None` when the endpoint is closed.
    Incoming(Option<Handshake<T::Connection>>),
    /// The handshake of an incoming connection has ended.
    Accepted(u64, Result<T::Connection, Broken>),
    /// Our own addresses have changed; `None` when they never will again.
    LocalData(BoxStream<PeerData>, Option<PeerData>),
    /// A connection is gone.
    Closed(ConnectionKey, Broken),
    /// The peer opened a stream.
    Stream(ConnectionKey, Result<Receiver<T>, Broken>),
    /// A new stream has named its topic.
    Header(
        ConnectionKey,
        Result<(TopicId, Reader<Receiver<T>>), Broken>,
    ),
    /// A stream has new frames, or came to its end.
    Read(ConnectionKey, TopicId, Result<Reader<Receiver<T>>, Broken>),
    /// The peer allows no further stream of ours just now. The rest waits until it does.
    HeldUp(StreamKey, Opening<T>),
    /// A stream of ours is open.
    Opened(StreamKey, Result<Sender<T>, Broken>),
    /// A write has ended.
    Written(StreamKey, Result<Sender<T>, Broken>),
    /// All that was written to a finished stream has arrived.
    Finished(StreamKey, Result<(), Broken>),
}

/// A stream of ours. The number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamKey {
    pub(crate) peer: EndpointId,
    pub(crate) topic: TopicId,
    pub(crate) connection: ConnectionKey,
    pub(crate) serial: u64,
}

/// A stream of a peer, and what was read from it but not handled.
pub(crate) struct Reader<S> {
    stream: S,
    parser: FrameParser,
    chunks: VecDeque<Bytes>,
    ended: bool,
}

/// Large bodies are copied, small ones are slices of chunks.
struct LargeApart;

impl Bodies<Bytes> for LargeApart {
    fn take_whole(&mut self, chunk: &mut Bytes, len: usize) -> Bytes {
        let body = chunk.split_to(len);
        if len > SHARING {
            Bytes::copy_from_slice(&body)
        } else {
            body
        }
    }
}

impl<S: RecvStream> Reader<S> {
    fn new(stream: S, max_message_size: usize) -> Self {
        Self {
            stream,
            parser: FrameParser::new(max_message_size),
            chunks: VecDeque::new(),
            ended: false,
        }
    }

    /// Takes some of the whole frames that were read. Says whether there may be more without reading.
    pub(crate) fn take_frames(
        &mut self,
        frames: &mut Vec<Frames>,
        mut portion: Portion,
    ) -> Result<bool, Broken> {
        while !portion.is_used_up() {
            let Some(chunk) = self.chunks.front_mut() else {
                if self.ended {
                    self.parser.finish().map_err(Broken::from_error)?;
                }
                return Ok(false);
            };
            if self.parser.is_between_frames()
                && let Some(run) = Frames::run(chunk, self.parser.max_message_size(), &mut portion)
            {
                frames.push(run);
                continue;
            }
            match self.parser.take_frame_into(chunk, &mut LargeApart) {
                Ok(Some(body)) => {
                    portion.count(&body);
                    frames.push(Frames::One(body));
                }
                Ok(None) => {
                    self.chunks.pop_front();
                }
                Err(error) => return Err(Broken::from_error(error)),
            }
        }
        Ok(true)
    }

    /// Whether the peer has finished the stream. Frames may still be left.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Copies what was read together, for a stream that is not looked at for a while: a few bytes may hold all that
    /// was received with them.
    pub(crate) fn compact(&mut self) {
        let Some(first) = self.chunks.pop_front() else {
            return;
        };
        let size = first.len() + self.chunks.iter().map(Bytes::len).sum::<usize>();
        let mut all = Vec::with_capacity(size);
        all.extend_from_slice(&first);
        for chunk in std::mem::take(&mut self.chunks) {
            all.extend_from_slice(&chunk);
        }
        self.chunks.push_back(all.into());
    }

    /// Tells the peer that we read no further.
    pub(crate) fn stop(&mut self) {
        self.stream.stop();
    }

    async fn read_more(&mut self) -> Result<(), Broken> {
        // The chunks are there while it is polled. A stream that is silent, as most are, would keep a
        // kilobyte for them otherwise.
        poll_fn(|cx| {
            let mut chunks = [const { Bytes::new() }; CHUNKS_PER_READ];
            let count = ready!(pin!(self.stream.read(&mut chunks)).poll(cx))?;
            self.ended = count == 0;
            self.chunks.extend(chunks.into_iter().take(count));
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Waits until the connection is gone.
pub(crate) fn closed<T: Transport>(
    key: ConnectionKey,
    connection: &T::Connection,
) -> BoxFuture<Done<T>> {
    let closed = connection.closed();
    Box::pin(async move { Done::Closed(key, closed.await) })
}

/// Waits for the next stream of the peer.
pub(crate) fn accept_stream<T: Transport>(
    key: ConnectionKey,
    connection: &T::Connection,
) -> BoxFuture<Done<T>> {
    let accept = connection.accept_stream();
    Box::pin(async move { Done::Stream(key, accept.await) })
}

/// Reads the topic that a new stream is for.
pub(crate) fn read_header<T: Transport>(
    key: ConnectionKey,
    stream: Receiver<T>,
    max_message_size: usize,
) -> BoxFuture<Done<T>> {
    Box::pin(async move {
        let mut reader = Reader::new(stream, max_message_size);
        let header = async {
            let mut frames = Vec::new();
            loop {
                let portion = Portion {
                    frames: 1,
                    bytes: usize::MAX,
                };
                reader.take_frames(&mut frames, portion)?;
                if let Some(frame) = frames.iter().flat_map(Frames::bodies).next() {
                    return StreamHeader::decode(frame).map_err(Broken::from_error);
                }
                if reader.is_ended() {
                    return Err(Broken("a stream ended before it named its topic".into()));
                }
                reader.read_more().await?;
            }
        };
        let header = header.await;
        Done::Header(key, header.map(|header| (header.topic_id, reader)))
    })
}

/// Reads on.
pub(crate) fn read<T: Transport>(
    key: ConnectionKey,
    topic: TopicId,
    mut reader: Reader<Receiver<T>>,
) -> BoxFuture<Done<T>> {
    Box::pin(async move {
        let result = reader.read_more().await;
        Done::Read(key, topic, result.map(|()| reader))
    })
}

/// Opens a stream, if the peer allows it at once.
pub(crate) fn open_stream<T: Transport>(
    key: StreamKey,
    connection: &T::Connection,
) -> BoxFuture<Done<T>> {
    let mut opening: Opening<T> = Box::pin(connection.open_stream());
    Box::pin(async move {
        match poll_once(&mut opening).await {
            Some(result) => Done::Opened(key, result),
            None => Done::HeldUp(key, opening),
        }
    })
}

/// Opens a stream once the peer allows it.
pub(crate) fn open_when_allowed<T: Transport>(
    key: StreamKey,
    opening: Opening<T>,
) -> BoxFuture<Done<T>> {
    Box::pin(async move { Done::Opened(key, opening.await) })
}

/// Writes a batch.
pub(crate) fn write<T: Transport>(
    key: StreamKey,
    mut stream: Sender<T>,
    mut batch: Batch,
) -> BoxFuture<Done<T>> {
    Box::pin(async move {
        let result = stream.write_all(&mut batch.chunks).await;
        Done::Written(key, result.map(|()| stream))
    })
}

/// Writes what is left for a stream, finishes it, and waits until the peer has it all.
pub(crate) fn finish<T: Transport>(
    key: StreamKey,
    mut stream: Sender<T>,
    mut chunks: Vec<Bytes>,
) -> BoxFuture<Done<T>> {
    Box::pin(async move {
        if !chunks.is_empty()
            && let Err(reason) = stream.write_all(&mut chunks).await
        {
            return Done::Finished(key, Err(reason));
        }
        Done::Finished(key, stream.finish().await)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::{Message, MessageId, plumtree, wire};

    const MAX: usize = 4096;

    /// A stream that has brought all that it will.
    struct Ended;

    impl RecvStream for Ended {
        async fn read(&mut self, _: &mut [Bytes]) -> Result<usize, Broken> {
            Ok(0)
        }

        fn stop(&mut self) {}
    }

    /// A frame of any kind and size, valid or cut from something else.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let payload = |len: usize, n: u8| {
            let content = Bytes::from(vec![n; len]);
            Message::Gossip(plumtree::Message::Gossip(plumtree::Gossip {
                id: MessageId::from_content(&content),
                content,
                scope: plumtree::DeliveryScope::Neighbors,
            }))
        };
        let encoded = |message: Message<EndpointId>| wire::encode(&message, MAX).unwrap().to_vec();
        prop_oneof![
            4 => (0..200usize, any::<u8>()).prop_map(move |(len, n)| encoded(payload(len, n))),
            1 => (1900..4000usize, any::<u8>()).prop_map(move |(len, n)| encoded(payload(len, n))),
            1 => Just(encoded(Message::Gossip(plumtree::Message::Prune))),
            1 => prop::collection::vec(any::<u8>(), 0..100)
                .prop_map(|body| [&(body.len() as u32).to_be_bytes()[..], &body].concat()),
        ]
    }

    proptest! {
        /// However a stream is cut, and however much is taken at a time: the frames are those of the parser.
        #[test]
        fn frames_are_the_same_however_they_are_cut_and_taken(
            frames in prop::collection::vec(frame(), 0..60),
            cuts in prop::collection::vec(1..3000usize, 1..40),
            max in prop_oneof![4 => Just(MAX), 1 => 40..2100usize],
            tail in 0..10usize,
            most in (1..40usize, 1..5000usize),
        ) {
            let mut all = Bytes::from(frames.concat());
            all.truncate(all.len().saturating_sub(tail));
            let mut reader = Reader::new(Ended, max);
            let mut parser = FrameParser::new(max);
            for cut in cuts.iter().cycle() {
                if all.is_empty() {
                    break;
                }
                let mut chunk = all.split_to((*cut).min(all.len()));
                reader.chunks.push_back(chunk.clone());
                let mut taken = Vec::new();
                let mut result = Ok(true);
                while matches!(result, Ok(true)) {
                    let before = taken.len();
                    result = reader.take_frames(&mut taken, Portion { frames: most.0, bytes: most.1 });
                    let frames = taken[before..].iter().flat_map(Frames::bodies);
                    let sizes: Vec<usize> = frames.map(<[u8]>::len).collect();
                    prop_assert!(sizes.len() <= most.0);
                    if let Some((_, before_last)) = sizes.split_last() {
                        prop_assert!(before_last.iter().sum::<usize>() < most.1.max(1));
                    }
                }
                for frame in taken.iter().flat_map(Frames::bodies) {
                    let expected = parser.take_frame(&mut chunk).unwrap();
                    prop_assert_eq!(expected.as_deref(), Some(frame));
                }
                let end = parser.take_frame(&mut chunk);
                prop_assert_eq!(end.is_err(), result.is_err());
                prop_assert!(end.is_err() || end == Ok(None));
                if end.is_err() {
                    return Ok(());
                }
            }
            reader.ended = true;
            let end = reader.take_frames(&mut Vec::new(), Portion { frames: 1, bytes: 1 });
            prop_assert_eq!(end.is_ok(), parser.finish().is_ok());
        }
    }
}
