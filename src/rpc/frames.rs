//! Frames on a stream: the length of a value in postcard as a varint, then the value.
//!
//! irpc's channels write and read the same bytes, one value at a time. Here all that is ready goes
//! into one write, reading holds what has arrived and not what a length promises, and a value that
//! was half read when the future was dropped is not lost.

use std::{io, marker::PhantomData};

use bytes::{Buf, BytesMut};
use irpc::{
    channel::mpsc::RecvError,
    rpc::{ERROR_CODE_MAX_MESSAGE_SIZE_EXCEEDED, MAX_MESSAGE_SIZE},
    util::WriteVarintExt,
};
use n0_error::e;
use noq::{RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes asked of a stream at once.
const READ: usize = 64 * 1024;

/// The longest length: nine bytes hold 63 bits.
const MAX_VARINT: usize = 9;

/// Buffers with room for more than this are not kept when they are empty.
const KEPT_CAPACITY: usize = 4 * 1024;

/// Writes values of one type.
#[derive(Debug)]
pub(super) struct FrameWriter<T> {
    stream: SendStream,
    buffer: Vec<u8>,
    values: PhantomData<fn(T)>,
}

impl<T: Serialize> FrameWriter<T> {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            values: PhantomData,
        }
    }

    /// Bytes that were pushed and not written.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Puts a value behind those to be written.
    ///
    /// # Errors
    ///
    /// It is larger than a reader takes, and is left out.
    pub(super) fn push(&mut self, value: &T) -> io::Result<()> {
        let size = postcard::experimental::serialized_size(value)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if size as u64 > MAX_MESSAGE_SIZE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.buffer.write_length_prefixed(value)
    }

    /// Writes what was pushed, waiting while the other side does not read. A future that is dropped
    /// leaves the stream unusable.
    pub(super) async fn flush(&mut self) -> Result<(), WriteError> {
        self.stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Waits until the other side does not want any more.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<T> {
        let stopped = self.stream.stopped();
        async move {
            // A connection that is lost is the end as well.
            let _ = stopped.await;
        }
    }

    /// Ends the stream, and waits until all of it has arrived.
    pub(super) async fn finish(mut self) {
        // One that was stopped already is finished enough.
        let _ = self.stream.finish();
        self.stopped().await;
    }
}

/// A value takes more bytes than a reader wants. It is passed over without being held.
#[derive(Debug)]
pub(super) struct TooLong;

/// Reads values of one type. Dropping it tells the other side that no more are wanted.
#[derive(Debug)]
pub(super) struct FrameReader<T> {
    stream: RecvStream,
    buffer: BytesMut,
    /// The most bytes of a value.
    limit: u64,
    /// Bytes to come of a value that is too long.
    passed_over: u64,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> FrameReader<T> {
    /// Reads values of `limit` bytes at the most.
    pub(super) fn new(stream: RecvStream, limit: u64) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            limit: limit.min(MAX_MESSAGE_SIZE),
            passed_over: 0,
            values: PhantomData,
        }
    }

    /// The next value, or `None` at the end. A future that is dropped loses nothing.
    ///
    /// # Errors
    ///
    /// The connection was lost, or what came is not a value. The stream is of no more use.
    pub(super) async fn next(&mut self) -> Result<Option<Result<T, TooLong>>, RecvError> {
        loop {
            if let Some(value) = self.take()? {
                return Ok(Some(value));
            }
            match self.stream.read_chunk(READ).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) if self.buffer.is_empty() && self.passed_over == 0 => return Ok(None),
                Ok(None) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Takes a value out of what was read.
    fn take(&mut self) -> Result<Option<Result<T, TooLong>>, RecvError> {
        let passed_over = self.passed_over.min(self.buffer.len() as u64);
        self.buffer.advance(passed_over as usize);
        self.passed_over -= passed_over;
        let Some((size, header)) = length(&self.buffer)? else {
            return Ok(None);
        };
        if size > MAX_MESSAGE_SIZE {
            // A stream that is at its end already need not be stopped.
            let _ = self
                .stream
                .stop(ERROR_CODE_MAX_MESSAGE_SIZE_EXCEEDED.into());
            return Err(e!(RecvError::MaxMessageSizeExceeded));
        }
        if size > self.limit {
            self.buffer.advance(header);
            self.passed_over = size;
            return Ok(Some(Err(TooLong)));
        }
        let end = header + size as usize;
        let Some(value) = self.buffer.get(header..end) else {
            return Ok(None);
        };
        let value = postcard::from_bytes(value).map_err(invalid)?;
        self.buffer.advance(end);
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Ok(Some(Ok(value)))
    }
}

/// The length at the beginning of `bytes`, and how many bytes it takes. `None` if there are too
/// few.
fn length(bytes: &[u8]) -> io::Result<Option<(u64, usize)>> {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(MAX_VARINT) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() < MAX_VARINT {
        return Ok(None);
    }
    Err(invalid("a length of more than 63 bits"))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_what_irpc_writes() {
        for length in [
            0,
            1,
            127,
            128,
            300,
            16_383,
            16_384,
            MAX_MESSAGE_SIZE,
            1 << 62,
        ] {
            let mut bytes = Vec::new();
            bytes.write_varint_u64(length).unwrap();
            for few in 0..bytes.len() {
                assert_eq!(super::length(&bytes[..few]).unwrap(), None);
            }
            let header = bytes.len();
            bytes.push(7);
            assert_eq!(super::length(&bytes).unwrap(), Some((length, header)));
        }
        assert!(length(&[0xff; 9]).is_err());
    }
}
