//! The wire schema's generated code, written by `cargo run -p xtask -- codegen`.
//!
//! Only `wire.rs`, and the service and client stubs beside it, see these types.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

include!("doltswarm.v1.rs");
