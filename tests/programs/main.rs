//! The programs in `examples/`, driven as people and scripts drive them: processes of their own, what
//! is typed goes into a pipe, what they show comes out of one. All on loopback.
#![cfg(unix)]

mod program;

mod chat;
mod edge;
mod gossip_cat;
mod metrics;
mod starts;
