//! Whole nodes on real Dolt servers: the tests of `tests/nodes` and `tests/hostile` again, and what
//! only a server can do.
//!
//! Without the program `dolt` one line says so, the shared tests run on DoltLite, and the others
//! pass without a look.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../nodes/api.rs"]
mod api;
mod client;
#[path = "../nodes/conflict.rs"]
mod conflict;
#[path = "../nodes/damage.rs"]
mod damage;
#[path = "../nodes/decide.rs"]
mod decide;
mod differential;
mod engine;
mod failures;
mod foreign;
#[path = "../hostile/forgery.rs"]
mod forgery;
#[path = "../hostile/lies.rs"]
mod lies;
#[path = "../nodes/lifecycle.rs"]
mod lifecycle;
#[path = "../hostile/mallory.rs"]
mod mallory;
#[path = "../hostile/noise.rs"]
mod noise;
mod owner;
#[path = "../nodes/relay.rs"]
mod relay;
mod stress;
#[path = "../nodes/support.rs"]
mod support;
#[path = "../nodes/sync.rs"]
mod sync;
mod upgrade;
