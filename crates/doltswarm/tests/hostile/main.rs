//! A member that keeps to the protocol and lies: it was let in, so its words are heard, and none of
//! its lies may move anybody's main or keep the others from working.

#[path = "../nodes/engine.rs"]
mod engine;
mod forgery;
mod lies;
mod mallory;
mod noise;
mod records;
#[path = "../nodes/support.rs"]
#[allow(dead_code, reason = "shared with the tests of honest nodes")]
mod support;
