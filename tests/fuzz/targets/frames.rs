//! The frame reader: however the stream is cut, and whether bytes are lent or given, it brings the
//! same frames to the same end.
//!
//! Input: the maximum, how the stream is cut, the stream.

use bytes::Bytes;
use smol_gossip::proto::wire::{FrameError, FrameParser, LENGTH_PREFIX};

use super::bytes::Bytes as Choices;

/// What a stream is read as: its frames, and how it ends.
type Read = (Vec<Bytes>, Result<(), FrameError>);

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let max = match choices.below(4) {
        0 => 0,
        1 => 16,
        2 => 512,
        _ => usize::from(choices.u16()),
    };
    let cuts = choices.below(16).into();
    let cuts = choices.take(cuts);
    let stream = choices.rest();

    let expected = reference(stream, max);
    assert_eq!(read(stream, max, &[], false), expected, "in one piece");
    assert_eq!(read(stream, max, cuts, false), expected, "in pieces");
    assert_eq!(read(stream, max, cuts, true), expected, "in lent pieces");
    assert_eq!(read(stream, max, &[1], false), expected, "byte by byte");
}

/// Reads the stream as the format is described.
fn reference(mut stream: &[u8], max: usize) -> Read {
    let mut frames = Vec::new();
    loop {
        let Some((prefix, rest)) = stream.split_first_chunk::<LENGTH_PREFIX>() else {
            let end = if stream.is_empty() {
                Ok(())
            } else {
                Err(FrameError::Unfinished)
            };
            return (frames, end);
        };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > max {
            return (frames, Err(FrameError::TooLarge { len, max }));
        }
        let Some((body, rest)) = rest.split_at_checked(len) else {
            return (frames, Err(FrameError::Unfinished));
        };
        frames.push(Bytes::copy_from_slice(body));
        stream = rest;
    }
}

/// Reads the stream in chunks of these lengths, over and over; an empty one is one, too.
fn read(stream: &[u8], max: usize, cuts: &[u8], lent: bool) -> Read {
    let mut parser = FrameParser::new(max);
    let mut frames = Vec::new();
    let mut stream = Bytes::copy_from_slice(stream);
    let mut cuts = cuts.iter().cycle().map(|len| usize::from(*len));
    let mut empty = 0;
    while !stream.is_empty() {
        let mut len = cuts.next().unwrap_or(stream.len()).min(stream.len());
        empty = if len == 0 { empty + 1 } else { 0 };
        if empty > 16 {
            len = 1;
        }
        let mut chunk = stream.split_to(len);
        let mut borrowed = &chunk.clone()[..];
        loop {
            let taken = if lent {
                parser.take_frame_copied(&mut borrowed)
            } else {
                parser.take_frame(&mut chunk)
            };
            match taken {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {
                    let left = if lent { borrowed } else { &chunk[..] };
                    assert!(left.is_empty(), "a chunk is used up");
                    break;
                }
                Err(error) => {
                    let again = parser.take_frame(&mut Bytes::from_static(b"more"));
                    assert_eq!(again, Err(error), "it stays refused");
                    return (frames, Err(error));
                }
            }
        }
    }
    (frames, parser.finish())
}
