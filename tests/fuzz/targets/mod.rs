//! What the fuzzer runs, one function for each target.
//!
//! `fuzz/` hands them whatever it makes up, and `tests/fuzz` what it has found before: the corpus
//! in `tests/corpus`. Each of them takes any bytes, and panics where something does not hold.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each of those who include this uses its own part"
)]

mod bytes;
pub mod frames;
pub mod header;
pub mod messages;
#[cfg(all(feature = "net", feature = "test-utils"))]
pub mod peer_data;
#[cfg(feature = "signed")]
pub mod signed;
pub mod state;
#[cfg(feature = "net")]
pub mod ticket;

/// A target by the name that its corpus has.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: &[Target] = &[
    ("frames", frames::run),
    ("header", header::run),
    ("messages", messages::run),
    #[cfg(all(feature = "net", feature = "test-utils"))]
    ("peer_data", peer_data::run),
    #[cfg(feature = "signed")]
    ("signed", signed::run),
    ("state", state::run),
    #[cfg(feature = "net")]
    ("ticket", ticket::run),
];
