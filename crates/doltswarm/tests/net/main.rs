//! The network between real nodes on loopback, over a node that is faked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod chunks;
mod connections;
mod door;
mod hostile_asker;
mod hostile_source;
mod raw;
mod support;
