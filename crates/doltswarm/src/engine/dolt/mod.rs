//! The engine Dolt: a running `dolt sql-server` on the node's machine.

pub mod store;
