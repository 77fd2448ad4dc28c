//! Whole nodes on real QUIC, on loopback addresses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(clippy::print_stderr, reason = "a test says aloud that it was skipped")]

mod api;
mod aside;
mod conflict;
mod copied;
mod costs;
mod damage;
mod decide;
mod disk;
mod engine;
mod files;
mod foreign;
mod grants;
mod heads;
mod large;
mod lifecycle;
mod neighbours;
mod refused;
mod relay;
#[path = "../../src/small_disk.rs"]
#[allow(clippy::unwrap_used, clippy::print_stderr, reason = "shared with the library's own tests")]
mod small_disk;
mod support;
mod sync;
mod undo;
