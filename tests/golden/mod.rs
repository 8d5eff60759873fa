//! The golden vectors: bodies of frames as a live node of `iroh-gossip` 0.101 wrote them.
//!
//! Each `tests/golden/*.hex` holds one body in hexadecimal, lines broken at 64 digits.
//! `tests/golden_capture.rs` captures them, `tests/wire_golden.rs` reads them.

use std::{fs, path::PathBuf};

use iroh::{PublicKey, SecretKey};
use smol_gossip::proto::TopicId;

/// Every kind of frame, by the name of its file.
pub(crate) const KINDS: [&str; 16] = [
    "header",
    "join",
    "forward_join",
    "shuffle",
    "shuffle_reply",
    "neighbor_high",
    "neighbor_low",
    "disconnect_alive",
    "disconnect_leaving",
    "gossip_swarm",
    "gossip_forwarded",
    "gossip_neighbors",
    "prune",
    "graft",
    "graft_without_id",
    "ihave",
];

/// The topic of all vectors.
pub(crate) const TOPIC: TopicId = TopicId::from_bytes([0x67; 32]);

/// The node that wrote the vectors.
pub(crate) const UPSTREAM: u8 = 1;

/// The peers that provoked it.
pub(crate) const A: u8 = 2;
pub(crate) const B: u8 = 3;
pub(crate) const C: u8 = 4;

/// What the node broadcast, in the order in which it did.
pub(crate) const TO_SWARM: &[u8] = b"to the swarm";
pub(crate) const TO_NEIGHBORS: &[u8] = b"to the neighbors";
pub(crate) const ANNOUNCED: &[u8] = b"announced to a lazy peer";

/// What the peers broadcast.
pub(crate) const FROM_A: &[u8] = b"from a";
pub(crate) const NEVER_SENT: &[u8] = b"announced by a and never sent";

/// The round that A announces [`NEVER_SENT`] with.
pub(crate) const NEVER_SENT_ROUND: u16 = 300;

pub(crate) fn secret_key(of: u8) -> SecretKey {
    SecretKey::from_bytes(&[of; 32])
}

pub(crate) fn id(of: u8) -> PublicKey {
    secret_key(of).public()
}

fn path(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{kind}.hex"))
}

pub(crate) fn load(kind: &str) -> Vec<u8> {
    let text = fs::read_to_string(path(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

#[allow(
    dead_code,
    reason = "only one of the tests that share this file writes vectors"
)]
pub(crate) fn store(kind: &str, body: &[u8]) {
    let digits = hex::encode(body).into_bytes();
    let mut text = Vec::new();
    for line in digits.chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    fs::write(path(kind), text).unwrap_or_else(|error| panic!("{kind}: {error}"));
}
