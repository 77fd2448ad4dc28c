//! Nodes driven by hand, on simulated time, through the public interface alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod adverts;
mod aside;
mod folding;
mod pages;
mod pair;
mod pulls;
mod rig;
