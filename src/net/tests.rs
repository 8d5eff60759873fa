//! Tests of the whole node, on the network in memory and in virtual time.
//!
//! Nothing in here waits, and nothing depends on anything but its seed: [`world`] polls the
//! unmodified node when it was woken, lets the network deliver what is due, and otherwise jumps to
//! when something happens next. After every poll of a node its bounds are checked ([`check`]).
//!
//! `schedules` runs made-up schedules of joins, leaves, broadcasts and faults, a fifth of them with
//! small bounds. A failing one says its seed, its schedule, and the command that repeats it:
//!
//! ```text
//! SMOL_GOSSIP_SEED=17 cargo test --lib net::tests::schedules -- --nocapture
//! SMOL_GOSSIP_SEEDS=2000 cargo test --lib schedules_of
//! SMOL_GOSSIP_SEEDS=0 cargo test --profile seeds --lib many_schedules -- --ignored --nocapture
//! ```
//!
//! The first form writes the node's log as well, where `RUST_LOG` asks for it. The second runs that
//! many seeds in place of the usual number, and the third one goes on until it is stopped (or for
//! 100,000 seeds, where no number is said); both from `SMOL_GOSSIP_FIRST_SEED` on where that is set.
//!
//! The other files are scenarios. The numbers in their names are those of the design's list of
//! what is done better than before.

mod bounds;
mod broadcasting;
mod burdens;
mod check;
mod churn;
mod clocks;
mod drivers;
mod floods;
mod joining;
mod one_way;
mod raw;
mod recovery;
mod schedules;
mod slow_peers;
mod stream_limits;
mod world;
