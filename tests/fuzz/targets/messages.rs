//! Messages of a topic, membership and broadcast: what is read is what serde reads, and is written
//! to bytes that read the same.

use std::fmt::Debug;

use bytes::Bytes;
use smol_gossip::proto::{
    Message, PeerIdentity,
    wire::{self, DecodeError, EncodeError, LENGTH_PREFIX},
};

/// As peers are on the wire. Here any 32 bytes are one.
type Key = [u8; 32];

pub fn run(data: &[u8]) {
    let read = check::<Key>(data);
    // Short identities leave more of the input to everything else.
    check::<u8>(data);
    #[cfg(feature = "net")]
    if let Some(keys) = check::<iroh::PublicKey>(data) {
        let read = read.as_ref().expect("a key is 32 bytes");
        assert_eq!(
            wire::encode(&keys, usize::MAX),
            wire::encode(read, usize::MAX)
        );
    }
    drop(read);
}

/// The message, if it is one.
fn check<PI: PeerIdentity + Debug>(data: &[u8]) -> Option<Message<PI>> {
    let read = wire::decode::<PI>(Bytes::copy_from_slice(data));
    let serde = postcard::from_bytes::<Message<PI>>(data).map_err(DecodeError::from);
    assert_eq!(read, serde, "serde agrees");
    if let Ok(message) = &read {
        let len = wire::encoded_len(message);
        assert!(len <= data.len(), "nothing is written longer than it was");
        let frame = wire::encode(message, len + 1).expect("it fits");
        assert_eq!(frame.len(), LENGTH_PREFIX + len);
        let body = frame.slice(LENGTH_PREFIX..);
        assert_eq!(wire::decode(body.clone()).as_ref(), Ok(message));
        let max = len.saturating_sub(1);
        let too_large = EncodeError::TooLarge { len, max };
        assert_eq!(wire::encode(message, len), Err(too_large));
        if len > 0 {
            let shorter = wire::decode::<PI>(body.slice(..len - 1));
            assert_eq!(shorter, Err(DecodeError::Truncated));
        }
    }
    read.ok()
}
