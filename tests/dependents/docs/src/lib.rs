//! Nothing but tests: see `tests/live_sync.rs`.
