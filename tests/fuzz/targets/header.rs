//! The first frame of a stream.

use bytes::Bytes;
use smol_gossip::proto::wire::{DecodeError, FrameParser, StreamHeader};

pub fn run(data: &[u8]) {
    match StreamHeader::decode(data) {
        Ok(header) => {
            assert_eq!(header.topic_id.as_bytes()[..], data[..32]);
            let mut frame: Bytes = header.encode();
            let mut parser = FrameParser::new(32);
            let body = parser.take_frame(&mut frame);
            let body = body.expect("within bounds").expect("whole");
            assert_eq!(StreamHeader::decode(&body), Ok(header));
            assert!(frame.is_empty());
        }
        Err(error) => {
            assert_eq!(error, DecodeError::Truncated);
            assert!(data.len() < 32);
        }
    }
}
